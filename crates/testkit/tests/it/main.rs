//! What a crash of `syncline serve` leaves behind, and what becomes of it.

mod house;
mod invariants;
mod kill;
mod random;
mod teller;
