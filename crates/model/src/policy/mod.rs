//! IAM policy documents: what they say, and what they say to one request.
//!
//! A [`Policy`] is read once, when it is stored or attached, and asked often. What IAM accepts is accepted
//! and means the same, with one exception that is this product's: `codeconnections` and
//! `codestar-connections` are one service. An action, a resource or a condition key under either name
//! matches a request under either name (contract §3). It is [`evaluate`] that sees to it, on both sides, so
//! that no caller has to choose a spelling.
//!
//! **Architecture Invariant:** an explicit `Deny` wins whatever allows, and what nothing allows is refused.
//!
//! **Architecture Invariant:** what a request holds is never a pattern. Wildcards count where the policy's
//! author wrote them; a `*` that arrives in a policy variable's value is a plain character.
//!
//! Facts are IAM's: the JSON policy element reference of its user guide, and which documents its API refuses.

mod condition;
mod document;
mod moment;
mod pattern;

use std::collections::HashMap;

pub use document::InvalidPolicy;

use condition::Condition;
use pattern::{ActionPattern, ResourcePattern, Spellings};

/// An identity policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    statements: Vec<Statement>,
}

/// One statement of a policy.
#[derive(Debug, Clone, PartialEq)]
struct Statement {
    sid: Option<String>,
    effect: Effect,
    actions: Set<ActionPattern>,
    resources: Set<ResourcePattern>,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

/// What an element and its `Not…` twin name.
#[derive(Debug, Clone, PartialEq)]
enum Set<T> {
    Only(Vec<T>),
    AllBut(Vec<T>),
}

impl<T> Set<T> {
    fn holds(&self, matches: impl Fn(&T) -> bool) -> bool {
        match self {
            Self::Only(patterns) => patterns.iter().any(matches),
            Self::AllBut(patterns) => !patterns.iter().any(matches),
        }
    }
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy)]
pub struct Request<'r> {
    /// The action, `<service>:<name>`; the case does not matter.
    pub action: &'r str,
    /// The ARN of what it is done to.
    pub resource: &'r str,
    /// What else is known of the request.
    pub context: &'r Context,
}

/// The condition keys of a request and their values.
///
/// Keys do not depend on case, nor on the spelling of this service's name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    values: HashMap<String, Vec<String>>,
}

impl Context {
    /// Adds a value to a key. Keys that differ only in case are one key with several values.
    pub fn add(&mut self, key: &str, value: impl Into<String>) {
        self.values.entry(canonical_key(key)).or_default().push(value.into());
    }

    /// Whether a key has a value, whatever the case in which either is written.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        !self.values(&canonical_key(key)).is_empty()
    }

    /// The values of a key in its canonical form; none if the request does not have it.
    fn values(&self, canonical_key: &str) -> &[String] {
        self.values.get(canonical_key).map_or(&[], Vec::as_slice)
    }

    /// The value that a policy variable takes: that of a key with exactly one.
    fn only_value(&self, canonical_key: &str) -> Option<&str> {
        match self.values(canonical_key) {
            [value] => Some(value),
            _ => None,
        }
    }
}

impl<K: AsRef<str>, V: Into<String>> FromIterator<(K, V)> for Context {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut context = Self::default();
        for (key, value) in pairs {
            context.add(key.as_ref(), value);
        }
        context
    }
}

/// What policies say to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// A statement allows it and none denies it.
    Allowed,
    /// A statement denies it.
    ExplicitlyDenied {
        /// Which policy, counted from 0.
        policy: usize,
        /// Which statement of it, counted from 0.
        statement: usize,
        /// The statement's `Sid`.
        sid: Option<String>,
    },
    /// No statement allows it.
    NotAllowed,
}

/// Asks all policies of a caller whether a request may go ahead.
pub fn evaluate<'p>(policies: impl IntoIterator<Item = &'p Policy>, request: &Request<'_>) -> Decision {
    let asked = Asked {
        action: ActionPattern::canonical(request.action),
        resource: Spellings::of(request.resource),
        context: request.context,
    };
    let mut allowed = false;
    for (policy, document) in policies.into_iter().enumerate() {
        for (index, statement) in document.statements.iter().enumerate() {
            // A second permission changes nothing, so only a denial is still looked for.
            if (statement.effect == Effect::Allow && allowed) || !statement.applies(&asked) {
                continue;
            }
            match statement.effect {
                Effect::Allow => allowed = true,
                Effect::Deny => {
                    let sid = statement.sid.clone();
                    return Decision::ExplicitlyDenied { policy, statement: index, sid };
                }
            }
        }
    }
    if allowed { Decision::Allowed } else { Decision::NotAllowed }
}

/// A request brought into the form that patterns are held against.
struct Asked<'r> {
    action: String,
    resource: Spellings<'r>,
    context: &'r Context,
}

impl Statement {
    fn applies(&self, asked: &Asked<'_>) -> bool {
        self.actions.holds(|pattern| pattern.matches(&asked.action))
            && self.resources.holds(|pattern| pattern.matches(&asked.resource, asked.context))
            && self.conditions.iter().all(|condition| condition.holds(asked.context))
    }
}

impl Policy {
    /// The longest document that IAM takes as a managed policy, in characters without white space.
    pub const MAX_CHARACTERS: usize = 6144;
    /// The longest document that is read, in bytes, white space and all: ours. Every document without white space
    /// that IAM takes is within it.
    pub const MAX_BYTES: usize = 4 * Self::MAX_CHARACTERS;

    /// Whether any statement depends on a condition key that begins with `prefix`, by a condition or a
    /// policy variable. A caller can leave out of the context what is costly to find and not asked for.
    #[must_use]
    pub fn asks_for(&self, prefix: &str) -> bool {
        let prefix = canonical_key(prefix);
        self.asks(&|key| key.starts_with(&prefix))
    }

    /// Whether any statement depends on this condition key, by a condition or a policy variable.
    #[must_use]
    pub fn asks_for_key(&self, key: &str) -> bool {
        let wanted = canonical_key(key);
        self.asks(&|key| key == wanted)
    }

    fn asks(&self, wanted: &dyn Fn(&str) -> bool) -> bool {
        self.statements.iter().any(|statement| {
            let (Set::Only(resources) | Set::AllBut(resources)) = &statement.resources;
            statement.conditions.iter().any(|condition| condition.asks_for(wanted))
                || resources.iter().any(|resource| resource.asks_for(wanted))
        })
    }
}

const OLD_SERVICE: &str = "codestar-connections";
const SERVICE: &str = "codeconnections";

/// One spelling for both names of this service.
fn canonical_service(service: &str) -> &str {
    if service == OLD_SERVICE { SERVICE } else { service }
}

/// A condition key in the form in which keys are compared.
fn canonical_key(key: &str) -> String {
    let key = key.to_lowercase();
    match key.split_once(':') {
        Some((OLD_SERVICE, name)) => format!("{SERVICE}:{name}"),
        _ => key,
    }
}
