//! What GitHub remembers of its deliveries to a webhook, and having one delivered again. The other forges either deliver again
//! by themselves or cannot be asked.
//!
//! Source: GitHub's REST reference, webhook deliveries of a repository. They are listed the newest first, by cursors in the
//! `Link` header, for three days. One that is delivered again is another delivery with the same `guid`, which is what its header
//! `X-GitHub-Delivery` says.

use http::Method;
use serde::Deserialize;

use super::access::Access;
use super::hooks::Repository;
use super::question::{Page, Question, segment};
use crate::Forge;

/// A delivery as GitHub remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookDelivery {
    /// Its id: each try has another.
    pub id: String,
    /// What all tries of one event share.
    pub guid: String,
    /// When, in ISO 8601 and UTC.
    pub delivered_at: String,
    /// The status that it was answered with, or that stands for no answer; `None` while it is not known.
    pub status: Option<u16>,
}

impl HookDelivery {
    /// Whether somebody has taken it.
    #[must_use]
    pub fn has_arrived(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

#[derive(Debug, Deserialize)]
struct Row {
    id: u64,
    guid: String,
    delivered_at: String,
    status_code: Option<u16>,
}

/// Whether a forge can be asked for its deliveries.
#[must_use]
pub fn has_deliveries(forge: Forge) -> bool {
    match forge {
        Forge::GitHub => true,
        Forge::AzureDevOps | Forge::Bitbucket | Forge::Git | Forge::GitLab | Forge::Gitea => false,
    }
}

fn path(repository: &Repository, hook_id: &str) -> String {
    format!("{}/hooks/{}/deliveries", repository.path(Forge::GitHub), segment(hook_id))
}

/// Asks GitHub for the deliveries to the webhook of that id, the newest first.
#[must_use]
pub fn list_deliveries(
    access: &Access,
    repository: &Repository,
    hook_id: &str,
) -> Question<Page<HookDelivery>> {
    let path = format!("{}?per_page=100", path(repository, hook_id));
    deliveries_of(access.list("forges.list_deliveries", &path))
}

fn deliveries_of(rows: Question<Page<Row>>) -> Question<Page<HookDelivery>> {
    let delivery = |Row { id, guid, delivered_at, status_code: status }: Row| HookDelivery {
        id: id.to_string(),
        guid,
        delivered_at,
        status,
    };
    rows.map(move |page| Page {
        items: page.items.into_iter().map(delivery).collect(),
        next: page.next.map(deliveries_of),
    })
}

/// Has GitHub deliver once more what the delivery of that id was about.
#[must_use]
pub fn redeliver(access: &Access, repository: &Repository, hook_id: &str, delivery_id: &str) -> Question<()> {
    let path = format!("{}/{}/attempts", path(repository, hook_id), segment(delivery_id));
    access.act("forges.redeliver", Method::POST, &path, None)
}
