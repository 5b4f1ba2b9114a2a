//! How much is taken on. Whatever is too much is told so at once, with the time after which to ask again:
//! nothing waits in a queue without a bound, and nobody's requests crowd out anybody else's.
//!
//! A request passes, in this order: its source address's bucket, before anything of it is parsed; the bucket
//! of the account whose key it names, which is only looked at; a place among the requests in progress; its
//! signature, which costs the source extra when it is wrong; and only then the account is charged. A stranger
//! can therefore empty nobody's bucket but his own address's.

mod accounts;
mod bucket;
mod places;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use syncline_seams::Clock;
use syncline_wire::{ErrorCode, WireError};

use self::accounts::{Accounts, Known, Wait};
use self::bucket::{Buckets, Rate};
use super::SourceAddress;
use super::caller::Caller;
use crate::config::Limits;

pub(super) use self::places::{Place, Places, SourcePlace, SourcePlaces};

/// Sources remembered at one time.
const SOURCES: usize = 16_384;

/// When to try again what was refused because of what others do.
const SHED_RETRY: Duration = Duration::from_secs(1);

/// What kind of request an account is charged for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It changes nothing.
    Read,
    /// It may change something.
    Write,
}

impl Kind {
    fn of(is_read_only: bool) -> Self {
        if is_read_only { Self::Read } else { Self::Write }
    }
}

/// How often something was refused.
#[derive(Debug, Default)]
struct Counters {
    throttled_sources: AtomicU64,
    throttled_accounts: AtomicU64,
    shed: AtomicU64,
    timed_out: AtomicU64,
    late_bodies: AtomicU64,
}

/// What every request passes.
#[derive(Debug)]
pub struct Gate {
    limits: Limits,
    clock: Arc<dyn Clock>,
    sources: Option<Buckets<std::net::IpAddr>>,
    accounts: Accounts,
    in_progress: Places,
    large_bodies: Places,
    large_bodies_of_sources: SourcePlaces,
    large_webhooks: Places,
    counters: Counters,
}

/// A request that is worked on: its places.
#[derive(Debug)]
#[must_use]
pub(super) struct Turn {
    _in_progress: Place,
    /// The account whose key the request names, where it is known.
    account: Option<Known>,
    _of_account: Option<Place>,
}

impl Gate {
    /// A gate that nobody has passed yet.
    #[must_use]
    pub fn new(limits: Limits, clock: Arc<dyn Clock>) -> Self {
        Self {
            sources: Rate::of(limits.source()).map(|rate| Buckets::new(rate, SOURCES)),
            accounts: Accounts::new(&limits),
            in_progress: Places::new(limits.requests_in_progress),
            large_bodies: Places::new(limits.large_bodies),
            large_bodies_of_sources: SourcePlaces::new(limits.large_bodies_per_source),
            large_webhooks: Places::new(limits.large_webhooks),
            counters: Counters::default(),
            limits,
            clock,
        }
    }

    /// Takes the request's token out of its source's bucket, before anything is parsed.
    pub(super) fn admit(&self, source: SourceAddress) -> Result<(), WireError> {
        let (Some(sources), Some(source)) = (&self.sources, source.counted()) else { return Ok(()) };
        sources.take(source, self.clock.now_ms()).map_err(|wait| {
            count(&self.counters.throttled_sources);
            throttled("Rate exceeded for this source address", wait)
        })
    }

    /// Takes a place among the requests in progress, unless the account whose key the request names has used
    /// up its rate; before the signature is verified.
    pub(super) fn turn(&self, headers: &HeaderMap, is_read_only: bool) -> Result<Turn, WireError> {
        let account = claimed_key(headers).map_or(Ok(None), |key_id| {
            let looked = self.accounts.look(key_id, Kind::of(is_read_only), self.clock.now_ms());
            looked.map_err(|wait| self.account_waits(wait))
        })?;
        let place = self.in_progress.take().ok_or_else(|| self.shed())?;
        Ok(Turn { _in_progress: place, account, _of_account: None })
    }

    /// Charges the account of a caller whose signature was verified.
    pub(super) fn charge(
        &self,
        turn: &mut Turn,
        caller: &Caller,
        is_read_only: bool,
    ) -> Result<(), WireError> {
        let (kind, now_ms) = (Kind::of(is_read_only), self.clock.now_ms());
        // The key that was looked for is not surely the one whose signature was verified.
        let known = turn.account.take().filter(|known| known.id == caller.account);
        let known = known.unwrap_or_else(|| self.accounts.account(&caller.key_id, &caller.account, now_ms));
        let charged = self.accounts.charge(&known, kind, now_ms);
        turn._of_account = Some(charged.map_err(|wait| self.account_waits(wait))?);
        Ok(())
    }

    /// Charges a source for a request that did not prove who sent it.
    pub(super) fn unproven(&self, source: SourceAddress) {
        if let (Some(sources), Some(source)) = (&self.sources, source.counted()) {
            sources.owe(source, self.clock.now_ms(), self.limits.failed_signature_cost);
        }
    }

    /// Takes a place for a body that is larger than those of ordinary requests, of all places and of its source's:
    /// nobody knows yet who sends it, and one who stalls must not keep everybody out.
    pub(super) fn large_body(&self, source: SourceAddress) -> Result<(Place, SourcePlace), WireError> {
        let of_source = self.large_bodies_of_sources.take(source).ok_or_else(|| {
            count(&self.counters.throttled_sources);
            throttled("Too many large requests of this source address are being received", SHED_RETRY)
        })?;
        Ok((self.large_bodies.take().ok_or_else(|| self.shed())?, of_source))
    }

    /// The longest body of a webhook, in bytes.
    pub(super) fn webhook_bytes(&self) -> usize {
        usize::try_from(self.limits.webhook_bytes).unwrap_or(usize::MAX)
    }

    /// Takes a place for a body that only a webhook may have.
    pub(super) fn large_webhook(&self) -> Result<Place, WireError> {
        self.large_webhooks.take().ok_or_else(|| self.shed())
    }

    /// The body, if it arrives in time. One that does not costs its source what a wrong signature does.
    pub(super) async fn body_in_time<T>(
        &self,
        source: SourceAddress,
        body: impl Future<Output = Result<T, WireError>>,
    ) -> Result<T, WireError> {
        tokio::select! {
            biased;
            body = body => body,
            () = self.later(self.limits.body_time) => {
                count(&self.counters.late_bodies);
                self.unproven(source);
                let time = self.limits.body_time.as_secs_f32();
                Err(WireError::new(ErrorCode::Serialization, format!("the body did not arrive within {time} s")))
            }
        }
    }

    /// The answer, if it is there in time; the work on it ends with the time, or when the client goes away.
    pub(super) async fn in_time<T, E: From<WireError>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        tokio::select! {
            biased;
            answer = work => answer,
            () = self.later(self.limits.request_time) => {
                count(&self.counters.timed_out);
                let time = self.limits.request_time.as_secs_f32();
                let message = format!(
                    "the server could not complete the request within {time} s; it is safe to try again"
                );
                Err(WireError::new(ErrorCode::InternalServer, message).retry_after(SHED_RETRY).into())
            }
        }
    }

    /// Completes after a time. No timer is made before somebody waits for it: most requests are answered without waiting.
    async fn later(&self, time: Duration) {
        self.clock.sleep(time).await;
    }

    fn account_waits(&self, wait: Wait) -> WireError {
        count(&self.counters.throttled_accounts);
        match wait {
            Wait::Rate(wait) => throttled("Rate exceeded", wait),
            Wait::InProgress => throttled("Too many requests of this account are in progress", SHED_RETRY),
        }
    }

    fn shed(&self) -> WireError {
        count(&self.counters.shed);
        overloaded()
    }

    /// Names, explanations and values for `/metrics`: first what only grows, then what comes and goes.
    pub(super) fn metrics(&self) -> ([Metric; 5], [Metric; 1]) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let of = &self.counters;
        (
            [
                (
                    "syncline_requests_throttled_by_source_total",
                    "Requests refused because their source address had used up its rate.",
                    read(&of.throttled_sources),
                ),
                (
                    "syncline_requests_throttled_by_account_total",
                    "Requests refused because their account had used up its rate or its places.",
                    read(&of.throttled_accounts),
                ),
                (
                    "syncline_requests_shed_total",
                    "Requests refused because too many were in progress.",
                    read(&of.shed),
                ),
                (
                    "syncline_requests_timed_out_total",
                    "Requests that were given up after the longest time.",
                    read(&of.timed_out),
                ),
                (
                    "syncline_bodies_timed_out_total",
                    "Requests whose body did not arrive in time.",
                    read(&of.late_bodies),
                ),
            ],
            [(
                "syncline_requests_in_progress",
                "Requests that are worked on.",
                u64::from(self.in_progress.taken()),
            )],
        )
    }
}

/// A name, an explanation, a value.
pub(super) type Metric = (&'static str, &'static str, u64);

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What somebody is told who has used up what is his.
pub(super) fn throttled(message: &str, wait: Duration) -> WireError {
    WireError::new(ErrorCode::Throttling, message).retry_after(wait)
}

/// What somebody is told who is refused because of what others do. It is the one modelled error with the
/// status 503, by which a proxy knows that another replica may answer.
pub(super) fn overloaded() -> WireError {
    WireError::new(ErrorCode::InternalServer, "the server has too much to do; try again later")
        .retry_after(SHED_RETRY)
}

/// The id of the access key that a request names, right or wrong.
fn claimed_key(headers: &HeaderMap) -> Option<&str> {
    let (_, credential) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once("Credential=")?;
    credential.split('/').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_that_a_request_names_is_found_without_parsing_it() {
        let check = |value: Option<&str>, key: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(AUTHORIZATION, value.parse().expect("a header"));
            }
            assert_eq!(claimed_key(&headers), key, "{value:?}");
        };
        check(
            Some("AWS4-HMAC-SHA256 Credential=AKIA/20261101/r/s/aws4_request, SignedHeaders=h"),
            Some("AKIA"),
        );
        check(Some("AWS4-HMAC-SHA256 SignedHeaders=h,Credential=AKIA/x"), Some("AKIA"));
        check(Some("Credential=AKIA"), Some("AKIA"));
        check(Some("Bearer token"), None);
        check(None, None);
    }
}
