//! Where sealed secrets are: the one list that rotation, its status and the check at the start go by.
//!
//! To add a column, give it a line in [`COLUMNS`], and let every statement that writes it write what
//! `Keys::under_active` returns in the same transaction.

use std::collections::BTreeMap;

use super::OwnerOf;
use super::sealed::{Format, HEAD_LEN, KeyId, head, head_of};
use crate::sql::{Row, Tx, params};
use crate::{StoreResult, access, connections, grants, handshakes, notifications, webhooks};

/// A column of sealed secrets.
#[derive(Debug)]
pub(super) struct Column {
    /// What its secrets are, in the plural, for people.
    pub(super) what: &'static str,
    table: &'static str,
    /// The column that names its row.
    id: &'static str,
    column: &'static str,
    /// The columns that `owner` reads.
    owned_by: &'static str,
    /// Whom a row's secret is sealed for.
    owner: fn(&mut Row) -> StoreResult<OwnerOf>,
}

/// Every column of sealed secrets.
#[rustfmt::skip]
pub(super) const COLUMNS: &[Column] = &[
    Column { what: "credentials of connections", table: "connection", id: "id", column: "credential", owned_by: connections::OWNED_BY, owner: connections::owner },
    Column { what: "grants of connections", table: "connection_grant", id: "connection_id", column: "sealed", owned_by: grants::OWNED_BY, owner: grants::owner },
    Column { what: "handshakes in progress", table: "handshake", id: "id", column: "sealed", owned_by: handshakes::OWNED_BY, owner: handshakes::owner },
    Column { what: "secrets of access keys", table: "access_key", id: "id", column: "secret", owned_by: access::OWNED_BY, owner: access::owner },
    Column { what: "secrets of notification targets", table: "notification_target", id: "id", column: "secret", owned_by: notifications::OWNED_BY, owner: notifications::owner },
    Column { what: "secrets of webhooks", table: "webhook_secret", id: "id", column: "secret", owned_by: webhooks::OWNED_BY, owner: webhooks::owner },
];

/// A row whose secret is to be sealed anew.
#[derive(Debug)]
pub(super) struct StaleRow {
    pub(super) id: String,
    pub(super) owner: OwnerOf,
    pub(super) sealed: Vec<u8>,
}

impl Column {
    /// How many secrets there are under each key.
    pub(super) fn count_by_key(&self, tx: &Tx<'_>) -> StoreResult<BTreeMap<Option<(Format, KeyId)>, i64>> {
        let Self { table, column, .. } = self;
        let rows = tx.rows(
            &format!(
                "SELECT substr({column}, 1, {HEAD_LEN}), count(*) FROM {table}
                  WHERE {column} IS NOT NULL GROUP BY substr({column}, 1, {HEAD_LEN})"
            ),
            &[],
        )?;
        let mut counts = BTreeMap::new();
        for mut row in rows {
            let key = head(&row.opt_bytes()?.unwrap_or_default());
            *counts.entry(key).or_insert(0) += row.int()?;
        }
        Ok(counts)
    }

    /// Whether nothing is sealed by the key any more.
    pub(super) fn is_done_with(&self, tx: &Tx<'_>, key: KeyId) -> StoreResult<bool> {
        let Self { table, column, .. } = self;
        let found = tx.row(
            &format!("SELECT 1 FROM {table} WHERE substr({column}, 1, {HEAD_LEN}) = $1 LIMIT 1"),
            params![head_of(key)],
        )?;
        Ok(found.is_none())
    }

    /// The next rows after `after` whose secrets are sealed by another key than `active`.
    pub(super) fn stale(
        &self,
        tx: &Tx<'_>,
        active: KeyId,
        after: &str,
        most: usize,
    ) -> StoreResult<Vec<StaleRow>> {
        let Self { table, id, column, owned_by, .. } = self;
        let rows = tx.rows(
            &format!(
                "SELECT {id}, {column}, {owned_by} FROM {table}
                  WHERE {column} IS NOT NULL AND substr({column}, 1, {HEAD_LEN}) <> $1 AND {id} > $2
                  ORDER BY {id} LIMIT $3"
            ),
            params![head_of(active), after, i64::try_from(most).unwrap_or(i64::MAX)],
        )?;
        let stale = |mut row: Row| {
            let (id, sealed) = (row.text()?, row.opt_bytes()?.unwrap_or_default());
            Ok(StaleRow { id, sealed, owner: (self.owner)(&mut row)? })
        };
        rows.into_iter().map(stale).collect()
    }

    /// Replaces a row's secret unless it is another one by now. Whether it did.
    pub(super) fn replace(&self, tx: &Tx<'_>, id: &str, old: Vec<u8>, new: Vec<u8>) -> StoreResult<bool> {
        let Self { table, id: name, column, .. } = self;
        let changed = tx.execute(
            &format!("UPDATE {table} SET {column} = $3 WHERE {name} = $1 AND {column} = $2"),
            params![id, old, new],
        )?;
        Ok(changed > 0)
    }
}
