//! The benches themselves work: short runs of little. Nothing is said about speed.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

#[test]
fn a_short_run_measures_every_load_and_reports_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = || {
        let output = Command::new(env!("CARGO_BIN_EXE_syncline-bench"))
            .args(["api", "--no-peers", "--syncs=40", "--attempts=3", "--events=5"])
            .args(["--connections=4", "--rounds=2", "--seconds=0.2", "--folder"])
            .arg(folder.path())
            .output()
            .expect("the bench starts");
        let (table, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{log}");
        (table.into_owned(), log.into_owned())
    };
    let (table, log) = run();
    assert!(log.contains("storing 40 syncs"), "{log}");
    assert!(table.contains("\nGetResourceSyncStatus  "), "{table}");
    let (_, log) = run();
    assert!(!log.contains("storing"), "the database is kept: {log}");

    let report = std::fs::read(folder.path().join("api.json")).expect("the report");
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    assert_eq!(report["stored"], serde_json::json!([40, 3, 5]));
    let loads = report["loads"].as_array().expect("the loads");
    let names: BTreeSet<_> = loads.iter().filter_map(|load| load["name"].as_str()).collect();
    let on_postgres = names.contains("GetResourceSyncStatus, on PostgreSQL");
    assert!(on_postgres || log.contains("skipped: no PostgreSQL"), "{log}");
    assert_eq!(names.len(), 3 + usize::from(on_postgres), "{names:?}");
    for load in loads {
        let samples = load["samples"].as_array().expect("samples");
        assert_eq!(samples.len(), 2, "{load}");
        for sample in samples {
            assert!(sample["per_second"].as_f64().is_some_and(|rate| rate > 0.0), "{load}");
        }
    }
    let ratios = report["ratios"].as_array().expect("the ratios");
    assert_eq!(ratios.len(), 3 + usize::from(on_postgres), "{ratios:?}");
    assert!(ratios.iter().all(|ratio| ratio["met"].is_boolean() && ratio["value"].is_f64()), "{ratios:?}");
}

#[test]
fn a_short_run_on_a_small_repository_measures_polls_and_downloads() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(env!("CARGO_BIN_EXE_syncline-bench"))
        .args(["git", "--files=30", "--commits=5", "--rounds=2", "--polls=2", "--folder"])
        .arg(folder.path())
        .output()
        .expect("the bench starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report = std::fs::read(folder.path().join("git.json")).expect("the report");
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    let measured = report["measured"].as_array().expect("what was measured");
    assert!(measured.iter().all(|one| one["rounds"].as_array().is_some_and(|rounds| rounds.len() == 2)));
    let requests = |name: &str| {
        let found = measured.iter().find(|one| one["name"] == name).expect("it was measured");
        found["rounds"][1]["requests"].as_f64()
    };
    assert_eq!(requests("poll: syncline"), Some(1.0));
    assert_eq!(
        requests("first sight and two files: syncline"),
        Some(5.0),
        "announcement, head, commit, files"
    );
    assert_eq!(requests("one commit more and its file: syncline"), Some(3.0));
    assert_eq!(requests("without filters: poll, syncline"), Some(1.0));
    let ratios = report["ratios"].as_array().expect("the ratios");
    let of = |kind: &str| {
        ratios
            .iter()
            .filter(|ratio| ratio["name"].as_str().is_some_and(|name| name.starts_with(kind)))
            .count()
    };
    assert_eq!((of("without protocol v2: "), of("without filters: ")), (3, 3));
    let is_skipped = String::from_utf8_lossy(&output.stderr).contains("skipped: SSH");
    assert_eq!(of("by SSH: "), if is_skipped { 0 } else { 3 });
}

/// The newest entry of each list of a report, by the names of what it tells.
fn by_name(report: &Value, list: &str) -> BTreeMap<String, Value> {
    let entries = report[list].as_array().expect("a list").iter();
    entries
        .map(|entry| (entry["name"].as_str().expect("a name").to_owned(), entry["value"].clone()))
        .collect()
}

#[test]
fn a_short_run_of_the_engine_measures_everything_that_is_installed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(env!("CARGO_BIN_EXE_syncline-bench"))
        .args(["sync", "--stacks=6", "--rounds=2", "--many=8", "--configurations=5", "--repositories=3"])
        .args(["--idle-seconds=2", "--restart=40", "--peer-stacks=2", "--folder"])
        .arg(folder.path())
        .output()
        .expect("the bench starts");
    let (table, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{log}");
    assert!(table.contains("\nnot measured: webhook to ExecuteChangeSet: "), "{table}");

    let report = std::fs::read(folder.path().join("sync.json")).expect("the report");
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    for rounds in report["rounds"].as_object().expect("rounds").values() {
        for round in rounds.as_array().expect("rounds") {
            assert!(round["ours_s"].as_f64().is_some_and(|seconds| seconds > 0.0), "{round}");
        }
    }
    // Six stacks, each planned and executed once by either side.
    let calls = &report["calls"]["SQLite"];
    assert_eq!((&calls["CreateChangeSet"], &calls["ExecuteChangeSet"]), (&Value::from(6), &Value::from(6)));
    let ratios = by_name(&report, "ratios");
    let one = Value::from(1.0);
    assert_eq!(ratios["plans after a commit that touches 1 of 12 FILE_CHANGE stacks"], one);
    assert_eq!(ratios["remote calls a poll of one repository with 12 syncs"], one);
    for name in [
        "6 stacks after one push on SQLite, to the floor",
        "8 stacks after one push, to 6",
        "resident memory with 5 syncs, after idling, MiB",
        "idle with 5 syncs on 3 repositories, % of a core",
        "seconds from a start with 40 syncs to ready",
    ] {
        assert!(ratios[name].as_f64().is_some_and(|value| value >= 0.0), "{name}: {ratios:?}");
    }
    for skipped in ["aws cloudformation deploy", "one push on PostgreSQL"] {
        let is_skipped = report["skipped"].get(skipped).is_some();
        let expect = if skipped.starts_with("aws") {
            "aws cloudformation deploy, to ours"
        } else {
            "on PostgreSQL, to the floor"
        };
        assert!(is_skipped || ratios.keys().any(|name| name.contains(expect)), "{skipped}: {ratios:?}");
    }
}
