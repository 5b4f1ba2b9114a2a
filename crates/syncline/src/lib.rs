//! Syncline: answers the AWS CodeConnections API, watches Git repositories and drives CloudFormation stacks
//! to what their branches say.
//!
//! The binary is `main.rs` with its subcommands in [`cli`]; everything it runs is here, so that tests run the
//! very same server and worker in their own process, on their own clock.

pub mod cli;
pub mod config;
mod credentials;
pub mod forges;
mod grants;
mod keyring;
pub mod notify;
pub mod running;
pub mod server;
pub mod worker;
