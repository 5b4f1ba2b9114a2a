//! The admin listener: liveness, readiness, metrics.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use syncline_store::StoreError;

use super::Front;

pub(super) async fn livez() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(front): State<Arc<Front>>) -> (StatusCode, String) {
    match front.store.ping().await {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}

/// Metrics in the Prometheus text format: gauges read from the store when they are asked for, and what was
/// refused since the start.
pub(super) async fn metrics(State(front): State<Arc<Front>>) -> (StatusCode, String) {
    let of_store = async {
        let mut gauges = front.store.gauges().await?;
        gauges.extend(front.store.work_gauges().await?);
        Ok::<_, StoreError>(gauges)
    };
    match of_store.await {
        Ok(gauges) => {
            let mut text = String::new();
            for (name, help, value) in gauges {
                let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
            }
            let (counters, gauges) = front.gate.metrics();
            let (of_connections, open) = front.connections.metrics();
            let of_store = [
                (
                    "syncline_writes_refused_total",
                    "Commits refused because too many waited for the database.",
                    front.store.refused_writes(),
                ),
                (
                    "syncline_store_statements_total",
                    "Statements run in the database.",
                    front.store.statements(),
                ),
            ];
            let counters = counters.into_iter().chain(of_connections).chain(of_store);
            let shown = counters.map(|metric| (metric, "counter"));
            let shown = shown.chain(gauges.into_iter().chain(open).map(|metric| (metric, "gauge")));
            for ((name, help, value), kind) in shown {
                let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
            }
            (StatusCode::OK, text)
        }
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}
