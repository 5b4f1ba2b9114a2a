//! Pull requests of a repository and the comments on them, as the forge keeps them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{OriginalUri, Path, Query, State};
use axum::response::Response;
use axum::routing::{get, patch, put};
use axum::{Extension, Router};
use http::StatusCode;
use serde_json::{Value, json};
use syncline_forges::Forge;

use super::{ForgeDouble, Grant, Inner, json_answer};
use crate::repository::Repository;

/// A pull request that a double has.
#[derive(Debug, Clone)]
pub struct KnownPull {
    /// Its number.
    pub number: i64,
    /// The repository that it is in, `<owner>/<name>`.
    pub repository: String,
    /// The branch that is to be merged.
    pub source: String,
    /// The branch that it is to be merged into.
    pub target: String,
    /// The commit at its head.
    pub head: String,
    /// The commit from which both branches come.
    pub base: String,
    /// Whether its head is in another repository.
    pub is_fork: bool,
    /// `open`, `closed` or `merged`.
    pub state: &'static str,
    /// Whether the branch that is to be merged is gone: then GitLab, Bitbucket and Azure DevOps name no commit.
    pub is_headless: bool,
}

/// A comment that a double has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownComment {
    /// Its id.
    pub id: u64,
    /// The repository, `<owner>/<name>`.
    pub repository: String,
    /// The pull request's number.
    pub pull: i64,
    /// What it says.
    pub body: String,
    /// How often it was edited.
    pub edits: usize,
    /// Whether the request that makes it is still on its way: nobody sees it before the next is made.
    pub is_late: bool,
}

impl KnownPull {
    fn shown(&self, forge: Forge) -> Value {
        let (number, is_merged) = (self.number, self.state == "merged");
        let home = json!({ "id": 1, "full_name": self.repository });
        let other = json!({ "id": 2, "full_name": "mallory/infra" });
        let from = if self.is_fork { &other } else { &home };
        match forge {
            Forge::GitHub | Forge::Gitea | Forge::Git => {
                let mut shown = json!({
                    "number": number, "state": if self.state == "open" { "open" } else { "closed" }, "draft": false,
                    "merged_at": is_merged.then_some("2026-11-01T00:00:00Z"),
                    "head": { "ref": self.source, "sha": self.head, "repo": from },
                    "base": { "ref": self.target, "sha": self.base, "repo": home },
                });
                if forge == Forge::Gitea {
                    shown["merged"] = json!(is_merged);
                    shown["merge_base"] = json!(self.base);
                }
                shown
            }
            Forge::GitLab => json!({
                "iid": number, "state": if self.state == "open" { "opened" } else { self.state }, "sha": (!self.is_headless).then_some(&self.head),
                "source_branch": self.source, "target_branch": self.target,
                "source_project_id": if self.is_fork { 2 } else { 1 }, "target_project_id": 1,
            }),
            Forge::Bitbucket => json!({
                "id": number,
                "state": match self.state { "open" => "OPEN", "merged" => "MERGED", _ => "DECLINED" },
                "source": {
                    "branch": { "name": self.source },
                    "commit": (!self.is_headless).then(|| json!({ "hash": &self.head[..12] })),
                    "repository": { "full_name": from["full_name"] },
                },
                "destination": {
                    "branch": { "name": self.target }, "commit": { "hash": &self.base[..12] },
                    "repository": { "full_name": home["full_name"] },
                },
            }),
            Forge::AzureDevOps => json!({
                "pullRequestId": number,
                "status": match self.state { "open" => "active", "merged" => "completed", _ => "abandoned" },
                "sourceRefName": format!("refs/heads/{}", self.source),
                "targetRefName": format!("refs/heads/{}", self.target),
                "lastMergeSourceCommit": (!self.is_headless).then(|| json!({ "commitId": self.head })),
                "forkSource": self.is_fork.then(|| json!({ "name": "refs/heads/x" })),
            }),
        }
    }
}

impl KnownComment {
    fn shown(&self, forge: Forge) -> Value {
        match forge {
            Forge::GitHub | Forge::Gitea | Forge::Git | Forge::GitLab => {
                json!({ "id": self.id, "body": self.body })
            }
            Forge::Bitbucket => {
                json!({ "id": self.id, "content": { "raw": self.body }, "deleted": false })
            }
            Forge::AzureDevOps => json!({
                "id": self.id, "isDeleted": false, "comments": [{ "id": 1, "content": self.body, "isDeleted": false }],
            }),
        }
    }
}

impl ForgeDouble {
    /// Opens a pull request from a branch of the repository; its number.
    pub async fn open_pull(&self, from: &Repository, target: &Repository) -> i64 {
        self.open_pull_as(from, target, false).await
    }

    /// Opens a pull request, from a fork perhaps: then only its commits are in the repository.
    pub async fn open_pull_as(&self, from: &Repository, target: &Repository, is_fork: bool) -> i64 {
        let (head, base) = (from.head().await, from.merge_base(target).await);
        let mut memory = self.inner.memory();
        let number = i64::try_from(memory.new_id()).expect("few");
        memory.pulls.push(KnownPull {
            number,
            repository: format!("{}/{}", target.owner(), target.name()),
            source: from.branch_name().to_owned(),
            target: target.branch_name().to_owned(),
            head,
            base,
            is_fork,
            state: "open",
            is_headless: false,
        });
        number
    }

    /// Has a pull request be at the head of its branch, as it is after a push.
    ///
    /// # Panics
    /// When there is none of this number.
    pub async fn push_to_pull(&self, number: i64, from: &Repository, target: &Repository) {
        let (head, base) = (from.head().await, from.merge_base(target).await);
        let mut memory = self.inner.memory();
        let pull = memory.pulls.iter_mut().find(|pull| pull.number == number).expect("a pull request");
        (pull.head, pull.base) = (head, base);
    }

    /// Ends or opens a pull request: `open`, `closed` or `merged`.
    ///
    /// # Panics
    /// When there is none of this number.
    pub fn set_pull(&self, number: i64, state: &'static str) {
        let mut memory = self.inner.memory();
        memory.pulls.iter_mut().find(|pull| pull.number == number).expect("a pull request").state = state;
    }

    /// Has the branch that a pull request is to merge be gone.
    ///
    /// # Panics
    /// When there is none of this number.
    pub fn lose_head(&self, number: i64) {
        let mut memory = self.inner.memory();
        memory.pulls.iter_mut().find(|pull| pull.number == number).expect("a pull request").is_headless =
            true;
    }

    /// Has the next request for a comment answered 502, and what it asks for done only before the one after it.
    pub fn delay_comment(&self) {
        self.inner.memory().is_comment_delayed = true;
    }

    /// Has somebody else comment on a pull request.
    ///
    /// # Panics
    /// When there is none of this number.
    pub fn comment(&self, number: i64, body: &str) {
        let mut memory = self.inner.memory();
        let pull = memory.pulls.iter().find(|pull| pull.number == number).expect("a pull request");
        let repository = pull.repository.clone();
        let id = memory.new_id();
        let body = body.to_owned();
        memory.comments.push(KnownComment { id, repository, pull: number, body, edits: 0, is_late: false });
    }

    /// Every comment on pull requests, oldest first.
    #[must_use]
    pub fn comments(&self) -> Vec<KnownComment> {
        self.inner.memory().comments.clone()
    }

    /// Deletes a comment, as somebody may.
    pub fn delete_comment(&self, id: u64) {
        self.inner.memory().comments.retain(|comment| comment.id != id);
    }
}

pub(super) fn routes(forge: Forge) -> Router<Arc<Inner>> {
    match forge {
        Forge::GitHub | Forge::Gitea | Forge::Git => Router::new()
            .route("/repos/{owner}/{name}/pulls", get(list))
            .route("/repos/{owner}/{name}/pulls/{number}", get(one))
            .route("/repos/{owner}/{name}/compare/{range}", get(merge_base))
            .route("/repos/{owner}/{name}/issues/{number}/comments", get(comments).post(create))
            .route("/repos/{owner}/{name}/issues/comments/{id}", patch(change)),
        Forge::GitLab => Router::new()
            .route("/projects/{project}/merge_requests", get(list))
            .route("/projects/{project}/merge_requests/{number}", get(one))
            .route("/projects/{project}/repository/merge_base", get(merge_base))
            .route("/projects/{project}/merge_requests/{number}/notes", get(comments).post(create))
            .route("/projects/{project}/merge_requests/{number}/notes/{id}", put(change)),
        Forge::Bitbucket => Router::new()
            .route("/repositories/{owner}/{name}/pullrequests", get(list))
            .route("/repositories/{owner}/{name}/pullrequests/{number}", get(one))
            .route("/repositories/{owner}/{name}/commit/{commit}", get(commit))
            .route("/repositories/{owner}/{name}/merge-base/{range}", get(merge_base))
            .route("/repositories/{owner}/{name}/pullrequests/{number}/comments", get(comments).post(create))
            .route("/repositories/{owner}/{name}/pullrequests/{number}/comments/{id}", put(change)),
        Forge::AzureDevOps => {
            let repository = "/{organization}/{project}/_apis/git/repositories/{name}";
            let below = |path: &str| format!("{repository}{path}");
            Router::new()
                .route(&below("/pullrequests"), get(list))
                .route(&below("/pullrequests/{number}"), get(one))
                .route(&below("/commits/{commit}/mergebases"), get(merge_base))
                .route(&below("/pullrequests/{number}/threads"), get(comments).post(create))
                .route(&below("/pullrequests/{number}/threads/{id}/comments/{comment}"), patch(change))
        }
    }
}

type Named = Path<BTreeMap<String, String>>;
type Asked = Query<BTreeMap<String, String>>;

/// The repository that a path names, or a refusal.
fn place(inner: &Inner, path: &BTreeMap<String, String>) -> Result<String, Box<Response>> {
    let of = |name: &str| path.get(name).cloned().unwrap_or_default();
    let place = match inner.forge {
        Forge::AzureDevOps => format!("{}/{}/{}", of("organization"), of("project"), of("name")),
        Forge::GitLab => of("project"),
        _ => format!("{}/{}", of("owner"), of("name")),
    };
    if inner.has(&place) { Ok(place) } else { Err(Box::new(inner.says(StatusCode::NOT_FOUND, "Not Found"))) }
}

fn number(path: &BTreeMap<String, String>) -> i64 {
    path.get("number").and_then(|number| number.parse().ok()).unwrap_or(-1)
}

/// The pull request that a path names, or a refusal.
fn found(inner: &Inner, path: &BTreeMap<String, String>) -> Result<KnownPull, Box<Response>> {
    let (place, number) = (place(inner, path)?, number(path));
    let is_it = |pull: &&KnownPull| pull.repository == place && pull.number == number;
    let pull = inner.memory().pulls.iter().find(is_it).cloned();
    pull.ok_or_else(|| Box::new(inner.says(StatusCode::NOT_FOUND, "Not Found")))
}

fn page(inner: &Inner, uri: &http::Uri, query: &BTreeMap<String, String>, items: Vec<Value>) -> Response {
    let base = inner.api.splitn(4, '/').nth(3).map_or_else(String::new, |path| format!("/{path}"));
    inner.page(uri.path().strip_prefix(&base).unwrap_or(uri.path()), query, items)
}

async fn list(
    State(inner): State<Arc<Inner>>,
    Path(path): Named,
    Query(query): Asked,
    OriginalUri(uri): OriginalUri,
) -> Response {
    let place = match place(&inner, &path) {
        Ok(place) => place,
        Err(refusal) => return *refusal,
    };
    let (name, open) = match inner.forge {
        Forge::GitHub | Forge::Gitea | Forge::Git => ("state", "open"),
        Forge::GitLab => ("state", "opened"),
        Forge::Bitbucket => ("state", "OPEN"),
        Forge::AzureDevOps => ("searchCriteria.status", "active"),
    };
    if query.get(name).map(String::as_str) != Some(open) {
        return inner.misunderstands(format!("{uri} asks for other than open pull requests"));
    }
    let is_open = |pull: &&KnownPull| pull.repository == place && pull.state == "open";
    let shown = inner.memory().pulls.iter().filter(is_open).map(|pull| pull.shown(inner.forge)).collect();
    page(&inner, &uri, &query, shown)
}

async fn one(State(inner): State<Arc<Inner>>, Path(path): Named) -> Response {
    match found(&inner, &path) {
        Ok(pull) => json_answer(StatusCode::OK, &pull.shown(inner.forge)),
        Err(refusal) => *refusal,
    }
}

/// The commit that begins so; only Bitbucket is asked.
async fn commit(State(inner): State<Arc<Inner>>, Path(path): Named) -> Response {
    let beginning = path.get("commit").cloned().unwrap_or_default();
    let found = inner.memory().pulls.iter().find(|pull| pull.head.starts_with(&beginning)).cloned();
    match found.filter(|_| beginning.len() >= 12) {
        Some(pull) => json_answer(StatusCode::OK, &json!({ "type": "commit", "hash": pull.head })),
        None => inner.says(StatusCode::NOT_FOUND, "Commit not found"),
    }
}

/// The merge base of two commits, of which the second is the head of a pull request.
async fn merge_base(
    State(inner): State<Arc<Inner>>,
    Path(path): Named,
    OriginalUri(uri): OriginalUri,
) -> Response {
    if let Err(refusal) = place(&inner, &path) {
        return *refusal;
    }
    let query = uri.query().unwrap_or_default().to_owned();
    let range = path.get("range").cloned().unwrap_or_default();
    let asked = match inner.forge {
        Forge::GitHub | Forge::Gitea | Forge::Git => range.split_once("..."),
        Forge::Bitbucket => range.split_once(".."),
        Forge::GitLab => {
            let of = |pair: &'_ str| pair.strip_prefix("refs%5B%5D=").map(str::to_owned);
            let refs: Vec<String> = query.split('&').filter_map(of).collect();
            return match &*refs {
                [_, head] => based(&inner, head),
                _ => inner.misunderstands(format!("{uri} names no two refs")),
            };
        }
        Forge::AzureDevOps => query.split('&').find_map(|pair| pair.split_once("otherCommitId=")),
    };
    match asked {
        Some((_, head)) => based(&inner, head),
        None => inner.misunderstands(format!("{uri} names no two commits")),
    }
}

fn based(inner: &Inner, head: &str) -> Response {
    let Some(pull) = inner.memory().pulls.iter().find(|pull| pull.head == head).cloned() else {
        return inner.says(StatusCode::NOT_FOUND, "Not Found");
    };
    let base = match inner.forge {
        Forge::GitHub | Forge::Gitea | Forge::Git => json!({ "merge_base_commit": { "sha": pull.base } }),
        Forge::GitLab => json!({ "id": pull.base }),
        Forge::Bitbucket => json!({ "type": "commit", "hash": pull.base }),
        Forge::AzureDevOps => json!({ "count": 1, "value": [{ "commitId": pull.base }] }),
    };
    json_answer(StatusCode::OK, &base)
}

async fn comments(
    State(inner): State<Arc<Inner>>,
    Path(path): Named,
    Query(query): Asked,
    OriginalUri(uri): OriginalUri,
) -> Response {
    let pull = match found(&inner, &path) {
        Ok(pull) => pull,
        Err(refusal) => return *refusal,
    };
    let of_it = |comment: &&KnownComment| {
        comment.repository == pull.repository && comment.pull == pull.number && !comment.is_late
    };
    let shown =
        inner.memory().comments.iter().filter(of_it).map(|comment| comment.shown(inner.forge)).collect();
    page(&inner, &uri, &query, shown)
}

/// What a body says, in the forge's own form.
fn said(inner: &Inner, body: &[u8], is_new: bool) -> Result<String, Box<Response>> {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let said = match inner.forge {
        Forge::GitHub | Forge::Gitea | Forge::Git | Forge::GitLab => &value["body"],
        Forge::Bitbucket => &value["content"]["raw"],
        Forge::AzureDevOps if is_new => &value["comments"][0]["content"],
        Forge::AzureDevOps => &value["content"],
    };
    match said.as_str() {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(Box::new(inner.misunderstands(format!("{value} is no comment")))),
    }
}

async fn create(
    State(inner): State<Arc<Inner>>,
    Extension(_): Extension<Grant>,
    Path(path): Named,
    body: Bytes,
) -> Response {
    let pull = match found(&inner, &path) {
        Ok(pull) => pull,
        Err(refusal) => return *refusal,
    };
    let body = match said(&inner, &body, true) {
        Ok(body) => body,
        Err(refusal) => return *refusal,
    };
    let mut memory = inner.memory();
    let id = memory.new_id();
    memory.comments.iter_mut().for_each(|comment| comment.is_late = false);
    let is_late = std::mem::take(&mut memory.is_comment_delayed);
    let (repository, pull) = (pull.repository, pull.number);
    let comment = KnownComment { id, repository, pull, body, edits: 0, is_late };
    let shown = comment.shown(inner.forge);
    memory.comments.push(comment);
    if is_late {
        drop(memory);
        return inner.says(StatusCode::BAD_GATEWAY, "Bad Gateway");
    }
    let status = if inner.forge == Forge::AzureDevOps { StatusCode::OK } else { StatusCode::CREATED };
    json_answer(status, &shown)
}

async fn change(State(inner): State<Arc<Inner>>, Path(path): Named, body: Bytes) -> Response {
    let place = match place(&inner, &path) {
        Ok(place) => place,
        Err(refusal) => return *refusal,
    };
    let body = match said(&inner, &body, false) {
        Ok(body) => body,
        Err(refusal) => return *refusal,
    };
    let id: u64 = path.get("id").and_then(|id| id.parse().ok()).unwrap_or_default();
    let mut memory = inner.memory();
    let is_it = |comment: &&mut KnownComment| comment.repository == place && comment.id == id;
    let Some(comment) = memory.comments.iter_mut().find(is_it) else {
        drop(memory);
        return inner.says(StatusCode::NOT_FOUND, "Not Found");
    };
    comment.body = body;
    comment.edits += 1;
    let shown = comment.shown(inner.forge);
    json_answer(StatusCode::OK, &shown)
}
