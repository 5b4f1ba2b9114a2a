//! Statuses of commits, and deployments.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{OriginalUri, Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post, put};
use http::StatusCode;
use serde_json::{Value, json};
use syncline_forges::Forge;

use super::{ForgeDouble, Inner, json_answer};

/// A status that a double was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownStatus {
    /// `<owner>/<name>` of the repository.
    pub repository: String,
    /// The commit.
    pub commit: String,
    /// What tells it from the commit's others.
    pub context: String,
    /// The state, in the forge's words.
    pub state: String,
    /// Where there is more.
    pub url: Option<String>,
}

/// A deployment that a double was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownDeployment {
    /// Its id.
    pub id: u64,
    /// `<owner>/<name>` of the repository.
    pub repository: String,
    /// The commit.
    pub commit: String,
    /// Where it goes.
    pub environment: String,
    /// The states it has had, oldest first, in the forge's words.
    pub states: Vec<String>,
    payload: Value,
}

impl ForgeDouble {
    /// Every status that was set, oldest first.
    #[must_use]
    pub fn statuses(&self) -> Vec<KnownStatus> {
        self.inner.memory().statuses.clone()
    }

    /// The state that is shown of a commit under a context.
    #[must_use]
    pub fn status_of(&self, commit: &str, context: &str) -> Option<String> {
        let statuses = self.statuses();
        let of_it = statuses.iter().rfind(|one| one.commit == commit && one.context == context);
        of_it.map(|status| status.state.clone())
    }

    /// Every deployment, oldest first.
    #[must_use]
    pub fn deployments(&self) -> Vec<KnownDeployment> {
        self.inner.memory().deployments.clone()
    }

    /// Somebody deletes every deployment.
    pub fn delete_deployments(&self) {
        self.inner.memory().deployments.clear();
    }
}

type Named = Path<BTreeMap<String, String>>;

pub(super) fn routes(forge: Forge) -> Router<Arc<Inner>> {
    match forge {
        Forge::Gitea | Forge::Git => {
            Router::new().route("/repos/{owner}/{name}/statuses/{commit}", post(set_status))
        }
        Forge::GitHub => Router::new()
            .route("/repos/{owner}/{name}/statuses/{commit}", post(set_status))
            .route("/repos/{owner}/{name}/deployments", get(find).post(create))
            .route("/repos/{owner}/{name}/deployments/{id}/statuses", post(set_state)),
        Forge::GitLab => Router::new()
            .route("/projects/{project}/statuses/{commit}", post(set_status))
            .route("/projects/{project}/deployments", get(find).post(create))
            .route("/projects/{project}/deployments/{id}", put(set_state)),
        Forge::Bitbucket => Router::new()
            .route("/repositories/{owner}/{name}/commit/{commit}/statuses/build", post(set_status)),
        Forge::AzureDevOps => Router::new().route(
            "/{organization}/{project}/_apis/git/repositories/{name}/commits/{commit}/statuses",
            post(set_status),
        ),
    }
}

/// The repository that a path names, or a refusal.
fn repository(inner: &Inner, path: &BTreeMap<String, String>) -> Result<String, Box<Response>> {
    let of = |name: &str| path.get(name).cloned().unwrap_or_default();
    let name = match inner.forge {
        Forge::GitLab => of("project"),
        Forge::AzureDevOps => format!("{}/{}/{}", of("organization"), of("project"), of("name")),
        _ => format!("{}/{}", of("owner"), of("name")),
    };
    if inner.has(&name) { Ok(name) } else { Err(Box::new(inner.says(StatusCode::NOT_FOUND, "Not Found"))) }
}

fn text(body: &Value, pointer: &str) -> Option<String> {
    body.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
}

/// Members that a forge knows, and no others.
fn has_only(body: &Value, members: &[&str]) -> bool {
    body.as_object().is_some_and(|body| body.keys().all(|name| members.contains(&name.as_str())))
}

/// What GitLab says where a status is what it is to become, or further on.
fn transition(inner: &Inner, from: &str) -> Response {
    let message =
        format!("Cannot transition status via :enqueue from :{from} (Reason(s): no such transition)");
    inner.says(StatusCode::BAD_REQUEST, &message)
}

async fn set_status(State(inner): State<Arc<Inner>>, Path(path): Named, body: Bytes) -> Response {
    let repository = match repository(&inner, &path) {
        Ok(repository) => repository,
        Err(refusal) => return *refusal,
    };
    let commit = path.get("commit").cloned().unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let is_short = text(&body, "/description").is_none_or(|description| description.chars().count() <= 140);
    let (context, url, states, members): (_, _, &[&str], &[&str]) = match inner.forge {
        Forge::GitHub | Forge::Gitea | Forge::Git => (
            text(&body, "/context"),
            text(&body, "/target_url"),
            &["error", "failure", "pending", "success"],
            &["state", "context", "description", "target_url"],
        ),
        Forge::GitLab => (
            text(&body, "/name"),
            text(&body, "/target_url"),
            &["pending", "running", "success", "failed", "canceled"],
            &["state", "name", "description", "target_url", "ref"],
        ),
        Forge::Bitbucket => (
            text(&body, "/key").filter(|key| key.len() <= 40).and(text(&body, "/name")),
            text(&body, "/url"),
            &["SUCCESSFUL", "FAILED", "INPROGRESS", "STOPPED"],
            &["key", "state", "name", "description", "url"],
        ),
        Forge::AzureDevOps => (
            text(&body, "/context/genre").and(text(&body, "/context/name")),
            text(&body, "/targetUrl"),
            &["notSet", "notApplicable", "pending", "succeeded", "failed", "error"],
            &["state", "context", "description", "targetUrl"],
        ),
    };
    let state = text(&body, "/state").filter(|state| states.contains(&state.as_str()));
    let is_whole = is_short
        && has_only(&body, members)
        && commit.len() == 40
        && (url.is_some() || inner.forge != Forge::Bitbucket);
    let (Some(context), Some(state), true) = (context, state, is_whole) else {
        return inner.misunderstands(format!("no status of {commit}: {body}"));
    };
    let mut memory = inner.memory();
    let newest = memory.statuses.iter().rfind(|one| one.commit == commit && one.context == context).cloned();
    let open = newest.filter(|one| ["pending", "running"].contains(&one.state.as_str()));
    if inner.forge == Forge::GitLab
        && let Some(open) = open
        && (open.state == state || state == "pending")
    {
        drop(memory);
        return transition(&inner, &open.state);
    }
    memory.statuses.push(KnownStatus { repository, commit, context, state, url });
    drop(memory);
    let status = if inner.forge == Forge::Bitbucket { StatusCode::OK } else { StatusCode::CREATED };
    json_answer(status, &json!({ "id": 1 }))
}

async fn find(
    State(inner): State<Arc<Inner>>,
    Path(path): Named,
    Query(query): Query<BTreeMap<String, String>>,
    OriginalUri(uri): OriginalUri,
) -> Response {
    let repository = match repository(&inner, &path) {
        Ok(repository) => repository,
        Err(refusal) => return *refusal,
    };
    let (sha, environment) = (query.get("sha"), query.get("environment"));
    let is_gitlab = inner.forge == Forge::GitLab;
    // GitLab has no filter for commits.
    if environment.is_none() || sha.is_none() != is_gitlab {
        return inner.misunderstands(format!("no deployments are found by {query:?}"));
    }
    let is_asked_for = |one: &&KnownDeployment| {
        one.repository == repository
            && environment.is_none_or(|name| *name == one.environment)
            && sha.is_none_or(|sha| *sha == one.commit)
    };
    let shown = |one: &KnownDeployment| {
        json!({ "id": one.id, "sha": one.commit, "environment": one.environment, "payload": one.payload,
            "status": if is_gitlab { one.states.last().cloned().into() } else { Value::Null } })
    };
    let found: Vec<Value> = inner.memory().deployments.iter().rev().filter(is_asked_for).map(shown).collect();
    inner.page(uri.path(), &query, found)
}

async fn create(State(inner): State<Arc<Inner>>, Path(path): Named, body: Bytes) -> Response {
    let repository = match repository(&inner, &path) {
        Ok(repository) => repository,
        Err(refusal) => return *refusal,
    };
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (commit, is_whole) = match inner.forge {
        Forge::GitLab => (
            text(&body, "/sha"),
            body["tag"] == false
                && text(&body, "/ref").is_some()
                && ["running", "success", "failed", "canceled"]
                    .contains(&text(&body, "/status").unwrap_or_default().as_str()),
        ),
        // Without these GitHub merges the default branch first, and waits for every other status.
        _ => (text(&body, "/ref"), body["auto_merge"] == false && body["required_contexts"] == json!([])),
    };
    let (Some(commit), Some(environment), true) = (commit, text(&body, "/environment"), is_whole) else {
        return inner.misunderstands(format!("no deployment: {body}"));
    };
    let states = text(&body, "/status").into_iter().collect();
    let mut memory = inner.memory();
    let id = memory.new_id();
    let payload = body["payload"].clone();
    memory.deployments.push(KnownDeployment { id, repository, commit, environment, states, payload });
    drop(memory);
    json_answer(StatusCode::CREATED, &json!({ "id": id, "iid": 1 }))
}

async fn set_state(State(inner): State<Arc<Inner>>, Path(path): Named, body: Bytes) -> Response {
    if let Err(refusal) = repository(&inner, &path) {
        return *refusal;
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (state, states): (_, &[&str]) = match inner.forge {
        Forge::GitLab => (text(&body, "/status"), &["running", "success", "failed", "canceled"]),
        _ => (
            text(&body, "/state"),
            &["error", "failure", "inactive", "in_progress", "queued", "pending", "success"],
        ),
    };
    let Some(state) = state.filter(|state| states.contains(&state.as_str())) else {
        return inner.misunderstands(format!("no state of a deployment: {body}"));
    };
    let mut memory = inner.memory();
    let id = path.get("id").cloned().unwrap_or_default();
    let Some(found) = memory.deployments.iter_mut().find(|one| one.id.to_string() == id) else {
        drop(memory);
        return inner.says(StatusCode::NOT_FOUND, "Not Found");
    };
    let before = found.states.last().cloned().unwrap_or_default();
    if inner.forge == Forge::GitLab && (before != "running" || before == state) {
        drop(memory);
        return transition(&inner, &before);
    }
    found.states.push(state);
    drop(memory);
    json_answer(StatusCode::CREATED, &json!({ "id": 1 }))
}
