//! The database driver's connections: the one place that opens them, begins transactions and commits.
//!
//! clippy.toml bans all of it everywhere else, so that every commit but those of the start goes through
//! [`work`], whose jobs hold the fault points.

#![expect(clippy::disallowed_methods, reason = "the one place that may")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use syncline_seams::{Clock, Moment, Outside};
use tokio::sync::{Notify, oneshot};

use crate::migrations::{self, Schema};
use crate::readers::Readers;
use crate::sql::Tx;
use crate::{StoreError, StoreResult};

pub(crate) const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_init.sql"),
    include_str!("../migrations/0002_access.sql"),
    include_str!("../migrations/0003_keyring.sql"),
    include_str!("../migrations/0004_read_path.sql"),
    include_str!("../migrations/0005_events_as_answered.sql"),
    include_str!("../migrations/0006_replicas.sql"),
    include_str!("../migrations/0007_scheduler.sql"),
    include_str!("../migrations/0008_path_index.sql"),
    include_str!("../migrations/0009_stacks_by_name.sql"),
    include_str!("../migrations/0010_webhooks.sql"),
    include_str!("../migrations/0011_newest_attempt.sql"),
    include_str!("../migrations/0012_registered_webhooks.sql"),
    include_str!("../migrations/0013_outbox.sql"),
    include_str!("../migrations/0014_previews.sql"),
    include_str!("../migrations/0015_grants.sql"),
    include_str!("../migrations/0016_redeliveries_and_previews.sql"),
    include_str!("../migrations/0017_event_buses.sql"),
];

/// Writes that arrive together and share a commit, and so an fsync; this bounds how long the first of them waits.
const TOGETHER: usize = 64;

/// How far apart commits are while there are many reads: after each, every reader has to find all its pages anew. Of the
/// machine's time, by which nothing is decided.
const APART: Duration = Duration::from_millis(4);

/// So many reads from one commit to the next that it matters.
const MANY_READS: u64 = 16;

/// A write that waits for its turn. It is given the connection with a transaction open, or why there is none.
pub(crate) type Job = Box<dyn FnOnce(StoreResult<&rusqlite::Connection>) -> Ran + Send>;

/// A write that had its turn.
pub(crate) struct Ran {
    told: Told,
    /// Something of a failed write may be left in the transaction, which therefore must not be committed.
    is_spoilt: bool,
}

/// Tells whoever waits for a write what came of the commit.
pub(crate) type Told = Box<dyn FnOnce(StoreResult<()>)>;

/// What surrounds one write.
pub(crate) struct Write<T> {
    /// Names it for fault plans.
    pub(crate) point: &'static str,
    /// Holds its fault points, before and after the commit that it shares with others.
    pub(crate) outside: Outside,
    /// Says when it is.
    pub(crate) clock: Arc<dyn Clock>,
    /// Hears that something became due.
    pub(crate) wakes: Arc<Notify>,
    /// Whoever asked.
    pub(crate) answer: oneshot::Sender<StoreResult<T>>,
}

impl<T: 'static> Write<T> {
    /// The write as a job, which does nothing if it is not wanted any more when its turn comes.
    pub(crate) fn job(
        self,
        is_wanted: impl FnOnce(&oneshot::Sender<StoreResult<T>>) -> bool + Send + 'static,
        body: impl FnOnce(&mut Tx<'_>) -> StoreResult<T> + Send + 'static,
    ) -> Job
    where
        T: Send,
    {
        Box::new(move |connection| {
            let Self { point, outside, clock, wakes, answer } = self;
            if !is_wanted(&answer) {
                return Ran { told: Box::new(|_| {}), is_spoilt: false };
            }
            let mut is_spoilt = false;
            let ran = connection.and_then(|connection| {
                apart(connection, &mut is_spoilt, |connection| {
                    let mut tx = Tx::new(connection, clock.now_ms());
                    let value = body(&mut tx)?;
                    outside.point(point, Moment::Before)?;
                    Ok((value, tx.woke()))
                })
            });
            let told: Told = Box::new(move |committed| {
                let told = ran.and_then(|(value, woke)| {
                    committed?;
                    outside.point(point, Moment::After)?;
                    if woke {
                        wakes.notify_one();
                    }
                    Ok(value)
                });
                // Whoever asked may have gone meanwhile; the commit stands all the same.
                let _ = answer.send(told);
            });
            Ran { told, is_spoilt }
        })
    }
}

/// Runs one write within the transaction so that, if it fails, it leaves nothing and takes no other along. Where
/// that fails in its turn, the transaction is spoilt.
fn apart<T>(
    connection: &rusqlite::Connection,
    is_spoilt: &mut bool,
    body: impl FnOnce(&rusqlite::Connection) -> StoreResult<T>,
) -> StoreResult<T> {
    let run = |sql: &str| run(connection, sql);
    run("SAVEPOINT job")?;
    let ran = uninterrupted(|| body(connection));
    // Some failures, such as a full disk, end the whole transaction.
    if !connection.is_autocommit() {
        let rolled_back = if ran.is_err() { run("ROLLBACK TO job") } else { Ok(()) };
        let ended = rolled_back.and_then(|()| run("RELEASE job"));
        *is_spoilt = ended.is_err();
        // Why the write itself failed says more.
        return ran.and_then(|value| Ok(ended.map(|()| value)?));
    }
    ran
}

/// What the body says, or that it panicked: a bug in one write must not take the writer from all the others. What
/// the body had in its hands is dropped, and what it wrote is rolled back.
pub(crate) fn uninterrupted<T>(body: impl FnOnce() -> StoreResult<T>) -> StoreResult<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(StoreError::Commit(format!("the write panicked: {text}")))
    })
}

/// Opens the transaction of the next jobs. One that could not be ended before is in the way, and is rolled back.
fn begin(connection: &rusqlite::Connection) -> rusqlite::Result<()> {
    match run(connection, "BEGIN IMMEDIATE") {
        Err(_) if !connection.is_autocommit() => {
            run(connection, "ROLLBACK")?;
            run(connection, "BEGIN IMMEDIATE")
        }
        begun => begun,
    }
}

/// Does the jobs in their order, those that wait together in one transaction, until nobody can send one any more.
pub(crate) fn work(connection: &rusqlite::Connection, readers: &Readers, jobs: &mpsc::Receiver<Job>) {
    let (mut committed_at, mut reads) = (Instant::now(), readers.reads());
    while let Ok(first) = jobs.recv() {
        let is_read_much = readers.reads().wrapping_sub(reads) >= MANY_READS;
        let until = if is_read_much { committed_at + APART } else { committed_at };
        turn(connection, readers, first, jobs, until);
        (committed_at, reads) = (Instant::now(), readers.reads());
    }
}

/// Does the first job, those that wait behind it and those that come before `until`, in one transaction.
pub(crate) fn turn(
    connection: &rusqlite::Connection,
    readers: &Readers,
    first: Job,
    jobs: &mpsc::Receiver<Job>,
    until: Instant,
) {
    if let Err(error) = begin(connection) {
        return tell(first(Err(error.into())).told, Ok(()));
    }
    let Ran { told, mut is_spoilt } = first(Ok(connection));
    let mut all_told = vec![told];
    while all_told.len() < TOGETHER
        && !is_spoilt
        && !connection.is_autocommit()
        && let Ok(next) = jobs.recv_timeout(until.saturating_duration_since(Instant::now()))
    {
        let next = next(Ok(connection));
        all_told.push(next.told);
        is_spoilt = next.is_spoilt;
    }
    let committed = if is_spoilt || connection.is_autocommit() {
        Err("a write beside it failed, and the database gave up both".to_owned())
    } else {
        run(connection, "COMMIT").map_err(|error| error.to_string())
    };
    if committed.is_err() && !connection.is_autocommit() {
        // What was not committed must not be there for the next job; if it still is, that one tries again.
        let _ = run(connection, "ROLLBACK");
    }
    for told in all_told {
        tell(told, committed.clone().map_err(StoreError::Commit));
    }
    readers.checkpoint_if_due(connection);
}

/// Tells one of those that wait; if that panics, he hears that the store is closed.
fn tell(told: Told, committed: StoreResult<()>) {
    let _ = catch_unwind(AssertUnwindSafe(|| told(committed)));
}

/// A connection to the database at `path`.
pub(crate) fn connect(path: &Path) -> StoreResult<rusqlite::Connection> {
    let connection = rusqlite::Connection::open(path)
        .map_err(|error| StoreError::Open { path: path.display().to_string(), reason: error.to_string() })?;
    connection.set_prepared_statement_cache_capacity(128);
    // Otherwise a statement with a partial index in reach is planned again for every value that is bound to it, which
    // costs more than running it.
    connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;
         PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;",
    )?;
    Ok(connection)
}

/// A connection that only reads.
pub(crate) fn connect_reader(path: &Path) -> StoreResult<rusqlite::Connection> {
    let connection = connect(path)?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -8192;")?;
    Ok(connection)
}

/// The most of the database that is mapped into memory for reading, in bytes; of a greater one the rest is read.
const MAPPED_BYTES: i64 = 1 << 38;

/// Has a connection map the file from now on, or read it. What is mapped is the system's cache of the file and no
/// memory of ours.
pub(crate) fn map(connection: &rusqlite::Connection, is_mapped: bool) -> rusqlite::Result<()> {
    let bytes = if is_mapped { MAPPED_BYTES } else { 0 };
    connection.prepare_cached(&format!("PRAGMA mmap_size = {bytes}"))?.query_row([], |_| Ok(()))
}

/// Brings the schema to the newest version; forward only.
pub(crate) fn migrate(connection: &mut rusqlite::Connection) -> StoreResult<Schema> {
    connection.execute_batch(migrations::TABLE)?;
    let newest = "SELECT coalesce(max(version), 0) FROM schema_migration";
    let before = connection.query_row(newest, [], |row| row.get(0))?;
    let mut schema = Schema { before, now: before };
    if let Some(ahead) = schema.ahead() {
        let works_with = migrations::WORKS_WITH.replace('$', "?");
        migrations::check_ahead(ahead, connection.query_row(&works_with, [ahead], |row| row.get(0))?)?;
    }
    for migration in migrations::after(before) {
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        transaction.execute_batch(migration.sql)?;
        let version = migration.version;
        transaction.execute("INSERT INTO schema_migration (version) VALUES (?1)", [version])?;
        if migration.is_additive() {
            let works_with = "UPDATE schema_migration SET works_with = ?1 - 1 WHERE version = ?1";
            transaction.execute(works_with, [version])?;
        }
        // Before anything is served, hence without fault points; a half-made schema is rolled back.
        transaction.commit()?;
        schema.now = version;
    }
    Ok(schema)
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
    let sql = "UPDATE work SET lease_owner = NULL, lease_until_ms = NULL WHERE lease_until_ms IS NOT NULL";
    connection.execute(sql, [])?;
    Ok(())
}

/// Runs a read on a consistent snapshot; nothing is committed.
pub(crate) fn read<T>(
    connection: &rusqlite::Connection,
    now_ms: i64,
    body: impl FnOnce(&Tx<'_>) -> StoreResult<T>,
) -> StoreResult<T> {
    run(connection, "BEGIN DEFERRED")?;
    let answer = body(&Tx::new(connection, now_ms));
    let ended = run(connection, "ROLLBACK");
    let answer = answer?;
    ended?;
    Ok(answer)
}

/// Writes the log back into the database, as far as nobody reads from it.
pub(crate) fn checkpoint(writer: &rusqlite::Connection) -> rusqlite::Result<()> {
    writer.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?.query_row([], |_| Ok(()))
}

/// Runs a statement that says nothing; prepared once, or it would be parsed again each time.
pub(crate) fn run(connection: &rusqlite::Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

#[cfg(test)]
mod tests {
    use syncline_seams::{Faults, VirtualClock};

    use super::*;
    use crate::sql::params;

    type Answered = oneshot::Receiver<StoreResult<i64>>;

    const PANICS: i64 = 13;
    const ENDS_ITS_SAVEPOINT: i64 = 99;

    /// Sends a write that adds the number, and fails after that if it is odd; two of the odd ones in a worse way.
    fn send(jobs: &mpsc::Sender<Job>, faults: &Arc<Faults>, number: i64) -> Answered {
        let (answer, answered) = oneshot::channel();
        let clock: Arc<dyn Clock> = Arc::new(VirtualClock::starting_at(0));
        let point = if number % 2 == 0 { "even" } else { "odd" };
        let write = Write { point, outside: faults.outside(), clock, wakes: Arc::default(), answer };
        let body = move |tx: &mut Tx<'_>| {
            tx.execute("INSERT INTO number (value) VALUES ($1)", params![number])?;
            assert_ne!(number, PANICS, "an unlucky number");
            if number == ENDS_ITS_SAVEPOINT {
                tx.execute("RELEASE job", params![])?;
            }
            if number % 2 == 0 { Ok(number) } else { Err(StoreError::Corrupt("odd".to_owned())) }
        };
        jobs.send(write.job(|_| true, body)).expect("the receiver is there");
        answered
    }

    fn database() -> (tempfile::TempDir, rusqlite::Connection) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let connection = connect(&folder.path().join("numbers.db")).expect("a new database");
        connection.execute_batch("CREATE TABLE number (value BIGINT PRIMARY KEY)").expect("a table");
        (folder, connection)
    }

    fn numbers(connection: &rusqlite::Connection) -> Vec<i64> {
        let mut statement = connection.prepare("SELECT value FROM number ORDER BY value").expect("SQL");
        let rows = statement.query_map([], |row| row.get(0)).expect("rows");
        rows.collect::<Result<_, _>>().expect("numbers")
    }

    /// The writes are all there before the writer begins.
    fn done(
        connection: &rusqlite::Connection,
        faults: &Arc<Faults>,
        given: &[i64],
    ) -> Vec<Result<i64, String>> {
        let (jobs, waiting) = mpsc::channel();
        let answers: Vec<_> = given.iter().map(|number| send(&jobs, faults, *number)).collect();
        drop(jobs);
        work(connection, &Readers::new(std::path::PathBuf::new()), &waiting);
        let answer = |mut answered: Answered| answered.try_recv().expect("every write is answered");
        answers.into_iter().map(|answered| answer(answered).map_err(|error| error.to_string())).collect()
    }

    #[test]
    fn writes_that_wait_together_share_a_commit_and_fail_alone() {
        let (_folder, connection) = database();
        let faults = Faults::none();
        let answers = done(&connection, &faults, &[2, 3, 4]);
        let odd = "the database holds something unexpected: odd".to_owned();
        assert_eq!(answers, [Ok(2), Err(odd), Ok(4)]);
        assert_eq!(numbers(&connection), [2, 4]);
        // Neither was told before both were committed.
        let [before, after] = [("even", Moment::Before), ("even", Moment::After)];
        assert_eq!(faults.seen(), [before, before, after, after]);
    }

    #[test]
    fn a_write_that_is_interrupted_before_the_commit_takes_no_other_along() {
        let (_folder, connection) = database();
        let faults = Faults::none();
        faults.fail("even", Moment::Before);
        let answers = done(&connection, &faults, &[2, 4]);
        assert!(answers[0].is_err() && answers[1] == Ok(4), "{answers:?}");
        assert_eq!(numbers(&connection), [4]);
    }

    #[test]
    fn a_write_that_panics_leaves_nothing_and_the_others_unharmed() {
        let (_folder, connection) = database();
        let answers = done(&connection, &Faults::none(), &[2, PANICS, 4]);
        assert_eq!([&answers[0], &answers[2]], [&Ok(2), &Ok(4)]);
        let told = answers[1].as_ref().expect_err("it panicked");
        assert!(told.contains("the write panicked") && told.contains("an unlucky number"), "{told}");
        assert_eq!(numbers(&connection), [2, 4]);
    }

    #[test]
    fn a_failed_write_that_cannot_be_rolled_back_alone_is_committed_with_no_other() {
        let (_folder, connection) = database();
        let answers = done(&connection, &Faults::none(), &[2, ENDS_ITS_SAVEPOINT, 4]);
        assert!(answers[0].is_err() && answers[1].is_err(), "{answers:?}");
        assert_eq!(answers[2], Ok(4), "the next transaction is another one");
        assert_eq!(numbers(&connection), [4]);
    }

    #[test]
    fn a_transaction_that_was_left_open_is_rolled_back_and_stops_nobody() {
        let (_folder, connection) = database();
        connection
            .execute_batch("BEGIN; INSERT INTO number (value) VALUES (1)")
            .expect("an open transaction");
        assert_eq!(done(&connection, &Faults::none(), &[2, 4]), [Ok(2), Ok(4)]);
        assert_eq!(numbers(&connection), [2, 4]);
    }

    #[test]
    fn more_writes_than_share_a_commit_are_all_done() {
        let (_folder, connection) = database();
        let given: Vec<i64> = (0..150).map(|i| 2 * i).collect();
        let answers = done(&connection, &Faults::none(), &given);
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(numbers(&connection), given);
    }

    #[test]
    fn a_commit_that_fails_is_told_to_every_write_in_it_and_leaves_nothing() {
        let (_folder, connection) = database();
        // A constraint that is checked at the commit fails the commit itself.
        connection
            .execute_batch(
                "CREATE TABLE other (value BIGINT REFERENCES number (value) DEFERRABLE INITIALLY DEFERRED);
                 CREATE TRIGGER fail AFTER INSERT ON number WHEN new.value = 4
                   BEGIN INSERT INTO other (value) VALUES (99); END;",
            )
            .expect("a trap");
        let answers = done(&connection, &Faults::none(), &[2, 4, 6]);
        assert!(answers.iter().all(Result::is_err), "{answers:?}");
        assert!(numbers(&connection).is_empty());
        assert_eq!(
            done(&connection, &Faults::none(), &[8]),
            [Ok(8)],
            "the next write finds a clean connection"
        );
    }
}
