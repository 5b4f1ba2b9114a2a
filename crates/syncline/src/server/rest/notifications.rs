//! Notification targets: made, listed, deleted and tried.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::Request;
use serde::{Deserialize, Serialize};
use serde_json::json;
use syncline_model::sync::{AttemptStatus, RepositoryAttemptStatus};
use syncline_seams::Secret;
use syncline_store::{
    CreateNotificationTarget, NewNotificationTarget, NotificationTarget, Owner, TargetKind,
    notification_target_owner,
};
use syncline_wire::{ErrorCode, Timestamp};
use uuid::Uuid;

use super::super::Front;
use super::super::access::check;
use super::super::api::Call;
use super::super::api::needs::passing_role;
use super::super::api::sync_configurations::check_role;
use super::access::exposed_if_any;
use super::{Answer, ApiError, Resource, Route, read, run};
use crate::notify::{Bus, Sealed, test_event};

/// Targets of an account in a region.
const MOST_TARGETS: i64 = 50;
/// Names in a filter.
const MOST_NAMES: usize = 100;
/// The longest name, in characters.
const LONGEST_NAME: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Input {
    name: String,
    kind: String,
    /// Of every kind but an event bus.
    url: Option<Secret>,
    /// The ARN of an event bus.
    event_bus: Option<String>,
    /// As whom an event bus is told.
    role_arn: Option<String>,
    syncs: Option<Vec<String>>,
    statuses: Option<Vec<String>>,
}

/// What is recorded of a target, and shown of it ever after.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    id: String,
    name: String,
    /// `WEBHOOK`, `ENVELOPE`, `SLACK` or `EVENTBRIDGE`; null for a kind that only a newer version knows.
    kind: Option<&'static str>,
    /// Where it is, without secrets; of an event bus, its ARN.
    url: String,
    /// As whom an event bus is told.
    role_arn: Option<String>,
    /// The names of the syncs it is told of; null: all, and repositories.
    syncs: Option<Vec<String>>,
    /// The statuses it is told of; null: all.
    statuses: Option<Vec<String>>,
    created_at: String,
}

impl From<NotificationTarget> for Shown {
    fn from(target: NotificationTarget) -> Self {
        Self {
            id: target.id,
            name: target.name,
            kind: target.kind.map(TargetKind::as_str),
            url: target.shown,
            role_arn: target.role_arn,
            syncs: target.syncs,
            statuses: target.statuses,
            created_at: Timestamp::from_epoch_ms(target.created_at_ms).iso8601(),
        }
    }
}

/// The one answer that shows a target's signing key.
#[derive(Serialize)]
struct Made {
    #[serde(flatten)]
    shown: Shown,
    #[serde(serialize_with = "exposed_if_any", skip_serializing_if = "Option::is_none")]
    secret: Option<Secret>,
}

fn not_found(which: &str) -> ApiError {
    ApiError::not_found("notification target", which)
}

fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// A filter's texts: some, not too many, each of them good.
fn filter(
    what: &str,
    texts: Option<Vec<String>>,
    is_good: impl Fn(&str) -> bool,
) -> Answer<Option<Vec<String>>> {
    let Some(texts) = texts else { return Ok(None) };
    if texts.is_empty() || texts.len() > MOST_NAMES {
        let message = format!("{what}: there must be 1 to {MOST_NAMES}, or the member left out for all");
        return Err(ApiError::validation(message));
    }
    if let Some(bad) = texts.iter().find(|text| !is_good(text)) {
        let bad: String = bad.chars().take(100).collect();
        return Err(ApiError::validation(format!("{what}: '{bad}' is none")));
    }
    Ok(Some(texts))
}

fn is_status(text: &str) -> bool {
    AttemptStatus::from_text(text).is_some() || RepositoryAttemptStatus::from_text(text).is_some()
}

/// `POST /api/v1/notification-targets` with `{"name", "kind", "url", "syncs": […], "statuses": […]}`
pub(super) async fn create(State(front): State<Arc<Front>>, request: Request<Body>) -> Response {
    let route = Route::change("CreateNotificationTarget", json!({}));
    run(front, request, route, async move |call, body| create_target(&call, &body).await).await
}

/// The secrets of a target, where it is, and as whom it is told.
async fn whereabouts(
    call: &Call,
    kind: TargetKind,
    input: &Input,
) -> Answer<(Sealed, String, Option<String>)> {
    let invalid = |error: &dyn std::fmt::Display| ApiError::validation(error.to_string());
    if kind != TargetKind::EventBridge {
        let (Some(url), None, None) = (&input.url, &input.event_bus, &input.role_arn) else {
            return Err(invalid(&"url: this kind has one, and no eventBus or roleArn"));
        };
        let (sealed, shown) = Sealed::new(kind, url, &call.front.egress).map_err(|error| invalid(&error))?;
        return Ok((sealed, shown, None));
    }
    let (Some(bus), Some(role), None) = (&input.event_bus, &input.role_arn, &input.url) else {
        return Err(invalid(&"eventBus and roleArn: EVENTBRIDGE has both, and no url"));
    };
    let role = check_role(call, role)?;
    let bus = Bus::parse(bus, role.as_str()).map_err(|error| invalid(&error))?;
    if bus.arn.partition() != bus.role.partition() {
        let (bus, role) = (bus.arn.partition(), bus.role.partition());
        return Err(invalid(&format!("eventBus: a role of the partition {role} reaches none of {bus}")));
    }
    // As of the role of a sync: who may not pass it on gets nothing by it.
    check(call, || vec![passing_role(bus.role.as_str())]).await?;
    // The ExternalId that the role is assumed with exists before anything can need it.
    call.front.store.account(&call.scope.account).await?;
    Ok((Sealed::none(), bus.arn.as_str().to_owned(), Some(bus.role.as_str().to_owned())))
}

async fn create_target(call: &Call, body: &[u8]) -> Answer<Made> {
    let input: Input = read(body)?;
    if !is_name(&input.name) {
        return Err(ApiError::validation(format!(
            "name: it must have 1 to {LONGEST_NAME} letters, digits or characters of _.-"
        )));
    }
    let Some(kind) = TargetKind::from_text(&input.kind) else {
        return Err(ApiError::validation("kind: it must be WEBHOOK, ENVELOPE, SLACK or EVENTBRIDGE"));
    };
    let (sealed, shown, role_arn) = whereabouts(call, kind, &input).await?;
    let id = Uuid::new_v4().to_string();
    let owner = notification_target_owner(&id);
    let owner = Owner { account: call.scope.account.as_str(), arn: &owner };
    let store = &call.front.store;
    let new = NewNotificationTarget {
        id,
        name: input.name.clone(),
        kind,
        shown,
        role_arn,
        sealed: store.keyring().seal(&owner, sealed.to_bytes().expose())?,
        syncs: filter("syncs", input.syncs, |name| !name.is_empty() && name.len() <= 100)?,
        statuses: filter("statuses", input.statuses, is_status)?,
    };
    // What is answered to the change is what is recorded: the key is not.
    let change = call.asked.change(move |made| match made {
        CreateNotificationTarget::Created(target) => Ok(Shown::from(target)),
        CreateNotificationTarget::NameTaken => {
            let message = format!("there is a notification target {} already", input.name);
            Err(ApiError::new(ErrorCode::ResourceAlreadyExists, message))
        }
        CreateNotificationTarget::LimitExceeded => {
            let message = format!("an account has at most {MOST_TARGETS} notification targets in a region");
            Err(ApiError::new(ErrorCode::LimitExceeded, message))
        }
    });
    let shown = store.create_notification_target(&call.scope, new, MOST_TARGETS, change).await??;
    Ok(Made { shown, secret: sealed.key().cloned() })
}

/// `GET /api/v1/notification-targets`
pub(super) async fn list(State(front): State<Arc<Front>>, request: Request<Body>) -> Response {
    run(front, request, Route::question("ListNotificationTargets"), async move |call, _| {
        let targets = call.front.store.notification_targets(&call.scope).await?;
        let targets: Vec<_> = targets.into_iter().map(Shown::from).collect();
        Ok(json!({ "notificationTargets": targets }))
    })
    .await
}

/// `DELETE /api/v1/notification-targets/{name}`: a name or an id.
pub(super) async fn delete(
    State(front): State<Arc<Front>>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Response {
    let route = Route::change("DeleteNotificationTarget", json!({ "name": &name }))
        .on(Resource::NotificationTarget(name.clone()));
    run(front, request, route, async move |call, _| {
        let missing = not_found(&name);
        let change = call.asked.change(|deleted: Option<NotificationTarget>| match deleted {
            Some(target) => Ok(Shown::from(target)),
            None => Err(missing),
        });
        call.front.store.delete_notification_target(&call.scope, &name, change).await?
    })
    .await
}

/// What a target made of an event that says that it is a test.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tried {
    name: String,
    told: bool,
    /// What it answered; null if it did not.
    status: Option<u16>,
    /// Why it was not told.
    reason: Option<String>,
}

/// `POST /api/v1/notification-targets/{name}/test`: tells it that this is a test, once, and what it answers.
pub(super) async fn test(
    State(front): State<Arc<Front>>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Response {
    // It changes nothing here, but is no mere question to whoever is told.
    let route = Route::change("TestNotificationTarget", json!({ "name": &name }))
        .on(Resource::NotificationTarget(name.clone()));
    run(front, request, route, async move |call, _| {
        let store = &call.front.store;
        let found = store.notification_target(&call.scope, &name).await?;
        let record = found.ok_or_else(|| not_found(&name))?;
        let unusable = || ApiError::validation("only a newer version can tell this notification target");
        let sealed = Sealed::from_bytes(&store.target_secret(&record).await?).ok_or_else(unusable)?;
        let (account, region) = (call.scope.account.as_str(), call.scope.region.as_str());
        let event = test_event(account, region, call.front.clock.now_ms());
        let id = Uuid::new_v4().to_string();
        Ok(match call.front.notifier.tell(&record, &sealed, &id, &event).await {
            Ok(status) => {
                Tried { name: record.target.name, told: true, status: Some(status.as_u16()), reason: None }
            }
            Err(not_told) => Tried {
                name: record.target.name,
                told: false,
                status: not_told.status,
                reason: Some(not_told.reason),
            },
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_has_some_good_texts_or_is_left_out() {
        let check = |texts: Option<&[&str]>, is_good: bool| {
            let texts = texts.map(|texts| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
            assert_eq!(filter("statuses", texts.clone(), is_status).is_ok(), is_good, "{texts:?}");
        };
        check(None, true);
        check(Some(&["FAILED", "QUEUED"]), true);
        check(Some(&[]), false);
        check(Some(&["failed"]), false);
        check(Some(&["FAILED"; 101]), false);
    }
}
