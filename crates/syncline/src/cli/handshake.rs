//! `syncline connection github-app` and `oauth`: handshakes by what gets tokens, instead of by a token.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use syncline_seams::Secret;

use super::client::{Client, ClientError, KEY_HELP, ServerArgs};
use super::connection::{Authorized, connection_id, key_from, secret_from, told};
use super::terminal;
use crate::running::Seams;

/// The flags of `syncline connection github-app`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct GitHubApp {
    /// The connection's ARN, or the id it ends with.
    #[arg(value_name = "ARN-OR-ID")]
    connection: String,
    /// The organization that a new App is to belong to; without it, whoever opens the URL.
    #[arg(long, value_name = "NAME", conflicts_with = "app_id")]
    organization: Option<String>,
    /// Use an App that exists: its id. Nothing is opened in a browser then.
    #[arg(long, value_name = "ID", requires_all = ["installation_id", "owner"])]
    app_id: Option<u64>,
    /// The id of the App's installation, which the URL of its settings ends with.
    #[arg(long, value_name = "ID", requires = "app_id")]
    installation_id: Option<u64>,
    /// The account that the App is installed for.
    #[arg(long, value_name = "LOGIN", requires = "app_id")]
    owner: Option<String>,
    /// A file with a private key of the App, in PEM.
    #[arg(long, value_name = "FILE", requires = "app_id")]
    private_key_file: Option<PathBuf>,
    /// Read the private key from standard input.
    #[arg(long, requires = "app_id", conflicts_with = "private_key_file")]
    private_key_stdin: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// The flags of `syncline connection oauth`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct OAuth {
    /// The connection's ARN, or the id it ends with.
    #[arg(value_name = "ARN-OR-ID")]
    connection: String,
    /// The id of the application that is registered with the forge.
    #[arg(long, value_name = "ID")]
    client_id: String,
    /// Read the application's secret from standard input.
    #[arg(long, required = true)]
    client_secret_stdin: bool,
    /// Azure DevOps: the tenant of Microsoft Entra that knows the application.
    #[arg(long, value_name = "ID-OR-DOMAIN")]
    tenant: Option<String>,
    /// Azure DevOps: the organization whose repositories are read.
    #[arg(long, value_name = "NAME")]
    organization: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Application<'a> {
    client_id: &'a str,
    client_secret: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct App<'a> {
    app_id: u64,
    installation_id: u64,
    owner: &'a str,
    private_key: &'a str,
}

#[derive(Serialize)]
struct Choice<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    organization: Option<&'a str>,
}

/// A handshake that goes on in a browser.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Begun {
    url: String,
    expires_at: String,
    #[serde(default)]
    redirect_uri: Option<String>,
}

pub(super) async fn oauth(args: OAuth, seams: &Seams) -> anyhow::Result<ExitCode> {
    let id = connection_id(&args.connection)?;
    let secret = secret_from(std::io::stdin(), "client secret on standard input")?;
    let application = Application {
        client_id: &args.client_id,
        client_secret: secret.expose(),
        tenant: args.tenant.as_deref(),
        organization: args.organization.as_deref(),
    };
    let body = serde_json::to_vec(&application)?.into();
    begin(&args.server.client(seams).await?, id, "oauth", body).await
}

pub(super) async fn github_app(args: GitHubApp, seams: &Seams) -> anyhow::Result<ExitCode> {
    let id = connection_id(&args.connection)?;
    let Some(app_id) = args.app_id else {
        let body = serde_json::to_vec(&Choice { organization: args.organization.as_deref() })?;
        return begin(&args.server.client(seams).await?, id, "github-app/manifest", body.into()).await;
    };
    let key = match (&args.private_key_file, args.private_key_stdin) {
        (Some(path), _) => key_from(path)?,
        (None, true) => secret_from(std::io::stdin(), "private key on standard input")?,
        (None, false) => bail!("give the App's private key: --private-key-file FILE, or --private-key-stdin"),
    };
    let app = App {
        app_id,
        installation_id: args.installation_id.unwrap_or_default(),
        owner: args.owner.as_deref().unwrap_or_default(),
        private_key: key.expose(),
    };
    let body = serde_json::to_vec(&app)?.into();
    let client = args.server.client(seams).await?;
    let done: Result<Authorized, ClientError> =
        client.post(&format!("/connections/{id}/github-app"), body).await;
    told(done.with_context(|| format!("connection {id} is not authorized"))?)
}

/// Begins a handshake, and says where it goes on.
async fn begin(client: &Client, id: &str, path: &str, body: Secret<Vec<u8>>) -> anyhow::Result<ExitCode> {
    let begun: Result<Begun, ClientError> = client.post(&format!("/connections/{id}/{path}"), body).await;
    let begun = begun.with_context(|| format!("connection {id} is not authorized"))?;
    if let Some(redirect_uri) = &begun.redirect_uri {
        let redirect_uri = terminal::plain(redirect_uri);
        terminal::print_aside(&format!("The application's redirect URI must be {redirect_uri}\n"))?;
    }
    terminal::print_aside(&format!(
        "Open this in a browser before {}. Whoever opens it first goes on with it, and nobody else:\n",
        terminal::plain(&begun.expires_at)
    ))?;
    terminal::print(&format!("{}\n", terminal::plain(&begun.url)))?;
    Ok(ExitCode::SUCCESS)
}
