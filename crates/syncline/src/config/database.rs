//! Which database: what `syncline serve` and the commands that work on the database itself share.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use syncline_seams::Secret;
use syncline_store::Location;

use super::{File, read_file};

/// The flags that say which database is meant, as `syncline serve` has them.
#[derive(Debug, Default, Args)]
pub struct DatabaseArgs {
    /// Where the database is kept unless --database-url says otherwise.
    #[arg(long, env = "SYNCLINE_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The database, as sqlite:PATH or postgres://USER@HOST/DATABASE.
    #[arg(long, env = "SYNCLINE_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: Option<Secret>,
    /// The server's file of settings in TOML.
    #[arg(long, env = "SYNCLINE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl DatabaseArgs {
    /// The database that is meant.
    ///
    /// # Errors
    /// A file that cannot be read, or a URL that is none.
    pub fn settle(self) -> anyhow::Result<Location> {
        let file = self.config.as_deref().map(read_file).transpose()?.unwrap_or_default();
        let data_dir = data_dir(self.data_dir, &file)?;
        location(self.database_url.or(file.database_url), &data_dir)
    }
}

/// The data directory; absolute.
pub(super) fn data_dir(given: Option<PathBuf>, file: &File) -> anyhow::Result<PathBuf> {
    let path = given.or_else(|| file.data_dir.clone()).unwrap_or_else(|| PathBuf::from("syncline-data"));
    std::path::absolute(&path).with_context(|| format!("--data-dir {}", path.display()))
}

/// The database at a URL, or the one in the data directory.
pub(super) fn location(url: Option<Secret>, data_dir: &Path) -> anyhow::Result<Location> {
    match url {
        None => Ok(Location::from(&data_dir.join("syncline.db"))),
        // The URL may hold a password: it is not repeated.
        Some(url) => Location::parse(url.expose()).context("--database-url"),
    }
}
