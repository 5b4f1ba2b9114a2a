//! Parts of an answer that are at hand as they are to be written.

use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// A list of `T` that is already written in JSON, as it stands in the API's JSON answers.
///
/// JSON answers take it as it is; for CBOR it is read and written again. Cheap to clone.
#[derive(Debug, Clone)]
pub struct WrittenList<T> {
    json: Arc<Box<RawValue>>,
    item: PhantomData<T>,
}

impl<T> WrittenList<T> {
    /// The list that `json` is. Only that it is JSON is checked; that it is a list of `T` is found out where it is read.
    ///
    /// # Errors
    /// Says where it is not JSON.
    pub fn from_json(json: String) -> Result<Self, serde_json::Error> {
        Ok(Self { json: Arc::new(RawValue::from_string(json)?), item: PhantomData })
    }
}

impl<T: Serialize + DeserializeOwned> Serialize for WrittenList<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return self.json.serialize(serializer);
        }
        let items: Vec<T> = serde_json::from_str(self.json.get()).map_err(S::Error::custom)?;
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
        let written = WrittenList::<ResourceSyncEvent>::from_json(json).expect("JSON");
        for protocol in [Protocol::Json, Protocol::Cbor] {
            assert_eq!(write(protocol, &written), write(protocol, &typed), "{protocol:?}");
        }
    }

    #[test]
    fn what_is_no_json_or_no_list_is_refused() {
        assert!(WrittenList::<ResourceSyncEvent>::from_json("[{]".to_owned()).is_err());
        let no_events = WrittenList::<ResourceSyncEvent>::from_json(r#"[{"Type":"FAILED"}]"#.to_owned());
        assert!(write(Protocol::Cbor, &no_events.expect("JSON")).is_err());
    }
}
