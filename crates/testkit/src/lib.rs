//! What tests of Syncline stand on: the peers it talks to, made real on loopback, with faults on demand.

pub mod faults;
pub mod git_host;
pub mod peers;
pub mod repository;
