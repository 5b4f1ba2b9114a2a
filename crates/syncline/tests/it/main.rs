//! Syncline as a whole, from outside.

mod api;
mod cli;
mod clients;
mod conformance;
mod listening;
mod serving;
mod stories;
