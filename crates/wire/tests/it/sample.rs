//! Documents made from shapes: values that keep every constraint, and values at and around each bound.

use ciborium::Value;
use syncline_wire::shape::{Shape, TextRule};

/// A value that keeps the shape's constraints, with every member there.
pub(crate) fn full(shape: &Shape) -> Value {
    match shape {
        Shape::Boolean => Value::Bool(true),
        Shape::Integer(rule) => Value::from(rule.max.min(7)),
        Shape::Long => Value::from(7_i64),
        Shape::Double => Value::Float(1.5),
        Shape::Blob => Value::Bytes(b"blob".to_vec()),
        Shape::Timestamp => Value::Tag(1, Box::new(Value::Float(1_763_865_600.125))),
        Shape::Text(rule) => Value::Text(text(rule)),
        Shape::Enum(texts) => Value::Text((*texts.last().expect("an enumeration has values")).to_owned()),
        Shape::List(rule) => Value::Array(vec![full(rule.member); rule.min.max(2)]),
        Shape::Map(rule) => Value::Map(vec![(Value::from("key"), full(rule.value))]),
        Shape::Structure(members) => {
            Value::Map(members.iter().map(|member| (Value::from(member.name), full(member.shape))).collect())
        }
    }
}

/// The same with nothing but the required members.
pub(crate) fn least(shape: &Shape) -> Value {
    match shape {
        Shape::Structure(members) => Value::Map(
            members
                .iter()
                .filter(|member| member.required)
                .map(|member| (Value::from(member.name), least(member.shape)))
                .collect(),
        ),
        Shape::List(rule) => Value::Array(vec![least(rule.member); rule.min]),
        _ => full(shape),
    }
}

/// Texts for the patterns of the model that a run of `a` does not match.
const EXAMPLES: &[&str] = &[
    "",
    "123456789012",
    "00000000-1111-2222-3333-444444444444",
    "arn:aws:codeconnections:eu-west-1:123456789012:host/name-01234567",
    "arn:aws:codeconnections:eu-west-1:123456789012:repository-link/00000000-1111-2222-3333-444444444444",
    "arn:aws:iam::123456789012:role/deploy",
    "arn:aws:kms:eu-west-1:123456789012:key/00000000-1111-2222-3333-444444444444",
    "subnet-01234567",
    "sg-01234567",
    "vpc-01234567",
];

fn text(rule: &TextRule) -> String {
    let letters = "a".repeat(rule.min.max(1));
    let candidates = std::iter::once(letters.as_str()).chain(EXAMPLES.iter().copied());
    let mut good = candidates.filter(|text| {
        let length = text.chars().count();
        length >= rule.min
            && rule.max.is_none_or(|max| length <= max)
            && rule.pattern.is_none_or(|pattern| pattern.matches(text))
    });
    good.next().unwrap_or_else(|| panic!("no example keeps {rule:?}")).to_owned()
}

/// A document's text in JSON, as a client would write it.
pub(crate) fn json(document: &Value) -> Vec<u8> {
    fn convert(document: &Value) -> serde_json::Value {
        match document {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Integer(value) => i64::try_from(*value).expect("samples are small").into(),
            Value::Float(value) => (*value).into(),
            Value::Text(value) => value.as_str().into(),
            Value::Tag(_, value) => convert(value),
            Value::Array(items) => items.iter().map(convert).collect(),
            Value::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| {
                    (key.as_text().expect("samples have texts as keys").to_owned(), convert(value))
                });
                serde_json::Value::Object(entries.collect())
            }
            other => panic!("{other:?} is in no sample"),
        }
    }
    serde_json::to_vec(&convert(document)).expect("samples are JSON")
}

/// A document in CBOR.
pub(crate) fn cbor(document: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(document, &mut bytes).expect("samples are CBOR");
    bytes
}
