//! Pull requests of a repository, as the forge has them now.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::access::Access;
use super::hooks::Repository;
use super::question::{Page, Question, segment};
use crate::Forge;

/// Where a pull request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullState {
    /// It may be merged.
    Open,
    /// It was closed without a merge.
    Closed,
    /// It was merged.
    Merged,
}

/// A pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// The forge's number of it in its repository.
    pub number: i64,
    /// Where it stands.
    pub state: PullState,
    /// Whether its head is in another repository, or in none any more.
    pub is_fork: bool,
    /// The branch that it is to be merged into.
    pub target_branch: String,
    /// The commit at its head; of Bitbucket, the first 12 digits ([`commit`] tells the others). `None` where the branch that is
    /// to be merged is gone, or not read yet.
    pub head: Option<String>,
    /// The commit from which both branches come, where the forge says it without being asked.
    pub merge_base: Option<String>,
}

/// A pull request in a forge's own words.
trait Row: DeserializeOwned + 'static {
    fn pull(self) -> Pull;
}

/// GitHub and Gitea.
#[derive(Debug, Deserialize)]
struct GitHubRow {
    number: i64,
    state: String,
    #[serde(default)]
    merged: Option<bool>,
    #[serde(default)]
    merged_at: Option<String>,
    #[serde(default)]
    merge_base: Option<String>,
    head: GitHubHead,
    base: GitHubSide,
}

#[derive(Debug, Deserialize)]
struct GitHubHead {
    sha: String,
    /// Null once the repository is deleted.
    repo: Option<GitHubRepository>,
}

#[derive(Debug, Deserialize)]
struct GitHubSide {
    #[serde(rename = "ref")]
    branch: String,
    repo: Option<GitHubRepository>,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
struct GitHubRepository {
    id: i64,
}

impl Row for GitHubRow {
    fn pull(self) -> Pull {
        let is_merged = self.merged.unwrap_or(false) || self.merged_at.is_some();
        let state = match (&*self.state, is_merged) {
            (_, true) => PullState::Merged,
            ("open", false) => PullState::Open,
            _ => PullState::Closed,
        };
        Pull {
            number: self.number,
            state,
            is_fork: self.head.repo.is_none() || self.head.repo != self.base.repo,
            target_branch: self.base.branch,
            head: Some(self.head.sha),
            merge_base: self.merge_base.filter(|sha| !sha.is_empty()),
        }
    }
}

#[derive(Debug, Deserialize)]
struct GitLabRow {
    iid: i64,
    state: String,
    /// Null while there is none.
    sha: Option<String>,
    target_branch: String,
    /// Null once the project is deleted.
    source_project_id: Option<i64>,
    target_project_id: Option<i64>,
}

impl Row for GitLabRow {
    fn pull(self) -> Pull {
        Pull {
            number: self.iid,
            state: match &*self.state {
                "opened" | "locked" => PullState::Open,
                "merged" => PullState::Merged,
                _ => PullState::Closed,
            },
            is_fork: self.source_project_id.is_none() || self.source_project_id != self.target_project_id,
            target_branch: self.target_branch,
            head: self.sha,
            merge_base: None,
        }
    }
}

#[derive(Debug, Deserialize)]
struct BitbucketRow {
    id: i64,
    state: String,
    source: BitbucketSource,
    destination: BitbucketSide,
}

#[derive(Debug, Deserialize)]
struct BitbucketSource {
    /// Null once it is gone.
    commit: Option<BitbucketCommit>,
    /// Null once it is deleted.
    repository: Option<BitbucketRepository>,
}

#[derive(Debug, Deserialize)]
struct BitbucketSide {
    branch: BitbucketBranch,
    repository: Option<BitbucketRepository>,
}

#[derive(Debug, Deserialize)]
struct BitbucketBranch {
    name: String,
}

#[derive(Debug, Deserialize)]
struct BitbucketCommit {
    hash: String,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
struct BitbucketRepository {
    full_name: String,
}

impl Row for BitbucketRow {
    fn pull(self) -> Pull {
        Pull {
            number: self.id,
            state: match &*self.state {
                "OPEN" | "DRAFT" | "QUEUED" => PullState::Open,
                "MERGED" => PullState::Merged,
                _ => PullState::Closed,
            },
            is_fork: self.source.repository.is_none()
                || self.source.repository != self.destination.repository,
            target_branch: self.destination.branch.name,
            head: self.source.commit.map(|commit| commit.hash),
            merge_base: None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AzureRow {
    pull_request_id: i64,
    status: String,
    target_ref_name: String,
    last_merge_source_commit: Option<AzureCommit>,
    fork_source: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AzureCommit {
    commit_id: String,
}

impl Row for AzureRow {
    fn pull(self) -> Pull {
        let branch = |name: &str| name.strip_prefix("refs/heads/").unwrap_or(name).to_owned();
        Pull {
            number: self.pull_request_id,
            state: match &*self.status {
                "active" => PullState::Open,
                "completed" => PullState::Merged,
                _ => PullState::Closed,
            },
            is_fork: self.fork_source.is_some_and(|source| !source.is_null()),
            target_branch: branch(&self.target_ref_name),
            head: self.last_merge_source_commit.map(|commit| commit.commit_id),
            merge_base: None,
        }
    }
}

fn pulls_path(access: &Access, repository: &Repository) -> String {
    let path = repository.path(access.forge());
    match access.forge() {
        Forge::GitHub | Forge::Gitea | Forge::Git => format!("{path}/pulls"),
        Forge::GitLab => format!("{path}/merge_requests"),
        Forge::Bitbucket | Forge::AzureDevOps => format!("{path}/pullrequests"),
    }
}

fn list_of<R: Row>(rows: Question<Page<R>>) -> Question<Page<Pull>> {
    rows.map(|page| Page {
        items: page.items.into_iter().map(Row::pull).collect(),
        next: page.next.map(list_of),
    })
}

/// Asks for the open pull requests of a repository.
#[must_use]
pub fn open_pulls(access: &Access, repository: &Repository) -> Question<Page<Pull>> {
    const POINT: &str = "forges.list_pulls";
    let path = pulls_path(access, repository);
    match access.forge() {
        Forge::GitHub | Forge::Git => {
            list_of(access.list::<GitHubRow>(POINT, &format!("{path}?state=open&per_page=100")))
        }
        Forge::Gitea => list_of(access.list::<GitHubRow>(POINT, &format!("{path}?state=open&limit=50"))),
        Forge::GitLab => {
            list_of(access.list::<GitLabRow>(POINT, &format!("{path}?state=opened&per_page=100")))
        }
        Forge::Bitbucket => {
            list_of(access.list::<BitbucketRow>(POINT, &format!("{path}?state=OPEN&pagelen=50")))
        }
        // It pages by `$skip` alone, and gives so many at the most.
        Forge::AzureDevOps => list_of(
            access.list::<AzureRow>(POINT, &format!("{path}?searchCriteria.status=active&%24top=1000")),
        ),
    }
}

/// Asks for one pull request.
#[must_use]
pub fn pull(access: &Access, repository: &Repository, number: i64) -> Question<Pull> {
    const POINT: &str = "forges.pull";
    let path = format!("{}/{number}", pulls_path(access, repository));
    match access.forge() {
        Forge::GitHub | Forge::Gitea | Forge::Git => access.get::<GitHubRow>(POINT, &path).map(Row::pull),
        Forge::GitLab => access.get::<GitLabRow>(POINT, &path).map(Row::pull),
        Forge::Bitbucket => access.get::<BitbucketRow>(POINT, &path).map(Row::pull),
        Forge::AzureDevOps => access.get::<AzureRow>(POINT, &path).map(Row::pull),
    }
}

/// Asks Bitbucket for the whole id of a commit, of which pull requests tell the beginning; `None` for the others, which tell
/// it whole.
#[must_use]
pub fn commit(access: &Access, repository: &Repository, beginning: &str) -> Option<Question<String>> {
    (access.forge() == Forge::Bitbucket).then(|| {
        let path = format!("{}/commit/{}", repository.path(Forge::Bitbucket), segment(beginning));
        access.get::<BitbucketCommit>("forges.commit", &path).map(|commit| commit.hash)
    })
}

#[derive(Debug, Deserialize)]
struct Compared {
    merge_base_commit: GitHubCommit,
}

#[derive(Debug, Deserialize)]
struct GitHubCommit {
    sha: String,
}

#[derive(Debug, Deserialize)]
struct GitLabCommit {
    id: String,
}

/// Asks from which commit two come; `None` if the forge cannot be asked. Gitea says it of each pull request.
#[must_use]
pub fn merge_base(
    access: &Access,
    repository: &Repository,
    branch: &str,
    head: &str,
) -> Option<Question<Option<String>>> {
    const POINT: &str = "forges.merge_base";
    let (path, branch, head) = (repository.path(access.forge()), segment(branch), segment(head));
    Some(match access.forge() {
        // Files are listed on the first page alone; there is nothing else to be spared.
        Forge::GitHub => access
            .get::<Compared>(POINT, &format!("{path}/compare/{branch}...{head}?per_page=1"))
            .map(|compared| Some(compared.merge_base_commit.sha)),
        Forge::GitLab => {
            let query = format!("refs%5B%5D={branch}&refs%5B%5D={head}");
            access
                .get::<GitLabCommit>(POINT, &format!("{path}/repository/merge_base?{query}"))
                .map(|commit| Some(commit.id))
        }
        Forge::Bitbucket => access
            .get::<BitbucketCommit>(POINT, &format!("{path}/merge-base/{branch}..{head}"))
            .map(|commit| Some(commit.hash)),
        Forge::AzureDevOps => access
            .list::<AzureCommit>(POINT, &format!("{path}/commits/{branch}/mergebases?otherCommitId={head}"))
            .map(|page| page.items.into_iter().next().map(|commit| commit.commit_id)),
        Forge::Gitea | Forge::Git => return None,
    })
}
