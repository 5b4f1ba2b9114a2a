//! The API held against its model: every operation called with every member at, below and above each of its
//! constraints, missing, null and of every wrong type, in both protocols, under both names.
//!
//! [`cases`] makes the calls out of the shapes, [`texts`] gives the texts that match a pattern and that do not,
//! [`wording`] says how a broken constraint is told, [`fixtures`] what a call needs to succeed, [`meaning`] which
//! values keep the model's constraints and are refused all the same, and [`answers`] whether an answer is one of
//! the model's. A member, a pattern or an operation that the model gains fails here until it is met.

mod answers;
mod cases;
mod encodings;
mod fixtures;
mod meaning;
mod suite;
mod texts;
mod wording;
