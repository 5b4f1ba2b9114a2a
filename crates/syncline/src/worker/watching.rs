//! Which stacks are being executed for whom, so that many of them share a look.
//!
//! One of many in a role's account and region is looked at in a listing of all stacks in progress: while that shows it
//! as it was when it was looked at by itself, it is still in progress, and that is all that is concluded from it. Every
//! other decision is made from a look of its own. What is remembered here is a hint: whoever is not known is looked at
//! by itself, as after a restart.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use syncline_model::plan::poll_delay_ms;
use syncline_targets::{Access, InProgress, Stack};

/// So many stacks in progress are looked at one by one, as closely as their events allow.
const FEW: usize = 4;
/// How far apart looks by themselves are, for each stack in progress: together they make one a second.
const LOOK_EVERY_MS: i64 = 1_000;
/// One that was not looked at for so long ended elsewhere.
const FORGOTTEN_AFTER_MS: i64 = 60_000;
/// How long a role that may not list stacks is not asked to.
const REFUSED_FOR_MS: i64 = 600_000;
/// Those who wait between two of these are due together, at multiples of the smaller one.
const STEPS_MS: [i64; 5] = [250, 500, 1_000, 2_000, 4_000];

#[derive(Debug, Default)]
pub(super) struct Watching {
    accesses: Mutex<HashMap<Access, Watched>>,
}

/// What is in progress in one role's account and region.
#[derive(Debug, Default)]
struct Watched {
    /// By the attempt's id.
    stacks: HashMap<String, Known>,
    /// Until when listings are refused.
    refused_until_ms: i64,
}

/// A stack as it was when it was looked at by itself.
#[derive(Debug)]
struct Known {
    stack: InProgress,
    looked_ms: i64,
    /// When it was looked at in any way.
    seen_ms: i64,
}

impl Watching {
    fn lock(&self) -> MutexGuard<'_, HashMap<Access, Watched>> {
        self.accesses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a stack in which an attempt's execution is known to have begun.
    pub(super) fn note(&self, access: &Access, attempt_id: &str, stack: &Stack, now_ms: i64) {
        let stack = InProgress { status: stack.status.clone(), updated_ms: stack.updated_ms };
        let mut accesses = self.lock();
        let watched = accesses.entry(access.clone()).or_default();
        watched.stacks.retain(|_, known| known.seen_ms + FORGOTTEN_AFTER_MS > now_ms);
        watched.stacks.insert(attempt_id.to_owned(), Known { stack, looked_ms: now_ms, seen_ms: now_ms });
    }

    /// Forgets an attempt that has ended.
    pub(super) fn forget(&self, access: &Access, attempt_id: &str) {
        let mut accesses = self.lock();
        if let Some(watched) = accesses.get_mut(access) {
            watched.stacks.remove(attempt_id);
            if watched.stacks.is_empty() && watched.refused_until_ms == 0 {
                accesses.remove(access);
            }
        }
    }

    /// Notes that the role may not list stacks.
    pub(super) fn refuse(&self, access: &Access, now_ms: i64) {
        self.lock().entry(access.clone()).or_default().refused_until_ms = now_ms + REFUSED_FOR_MS;
    }

    /// What a listing is to show of an attempt's stack, if that is to be looked at in one.
    pub(super) fn expected(&self, access: &Access, attempt_id: &str, now_ms: i64) -> Option<InProgress> {
        let mut accesses = self.lock();
        let watched = accesses.get_mut(access)?;
        let count = watched.stacks.len();
        if count <= FEW || now_ms < watched.refused_until_ms {
            return None;
        }
        let known = watched.stacks.get_mut(attempt_id)?;
        known.seen_ms = now_ms;
        let apart_ms = LOOK_EVERY_MS.saturating_mul(i64::try_from(count).unwrap_or(i64::MAX));
        (now_ms < known.looked_ms.saturating_add(apart_ms)).then(|| known.stack.clone())
    }

    /// When to look again, in milliseconds since the Unix epoch, at an execution that was waited for so long: if there
    /// are many, together with the others.
    pub(super) fn next_look_ms(&self, access: &Access, now_ms: i64, waited_ms: i64) -> i64 {
        let delay_ms = poll_delay_ms(waited_ms);
        if self.lock().get(access).is_none_or(|watched| watched.stacks.len() <= FEW) {
            return now_ms + delay_ms;
        }
        let step_ms = STEPS_MS.into_iter().rev().find(|step_ms| *step_ms <= delay_ms).unwrap_or(STEPS_MS[0]);
        (now_ms.div_euclid(step_ms) + 1) * step_ms
    }
}

#[cfg(test)]
mod tests {
    use syncline_targets::StackStatus;

    use super::*;

    fn access(account: &str) -> Access {
        Access {
            account: account.parse().expect("an account"),
            role: "arn:aws:iam::222222222222:role/deploy".parse().expect("a role"),
            external_id: "x".to_owned(),
            region: "eu-west-1".parse().expect("a region"),
        }
    }

    fn stack(number: usize) -> Stack {
        Stack {
            id: format!("stack-{number}"),
            name: "web".to_owned(),
            status: StackStatus::UpdateInProgress,
            status_reason: None,
            change_set_arn: None,
            created_ms: Some(1),
            updated_ms: Some(2),
        }
    }

    #[test]
    fn few_stacks_are_looked_at_one_by_one_and_many_in_a_listing() {
        let (watching, ours) = (Watching::default(), access("111111111111"));
        let listed = |now_ms| {
            (0..20).filter(|n| watching.expected(&ours, &format!("a-{n}"), now_ms).is_some()).count()
        };
        for number in 0..FEW {
            watching.note(&ours, &format!("a-{number}"), &stack(number), 0);
        }
        assert_eq!(listed(1), 0);
        assert_eq!(watching.next_look_ms(&ours, 1_700, 8_000), 3_700, "as by itself");
        for number in FEW..20 {
            watching.note(&ours, &format!("a-{number}"), &stack(number), 0);
        }
        let expected = watching.expected(&ours, "a-7", 1).expect("one of many");
        assert_eq!(expected, InProgress { status: StackStatus::UpdateInProgress, updated_ms: Some(2) });
        assert_eq!(listed(19_999), 20);
        assert_eq!(listed(20_000), 0, "twenty of them, each by itself every twenty seconds");
        watching.note(&ours, "a-3", &stack(3), 20_000);
        assert_eq!(listed(20_001), 1);
        assert_eq!(watching.expected(&ours, "unknown", 1), None);
        assert_eq!(watching.expected(&access("333333333333"), "a-7", 1), None, "another owner's are others");

        watching.refuse(&ours, 20_001);
        assert_eq!(listed(20_002), 0);
        watching.note(&ours, "a-4", &stack(4), 20_001 + REFUSED_FOR_MS);
        assert_eq!(listed(20_001 + REFUSED_FOR_MS), 0, "the others were not seen for ten minutes");
        watching.forget(&ours, "a-4");
        assert_eq!(watching.lock()[&ours].stacks.len(), 0);
    }

    #[test]
    fn many_are_due_together() {
        let (watching, ours) = (Watching::default(), access("111111111111"));
        for number in 0..10 {
            watching.note(&ours, &format!("a-{number}"), &stack(number), 0);
        }
        let check = |now_ms, waited_ms, expected| {
            assert_eq!(watching.next_look_ms(&ours, now_ms, waited_ms), expected, "{now_ms} {waited_ms}");
        };
        check(10_000, 0, 10_250);
        check(10_001, 900, 10_250);
        check(10_249, 2_300, 10_500);
        check(10_250, 5_000, 11_000);
        check(10_999, 9_000, 12_000);
        check(12_000, 60_000, 16_000);
        check(13_500, 1_000_000, 16_000);
    }
}
