//! Sealing of secrets at rest.
//!
//! Secrets are sealed by data keys, data keys by master keys. Data keys are rows, so that there can be several,
//! each value names its own, and a new one takes over while the store is in use ([`Keyring::rotate`]). Master
//! keys come from outside and are never stored. The associated data names the account and the ARN of the row that
//! a secret belongs to, so a value copied into another row does not open.
//!
//! **Architecture Invariant:** what is written to a column of secrets is sealed by the data key that is in use at
//! that moment (`Keys::under_active`, in the transaction that writes). So a data key that was taken out of use
//! and that no row names is named by none that comes later, and can be deleted.

mod columns;
mod data_keys;
mod masters;
mod rotation;
mod sealed;

use std::collections::{BTreeMap, HashMap};
use std::sync::{PoisonError, RwLock};

use sha2::{Digest, Sha256};
use syncline_seams::Secret;

use crate::database::Starting;
use crate::sql::Tx;
use crate::{Location, Store, StoreError, StoreResult};

pub use masters::{KeySource, MasterKeys};
pub use rotation::{DataKeyStatus, KeyringStatus, MasterStatus, Rotation};
pub use sealed::KeyId;

use columns::COLUMNS;
use data_keys::{DataKey, SECRETS};
use sealed::{Format, Key, Sealed};

/// The purpose of the key that authenticates paging tokens. It lasts: rotation only seals it anew.
const PAGE_TOKENS: &str = "PAGE_TOKENS";

/// Every purpose of a lasting key. One is made for each at the start where there is none.
const LASTING: &[&str] = &[PAGE_TOKENS];

/// The row a secret belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The account.
    pub account: &'a str,
    /// The ARN of the resource.
    pub arn: &'a str,
}

impl Owner<'_> {
    fn associated_data(&self) -> String {
        format!("{}\n{}", self.account, self.arn)
    }
}

/// An [`Owner`] read from a row.
#[derive(Debug, Clone)]
pub(crate) struct OwnerOf {
    pub(crate) account: String,
    pub(crate) arn: String,
}

impl OwnerOf {
    pub(crate) fn as_owner(&self) -> Owner<'_> {
        Owner { account: &self.account, arn: &self.arn }
    }
}

/// The keys in memory.
pub(crate) struct Keys {
    masters: MasterKeys,
    /// The lasting keys, by purpose.
    lasting: HashMap<String, Key>,
    loaded: RwLock<Loaded>,
}

#[derive(Default)]
struct Loaded {
    /// Every data key that was ever met: one that another process deleted may still be needed for what is in flight.
    secrets: HashMap<KeyId, Key>,
    active: Option<KeyId>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({:?})", self.masters)
    }
}

/// Reads the master keys and opens the data keys with them, making what a new database lacks.
///
/// # Errors
/// [`StoreError::Key`] if the source holds no keys, or not those that the database is sealed with.
pub(crate) fn open(
    starting: &mut Starting<'_>,
    database: &Location,
    source: &KeySource,
    is_new: bool,
) -> StoreResult<Keys> {
    let (stored, by_master) = starting.read(|tx| Ok((data_keys::all(tx)?, by_master(tx)?)))?;
    // Those whose master key is needed; a version before data keys sealed with it directly.
    let mut needed: Vec<KeyId> = stored.iter().map(|key| key.master).chain(by_master.into_keys()).collect();
    needed.sort_unstable();
    needed.dedup();
    let masters = match source.read()? {
        Some(masters) => masters,
        None if needed.is_empty() => source.make()?,
        None => {
            return Err(StoreError::Key(format!(
                "the keyring {} does not exist, but {} holds secrets sealed with the master key {}: put that \
                 keyring back (a new one could not open them){}",
                source.name(),
                database,
                listed(&needed),
                if database.is_postgres() {
                    "; every process on one database needs the same keyring"
                } else {
                    ""
                }
            )));
        }
    };
    let missing: Vec<KeyId> = needed.into_iter().filter(|id| masters.find(*id).is_none()).collect();
    if !missing.is_empty() {
        return Err(StoreError::Key(format!(
            "the keyring {} holds the master key {}, but {} holds secrets sealed with {}: give the keyring that \
             has it too (--keyring)",
            masters.source(),
            listed(&masters.ids().collect::<Vec<_>>()),
            database,
            listed(&missing)
        )));
    }
    let has = |purpose: &str| {
        stored.iter().any(|key: &DataKey| key.purpose == purpose && key.retired_at_ms.is_none())
    };
    let stored = if std::iter::once(&SECRETS).chain(LASTING).all(|purpose| has(purpose)) {
        stored
    } else {
        starting.prepare(|tx| {
            data_keys::insert(tx, &Key::random(), SECRETS, masters.first())?;
            for purpose in LASTING {
                let mut key = Key::random();
                if *purpose == PAGE_TOKENS && !is_new && stored.is_empty() {
                    key.bytes = former_token_key(masters.first());
                }
                data_keys::insert(tx, &key, purpose, masters.first())?;
            }
            data_keys::all(tx)
        })?
    };
    let mut keys = Keys { masters, lasting: HashMap::new(), loaded: RwLock::default() };
    for row in stored.iter().filter(|row| LASTING.contains(&row.purpose.as_str())) {
        keys.lasting.insert(row.purpose.clone(), keys.opened(row)?);
    }
    if let Some(lost) = LASTING.iter().find(|purpose| !keys.lasting.contains_key(**purpose)) {
        return Err(StoreError::Corrupt(format!("the data key for {lost} is missing")));
    }
    keys.take(&stored)?;
    Ok(keys)
}

/// The key of paging tokens before there were data keys: those given out then are good for their day.
fn former_token_key(master: &Key) -> Secret<[u8; 32]> {
    let digest =
        Sha256::new().chain_update(b"syncline page tokens\0").chain_update(master.bytes.expose()).finalize();
    Secret::from(<[u8; 32]>::from(digest))
}

/// How many secrets each master key sealed directly.
fn by_master(tx: &Tx<'_>) -> StoreResult<BTreeMap<KeyId, i64>> {
    let mut counts = BTreeMap::new();
    for column in COLUMNS {
        for (head, count) in column.count_by_key(tx)? {
            if let Some((Format::SecretByMaster, id)) = head {
                *counts.entry(id).or_insert(0) += count;
            }
        }
    }
    Ok(counts)
}

fn listed(ids: &[KeyId]) -> String {
    ids.iter().map(KeyId::to_string).collect::<Vec<_>>().join(", ")
}

/// Why a secret does not open.
enum Closed {
    /// Its data key is not in memory.
    Unknown(KeyId),
    /// It never will.
    Refused(StoreError),
}

impl Keys {
    fn opened(&self, row: &DataKey) -> StoreResult<Key> {
        row.opened(&self.masters)?.ok_or_else(|| {
            StoreError::Key(format!(
                "the data key {} is sealed with the master key {}, which the keyring {} does not hold",
                row.id,
                row.master,
                self.masters.source()
            ))
        })
    }

    /// Takes over the keys that are stored. One that is not stored any more stays known.
    fn take(&self, stored: &[DataKey]) -> StoreResult<()> {
        let rows = stored.iter().filter(|row| row.purpose == SECRETS);
        let opened: Vec<_> = rows.map(|row| Ok((row, self.opened(row)?))).collect::<StoreResult<_>>()?;
        let mut loaded = self.loaded.write().unwrap_or_else(PoisonError::into_inner);
        for (row, key) in opened {
            if row.retired_at_ms.is_none() {
                loaded.active = Some(key.id);
            }
            loaded.secrets.insert(key.id, key);
        }
        Ok(())
    }

    fn known<T>(&self, read: impl FnOnce(&Loaded) -> T) -> T {
        read(&self.loaded.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Seals with the key that was in use when it was last asked for.
    pub(crate) fn seal(&self, owner: &Owner<'_>, secret: &[u8]) -> StoreResult<Vec<u8>> {
        match self.known(|loaded| loaded.active) {
            Some(active) => self.seal_with(active, owner, secret),
            None => Err(StoreError::Corrupt("no data key seals secrets".to_owned())),
        }
    }

    fn seal_with(&self, id: KeyId, owner: &Owner<'_>, secret: &[u8]) -> StoreResult<Vec<u8>> {
        let key = self.known(|loaded| loaded.secrets.get(&id).cloned());
        let key = key.ok_or_else(|| StoreError::Key(format!("the data key {id} does not exist")))?;
        key.seal(Format::Secret, &owner.associated_data(), secret)
    }

    fn try_open(&self, owner: &Owner<'_>, sealed: &[u8]) -> Result<Secret<Vec<u8>>, Closed> {
        let refused =
            |why: &str| Closed::Refused(StoreError::Key(format!("the secret of {} {why}", owner.arn)));
        let sealed = Sealed::parse(sealed).ok_or_else(|| refused("is not in a known format"))?;
        let key = match sealed.format {
            Format::SecretByMaster => self
                .masters
                .find(sealed.key)
                .cloned()
                .ok_or_else(|| refused("was sealed with another key than the keyring's"))?,
            Format::Secret => self
                .known(|loaded| loaded.secrets.get(&sealed.key).cloned())
                .ok_or(Closed::Unknown(sealed.key))?,
            Format::DataKey => return Err(refused("is no secret, but a key")),
        };
        key.open(&sealed, &owner.associated_data())
            .ok_or_else(|| refused("does not belong to this row or was changed"))
    }

    /// Opens a secret whose data key, if there is one, is known.
    fn open_known(&self, owner: &Owner<'_>, sealed: &[u8]) -> StoreResult<Secret<Vec<u8>>> {
        self.try_open(owner, sealed).map_err(|closed| match closed {
            Closed::Refused(error) => error,
            Closed::Unknown(id) => StoreError::Key(format!(
                "the secret of {} was sealed with the data key {id}, which does not exist",
                owner.arn
            )),
        })
    }

    /// Opens a secret; a data key that is not known yet is looked for in the same transaction.
    pub(crate) fn open_in(
        &self,
        tx: &Tx<'_>,
        owner: &Owner<'_>,
        sealed: &[u8],
    ) -> StoreResult<Secret<Vec<u8>>> {
        match self.try_open(owner, sealed) {
            Ok(opened) => Ok(opened),
            Err(Closed::Refused(error)) => Err(error),
            Err(Closed::Unknown(_)) => {
                self.take(&data_keys::all(tx)?)?;
                self.open_known(owner, sealed)
            }
        }
    }

    /// What to write for a secret that was sealed a moment ago: the same, or, if its data key was taken out of use
    /// meanwhile, sealed by the one that is in use as of this transaction.
    pub(crate) fn under_active(
        &self,
        tx: &Tx<'_>,
        owner: &Owner<'_>,
        sealed: Vec<u8>,
    ) -> StoreResult<Vec<u8>> {
        let active = data_keys::active(tx)?;
        if sealed::head(&sealed) == Some((Format::Secret, active)) {
            return Ok(sealed);
        }
        self.take(&data_keys::all(tx)?)?;
        let secret = self.open_known(owner, &sealed)?;
        self.seal_with(active, owner, secret.expose())
    }
}

/// What seals a store's secrets.
#[derive(Debug, Clone, Copy)]
pub struct Keyring<'s> {
    store: &'s Store,
}

impl<'s> Keyring<'s> {
    pub(crate) fn of(store: &'s Store) -> Self {
        Self { store }
    }

    fn keys(&self) -> &'s Keys {
        &self.store.inner.keys
    }

    /// The key that authenticates paging tokens. It outlives rotations, as tokens do that were given out.
    #[must_use]
    pub fn token_key(&self) -> Secret<[u8; 32]> {
        // Opening the store fails without it.
        self.keys().lasting[PAGE_TOKENS].bytes.clone()
    }

    /// Seals `secret` for the row named by `owner`.
    ///
    /// # Errors
    /// [`StoreError::Key`] if the cipher refuses (a secret beyond 256 GiB).
    pub fn seal(&self, owner: &Owner<'_>, secret: &[u8]) -> StoreResult<Vec<u8>> {
        self.keys().seal(owner, secret)
    }

    /// Opens what [`Keyring::seal`] sealed for the same row. A data key that is not known yet is looked for: another
    /// process may have made it.
    ///
    /// # Errors
    /// [`StoreError::Key`] if it was sealed with another key, for another row, or was changed; the database's.
    pub async fn open_sealed(&self, owner: &Owner<'_>, sealed: &[u8]) -> StoreResult<Secret<Vec<u8>>> {
        match self.keys().try_open(owner, sealed) {
            Ok(opened) => return Ok(opened),
            Err(Closed::Refused(error)) => return Err(error),
            Err(Closed::Unknown(_)) => {}
        }
        let stored = self.store.read(data_keys::all).await?;
        self.keys().take(&stored)?;
        self.keys().open_known(owner, sealed)
    }
}
