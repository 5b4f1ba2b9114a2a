//! `syncline migrate`.

use std::process::ExitCode;

use syncline_store::{Schema, Store};

use super::terminal;
use crate::config::DatabaseArgs;

/// Brings the schema of the database to the version of this program.
pub(super) fn run(args: DatabaseArgs) -> anyhow::Result<ExitCode> {
    let location = args.settle()?;
    let Schema { before, now } = Store::migrate(&location)?;
    let told = match (before, now) {
        (0, now) => format!("made the database {location} with schema version {now}\n"),
        (before, now) if before == now => {
            format!("the database {location} has schema version {now} already\n")
        }
        (before, now) => format!("brought the database {location} from schema version {before} to {now}\n"),
    };
    terminal::print(&told)?;
    Ok(ExitCode::SUCCESS)
}
