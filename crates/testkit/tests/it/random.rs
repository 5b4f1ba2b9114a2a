//! `kill -9` at random moments of syncs: commits are pushed while the server runs, and it is killed from outside
//! some time after.
//!
//! These tests alone use real time to choose a moment, because they are about real processes; what they assert
//! holds at every moment. `SYNCLINE_KILLS` is the number of kills (25 unless it is set), `SYNCLINE_SEED` repeats
//! a run's choices.

use std::time::Duration;

use syncline_seams::{Clock as _, SystemClock};
use tokio::task::JoinSet;

use crate::house::{Neighbourhood, deployment, within};
use crate::invariants::{Expected, attempts, check, check_history};

/// Houses at once.
const HOUSES: u64 = 3;
/// A whole sync takes about as long.
const LONGEST_LIFE_MS: u64 = 900;
/// After so many kills a house is left alone until it has settled.
const KILLS_IN_A_ROW: u64 = 5;

/// SplitMix64: the same choices for the same seed.
struct Choices(u64);

impl Choices {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

#[expect(clippy::disallowed_methods, reason = "how long this test runs is up to whoever starts it")]
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// Kills servers of one house; how many change sets were executed in it.
async fn kill_at_random(mut choices: Choices, kills: u64) -> usize {
    let around = Neighbourhood::new().await;
    let house = around.configured_house().await;
    let mut head = (around.first.clone(), "first".to_owned());
    let mut history = Vec::new();
    for kill in 1..=kills {
        // Most servers find a new commit when they start; some get one, or another one, while they work.
        for _ in 0..choices.below(3) {
            let name = format!("name-{kill}-{}", choices.below(1000));
            head = (around.repository.commit("prod.yaml", deployment(&name)).await, name);
        }
        let server = house.start(&around, None).await.expect("nothing ends it before it is ready");
        if choices.below(3) == 0 {
            let name = format!("late-{kill}");
            head = (around.repository.commit("prod.yaml", deployment(&name)).await, name);
        }
        SystemClock.sleep(Duration::from_millis(choices.below(LONGEST_LIFE_MS))).await;
        server.kill().await;
        let now = attempts(&house).await;
        check_history(&history, &now);
        history = now;
        if kill % KILLS_IN_A_ROW == 0 || kill == kills {
            let server = house.start(&around, None).await.expect("nothing ends it");
            within(&format!("settling after kill {kill}"), server.settles_at(&head.0)).await;
            server.kill().await;
            check(&house, &Expected { head: &head.0, name: &head.1, executed: true, failed: &[] }).await;
        }
    }
    house.simulator.executions().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_at_random_moments_loses_nothing() {
    let kills = number("SYNCLINE_KILLS").unwrap_or(25);
    let seed = number("SYNCLINE_SEED").unwrap_or_else(|| SystemClock.now_ms().unsigned_abs());
    println!("{kills} kills, SYNCLINE_SEED={seed}");
    let mut houses = JoinSet::new();
    for house in 0..HOUSES {
        let share = kills / HOUSES + u64::from(house < kills % HOUSES);
        houses.spawn(kill_at_random(Choices(seed ^ (house << 56)), share));
    }
    let mut executions = 0;
    while let Some(house) = houses.join_next().await {
        executions += house.unwrap_or_else(|error| panic!("with SYNCLINE_SEED={seed}: {error}"));
    }
    println!("{executions} change sets were executed");
}

/// An answer that was given is kept; without an answer the request was done or not, and can be made again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_request_survives_the_kill_that_follows_it() {
    let around = Neighbourhood::new().await;
    let check_kill = async |deadly: Option<&str>, kept: bool| {
        let house = around.linked_house().await;
        let deadly = deadly.map(|deadly| deadly.parse().expect("a passing"));
        let mut server = house.start(&around, deadly.as_ref()).await.expect("nothing ends it yet");
        let answer = server.create_sync(&around.link).await;
        if deadly.is_some() {
            assert!(answer.is_err(), "a dead server answered");
            within("the server's death", server.dies()).await;
        } else {
            answer.expect("a sync configuration");
            server.kill().await;
        }
        let server = house.start(&around, None).await.expect("nothing ends it");
        let again = server.create_sync(&around.link).await;
        let refusal = again.err().unwrap_or_default();
        assert_eq!(refusal.contains("ResourceAlreadyExists"), kept, "{deadly:?}: {refusal}");
        assert!(kept || refusal.is_empty(), "{refusal}");
        within("the first sync", server.settles_at(&around.first)).await;
        server.kill().await;
        check(&house, &Expected { head: &around.first, name: "first", executed: true, failed: &[] }).await;
    };
    check_kill(None, true).await;
    check_kill(Some("store.create_configuration:after:1"), true).await;
    check_kill(Some("store.create_configuration:before:1"), false).await;
}
