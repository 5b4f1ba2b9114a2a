//! Lanes: in which line a piece of work stands, and which endpoints want to be asked more slowly.
//!
//! A lane is copied into the row of the work, because a claim must not read what the work is about. It is filled in
//! where the work is made and where its endpoint changes, and by the first claim where it is missing.
//! A lane that is out of date costs fairness and nothing else.

use std::collections::HashMap;

use syncline_model::schedule::{Due, Lane, Pace};

use crate::sql::{Row, Tx, params};
use crate::work::{self, Claim, Kind};
use crate::{Store, StoreResult, grants, pulls, redeliveries};

/// As many due pieces are looked at one by one; only where there are more, every lane is.
const FRONT: i64 = 64;
/// A pace that nobody has added to for so long is forgotten, in milliseconds.
const FORGET_PACE_MS: i64 = 3_600_000;

/// The front of the line: the most overdue pieces that nobody holds.
const FRONT_OF_THE_LINE: &str = "SELECT lane, due_at_ms FROM work
   WHERE kind = $1 AND due_at_ms <= $2 AND (lease_until_ms IS NULL OR lease_until_ms <= $2)
   ORDER BY due_at_ms LIMIT $3";

/// Every lane of a kind with the oldest due piece that nobody holds, if it has one; each lane costs two looks into
/// an index, however many pieces stand in it.
const EVERY_LANE: &str = "WITH RECURSIVE known (lane) AS (
    SELECT min(w.lane) FROM work w WHERE w.kind = $1 AND w.due_at_ms IS NOT NULL
    UNION ALL
    SELECT (SELECT min(w.lane) FROM work w WHERE w.kind = $1 AND w.due_at_ms IS NOT NULL AND w.lane > known.lane)
      FROM known WHERE known.lane IS NOT NULL)
  SELECT known.lane,
         (SELECT min(w.due_at_ms) FROM work w
           WHERE w.kind = $1 AND w.lane = known.lane AND w.due_at_ms <= $2
             AND (w.lease_until_ms IS NULL OR w.lease_until_ms <= $2)) AS since_ms
    FROM known WHERE known.lane IS NOT NULL";

/// What is in progress, whoever holds it.
const IN_PROGRESS: &str =
    "SELECT lane, count(*) FROM work WHERE kind = $1 AND lease_until_ms > $2 GROUP BY lane";

/// When the next piece becomes due that is not yet.
const NEXT_DUE: &str = "SELECT min(due_at_ms) FROM work WHERE kind = $1 AND due_at_ms > $2";

/// Of each kind of [`GLANCED`], in its order: the oldest piece that is due and that nobody holds, and the next that becomes
/// due; and whether an audit record waits for its place. One statement, because it is asked all the time.
const GLANCE: &str = "SELECT
    (SELECT w.due_at_ms FROM work w WHERE w.kind = 'LINK' AND w.due_at_ms <= $1
        AND (w.lease_until_ms IS NULL OR w.lease_until_ms <= $1) ORDER BY w.due_at_ms LIMIT 1),
    (SELECT min(w.due_at_ms) FROM work w WHERE w.kind = 'LINK' AND w.due_at_ms > $1),
    (SELECT w.due_at_ms FROM work w WHERE w.kind = 'BRANCH' AND w.due_at_ms <= $1
        AND (w.lease_until_ms IS NULL OR w.lease_until_ms <= $1) ORDER BY w.due_at_ms LIMIT 1),
    (SELECT min(w.due_at_ms) FROM work w WHERE w.kind = 'BRANCH' AND w.due_at_ms > $1),
    (SELECT w.due_at_ms FROM work w WHERE w.kind = 'SYNC' AND w.due_at_ms <= $1
        AND (w.lease_until_ms IS NULL OR w.lease_until_ms <= $1) ORDER BY w.due_at_ms LIMIT 1),
    (SELECT min(w.due_at_ms) FROM work w WHERE w.kind = 'SYNC' AND w.due_at_ms > $1),
    (SELECT w.due_at_ms FROM work w WHERE w.kind = 'OUTBOX' AND w.due_at_ms <= $1
        AND (w.lease_until_ms IS NULL OR w.lease_until_ms <= $1) ORDER BY w.due_at_ms LIMIT 1),
    (SELECT min(w.due_at_ms) FROM work w WHERE w.kind = 'OUTBOX' AND w.due_at_ms > $1),
    (SELECT w.due_at_ms FROM work w WHERE w.kind = 'PULLS' AND w.due_at_ms <= $1
        AND (w.lease_until_ms IS NULL OR w.lease_until_ms <= $1) ORDER BY w.due_at_ms LIMIT 1),
    (SELECT min(w.due_at_ms) FROM work w WHERE w.kind = 'PULLS' AND w.due_at_ms > $1),
    (SELECT w.due_at_ms FROM work w WHERE w.kind = 'TOKEN' AND w.due_at_ms <= $1
        AND (w.lease_until_ms IS NULL OR w.lease_until_ms <= $1) ORDER BY w.due_at_ms LIMIT 1),
    (SELECT min(w.due_at_ms) FROM work w WHERE w.kind = 'TOKEN' AND w.due_at_ms > $1),
    (SELECT w.due_at_ms FROM work w WHERE w.kind = 'REDELIVERY' AND w.due_at_ms <= $1
        AND (w.lease_until_ms IS NULL OR w.lease_until_ms <= $1) ORDER BY w.due_at_ms LIMIT 1),
    (SELECT min(w.due_at_ms) FROM work w WHERE w.kind = 'REDELIVERY' AND w.due_at_ms > $1),
    (SELECT r.time_ms FROM audit_record r WHERE r.sequence IS NULL LIMIT 1)";
/// The kinds that stand in lanes.
const GLANCED: [Kind; 7] =
    [Kind::Link, Kind::Branch, Kind::Sync, Kind::Outbox, Kind::Pulls, Kind::Token, Kind::Redelivery];

/// Of which kinds something is due, at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Glance {
    kinds: [(Option<i64>, Option<i64>); 7],
    has_audit: bool,
}

impl Glance {
    /// Whether something of the kind may be due; bounds aside.
    #[must_use]
    pub fn is_due(&self, kind: Kind) -> bool {
        self.of(kind).map_or(self.has_audit, |(due_ms, _)| due_ms.is_some())
    }

    /// When the next piece of the kind becomes due, in milliseconds since the Unix epoch; not known of
    /// [`Kind::Audit`].
    #[must_use]
    pub fn next_ms(&self, kind: Kind) -> Option<i64> {
        self.of(kind).and_then(|(_, next_ms)| next_ms)
    }

    fn of(&self, kind: Kind) -> Option<(Option<i64>, Option<i64>)> {
        GLANCED.iter().position(|glanced| *glanced == kind).map(|at| self.kinds[at])
    }
}

/// What is due of one kind, and what is in progress.
#[derive(Debug, Clone, Default)]
pub struct Backlog {
    /// The lanes that have work that is due and that nobody holds.
    pub due: Vec<Due>,
    /// What is in progress in each lane, whoever holds it. Not looked for if nothing is due.
    pub in_progress: Vec<(Lane, u32)>,
    paces: HashMap<String, Pace>,
    next_due_ms: Option<i64>,
    now_ms: i64,
}

impl Backlog {
    /// How many pieces may be in progress with a throttled endpoint; `None` for any other.
    #[must_use]
    pub fn allowed(&self, endpoint: &str) -> Option<u32> {
        self.paces.get(endpoint).map(|pace| pace.allowed_at(self.now_ms))
    }

    /// When something may begin, in milliseconds since the Unix epoch: what becomes due, and what is due already as
    /// soon as its endpoint's pause is over.
    pub fn beginnings_ms(&self) -> impl Iterator<Item = i64> {
        let after_pause = |due: &Due| {
            self.paces
                .get(&due.lane.endpoint)
                .map_or(due.since_ms, |pace| due.since_ms.max(pace.not_before_ms))
        };
        self.due.iter().map(after_pause).chain(self.next_due_ms)
    }
}

/// A Git host: the authority of a provider endpoint, without whoever logs in there.
pub(crate) fn git_host(endpoint: &str) -> String {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default().to_ascii_lowercase()
}

/// A forge's API, as an account asks it. Forges limit each token, not whoever sends it: one account's spent budget delays
/// nobody else.
pub(crate) fn rest_endpoint(account: &str, host: &str) -> String {
    format!("rest:{account}@{host}")
}

/// The lane of a piece of work; `None` if its subject is gone, or it stands in none.
pub(crate) fn lane_of(tx: &Tx<'_>, kind: Kind, id: &str) -> StoreResult<Option<Lane>> {
    let of_link = "SELECT l.account_id, l.provider_type, h.provider_endpoint, l.id FROM repository_link l
         LEFT JOIN connection c ON c.id = l.connection_id LEFT JOIN host h ON h.id = c.host_id";
    let found = match kind {
        Kind::Link => tx.row(&format!("{of_link} WHERE l.id = $1"), params![id])?,
        Kind::Pulls => tx.row(&format!("{of_link} WHERE l.id = $1"), params![pulls::link_of(id)])?,
        Kind::Redelivery => {
            tx.row(&format!("{of_link} WHERE l.id = $1"), params![redeliveries::link_of(id)])?
        }
        Kind::Branch => {
            tx.row(&format!("{of_link} JOIN branch b ON b.link_id = l.id WHERE b.id = $1"), params![id])?
        }
        Kind::Sync => tx.row(
            "SELECT account_id, role_account, region, link_id FROM sync_configuration WHERE id = $1",
            params![id],
        )?,
        Kind::Outbox => tx.row(
            "SELECT account_id, endpoint, CAST(NULL AS TEXT), '' FROM outbox WHERE id = $1",
            params![id],
        )?,
        Kind::Token => tx.row(
            "SELECT c.account_id, c.provider_type, h.provider_endpoint, '' FROM connection c
               LEFT JOIN host h ON h.id = c.host_id WHERE c.id = $1",
            params![grants::connection_of(id)],
        )?,
        Kind::Audit => None,
    };
    let lane = |mut row: Row| {
        let (account, first, second, repository) = (row.text()?, row.text()?, row.opt_text()?, row.text()?);
        let host = second.as_deref().map_or_else(|| first.clone(), git_host);
        Ok(match kind {
            Kind::Sync => {
                let region = second.unwrap_or_default();
                Lane { account, endpoint: format!("aws:{first}:{region}"), repository }
            }
            Kind::Outbox => Lane { account, endpoint: first, repository: String::new() },
            // Each link is one piece of work, hence one line for all of a host.
            Kind::Link => Lane { account, endpoint: format!("git:{host}"), repository: String::new() },
            Kind::Pulls | Kind::Redelivery => {
                let endpoint = rest_endpoint(&account, &host);
                Lane { account, endpoint, repository: String::new() }
            }
            // Asked for with something else than tokens, and of Azure DevOps elsewhere: what those have spent says nothing.
            Kind::Token => {
                let endpoint = format!("token:{account}@{host}");
                Lane { account, endpoint, repository: String::new() }
            }
            Kind::Branch | Kind::Audit => Lane { account, endpoint: format!("git:{host}"), repository },
        })
    };
    found.map(lane).transpose()
}

/// Puts a piece of work into the lane that it belongs to.
pub(crate) fn line_up(tx: &Tx<'_>, kind: Kind, id: &str) -> StoreResult<Option<Lane>> {
    let lane = lane_of(tx, kind, id)?;
    if let Some(lane) = &lane {
        tx.execute("UPDATE work SET lane = $2 WHERE id = $1 AND lane <> $2", params![id, lane.to_string()])?;
    }
    Ok(lane)
}

fn paces(tx: &Tx<'_>) -> StoreResult<HashMap<String, Pace>> {
    let read = |mut row: Row| {
        let endpoint = row.text()?;
        let allowed = u32::try_from(row.int()?).unwrap_or(u32::MAX);
        let pace = Pace { allowed, strikes: row.int()?, not_before_ms: row.int()?, since_ms: row.int()? };
        Ok((endpoint, pace))
    };
    tx.rows("SELECT endpoint, allowed, strikes, not_before_ms, since_ms FROM pace", &[])?
        .into_iter()
        .map(read)
        .collect()
}

fn in_progress(tx: &Tx<'_>, kind: Kind) -> StoreResult<Vec<(Lane, u32)>> {
    let read =
        |mut row: Row| Ok((Lane::from_text(&row.text()?), u32::try_from(row.int()?).unwrap_or(u32::MAX)));
    tx.rows(IN_PROGRESS, params![kind.as_str(), tx.now_ms()])?.into_iter().map(read).collect()
}

/// The lanes with due work, each once.
fn due(tx: &Tx<'_>, kind: Kind) -> StoreResult<Vec<Due>> {
    let now_ms = tx.now_ms();
    let front = tx.rows(FRONT_OF_THE_LINE, params![kind.as_str(), now_ms, FRONT])?;
    if i64::try_from(front.len()).unwrap_or(FRONT) < FRONT {
        let mut due: Vec<Due> = Vec::new();
        let mut index = HashMap::new();
        for mut row in front {
            let (lane, since_ms) = (row.text()?, row.int()?);
            match index.get(&lane) {
                Some(&index) => {
                    let lane: &mut Due = &mut due[index];
                    lane.pieces += 1;
                }
                None => {
                    due.push(Due { lane: Lane::from_text(&lane), since_ms, pieces: 1 });
                    index.insert(lane, due.len() - 1);
                }
            }
        }
        return Ok(due);
    }
    let read = |mut row: Row| {
        let (lane, since_ms) = (Lane::from_text(&row.text()?), row.opt_int()?);
        // How many there are is not counted: whoever claims more than there are gets fewer.
        Ok(since_ms.map(|since_ms| Due { lane, since_ms, pieces: u32::MAX }))
    };
    tx.rows(EVERY_LANE, params![kind.as_str(), now_ms])?
        .into_iter()
        .map(read)
        .filter_map(Result::transpose)
        .collect()
}

pub(crate) fn backlog(tx: &Tx<'_>, kind: Kind) -> StoreResult<Backlog> {
    let now_ms = tx.now_ms();
    let next_due = tx.row(NEXT_DUE, params![kind.as_str(), now_ms])?;
    let next_due_ms = next_due.map_or(Ok(None), |mut row| row.opt_int())?;
    let due = due(tx, kind)?;
    if due.is_empty() {
        return Ok(Backlog { next_due_ms, now_ms, ..Backlog::default() });
    }
    Ok(Backlog { due, in_progress: in_progress(tx, kind)?, paces: paces(tx)?, next_due_ms, now_ms })
}

impl Store {
    /// Of which kinds something is due.
    ///
    /// # Errors
    /// The database's.
    pub async fn glance(&self) -> StoreResult<Glance> {
        self.read(move |tx| {
            let mut glance = Glance { kinds: [(None, None); 7], has_audit: false };
            let Some(mut row) = tx.row(GLANCE, params![tx.now_ms()])? else { return Ok(glance) };
            for kind in &mut glance.kinds {
                *kind = (row.opt_int()?, row.opt_int()?);
            }
            glance.has_audit = row.opt_int()?.is_some();
            Ok(glance)
        })
        .await
    }

    /// What is due of one kind of work and what is in progress, for whoever gives turns. Not of [`Kind::Audit`],
    /// which stands in no lane.
    ///
    /// # Errors
    /// The database's.
    pub async fn backlog(&self, kind: Kind) -> StoreResult<Backlog> {
        self.read(move |tx| backlog(tx, kind)).await
    }

    /// Records that a call of the claimed work was throttled: its endpoint is asked more slowly, by everybody. `bound`
    /// is how many places it may have otherwise, `jitter` 0 to 1. Whether that told anything new.
    ///
    /// # Errors
    /// [`crate::StoreError::Stale`] if the claim was lost.
    pub async fn record_throttled(
        &self,
        claim: &Claim,
        bound: u32,
        retry_after_ms: Option<i64>,
        jitter: f64,
    ) -> StoreResult<bool> {
        let claim = claim.clone();
        self.write("store.record_throttled", move |tx| {
            work::fence(tx, &claim)?;
            let (now_ms, endpoint) = (tx.now_ms(), &claim.lane.endpoint);
            let busy = in_progress(tx, claim.kind)?.into_iter().filter(|(lane, _)| lane.endpoint == *endpoint);
            let busy = busy.map(|(_, pieces)| pieces).sum();
            let before = paces(tx)?.get(endpoint).copied();
            let pace = Pace::throttled(before, claim.since_ms, now_ms, busy, bound, retry_after_ms, jitter);
            let Some(pace) = pace else { return Ok(false) };
            tx.execute("DELETE FROM pace WHERE since_ms < $1", params![now_ms - FORGET_PACE_MS])?;
            tx.execute(
                "INSERT INTO pace (endpoint, allowed, strikes, not_before_ms, since_ms) VALUES ($1, $2, $3, $4, $5)
                   ON CONFLICT (endpoint) DO UPDATE SET allowed = excluded.allowed, strikes = excluded.strikes,
                     not_before_ms = excluded.not_before_ms, since_ms = excluded.since_ms",
                params![endpoint, i64::from(pace.allowed), pace.strikes, pace.not_before_ms, pace.since_ms],
            )?;
            Ok(true)
        })
        .await
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "how the database goes about a statement, only its driver tells"
)]
mod tests {
    use rusqlite::{Connection, StatementStatus, params};

    use super::*;
    use crate::raw;
    use crate::work::CLAIM;

    /// A database with so many due syncs of one account, every tenth of which somebody holds, and one of another.
    fn database(pieces: i64) -> (tempfile::TempDir, Connection) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut database = raw::connect(&folder.path().join("work.db")).expect("a new database");
        raw::migrate(&mut database).expect("the schema");
        let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
            INSERT INTO work (id, kind, lane, due_at_ms, epoch, wake_seq)
              SELECT 'noisy-' || i, 'SYNC', 'noisy/aws:1:r/' || (i % 50), i % 7, 0, 0 FROM n";
        database.execute(sql, [pieces]).expect("noise");
        let held = "UPDATE work SET lease_owner = 'w', lease_until_ms = 1000 WHERE id IN
                      (SELECT id FROM work WHERE lane = 'noisy/aws:1:r/3' LIMIT 24)";
        database.execute(held, []).expect("held");
        let quiet = "INSERT INTO work (id, kind, lane, due_at_ms, epoch, wake_seq)
                       VALUES ('quiet', 'SYNC', 'quiet/aws:2:r/x', 9, 0, 0), ('rests', 'SYNC', 'rests/aws:3:r/y', 99, 0, 0)";
        database.execute(quiet, []).expect("the others");
        (folder, database)
    }

    /// Each statement that a worker looks and claims with, with a number of values that it takes.
    fn statements() -> [(&'static str, usize); 6] {
        [(GLANCE, 1), (FRONT_OF_THE_LINE, 3), (EVERY_LANE, 2), (IN_PROGRESS, 2), (NEXT_DUE, 2), (CLAIM, 6)]
    }

    fn bound(statement: &mut rusqlite::Statement<'_>, values: usize) {
        if values == 1 {
            return statement.raw_bind_parameter(1, 10).expect("bound");
        }
        let texts = ["'SYNC'", "noisy/aws:1:r/3"];
        statement.raw_bind_parameter(1, "SYNC").expect("bound");
        match values {
            6 => {
                statement.raw_bind_parameter(2, texts[1]).expect("bound");
                statement.raw_bind_parameter(3, 10).expect("bound");
                statement.raw_bind_parameter(4, "worker").expect("bound");
                statement.raw_bind_parameter(5, 2000).expect("bound");
                statement.raw_bind_parameter(6, 8).expect("bound");
            }
            _ => {
                statement.raw_bind_parameter(2, 10).expect("bound");
                if values == 3 {
                    statement.raw_bind_parameter(3, FRONT).expect("bound");
                }
            }
        }
    }

    #[test]
    fn neither_a_look_nor_a_claim_scans_the_work() {
        let (_folder, database) = database(1_000);
        for (sql, values) in statements() {
            let explain = format!("EXPLAIN QUERY PLAN {}", sql.replace('$', "?"));
            let mut statement = database.prepare(&explain).expect("SQL");
            bound(&mut statement, values);
            let mut rows = statement.raw_query();
            while let Some(row) = rows.next().expect("a plan") {
                let step: String = row.get(3).expect("text");
                let scans = ["SCAN w", "SCAN work", "SCAN r"].iter().any(|scan| step.starts_with(scan));
                let scans = scans && !step.contains("audit_record_waiting");
                assert!(!scans && !step.contains("TEMP B-TREE FOR ORDER BY"), "{step}: {sql}");
            }
        }
    }

    #[test]
    fn a_look_and_a_claim_take_as_many_steps_among_a_hundred_thousand_pieces_as_among_a_thousand() {
        let steps = |pieces| {
            let (_folder, database) = database(pieces);
            statements().map(|(sql, values)| {
                let mut statement = database.prepare(&sql.replace('$', "?")).expect("SQL");
                bound(&mut statement, values);
                let mut rows = statement.raw_query();
                while rows.next().expect("a row").is_some() {}
                drop(rows);
                statement.get_status(StatementStatus::VmStep)
            })
        };
        let (few, many) = (steps(1_000), steps(100_000));
        for ((few, many), (sql, _)) in few.iter().zip(many).zip(statements()) {
            // Of the few, more are held than a lane has, and none can be claimed.
            assert!(many <= few + 1_000, "{many} steps instead of {few}: {sql}");
        }
    }

    #[test]
    fn a_backlog_that_is_longer_than_its_front_shows_every_lane() {
        for pieces in [40, 5_000] {
            let (_folder, database) = database(pieces);
            let seen = backlog(&Tx::new(&database, 10), Kind::Sync).expect("read");
            let quiet =
                seen.due.iter().find(|due| due.lane.account == "quiet").expect("nobody is overlooked");
            assert_eq!((quiet.since_ms, quiet.lane.to_string().as_str()), (9, "quiet/aws:2:r/x"));
            assert_eq!(seen.next_due_ms, Some(99), "what is not due yet");
            assert!(seen.due.iter().all(|due| due.lane.account != "rests"));
        }
        let (_folder, database) = database(5_000);
        let seen = backlog(&Tx::new(&database, 10), Kind::Sync).expect("read");
        assert_eq!(seen.due.len(), 51);
        assert_eq!(seen.in_progress, [(Lane::from_text("noisy/aws:1:r/3"), 24)]);
        database
            .execute("UPDATE work SET lease_until_ms = 5 WHERE lease_until_ms IS NOT NULL", params![])
            .expect("ran out");
        assert!(backlog(&Tx::new(&database, 10), Kind::Sync).expect("read").in_progress.is_empty());
    }

    #[test]
    fn a_git_host_is_found_in_its_endpoint() {
        let check = |endpoint: &str, expect: &str| assert_eq!(git_host(endpoint), expect, "{endpoint}");
        check("https://Git.Example.com", "git.example.com");
        check("https://git.example.com:8443/scm/x", "git.example.com:8443");
        check("ssh://git@git.example.com/x", "git.example.com");
        check("file:///srv/git", "");
    }
}
