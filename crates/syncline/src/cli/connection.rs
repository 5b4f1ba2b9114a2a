//! `syncline connection`: the handshake that has no AWS operation.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use syncline_seams::Secret;

use super::client::{Client, ClientError, KEY_HELP, ServerArgs};
use super::handshake;
use super::terminal::{self, GOOD, paint};
use crate::running::Seams;

/// The most that is read from standard input, in bytes; no token is longer.
const MAX_TOKEN_BYTES: u64 = 64 * 1024;

/// The subcommands of `syncline connection`.
#[derive(Debug, Subcommand)]
pub(super) enum ConnectionCommand {
    /// Complete a PENDING connection's handshake, or give it a new credential.
    Authorize(Authorize),
    /// Complete it by a GitHub App: one that exists, or one that is made in a browser.
    GithubApp(handshake::GitHubApp),
    /// Complete it by OAuth in a browser: GitLab, Bitbucket, Azure DevOps.
    Oauth(handshake::OAuth),
}

/// The flags of `syncline connection authorize`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct Authorize {
    /// The connection's ARN, or the id it ends with.
    #[arg(value_name = "ARN-OR-ID")]
    connection: String,
    /// Read the token from standard input, as in `… --token-stdin < token.txt`.
    #[arg(long)]
    token_stdin: bool,
    /// The user the token belongs to, for Git hosts that look at it; for an API token of Bitbucket, the e-mail address.
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// Azure DevOps: the organization that the token is of, as in `dev.azure.com/<organization>`.
    #[arg(long, value_name = "NAME")]
    organization: Option<String>,
    /// SSH: read the private key, which must have no passphrase, from this file; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    ssh_key: Option<PathBuf>,
    /// SSH: a key that the host is known by: its fingerprint (`SHA256:…`), its public key, or a line of known_hosts. May be
    /// given more than once. Without one, what the host shows is told and nothing is stored.
    #[arg(long, value_name = "KEY", requires = "ssh_key")]
    host_key: Vec<String>,
    /// SSH: read the lines about the host from this file, as in `--known-hosts ~/.ssh/known_hosts`.
    #[arg(long, value_name = "FILE", requires = "ssh_key")]
    known_hosts: Option<PathBuf>,
    /// The remote needs no token: a public or a local repository.
    #[arg(long)]
    no_token: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// What the server answers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Authorized {
    pub(super) connection_arn: String,
    pub(super) connection_status: String,
    #[serde(default)]
    pub(super) account: Option<String>,
    #[serde(default)]
    pub(super) host_keys: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ssh_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_keys: Option<String>,
}

pub(super) async fn run(command: ConnectionCommand, seams: &Seams) -> anyhow::Result<ExitCode> {
    let args = match command {
        ConnectionCommand::Authorize(args) => args,
        ConnectionCommand::GithubApp(args) => return handshake::github_app(args, seams).await,
        ConnectionCommand::Oauth(args) => return handshake::oauth(args, seams).await,
    };
    let key = match &args.ssh_key {
        Some(_) if args.token_stdin || args.no_token || args.organization.is_some() => {
            bail!("--ssh-key goes with --username, --host-key and --known-hosts alone")
        }
        Some(file) => Some(key_from(file)?),
        None => None,
    };
    let token = match (args.token_stdin, args.no_token) {
        (false, false) if key.is_some() => None,
        (true, false) => Some(secret_from(std::io::stdin(), "token on standard input")?),
        (false, true) if args.username.is_some() => {
            bail!("--username goes with a token: give it with --token-stdin, or leave --username out")
        }
        (false, true) if args.organization.is_some() => {
            bail!("--organization goes with a token: give it with --token-stdin, or leave --organization out")
        }
        (false, true) => None,
        (true, true) => bail!("--token-stdin and --no-token exclude each other"),
        (false, false) => {
            bail!(
                "say what the connection is authorized with: --token-stdin, or --no-token for a public remote, or --ssh-key for \
                 one by SSH"
            )
        }
    };
    let body = Body {
        token: token.as_ref().map(|token| token.expose().as_str()),
        username: args.username.as_deref(),
        organization: args.organization.as_deref(),
        ssh_key: key.as_ref().map(|key| key.expose().as_str()),
        host_keys: host_keys(&args)?,
    };
    let body = serde_json::to_vec(&body)?.into();
    let client = args.server.client(seams).await?;
    told(authorize(&client, &args.connection, body).await?)
}

/// Says what the connection is now.
pub(super) fn told(done: Authorized) -> anyhow::Result<ExitCode> {
    let status = paint(GOOD, &terminal::plain(&done.connection_status));
    let of = done.account.map_or_else(String::new, |account| format!(", as {}", terminal::plain(&account)));
    let host = done
        .host_keys
        .map_or_else(String::new, |keys| format!(", its host known by {}", terminal::plain(&keys)));
    terminal::print(&format!("{} is {status}{of}{host}\n", terminal::plain(&done.connection_arn)))?;
    Ok(ExitCode::SUCCESS)
}

/// `POST /api/v1/connections/{id}/authorize`
pub(super) async fn authorize(
    client: &Client,
    arn_or_id: &str,
    body: Secret<Vec<u8>>,
) -> anyhow::Result<Authorized> {
    let id = connection_id(arn_or_id)?;
    let done: Result<_, ClientError> = client.post(&format!("/connections/{id}/authorize"), body).await;
    done.with_context(|| format!("connection {id} is not authorized"))
}

/// The id in `arn:…:connection/<id>`, or the id itself. Paths of the REST API take ids only.
pub(super) fn connection_id(arn_or_id: &str) -> anyhow::Result<&str> {
    let id = match arn_or_id.split_once(":connection/") {
        Some((arn, id)) if arn.starts_with("arn:") => id,
        _ => arn_or_id,
    };
    let is_id = !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if !is_id {
        bail!(
            "'{}' is neither the ARN of a connection nor the id it ends with",
            terminal::cut(arn_or_id, 200)
        );
    }
    Ok(id)
}

/// What the host is known by, a line each; `None` if nothing is said of it.
fn host_keys(args: &Authorize) -> anyhow::Result<Option<String>> {
    let mut lines = args.host_key.clone();
    if let Some(file) = &args.known_hosts {
        let shown = file.display();
        let opened = std::fs::File::open(file).with_context(|| format!("{shown} cannot be read"))?;
        let mut text = String::new();
        let read = opened.take(MAX_TOKEN_BYTES + 1).read_to_string(&mut text);
        let read = read.with_context(|| format!("{shown} cannot be read"))?;
        if read as u64 > MAX_TOKEN_BYTES {
            bail!(
                "{shown} is too long: name a file with the lines about the host, as `ssh-keyscan` prints them"
            );
        }
        lines.push(text);
    }
    Ok((!lines.is_empty()).then(|| lines.join("\n")))
}

/// The private key in a file, or on standard input.
pub(super) fn key_from(file: &Path) -> anyhow::Result<Secret> {
    if file == Path::new("-") {
        return secret_from(std::io::stdin(), "key on standard input");
    }
    let opened = std::fs::File::open(file).with_context(|| format!("{} cannot be read", file.display()))?;
    secret_from(opened, &format!("key in {}", file.display()))
}

/// The token or key, without the line break that an editor or `echo` leaves after it.
pub(super) fn secret_from(input: impl std::io::Read, what: &str) -> anyhow::Result<Secret> {
    let mut bytes = Vec::new();
    let read = input.take(MAX_TOKEN_BYTES).read_to_end(&mut bytes);
    let bytes = Secret::from(bytes);
    read.with_context(|| format!("the {what} cannot be read"))?;
    let Ok(text) = std::str::from_utf8(bytes.expose()) else { bail!("the {what} is not UTF-8") };
    let token = text.trim_end_matches(['\r', '\n']);
    if token.is_empty() {
        bail!("there is no {what}");
    }
    Ok(Secret::new(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_named_by_its_arn_or_its_id() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(connection_id(text).ok(), expect, "{text}");
        };
        let id = "6f2c7a10-0000-4000-8000-000000000001";
        check(id, Some(id));
        check(&format!("arn:aws:codeconnections:us-east-1:123456789012:connection/{id}"), Some(id));
        check(&format!("arn:aws-cn:codestar-connections:cn-north-1:123456789012:connection/{id}"), Some(id));
        check("arn:aws:codeconnections:us-east-1:123456789012:host/demo-0a1b2c3d", None);
        check("../account", None);
        check("", None);
    }

    #[test]
    fn a_token_ends_where_its_line_ends() {
        let check = |input: &[u8], expect: Option<&str>| {
            let token = secret_from(input, "token").ok();
            assert_eq!(token.as_ref().map(|token| token.expose().as_str()), expect, "{input:?}");
        };
        check(b"secret", Some("secret"));
        check(b"secret\n", Some("secret"));
        check(b"secret\r\n", Some("secret"));
        check(b" with blanks ", Some(" with blanks "));
        check(b"\n", None);
        check(b"", None);
        check(b"\xff", None);
    }
}
