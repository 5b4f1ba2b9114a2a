//! Parts of an answer that are at hand as they are to be written.

use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::ser::{Error as _, SerializeStruct as _};
use serde::{Serialize, Serializer};
use thiserror::Error;

/// A list of `T` that is already written in JSON, as it stands in the API's JSON answers.
///
/// JSON answers take it as it is; for CBOR it is read and written again. Cheap to clone.
#[derive(Debug, Clone)]
pub struct WrittenList<T> {
    json: Arc<String>,
    item: PhantomData<T>,
}

/// A text that is no list in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a text of {length} bytes is no list in JSON")]
pub struct NoList {
    length: usize,
}

/// How serde_json names a value that is to be written as it is. Its own [`serde_json::value::RawValue`] can only be made
/// by reading the text once more, which takes as long as the rest of the answer.
const RAW: &str = "$serde_json::private::RawValue";

impl<T> WrittenList<T> {
    /// The list that `json` is. It must come from who wrote it as JSON: what stands between its brackets is not looked at.
    ///
    /// # Errors
    /// A text without the brackets of a list.
    pub fn from_json(json: String) -> Result<Self, NoList> {
        if json.starts_with('[') && json.ends_with(']') {
            return Ok(Self { json: Arc::new(json), item: PhantomData });
        }
        Err(NoList { length: json.len() })
    }
}

impl<T: Serialize + DeserializeOwned> Serialize for WrittenList<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            let mut raw = serializer.serialize_struct(RAW, 1)?;
            raw.serialize_field(RAW, self.json.as_str())?;
            return raw.end();
        }
        let items: Vec<T> = serde_json::from_str(&self.json).map_err(S::Error::custom)?;
        items.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::codec::write;
    use crate::{Protocol, ResourceSyncEvent};

    const EVENTS: &str = r#"[{"Event":"a \"text\" of ümlauts","ExternalId":"7","Time":1763865600.123,"Type":"STACK_EVENT"},
        {"Event":"","Time":0.0,"Type":"FAILED"}]"#;

    #[test]
    fn a_written_list_is_answered_as_the_list_is() {
        let typed: Vec<ResourceSyncEvent> = serde_json::from_str(EVENTS).expect("events");
        let json = serde_json::to_string(&typed).expect("JSON");
        let written = WrittenList::<ResourceSyncEvent>::from_json(json).expect("a list");
        for protocol in [Protocol::Json, Protocol::Cbor] {
            assert_eq!(write(protocol, &written), write(protocol, &typed), "{protocol:?}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in ["", "[", "{}", "null", "[{}] ", "]["] {
            assert!(WrittenList::<ResourceSyncEvent>::from_json(text.to_owned()).is_err(), "{text}");
        }
        let no_events = WrittenList::<ResourceSyncEvent>::from_json(r#"[{"Type":"FAILED"}]"#.to_owned());
        assert!(write(Protocol::Cbor, &no_events.expect("a list")).is_err());
    }
}
