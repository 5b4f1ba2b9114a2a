//! The demo as a smoke test: it is the first thing a newcomer runs, so it must work as the README says.

use std::io::Read;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::command::{self, cargo};

/// How long the demo itself may take; it is built before.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// Builds the release binary, runs `syncline demo --exit` and checks the answer it ends with.
pub(crate) fn demo_smoke() -> anyhow::Result<()> {
    command::run(&mut cargo(&["build", "--release", "--locked"]))?;
    println!("$ cargo run --release -- demo --exit");
    let mut demo = cargo(&["run", "--release", "--locked", "--quiet", "--", "demo", "--exit"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdout = demo.stdout.take().context("the demo has no standard output")?;
    let reader = thread::spawn(move || {
        let mut answer = String::new();
        stdout.read_to_string(&mut answer).map(|_| answer)
    });
    let start = Instant::now();
    let status = loop {
        if let Some(status) = demo.try_wait()? {
            break status;
        }
        if start.elapsed() > TIME_LIMIT {
            demo.kill()?;
            demo.wait()?;
            bail!("the demo did not end within {} s", TIME_LIMIT.as_secs());
        }
        thread::sleep(Duration::from_millis(50));
    };
    if !status.success() {
        bail!("the demo failed: {status}");
    }
    let Ok(answer) = reader.join() else { bail!("reading the demo's standard output panicked") };
    let answer = answer.context("the demo's standard output cannot be read")?;
    check_answer(&answer).with_context(|| format!("the demo printed {answer:?}"))
}

/// Checks that the demo's output is one GetResourceSyncStatus answer which says that the newest commit is
/// synced.
fn check_answer(answer: &str) -> anyhow::Result<()> {
    let answer: Value = serde_json::from_str(answer).context("not one JSON value")?;
    let text = |pointer: &str| {
        let value = answer.pointer(pointer).and_then(Value::as_str).filter(|value| !value.is_empty());
        value.with_context(|| format!("{pointer} is missing"))
    };
    if text("/LatestSync/Status")? != "SUCCEEDED" {
        bail!("/LatestSync/Status is {}, not SUCCEEDED", text("/LatestSync/Status")?);
    }
    let desired = text("/DesiredState/Sha")?;
    for pointer in ["/LatestSync/TargetRevision/Sha", "/LatestSuccessfulSync/TargetRevision/Sha"] {
        if text(pointer)? != desired {
            bail!("{pointer} is {}, but {desired} is desired", text(pointer)?);
        }
    }
    match answer.pointer("/LatestSync/Events").and_then(Value::as_array) {
        Some(events) if !events.is_empty() => Ok(()),
        _ => bail!("/LatestSync/Events is empty"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: &str, desired: &str) -> String {
        let sync = r#"{"Status":"STATUS","TargetRevision":{"Sha":"c3"},"Events":[{"Type":"SYNC_STARTED"}]}"#;
        let sync = sync.replace("STATUS", status);
        format!(
            r#"{{"DesiredState":{{"Sha":"{desired}"}},"LatestSync":{sync},"LatestSuccessfulSync":{sync}}}"#
        )
    }

    fn check(answer: &str, expect: Result<(), &str>) {
        let result = check_answer(answer).map_err(|error| error.to_string());
        assert_eq!(result, expect.map_err(str::to_owned), "{answer}");
    }

    #[test]
    fn only_a_synced_head_is_a_good_ending() {
        check(&answer("SUCCEEDED", "c3"), Ok(()));
        check(&answer("FAILED", "c3"), Err("/LatestSync/Status is FAILED, not SUCCEEDED"));
        check(&answer("SUCCEEDED", "c4"), Err("/LatestSync/TargetRevision/Sha is c3, but c4 is desired"));
        check(&answer("SUCCEEDED", "c3").replace("SYNC_STARTED", ""), Ok(()));
        check(
            &answer("SUCCEEDED", "c3").replace(r#"{"Type":"SYNC_STARTED"}"#, ""),
            Err("/LatestSync/Events is empty"),
        );
        check("{}", Err("/LatestSync/Status is missing"));
        check("", Err("not one JSON value"));
        check("progress\n{}", Err("not one JSON value"));
    }
}
