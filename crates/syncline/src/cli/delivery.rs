//! `syncline delivery`: what forges delivered to webhooks.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Map, Value};
use syncline_seams::Secret;

use super::client::{Client, KEY_HELP, ServerArgs};
use super::link::link_id;
use super::terminal::{self, BAD, BOLD, DIM, GOOD, paint};
use crate::running::Seams;

/// Deliveries asked for at once.
const PAGE: usize = 100;

/// The subcommands of `syncline delivery`.
#[derive(Debug, Subcommand)]
pub(super) enum DeliveryCommand {
    /// List what forges delivered to webhooks, the newest first, and what came of it.
    List(List),
    /// Show one delivery: its headers without proofs, and its body.
    Show(Show),
    /// Look again at the branches that a delivery is about, as if it had just come.
    Replay(Replay),
}

/// The flags of `syncline delivery list`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct List {
    /// Only those of this repository link: its ARN, or the id it ends with.
    #[arg(long, value_name = "ARN-OR-ID")]
    link: Option<String>,
    /// How many at the most.
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Print the server's answers as JSON, one list.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// The flags of `syncline delivery show`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct Show {
    /// The delivery's id.
    id: String,
    /// Print the server's answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// The flags of `syncline delivery replay`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct Replay {
    /// The delivery's id.
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// A delivery as the server shows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delivery {
    id: String,
    repository_link_id: String,
    received_at: String,
    event: String,
    outcome: String,
    reason: Option<String>,
    branches: Vec<String>,
    headers: Map<String, Value>,
    body_bytes: u64,
    duplicates: u64,
    replays: u64,
    #[serde(default)]
    body: Option<String>,
}

impl Delivery {
    /// What came of it, in words.
    fn said(&self) -> String {
        match (&*self.outcome, &self.reason) {
            ("WOKE", _) => format!("looked at {}", self.branches.join(", ")),
            ("PING", _) => "ping".to_owned(),
            (_, Some(reason)) => format!("ignored: {reason}"),
            (outcome, None) => outcome.to_owned(),
        }
    }

    fn style(&self) -> anstyle::Style {
        if self.outcome == "WOKE" { GOOD } else { DIM }
    }

    fn times(&self) -> String {
        let mut times = Vec::new();
        for (count, what) in [(self.duplicates, "came again"), (self.replays, "replayed")] {
            if count > 0 {
                times.push(format!("{what} {count}×"));
            }
        }
        times.join(", ")
    }
}

pub(super) async fn run(command: DeliveryCommand, seams: &Seams) -> anyhow::Result<ExitCode> {
    match command {
        DeliveryCommand::List(args) => list(&args, seams).await,
        DeliveryCommand::Show(args) => {
            let path = path(&args.id)?;
            let client = args.server.client(seams).await?;
            if args.json {
                let answer: Value = client.get(&path).await?;
                terminal::print(&format!("{answer:#}\n"))?;
            } else {
                terminal::print(&report(&client.get(&path).await?))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        DeliveryCommand::Replay(args) => {
            let path = path(&args.id)?;
            let client = args.server.client(seams).await?;
            let replayed: Delivery = client.post(&format!("{path}/replay"), Secret::default()).await?;
            let said = paint(replayed.style(), &terminal::plain(&replayed.said()));
            terminal::print(&format!("{}: {said}\n", terminal::plain(&replayed.id)))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The path of a delivery below `/api/v1`.
fn path(id: &str) -> anyhow::Result<String> {
    if id.is_empty() || !id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        bail!("'{}' is not a delivery's id: syncline delivery list shows them", terminal::cut(id, 200));
    }
    Ok(format!("/deliveries/{id}"))
}

async fn list(args: &List, seams: &Seams) -> anyhow::Result<ExitCode> {
    let link = args.link.as_deref().map(link_id).transpose()?;
    let client = args.server.client(seams).await?;
    let deliveries = newest(&client, link, usize::try_from(args.limit)?).await?;
    if args.json {
        terminal::print(&format!("{:#}\n", Value::from(deliveries)))?;
        return Ok(ExitCode::SUCCESS);
    }
    if deliveries.is_empty() {
        let (endpoint, region) = (client.endpoint(), client.region());
        terminal::print_aside(&format!("Nothing was delivered in region {region} at {endpoint}.\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows =
        vec![["RECEIVED", "ID", "EVENT", "WHAT CAME OF IT", ""].map(|text| (BOLD, text.to_owned())).to_vec()];
    let none = anstyle::Style::new();
    for delivery in deliveries {
        let delivery: Delivery = serde_json::from_value(delivery)?;
        rows.push(vec![
            (none, terminal::plain(&delivery.received_at)),
            (none, terminal::plain(&delivery.id)),
            (none, terminal::cut(&delivery.event, 40)),
            (delivery.style(), terminal::cut(&delivery.said(), 80)),
            (DIM, delivery.times()),
        ]);
    }
    terminal::print(&terminal::table(&rows))?;
    Ok(ExitCode::SUCCESS)
}

/// The newest deliveries, page by page.
async fn newest(client: &Client, link: Option<&str>, most: usize) -> anyhow::Result<Vec<Value>> {
    #[derive(Deserialize)]
    struct Page {
        deliveries: Vec<Value>,
        next: Option<String>,
    }
    let mut deliveries = Vec::new();
    let mut after = None;
    while deliveries.len() < most {
        let mut query = format!("limit={}", PAGE.min(most - deliveries.len()));
        for (name, value) in [("link", link), ("after", after.as_deref())] {
            if let Some(value) = value {
                query.push_str(&format!("&{name}={value}"));
            }
        }
        let page: Page = client.get(&format!("/deliveries?{query}")).await?;
        deliveries.extend(page.deliveries);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(deliveries)
}

/// All there is to say about one delivery.
fn report(delivery: &Delivery) -> String {
    let mut out = format!("{}\n", paint(BOLD, &terminal::plain(&delivery.id)));
    let mut line =
        |what: &str, text: &str| out.push_str(&format!("  {what:<10} {}\n", terminal::plain(text)));
    line("Received", &delivery.received_at);
    line("Link", &delivery.repository_link_id);
    line("Event", &delivery.event);
    line("Outcome", &delivery.said());
    let times = delivery.times();
    if !times.is_empty() {
        line("", &times);
    }
    out.push_str(&format!("\n{}\n", paint(BOLD, "Headers")));
    for (name, value) in &delivery.headers {
        let value = value.as_str().unwrap_or_default();
        out.push_str(&format!("  {}: {}\n", terminal::plain(name), terminal::plain(value)));
    }
    out.push_str(&format!("\n{}\n", paint(BOLD, &format!("Body ({} bytes)", delivery.body_bytes))));
    match &delivery.body {
        Some(body) => out.push_str(&format!("{}\n", terminal::plain(body))),
        None => out.push_str(&format!("{}\n", paint(BAD, "it was too long to be kept"))),
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_came_of_a_delivery_is_said_in_words() {
        let check = |outcome: &str, reason: Option<&str>, branches: &[&str], expect: &str| {
            let delivery = json!({ "id": "d", "repositoryLinkId": "l", "receivedAt": "t", "event": "push",
                "outcome": outcome, "reason": reason, "branches": branches, "headers": {}, "bodyBytes": 1,
                "duplicates": 2, "replays": 0 });
            let delivery: Delivery = serde_json::from_value(delivery).expect("a delivery");
            assert_eq!(delivery.said(), expect);
            assert_eq!(delivery.times(), "came again 2×");
        };
        check("WOKE", None, &["main", "next"], "looked at main, next");
        check("PING", None, &[], "ping");
        check("IGNORED", Some("a tag"), &[], "ignored: a tag");
    }

    #[test]
    fn an_id_that_could_be_another_path_is_refused() {
        let check = |id: &str, expect: Option<&str>| assert_eq!(path(id).ok().as_deref(), expect, "{id}");
        check("6f2c-1", Some("/deliveries/6f2c-1"));
        check("../account", None);
        check("a?b", None);
        check("", None);
    }
}
