//! Downloads by this process: one question in protocol v2, whose pack goes to `git index-pack` as it comes.
//!
//! **Architecture Invariant:** what is concluded here is that a download is complete, what the server itself says, and
//! that there is too much of it. Everything else is left to the git command line, which begins anew: a cache is no worse for
//! what was tried here.

use std::collections::BTreeSet;

use bytes::Bytes;
use syncline_model::names::ObjectId;
use tokio::io::AsyncReadExt as _;
use tokio::process::{ChildStdin, ChildStdout};

use crate::asking::{RESULT, Unanswered, is_about_the_url, is_of_type};
use crate::cache::Cache;
use crate::error::{GitError, Trouble};
use crate::git::{Git, Place};
use crate::packets::{Packets, Pumped};
use crate::process::Ended;
use crate::{protocol, roots, verdict};
use syncline_egress::{Answer, NoAnswer};

/// The most commits of the cache that a server is told of, so that it sends what these do not have.
pub(crate) const MAX_HAVES: usize = 8;

/// What is to be downloaded.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// The place's commit with its directories.
    Commit,
    /// These blobs.
    Blobs(&'a [&'a ObjectId]),
}

impl Git {
    /// Downloads into the place's cache, `max_bytes` of a pack at most; `false` when git has to do it.
    pub(crate) async fn download_directly(
        &self,
        at: &Place<'_>,
        wanted: Wanted<'_>,
        max_bytes: u64,
    ) -> Result<bool, Trouble> {
        if !self.settings.in_process || at.remote.url.is_file() {
            return Ok(false);
        }
        let route = self.settings.egress.admit(&at.remote.url).await.map_err(GitError::from)?;
        if !route.is_dialled() {
            return Ok(false);
        }
        // One of each for all of it: the process is started while the connection is in use.
        let _leave = self.leave(Some(&route)).await?;
        let known = match self.capabilities(at.remote, &route).await {
            Ok(known) if known.can_deepen && known.can_filter => known,
            Ok(_) | Err(Unanswered::Odd | Unanswered::Older | Unanswered::Unasked) => return Ok(false),
            Err(Unanswered::Told(error)) => return Err(error.into()),
        };
        let question =
            Bytes::from(protocol::fetch(known.object_format.as_deref(), arguments(at, wanted, true)));
        let answer = match self.post(at.remote, &route, question).await {
            Ok(answer) => answer,
            Err(Unanswered::Odd | Unanswered::Older | Unanswered::Unasked) => return Ok(false),
            Err(Unanswered::Told(error)) => return Err(error.into()),
        };
        let (status, headers) = (answer.head().status(), answer.head().headers());
        if status != http::StatusCode::OK {
            let error = verdict::of_status(status, headers, &at.remote.url);
            self.asking.forget(&route.url);
            return if is_about_the_url(&error) { Ok(false) } else { Err(error.into()) };
        }
        if !is_of_type(headers, RESULT) {
            self.asking.forget(&route.url);
            return Ok(false);
        }
        at.cache.sweep();
        self.take_pack(at, wanted, answer, max_bytes).await
    }

    /// Takes what the answer holds into the cache.
    async fn take_pack(
        &self,
        at: &Place<'_>,
        wanted: Wanted<'_>,
        answer: Answer,
        max_bytes: u64,
    ) -> Result<bool, Trouble> {
        let mut packets = Packets::of_answer(answer);
        let shallow = match packets.until_pack().await {
            Ok(shallow) => shallow,
            Err(Pumped::Fatal(why)) => return Err(self.refused(at, &why)),
            Err(Pumped::Cut(why)) => return Err(self.cut(at, why)),
            Err(_) => return Ok(false),
        };
        let (pumped, ended) = self.index(at, &mut packets, "--fsck-objects", max_bytes).await?;
        match pumped {
            Pumped::TooMuch => Err(GitError::CommitTooLarge { limit: max_bytes }.into()),
            Pumped::All if ended.is_success => {
                packets.keep(&self.asking.connections).await;
                if let Wanted::Commit = wanted {
                    at.cache.add(at.commit, &shallow)?;
                }
                Ok(true)
            }
            Pumped::Fatal(why) => Err(self.refused(at, &why)),
            Pumped::Cut(why) => Err(self.cut(at, why)),
            Pumped::All | Pumped::Odd => {
                tracing::debug!(url = %at.remote.url, why = ended.stderr, "a download is left to git");
                Ok(false)
            }
        }
    }

    /// Has `git index-pack` write the pack that comes. Half a pack, and one that exceeds the limit, leave nothing.
    pub(crate) async fn index(
        &self,
        at: &Place<'_>,
        coming: &mut Packets,
        checks: &str,
        max_bytes: u64,
    ) -> Result<(Pumped, Ended), GitError> {
        let arguments = ["index-pack", "--stdin", "--fix-thin", "--promisor", checks];
        let mut run = self.run(at.cache.path(), &arguments, &[]);
        run.max_file_bytes = Some(max_bytes);
        let pump = |mut stdin: ChildStdin, stdout: ChildStdout| async move {
            let pumped = coming.pump(&mut stdin, max_bytes).await;
            // Half a pack does not look like a whole one: it has no trailer.
            drop(stdin);
            // The pack's name, which nobody needs.
            let mut name = Vec::new();
            let _ = stdout.take(1_000).read_to_end(&mut name).await;
            pumped
        };
        let (pumped, ended) = run.converse(pump).await?;
        // A process that is stopped at the file size limit says nothing, but its file has just that size.
        let is_too_large = !ended.is_success && at.cache.sweep() >= max_bytes;
        Ok((if is_too_large { Pumped::TooMuch } else { pumped }, ended))
    }

    pub(crate) fn refused(&self, at: &Place<'_>, why: &str) -> Trouble {
        let said = format!("remote error: {why}");
        verdict::of_conversation(&said, at.remote.credential.as_ref(), Some(at.commit))
    }

    pub(crate) fn cut(&self, at: &Place<'_>, why: NoAnswer) -> Trouble {
        match crate::asking::unanswered(why, at.remote) {
            Unanswered::Told(error) => error.into(),
            Unanswered::Odd | Unanswered::Older | Unanswered::Unasked => {
                GitError::Unavailable { message: "the download broke off".to_owned() }.into()
            }
        }
    }
}

/// The arguments of `fetch`.
pub(crate) fn arguments(at: &Place<'_>, wanted: Wanted<'_>, is_filtered: bool) -> Vec<String> {
    let mut arguments: Vec<String> = ["no-progress", "ofs-delta"].map(str::to_owned).into();
    if is_filtered {
        arguments.push("filter blob:none".to_owned());
    }
    match wanted {
        Wanted::Commit => {
            let haves = at.cache.newest(MAX_HAVES);
            if !haves.is_empty() {
                arguments.push("thin-pack".to_owned());
            }
            arguments.extend(haves.iter().map(|have| format!("shallow {have}")));
            arguments.push("deepen 1".to_owned());
            arguments.push(format!("want {}", at.commit));
            arguments.extend(haves.iter().map(|have| format!("have {have}")));
        }
        // Told of our commits, a server would take their files for granted.
        Wanted::Blobs(blobs) => arguments.extend(blobs.iter().map(|blob| format!("want {blob}"))),
    }
    arguments.push("done".to_owned());
    arguments
}

impl Cache {
    /// The commits in the cache that were put there last.
    pub(crate) fn newest(&self, count: usize) -> Vec<ObjectId> {
        let marks = std::fs::read_dir(self.path().join("refs/syncline")).into_iter().flatten();
        let mut found: Vec<_> = marks
            .filter_map(Result::ok)
            .filter_map(|mark| {
                let commit: ObjectId = mark.file_name().to_str()?.parse().ok()?;
                Some((mark.metadata().ok()?.modified().ok()?, commit))
            })
            .collect();
        found.sort_unstable();
        found.into_iter().rev().take(count).map(|(_, commit)| commit).collect()
    }

    /// Marks a commit as complete whose objects are in the cache, as git does it: first what has no parents here
    /// (gitformat-shallow(5)), then the ref.
    pub(crate) fn add(&self, commit: &ObjectId, shallow: &[ObjectId]) -> Result<(), GitError> {
        let unwritable = |error| crate::error::internal("the repository cache cannot be written", error);
        let path = self.path().join("shallow");
        let known = std::fs::read_to_string(&path).unwrap_or_default();
        let mut all: BTreeSet<&str> = known.lines().collect();
        let before = all.len();
        all.extend(shallow.iter().map(ObjectId::as_str));
        if all.len() > before {
            let text: String = all.iter().map(|commit| format!("{commit}\n")).collect();
            roots::write_whole(&path, text.as_bytes()).map_err(unwritable)?;
        }
        let mark = self.path().join(Self::mark(commit));
        roots::write_whole(&mark, format!("{commit}\n").as_bytes()).map_err(unwritable)
    }
}
