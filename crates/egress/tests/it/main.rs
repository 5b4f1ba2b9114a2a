//! HTTP with strangers on loopback.

mod http;
