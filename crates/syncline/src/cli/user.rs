//! `syncline user` and `syncline policy`: who may call, and what.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::Value;
use syncline_model::names::AccountId;
use syncline_model::policy::Policy;
use syncline_seams::Secret;

use super::client::{Client, KEY_HELP, ServerArgs};
use super::terminal::{self, BOLD, DIM};
use crate::running::Seams;

/// The subcommands of `syncline user`.
#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// List the users of an account.
    List(ListUsers),
    /// Delete a user with its keys and policies.
    Delete(DeleteUser),
}

/// The subcommands of `syncline policy`.
#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Give a user a policy, in the place of its policy of the same name.
    ///
    /// The file is an IAM policy document; one written for AWS works unchanged.
    Put(PutPolicy),
    /// Print the policies of a user.
    List(ListPolicies),
    /// Take a policy from a user.
    Delete(DeletePolicy),
}

/// Whose users, policies and keys are meant.
#[derive(Debug, Clone, Args)]
pub(super) struct AccountArgs {
    /// The account; the key's own unless said otherwise. The operator's root key may name any.
    #[arg(long, value_name = "ID")]
    account: Option<AccountId>,
}

impl AccountArgs {
    /// The account, if one is named.
    pub(super) fn named(&self) -> Option<&AccountId> {
        self.account.as_ref()
    }

    /// The account's id.
    pub(super) async fn or_own(&self, client: &Client) -> anyhow::Result<String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Own {
            account_id: String,
        }
        if let Some(account) = &self.account {
            return Ok(account.as_str().to_owned());
        }
        let own: Own = client
            .get("/account")
            .await
            .context("the key's own account cannot be found out; name one with --account")?;
        Ok(own.account_id.parse::<AccountId>()?.as_str().to_owned())
    }
}

/// The flags of `syncline user list`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct ListUsers {
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// The flags of `syncline user delete`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct DeleteUser {
    /// The user's name.
    #[arg(value_name = "NAME")]
    user: String,
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// The flags of `syncline policy put`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct PutPolicy {
    /// The policy document.
    #[arg(value_name = "FILE")]
    file: PolicyFile,
    /// Who gets it.
    #[arg(long, value_name = "NAME")]
    user: String,
    /// Its name; the file's unless said otherwise.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// The flags of `syncline policy list`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct ListPolicies {
    /// Whose policies.
    #[arg(long, value_name = "NAME")]
    user: String,
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// The flags of `syncline policy delete`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct DeletePolicy {
    /// The policy's name.
    #[arg(value_name = "POLICY")]
    name: String,
    /// Whose policy.
    #[arg(long, value_name = "NAME")]
    user: String,
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// A policy document in a file; read, and found to be one, with the rest of the command line.
#[derive(Debug, Clone)]
pub(super) struct PolicyFile {
    /// The file's name without what follows its last dot.
    pub(super) name: String,
    /// The document.
    pub(super) document: String,
}

impl FromStr for PolicyFile {
    type Err = String;

    fn from_str(path: &str) -> Result<Self, String> {
        let path = PathBuf::from(path);
        let document = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
        document.parse::<Policy>().map_err(|error| error.to_string())?;
        let name = path.file_stem().map(Path::new).unwrap_or(&path).display().to_string();
        Ok(Self { name, document })
    }
}

#[derive(Deserialize)]
struct Users {
    users: Vec<User>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct User {
    user_name: String,
    arn: String,
    created_at: String,
}

pub(super) async fn run(command: UserCommand, seams: &Seams) -> anyhow::Result<ExitCode> {
    match command {
        UserCommand::List(args) => {
            let client = args.server.client(seams).await?;
            let account = args.account.or_own(&client).await?;
            let Users { users } = client.get(&format!("/accounts/{account}/users")).await?;
            if users.is_empty() {
                let hint = "make one with `syncline key create --user NAME`";
                terminal::print_aside(&format!("Account {account} has no users: {hint}\n"))?;
                return Ok(ExitCode::SUCCESS);
            }
            let heading = ["USER", "ARN", "MADE"].map(|text| (BOLD, text.to_owned())).to_vec();
            let rows = users.into_iter().map(|user| {
                vec![
                    (BOLD, terminal::plain(&user.user_name)),
                    (DIM, terminal::plain(&user.arn)),
                    (DIM, terminal::plain(&user.created_at)),
                ]
            });
            terminal::print(&terminal::table(&std::iter::once(heading).chain(rows).collect::<Vec<_>>()))?;
        }
        UserCommand::Delete(args) => {
            let client = args.server.client(seams).await?;
            let account = args.account.or_own(&client).await?;
            let user = segment("user", &args.user)?;
            let _: Value = client.delete(&format!("/accounts/{account}/users/{user}")).await?;
            terminal::print(&format!("{user} is deleted, with its keys and policies\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn run_policy(command: PolicyCommand, seams: &Seams) -> anyhow::Result<ExitCode> {
    match command {
        PolicyCommand::Put(args) => {
            let client = args.server.client(seams).await?;
            let account = args.account.or_own(&client).await?;
            let name = args.name.as_deref().unwrap_or(&args.file.name);
            put_policy(&client, &account, &args.user, name, &args.file.document).await?;
            terminal::print(&format!("{} has the policy {name}\n", args.user))?;
        }
        PolicyCommand::List(args) => {
            let client = args.server.client(seams).await?;
            let account = args.account.or_own(&client).await?;
            let user = segment("user", &args.user)?;
            let found: Value = client.get(&format!("/accounts/{account}/users/{user}/policies")).await?;
            terminal::print(&format!("{}\n", serde_json::to_string_pretty(&found["policies"])?))?;
        }
        PolicyCommand::Delete(args) => {
            let client = args.server.client(seams).await?;
            let account = args.account.or_own(&client).await?;
            let (user, name) = (segment("user", &args.user)?, segment("policy", &args.name)?);
            let path = format!("/accounts/{account}/users/{user}/policies/{name}");
            let _: Value = client.delete(&path).await?;
            terminal::print(&format!("{user} has the policy {name} no more\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A name as a segment of a path: IAM's characters, all of which stand there for themselves.
fn segment<'n>(what: &str, name: &'n str) -> anyhow::Result<&'n str> {
    let is_good = !name.is_empty()
        && ![".", ".."].contains(&name)
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b));
    if !is_good {
        bail!(
            "--{what} '{}': it must have letters, digits or characters of _+=,.@-",
            terminal::cut(name, 64)
        );
    }
    Ok(name)
}

/// Makes the user, unless there is one.
pub(super) async fn ensure_user(client: &Client, account: &str, user: &str) -> anyhow::Result<()> {
    let path = format!("/accounts/{account}/users/{}", segment("user", user)?);
    let _: Value = client.put(&path, Secret::default()).await?;
    Ok(())
}

/// Gives the user the policy.
pub(super) async fn put_policy(
    client: &Client,
    account: &str,
    user: &str,
    name: &str,
    document: &str,
) -> anyhow::Result<()> {
    let (user, name) = (segment("user", user)?, segment("policy", name)?);
    let path = format!("/accounts/{account}/users/{user}/policies/{name}");
    let _: Value = client
        .put(&path, document.as_bytes().to_vec().into())
        .await
        .with_context(|| format!("{user} does not get the policy {name}"))?;
    Ok(())
}
