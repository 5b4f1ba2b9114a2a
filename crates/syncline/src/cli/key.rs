//! `syncline key`: access keys of users.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde::Deserialize;
use syncline_seams::Secret;

use super::client::{Client, KEY_HELP, ServerArgs};
use super::terminal::{self, BAD, BOLD, DIM, GOOD, paint};
use super::user::{AccountArgs, PolicyFile, ensure_user, put_policy};
use crate::running::Seams;

/// The policy that `--admin` attaches.
const ADMINISTRATOR: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;

/// The subcommands of `syncline key`.
#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make an access key, which is shown this once.
    ///
    /// The user is made if there is none yet. A user may do what its policies allow and nothing else: give it
    /// policies here or with `syncline policy put`.
    Create(Create),
    /// List the keys of an account.
    List(List),
    /// Let a key be used again.
    Activate(One),
    /// Forbid a key, for a while or to see who still uses it.
    Deactivate(One),
    /// Delete a key for good.
    Delete(One),
}

/// How a new key is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A profile of AWS's credentials file, named after the user.
    Profile,
    /// Lines for a shell to evaluate.
    Env,
    /// What `credential_process` of AWS's configuration file expects.
    Json,
}

/// The flags of `syncline key create`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct Create {
    /// Whose key it is.
    #[arg(long, value_name = "NAME")]
    user: String,
    #[command(flatten)]
    account: AccountArgs,
    /// Give the user the policy in this file, named after the file (repeatable).
    #[arg(long, value_name = "FILE")]
    policy: Vec<PolicyFile>,
    /// Let the user do everything in the account.
    #[arg(long)]
    admin: bool,
    /// Make a key with a session token that ends after this time, such as 1h: 15m to 36h.
    #[arg(long, value_name = "DURATION", value_parser = crate::config::parse_duration)]
    temporary: Option<std::time::Duration>,
    /// How the key is printed.
    #[arg(long, value_enum, default_value = "profile")]
    format: Format,
    #[command(flatten)]
    server: ServerArgs,
}

/// The flags of `syncline key list`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct List {
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// The flags of the commands on one key.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct One {
    /// The key's id.
    #[arg(value_name = "KEY-ID")]
    id: String,
    /// Whose key it is, where the account's keys may not be listed.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    account_id: String,
    access_key_id: String,
    user_name: String,
    secret_access_key: Secret,
    #[serde(default)]
    session_token: Option<Secret>,
    #[serde(default)]
    expiration: Option<String>,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<Listed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    access_key_id: String,
    user_name: String,
    status: String,
    created_at: String,
    #[serde(default)]
    expiration: Option<String>,
}

pub(super) async fn run(command: KeyCommand, seams: &Seams) -> anyhow::Result<ExitCode> {
    match command {
        KeyCommand::Create(args) => create(args, seams).await?,
        KeyCommand::List(args) => list(args, seams).await?,
        KeyCommand::Activate(args) => one(args, seams, "/activate", "is active").await?,
        KeyCommand::Deactivate(args) => one(args, seams, "/deactivate", "is inactive").await?,
        KeyCommand::Delete(args) => one(args, seams, "", "is deleted").await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(args: Create, seams: &Seams) -> anyhow::Result<()> {
    let client = args.server.client(seams).await?;
    let account = args.account.or_own(&client).await?;
    ensure_user(&client, &account, &args.user).await?;
    if args.admin {
        put_policy(&client, &account, &args.user, "administrator", ADMINISTRATOR).await?;
    }
    for policy in &args.policy {
        put_policy(&client, &account, &args.user, &policy.name, &policy.document).await?;
    }
    let body = match args.temporary {
        None => serde_json::json!({}),
        Some(lifetime) => serde_json::json!({ "temporary": true, "durationSeconds": lifetime.as_secs() }),
    };
    let body = body.to_string().into_bytes().into();
    let path = format!("/accounts/{account}/users/{}/keys", args.user);
    let created: Created =
        client.post(&path, body).await.with_context(|| format!("{} gets no key", args.user))?;
    let note = match &created.expiration {
        Some(ends) => format!("It ends at {ends}."),
        None => "It is shown only this once.".to_owned(),
    };
    let user = terminal::plain(&created.user_name);
    terminal::print_aside(&format!(
        "Key {} of {} in account {}. {note}\n",
        paint(BOLD, &terminal::plain(&created.access_key_id)),
        paint(BOLD, &user),
        terminal::plain(&created.account_id),
    ))?;
    if args.policy.is_empty() && !args.admin && has_no_policy(&client, &account, &args.user).await? {
        terminal::print_aside(&format!(
            "{user} has no policies, so the key may do nothing yet: syncline policy put --user {user} FILE\n"
        ))?;
    }
    terminal::print(shown(&created, args.format).expose())?;
    Ok(())
}

async fn has_no_policy(client: &Client, account: &str, user: &str) -> anyhow::Result<bool> {
    #[derive(Deserialize)]
    struct Policies {
        policies: Vec<serde::de::IgnoredAny>,
    }
    let path = format!("/accounts/{account}/users/{user}/policies");
    let found: Result<Policies, _> = client.get(&path).await;
    // A caller who may make keys need not be one who may look at policies.
    Ok(found.is_ok_and(|found| found.policies.is_empty()))
}

fn shown(key: &Created, format: Format) -> Secret {
    let (id, secret) = (&key.access_key_id, key.secret_access_key.expose());
    let token = key.session_token.as_ref().map(|token| token.expose().as_str());
    Secret::new(match format {
        Format::Profile => {
            let mut text =
                format!("[{}]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n", key.user_name);
            if let Some(token) = token {
                text.push_str(&format!("aws_session_token = {token}\n"));
            }
            text
        }
        Format::Env => {
            let mut text = format!("export AWS_ACCESS_KEY_ID={id}\nexport AWS_SECRET_ACCESS_KEY={secret}\n");
            if let Some(token) = token {
                text.push_str(&format!("export AWS_SESSION_TOKEN={token}\n"));
            }
            text
        }
        Format::Json => {
            let mut value = serde_json::json!({
                "Version": 1, "AccessKeyId": id, "SecretAccessKey": secret,
            });
            if let (Some(token), Some(ends)) = (token, &key.expiration) {
                value["SessionToken"] = token.into();
                value["Expiration"] = ends.as_str().into();
            }
            format!("{value}\n")
        }
    })
}

async fn list(args: List, seams: &Seams) -> anyhow::Result<()> {
    let client = args.server.client(seams).await?;
    let account = args.account.or_own(&client).await?;
    let Keys { keys } = client.get(&format!("/accounts/{account}/keys")).await?;
    if keys.is_empty() {
        terminal::print_aside(&format!("Account {account} has no keys but the operator's, if any.\n"))?;
        return Ok(());
    }
    let heading = ["KEY", "USER", "STATUS", "MADE", "ENDS"].map(|text| (BOLD, text.to_owned())).to_vec();
    let rows = keys.into_iter().map(|key| {
        let style = if key.status == "Active" { GOOD } else { BAD };
        vec![
            (BOLD, terminal::plain(&key.access_key_id)),
            (DIM, terminal::plain(&key.user_name)),
            (style, terminal::plain(&key.status)),
            (DIM, terminal::plain(&key.created_at)),
            (DIM, terminal::plain(key.expiration.as_deref().unwrap_or("-"))),
        ]
    });
    terminal::print(&terminal::table(&std::iter::once(heading).chain(rows).collect::<Vec<_>>()))?;
    Ok(())
}

async fn one(args: One, seams: &Seams, what: &str, done: &str) -> anyhow::Result<()> {
    if args.id.is_empty() || !args.id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        bail!("'{}' is not the id of an access key", terminal::cut(&args.id, 64));
    }
    let client = args.server.client(seams).await?;
    let account = args.account.or_own(&client).await?;
    let user = match args.user {
        Some(user) => user,
        None => owner_of(&client, &account, &args.id).await?,
    };
    let path = format!("/accounts/{account}/users/{user}/keys/{}{what}", args.id);
    let _: serde::de::IgnoredAny = if what.is_empty() {
        client.delete(&path).await?
    } else {
        client.post(&path, Secret::default()).await?
    };
    terminal::print(&format!("{} {done}\n", args.id))?;
    Ok(())
}

/// Whose key it is.
async fn owner_of(client: &Client, account: &str, id: &str) -> anyhow::Result<String> {
    let Keys { keys } = client
        .get(&format!("/accounts/{account}/keys"))
        .await
        .with_context(|| format!("whose key {id} is cannot be looked up: name its user with --user"))?;
    let key = keys.into_iter().find(|key| key.access_key_id == id);
    key.map(|key| key.user_name).with_context(|| format!("account {account} has no access key {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(token: Option<&str>) -> Created {
        Created {
            account_id: "111111111111".to_owned(),
            access_key_id: "AKIAEXAMPLE".to_owned(),
            user_name: "ci".to_owned(),
            secret_access_key: Secret::new("s3cr3t"),
            session_token: token.map(Secret::new),
            expiration: token.map(|_| "2026-01-01T00:00:00Z".to_owned()),
        }
    }

    #[test]
    fn a_key_is_printed_for_the_tool_that_reads_it() {
        let check = |token: Option<&str>, format: Format, expect: &str| {
            assert_eq!(shown(&key(token), format).expose(), expect);
        };
        check(
            None,
            Format::Profile,
            "[ci]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = s3cr3t\n",
        );
        check(
            Some("t0k3n"),
            Format::Env,
            "export AWS_ACCESS_KEY_ID=AKIAEXAMPLE\nexport AWS_SECRET_ACCESS_KEY=s3cr3t\nexport AWS_SESSION_TOKEN=t0k3n\n",
        );
        check(
            Some("t0k3n"),
            Format::Json,
            "{\"Version\":1,\"AccessKeyId\":\"AKIAEXAMPLE\",\"SecretAccessKey\":\"s3cr3t\",\"SessionToken\":\"t0k3n\",\
             \"Expiration\":\"2026-01-01T00:00:00Z\"}\n",
        );
    }
}
