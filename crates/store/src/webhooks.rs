//! Webhooks of repository links: where a forge tells of pushes, and the secrets by which it proves that it is the one.
//!
//! A link has one webhook at the most. Its newest secret counts, and the one before it until its overlap ends.

use syncline_seams::Secret;

use crate::change::Change;
use crate::keyring::{Owner, OwnerOf};
use crate::sql::{Row, Tx, params};
use crate::{Scope, Store, StoreResult, links, redeliveries};

/// A webhook, with what a delivery to it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// The last part of its URL.
    pub id: String,
    /// Whose it is.
    pub scope: Scope,
    /// The link's id.
    pub link_id: String,
    /// The link's provider type.
    pub provider_type: String,
    /// `<owner>/<name>` of the link's repository.
    pub repository: String,
    /// The ids of the secrets that count, each with the secret sealed for [`webhook_secret_owner`].
    secrets: Vec<(String, Vec<u8>)>,
}

/// A secret to give to a webhook.
#[derive(Debug, Clone)]
pub struct NewWebhookSecret {
    /// The webhook's id, if the link has none yet.
    pub webhook_id: String,
    /// The secret's id.
    pub id: String,
    /// Sealed for [`webhook_secret_owner`].
    pub sealed: Vec<u8>,
    /// How long the secret before it goes on counting, in milliseconds; 0 for not at all.
    pub overlap_ms: i64,
    /// Whether the webhook is kept right at the forge from now on, if it is not already.
    pub register: bool,
}

/// A webhook that was given a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The webhook's id.
    pub webhook_id: String,
    /// Until when the secret before it counts, in milliseconds since the Unix epoch; `None` if there is none.
    pub previous_until_ms: Option<i64>,
    /// Whether the webhook is kept right at the forge.
    pub registered: bool,
}

/// The row that a webhook's secret is sealed for, as the resource of an [`Owner`].
#[must_use]
pub fn webhook_secret_owner(secret_id: &str) -> String {
    format!("webhook-secret/{secret_id}")
}

/// The columns that [`owner`] reads.
pub(crate) const OWNED_BY: &str = "account_id, id";

/// Whom a webhook's secret is sealed for.
pub(crate) fn owner(row: &mut Row) -> StoreResult<OwnerOf> {
    Ok(OwnerOf { account: row.text()?, arn: webhook_secret_owner(&row.text()?) })
}

/// Deletes a link's webhook and what was delivered to it.
pub(crate) fn delete_of_link(tx: &Tx<'_>, link_id: &str) -> StoreResult<()> {
    tx.execute(
        "DELETE FROM webhook_secret WHERE webhook_id IN (SELECT id FROM webhook WHERE link_id = $1)",
        params![link_id],
    )?;
    tx.execute("DELETE FROM webhook WHERE link_id = $1", params![link_id])?;
    tx.execute("DELETE FROM delivery WHERE link_id = $1", params![link_id])?;
    redeliveries::forget(tx, link_id)?;
    Ok(())
}

impl Store {
    /// Gives a link's webhook a new secret, making the webhook if there is none. The secret that counted until now goes on
    /// counting for the overlap, any before it not. `None` if the scope has no such link.
    ///
    /// # Errors
    /// The database's.
    pub async fn rotate_webhook<A: Send + 'static>(
        &self,
        scope: &Scope,
        link_id: &str,
        new: NewWebhookSecret,
        change: Change<Option<Rotated>, A>,
    ) -> StoreResult<A> {
        let (scope, link_id, keys) = (scope.clone(), link_id.to_owned(), self.keys());
        self.change("store.rotate_webhook", change, move |tx| {
            tx.lock_account(&scope.account)?;
            if links::find(tx, &scope, &link_id)?.is_none() {
                return Ok(None);
            }
            let (account, now_ms) = (scope.account.as_str(), tx.now_ms());
            let owner = webhook_secret_owner(&new.id);
            let sealed = keys.under_active(tx, &Owner { account, arn: &owner }, new.sealed)?;
            let found = tx.row("SELECT id, registered FROM webhook WHERE link_id = $1", params![&link_id])?;
            let (webhook_id, was_registered) = match found {
                Some(mut row) => (row.text()?, row.int()? != 0),
                None => {
                    tx.execute(
                        "INSERT INTO webhook (id, link_id, account_id, region, created_at_ms)
                           VALUES ($1, $2, $3, $4, $5)",
                        params![&new.webhook_id, &link_id, account, scope.region.as_str(), now_ms],
                    )?;
                    (new.webhook_id, false)
                }
            };
            if new.register && !was_registered {
                tx.execute("UPDATE webhook SET registered = 1 WHERE id = $1", params![&webhook_id])?;
                redeliveries::begin(tx, &link_id)?;
            }
            tx.execute(
                "DELETE FROM webhook_secret WHERE webhook_id = $1 AND (ends_at_ms IS NOT NULL OR $2 = 0)",
                params![&webhook_id, new.overlap_ms],
            )?;
            let until_ms = now_ms.saturating_add(new.overlap_ms);
            let kept = tx.execute(
                "UPDATE webhook_secret SET ends_at_ms = $2 WHERE webhook_id = $1",
                params![&webhook_id, until_ms],
            )?;
            tx.execute(
                "INSERT INTO webhook_secret (id, webhook_id, account_id, secret) VALUES ($1, $2, $3, $4)",
                params![&new.id, &webhook_id, account, sealed],
            )?;
            Ok(Some(Rotated {
                webhook_id,
                previous_until_ms: (kept > 0).then_some(until_ms),
                registered: new.register || was_registered,
            }))
        })
        .await
    }

    /// The webhook of that id, whosever it is, with the secrets that count now.
    ///
    /// # Errors
    /// The database's.
    pub async fn webhook(&self, id: &str) -> StoreResult<Option<Webhook>> {
        let id = id.to_owned();
        self.read(move |tx| {
            let found = tx.row(
                "SELECT w.account_id, w.region, l.id, l.provider_type, l.owner_id, l.repository_name
                   FROM webhook w JOIN repository_link l ON l.id = w.link_id WHERE w.id = $1",
                params![&id],
            )?;
            let Some(mut row) = found else { return Ok(None) };
            let corrupt = |what: &str| crate::StoreError::Corrupt(format!("the {what} of webhook {id}"));
            let account = row.text()?.parse().map_err(|_| corrupt("account"))?;
            let region = row.text()?.parse().map_err(|_| corrupt("region"))?;
            let (link_id, provider_type) = (row.text()?, row.text()?);
            let repository = format!("{}/{}", row.text()?, row.text()?);
            let secrets = tx.rows(
                "SELECT id, secret FROM webhook_secret
                  WHERE webhook_id = $1 AND (ends_at_ms IS NULL OR ends_at_ms > $2) ORDER BY id",
                params![&id, tx.now_ms()],
            )?;
            let secrets =
                secrets.into_iter().map(|mut row| Ok((row.text()?, row.opt_bytes()?.unwrap_or_default())));
            Ok(Some(Webhook {
                scope: Scope { account, region },
                link_id,
                provider_type,
                repository,
                secrets: secrets.collect::<StoreResult<_>>()?,
                id,
            }))
        })
        .await
    }

    /// The id of a link's webhook that is kept right at the forge, if it has one.
    ///
    /// # Errors
    /// The database's.
    pub async fn registered_webhook(&self, scope: &Scope, link_id: &str) -> StoreResult<Option<String>> {
        let (scope, link_id) = (scope.clone(), link_id.to_owned());
        self.read(move |tx| {
            let found = tx.row(
                "SELECT id FROM webhook WHERE link_id = $1 AND account_id = $2 AND region = $3 AND registered = 1",
                params![&link_id, scope.account.as_str(), scope.region.as_str()],
            )?;
            found.map(|mut row| row.text()).transpose()
        })
        .await
    }

    /// The newest secret of a webhook, with its id; `None` if there is no such webhook.
    ///
    /// # Errors
    /// The keyring's, the database's.
    pub async fn newest_webhook_secret(
        &self,
        webhook_id: &str,
    ) -> StoreResult<Option<(String, Secret<Vec<u8>>)>> {
        let id = webhook_id.to_owned();
        let found = self
            .read(move |tx| {
                let found = tx.row(
                    "SELECT account_id, id, secret FROM webhook_secret
                      WHERE webhook_id = $1 AND ends_at_ms IS NULL",
                    params![&id],
                )?;
                found
                    .map(|mut row| Ok((row.text()?, row.text()?, row.opt_bytes()?.unwrap_or_default())))
                    .transpose()
            })
            .await?;
        let Some((account, secret_id, sealed)) = found else { return Ok(None) };
        let arn = webhook_secret_owner(&secret_id);
        let opened = self.keyring().open_sealed(&Owner { account: &account, arn: &arn }, &sealed).await?;
        Ok(Some((secret_id, opened)))
    }

    /// The secrets of a webhook that count.
    ///
    /// # Errors
    /// The keyring's.
    pub async fn secrets_of(&self, webhook: &Webhook) -> StoreResult<Vec<Secret<Vec<u8>>>> {
        let mut opened = Vec::with_capacity(webhook.secrets.len());
        for (id, sealed) in &webhook.secrets {
            let owner = webhook_secret_owner(id);
            let owner = Owner { account: webhook.scope.account.as_str(), arn: &owner };
            opened.push(self.keyring().open_sealed(&owner, sealed).await?);
        }
        Ok(opened)
    }
}
