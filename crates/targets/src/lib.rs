//! What Syncline drives: CloudFormation stacks, through change sets only; and EventBridge's buses, which it tells.
//!
//! A [`Target`] observes a stack and performs one step on it; it decides nothing and remembers nothing about
//! a sync. [`CloudFormation`] is the real one, on the AWS SDK.
//!
//! **Architecture Invariant:** the AWS SDK is used here and, as a client, in the command line; its types do
//! not cross this crate's boundary. Every remote call is one [`syncline_seams::Outside::call`], named
//! `cloudformation.<Action>`, `eventbridge.PutEvents`, `sts.AssumeRole` or `sts.GetCallerIdentity`. Nothing here retries, because the
//! worker does, with what it has recorded in hand.
//!
//! **API Boundary:** no message or `Debug` text that leaves this crate holds a credential. The SDK's own log
//! lines at level TRACE (targets `aws_…`) do, so whoever sets the log up must not let them through.

mod access;
mod bus;
mod classify;
mod cloudformation;
mod error;
mod events;
mod scrub;
mod statuses;
mod target;

pub use access::{Access, CallerIdentity, SYNC_SERVICE_PRINCIPAL, trust_policy, trust_statement};
pub use bus::{BusEvent, EventBus};
pub use classify::refusal;
pub use cloudformation::{AwsSource, CloudFormation, InvalidProxy, Listed, Listings, Proxy, Settings};
pub use error::TargetError;
pub use events::Gathering;
pub use statuses::{ChangeAction, ChangeSetStatus, ExecutionStatus, Replacement, StackStatus};
pub use target::{
    Answer, Change, ChangeDetail, ChangeSet, ChangeSetKind, ChangeSetRef, ChangeSetRequest, Declared,
    Execution, InProgress, MAX_INLINE_TEMPLATE_BYTES, Stack, StackEvent, Target,
};
