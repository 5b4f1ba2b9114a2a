//! Following a sync's events from one look at its status to the next.

use syncline_wire::{ResourceSyncAttempt, ResourceSyncEvent};

/// What was seen of a sync so far.
#[derive(Debug, Default)]
pub(super) struct Followed {
    last: Option<ResourceSyncAttempt>,
}

/// What a look at a sync shows that no earlier one did.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct News<'a> {
    /// This attempt was not seen before.
    pub(super) is_new_attempt: bool,
    /// Its events that were not seen before, oldest first.
    pub(super) events: &'a [ResourceSyncEvent],
}

impl Followed {
    /// Takes note of the newest attempt and says what is new about it. Of an attempt with more events than an
    /// answer holds, those between two looks may be missed.
    pub(super) fn look<'a>(&mut self, latest: &'a ResourceSyncAttempt) -> News<'a> {
        let earlier = self.last.replace(latest.clone()).filter(|earlier| is_same(earlier, latest));
        let seen = earlier.as_ref().map_or(&[][..], |earlier| &earlier.events);
        let unseen_from = if latest.events.starts_with(seen) {
            seen.len()
        } else {
            // The oldest have left the answer.
            latest.events.iter().rposition(|event| Some(event) == seen.last()).map_or(0, |at| at + 1)
        };
        News { is_new_attempt: earlier.is_none(), events: &latest.events[unseen_from..] }
    }
}

/// An attempt has no id on the wire: its start and its revision tell it from others.
pub(super) fn is_same(one: &ResourceSyncAttempt, other: &ResourceSyncAttempt) -> bool {
    one.started_at == other.started_at && one.target_revision == other.target_revision
}

#[cfg(test)]
mod tests {
    use syncline_wire::{ProviderType, ResourceSyncStatus, Revision, Timestamp};

    use super::*;

    fn attempt(started_ms: i64, events: &[&str]) -> ResourceSyncAttempt {
        let revision = Revision {
            branch: "main".to_owned(),
            directory: ".".to_owned(),
            owner_id: "acme".to_owned(),
            repository_name: "shop".to_owned(),
            provider_type: ProviderType::Git,
            sha: "c1".to_owned(),
        };
        let event = |text: &&str| ResourceSyncEvent {
            event: (*text).to_owned(),
            external_id: None,
            time: Timestamp::from_epoch_ms(started_ms),
            r#type: "STACK_EVENT".to_owned(),
        };
        ResourceSyncAttempt {
            events: events.iter().map(event).collect(),
            initial_revision: revision.clone(),
            started_at: Timestamp::from_epoch_ms(started_ms),
            status: ResourceSyncStatus::InProgress,
            target_revision: revision,
            target: "shop".to_owned(),
        }
    }

    #[test]
    fn each_event_is_news_once() {
        let mut followed = Followed::default();
        let mut check = |started_ms, events: &[&str], is_new_attempt, expect: &[&str]| {
            let latest = attempt(started_ms, events);
            let news = followed.look(&latest);
            let texts: Vec<&str> = news.events.iter().map(|event| &*event.event).collect();
            assert_eq!((news.is_new_attempt, &*texts), (is_new_attempt, expect));
        };
        check(1, &[], true, &[]);
        check(1, &["a", "b"], false, &["a", "b"]);
        check(1, &["a", "b"], false, &[]);
        check(1, &["a", "b", "b", "c"], false, &["b", "c"]);
        check(1, &["b", "c", "d"], false, &["d"]);
        // Even the last one seen has left the answer.
        check(1, &["e", "f"], false, &["e", "f"]);
        check(2, &["a"], true, &["a"]);
        check(3, &["a"], true, &["a"]);
    }
}
