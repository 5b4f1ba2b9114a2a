//! CloudFormation documents: templates and deployment files, as trees that know where each value stands.
//!
//! | to | call |
//! |---|---|
//! | read a template as CloudFormation reads it | [`parse()`] |
//! | refuse what CloudFormation would certainly refuse, before anything is sent | [`check_template`] |
//! | read a deployment file by the rules of cfn-lint's Git sync schema | [`parse_deployment_file`], then [`check_limits`] |
//!
//! **Architecture Invariant:** this crate reads bytes and returns values; it has no I/O.
//!
//! **Architecture Invariant:** no document, however made, costs more than its [`Limits`]: reading does not recurse (JSON
//! recurses to the depth limit at most), every value an alias copies is paid for, and a tree is never deeper than the
//! limit, so that walking, printing and dropping it are safe.
//!
//! What is read, and where from:
//!
//! - YAML is YAML 1.1 without timestamps as CloudFormation documents it: `yes` and `off` are booleans, `2010-09-09` is text.
//!   A tree keeps the text of every scalar, so the type decides only what is accepted.
//! - Short tags (`!Ref`, `!GetAtt a.b`) become their long form; a tag that is no function of CloudFormation is an error.
//! - Templates have no merge keys and no aliases (CloudFormation refuses both); deployment files have both, as in cfn-lint.
//!   [`parse()`] expands a template's aliases all the same, for whoever only wants to look; [`check_template`] refuses them.
//! - A document that begins with `{` is JSON first, and YAML if that fails.
//! - One document, in UTF-8, with or without a byte order mark; no control characters; no key twice.
//!
//! The YAML parser underneath panics on a few malformed inputs. The panic is caught and becomes a `syntax` finding, so the
//! binary must not be built with `panic = "abort"`.

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
