//! The versions of the schema, and what differs between the databases in their texts.
//!
//! A migration is one text for both databases; [`postgres_text`] is the one place that changes it. It goes forward
//! only. Where several processes share a database, one may be a version behind while they are replaced one by one
//! (ADR 0014): a migration that a process of the version before it can go on with begins with the line
//! `-- additive`, as one does that only adds what may be left out.

use crate::raw::MIGRATIONS;
use crate::{StoreError, StoreResult, sql};

/// The name of the table of the versions.
pub(crate) const TABLE_NAME: &str = "schema_migration";

/// The table of the versions, which is there before any of them.
pub(crate) const TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migration (version BIGINT PRIMARY KEY)";

/// The oldest version whose processes can work with a version.
pub(crate) const WORKS_WITH: &str =
    "SELECT coalesce(works_with, version) FROM schema_migration WHERE version = $1";

/// What SQLite alone is to read, up to [`END`]: no PostgreSQL database is older than the version that offered it.
const SQLITE_ONLY: &str = "-- sqlite only";
const END: &str = "-- end";

/// Which version of the schema a database had, and which it has now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Schema {
    /// Before; 0 for a new database.
    pub before: i64,
    /// Now.
    pub now: i64,
}

impl Schema {
    /// Whether there was none before.
    pub(crate) fn is_new(self) -> bool {
        self.before == 0
    }

    /// The database's version, where it is newer than this program.
    pub(crate) fn ahead(self) -> Option<i64> {
        (self.before > newest()).then_some(self.before)
    }
}

/// A version of the schema.
pub(crate) struct Migration {
    pub(crate) version: i64,
    pub(crate) sql: &'static str,
}

impl Migration {
    /// Whether a process of the version before it can go on.
    pub(crate) fn is_additive(&self) -> bool {
        self.sql.starts_with("-- additive")
    }
}

/// The newest version that this program knows.
pub(crate) fn newest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// The versions after `done`, in their order.
pub(crate) fn after(done: i64) -> impl Iterator<Item = Migration> {
    let all = (1..).zip(MIGRATIONS).map(|(version, sql)| Migration { version, sql });
    all.filter(move |migration| migration.version > done)
}

/// Refuses a database that is newer than this program, unless it is by one version that it can work with.
pub(crate) fn check_ahead(version: i64, works_with: i64) -> StoreResult<()> {
    if version == newest() + 1 && works_with <= newest() {
        return Ok(());
    }
    Err(StoreError::Open {
        path: String::new(),
        reason: format!(
            "it has schema version {version}, but this syncline knows only {}: use a newer syncline",
            newest()
        ),
    })
}

/// A migration as PostgreSQL reads it: texts are compared byte by byte, as SQLite does, whatever the locale. What it alone
/// is to read is written as in other statements ([`sql::postgres_text`]).
pub(crate) fn postgres_text(sql: &str) -> String {
    let mut text = String::with_capacity(sql.len() * 2);
    let mut is_skipped = false;
    for line in sql.lines() {
        match line.trim() {
            SQLITE_ONLY => is_skipped = true,
            END => is_skipped = false,
            _ if is_skipped => {}
            _ => {
                text.push_str(&line.replace(" TEXT", " TEXT COLLATE \"C\""));
                text.push('\n');
            }
        }
    }
    sql::postgres_text(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_is_one_text_for_both_databases() {
        let sql = "CREATE TABLE a (id TEXT PRIMARY KEY, n BIGINT);\n-- sqlite only\nUPDATE a SET n = 1;\n-- end\n/*pg DROP TABLE b; */";
        assert_eq!(
            postgres_text(sql),
            "CREATE TABLE a (id TEXT COLLATE \"C\" PRIMARY KEY, n BIGINT);\nDROP TABLE b; \n"
        );
    }

    #[test]
    fn a_program_works_with_the_next_version_where_that_allows_it_and_with_no_other() {
        let check = |ahead: i64, works_with: i64, expect: bool| {
            let checked = check_ahead(newest() + ahead, newest() + works_with);
            assert_eq!(checked.is_ok(), expect, "{ahead} ahead, working with {works_with}");
        };
        check(1, 0, true);
        check(1, 1, false);
        check(2, 0, false);
        check(2, 1, false);
    }
}
