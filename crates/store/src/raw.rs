//! The database driver's connections: the one place that opens them, begins transactions and commits.
//!
//! clippy.toml bans all of it everywhere else, so that every commit but those of the start goes through
//! [`commit`], which holds the fault points.

#![expect(clippy::disallowed_methods, reason = "the one place that may")]

use std::path::Path;

use syncline_seams::{Moment, Outside};

use crate::sql::Tx;
use crate::{StoreError, StoreResult};

const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_init.sql"),
    include_str!("../migrations/0002_access.sql"),
    include_str!("../migrations/0003_keyring.sql"),
];

/// Runs a transaction, commits it between its two fault points, and says whether it made something due.
pub(crate) fn commit<T>(
    connection: &mut rusqlite::Connection,
    outside: &Outside,
    now_ms: i64,
    point: &'static str,
    body: impl FnOnce(&mut Tx<'_>) -> StoreResult<T>,
) -> StoreResult<(T, bool)> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let mut tx = Tx::new(&transaction, now_ms);
    let value = body(&mut tx)?;
    let woke = tx.woke();
    outside.point(point, Moment::Before)?;
    transaction.commit()?;
    outside.point(point, Moment::After)?;
    Ok((value, woke))
}

/// A connection to the database at `path`.
pub(crate) fn connect(path: &Path) -> StoreResult<rusqlite::Connection> {
    let connection = rusqlite::Connection::open(path)
        .map_err(|error| StoreError::Open { path: path.display().to_string(), reason: error.to_string() })?;
    connection.set_prepared_statement_cache_capacity(128);
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;
         PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;",
    )?;
    Ok(connection)
}

/// Brings the schema to the newest version; forward only. Whether there was none before.
pub(crate) fn migrate(connection: &mut rusqlite::Connection) -> StoreResult<bool> {
    connection.execute_batch("CREATE TABLE IF NOT EXISTS schema_migration (version BIGINT PRIMARY KEY)")?;
    let done: i64 =
        connection
            .query_row("SELECT coalesce(max(version), 0) FROM schema_migration", [], |row| row.get(0))?;
    let done = usize::try_from(done).unwrap_or(usize::MAX);
    if done > MIGRATIONS.len() {
        return Err(StoreError::Open {
            path: String::new(),
            reason: format!(
                "it has schema version {done}, but this syncline knows only {}: use a newer syncline",
                MIGRATIONS.len()
            ),
        });
    }
    for (index, sql) in MIGRATIONS.iter().enumerate().skip(done) {
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        transaction.execute_batch(sql)?;
        let version = i64::try_from(index + 1).unwrap_or(i64::MAX);
        transaction.execute("INSERT INTO schema_migration (version) VALUES (?1)", [version])?;
        // Before anything is served, hence without fault points; a half-made schema is rolled back.
        transaction.commit()?;
    }
    Ok(done == 0)
}

/// Runs and commits a transaction of the start: before anything is served, hence without fault points.
pub(crate) fn prepare<T>(
    connection: &mut rusqlite::Connection,
    now_ms: i64,
    body: impl FnOnce(&Tx<'_>) -> StoreResult<T>,
) -> StoreResult<T> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let value = body(&Tx::new(&transaction, now_ms))?;
    transaction.commit()?;
    Ok(value)
}

/// Takes back the leases that a dead process left; at the start, while nobody else has the database.
pub(crate) fn void_leases(connection: &rusqlite::Connection) -> StoreResult<()> {
    connection.execute("UPDATE work SET lease_owner = NULL, lease_until_ms = NULL", [])?;
    Ok(())
}

/// Runs a read on a consistent snapshot; nothing is committed.
pub(crate) fn read<T>(
    connection: &mut rusqlite::Connection,
    now_ms: i64,
    body: impl FnOnce(&Tx<'_>) -> StoreResult<T>,
) -> StoreResult<T> {
    let snapshot = connection.transaction()?;
    body(&Tx::new(&snapshot, now_ms))
}
