//! Lookups of single rows: those that wait at the same time are one statement.
//!
//! A statement costs PostgreSQL and the system more than the row that it finds: two processes are woken, and each message
//! is a system call at either end. What many requests ask for at once is therefore asked for together.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError, mpsc};

use postgres::Statement;
use postgres::types::ToSql;
use tokio::sync::oneshot;

use super::Session;
use crate::location::Server;
use crate::sql::{Row, Value, postgres_text};
use crate::{StoreError, StoreResult};

/// The most that are asked for in one statement.
const MOST_TOGETHER: usize = 64;

/// One row is at most found by an index for each: whatever else the planner believes, from statistics that are old or
/// missing, would read whole tables. It plans once, and not for each length of a list.
const SETTINGS: &str =
    "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off;
    SET enable_mergejoin = off; SET jit = off";

/// A lookup that waits for its turn.
pub(super) struct Lookup {
    /// Selects at most one row by texts, `$1` and so on.
    pub(super) sql: &'static str,
    pub(super) texts: Vec<String>,
    pub(super) answer: oneshot::Sender<StoreResult<Option<Row>>>,
}

/// Answers what is sent, until nobody can send any more.
pub(super) fn work(server: &Server, lookups: &Mutex<mpsc::Receiver<Lookup>>) {
    let mut asking = Asking { server, session: None };
    loop {
        let mut waiting = Vec::new();
        {
            let lookups = lookups.lock().unwrap_or_else(PoisonError::into_inner);
            let Ok(first) = lookups.recv() else { return };
            waiting.push(first);
            while waiting.len() < MOST_TOGETHER
                && let Ok(next) = lookups.try_recv()
            {
                waiting.push(next);
            }
        }
        while let Some(first) = waiting.first() {
            let (sql, texts) = (first.sql, first.texts.len());
            let is_alike = |lookup: &mut Lookup| lookup.sql == sql && lookup.texts.len() == texts;
            asking.answer(waiting.extract_if(.., is_alike).collect());
        }
    }
}

/// A connection and what is prepared on it.
struct Asking<'s> {
    server: &'s Server,
    session: Option<(Session, HashMap<&'static str, Statement>)>,
}

impl Asking<'_> {
    /// Answers lookups of one statement.
    fn answer(&mut self, mut lookups: Vec<Lookup>) {
        // Whoever asked may have gone meanwhile.
        lookups.retain(|lookup| !lookup.answer.is_closed());
        if lookups.is_empty() {
            return;
        }
        match self.find_on_a_live_connection(&lookups) {
            Ok(found) => {
                for (lookup, row) in lookups.into_iter().zip(found) {
                    let _ = lookup.answer.send(Ok(row));
                }
            }
            // What one of them asks for may be what the database refuses: nobody else is to suffer for it.
            Err(StoreError::Database(_)) if lookups.len() > 1 && self.session.is_some() => {
                for lookup in lookups {
                    self.answer(vec![lookup]);
                }
            }
            Err(error) => {
                for lookup in lookups {
                    let _ = lookup.answer.send(Err(error.clone()));
                }
            }
        }
    }

    /// The row of each. A connection that turns out to be dead is replaced once: nothing can have been done.
    fn find_on_a_live_connection(&mut self, lookups: &[Lookup]) -> StoreResult<Vec<Option<Row>>> {
        let was_open = self.session.is_some();
        let found = self.find(lookups);
        let is_dead = self.session.as_ref().is_some_and(|(session, _)| session.is_broken());
        if is_dead {
            self.session = None;
        }
        if is_dead && was_open && found.is_err() { self.find(lookups) } else { found }
    }

    fn find(&mut self, lookups: &[Lookup]) -> StoreResult<Vec<Option<Row>>> {
        let Some(first) = lookups.first() else { return Ok(Vec::new()) };
        let (session, statements) = match &mut self.session {
            Some(open) => open,
            None => {
                let mut session = Session::open(self.server)?;
                session.client.batch_execute(SETTINGS)?;
                self.session.insert((session, HashMap::new()))
            }
        };
        let statement = match statements.get(first.sql) {
            Some(statement) => statement.clone(),
            None => {
                let statement = session.client.prepare(&together(first.sql, first.texts.len()))?;
                statements.insert(first.sql, statement.clone());
                statement
            }
        };
        let columns: Vec<Vec<&str>> = (0..first.texts.len())
            .map(|column| lookups.iter().map(|lookup| lookup.texts[column].as_str()).collect())
            .collect();
        let params: Vec<&(dyn ToSql + Sync)> =
            columns.iter().map(|column| column as &(dyn ToSql + Sync)).collect();
        let mut found: Vec<Option<Row>> = lookups.iter().map(|_| None).collect();
        for row in session.client.query(&statement, &params)? {
            let place: i64 = row.try_get(0)?;
            let values = (1..row.len()).map(|column| row.try_get(column));
            let values = values.collect::<Result<Vec<Value>, _>>()?;
            if let Some(place) = usize::try_from(place - 1).ok().and_then(|place| found.get_mut(place)) {
                *place = Some(Row::new(values));
            }
        }
        Ok(found)
    }
}

/// The statement that finds for lists of texts what `sql` finds for single ones: the place in the lists, from 1, and the
/// row.
fn together(sql: &str, texts: usize) -> String {
    let (mut lists, mut names) = (String::new(), String::new());
    let mut one = postgres_text(sql);
    for text in (1..=texts).rev() {
        one = one.replace(&format!("${text}"), &format!("asked.text_{text}"));
    }
    for text in 1..=texts {
        // A String is always written to.
        let _ = write!(lists, "{}${text}::text[]", if text == 1 { "" } else { ", " });
        let _ = write!(names, "text_{text}, ");
    }
    format!(
        "SELECT asked.place, found.* FROM unnest({lists}) WITH ORDINALITY AS asked ({names}place)
           CROSS JOIN LATERAL ({one}) AS found"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_for_one_is_made_one_for_many() {
        let sql = "SELECT a, a FROM t WHERE b = $1 AND c = $2 /*pg AND d = $10*/";
        assert_eq!(
            together(sql, 10).split_whitespace().collect::<Vec<_>>().join(" "),
            "SELECT asked.place, found.* FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], \
             $6::text[], $7::text[], $8::text[], $9::text[], $10::text[]) WITH ORDINALITY AS asked (text_1, text_2, \
             text_3, text_4, text_5, text_6, text_7, text_8, text_9, text_10, place) CROSS JOIN LATERAL (SELECT a, a \
             FROM t WHERE b = asked.text_1 AND c = asked.text_2 AND d = asked.text_10) AS found"
        );
    }
}
