//! `syncline-git` against real Git servers on loopback.

mod walk;
mod world;
