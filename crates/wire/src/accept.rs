//! Holding a document against a shape.
//!
//! A request's body is read into a plain document first, whatever the protocol. Here its types are checked, its
//! broken constraints collected, and it is brought into one form (nulls and unknown members gone, timestamps under
//! their tag), from which the typed structures are made.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ciborium::Value;

use crate::Protocol;
use crate::constraint::{Rule, Violations};
use crate::shape::{IntegerRule, ListRule, MapRule, Member, Pattern, Shape, TextRule};
use crate::timestamp::EPOCH_TAG;

/// A value of the wrong type: the document cannot be read at all.
#[derive(Debug)]
pub(crate) struct WrongType {
    pub(crate) message: String,
}

/// Checks one document.
pub(crate) struct Acceptance {
    protocol: Protocol,
    path: String,
    violations: Violations,
}

impl Acceptance {
    /// Holds `value`, which was read from `protocol`, against `shape`; gives its one form and what it breaks.
    pub(crate) fn check(
        protocol: Protocol,
        shape: &'static Shape,
        value: Value,
    ) -> Result<(Value, Violations), WrongType> {
        let mut acceptance = Self { protocol, path: String::new(), violations: Violations::default() };
        let value = acceptance.accept(shape, value)?;
        Ok((value, acceptance.violations))
    }

    fn accept(&mut self, shape: &'static Shape, value: Value) -> Result<Value, WrongType> {
        match (shape, value) {
            (Shape::Text(rule), value @ Value::Text(_)) => Ok(self.text(shape, rule, value)),
            (Shape::Enum(texts), value @ Value::Text(_)) => {
                if value.as_text().is_some_and(|text| !texts.contains(&text)) {
                    self.violations.add(shape, &value, &self.path, Rule::OneOf(texts));
                }
                Ok(value)
            }
            (Shape::Integer(rule), value @ Value::Integer(_)) => self.integer(shape, rule, value),
            (Shape::List(rule), Value::Array(items)) => self.list(shape, rule, items),
            (Shape::Structure(members), Value::Map(entries)) => self.structure(members, entries),
            (Shape::Map(rule), Value::Map(entries)) => self.map(rule, entries),
            (Shape::Timestamp, value) => self.timestamp(value),
            (Shape::Boolean, value @ Value::Bool(_)) => Ok(value),
            (Shape::Long, Value::Integer(integer)) if i64::try_from(integer).is_ok() => {
                Ok(Value::Integer(integer))
            }
            (Shape::Double, value) => self.double(value),
            (Shape::Blob, value) => self.blob(value),
            (shape, value) => Err(self.wrong_type(expected(shape), &value)),
        }
    }

    fn text(&mut self, shape: &'static Shape, rule: &'static TextRule, value: Value) -> Value {
        let text = value.as_text().unwrap_or_default();
        let chars = text.chars().count();
        let mut broken = Vec::new();
        if chars < rule.min {
            broken.push(Rule::MinLength(rule.min));
        }
        if let Some(max) = rule.max.filter(|&max| chars > max) {
            broken.push(Rule::MaxLength(max));
        }
        // What is too long to be matched is not said to match nothing: its length is told.
        let untried = !broken.is_empty() && text.len() > Pattern::MAX_MATCHED_BYTES;
        if let Some(pattern) = rule.pattern.filter(|pattern| !untried && !pattern.matches(text)) {
            broken.push(Rule::Matches(pattern));
        }
        for rule in broken {
            self.violations.add(shape, &value, &self.path, rule);
        }
        value
    }

    fn integer(
        &mut self,
        shape: &'static Shape,
        rule: &'static IntegerRule,
        value: Value,
    ) -> Result<Value, WrongType> {
        let integer = value.as_integer().and_then(|integer| i32::try_from(integer).ok());
        let Some(integer) = integer else {
            return Err(self.wrong_type("a 32-bit integer", &value));
        };
        if integer < rule.min {
            self.violations.add(shape, &value, &self.path, Rule::Min(rule.min));
        }
        if integer > rule.max {
            self.violations.add(shape, &value, &self.path, Rule::Max(rule.max));
        }
        Ok(value)
    }

    fn list(
        &mut self,
        shape: &'static Shape,
        rule: &'static ListRule,
        items: Vec<Value>,
    ) -> Result<Value, WrongType> {
        let length = items.len();
        let too_short = (length < rule.min).then_some(Rule::MinLength(rule.min));
        let too_long = rule.max.filter(|&max| length > max).map(Rule::MaxLength);
        let list = Value::Array(items);
        for broken in [too_short, too_long].into_iter().flatten() {
            self.violations.add(shape, &list, &self.path, broken);
        }
        let Value::Array(items) = list else { return Ok(list) };
        let mut accepted = Vec::with_capacity(length);
        for (i, item) in items.into_iter().enumerate() {
            let parent = self.path.len();
            self.path.push_str(&format!(".{}.member", i + 1));
            if !item.is_null() {
                accepted.push(self.accept(rule.member, item)?);
            } else if rule.sparse {
                accepted.push(item);
            } else {
                self.violations.add_null(&self.path);
            }
            self.path.truncate(parent);
        }
        Ok(Value::Array(accepted))
    }

    fn structure(
        &mut self,
        members: &'static [Member],
        entries: Vec<(Value, Value)>,
    ) -> Result<Value, WrongType> {
        let mut entries = self.distinct_entries(entries)?;
        let mut accepted = Vec::with_capacity(members.len());
        // In the model's order, whatever the client's, so that the text of several violations is always the same.
        for member in members {
            let found = entries.iter_mut().find(|(name, value)| name == member.name && !value.is_null());
            let parent = self.enter(member.name);
            if let Some((_, value)) = found {
                let value = std::mem::replace(value, Value::Null);
                accepted.push((Value::Text(member.name.to_owned()), self.accept(member.shape, value)?));
            } else if member.required {
                self.violations.add_null(&self.path);
            }
            self.path.truncate(parent);
        }
        Ok(Value::Map(accepted))
    }

    fn map(&mut self, rule: &'static MapRule, entries: Vec<(Value, Value)>) -> Result<Value, WrongType> {
        let mut accepted = Vec::new();
        for (key, value) in self.distinct_entries(entries)? {
            let parent = self.enter(&key);
            if !value.is_null() {
                let value = self.accept(rule.value, value)?;
                accepted.push((Value::Text(key), value));
            } else if rule.sparse {
                accepted.push((Value::Text(key), value));
            }
            self.path.truncate(parent);
        }
        Ok(Value::Map(accepted))
    }

    /// The entries of a map whose keys are texts and differ from each other.
    fn distinct_entries(&self, entries: Vec<(Value, Value)>) -> Result<Vec<(String, Value)>, WrongType> {
        let mut distinct = Vec::with_capacity(entries.len());
        let mut seen = std::collections::HashSet::with_capacity(entries.len());
        for (key, value) in entries {
            let Value::Text(key) = key else {
                return Err(self.wrong_type("a text as key", &key));
            };
            if !seen.insert(key.clone()) {
                let at = self.place();
                return Err(WrongType { message: format!("duplicate key '{}'{at}", cut_key(&key)) });
            }
            distinct.push((key, value));
        }
        Ok(distinct)
    }

    fn timestamp(&self, value: Value) -> Result<Value, WrongType> {
        let seconds = match (self.protocol, &value) {
            (Protocol::Json, number) => as_double(number),
            (Protocol::Cbor, Value::Tag(EPOCH_TAG, number)) => as_double(number),
            (Protocol::Cbor, _) => None,
        };
        match seconds.filter(|seconds| seconds.is_finite()) {
            Some(seconds) => Ok(Value::Tag(EPOCH_TAG, Box::new(Value::Float(seconds)))),
            None => Err(self.wrong_type("a timestamp", &value)),
        }
    }

    fn double(&self, value: Value) -> Result<Value, WrongType> {
        let special = match (self.protocol, value.as_text()) {
            (Protocol::Json, Some("NaN")) => Some(f64::NAN),
            (Protocol::Json, Some("Infinity")) => Some(f64::INFINITY),
            (Protocol::Json, Some("-Infinity")) => Some(f64::NEG_INFINITY),
            _ => None,
        };
        let double = special.or_else(|| as_double(&value));
        double.map(Value::Float).ok_or_else(|| self.wrong_type("a number", &value))
    }

    fn blob(&self, value: Value) -> Result<Value, WrongType> {
        match (self.protocol, value) {
            (Protocol::Cbor, value @ Value::Bytes(_)) => Ok(value),
            (Protocol::Json, Value::Text(text)) => {
                let bytes = BASE64.decode(&text);
                bytes.map(Value::Bytes).map_err(|_| self.wrong_type("base64", &Value::Text(text)))
            }
            (_, value) => Err(self.wrong_type("bytes", &value)),
        }
    }

    /// Goes down to a member, spelt in lower camel case; gives what to truncate the path to afterwards.
    fn enter(&mut self, name: &str) -> usize {
        let parent = self.path.len();
        if parent > 0 {
            self.path.push('.');
        }
        let mut chars = name.chars();
        self.path.extend(chars.next().map(|first| first.to_ascii_lowercase()));
        self.path.push_str(chars.as_str());
        parent
    }

    fn wrong_type(&self, expected: &str, found: &Value) -> WrongType {
        WrongType { message: format!("expected {expected}{}, found {}", self.place(), found_type(found)) }
    }

    fn place(&self) -> String {
        if self.path.is_empty() { String::new() } else { format!(" at '{}'", self.path) }
    }
}

fn cut_key(key: &str) -> String {
    crate::constraint::cut(key, 64)
}

#[expect(clippy::cast_precision_loss, reason = "a number of seconds or a measure, not a count")]
fn as_double(value: &Value) -> Option<f64> {
    match value {
        Value::Float(float) => Some(*float),
        Value::Integer(integer) => i64::try_from(*integer).ok().map(|integer| integer as f64),
        _ => None,
    }
}

fn expected(shape: &Shape) -> &'static str {
    match shape {
        Shape::Boolean => "true or false",
        Shape::Integer(_) => "a 32-bit integer",
        Shape::Long => "a 64-bit integer",
        Shape::Double => "a number",
        Shape::Blob => "bytes",
        Shape::Timestamp => "a timestamp",
        Shape::Text(_) | Shape::Enum(_) => "a text",
        Shape::List(_) => "a list",
        Shape::Map(_) | Shape::Structure(_) => "an object",
    }
}

fn found_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a number with a fraction",
        Value::Bytes(_) => "bytes",
        Value::Text(_) => "a text",
        Value::Array(_) => "a list",
        Value::Map(_) => "an object",
        _ => "a tagged value",
    }
}
