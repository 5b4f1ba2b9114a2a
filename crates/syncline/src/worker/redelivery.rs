//! A link's turn of asking GitHub which deliveries to our webhook failed, and of having them delivered again.
//!
//! **Architecture Invariant:** nothing of a sync is decided here: what arrives again goes through the inbox like everything
//! else, and what does not is found by the next poll.

use std::collections::{BTreeMap, BTreeSet};

use syncline_forges::rest::{HookDelivery, Refusal, has_deliveries, list_deliveries, redeliver};
use syncline_model::plan::{LONGEST_DELAY_MS, Trouble};
use syncline_store::{AskedAgain, Claim, HookLook, LinkRecord, RedeliveryRecord, StoreError};
use syncline_wire::Timestamp;
use tracing::{debug, info, warn};

use super::remote::reached;
use super::{Due, Worker};
use crate::forges::Reached;

/// From one look to the next, in milliseconds.
const LOOK_EVERY_MS: i64 = 3_600_000;
/// The same where the forge could not be asked, or was just asked for something the first time, in milliseconds.
const LOOK_AGAIN_MS: i64 = 5 * 60_000;
/// How far before the last look one looks back, in milliseconds: a delivery is listed when it has failed, which takes a
/// while, and clocks differ.
const OVERLAP_MS: i64 = 10 * 60_000;
/// How long what was asked for is remembered, in milliseconds: as long as GitHub remembers its deliveries.
const REMEMBERED_MS: i64 = 3 * 24 * 3_600_000;
/// What is remembered of what was asked for at the most.
const MOST_REMEMBERED: usize = 1_000;
/// What is asked for in one look at the most, the newest first: a poll finds what the others told of.
const MOST_ASKED: usize = 50;
/// How often one is asked for.
const MOST_TRIES: i64 = 3;
/// Pages of deliveries that are read in one look.
const MOST_PAGES: usize = 10;

/// Why a look came to nothing, or not to its end.
struct Unfinished {
    reason: String,
    /// The forge could not be asked: it may be soon.
    may_pass: bool,
    /// It wants fewer requests, and none for so many milliseconds.
    throttled_ms: Option<i64>,
}

impl From<Refusal> for Unfinished {
    fn from(refusal: Refusal) -> Self {
        let reason = match &refusal {
            Refusal::Forbidden(_) | Refusal::NotFound(_) => format!(
                "{refusal} (deliveries need admin:repo_hook, or Webhooks (read and write) of a fine-grained token or an App)"
            ),
            _ => refusal.to_string(),
        };
        let throttled_ms = match refusal {
            Refusal::Throttled { retry_after_ms, .. } => Some(retry_after_ms.unwrap_or(0)),
            _ => None,
        };
        Self { reason, may_pass: refusal.may_pass(), throttled_ms }
    }
}

impl From<Trouble> for Unfinished {
    fn from(trouble: Trouble) -> Self {
        let (Trouble::Refused { reason, .. } | Trouble::Outage { reason, .. } | Trouble::Gone { reason }) =
            trouble;
        Self { reason, may_pass: false, throttled_ms: None }
    }
}

/// What was asked for in a look.
#[derive(Default)]
struct Asking {
    asked: BTreeMap<String, AskedAgain>,
    /// How many the forge took on.
    taken: usize,
    /// How many it refused, each for itself, and why it did the last.
    refused: usize,
    refusal: Option<String>,
    /// Whether one of them was asked for the first time.
    is_first: bool,
}

/// Of each event that nobody has taken, the newest try; the newest first.
fn failed(deliveries: &[HookDelivery]) -> Vec<&HookDelivery> {
    let arrived: BTreeSet<&str> =
        deliveries.iter().filter(|one| one.has_arrived()).map(|one| &*one.guid).collect();
    let mut newest = BTreeMap::new();
    for (number, one) in deliveries.iter().enumerate() {
        newest.entry(&*one.guid).or_insert(number);
    }
    // One that is under way is the newest try, and has not failed yet.
    let is_failed = |(number, one): &(usize, &HookDelivery)| {
        newest.get(&*one.guid) == Some(number) && one.status.is_some() && !arrived.contains(&*one.guid)
    };
    deliveries.iter().enumerate().filter(is_failed).map(|(_, one)| one).collect()
}

/// Those of what failed that are to be asked for, given what the inbox has and what was asked for before.
fn wanted<'d>(
    failed: Vec<&'d HookDelivery>,
    received: &BTreeSet<String>,
    asked: &BTreeMap<String, AskedAgain>,
) -> Vec<&'d HookDelivery> {
    let tries = |one: &HookDelivery| asked.get(&one.guid).map_or(0, |asked| asked.tries);
    let is_wanted = |one: &&HookDelivery| !received.contains(&one.guid) && tries(one) < MOST_TRIES;
    failed.into_iter().filter(is_wanted).take(MOST_ASKED).collect()
}

/// What is remembered of what was asked for.
fn remembered(asked: &BTreeMap<String, AskedAgain>, now_ms: i64) -> BTreeMap<String, AskedAgain> {
    let mut kept: Vec<_> = asked.iter().filter(|(_, asked)| asked.at_ms > now_ms - REMEMBERED_MS).collect();
    kept.sort_by_key(|(_, asked)| std::cmp::Reverse(asked.at_ms));
    kept.into_iter().take(MOST_REMEMBERED).map(|(guid, asked)| (guid.clone(), *asked)).collect()
}

/// Whether a delivery is older than what is looked back to; both are in ISO 8601 and UTC, and compared to the second.
fn is_before(delivered_at: &str, back_to: &str) -> bool {
    let seconds = |text: &str| text.get(.."2026-01-01T00:00:00".len()).map(str::to_owned);
    seconds(delivered_at).zip(seconds(back_to)).is_some_and(|(one, other)| one < other)
}

impl Worker {
    pub(super) async fn work_on_redelivery(&self, claim: &Claim) -> Result<Due, StoreError> {
        let record = self.store.redelivery_record(claim).await?;
        let link = match &record {
            Some(record) => self.store.link_record(&record.link_id).await?,
            None => None,
        };
        let Some((record, link)) = record.zip(link) else {
            self.store.forget_work(claim).await?;
            return Ok(None);
        };
        let began_ms = self.clock.now_ms();
        let mut asking = Asking { asked: remembered(&record.asked, began_ms), ..Asking::default() };
        let looked = self.look_for_failed(claim, &record, &link, &mut asking).await?;
        let link_id = &record.link_id;
        if asking.taken > 0 {
            info!(link = link_id, count = asking.taken, "the forge delivers again what had failed to arrive");
        }
        if let Some(reason) = &asking.refusal {
            let count = asking.refused;
            warn!(link = link_id, count, reason, "the forge does not deliver again what failed to arrive");
        }
        let trouble = looked.as_ref().err();
        if let Some(Unfinished { reason, .. }) = trouble {
            // Said once: it may stay so for long.
            if record.trouble.as_ref() == Some(reason) {
                debug!(link = link_id, reason, "failed deliveries could not be asked for");
            } else {
                warn!(
                    link = link_id,
                    reason, "failed deliveries could not be asked for; polls find what they told of"
                );
            }
        }
        if let Some(asked_ms) = trouble.and_then(|trouble| trouble.throttled_ms) {
            let reason = trouble.map_or("", |trouble| &*trouble.reason);
            self.ask_more_slowly(claim, asked_ms, reason).await?;
        }
        let look = HookLook {
            asked: asking.asked,
            // What one delivery was refused is asked for again, however long ago it failed.
            looked_ms: (looked.is_ok() && asking.refused == 0).then_some(began_ms),
            trouble: trouble.map(|trouble| trouble.reason.clone()),
        };
        self.store.record_hook_look(claim, look).await?;
        let is_soon = asking.is_first || trouble.is_some_and(|trouble| trouble.may_pass);
        let delay_ms = if is_soon { LOOK_AGAIN_MS } else { LOOK_EVERY_MS };
        let asked_ms = trouble.and_then(|trouble| trouble.throttled_ms).unwrap_or(0);
        let asked_ms = asked_ms.min(LONGEST_DELAY_MS);
        Ok(Some(self.clock.now_ms() + delay_ms.max(asked_ms)))
    }

    /// Asks for what failed since the last look, and has it delivered again.
    async fn look_for_failed(
        &self,
        claim: &Claim,
        record: &RedeliveryRecord,
        link: &LinkRecord,
        asking: &mut Asking,
    ) -> Result<Result<(), Unfinished>, StoreError> {
        let at = match reached(&self.store, self.forges.endpoints(), link).await {
            Ok(at) => at,
            Err(trouble) => return Ok(Err(trouble.into())),
        };
        // Another version registered it, at a forge that delivers again by itself or not at all.
        let Some(at) = at.filter(|at| has_deliveries(at.access.forge())) else { return Ok(Ok(())) };
        let (hook_id, deliveries) = match self.deliveries(&at, record).await {
            Ok(found) => found,
            Err(unfinished) => return Ok(Err(unfinished)),
        };
        let failed = failed(&deliveries);
        let guids = failed.iter().map(|one| one.guid.clone()).collect();
        let received = self.store.delivered_among(&record.link_id, guids).await?;
        let wanted = wanted(failed, &received, &asking.asked);
        if wanted.is_empty() {
            return Ok(Ok(()));
        }
        let before = asking.asked.clone();
        let now_ms = self.clock.now_ms();
        for one in &wanted {
            let asked =
                asking.asked.entry(one.guid.clone()).or_insert(AskedAgain { tries: 0, at_ms: now_ms });
            *asked = AskedAgain { tries: asked.tries + 1, at_ms: now_ms };
        }
        self.store.begin_redeliveries(claim, asking.asked.clone()).await?;
        let root = at.extra_root_pem.as_deref();
        for (number, one) in wanted.iter().enumerate() {
            asking.is_first |= !before.contains_key(&one.guid);
            let question = redeliver(&at.access, &at.repository, &hook_id, &one.id);
            let refusal = match self.forges.ask(root, question).await {
                Ok(()) => {
                    asking.taken += 1;
                    continue;
                }
                Err(refusal) => refusal,
            };
            match refusal {
                // Of this one: GitHub may have forgotten it by now.
                Refusal::NotFound(_) | Refusal::Invalid(_) => {
                    asking.refused += 1;
                    asking.refusal = Some(refusal.to_string());
                }
                Refusal::Unauthorized(_)
                | Refusal::Forbidden(_)
                | Refusal::Throttled { .. }
                | Refusal::Unreached(_)
                | Refusal::Unavailable(_) => {
                    // Of this one nobody knows after `Unavailable`; those after it were not asked for, and none of a refusal.
                    let was_asked = matches!(refusal, Refusal::Unavailable(_));
                    for left in &wanted[number + usize::from(was_asked)..] {
                        match before.get(&left.guid) {
                            Some(asked) => asking.asked.insert(left.guid.clone(), *asked),
                            None => asking.asked.remove(&left.guid),
                        };
                    }
                    return Ok(Err(refusal.into()));
                }
            }
        }
        Ok(Ok(()))
    }

    /// The webhook's id at its forge, and its deliveries since the last look, the newest first.
    async fn deliveries(
        &self,
        at: &Reached,
        record: &RedeliveryRecord,
    ) -> Result<(String, Vec<HookDelivery>), Unfinished> {
        let hooks = self.forges.hooks_of(at, &record.webhook_id).await?;
        let Some(hook) = hooks.into_iter().next() else {
            let reason = "the forge has no such webhook any more: register it again".to_owned();
            return Err(Unfinished { reason, may_pass: false, throttled_ms: None });
        };
        let back_to =
            record.looked_ms.map(|looked_ms| Timestamp::from_epoch_ms(looked_ms - OVERLAP_MS).iso8601());
        let root = at.extra_root_pem.as_deref();
        let mut question = Some(list_deliveries(&at.access, &at.repository, &hook.id));
        let mut all = Vec::new();
        for _ in 0..MOST_PAGES {
            let Some(asked) = question.take() else { break };
            let page = self.forges.ask(root, asked).await?;
            let is_new = |one: &HookDelivery| {
                back_to.as_ref().is_none_or(|back_to| !is_before(&one.delivered_at, back_to))
            };
            let (listed, before) = (page.items.len(), all.len());
            all.extend(page.items.into_iter().take_while(is_new));
            // Where one is older, so are all that follow.
            question = page.next.filter(|_| all.len() == before + listed);
        }
        Ok((hook.id, all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Deliveries, the newest first, each as `<guid> <status>`; `-` is one under way.
    fn deliveries(text: &str) -> Vec<HookDelivery> {
        let delivery = |(number, one): (usize, &str)| {
            let (guid, status) = one.trim().split_once(' ').expect("a GUID and a status");
            HookDelivery {
                id: number.to_string(),
                guid: guid.to_owned(),
                delivered_at: "2026-11-01T00:00:00Z".to_owned(),
                status: status.parse().ok(),
            }
        };
        text.split(',').filter(|one| !one.is_empty()).enumerate().map(delivery).collect()
    }

    #[test]
    fn what_nobody_has_taken_is_asked_for_once() {
        let check = |listed: &str, received: &[&str], tried: &[(&str, i64)], expect: &[&str]| {
            let listed_deliveries = deliveries(listed);
            let received = received.iter().map(|guid| (*guid).to_owned()).collect();
            let asked = tried
                .iter()
                .map(|(guid, tries)| ((*guid).to_owned(), AskedAgain { tries: *tries, at_ms: 0 }))
                .collect();
            let wanted = wanted(failed(&listed_deliveries), &received, &asked);
            let wanted: Vec<_> = wanted.iter().map(|one| format!("{} {}", one.id, one.guid)).collect();
            assert_eq!(wanted, expect, "{listed} {received:?} {tried:?}");
        };
        check("", &[], &[], &[]);
        check("a 200,b 202", &[], &[], &[]);
        check("a 502,b 202,c 404", &[], &[], &["0 a", "2 c"]);
        check("a 0,b 302,c 199", &[], &[], &["0 a", "1 b", "2 c"]);
        // Whichever try arrived, the event has.
        check("a 202,a 502", &[], &[], &[]);
        check("a 502,a 202", &[], &[], &[]);
        // The newest try stands for all.
        check("a 504,b 200,a 502,a 502", &[], &[], &["0 a"]);
        check("a -,a 502", &[], &[], &[]);
        // The answer was lost, and not the delivery.
        check("a 502,b 502", &["a"], &[], &["1 b"]);
        check("a 502,b 502,c 502", &[], &[("a", 3), ("b", 2)], &["1 b", "2 c"]);
        let many: Vec<_> = (0..60).map(|number| format!("g{number} 502")).collect();
        let first: Vec<_> = (0..50).map(|number| format!("{number} g{number}")).collect();
        check(&many.join(","), &[], &[], &first.iter().map(String::as_str).collect::<Vec<_>>());
    }

    #[test]
    fn a_look_goes_back_to_the_one_before() {
        let check = |one: &str, back_to: &str, expect: bool| {
            assert_eq!(is_before(one, back_to), expect, "{one} {back_to}");
        };
        check("2026-11-01T00:00:00Z", "2026-11-01T00:00:01Z", true);
        check("2026-11-01T00:00:00.999Z", "2026-11-01T00:00:01Z", true);
        check("2026-11-01T00:00:01.000Z", "2026-11-01T00:00:01Z", false);
        check("2026-11-01T00:00:02Z", "2026-11-01T00:00:01Z", false);
        // What says no time is looked at.
        check("yesterday", "2026-11-01T00:00:01Z", false);
    }

    #[test]
    fn what_was_asked_for_is_remembered_within_bounds() {
        let at = |at_ms| AskedAgain { tries: 1, at_ms };
        let asked: BTreeMap<_, _> = (0..1_500).map(|number| (format!("g{number}"), at(number))).collect();
        let kept = remembered(&asked, 1_000);
        assert_eq!(kept.len(), MOST_REMEMBERED);
        assert_eq!(kept.values().map(|asked| asked.at_ms).min(), Some(500), "the newest are kept");
        assert_eq!(remembered(&asked, REMEMBERED_MS + 1_497).len(), 2);
        assert_eq!(remembered(&asked, 2 * REMEMBERED_MS).len(), 0);
    }
}
