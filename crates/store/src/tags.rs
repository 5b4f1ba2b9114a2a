//! Tags of hosts, connections and repository links.

use crate::change::Change;
use crate::sql::{Tx, params};
use crate::{Scope, Store, StoreError, StoreResult, connections, hosts, links};

/// The most tags of a resource; the model lets no answer list more.
pub const TAGS_PER_RESOURCE: usize = 200;

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// A resource that has tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tagged {
    /// The host of that id.
    Host(String),
    /// The connection of that id.
    Connection(String),
    /// The repository link of that id.
    Link(String),
}

/// What came of changing a resource's tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeTags {
    /// They are as asked.
    Changed,
    /// There is no such resource.
    NotFound,
    /// It would have this many, more than [`TAGS_PER_RESOURCE`].
    LimitExceeded(usize),
}

impl Tagged {
    fn id(&self) -> &str {
        match self {
            Self::Host(id) | Self::Connection(id) | Self::Link(id) => id,
        }
    }

    fn is_there(&self, tx: &Tx<'_>, scope: &Scope) -> StoreResult<bool> {
        Ok(match self {
            Self::Host(id) => hosts::find(tx, scope, id)?.is_some(),
            Self::Connection(id) => connections::find(tx, scope, id)?.is_some(),
            Self::Link(id) => links::find(tx, scope, id)?.is_some(),
        })
    }
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

impl Store {
    /// The tags of a resource by key, if the scope has it.
    ///
    /// # Errors
    /// The database's.
    pub async fn tags(&self, scope: &Scope, resource: &Tagged) -> StoreResult<Option<Vec<Tag>>> {
        let (scope, resource) = (scope.clone(), resource.clone());
        self.read(move |tx| {
            let scope = &scope;
            if !resource.is_there(tx, scope)? {
                return Ok(None);
            }
            tx.rows(
                "SELECT tag_key, tag_value FROM tag WHERE resource_id = $1 ORDER BY tag_key",
                params![resource.id()],
            )?
            .into_iter()
            .map(|mut row| Ok(Tag { key: row.text()?, value: row.text()? }))
            .collect::<StoreResult<Vec<_>>>()
            .map(Some)
        })
        .await
    }

    /// Gives a resource tags beside those it has; a key that it has gets the new value.
    ///
    /// # Errors
    /// The database's.
    pub async fn tag<A: Send + 'static>(
        &self,
        scope: &Scope,
        resource: Tagged,
        tags: Vec<Tag>,
        change: Change<ChangeTags, A>,
    ) -> StoreResult<A> {
        let scope = scope.clone();
        self.change("store.tag", change, move |tx| {
            tx.lock_account(&scope.account)?;
            if !resource.is_there(tx, &scope)? {
                return Ok(ChangeTags::NotFound);
            }
            let mut keys = tx
                .rows("SELECT tag_key FROM tag WHERE resource_id = $1", params![resource.id()])?
                .iter_mut()
                .map(crate::sql::Row::text)
                .collect::<Result<std::collections::BTreeSet<_>, StoreError>>()?;
            keys.extend(tags.iter().map(|tag| tag.key.clone()));
            if keys.len() > TAGS_PER_RESOURCE {
                return Ok(ChangeTags::LimitExceeded(keys.len()));
            }
            insert(tx, resource.id(), &tags)?;
            Ok(ChangeTags::Changed)
        })
        .await
    }

    /// Takes the tags of these keys away; a key that the resource does not have is fine.
    ///
    /// # Errors
    /// The database's.
    pub async fn untag<A: Send + 'static>(
        &self,
        scope: &Scope,
        resource: Tagged,
        keys: Vec<String>,
        change: Change<ChangeTags, A>,
    ) -> StoreResult<A> {
        let scope = scope.clone();
        self.change("store.untag", change, move |tx| {
            tx.lock_account(&scope.account)?;
            if !resource.is_there(tx, &scope)? {
                return Ok(ChangeTags::NotFound);
            }
            for key in keys {
                tx.execute(
                    "DELETE FROM tag WHERE resource_id = $1 AND tag_key = $2",
                    params![resource.id(), key],
                )?;
            }
            Ok(ChangeTags::Changed)
        })
        .await
    }
}
