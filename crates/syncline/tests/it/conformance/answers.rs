//! Whether an answer is one that the model allows.

use std::collections::BTreeSet;

use ciborium::Value;
use syncline_wire::shape::{Shape, TextRule};
use syncline_wire::{ErrorCode, Operation, Protocol, codec};

use crate::api::client::Reply;

/// Holds a successful answer against the operation's output; gives the places in it that had a value.
///
/// # Errors
/// Says what is not as modelled.
pub(super) fn success(
    operation: Operation,
    protocol: Protocol,
    reply: &Reply,
) -> Result<BTreeSet<String>, String> {
    if reply.status != 200 {
        return Err(format!("status {}: {}", reply.status, reply.value));
    }
    let mut check = Check { protocol, seen: BTreeSet::new() };
    check.value(operation.name(), operation.output_shape(), &read(protocol, reply)?)?;
    Ok(check.seen)
}

/// Holds a refusal against what every error is: two texts, the status of its code.
///
/// # Errors
/// Says what is not as modelled.
pub(super) fn refusal(
    operation: Operation,
    protocol: Protocol,
    reply: &Reply,
) -> Result<(ErrorCode, String), String> {
    let Value::Map(entries) = read(protocol, reply)? else { return Err("no map".to_owned()) };
    let (mut kind, mut message) = (None, None);
    for (key, value) in &entries {
        match key.as_text() {
            Some("__type") => kind = value.as_text(),
            Some("Message") => message = value.as_text(),
            _ => return Err(format!("an error has no {key:?}")),
        }
    }
    let (Some(kind), Some(message)) = (kind, message) else { return Err(format!("of an error {entries:?}")) };
    let code =
        kind.strip_prefix("com.amazonaws.codeconnections#").ok_or(format!("the namespace of {kind}"))?;
    let code = ErrorCode::ALL.iter().find(|known| known.name() == code).ok_or(format!("the code {code}"))?;
    if reply.status != code.status() {
        return Err(format!("{} with status {}", code.name(), reply.status));
    }
    // Two are everybody's, whether the model says so or not.
    let is_common = matches!(code, ErrorCode::AccessDenied | ErrorCode::Throttling);
    let is_declared_somewhere = Operation::ALL.iter().any(|operation| operation.declares(*code));
    if is_declared_somewhere && !is_common && !operation.declares(*code) {
        return Err(format!("{} does not declare {}: {message}", operation.name(), code.name()));
    }
    if message.is_empty() || message.chars().count() > 600 {
        return Err(format!("a message of {} characters", message.chars().count()));
    }
    Ok((*code, message.to_owned()))
}

fn read(protocol: Protocol, reply: &Reply) -> Result<Value, String> {
    codec::read(protocol, &reply.body).map_err(|error| error.message)
}

struct Check {
    protocol: Protocol,
    seen: BTreeSet<String>,
}

impl Check {
    fn value(&mut self, place: &str, shape: &Shape, value: &Value) -> Result<(), String> {
        let bad = |why: &str| Err(format!("{place}: {why} in {value:?}"));
        match (shape, value) {
            (Shape::Text(rule), Value::Text(text)) => text_fits(rule, text).map_or(Ok(()), |why| bad(&why)),
            (Shape::Enum(texts), Value::Text(text)) if texts.contains(&text.as_str()) => Ok(()),
            (Shape::Timestamp, value) if self.is_timestamp(value) => Ok(()),
            (Shape::List(rule), Value::Array(items)) => {
                if items.len() < rule.min || rule.max.is_some_and(|max| items.len() > max) {
                    return bad("its length");
                }
                items.iter().try_for_each(|item| self.value(&format!("{place}[]"), rule.member, item))
            }
            (Shape::Structure(members), Value::Map(entries)) => {
                let mut names = BTreeSet::new();
                for (name, value) in entries {
                    let Some(name) = name.as_text() else { return bad("a key") };
                    let member = members.iter().find(|member| member.name == name);
                    let Some(member) = member else { return bad(&format!("the unknown {name}")) };
                    if !names.insert(name) {
                        return bad(&format!("{name} twice"));
                    }
                    let place = format!("{place}.{name}");
                    self.value(&place, member.shape, value)?;
                    self.seen.insert(place);
                }
                match members.iter().find(|member| member.required && !names.contains(member.name)) {
                    Some(missing) => bad(&format!("no {}", missing.name)),
                    None => Ok(()),
                }
            }
            _ => bad("its type or value"),
        }
    }

    /// Seconds: a number in JSON, tag 1 in CBOR.
    fn is_timestamp(&self, value: &Value) -> bool {
        let number = match (self.protocol, value) {
            (Protocol::Json, number) => number,
            (Protocol::Cbor, Value::Tag(1, number)) => number,
            (Protocol::Cbor, _) => return false,
        };
        matches!(number, Value::Float(_) | Value::Integer(_))
    }
}

fn text_fits(rule: &TextRule, text: &str) -> Option<String> {
    let length = text.chars().count();
    if length < rule.min || rule.max.is_some_and(|max| length > max) {
        return Some(format!("a length of {length}"));
    }
    let unmatched = rule.pattern.filter(|pattern| !pattern.matches(text));
    unmatched.map(|pattern| format!("no match of {}", pattern.text()))
}

/// Every place in an operation's output that the model names.
pub(super) fn places(operation: Operation) -> BTreeSet<String> {
    fn below(shape: &Shape, place: &str, places: &mut BTreeSet<String>) {
        match shape {
            Shape::List(rule) => below(rule.member, &format!("{place}[]"), places),
            Shape::Structure(members) => {
                for member in *members {
                    let place = format!("{place}.{}", member.name);
                    below(member.shape, &place, places);
                    places.insert(place);
                }
            }
            _ => {}
        }
    }
    let mut places = BTreeSet::new();
    below(operation.output_shape(), operation.name(), &mut places);
    places
}
