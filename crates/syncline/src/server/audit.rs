//! What is recorded of a request, in the shape of a CloudTrail record.
//!
//! Records say what was asked for and what came of it, and hold no secret: routes that take or give one leave it
//! out of what they record, and a member that is named like one is hidden here once more.
//!
//! **Architecture Invariant:** what is worked out on the store's writer thread is bounded, however long the request
//! is: every commit waits for it. The record of a refusal is ready before it gets there, but for its time; that of
//! a change lacks only the outcome.

mod recordable;

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use syncline_model::names::{AccountId, Region};
use syncline_seams::chance;
use syncline_store::{Change, Invocation, Scope, StoreError, Told};
use syncline_wire::{ErrorCode, Timestamp, WireError};
use tracing::error;

pub(super) use self::recordable::lower_camel;
use self::recordable::{shortened, without_secrets, without_userinfo};
use super::caller::{Caller, Principal};
use super::error::{Answer, ApiError};
use super::{Front, SourceAddress};

/// The version of CloudTrail's record format that records are written in.
const EVENT_VERSION: &str = "1.11";
/// The longest that `requestParameters` and `responseElements` may each be, in bytes (CloudTrail's 100 KB).
const MAX_MEMBER_BYTES: usize = 100 * 1024;
/// The same for the `requestParameters` of what is refused: it costs its sender nothing.
const MAX_REFUSED_BYTES: usize = 4 * 1024;
/// The most `resources` that are found in either of them.
const MAX_RESOURCES_EACH: usize = 50;
/// The longest user agent and error message, in characters (CloudTrail's 1 KB).
const MAX_TEXT_CHARS: usize = 1024;
/// The longest invocation id that is told from others, in characters; SDKs send 36.
const MAX_INVOCATION_CHARS: usize = 256;
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
                // ASCII, as `to_str` has found.
                .map(|text| text[..text.len().min(longest)].to_owned())
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
    /// A member that they get from the body, once it is known that the caller may ask for this.
    pub(super) body: OnceLock<(&'static str, Value)>,
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
        let event_id = chance::uuid().to_string();
        let (asked, draft) = (Arc::clone(self), self.draft(&event_id, true));
        Change::recorded(
            self.account.clone(),
            event_id,
            move |outcome| answer(outcome).map_err(ApiError::recorded),
            move |answered, now_ms| {
                asked.is_recorded.store(true, Ordering::Relaxed);
                told(draft, answered, now_ms)
            },
        )
    }

    /// The same for a creation: whoever asks again, with the same invocation id, key, account, region, service
    /// and body, gets the first answer again.
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
            scope: Scope { account: self.account.clone(), region: self.region.clone() },
            service: self.event_source,
            body_hash: self.body_hash.clone(),
        };
        change.once(invocation, |kept| {
            serde_json::from_str(kept)
                .map(Ok)
                .map_err(|error| StoreError::Corrupt(format!("a kept answer: {error}")))
        })
    }

    /// Records a refusal that came before any change, unless it says only that there is too much to do: a
    /// record of that would be more to do. What cannot be recorded is logged: the caller is told of the
    /// refusal all the same.
    pub(super) async fn refused(self: &Arc<Self>, front: &Front, refusal: &ApiError) {
        let is_for_now = refusal.error.retry_after.is_some();
        if refusal.is_recorded || is_for_now || !is_worth_recording(self.is_read_only, refusal.error.code) {
            return;
        }
        // A body that cannot be read may be anything.
        let is_readable = refusal.error.code != ErrorCode::Serialization;
        self.record_unchanged(front, is_readable, Err(&refusal.error)).await;
    }

    /// Records a change that found nothing to do.
    pub(super) async fn done<O: Serialize>(self: &Arc<Self>, front: &Front, output: &O) {
        if self.is_read_only || self.is_recorded.load(Ordering::Relaxed) {
            return;
        }
        let output = serde_json::to_value(output).unwrap_or_default();
        self.record_unchanged(front, true, Ok(&lower_camel(&output))).await;
    }

    async fn record_unchanged(&self, front: &Front, with_body: bool, outcome: Result<&Value, &WireError>) {
        let event_id = chance::uuid().to_string();
        let draft = self.draft(&event_id, with_body).with(outcome);
        let record = move |now_ms| draft.at(now_ms);
        if let Err(error) = front.store.record_unchanged(&self.account, &event_id, record).await {
            error!(%error, request_id = self.origin.request_id, "a request could not be recorded");
        }
    }

    /// The record as far as it is known before the outcome.
    fn draft(&self, event_id: &str, with_body: bool) -> Draft {
        let mut parameters = without_secrets(&self.parameters);
        if let Some((name, body)) = self.body.get().filter(|_| with_body) {
            parameters[*name] = without_secrets(body);
        }
        let mut record = json!({
            "eventVersion": EVENT_VERSION,
            "userIdentity": self.identity(),
            "eventSource": self.event_source,
            "eventName": self.event_name,
            "awsRegion": self.region.as_str(),
            "sourceIPAddress": self.origin.source.to_string(),
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
        Draft { text: record.to_string(), parameters: shortened(parameters, MAX_MEMBER_BYTES) }
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

/// A record that is not finished.
struct Draft {
    /// An object in JSON.
    text: String,
    /// The request's, as they are recorded if it is not refused.
    parameters: Value,
}

impl Draft {
    /// The same with what came of it. What does not apply is left out, but for the two members that
    /// CloudTrail always has.
    fn with(mut self, outcome: Result<&Value, &WireError>) -> Self {
        let limit = if outcome.is_ok() { MAX_MEMBER_BYTES } else { MAX_REFUSED_BYTES };
        let parameters = shortened(std::mem::take(&mut self.parameters), limit);
        let response = outcome.map_or(Value::Null, without_secrets);
        let response = shortened(response, MAX_MEMBER_BYTES);
        self.add("requestParameters", &parameters);
        self.add("responseElements", &response);
        if let Err(error) = outcome {
            let message = without_userinfo(&error.message);
            let message: String = message.chars().take(MAX_TEXT_CHARS).collect();
            self.add("errorCode", &error.code.name().into());
            self.add("errorMessage", &message.into());
        }
        let mut resources = Resources::default();
        resources.find_in(&parameters);
        resources.find_in(&response);
        if !resources.found.is_empty() {
            self.add("resources", &resources.found.into());
        }
        self
    }

    /// The record, written at this time.
    fn at(mut self, now_ms: i64) -> String {
        self.add("eventTime", &Timestamp::from_epoch_ms(now_ms).iso8601().into());
        self.text
    }

    /// Adds a member to the object, which has some already.
    fn add(&mut self, name: &str, value: &Value) {
        self.text.pop();
        self.text.push_str(&format!(",\"{name}\":{value}}}"));
    }
}

/// What the store keeps of a change's answer.
fn told<O: Serialize>(draft: Draft, answered: &Answer<O>, now_ms: i64) -> Told {
    match answered {
        Ok(output) => {
            let output = serde_json::to_value(output).unwrap_or_default();
            let record = draft.with(Ok(&lower_camel(&output))).at(now_ms);
            Told { record, answer: Some(output.to_string()) }
        }
        Err(error) => Told { record: draft.with(Err(&error.error)).at(now_ms), answer: None },
    }
}

/// Whether a refusal with this code is recorded: every refused change, and the questions that are not allowed.
fn is_worth_recording(is_read_only: bool, code: ErrorCode) -> bool {
    !is_read_only || code == ErrorCode::AccessDenied
}

/// The resources of this API that a request and its answer name, each once.
#[derive(Default)]
struct Resources {
    arns: HashSet<String>,
    found: Vec<Value>,
}

impl Resources {
    /// Finds those that a recorded value names, the outermost first: what a change is done to stands further out
    /// than what its lists may name.
    fn find_in(&mut self, value: &Value) {
        let most = self.found.len() + MAX_RESOURCES_EACH;
        let mut ahead = VecDeque::from([value]);
        while let Some(value) = ahead.pop_front().filter(|_| self.found.len() < most) {
            match value {
                Value::Object(members) => ahead.extend(members.values()),
                Value::Array(items) => ahead.extend(items),
                Value::String(text) => {
                    if let Some(resource) = resource(text).filter(|_| self.arns.insert(text.clone())) {
                        self.found.push(resource);
                    }
                }
                Value::Null | Value::Bool(_) | Value::Number(_) => {}
            }
        }
    }
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
    fn resources_are_the_arns_of_this_api() {
        let check = |arn: &str, expect: Option<&str>| {
            let mut resources = Resources::default();
            resources.find_in(&json!({"a": [{"bArn": arn}]}));
            resources.find_in(&json!({"c": arn}));
            let expect = expect.map(|kind| json!({"ARN": arn, "accountId": "111111111111", "type": kind}));
            assert_eq!(resources.found, Vec::from_iter(expect), "{arn}");
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

    #[test]
    fn of_many_resources_the_outermost_are_recorded() {
        let arn = |number: usize| format!("arn:aws:codeconnections:eu-west-1:111111111111:host/{number}");
        let many = |from: usize| (from..from + 30_000).map(arn).collect::<Vec<_>>();
        let mut resources = Resources::default();
        resources.find_in(&json!({"statement": {"resource": many(0)}, "hostArn": arn(70_000)}));
        resources.find_in(&json!({"tags": many(0), "hostArn": arn(70_001)}));
        let found: Vec<_> = resources.found.iter().map(|found| found["ARN"].as_str()).collect();
        let expect = [arn(70_000)].into_iter().chain(many(0).into_iter().take(49)).chain([arn(70_001)]);
        let expect: Vec<_> = expect.chain(many(49).into_iter().take(49)).collect();
        assert_eq!(found, expect.iter().map(|arn| Some(&**arn)).collect::<Vec<_>>());
        assert_eq!(found.len(), 2 * MAX_RESOURCES_EACH);
    }
}
