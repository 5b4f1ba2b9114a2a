//! A simulated CloudFormation (and STS), speaking the AWS Query protocol over HTTP as the AWS SDKs do.
//!
//! It provisions nothing: resources are records with names and statuses. Everything else is meant to be as in
//! CloudFormation: change sets, template evaluation, the order of events, rollbacks, and the words of errors.
//!
//! **Architecture Invariant:** time is lazy. Nothing runs by itself; every call and every look from outside first does
//! what is due by the given clock, so a virtual clock drives the simulator completely.

mod change_sets;
mod deletion;
mod describe;
mod engine;
mod faults;
mod inspect;
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

pub use faults::{CallFault, ResourceVerb, Times};
pub use inspect::{EventView, Faults, ResourceView, StackView};
pub use settings::Settings;
pub use simulator::{CallView, ExecutionView, Simulator};
