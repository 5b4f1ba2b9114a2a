//! A connection's turn of getting its next token, before the one it has runs out, or of losing a handshake that nobody went
//! on with.
//!
//! **Architecture Invariant:** a token is asked for once, by whoever has the claim, and that it is asked for is committed
//! before. What the forge gave exists here alone until it is stored: that is tried until it is, or the claim is lost. What a forge refuses is in the connection's status; it is asked again, less and less often, and a token that it
//! gives ends that.

use std::time::Duration;

use syncline_forges::Forge;
use syncline_forges::rest::{Refusal, is_grant_over};
use syncline_model::plan::{self, LONGEST_DELAY_MS, backoff_ms};
use syncline_model::sync::BlockerKind;
use syncline_seams::Secret;
use syncline_store::{Claim, Grant, NotRenewed, Owner, Renewed, StoreError, grant_owner, is_of_handshake};
use tracing::{debug, info, warn};

use super::outbox::Trouble as NotTold;
use super::remote::extra_root;
use super::{Due, Worker};
use crate::grants::{Got, Place, StoredGrant};

/// The shortest time from one refusal to the next question, in milliseconds.
const AFTER_REFUSAL_MS: i64 = 60_000;

/// How long after each but the first try a token that could not be stored is tried to be stored again.
const STORE_AGAIN: Duration = Duration::from_secs(1);

/// Why there is no other token.
struct Trouble {
    refusal: Refusal,
    /// Somebody must do the handshake again: asking is of no use.
    is_final: bool,
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, is_final: false }
    }
}

/// What was granted is no more, perhaps because the answer that had its successor never came.
fn over(grant: &Grant, refusal: Refusal) -> Trouble {
    let lost = if grant.is_unanswered {
        "; the answer to the question before this one was lost, and with it what the next token was to be got with"
    } else {
        ""
    };
    let refusal = Refusal::Invalid(format!("{refusal}{lost}: authorize the connection again"));
    Trouble { refusal, is_final: true }
}

impl Worker {
    pub(super) async fn work_on_token(&self, claim: &Claim) -> Result<Due, StoreError> {
        if is_of_handshake(claim) {
            return self.store.sweep_handshake(claim).await;
        }
        let Some(grant) = self.store.grant(claim).await? else {
            self.store.forget_grant(claim).await?;
            return Ok(None);
        };
        // By the clock that it was claimed by: the database's, where there are several machines.
        if claim.since_ms < grant.due_ms() && !grant.is_wanted {
            return Ok(Some(grant.due_ms()));
        }
        let grant = self.store.begin_renewal(claim).await?;
        let connection = &grant.connection_arn;
        match self.token(&grant).await? {
            Ok(renewed) => {
                let due_ms = self.keep_renewal(claim, &renewed).await?;
                debug!(connection, "got the connection's next token");
                Ok(Some(due_ms))
            }
            Err(Trouble { refusal, is_final }) => {
                let reason = format!("its next token cannot be got: {refusal}");
                let is_refused = is_final || !refusal.may_pass();
                let is_unanswered = grant.is_unanswered || matches!(refusal, Refusal::Unavailable(_));
                let mut delay_ms = backoff_ms(grant.failures, self.outside.jitter());
                if is_refused {
                    warn!(connection, reason, "a connection's next token is refused");
                    delay_ms = delay_ms.max(AFTER_REFUSAL_MS);
                } else {
                    info!(connection, reason, "a connection's next token could not be got");
                }
                if let Refusal::Throttled { retry_after_ms, .. } = &refusal {
                    let asked_ms = retry_after_ms.unwrap_or(0).min(LONGEST_DELAY_MS);
                    self.ask_more_slowly(claim, asked_ms, &reason).await?;
                    delay_ms = delay_ms.max(asked_ms);
                }
                let not_renewed = NotRenewed { reason, is_refused, is_unanswered };
                let now_ms = self.store.record_no_renewal(claim, not_renewed).await?;
                Ok((!is_final).then_some(now_ms + delay_ms))
            }
        }
    }

    /// Has the token of a link's connection replaced before its time, if the trouble is that it is refused.
    pub(super) async fn replace_token(
        &self,
        link_id: &str,
        trouble: &plan::Trouble,
    ) -> Result<(), StoreError> {
        match trouble {
            plan::Trouble::Outage { blocker: BlockerKind::CredentialRefused, .. } => {
                self.store.want_token(link_id).await
            }
            _ => Ok(()),
        }
    }

    /// What it means for something in the outbox that a link's forge refuses it; the same for its token.
    pub(super) async fn not_told(&self, link_id: &str, refusal: Refusal) -> Result<NotTold, StoreError> {
        if matches!(refusal, Refusal::Unauthorized(_)) {
            self.store.want_token(link_id).await?;
        }
        Ok(refusal.into())
    }

    /// Stores a token that was got. The forge may have taken back what came before it, so a database that does not answer
    /// is asked again for as long as the claim stands. When the next one is to be got.
    async fn keep_renewal(&self, claim: &Claim, renewed: &Renewed) -> Result<i64, StoreError> {
        let mut pause = Duration::ZERO;
        loop {
            match self.store.record_renewal(claim, renewed.clone()).await {
                Err(
                    error @ (StoreError::Database(_)
                    | StoreError::Commit(_)
                    | StoreError::Interrupted(_)
                    | StoreError::Busy { .. }
                    | StoreError::Open { .. }
                    | StoreError::InUse { .. }),
                ) => warn!(%error, id = claim.id, "a token could not be stored; it is tried again"),
                Err(
                    error @ (StoreError::Stale(_)
                    | StoreError::Corrupt(_)
                    | StoreError::Key(_)
                    | StoreError::Closed),
                ) => return Err(error),
                Ok(due_ms) => return Ok(due_ms),
            }
            self.clock.sleep(pause).await;
            pause = STORE_AGAIN;
        }
    }

    /// Gets the next token, sealed.
    async fn token(&self, grant: &Grant) -> Result<Result<Renewed, Trouble>, StoreError> {
        let keyring = self.store.keyring();
        let row = grant_owner(&grant.connection_id);
        let of_grant = Owner { account: &grant.account, arn: &row };
        let invalid = |why: String| Ok(Err(Refusal::Invalid(why).into()));
        let stored = match keyring.open_sealed(&of_grant, &grant.sealed).await {
            Ok(opened) => StoredGrant::from_bytes(&opened),
            Err(error @ StoreError::Key(_)) => return invalid(error.to_string()),
            Err(error) => return Err(error),
        };
        let Some(stored) = stored else { return invalid("what is stored for it is unreadable".to_owned()) };
        let endpoint = self.forges.endpoints().of(&grant.provider_type, grant.provider_endpoint.as_deref());
        let Some((forge, endpoint)) = Forge::of_provider_type(&grant.provider_type).zip(endpoint) else {
            return invalid(format!("provider type {} has no host", grant.provider_type));
        };
        let extra_root_pem = extra_root(grant.vpc_configuration.as_deref());
        let at = Place { forge, endpoint: &endpoint, extra_root_pem: extra_root_pem.as_deref() };
        let Got { credential, grant: next, lifetime_ms } = match stored.token(&self.forges, at).await {
            Ok(got) => got,
            Err(refusal) if is_grant_over(&refusal) => return Ok(Err(over(grant, refusal))),
            Err(refusal) => return Ok(Err(refusal.into())),
        };
        let of_connection = Owner { account: &grant.account, arn: &grant.connection_arn };
        let seal = |owner: &Owner<'_>, bytes: &Secret<Vec<u8>>| keyring.seal(owner, bytes.expose());
        Ok(Ok(Renewed {
            credential: seal(&of_connection, &credential.to_bytes())?,
            grant: seal(&of_grant, &next.to_bytes())?,
            lifetime_ms,
        }))
    }
}
