//! Properties of the decisions.

mod decisions;
