//! Comments on pull requests: found by what is known of them, written or edited.
//!
//! Telling one twice changes nothing: it is edited where its id is known, else looked for by its hidden marker, and made
//! only if it is not there. Where it was made twice all the same, the first is kept, and the other is known no more.

use syncline_forges::rest::{
    Page, PullComment, Question, Refusal, create_comment, list_comments, update_comment,
};
use syncline_model::preview::comment::marker;
use syncline_store::{CommentDocument, OutboxItem, StoreError};

use super::Worker;
use super::outbox::{Told, Trouble};
use crate::forges::Reached;

/// What is left of a comment that was made twice.
const TWIN: &str = "**Syncline** · this comment was made twice; the other one is kept.";

impl Worker {
    /// Tells a comment.
    pub(super) async fn comment(&self, item: &OutboxItem) -> Result<Told, StoreError> {
        let Ok(document) = serde_json::from_str::<CommentDocument>(&item.document) else {
            return Ok(Err(Trouble::new("what is stored of it is unreadable", true)));
        };
        let reached = match self.forge_of(&document.link_id).await? {
            Ok(reached) => reached,
            Err(trouble) => return Ok(Err(trouble)),
        };
        match self.write_comment(&reached, item, &document).await {
            Ok(id) => Ok(Ok(Some(id))),
            Err(refusal) => Ok(Err(self.not_told(&document.link_id, refusal).await?)),
        }
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
        let list = || list_comments(access, repository, number);
        let mut made = None;
        let mut ours = self.marked(root, list(), &marker).await?;
        if ours.is_empty() {
            let question = create_comment(access, repository, number, &document.body);
            made = Some(self.forges.ask(root, question).await?);
            // One that was asked for before, and of which nothing was heard, may have arrived since.
            ours = self.marked(root, list(), &marker).await?;
        }
        let mut ours = ours.into_iter();
        let Some(first) = ours.next() else {
            // The forge does not show yet what it has made.
            return Ok(made.unwrap_or_default());
        };
        for twin in ours {
            let question = update_comment(access, repository, number, &twin.id, TWIN);
            self.forges.ask(root, question).await?;
        }
        if made.as_ref() != Some(&first.id) {
            let question = update_comment(access, repository, number, &first.id, &document.body);
            self.forges.ask(root, question).await?;
        }
        Ok(first.id)
    }

    /// The comments that begin with the marker, as ours do, oldest first.
    async fn marked(
        &self,
        root: Option<&str>,
        list: Question<Page<PullComment>>,
        marker: &str,
    ) -> Result<Vec<PullComment>, Refusal> {
        let mut comments = self.forges.list(root, list).await?;
        comments.retain(|comment| comment.body.lines().next().is_some_and(|first| first.contains(marker)));
        Ok(comments)
    }
}
