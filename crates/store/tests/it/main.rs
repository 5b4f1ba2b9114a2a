//! The store over a real SQLite file or a real PostgreSQL server, on a clock that moves only when told to.

mod attempts;
mod audit;
mod blockers;
mod branches;
mod chain;
mod configurations;
mod copying;
mod faults;
mod grants;
mod keyring;
mod lanes;
mod leases;
mod migrations;
mod opening;
mod outbox;
mod paging;
mod paths;
mod pulls;
mod replicas;
mod resources;
mod rotation;
mod suspensions;
mod tags;
mod updates;
mod webhooks;
mod world;
