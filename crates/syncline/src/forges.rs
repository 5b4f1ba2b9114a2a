//! Asking forges: what `syncline_forges::rest` makes a question of, sent.
//!
//! **Architecture Invariant:** a question is sent once, within a timeout, to where the egress rules admit; who asks decides
//! whether it is asked again.

use std::sync::Arc;
use std::time::Duration;

use syncline_egress::{Egress, Http, NoAnswer, NotAdmitted};
use syncline_forges::rest::{Access, Endpoints, Hook, Page, Question, Refusal, Repository, list_hooks};
use syncline_seams::{Clock, Outside};

use crate::server::WEBHOOKS;

/// The longest a forge may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// The most pages of a list that are read.
const MAX_PAGES: usize = 20;

/// The forges, as this process reaches them.
#[derive(Debug)]
pub struct Forges {
    http: Http,
    outside: Outside,
    clock: Arc<dyn Clock>,
    endpoints: Endpoints,
}

/// A forge as a link's connection may ask it, and what about.
#[derive(Debug, Clone)]
pub struct Reached {
    /// Where, and as whom.
    pub access: Access,
    /// The link's repository.
    pub repository: Repository,
    /// Certificates in PEM that are trusted there, beside the machine's own roots.
    pub extra_root_pem: Option<String>,
}

impl Forges {
    /// The forges at `endpoints`, as far as `egress` lets them be reached.
    #[must_use]
    pub fn new(egress: Egress, endpoints: Endpoints, outside: Outside, clock: Arc<dyn Clock>) -> Self {
        Self { http: Http::new(egress), outside, clock, endpoints }
    }

    /// The time by which answers are read and claims are made, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Where the forges are.
    #[must_use]
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Asks a question; `extra_root_pem` is trusted there beside the machine's roots. What was not answered may have been
    /// done.
    ///
    /// # Errors
    /// [`Refusal`]; [`Refusal::Invalid`] where the egress rules do not let it be asked.
    pub async fn ask<T: 'static>(
        &self,
        extra_root_pem: Option<&str>,
        question: Question<T>,
    ) -> Result<T, Refusal> {
        let request = question.request()?;
        let sent = self.http.send(extra_root_pem, request, MAX_ANSWER_BYTES);
        match self.outside.call(question.point(), TIMEOUT, sent).await {
            Ok(response) => question.answered(response, self.clock.now_ms()),
            Err(NoAnswer::NotAdmitted(
                error @ (NotAdmitted::Policy { .. } | NotAdmitted::Missing { .. }),
            )) => Err(Refusal::Invalid(error.to_string())),
            Err(NoAnswer::Here(why)) => Err(Refusal::Invalid(why)),
            Err(
                error @ (NoAnswer::NotAdmitted(NotAdmitted::Unresolved { .. })
                | NoAnswer::Unreachable(_)
                | NoAnswer::Tls(_)),
            ) => Err(question.unsent(&error.to_string())),
            Err(error @ (NoAnswer::Broken(_) | NoAnswer::TooLong(_))) => {
                Err(question.unanswered(&error.to_string()))
            }
        }
    }

    /// Asks for a list, all of it or its first pages.
    ///
    /// # Errors
    /// As [`Forges::ask`].
    pub async fn list<T: 'static>(
        &self,
        extra_root_pem: Option<&str>,
        question: Question<Page<T>>,
    ) -> Result<Vec<T>, Refusal> {
        let mut page = self.ask(extra_root_pem, question).await?;
        let mut all = page.items;
        for _ in 1..MAX_PAGES {
            let Some(next) = page.next else { break };
            page = self.ask(extra_root_pem, next).await?;
            all.append(&mut page.items);
        }
        Ok(all)
    }

    /// The webhooks of a repository that are the one of that id here: its URL, at whatever base, ends with it.
    ///
    /// # Errors
    /// As [`Forges::ask`].
    pub(crate) async fn hooks_of(&self, at: &Reached, webhook_id: &str) -> Result<Vec<Hook>, Refusal> {
        let end = format!("{WEBHOOKS}{webhook_id}");
        let all = self.list(at.extra_root_pem.as_deref(), list_hooks(&at.access, &at.repository)).await?;
        Ok(all.into_iter().filter(|hook| hook.url.ends_with(&end)).collect())
    }
}
