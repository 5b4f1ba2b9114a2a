//! What the files of many syncs are at one commit, read together.
//!
//! Where the commit is known at which the path index holds a sync's files, the difference of the trees says what they are
//! now, and nothing is read unless the deployment file itself changed: only its content names the other files.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use syncline_git::{Entry, Remote, Repositories};
use syncline_model::names::{ObjectId, RepoPath};
use syncline_model::plan::Trouble;
use syncline_store::{BranchSync, SyncFile};
use tracing::debug;

use super::files::MAX_DEPLOYMENT_FILE_BYTES;
use super::remote::trouble_of;

/// Commits that a head is compared with in one turn; what was considered at others is read anew.
const MOST_BASES: usize = 8;

/// Files that are read ahead at once.
const AHEAD_AT_ONCE: usize = 400;
/// The largest file that is read ahead, in bytes: a little more than the largest template that is sent.
const MAX_AHEAD_BYTES_EACH: u64 = 64 << 10;
/// What is read ahead for one commit, in bytes: less than git remembers.
const MAX_AHEAD_BYTES: usize = 8 << 20;

/// What changed since a commit: what is at each such path now.
type Changed = BTreeMap<String, Entry>;

/// A head of a branch, in the cache.
pub(super) struct Head<'a> {
    pub(super) git: &'a dyn Repositories,
    pub(super) remote: &'a Remote,
    pub(super) link_id: &'a str,
    pub(super) commit: &'a ObjectId,
}

/// What a sync's files are: paths and blob ids, whatever their content.
pub(super) struct Inputs {
    /// All of it as one text, to be compared.
    pub(super) text: String,
    /// The deployment file and what it names; none if nothing can be read whatever the commit.
    pub(super) files: Vec<SyncFile>,
}

impl Inputs {
    fn of(files: Vec<SyncFile>) -> Self {
        let lines: Vec<String> = files.iter().map(|file| format!("{}={}", file.path, file.entry)).collect();
        Self { text: lines.join("\n"), files }
    }
}

/// A sync's deployment file, at the head.
struct Deployment {
    path: RepoPath,
    template: Option<RepoPath>,
}

impl Head<'_> {
    /// What the head changed since each of the commits for which that can be told.
    pub(super) async fn changes_since(&self, bases: &[String]) -> HashMap<String, Changed> {
        let mut changes = HashMap::new();
        for base in bases.iter().take(MOST_BASES) {
            let Ok(from) = base.parse::<ObjectId>() else { continue };
            match self.git.changes(self.remote, self.link_id, &from, self.commit).await {
                Ok(Some(changed)) => {
                    changes.insert(base.clone(), changed);
                }
                Ok(None) => {}
                // Without it more is read, and reading says what is wrong.
                Err(error) => debug!(%error, base, "two commits could not be compared"),
            }
        }
        changes
    }

    /// What the files of each sync are.
    pub(super) async fn inputs(
        &self,
        syncs: &[BranchSync],
        changes: &HashMap<String, Changed>,
    ) -> Result<Vec<Inputs>, Trouble> {
        let mut known: Vec<Option<Inputs>> = syncs.iter().map(|sync| from_index(sync, changes)).collect();
        let mut unknown = BTreeSet::new();
        for (sync, inputs) in syncs.iter().zip(&mut known) {
            match sync.config_file.parse::<RepoPath>() {
                _ if inputs.is_some() => {}
                Ok(path) => {
                    unknown.insert(path);
                }
                Err(_) => {
                    let text = format!("{}: not a path", sync.config_file);
                    *inputs = Some(Inputs { text, files: Vec::new() });
                }
            }
        }
        let unknown: Vec<RepoPath> = unknown.into_iter().collect();
        let deployments = self.deployments(&unknown).await?;
        let templates = deployments.iter().filter_map(|deployment| deployment.template.clone());
        let paths: BTreeSet<RepoPath> = unknown.iter().cloned().chain(templates).collect();
        let entries = self.entries(&paths.into_iter().collect::<Vec<_>>()).await?;
        let read: HashMap<&str, &Deployment> =
            deployments.iter().map(|deployment| (deployment.path.as_str(), deployment)).collect();
        let file = |path: &RepoPath| SyncFile {
            path: path.as_str().to_owned(),
            entry: entries.get(path.as_str()).cloned().unwrap_or_default(),
        };
        let inputs = syncs.iter().zip(known).map(|(sync, known)| {
            known.unwrap_or_else(|| {
                let path = sync.config_file.parse::<RepoPath>().ok();
                let deployment = path.and_then(|path| read.get(path.as_str()).copied());
                let paths = deployment.into_iter().flat_map(|d| [Some(&d.path), d.template.as_ref()]);
                Inputs::of(paths.flatten().map(file).collect())
            })
        });
        Ok(inputs.collect())
    }

    /// Has git remember the files of those who want the head, as far as it can, so that not each attempt has it started
    /// for its own few.
    pub(super) async fn read_ahead(&self, files: impl IntoIterator<Item = &SyncFile>) {
        let paths: BTreeSet<RepoPath> = files.into_iter().filter_map(|file| file.path.parse().ok()).collect();
        let paths: Vec<RepoPath> = paths.into_iter().collect();
        let mut read_bytes = 0;
        for paths in paths.chunks(AHEAD_AT_ONCE) {
            let limit = MAX_AHEAD_BYTES_EACH;
            match self.git.read_all(self.remote, self.link_id, self.commit, paths, limit).await {
                Ok(files) => read_bytes += files.iter().flatten().map(Vec::len).sum::<usize>(),
                // The attempts will say what is wrong.
                Err(error) => {
                    debug!(%error, "files could not be read ahead");
                    return;
                }
            }
            if read_bytes > MAX_AHEAD_BYTES {
                return;
            }
        }
    }

    /// What deployment files at these paths name.
    async fn deployments(&self, paths: &[RepoPath]) -> Result<Vec<Deployment>, Trouble> {
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let limit = MAX_DEPLOYMENT_FILE_BYTES;
        let together = self.git.read_all(self.remote, self.link_id, self.commit, paths, limit).await;
        let together = together.map_err(|error| trouble_of(&error))?;
        let mut deployments = Vec::with_capacity(paths.len());
        for (path, bytes) in paths.iter().zip(together) {
            let bytes = match bytes {
                Some(bytes) => Some(bytes),
                None => match self.git.read(self.remote, self.link_id, self.commit, path, limit).await {
                    Ok(bytes) => Some(bytes),
                    Err(error) => match trouble_of(&error) {
                        // The attempt will say what is wrong with the file.
                        Trouble::Refused { .. } => None,
                        outage @ (Trouble::Outage { .. } | Trouble::Gone { .. }) => return Err(outage),
                    },
                },
            };
            let template = bytes.and_then(|bytes| {
                let file = syncline_template::parse_deployment_file(path.as_str(), &bytes).ok()?;
                file.template_file_path.parse().ok()
            });
            deployments.push(Deployment { path: path.clone(), template });
        }
        Ok(deployments)
    }

    /// What is at each of the paths.
    pub(super) async fn entries(&self, paths: &[RepoPath]) -> Result<HashMap<String, String>, Trouble> {
        if paths.is_empty() {
            return Ok(HashMap::new());
        }
        let entries = self.git.entries(self.remote, self.link_id, self.commit, paths).await;
        let entries = entries.map_err(|error| trouble_of(&error))?;
        Ok(paths.iter().map(|path| path.as_str().to_owned()).zip(entries.iter().map(entry_text)).collect())
    }
}

/// The sync's files at the head by what the index has and what changed since; `None` if that does not tell.
fn from_index(sync: &BranchSync, changes: &HashMap<String, Changed>) -> Option<Inputs> {
    let indexed = sync.indexed.as_ref()?;
    let changed = changes.get(&indexed.sha)?;
    let now = |file: &SyncFile| SyncFile {
        path: file.path.clone(),
        entry: changed.get(&file.path).map_or_else(|| file.entry.clone(), entry_text),
    };
    let deployment = indexed.files.first()?;
    let is_ours = sync.config_file.parse::<RepoPath>().is_ok_and(|path| path.as_str() == deployment.path);
    (is_ours && now(deployment) == *deployment).then(|| Inputs::of(indexed.files.iter().map(now).collect()))
}

fn entry_text(entry: &Entry) -> String {
    match entry {
        Entry::Missing => "missing".to_owned(),
        Entry::NotAFile(kind) => kind.to_string(),
        Entry::File { blob } => blob.to_string(),
    }
}
