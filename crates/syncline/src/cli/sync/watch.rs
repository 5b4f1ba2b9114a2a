//! Following one sync.

use std::process::ExitCode;
use std::time::Duration;

use syncline_wire::{ResourceSyncStatus, SyncBlocker};

use super::super::client::{Client, ClientError};
use super::super::follow::{Followed, is_same};
use super::super::terminal::{self, BOLD, GOOD, TITLE, paint, short};
use super::{Shown, shown_blocker, shown_event};

/// How often the server is asked.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Looks in a row that must find a sync blocked: between a failure and the next commit's attempt there is a
/// moment that looks the same.
const BLOCKED_LOOKS: usize = 2;

/// What one look says about going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Going,
    Settled,
    Blocked,
}

/// What `shown` means for someone who waits. The attempt and the blockers of `before` do not count: they are
/// older than what is waited for.
fn verdict(shown: &Shown, before: Option<&Shown>) -> Verdict {
    let latest = shown.status.as_ref().map(|status| &status.latest_sync);
    let is_open = latest.is_some_and(|latest| {
        matches!(latest.status, ResourceSyncStatus::Initiated | ResourceSyncStatus::InProgress)
    });
    let earlier = before.and_then(|before| before.status.as_ref()).map(|status| &status.latest_sync);
    let counts =
        before.is_none() || !matches!((earlier, latest), (Some(one), Some(other)) if is_same(one, other));
    let is_new = |blocker: &SyncBlocker| {
        before.is_none_or(|before| !before.blockers.iter().any(|earlier| earlier.id == blocker.id))
    };
    // A failure's blocker stands while the next commit is tried; one that is younger than the attempt blocks it.
    let blocks = |blocker: &&SyncBlocker| {
        !is_open || latest.is_some_and(|latest| blocker.created_at >= latest.started_at)
    };
    if shown.active_blockers().filter(blocks).any(|blocker| counts || is_new(blocker)) {
        return Verdict::Blocked;
    }
    let Some(status) = shown.status.as_ref().filter(|_| counts) else { return Verdict::Going };
    let latest = &status.latest_sync;
    let is_desired =
        status.desired_state.as_ref().is_none_or(|desired| desired.sha == latest.target_revision.sha);
    if latest.status == ResourceSyncStatus::Succeeded && is_desired {
        Verdict::Settled
    } else {
        Verdict::Going
    }
}

/// Shows the events of the sync at `path` as they come, until it is settled or blocked, or for ever.
pub(super) async fn watch(
    client: &Client,
    path: &str,
    before: Option<Shown>,
    forever: bool,
) -> anyhow::Result<ExitCode> {
    let mut followed = Followed::default();
    if let Some(status) = before.as_ref().and_then(|before| before.status.as_ref()) {
        followed.look(&status.latest_sync);
    }
    let mut told = None;
    let mut blocked_looks = 0;
    let mut is_reachable = None;
    loop {
        let shown: Shown = match client.get(path).await {
            Ok(shown) => shown,
            Err(error @ ClientError::Unreachable { .. }) if is_reachable.is_some() => {
                if is_reachable.replace(false) == Some(true) {
                    terminal::print_aside(&format!(
                        "{}; still trying\n",
                        terminal::plain(&error.to_string())
                    ))?;
                }
                client.clock().sleep(LOOK_EVERY).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        is_reachable = Some(true);
        show_news(&shown, &mut followed)?;
        let verdict = verdict(&shown, before.as_ref());
        blocked_looks = if verdict == Verdict::Blocked { blocked_looks + 1 } else { 0 };
        let is_final = match verdict {
            Verdict::Going => false,
            Verdict::Settled => true,
            Verdict::Blocked => blocked_looks >= BLOCKED_LOOKS,
        };
        if is_final {
            let conclusion = conclusion(&shown, verdict);
            if told.as_ref() != Some(&conclusion) {
                terminal::print(&conclusion)?;
                told = Some(conclusion);
            }
            if !forever {
                let is_good = verdict == Verdict::Settled;
                return Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
        }
        client.clock().sleep(LOOK_EVERY).await;
    }
}

fn show_news(shown: &Shown, followed: &mut Followed) -> std::io::Result<()> {
    let Some(status) = &shown.status else { return Ok(()) };
    let latest = &status.latest_sync;
    let news = followed.look(latest);
    if news.is_new_attempt {
        let sha = terminal::plain(short(&latest.target_revision.sha));
        let name = terminal::plain(&shown.configuration.resource_name);
        terminal::print(&format!("{}\n", paint(TITLE, &format!("Sync of {name} to commit {sha}"))))?;
    }
    let events: String = news.events.iter().map(shown_event).collect();
    terminal::print(&events)
}

fn conclusion(shown: &Shown, verdict: Verdict) -> String {
    if verdict == Verdict::Blocked {
        return shown.active_blockers().map(shown_blocker).collect();
    }
    let name = terminal::plain(&shown.configuration.resource_name);
    let sha = shown.status.as_ref().map_or("", |status| &*status.latest_sync.target_revision.sha);
    let text = format!("{name} is at commit {}", terminal::plain(sha));
    format!("{} {}\n", paint(GOOD, "✔"), paint(BOLD, &text))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn attempt(status: &str, sha: &str, started_at: i64) -> Value {
        let revision = |sha: &str| {
            json!({ "Branch": "main", "Directory": ".", "OwnerId": "o", "RepositoryName": "r",
                    "ProviderType": "Git", "Sha": sha })
        };
        json!({ "Events": [], "InitialRevision": revision(sha), "StartedAt": started_at, "Status": status,
                "TargetRevision": revision(sha), "Target": "orders" })
    }

    fn shown(latest: Option<Value>, desired: &str, blocked_at: &[i64]) -> Shown {
        let blocker = |at: &i64| json!({ "Id": "b", "Type": "AUTOMATED", "Status": "ACTIVE", "CreatedReason": "r", "CreatedAt": at });
        let status = latest.map(|latest| {
            let mut wanted = latest["TargetRevision"].clone();
            wanted["Sha"] = desired.into();
            json!({ "DesiredState": wanted, "LatestSync": latest })
        });
        let sync = json!({
            "configuration": { "Branch": "main", "ConfigFile": "d.yaml", "OwnerId": "o", "ProviderType": "Git",
                "RepositoryLinkId": "l", "RepositoryName": "r", "ResourceName": "orders",
                "RoleArn": "arn:aws:iam::000000000000:role/r", "SyncType": "CFN_STACK_SYNC" },
            "status": status,
            "blockers": blocked_at.iter().map(blocker).collect::<Vec<_>>(),
        });
        serde_json::from_value(sync).expect("a sync as the server shows it")
    }

    #[test]
    fn a_watch_ends_when_nothing_more_is_to_come() {
        use Verdict::{Blocked, Going, Settled};
        let check = |latest: Option<(&str, &str)>, desired: &str, blocked_at: &[i64], expect: Verdict| {
            let latest = latest.map(|(status, sha)| attempt(status, sha, 100));
            let sync = shown(latest, desired, blocked_at);
            assert_eq!(verdict(&sync, None), expect, "{sync:?}");
        };
        check(None, "", &[], Going);
        check(None, "", &[50], Blocked);
        check(Some(("INITIATED", "c1")), "c1", &[], Going);
        check(Some(("IN_PROGRESS", "c1")), "c1", &[], Going);
        // The blocker of an earlier commit's failure, and one of an outage that came since.
        check(Some(("IN_PROGRESS", "c2")), "c2", &[50], Going);
        check(Some(("IN_PROGRESS", "c2")), "c2", &[150], Blocked);
        check(Some(("SUCCEEDED", "c1")), "c1", &[], Settled);
        check(Some(("SUCCEEDED", "c1")), "c2", &[], Going);
        check(Some(("SUCCEEDED", "c1")), "c1", &[150], Blocked);
        // Given up for something newer.
        check(Some(("FAILED", "c1")), "c2", &[], Going);
        check(Some(("FAILED", "c1")), "c1", &[150], Blocked);
    }

    #[test]
    fn the_attempt_before_is_not_what_is_waited_for() {
        let check = |earlier: &[i64], status: &str, started_at: i64, blocked_at: &[i64], expect: Verdict| {
            let before = shown(Some(attempt("FAILED", "c1", 100)), "c1", earlier);
            let sync = shown(Some(attempt(status, "c1", started_at)), "c1", blocked_at);
            assert_eq!(verdict(&sync, Some(&before)), expect, "{sync:?}");
        };
        check(&[110], "FAILED", 100, &[110], Verdict::Going);
        check(&[110], "IN_PROGRESS", 200, &[110], Verdict::Going);
        check(&[110], "SUCCEEDED", 200, &[], Verdict::Settled);
        check(&[110], "FAILED", 200, &[110, 210], Verdict::Blocked);
        // The repository cannot be read: no attempt begins at all.
        check(&[], "FAILED", 100, &[150], Verdict::Blocked);
    }
}
