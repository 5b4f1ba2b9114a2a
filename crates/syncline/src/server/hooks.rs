//! Webhooks at the forge, made and kept right through its API.
//!
//! A webhook is known there by the end of its URL, which nobody can guess: whatever became of an earlier try, the next one
//! finds what it left. Nothing here changes a row.

use std::sync::Arc;

use syncline_forges::Forge;
use syncline_forges::rest::{Hook, NewHook, Refusal, azure_ids, create_hook, delete_hook, update_hook};
use syncline_model::plan::Trouble;
use syncline_seams::Secret;
use syncline_store::{Scope, Store};
use tracing::{info, warn};

use crate::forges::{Forges, Reached};
use crate::worker::reached;

/// How often a webhook is given its secret at the forge because it has another one by then.
const MAX_ROUNDS: usize = 5;

/// Why a webhook is not as it should be at the forge.
pub(super) type Reason = String;

/// The forge of a link, as its connection may ask it.
pub(super) async fn forge_of(store: &Store, forges: &Forges, link_id: &str) -> Result<Reached, Reason> {
    let record = store.link_record(link_id).await.map_err(|error| error.to_string())?;
    let Some(record) = record else { return Err("the repository link is gone".to_owned()) };
    let no_api =
        || format!("forges of provider type {} have no API to register at", record.link.provider_type);
    let found = reached(store, forges.endpoints(), &record).await;
    let found = found.map_err(reason_of)?.ok_or_else(no_api)?;
    if found.access.is_anonymous() {
        return Err("the connection was authorized without a token".to_owned());
    }
    Ok(found)
}

fn reason_of(trouble: Trouble) -> Reason {
    match trouble {
        Trouble::Refused { reason, .. } | Trouble::Outage { reason, .. } | Trouble::Gone { reason } => reason,
    }
}

/// Has the forge send to `url`, with the webhook's newest secret, and nowhere else for this webhook.
pub(super) async fn register(
    store: &Store,
    forges: &Forges,
    at: &Reached,
    webhook_id: &str,
    url: &str,
) -> Result<(), Reason> {
    let mut set = String::new();
    // Whoever rotates at the same time does the same: the last to look finds the newest at the forge.
    for _ in 0..MAX_ROUNDS {
        let newest = store.newest_webhook_secret(webhook_id).await.map_err(|error| error.to_string())?;
        let Some((secret_id, secret)) = newest else { return Err("the repository link is gone".to_owned()) };
        if secret_id == set {
            return Ok(());
        }
        let secret = std::str::from_utf8(secret.expose()).map(Secret::new);
        let secret = secret.map_err(|_| "the webhook's secret is unreadable".to_owned())?;
        let once = set_at_forge(forges, at, webhook_id, url, &secret).await;
        let done = match once {
            // What was not answered may have been done, and what is refused because it is there already was made meanwhile:
            // what is there is looked at, not assumed.
            Err(
                Refusal::Unreached(_) | Refusal::Unavailable(_) | Refusal::Invalid(_) | Refusal::NotFound(_),
            ) => set_at_forge(forges, at, webhook_id, url, &secret).await,
            done => done,
        };
        match done.map_err(|refusal| explained(at, &refusal))? {
            // Somebody else may have made one, too: then the next look finds both.
            Set::Made => {}
            Set::Changed => set = secret_id,
        }
    }
    Err("somebody else gives it another secret all the time".to_owned())
}

/// A refusal with what may be done about it.
fn explained(at: &Reached, refusal: &Refusal) -> Reason {
    let needed = match at.access.forge() {
        Forge::GitHub => "admin:repo_hook, or Webhooks (read and write) of a fine-grained token",
        Forge::GitLab => "the scope api and the role Maintainer",
        Forge::Bitbucket => "webhook:read and webhook:write, or read:, write: and delete:webhook:bitbucket",
        Forge::Gitea => "write:repository, of an administrator of the repository",
        Forge::AzureDevOps => "Code (read), and a user who may edit service hook subscriptions",
        Forge::Git => return refusal.to_string(),
    };
    match refusal {
        Refusal::Forbidden(_) | Refusal::NotFound(_) => format!("{refusal} (webhooks need {needed})"),
        Refusal::Unauthorized(_)
        | Refusal::Throttled { .. }
        | Refusal::Invalid(_)
        | Refusal::Unreached(_)
        | Refusal::Unavailable(_) => refusal.to_string(),
    }
}

/// What became of a webhook at its forge.
enum Set {
    /// There was none, or not all of it.
    Made,
    /// There was one, which is what it should be.
    Changed,
}

async fn set_at_forge(
    forges: &Forges,
    at: &Reached,
    webhook_id: &str,
    url: &str,
    secret: &Secret,
) -> Result<Set, Refusal> {
    let root = at.extra_root_pem.as_deref();
    let (access, repository) = (&at.access, &at.repository);
    let azure_ids = match azure_ids(access, repository) {
        Some(question) => Some(forges.ask(root, question).await?),
        None => None,
    };
    let mut there = forges.hooks_of(at, webhook_id).await?;
    let events = access.forge().events();
    let mut set = Set::Changed;
    // Azure DevOps has one subscription for each event, the others one webhook for all.
    let each = if access.forge() == Forge::AzureDevOps { 1 } else { events.len() };
    for events in events.chunks(each.max(1)) {
        let hook = NewHook {
            url: url.to_owned(),
            secret: secret.clone(),
            events: events.iter().map(|event| (*event).to_owned()).collect(),
            azure_ids: azure_ids.clone(),
        };
        let is_it = |hook: &Hook| hook.event.as_deref().is_none_or(|event| events.contains(&event));
        match there.iter().position(is_it) {
            Some(at) => {
                let id = there.remove(at).id;
                forges.ask(root, update_hook(access, repository, &id, &hook)).await?
            }
            None => {
                set = Set::Made;
                forges.ask(root, create_hook(access, repository, &hook)).await?
            }
        };
    }
    // One that was made twice would tell of everything twice.
    for superfluous in there {
        match forges.ask(root, delete_hook(access, repository, &superfluous.id)).await {
            // Somebody else removed it meanwhile.
            Ok(()) | Err(Refusal::NotFound(_)) => {}
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(set)
}

/// A registered webhook whose link is being deleted.
#[derive(Debug)]
pub(super) struct Departing {
    at: Reached,
    webhook_id: String,
}

impl Departing {
    /// The webhook of a link that its forge is to forget with it, if there is one and the forge can be asked.
    pub(super) async fn of(store: &Store, forges: &Forges, scope: &Scope, link_id: &str) -> Option<Self> {
        let webhook_id = store.registered_webhook(scope, link_id).await.ok()??;
        match forge_of(store, forges, link_id).await {
            Ok(at) => Some(Self { at, webhook_id }),
            Err(reason) => {
                warn!(link = link_id, reason, "the webhook of a deleted link stays at its forge");
                None
            }
        }
    }

    /// Has the forge forget it, on best effort: what it sends after this is answered 401.
    pub(super) async fn forget(self, forges: Arc<Forges>) {
        let Self { at, webhook_id } = &self;
        let forgotten = async {
            for hook in forges.hooks_of(at, webhook_id).await? {
                let question = delete_hook(&at.access, &at.repository, &hook.id);
                forges.ask(at.extra_root_pem.as_deref(), question).await?;
            }
            Ok::<_, Refusal>(())
        };
        match forgotten.await {
            Ok(()) => info!(webhook = webhook_id, "the forge has forgotten the webhook of a deleted link"),
            Err(refusal) => {
                warn!(webhook = webhook_id, %refusal, "the webhook of a deleted link stays at its forge");
            }
        }
    }
}
