//! Syncline as a whole, from outside.

mod api;
mod cli;
mod clients;
mod listening;
mod serving;
mod stories;
