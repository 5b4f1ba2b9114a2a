//! The table of data keys.

use super::masters::MasterKeys;
use super::sealed::{Format, Key, KeyId, Sealed};
use crate::sql::{Row, Tx, params};
use crate::{StoreError, StoreResult};

/// The purpose of the keys that seal secrets; they are rotated.
pub(super) const SECRETS: &str = "SECRETS";

/// A data key as it is stored.
#[derive(Debug, Clone)]
pub(super) struct DataKey {
    pub(super) id: KeyId,
    pub(super) purpose: String,
    pub(super) sealed: Vec<u8>,
    pub(super) master: KeyId,
    pub(super) created_at_ms: i64,
    pub(super) retired_at_ms: Option<i64>,
}

const COLUMNS: &str = "id, purpose, sealed, master_id, created_at_ms, retired_at_ms";

impl DataKey {
    fn from_row(mut row: Row) -> StoreResult<Self> {
        Ok(Self {
            id: row.text()?.parse()?,
            purpose: row.text()?,
            sealed: row.opt_bytes()?.unwrap_or_default(),
            master: row.text()?.parse()?,
            created_at_ms: row.int()?,
            retired_at_ms: row.opt_int()?,
        })
    }

    /// The key itself. `None` if none of the master keys sealed it.
    ///
    /// # Errors
    /// [`StoreError::Key`] if it was changed, or moved to another row.
    pub(super) fn opened(&self, masters: &MasterKeys) -> StoreResult<Option<Key>> {
        let changed =
            || StoreError::Key(format!("the data key {} was changed or does not belong to its row", self.id));
        let sealed = Sealed::parse(&self.sealed).filter(|sealed| sealed.format == Format::DataKey);
        let sealed = sealed.ok_or_else(changed)?;
        let Some(master) = masters.find(sealed.key) else { return Ok(None) };
        let bytes = master.open(&sealed, &owner(self.id, &self.purpose)).ok_or_else(changed)?;
        let bytes: [u8; 32] = bytes.expose().as_slice().try_into().map_err(|_| changed())?;
        Ok(Some(Key { id: self.id, bytes: bytes.into() }))
    }
}

fn owner(id: KeyId, purpose: &str) -> String {
    format!("data key\n{id}\n{purpose}")
}

/// Every data key, the oldest first.
pub(super) fn all(tx: &Tx<'_>) -> StoreResult<Vec<DataKey>> {
    tx.rows(&format!("SELECT {COLUMNS} FROM data_key ORDER BY created_at_ms, id"), &[])?
        .into_iter()
        .map(DataKey::from_row)
        .collect()
}

/// How often the key in use is looked for: each look but the last may wait for a rotation, which are rare.
const MOST_LOOKS: usize = 3;

/// The data key that seals secrets now. On PostgreSQL this locks the row (`FOR SHARE`), so that it is not retired
/// before what it sealed is committed; SQLite has one writer anyway.
pub(super) fn active(tx: &Tx<'_>) -> StoreResult<KeyId> {
    let active = "SELECT id FROM data_key WHERE purpose = $1 AND retired_at_ms IS NULL /*pg FOR SHARE*/";
    // Where it had to wait for the key to be retired, only another look sees the one that took its place.
    for _ in 0..MOST_LOOKS {
        if let Some(mut row) = tx.row(active, params![SECRETS])? {
            return row.text()?.parse();
        }
    }
    Err(StoreError::Corrupt("no data key seals secrets".into()))
}

/// The data key that sealed secrets when this read began.
pub(super) fn in_use(tx: &Tx<'_>) -> StoreResult<KeyId> {
    let row =
        tx.row("SELECT id FROM data_key WHERE purpose = $1 AND retired_at_ms IS NULL", params![SECRETS])?;
    let mut row = row.ok_or_else(|| StoreError::Corrupt("no data key seals secrets".into()))?;
    row.text()?.parse()
}

/// Stores a key, unless its purpose has one.
pub(super) fn insert(tx: &Tx<'_>, key: &Key, purpose: &str, master: &Key) -> StoreResult<()> {
    let sealed = master.seal(Format::DataKey, &owner(key.id, purpose), key.bytes.expose())?;
    tx.execute(
        &format!("INSERT INTO data_key ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, NULL) ON CONFLICT DO NOTHING"),
        params![key.id.to_string(), purpose, sealed, master.id.to_string(), tx.now_ms()],
    )?;
    Ok(())
}

/// Takes a key out of use.
pub(super) fn retire(tx: &Tx<'_>, id: KeyId) -> StoreResult<()> {
    tx.execute(
        "UPDATE data_key SET retired_at_ms = $2 WHERE id = $1 AND retired_at_ms IS NULL",
        params![id.to_string(), tx.now_ms()],
    )?;
    Ok(())
}

/// Seals a key anew with another master key, unless somebody else did. Whether it did.
pub(super) fn rewrap(tx: &Tx<'_>, old: &DataKey, key: &Key, master: &Key) -> StoreResult<bool> {
    let sealed = master.seal(Format::DataKey, &owner(key.id, &old.purpose), key.bytes.expose())?;
    let changed = tx.execute(
        "UPDATE data_key SET sealed = $3, master_id = $4 WHERE id = $1 AND sealed = $2",
        params![key.id.to_string(), old.sealed.clone(), sealed, master.id.to_string()],
    )?;
    Ok(changed > 0)
}

/// Deletes a key.
pub(super) fn delete(tx: &Tx<'_>, id: KeyId) -> StoreResult<()> {
    tx.execute("DELETE FROM data_key WHERE id = $1", params![id.to_string()])?;
    Ok(())
}
