//! Syncline as a whole, from outside.

mod api;
mod canary;
mod cli;
mod clients;
mod conformance;
mod draining;
mod keyring;
mod listening;
mod serving;
mod stories;
