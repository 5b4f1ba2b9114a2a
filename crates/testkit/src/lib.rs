//! What tests of Syncline stand on: the peers it talks to, made real on loopback, with faults on demand, and
//! the [`World`](world::World) that puts a whole server among them.

pub mod forge;
pub mod git_host;
pub mod plans;
pub mod proxy;
pub mod receiver;
pub mod repository;
pub mod rest;
pub mod ssh_host;
pub mod world;

pub use syncline_peers as peers;
