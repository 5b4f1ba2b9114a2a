//! Whose turn it is: fair shares of the worker's places, and how fast an endpoint lets us go.
//!
//! Work stands in *lanes*: the account it belongs to, the endpoint it talks to (a Git host, or one AWS account in one
//! region), and its repository. [`Turns::choose`] hands free places to lanes so that at each of these levels the one
//! with the least in progress comes first, then the one whose last turn is the longest ago. A place is bounded at each
//! level, so that whoever hangs keeps only his own from working.
//!
//! [`Pace`] is what throttling leaves behind: fewer places for the endpoint, a pause, and a slow way back.
//! It is additive increase and multiplicative decrease, but the increase comes with time alone, so that only a
//! throttled call is ever recorded.

use std::collections::HashMap;
use std::fmt;

/// Where a piece of work stands in line.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Lane {
    /// The account it belongs to; empty if that is not known yet.
    pub account: String,
    /// Who is talked to: `git:<host>`, or `aws:<account>:<region>`.
    pub endpoint: String,
    /// The repository link whose work it is; empty where each repository has one piece of work only.
    pub repository: String,
}

impl Lane {
    /// The lane of a stored text: what [`Lane`] displays as.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let mut parts = text.splitn(3, '/').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        Self { account: next(), endpoint: next(), repository: next() }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.account, self.endpoint, self.repository)
    }
}

/// How many pieces of one kind of work may be in progress at a time, each at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// In one worker. The others hold for all workers together.
    pub total: u32,
    /// Of one account.
    pub per_account: u32,
    /// With one endpoint, whatever the account.
    pub per_endpoint: u32,
    /// Of one repository.
    pub per_repository: u32,
}

/// A lane with work that is due and that nobody holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The lane.
    pub lane: Lane,
    /// Since when its oldest piece is due, in milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// How many pieces are due, as far as somebody counted; there is one at least.
    pub pieces: u32,
}

/// Lanes whose last turn is remembered; beyond that, all are forgotten and equal again.
const MOST_REMEMBERED: usize = 20_000;

/// Who had a turn when. A hint that need not outlive the worker: without it, turns are handed out by what is in
/// progress alone.
#[derive(Debug, Default)]
pub struct Turns {
    given: u64,
    last: HashMap<String, u64>,
}

/// The places of one lane and of what it belongs to, by index into the counts.
struct Candidate {
    account: usize,
    account_endpoint: usize,
    endpoint: usize,
    lane: usize,
    left: u32,
    since_ms: i64,
}

/// What is in progress and when there was a turn, by key.
#[derive(Default)]
struct Counts {
    index: HashMap<String, usize>,
    in_progress: Vec<u32>,
    last_turn: Vec<u64>,
}

impl Counts {
    fn at(&mut self, key: String, turns: &Turns) -> usize {
        if let Some(&index) = self.index.get(&key) {
            return index;
        }
        let index = self.in_progress.len();
        self.in_progress.push(0);
        self.last_turn.push(turns.last.get(&key).copied().unwrap_or(0));
        self.index.insert(key, index);
        index
    }
}

impl Turns {
    /// Hands up to `places` places to lanes with due work: for each, how many. `held` is what is in progress already,
    /// `allowed` how many places an endpoint's pace leaves it, if it has one.
    pub fn choose(
        &mut self,
        due: &[Due],
        held: &[(Lane, u32)],
        allowed: impl Fn(&str) -> Option<u32>,
        bounds: &Bounds,
        places: u32,
    ) -> Vec<(Lane, u32)> {
        let mut counts = Counts::default();
        let place = |lane: &Lane, counts: &mut Counts| {
            let account_endpoint = format!("{}/{}", lane.account, lane.endpoint);
            [lane.account.clone(), account_endpoint, format!("/{}", lane.endpoint), lane.to_string()]
                .map(|key| counts.at(key, self))
        };
        for (lane, pieces) in held {
            for index in place(lane, &mut counts) {
                counts.in_progress[index] = counts.in_progress[index].saturating_add(*pieces);
            }
        }
        let mut candidates: Vec<Candidate> = due
            .iter()
            .map(|due| {
                let [account, account_endpoint, endpoint, lane] = place(&due.lane, &mut counts);
                let left = due.pieces;
                Candidate { account, account_endpoint, endpoint, lane, left, since_ms: due.since_ms }
            })
            .collect();
        let caps: Vec<u32> = due
            .iter()
            .map(|due| {
                allowed(&due.lane.endpoint).map_or(bounds.per_endpoint, |n| n.min(bounds.per_endpoint))
            })
            .collect();
        let mut chosen = vec![0; due.len()];
        for _ in 0..places {
            let n = &counts.in_progress;
            let free = candidates.iter().enumerate().filter(|(index, c)| {
                c.left > 0
                    && n[c.account] < bounds.per_account
                    && n[c.endpoint] < caps[*index]
                    && n[c.lane] < bounds.per_repository
            });
            let next = free.min_by_key(|(_, c)| {
                let share = |index: usize| (n[index], counts.last_turn[index]);
                (share(c.account), share(c.account_endpoint), share(c.lane), c.since_ms)
            });
            let Some(index) = next.map(|(index, _)| index) else { break };
            let candidate = &mut candidates[index];
            candidate.left -= 1;
            chosen[index] += 1;
            self.given += 1;
            let Candidate { account, account_endpoint, endpoint, lane, .. } = *candidate;
            for index in [account, account_endpoint, endpoint, lane] {
                counts.in_progress[index] += 1;
                counts.last_turn[index] = self.given;
            }
        }
        if self.last.len() > MOST_REMEMBERED {
            self.last.clear();
        }
        let turns = counts.index.into_iter().map(|(key, index)| (key, counts.last_turn[index]));
        self.last.extend(turns.filter(|(_, turn)| *turn > 0));
        let chosen = due.iter().zip(chosen).filter(|(_, pieces)| *pieces > 0);
        chosen.map(|(due, pieces)| (due.lane.clone(), pieces)).collect()
    }
}

/// How long until a throttled endpoint is allowed one place more, in milliseconds.
pub const ONE_MORE_AFTER_MS: i64 = 2_000;
/// The longest pause after a throttled call, in milliseconds, unless the endpoint itself asks for more.
pub const LONGEST_PAUSE_MS: i64 = 60_000;

/// How fast a throttled endpoint lets us go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Places that it is allowed when its pause is over; at least 1.
    pub allowed: u32,
    /// Throttled calls in a row, each begun after the pause of the one before.
    pub strikes: i64,
    /// Nothing is begun before, in milliseconds since the Unix epoch.
    pub not_before_ms: i64,
    /// When the newest strike was recorded, in milliseconds since the Unix epoch.
    pub since_ms: i64,
}

impl Pace {
    /// How many places the endpoint is allowed now.
    #[must_use]
    pub fn allowed_at(&self, now_ms: i64) -> u32 {
        if now_ms < self.not_before_ms {
            return 0;
        }
        let more = (now_ms - self.not_before_ms) / ONE_MORE_AFTER_MS;
        self.allowed.saturating_add(u32::try_from(more).unwrap_or(u32::MAX))
    }

    /// Whether it has no effect any more where `bound` holds anyway.
    #[must_use]
    pub fn is_over(&self, now_ms: i64, bound: u32) -> bool {
        self.allowed_at(now_ms) >= bound
    }

    /// The pace after a throttled call that belongs to a turn begun at `began_ms`; `None` if it tells nothing new.
    /// `before` is the pace until now, `in_progress` what is being done with the endpoint, `retry_after_ms` what it
    /// asked for, `jitter` 0 to 1.
    #[must_use]
    pub fn throttled(
        before: Option<Self>,
        began_ms: i64,
        now_ms: i64,
        in_progress: u32,
        bound: u32,
        retry_after_ms: Option<i64>,
        jitter: f64,
    ) -> Option<Self> {
        let before = before.filter(|pace| !pace.is_over(now_ms, bound));
        let asked_ms =
            now_ms.saturating_add(retry_after_ms.unwrap_or(0).clamp(0, crate::plan::LONGEST_DELAY_MS));
        if let Some(before) = before
            && began_ms <= before.since_ms
        {
            // One of those that were under way when the last one was refused: it is no second strike.
            return (asked_ms > before.not_before_ms).then_some(Self { not_before_ms: asked_ms, ..before });
        }
        let until_now =
            before.map_or(bound, |pace| pace.allowed_at(now_ms)).min(bound).min(in_progress.max(1));
        let strikes = before.map_or(0, |pace| pace.strikes).saturating_add(1);
        let pause_ms = pause_ms(strikes, jitter);
        Some(Self {
            allowed: (until_now / 2).max(1),
            strikes,
            not_before_ms: asked_ms.max(now_ms.saturating_add(pause_ms)),
            since_ms: now_ms,
        })
    }
}

/// The pause after so many strikes: 1 s doubled each time, up to [`LONGEST_PAUSE_MS`], of which half at most is taken
/// off by `jitter` (0 to 1).
fn pause_ms(strikes: i64, jitter: f64) -> i64 {
    let doublings = u32::try_from((strikes - 1).clamp(0, 10)).unwrap_or(10);
    let full = (1000_i64 << doublings).min(LONGEST_PAUSE_MS);
    #[expect(clippy::cast_possible_truncation, reason = "at most half a minute")]
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let off = (full as f64 * 0.5 * jitter.clamp(0.0, 1.0)) as i64;
    full - off
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { total: 64, per_account: 12, per_endpoint: 8, per_repository: 6 };

    fn due(lane: &str, since_ms: i64, pieces: u32) -> Due {
        Due { lane: Lane::from_text(lane), since_ms, pieces }
    }

    fn chosen(turns: &mut Turns, due: &[Due], held: &[(&str, u32)], places: u32) -> Vec<(String, u32)> {
        let held: Vec<_> = held.iter().map(|(lane, n)| (Lane::from_text(lane), *n)).collect();
        let chosen = turns.choose(due, &held, |_| None, &BOUNDS, places);
        chosen.into_iter().map(|(lane, n)| (lane.to_string(), n)).collect()
    }

    fn expected(lanes: &[(&str, u32)]) -> Vec<(String, u32)> {
        lanes.iter().map(|(lane, n)| ((*lane).to_owned(), *n)).collect()
    }

    #[test]
    fn lanes_round_trip() {
        for text in ["1/git:h:81/l", "1/aws:2:eu-west-1/l", "//", "1/git:h/"] {
            assert_eq!(Lane::from_text(text).to_string(), text);
        }
        assert_eq!(Lane::from_text(""), Lane::default());
        assert_eq!(Lane::from_text("1/git:h/a/b").repository, "a/b");
    }

    #[test]
    fn free_places_go_to_whoever_has_the_least_in_progress() {
        let due = [due("noisy/a/r", 0, 500), due("quiet/a/s", 9, 1), due("noisy/b/t", 5, 500)];
        let check = |held: &[(&str, u32)], places, expect: &[(&str, u32)]| {
            assert_eq!(
                chosen(&mut Turns::default(), &due, held, places),
                expected(expect),
                "{held:?} {places}"
            );
        };
        check(&[], 1, &[("noisy/a/r", 1)]);
        check(&[], 2, &[("noisy/a/r", 1), ("quiet/a/s", 1)]);
        check(&[("noisy/a/r", 1)], 1, &[("quiet/a/s", 1)]);
        check(&[], 5, &[("noisy/a/r", 2), ("quiet/a/s", 1), ("noisy/b/t", 2)]);
        check(&[("noisy/a/r", 4), ("quiet/a/x", 2)], 4, &[("quiet/a/s", 1), ("noisy/b/t", 3)]);
        // The bounds: of the repository, of the endpoint whatever the account, of the account.
        check(&[], 64, &[("noisy/a/r", 6), ("quiet/a/s", 1), ("noisy/b/t", 6)]);
        check(&[("other/a/o", 8)], 64, &[("noisy/b/t", 6)]);
        check(&[("noisy/c/u", 12)], 64, &[("quiet/a/s", 1)]);
    }

    #[test]
    fn with_one_place_everybody_has_a_turn() {
        let mut turns = Turns::default();
        let due =
            [due("noisy/a/r", 0, 500), due("noisy/a/s", 1, 500), due("b/a/r", 2, 9), due("c/a/r", 3, 9)];
        let order: Vec<_> = (0..8).map(|_| chosen(&mut turns, &due, &[], 1).remove(0).0).collect();
        let round = ["b/a/r", "c/a/r"];
        let expect =
            ["noisy/a/r", round[0], round[1], "noisy/a/s", round[0], round[1], "noisy/a/r", round[0]];
        assert_eq!(order, expect);
    }

    #[test]
    fn a_throttled_endpoint_gets_what_its_pace_leaves_it() {
        let due = [due("a/slow/r", 0, 9), due("a/fast/r", 0, 9), due("b/slow/r", 0, 9)];
        let allowed = |endpoint: &str| (endpoint == "slow").then_some(3);
        let chosen = Turns::default().choose(&due, &[], allowed, &BOUNDS, 64);
        let of =
            |endpoint| chosen.iter().filter(|(l, _)| l.endpoint == endpoint).map(|(_, n)| n).sum::<u32>();
        assert_eq!((of("slow"), of("fast")), (3, 6));
    }

    #[test]
    fn throttling_halves_the_places_and_time_gives_them_back() {
        let throttled = |before, began_ms, now_ms, in_progress, asked| {
            Pace::throttled(before, began_ms, now_ms, in_progress, 32, asked, 0.0)
        };
        let first = throttled(None, 0, 1_000, 32, None).expect("a pace");
        assert_eq!(first, Pace { allowed: 16, strikes: 1, not_before_ms: 2_000, since_ms: 1_000 });
        assert_eq!([1_999, 2_000, 3_999, 4_000].map(|now_ms| first.allowed_at(now_ms)), [0, 16, 16, 17]);
        // What was under way is no second strike, but may ask for a longer pause.
        assert_eq!(throttled(Some(first), 1_000, 1_100, 31, None), None);
        let longer = throttled(Some(first), 900, 1_100, 31, Some(9_000)).expect("a pace");
        assert_eq!(longer, Pace { not_before_ms: 10_100, ..first });
        let second = throttled(Some(first), 2_000, 2_500, 16, None).expect("a pace");
        assert_eq!(second, Pace { allowed: 8, strikes: 2, not_before_ms: 4_500, since_ms: 2_500 });
        // Few in progress were too many already.
        assert_eq!(throttled(None, 0, 0, 5, None).expect("a pace").allowed, 2);
        assert_eq!(throttled(None, 0, 0, 0, None).expect("a pace").allowed, 1);
        assert!(!first.is_over(33_999, 32) && first.is_over(34_000, 32));
        let anew = throttled(Some(first), 40_000, 40_000, 32, None).expect("a pace");
        assert_eq!((anew.strikes, anew.allowed), (1, 16));
        assert_eq!(
            [(1, 0.0), (1, 1.0), (6, 0.0), (7, 0.0), (99, 1.0)].map(|(n, j)| pause_ms(n, j)),
            [1_000, 500, 32_000, 60_000, 30_000]
        );
    }
}
