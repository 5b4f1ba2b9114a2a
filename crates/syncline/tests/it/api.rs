//! The AWS API as a client meets it: signed requests in either protocol against the real router and store.

mod client;
mod offered;
mod scene;
