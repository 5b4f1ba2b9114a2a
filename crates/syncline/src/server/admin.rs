//! The admin listener: liveness, readiness, metrics.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;

use super::Front;

pub(super) async fn livez() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(front): State<Arc<Front>>) -> (StatusCode, String) {
    match front.store.ping() {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}

/// Gauges in the Prometheus text format, read from the store when they are asked for.
pub(super) async fn metrics(State(front): State<Arc<Front>>) -> (StatusCode, String) {
    match front.store.gauges() {
        Ok(gauges) => {
            let mut text = String::new();
            for (name, help, value) in gauges {
                let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
            }
            (StatusCode::OK, text)
        }
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}
