//! The small portable layer over the database driver: values, rows and one transaction.
//!
//! SQL texts use `$1`, `$2`, … and are written once for every database; what differs is changed here.

use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::types::{ToSqlOutput, ValueRef};

use crate::StoreError;

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
    connection: &'c rusqlite::Connection,
    now_ms: i64,
    woke: bool,
    statements: AtomicU64,
}

impl<'c> Tx<'c> {
    /// The transaction that is open on `connection`.
    pub(crate) fn new(connection: &'c rusqlite::Connection, now_ms: i64) -> Self {
        Self { connection, now_ms, woke: false, statements: AtomicU64::new(0) }
    }

    /// The time of the transaction, in milliseconds since the Unix epoch.
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

    /// How many statements it has run.
    pub(crate) fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    #[expect(clippy::disallowed_methods, reason = "of a transaction, as every Tx is")]
    fn prepare(&self, sql: &str) -> Result<rusqlite::CachedStatement<'_>, StoreError> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        Ok(self.connection.prepare_cached(&sqlite_text(sql))?)
    }

    /// Runs a statement and returns how many rows it changed.
    pub(crate) fn execute(&self, sql: &str, params: &[Value]) -> Result<usize, StoreError> {
        let mut statement = self.prepare(sql)?;
        Ok(statement.execute(rusqlite::params_from_iter(params))?)
    }

    /// The rows of a query, or of a statement with RETURNING.
    pub(crate) fn rows(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        let mut statement = self.prepare(sql)?;
        let columns = statement.column_count();
        let mut found = statement.query(rusqlite::params_from_iter(params))?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            let mut values = Vec::with_capacity(columns);
            for column in 0..columns {
                values.push(match row.get_ref(column)? {
                    ValueRef::Null => Value::Null,
                    ValueRef::Integer(int) => Value::Int(int),
                    ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
                    ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
                    ValueRef::Real(real) => {
                        return Err(StoreError::Corrupt(format!("a column holds the float {real}")));
                    }
                });
            }
            rows.push(Row { values: values.into_iter() });
        }
        Ok(rows)
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

/// SQLite numbers `$N` by first occurrence, `?N` by its number.
fn sqlite_text(sql: &str) -> String {
    sql.replace('$', "?")
}
