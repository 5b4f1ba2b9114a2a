//! `syncline preview`: what the merges of pull requests would do to stacks.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, KEY_HELP, ServerArgs};
use super::terminal::{self, BOLD, DIM, GOOD, paint};
use crate::running::Seams;

/// Previews asked for at once.
const PAGE: usize = 100;

/// The subcommands of `syncline preview`.
#[derive(Debug, Subcommand)]
pub(super) enum PreviewCommand {
    /// List previews of pull requests, the newest first.
    List(List),
    /// Print a preview, all of it, as Markdown.
    Show(Show),
}

/// The flags of `syncline preview list`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct List {
    /// Only those of the sync of this stack.
    #[arg(long, value_name = "STACK")]
    sync: Option<String>,
    /// Only those of the pull request of this number, in any repository.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i64).range(1..))]
    pull_request: Option<i64>,
    /// How many at the most.
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Print the server's answers as JSON, one list.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// The flags of `syncline preview show`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct Show {
    /// The preview's id.
    id: String,
    /// Print the server's answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// A preview as the server shows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Preview {
    id: String,
    sync: String,
    repository: Option<String>,
    pull_request: i64,
    pull_request_state: String,
    status: String,
    told_at: Option<String>,
    #[serde(default)]
    text: Option<String>,
}

impl Preview {
    fn pull_request(&self) -> String {
        format!("{}#{}", self.repository.as_deref().unwrap_or("(unlinked)"), self.pull_request)
    }
}

pub(super) async fn run(command: PreviewCommand, seams: &Seams) -> anyhow::Result<ExitCode> {
    match command {
        PreviewCommand::List(args) => list(&args, seams).await,
        PreviewCommand::Show(args) => show(&args, seams).await,
    }
}

/// The path of a preview below `/api/v1`.
fn path(id: &str) -> anyhow::Result<String> {
    if id.is_empty() || !id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        bail!("'{}' is not a preview's id: syncline preview list shows them", terminal::cut(id, 200));
    }
    Ok(format!("/previews/{id}"))
}

async fn show(args: &Show, seams: &Seams) -> anyhow::Result<ExitCode> {
    let path = path(&args.id)?;
    let client = args.server.client(seams).await?;
    if args.json {
        let answer: Value = client.get(&path).await?;
        terminal::print(&format!("{answer:#}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let preview: Preview = client.get(&path).await?;
    match &preview.text {
        Some(text) => terminal::print(&format!("{}\n", terminal::plain(text.trim_end())))?,
        None => terminal::print_aside("Nothing was told of it yet.\n")?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(args: &List, seams: &Seams) -> anyhow::Result<ExitCode> {
    if let Some(sync) = &args.sync
        && (sync.is_empty() || !sync.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'))
    {
        bail!("'{}' is no stack's name", terminal::cut(sync, 200));
    }
    let client = args.server.client(seams).await?;
    let previews = newest(&client, args).await?;
    if args.json {
        terminal::print(&format!("{:#}\n", Value::from(previews)))?;
        return Ok(ExitCode::SUCCESS);
    }
    if previews.is_empty() {
        let (endpoint, region) = (client.endpoint(), client.region());
        terminal::print_aside(&format!("There are no such previews in region {region} at {endpoint}.\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let titles = ["ID", "STACK", "PULL REQUEST", "", "PREVIEW", "TOLD"];
    let mut rows = vec![titles.map(|text| (BOLD, text.to_owned())).to_vec()];
    let none = anstyle::Style::new();
    for preview in previews {
        let preview: Preview = serde_json::from_value(preview)?;
        let style = if preview.status == "CURRENT" { GOOD } else { DIM };
        rows.push(vec![
            (none, terminal::plain(&preview.id)),
            (none, terminal::plain(&preview.sync)),
            (none, terminal::cut(&preview.pull_request(), 60)),
            (DIM, preview.pull_request_state.to_lowercase()),
            (style, preview.status.to_lowercase()),
            (none, terminal::plain(preview.told_at.as_deref().unwrap_or("-"))),
        ]);
    }
    terminal::print(&terminal::table(&rows))?;
    let all = paint(BOLD, "syncline preview show ID");
    terminal::print_aside(&format!("\n{all} prints one.\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// The newest previews, page by page.
async fn newest(client: &Client, args: &List) -> anyhow::Result<Vec<Value>> {
    #[derive(Deserialize)]
    struct Page {
        previews: Vec<Value>,
        next: Option<String>,
    }
    let most = usize::try_from(args.limit)?;
    let number = args.pull_request.map(|number| number.to_string());
    let mut previews = Vec::new();
    let mut after = None;
    while previews.len() < most {
        let mut query = format!("limit={}", PAGE.min(most - previews.len()));
        let filters = [("sync", args.sync.as_deref()), ("pullRequest", number.as_deref())];
        for (name, value) in filters.into_iter().chain([("after", after.as_deref())]) {
            if let Some(value) = value {
                query.push_str(&format!("&{name}={value}"));
            }
        }
        let page: Page = client.get(&format!("/previews?{query}")).await?;
        previews.extend(page.previews);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(previews)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_could_be_another_path_is_refused() {
        let check = |id: &str, expect: Option<&str>| assert_eq!(path(id).ok().as_deref(), expect, "{id}");
        check("preview-6f2c", Some("/previews/preview-6f2c"));
        check("../account", None);
        check("a?b", None);
        check("", None);
    }
}
