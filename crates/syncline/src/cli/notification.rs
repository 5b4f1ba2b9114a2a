//! `syncline notification`: who is told when a status changes.

use std::io::Read as _;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde::Deserialize;
use serde_json::{Value, json};
use syncline_seams::Secret;

use super::client::{KEY_HELP, ServerArgs};
use super::terminal::{self, BAD, BOLD, DIM, GOOD, paint};
use crate::running::Seams;

/// The longest URL that is read, in bytes.
const MAX_URL_BYTES: u64 = 4096;

/// The subcommands of `syncline notification`.
#[derive(Debug, Subcommand)]
pub(super) enum NotificationCommand {
    /// Have somebody told of changed statuses; shows the key that signs it this once.
    Add(Add),
    /// List who is told.
    List(List),
    /// Have somebody told no more, nor what waits for them.
    Remove(Named),
    /// Tell somebody that this is a test, and show what they answer.
    Test(Named),
}

/// How somebody is told.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// A signed request, as Standard Webhooks has it.
    Webhook,
    /// The same, with the body that EventBridge gives its targets.
    Envelope,
    /// A message, as Slack's incoming webhooks take it.
    Slack,
    /// An event on an EventBridge bus, put there as a role.
    Eventbridge,
}

/// The flags of `syncline notification add`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct Add {
    /// A name for it.
    name: String,
    /// How it is told [default: webhook, or eventbridge where --event-bus is given]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Read its URL from standard input: who knows it may write there.
    #[arg(long, required_unless_present = "event_bus")]
    url_stdin: bool,
    /// Tell the event bus of this ARN.
    #[arg(long, value_name = "ARN", conflicts_with = "url_stdin", requires = "role_arn")]
    event_bus: Option<String>,
    /// The role that is assumed to put events on the bus; syncline account trust-policy shows how it trusts us.
    #[arg(long, value_name = "ARN", requires = "event_bus")]
    role_arn: Option<String>,
    /// Only of this sync; may be given again. Of repositories it is told only where no sync is named.
    #[arg(long = "sync", value_name = "NAME")]
    syncs: Vec<String>,
    /// Only of this status, such as FAILED; may be given again.
    #[arg(long = "status", value_name = "STATUS")]
    statuses: Vec<String>,
    /// Print the server's answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// The flags of `syncline notification list`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct List {
    /// Print the server's answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// The flags of what is done to one.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct Named {
    /// Its name or id.
    name: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// A target as the server shows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    name: String,
    kind: Option<String>,
    url: String,
    #[serde(default)]
    role_arn: Option<String>,
    syncs: Option<Vec<String>>,
    statuses: Option<Vec<String>>,
    #[serde(default)]
    secret: Option<Secret>,
}

impl Target {
    /// Where it is, and as whom it is told.
    fn whereabouts(&self) -> String {
        match &self.role_arn {
            None => self.url.clone(),
            Some(role) => format!("{} as {role}", self.url),
        }
    }

    /// What it is told of.
    fn told_of(&self) -> String {
        let syncs = self.syncs.as_ref().map_or("everything".to_owned(), |syncs| syncs.join(", "));
        match &self.statuses {
            None => syncs,
            Some(statuses) => format!("{syncs}: {}", statuses.join(", ")),
        }
    }
}

pub(super) async fn run(command: NotificationCommand, seams: &Seams) -> anyhow::Result<ExitCode> {
    match command {
        NotificationCommand::Add(args) => add(&args, seams).await,
        NotificationCommand::List(args) => list(&args, seams).await,
        NotificationCommand::Remove(args) => {
            let path = path(&args.name)?;
            let removed: Target = args.server.client(seams).await?.delete(&path).await?;
            terminal::print(&format!("{} is told no more.\n", terminal::plain(&removed.name)))?;
            Ok(ExitCode::SUCCESS)
        }
        NotificationCommand::Test(args) => test(&args, seams).await,
    }
}

/// The path of a target below `/api/v1`.
fn path(name: &str) -> anyhow::Result<String> {
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if !is_name || name.chars().all(|c| c == '.') {
        let given = terminal::cut(name, 200);
        bail!("'{given}' is not a notification target's name or id: syncline notification list shows them");
    }
    Ok(format!("/notification-targets/{name}"))
}

/// The one line on standard input.
fn url_from_stdin() -> anyhow::Result<Secret> {
    let mut url = String::new();
    std::io::stdin()
        .take(MAX_URL_BYTES)
        .read_to_string(&mut url)
        .context("cannot read the URL from standard input")?;
    let url = Secret::new(url);
    let line = url.expose().trim();
    if line.is_empty() {
        bail!("there is no URL on standard input");
    }
    Ok(Secret::new(line))
}

async fn add(args: &Add, seams: &Seams) -> anyhow::Result<ExitCode> {
    let url = if args.url_stdin { Some(url_from_stdin()?) } else { None };
    let default = if args.event_bus.is_some() { Format::Eventbridge } else { Format::Webhook };
    let kind = match args.format.unwrap_or(default) {
        Format::Webhook => "WEBHOOK",
        Format::Envelope => "ENVELOPE",
        Format::Slack => "SLACK",
        Format::Eventbridge => "EVENTBRIDGE",
    };
    let some = |texts: &[String]| if texts.is_empty() { Value::Null } else { texts.into() };
    let body = json!({ "name": &args.name, "kind": kind, "url": url.as_ref().map(|url| url.expose()),
        "eventBus": &args.event_bus, "roleArn": &args.role_arn, "syncs": some(&args.syncs), "statuses": some(&args.statuses) });
    let body: Secret<Vec<u8>> = serde_json::to_vec(&body)?.into();
    let client = args.server.client(seams).await?;
    if args.json {
        let answer: Value = client.post("/notification-targets", body).await?;
        terminal::print(&format!("{answer:#}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let made: Target = client.post("/notification-targets", body).await?;
    terminal::print_aside(&format!(
        "{} is told of {}.\n",
        terminal::plain(&made.name),
        terminal::plain(&made.told_of())
    ))?;
    if let Some(secret) = &made.secret {
        terminal::print(&format!("{}  {}\n", paint(BOLD, "Secret"), terminal::plain(secret.expose())))?;
        terminal::print_aside(
            "Nobody is shown it again. Whoever is told checks webhook-signature with it: https://www.standardwebhooks.com\n",
        )?;
    }
    terminal::print_aside(&format!("Try it: syncline notification test {}\n", terminal::plain(&made.name)))?;
    Ok(ExitCode::SUCCESS)
}

async fn list(args: &List, seams: &Seams) -> anyhow::Result<ExitCode> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Listed {
        notification_targets: Vec<Value>,
    }
    let client = args.server.client(seams).await?;
    let listed: Listed = client.get("/notification-targets").await?;
    if args.json {
        terminal::print(&format!("{:#}\n", Value::from(listed.notification_targets)))?;
        return Ok(ExitCode::SUCCESS);
    }
    if listed.notification_targets.is_empty() {
        let (endpoint, region) = (client.endpoint(), client.region());
        terminal::print_aside(&format!("Nobody is told anything in region {region} at {endpoint}.\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![["NAME", "KIND", "WHERE", "TOLD OF"].map(|text| (BOLD, text.to_owned())).to_vec()];
    let none = anstyle::Style::new();
    for target in listed.notification_targets {
        let target: Target = serde_json::from_value(target)?;
        rows.push(vec![
            (none, terminal::plain(&target.name)),
            (DIM, terminal::plain(target.kind.as_deref().unwrap_or("-"))),
            (none, terminal::cut(&target.whereabouts(), 120)),
            (none, terminal::cut(&target.told_of(), 80)),
        ]);
    }
    terminal::print(&terminal::table(&rows))?;
    Ok(ExitCode::SUCCESS)
}

async fn test(args: &Named, seams: &Seams) -> anyhow::Result<ExitCode> {
    #[derive(Deserialize)]
    struct Tried {
        name: String,
        told: bool,
        status: Option<u16>,
        reason: Option<String>,
    }
    let path = format!("{}/test", path(&args.name)?);
    let tried: Tried = args.server.client(seams).await?.post(&path, Secret::default()).await?;
    let name = terminal::plain(&tried.name);
    if tried.told {
        let status = tried.status.map_or_else(String::new, |status| format!(": it answered {status}"));
        terminal::print(&format!("{name} {}{status}\n", paint(GOOD, "was told")))?;
        return Ok(ExitCode::SUCCESS);
    }
    let reason = terminal::plain(tried.reason.as_deref().unwrap_or("for no reason that is known"));
    terminal::print(&format!("{name} {}: {reason}\n", paint(BAD, "was not told")))?;
    Ok(ExitCode::FAILURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_be_another_path_is_refused() {
        let check =
            |name: &str, expect: Option<&str>| assert_eq!(path(name).ok().as_deref(), expect, "{name}");
        check("ops-team.1", Some("/notification-targets/ops-team.1"));
        check("..", None);
        check("a/b", None);
        check("", None);
    }
}
