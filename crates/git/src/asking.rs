//! Protocol v2 spoken by this process: a poll without starting git.
//!
//! A remote that announced protocol v2 once is asked at once the next time, so that a poll is one round trip. What
//! is remembered of it is a guess: an answer that does not fit has its announcement read again, and whoever does not
//! speak protocol v2 over HTTP, or not as it is written, is left to the git command line.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Full;
use syncline_model::names::BranchName;
use tokio::time::Instant;

use crate::error::GitError;
use crate::git::Git;
use crate::protocol::{self, Capabilities};
use crate::remote::Remote;
use crate::verdict;
use syncline_egress::Route;
use syncline_egress::{Answer, Connections, NoAnswer};

/// The longest announcement read, in bytes; git's own has about 200.
const MAX_ANNOUNCEMENT_BYTES: usize = 64 * 1024;

/// The most remotes whose announcement is remembered.
const MAX_REMEMBERED: usize = 20_000;

/// How long a server that speaks an older protocol is not asked whether it still does.
const OLDER_FOR: Duration = Duration::from_secs(600);

/// Some hosts know git by this beginning.
const USER_AGENT: &str = concat!("git/syncline-", env!("CARGO_PKG_VERSION"));

const ANNOUNCEMENT: &str = "application/x-git-upload-pack-advertisement";
const QUESTION: &str = "application/x-git-upload-pack-request";
pub(crate) const RESULT: &str = "application/x-git-upload-pack-result";

/// What this process knows without git.
#[derive(Debug, Default)]
pub(crate) struct Asking {
    pub(crate) connections: Connections,
    /// What remotes announced, by their URL.
    announced: Mutex<HashMap<String, Announced>>,
}

/// What a remote announced.
#[derive(Debug, Clone)]
enum Announced {
    /// Protocol v2.
    V2(Capabilities),
    /// An older protocol.
    Older {
        /// When.
        since: Instant,
        /// Whether it gives out single objects: then files can be asked for one by one.
        gives_objects: bool,
    },
}

/// What came of asking directly.
#[derive(Debug)]
pub(crate) enum Asked {
    /// Lines `<id> <ref>`.
    Listed(Vec<String>),
    /// The server speaks an older protocol: only all of its branches can be asked for.
    Older,
    /// Git has to be asked.
    Unasked,
}

/// Why a question in protocol v2 has no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// It has one: what it means for the caller.
    Told(GitError),
    /// What the server says is not what was expected of it.
    Odd,
    /// It speaks an older protocol.
    Older,
    /// It was not asked, because only git may know how.
    Unasked,
}

impl From<GitError> for Unanswered {
    fn from(error: GitError) -> Self {
        Self::Told(error)
    }
}

impl Asking {
    /// What is remembered of a remote.
    fn announced(&self, url: &str) -> Option<Announced> {
        let announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner).get(url).cloned();
        announced.filter(|of| !matches!(of, Announced::Older { since, .. } if since.elapsed() >= OLDER_FOR))
    }

    /// Whether a remote is known to keep files to itself that do not come with their commit.
    pub(crate) fn keeps_files(&self, url: &str) -> bool {
        matches!(self.announced(url), Some(Announced::Older { gives_objects: false, .. }))
    }

    fn remember(&self, url: &str, what: Announced) {
        let mut announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner);
        if announced.len() >= MAX_REMEMBERED {
            announced.clear();
        }
        announced.insert(url.to_owned(), what);
    }

    pub(crate) fn forget(&self, url: &str) {
        self.announced.lock().unwrap_or_else(PoisonError::into_inner).remove(url);
    }
}

impl Git {
    /// The branches that begin with a name asked for, if this process can ask for them.
    pub(crate) async fn ask_directly(
        &self,
        remote: &Remote,
        route: &Route,
        branches: &[BranchName],
    ) -> Result<Asked, GitError> {
        if !self.settings.in_process || !route.is_dialled() {
            return Ok(Asked::Unasked);
        }
        let remembered = self.asking.announced(&route.url);
        if let Some(Announced::Older { .. }) = remembered {
            return Ok(Asked::Older);
        }
        let _leave = self.leave_to_ask(route).await?;
        // Without a branch the question is only whether the repository may be read.
        if !branches.is_empty()
            && let Some(Announced::V2(known)) = remembered
        {
            match self.list(remote, route, &known, branches).await {
                Ok(listed) => return Ok(Asked::Listed(listed)),
                Err(Unanswered::Told(error)) if !is_about_the_url(&error) => return Err(error),
                Err(Unanswered::Unasked) => return Ok(Asked::Unasked),
                // Others may have another credential: what they know of the remote is not forgotten for this.
                Err(Unanswered::Told(_) | Unanswered::Odd | Unanswered::Older) => {}
            }
        }
        let known = match self.announcement(remote, route).await {
            Ok(known) => known,
            Err(Unanswered::Told(error)) => return Err(error),
            Err(Unanswered::Older) => return Ok(Asked::Older),
            Err(Unanswered::Odd) => {
                self.asking.forget(&route.url);
                return Ok(Asked::Unasked);
            }
            Err(Unanswered::Unasked) => return Ok(Asked::Unasked),
        };
        if branches.is_empty() {
            return Ok(Asked::Listed(Vec::new()));
        }
        match self.list(remote, route, &known, branches).await {
            Ok(listed) => {
                self.asking.remember(&route.url, Announced::V2(known));
                Ok(Asked::Listed(listed))
            }
            Err(Unanswered::Told(error)) => Err(error),
            Err(Unanswered::Odd | Unanswered::Older | Unanswered::Unasked) => Ok(Asked::Unasked),
        }
    }

    /// What the server announces of itself.
    async fn announcement(&self, remote: &Remote, route: &Route) -> Result<Capabilities, Unanswered> {
        let path = "/info/refs?service=git-upload-pack";
        let answer = self.post_or_get(remote, route, path, None).await?;
        // That of an older protocol lists all that there is; its beginning says enough.
        let (body, _) = self.body(remote, answer, ANNOUNCEMENT, MAX_ANNOUNCEMENT_BYTES).await?;
        match protocol::capabilities(&body) {
            Ok(Some(told)) => Ok(told),
            Ok(None) => {
                let gives_objects = protocol::older_gives_objects(&body);
                self.asking.remember(&route.url, Announced::Older { since: Instant::now(), gives_objects });
                Err(Unanswered::Older)
            }
            Err(protocol::Malformed) => Err(Unanswered::Odd),
        }
    }

    /// What the server announced once, or announces now.
    pub(crate) async fn capabilities(
        &self,
        remote: &Remote,
        route: &Route,
    ) -> Result<Capabilities, Unanswered> {
        match self.asking.announced(&route.url) {
            Some(Announced::V2(known)) => return Ok(known),
            Some(Announced::Older { .. }) => return Err(Unanswered::Older),
            None => {}
        }
        let told = self.announcement(remote, route).await?;
        self.asking.remember(&route.url, Announced::V2(told.clone()));
        Ok(told)
    }

    /// Asks a question.
    pub(crate) async fn post(
        &self,
        remote: &Remote,
        route: &Route,
        question: Bytes,
    ) -> Result<Answer, Unanswered> {
        self.post_or_get(remote, route, "/git-upload-pack", Some(question)).await
    }

    async fn list(
        &self,
        remote: &Remote,
        route: &Route,
        known: &Capabilities,
        branches: &[BranchName],
    ) -> Result<Vec<String>, Unanswered> {
        let question = Bytes::from(protocol::ls_refs(known.object_format.as_deref(), branches));
        let answer = self.post(remote, route, question).await?;
        let limit = self.settings.limits.max_heads_bytes;
        let (body, is_whole) = self.body(remote, answer, RESULT, limit).await?;
        if !is_whole {
            return Err(crate::heads::too_many(limit).into());
        }
        match protocol::listed(&body) {
            Ok(Ok(listed)) => Ok(listed),
            Ok(Err(why)) => Err(crate::heads::failed(&format!("remote error: {why}"), remote).into()),
            Err(protocol::Malformed) => Err(Unanswered::Odd),
        }
    }

    /// Sends a question, or without one asks for what is at `path`.
    async fn post_or_get(
        &self,
        remote: &Remote,
        route: &Route,
        path: &str,
        question: Option<Bytes>,
    ) -> Result<Answer, Unanswered> {
        let request = request(remote, route, path, question).ok_or(Unanswered::Unasked)?;
        // Whatever is asked here may be asked twice.
        match self.asking.connections.send(route, remote.extra_root_pem.as_deref(), request, true).await {
            Ok(answer) => Ok(answer),
            Err(no_answer) => Err(unanswered(no_answer, remote)),
        }
    }

    /// The body of an answer of this type, `limit` bytes of it at most, and whether that is all of it.
    async fn body(
        &self,
        remote: &Remote,
        answer: Answer,
        of_type: &str,
        limit: usize,
    ) -> Result<(Bytes, bool), Unanswered> {
        let (status, headers) = (answer.head().status(), answer.head().headers());
        if status != StatusCode::OK {
            return Err(verdict::of_status(status, headers, &remote.url).into());
        }
        if !is_of_type(headers, of_type) {
            return Err(Unanswered::Odd);
        }
        let read = self.asking.connections.read(answer, limit).await;
        read.map_err(|no_answer| unanswered(no_answer, remote))
    }
}

/// Whether an error says something of the URL that was asked, which the announcement's own URL may know better: what was
/// remembered of the remote may no longer be true.
pub(crate) fn is_about_the_url(error: &GitError) -> bool {
    !matches!(error, GitError::Unavailable { .. } | GitError::Throttled { .. } | GitError::Internal { .. })
}

pub(crate) fn is_of_type(headers: &HeaderMap, of_type: &str) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.split(';').next().unwrap_or_default().trim() == of_type)
}

pub(crate) fn unanswered(no_answer: NoAnswer, remote: &Remote) -> Unanswered {
    let unavailable = |why: &str| {
        let message = verdict::scrubbed(
            &format!("unable to access '{}': {why}", remote.url),
            remote.credential.as_ref(),
        );
        Unanswered::Told(GitError::Unavailable { message })
    };
    match no_answer {
        NoAnswer::Broken(why) | NoAnswer::Unreachable(why) => unavailable(&why),
        NoAnswer::NotAdmitted(error) => Unanswered::Told(error.into()),
        NoAnswer::Here(message) => Unanswered::Told(GitError::Internal { message }),
        NoAnswer::TooLong(limit) => unavailable(&format!("its answer exceeds {limit} bytes")),
        NoAnswer::Tls(why) => {
            tracing::debug!(url = %remote.url, why, "TLS is left to git");
            Unanswered::Unasked
        }
    }
}

/// One request; `None` if it cannot be written as HTTP.
fn request(
    remote: &Remote,
    route: &Route,
    path: &str,
    question: Option<Bytes>,
) -> Option<Request<Full<Bytes>>> {
    let (authority, base) = route.url.split_once("://")?.1.split_once('/')?;
    let slash = if base.is_empty() { "" } else { "/" };
    let mut made = Request::builder()
        .uri(format!("{slash}{base}{path}"))
        .header(header::HOST, authority)
        .header(header::USER_AGENT, USER_AGENT)
        .header("git-protocol", "version=2")
        .body(())
        .ok()?;
    let headers = made.headers_mut();
    if question.is_some() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(QUESTION));
        headers.insert(header::ACCEPT, HeaderValue::from_static(RESULT));
    } else {
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    }
    if let Some(credential) = &remote.credential {
        let mut value = HeaderValue::try_from(verdict::authorization(credential)).ok()?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    *made.method_mut() = if question.is_some() { Method::POST } else { Method::GET };
    let body = question.unwrap_or_default();
    Some(made.map(|()| Full::new(body)))
}
