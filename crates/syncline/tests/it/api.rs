//! The AWS API as a client meets it: signed requests in either protocol against the real router and store.

mod audit;
mod client;
mod constraints;
mod declared_errors;
mod foreign;
mod front_door;
mod handshake;
mod hosts;
mod offered;
mod paging;
mod scene;
mod services;
mod syncs;
