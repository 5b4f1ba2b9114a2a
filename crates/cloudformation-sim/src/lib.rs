//! A simulated CloudFormation (and STS), speaking the AWS Query protocol over HTTP as the AWS SDKs do, and EventBridge's
//! PutEvents.
//!
//! It provisions nothing: resources are records with names and statuses. Everything else is meant to be as in
//! CloudFormation: change sets, template evaluation, the order of events, rollbacks, and the words of errors.
//!
//! What it does not do, and says when asked: `TemplateURL` (there is no S3), SSM parameter types, imports of resources,
//! macros other than `AWS::LanguageExtensions` (of which `Fn::Length`, `Fn::ToJsonString` and the default of
//! `Fn::FindInMap` work, `Fn::ForEach` does not), and trying CREATE_FAILED or UPDATE_FAILED stacks again.
//!
//! What it lets pass unseen: `Rules`, `Hooks`, stack and update policies, notification topics, rollback triggers,
//! `{{resolve:…}}` (kept as text), patterns of parameters that need look-around, whether a resource's properties are
//! right, and the signature of a request (its credential scope must be whole). A nested stack is a resource like any
//! other. Which changes replace a resource is a table of common types; what holds for the rest is said at that table.
//!
//! Where CloudFormation's behaviour is not written down, it follows what has been recorded from the real service; the
//! tests hold it against moto, fact by fact.
//!
//! **Architecture Invariant:** time is lazy. Nothing runs by itself; every call and every look from outside first does
//! what is due by the given clock, so a virtual clock drives the simulator completely.

mod change_sets;
mod deletion;
mod describe;
mod direct;
mod engine;
mod events;
mod faults;
mod inspect;
mod jobs;
mod outcome;
mod plan;
mod query;
mod refusal;
mod region;
mod server;
mod settings;
mod simulator;
mod stack;
mod sts;
mod template;
mod time;
mod xml;

pub use direct::{Direct, DirectChangeSet, DirectEvent, DirectStack, Refused};
pub use events::PutEventView;
pub use faults::{CallFault, ResourceVerb, Times};
pub use inspect::{EventView, Faults, ResourceView, StackView};
pub use settings::Settings;
pub use simulator::{CallView, ExecutionView, Simulator};
