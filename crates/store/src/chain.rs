//! The hash chain of an account's audit records: how each record's hash is made, and how a chain is checked by
//! somebody who trusts neither the server nor its database.
//!
//! A record's hash is SHA-256 over `DOMAIN`, the record's sequence and time (each eight bytes, big-endian), and
//! the previous record's hash, the account, the event's id and the record's text, each preceded by its length in
//! bytes (eight bytes, big-endian). The texts are UTF-8, hashes are written in lower-case hexadecimal.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// What every hash begins with, so that it can be no hash of anything else.
const DOMAIN: &[u8] = b"syncline audit record 1\n";

/// What stands for the previous hash of the first record.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A record in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainedRecord {
    /// Its place among the account's records: 1, 2, …
    pub sequence: i64,
    /// The account.
    pub account_id: String,
    /// The record's `eventID`.
    pub event_id: String,
    /// When it was written, in milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// The hash of the record before, or [`GENESIS`].
    pub previous_hash: String,
    /// Its hash.
    pub hash: String,
    /// The record: JSON in CloudTrail's shape, as it was hashed.
    pub record: String,
}

impl ChainedRecord {
    /// The hash that it should have.
    #[must_use]
    pub fn computed_hash(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update(self.sequence.to_be_bytes());
        hash.update(self.time_ms.to_be_bytes());
        for text in [&self.previous_hash, &self.account_id, &self.event_id, &self.record] {
            hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(text);
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Where the chain is when this is its last record.
    #[must_use]
    pub fn head(&self) -> Head {
        Head { sequence: self.sequence, hash: self.hash.clone() }
    }
}

/// How far a chain has come: its last record's place and hash, written `<sequence>:<hash>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The last record's place.
    pub sequence: i64,
    /// Its hash.
    pub hash: String,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, self.hash)
    }
}

impl FromStr for Head {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = || {
            let (sequence, hash) = text.split_once(':')?;
            let sequence = sequence.parse().ok().filter(|sequence| *sequence > 0)?;
            let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_hash.then(|| Self { sequence, hash: hash.to_ascii_lowercase() })
        };
        parsed().ok_or_else(|| {
            format!("'{text}' is not <sequence>:<hash> with a sequence from 1 and 64 hexadecimal digits")
        })
    }
}

/// The first thing that is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Broken {
    /// There is a gap.
    #[error("record {sequence} is missing: record {found} stands in its place")]
    Missing {
        /// The place that should come next.
        sequence: i64,
        /// The place that does.
        found: i64,
    },
    /// A place comes again, or one before it.
    #[error("record {sequence} is out of its place: it comes after record {after}")]
    OutOfPlace {
        /// The place.
        sequence: i64,
        /// The place before.
        after: i64,
    },
    /// It is no record of the chain's account.
    #[error("record {sequence} is one of account {account}, not {expected}")]
    OtherAccount {
        /// The place.
        sequence: i64,
        /// Its account.
        account: String,
        /// The account of those before.
        expected: String,
    },
    /// The content is not what was hashed.
    #[error("record {sequence} was changed: its hash is not that of its content")]
    Changed {
        /// The place.
        sequence: i64,
    },
    /// The record was hashed after another one than the one that stands before it.
    #[error("record {sequence} does not follow from the record before it")]
    Detached {
        /// The place.
        sequence: i64,
    },
    /// The chain has another record where a head was noted.
    #[error("record {sequence} has hash {found}, not the expected {expected}: the log was rewritten")]
    Rewritten {
        /// The place of the head.
        sequence: i64,
        /// The hash there now.
        found: String,
        /// The hash that was noted.
        expected: String,
    },
    /// The chain does not come to where a head was noted.
    #[error("record {sequence} is missing: the log ends after record {last}")]
    CutOff {
        /// The place of the head.
        sequence: i64,
        /// The last place; 0 of an empty log.
        last: i64,
    },
    /// The chain begins after a head that was noted.
    #[error("record {sequence} is not in here: the log begins with record {first}")]
    Before {
        /// The place of the head.
        sequence: i64,
        /// The first place.
        first: i64,
    },
}

/// Checks a chain record by record.
#[derive(Debug, Clone, Default)]
pub struct Checker {
    is_whole: bool,
    expected: Option<Head>,
    first: Option<i64>,
    account: String,
    head: Option<Head>,
}

impl Checker {
    /// A checker of a chain, from whichever record it is given first, that knows where the chain once was, if
    /// `expected` says so.
    #[must_use]
    pub fn new(expected: Option<Head>) -> Self {
        Self { expected, ..Self::default() }
    }

    /// The same, of a chain that must begin with its first record.
    #[must_use]
    pub fn of_whole_chain(self) -> Self {
        Self { is_whole: true, ..self }
    }

    /// Checks the next record.
    ///
    /// # Errors
    /// What is wrong with it; the chain before it is sound.
    pub fn check(&mut self, next: &ChainedRecord) -> Result<(), Broken> {
        let sequence = next.sequence;
        match &self.head {
            Some(head) if sequence <= head.sequence => {
                return Err(Broken::OutOfPlace { sequence, after: head.sequence });
            }
            Some(head) if sequence > head.sequence + 1 => {
                return Err(Broken::Missing { sequence: head.sequence + 1, found: sequence });
            }
            None if sequence < 1 => return Err(Broken::OutOfPlace { sequence, after: 0 }),
            None if sequence > 1 && self.is_whole => {
                return Err(Broken::Missing { sequence: 1, found: sequence });
            }
            _ => {}
        }
        if self.head.is_some() && next.account_id != self.account {
            let (account, expected) = (next.account_id.clone(), self.account.clone());
            return Err(Broken::OtherAccount { sequence, account, expected });
        }
        if next.computed_hash() != next.hash {
            return Err(Broken::Changed { sequence });
        }
        let follows = match &self.head {
            Some(head) => next.previous_hash == head.hash,
            None => sequence > 1 || next.previous_hash == GENESIS,
        };
        if !follows {
            return Err(Broken::Detached { sequence });
        }
        if self.head.is_none() && sequence > 1 {
            self.meet(sequence - 1, &next.previous_hash)?;
        }
        self.meet(sequence, &next.hash)?;
        self.first.get_or_insert(sequence);
        self.account.clone_from(&next.account_id);
        self.head = Some(next.head());
        Ok(())
    }

    fn meet(&self, sequence: i64, hash: &str) -> Result<(), Broken> {
        match &self.expected {
            Some(expected) if expected.sequence == sequence && expected.hash != hash => {
                Err(Broken::Rewritten { sequence, found: hash.to_owned(), expected: expected.hash.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Says that there are no more records.
    ///
    /// # Errors
    /// The expected head was not met.
    pub fn end(&self) -> Result<(), Broken> {
        let Some(expected) = &self.expected else { return Ok(()) };
        let sequence = expected.sequence;
        let last = self.head.as_ref().map_or(0, |head| head.sequence);
        match self.first {
            Some(first) if sequence < first - 1 => Err(Broken::Before { sequence, first }),
            _ if sequence > last => Err(Broken::CutOff { sequence, last }),
            _ => Ok(()),
        }
    }

    /// The place of the first record.
    #[must_use]
    pub fn first(&self) -> Option<i64> {
        self.first
    }

    /// The account of the records so far.
    #[must_use]
    pub fn account(&self) -> &str {
        &self.account
    }

    /// How far the chain has come.
    #[must_use]
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }
}
