//! Assumed roles, kept while they last.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_config::Region as SdkRegion;
use aws_credential_types::Credentials;
use syncline_model::names::RoleArn;
use syncline_seams::Clock;

use super::guarded::Guarded;
use super::sdk;
use crate::classify::{Operation, classify};
use crate::{Access, TargetError};

/// How long before its end a session is renewed, in milliseconds: longer than the clocks of two well-kept
/// machines are apart, shorter than the shortest session AWS grants (15 minutes).
const RENEW_BEFORE_MS: i64 = 300_000;

/// The most roles whose sessions are kept.
const MAX_ROLES: usize = 1_000;

/// The credentials of an assumed role.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) credentials: Credentials,
    renew_at_ms: i64,
}

/// A role as one owner assumes it: another owner has another external id, and the role may trust only one.
type Key = (RoleArn, String);

/// One role's place. Whoever holds the lock is calling AWS; the others wait for what comes of it.
#[derive(Default)]
struct Slot {
    /// What the last call brought.
    last: tokio::sync::Mutex<Option<Result<Session, TargetError>>>,
    /// How many calls have ended.
    calls: AtomicU64,
    /// When it was last asked for, in a count of its own.
    used: AtomicU64,
}

/// Assumes roles.
pub(super) struct Sessions {
    sts: Guarded<aws_sdk_sts::Client>,
    /// The region to call STS in; the stack's own if `None`. A session from any region's endpoint is good in
    /// all regions, but only our own account's regions are sure to be switched on for us.
    home: Option<SdkRegion>,
    clock: Arc<dyn Clock>,
    slots: Mutex<HashMap<Key, Arc<Slot>>>,
    uses: AtomicU64,
}

impl Sessions {
    pub(super) fn new(
        sts: Guarded<aws_sdk_sts::Client>,
        home: Option<SdkRegion>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let slots = Mutex::default();
        Self { sts, home, clock, slots, uses: AtomicU64::new(0) }
    }

    /// The role's session, good for another five minutes at least (by our clock, and unless AWS grants less).
    /// Callers that come while the role is being assumed share that call, its failure included.
    pub(super) async fn session(&self, access: &Access, whereabouts: &str) -> Result<Session, TargetError> {
        let slot = self.slot(access);
        let calls_seen = slot.calls.load(Ordering::Acquire);
        let mut last = slot.last.lock().await;
        match &*last {
            Some(Ok(session)) if self.clock.now_ms() < session.renew_at_ms => return Ok(session.clone()),
            // Somebody else's call ended while we waited; asking once more each would only take turns.
            Some(outcome) if slot.calls.load(Ordering::Acquire) != calls_seen => return outcome.clone(),
            _ => {}
        }
        let outcome = self.assume(access, whereabouts).await;
        *last = Some(outcome.clone());
        slot.calls.fetch_add(1, Ordering::Release);
        outcome
    }

    /// Forgets a session that the other side no longer takes, unless it has been renewed meanwhile.
    pub(super) async fn forget(&self, access: &Access, rejected: &Session) {
        let slot = self.slot(access);
        let mut last = slot.last.lock().await;
        let is_it = |held: &Session| {
            held.credentials.access_key_id() == rejected.credentials.access_key_id()
                && held.credentials.session_token() == rejected.credentials.session_token()
        };
        if matches!(&*last, Some(Ok(held)) if is_it(held)) {
            *last = None;
        }
    }

    async fn assume(&self, access: &Access, whereabouts: &str) -> Result<Session, TargetError> {
        let region = self.home.clone().unwrap_or_else(|| SdkRegion::new(access.region.to_string()));
        let call = async |sts: aws_sdk_sts::Client| {
            sts.assume_role()
                .role_arn(access.role.as_str())
                .external_id(&access.external_id)
                .role_session_name(access.session_name())
                .customize()
                .config_override(aws_sdk_sts::Config::builder().region(region))
                .send()
                .await
                .map_err(|e| {
                    classify(Operation::AssumeRole, sdk::failure(&e, whereabouts), Some(&access.role))
                })
        };
        let answer = self.sts.call(Operation::AssumeRole, call).await?;
        let Some(granted) = answer.credentials() else {
            return Err(TargetError::unavailable(
                "MalformedAnswer",
                format!("{whereabouts} assumed {} without giving credentials", access.role),
            ));
        };
        let expires_at_ms = granted.expiration().to_millis().unwrap_or_default();
        // Without an expiry of its own: the SDK would judge it by another rule than ours.
        let credentials = Credentials::new(
            granted.access_key_id(),
            granted.secret_access_key(),
            Some(granted.session_token().to_owned()),
            None,
            "sts.AssumeRole",
        );
        Ok(Session { credentials, renew_at_ms: expires_at_ms.saturating_sub(RENEW_BEFORE_MS) })
    }

    fn slot(&self, access: &Access) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (access.role.clone(), access.external_id.clone());
        if slots.len() >= MAX_ROLES && !slots.contains_key(&key) {
            let oldest = slots.iter().min_by_key(|(_, slot)| slot.used.load(Ordering::Relaxed));
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                slots.remove(&oldest);
            }
        }
        let slot = slots.entry(key).or_default();
        slot.used.store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        Arc::clone(slot)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::guarded::Guard;
    use super::*;
    use syncline_seams::{Outside, VirtualClock};

    #[test]
    fn the_role_asked_for_longest_ago_makes_room() {
        let version = aws_config::BehaviorVersion::v2026_01_12();
        let guard = Guard::new(Outside::default(), Duration::from_secs(1));
        let sts = guard.sts(&aws_config::SdkConfig::builder().behavior_version(version).build());
        let clock = Arc::new(VirtualClock::starting_at(0));
        let sessions = Sessions::new(sts, None, clock);
        let access = |n: usize| Access {
            account: "111111111111".parse().expect("valid"),
            role: format!("arn:aws:iam::222222222222:role/r-{n}").parse().expect("valid"),
            external_id: "x".to_owned(),
            region: "eu-west-1".parse().expect("valid"),
        };
        let first: Vec<_> = (0..MAX_ROLES).map(|n| sessions.slot(&access(n))).collect();
        assert!(Arc::ptr_eq(&first[0], &sessions.slot(&access(0))), "kept, and used again");

        sessions.slot(&access(MAX_ROLES));
        assert_eq!(sessions.slots.lock().expect("not poisoned").len(), MAX_ROLES);
        assert!(Arc::ptr_eq(&first[0], &sessions.slot(&access(0))));
        assert!(Arc::ptr_eq(&first[2], &sessions.slot(&access(2))));
        assert!(!Arc::ptr_eq(&first[1], &sessions.slot(&access(1))), "the oldest made room");
    }
}
