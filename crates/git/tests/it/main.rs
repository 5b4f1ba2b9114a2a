//! `syncline-git` against real Git servers on loopback.

mod cache;
mod direct;
mod egress;
mod faults;
mod hostile;
mod many;
mod odd;
mod scripted;
mod secrets;
mod servers;
mod ssh;
mod ssh_hostile;
mod ssh_odd;
mod tls;
mod walk;
mod world;
