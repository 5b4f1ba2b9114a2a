//! `syncline sync`: looking at syncs, and setting one off.

mod watch;

use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use syncline_seams::Secret;
use syncline_wire::{
    BlockerStatus, GetResourceSyncStatusOutput, ResourceSyncAttempt, ResourceSyncEvent, SyncBlocker,
    SyncConfiguration,
};

use super::client::{Client, KEY_HELP, ServerArgs};
use super::terminal::{self, BAD, BOLD, DIM, GOOD, date_time, paint, short, style_of, time_of_day};
use crate::running::Seams;

/// The subcommands of `syncline sync`.
#[derive(Debug, Subcommand)]
pub(super) enum SyncCommand {
    /// List every sync of the account and region.
    List(List),
    /// Show one sync: its configuration, its state, the newest attempt's events and what blocks it.
    Status(Status),
    /// Sync the branch's head again, whether or not it was synced before.
    Now(Now),
    /// Have a sync rest: it begins nothing until it is resumed. What it executes already is watched to its end.
    Suspend(Suspend),
    /// Have a suspended sync go on, at once.
    Resume(Resume),
    /// Follow a sync's events until it is settled (exit status 0) or blocked (1).
    Watch(Watch),
}

/// The flags of `syncline sync list`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct List {
    /// Print the server's answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// The flags of `syncline sync status`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct Status {
    #[command(flatten)]
    which: Which,
    /// Print the server's answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// The flags of `syncline sync now`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct Now {
    #[command(flatten)]
    which: Which,
    /// Follow the sync that this sets off, as `sync watch` does.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// The flags of `syncline sync suspend`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct Suspend {
    #[command(flatten)]
    which: Which,
    /// Why, for whoever wonders.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// The flags of `syncline sync resume`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct Resume {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    server: ServerArgs,
}

/// The flags of `syncline sync watch`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct Watch {
    #[command(flatten)]
    which: Which,
    /// Go on after the sync is settled or blocked, until Ctrl-C.
    #[arg(long)]
    forever: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Which sync is meant.
#[derive(Debug, Args)]
struct Which {
    /// The sync configuration's ResourceName: the stack.
    name: String,
}

impl Which {
    /// The path of the sync below `/api/v1`.
    fn path(&self) -> anyhow::Result<String> {
        let is_name = self.name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && self.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if !is_name {
            bail!("'{}' is not a sync's name: it has ASCII letters, digits, '-' and '_' only", self.name);
        }
        Ok(format!("/syncs/{}", self.name))
    }
}

/// One sync as `GET /api/v1/syncs/{name}` shows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    configuration: SyncConfiguration,
    #[serde(default)]
    status: Option<GetResourceSyncStatusOutput>,
    #[serde(default)]
    suspension: Option<Suspension>,
    blockers: Vec<SyncBlocker>,
}

/// Why a sync rests.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Suspension {
    reason: String,
    since: String,
    of_account: bool,
}

impl Suspension {
    fn said(&self) -> String {
        let what = if self.of_account { "account suspended" } else { "suspended" };
        format!("{what}: {}", self.reason)
    }
}

impl Shown {
    fn active_blockers(&self) -> impl Iterator<Item = &SyncBlocker> {
        self.blockers.iter().filter(|blocker| blocker.status == BlockerStatus::Active)
    }
}

pub(super) async fn run(command: SyncCommand, seams: &Seams) -> anyhow::Result<ExitCode> {
    match command {
        SyncCommand::List(args) => list(&args, seams).await,
        SyncCommand::Status(args) => status(&args, seams).await,
        SyncCommand::Now(args) => now(&args, seams).await,
        SyncCommand::Suspend(args) => {
            let path = args.which.path()?;
            let client = args.server.client(seams).await?;
            let body = serde_json::to_vec(&serde_json::json!({ "reason": args.reason }))?;
            let _: Value = client.post(&format!("{path}/suspend"), body.into()).await?;
            terminal::print(&format!("{} rests until it is resumed\n", args.which.name))?;
            Ok(ExitCode::SUCCESS)
        }
        SyncCommand::Resume(args) => {
            let path = args.which.path()?;
            let client = args.server.client(seams).await?;
            let answer: Value = client.post(&format!("{path}/resume"), Secret::default()).await?;
            let rested = answer["wasSuspended"] == true;
            let what = if rested { "goes on" } else { "was not suspended" };
            terminal::print(&format!("{} {what}\n", args.which.name))?;
            Ok(ExitCode::SUCCESS)
        }
        SyncCommand::Watch(args) => {
            let path = args.which.path()?;
            let client = args.server.client(seams).await?;
            watch::watch(&client, &path, None, args.forever).await
        }
    }
}

/// The server's answer as it is, or read.
async fn got<T: DeserializeOwned>(client: &Client, path: &str, as_json: bool) -> anyhow::Result<Option<T>> {
    if as_json {
        let answer: Value = client.get(path).await?;
        terminal::print(&format!("{answer:#}\n"))?;
        return Ok(None);
    }
    Ok(Some(client.get(path).await?))
}

async fn list(args: &List, seams: &Seams) -> anyhow::Result<ExitCode> {
    #[derive(Deserialize)]
    struct Answer {
        syncs: Vec<Shown>,
    }
    let client = args.server.client(seams).await?;
    let Some(Answer { syncs }) = got(&client, "/syncs", args.json).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    if syncs.is_empty() {
        let (endpoint, region) = (client.endpoint(), client.region());
        terminal::print_aside(&format!("There are no syncs in region {region} at {endpoint}.\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    terminal::print(&terminal::table(&rows(&syncs)))?;
    Ok(ExitCode::SUCCESS)
}

fn rows(syncs: &[Shown]) -> Vec<Vec<(anstyle::Style, String)>> {
    let heading = ["NAME", "STATUS", "COMMIT", "STARTED", "REPOSITORY", "BRANCH", "BLOCKED BY"];
    let mut rows = vec![heading.map(|text| (BOLD, text.to_owned())).to_vec()];
    let none = anstyle::Style::new();
    for sync in syncs {
        let latest = sync.status.as_ref().map(|status| &status.latest_sync);
        let dash = || (DIM, "-".to_owned());
        let (status, commit, started) = latest.map_or_else(
            || ((DIM, "not synced".to_owned()), dash(), dash()),
            |latest| {
                (
                    (style_of(latest.status), latest.status.to_string()),
                    (none, terminal::plain(short(&latest.target_revision.sha))),
                    (none, date_time(latest.started_at)),
                )
            },
        );
        let configuration = &sync.configuration;
        let blocker = sync.active_blockers().next();
        rows.push(vec![
            (BOLD, terminal::plain(&configuration.resource_name)),
            status,
            commit,
            started,
            (none, terminal::plain(&format!("{}/{}", configuration.owner_id, configuration.repository_name))),
            (none, terminal::plain(&configuration.branch)),
            match (&sync.suspension, blocker) {
                (Some(suspension), _) => (BAD, terminal::cut(&suspension.said(), 60)),
                (None, Some(blocker)) => (BAD, terminal::cut(&blocker.created_reason, 60)),
                (None, None) => dash(),
            },
        ]);
    }
    rows
}

async fn status(args: &Status, seams: &Seams) -> anyhow::Result<ExitCode> {
    let path = args.which.path()?;
    let client = args.server.client(seams).await?;
    if let Some(sync) = got(&client, &path, args.json).await? {
        terminal::print(&report(&sync))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// All there is to say about one sync.
fn report(sync: &Shown) -> String {
    let configuration = &sync.configuration;
    let mut out = format!("{}\n", paint(BOLD, &terminal::plain(&configuration.resource_name)));
    let mut line = |what: &str, text: String| out.push_str(&format!("  {what:<15} {text}\n"));
    line(
        "Repository",
        terminal::plain(&format!(
            "{}/{}, branch {}, {}",
            configuration.owner_id,
            configuration.repository_name,
            configuration.branch,
            configuration.config_file.as_deref().unwrap_or("no file")
        )),
    );
    line("Role", terminal::plain(&configuration.role_arn));
    if let Some(suspension) = &sync.suspension {
        let text = terminal::plain(&format!("{}, since {}", suspension.said(), suspension.since));
        line("Rests", paint(BAD, &text));
    }
    match &sync.status {
        None => line("Latest sync", paint(DIM, "none yet")),
        Some(status) => {
            let desired = status.desired_state.as_ref().map_or("-", |revision| &*revision.sha);
            line("Desired commit", terminal::plain(desired));
            line("Latest sync", attempt(&status.latest_sync));
            let successful = status.latest_successful_sync.as_ref();
            line("Last successful", successful.map_or_else(|| paint(DIM, "none yet"), attempt));
        }
    }
    for blocker in sync.active_blockers() {
        out.push('\n');
        out.push_str(&shown_blocker(blocker));
    }
    if let Some(status) = &sync.status {
        out.push_str(&format!("\n{}\n", paint(BOLD, "Events of the latest sync (UTC)")));
        out.extend(status.latest_sync.events.iter().map(shown_event));
    }
    out
}

/// `SUCCEEDED  1a2b3c…  2026-11-23 14:02:03Z`
fn attempt(attempt: &ResourceSyncAttempt) -> String {
    let status = paint(style_of(attempt.status), attempt.status.as_str());
    let sha = terminal::plain(&attempt.target_revision.sha);
    format!("{status} {sha}, started {}", date_time(attempt.started_at))
}

fn shown_event(event: &ResourceSyncEvent) -> String {
    terminal::event_line(&time_of_day(event.time), event, &event.event)
}

/// A blocker with what can be done about it.
fn shown_blocker(blocker: &SyncBlocker) -> String {
    let since = paint(DIM, &format!("since {}, blocker {}", date_time(blocker.created_at), blocker.id));
    let mut out = format!("{} {since}\n", paint(BAD, "✘ Blocked"));
    out.push_str(&format!("  {}\n", terminal::indented(&blocker.created_reason, 2)));
    for context in blocker.contexts.iter().flatten() {
        let (what, value) = match &*context.key {
            "suggestedFix" => (paint(GOOD, "Suggested fix"), terminal::indented(&context.value, 4)),
            key => (paint(DIM, &terminal::plain(key)), terminal::indented(&context.value, 4)),
        };
        out.push_str(&format!("  {what}: {value}\n"));
    }
    out
}

async fn now(args: &Now, seams: &Seams) -> anyhow::Result<ExitCode> {
    #[derive(Deserialize, Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Accepted {
        resource_name: String,
    }
    let path = args.which.path()?;
    let client = args.server.client(seams).await?;
    let before: Shown = client.get(&path).await?;
    let accepted: Accepted = client.post(&format!("{path}/sync-now"), Secret::default()).await?;
    let name = terminal::plain(&accepted.resource_name);
    if args.watch {
        terminal::print_aside(&format!("Syncing {name} again.\n"))?;
        return watch::watch(&client, &path, Some(before), false).await;
    }
    terminal::print(&format!("Syncing {name} again; follow it with: syncline sync watch {name}\n"))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_be_another_path_is_refused() {
        let check = |name: &str, expect: Option<&str>| {
            let path = Which { name: name.to_owned() }.path().ok();
            assert_eq!(path.as_deref(), expect, "{name}");
        };
        check("orders-1_a", Some("/syncs/orders-1_a"));
        check("../account", None);
        check("a/b", None);
        check("-a", None);
        check("", None);
        check("é", None);
    }
}
