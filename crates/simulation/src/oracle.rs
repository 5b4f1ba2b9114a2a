//! What the database says, read behind the store's back: a wrong query of the store cannot hide anything from it.

#![expect(clippy::disallowed_methods, reason = "an own connection that only reads")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags, Row};
use syncline_seams::Clock as _;
use syncline_targets::Access;

use crate::story::url_of;
use crate::world::World;

/// Reads the database.
pub(crate) struct Oracle {
    world: Arc<World>,
    connection: Mutex<Connection>,
    /// Whether each claim and release is looked at; that costs more than all else.
    watches_claims: bool,
    watched: Mutex<Watched>,
}

/// What was seen after commits.
#[derive(Default)]
struct Watched {
    /// The count of observed heads, by branch.
    heads: BTreeMap<String, i64>,
    /// Epoch and wakes of each held claim, as they were when it was made.
    claims: BTreeMap<String, (i64, i64)>,
    /// A lease may last longer than it should: the clock was set back.
    is_clock_wrong: bool,
}

/// The longest that a head may have been replaced when it is recorded, in milliseconds: a lease, and some commits.
const LEASE_MS: i64 = 16_000;

/// A sync configuration, as stored.
#[derive(Debug, Clone)]
pub(crate) struct Configured {
    pub(crate) id: String,
    pub(crate) account: String,
    pub(crate) name: String,
    pub(crate) branch: String,
    pub(crate) config_file: String,
    pub(crate) only_file_changes: bool,
    pub(crate) is_deleted: bool,
    /// Whether it, or its account, was told to rest.
    pub(crate) is_suspended: bool,
    pub(crate) generation: i64,
    pub(crate) considered: (i64, i64),
    /// The owner and name of the link's repository.
    pub(crate) repository: String,
    /// Whether the link's connection is there.
    pub(crate) is_connected: bool,
    /// The newest head that was observed, and its count.
    pub(crate) head: (Option<String>, i64),
}

/// An attempt, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attempted {
    pub(crate) id: String,
    pub(crate) sync_id: String,
    pub(crate) number: i64,
    pub(crate) status: String,
    pub(crate) phase: String,
    pub(crate) sha: String,
    pub(crate) wanted: (i64, i64),
    pub(crate) plan_number: i64,
    pub(crate) event_count: i64,
    /// The newest events, as stored.
    pub(crate) events: String,
}

/// A piece of work.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) due_at_ms: Option<i64>,
    pub(crate) leased_until_ms: i64,
    /// Whether the connection it needs was deleted.
    pub(crate) is_cut_off: bool,
}

impl std::fmt::Debug for Oracle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Oracle")
    }
}

const CONFIGURATIONS: &str =
    "SELECT s.id, s.account_id, s.resource_name, s.branch, s.config_file,
            coalesce(s.trigger_resource_update_on, '') = 'FILE_CHANGE', s.deleted, s.generation, s.considered_seq,
            s.considered_generation, coalesce(l.owner_id || '/' || l.repository_name, ''),
            (SELECT count(*) FROM connection c WHERE c.id = l.connection_id), b.head_sha, coalesce(b.head_seq, 0),
            (SELECT count(*) FROM suspension p WHERE p.account_id = s.account_id AND p.sync_id IN ('', s.id))
       FROM sync_configuration s
       LEFT JOIN repository_link l ON l.id = s.link_id
       LEFT JOIN branch b ON b.link_id = s.link_id AND b.name = s.branch
      ORDER BY s.resource_name, s.id";

const WORK: &str =
    "SELECT w.id, w.kind, w.due_at_ms, coalesce(w.lease_until_ms, 0), l.id IS NOT NULL AND c.id IS NULL
       FROM work w
       LEFT JOIN branch b ON b.id = w.id
       LEFT JOIN repository_link l ON l.id = coalesce(b.link_id, w.id)
       LEFT JOIN connection c ON c.id = l.connection_id";

const ATTEMPTS: &str =
    "SELECT id, sync_id, number, status, phase, target_revision ->> 'sha', desired_seq, generation, plan_number,
            event_count, events
       FROM attempt ORDER BY sync_id, number";

/// Has a database that nobody uses consist of small pages: most of a history's time goes into writing them.
pub(crate) fn shrink_pages(path: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA journal_mode = DELETE; PRAGMA page_size = 1024; VACUUM; PRAGMA journal_mode = WAL;",
    )
}

impl Oracle {
    /// Opens the database, which must be there.
    pub(crate) fn open(world: &Arc<World>, path: &Path, watches_claims: bool) -> rusqlite::Result<Self> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let (world, connection) = (Arc::clone(world), Mutex::new(connection));
        Ok(Self { world, connection, watches_claims, watched: Mutex::default() })
    }

    /// The machine's clock was set forward by so many milliseconds.
    pub(crate) fn clock_was_set(&self, by_ms: i64) {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).is_clock_wrong |= by_ms < 0;
    }

    /// Looks at what a commit left.
    pub(crate) fn committed(&self, point: &str) {
        match point {
            "store.record_heads" => self.check_heads(),
            "store.claim" if self.watches_claims => self.note_claims(),
            "store.release" if self.watches_claims => self.check_wakes(),
            _ => {}
        }
    }

    /// Whoever lost his lease writes nothing: no head is recorded that was replaced before the lease began.
    fn check_heads(&self) {
        let heads: Vec<(String, String, String, Option<String>, i64)> = self.rows(
            "SELECT b.id, l.owner_id || '/' || l.repository_name, b.name, b.head_sha, b.head_seq
               FROM branch b JOIN repository_link l ON l.id = b.link_id",
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)),
        );
        let now_ms = self.world.clock.elapsed_ms();
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, repository, branch, sha, seq) in heads {
            if watched.heads.insert(id, seq) == Some(seq) || watched.is_clock_wrong {
                continue;
            }
            let state = self.world.hosts.lock();
            let hosted = state.repositories.get(&url_of(&repository));
            let (Some(hosted), Some(sha)) = (hosted, sha) else { continue };
            let replaced_for_ms = hosted.replaced_for_ms(&branch, &sha, now_ms);
            if replaced_for_ms > LEASE_MS {
                let what = format!("{sha} is recorded as head of {repository} {branch}");
                self.world.violation(format!("{what}, {replaced_for_ms} ms after it was replaced"));
            }
        }
    }

    fn note_claims(&self) {
        let held: Vec<(String, i64, i64)> = self
            .rows("SELECT id, epoch, wake_seq FROM work WHERE lease_owner IS NOT NULL", |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            });
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, epoch, wakes) in held {
            let claim = watched.claims.entry(id).or_insert((epoch, wakes));
            if claim.0 != epoch {
                *claim = (epoch, wakes);
            }
        }
    }

    /// What was woken while it was held is still due after its release.
    fn check_wakes(&self) {
        let free: Vec<(String, i64, i64, Option<i64>)> = self
            .rows("SELECT id, epoch, wake_seq, due_at_ms FROM work WHERE lease_owner IS NULL", |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            });
        let now_ms = self.world.clock.now_ms();
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, epoch, wakes, due) in free {
            let Some((claimed, before)) = watched.claims.remove(&id) else { continue };
            let is_lost = claimed == epoch && wakes > before && due.is_none_or(|due| due > now_ms);
            if is_lost && !watched.is_clock_wrong {
                self.world.violation(format!("a wake of {id} was lost: it is due {due:?}"));
            }
        }
    }

    /// All rows of a query.
    ///
    /// # Panics
    /// When the query does not fit the database: both are the project's own.
    pub(crate) fn rows<T>(&self, sql: &str, read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut statement = connection.prepare_cached(sql).expect("a query of the schema");
        let rows = statement.query_map([], read).expect("rows");
        rows.collect::<rusqlite::Result<_>>().expect("the columns asked for")
    }

    /// The number that a query answers.
    pub(crate) fn count(&self, sql: &str) -> i64 {
        self.rows(sql, |row| row.get(0)).into_iter().next().unwrap_or_default()
    }

    pub(crate) fn configurations(&self) -> Vec<Configured> {
        self.rows(CONFIGURATIONS, |row| {
            Ok(Configured {
                id: row.get(0)?,
                account: row.get(1)?,
                name: row.get(2)?,
                branch: row.get(3)?,
                config_file: row.get(4)?,
                only_file_changes: row.get(5)?,
                is_deleted: row.get(6)?,
                is_suspended: row.get::<_, i64>(14)? > 0,
                generation: row.get(7)?,
                considered: (row.get(8)?, row.get(9)?),
                repository: row.get(10)?,
                is_connected: row.get::<_, i64>(11)? > 0,
                head: (row.get(12)?, row.get(13)?),
            })
        })
    }

    pub(crate) fn attempts(&self) -> Vec<Attempted> {
        self.rows(ATTEMPTS, |row| {
            Ok(Attempted {
                id: row.get(0)?,
                sync_id: row.get(1)?,
                number: row.get(2)?,
                status: row.get(3)?,
                phase: row.get(4)?,
                sha: row.get(5)?,
                wanted: (row.get(6)?, row.get(7)?),
                plan_number: row.get(8)?,
                event_count: row.get(9)?,
                events: row.get(10)?,
            })
        })
    }

    pub(crate) fn work(&self) -> Vec<Work> {
        self.rows(WORK, |row| {
            Ok(Work {
                id: row.get(0)?,
                kind: row.get(1)?,
                due_at_ms: row.get(2)?,
                leased_until_ms: row.get(3)?,
                is_cut_off: row.get(4)?,
            })
        })
    }

    /// The kinds of the ACTIVE blockers, by configuration.
    pub(crate) fn active_blockers(&self) -> Vec<(String, String)> {
        self.rows("SELECT sync_id, kind FROM blocker WHERE status = 'ACTIVE'", |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
    }

    /// Where the attempt stands whose change set has this name, and for whom: phase, plan number and account.
    fn announced(&self, change_set: &str) -> Option<(String, i64, String, i64)> {
        let (attempt, number) = change_set.rsplit_once('-')?;
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut statement = connection
            .prepare_cached(
                "SELECT a.phase, a.plan_number, s.account_id FROM attempt a
                   JOIN sync_configuration s ON s.id = a.sync_id WHERE a.id = ?1",
            )
            .ok()?;
        let number = number.parse().ok()?;
        statement.query_row([attempt], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, number))).ok()
    }

    /// A change set is about to be asked for: its plan must have been committed.
    pub(crate) fn planning(&self, access: &Access, change_set: &str) {
        let Some((_, recorded, account, number)) = self.announced(change_set) else { return };
        if recorded < number {
            self.world.violation(format!("{change_set} is asked for before its plan is committed"));
        }
        self.check_owner(access, &account);
    }

    /// A change set is about to be executed: its execution must have been committed.
    pub(crate) fn executing(&self, access: &Access, change_set: &str) {
        let Some((phase, recorded, account, number)) = self.announced(change_set) else { return };
        // A plan that is older than what is recorded belongs to a worker that was paused; it finds nothing.
        if recorded == number && phase == "PLANNING" {
            self.world.violation(format!("{change_set} is executed before that is committed"));
        }
        self.check_owner(access, &account);
    }

    fn check_owner(&self, access: &Access, account: &str) {
        if access.account.as_str() != account {
            self.world.violation(format!("account {} acts on a sync of {account}", access.account));
        }
    }
}
