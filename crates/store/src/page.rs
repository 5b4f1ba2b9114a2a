//! Keyset paging: rows in the order of their making.

/// Where a page begins: after this row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// When the row was made, in milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// Its id.
    pub id: String,
}

/// Which rows a listing asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// After which row; `None` from the first.
    pub after: Option<Cursor>,
    /// How many at the most.
    pub limit: usize,
}

impl Page {
    /// The values bound as `(created_at_ms, id) > ($a, $b)` and `LIMIT`: one row more than asked for, to know
    /// whether there is a next page.
    pub(crate) fn bounds(&self) -> (i64, String, i64) {
        let limit = i64::try_from(self.limit).unwrap_or(i64::MAX).saturating_add(1);
        match &self.after {
            Some(cursor) => (cursor.created_at_ms, cursor.id.clone(), limit),
            None => (i64::MIN, String::new(), limit),
        }
    }
}

/// One page of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageOf<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<Cursor>,
}

impl<T> PageOf<T> {
    /// Cuts the one row too many and remembers where the next page begins.
    pub(crate) fn cut(mut items: Vec<T>, page: &Page, cursor: impl Fn(&T) -> Cursor) -> Self {
        if items.len() <= page.limit {
            return Self { items, next: None };
        }
        items.truncate(page.limit);
        let next = items.last().map(cursor);
        Self { items, next }
    }
}
