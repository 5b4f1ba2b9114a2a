//! Changes that a request asks for: each with its audit record, and a creation with its answer, which a client
//! that lost it may ask for again. All of it is one transaction.

use syncline_model::names::AccountId;

use crate::sql::{Tx, params};
use crate::{Scope, Store, StoreResult, audit};

/// How long a creation's answer is kept for a client that asks again, in milliseconds. SDKs give up well before.
const REPLAY_MS: i64 = 10 * 60 * 1000;

/// What makes a request the same one, sent again: SDKs keep the invocation id over their retries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The id of the key that signed.
    pub key_id: String,
    /// The header `amz-sdk-invocation-id`.
    pub id: String,
    /// The operation.
    pub operation: &'static str,
    /// The account and region it is about.
    pub scope: Scope,
    /// The service that was asked for it.
    pub service: &'static str,
    /// A hash of the body.
    pub body_hash: String,
}

impl Invocation {
    /// Where it is done, by which service, and what the body says. None of the parts holds a slash.
    fn what(&self) -> String {
        let Scope { account, region } = &self.scope;
        format!("{}/{}/{}/{}", account.as_str(), region.as_str(), self.service, self.body_hash)
    }
}

/// What is kept of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The audit record, in JSON.
    pub record: String,
    /// The answer in JSON, where asking again should give it again.
    pub answer: Option<String>,
}

type Answering<T, A> = Box<dyn FnOnce(T) -> A + Send>;
type Telling<A> = Box<dyn FnOnce(&A, i64) -> Told + Send>;
type Reading<A> = fn(&str) -> StoreResult<A>;

/// What becomes of a change's outcome `T`: an answer `A`, and what is recorded of it.
pub struct Change<T, A> {
    answer: Answering<T, A>,
    recording: Option<Recording<A>>,
}

struct Recording<A> {
    account: AccountId,
    event_id: String,
    tell: Telling<A>,
    invocation: Option<(Invocation, Reading<A>)>,
}

impl<T, A> std::fmt::Debug for Change<T, A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.recording {
            Some(recording) => write!(f, "Change({})", recording.event_id),
            None => f.write_str("Change(unrecorded)"),
        }
    }
}

impl<T: 'static> Change<T, T> {
    /// A change that nobody asked for: its outcome is the answer, and nothing is recorded.
    #[must_use]
    pub fn unrecorded() -> Self {
        Self { answer: Box::new(|outcome| outcome), recording: None }
    }
}

impl<T, A> Change<T, A> {
    /// A change that a request of `account` asks for. `answer` makes the answer of the outcome; `tell` says what
    /// is recorded of it under `event_id`, given the time of the transaction in milliseconds.
    #[must_use]
    pub fn recorded(
        account: AccountId,
        event_id: String,
        answer: impl FnOnce(T) -> A + Send + 'static,
        tell: impl FnOnce(&A, i64) -> Told + Send + 'static,
    ) -> Self {
        let recording = Recording { account, event_id, tell: Box::new(tell), invocation: None };
        Self { answer: Box::new(answer), recording: Some(recording) }
    }

    /// The same, answered as before where the invocation was answered before; `read` reads what was kept.
    #[must_use]
    pub fn once(mut self, invocation: Invocation, read: Reading<A>) -> Self {
        if let Some(recording) = &mut self.recording {
            recording.invocation = Some((invocation, read));
        }
        self
    }

    fn run(self, tx: &mut Tx<'_>, body: impl FnOnce(&mut Tx<'_>) -> StoreResult<T>) -> StoreResult<A> {
        let Some(recording) = self.recording else { return body(tx).map(self.answer) };
        // One that comes twice at once finds the other's answer.
        tx.lock_account(&recording.account)?;
        let before = match &recording.invocation {
            Some((invocation, read)) => answer_of(tx, invocation)?.map(|kept| read(&kept)).transpose()?,
            None => None,
        };
        let is_first = before.is_none();
        let answer = match before {
            Some(answer) => answer,
            None => (self.answer)(body(tx)?),
        };
        let told = (recording.tell)(&answer, tx.now_ms());
        audit::insert(tx, &recording.account, &recording.event_id, &told.record)?;
        if let (true, Some((invocation, _)), Some(kept)) = (is_first, &recording.invocation, &told.answer) {
            keep(tx, invocation, kept)?;
        }
        Ok(answer)
    }
}

fn answer_of(tx: &Tx<'_>, invocation: &Invocation) -> StoreResult<Option<String>> {
    tx.row(
        "SELECT answer FROM replay
          WHERE key_id = $1 AND invocation_id = $2 AND operation = $3 AND body_hash = $4 AND created_at_ms > $5",
        params![
            &invocation.key_id,
            &invocation.id,
            invocation.operation,
            invocation.what(),
            tx.now_ms() - REPLAY_MS
        ],
    )?
    .map(|mut row| row.text())
    .transpose()
}

fn keep(tx: &Tx<'_>, invocation: &Invocation, answer: &str) -> StoreResult<()> {
    tx.execute("DELETE FROM replay WHERE created_at_ms <= $1", params![tx.now_ms() - REPLAY_MS])?;
    tx.execute(
        "INSERT INTO replay (key_id, invocation_id, operation, body_hash, answer, created_at_ms)
           VALUES ($1, $2, $3, $4, $5, $6)",
        params![
            &invocation.key_id,
            &invocation.id,
            invocation.operation,
            invocation.what(),
            answer,
            tx.now_ms()
        ],
    )?;
    Ok(())
}

impl Store {
    /// Runs and commits a change that a request asks for, with what is recorded of it.
    pub(crate) async fn change<T: 'static, A: Send + 'static>(
        &self,
        point: &'static str,
        change: Change<T, A>,
        body: impl FnOnce(&mut Tx<'_>) -> StoreResult<T> + Send + 'static,
    ) -> StoreResult<A> {
        self.write_while_wanted(point, move |tx| change.run(tx, body)).await
    }
}
