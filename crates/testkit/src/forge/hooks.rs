//! Webhooks of repositories.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Extension, OriginalUri, Path, Query, State};
use axum::response::Response;
use axum::routing::{get, patch, post, put};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use syncline_forges::Forge;

use super::{Grant, Inner, json_answer};

/// A webhook that a double has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownHook {
    /// Its id.
    pub id: String,
    /// `<owner>/<name>` of the repository.
    pub repository: String,
    /// Where it sends to.
    pub url: String,
    /// What it proves its deliveries by.
    pub secret: String,
    /// What it tells of, in the forge's words.
    pub events: Vec<String>,
}

impl KnownHook {
    pub(super) fn of_somebody(id: u64, repository: &str, url: &str) -> Self {
        Self {
            id: id.to_string(),
            repository: repository.to_owned(),
            url: url.to_owned(),
            secret: "somebody's".to_owned(),
            events: vec!["something".to_owned()],
        }
    }

    /// As the forge shows it: without its secret.
    fn shown(&self, forge: Forge) -> Value {
        let number = self.id.parse::<u64>().map_or(Value::Null, Value::from);
        match forge {
            Forge::GitHub | Forge::Git => json!({
                "type": "Repository", "id": number, "name": "web", "active": true, "events": self.events,
                "config": { "url": self.url, "content_type": "json", "secret": "********", "insecure_ssl": "0" },
                "url": format!("https://api.github.example/repos/{}/hooks/{}", self.repository, self.id),
            }),
            Forge::Gitea => json!({
                "id": number, "type": "gitea", "active": true, "events": self.events, "branch_filter": "",
                "config": { "url": self.url, "content_type": "json" },
            }),
            Forge::GitLab => json!({
                "id": number, "url": self.url, "project_id": 1, "enable_ssl_verification": true,
                "push_events": self.events.iter().any(|event| event == "Push Hook"),
            }),
            Forge::Bitbucket => json!({
                "uuid": format!("{{{}}}", self.id), "url": self.url, "description": "Syncline", "active": true,
                "secret_set": true, "events": self.events,
            }),
            Forge::AzureDevOps => json!({
                "id": self.id, "status": "enabled", "publisherId": "tfs", "eventType": self.events.first(),
                "consumerId": "webHooks", "consumerActionId": "httpRequest",
                "publisherInputs": { "repository": id_of(&self.repository) },
                "consumerInputs": { "url": self.url, "basicAuthPassword": "********" },
            }),
        }
    }
}

/// The id that Azure DevOps gives to a repository or a project.
fn id_of(name: &str) -> String {
    format!("id-of-{}", name.replace('/', "-"))
}

pub(super) fn routes(forge: Forge) -> Router<Arc<Inner>> {
    match forge {
        Forge::GitHub | Forge::Gitea | Forge::Git => Router::new()
            .route("/repos/{owner}/{name}/hooks", get(list).post(create))
            .route("/repos/{owner}/{name}/hooks/{id}", patch(change).delete(remove)),
        Forge::GitLab => Router::new()
            .route("/projects/{project}/hooks", get(list).post(create))
            .route("/projects/{project}/hooks/{id}", put(change).delete(remove)),
        Forge::Bitbucket => Router::new()
            .route("/repositories/{owner}/{name}/hooks", get(list).post(create))
            .route("/repositories/{owner}/{name}/hooks/{id}", put(change).delete(remove)),
        Forge::AzureDevOps => Router::new()
            .route("/{organization}/{project}/_apis/git/repositories/{name}", get(azure_repository))
            .route("/{organization}/_apis/hooks/subscriptions", post(create).get(list))
            .route("/{organization}/_apis/hooks/subscriptions/{id}", put(change).delete(remove)),
    }
}

type Named = Path<BTreeMap<String, String>>;

/// The repository that a path names, or a refusal; for Azure DevOps, the organization.
pub(super) fn place(
    inner: &Inner,
    grant: &Grant,
    path: &BTreeMap<String, String>,
) -> Result<String, Box<Response>> {
    let of = |name: &str| path.get(name).cloned().unwrap_or_default();
    let (place, is_there) = match inner.forge {
        Forge::AzureDevOps => (of("organization"), true),
        Forge::GitLab => (of("project"), inner.has(&of("project"))),
        _ => {
            let name = format!("{}/{}", of("owner"), of("name"));
            (name.clone(), inner.has(&name))
        }
    };
    if !is_there {
        return Err(Box::new(inner.says(StatusCode::NOT_FOUND, "Not Found")));
    }
    match (grant.hooks, inner.forge) {
        (true, _) => Ok(place),
        // Who may not manage them is told that there are none.
        (false, Forge::GitHub) => Err(Box::new(inner.says(StatusCode::NOT_FOUND, "Not Found"))),
        (false, _) => Err(Box::new(inner.says(StatusCode::FORBIDDEN, "403 Forbidden"))),
    }
}

async fn list(
    State(inner): State<Arc<Inner>>,
    Extension(grant): Extension<Grant>,
    Path(path): Named,
    Query(query): Query<BTreeMap<String, String>>,
    OriginalUri(uri): OriginalUri,
) -> Response {
    let place = match place(&inner, &grant, &path) {
        Ok(place) => place,
        Err(refusal) => return *refusal,
    };
    let is_azure = inner.forge == Forge::AzureDevOps;
    let is_here = |hook: &&KnownHook| {
        if is_azure { hook.repository.starts_with(&format!("{place}/")) } else { hook.repository == place }
    };
    let found: Vec<Value> =
        inner.memory().hooks.iter().filter(is_here).map(|hook| hook.shown(inner.forge)).collect();
    let base = inner.api.splitn(4, '/').nth(3).map_or_else(String::new, |path| format!("/{path}"));
    inner.page(uri.path().strip_prefix(&base).unwrap_or(uri.path()), &query, found)
}

async fn create(
    State(inner): State<Arc<Inner>>,
    Extension(grant): Extension<Grant>,
    Path(path): Named,
    body: Bytes,
) -> Response {
    let place = match place(&inner, &grant, &path) {
        Ok(place) => place,
        Err(refusal) => return *refusal,
    };
    let mut hook = match read(&inner, &place, &body) {
        Ok(hook) => hook,
        Err(refusal) => return *refusal,
    };
    let mut memory = inner.memory();
    let is_there = memory.hooks.iter().any(|one| one.url == hook.url && one.events == hook.events);
    if is_there && inner.forge == Forge::GitHub {
        drop(memory);
        return inner.says(StatusCode::UNPROCESSABLE_ENTITY, "Hook already exists on this repository");
    }
    hook.id = memory.new_id().to_string();
    let shown = hook.shown(inner.forge);
    memory.hooks.push(hook);
    let is_created = inner.forge != Forge::AzureDevOps;
    json_answer(if is_created { StatusCode::CREATED } else { StatusCode::OK }, &shown)
}

async fn change(
    State(inner): State<Arc<Inner>>,
    Extension(grant): Extension<Grant>,
    Path(path): Named,
    body: Bytes,
) -> Response {
    let place = match place(&inner, &grant, &path) {
        Ok(place) => place,
        Err(refusal) => return *refusal,
    };
    let hook = match read(&inner, &place, &body) {
        Ok(hook) => hook,
        Err(refusal) => return *refusal,
    };
    let mut memory = inner.memory();
    let id = hook_id(&path);
    let Some(found) = memory.hooks.iter_mut().find(|one| one.id == id) else {
        drop(memory);
        return inner.says(StatusCode::NOT_FOUND, "Not Found");
    };
    *found = KnownHook { id, ..hook };
    let shown = found.shown(inner.forge);
    json_answer(StatusCode::OK, &shown)
}

async fn remove(
    State(inner): State<Arc<Inner>>,
    Extension(grant): Extension<Grant>,
    Path(path): Named,
    method: Method,
) -> Response {
    if let Err(refusal) = place(&inner, &grant, &path) {
        return *refusal;
    }
    let id = hook_id(&path);
    let mut memory = inner.memory();
    let before = memory.hooks.len();
    memory.hooks.retain(|one| one.id != id);
    let is_removed = memory.hooks.len() < before;
    drop(memory);
    if !is_removed {
        return inner.says(StatusCode::NOT_FOUND, &format!("nothing to {method}"));
    }
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn hook_id(path: &BTreeMap<String, String>) -> String {
    path.get("id").map(|id| id.trim_matches(['{', '}']).to_owned()).unwrap_or_default()
}

async fn azure_repository(State(inner): State<Arc<Inner>>, Path(path): Named) -> Response {
    let of = |name: &str| path.get(name).cloned().unwrap_or_default();
    let project = format!("{}/{}", of("organization"), of("project"));
    let name = format!("{project}/{}", of("name"));
    if !inner.has(&name) {
        return inner.says(StatusCode::NOT_FOUND, "TF401019: The Git repository does not exist");
    }
    let shown = json!({ "id": id_of(&name), "name": of("name"), "project": { "id": id_of(&project) } });
    json_answer(StatusCode::OK, &shown)
}

/// A webhook as a request describes it, or what the forge does not understand of it.
fn read(inner: &Inner, place: &str, body: &[u8]) -> Result<KnownHook, Box<Response>> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let texts = |pointer: &str| {
        let list = body.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let hook = |url: &str, secret: &str, events: Vec<String>| {
        let (url, secret) = (text(url)?, text(secret)?);
        let is_whole = url.starts_with("http") && !secret.is_empty() && !events.is_empty();
        let repository = place.to_owned();
        is_whole.then(|| KnownHook { id: String::new(), repository, url, secret, events })
    };
    let is = |pointer: &str, value: &str| body.pointer(pointer).and_then(Value::as_str) == Some(value);
    let found = match inner.forge {
        Forge::GitHub | Forge::Git if is("/name", "web") && is("/config/content_type", "json") => {
            hook("/config/url", "/config/secret", texts("/events"))
        }
        Forge::Gitea if is("/type", "gitea") && is("/config/content_type", "json") => {
            hook("/config/url", "/config/secret", texts("/events"))
        }
        Forge::GitLab if body["push_events"] == true && body["enable_ssl_verification"] == true => {
            hook("/url", "/token", vec!["Push Hook".to_owned()])
        }
        Forge::Bitbucket if body["active"] == true => hook("/url", "/secret", texts("/events")),
        Forge::AzureDevOps
            if is("/publisherId", "tfs")
                && is("/consumerId", "webHooks")
                && is("/consumerActionId", "httpRequest")
                && is("/consumerInputs/resourceDetailsToSend", "all") =>
        {
            let events = text("/eventType").into_iter().collect();
            let id = text("/publisherInputs/repository").unwrap_or_default();
            let repository = inner.memory().repositories.iter().find(|name| id_of(name) == id).cloned();
            let has_project = text("/publisherInputs/projectId").is_some_and(|id| id.starts_with("id-of-"));
            let hook = hook("/consumerInputs/url", "/consumerInputs/basicAuthPassword", events);
            hook.zip(repository)
                .filter(|_| has_project)
                .map(|(hook, repository)| KnownHook { repository, ..hook })
        }
        _ => None,
    };
    found.ok_or_else(|| Box::new(inner.misunderstands(format!("no webhook: {body}"))))
}
