//! Rotation while the store is in use, and what there is to know about the keys.
//!
//! A rotation makes a new data key, takes the old one out of use, seals every secret anew in small transactions, seals
//! the data keys with the first master key, and deletes data keys that seal nothing any more. That it is under way
//! is recorded with its beginning, so that the next call goes on where a dead one ended. A secret is replaced only
//! if it is still the one that was read, and what others write meanwhile is sealed by the new key
//! (`Keys::under_active`); so nothing is lost and nothing has to be looked at twice.

use super::Keyring;
use super::columns::{COLUMNS, Column, StaleRow};
use super::data_keys::{self, SECRETS};
use super::sealed::{Format, Key, KeyId};
use crate::change::Change;
use crate::sql::{Tx, params};
use crate::{StoreError, StoreResult};

/// How many secrets one transaction seals anew: other writes wait for it.
const BATCH: usize = 32;

/// The setting that names the new data key while a rotation is under way.
const UNDER_WAY: &str = "rotation";

/// What a call of [`Keyring::rotate`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rotation {
    /// Secrets sealed anew.
    pub resealed: usize,
    /// Data keys sealed with the first master key.
    pub rewrapped: usize,
    /// Data keys deleted.
    pub deleted: usize,
    /// ARNs of what has a secret that cannot be opened; it stays as it is, and so does its data key.
    pub unreadable: Vec<String>,
    /// Whether the rotation is complete; if not, call again.
    pub is_finished: bool,
}

/// A master key of the keyring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterStatus {
    /// Its id, a digest of it.
    pub id: KeyId,
    /// The label that the keyring gives it.
    pub label: Option<String>,
    /// How many data keys it seals.
    pub data_keys: usize,
    /// How many secrets it seals itself, as versions before data keys did.
    pub secrets: i64,
}

/// A data key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataKeyStatus {
    /// Its id.
    pub id: KeyId,
    /// What it is for: SECRETS, or the purpose of a lasting key.
    pub purpose: String,
    /// The master key that seals it.
    pub master: KeyId,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// When another took its place.
    pub retired_at_ms: Option<i64>,
    /// What it seals, and how many of these.
    pub secrets: Vec<(&'static str, i64)>,
}

/// The state of the keyring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyringStatus {
    /// Where the master keys come from.
    pub source: String,
    /// The master keys, the sealing one first.
    pub masters: Vec<MasterStatus>,
    /// The data keys, the oldest first.
    pub data_keys: Vec<DataKeyStatus>,
    /// Secrets whose key does not exist.
    pub lost_secrets: i64,
    /// Whether a rotation has begun and not ended.
    pub is_rotating: bool,
}

impl Keyring<'_> {
    /// Makes a new data key and seals everything with it, or goes on with a rotation that was interrupted. Stops after
    /// about `most` secrets. `change` is recorded with the new key, whose id it is given.
    ///
    /// # Errors
    /// The database's; what was done until then stays done.
    pub async fn rotate<A: Send + 'static>(
        &self,
        most: usize,
        change: Change<KeyId, A>,
    ) -> StoreResult<(A, Rotation)> {
        let answer = self.begin(change).await?;
        Ok((answer, self.go_on(most).await?))
    }

    async fn go_on(&self, most: usize) -> StoreResult<Rotation> {
        let (active, stored) =
            self.store.read(move |tx| Ok((data_keys::in_use(tx)?, data_keys::all(tx)?))).await?;
        self.keys().take(&stored)?;
        let mut done = Rotation::default();
        for column in COLUMNS {
            if !self.reseal(column, active, most, &mut done).await? {
                return Ok(done);
            }
        }
        done.rewrapped = self.rewrap().await?;
        done.deleted = self.finish(active).await?;
        done.is_finished = true;
        Ok(done)
    }

    /// Whether a rotation has begun and not ended.
    ///
    /// # Errors
    /// The database's.
    pub async fn is_rotating(&self) -> StoreResult<bool> {
        self.store.read(move |tx| Ok(under_way(tx)?.is_some())).await
    }

    /// The keys and what they seal.
    ///
    /// # Errors
    /// The database's.
    pub async fn status(&self) -> StoreResult<KeyringStatus> {
        let keys = self.store.keys();
        self.store
            .read(move |tx| {
                let stored = data_keys::all(tx)?;
                let mut counts = Vec::with_capacity(COLUMNS.len());
                for column in COLUMNS {
                    counts.push((column.what, column.count_by_key(tx)?));
                }
                let count = |what: &str, key: (Format, KeyId)| {
                    let of = counts.iter().find(|(known, _)| *known == what);
                    of.and_then(|(_, counts)| counts.get(&Some(key))).copied().unwrap_or(0)
                };
                let masters: Vec<MasterStatus> = keys
                    .masters
                    .named()
                    .map(|(id, label)| MasterStatus {
                        id,
                        label: label.map(str::to_owned),
                        data_keys: stored.iter().filter(|key| key.master == id).count(),
                        secrets: COLUMNS.iter().map(|c| count(c.what, (Format::SecretByMaster, id))).sum(),
                    })
                    .collect();
                let data_keys: Vec<DataKeyStatus> = stored
                    .into_iter()
                    .map(|key| {
                        let secrets =
                            COLUMNS.iter().map(|c| (c.what, count(c.what, (Format::Secret, key.id))));
                        DataKeyStatus {
                            secrets: secrets.filter(|(_, count)| *count > 0).collect(),
                            id: key.id,
                            purpose: key.purpose,
                            master: key.master,
                            created_at_ms: key.created_at_ms,
                            retired_at_ms: key.retired_at_ms,
                        }
                    })
                    .collect();
                let all: i64 = counts.iter().flat_map(|(_, counts)| counts.values()).sum();
                let by_masters: i64 = masters.iter().map(|master| master.secrets).sum();
                let by_data_keys: i64 = data_keys.iter().flat_map(|key| &key.secrets).map(|(_, n)| n).sum();
                Ok(KeyringStatus {
                    source: keys.masters.source().to_owned(),
                    masters,
                    data_keys,
                    lost_secrets: all - by_masters - by_data_keys,
                    is_rotating: under_way(tx)?.is_some(),
                })
            })
            .await
    }

    /// Makes the new data key, unless a rotation is under way.
    async fn begin<A: Send + 'static>(&self, change: Change<KeyId, A>) -> StoreResult<A> {
        let (new, keys) = (Key::random(), self.store.keys());
        self.store
            .change("store.begin_rotation", change, move |tx| {
                tx.lock("rotation")?;
                let active = data_keys::active(tx)?;
                if under_way(tx)? == Some(active) {
                    return Ok(active);
                }
                data_keys::retire(tx, active)?;
                data_keys::insert(tx, &new, SECRETS, keys.masters.first())?;
                tx.execute(
                    "INSERT INTO setting (name, value) VALUES ($1, $2)
                       ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    params![UNDER_WAY, new.id.to_string()],
                )?;
                Ok(new.id)
            })
            .await
    }

    /// Seals a column's secrets anew. False if it stopped before the end.
    async fn reseal(
        &self,
        column: &'static Column,
        active: KeyId,
        most: usize,
        done: &mut Rotation,
    ) -> StoreResult<bool> {
        let mut after = String::new();
        while done.resealed < most {
            let from = after.clone();
            let stale = self.store.read(move |tx| column.stale(tx, active, &from, BATCH)).await?;
            let Some(last) = stale.last() else { return Ok(true) };
            after.clone_from(&last.id);
            let mut changes = Vec::with_capacity(stale.len());
            for StaleRow { id, owner, sealed } in stale {
                match self.open_sealed(&owner.as_owner(), &sealed).await {
                    Ok(secret) => {
                        let new = self.keys().seal_with(active, &owner.as_owner(), secret.expose())?;
                        changes.push((id, sealed, new));
                    }
                    Err(StoreError::Key(_)) => done.unreadable.push(owner.arn),
                    Err(other) => return Err(other),
                }
            }
            if changes.is_empty() {
                continue;
            }
            let replaced = self
                .store
                .write("store.reseal_secrets", move |tx| {
                    // Two rotations may run at once, and one may have ended before the other comes to this row.
                    if data_keys::active(tx)? != active {
                        return Ok(None);
                    }
                    let mut replaced = 0;
                    for (id, old, new) in changes {
                        replaced += usize::from(column.replace(tx, &id, old, new)?);
                    }
                    Ok(Some(replaced))
                })
                .await?;
            match replaced {
                Some(replaced) => done.resealed += replaced,
                None => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Seals with the first master key what another one sealed.
    async fn rewrap(&self) -> StoreResult<usize> {
        let keys = self.store.keys();
        self.store
            .write("store.rewrap_data_keys", move |tx| {
                let first = keys.masters.first();
                let mut rewrapped = 0;
                for row in data_keys::all(tx)?.iter().filter(|row| row.master != first.id) {
                    rewrapped += usize::from(data_keys::rewrap(tx, row, &keys.opened(row)?, first)?);
                }
                Ok(rewrapped)
            })
            .await
    }

    /// Deletes the data keys that seal nothing, and ends the rotation.
    async fn finish(&self, active: KeyId) -> StoreResult<usize> {
        self.store
            .write("store.finish_rotation", move |tx| {
                let mut deleted = 0;
                for row in data_keys::all(tx)? {
                    if row.purpose == SECRETS && row.retired_at_ms.is_some() && is_unused(tx, row.id)? {
                        data_keys::delete(tx, row.id)?;
                        deleted += 1;
                    }
                }
                tx.execute(
                    "DELETE FROM setting WHERE name = $1 AND value = $2",
                    params![UNDER_WAY, active.to_string()],
                )?;
                Ok(deleted)
            })
            .await
    }
}

fn is_unused(tx: &Tx<'_>, key: KeyId) -> StoreResult<bool> {
    for column in COLUMNS {
        if !column.is_done_with(tx, key)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The new data key of the rotation that is under way.
fn under_way(tx: &Tx<'_>) -> StoreResult<Option<KeyId>> {
    let row = tx.row("SELECT value FROM setting WHERE name = $1", params![UNDER_WAY])?;
    row.map(|mut row| row.text()?.parse()).transpose()
}
