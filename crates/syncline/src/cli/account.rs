//! `syncline account`: what roles must say to let this server in.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde::Deserialize;
use syncline_model::names::AccountId;
use syncline_seams::Secret;
use syncline_targets::{trust_policy, trust_statement};

use super::client::{KEY_HELP, ServerArgs};
use super::terminal::{self, BOLD, paint};
use crate::running::Seams;

/// The subcommands of `syncline account`.
#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// Print the statement that lets this server assume a role.
    ///
    /// The statement goes into the trust policy of every role that a sync configuration names, beside the
    /// one that lets AWS's own Git sync in. It names the server's AWS principal and demands the account's
    /// ExternalId. JSON goes to standard output, the rest to standard error.
    TrustPolicy(TrustPolicy),
    /// Have every sync of an account rest, in every region, until the account is resumed. For the operator's root key.
    Suspend(Suspend),
    /// Have the syncs of a suspended account go on, at once. For the operator's root key.
    Resume(Resume),
}

/// The flags of `syncline account suspend`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct Suspend {
    /// The account's id.
    account: AccountId,
    /// Why, for whoever wonders.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// The flags of `syncline account resume`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct Resume {
    /// The account's id.
    account: AccountId,
    #[command(flatten)]
    server: ServerArgs,
}

/// The flags of `syncline account trust-policy`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct TrustPolicy {
    /// Name this principal instead of the one the server finds itself to be (a role with a path, say).
    #[arg(long, value_name = "ARN")]
    principal: Option<String>,
    /// Print a whole trust policy, for a role that has none yet: AWS's statement and this one.
    #[arg(long)]
    whole: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    account_id: String,
    external_id: String,
    #[serde(default)]
    principal_arn: Option<String>,
    #[serde(default)]
    principal_error: Option<String>,
}

pub(super) async fn run(command: AccountCommand, seams: &Seams) -> anyhow::Result<ExitCode> {
    let args = match command {
        AccountCommand::TrustPolicy(args) => args,
        AccountCommand::Suspend(args) => {
            let client = args.server.client(seams).await?;
            let body = serde_json::to_vec(&serde_json::json!({ "reason": args.reason }))?;
            let path = format!("/accounts/{}/suspend", args.account);
            let _: serde_json::Value = client.post(&path, body.into()).await?;
            terminal::print(&format!("The syncs of account {} rest until it is resumed\n", args.account))?;
            return Ok(ExitCode::SUCCESS);
        }
        AccountCommand::Resume(args) => {
            let client = args.server.client(seams).await?;
            let path = format!("/accounts/{}/resume", args.account);
            let answer: serde_json::Value = client.post(&path, Secret::default()).await?;
            let what = if answer["wasSuspended"] == true { "go on" } else { "were not suspended" };
            terminal::print(&format!("The syncs of account {} {what}\n", args.account))?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    if let Some(principal) = &args.principal {
        check_principal(principal)?;
    }
    let client = args.server.client(seams).await?;
    let account: Account = client.get("/account").await?;
    let principal = args.principal.or(account.principal_arn).with_context(|| {
        format!(
            "the server does not know its own AWS principal ({}); name it with --principal",
            account.principal_error.as_deref().unwrap_or("no reason was given")
        )
    })?;
    terminal::print_aside(&format!(
        "{}     {}\n{}   {}\n{}  {}\n\n{}\n",
        paint(BOLD, "Account"),
        terminal::plain(&account.account_id),
        paint(BOLD, "Principal"),
        terminal::plain(&principal),
        paint(BOLD, "ExternalId"),
        terminal::plain(&account.external_id),
        if args.whole {
            "The trust policy of a role that a sync configuration names:"
        } else {
            "Add this statement to the trust policy of each role that a sync configuration names, beside AWS's own:"
        }
    ))?;
    let document = if args.whole { trust_policy } else { trust_statement };
    terminal::print(&format!("{}\n", document(&principal, &account.external_id)))?;
    Ok(ExitCode::SUCCESS)
}

fn check_principal(arn: &str) -> anyhow::Result<()> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    if parts.len() != 6 || parts[0] != "arn" || parts[2] != "iam" || parts[5].is_empty() {
        bail!("--principal {arn}: it must be like arn:aws:iam::123456789012:role/syncline");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_is_an_iam_arn() {
        let check = |arn: &str, expect: bool| assert_eq!(check_principal(arn).is_ok(), expect, "{arn}");
        check("arn:aws:iam::123456789012:role/path/syncline", true);
        check("arn:aws-cn:iam::123456789012:root", true);
        check("arn:aws:sts::123456789012:assumed-role/syncline/session", false);
        check("123456789012", false);
        check("arn:aws:iam::123456789012:", false);
    }
}
