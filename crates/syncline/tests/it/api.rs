//! The AWS API as a client meets it: signed requests in either protocol against the real router and store.

mod access;
mod audit;
pub(crate) mod client;
mod conditions;
mod constraints;
mod declared_errors;
mod failures;
mod foreign;
mod front_door;
mod handshake;
mod hosts;
mod keyring;
mod keys;
mod limits;
mod load;
mod operations;
mod paging;
mod replay;
pub(crate) mod scene;
mod services;
mod suspensions;
mod syncs;
mod tags;
mod terraform;
mod updates;
mod webhook_examples;
pub(crate) mod webhooks;
