//! `syncline outbox`: what is to be told to forges and notification targets.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, KEY_HELP, ServerArgs};
use super::terminal::{self, BAD, BOLD, DIM, GOOD};
use crate::running::Seams;

/// Rows asked for at once.
const PAGE: usize = 100;

/// The subcommands of `syncline outbox`.
#[derive(Debug, Subcommand)]
pub(super) enum OutboxCommand {
    /// List what waits to be told, was told, or was given up, what changed last first.
    List(List),
}

/// What has become of it.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    Waiting,
    Sent,
    Failed,
}

/// The flags of `syncline outbox list`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct List {
    /// Only what has become this.
    #[arg(long, value_enum)]
    state: Option<State>,
    /// How many at the most.
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Print the server's answers as JSON, one list.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// A row as the server shows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    kind: Option<String>,
    subject: String,
    endpoint: String,
    state: String,
    failures: u64,
    last_error: Option<String>,
    changed_at: String,
    next_try_at: Option<String>,
}

impl Item {
    /// How it stands, in words.
    fn said(&self) -> String {
        let tries = if self.failures == 1 { "1 try".to_owned() } else { format!("{} tries", self.failures) };
        match (&self.last_error, &self.next_try_at) {
            (Some(error), Some(next)) => format!("{tries} failed, next at {next}: {error}"),
            (Some(error), None) => format!("{tries} failed: {error}"),
            (None, _) => String::new(),
        }
    }

    fn style(&self) -> anstyle::Style {
        match self.state.as_str() {
            "SENT" => GOOD,
            "FAILED" => BAD,
            _ => DIM,
        }
    }
}

pub(super) async fn run(command: OutboxCommand, seams: &Seams) -> anyhow::Result<ExitCode> {
    let OutboxCommand::List(args) = command;
    let client = args.server.client(seams).await?;
    let state = args.state.map(|state| match state {
        State::Waiting => "WAITING",
        State::Sent => "SENT",
        State::Failed => "FAILED",
    });
    let items = newest(&client, state, usize::try_from(args.limit)?).await?;
    if args.json {
        terminal::print(&format!("{:#}\n", Value::from(items)))?;
        return Ok(ExitCode::SUCCESS);
    }
    if items.is_empty() {
        let (endpoint, region) = (client.endpoint(), client.region());
        terminal::print_aside(&format!("There is nothing of it in region {region} at {endpoint}.\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let headings = ["CHANGED", "KIND", "ABOUT", "TOLD TO", "STATE", ""];
    let mut rows = vec![headings.map(|text| (BOLD, text.to_owned())).to_vec()];
    let none = anstyle::Style::new();
    for item in items {
        let item: Item = serde_json::from_value(item)?;
        rows.push(vec![
            (none, terminal::plain(&item.changed_at)),
            (none, terminal::plain(item.kind.as_deref().unwrap_or("-"))),
            (none, terminal::cut(&item.subject, 60)),
            (none, terminal::cut(&item.endpoint, 60)),
            (item.style(), terminal::plain(&item.state)),
            (DIM, terminal::cut(&item.said(), 200)),
        ]);
    }
    terminal::print(&terminal::table(&rows))?;
    Ok(ExitCode::SUCCESS)
}

/// What changed last, page by page.
async fn newest(client: &Client, state: Option<&str>, most: usize) -> anyhow::Result<Vec<Value>> {
    #[derive(Deserialize)]
    struct Page {
        outbox: Vec<Value>,
        next: Option<String>,
    }
    let mut items = Vec::new();
    let mut after = None;
    while items.len() < most {
        let mut query = format!("limit={}", PAGE.min(most - items.len()));
        for (name, value) in [("state", state), ("after", after.as_deref())] {
            if let Some(value) = value {
                query.push_str(&format!("&{name}={value}"));
            }
        }
        let page: Page = client.get(&format!("/outbox?{query}")).await?;
        items.extend(page.outbox);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn how_a_row_stands_is_said_in_words() {
        let check = |failures: u64, error: Option<&str>, next: Option<&str>, expect: &str| {
            let item = json!({ "kind": "COMMENT", "subject": "s", "endpoint": "e", "state": "WAITING",
                "failures": failures, "lastError": error, "changedAt": "t", "nextTryAt": next });
            let item: Item = serde_json::from_value(item).expect("a row");
            assert_eq!(item.said(), expect);
        };
        check(0, None, Some("t"), "");
        check(1, Some("down"), Some("t2"), "1 try failed, next at t2: down");
        check(9, Some("down"), None, "9 tries failed: down");
    }
}
