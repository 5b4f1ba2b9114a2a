//! Tags of hosts, connections and repository links.

use crate::StoreResult;
use crate::sql::{Tx, params};

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

pub(crate) fn insert(tx: &Tx<'_>, resource_id: &str, tags: &[Tag]) -> StoreResult<()> {
    for tag in tags {
        tx.execute(
            "INSERT INTO tag (resource_id, tag_key, tag_value) VALUES ($1, $2, $3)
               ON CONFLICT (resource_id, tag_key) DO UPDATE SET tag_value = excluded.tag_value",
            params![resource_id, &tag.key, &tag.value],
        )?;
    }
    Ok(())
}

pub(crate) fn delete_all(tx: &Tx<'_>, resource_id: &str) -> StoreResult<()> {
    tx.execute("DELETE FROM tag WHERE resource_id = $1", params![resource_id])?;
    Ok(())
}
