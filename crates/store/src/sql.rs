//! The small portable layer over the database driver: values, rows and one transaction.
//!
//! SQL texts use `$1`, `$2`, … and are written once for every database; what differs is changed here. What only
//! PostgreSQL is to read, such as the locking of rows, is written in the same text as `/*pg FOR UPDATE*/`.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};

use rusqlite::types::{ToSqlOutput, ValueRef};

use syncline_model::names::AccountId;

use crate::StoreError;
use crate::copying::{Feed, Put, Table};
use crate::postgresql::Session;

/// A value bound to a statement or read from a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

macro_rules! value_from {
    ($($ty:ty => |$v:ident| $make:expr),+ $(,)?) => {
        $(impl From<$ty> for Value { fn from($v: $ty) -> Self { $make } })+
    };
}
value_from! {
    i64 => |v| Value::Int(v),
    bool => |v| Value::Int(i64::from(v)),
    String => |v| Value::Text(v),
    &String => |v| Value::Text(v.clone()),
    &str => |v| Value::Text(v.to_owned()),
    Vec<u8> => |v| Value::Bytes(v),
}
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(v: Option<T>) -> Self {
        v.map_or(Value::Null, Into::into)
    }
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Int(i) => ValueRef::Integer(*i),
            Value::Text(s) => ValueRef::Text(s.as_bytes()),
            Value::Bytes(b) => ValueRef::Blob(b),
        }))
    }
}

/// Binds the values of a statement.
macro_rules! params {
    ($($v:expr),* $(,)?) => { &[$($crate::sql::Value::from($v)),*] };
}
pub(crate) use params;

/// A row, read from left to right in the order of the statement's columns.
#[derive(Debug)]
pub(crate) struct Row {
    values: std::vec::IntoIter<Value>,
}

impl Row {
    pub(crate) fn new(values: Vec<Value>) -> Self {
        Self { values: values.into_iter() }
    }

    fn next(&mut self) -> Result<Value, StoreError> {
        self.values.next().ok_or_else(|| StoreError::Corrupt("a row has fewer columns than are read".into()))
    }

    pub(crate) fn text(&mut self) -> Result<String, StoreError> {
        self.opt_text()?.ok_or_else(|| StoreError::Corrupt("a text column is NULL".into()))
    }

    pub(crate) fn opt_text(&mut self) -> Result<Option<String>, StoreError> {
        match self.next()? {
            Value::Null => Ok(None),
            Value::Text(text) => Ok(Some(text)),
            other => Err(StoreError::Corrupt(format!("a text column holds {other:?}"))),
        }
    }

    pub(crate) fn int(&mut self) -> Result<i64, StoreError> {
        self.opt_int()?.ok_or_else(|| StoreError::Corrupt("a number column is NULL".into()))
    }

    pub(crate) fn opt_int(&mut self) -> Result<Option<i64>, StoreError> {
        match self.next()? {
            Value::Null => Ok(None),
            Value::Int(int) => Ok(Some(int)),
            other => Err(StoreError::Corrupt(format!("a number column holds {other:?}"))),
        }
    }

    pub(crate) fn bool(&mut self) -> Result<bool, StoreError> {
        Ok(self.int()? != 0)
    }

    pub(crate) fn opt_bytes(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        match self.next()? {
            Value::Null => Ok(None),
            Value::Bytes(bytes) => Ok(Some(bytes)),
            other => Err(StoreError::Corrupt(format!("a bytes column holds {other:?}"))),
        }
    }

    /// A text column whose value `parse` knows.
    pub(crate) fn parsed<T>(&mut self, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, StoreError> {
        let text = self.text()?;
        parse(&text).ok_or_else(|| StoreError::Corrupt(format!("unknown value '{text}'")))
    }

    /// A JSON column.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, StoreError> {
        from_json(&self.text()?)
    }

    /// A JSON column that may be NULL.
    pub(crate) fn opt_json<T: serde::de::DeserializeOwned>(&mut self) -> Result<Option<T>, StoreError> {
        self.opt_text()?.as_deref().map(from_json).transpose()
    }
}

fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(format!("stored JSON: {error}")))
}

/// The JSON text of a value, for a JSON column.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Corrupt(format!("JSON to store: {error}")))
}

/// One transaction: there is no other way to a statement.
pub(crate) struct Tx<'c> {
    on: On<'c>,
    now_ms: i64,
    woke: bool,
    /// The account whose lock it holds alone.
    account: RefCell<Option<String>>,
    statements: Cell<u64>,
}

/// The connection on which a transaction is open.
enum On<'c> {
    Sqlite(&'c rusqlite::Connection),
    // The driver changes its connection for every statement; a transaction is used by one thread.
    Postgres(RefCell<&'c mut Session>),
}

impl<'c> Tx<'c> {
    /// The transaction that is open on `connection`.
    pub(crate) fn new(connection: &'c rusqlite::Connection, now_ms: i64) -> Self {
        Self {
            on: On::Sqlite(connection),
            now_ms,
            woke: false,
            account: RefCell::default(),
            statements: Cell::new(0),
        }
    }

    /// The transaction that is open on `session`.
    pub(crate) fn on_postgres(session: &'c mut Session, now_ms: i64) -> Self {
        Self {
            on: On::Postgres(RefCell::new(session)),
            now_ms,
            woke: false,
            account: RefCell::default(),
            statements: Cell::new(0),
        }
    }

    /// The time of the transaction, in milliseconds since the Unix epoch: of this machine's clock on SQLite, of the
    /// database's on PostgreSQL, where the clocks of several machines need not agree.
    pub(crate) fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// Notes that something became due, so that the worker hears of it once this is committed.
    pub(crate) fn note_wake(&mut self) {
        self.woke = true;
    }

    pub(crate) fn woke(&self) -> bool {
        self.woke
    }

    /// Lets no other change of the account's, and none of the worker's on its behalf, come in between: whatever is
    /// checked is still so when this is committed.
    pub(crate) fn lock_account(&self, account: &AccountId) -> Result<(), StoreError> {
        let mut held = self.account.borrow_mut();
        if held.as_deref() == Some(account.as_str()) {
            return Ok(());
        }
        self.lock(&format!("account {account}"))?;
        *held = Some(account.as_str().to_owned());
        Ok(())
    }

    /// Lets no change of the account's that a request asks for come in between, as what is done under a claim does. Others
    /// may hold it so at the same time.
    pub(crate) fn share_account(&self, account: &AccountId) -> Result<(), StoreError> {
        self.lock_rows(
            "SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 0))",
            params![format!("account {account}")],
        )
    }

    /// Waits until no other transaction holds what `name` names, and holds it until the end. SQLite has one writer, so
    /// that nothing is to be locked there.
    pub(crate) fn lock(&self, name: &str) -> Result<(), StoreError> {
        self.lock_rows("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", params![name])
    }

    /// Runs a statement that locks rows, on a database that has more than one writer. It gives the same rows as a
    /// later statement would find, because that one sees what was committed while this one waited.
    pub(crate) fn lock_rows(&self, sql: &str, params: &[Value]) -> Result<(), StoreError> {
        match &self.on {
            On::Sqlite(_) => Ok(()),
            On::Postgres(session) => session.borrow_mut().execute(sql, params).map(drop),
        }
    }

    /// How many statements it has run.
    pub(crate) fn statements(&self) -> u64 {
        self.statements.get()
    }

    /// Runs a statement and returns how many rows it changed.
    pub(crate) fn execute(&self, sql: &str, params: &[Value]) -> Result<usize, StoreError> {
        self.statements.update(|run| run + 1);
        match &self.on {
            On::Sqlite(connection) => {
                Ok(prepare(connection, sql)?.execute(rusqlite::params_from_iter(params))?)
            }
            On::Postgres(session) => session.borrow_mut().execute(sql, params),
        }
    }

    /// The rows of a query, or of a statement with RETURNING.
    pub(crate) fn rows(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        self.statements.update(|run| run + 1);
        match &self.on {
            On::Sqlite(connection) => rows_of(connection, sql, rusqlite::params_from_iter(params)),
            On::Postgres(session) => {
                let rows = session.borrow_mut().rows(sql, params)?;
                Ok(rows.into_iter().map(Row::new).collect())
            }
        }
    }

    /// The first row that a query finds by texts, if there is one.
    pub(crate) fn look_up(&self, sql: &str, texts: &[&str]) -> Result<Option<Row>, StoreError> {
        match &self.on {
            On::Sqlite(connection) => {
                Ok(rows_of(connection, sql, rusqlite::params_from_iter(texts))?.into_iter().next())
            }
            On::Postgres(_) => {
                self.row(sql, &texts.iter().map(|&text| Value::from(text)).collect::<Vec<_>>())
            }
        }
    }

    /// Whether it is one of PostgreSQL.
    pub(crate) fn is_on_postgres(&self) -> bool {
        matches!(self.on, On::Postgres(_))
    }

    /// Gives the rows of a query without values, one after the other, as they come.
    pub(crate) fn each(&self, sql: &str, put: &mut Put<'_>) -> Result<(), StoreError> {
        let connection = match &self.on {
            On::Sqlite(connection) => connection,
            On::Postgres(session) => return session.borrow_mut().each(sql, put),
        };
        let mut statement = prepare(connection, sql)?;
        let columns = statement.column_count();
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            put(&values_of(row, columns)?)?;
        }
        Ok(())
    }

    /// Adds rows to a table.
    pub(crate) fn fill(&self, table: &Table, feed: &mut Feed<'_>) -> Result<(), StoreError> {
        let columns = table.columns.join(", ");
        let name = &table.name;
        match &self.on {
            On::Sqlite(connection) => {
                let values = (1..=table.columns.len()).map(|number| format!("${number}"));
                let values = values.collect::<Vec<_>>().join(", ");
                let insert = format!("INSERT INTO {name} ({columns}) VALUES ({values})");
                let mut statement = prepare(connection, &insert)?;
                feed(&mut |row| {
                    statement.execute(rusqlite::params_from_iter(row))?;
                    Ok(())
                })
            }
            On::Postgres(session) => session.borrow_mut().fill(name, &columns, feed),
        }
    }

    /// The first row, if there is one.
    pub(crate) fn row(&self, sql: &str, params: &[Value]) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql, params)?.into_iter().next())
    }

    /// The number that a `SELECT count(*)` gives.
    pub(crate) fn count(&self, sql: &str, params: &[Value]) -> Result<i64, StoreError> {
        self.row(sql, params)?.map_or(Ok(0), |mut row| row.int())
    }
}

fn rows_of(
    connection: &rusqlite::Connection,
    sql: &str,
    params: impl rusqlite::Params,
) -> Result<Vec<Row>, StoreError> {
    let mut statement = prepare(connection, sql)?;
    let columns = statement.column_count();
    let mut found = statement.query(params)?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        rows.push(Row::new(values_of(row, columns)?));
    }
    Ok(rows)
}

#[expect(clippy::disallowed_methods, reason = "of a transaction, as every Tx is")]
fn prepare<'c>(
    connection: &'c rusqlite::Connection,
    sql: &str,
) -> Result<rusqlite::CachedStatement<'c>, StoreError> {
    Ok(connection.prepare_cached(&sqlite_text(sql))?)
}

fn values_of(row: &rusqlite::Row<'_>, columns: usize) -> Result<Vec<Value>, StoreError> {
    let mut values = Vec::with_capacity(columns);
    for column in 0..columns {
        values.push(match row.get_ref(column)? {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(int) => Value::Int(int),
            ValueRef::Text(text) => {
                let text = std::str::from_utf8(text)
                    .map_err(|error| StoreError::Corrupt(format!("a text column: {error}")))?;
                Value::Text(text.to_owned())
            }
            ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
            ValueRef::Real(real) => {
                return Err(StoreError::Corrupt(format!("a column holds the float {real}")));
            }
        });
    }
    Ok(values)
}

/// SQLite numbers `$N` by first occurrence, `?N` by its number. Where these are the same, as nearly everywhere, the text is
/// as good as it is.
fn sqlite_text(sql: &str) -> Cow<'_, str> {
    let mut highest = 0;
    let is_in_order = sql.split('$').skip(1).all(|after| {
        let digits = after.bytes().take_while(u8::is_ascii_digit);
        let number = digits.fold(0u32, |number, digit| number.saturating_mul(10) + u32::from(digit - b'0'));
        let is_next = number == highest + 1;
        highest += u32::from(is_next);
        is_next || (1..=highest).contains(&number)
    });
    if is_in_order { Cow::Borrowed(sql) } else { Cow::Owned(sql.replace('$', "?")) }
}

/// What only PostgreSQL is to read is written as `/*pg … */`, which SQLite takes for a comment.
pub(crate) fn postgres_text(sql: &str) -> String {
    let mut text = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some((before, from)) = rest.split_once("/*pg ") {
        let (only, after) = from.split_once("*/").unwrap_or((from, ""));
        text.push_str(before);
        text.push_str(only);
        rest = after;
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_is_read_by_both_databases() {
        let check = |sql: &str, sqlite: &str, postgres: &str| {
            assert_eq!((&*sqlite_text(sql), postgres_text(sql).as_str()), (sqlite, postgres));
        };
        check("SELECT $1", "SELECT $1", "SELECT $1");
        check("SELECT $1, $2, $1, $3", "SELECT $1, $2, $1, $3", "SELECT $1, $2, $1, $3");
        check("SELECT $2, $1", "SELECT ?2, ?1", "SELECT $2, $1");
        check("SELECT $1, $12", "SELECT ?1, ?12", "SELECT $1, $12");
        check("SELECT $1, $", "SELECT ?1, ?", "SELECT $1, $");
        let text = "SELECT id FROM work WHERE id = $1 /*pg FOR UPDATE SKIP LOCKED*/ LIMIT 1 /*pg x*/";
        let sqlite = "SELECT id FROM work WHERE id = $1 /*pg FOR UPDATE SKIP LOCKED*/ LIMIT 1 /*pg x*/";
        check(text, sqlite, "SELECT id FROM work WHERE id = $1 FOR UPDATE SKIP LOCKED LIMIT 1 x");
    }
}
