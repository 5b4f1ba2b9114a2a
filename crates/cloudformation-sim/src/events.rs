//! EventBridge's PutEvents, in its JSON protocol. An event goes nowhere; it can be looked at.

use serde_json::{Map, Value, json};

use crate::query::Scope;
use crate::refusal::Refusal;
use crate::sts::Caller;

/// What EventBridge calls itself in `X-Amz-Target`.
pub(crate) const TARGET: &str = "AWSEvents.";

/// The most events of one call.
const MAX_ENTRIES: usize = 10;

/// An event that was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutEventView {
    /// The bus's ARN.
    pub bus: String,
    /// `Source`.
    pub source: String,
    /// `DetailType`.
    pub detail_type: String,
    /// `Detail`.
    pub detail: Value,
    /// `Time`, in milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// The account of the caller.
    pub account: String,
    /// The id that it was given.
    pub id: String,
}

/// PutEvents: what is answered, and the events that were taken.
pub(crate) fn put(
    body: &[u8],
    caller: &Caller,
    scope: &Scope,
    now_ms: i64,
) -> Result<(Value, Vec<PutEventView>), Refusal> {
    let invalid = |message: &str| Refusal::new(400, "ValidationException", message);
    let input: Map<String, Value> =
        serde_json::from_slice(body).map_err(|_| Refusal::new(400, "SerializationException", "no JSON"))?;
    let entries =
        input.get("Entries").and_then(Value::as_array).ok_or_else(|| invalid("Entries: missing"))?;
    if entries.is_empty() || entries.len() > MAX_ENTRIES || input.len() != 1 {
        return Err(invalid("Entries: there must be 1 to 10, and nothing else"));
    }
    let mut answers = Vec::new();
    let mut taken = Vec::new();
    for entry in entries {
        match event(entry, caller, scope, now_ms) {
            Ok(event) => {
                answers.push(json!({ "EventId": event.id }));
                taken.push(event);
            }
            Err(Refusal { code, message, .. }) => {
                answers.push(json!({ "ErrorCode": code, "ErrorMessage": message }));
            }
        }
    }
    let failed = answers.len() - taken.len();
    Ok((json!({ "FailedEntryCount": failed, "Entries": answers }), taken))
}

fn event(entry: &Value, caller: &Caller, scope: &Scope, now_ms: i64) -> Result<PutEventView, Refusal> {
    let refused = |code: &str, message: String| Refusal::new(400, code, message);
    let known = ["Detail", "DetailType", "EventBusName", "Source", "Time"];
    let unknown =
        entry.as_object().and_then(|members| members.keys().find(|key| !known.contains(&key.as_str())));
    if let Some(unknown) = unknown {
        return Err(refused("ValidationException", format!("{unknown}: nothing here gives one")));
    }
    let member = |name: &str| {
        let missing =
            || refused("InvalidArgument", format!("Parameter {name} is not valid. Reason: missing."));
        entry[name].as_str().filter(|text| !text.is_empty()).ok_or_else(missing)
    };
    let (bus, source, detail_type) = (member("EventBusName")?, member("Source")?, member("DetailType")?);
    let expect = format!("arn:aws:events:{}:{}:event-bus/", scope.region, caller.account);
    if !bus.starts_with(&expect) {
        let message =
            format!("User: {} is not authorized to perform: events:PutEvents on resource: {bus}", caller.arn);
        return Err(refused("AccessDeniedException", message));
    }
    if source.starts_with("aws.") {
        return Err(refused("NotAuthorizedForSourceException", "Not authorized for the source.".to_owned()));
    }
    let detail: Value = serde_json::from_str(member("Detail")?).unwrap_or_default();
    if !detail.is_object() {
        return Err(refused("MalformedDetail", "Detail is malformed.".to_owned()));
    }
    #[expect(clippy::cast_possible_truncation, reason = "seconds of our time in milliseconds")]
    let time_ms = entry["Time"].as_f64().map_or(now_ms, |seconds| (seconds * 1000.0) as i64);
    Ok(PutEventView {
        bus: bus.to_owned(),
        source: source.to_owned(),
        detail_type: detail_type.to_owned(),
        detail,
        time_ms,
        account: caller.account.clone(),
        id: uuid::Uuid::new_v4().to_string(),
    })
}
