//! The connections to a PostgreSQL server: the one place that opens them, begins transactions and commits.
//!
//! Each connection is driven by a thread of its own, which runs one transaction after the other: a bounded set of
//! them for reads and one for writes, so that a flood of reads does not keep the worker from renewing its leases.
//! Transactions are READ COMMITTED; those that check before they write lock what they have checked
//! (`Tx::lock`, `Tx::lock_rows`), which makes retries unnecessary (ADR 0014). Reads are snapshots.

#![expect(clippy::disallowed_methods, reason = "the one place that may")]

mod lookups;
mod pool;
mod tls;

use std::collections::HashMap;
use std::error::Error as _;

use bytes::BytesMut;
use postgres::binary_copy::BinaryCopyInWriter;
use postgres::fallible_iterator::FallibleIterator as _;
use postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use postgres::{Client, NoTls, SimpleQueryMessage, Statement};
use syncline_seams::{CallError, Clock, Moment};

pub(crate) use pool::Postgres;
pub(crate) use tls::Tls;

use crate::copying::{Feed, Put};
use crate::location::Server;
use crate::migrations::{self, Schema};
use crate::raw::{Write, uninterrupted};
use crate::sql::{Tx, Value, postgres_text};
use crate::{StoreError, StoreResult};

/// The oldest version that is supported, as `server_version_num` writes it.
const OLDEST_VERSION: i64 = 150_000;

/// What every connection is set to: a statement that takes longer, waits for a lock or holds a transaction open is
/// ended by the server, so that no thread is kept for good. A database that answers before it has stored is told to
/// store first, whatever its default is.
const SETTINGS: &str = "SET statement_timeout = '30s'; SET lock_timeout = '20s';
    SET idle_in_transaction_session_timeout = '60s'; SET client_min_messages = warning;
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// The start may migrate large tables, and waits for another process that does.
const SETTINGS_OF_START: &str = "SET statement_timeout = 0; SET lock_timeout = '10min';
    SET idle_in_transaction_session_timeout = 0";

/// The session lock under which one process at a time prepares the database: an arbitrary number that nobody else
/// is likely to use.
const START_LOCK: i64 = 0x7379_6e63_6c69_6e65;

/// Commits that nobody is told of and that no outside call relies on before a later commit of the same claim has been
/// stored, and these with it: they need not wait for the disk. A server that crashes forgets at most those of its last
/// moments; then the lease runs out and the next holder looks again. Not claims: one that was forgotten could be given
/// again under the same epoch.
const SETTLED_LATER: [&str; 3] = ["store.open_attempt", "store.record_change_set", "store.release"];

/// The time, in milliseconds since the Unix epoch.
const TIME: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// A connection and what is prepared on it.
pub(crate) struct Session {
    server: Server,
    client: Client,
    statements: HashMap<String, Statement>,
    /// Whether a statement of the open transaction failed: the server would answer its COMMIT with a rollback.
    has_failed: bool,
    /// Whether a transaction may be open that could not be ended.
    is_broken: bool,
}

impl Session {
    /// Connects to a server of a version that is known to work.
    pub(crate) fn open(server: &Server) -> StoreResult<Self> {
        let cannot = |reason: String| StoreError::Open { path: server.to_string(), reason };
        let client = match &server.tls {
            Some(tls) => server.config.connect(tls.clone()),
            None => server.config.connect(NoTls),
        };
        let mut client = client.map_err(|error| cannot(told(&error)))?;
        client.batch_execute(SETTINGS).map_err(|error| cannot(told(&error)))?;
        let row = client.query_one(
            "SELECT current_setting('server_version_num')::bigint, current_setting('server_encoding')",
            &[],
        );
        let row = row.map_err(|error| cannot(told(&error)))?;
        let (version, encoding): (i64, String) = (row.get(0), row.get(1));
        if version < OLDEST_VERSION {
            return Err(cannot(format!(
                "it is PostgreSQL {}; 15 is the oldest that works",
                version / 10_000
            )));
        }
        if encoding != "UTF8" {
            return Err(cannot(format!("its encoding is {encoding}; it must be UTF8")));
        }
        Ok(Self {
            server: server.clone(),
            client,
            statements: HashMap::new(),
            has_failed: false,
            is_broken: false,
        })
    }

    /// Begins a transaction; its time. A connection that turns out to be dead is replaced once: nothing was done yet.
    fn begin(&mut self, how: &str) -> StoreResult<i64> {
        self.has_failed = false;
        let begin = format!("{how}; {TIME}");
        let answer = match self.client.simple_query(&begin) {
            Err(_) if self.client.is_closed() => {
                *self = Self::open(&self.server)?;
                self.client.simple_query(&begin)
            }
            answer => answer,
        };
        let answer = answer?;
        let time = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        time.and_then(|time| time.parse().ok())
            .ok_or_else(|| StoreError::Corrupt("PostgreSQL does not say what time it is".to_owned()))
    }

    /// Ends the transaction without a trace; a connection on which that fails is not used again.
    fn roll_back(&mut self) {
        self.is_broken |= self.client.batch_execute("ROLLBACK").is_err();
    }

    /// Whether it cannot be used any more.
    fn is_broken(&self) -> bool {
        self.is_broken || self.client.is_closed()
    }

    fn statement(&mut self, sql: &str) -> StoreResult<Statement> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(&postgres_text(sql));
        let statement = statement.inspect_err(|_| self.has_failed = true)?;
        // As many as there are texts in this crate: values are bound, never written into them.
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Runs a statement and returns how many rows it changed.
    pub(crate) fn execute(&mut self, sql: &str, params: &[Value]) -> StoreResult<usize> {
        let statement = self.statement(sql)?;
        let changed = self.client.execute(&statement, &bound(params));
        let changed = changed.inspect_err(|_| self.has_failed = true)?;
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    /// The rows of a query, or of a statement with RETURNING.
    pub(crate) fn rows(&mut self, sql: &str, params: &[Value]) -> StoreResult<Vec<Vec<Value>>> {
        let statement = self.statement(sql)?;
        let rows = self.client.query(&statement, &bound(params));
        let rows = rows.inspect_err(|_| self.has_failed = true)?;
        let values = |row: &postgres::Row| (0..row.len()).map(|column| Ok(row.try_get(column)?)).collect();
        rows.iter().map(values).collect()
    }

    /// Gives the rows of a query without values, one after the other, as they come.
    pub(crate) fn each(&mut self, sql: &str, put: &mut Put<'_>) -> StoreResult<()> {
        let statement = self.statement(sql)?;
        let mut rows = self.client.query_raw(&statement, Vec::<Value>::new())?;
        while let Some(row) = rows.next()? {
            let values = (0..row.len()).map(|column| row.try_get(column));
            put(&values.collect::<Result<Vec<Value>, _>>()?)?;
        }
        Ok(())
    }

    /// Adds rows to a table.
    pub(crate) fn fill(&mut self, table: &str, columns: &str, feed: &mut Feed<'_>) -> StoreResult<()> {
        let of_columns = self.statement(&format!("SELECT {columns} FROM {table}"))?;
        let types: Vec<Type> = of_columns.columns().iter().map(|column| column.type_().clone()).collect();
        let copy = self.client.copy_in(&format!("COPY {table} ({columns}) FROM STDIN BINARY"))?;
        let mut copy = BinaryCopyInWriter::new(copy, &types);
        feed(&mut |row| Ok(copy.write(&bound(row))?))?;
        copy.finish()?;
        Ok(())
    }

    /// Whether another process of ours uses the database. PostgreSQL ends a session a moment after its process is gone, so
    /// it is asked for up to 5 seconds.
    pub(crate) fn has_others(&mut self) -> StoreResult<bool> {
        let others = "SELECT count(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND application_name = 'syncline'
                         AND pid <> pg_backend_pid()";
        for _ in 0..100 {
            let count: i64 = self.client.query_one(others, &[])?.try_get(0)?;
            if count == 0 {
                return Ok(false);
            }
            self.client.execute("SELECT pg_sleep(0.05)", &[])?;
        }
        Ok(true)
    }

    /// Runs a read on a consistent snapshot; nothing is committed.
    pub(crate) fn read<T>(
        &mut self,
        clock: &dyn Clock,
        body: impl FnOnce(&Tx<'_>) -> StoreResult<T>,
    ) -> StoreResult<T> {
        let now_ms = clock.of_database(self.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?);
        let answer = uninterrupted(|| body(&Tx::on_postgres(self, now_ms)));
        self.roll_back();
        answer
    }

    /// Runs and commits one write. Whether it woke somebody, with its value.
    fn write<T>(
        &mut self,
        write: &Write<T>,
        body: impl FnOnce(&mut Tx<'_>) -> StoreResult<T>,
    ) -> StoreResult<(T, bool)> {
        let begin = match SETTLED_LATER.contains(&write.point) {
            true => "BEGIN; SET LOCAL synchronous_commit = off",
            false => "BEGIN",
        };
        let now_ms = write.clock.of_database(self.begin(begin)?);
        let ran = uninterrupted(|| {
            let mut tx = Tx::on_postgres(self, now_ms);
            let value = body(&mut tx)?;
            write.outside.point(write.point, Moment::Before)?;
            Ok((value, tx.woke()))
        });
        if ran.is_err() || self.has_failed {
            self.roll_back();
            return ran.and_then(|_| Err(StoreError::Commit("a statement of it failed".to_owned())));
        }
        self.commit(write.point)?;
        write.outside.point(write.point, Moment::After)?;
        ran
    }

    fn commit(&mut self, point: &'static str) -> StoreResult<()> {
        let Err(error) = self.client.batch_execute("COMMIT") else { return Ok(()) };
        // What the server itself refuses did not happen. What it says while it goes down, and silence, say nothing.
        let is_refused = error.as_db_error().is_some_and(|error| {
            let state = error.code().code();
            !(state.starts_with("57P") || state.starts_with("08") || state.starts_with("XX"))
        });
        if is_refused {
            self.roll_back();
            return Err(StoreError::Commit(told(&error)));
        }
        Err(CallError::Lost { point, reason: told(&error) }.into())
    }

    /// Lets its statements take as long as they need.
    pub(crate) fn take_time(&mut self) -> StoreResult<()> {
        Ok(self.client.batch_execute(SETTINGS_OF_START)?)
    }

    /// Takes the lock under which one process at a time prepares the database; it is held until
    /// [`Session::end_start`], or until the connection ends.
    pub(crate) fn begin_start(&mut self) -> StoreResult<()> {
        self.client.execute("SELECT pg_advisory_lock($1)", &[&START_LOCK])?;
        Ok(())
    }

    /// Lets the next process prepare the database.
    pub(crate) fn end_start(&mut self) -> StoreResult<()> {
        self.client.execute("SELECT pg_advisory_unlock($1)", &[&START_LOCK])?;
        Ok(())
    }

    /// Runs and commits a transaction of the start: before anything is served, hence without fault points.
    pub(crate) fn prepare<T>(
        &mut self,
        clock: &dyn Clock,
        body: impl FnOnce(&Tx<'_>) -> StoreResult<T>,
    ) -> StoreResult<T> {
        let now_ms = clock.of_database(self.begin("BEGIN")?);
        let value = body(&Tx::on_postgres(self, now_ms)).inspect_err(|_| self.has_failed = true);
        self.client.batch_execute(if value.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
        value
    }

    /// Brings the schema to the newest version; forward only. Whether there was none before.
    pub(crate) fn migrate(&mut self) -> StoreResult<Schema> {
        self.client.batch_execute(migrations::TABLE)?;
        let mut schema = Schema::default();
        for row in self.client.query("SELECT version FROM schema_migration ORDER BY version", &[])? {
            schema.before = row.try_get(0)?;
        }
        schema.now = schema.before;
        if let Some(ahead) = schema.ahead() {
            let works_with = self.client.query_one(migrations::WORKS_WITH, &[&ahead])?.try_get(0)?;
            migrations::check_ahead(ahead, works_with)?;
        }
        for migration in migrations::after(schema.before) {
            let mut transaction = self.client.transaction()?;
            transaction.batch_execute(&migrations::postgres_text(migration.sql))?;
            transaction
                .execute("INSERT INTO schema_migration (version) VALUES ($1)", &[&migration.version])?;
            if migration.is_additive() {
                transaction.execute(
                    "UPDATE schema_migration SET works_with = $1 - 1 WHERE version = $1",
                    &[&migration.version],
                )?;
            }
            // Before anything is served, hence without fault points; a half-made schema is rolled back.
            transaction.commit()?;
            schema.now = migration.version;
        }
        Ok(schema)
    }
}

fn bound(params: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    params.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

impl ToSql for Value {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(int) if *ty == Type::INT4 => i32::try_from(*int)?.to_sql(ty, out),
            Self::Int(int) if *ty == Type::INT8 => int.to_sql(ty, out),
            Self::Text(text) if <&str as ToSql>::accepts(ty) => text.to_sql(ty, out),
            Self::Bytes(bytes) if *ty == Type::BYTEA => bytes.to_sql(ty, out),
            // The value itself may be a secret.
            Self::Int(_) | Self::Text(_) | Self::Bytes(_) => {
                Err(format!("a value for {ty} is of another type").into())
            }
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'r> FromSql<'r> for Value {
    fn from_sql(ty: &Type, raw: &'r [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        match *ty {
            Type::INT8 => i64::from_sql(ty, raw).map(Self::Int),
            Type::INT4 => i32::from_sql(ty, raw).map(|int| Self::Int(int.into())),
            Type::BYTEA => Vec::from_sql(ty, raw).map(Self::Bytes),
            _ => String::from_sql(ty, raw).map(Self::Text),
        }
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self::Null)
    }

    fn accepts(ty: &Type) -> bool {
        [Type::INT8, Type::INT4, Type::BYTEA].contains(ty) || <&str as FromSql>::accepts(ty)
    }
}

impl From<postgres::Error> for StoreError {
    fn from(error: postgres::Error) -> Self {
        Self::Database(told(&error))
    }
}

/// What went wrong. Not the details, which hold values of rows.
fn told(error: &postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(said), _) => format!("{} (SQLSTATE {})", said.message(), said.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}
