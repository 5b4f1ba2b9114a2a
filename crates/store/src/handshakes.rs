//! Handshakes that a person completes in a browser: begun with a key, opened once, by one browser, and handed back by the
//! forge.
//!
//! What opens a handshake, the browser's cookie, and what the forge hands back are here as digests only. A handshake that is
//! taken is gone: whoever comes second finds nothing. A connection has one handshake at the most, the newest; one that nobody
//! goes on with is thrown away by a piece of work of its own, with the secrets that it holds.

use crate::change::Change;
use crate::keyring::{Owner, OwnerOf};
use crate::sql::{Row, Tx, params};
use crate::work::{self, Claim, Kind};
use crate::{Scope, Store, StoreError, StoreResult, connections};

/// A handshake to begin.
#[derive(Debug, Clone)]
pub struct NewHandshake {
    /// Its id.
    pub id: String,
    /// What kind it is, for whoever goes on with it.
    pub kind: String,
    /// Whose key began it, in JSON.
    pub begun_by: String,
    /// The endpoint of the connection's host, if it has one.
    pub tried_at: Option<String>,
    /// SHA-256 of what opens it.
    pub ticket: String,
    /// How long it may take, in milliseconds.
    pub lifetime_ms: i64,
    /// What the next step needs, sealed for [`handshake_owner`].
    pub sealed: Vec<u8>,
}

/// A handshake, with what its next step needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub scope: Scope,
    /// The connection's id.
    pub connection_id: String,
    /// What kind it is.
    pub kind: String,
    /// Whose key began it, in JSON.
    pub begun_by: String,
    /// The endpoint of the connection's host when it was begun.
    pub tried_at: Option<String>,
    /// What the next step needs, sealed for [`handshake_owner`].
    pub sealed: Vec<u8>,
    browser: Option<String>,
}

impl Handshake {
    /// Whether it was opened by the browser with this cookie, a digest.
    #[must_use]
    pub fn is_of_browser(&self, cookie: &str) -> bool {
        self.browser.as_deref() == Some(cookie)
    }
}

/// The row that a handshake is sealed for, as the resource of an [`Owner`].
#[must_use]
pub fn handshake_owner(id: &str) -> String {
    format!("handshake/{id}")
}

/// The columns that [`owner`] reads.
pub(crate) const OWNED_BY: &str = "account_id, id";

/// Whom a handshake is sealed for.
pub(crate) fn owner(row: &mut Row) -> StoreResult<OwnerOf> {
    Ok(OwnerOf { account: row.text()?, arn: handshake_owner(&row.text()?) })
}

const COLUMNS: &str = "id, account_id, region, connection_id, kind, begun_by, tried_at, sealed, browser";

fn from_row(mut row: Row) -> StoreResult<Handshake> {
    let (id, account, region) = (row.text()?, row.text()?, row.text()?);
    let corrupt = |what: &str| StoreError::Corrupt(format!("the {what} of the handshake {id}"));
    let scope = Scope {
        account: account.parse().map_err(|_| corrupt("account"))?,
        region: region.parse().map_err(|_| corrupt("region"))?,
    };
    Ok(Handshake {
        scope,
        connection_id: row.text()?,
        kind: row.text()?,
        begun_by: row.text()?,
        tried_at: row.opt_text()?,
        sealed: row.opt_bytes()?.unwrap_or_default(),
        browser: row.opt_text()?,
        id,
    })
}

/// What the ids of the work begin with that throws handshakes away; the connection's id follows.
const WORK_PREFIX: &str = "handshake-";

fn work_id(connection_id: &str) -> String {
    format!("{WORK_PREFIX}{connection_id}")
}

/// The connection that a piece of such work is about; `None` if it is other work.
pub(crate) fn connection_of(work_id: &str) -> Option<&str> {
    work_id.strip_prefix(WORK_PREFIX)
}

/// Whether a piece of [`Kind::Token`] is about a handshake that is to be thrown away, and not about a grant.
#[must_use]
pub fn is_of_handshake(claim: &Claim) -> bool {
    connection_of(&claim.id).is_some()
}

/// Forgets the handshake of a connection.
pub(crate) fn forget(tx: &Tx<'_>, connection_id: &str) -> StoreResult<()> {
    tx.execute("DELETE FROM handshake WHERE connection_id = $1", params![connection_id])?;
    tx.execute("DELETE FROM work WHERE id = $1", params![work_id(connection_id)])?;
    Ok(())
}

impl Store {
    /// Begins a handshake, in place of any other of its connection. False if the scope has no such connection.
    ///
    /// # Errors
    /// The database's.
    pub async fn begin_handshake<A: Send + 'static>(
        &self,
        scope: &Scope,
        connection_id: &str,
        new: NewHandshake,
        change: Change<bool, A>,
    ) -> StoreResult<A> {
        let (scope, connection_id, keys) = (scope.clone(), connection_id.to_owned(), self.keys());
        self.change("store.begin_handshake", change, move |tx| {
            tx.lock_account(&scope.account)?;
            if connections::find(tx, &scope, &connection_id)?.is_none() {
                return Ok(false);
            }
            let account = scope.account.as_str();
            forget(tx, &connection_id)?;
            let ends_ms = tx.now_ms() + new.lifetime_ms;
            work::put_off(tx, Kind::Token, &work_id(&connection_id), ends_ms)?;
            let row = handshake_owner(&new.id);
            let sealed = keys.under_active(tx, &Owner { account, arn: &row }, new.sealed)?;
            tx.execute(
                "INSERT INTO handshake (id, connection_id, account_id, region, kind, begun_by, tried_at, ticket, ends_ms,
                                        sealed)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
                params![
                    &new.id,
                    &connection_id,
                    account,
                    scope.region.as_str(),
                    new.kind,
                    new.begun_by,
                    new.tried_at,
                    new.ticket,
                    ends_ms,
                    sealed
                ],
            )?;
            Ok(true)
        })
        .await
    }

    /// Opens a handshake for a browser, which no other can open any more, and expects `state` back from the forge. The browser
    /// gets the cookie `fresh`, unless it is the one that opened it before, with the cookie `known`; all of these are digests.
    /// `None` if the ticket is good for nothing (any more), or another browser opened it.
    ///
    /// # Errors
    /// The database's.
    pub async fn open_handshake(
        &self,
        ticket: &str,
        known: Option<&str>,
        fresh: &str,
        state: &str,
    ) -> StoreResult<Option<Handshake>> {
        let (ticket, known) = (ticket.to_owned(), known.map(str::to_owned));
        let (fresh, state) = (fresh.to_owned(), state.to_owned());
        self.write_while_wanted("store.open_handshake", move |tx| {
            let row = tx.row(
                &format!(
                    "UPDATE handshake SET browser = coalesce(browser, $2), state = $3
                      WHERE ticket = $1 AND ends_ms > $4 AND (browser IS NULL OR browser = CAST($5 AS TEXT))
                      RETURNING {COLUMNS}"
                ),
                params![ticket, fresh, state, tx.now_ms(), known],
            )?;
            row.map(from_row).transpose()
        })
        .await
    }

    /// Takes the handshake for which a browser brings back the state; both are digests. Whoever comes with it again finds
    /// nothing.
    ///
    /// # Errors
    /// The database's.
    pub async fn take_handshake(
        &self,
        kind: &str,
        browser: &str,
        state: &str,
    ) -> StoreResult<Option<Handshake>> {
        let (kind, browser, state) = (kind.to_owned(), browser.to_owned(), state.to_owned());
        self.write_while_wanted("store.take_handshake", move |tx| {
            let row = tx.row(
                &format!(
                    "DELETE FROM handshake WHERE kind = $1 AND browser = $2 AND state = $3 AND ends_ms > $4
                       RETURNING {COLUMNS}"
                ),
                params![kind, browser, state, tx.now_ms()],
            )?;
            row.map(from_row).transpose()
        })
        .await
    }

    /// The handshake for which a browser brings the state; both are digests. It stays what it is.
    ///
    /// # Errors
    /// The database's.
    pub async fn handshake(&self, kind: &str, browser: &str, state: &str) -> StoreResult<Option<Handshake>> {
        let (kind, browser, state) = (kind.to_owned(), browser.to_owned(), state.to_owned());
        self.read(move |tx| {
            let row = tx.row(
                &format!(
                    "SELECT {COLUMNS} FROM handshake WHERE kind = $1 AND browser = $2 AND state = $3 AND ends_ms > $4"
                ),
                params![kind, browser, state, tx.now_ms()],
            )?;
            row.map(from_row).transpose()
        })
        .await
    }

    /// Has a handshake that was taken go on in the same browser, which the forge is to hand `state` back to, a digest.
    /// False, and nothing is stored, if its connection is gone, its host is elsewhere, or another handshake was begun.
    ///
    /// # Errors
    /// The database's.
    pub async fn continue_handshake(
        &self,
        taken: Handshake,
        kind: &str,
        state: &str,
        lifetime_ms: i64,
        sealed: Vec<u8>,
    ) -> StoreResult<bool> {
        let (kind, state, keys) = (kind.to_owned(), state.to_owned(), self.keys());
        // What it holds is nowhere else: no crowd of requests keeps it from being written.
        self.write("store.continue_handshake", move |tx| {
            let Handshake { id, scope, connection_id, begun_by, tried_at, browser, .. } = taken;
            tx.lock_account(&scope.account)?;
            let other = "SELECT count(*) FROM handshake WHERE connection_id = $1";
            if !connections::is_where(tx, &scope, &connection_id, tried_at.as_deref())?
                || tx.count(other, params![&connection_id])? > 0
            {
                return Ok(false);
            }
            let (account, row) = (scope.account.as_str(), handshake_owner(&id));
            let sealed = keys.under_active(tx, &Owner { account, arn: &row }, sealed)?;
            let ends_ms = tx.now_ms() + lifetime_ms;
            work::put_off(tx, Kind::Token, &work_id(&connection_id), ends_ms)?;
            tx.execute(
                "INSERT INTO handshake (id, connection_id, account_id, region, kind, begun_by, tried_at, browser, state,
                                        ends_ms, sealed)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
                params![
                    &id,
                    &connection_id,
                    account,
                    scope.region.as_str(),
                    kind,
                    begun_by,
                    tried_at,
                    browser,
                    state,
                    ends_ms,
                    sealed
                ],
            )?;
            Ok(true)
        })
        .await
    }

    /// Throws the handshake away that a claim is about, if it is too old; when it is, otherwise, in milliseconds since the
    /// Unix epoch. `None` if there is none any more, and no work with it.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if the claim was lost.
    pub async fn sweep_handshake(&self, claim: &Claim) -> StoreResult<Option<i64>> {
        let claim = claim.clone();
        self.write("store.sweep_handshake", move |tx| {
            work::fence(tx, &claim)?;
            let Some(connection_id) = connection_of(&claim.id) else { return Ok(None) };
            let ends = "SELECT max(ends_ms) FROM handshake WHERE connection_id = $1 AND ends_ms > $2";
            let row = tx.row(ends, params![connection_id, tx.now_ms()])?;
            let ends_ms = row.map_or(Ok(None), |mut row| row.opt_int())?;
            if ends_ms.is_none() {
                forget(tx, connection_id)?;
            }
            Ok(ends_ms)
        })
        .await
    }
}
