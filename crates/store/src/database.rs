//! Opening a database, and the two that there are.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};

use syncline_seams::Clock;
use tokio::sync::Notify;

use crate::copying::CLOCK;
use crate::location::{Location, Server};
use crate::migrations::Schema;
use crate::postgresql::{Postgres, Session};
use crate::readers::Readers;
use crate::sql::Tx;
use crate::{StoreError, StoreResult, copying, migrations, raw};

/// An open database.
pub(crate) enum Database {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

/// A file of SQLite: one writer, and readers on the threads that ask.
pub(crate) struct Sqlite {
    pub(crate) writer: Mutex<Option<mpsc::Sender<raw::Job>>>,
    /// None where something else does the jobs.
    pub(crate) writer_thread: Option<std::thread::JoinHandle<()>>,
    readers: Arc<Readers>,
    // Held as long as the store is open.
    _lock: std::fs::File,
}

/// What does the jobs of a file of SQLite has in hand.
pub(crate) struct Writing {
    pub(crate) connection: rusqlite::Connection,
    pub(crate) readers: Arc<Readers>,
    pub(crate) jobs: mpsc::Receiver<raw::Job>,
}

impl Sqlite {
    /// Opens a file as [`open`] does, with nobody yet to do its jobs.
    pub(crate) fn open<T>(
        path: &Path,
        clock: &dyn Clock,
        prepare: impl FnOnce(&mut Starting<'_>, bool) -> StoreResult<T>,
    ) -> StoreResult<(Self, Writing, T)> {
        let (lock, mut connection, schema) = open_file(path)?;
        raw::void_leases(&connection)?;
        let mut starting = Starting { on: On::Sqlite(&mut connection), clock };
        let prepared = prepare(&mut starting, schema.is_new())?;
        let readers = Arc::new(Readers::new(path.to_owned()));
        readers.follow(&mut connection)?;
        let (writer, jobs) = mpsc::channel();
        let writing = Writing { connection, readers: Arc::clone(&readers), jobs };
        let sqlite = Self { writer: Mutex::new(Some(writer)), writer_thread: None, readers, _lock: lock };
        Ok((sqlite, writing, prepared))
    }

    /// Whether nothing would write any more.
    pub(crate) fn is_without_writer(&self) -> bool {
        self.writer_thread.as_ref().is_some_and(std::thread::JoinHandle::is_finished)
    }

    /// Runs one read on this thread.
    pub(crate) fn read<T>(
        &self,
        clock: &dyn Clock,
        body: impl FnOnce(&Tx<'_>) -> StoreResult<T>,
    ) -> StoreResult<T> {
        self.readers.read(clock.now_ms(), body)
    }
}

/// A database that is being prepared: nobody else has it meanwhile, and nothing is served from it yet.
pub(crate) struct Starting<'s> {
    on: On<'s>,
    clock: &'s dyn Clock,
}

enum On<'s> {
    Sqlite(&'s mut rusqlite::Connection),
    Postgres(&'s mut Session),
}

impl Starting<'_> {
    /// Runs a read on a consistent snapshot.
    pub(crate) fn read<T>(&mut self, body: impl FnOnce(&Tx<'_>) -> StoreResult<T>) -> StoreResult<T> {
        match &mut self.on {
            On::Sqlite(connection) => raw::read(connection, self.clock.now_ms(), body),
            On::Postgres(session) => session.read(self.clock, body),
        }
    }

    /// Runs and commits a transaction: before anything is served, hence without fault points.
    pub(crate) fn prepare<T>(&mut self, body: impl FnOnce(&Tx<'_>) -> StoreResult<T>) -> StoreResult<T> {
        match &mut self.on {
            On::Sqlite(connection) => raw::prepare(connection, self.clock.now_ms(), body),
            On::Postgres(session) => session.prepare(self.clock, body),
        }
    }
}

/// Opens a database, making it and bringing it to the newest schema as needed; `prepare` does the rest, given whether
/// the database is new, while nobody else has it.
pub(crate) fn open<T: Send>(
    location: &Location,
    clock: &dyn Clock,
    wakes: &Arc<Notify>,
    prepare: impl FnOnce(&mut Starting<'_>, bool) -> StoreResult<T> + Send,
) -> StoreResult<(Database, T)> {
    match location {
        Location::Sqlite(path) => {
            let (mut sqlite, writing, prepared) = Sqlite::open(path, clock, prepare)?;
            let writer_thread = std::thread::Builder::new()
                .name("store-writer".into())
                .spawn(move || raw::work(&writing.connection, &writing.readers, &writing.jobs))
                .map_err(|error| no_thread(location, &error))?;
            sqlite.writer_thread = Some(writer_thread);
            Ok((Database::Sqlite(sqlite), prepared))
        }
        Location::Postgres(server) => {
            let prepared = apart(|| {
                alone_on(server, |session, schema| {
                    let mut starting = Starting { on: On::Postgres(session), clock };
                    prepare(&mut starting, schema.is_new())
                })
            })?;
            let postgres = Postgres::start(server, wakes).map_err(|error| no_thread(location, &error))?;
            Ok((Database::Postgres(postgres), prepared))
        }
    }
}

/// Brings the schema of a database to the newest version, making the database as needed.
pub(crate) fn migrate(location: &Location) -> StoreResult<Schema> {
    match location {
        Location::Sqlite(path) => open_file(path).map(|(_, _, schema)| schema),
        Location::Postgres(server) => apart(|| alone_on(server, |_, schema| Ok(schema))),
    }
}

/// Runs a read of a whole database, which must have the newest schema; `alone` if nobody else may use it meanwhile.
pub(crate) fn look_at<T>(
    location: &Location,
    alone: bool,
    body: impl FnOnce(&Tx<'_>) -> StoreResult<T>,
) -> StoreResult<T> {
    let check = |tx: &Tx<'_>| {
        let version = tx.count("SELECT coalesce(max(version), 0) FROM schema_migration", &[])?;
        if version == migrations::newest() {
            return Ok(());
        }
        Err(StoreError::Open {
            path: location.to_string(),
            reason: format!(
                "it has schema version {version}, and this syncline works with {}: use `syncline migrate`, or the \
                 syncline that it belongs to",
                migrations::newest()
            ),
        })
    };
    match location {
        Location::Sqlite(path) => {
            if !path.exists() {
                let reason = "there is no such file".to_owned();
                return Err(StoreError::Open { path: location.to_string(), reason });
            }
            let _lock = alone.then(|| lock_file(path)).transpose()?;
            let connection = raw::connect_reader(path)?;
            raw::read(&connection, CLOCK.now_ms(), |tx| {
                check(tx)?;
                body(tx)
            })
        }
        Location::Postgres(server) => {
            let mut session = Session::open(server)?;
            session.take_time()?;
            if alone {
                session.begin_start()?;
                if session.has_others()? {
                    let reason = "syncline servers use it: stop them first".to_owned();
                    return Err(StoreError::Open { path: server.to_string(), reason });
                }
            }
            session.read(&CLOCK, |tx| {
                check(tx)?;
                body(tx)
            })
        }
    }
}

/// Makes a database and runs what fills it; it must hold nothing yet.
pub(crate) fn fill_new<T>(
    location: &Location,
    body: impl FnOnce(&Tx<'_>) -> StoreResult<T>,
) -> StoreResult<T> {
    match location {
        Location::Sqlite(path) => {
            if path.exists() {
                let reason = "it exists already; only a new database is filled".to_owned();
                return Err(StoreError::Open { path: location.to_string(), reason });
            }
            let (_lock, mut connection, _) = open_file(path)?;
            let mut starting = Starting { on: On::Sqlite(&mut connection), clock: &CLOCK };
            let filled = copying::fill(&mut starting, location, body);
            drop(connection);
            if filled.is_err() {
                // It was made a moment ago, and half a database is none.
                for suffix in ["", "-wal", "-shm"] {
                    let mut name = path.clone().into_os_string();
                    name.push(suffix);
                    let _ = std::fs::remove_file(name);
                }
            }
            filled
        }
        Location::Postgres(server) => alone_on(server, |session, _| {
            let mut starting = Starting { on: On::Postgres(session), clock: &CLOCK };
            copying::fill(&mut starting, location, body)
        }),
    }
}

fn no_thread(location: &Location, error: &std::io::Error) -> StoreError {
    StoreError::Open { path: location.to_string(), reason: format!("no thread for it: {error}") }
}

/// The lock of a file that nobody else has open, a connection to it, and its schema.
fn open_file(path: &Path) -> StoreResult<(std::fs::File, rusqlite::Connection, Schema)> {
    let lock = lock_file(path)?;
    // Made before SQLite makes it, so that nobody else may read it.
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| StoreError::Open { path: path.display().to_string(), reason: error.to_string() })?;
    let mut connection = raw::connect(path)?;
    let schema = raw::migrate(&mut connection).map_err(|error| named(error, &path.display()))?;
    Ok((lock, connection, schema))
}

/// The lock of a file that nobody else has open.
fn lock_file(path: &Path) -> StoreResult<std::fs::File> {
    let cannot = |reason: String| StoreError::Open { path: path.display().to_string(), reason };
    let lock_path = path.with_extension("lock");
    let lock = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(|error| cannot(format!("{}: {error}", lock_path.display())))?;
    lock.try_lock().map_err(|error| match error {
        std::fs::TryLockError::WouldBlock => StoreError::InUse { path: path.display().to_string() },
        std::fs::TryLockError::Error(error) => cannot(format!("{}: {error}", lock_path.display())),
    })?;
    Ok(lock)
}

/// Runs what prepares a server's database, while no other process does the same.
fn alone_on<T>(server: &Server, body: impl FnOnce(&mut Session, Schema) -> StoreResult<T>) -> StoreResult<T> {
    let mut session = Session::open(server)?;
    session.take_time()?;
    session.begin_start()?;
    let schema = session.migrate().map_err(|error| named(error, server))?;
    let prepared = body(&mut session, schema)?;
    session.end_start()?;
    Ok(prepared)
}

/// Runs something on a thread of its own: PostgreSQL's driver may not be used on one that runs futures.
pub(crate) fn apart<T: Send>(body: impl FnOnce() -> StoreResult<T> + Send) -> StoreResult<T> {
    std::thread::scope(|scope| scope.spawn(body).join()).unwrap_or(Err(StoreError::Closed))
}

/// The error with the name of what could not be opened.
fn named(error: StoreError, path: &dyn std::fmt::Display) -> StoreError {
    match error {
        StoreError::Open { reason, .. } => StoreError::Open { path: path.to_string(), reason },
        other => other,
    }
}
