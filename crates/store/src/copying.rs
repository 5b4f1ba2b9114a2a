//! Backups, and moving from one database to another: everything that a database holds, table by table, in one
//! consistent snapshot of the source and one transaction of the target.
//!
//! A backup is a text of lines, the same for both databases, so that what was saved from one can be restored to the
//! other. Its first line is a [`Head`]; each table begins with a line that names it and its columns, has a line for each
//! row, a JSON array, and ends with a line that counts them; the last line says that it is whole. Tables are told
//! by the number of their rows and a digest that does not depend on their order, which is compared again
//! with what the target holds before that is committed.

use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use syncline_seams::SystemClock;

use crate::database::{Starting, apart, fill_new, look_at};
use crate::location::Location;
use crate::sql::{Tx, Value, params};
use crate::{StoreError, StoreResult, migrations};

/// Names the form of a backup.
const FORM: &str = "syncline backup 1";

/// What was saved, restored or copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    /// How many tables.
    pub tables: usize,
    /// How many rows in all of them.
    pub rows: u64,
}

/// The first line of a backup.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    form: String,
    /// The version of the schema.
    schema: i64,
    tables: Vec<Table>,
}

/// A table, with its columns by their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) columns: Vec<String>,
}

/// What a table holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    rows: u64,
    /// The sum of the rows' hashes.
    digest: u128,
}

impl Content {
    fn add(&mut self, table: &Table, row: &[Value]) -> StoreResult<()> {
        let hash =
            Sha256::new().chain_update(&table.name).chain_update(b"\0").chain_update(line(row)?).finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        self.rows += 1;
        self.digest = self.digest.wrapping_add(u128::from_le_bytes(bytes));
        Ok(())
    }
}

/// The last line of a table in a backup.
#[derive(Debug, Serialize, Deserialize)]
struct End {
    rows: u64,
    /// In hexadecimal: JSON's numbers are shorter.
    digest: String,
}

/// Takes a row.
pub(crate) type Put<'p> = dyn FnMut(&[Value]) -> StoreResult<()> + 'p;

/// Gives the rows of a table, one after the other.
pub(crate) type Feed<'f> = dyn FnMut(&mut Put<'_>) -> StoreResult<()> + 'f;

impl Tx<'_> {
    /// The tables of the database but that of the schema's versions, by their names.
    pub(crate) fn tables(&self) -> StoreResult<Vec<Table>> {
        let (names, columns) = if self.is_on_postgres() {
            (
                "SELECT CAST(table_name AS TEXT) FROM information_schema.tables
                  WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'",
                "SELECT CAST(column_name AS TEXT) FROM information_schema.columns
                  WHERE table_schema = current_schema() AND table_name = $1",
            )
        } else {
            (
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
                "SELECT name FROM pragma_table_info($1)",
            )
        };
        let mut tables = Vec::new();
        for mut row in self.rows(names, params![])? {
            let name = row.text()?;
            if name == migrations::TABLE_NAME {
                continue;
            }
            let mut of_table = self.rows(columns, params![&name])?;
            let mut columns = of_table.iter_mut().map(|row| row.text()).collect::<StoreResult<Vec<_>>>()?;
            columns.sort_unstable();
            tables.push(Table { name, columns });
        }
        tables.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(tables)
    }

    fn each_row(&self, table: &Table, put: &mut Put<'_>) -> StoreResult<()> {
        self.each(&format!("SELECT {} FROM {}", table.columns.join(", "), table.name), put)
    }

    /// What a table holds.
    fn content(&self, table: &Table) -> StoreResult<Content> {
        let mut content = Content::default();
        self.each_row(table, &mut |row| content.add(table, row))?;
        Ok(content)
    }

    /// Fills a table, and checks that it then holds what it was given.
    fn fill_checked(&self, table: &Table, feed: &mut Feed<'_>) -> StoreResult<Content> {
        let mut given = Content::default();
        self.fill(table, &mut |put| {
            feed(&mut |row| {
                given.add(table, row)?;
                put(row)
            })
        })?;
        if self.content(table)? == given {
            return Ok(given);
        }
        Err(StoreError::Corrupt(format!("the table {} does not hold what was copied to it", table.name)))
    }
}

/// Refuses tables that are not those of the target: the versions differ.
fn check_tables(source: &[Table], target: &[Table]) -> StoreResult<()> {
    if source == target {
        return Ok(());
    }
    Err(StoreError::Corrupt("the tables of the two databases are not the same".to_owned()))
}

/// Saves everything that a database holds, also while servers use it.
pub(crate) fn back_up(from: &Location, to: &mut (dyn Write + Send)) -> StoreResult<Copied> {
    let save = |tx: &Tx<'_>| {
        let tables = tx.tables()?;
        write(to, &Head { form: FORM.to_owned(), schema: migrations::newest(), tables: tables.clone() })?;
        let mut copied = Copied { tables: tables.len(), rows: 0 };
        for table in &tables {
            write(to, table)?;
            let mut content = Content::default();
            tx.each_row(table, &mut |row| {
                content.add(table, row)?;
                write_line(to, &line(row)?)
            })?;
            write(to, &End { rows: content.rows, digest: format!("{:032x}", content.digest) })?;
            copied.rows += content.rows;
        }
        write_line(to, "end")?;
        to.flush().map_err(unwritten)?;
        Ok(copied)
    };
    apart(|| look_at(from, false, save))
}

/// Fills a new database with what [`back_up`] saved.
pub(crate) fn restore(from: &mut (dyn BufRead + Send), to: &Location) -> StoreResult<Copied> {
    let head: Head = read(from)?;
    if head.form != FORM {
        return Err(StoreError::Corrupt(format!("'{}' is no form of a backup that is known", head.form)));
    }
    if head.schema != migrations::newest() {
        return Err(StoreError::Corrupt(format!(
            "the backup has schema version {}, and this syncline writes {}: restore it with the syncline that made \
             it, and then upgrade",
            head.schema,
            migrations::newest()
        )));
    }
    let fill = |tx: &Tx<'_>| {
        check_tables(&head.tables, &tx.tables()?)?;
        let mut copied = Copied { tables: head.tables.len(), rows: 0 };
        for table in &head.tables {
            let named: Table = read(from)?;
            check_tables(std::slice::from_ref(&named), std::slice::from_ref(table))?;
            let mut end = None;
            let content = tx.fill_checked(table, &mut |put| {
                loop {
                    match parse(&next_line(from)?)? {
                        Line::Row(row) if row.len() == table.columns.len() => put(&row)?,
                        Line::Row(_) => return Err(damaged("a row has not as many values as columns")),
                        Line::End(of_table) => {
                            end = Some(of_table);
                            return Ok(());
                        }
                    }
                }
            })?;
            let is_whole = end.is_some_and(|end| {
                end.rows == content.rows && end.digest == format!("{:032x}", content.digest)
            });
            if !is_whole {
                return Err(damaged(&format!("the rows of {} are not those that were saved", table.name)));
            }
            copied.rows += content.rows;
        }
        if next_line(from)? != "end" {
            return Err(damaged("it does not end"));
        }
        Ok(copied)
    };
    apart(|| fill_new(to, fill))
}

/// Copies everything from a database that nobody uses to a new one.
pub(crate) fn copy(from: &Location, to: &Location) -> StoreResult<Copied> {
    let pour = |source: &Tx<'_>, target: &Tx<'_>| {
        let tables = source.tables()?;
        check_tables(&tables, &target.tables()?)?;
        let mut copied = Copied { tables: tables.len(), rows: 0 };
        for table in &tables {
            let content = target.fill_checked(table, &mut |put| source.each_row(table, put))?;
            copied.rows += content.rows;
        }
        Ok(copied)
    };
    apart(|| look_at(from, true, |source| fill_new(to, |target| pour(source, target))))
}

/// Runs and commits what fills a new database, which holds nothing yet.
pub(crate) fn fill<T>(
    starting: &mut Starting<'_>,
    location: &Location,
    body: impl FnOnce(&Tx<'_>) -> StoreResult<T>,
) -> StoreResult<T> {
    starting.prepare(|tx| {
        for Table { name, .. } in tx.tables()? {
            if tx.row(&format!("SELECT 1 FROM {name} LIMIT 1"), params![])?.is_some() {
                return Err(StoreError::Open {
                    path: location.to_string(),
                    reason: "it holds something already; only a new database is filled".to_owned(),
                });
            }
        }
        let filled = body(tx)?;
        if tx.is_on_postgres() {
            // SQLite counts on from the greatest number that there is.
            tx.execute(
                "SELECT setval(pg_get_serial_sequence('attempt', 'seq'), coalesce(max(seq), 0) + 1, false) FROM attempt",
                params![],
            )?;
        }
        Ok(filled)
    })
}

/// The clock of those who copy: nothing that they write has a time of its own.
pub(crate) const CLOCK: SystemClock = SystemClock;

enum Line {
    Row(Vec<Value>),
    End(End),
}

/// A row as a line.
fn line(row: &[Value]) -> StoreResult<String> {
    let values = row.iter().map(|value| match value {
        Value::Null => serde_json::Value::Null,
        Value::Int(int) => (*int).into(),
        Value::Text(text) => text.as_str().into(),
        Value::Bytes(bytes) => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            serde_json::json!({ "hex": digits })
        }
    });
    serde_json::to_string(&values.collect::<Vec<_>>()).map_err(|error| StoreError::Corrupt(error.to_string()))
}

fn parse(text: &str) -> StoreResult<Line> {
    if !text.starts_with('[') {
        return serde_json::from_str(text).map(Line::End).map_err(|error| damaged(&error.to_string()));
    }
    let values: Vec<serde_json::Value> =
        serde_json::from_str(text).map_err(|error| damaged(&error.to_string()))?;
    let value = |value: serde_json::Value| match value {
        serde_json::Value::Null => Ok(Value::Null),
        serde_json::Value::Number(int) => int.as_i64().map(Value::Int).ok_or(()),
        serde_json::Value::String(text) => Ok(Value::Text(text)),
        serde_json::Value::Object(object) => {
            let digits = object.get("hex").and_then(serde_json::Value::as_str).ok_or(())?;
            bytes(digits).map(Value::Bytes).ok_or(())
        }
        serde_json::Value::Bool(_) | serde_json::Value::Array(_) => Err(()),
    };
    let row = values.into_iter().map(value).collect::<Result<_, ()>>();
    row.map(Line::Row).map_err(|()| damaged("a row holds what no database does"))
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect()
}

fn next_line(from: &mut (dyn BufRead + Send)) -> StoreResult<String> {
    let mut text = String::new();
    from.read_line(&mut text).map_err(|error| damaged(&error.to_string()))?;
    if text.pop() == Some('\n') { Ok(text) } else { Err(damaged("it ends too early")) }
}

fn read<T: serde::de::DeserializeOwned>(from: &mut (dyn BufRead + Send)) -> StoreResult<T> {
    serde_json::from_str(&next_line(from)?).map_err(|error| damaged(&error.to_string()))
}

fn damaged(why: &str) -> StoreError {
    StoreError::Corrupt(format!("the backup is damaged: {why}"))
}

fn write(to: &mut (dyn Write + Send), value: &impl Serialize) -> StoreResult<()> {
    write_line(to, &serde_json::to_string(value).map_err(|error| StoreError::Corrupt(error.to_string()))?)
}

fn write_line(to: &mut (dyn Write + Send), text: &str) -> StoreResult<()> {
    to.write_all(text.as_bytes()).and_then(|()| to.write_all(b"\n")).map_err(unwritten)
}

fn unwritten(error: std::io::Error) -> StoreError {
    StoreError::Corrupt(format!("the backup cannot be written: {error}"))
}
