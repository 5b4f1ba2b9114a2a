//! The target against a scripted HTTP stub, which knows how to misbehave, and against moto, which was not
//! written by us.

mod buses;
mod calls;
mod chain;
mod failures;
mod moto;
mod proxied;
mod sessions;
mod stub;
