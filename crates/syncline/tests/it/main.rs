//! Syncline as a whole, from outside.

mod api;
mod cli;
mod clients;
mod conformance;
mod serving;
mod stories;
