//! Comments on pull requests, as the forge has them now.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::Access;
use super::hooks::Repository;
use super::question::{Page, Question, segment};
use crate::Forge;

/// A comment on a pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullComment {
    /// Its id there; of Azure DevOps with its thread's, as `<thread>/<comment>`.
    pub id: String,
    /// What it says, as it was written.
    pub body: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Row {
    id: i64,
    body: Option<String>,
    /// Bitbucket's.
    content: Option<Raw>,
    deleted: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Raw {
    raw: String,
}

impl Row {
    fn comment(self) -> Option<PullComment> {
        let body = self.body.or(self.content.map(|content| content.raw)).unwrap_or_default();
        (!self.deleted).then(|| PullComment { id: self.id.to_string(), body })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Thread {
    id: i64,
    comments: Option<Vec<ThreadComment>>,
    is_deleted: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ThreadComment {
    id: i64,
    content: Option<String>,
    is_deleted: bool,
}

impl Thread {
    /// The comment that began it.
    fn comment(self) -> Option<PullComment> {
        let first = self.comments?.into_iter().next()?;
        let id = format!("{}/{}", self.id, first.id);
        let body = first.content.unwrap_or_default();
        (!self.is_deleted && !first.is_deleted).then_some(PullComment { id, body })
    }
}

fn comments_path(access: &Access, repository: &Repository, number: i64) -> String {
    let path = repository.path(access.forge());
    match access.forge() {
        Forge::GitHub | Forge::Gitea | Forge::Git => format!("{path}/issues/{number}/comments"),
        Forge::GitLab => format!("{path}/merge_requests/{number}/notes"),
        Forge::Bitbucket => format!("{path}/pullrequests/{number}/comments"),
        Forge::AzureDevOps => format!("{path}/pullrequests/{number}/threads"),
    }
}

fn body_of(forge: Forge, body: &str) -> Value {
    match forge {
        Forge::GitHub | Forge::Gitea | Forge::Git | Forge::GitLab => json!({ "body": body }),
        Forge::Bitbucket => json!({ "content": { "raw": body } }),
        Forge::AzureDevOps => json!({ "content": body }),
    }
}

fn rows(page: Question<Page<Row>>) -> Question<Page<PullComment>> {
    page.map(|page| Page {
        items: page.items.into_iter().filter_map(Row::comment).collect(),
        next: page.next.map(rows),
    })
}

fn threads(page: Question<Page<Thread>>) -> Question<Page<PullComment>> {
    page.map(|page| Page {
        items: page.items.into_iter().filter_map(Thread::comment).collect(),
        next: page.next.map(threads),
    })
}

/// Asks for the comments on a pull request, oldest first.
#[must_use]
pub fn list_comments(access: &Access, repository: &Repository, number: i64) -> Question<Page<PullComment>> {
    const POINT: &str = "forges.list_comments";
    let path = comments_path(access, repository, number);
    match access.forge() {
        Forge::GitHub | Forge::Git => rows(access.list(POINT, &format!("{path}?per_page=100"))),
        // All of them at once.
        Forge::Gitea => rows(access.list(POINT, &path)),
        Forge::GitLab => {
            rows(access.list(POINT, &format!("{path}?sort=asc&order_by=created_at&per_page=100")))
        }
        Forge::Bitbucket => rows(access.list(POINT, &format!("{path}?pagelen=100"))),
        Forge::AzureDevOps => threads(access.list(POINT, &path)),
    }
}

/// Comments on a pull request; the comment's id.
#[must_use]
pub fn create_comment(access: &Access, repository: &Repository, number: i64, body: &str) -> Question<String> {
    const POINT: &str = "forges.create_comment";
    let path = comments_path(access, repository, number);
    if access.forge() == Forge::AzureDevOps {
        // Closed, so that no policy waits for somebody to resolve it.
        let thread = json!({
            "comments": [{ "parentCommentId": 0, "content": body, "commentType": "text" }], "status": "closed",
        });
        return access
            .send::<Thread>(POINT, Method::POST, &path, &thread)
            .map(|thread| thread.comment().map_or_else(String::new, |comment| comment.id));
    }
    let body = body_of(access.forge(), body);
    access.send::<Row>(POINT, Method::POST, &path, &body).map(|row| row.id.to_string())
}

/// Edits the comment of that id.
#[must_use]
pub fn update_comment(
    access: &Access,
    repository: &Repository,
    number: i64,
    id: &str,
    body: &str,
) -> Question<()> {
    let comments = comments_path(access, repository, number);
    let forge = access.forge();
    let (method, path) = match (forge, id.split_once('/')) {
        (Forge::GitHub | Forge::Gitea | Forge::Git, _) => {
            (Method::PATCH, format!("{}/issues/comments/{}", repository.path(forge), segment(id)))
        }
        (Forge::GitLab | Forge::Bitbucket, _) => (Method::PUT, format!("{comments}/{}", segment(id))),
        (Forge::AzureDevOps, split) => {
            let (thread, comment) = split.unwrap_or((id, "1"));
            (Method::PATCH, format!("{comments}/{}/comments/{}", segment(thread), segment(comment)))
        }
    };
    access.act("forges.update_comment", method, &path, Some(&body_of(forge, body)))
}
