//! Parts of answers that are at hand as they are to be written.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::ser::{Error as _, SerializeStruct as _};
use serde::{Serialize, Serializer};

use crate::protocol::codec::write;
use crate::{Output, Protocol, Timestamp};

/// A value of the shape `T` that is already written in JSON, as it stands in the API's JSON answers.
///
/// JSON answers are this text; for CBOR it is read and written again.
#[derive(Debug, Clone)]
pub struct Written<T> {
    json: String,
    shape: PhantomData<T>,
}

/// An object of JSON that is being written, member by member.
///
/// What is put in as JSON must come from who wrote it as JSON, in the API's words: it is not looked at.
#[derive(Debug)]
pub struct Writing {
    json: String,
}

/// How serde_json names a value that is to be written as it is. Its own [`serde_json::value::RawValue`] can only be made
/// by reading the text once more, which takes as long as the rest of the answer.
const RAW: &str = "$serde_json::private::RawValue";

impl Writing {
    /// An object without members, with room for a text of so many bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        let mut json = String::with_capacity(bytes);
        json.push('{');
        Self { json }
    }

    /// A member whose value is this JSON. Names are the API's, in which nothing is to be escaped.
    pub fn member(&mut self, name: &'static str, json: &str) {
        self.name(name);
        self.json.push_str(json);
    }

    /// A member that is a text.
    pub fn text(&mut self, name: &'static str, text: &str) {
        self.name(name);
        self.json.push_str(&json_of(text));
    }

    /// A member that is a point in time.
    pub fn time(&mut self, name: &'static str, time: Timestamp) {
        self.name(name);
        self.json.push_str(&json_of(&time));
    }

    /// A member that is written already.
    pub fn written<T>(&mut self, name: &'static str, value: &Written<T>) {
        self.member(name, &value.json);
    }

    /// The object, which is of the shape `T`.
    #[must_use]
    pub fn finish<T>(mut self) -> Written<T> {
        self.json.push('}');
        Written { json: self.json, shape: PhantomData }
    }

    fn name(&mut self, name: &'static str) {
        if !self.json.ends_with('{') {
            self.json.push(',');
        }
        self.json.push('"');
        self.json.push_str(name);
        self.json.push_str("\":");
    }
}

fn json_of(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("texts and times can be written")
}

impl<T> Written<T> {
    /// The length of its JSON, in bytes; it has at least two.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.json.len()
    }
}

impl<T: Serialize + DeserializeOwned> Serialize for Written<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            let mut raw = serializer.serialize_struct(RAW, 1)?;
            raw.serialize_field(RAW, self.json.as_str())?;
            return raw.end();
        }
        let value: T = serde_json::from_str(&self.json).map_err(S::Error::custom)?;
        value.serialize(serializer)
    }
}

/// What an operation answers: its output, or the same already written.
pub trait Answered: Serialize {
    /// The body of the answer.
    ///
    /// # Errors
    /// What the value's own `Serialize` says.
    fn into_body(self, protocol: Protocol) -> Result<Vec<u8>, String>;
}

impl<O: Output> Answered for O {
    fn into_body(self, protocol: Protocol) -> Result<Vec<u8>, String> {
        write(protocol, &self)
    }
}

impl<O: Output> Answered for Written<O> {
    fn into_body(self, protocol: Protocol) -> Result<Vec<u8>, String> {
        match protocol {
            Protocol::Json => Ok(self.json.into_bytes()),
            Protocol::Cbor => write(protocol, &self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GetRepositorySyncStatusOutput, RepositorySyncAttempt};

    const EVENTS: &str = r#"[{"Event":"a \"text\" of ümlauts","ExternalId":"7","Time":1763865600.123,"Type":"STACK_EVENT"},{"Event":"","Time":0.0,"Type":"FAILED"}]"#;

    fn written(events: &str) -> Written<GetRepositorySyncStatusOutput> {
        let mut attempt = Writing::with_capacity(16);
        attempt.time("StartedAt", Timestamp::from_epoch_ms(1500));
        attempt.text("Status", "SUCCEEDED");
        attempt.member("Events", events);
        let mut answer = Writing::with_capacity(0);
        answer.written("LatestSync", &attempt.finish::<RepositorySyncAttempt>());
        answer.finish()
    }

    #[test]
    fn what_is_written_already_is_answered_as_the_typed_output_is() {
        let json = serde_json::to_string(&written(EVENTS)).expect("JSON");
        let typed: GetRepositorySyncStatusOutput = serde_json::from_str(&json).expect("the output");
        assert_eq!(typed.latest_sync.events.len(), 2);
        for protocol in [Protocol::Json, Protocol::Cbor] {
            let answered = written(EVENTS).into_body(protocol).expect("an answer");
            let expected = typed.clone().into_body(protocol).expect("an answer");
            assert_eq!(answered, expected, "{protocol:?}: {}", String::from_utf8_lossy(&answered));
            assert_eq!(write(protocol, &written(EVENTS)), Ok(answered), "{protocol:?}");
        }
    }

    #[test]
    fn what_does_not_have_the_shape_fails_where_it_is_read() {
        assert!(written(r#"[{"Type":"FAILED"}]"#).into_body(Protocol::Cbor).is_err());
    }
}
