//! Templates: reading, static checks, evaluation, and what the simulator knows about resource types.
//!
//! Every scalar is a string from here on, as CloudFormation treats them: `true`, `'true'` and a parameter's value
//! `true` are the same, and a change from `1` to `'1'` is no change.

mod check;
mod cidr;
mod evaluate;
mod functions;
mod graph;
mod load;
mod parameters;
mod types;

pub(crate) use check::{missing_capabilities, unresolved_when_active};
pub(crate) use evaluate::{Context, Place, Resources, is_unknown};
pub(crate) use functions::UNKNOWN;
pub(crate) use graph::order;
pub(crate) use load::{OutputDecl, ResourceDecl, Template};
pub(crate) use parameters::{GivenParameter, ParameterValue, resolve as resolve_parameters};
pub(crate) use types::{Naming, Recreation};
