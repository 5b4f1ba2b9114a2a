//! The whole server in this process, on a clock that moves only when told to.

mod api;
