//! Syncline as a whole, from outside.

mod clients;
mod serving;
mod stories;
