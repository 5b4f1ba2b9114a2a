//! Statuses of commits, and deployments of them.
//!
//! Each way of them may be taken again: a status takes the place of the one before it with its context, and a deployment is
//! found by what it was made for.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::Access;
use super::hooks::Repository;
use super::question::{Page, Question, segment};
use super::refusal::Refusal;
use crate::Forge;

/// The longest description that every forge takes, in characters: GitHub's.
const MAX_DESCRIPTION: usize = 140;
/// Deployments of a commit that are looked at for one of ours.
const LOOKED_AT: usize = 50;

/// How a sync of a commit stands, for a forge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It was begun.
    Pending,
    /// It changes something.
    Running,
    /// It succeeded.
    Succeeded,
    /// It failed.
    Failed,
    /// It was given up for something newer, which is no failure.
    Superseded,
}

/// A status of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitStatus {
    /// What tells it from the commit's others, for people.
    pub context: String,
    /// The same, in at most 40 characters.
    pub key: String,
    /// How it stands.
    pub state: State,
    /// One line for people.
    pub description: String,
    /// Where there is more of it.
    pub url: Option<String>,
}

/// A deployment of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// The whole commit id.
    pub commit: String,
    /// The branch it is on.
    pub branch: String,
    /// Where it goes, for people.
    pub environment: String,
    /// What it was made for, which no other one was.
    pub marker: String,
    /// How it stands.
    pub state: State,
    /// One line for people.
    pub description: String,
    /// Where there is more of it.
    pub url: Option<String>,
}

fn cut(description: &str) -> String {
    description.chars().take(MAX_DESCRIPTION).collect()
}

/// Gives a commit a status, or takes the place of the one of that context. GitLab refuses what a status is already, and a
/// step backwards; either way it shows nothing that is newer here.
#[must_use]
pub fn set_commit_status(
    access: &Access,
    repository: &Repository,
    commit: &str,
    status: &CommitStatus,
) -> Question<()> {
    let forge = access.forge();
    let base = repository.path(forge);
    let commit = segment(commit);
    let description = cut(&status.description);
    let (path, mut body) = match forge {
        Forge::GitHub | Forge::Gitea | Forge::Git => (
            format!("{base}/statuses/{commit}"),
            json!({ "state": github_state(status.state), "context": status.context, "description": description }),
        ),
        Forge::GitLab => (
            format!("{base}/statuses/{commit}"),
            json!({ "state": gitlab_state(status.state), "name": status.context, "description": description }),
        ),
        Forge::Bitbucket => (
            format!("{base}/commit/{commit}/statuses/build"),
            json!({ "key": status.key, "name": status.context, "state": bitbucket_state(status.state),
                "description": description }),
        ),
        Forge::AzureDevOps => (
            format!("{base}/commits/{commit}/statuses"),
            json!({ "state": azure_state(status.state), "description": description,
                "context": { "name": status.context, "genre": "syncline" } }),
        ),
    };
    let url_member = match forge {
        Forge::GitHub | Forge::Gitea | Forge::Git | Forge::GitLab => "target_url",
        Forge::Bitbucket => "url",
        Forge::AzureDevOps => "targetUrl",
    };
    // Bitbucket wants one in any case: that of the commit.
    let of_commit = (forge == Forge::Bitbucket)
        .then(|| format!("https://bitbucket.org/{}/{}/commits/{commit}", repository.owner, repository.name));
    if let Some(url) = status.url.clone().or(of_commit) {
        body[url_member] = url.into();
    }
    access.act("forges.set_commit_status", Method::POST, &path, Some(&body))
}

/// Whether a refusal only says that a status or deployment of GitLab's cannot become what it is to be: it is that already, or
/// further on.
#[must_use]
pub fn is_there_already(access: &Access, refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Invalid(message) if message.contains("annot transition status"))
        && access.forge() == Forge::GitLab
}

fn github_state(state: State) -> &'static str {
    match state {
        // There is no word for given up that is not a failure's.
        State::Pending | State::Running | State::Superseded => "pending",
        State::Succeeded => "success",
        State::Failed => "failure",
    }
}

fn gitlab_state(state: State) -> &'static str {
    match state {
        State::Pending => "pending",
        State::Running => "running",
        State::Succeeded => "success",
        State::Failed => "failed",
        State::Superseded => "canceled",
    }
}

fn bitbucket_state(state: State) -> &'static str {
    match state {
        State::Pending | State::Running => "INPROGRESS",
        State::Succeeded => "SUCCESSFUL",
        State::Failed => "FAILED",
        State::Superseded => "STOPPED",
    }
}

fn azure_state(state: State) -> &'static str {
    match state {
        State::Pending | State::Running => "pending",
        State::Succeeded => "succeeded",
        State::Failed => "failed",
        State::Superseded => "notApplicable",
    }
}

/// Whether a forge has deployments that are made through its API.
#[must_use]
pub fn has_deployments(forge: Forge) -> bool {
    matches!(forge, Forge::GitHub | Forge::GitLab)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Row {
    id: Value,
    sha: Option<String>,
    payload: Value,
    status: Option<String>,
}

impl Row {
    fn id(&self) -> String {
        self.id.as_str().map_or_else(|| self.id.to_string(), str::to_owned)
    }

    /// Whether it is what such a deployment would be. GitLab's have no place for a marker: one of the commit and environment
    /// that has not ended is taken for it.
    fn is(&self, forge: Forge, deployment: &Deployment) -> bool {
        if self.sha.as_deref() != Some(&deployment.commit) {
            return false;
        }
        match forge {
            Forge::GitLab => self.status.as_deref() == Some("running"),
            // A text where somebody put one.
            _ => self.payload["syncline"] == deployment.marker.as_str(),
        }
    }
}

fn deployments_path(access: &Access, repository: &Repository) -> String {
    format!("{}/deployments", repository.path(access.forge()))
}

/// Asks for the id of a deployment that was made before, the newest first.
#[must_use]
pub fn find_deployment(
    access: &Access,
    repository: &Repository,
    deployment: &Deployment,
) -> Question<Option<String>> {
    let (forge, environment) = (access.forge(), segment(&deployment.environment));
    let of = match forge {
        Forge::GitLab => format!("order_by=id&sort=desc&environment={environment}"),
        _ => format!("sha={}&environment={environment}", segment(&deployment.commit)),
    };
    let path = format!("{}?{of}&per_page={LOOKED_AT}", deployments_path(access, repository));
    let deployment = deployment.clone();
    access
        .list("forges.find_deployment", &path)
        .map(move |page: Page<Row>| page.items.iter().find(|row| row.is(forge, &deployment)).map(Row::id))
}

/// Makes a deployment; its id. Its status is to be set: GitHub's has none yet, GitLab's is running.
#[must_use]
pub fn create_deployment(
    access: &Access,
    repository: &Repository,
    deployment: &Deployment,
) -> Question<String> {
    let path = deployments_path(access, repository);
    let body = match access.forge() {
        Forge::GitLab => json!({
            "environment": deployment.environment, "sha": deployment.commit, "ref": deployment.branch, "tag": false,
            "status": "running",
        }),
        _ => json!({
            "ref": deployment.commit, "environment": deployment.environment, "auto_merge": false,
            // What else is said of the commit keeps nothing from being shown.
            "required_contexts": [], "description": cut(&deployment.description),
            "payload": { "syncline": deployment.marker },
        }),
    };
    access.send("forges.create_deployment", Method::POST, &path, &body).map(|row: Row| row.id())
}

/// Sets the status of the deployment of that id.
#[must_use]
pub fn set_deployment_status(
    access: &Access,
    repository: &Repository,
    id: &str,
    deployment: &Deployment,
) -> Question<()> {
    let path = format!("{}/{}", deployments_path(access, repository), segment(id));
    let point = "forges.set_deployment_status";
    if access.forge() == Forge::GitLab {
        let body = json!({ "status": gitlab_deployment(deployment.state) });
        return access.act(point, Method::PUT, &path, Some(&body));
    }
    let state = match deployment.state {
        State::Pending => "queued",
        State::Running => "in_progress",
        State::Succeeded => "success",
        State::Failed => "failure",
        State::Superseded => "inactive",
    };
    let mut body = json!({ "state": state, "description": cut(&deployment.description) });
    if let Some(url) = &deployment.url {
        body["log_url"] = url.as_str().into();
    }
    access.act(point, Method::POST, &format!("{path}/statuses"), Some(&body))
}

/// GitLab's deployments begin as running.
fn gitlab_deployment(state: State) -> &'static str {
    match state {
        State::Pending | State::Running => "running",
        State::Succeeded => "success",
        State::Failed => "failed",
        State::Superseded => "canceled",
    }
}
