//! Blockers: why a sync does not follow its branch.

use serde::{Deserialize, Serialize};
use syncline_model::sync::{BlockerKind, BlockerStatus, Release};
use syncline_seams::chance;

use crate::change::Change;
use crate::sql::{Row, Tx, params, to_json};
use crate::{Scope, Store, StoreResult, branches, configurations, suspensions, work};

/// A blocker, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// Its id.
    pub id: String,
    /// Why it was raised.
    pub kind: BlockerKind,
    /// Whether it stands.
    pub status: BlockerStatus,
    /// For people.
    pub created_reason: String,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// Keys and values.
    pub contexts: Vec<(String, String)>,
    /// Why it is resolved.
    pub resolved_reason: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub resolved_at_ms: Option<i64>,
}

/// A blocker to raise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewBlocker {
    /// Why.
    pub kind: BlockerKind,
    /// For people.
    pub reason: String,
    /// Keys and values beside the kind and the suggested fix, which are added.
    pub contexts: Vec<(String, String)>,
}

/// What came of resolving a blocker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// It is resolved, by this call or by an earlier one.
    Resolved(Box<Blocker>),
    /// There is no such sync configuration.
    NoConfiguration,
    /// There is no such blocker.
    NoBlocker,
    /// The latest commit cannot be tried again.
    CannotRetry(String),
}

const COLUMNS: &str =
    "id, kind, status, created_reason, created_at_ms, contexts, resolved_reason, resolved_at_ms";

fn from_row(row: &mut Row) -> StoreResult<Blocker> {
    Ok(Blocker {
        id: row.text()?,
        kind: row.parsed(BlockerKind::from_text)?,
        status: row.parsed(BlockerStatus::from_text)?,
        created_reason: row.text()?,
        created_at_ms: row.int()?,
        contexts: row.json()?,
        resolved_reason: row.opt_text()?,
        resolved_at_ms: row.opt_int()?,
    })
}

fn find(tx: &Tx<'_>, sync_id: &str, id: &str) -> StoreResult<Option<Blocker>> {
    tx.row(&format!("SELECT {COLUMNS} FROM blocker WHERE sync_id = $1 AND id = $2"), params![sync_id, id])?
        .map(|mut row| from_row(&mut row))
        .transpose()
}

/// The kinds of the blockers that stand.
pub(crate) fn active(tx: &Tx<'_>, sync_id: &str) -> StoreResult<Vec<BlockerKind>> {
    tx.rows("SELECT kind FROM blocker WHERE sync_id = $1 AND status = 'ACTIVE'", params![sync_id])?
        .iter_mut()
        .map(|row| row.parsed(BlockerKind::from_text))
        .collect()
}

/// Lets nobody else raise or resolve blockers of the sync meanwhile: the workers of its link, of its branch and of its
/// stack all do.
fn lock(tx: &Tx<'_>, sync_id: &str) -> StoreResult<()> {
    tx.lock_rows("SELECT id FROM sync_configuration WHERE id = $1 FOR UPDATE", params![sync_id])
}

/// Raises a blocker. One of the same kind that stands is left alone when it is an outage; one that speaks of
/// an earlier failure is resolved by the new one.
pub(crate) fn raise(tx: &Tx<'_>, sync_id: &str, new: &NewBlocker) -> StoreResult<()> {
    lock(tx, sync_id)?;
    if new.kind.release() == Release::Recovery && active(tx, sync_id)?.contains(&new.kind) {
        return Ok(());
    }
    if new.kind.release() != Release::Recovery {
        resolve_where(tx, sync_id, "replaced by a newer failure", |kind| {
            kind.release() != Release::Recovery
        })?;
    }
    let mut contexts = vec![("kind".to_owned(), new.kind.as_str().to_owned())];
    contexts.extend(new.contexts.iter().cloned());
    contexts.push(("suggestedFix".to_owned(), new.kind.suggested_fix().to_owned()));
    tx.execute(
        "INSERT INTO blocker (id, sync_id, number, kind, status, created_reason, created_at_ms, contexts)
           VALUES ($1, $2, (SELECT coalesce(max(number), 0) + 1 FROM blocker WHERE sync_id = $2), $3, 'ACTIVE',
                   $4, $5, $6)",
        params![
            chance::uuid().to_string(),
            sync_id,
            new.kind.as_str(),
            &new.reason,
            tx.now_ms(),
            to_json(&contexts)?
        ],
    )?;
    Ok(())
}

/// Resolves the blockers that stand and whose kind `which` picks; returns how many there were.
pub(crate) fn resolve_where(
    tx: &Tx<'_>,
    sync_id: &str,
    reason: &str,
    which: impl Fn(BlockerKind) -> bool,
) -> StoreResult<usize> {
    let mut resolved = 0;
    for kind in active(tx, sync_id)? {
        if which(kind) {
            if resolved == 0 {
                lock(tx, sync_id)?;
            }
            resolved += tx.execute(
                "UPDATE blocker SET status = 'RESOLVED', resolved_reason = $3, resolved_at_ms = $4
                  WHERE sync_id = $1 AND kind = $2 AND status = 'ACTIVE'",
                params![sync_id, kind.as_str(), reason, tx.now_ms()],
            )?;
        }
    }
    Ok(resolved)
}

impl Store {
    /// The newest ten blockers of a sync configuration, newest first; `None` if there is no such
    /// configuration.
    ///
    /// # Errors
    /// The database's.
    pub async fn blockers(
        &self,
        scope: &Scope,
        sync_type: &str,
        name: &str,
    ) -> StoreResult<Option<Vec<Blocker>>> {
        let (scope, sync_type, name) = (scope.clone(), sync_type.to_owned(), name.to_owned());
        self.read(move |tx| {
            let (scope, sync_type, name) = (&scope, sync_type.as_str(), name.as_str());
            let Some(configuration) = configurations::find(tx, scope, sync_type, name)? else {
                return Ok(None);
            };
            let blockers = tx
                .rows(
                    &format!(
                        "SELECT {COLUMNS} FROM blocker WHERE sync_id = $1
                          ORDER BY number DESC LIMIT 10"
                    ),
                    params![&configuration.id],
                )?
                .iter_mut()
                .map(from_row)
                .collect::<StoreResult<Vec<_>>>()?;
            Ok(Some(blockers))
        })
        .await
    }

    /// Marks a blocker RESOLVED and has the branch's head synced again.
    ///
    /// # Errors
    /// The database's.
    pub async fn resolve_blocker<A: Send + 'static>(
        &self,
        scope: &Scope,
        sync_type: &str,
        name: &str,
        id: &str,
        reason: &str,
        change: Change<Resolution, A>,
    ) -> StoreResult<A> {
        let scope = scope.clone();
        let [sync_type, name, id, reason] = [sync_type, name, id, reason].map(str::to_owned);
        self.change("store.resolve_blocker", change, move |tx| {
            tx.lock_account(&scope.account)?;
            let Some(configuration) = configurations::find(tx, &scope, &sync_type, &name)? else {
                return Ok(Resolution::NoConfiguration);
            };
            let Some(blocker) = find(tx, &configuration.id, &id)? else {
                return Ok(Resolution::NoBlocker);
            };
            if blocker.status == BlockerStatus::Resolved {
                return Ok(Resolution::Resolved(Box::new(blocker)));
            }
            if let Some(why) = why_not_syncable(tx, &scope, &configuration)? {
                return Ok(Resolution::CannotRetry(why));
            }
            tx.execute(
                "UPDATE blocker SET status = 'RESOLVED', resolved_reason = $2, resolved_at_ms = $3 WHERE id = $1",
                params![&id, reason, tx.now_ms()],
            )?;
            if blocker.kind == BlockerKind::StackDeleted {
                // The operator wants it created again: forget that it ever was there.
                tx.execute(
                    "UPDATE sync_configuration SET stack_id = NULL, applied_revision = NULL WHERE id = $1",
                    params![&configuration.id],
                )?;
            }
            sync_again(tx, &configuration.id, &configuration.link_id)?;
            Ok(find(tx, &configuration.id, &id)?
                .map_or(Resolution::NoBlocker, |blocker| Resolution::Resolved(Box::new(blocker))))
        })
        .await
    }

    /// Has the branch's head synced again, whatever it was before. `None` if there is no such configuration,
    /// else why it cannot be done, if so.
    ///
    /// # Errors
    /// The database's.
    pub async fn sync_now<A: Send + 'static>(
        &self,
        scope: &Scope,
        sync_type: &str,
        name: &str,
        change: Change<Option<Result<(), String>>, A>,
    ) -> StoreResult<A> {
        let scope = scope.clone();
        let [sync_type, name] = [sync_type, name].map(str::to_owned);
        self.change("store.sync_now", change, move |tx| {
            tx.lock_account(&scope.account)?;
            let Some(configuration) = configurations::find(tx, &scope, &sync_type, &name)? else {
                return Ok(None);
            };
            if let Some(why) = why_not_syncable(tx, &scope, &configuration)? {
                return Ok(Some(Err(why)));
            }
            sync_again(tx, &configuration.id, &configuration.link_id)?;
            Ok(Some(Ok(())))
        })
        .await
    }
}

/// A new generation: the branch's worker will want the head again, and the link asks for it at once.
fn sync_again(tx: &mut Tx<'_>, sync_id: &str, link_id: &str) -> StoreResult<()> {
    tx.execute("UPDATE sync_configuration SET generation = generation + 1 WHERE id = $1", params![sync_id])?;
    branches::forget_failures(tx, link_id)?;
    work::wake(tx, link_id)?;
    work::wake(tx, sync_id)
}

fn why_not_syncable(
    tx: &Tx<'_>,
    scope: &Scope,
    configuration: &configurations::Configuration,
) -> StoreResult<Option<String>> {
    if let Some(suspension) = suspensions::find(tx, scope.account.as_str(), &configuration.id)? {
        let what = if suspension.of_account { "its account" } else { "it" };
        return Ok(Some(format!("{what} is suspended ({}); resume it first", suspension.reason)));
    }
    let link_id = &configuration.link_id;
    let status = tx.row(
        "SELECT c.name, c.status FROM connection c
           JOIN repository_link l ON l.connection_id = c.id WHERE l.id = $1",
        params![link_id],
    )?;
    Ok(match status {
        None => Some("the connection of its repository link was deleted".to_owned()),
        Some(mut row) => {
            let (name, status) = (row.text()?, row.text()?);
            (status != "AVAILABLE")
                .then(|| format!("the connection '{name}' is {status}; authorize it again"))
        }
    })
}
