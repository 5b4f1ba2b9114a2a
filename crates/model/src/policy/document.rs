//! Reading a policy document: what IAM accepts, and where in the document it is something else.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use thiserror::Error;

use super::condition::{Condition, Operator};
use super::pattern::{ActionPattern, Language, ResourcePattern};
use super::{Effect, Policy, Set, Statement};

/// A document that is no identity policy: where, and why.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{place}: {what}")]
pub struct InvalidPolicy {
    place: String,
    what: String,
}

impl InvalidPolicy {
    /// Where in the document, such as `Statement[1].Condition.StringEqualz`; `policy` is the whole.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }
}

/// A JSON value that keeps what is given twice, so that it can be refused.
enum Json {
    Null,
    /// A boolean or a number, as text.
    Scalar(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Json;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Scalar(value.to_string()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Scalar(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(Json::Scalar(value.to_string()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
                Ok(Json::Scalar(value.to_string()))
            }
            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(Json::Text(value.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Json::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
                let mut object = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    object.push(entry);
                }
                Ok(Json::Object(object))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// Where the reader is: elements from the outside in.
#[derive(Clone, Copy)]
struct Place<'p> {
    outer: Option<&'p Place<'p>>,
    own: Step<'p>,
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Key(&'p str),
    Index(usize),
}

impl<'p> Place<'p> {
    fn root(key: &'p str) -> Self {
        Self { outer: None, own: Step::Key(key) }
    }

    fn key(&'p self, key: &'p str) -> Self {
        Self { outer: Some(self), own: Step::Key(key) }
    }

    fn index(&'p self, index: usize) -> Self {
        Self { outer: Some(self), own: Step::Index(index) }
    }

    fn refuse(&self, what: impl Into<String>) -> InvalidPolicy {
        InvalidPolicy { place: self.to_string(), what: what.into() }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(outer) = self.outer {
            outer.fmt(f)?;
        }
        match self.own {
            // A key is the document's own text, so it is cut; a dot would make two of it.
            Step::Key(key) => {
                let key: String = key.chars().take(100).collect();
                write!(f, "{}{key}", if self.outer.is_some() { "." } else { "" })
            }
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

fn whole(what: impl Into<String>) -> InvalidPolicy {
    InvalidPolicy { place: "policy".to_owned(), what: what.into() }
}

impl FromStr for Policy {
    type Err = InvalidPolicy;

    fn from_str(text: &str) -> Result<Self, InvalidPolicy> {
        // Before anything is counted or read: white space costs the reader too.
        if text.len() > Self::MAX_BYTES {
            let (bytes, most) = (text.len(), Self::MAX_BYTES);
            return Err(whole(format!("it has {bytes} bytes with its white space, more than {most}")));
        }
        let characters = text.chars().filter(|c| !c.is_whitespace()).count();
        if characters > Self::MAX_CHARACTERS {
            return Err(whole(format!(
                "it has {characters} characters without white space, more than {}",
                Self::MAX_CHARACTERS
            )));
        }
        let json: Json = serde_json::from_str(text).map_err(|error| whole(format!("no JSON: {error}")))?;
        policy(&json)
    }
}

fn policy(json: &Json) -> Result<Policy, InvalidPolicy> {
    let Json::Object(elements) = json else { return Err(whole("it must be an object with a Statement")) };
    let mut statements = None;
    let mut language = Language::Old;
    for (index, (name, value)) in elements.iter().enumerate() {
        let place = Place::root(name);
        once(elements, index, &place)?;
        match (name.as_str(), value) {
            ("Version", Json::Text(version)) => {
                language = match version.as_str() {
                    "2012-10-17" => Language::Current,
                    "2008-10-17" => Language::Old,
                    _ => return Err(place.refuse(format!("'{version}' is not 2012-10-17 or 2008-10-17"))),
                };
            }
            ("Id", Json::Text(_)) => {}
            ("Version" | "Id", _) => return Err(place.refuse("it must be a string")),
            ("Statement", value) => statements = Some(value),
            _ => return Err(place.refuse("a policy has only Version, Id and Statement")),
        }
    }
    let place = Place::root("Statement");
    let statements = match statements {
        Some(one @ Json::Object(_)) => vec![statement(one, &place, language)?],
        Some(Json::List(list)) if !list.is_empty() => list
            .iter()
            .enumerate()
            .map(|(index, one)| statement(one, &place.index(index), language))
            .collect::<Result<Vec<_>, _>>()?,
        Some(_) => return Err(place.refuse("it must be a statement or a list of statements")),
        None => return Err(place.refuse("it is missing")),
    };
    for (index, statement) in statements.iter().enumerate() {
        if let Some(sid) = &statement.sid
            && statements[..index].iter().any(|earlier| earlier.sid.as_ref() == Some(sid))
        {
            return Err(place
                .index(index)
                .key("Sid")
                .refuse(format!("'{sid}' is the Sid of two statements")));
        }
    }
    Ok(Policy { statements })
}

/// Refuses an element that an earlier one has the name of.
fn once(elements: &[(String, Json)], index: usize, place: &Place<'_>) -> Result<(), InvalidPolicy> {
    let name = &elements[index].0;
    if elements[..index].iter().any(|(earlier, _)| earlier == name) {
        return Err(place.refuse("it is given twice"));
    }
    Ok(())
}

fn statement(json: &Json, place: &Place<'_>, language: Language) -> Result<Statement, InvalidPolicy> {
    let Json::Object(elements) = json else { return Err(place.refuse("a statement must be an object")) };
    let (mut sid, mut effect, mut actions, mut resources) = (None, None, None, None);
    let mut conditions = Vec::new();
    for (index, (name, value)) in elements.iter().enumerate() {
        let place = place.key(name);
        once(elements, index, &place)?;
        match name.as_str() {
            "Sid" => sid = self::sid(value, &place)?,
            "Effect" => {
                effect = Some(match value {
                    Json::Text(effect) if effect == "Allow" => Effect::Allow,
                    Json::Text(effect) if effect == "Deny" => Effect::Deny,
                    _ => return Err(place.refuse("it must be Allow or Deny")),
                });
            }
            "Action" | "NotAction" => {
                let patterns = patterns(value, &place, ActionPattern::read)?;
                either(&mut actions, name.starts_with("Not"), patterns, &place)?;
            }
            "Resource" | "NotResource" => {
                let patterns = patterns(value, &place, |text| ResourcePattern::read(text, language))?;
                either(&mut resources, name.starts_with("Not"), patterns, &place)?;
            }
            "Condition" => conditions = self::conditions(value, &place, language)?,
            "Principal" | "NotPrincipal" => {
                return Err(
                    place.refuse("an identity policy applies to whom it is attached to and names nobody")
                );
            }
            _ => {
                return Err(place.refuse(
                    "a statement has only Sid, Effect, Action or NotAction, Resource or NotResource, Condition",
                ));
            }
        }
    }
    Ok(Statement {
        sid,
        effect: effect.ok_or_else(|| place.key("Effect").refuse("it is missing"))?,
        actions: actions.ok_or_else(|| place.refuse("it must have an Action or a NotAction"))?,
        resources: resources.ok_or_else(|| place.refuse("it must have a Resource or a NotResource"))?,
        conditions,
    })
}

fn sid(value: &Json, place: &Place<'_>) -> Result<Option<String>, InvalidPolicy> {
    match value {
        Json::Text(sid) if sid.is_empty() => Ok(None),
        Json::Text(sid) if sid.bytes().all(|b| b.is_ascii_alphanumeric()) => Ok(Some(sid.clone())),
        _ => Err(place.refuse("it must be a string of A-Z, a-z and 0-9")),
    }
}

fn either<T>(
    element: &mut Option<Set<T>>,
    not: bool,
    patterns: Vec<T>,
    place: &Place<'_>,
) -> Result<(), InvalidPolicy> {
    if element.is_some() {
        return Err(place.refuse("a statement must not have both an element and its Not… twin"));
    }
    *element = Some(if not { Set::AllBut(patterns) } else { Set::Only(patterns) });
    Ok(())
}

/// A string, or a list of strings that is not empty, read one by one.
fn patterns<T>(
    value: &Json,
    place: &Place<'_>,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, InvalidPolicy> {
    let one = |value: &Json, place: &Place<'_>| match value {
        Json::Text(text) => read(text).map_err(|what| place.refuse(what)),
        _ => Err(place.refuse("it must be a string")),
    };
    match value {
        Json::List(list) if list.is_empty() => Err(place.refuse("it is empty")),
        Json::List(list) => {
            list.iter().enumerate().map(|(index, value)| one(value, &place.index(index))).collect()
        }
        Json::Text(_) => Ok(vec![one(value, place)?]),
        _ => Err(place.refuse("it must be a string or a list of strings")),
    }
}

fn conditions(value: &Json, place: &Place<'_>, language: Language) -> Result<Vec<Condition>, InvalidPolicy> {
    let Json::Object(operators) = value else { return Err(place.refuse("it must be an object")) };
    let mut conditions = Vec::new();
    for (index, (name, keys)) in operators.iter().enumerate() {
        let place = place.key(name);
        once(operators, index, &place)?;
        let operator = Operator::read(name).ok_or_else(|| place.refuse("there is no such operator"))?;
        let Json::Object(keys) = keys else {
            return Err(place.refuse("it must be an object of condition keys"));
        };
        for (index, (key, values)) in keys.iter().enumerate() {
            let place = place.key(key);
            once(keys, index, &place)?;
            if key.split_once(':').is_none_or(|(service, name)| service.is_empty() || name.is_empty()) {
                return Err(place.refuse("a condition key is <service>:<name>, such as aws:SourceIp"));
            }
            let texts = condition_values(values, &place)?;
            let condition = Condition::read(operator, key, &texts, language).map_err(|(index, what)| {
                let place = if matches!(values, Json::List(_)) { place.index(index) } else { place };
                place.refuse(format!("'{}' is not {what}", texts[index]))
            })?;
            conditions.push(condition);
        }
    }
    Ok(conditions)
}

fn condition_values(values: &Json, place: &Place<'_>) -> Result<Vec<String>, InvalidPolicy> {
    let one = |value: &Json| match value {
        Json::Text(text) | Json::Scalar(text) => Some(text.clone()),
        _ => None,
    };
    let what = "it must be a string, a number, a boolean, or a list of them";
    match values {
        Json::List(list) => list
            .iter()
            .enumerate()
            .map(|(index, value)| one(value).ok_or_else(|| place.index(index).refuse(what)))
            .collect(),
        value => Ok(vec![one(value).ok_or_else(|| place.refuse(what))?]),
    }
}
