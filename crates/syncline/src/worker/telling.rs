//! What a preview tells: of a change set, of files that cannot be used, and of a pull request's end.
//!
//! **Architecture Invariant:** whatever is told of values goes through [`Sight`], and whatever is told at all is written in the
//! transaction that records that it is told.

use syncline_forges::Forge;
use syncline_forges::rest::segment;
use syncline_model::preview::comment::{self, Changes, Comment, Markdown, Merged, Tells};
use syncline_model::preview::values::Sight;
use syncline_model::preview::{Phase, Verdict, Want};
use syncline_model::sync::{AttemptStatus, EventKind};
use syncline_store::{Done, PreviewProgress, PreviewTold, StoreError};
use syncline_targets::{Declared, TargetError};
use tracing::info;

use super::Worker;
use super::files::Files;
use super::preview::{Observation, Turn, change_set_ref, trouble_of};
use super::previewed::{change, resources, with_defaults};
use super::sync::{Failure, Next};

fn done(turn: &Turn<'_>) -> Done {
    Done { made_on: turn.record.last_executed.clone() }
}

impl Worker {
    /// Tells what was seen, and has the change set deleted if there is one.
    pub(super) async fn tell(
        &self,
        turn: &Turn<'_>,
        verdict: Verdict,
        seen: Observation,
    ) -> Result<Next, Failure> {
        let is_planned = turn.recorded.phase == Phase::Planning;
        let tells = match verdict {
            Verdict::Unusable => seen.unusable.unwrap_or(Tells::Nothing),
            Verdict::Creates => Tells::Creates(resources(seen.files.as_ref())),
            Verdict::Stuck(status) => Tells::Stuck(status),
            Verdict::Nothing => Tells::Nothing,
            Verdict::Changes | Verdict::Fails(_) => {
                let Some(files) = self.planned_files(turn).await? else { return Ok(Next::Now) };
                self.told_changes(turn, &verdict, &files).await?
            }
        };
        let told = self.told(turn, tells, true);
        let phase = is_planned.then_some(Phase::Deleting);
        let progress = PreviewProgress { phase, told, ..PreviewProgress::default() };
        self.record_preview("store.record_preview_told", turn, progress).await?;
        info!(
            stack = turn.record.resource_name,
            pull_request = turn.preview.pull_request,
            preview = turn.preview.id,
            "previewed"
        );
        Ok(Next::Now)
    }

    /// What the change set says, as far as it may be told.
    async fn told_changes(
        &self,
        turn: &Turn<'_>,
        verdict: &Verdict,
        files: &Files,
    ) -> Result<Tells, Failure> {
        let (access, stack) = self.planned_with(turn)?;
        let live = match self.target.declared(&access, stack).await {
            Ok(declared) => Some(declared),
            // Without it less is told, as to whoever may not read it.
            Err(TargetError::NotFound | TargetError::Denied { .. }) => None,
            Err(error) => return Err(trouble_of(&error).into()),
        };
        let (after, given) = (files.parsed.to_json(), &files.deployment.parameters);
        let before = live.as_ref().and_then(|Declared { template, parameters }| {
            let parsed = syncline_template::check_template("live", template.as_bytes()).ok()?;
            Some((parsed.to_json(), parameters))
        });
        let sight = Sight::new(
            before.as_ref().map(|(template, parameters)| (template, parameters.as_slice())),
            (&after, given),
        );
        if let Verdict::Fails(reason) = verdict {
            return Ok(Tells::Fails(sight.scrubbed(reason)));
        }
        let described = self.target.describe_changes(&access, stack, &change_set_ref(turn.preview)).await;
        let described = described.map_err(|error| trouble_of(&error))?;
        let changes: Vec<comment::Change> = described.changes.into_iter().map(change).collect();
        let old = before.as_ref().map(|(_, parameters)| parameters.as_slice()).unwrap_or_default();
        // What the deployment file leaves out keeps the template's default.
        let new: Vec<(String, String)> = with_defaults(&after, given);
        Ok(Tells::Changes(Changes::seen(&sight, &changes, old, &new)))
    }

    /// Tells that there is nothing to preview any more, and why.
    pub(super) async fn tell_end(&self, turn: &Turn<'_>) -> Result<Next, Failure> {
        let tells = match turn.recorded.want {
            Want::Changes | Want::Untouched => Tells::Untouched,
            Want::Off => Tells::Off,
            Want::Closed => Tells::Closed,
            Want::Merged => Tells::Merged(self.what_became(turn).await?),
        };
        // Nobody is told that nothing is to be told of what nothing was told of.
        let is_silent = turn.preview.comment.is_none() && !matches!(tells, Tells::Merged(_));
        let told = match is_silent {
            true => Some(PreviewTold { comment: None, whole: None, done: Some(done(turn)) }),
            false => self.told(turn, tells, true),
        };
        let progress = PreviewProgress { told, ..PreviewProgress::default() };
        self.record_preview("store.record_preview_told", turn, progress).await?;
        Ok(Next::Now)
    }

    /// What the newest attempt came to, of a sync that has considered the merge and is at rest.
    async fn what_became(&self, turn: &Turn<'_>) -> Result<Merged, StoreError> {
        let Some(newest) = self.store.newest_attempt(&turn.claim.id).await? else {
            return Ok(Merged::Nothing);
        };
        let commit = newest.commit;
        Ok(match newest.status {
            AttemptStatus::Succeeded => Merged::Synced(commit),
            // Not in CloudFormation's words, which may quote a parameter: the sync's status has them.
            AttemptStatus::Failed => {
                Merged::Failed(commit, newest.why.map_or("FAILED", EventKind::as_str).to_owned())
            }
            AttemptStatus::Initiated | AttemptStatus::InProgress => Merged::Waits,
        })
    }

    /// What is to be told, and whether that is what is wanted. `None` if it is not, and the comment says so already.
    pub(super) fn told(&self, turn: &Turn<'_>, tells: Tells, is_done: bool) -> Option<PreviewTold> {
        let provider_type = turn.link.as_ref().map(|link| link.link.provider_type.as_str());
        let is_plain = provider_type.and_then(Forge::of_provider_type) == Some(Forge::Bitbucket);
        let preview = turn.preview;
        let link = self.public_url.as_ref().map(|base| {
            let (region, sync) = (&turn.record.region, segment(&turn.record.resource_name));
            format!("{base}/#{region}/{sync}/{}", preview.id)
        });
        let told = Comment {
            preview: &preview.id,
            markdown: if is_plain { Markdown::Plain } else { Markdown::WithHtml },
            stack: &turn.record.resource_name,
            region: &turn.record.region,
            head: &preview.head_sha,
            both_changed: &preview.sources.both_changed,
            tells,
            link: link.as_deref(),
        };
        let comment = comment::render(&told);
        if !is_done && preview.comment.as_ref() == Some(&comment) {
            return None;
        }
        // Most comments tell everything.
        let whole =
            Some(comment::render_whole(&told)).filter(|whole| whole != comment::without_marker(&comment));
        Some(PreviewTold { comment: Some(comment), whole, done: is_done.then(|| done(turn)) })
    }
}
