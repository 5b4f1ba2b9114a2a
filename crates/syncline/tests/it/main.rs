//! Syncline as a whole, from outside.

mod api;
mod cli;
mod clients;
mod serving;
mod stories;
