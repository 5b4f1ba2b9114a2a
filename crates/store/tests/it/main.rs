//! The store over a real SQLite file, on a clock that moves only when told to.

mod attempts;
mod audit;
mod blockers;
mod branches;
mod chain;
mod configurations;
mod faults;
mod keyring;
mod leases;
mod migrations;
mod opening;
mod paging;
mod paths;
mod resources;
mod rotation;
mod tags;
mod updates;
mod world;
