//! What is recorded of a request, in the shape of a CloudTrail record.
//!
//! Records say what was asked for and what came of it, and hold no secret: routes that take or give one leave it
//! out of what they record, and a member that is named like one is hidden here once more.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
/// The longest that `requestParameters` and `responseElements` may each be, in bytes (CloudTrail's 100 KB).
const MAX_MEMBER_BYTES: usize = 100 * 1024;
/// The longest user agent and error message, in characters (CloudTrail's 1 KB).
const MAX_TEXT_CHARS: usize = 1024;
/// The longest invocation id that is told from others, in characters; SDKs send 36.
const MAX_INVOCATION_CHARS: usize = 256;
/// What stands for a secret, as CloudTrail writes it.
const HIDDEN: &str = "HIDDEN_DUE_TO_SECURITY_REASONS";
/// Members whose values are secrets, in lower case.
const SECRETS: [&str; 6] = ["password", "privatekey", "secret", "secretaccesskey", "sessiontoken", "token"];

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
        let text = |name: &str, longest: usize| {
            parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(|text| text.chars().take(longest).collect())
        };
        Self {
            request_id: request_id.to_owned(),
            source: SourceAddress::of(&parts.extensions).0,
            user_agent: text("user-agent", MAX_TEXT_CHARS),
            invocation_id: text("amz-sdk-invocation-id", MAX_INVOCATION_CHARS),
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
    /// Whether a change has recorded it.
    pub(super) is_recorded: AtomicBool,
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
        self.is_recorded.store(true, Ordering::Relaxed);
        let (outcome, answer) = match answered {
            Ok(output) => {
                let output = serde_json::to_value(output).unwrap_or_default();
                (Ok(lower_camel(&output)), Some(output.to_string()))
            }
            Err(error) => (Err(error.error.clone()), None),
        };
        Told { record: self.record(event_id, &outcome, now_ms), answer }
    }

    /// Records a refusal that came before any change, unless it says only that there is too much to do: a
    /// record of that would be more to do. What cannot be recorded is logged: the caller is told of the
    /// refusal all the same.
    pub(super) async fn refused(self: &Arc<Self>, front: &Front, refusal: &ApiError) {
        let is_for_now = refusal.error.retry_after.is_some();
        if refusal.is_recorded || is_for_now || !is_worth_recording(self.is_read_only, refusal.error.code) {
            return;
        }
        self.record_unchanged(front, Err(refusal.error.clone())).await;
    }

    /// Records a change that found nothing to do.
    pub(super) async fn done<O: Serialize>(self: &Arc<Self>, front: &Front, output: &O) {
        if self.is_read_only || self.is_recorded.load(Ordering::Relaxed) {
            return;
        }
        let output = serde_json::to_value(output).unwrap_or_default();
        self.record_unchanged(front, Ok(lower_camel(&output))).await;
    }

    async fn record_unchanged(self: &Arc<Self>, front: &Front, outcome: Result<Value, WireError>) {
        let event_id = Uuid::new_v4().to_string();
        let (asked, id) = (Arc::clone(self), event_id.clone());
        let record = move |now_ms| asked.record(&id, &outcome, now_ms);
        if let Err(error) = front.store.record_unchanged(&self.account, &event_id, record).await {
            error!(%error, request_id = self.origin.request_id, "a request could not be recorded");
        }
    }

    /// The record. What does not apply is left out, but for the two members that CloudTrail always has.
    fn record(&self, event_id: &str, outcome: &Result<Value, WireError>, now_ms: i64) -> String {
        let (response, error) = match outcome {
            Ok(response) => (response, None),
            Err(error) => (&Value::Null, Some(error)),
        };
        let mut record = json!({
            "eventVersion": EVENT_VERSION,
            "userIdentity": self.identity(),
            "eventTime": Timestamp::from_epoch_ms(now_ms).iso8601(),
            "eventSource": self.event_source,
            "eventName": self.event_name,
            "awsRegion": self.region.as_str(),
            "sourceIPAddress": self.origin.source.to_string(),
            "requestParameters": recordable(&self.parameters),
            "responseElements": recordable(response),
            "requestID": self.origin.request_id,
            "eventID": event_id,
            "readOnly": self.is_read_only,
            "eventType": "AwsApiCall",
            "managementEvent": true,
            "recipientAccountId": self.account.as_str(),
            "eventCategory": "Management",
        });
        if let Some(user_agent) = &self.origin.user_agent {
            record["userAgent"] = user_agent.as_str().into();
        }
        if let Some(error) = error {
            record["errorCode"] = error.code.name().into();
            record["errorMessage"] = error.message.chars().take(MAX_TEXT_CHARS).collect::<String>().into();
        }
        let resources = resources([&self.parameters, response]);
        if !resources.is_empty() {
            record["resources"] = resources.into();
        }
        record.to_string()
    }

    fn identity(&self) -> Value {
        let caller = &self.caller;
        let mut identity = json!({
            "type": "Root",
            "principalId": caller.account.as_str(),
            "arn": caller.arn(),
            "accountId": caller.account.as_str(),
            "accessKeyId": caller.key_id,
        });
        if let Principal::User(user) = &caller.principal {
            identity["type"] = "IAMUser".into();
            identity["principalId"] = user.id.as_str().into();
            identity["userName"] = user.name.as_str().into();
        }
        if let Some(began_ms) = caller.session_began_ms {
            identity["sessionContext"] = json!({
                "attributes": {
                    "creationDate": Timestamp::from_epoch_ms(began_ms).iso8601(),
                    "mfaAuthenticated": "false",
                },
            });
        }
        identity
    }
}

/// Whether a refusal with this code is recorded: every refused change, and the questions that are not allowed.
fn is_worth_recording(is_read_only: bool, code: ErrorCode) -> bool {
    !is_read_only || code == ErrorCode::AccessDenied
}

/// What is recorded of parameters or an answer: no secret, and nothing that is too long.
fn recordable(value: &Value) -> Value {
    let recorded = without_secrets(value);
    let size = if recorded.is_null() { 0 } else { recorded.to_string().len() };
    if size > MAX_MEMBER_BYTES { json!({ "omitted": true, "originalSize": size }) } else { recorded }
}

fn without_secrets(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| {
                let is_secret = SECRETS.contains(&&*name.to_ascii_lowercase()) && !value.is_null();
                (name.clone(), if is_secret { HIDDEN.into() } else { without_secrets(value) })
            });
            Value::Object(members.collect())
        }
        Value::Array(items) => items.iter().map(without_secrets).collect(),
        other => other.clone(),
    }
}

/// The resources of this API that a request and its answer name, each once.
fn resources(values: [&Value; 2]) -> Vec<Value> {
    fn find(value: &Value, found: &mut Vec<Value>) {
        match value {
            Value::Object(members) => members.values().for_each(|value| find(value, found)),
            Value::Array(items) => items.iter().for_each(|value| find(value, found)),
            Value::String(text) => {
                if let Some(resource) = resource(text).filter(|resource| !found.contains(resource)) {
                    found.push(resource);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    values.into_iter().for_each(|value| find(value, &mut found));
    found
}

/// A resource as CloudTrail names one: its ARN, its account, its type.
fn resource(arn: &str) -> Option<Value> {
    let parts: [&str; 6] = arn.splitn(6, ':').collect::<Vec<_>>().try_into().ok()?;
    let ["arn", _, service, _, account, rest] = parts else { return None };
    let service = match service {
        "codeconnections" => "CodeConnections",
        "codestar-connections" => "CodeStarConnections",
        _ => return None,
    };
    let kind = match rest.split_once('/')?.0 {
        "connection" => "Connection",
        "host" => "Host",
        "repository-link" => "RepositoryLink",
        _ => return None,
    };
    Some(json!({ "ARN": arn, "accountId": account, "type": format!("AWS::{service}::{kind}") }))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_changes_and_denied_questions_are_recorded() {
        let check = |is_read_only: bool, code: ErrorCode, expect: bool| {
            assert_eq!(is_worth_recording(is_read_only, code), expect, "{is_read_only} {code:?}");
        };
        check(true, ErrorCode::AccessDenied, true);
        check(true, ErrorCode::ResourceNotFound, false);
        check(true, ErrorCode::Validation, false);
        check(false, ErrorCode::AccessDenied, true);
        check(false, ErrorCode::Validation, true);
        check(false, ErrorCode::InternalServer, true);
    }

    #[test]
    fn a_member_named_like_a_secret_is_hidden_wherever_it_is() {
        let check = |value: Value, expect: Value| assert_eq!(recordable(&value), expect, "{value}");
        check(json!({"token": "t", "name": "n"}), json!({"token": HIDDEN, "name": "n"}));
        check(
            json!({"key": [{"secretAccessKey": "s", "accessKeyId": "AKIA"}]}),
            json!({"key": [{"secretAccessKey": HIDDEN, "accessKeyId": "AKIA"}]}),
        );
        check(json!({"SessionToken": {"a": 1}}), json!({"SessionToken": HIDDEN}));
        check(json!({"token": null}), json!({"token": null}));
        check(
            json!({"tags": [{"key": "token", "value": "v"}]}),
            json!({"tags": [{"key": "token", "value": "v"}]}),
        );
        check(Value::Null, Value::Null);
    }

    #[test]
    fn what_is_longer_than_cloudtrail_allows_is_left_out() {
        // The text's two quotes and the object around it count too.
        let of_size = |size: usize| json!({ "a": "x".repeat(size - 8) });
        assert_eq!(recordable(&of_size(MAX_MEMBER_BYTES)), of_size(MAX_MEMBER_BYTES));
        let too_long = MAX_MEMBER_BYTES + 1;
        assert_eq!(recordable(&of_size(too_long)), json!({"omitted": true, "originalSize": too_long}));
    }

    #[test]
    fn resources_are_the_arns_of_this_api() {
        let check = |arn: &str, expect: Option<&str>| {
            let found = resources([&json!({"a": [{"bArn": arn}]}), &json!({"c": arn})]);
            let expect = expect.map(|kind| json!({"ARN": arn, "accountId": "111111111111", "type": kind}));
            assert_eq!(found, Vec::from_iter(expect), "{arn}");
        };
        check(
            "arn:aws:codeconnections:eu-west-1:111111111111:connection/1",
            Some("AWS::CodeConnections::Connection"),
        );
        check(
            "arn:aws-cn:codestar-connections:cn-north-1:111111111111:host/a-1",
            Some("AWS::CodeStarConnections::Host"),
        );
        check(
            "arn:aws:codeconnections:eu-west-1:111111111111:repository-link/1",
            Some("AWS::CodeConnections::RepositoryLink"),
        );
        check("arn:aws:iam::111111111111:role/deploy", None);
        check("arn:aws:codeconnections:eu-west-1:111111111111:teapot/1", None);
        check("arn:aws:codeconnections", None);
    }
}
