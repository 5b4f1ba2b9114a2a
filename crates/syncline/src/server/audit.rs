//! What is recorded of a request, in the shape of a CloudTrail record.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use syncline_model::names::{AccountId, Region};
use syncline_store::{Change, Invocation, StoreError, Told};
use syncline_wire::{ErrorCode, Timestamp, WireError};
use tracing::error;
use uuid::Uuid;

use super::caller::{Caller, Principal};
use super::error::{Answer, ApiError};
use super::{Front, SourceAddress};

/// The version of CloudTrail's record format that records are written in.
const EVENT_VERSION: &str = "1.11";

/// Where a request came from, as far as HTTP tells.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    /// The id under which it is answered and logged.
    pub(super) request_id: String,
    /// Who sent it.
    pub(super) source: IpAddr,
    /// What it calls itself.
    pub(super) user_agent: Option<String>,
    /// The same for each sending of one request, by an SDK that retries.
    invocation_id: Option<String>,
}

impl Origin {
    pub(super) fn of(parts: &http::request::Parts, request_id: &str) -> Self {
        let text = |name: &str| {
            parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(|text| text.chars().take(256).collect())
        };
        Self {
            request_id: request_id.to_owned(),
            source: SourceAddress::of(&parts.extensions).0,
            user_agent: text("user-agent"),
            invocation_id: text("amz-sdk-invocation-id"),
        }
    }
}

/// What is asked for, by whom, from where.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) caller: Caller,
    /// Whose resources it is about, and in whose log it is recorded.
    pub(super) account: AccountId,
    pub(super) region: Region,
    pub(super) origin: Origin,
    /// `codeconnections.amazonaws.com`, its other spelling, or `syncline` for what AWS has no operation for.
    pub(super) event_source: &'static str,
    /// The operation.
    pub(super) event_name: &'static str,
    pub(super) is_read_only: bool,
    /// What a change is asked to do; null for a question. Never a secret.
    pub(super) parameters: Value,
    /// A hash of the body.
    pub(super) body_hash: String,
}

impl Asked {
    /// What becomes of a change: `answer` makes the answer of its outcome, which is recorded with the change.
    pub(super) fn change<T, O: Serialize + 'static>(
        self: &Arc<Self>,
        answer: impl FnOnce(T) -> Answer<O> + Send + 'static,
    ) -> Change<T, Answer<O>> {
        let event_id = Uuid::new_v4().to_string();
        let (asked, id) = (Arc::clone(self), event_id.clone());
        Change::recorded(
            self.account.clone(),
            event_id,
            move |outcome| answer(outcome).map_err(ApiError::recorded),
            move |answered, now_ms| asked.told(&id, answered, now_ms),
        )
    }

    /// The same for a creation: whoever asks again, with the same invocation id, key and body, gets the first
    /// answer again.
    pub(super) fn creation<T, O: Serialize + DeserializeOwned + 'static>(
        self: &Arc<Self>,
        answer: impl FnOnce(T) -> Answer<O> + Send + 'static,
    ) -> Change<T, Answer<O>> {
        let change = self.change(answer);
        let Some(id) = self.origin.invocation_id.clone() else { return change };
        let invocation = Invocation {
            key_id: self.caller.key_id.clone(),
            id,
            operation: self.event_name,
            body_hash: self.body_hash.clone(),
        };
        change.once(invocation, |kept| {
            serde_json::from_str(kept)
                .map(Ok)
                .map_err(|error| StoreError::Corrupt(format!("a kept answer: {error}")))
        })
    }

    fn told<O: Serialize>(&self, event_id: &str, answered: &Answer<O>, now_ms: i64) -> Told {
        let (outcome, answer) = match answered {
            Ok(output) => {
                let output = serde_json::to_value(output).unwrap_or_default();
                (Ok(lower_camel(&output)), Some(output.to_string()))
            }
            Err(error) => (Err(&error.error), None),
        };
        Told { record: self.record(event_id, outcome, now_ms), answer }
    }

    /// Records a refusal that came before any change, unless it says only that there is too much to do: a
    /// record of that would be more to do. What cannot be recorded is logged: the caller is told of the
    /// refusal all the same.
    pub(super) async fn refused(self: &Arc<Self>, front: &Front, refusal: &ApiError) {
        let is_denial = refusal.error.code == ErrorCode::AccessDenied;
        let is_for_now = refusal.error.retry_after.is_some();
        if refusal.is_recorded || is_for_now || (self.is_read_only && !is_denial) {
            return;
        }
        let event_id = Uuid::new_v4().to_string();
        let (asked, id, refusal) = (Arc::clone(self), event_id.clone(), refusal.error.clone());
        let record = move |now_ms| asked.record(&id, Err(&refusal), now_ms);
        if let Err(error) = front.store.record_refusal(&self.account, &event_id, record).await {
            error!(%error, request_id = self.origin.request_id, "a refusal could not be recorded");
        }
    }

    fn record(&self, event_id: &str, outcome: Result<Value, &WireError>, now_ms: i64) -> String {
        let mut record = json!({
            "eventVersion": EVENT_VERSION,
            "userIdentity": self.identity(),
            "eventTime": Timestamp::from_epoch_ms(now_ms).iso8601(),
            "eventSource": self.event_source,
            "eventName": self.event_name,
            "awsRegion": self.region.as_str(),
            "sourceIPAddress": self.origin.source.to_string(),
            "userAgent": self.origin.user_agent,
            "requestParameters": self.parameters,
            "responseElements": null,
            "requestID": self.origin.request_id,
            "eventID": event_id,
            "readOnly": self.is_read_only,
            "eventType": "AwsApiCall",
            "managementEvent": true,
            "recipientAccountId": self.account.as_str(),
            "eventCategory": "Management",
        });
        match outcome {
            Ok(response) => record["responseElements"] = response,
            Err(error) => {
                record["errorCode"] = error.code.name().into();
                record["errorMessage"] = error.message.as_str().into();
            }
        }
        record.to_string()
    }

    fn identity(&self) -> Value {
        let caller = &self.caller;
        let mut identity = json!({
            "type": "Root",
            "principalId": caller.account.as_str(),
            "arn": caller.arn(self.region.partition()),
            "accountId": caller.account.as_str(),
            "accessKeyId": caller.key_id,
        });
        if let Principal::User(user) = &caller.principal {
            identity["type"] = "IAMUser".into();
            identity["principalId"] = user.id.as_str().into();
            identity["userName"] = user.name.as_str().into();
        }
        identity
    }
}

/// The same value with each member's name in lower camel case, as CloudTrail spells them.
pub(super) fn lower_camel(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| {
                let mut chars = name.chars();
                let first = chars.next().map(|first| first.to_ascii_lowercase());
                (first.into_iter().chain(chars).collect(), lower_camel(value))
            });
            Value::Object(members.collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(lower_camel).collect(),
        other => other.clone(),
    }
}

/// SHA-256 in hexadecimal.
pub(super) fn hash(bytes: impl AsRef<[u8]>) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
