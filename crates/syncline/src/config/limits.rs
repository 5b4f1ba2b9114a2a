//! How much is taken on: `[limits]` in the file.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::parse_duration;

/// A token bucket: what it gains each second, and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// Requests a second in the long run; 0 for as many as come.
    pub per_second: u32,
    /// Requests at once after a quiet time.
    pub burst: u32,
}

/// The rates of calls to one Git host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteBudget {
    /// Of polls.
    pub polls: Throttle,
    /// Of all calls, polls among them.
    pub calls: Throttle,
}

impl RemoteBudget {
    /// As many calls as come.
    pub const UNLIMITED: Self =
        Self { polls: Throttle { per_second: 0, burst: 0 }, calls: Throttle { per_second: 0, burst: 0 } };
}

/// How much is taken on, and for how long; `[limits]` in the file changes each by name. The defaults are
/// ours: AWS publishes none for this API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Requests a second from one source address; 0 for as many as come. Loopback addresses are exempt.
    pub source_requests_per_second: u32,
    /// Requests at once from one source address.
    pub source_burst: u32,
    /// What a request with a wrong signature, or whose body does not arrive in time, costs its source address, in
    /// requests.
    pub failed_signature_cost: u32,
    /// Requests a second of one account that only read; 0 for as many as come.
    pub account_reads_per_second: u32,
    /// Such requests at once.
    pub account_reads_burst: u32,
    /// Requests a second of one account that may change something; 0 for as many as come.
    pub account_writes_per_second: u32,
    /// Such requests at once.
    pub account_writes_burst: u32,
    /// Requests that are worked on at one time; at least 1, as every number below.
    pub requests_in_progress: u32,
    /// Those of one account.
    pub requests_in_progress_per_account: u32,
    /// Commits of requests that wait for the database at one time.
    pub writes_waiting: u32,
    /// Bodies of more than 16 KiB that are received at one time.
    pub large_bodies: u32,
    /// Those of one source address. Loopback addresses are exempt.
    pub large_bodies_per_source: u32,
    /// The longest body of a webhook, in bytes; at least 1,024. Those of more than 1 MiB need a place of their own.
    pub webhook_bytes: u32,
    /// Bodies of webhooks of more than 1 MiB that are received at one time.
    pub large_webhooks: u32,
    /// The longest that a request is worked on, once its body is there.
    #[serde(deserialize_with = "duration")]
    pub request_time: Duration,
    /// The longest that a body may take to arrive.
    #[serde(deserialize_with = "duration")]
    pub body_time: Duration,
    /// Connections that are open at one time.
    pub connections: u32,
    /// Those of one source address. Loopback addresses are exempt.
    pub connections_per_source: u32,
    /// The longest from a connection's start until its first request's header is there.
    #[serde(deserialize_with = "duration")]
    pub header_time: Duration,
    /// The longest from an answer until the next request's header is there.
    #[serde(deserialize_with = "duration")]
    pub idle_time: Duration,
    /// The bytes of a request's header; at least 8,192.
    pub header_bytes: u32,
    /// The fields of a request's header.
    pub header_fields: u32,
    /// Polls of repositories a second on one Git host; 0 for as many as are due. More that are due at once are spread.
    pub remote_polls_per_second: u32,
    /// Calls a second to one Git host, polls among them; 0 for as many as come.
    pub remote_calls_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            source_requests_per_second: 300,
            account_reads_per_second: 200,
            account_writes_per_second: 20,
            remote_polls_per_second: 20,
            remote_calls_per_second: 200,
            ..Self::unthrottled()
        }
    }
}

impl Limits {
    /// The defaults without a limit on requests a second: for a server whose clock may stand still.
    #[must_use]
    pub const fn unthrottled() -> Self {
        Self {
            source_requests_per_second: 0,
            source_burst: 600,
            failed_signature_cost: 20,
            account_reads_per_second: 0,
            account_reads_burst: 400,
            account_writes_per_second: 0,
            account_writes_burst: 100,
            requests_in_progress: 256,
            requests_in_progress_per_account: 64,
            writes_waiting: 256,
            large_bodies: 64,
            large_bodies_per_source: 4,
            // What GitHub sends at the most.
            webhook_bytes: 25 << 20,
            large_webhooks: 8,
            request_time: Duration::from_secs(30),
            body_time: Duration::from_secs(30),
            connections: 1024,
            connections_per_source: 128,
            header_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(60),
            header_bytes: 32 * 1024,
            header_fields: 100,
            remote_polls_per_second: 0,
            remote_calls_per_second: 0,
        }
    }

    /// What the worker may call of one Git host; what comes at once after a quiet time is a second's worth.
    #[must_use]
    pub fn remote(&self) -> RemoteBudget {
        let of = |per_second| Throttle { per_second, burst: per_second };
        RemoteBudget { polls: of(self.remote_polls_per_second), calls: of(self.remote_calls_per_second) }
    }

    /// The bucket of a source address.
    #[must_use]
    pub fn source(&self) -> Throttle {
        Throttle { per_second: self.source_requests_per_second, burst: self.source_burst }
    }

    /// The bucket of an account's reading requests.
    #[must_use]
    pub fn account_reads(&self) -> Throttle {
        Throttle { per_second: self.account_reads_per_second, burst: self.account_reads_burst }
    }

    /// The bucket of an account's other requests.
    #[must_use]
    pub fn account_writes(&self) -> Throttle {
        Throttle { per_second: self.account_writes_per_second, burst: self.account_writes_burst }
    }

    /// Refuses what nothing could be served with.
    pub(super) fn check(self) -> Result<Self, String> {
        let at_least = |name: &str, value: u32, least: u32| {
            (value >= least)
                .then_some(())
                .ok_or_else(|| format!("{name} = {value}: it must be at least {least}"))
        };
        for (name, value) in [
            ("requests_in_progress", self.requests_in_progress),
            ("requests_in_progress_per_account", self.requests_in_progress_per_account),
            ("writes_waiting", self.writes_waiting),
            ("large_bodies", self.large_bodies),
            ("large_bodies_per_source", self.large_bodies_per_source),
            ("large_webhooks", self.large_webhooks),
            ("connections", self.connections),
            ("connections_per_source", self.connections_per_source),
            ("header_fields", self.header_fields),
        ] {
            at_least(name, value, 1)?;
        }
        // What hyper needs to read anything at all.
        at_least("header_bytes", self.header_bytes, 8192)?;
        at_least("webhook_bytes", self.webhook_bytes, 1024)?;
        Ok(self)
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}
