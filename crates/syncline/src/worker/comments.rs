//! Comments on pull requests: found by what is known of them, written or edited.
//!
//! Telling one twice changes nothing: it is edited where its id is known, else looked for by its hidden marker, and made
//! only if it is not there.

use syncline_forges::rest::{
    Page, PullComment, Question, Refusal, create_comment, list_comments, update_comment,
};
use syncline_model::plan::Trouble as LinkTrouble;
use syncline_model::preview::comment::marker;
use syncline_store::{CommentDocument, OutboxItem, StoreError};

use super::Worker;
use super::outbox::{Told, Trouble};
use super::remote::reached;
use crate::forges::Reached;

/// What a refusal means for a comment.
fn trouble(refusal: Refusal) -> Trouble {
    let reason = refusal.to_string();
    match refusal {
        Refusal::Throttled { retry_after_ms, .. } => {
            Trouble { throttled: Some(retry_after_ms), ..Trouble::new(reason, false) }
        }
        Refusal::NotFound(_) | Refusal::Invalid(_) => Trouble::new(reason, true),
        // Whoever mends the token wants it told.
        Refusal::Unauthorized(_) | Refusal::Forbidden(_) | Refusal::Unavailable(_) => {
            Trouble::new(reason, false)
        }
    }
}

impl Worker {
    /// Tells a comment.
    pub(super) async fn comment(&self, item: &OutboxItem) -> Result<Told, StoreError> {
        let Ok(document) = serde_json::from_str::<CommentDocument>(&item.document) else {
            return Ok(Err(Trouble::new("what is stored of it is unreadable", true)));
        };
        let Some(link) = self.store.link_record(&document.link_id).await? else {
            return Ok(Err(Trouble::new("the repository link was deleted", true)));
        };
        let reached = match reached(&self.store, self.forges.endpoints(), &link).await {
            Ok(Some(reached)) => reached,
            Ok(None) => return Ok(Err(Trouble::new("the Git host has no API", true))),
            Err(LinkTrouble::Outage { reason, .. }) => return Ok(Err(Trouble::new(reason, false))),
            Err(LinkTrouble::Refused { reason, .. } | LinkTrouble::Gone { reason }) => {
                return Ok(Err(Trouble::new(reason, true)));
            }
        };
        Ok(self.write_comment(&reached, item, &document).await.map(Some).map_err(trouble))
    }

    /// The id of the comment, which says now what it is to say.
    async fn write_comment(
        &self,
        reached: &Reached,
        item: &OutboxItem,
        document: &CommentDocument,
    ) -> Result<String, Refusal> {
        let Reached { access, repository, extra_root_pem } = reached;
        let (root, number) = (extra_root_pem.as_deref(), document.pull_request);
        if let Some(id) = &item.remote_id {
            let question = update_comment(access, repository, number, id, &document.body);
            match self.forges.ask(root, question).await {
                Ok(()) => return Ok(id.clone()),
                // Somebody deleted it: it is made again.
                Err(Refusal::NotFound(_)) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        let marker = marker(&document.preview_id);
        let comments = self.find_comment(root, list_comments(access, repository, number), &marker).await?;
        if let Some(comment) = comments {
            let question = update_comment(access, repository, number, &comment.id, &document.body);
            self.forges.ask(root, question).await?;
            return Ok(comment.id);
        }
        self.forges.ask(root, create_comment(access, repository, number, &document.body)).await
    }

    /// The first comment that begins with the marker, as ours do.
    async fn find_comment(
        &self,
        root: Option<&str>,
        list: Question<Page<PullComment>>,
        marker: &str,
    ) -> Result<Option<PullComment>, Refusal> {
        let comments = self.forges.list(root, list).await?;
        let begins =
            |comment: &PullComment| comment.body.lines().next().is_some_and(|first| first.contains(marker));
        Ok(comments.into_iter().find(begins))
    }
}
