//! Bodies become typed inputs and typed outputs become bodies, in both protocols; what is no document is refused.

use ciborium::Value;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use syncline_wire::codec::{accept, read, write};
use syncline_wire::{
    CreateConnectionInput, ErrorCode, Input, ListConnectionsInput, MAX_BODY_BYTES, Operation, Output,
    Protocol, ProviderType, Timestamp, UpdateHostInput, decode,
};

use crate::sample;

fn bytes(protocol: Protocol, document: &Value) -> Vec<u8> {
    match protocol {
        Protocol::Json => sample::json(document),
        Protocol::Cbor => sample::cbor(document),
    }
}

/// Sends one full and one least document through an operation's input and output.
fn round_trip<I>()
where
    I: Input + Serialize,
    I::Output: DeserializeOwned,
{
    for protocol in [Protocol::Json, Protocol::Cbor] {
        for make in [sample::full, sample::least] {
            let given = make(I::shape());
            let input: I = decode(protocol, &bytes(protocol, &given))
                .unwrap_or_else(|error| panic!("{}: {error}", I::OPERATION.name()));
            let written = write(protocol, &input).expect("inputs are written");
            assert_eq!(read(protocol, &written), read(protocol, &bytes(protocol, &given)));

            let given = make(I::Output::shape());
            let read_back = |bytes: &[u8]| {
                accept(protocol, I::Output::shape(), read(protocol, bytes).expect("a document"))
                    .expect("in shape")
            };
            let given = read_back(&bytes(protocol, &given));
            let output: I::Output = given.deserialized().expect("outputs are read");
            let written = write(protocol, &output).expect("outputs are written");
            assert_eq!(read_back(&written), given, "{}", I::OPERATION.name());
        }
    }
}

/// Matches over all operations, so that a new one fails to compile until it is here.
macro_rules! for_every_operation {
    ($($operation:ident => $input:ident,)+) => {
        #[test]
        fn every_operation_survives_the_round_trip_in_both_protocols() {
            for operation in Operation::ALL {
                match operation { $(Operation::$operation => round_trip::<syncline_wire::$input>(),)+ }
            }
        }

        fn decode_any(operation: Operation, protocol: Protocol, body: &[u8]) -> Result<(), syncline_wire::WireError> {
            match operation {
                $(Operation::$operation => decode::<syncline_wire::$input>(protocol, body).map(|_| ()),)+
            }
        }
    };
}

for_every_operation! {
    CreateConnection => CreateConnectionInput,
    CreateHost => CreateHostInput,
    CreateRepositoryLink => CreateRepositoryLinkInput,
    CreateSyncConfiguration => CreateSyncConfigurationInput,
    DeleteConnection => DeleteConnectionInput,
    DeleteHost => DeleteHostInput,
    DeleteRepositoryLink => DeleteRepositoryLinkInput,
    DeleteSyncConfiguration => DeleteSyncConfigurationInput,
    GetConnection => GetConnectionInput,
    GetHost => GetHostInput,
    GetRepositoryLink => GetRepositoryLinkInput,
    GetRepositorySyncStatus => GetRepositorySyncStatusInput,
    GetResourceSyncStatus => GetResourceSyncStatusInput,
    GetSyncBlockerSummary => GetSyncBlockerSummaryInput,
    GetSyncConfiguration => GetSyncConfigurationInput,
    ListConnections => ListConnectionsInput,
    ListHosts => ListHostsInput,
    ListRepositoryLinks => ListRepositoryLinksInput,
    ListRepositorySyncDefinitions => ListRepositorySyncDefinitionsInput,
    ListSyncConfigurations => ListSyncConfigurationsInput,
    ListTagsForResource => ListTagsForResourceInput,
    TagResource => TagResourceInput,
    UntagResource => UntagResourceInput,
    UpdateHost => UpdateHostInput,
    UpdateRepositoryLink => UpdateRepositoryLinkInput,
    UpdateSyncBlocker => UpdateSyncBlockerInput,
    UpdateSyncConfiguration => UpdateSyncConfigurationInput,
}

#[test]
fn unknown_members_are_ignored_and_null_is_absent() {
    let input: CreateConnectionInput = decode(
        Protocol::Json,
        br#"{"ConnectionName":"c","ProviderType":"Gitea","HostArn":null,"Unknown":{"deep":[1,{"a":null}]}}"#,
    )
    .expect("valid");
    assert_eq!(input.connection_name, "c");
    assert_eq!(input.provider_type, Some(ProviderType::Gitea));
    assert_eq!(input.host_arn, None);
    let empty: ListConnectionsInput = decode(Protocol::Json, b"").expect("an empty body is {}");
    assert_eq!(empty, decode(Protocol::Cbor, &[0xa0]).expect("an empty map"));
}

#[test]
fn cbor_of_any_length_encoding_is_read() {
    // {_ "ConnectionName": (_ "de", "mo"), "HostArn": undefined, "Tags": [_ ]}
    let mut body = vec![0xbf, 0x6e];
    body.extend_from_slice(b"ConnectionName");
    body.extend_from_slice(&[0x7f, 0x62, b'd', b'e', 0x62, b'm', b'o', 0xff, 0x67]);
    body.extend_from_slice(b"HostArn");
    body.extend_from_slice(&[0xf7, 0x64]);
    body.extend_from_slice(b"Tags");
    body.extend_from_slice(&[0x9f, 0xff, 0xff]);
    let input: CreateConnectionInput = decode(Protocol::Cbor, &body).expect("valid");
    assert_eq!(
        (input.connection_name.as_str(), input.host_arn, input.tags),
        ("demo", None, Some(Vec::new()))
    );
}

#[test]
fn what_is_not_a_document_of_the_shape_is_refused() {
    let json = |body: &[u8]| {
        let error = decode::<ListConnectionsInput>(Protocol::Json, body).expect_err("refused");
        assert_eq!(error.code, ErrorCode::Serialization, "{}: {error}", String::from_utf8_lossy(body));
    };
    for body in [
        &b"{"[..],
        b"[]",
        b"null",
        b"1",
        b"{} {}",
        b"\xff",
        br#"{"MaxResults":"1"}"#,
        br#"{"MaxResults":1.0}"#,
        br#"{"MaxResults":1e1}"#,
        br#"{"MaxResults":true}"#,
        br#"{"MaxResults":2147483648}"#,
        br#"{"MaxResults":-2147483649}"#,
        br#"{"MaxResults":123456789012345678901234567890}"#,
        br#"{"NextToken":1}"#,
        br#"{"NextToken":["x"]}"#,
        br#"{"NextToken":"\ud800"}"#,
        br#"{"NextToken":"a","NextToken":"a"}"#,
        br#"{"ProviderTypeFilter":{}}"#,
    ] {
        json(body);
    }
    let cbor = |document: Value| {
        let error =
            decode::<ListConnectionsInput>(Protocol::Cbor, &sample::cbor(&document)).expect_err("refused");
        assert_eq!(error.code, ErrorCode::Serialization, "{document:?}");
    };
    let with = |name: &str, value: Value| Value::Map(vec![(Value::from(name), value)]);
    cbor(Value::Null);
    cbor(Value::Array(Vec::new()));
    cbor(Value::Map(vec![(Value::from(1), Value::from(1))]));
    cbor(Value::Map(vec![(Value::from("a"), Value::Null), (Value::from("a"), Value::Null)]));
    cbor(with("MaxResults", Value::Float(1.0)));
    cbor(with("MaxResults", Value::from(1_u64 << 40)));
    cbor(with("NextToken", Value::Bytes(b"x".to_vec())));
    cbor(with("NextToken", Value::Tag(1, Box::new(Value::from("x")))));

    let mut trailing = sample::cbor(&Value::Map(Vec::new()));
    trailing.push(0);
    for body in [
        &trailing[..],
        &[0xff],
        &[0xbf],
        &[0xa1],
        &[0x7f],
        &[0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ] {
        let error = decode::<ListConnectionsInput>(Protocol::Cbor, body).expect_err("refused");
        assert_eq!(error.code, ErrorCode::Serialization, "{body:x?}");
    }
}

#[test]
fn a_body_beyond_the_cap_is_too_large() {
    let mut body = b"{}".to_vec();
    body.resize(MAX_BODY_BYTES, b' ');
    assert!(
        decode::<UpdateHostInput>(Protocol::Json, &body)
            .is_err_and(|error| error.message.contains("hostArn"))
    );
    body.push(b' ');
    let error = decode::<UpdateHostInput>(Protocol::Json, &body).expect_err("refused");
    assert_eq!(error.code, ErrorCode::RequestEntityTooLarge);
}

#[test]
fn deep_nesting_is_refused_without_overflowing_the_stack() {
    const DEPTH: usize = 100_000;
    let json = format!("{{\"x\":{}{}}}", "[".repeat(DEPTH), "]".repeat(DEPTH));
    let array = [&[0xa1, 0x61, b'x'][..], &[0x81; DEPTH], &[0x80]].concat();
    let endless = [&[0xa1, 0x61, b'x'][..], &[0x9f; DEPTH], &[0xff; DEPTH]].concat();
    let maps = [&[0xa1, 0x61, b'x'][..], &[0xa1, 0x61, b'x'].repeat(DEPTH), &[0xa0]].concat();
    let tags = [&[0xa1, 0x61, b'x'][..], &[0xc1; DEPTH], &[0x00]].concat();
    for (protocol, body) in [
        (Protocol::Json, json.as_bytes()),
        (Protocol::Cbor, &array),
        (Protocol::Cbor, &endless),
        (Protocol::Cbor, &maps),
        (Protocol::Cbor, &tags),
    ] {
        let error = decode::<UpdateHostInput>(protocol, body).expect_err("refused");
        assert_eq!(error.code, ErrorCode::Serialization, "{:x?}", &body[..8]);
    }
}

#[test]
fn timestamps_are_numbers_in_json_and_tag_1_in_cbor() {
    let check = |epoch_ms: i64, json: &str| {
        let time = Timestamp::from_epoch_ms(epoch_ms);
        assert_eq!(write(Protocol::Json, &time).expect("written"), json.as_bytes());
        assert_eq!(serde_json::from_str::<Timestamp>(json).expect("read"), time);
        let cbor = write(Protocol::Cbor, &time).expect("written");
        assert_eq!(cbor[0], 0xc1, "tag 1");
        assert_eq!(ciborium::from_reader::<Timestamp, _>(&cbor[..]).expect("read"), time);
    };
    check(1_763_865_600_123, "1763865600.123");
    check(1_763_865_600_000, "1763865600.0");
    check(0, "0.0");
    check(-1, "-0.001");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(operation in 0..Operation::ALL.len(), body in prop::collection::vec(any::<u8>(), 0..512)) {
        for protocol in [Protocol::Json, Protocol::Cbor] {
            let _ = decode_any(Operation::ALL[operation], protocol, &body);
        }
    }

    #[test]
    fn a_mutated_sample_never_panics(
        operation in 0..Operation::ALL.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let operation = Operation::ALL[operation];
        for protocol in [Protocol::Json, Protocol::Cbor] {
            let mut body = bytes(protocol, &sample::full(operation.input_shape()));
            for (at, byte) in &changes {
                if !body.is_empty() {
                    let at = at.index(body.len());
                    body[at] = *byte;
                }
            }
            let _ = decode_any(operation, protocol, &body);
        }
    }

    #[test]
    fn times_survive_to_the_millisecond(epoch_ms in -62_135_596_800_000_i64..253_402_300_800_000) {
        let time = Timestamp::from_epoch_ms(epoch_ms);
        let json = write(Protocol::Json, &time).expect("written");
        prop_assert_eq!(serde_json::from_slice::<Timestamp>(&json).expect("read"), time);
        let cbor = write(Protocol::Cbor, &time).expect("written");
        prop_assert_eq!(ciborium::from_reader::<Timestamp, _>(&cbor[..]).expect("read"), time);
    }

    #[test]
    fn clients_that_truncate_read_the_same_millisecond(epoch_ms in 1_000_000_000_000_i64..4_000_000_000_000) {
        let cbor = write(Protocol::Cbor, &Timestamp::from_epoch_ms(epoch_ms)).expect("written");
        let Value::Tag(1, seconds) = ciborium::from_reader(&cbor[..]).expect("read") else { panic!("tag 1") };
        let seconds = seconds.as_float().expect("a double");
        // As aws-smithy-cbor does: nanoseconds out of the fraction, then whole milliseconds.
        let read = (seconds.trunc() as i64) * 1000 + (seconds.fract() * 1e9) as i64 / 1_000_000;
        prop_assert_eq!(read, epoch_ms);
    }
}
