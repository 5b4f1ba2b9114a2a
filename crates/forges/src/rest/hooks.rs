//! Webhooks of a repository, as the forge keeps them.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use syncline_seams::Secret;

use super::access::Access;
use super::question::{Page, Question, segment};
use crate::Forge;

/// A repository, as its link names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Its owner: for GitLab with all groups, for Azure DevOps `<organization>/<project>`.
    pub owner: String,
    /// Its name.
    pub name: String,
}

impl Repository {
    /// `/repos/<owner>/<name>` in a forge's own way. Azure DevOps: that of the organization.
    #[must_use]
    pub fn path(&self, forge: Forge) -> String {
        let (owner, name) = (&self.owner, segment(&self.name));
        match forge {
            Forge::GitHub | Forge::Gitea | Forge::Git => format!("/repos/{}/{name}", segment(owner)),
            Forge::GitLab => format!("/projects/{}", segment(&format!("{owner}/{}", self.name))),
            Forge::Bitbucket => format!("/repositories/{}/{name}", segment(owner)),
            Forge::AzureDevOps => {
                let (organization, project) = owner.split_once('/').unwrap_or((owner, owner));
                format!("/{}/{}/_apis/git/repositories/{name}", segment(organization), segment(project))
            }
        }
    }

    /// Azure DevOps: the path of the organization.
    fn organization(&self) -> String {
        format!("/{}", segment(self.owner.split('/').next().unwrap_or_default()))
    }
}

/// A webhook that a forge has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Its id there.
    pub id: String,
    /// Where it sends to; without what a forge hides of it.
    pub url: String,
    /// Azure DevOps: the one event it tells of.
    pub event: Option<String>,
}

/// A webhook as it is to be.
#[derive(Debug, Clone)]
pub struct NewHook {
    /// Where it sends to.
    pub url: String,
    /// By which its deliveries are proven.
    pub secret: Secret,
    /// What it tells of, in the forge's own words.
    pub events: Vec<String>,
    /// Azure DevOps: the ids of project and repository, which [`azure_ids`] asks for.
    pub azure_ids: Option<(String, String)>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Row {
    id: Value,
    uuid: Option<String>,
    url: Option<String>,
    config: Option<Config>,
    consumer_inputs: Option<Config>,
    event_type: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    url: Option<String>,
}

impl Row {
    fn hook(self) -> Hook {
        let id = match (self.uuid, self.id) {
            (Some(uuid), _) => uuid,
            (None, Value::String(id)) => id,
            (None, id) => id.to_string(),
        };
        // GitLab, GitHub and Gitea each have one of them; Gitea's own `url` is that of the hook itself.
        let url = self.config.or(self.consumer_inputs).and_then(|config| config.url).or(self.url);
        Hook { id, url: url.unwrap_or_default(), event: self.event_type }
    }
}

#[derive(Debug, Deserialize)]
struct AzureRepository {
    id: String,
    project: AzureProject,
}

#[derive(Debug, Deserialize)]
struct AzureProject {
    id: String,
}

/// Asks Azure DevOps for the ids of a repository's project and of itself; `None` for the others, which need none.
#[must_use]
pub fn azure_ids(access: &Access, repository: &Repository) -> Option<Question<(String, String)>> {
    (access.forge() == Forge::AzureDevOps).then(|| {
        let path = repository.path(Forge::AzureDevOps);
        access.get("forges.repository", &path).map(|found: AzureRepository| (found.project.id, found.id))
    })
}

/// The path of a repository's webhooks.
fn hooks_path(forge: Forge, repository: &Repository) -> String {
    match forge {
        Forge::AzureDevOps => format!("{}/_apis/hooks/subscriptions", repository.organization()),
        Forge::Bitbucket | Forge::Git | Forge::GitHub | Forge::GitLab | Forge::Gitea => {
            format!("{}/hooks", repository.path(forge))
        }
    }
}

/// Asks for a repository's webhooks; for Azure DevOps, for those of the organization that call URLs.
#[must_use]
pub fn list_hooks(access: &Access, repository: &Repository) -> Question<Page<Hook>> {
    let query = match access.forge() {
        Forge::GitHub | Forge::GitLab | Forge::Git => "?per_page=100",
        Forge::Gitea => "?limit=50",
        Forge::Bitbucket => "?pagelen=100",
        Forge::AzureDevOps => "?publisherId=tfs&consumerId=webHooks",
    };
    let path = format!("{}{query}", hooks_path(access.forge(), repository));
    hooks_of(access.list("forges.list_hooks", &path))
}

fn hooks_of(rows: Question<Page<Row>>) -> Question<Page<Hook>> {
    rows.map(|page| Page {
        items: page.items.into_iter().map(Row::hook).collect(),
        next: page.next.map(hooks_of),
    })
}

/// Makes a webhook. Azure DevOps' has one event: the first.
#[must_use]
pub fn create_hook(access: &Access, repository: &Repository, hook: &NewHook) -> Question<Hook> {
    let path = hooks_path(access.forge(), repository);
    let body = body(access.forge(), hook);
    access.send("forges.create_hook", Method::POST, &path, &body).map(Row::hook)
}

/// Makes the webhook of that id what it is to be, and active.
#[must_use]
pub fn update_hook(access: &Access, repository: &Repository, id: &str, hook: &NewHook) -> Question<Hook> {
    let method = match access.forge() {
        Forge::GitHub | Forge::Gitea => Method::PATCH,
        Forge::AzureDevOps | Forge::Bitbucket | Forge::Git | Forge::GitLab => Method::PUT,
    };
    let path = format!("{}/{}", hooks_path(access.forge(), repository), segment(id));
    let body = body(access.forge(), hook);
    access.send("forges.update_hook", method, &path, &body).map(Row::hook)
}

/// Removes the webhook of that id.
#[must_use]
pub fn delete_hook(access: &Access, repository: &Repository, id: &str) -> Question<()> {
    let path = format!("{}/{}", hooks_path(access.forge(), repository), segment(id));
    access.act("forges.delete_hook", Method::DELETE, &path, None)
}

fn body(forge: Forge, hook: &NewHook) -> Value {
    let (url, secret, events) = (&hook.url, hook.secret.expose(), &hook.events);
    let tells_of = |event: &str| events.iter().any(|one| one == event);
    match forge {
        Forge::GitHub | Forge::Git => json!({
            "name": "web", "active": true, "events": events,
            "config": { "url": url, "content_type": "json", "secret": secret, "insecure_ssl": "0" },
        }),
        Forge::Gitea => json!({
            "type": "gitea", "active": true, "events": events, "branch_filter": "",
            "config": { "url": url, "content_type": "json", "secret": secret, "http_method": "post" },
        }),
        Forge::GitLab => json!({
            "url": url, "token": secret, "enable_ssl_verification": true,
            "push_events": tells_of("Push Hook"), "merge_requests_events": tells_of("Merge Request Hook"),
        }),
        Forge::Bitbucket => json!({
            "description": "Syncline", "url": url, "active": true, "secret": secret, "events": events,
        }),
        Forge::AzureDevOps => {
            let (project, repository) = hook.azure_ids.clone().unwrap_or_default();
            json!({
                "publisherId": "tfs", "eventType": events.first(), "resourceVersion": "1.0",
                "consumerId": "webHooks", "consumerActionId": "httpRequest",
                "publisherInputs": { "projectId": project, "repository": repository },
                "consumerInputs": {
                    "url": url, "basicAuthUsername": "syncline", "basicAuthPassword": secret,
                    "resourceDetailsToSend": "all", "messagesToSend": "none", "detailedMessagesToSend": "none",
                },
            })
        }
    }
}
