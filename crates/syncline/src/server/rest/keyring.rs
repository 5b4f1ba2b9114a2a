//! The keys that secrets are sealed with: the operator's alone.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::Request;
use serde::Serialize;
use syncline_store::{DataKeyStatus, KeyringStatus, MasterStatus};
use syncline_wire::{ErrorCode, Timestamp};

use super::super::Front;
use super::super::api::Call;
use super::super::caller::Principal;
use super::{Answer, ApiError, Route, run};

/// About how many secrets one request seals anew; a client asks again until it is told that nothing is left.
const SECRETS_A_REQUEST: usize = 2_000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    source: String,
    rotating: bool,
    /// Secrets whose key does not exist.
    lost_secrets: i64,
    /// The one that seals comes first.
    master_keys: Vec<MasterKey>,
    /// The oldest first.
    data_keys: Vec<DataKey>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MasterKey {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    data_keys: usize,
    /// Those it seals itself, as earlier versions did.
    secrets: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DataKey {
    id: String,
    purpose: String,
    master_key: String,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    retired_at: Option<Timestamp>,
    secrets: Vec<Secrets>,
}

#[derive(Serialize)]
struct Secrets {
    what: &'static str,
    count: i64,
}

fn shown(status: KeyringStatus) -> Shown {
    let master = |MasterStatus { id, label, data_keys, secrets }| MasterKey {
        id: id.to_string(),
        label,
        data_keys,
        secrets,
    };
    let data_key = |key: DataKeyStatus| DataKey {
        id: key.id.to_string(),
        purpose: key.purpose,
        master_key: key.master.to_string(),
        created_at: Timestamp::from_epoch_ms(key.created_at_ms),
        retired_at: key.retired_at_ms.map(Timestamp::from_epoch_ms),
        secrets: key.secrets.into_iter().map(|(what, count)| Secrets { what, count }).collect(),
    };
    Shown {
        source: status.source,
        rotating: status.is_rotating,
        lost_secrets: status.lost_secrets,
        master_keys: status.masters.into_iter().map(master).collect(),
        data_keys: status.data_keys.into_iter().map(data_key).collect(),
    }
}

/// The keys seal every account's secrets, so no account's policy can give leave to touch them.
fn check_operator(call: &Call) -> Answer<()> {
    let caller = &call.asked.caller;
    match caller.principal {
        Principal::Root => Ok(()),
        Principal::User(_) => Err(ApiError::new(
            ErrorCode::AccessDenied,
            format!(
                "User: {} is not authorized to perform: syncline:{} because only the operator's root key is",
                caller.arn(),
                call.asked.event_name
            ),
        )),
    }
}

/// `GET /api/v1/keyring`
pub(super) async fn show(State(front): State<Arc<Front>>, request: Request<Body>) -> Response {
    run(front, request, Route::question("GetKeyring"), async |call, _| {
        check_operator(&call)?;
        Ok(shown(call.front.store.keyring().status().await?))
    })
    .await
}

/// What the audit log has of a rotation: it is written when the rotation begins.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Begun {
    data_key: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rotated {
    #[serde(flatten)]
    begun: Begun,
    resealed: usize,
    rewrapped: usize,
    deleted: usize,
    /// ARNs of what has a secret that cannot be opened.
    unreadable: Vec<String>,
    finished: bool,
}

/// `POST /api/v1/keyring/rotate`: a part of a rotation, to be called until it is finished.
pub(super) async fn rotate(State(front): State<Arc<Front>>, request: Request<Body>) -> Response {
    let route = Route::change("RotateKeyring", serde_json::Value::Null);
    run(front, request, route, async |call, _| {
        check_operator(&call)?;
        let change = call.asked.change(|id| Ok(Begun { data_key: syncline_store::KeyId::to_string(&id) }));
        let (begun, done) = call.front.store.keyring().rotate(SECRETS_A_REQUEST, change).await?;
        Ok(Rotated {
            begun: begun?,
            resealed: done.resealed,
            rewrapped: done.rewrapped,
            deleted: done.deleted,
            unreadable: done.unreadable,
            finished: done.is_finished,
        })
    })
    .await
}
