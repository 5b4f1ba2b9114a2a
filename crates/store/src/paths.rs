//! The path index: which files each sync reads, and so which syncs a commit concerns.
//!
//! `sync_path` has a row for each file of a sync, as it was at the commit `sync_configuration.indexed_sha`. It is an
//! index and nothing more: it says which syncs need not be looked at when the difference between that commit and the
//! branch's head is known; whoever has no index, or cannot be given that difference, is looked at.
//!
//! **Invariant:** only a branch's turn writes it, together with what the sync has considered. A changed configuration
//! has another generation than the one considered, and its index counts for nothing until it is written anew.

use std::collections::{BTreeSet, HashMap};

use crate::branches::{BranchRecord, BranchSync, Consideration};
use crate::sql::{Row, Tx, Value, params};
use crate::{Store, StoreResult, blockers};
use syncline_model::sync::BlockerKind;

/// A file that a sync reads, and what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncFile {
    /// Its path in the repository.
    pub path: String,
    /// The blob's id, or a word for what else is there.
    pub entry: String,
}

/// The files of a sync at a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indexed {
    /// The commit.
    pub sha: String,
    /// The deployment file, then what it names.
    pub files: Vec<SyncFile>,
}

/// The live syncs of a branch that have not considered its head: of link, branch and number of the head.
const WAITING: &str = "s.link_id = $1 AND s.branch = $2 AND s.deleted = 0
    AND (s.considered_seq <> $3 OR s.considered_generation <> s.generation)";
/// Those whose index counts.
const INDEXED: &str = "s.indexed_sha IS NOT NULL AND s.considered_generation = s.generation";
/// Those that a commit concerns only if it changes a file of theirs.
const ONLY_FILES: &str = "coalesce(s.trigger_resource_update_on, '') = 'FILE_CHANGE'";

const COLUMNS: &str = "s.id, s.resource_name, s.generation, s.considered_generation, s.config_file,
    s.trigger_resource_update_on, s.desired_inputs, s.indexed_sha";

/// Paths looked up by one statement.
const PATHS_AT_ONCE: usize = 100;
/// When a commit changes more paths than this, all files of the syncs are read instead of looked up.
const MOST_LOOKED_UP: usize = 2_000;

/// The branch whose syncs wait, as the first three parameters of [`WAITING`].
struct Of<'b> {
    link_id: &'b str,
    branch: &'b str,
    head_seq: i64,
}

impl Of<'_> {
    fn params(&self) -> Vec<Value> {
        params![self.link_id, self.branch, self.head_seq].to_vec()
    }
}

impl BranchRecord {
    fn of(&self) -> Of<'_> {
        Of { link_id: &self.link_id, branch: &self.name, head_seq: self.head_seq }
    }
}

/// The syncs of a branch that have to consider a head whatever it changes, and the commits at which the files are
/// known of those that wait.
pub(crate) fn waiting(
    tx: &Tx<'_>,
    link_id: &str,
    branch: &str,
    head_seq: i64,
) -> StoreResult<(Vec<BranchSync>, Vec<String>)> {
    let of = Of { link_id, branch, head_seq };
    let whatever = format!("{WAITING} AND NOT ({INDEXED} AND {ONLY_FILES})");
    let syncs = load(tx, &whatever, of.params())?;
    let bases = tx
        .rows(
            &format!(
                "SELECT DISTINCT s.indexed_sha FROM sync_configuration s WHERE {WAITING} AND {INDEXED}
                  ORDER BY s.indexed_sha"
            ),
            &of.params(),
        )?
        .iter_mut()
        .map(Row::text)
        .collect::<StoreResult<Vec<_>>>()?;
    Ok((syncs, bases))
}

/// The ids of the syncs that have not considered a branch's head.
pub(crate) fn waiting_ids(tx: &Tx<'_>, branch: &BranchRecord) -> StoreResult<Vec<String>> {
    tx.rows(
        &format!("SELECT s.id FROM sync_configuration s WHERE {WAITING} ORDER BY s.id"),
        &branch.of().params(),
    )?
    .iter_mut()
    .map(Row::text)
    .collect()
}

/// The syncs that a condition picks, with their files.
fn load(tx: &Tx<'_>, which: &str, params: Vec<Value>) -> StoreResult<Vec<BranchSync>> {
    let mut files: HashMap<String, Vec<SyncFile>> = HashMap::new();
    let of_files = tx.rows(
        &format!(
            "SELECT p.sync_id, p.path, p.entry FROM sync_configuration s JOIN sync_path p ON p.sync_id = s.id
              WHERE {which} AND {INDEXED} ORDER BY p.sync_id, p.position"
        ),
        &params,
    )?;
    for mut row in of_files {
        let sync_id = row.text()?;
        files.entry(sync_id).or_default().push(SyncFile { path: row.text()?, entry: row.text()? });
    }
    let syncs = tx.rows(
        &format!("SELECT {COLUMNS} FROM sync_configuration s WHERE {which} ORDER BY s.resource_name"),
        &params,
    )?;
    syncs
        .into_iter()
        .map(|mut row| {
            let (id, resource_name) = (row.text()?, row.text()?);
            let (generation, considered_generation) = (row.int()?, row.int()?);
            let (config_file, trigger) = (row.text()?, row.opt_text()?);
            let (newest_inputs, sha) = (row.opt_text()?, row.opt_text()?);
            let indexed = sha
                .filter(|_| generation == considered_generation)
                .map(|sha| Indexed { sha, files: files.remove(&id).unwrap_or_default() });
            Ok(BranchSync {
                only_file_changes: trigger.as_deref() == Some("FILE_CHANGE"),
                id,
                resource_name,
                generation,
                considered_generation,
                config_file,
                newest_inputs,
                indexed,
            })
        })
        .collect()
}

/// `$from, $from+1, …`: places of as many parameters.
fn places(from: usize, count: usize) -> String {
    let places: Vec<String> = (from..from + count).map(|place| format!("${place}")).collect();
    places.join(", ")
}

/// The texts as parameters for exactly [`PATHS_AT_ONCE`] places, so that there is one statement whatever their number.
fn filled(texts: &[String]) -> impl Iterator<Item = Value> {
    let last = texts.last().cloned().unwrap_or_default();
    let rest = PATHS_AT_ONCE.saturating_sub(texts.len());
    texts
        .iter()
        .map(Value::from)
        .chain(std::iter::repeat_n(Value::from(last), rest))
        .collect::<Vec<_>>()
        .into_iter()
}

impl Store {
    /// The syncs of a branch whose files are known at the commit `base`, which want only changes of their files, and
    /// which have a file among the paths that the head changed since; all of them if that is not known.
    ///
    /// # Errors
    /// The database's.
    pub async fn touched_syncs(
        &self,
        branch: &BranchRecord,
        base: &str,
        changed: Option<Vec<String>>,
    ) -> StoreResult<Vec<BranchSync>> {
        let (of, branch_id) = (branch.of(), branch.id.clone());
        let at_base = format!("{WAITING} AND {INDEXED} AND {ONLY_FILES} AND s.indexed_sha = $4");
        let mut params = of.params();
        params.push(base.into());
        self.read(move |tx| {
            let Some(changed) = changed.as_ref().filter(|paths| paths.len() <= MOST_LOOKED_UP) else {
                let mut all = load(tx, &at_base, params)?;
                if let Some(changed) = &changed {
                    let changed: BTreeSet<&str> = changed.iter().map(String::as_str).collect();
                    let is_touched = |file: &SyncFile| changed.contains(file.path.as_str());
                    all.retain(|sync| sync.indexed.iter().flat_map(|at| &at.files).any(is_touched));
                }
                return Ok(all);
            };
            let mut touched = BTreeSet::new();
            let lookup = format!(
                "SELECT DISTINCT s.id FROM sync_path p JOIN sync_configuration s ON s.id = p.sync_id
                  WHERE p.branch_id = $5 AND p.path IN ({}) AND {at_base}",
                places(6, PATHS_AT_ONCE)
            );
            for paths in changed.chunks(PATHS_AT_ONCE) {
                let mut params = params.clone();
                params.push(branch_id.as_str().into());
                params.extend(filled(paths));
                for mut row in tx.rows(&lookup, &params)? {
                    touched.insert(row.text()?);
                }
            }
            let touched: Vec<String> = touched.into_iter().collect();
            let which = format!("{at_base} AND s.id IN ({})", places(5, PATHS_AT_ONCE));
            let mut syncs = Vec::with_capacity(touched.len());
            for ids in touched.chunks(PATHS_AT_ONCE) {
                let mut params = params.clone();
                params.extend(filled(ids));
                syncs.append(&mut load(tx, &which, params)?);
            }
            Ok(syncs)
        })
        .await
    }
}

/// Notes that the files of a sync are known at the head it considers, or that they are not known.
pub(crate) fn set_indexed(
    tx: &Tx<'_>,
    branch: &BranchRecord,
    consideration: &Consideration,
    is_current: bool,
) -> StoreResult<()> {
    let sha = branch.head_sha.as_deref().filter(|_| is_current);
    tx.execute(
        "UPDATE sync_configuration SET indexed_sha = $2 WHERE id = $1",
        params![&consideration.sync_id, sha],
    )?;
    Ok(())
}

/// Writes what is known now of the files of a sync that considers the head.
pub(crate) fn index(tx: &Tx<'_>, branch: &BranchRecord, consideration: &Consideration) -> StoreResult<()> {
    let sync_id = &consideration.sync_id;
    let Some(files) = &consideration.files else { return Ok(()) };
    forget(tx, sync_id)?;
    for (position, file) in (0_i64..).zip(files) {
        tx.execute(
            "INSERT INTO sync_path (sync_id, position, branch_id, path, entry) VALUES ($1, $2, $3, $4, $5)",
            params![sync_id, position, &branch.id, &file.path, &file.entry],
        )?;
    }
    Ok(())
}

/// Notes that the syncs whose files are known at `base`, and which want only changes of their files, have considered
/// the head, which changes none: whoever it touches has considered it before. How many they are.
pub(crate) fn pass_over(tx: &Tx<'_>, branch: &BranchRecord, base: &str) -> StoreResult<usize> {
    let passed = format!("{WAITING} AND {INDEXED} AND {ONLY_FILES} AND s.indexed_sha = $4");
    let mut params = branch.of().params();
    params.push(base.into());
    let blocked = tx.rows(
        &format!(
            "SELECT DISTINCT s.id FROM sync_configuration s
               JOIN blocker k ON k.sync_id = s.id AND k.status = 'ACTIVE' WHERE {passed}"
        ),
        &params,
    )?;
    for mut sync in blocked {
        let reason = "the branch was read";
        blockers::resolve_where(tx, &sync.text()?, reason, BlockerKind::is_of_repository)?;
    }
    params.push(branch.head_sha.clone().into());
    tx.execute(
        &format!("UPDATE sync_configuration AS s SET considered_seq = $3, indexed_sha = $5 WHERE {passed}"),
        &params,
    )
}

/// Forgets the files of a sync.
pub(crate) fn forget(tx: &Tx<'_>, sync_id: &str) -> StoreResult<()> {
    tx.execute("DELETE FROM sync_path WHERE sync_id = $1", params![sync_id])?;
    Ok(())
}
