//! `syncline keyring`: the keys that secrets are sealed with.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::Value;
use syncline_wire::Timestamp;

use super::client::{Client, KEY_HELP, ServerArgs};
use super::terminal::{self, BAD, BOLD, DIM, GOOD, date_time, paint, plain};
use crate::running::Seams;

/// The subcommands of `syncline keyring`.
#[derive(Debug, Subcommand)]
pub(super) enum KeyringCommand {
    /// Show the keys, how old they are, and how many secrets each seals.
    Status(Status),
    /// Make a new data key and seal every secret with it, while the server goes on with its work.
    ///
    /// Data keys are then sealed with the keyring's first master key, so this is also how a master key is
    /// replaced. A rotation that was interrupted is completed. Needs the server's root key.
    Rotate(Rotate),
}

/// The flags of `syncline keyring status`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct Status {
    /// Print the server's answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// The flags of `syncline keyring rotate`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct Rotate {
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Keyring {
    source: String,
    rotating: bool,
    lost_secrets: u64,
    master_keys: Vec<MasterKey>,
    data_keys: Vec<DataKey>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MasterKey {
    id: String,
    #[serde(default)]
    label: Option<String>,
    data_keys: u64,
    secrets: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DataKey {
    id: String,
    purpose: String,
    master_key: String,
    created_at: Timestamp,
    #[serde(default)]
    retired_at: Option<Timestamp>,
    secrets: Vec<Secrets>,
}

#[derive(Deserialize)]
struct Secrets {
    what: String,
    count: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rotated {
    data_key: String,
    resealed: u64,
    rewrapped: u64,
    deleted: u64,
    unreadable: Vec<String>,
    finished: bool,
}

pub(super) async fn run(command: KeyringCommand, seams: &Seams) -> anyhow::Result<ExitCode> {
    match command {
        KeyringCommand::Status(args) => status(&args, seams).await,
        KeyringCommand::Rotate(args) => rotate(&args.server.client(seams).await?).await,
    }
}

async fn status(args: &Status, seams: &Seams) -> anyhow::Result<ExitCode> {
    let client = args.server.client(seams).await?;
    if args.json {
        let answer: Value = client.get("/keyring").await?;
        terminal::print(&format!("{answer:#}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let keyring: Keyring = client.get("/keyring").await?;
    terminal::print(&shown(&keyring))?;
    Ok(ExitCode::SUCCESS)
}

fn shown(keyring: &Keyring) -> String {
    let heading = |names: &[&str]| names.iter().map(|name| (BOLD, (*name).to_owned())).collect::<Vec<_>>();
    let cell = |text: &str| (anstyle::Style::new(), plain(text));
    let mut masters = vec![heading(&["MASTER KEY", "LABEL", "DATA KEYS", "SECRETS"])];
    for (index, key) in keyring.master_keys.iter().enumerate() {
        masters.push(vec![
            (if index == 0 { GOOD } else { DIM }, plain(&key.id)),
            cell(key.label.as_deref().unwrap_or("-")),
            cell(&key.data_keys.to_string()),
            cell(&key.secrets.to_string()),
        ]);
    }
    let mut data_keys = vec![heading(&["DATA KEY", "FOR", "MASTER KEY", "MADE", "RETIRED", "SEALS"])];
    for key in &keyring.data_keys {
        let seals: Vec<_> = key.secrets.iter().map(|of| format!("{} {}", of.count, of.what)).collect();
        data_keys.push(vec![
            (if key.retired_at.is_none() { GOOD } else { DIM }, plain(&key.id)),
            cell(&key.purpose.to_ascii_lowercase().replace('_', " ")),
            cell(&key.master_key),
            cell(&date_time(key.created_at)),
            cell(&key.retired_at.map_or_else(|| "-".to_owned(), date_time)),
            cell(&if seals.is_empty() { "-".to_owned() } else { seals.join(", ") }),
        ]);
    }
    let mut text = format!(
        "{}  {}\n\n{}\n{}",
        paint(BOLD, "Keyring"),
        plain(&keyring.source),
        terminal::table(&masters),
        terminal::table(&data_keys)
    );
    if keyring.rotating {
        text.push_str("\nA rotation is not complete: syncline keyring rotate\n");
    }
    if keyring.lost_secrets > 0 {
        let lost = format!("{} secrets were sealed with keys that do not exist", keyring.lost_secrets);
        text.push_str(&format!("\n{}\n", paint(BAD, &lost)));
    }
    text
}

/// Asks until nothing is left: each request does a part, so that none takes long.
async fn rotate(client: &Client) -> anyhow::Result<ExitCode> {
    let (mut resealed, mut rewrapped, mut deleted) = (0, 0, 0);
    loop {
        let part: Rotated = client.post("/keyring/rotate", b"{}".to_vec().into()).await?;
        resealed += part.resealed;
        rewrapped += part.rewrapped;
        deleted += part.deleted;
        if !part.finished {
            terminal::print_aside(&format!("{resealed} secrets sealed anew\n"))?;
            continue;
        }
        terminal::print(&format!(
            "data key {} seals everything: {resealed} secrets sealed anew, {rewrapped} data keys sealed with the first \
             master key, {deleted} old data keys deleted\n",
            paint(GOOD, &plain(&part.data_key)),
        ))?;
        for arn in &part.unreadable {
            let told = format!("the secret of {} cannot be opened; it was left as it is", plain(arn));
            terminal::print_aside(&format!("{}\n", paint(BAD, &told)))?;
        }
        return Ok(if part.unreadable.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_lines_up() {
        let keyring: Keyring = serde_json::from_value(serde_json::json!({
            "source": "file:/data/keyring", "rotating": true, "lostSecrets": 1,
            "masterKeys": [
                { "id": "00000000000000aa", "label": "2026", "dataKeys": 2, "secrets": 0 },
                { "id": "00000000000000bb", "dataKeys": 0, "secrets": 3 },
            ],
            "dataKeys": [
                { "id": "00000000000000c1", "purpose": "SECRETS", "masterKey": "00000000000000aa", "createdAt": 0,
                  "retiredAt": 86400, "secrets": [] },
                { "id": "00000000000000c2", "purpose": "PAGE_TOKENS", "masterKey": "00000000000000aa",
                  "createdAt": 0, "secrets": [{ "what": "keys", "count": 2 }, { "what": "tokens", "count": 1 }] },
            ],
        }))
        .expect("a status");
        let text = anstream::adapter::strip_str(&shown(&keyring)).to_string();
        insta::assert_snapshot!(text, @r"
        Keyring  file:/data/keyring

        MASTER KEY        LABEL  DATA KEYS  SECRETS
        00000000000000aa  2026   2          0
        00000000000000bb  -      0          3

        DATA KEY          FOR          MASTER KEY        MADE                  RETIRED               SEALS
        00000000000000c1  secrets      00000000000000aa  1970-01-01 00:00:00Z  1970-01-02 00:00:00Z  -
        00000000000000c2  page tokens  00000000000000aa  1970-01-01 00:00:00Z  -                     2 keys, 1 tokens

        A rotation is not complete: syncline keyring rotate

        1 secrets were sealed with keys that do not exist
        ");
    }
}
