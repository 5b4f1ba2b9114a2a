//! Syncline as a whole, from outside.

mod cli;
mod clients;
mod serving;
mod stories;
