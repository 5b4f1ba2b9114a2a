//! What an event says.

use std::collections::BTreeSet;

use http::HeaderMap;
use serde::Deserialize;

use crate::lenient::Text;

/// The longest text that is taken out of an event, in bytes; a longer one counts as missing. No branch that is followed
/// has such a name.
pub(crate) const MAX_TEXT_BYTES: usize = 1024;
/// The longest name of an event that is kept, in characters.
const MAX_NAME_CHARS: usize = 100;
/// Branches of one event that are told apart; of more, all branches are meant.
pub(crate) const MAX_BRANCHES: usize = 256;

/// A proven request, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The event in the forge's own words; printable ASCII, at most 100 characters.
    pub event: String,
    /// What tells this delivery from every other of the same webhook, if the forge says it.
    pub id: Option<String>,
    /// `<owner>/<name>` of the repository that it happened in, if the forge says it.
    pub repository: Option<String>,
    /// What it means to us.
    pub meaning: Meaning,
}

impl Received {
    /// One whose body is not what the event's body is.
    pub(crate) fn unreadable(event: String, id: Option<String>) -> Self {
        let meaning = Meaning::nothing("the body is not the JSON that this event has");
        Self { event, id, repository: None, meaning }
    }
}

/// The repository of an event, as most forges name it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Repository {
    full_name: Text,
}

impl Repository {
    /// `<owner>/<name>`.
    pub(crate) fn full_name(&self) -> Option<String> {
        self.full_name.get().map(str::to_owned)
    }
}

/// What an event means to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// These branches may have changed: to be looked at.
    Pushed(Branches),
    /// A pull request was opened, changed or closed.
    PullRequest,
    /// The forge tries whether we are there.
    Ping,
    /// Nothing, for this reason.
    Nothing(String),
}

/// Branches of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Branches {
    /// All of them: the event does not say which.
    All,
    /// Those of these names, without `refs/heads/`; at least one.
    Named(BTreeSet<String>),
}

impl Meaning {
    pub(crate) fn nothing(why: impl Into<String>) -> Self {
        Self::Nothing(why.into())
    }

    /// Of an event that nobody needs to send.
    pub(crate) fn unknown(event: &str) -> Self {
        Self::Nothing(format!("{event} is no event that changes a branch"))
    }

    /// Of a push of these refs.
    pub(crate) fn pushed<'t>(refs: impl IntoIterator<Item = &'t str>) -> Self {
        let (mut branches, mut others) = (BTreeSet::new(), 0);
        for name in refs {
            match branch_of(name) {
                Some(branch) => drop(branches.insert(branch.to_owned())),
                None => others += 1,
            }
            if branches.len() > MAX_BRANCHES {
                return Self::Pushed(Branches::All);
            }
        }
        match (branches.is_empty(), others) {
            (false, _) => Self::Pushed(Branches::Named(branches)),
            (true, 0) => Self::nothing("the event names no branch"),
            (true, _) => Self::nothing("the event is about tags or other refs, not about a branch"),
        }
    }

    /// Of the one branch of that name, if it is one.
    pub(crate) fn branch(name: &str) -> Self {
        let name = branch_of(name).unwrap_or(name);
        if name.is_empty() {
            return Self::nothing("the event names no branch");
        }
        Self::Pushed(Branches::Named(BTreeSet::from([name.to_owned()])))
    }
}

/// The branch that a full ref name names.
fn branch_of(name: &str) -> Option<&str> {
    name.strip_prefix("refs/heads/").filter(|branch| !branch.is_empty())
}

/// A header's value, if it is there once and is text.
pub(crate) fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// The name of an event as it is kept: nobody signs headers.
pub(crate) fn name(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(MAX_NAME_CHARS).collect()
}

/// The first of these headers that is there once, not empty, as what a delivery is told apart by.
pub(crate) fn delivery_id(headers: &HeaderMap, names: &[&str]) -> Option<String> {
    names
        .iter()
        .find_map(|of| header(headers, of).map(str::trim).filter(|id| !id.is_empty()))
        .map(str::to_owned)
}
