//! The subcommands.

mod account;
mod audit;
mod backup;
mod client;
mod connection;
mod delivery;
mod demo;
mod follow;
mod handshake;
mod key;
mod keyring;
mod link;
mod migrate;
mod notification;
mod outbox;
mod preview;
mod serve;
mod sync;
mod terminal;
mod user;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::running::Seams;

/// Keeps CloudFormation stacks at what Git branches say.
#[derive(Debug, Parser)]
#[command(
    name = "syncline",
    version,
    max_term_width = 110,
    after_help = "Try it out: `syncline demo` needs git and nothing else."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve(Box<crate::config::ServeArgs>),
    /// Bring the schema of the database to this version, as the server does when it starts.
    Migrate(crate::config::DatabaseArgs),
    /// Save everything that the database holds to a file, also while servers use it.
    Backup(backup::BackupArgs),
    /// Make a new database of what was saved.
    Restore(backup::RestoreArgs),
    /// Copy a database to another one.
    #[command(subcommand)]
    Store(backup::StoreCommand),
    /// Show in seconds what Syncline does: three pushes and a simulated stack, on this machine alone.
    Demo(demo::DemoArgs),
    /// Complete the handshake of connections.
    #[command(subcommand)]
    Connection(connection::ConnectionCommand),
    /// Make webhooks of repository links, so that pushes are seen at once.
    #[command(subcommand)]
    Link(link::LinkCommand),
    /// Look at what forges delivered to webhooks, or look again at what it was about.
    #[command(subcommand)]
    Delivery(delivery::DeliveryCommand),
    /// Say who is told when the status of a sync changes.
    #[command(subcommand)]
    Notification(notification::NotificationCommand),
    /// Look at what is to be told to forges and notification targets.
    #[command(subcommand)]
    Outbox(outbox::OutboxCommand),
    /// Look at what the merges of pull requests would change.
    #[command(subcommand)]
    Preview(preview::PreviewCommand),
    /// Look at syncs, follow one, or set one off.
    #[command(subcommand)]
    Sync(sync::SyncCommand),
    /// Make, list and end access keys.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// List and delete users.
    #[command(subcommand)]
    User(user::UserCommand),
    /// Say what users may do.
    #[command(subcommand)]
    Policy(user::PolicyCommand),
    /// Say what roles need to let this server in.
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Export the audit log, and check that nobody has changed it.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Look at the keys that secrets are sealed with, or rotate them.
    #[command(subcommand)]
    Keyring(keyring::KeyringCommand),
}

/// Runs the command line.
#[must_use]
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(args) => serve::run(*args).map(|()| ExitCode::SUCCESS),
        Command::Migrate(args) => migrate::run(args),
        Command::Backup(args) => backup::run_backup(args),
        Command::Restore(args) => backup::run_restore(args),
        Command::Store(command) => backup::run_store(&command),
        Command::Demo(args) => demo::run(&args),
        Command::Connection(command) => as_client(async |seams| connection::run(command, seams).await),
        Command::Link(command) => as_client(async |seams| link::run(command, seams).await),
        Command::Delivery(command) => as_client(async |seams| delivery::run(command, seams).await),
        Command::Notification(command) => as_client(async |seams| notification::run(command, seams).await),
        Command::Outbox(command) => as_client(async |seams| outbox::run(command, seams).await),
        Command::Preview(command) => as_client(async |seams| preview::run(command, seams).await),
        Command::Sync(command) => as_client(async |seams| sync::run(command, seams).await),
        Command::Key(command) => as_client(async |seams| key::run(command, seams).await),
        Command::User(command) => as_client(async |seams| user::run(command, seams).await),
        Command::Policy(command) => as_client(async |seams| user::run_policy(command, seams).await),
        Command::Account(command) => as_client(async |seams| account::run(command, seams).await),
        Command::Audit(command) => as_client(async |seams| audit::run(command, seams).await),
        Command::Keyring(command) => as_client(async |seams| keyring::run(command, seams).await),
    };
    done.unwrap_or_else(|error| {
        // Nobody is left to be told if this fails too.
        let _ = terminal::print_aside(&format!("syncline: {}\n", terminal::plain(&format!("{error:#}"))));
        ExitCode::FAILURE
    })
}

/// Runs a subcommand that calls a server.
fn as_client(command: impl AsyncFnOnce(&Seams) -> anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(command(&serve::seams()))
}
