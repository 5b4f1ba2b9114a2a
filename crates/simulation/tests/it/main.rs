//! A short run of histories, and whether a broken engine is found.

use std::collections::BTreeSet;
use std::path::Path;

use syncline_seams::mutant::{Mutant, break_this_thread};
use syncline_simulation::{ELSEWHERE, Ground, Outcome, POINTS};

/// The histories of a short run; `cargo xtask simulate` runs them all.
const SHORT: u64 = 120;
/// A broken engine is found within so many.
const FOUND_WITHIN: u64 = 1_000;

fn history(ground: &Ground, seed: u64) -> Outcome {
    ground.history(seed, false).expect("a history")
}

#[test]
fn nothing_is_lost_and_nothing_happens_twice() {
    let ground = Ground::prepare().expect("a place for histories");
    for seed in 1..=SHORT {
        let outcome = history(&ground, seed);
        assert!(
            outcome.violations.is_empty(),
            "cargo xtask simulate --seed {seed} tells it again: {:#?}",
            outcome.violations
        );
        assert!(outcome.faults >= 10, "seed {seed}: {} faults", outcome.faults);
    }
}

#[test]
fn a_seed_tells_the_same_history_again() {
    let ground = Ground::prepare().expect("a place for histories");
    let digests: Vec<_> = (1..=20).map(|seed| history(&ground, seed).digest).collect();
    let other = Ground::prepare().expect("another place");
    for (seed, digest) in (1..).zip(&digests) {
        let again = other.history(seed, true).expect("a history");
        assert_eq!(again.digest, *digest, "seed {seed}");
        assert!(again.tale.len() > 20, "it is told: {:?}", again.tale);
    }
    let different: BTreeSet<_> = digests.iter().collect();
    assert_eq!(different.len(), digests.len(), "another seed is another history");
}

/// Every fault point in the product's sources, of the form `"store.open_attempt"`.
fn points_in_sources() -> BTreeSet<String> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crates' folder");
    let mut folders: Vec<_> =
        ["git", "store", "syncline", "targets"].iter().map(|name| crates.join(name).join("src")).collect();
    let mut points = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("text");
            let is_point = |text: &&str| {
                text.split_once('.').is_some_and(|(of, name)| {
                    ["store", "git", "cloudformation", "eventbridge", "sts", "keyring"].contains(&of)
                        && !name.is_empty()
                        && name.chars().all(|c| c.is_ascii_alphabetic() || c == '_')
                })
            };
            points.extend(text.split('"').filter(is_point).map(str::to_owned));
        }
    }
    points
}

#[test]
fn every_point_of_the_product_is_passed_or_said_to_be_elsewhere() {
    let known = POINTS.iter().map(|(point, _)| point).chain(ELSEWHERE);
    assert_eq!(points_in_sources(), known.map(|point| (*point).to_owned()).collect());
}

/// Whether the engine, broken in this way, is found. Whole, it goes wrong in none of these histories.
fn found(mutant: Mutant) {
    break_this_thread(Some(mutant));
    let ground = Ground::prepare().expect("a place for histories");
    let seed = (1..=FOUND_WITHIN).find(|seed| !history(&ground, *seed).violations.is_empty());
    break_this_thread(None);
    let seed = seed.unwrap_or_else(|| panic!("{mutant:?} is not found"));
    let whole = history(&ground, seed).violations;
    assert!(whole.is_empty(), "seed {seed} goes wrong without {mutant:?}: {whole:#?}");
}

#[test]
fn an_engine_that_writes_without_its_lease_is_found() {
    found(Mutant::WritesWithoutLease);
}

#[test]
fn an_engine_whose_release_overwrites_a_wake_is_found() {
    found(Mutant::ReleaseForgetsWakes);
}

#[test]
fn an_engine_that_executes_before_it_commits_is_found() {
    found(Mutant::ExecutesFirst);
}
