//! The database that is read: made once, and kept for the next run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use syncline_peers::postgres;
use syncline_seams::{Outside, SystemClock};
use syncline_store::{Location, Scope, Seed, Store};

/// The account whose syncs are read.
pub(crate) const ACCOUNT: &str = "111111111111";
/// How many users share the load.
pub(crate) const USERS: u32 = 100;
/// Their region.
pub(crate) const REGION: &str = "eu-west-1";

/// A data directory with the seeded database; made anew when it is not whole, or is of another schema or size.
pub(crate) fn data_dir(folder: &Path, syncs: u32, attempts: u32, events: u32) -> anyhow::Result<PathBuf> {
    let data = folder.join("data");
    let seeded = data.join("seeded");
    let recipe = format!("{} {USERS} {syncs} {attempts} {events}\n", Seed::version());
    let database = data.join("syncline.db");
    if fs::read_to_string(&seeded).is_ok_and(|found| found == recipe) {
        // Into the system's cache, where the seeding leaves it too: disks are not what is compared.
        io::copy(&mut fs::File::open(&database)?, &mut io::sink())?;
        return Ok(data);
    }
    if data.exists() {
        fs::remove_dir_all(&data).with_context(|| format!("removing {}", data.display()))?;
    }
    fs::create_dir_all(&data).with_context(|| format!("making {}", data.display()))?;
    eprintln!("storing {syncs} syncs with {attempts} attempts of {events} events each …");
    let begun = Instant::now();
    let store = Store::open(&database, &data.join("keyring"), Arc::new(SystemClock), Outside::default())?;
    let scope = Scope { account: ACCOUNT.parse()?, region: REGION.parse()? };
    let seed = Seed { scope, users: USERS, syncs, attempts, events };
    let progress = |done: u32| {
        if done.is_multiple_of(10_000) {
            eprintln!("  {done} after {:.0} s", begun.elapsed().as_secs_f64());
        }
    };
    tokio::runtime::Builder::new_current_thread().build()?.block_on(store.seed(&seed, progress))?;
    drop(store);
    let size = fs::metadata(&database)?.len();
    eprintln!("  {} MiB in {:.0} s", size >> 20, begun.elapsed().as_secs_f64());
    fs::write(&seeded, recipe)?;
    Ok(data)
}

/// The same database on a PostgreSQL server, and a data directory for who serves it; nobody may use the one that it is
/// copied from.
pub(crate) fn on_postgres(server: &postgres::Server, data: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    eprintln!("copying it to PostgreSQL …");
    let begun = Instant::now();
    let source = Location::from(data.join("syncline.db").as_path());
    let copied = Store::copy(&source, &Location::parse(&server.url)?)?;
    // As its own housekeeping leaves a database after a while.
    server.run("VACUUM ANALYZE");
    server.run("CHECKPOINT");
    eprintln!("  {} rows in {:.0} s", copied.rows, begun.elapsed().as_secs_f64());
    let serving = folder.join("data-postgres");
    fs::create_dir_all(&serving).with_context(|| format!("making {}", serving.display()))?;
    fs::copy(data.join("keyring"), serving.join("keyring")).context("copying the keyring")?;
    Ok(serving)
}
