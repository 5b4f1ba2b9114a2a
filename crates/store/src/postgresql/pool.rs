//! The threads that drive the connections, and the wakes between processes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::time::Duration;

use postgres::fallible_iterator::FallibleIterator as _;
use syncline_seams::Clock;
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use super::Session;
use super::lookups::{self, Lookup};
use crate::location::Server;
use crate::raw::Write;
use crate::sql::{Row, Tx};
use crate::{StoreError, StoreResult};

/// The channel of wakes.
const WAKES: &str = "syncline_wake";
/// Gives one, without waiting for the disk: what a crash forgets of it, nobody misses.
const GIVE: &str = "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)";
/// How long the listener waits for a wake before it looks whether the store is closed.
const LISTEN_FOR: Duration = Duration::from_secs(1);

/// A transaction that waits for a connection. It is given one, or why there is none.
type Job = Box<dyn FnOnce(StoreResult<&mut Session>) + Send>;

/// The connections of a store.
pub(crate) struct Postgres {
    lookups: mpsc::Sender<Lookup>,
    reads: mpsc::Sender<Job>,
    writes: mpsc::Sender<Job>,
    hints: Arc<Hints>,
}

impl Postgres {
    /// Starts the threads; each connects when it has something to do.
    pub(crate) fn start(server: &Server, wakes: &Arc<Notify>) -> std::io::Result<Self> {
        let reads = server.connections.div_ceil(2).max(1);
        // While one asks, what comes meanwhile is collected for the next statement.
        let lookups = (reads / 4).max(1);
        let writes = server.connections.saturating_sub(reads).max(1);
        let hints = Arc::<Hints>::new(Hints { own: Uuid::new_v4().to_string(), ..Hints::default() });
        listen(server.clone(), &hints, wakes)?;
        Ok(Self {
            lookups: threads("store-lookup", lookups, server, lookups::work)?,
            reads: threads("store-read", reads - lookups.min(reads - 1), server, work)?,
            writes: threads("store-write", writes, server, work)?,
            hints,
        })
    }

    /// Hands a read to a thread.
    pub(crate) fn read<T: Send + 'static>(
        &self,
        clock: Arc<dyn Clock>,
        body: impl FnOnce(&Tx<'_>) -> StoreResult<T> + Send + 'static,
    ) -> StoreResult<oneshot::Receiver<StoreResult<T>>> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |session| {
            // Whoever asked may have gone meanwhile.
            if !answer.is_closed() {
                let _ = answer.send(session.and_then(|session| session.read(&*clock, body)));
            }
        });
        self.reads.send(job).map_err(|_| StoreError::Closed)?;
        Ok(answered)
    }

    /// Hands a statement that finds at most one row to a thread, which asks for it together with others.
    pub(crate) fn look_up(
        &self,
        sql: &'static str,
        texts: &[&str],
    ) -> StoreResult<oneshot::Receiver<StoreResult<Option<Row>>>> {
        let (answer, answered) = oneshot::channel();
        let texts = texts.iter().map(|&text| text.to_owned()).collect();
        self.lookups.send(Lookup { sql, texts, answer }).map_err(|_| StoreError::Closed)?;
        Ok(answered)
    }

    /// Hands a write to a thread; `begins` is called when its turn comes.
    pub(crate) fn write<T: Send + 'static>(
        &self,
        write: Write<T>,
        begins: impl FnOnce() + Send + 'static,
        is_wanted: impl FnOnce(&oneshot::Sender<StoreResult<T>>) -> bool + Send + 'static,
        body: impl FnOnce(&mut Tx<'_>) -> StoreResult<T> + Send + 'static,
    ) -> StoreResult<()> {
        let hints = Arc::clone(&self.hints);
        let job: Job = Box::new(move |session| {
            begins();
            if !is_wanted(&write.answer) {
                return;
            }
            let ran = match session {
                Ok(session) => session.write(&write, body).map(|written| (session, written)),
                Err(error) => Err(error),
            };
            match ran {
                Ok((session, (value, woke))) => {
                    if woke {
                        write.wakes.notify_one();
                    }
                    let _ = write.answer.send(Ok(value));
                    if woke {
                        hints.give(session);
                    }
                }
                Err(error) => drop(write.answer.send(Err(error))),
            }
        });
        self.writes.send(job).map_err(|_| StoreError::Closed)
    }
}

/// Threads that share what is sent to them.
fn threads<T: Send + 'static>(
    name: &str,
    count: u32,
    server: &Server,
    work: fn(&Server, &Mutex<mpsc::Receiver<T>>),
) -> std::io::Result<mpsc::Sender<T>> {
    let (sender, jobs) = mpsc::channel();
    let jobs = Arc::new(Mutex::new(jobs));
    for _ in 0..count {
        let (server, jobs) = (server.clone(), Arc::clone(&jobs));
        std::thread::Builder::new().name(name.to_owned()).spawn(move || work(&server, &jobs))?;
    }
    Ok(sender)
}

/// Does one job after the other, until nobody can send one any more.
fn work(server: &Server, jobs: &Mutex<mpsc::Receiver<Job>>) {
    let mut session: Option<Session> = None;
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        let ready = match session.take().filter(|session| !session.is_broken()) {
            Some(session) => Ok(session),
            None => Session::open(server),
        };
        match ready {
            Ok(mut ready) => {
                // A bug in one transaction must not take the thread from all the others.
                let done = catch_unwind(AssertUnwindSafe(|| job(Ok(&mut ready))));
                session = done.is_ok().then_some(ready);
            }
            Err(error) => drop(catch_unwind(AssertUnwindSafe(|| job(Err(error))))),
        }
    }
}

/// Wakes for the other processes on this database. They are hints: a worker that misses one finds its work when it
/// looks next.
#[derive(Debug, Default)]
struct Hints {
    /// Tells this process's own wakes from those of others.
    own: String,
    is_giving: AtomicBool,
    is_due: AtomicBool,
}

impl Hints {
    /// Wakes the others. Not within the transaction that wakes: PostgreSQL lets only one at a time commit of those
    /// that notify, and such a commit waits for the disk. Wakes that come while one is given share the next.
    fn give(&self, session: &mut Session) {
        self.is_due.store(true, Ordering::SeqCst);
        while self.is_due.load(Ordering::SeqCst) && !self.is_giving.swap(true, Ordering::SeqCst) {
            self.is_due.store(false, Ordering::SeqCst);
            let given = session.client.execute(GIVE, &[&WAKES, &self.own]);
            self.is_giving.store(false, Ordering::SeqCst);
            if given.is_err() {
                return;
            }
        }
    }
}

/// Passes the wakes of other processes on, for as long as the store is open.
fn listen(server: Server, hints: &Arc<Hints>, wakes: &Arc<Notify>) -> std::io::Result<()> {
    let (open, wakes) = (Arc::downgrade(hints), Arc::clone(wakes));
    let body = move || {
        while open.strong_count() > 0 {
            // Whatever ends it: the next one listens again, and what was missed is found by looking.
            if hear(&server, &open, &wakes).is_err() {
                std::thread::sleep(LISTEN_FOR);
            }
        }
    };
    std::thread::Builder::new().name("store-listen".into()).spawn(body).map(drop)
}

fn hear(server: &Server, open: &Weak<Hints>, wakes: &Notify) -> StoreResult<()> {
    let mut session = Session::open(server)?;
    session.client.batch_execute(&format!("LISTEN {WAKES}"))?;
    // Something may have become due before it listened.
    wakes.notify_one();
    loop {
        let heard = session.client.notifications().timeout_iter(LISTEN_FOR).next()?;
        let Some(hints) = open.upgrade() else { return Ok(()) };
        match heard {
            Some(heard) if heard.payload() == hints.own => {}
            Some(_) => wakes.notify_one(),
            // The driver says the same of a connection that has ended: whoever asks finds out.
            None => session.client.batch_execute("")?,
        }
    }
}
