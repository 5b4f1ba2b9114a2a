//! The ways in which the same input can be written and addressed.

use ciborium::Value as Cbor;
use serde_json::Value;
use syncline_wire::shape::Shape;
use syncline_wire::{Operation, Protocol, Service};

use super::answers;
use super::fixtures::Stage;
use crate::api::client::{Client, Draft, PROTOCOLS, Reply, to_cbor};
use crate::api::scene::respelled;

/// Whether lengths are told in advance.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Lengths {
    Definite,
    Indefinite,
}

/// Writes CBOR by hand, so that the forms that no writer of ours makes are met too.
fn cbor(value: &Value, lengths: Lengths) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(value, lengths, &mut bytes);
    bytes
}

fn head(major: u8, length: usize, bytes: &mut Vec<u8>) {
    let major = major << 5;
    match u8::try_from(length) {
        Ok(small @ 0..24) => bytes.push(major | small),
        Ok(byte) => bytes.extend([major | 24, byte]),
        Err(_) => {
            bytes.push(major | 25);
            bytes.extend(u16::try_from(length).expect("a short value").to_be_bytes());
        }
    }
}

const BREAK: u8 = 0xff;

fn write(value: &Value, lengths: Lengths, bytes: &mut Vec<u8>) {
    let begin = |major: u8, length: usize, bytes: &mut Vec<u8>| match lengths {
        Lengths::Definite => head(major, length, bytes),
        Lengths::Indefinite => bytes.push(major << 5 | 31),
    };
    match value {
        Value::Null => bytes.push(0xf6),
        Value::Number(number) => {
            head(0, number.as_u64().and_then(|n| n.try_into().ok()).expect("small"), bytes)
        }
        Value::String(text) => {
            begin(3, text.len(), bytes);
            match lengths {
                Lengths::Definite => bytes.extend(text.as_bytes()),
                // In pieces of one character, with an empty one at the end.
                Lengths::Indefinite => {
                    for piece in text.chars().map(String::from).chain([String::new()]) {
                        head(3, piece.len(), bytes);
                        bytes.extend(piece.as_bytes());
                    }
                }
            }
        }
        Value::Array(items) => {
            begin(4, items.len(), bytes);
            items.iter().for_each(|item| write(item, lengths, bytes));
        }
        Value::Object(members) => {
            begin(5, members.len(), bytes);
            for (name, value) in members {
                write(&name.as_str().into(), lengths, bytes);
                write(value, lengths, bytes);
            }
        }
        Value::Bool(_) => panic!("no input holds a {value}"),
    }
    let is_open = matches!(value, Value::String(_) | Value::Array(_) | Value::Object(_));
    if is_open && lengths == Lengths::Indefinite {
        bytes.push(BREAK);
    }
}

#[test]
fn what_is_written_by_hand_is_what_is_meant() {
    let value = serde_json::json!({"a": ["x", null, {"b": 300, "": "caf\u{e9}"}], "c": {}});
    let meant: Cbor = ciborium::from_reader(to_cbor(&value).as_slice()).expect("CBOR");
    let written = |lengths| cbor(&value, lengths);
    for lengths in [Lengths::Definite, Lengths::Indefinite] {
        let read: Cbor = ciborium::from_reader(written(lengths).as_slice()).expect("CBOR");
        assert_eq!(read, meant, "{lengths:?}");
    }
    assert_eq!(written(Lengths::Indefinite)[0], 0xbf);
    assert_ne!(written(Lengths::Definite), written(Lengths::Indefinite));
}

/// One way of calling.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    LongTarget,
    ShortTarget,
    /// With parameters at the content type, and white space around the members.
    LooseJson,
    Cbor(Lengths),
    /// Below a path of somebody's gateway.
    CborBelow,
}

const WAYS: [Way; 6] = [
    Way::LongTarget,
    Way::ShortTarget,
    Way::LooseJson,
    Way::Cbor(Lengths::Definite),
    Way::Cbor(Lengths::Indefinite),
    Way::CborBelow,
];

impl Way {
    fn protocol(self) -> Protocol {
        match self {
            Self::LongTarget | Self::ShortTarget | Self::LooseJson => Protocol::Json,
            Self::Cbor(_) | Self::CborBelow => Protocol::Cbor,
        }
    }

    fn draft(self, service: Service, operation: Operation, input: &Value) -> Draft {
        let body = match self {
            Self::LongTarget | Self::ShortTarget => serde_json::to_vec(input).expect("JSON"),
            Self::LooseJson => serde_json::to_vec_pretty(input).expect("JSON"),
            Self::Cbor(lengths) => cbor(input, lengths),
            Self::CborBelow => to_cbor(input),
        };
        let mut draft = Draft::new(service, self.protocol(), operation.name(), body);
        match self {
            Self::LongTarget | Self::Cbor(_) => {}
            Self::ShortTarget => {
                *draft.header("x-amz-target") = format!("{}.{}", service.short_name(), operation.name());
            }
            Self::LooseJson => {
                *draft.header("content-type") = "Application/X-Amz-Json-1.0; charset=UTF-8".to_owned()
            }
            Self::CborBelow => draft.path = format!("/gateway{}", draft.path),
        }
        draft
    }
}

async fn succeeds(stage: &Stage, client: Client<'_>, draft: Draft, told: &str) -> Reply {
    let reply = client.server.send(client.sign(draft)).await;
    let seen = answers::success(stage.operation, client.protocol, &reply);
    assert!(seen.is_ok(), "{} {told}: {seen:?}", stage.operation.name());
    reply
}

#[tokio::test]
async fn the_same_input_is_understood_however_it_is_written_and_addressed() {
    for operation in Operation::ALL {
        let stage = Stage::of(operation).await;
        for way in WAYS {
            for &service in Service::ALL {
                let client = Client { service, protocol: way.protocol(), ..stage.client() };
                let input = stage.input(client, "NextToken").await;
                let draft = way.draft(service, operation, &input);
                let reply = succeeds(&stage, client, draft, &format!("{way:?}")).await;
                stage.undo(client, &input, &reply.value).await;
            }
        }
    }
}

#[tokio::test]
async fn either_spelling_of_an_arn_is_understood_wherever_one_is_named() {
    for operation in Operation::ALL {
        let Shape::Structure(members) = operation.input_shape() else { panic!("an input is a structure") };
        let others = ["RoleArn", "EncryptionKeyArn"];
        let arns = members.iter().map(|member| member.name);
        let arns: Vec<_> = arns.filter(|name| name.contains("Arn") && !others.contains(name)).collect();
        if arns.is_empty() {
            continue;
        }
        let stage = Stage::of(operation).await;
        for protocol in PROTOCOLS {
            for &service in Service::ALL {
                let client = Client { service, protocol, ..stage.client() };
                for &name in &arns {
                    let mut input = stage.input(client, name).await;
                    input[name] = respelled(input[name].as_str().expect("an ARN")).into();
                    let draft = client.draft(operation.name(), &input);
                    let reply = succeeds(&stage, client, draft, &input.to_string()).await;
                    stage.undo(client, &input, &reply.value).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_by_every_operation() {
    let unreadable: &[(Protocol, &[u8], &str)] = &[
        (Protocol::Json, b"[]", "expected an object, found a list"),
        (Protocol::Json, b"null", "expected an object, found null"),
        (Protocol::Json, b"{\"Colour\":1,\"Colour\":2}", "duplicate key 'Colour'"),
        (Protocol::Json, b"{} {}", "not JSON: trailing characters at line 1 column 4"),
        (Protocol::Json, b"{\"Colour\"", "not JSON: EOF while parsing an object at line 1 column 9"),
        (Protocol::Json, b"{\"Colour\": \xff}", ""),
        (Protocol::Cbor, &[0x80], "expected an object, found a list"),
        (Protocol::Cbor, &[0xf6], "expected an object, found null"),
        (Protocol::Cbor, &[0xa1, 0x01, 0x02], "expected a text as key, found an integer"),
        (Protocol::Cbor, &[0xa2, 0x61, b'C', 0x01, 0x61, b'C', 0x02], "duplicate key 'C'"),
        (Protocol::Cbor, &[0xa0, 0xa0], "not CBOR: 1 bytes follow the document"),
        (Protocol::Cbor, &[0xbf, 0x61], ""),
    ];
    for operation in Operation::ALL {
        let stage = Stage::of(operation).await;
        for &(protocol, body, message) in unreadable {
            let client = Client { protocol, ..stage.client() };
            let draft = Draft::new(client.service, protocol, operation.name(), body.to_vec());
            let reply = client.server.send(client.sign(draft)).await;
            let (code, told) = answers::refusal(operation, protocol, &reply).expect("a refusal");
            assert_eq!(code.name(), "SerializationException", "{} {body:?}", operation.name());
            assert!(if message.is_empty() { told.starts_with("not ") } else { told == message }, "{told}");
        }
    }
}
