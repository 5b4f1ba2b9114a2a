//! Webhooks as forges send them: proofs, events, and whatever else may come.

mod events;
mod proofs;
mod rest;
mod samples;
mod shaken;
mod statuses;
