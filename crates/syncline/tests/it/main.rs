//! Syncline as a whole, from outside.

mod cli;
mod stories;
