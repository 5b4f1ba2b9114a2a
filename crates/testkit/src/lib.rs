//! What the tests share; a dev-dependency only.

pub mod peers;
