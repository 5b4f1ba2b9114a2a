//! CloudFormation documents: templates and deployment files, as trees that know where each value stands.
//!
//! **Architecture Invariant:** this crate reads bytes and returns values; it has no I/O.

mod deployment_file;
mod finding;
mod json;
mod parse;
mod scalar;
mod tags;
mod template;
mod tree;
mod yaml;

pub use deployment_file::{DeploymentFile, MAX_PARAMETERS, MAX_TAGS, check_limits, parse_deployment_file};
pub use finding::Finding;
pub use parse::{Limits, parse};
pub use template::check_template;
pub use tree::{Kind, Node, Span};
