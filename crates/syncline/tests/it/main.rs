//! Syncline as a whole, from outside.

mod api;
mod canary;
mod cli;
mod clients;
mod keyring;
mod serving;
mod stories;
