//! The protocols' own test vectors, as botocore's source distribution carries them, through the codec.
//!
//! Their shapes are not ours, so they are built from the vectors at run time; reading, holding against the shape and
//! writing are the functions that the generated structures go through. The files are fetched by the test
//! environment, never committed: `$SYNCLINE_TEST_ENV/botocore-sdist/` holds the unpacked distribution.

use std::path::{Path, PathBuf};
use std::{fs, iter};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ciborium::Value as Document;
use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use syncline_wire::codec::{accept, read, write};
use syncline_wire::shape::{IntegerRule, ListRule, MapRule, Member, Shape, TextRule};
use syncline_wire::{ErrorCode, Protocol, Timestamp, WireError, encode_error};

/// Recursive shapes are unrolled this far; the vectors nest less.
const UNROLLED: usize = 10;

#[test]
fn requests_are_read_as_the_vectors_say() {
    let Some(directory) = vectors() else { return };
    let mut checked = 0;
    for (protocol, suite, case) in cases(&directory.join("input")) {
        let Some(body) = case["serialized"]["body"].as_str() else { continue };
        let shape = shape_of(&suite, &case["given"]["input"]);
        for (header, value) in case["serialized"]["headers"].as_object().into_iter().flatten() {
            match header.to_ascii_lowercase().as_str() {
                "content-type" => assert_eq!(value, protocol.content_type()),
                "smithy-protocol" => assert_eq!(value, "rpc-v2-cbor"),
                _ => {}
            }
        }
        let found = accepted(protocol, shape, &bytes(protocol, body));
        assert_same(&case, shape, &found, &case["params"]);
        checked += 1;
    }
    assert!(checked >= 34, "only {checked} vectors were found");
}

#[test]
fn answers_are_written_as_the_vectors_say() {
    let Some(directory) = vectors() else { return };
    let mut checked = 0;
    for (protocol, suite, case) in cases(&directory.join("output")) {
        let (Some(body), None) = (case["response"]["body"].as_str(), case.get("error")) else { continue };
        let shape = shape_of(&suite, &case["given"]["output"]);
        let expected = accepted(protocol, shape, &bytes(protocol, body));
        assert_same(&case, shape, &expected, &case["result"]);
        let written = write(protocol, &Answer { protocol, shape, value: &case["result"] }).expect("written");
        assert_same(&case, shape, &accepted(protocol, shape, &written), &case["result"]);
        checked += 1;
    }
    assert!(checked >= 40, "only {checked} vectors were found");
}

/// The vectors whose error has nothing but a Message, as all of ours: ours differs in namespace and code alone.
#[test]
fn errors_have_the_form_of_the_vectors() {
    let Some(directory) = vectors() else { return };
    let mut checked = 0;
    for (protocol, _, case) in cases(&directory.join("output")) {
        let Some(message) = case["error"]["Message"].as_str() else { continue };
        let body = case["response"]["body"].as_str().expect("the vector has a body");
        let plain = |bytes: &[u8]| -> Value {
            read(protocol, bytes).expect("readable").deserialized().expect("a map of texts")
        };
        let mut expected = plain(&bytes(protocol, body));
        assert_eq!(case["response"]["status_code"], ErrorCode::InvalidInput.status());
        let answer = encode_error(protocol, &WireError::new(ErrorCode::InvalidInput, message), "id");
        expected["__type"] = "com.amazonaws.codeconnections#InvalidInputException".into();
        assert_eq!(plain(answer.body()), expected, "{}", case["id"]);
        assert_eq!(answer.status(), ErrorCode::InvalidInput.status());
        for (header, value) in case["response"]["headers"].as_object().into_iter().flatten() {
            assert_eq!(answer.headers()[header.to_ascii_lowercase()], value.as_str().expect("a text"));
        }
        checked += 1;
    }
    assert!(checked >= 2, "only {checked} vectors were found");
}

/// The directory of the vectors, or `None` and a line that says why there is none.
#[expect(clippy::disallowed_methods, reason = "the test environment is named by a variable")]
fn vectors() -> Option<PathBuf> {
    let Some(environment) = std::env::var_os("SYNCLINE_TEST_ENV") else {
        eprintln!("skipped: SYNCLINE_TEST_ENV names no test environment (`cargo xtask test` makes one)");
        return None;
    };
    let root = Path::new(&environment).join("botocore-sdist");
    let below = fs::read_dir(&root).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut found = iter::once(root.clone()).chain(below).map(|path| path.join("tests/unit/protocols"));
    let found = found.find(|path| path.is_dir());
    Some(found.unwrap_or_else(|| panic!("{} holds no unpacked botocore", root.display())))
}

/// Every case of the two protocols' files: protocol, suite, case.
fn cases(directory: &Path) -> Vec<(Protocol, Value, Value)> {
    let files = [(Protocol::Json, "json_1_0.json"), (Protocol::Cbor, "smithy-rpc-v2-cbor.json")];
    let mut cases = Vec::new();
    for (protocol, file) in files {
        let path = directory.join(file);
        let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let suites: Vec<Value> = serde_json::from_slice(&text).expect("the vectors are JSON");
        for suite in suites {
            for case in suite["cases"].as_array().expect("a suite has cases").clone() {
                cases.push((protocol, suite.clone(), case));
            }
        }
    }
    cases
}

fn bytes(protocol: Protocol, body: &str) -> Vec<u8> {
    match protocol {
        Protocol::Json => body.as_bytes().to_vec(),
        Protocol::Cbor => BASE64.decode(body).expect("CBOR bodies are in base64"),
    }
}

fn accepted(protocol: Protocol, shape: &'static Shape, body: &[u8]) -> Document {
    accept(protocol, shape, read(protocol, body).expect("readable")).expect("in shape")
}

/// The shape of a vector; no reference means an empty structure.
fn shape_of(suite: &Value, reference: &Value) -> &'static Shape {
    match reference["shape"].as_str() {
        None => &Shape::Structure(&[]),
        Some(name) => build(suite, name, UNROLLED),
    }
}

fn build(suite: &Value, name: &str, depth: usize) -> &'static Shape {
    let json = &suite["shapes"][name];
    let child = |reference: &Value| match depth.checked_sub(1) {
        None => &Shape::Structure(&[]),
        Some(depth) => build(suite, reference["shape"].as_str().expect("a reference"), depth),
    };
    let sparse = json["sparse"] == true;
    let shape = match json["type"].as_str().expect("a type") {
        "boolean" => Shape::Boolean,
        "integer" => Shape::Integer(IntegerRule { min: i32::MIN, max: i32::MAX }),
        "long" => Shape::Long,
        "float" | "double" => Shape::Double,
        "blob" => Shape::Blob,
        "timestamp" => Shape::Timestamp,
        "string" => Shape::Text(TextRule { min: 0, max: None, pattern: None }),
        "list" => Shape::List(ListRule { member: child(&json["member"]), min: 0, max: None, sparse }),
        "map" => Shape::Map(MapRule { value: child(&json["value"]), sparse }),
        "structure" => {
            let members = json["members"].as_object().expect("members").iter().map(|(name, reference)| {
                Member::optional(Box::leak(name.clone().into_boxed_str()), child(reference))
            });
            Shape::Structure(Vec::leak(members.collect()))
        }
        other => panic!("the vectors have a new type: {other}"),
    };
    Box::leak(Box::new(shape))
}

/// Compares a document with the vectors' way to write one: times as numbers, bytes as texts, and NaN by name.
fn assert_same(case: &Value, shape: &Shape, found: &Document, expected: &Value) {
    let found = plain(found);
    let expected = without_nulls(shape, expected);
    assert!(same(&found, &expected), "{}:\n{found}\n{expected}", case["id"]);
}

fn plain(document: &Document) -> Value {
    match document {
        Document::Null => Value::Null,
        Document::Bool(value) => (*value).into(),
        Document::Integer(value) => i64::try_from(*value).expect("64 bits").into(),
        Document::Float(value) if value.is_nan() => "NaN".into(),
        Document::Float(value) if value.is_infinite() => {
            if *value > 0.0 {
                "Infinity".into()
            } else {
                "-Infinity".into()
            }
        }
        Document::Float(value) => (*value).into(),
        Document::Text(value) => value.as_str().into(),
        Document::Bytes(value) => {
            String::from_utf8(value.clone()).expect("the vectors' bytes are text").into()
        }
        Document::Tag(1, value) => plain(value),
        Document::Array(items) => items.iter().map(plain).collect(),
        Document::Map(entries) => {
            let entries = entries.iter();
            entries.map(|(key, value)| (key.as_text().expect("a text").to_owned(), plain(value))).collect()
        }
        other => panic!("{other:?} is no result"),
    }
}

fn without_nulls(shape: &Shape, value: &Value) -> Value {
    match (shape, value) {
        (Shape::Structure(members), Value::Object(entries)) => {
            let kept = entries.iter().filter(|(_, value)| !value.is_null());
            let kept = kept.map(|(name, value)| {
                let member = members.iter().find(|member| member.name == name).expect("a member");
                (name.clone(), without_nulls(member.shape, value))
            });
            Value::Object(kept.collect::<Map<_, _>>())
        }
        _ => value.clone(),
    }
}

/// Equality up to the representation of numbers.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().expect("a number"), b.as_f64().expect("a number"));
            (a - b).abs() <= 1e-9 * a.abs().max(1e-3)
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

/// A result of the vectors that writes itself as the generated structures do.
struct Answer<'a> {
    protocol: Protocol,
    shape: &'static Shape,
    value: &'a Value,
}

impl Answer<'_> {
    fn child<'a>(&self, shape: &'static Shape, value: &'a Value) -> Answer<'a> {
        Answer { protocol: self.protocol, shape, value }
    }
}

impl Serialize for Answer<'_> {
    #[expect(clippy::cast_possible_truncation, reason = "the vectors' times are small")]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.value.as_str();
        match (self.shape, self.value) {
            (Shape::Timestamp, Value::Number(seconds)) => {
                let epoch_ms = (seconds.as_f64().expect("a number") * 1000.0).round() as i64;
                Timestamp::from_epoch_ms(epoch_ms).serialize(serializer)
            }
            (Shape::Blob, Value::String(text)) => match self.protocol {
                Protocol::Json => serializer.serialize_str(&BASE64.encode(text)),
                Protocol::Cbor => serializer.serialize_bytes(text.as_bytes()),
            },
            (Shape::Double, _) if text.is_some() && self.protocol == Protocol::Cbor => serializer
                .serialize_f64(match text {
                    Some("NaN") => f64::NAN,
                    Some("Infinity") => f64::INFINITY,
                    _ => f64::NEG_INFINITY,
                }),
            (Shape::List(rule), Value::Array(items)) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&self.child(rule.member, item))?;
                }
                list.end()
            }
            (Shape::Map(rule), Value::Object(entries)) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, &self.child(rule.value, value))?;
                }
                map.end()
            }
            (Shape::Structure(members), Value::Object(entries)) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    let member = members.iter().find(|member| member.name == key).expect("a member");
                    map.serialize_entry(key, &self.child(member.shape, value))?;
                }
                map.end()
            }
            (_, value) => value.serialize(serializer),
        }
    }
}
