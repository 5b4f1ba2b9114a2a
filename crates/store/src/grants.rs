//! Grants: what a connection's tokens are got with, where they run out.
//!
//! The token is the connection's credential, as if somebody had brought it. Getting the next one is a piece of work of its
//! own ([`Kind::Token`]), so that whoever has its claim is the only one to ask for it. That it is asked for is written
//! before: a forge may take back what it was asked with, and the answer may be lost.
//!
//! **Architecture Invariant:** a grant is one only for the credential whose digest it has. Whoever knows nothing of grants, as
//! a process of the version before, may give the connection another one: then the grant is as good as gone.

use sha2::{Digest as _, Sha256};
use syncline_model::names::AccountId;

use crate::change::Change;
use crate::connections::{self, ConnectionStatus, CredentialRow};
use crate::keyring::{Keys, Owner, OwnerOf};
use crate::sql::{Row, Tx, params};
use crate::work::{self, Claim, Kind};
use crate::{Scope, Store, StoreError, StoreResult, handshakes};

/// What the ids of this kind of work begin with; the connection's id follows.
const WORK_PREFIX: &str = "token-";

/// A token that its forge refuses is only replaced before its time if it is older than this, in milliseconds: one that is
/// refused from the beginning would be replaced without end.
const YOUNG_MS: i64 = 5 * 60 * 1000;

/// A grant to store with a credential.
#[derive(Debug, Clone)]
pub struct NewGrant {
    /// Sealed for [`grant_owner`].
    pub sealed: Vec<u8>,
    /// How long the credential's token lasts from now on, in milliseconds.
    pub lifetime_ms: i64,
}

/// A grant, with what getting a token needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The connection's id.
    pub connection_id: String,
    /// The account that owns it.
    pub account: String,
    /// The connection's ARN in the spelling under which it was made.
    pub connection_arn: String,
    /// The connection's provider type.
    pub provider_type: String,
    /// The host's endpoint.
    pub provider_endpoint: Option<String>,
    /// The host's VPC configuration, as JSON.
    pub vpc_configuration: Option<String>,
    /// Sealed for [`grant_owner`].
    pub sealed: Vec<u8>,
    /// When the token was got, in milliseconds since the Unix epoch.
    pub issued_ms: i64,
    /// When it runs out, in milliseconds since the Unix epoch.
    pub ends_ms: i64,
    /// Whether the forge refused the token before its time.
    pub is_wanted: bool,
    /// Whether another one was asked for, and nobody recorded what came of it.
    pub is_unanswered: bool,
    /// Tries that failed in a row.
    pub failures: i64,
}

impl Grant {
    /// When the next token is to be got, in milliseconds since the Unix epoch: when a quarter of the time is left.
    #[must_use]
    pub fn due_ms(&self) -> i64 {
        due_ms(self.issued_ms, self.ends_ms)
    }
}

fn due_ms(issued_ms: i64, ends_ms: i64) -> i64 {
    ends_ms - (ends_ms - issued_ms) / 4
}

/// A token that was got.
#[derive(Debug, Clone)]
pub struct Renewed {
    /// The credential, sealed for the connection's ARN.
    pub credential: Vec<u8>,
    /// The grant, sealed for [`grant_owner`].
    pub grant: Vec<u8>,
    /// How long the token lasts from now on, in milliseconds.
    pub lifetime_ms: i64,
}

/// Why no token was got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotRenewed {
    /// For people, without secrets.
    pub reason: String,
    /// The forge refuses: the connection is in ERROR until one is got.
    pub is_refused: bool,
    /// What was asked may have been done.
    pub is_unanswered: bool,
}

/// The row that a grant is sealed for, as the resource of an [`Owner`].
#[must_use]
pub fn grant_owner(connection_id: &str) -> String {
    format!("connection-grant/{connection_id}")
}

/// The columns that [`owner`] reads.
pub(crate) const OWNED_BY: &str = "account_id, connection_id";

/// Whom a grant is sealed for.
pub(crate) fn owner(row: &mut Row) -> StoreResult<OwnerOf> {
    Ok(OwnerOf { account: row.text()?, arn: grant_owner(&row.text()?) })
}

fn work_id(connection_id: &str) -> String {
    format!("{WORK_PREFIX}{connection_id}")
}

/// The connection that a piece of this kind of work is about.
pub(crate) fn connection_of(work_id: &str) -> &str {
    let of_handshake = || handshakes::connection_of(work_id);
    work_id.strip_prefix(WORK_PREFIX).or_else(of_handshake).unwrap_or(work_id)
}

/// Forgets a connection's grant. Whoever is getting a token by it records nothing any more.
pub(crate) fn forget(tx: &Tx<'_>, connection_id: &str) -> StoreResult<()> {
    tx.execute("DELETE FROM connection_grant WHERE connection_id = $1", params![connection_id])?;
    tx.execute("DELETE FROM work WHERE id = $1", params![work_id(connection_id)])?;
    Ok(())
}

/// What names a credential without telling it.
fn digest_of(credential: &[u8]) -> String {
    let digest = Sha256::new().chain_update(b"syncline credential\0").chain_update(credential).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a connection's sealed credential is the one of a grant. One that cannot be opened is: the next token mends it.
pub(crate) fn is_of(
    tx: &Tx<'_>,
    keys: &Keys,
    connection: &Owner<'_>,
    sealed: Option<&[u8]>,
    digest: &str,
) -> StoreResult<bool> {
    let Some(sealed) = sealed else { return Ok(false) };
    match keys.open_in(tx, connection, sealed) {
        Ok(credential) => Ok(digest_of(credential.expose()) == digest),
        Err(StoreError::Key(_)) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Has the next token got now, if there is a grant.
pub(crate) fn wake(tx: &mut Tx<'_>, connection_id: &str) -> StoreResult<()> {
    work::wake(tx, &work_id(connection_id))
}

/// Has another token got for a link's connection, whose token the forge refused, unless it is new.
pub(crate) fn want(tx: &mut Tx<'_>, link_id: &str) -> StoreResult<()> {
    let found = tx.row(
        "SELECT g.connection_id FROM connection_grant g JOIN repository_link l ON l.connection_id = g.connection_id
          WHERE l.id = $1 AND g.issued_ms <= $2 AND g.wanted = 0",
        params![link_id, tx.now_ms() - YOUNG_MS],
    )?;
    let Some(connection_id) = found.map(|mut row| row.text()).transpose()? else { return Ok(()) };
    tx.execute("UPDATE connection_grant SET wanted = 1 WHERE connection_id = $1", params![&connection_id])?;
    wake(tx, &connection_id)
}

const GRANT: &str =
    "SELECT g.connection_id, g.account_id, c.service, c.region, c.provider_type, h.provider_endpoint,
      h.vpc_configuration, g.sealed, g.issued_ms, g.ends_ms, g.wanted, g.unanswered, g.failures,
      g.credential_digest, c.credential
   FROM connection_grant g JOIN connection c ON c.id = g.connection_id LEFT JOIN host h ON h.id = c.host_id
  WHERE g.connection_id = $1";

fn find(tx: &Tx<'_>, keys: &Keys, connection_id: &str) -> StoreResult<Option<Grant>> {
    let Some(mut row) = tx.row(GRANT, params![connection_id])? else { return Ok(None) };
    let (connection_id, account) = (row.text()?, row.text()?);
    let (service, region) = (row.text()?, row.text()?);
    let grant = Grant {
        connection_arn: crate::arn(&service, &region, &account, "connection", &connection_id),
        provider_type: row.text()?,
        provider_endpoint: row.opt_text()?,
        vpc_configuration: row.opt_text()?,
        sealed: row.opt_bytes()?.unwrap_or_default(),
        issued_ms: row.int()?,
        ends_ms: row.int()?,
        is_wanted: row.bool()?,
        is_unanswered: row.bool()?,
        failures: row.int()?,
        connection_id,
        account,
    };
    let (digest, credential) = (row.text()?, row.opt_bytes()?);
    let owner = Owner { account: &grant.account, arn: &grant.connection_arn };
    let is_of = is_of(tx, keys, &owner, credential.as_deref(), &digest)?;
    Ok(is_of.then_some(grant))
}

/// The grant under a claim that still stands.
fn held(tx: &Tx<'_>, keys: &Keys, claim: &Claim) -> StoreResult<Grant> {
    work::fence(tx, claim)?;
    let lost = || StoreError::Stale(format!("{} {}", claim.kind.as_str(), claim.id));
    find(tx, keys, connection_of(&claim.id))?.ok_or_else(lost)
}

impl Store {
    /// Completes a connection's handshake with a credential that runs out, and what the next one is got with. False, and
    /// nothing is stored, as with [`Store::authorize_connection`].
    ///
    /// # Errors
    /// The database's.
    pub async fn authorize_with_grant<A: Send + 'static>(
        &self,
        scope: &Scope,
        id: &str,
        credential: CredentialRow,
        grant: NewGrant,
        change: Change<bool, A>,
    ) -> StoreResult<A> {
        let (scope, id, keys) = (scope.clone(), id.to_owned(), self.keys());
        self.change("store.authorize_with_grant", change, move |tx| {
            let sealed = credential.sealed.clone().unwrap_or_default();
            let Some(arn) = connections::authorize(tx, &keys, &scope, &id, credential)? else {
                return Ok(false);
            };
            let (account, row) = (scope.account.as_str(), grant_owner(&id));
            let digest = digest_of(keys.open_in(tx, &Owner { account, arn: &arn }, &sealed)?.expose());
            let sealed = keys.under_active(tx, &Owner { account, arn: &row }, grant.sealed)?;
            let now_ms = tx.now_ms();
            tx.execute(
                "INSERT INTO connection_grant (connection_id, account_id, sealed, credential_digest, issued_ms, ends_ms,
                                               wanted, unanswered, refused, failures)
                   VALUES ($1, $2, $3, $4, $5, $6, 0, 0, 0, 0)",
                params![&id, account, sealed, digest, now_ms, now_ms + grant.lifetime_ms],
            )?;
            work::insert(tx, Kind::Token, &work_id(&id), true)?;
            Ok(true)
        })
        .await
    }

    /// Has another token got for a link's connection, whose token its forge refused, if it is one that can be replaced and is
    /// not new.
    ///
    /// # Errors
    /// The database's.
    pub async fn want_token(&self, link_id: &str) -> StoreResult<()> {
        let link_id = link_id.to_owned();
        let account = {
            let link_id = link_id.clone();
            self.read(move |tx| {
                let found = tx.row(
                    "SELECT g.account_id FROM connection_grant g JOIN repository_link l ON l.connection_id = g.connection_id
                      WHERE l.id = $1 AND g.issued_ms <= $2 AND g.wanted = 0",
                    params![link_id, tx.now_ms() - YOUNG_MS],
                )?;
                found.map(|mut row| row.text()).transpose()
            })
            .await?
        };
        // Most tokens are somebody's, and not replaced by anybody else.
        let Some(account) = account else { return Ok(()) };
        let account: AccountId =
            account.parse().map_err(|_| StoreError::Corrupt(format!("the account '{account}'")))?;
        self.write("store.want_token", move |tx| {
            tx.lock_account(&account)?;
            want(tx, &link_id)
        })
        .await
    }

    /// The grant that a claim is about; `None` if it is gone, or not that of the connection's credential.
    ///
    /// # Errors
    /// The database's.
    pub async fn grant(&self, claim: &Claim) -> StoreResult<Option<Grant>> {
        let (id, keys) = (connection_of(&claim.id).to_owned(), self.keys());
        self.read(move |tx| find(tx, &keys, &id)).await
    }

    /// Ends the work on a grant of which [`Store::grant`] said that it is gone, with what is left of it.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if the claim was lost.
    pub async fn forget_grant(&self, claim: &Claim) -> StoreResult<()> {
        let (claim, keys) = (claim.clone(), self.keys());
        self.write("store.forget_grant", move |tx| {
            work::fence(tx, &claim)?;
            let id = connection_of(&claim.id);
            if find(tx, &keys, id)?.is_none() {
                forget(tx, id)?;
            }
            Ok(())
        })
        .await
    }

    /// Notes that a token is about to be asked for; the grant as it is then.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if the claim was lost.
    pub async fn begin_renewal(&self, claim: &Claim) -> StoreResult<Grant> {
        let (claim, keys) = (claim.clone(), self.keys());
        self.write("store.begin_renewal", move |tx| {
            let grant = held(tx, &keys, &claim)?;
            tx.execute(
                "UPDATE connection_grant SET unanswered = 1 WHERE connection_id = $1",
                params![&grant.connection_id],
            )?;
            Ok(grant)
        })
        .await
    }

    /// Stores a token that was got, and wakes the connection's links if they could do nothing without it. When the next one
    /// is to be got, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if the claim was lost.
    pub async fn record_renewal(&self, claim: &Claim, renewed: Renewed) -> StoreResult<i64> {
        let (claim, keys) = (claim.clone(), self.keys());
        self.write("store.record_renewal", move |tx| {
            let grant = held(tx, &keys, &claim)?;
            let (id, account, now_ms) = (&grant.connection_id, grant.account.as_str(), tx.now_ms());
            let ends_ms = now_ms + renewed.lifetime_ms;
            let row = grant_owner(id);
            let of_connection = Owner { account, arn: &grant.connection_arn };
            let digest = digest_of(keys.open_in(tx, &of_connection, &renewed.credential)?.expose());
            let credential = keys.under_active(tx, &of_connection, renewed.credential)?;
            let sealed = keys.under_active(tx, &Owner { account, arn: &row }, renewed.grant)?;
            tx.execute("UPDATE connection SET credential = $2 WHERE id = $1", params![id, credential])?;
            // What a link was refused with is not known to be good again before it has asked.
            tx.execute(
                "UPDATE connection SET status = 'AVAILABLE', status_reason = NULL WHERE id = $1 AND status = 'ERROR'
                    AND EXISTS (SELECT 1 FROM connection_grant g WHERE g.connection_id = $1 AND g.refused = 1)",
                params![id],
            )?;
            tx.execute(
                "UPDATE connection_grant SET sealed = $2, issued_ms = $3, ends_ms = $4, wanted = 0, unanswered = 0,
                        refused = 0, failures = 0, trouble = NULL, credential_digest = $5
                  WHERE connection_id = $1",
                params![id, sealed, now_ms, ends_ms, digest],
            )?;
            if grant.is_wanted || grant.failures > 0 || grant.ends_ms <= now_ms {
                connections::wake_links(tx, id)?;
            }
            Ok(due_ms(now_ms, ends_ms))
        })
        .await
    }

    /// Notes why no token was got. Where the forge refuses, the connection is in ERROR until one is. When that was, in
    /// milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if the claim was lost.
    pub async fn record_no_renewal(&self, claim: &Claim, trouble: NotRenewed) -> StoreResult<i64> {
        let (claim, keys) = (claim.clone(), self.keys());
        self.write("store.record_no_renewal", move |tx| {
            let grant = held(tx, &keys, &claim)?;
            let id = &grant.connection_id;
            tx.execute(
                "UPDATE connection_grant SET failures = failures + 1, trouble = $2, unanswered = $4,
                        refused = CASE WHEN $3 = 1 THEN 1 ELSE refused END
                  WHERE connection_id = $1",
                params![id, &trouble.reason, trouble.is_refused, trouble.is_unanswered],
            )?;
            if trouble.is_refused {
                tx.execute(
                    "UPDATE connection SET status = $2, status_reason = $3
                      WHERE id = $1 AND status IN ('AVAILABLE', 'ERROR')",
                    params![id, ConnectionStatus::Error.as_str(), &trouble.reason],
                )?;
            }
            Ok(tx.now_ms())
        })
        .await
    }
}
