//! Showing at a forge how a sync of a commit stands: a status, and a deployment.

use syncline_forges::Forge;
use syncline_forges::rest::{self, CommitStatus, Deployment, Refusal, State};
use syncline_store::{DeploymentState, OutboxItem, PublishedStatus, StoreError};

use super::Worker;
use super::outbox::{Told, Trouble};
use super::remote::reached;
use crate::forges::Reached;

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        let reason = refusal.to_string();
        let (is_final, throttled) = match &refusal {
            Refusal::Invalid(_) => (true, None),
            Refusal::Throttled { retry_after_ms, .. } => (false, Some(*retry_after_ms)),
            // A person may mend it.
            Refusal::Unauthorized(_) | Refusal::Forbidden(_) | Refusal::NotFound(_) => (false, None),
            Refusal::Unreached(_) | Refusal::Unavailable(_) => (false, None),
        };
        Self { is_final, throttled, ..Self::new(reason, is_final) }
    }
}

/// The document of a row, and the forge that it is for.
type About = Result<(PublishedStatus, Reached), Trouble>;

fn state(published: &PublishedStatus) -> (State, &'static str) {
    match published.state {
        DeploymentState::Pending => (State::Pending, "The sync has begun"),
        DeploymentState::Running => (State::Running, "The stack is being changed"),
        DeploymentState::Succeeded => (State::Succeeded, "The stack is at this commit"),
        DeploymentState::Failed => (State::Failed, "The sync failed"),
        DeploymentState::Superseded => {
            (State::Superseded, "Given up for a newer commit or configuration; nothing was changed")
        }
    }
}

/// `<region>/<name>`: the same name may be a sync's of another region, too.
fn context(published: &PublishedStatus) -> String {
    format!("{}/{}", published.region, published.sync)
}

impl Worker {
    /// The forge of a link, for something that is to be told there.
    pub(super) async fn forge_of(&self, link_id: &str) -> Result<Result<Reached, Trouble>, StoreError> {
        let Some(record) = self.store.link_record(link_id).await? else {
            return Ok(Err(Trouble::new("the repository link was deleted", true)));
        };
        if record.connection.is_none() {
            return Ok(Err(Trouble::new("the connection was deleted", true)));
        }
        Ok(match reached(&self.store, self.forges.endpoints(), &record).await {
            Ok(Some(reached)) => Ok(reached),
            Ok(None) => Err(Trouble::new("the repository's server has no API", true)),
            Err(trouble) => Err(Trouble::new(trouble.reason(), false)),
        })
    }

    async fn about(&self, item: &OutboxItem) -> Result<About, StoreError> {
        let Ok(published) = serde_json::from_str::<PublishedStatus>(&item.document) else {
            return Ok(Err(Trouble::new("what is stored of it is unreadable", true)));
        };
        let reached = self.forge_of(&published.link_id).await?;
        Ok(reached.map(|reached| (published, reached)))
    }

    /// The server's front page with the sync in the fragment, if anybody knows how the server is reached.
    fn link_to(&self, published: &PublishedStatus) -> Option<String> {
        let sync = rest::segment(&published.sync);
        self.public_url.as_ref().map(|base| format!("{base}/#{}/{sync}", published.region))
    }

    /// Gives a commit its status.
    pub(super) async fn publish_status(&self, item: &OutboxItem) -> Result<Told, StoreError> {
        let (published, reached) = match self.about(item).await? {
            Ok(about) => about,
            Err(trouble) => return Ok(Err(trouble)),
        };
        let (state, description) = state(&published);
        let status = CommitStatus {
            context: format!("syncline/{}", context(&published)),
            key: published.sync_id.chars().take(40).collect(),
            state,
            description: description.to_owned(),
            url: self.link_to(&published),
        };
        let Reached { access, repository, extra_root_pem } = &reached;
        let question = rest::set_commit_status(access, repository, &published.commit, &status);
        Ok(match self.forges.ask(extra_root_pem.as_deref(), question).await {
            Ok(()) => Ok(None),
            Err(refusal) if rest::is_there_already(access, &refusal) => Ok(None),
            Err(refusal) => Err(self.not_told(&published.link_id, refusal).await?),
        })
    }

    /// Makes a commit's deployment, or finds the one that was made, and sets its status.
    pub(super) async fn publish_deployment(&self, item: &OutboxItem) -> Result<Told, StoreError> {
        let (published, reached) = match self.about(item).await? {
            Ok(about) => about,
            Err(trouble) => return Ok(Err(trouble)),
        };
        let (state, description) = state(&published);
        let deployment = Deployment {
            commit: published.commit.clone(),
            branch: published.branch.clone(),
            environment: context(&published),
            marker: published.sync_id.clone(),
            state,
            description: description.to_owned(),
            url: self.link_to(&published),
        };
        let (access, root) = (&reached.access, reached.extra_root_pem.as_deref());
        if !rest::has_deployments(access.forge()) {
            return Ok(Err(Trouble::new("the forge has no deployments", true)));
        }
        // GitLab's cannot be taken up again once they have ended: there each attempt has one of its own.
        let is_good = |attempt: &str| access.forge() != Forge::GitLab || attempt == published.attempt_id;
        let known = item.remote_id.as_deref().and_then(|id| id.split_once('/'));
        let known = known.filter(|(attempt, _)| is_good(attempt)).map(|(_, id)| id.to_owned());
        let set = async |id: &str| {
            let question = rest::set_deployment_status(access, &reached.repository, id, &deployment);
            self.forges.ask(root, question).await
        };
        let was_set = match known {
            Some(id) => match set(&id).await {
                // Somebody deleted it at the forge.
                Err(Refusal::NotFound(_)) => None,
                was_set => Some((id, was_set)),
            },
            None => None,
        };
        let (id, was_set) = match was_set {
            Some(was_set) => was_set,
            None => match self.make_deployment(&reached, &deployment).await {
                Ok(id) => {
                    let was_set = set(&id).await;
                    (id, was_set)
                }
                Err(refusal) => return Ok(Err(self.not_told(&published.link_id, refusal).await?)),
            },
        };
        let remote_id = Some(format!("{}/{id}", published.attempt_id));
        Ok(match was_set {
            Ok(()) => Ok(remote_id),
            Err(refusal) if rest::is_there_already(access, &refusal) => Ok(remote_id),
            Err(refusal) => Err(Trouble { remote_id, ..self.not_told(&published.link_id, refusal).await? }),
        })
    }

    /// The id of the deployment, which is made unless it was.
    async fn make_deployment(&self, reached: &Reached, deployment: &Deployment) -> Result<String, Refusal> {
        let Reached { access, repository, extra_root_pem } = reached;
        let root = extra_root_pem.as_deref();
        // It may have been made when nobody could record it any more.
        let found = self.forges.ask(root, rest::find_deployment(access, repository, deployment)).await?;
        match found {
            Some(id) => Ok(id),
            None => self.forges.ask(root, rest::create_deployment(access, repository, deployment)).await,
        }
    }
}
