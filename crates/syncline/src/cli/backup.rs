//! `syncline backup`, `syncline restore` and `syncline store copy`.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use syncline_seams::Secret;
use syncline_store::{Copied, Location, Store};

use super::terminal;
use crate::config::DatabaseArgs;

/// Saving a database.
#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// Where it is saved; a file that is there already is refused.
    file: PathBuf,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Making a database of what was saved.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// What `syncline backup` made.
    file: PathBuf,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// What there is to do with databases.
#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Copy everything to a new database, as from SQLite to PostgreSQL. Stop the servers first.
    Copy(CopyArgs),
}

/// Moving from one database to another.
#[derive(Debug, Args)]
pub(super) struct CopyArgs {
    /// The database that is copied, as sqlite:PATH or postgres://USER@HOST/DATABASE.
    #[arg(long, env = "SYNCLINE_COPY_FROM", value_name = "URL", hide_env_values = true)]
    from: Secret,
    /// The new database.
    #[arg(long, env = "SYNCLINE_COPY_TO", value_name = "URL", hide_env_values = true)]
    to: Secret,
}

pub(super) fn run_backup(args: BackupArgs) -> anyhow::Result<ExitCode> {
    let location = args.database.settle()?;
    let name = args.file.display();
    // Sealed or not, what is in it is nobody else's business.
    let file = File::options().write(true).create_new(true).mode(0o600).open(&args.file);
    let file = file.with_context(|| format!("cannot make {name}"))?;
    let mut out = BufWriter::new(file);
    let saved = Store::back_up(&location, &mut out).map_err(anyhow::Error::from).and_then(|saved| {
        out.get_ref().sync_all().with_context(|| format!("cannot write {name}"))?;
        Ok(saved)
    });
    let Copied { tables, rows } = saved.inspect_err(|_| {
        // Half a backup is none.
        let _ = std::fs::remove_file(&args.file);
    })?;
    terminal::print(&format!(
        "saved {rows} rows of {tables} tables to {name}; the keyring, without which its secrets cannot be opened, is \
         not in it\n"
    ))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn run_restore(args: RestoreArgs) -> anyhow::Result<ExitCode> {
    let location = args.database.settle()?;
    let name = args.file.display();
    let file = File::open(&args.file).with_context(|| format!("cannot read {name}"))?;
    if let Location::Sqlite(path) = &location
        && let Some(folder) = path.parent()
    {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let Copied { tables, rows } =
        Store::restore(&mut BufReader::new(file), &location).with_context(|| name.to_string())?;
    terminal::print(&format!("restored {rows} rows of {tables} tables to {location}\n"))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn run_store(command: &StoreCommand) -> anyhow::Result<ExitCode> {
    let StoreCommand::Copy(CopyArgs { from, to }) = command;
    let from = Location::parse(from.expose()).context("--from")?;
    let to = Location::parse(to.expose()).context("--to")?;
    let Copied { tables, rows } = Store::copy(&from, &to)?;
    terminal::print(&format!(
        "copied {rows} rows of {tables} tables from {from} to {to}; the new database needs the same keyring\n"
    ))?;
    Ok(ExitCode::SUCCESS)
}
