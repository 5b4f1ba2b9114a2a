//! Users, their policies and their access keys: who may call, and what.
//!
//! The operator's root key manages every account; other keys manage their own account's, if their policies
//! let them.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::Request;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::json;
use syncline_model::policy::Policy;
use syncline_seams::Secret;
use syncline_store::{
    AccessKeyInfo, KEYS_PER_USER, Made, NewAccessKey, Owner, POLICIES_PER_USER, TEMPORARY_KEYS_PER_USER,
    USERS_PER_ACCOUNT, User, key_owner,
};
use syncline_wire::{ErrorCode, Timestamp};

use super::super::api::Call;
use super::super::caller::user_arn;
use super::super::{Front, audit};
use super::{Answer, ApiError, Resource, Route, read, run};
use crate::credentials::{self, Fresh};

/// How long a temporary key may live, in seconds: what sts:GetSessionToken offers.
const LIFETIME_S: std::ops::RangeInclusive<i64> = 900..=129_600;
/// How long one lives if nothing is said, in seconds.
const DEFAULT_LIFETIME_S: i64 = 3600;

fn no_user(name: &str) -> ApiError {
    ApiError::not_found("user", name)
}

/// IAM's rule for names of users and policies.
fn check_name(what: &str, name: &str, longest: usize) -> Answer<()> {
    let is_good = (1..=longest).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b));
    if is_good {
        return Ok(());
    }
    Err(ApiError::validation(format!(
        "{what}: it must have 1 to {longest} letters, digits or characters of _+=,.@-"
    )))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownUser {
    user_name: String,
    user_id: String,
    arn: String,
    created_at: String,
}

fn shown(call: &Call, user: User) -> ShownUser {
    ShownUser {
        arn: user_arn(&call.scope.account, &user.name),
        user_name: user.name,
        user_id: user.id,
        created_at: Timestamp::from_epoch_ms(user.created_at_ms).iso8601(),
    }
}

/// `GET /api/v1/accounts/{account}/users`
pub(super) async fn users(
    State(front): State<Arc<Front>>,
    Path(account): Path<String>,
    request: Request<Body>,
) -> Response {
    run(front, request, Route::question("ListUsers").of(account), async |call, _| {
        let users = call.front.store.users(&call.scope.account).await?;
        let users: Vec<_> = users.into_iter().map(|user| shown(&call, user)).collect();
        Ok(json!({ "users": users }))
    })
    .await
}

/// `PUT /api/v1/accounts/{account}/users/{name}`: makes the user, if there is none yet.
pub(super) async fn put_user(
    State(front): State<Arc<Front>>,
    Path((account, name)): Path<(String, String)>,
    request: Request<Body>,
) -> Response {
    let route = Route::change("CreateUser", json!({ "userName": &name }))
        .of(account)
        .on(Resource::User(name.clone()));
    run(front, request, route, async move |call, _| {
        check_name("the user's name", &name, 64)?;
        let store = &call.front.store;
        if let Some(user) = store.user(&call.scope.account, &name).await? {
            return Ok(json!({ "user": shown(&call, user), "created": false }));
        }
        let change = call.asked.change(|made| match made {
            Made::Made | Made::AlreadyExists => Ok(()),
            Made::LimitExceeded | Made::NoUser => Err(ApiError::new(
                ErrorCode::LimitExceeded,
                format!("the account has {USERS_PER_ACCOUNT} users, which is as many as may be"),
            )),
        });
        store.create_user(&call.scope.account, &credentials::new_id("AIDA"), &name, change).await??;
        let user = store.user(&call.scope.account, &name).await?.ok_or_else(|| no_user(&name))?;
        Ok(json!({ "user": shown(&call, user), "created": true }))
    })
    .await
}

/// `DELETE /api/v1/accounts/{account}/users/{name}`: with its keys and policies.
pub(super) async fn delete_user(
    State(front): State<Arc<Front>>,
    Path((account, name)): Path<(String, String)>,
    request: Request<Body>,
) -> Response {
    let route = Route::change("DeleteUser", json!({ "userName": &name }))
        .of(account)
        .on(Resource::User(name.clone()));
    run(front, request, route, async move |call, _| {
        let missing = no_user(&name);
        let change = call.asked.change(|deleted| if deleted { Ok(json!({})) } else { Err(missing) });
        call.front.store.delete_user(&call.scope.account, &name, change).await?
    })
    .await
}

/// `GET /api/v1/accounts/{account}/users/{name}/policies`
pub(super) async fn policies(
    State(front): State<Arc<Front>>,
    Path((account, name)): Path<(String, String)>,
    request: Request<Body>,
) -> Response {
    let route = Route::question("ListUserPolicies").of(account).on(Resource::User(name.clone()));
    run(front, request, route, async move |call, _| {
        let store = &call.front.store;
        let user = store.user(&call.scope.account, &name).await?.ok_or_else(|| no_user(&name))?;
        let policies: Vec<_> = store
            .policies(&user.id)
            .await?
            .into_iter()
            .map(|(name, document)| {
                let document: serde_json::Value = serde_json::from_str(&document).unwrap_or_default();
                json!({ "policyName": name, "policyDocument": document })
            })
            .collect();
        Ok(json!({ "policies": policies }))
    })
    .await
}

/// `PUT /api/v1/accounts/{account}/users/{name}/policies/{policy}`: the body is the policy document.
pub(super) async fn put_policy(
    State(front): State<Arc<Front>>,
    Path((account, name, policy)): Path<(String, String, String)>,
    request: Request<Body>,
) -> Response {
    let parameters = json!({ "userName": &name, "policyName": &policy });
    let route = Route::change("PutUserPolicy", parameters).of(account).on(Resource::User(name.clone()));
    let route = route.recording_body_as("policyDocument");
    run(front, request, route, async move |call, body| {
        check_name("the policy's name", &policy, 128)?;
        let document = std::str::from_utf8(&body)
            .map_err(|_| ApiError::new(ErrorCode::Serialization, "the policy document is not UTF-8"))?;
        document
            .parse::<Policy>()
            .map_err(|error| ApiError::validation(format!("the policy document: {error}")))?;
        let user = name.clone();
        let change = call.asked.change(move |made| match made {
            Made::Made | Made::AlreadyExists => Ok(json!({})),
            Made::NoUser => Err(no_user(&user)),
            Made::LimitExceeded => Err(ApiError::new(
                ErrorCode::LimitExceeded,
                format!("the user {user} has {POLICIES_PER_USER} policies, which is as many as may be"),
            )),
        });
        call.front.store.put_policy(&call.scope.account, &name, &policy, document, change).await?
    })
    .await
}

/// `DELETE /api/v1/accounts/{account}/users/{name}/policies/{policy}`
pub(super) async fn delete_policy(
    State(front): State<Arc<Front>>,
    Path((account, name, policy)): Path<(String, String, String)>,
    request: Request<Body>,
) -> Response {
    let parameters = json!({ "userName": &name, "policyName": &policy });
    let route = Route::change("DeleteUserPolicy", parameters).of(account).on(Resource::User(name.clone()));
    run(front, request, route, async move |call, _| {
        let missing = ApiError::not_found("policy", &format!("{name}/{policy}"));
        let change = call.asked.change(|deleted| if deleted { Ok(json!({})) } else { Err(missing) });
        call.front.store.delete_policy(&call.scope.account, &name, &policy, change).await?
    })
    .await
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownKey {
    access_key_id: String,
    user_name: String,
    status: &'static str,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<String>,
}

impl ShownKey {
    fn of(key: AccessKeyInfo, now_ms: i64) -> Self {
        let iso8601 = |ms: i64| Timestamp::from_epoch_ms(ms).iso8601();
        Self {
            status: match key.expires_at_ms {
                Some(ends) if ends <= now_ms => "Expired",
                _ if key.is_active => "Active",
                _ => "Inactive",
            },
            access_key_id: key.id,
            user_name: key.user_name,
            created_at: iso8601(key.created_at_ms),
            expiration: key.expires_at_ms.map(iso8601),
        }
    }
}

/// `GET /api/v1/accounts/{account}/keys`
pub(super) async fn keys(
    State(front): State<Arc<Front>>,
    Path(account): Path<String>,
    request: Request<Body>,
) -> Response {
    run(front, request, Route::question("ListAccessKeys").of(account), async |call, _| {
        let now_ms = call.front.clock.now_ms();
        let keys = call.front.store.access_keys(&call.scope.account).await?;
        let keys: Vec<_> = keys.into_iter().map(|key| ShownKey::of(key, now_ms)).collect();
        Ok(json!({ "keys": keys }))
    })
    .await
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct CreateKey {
    /// Whether the key ends by itself.
    temporary: bool,
    /// How long a temporary key lives, in seconds.
    duration_seconds: Option<i64>,
}

/// A new key, as only this one answer shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreatedKey {
    account_id: String,
    #[serde(flatten)]
    key: ShownKey,
    #[serde(serialize_with = "exposed")]
    secret_access_key: Secret,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "exposed_if_any")]
    session_token: Option<Secret>,
}

/// Of the answers in which a secret goes out, once.
pub(super) fn exposed<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

pub(super) fn exposed_if_any<S: Serializer>(
    secret: &Option<Secret>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(Secret::expose).serialize(serializer)
}

/// `POST /api/v1/accounts/{account}/users/{name}/keys`
pub(super) async fn create_key(
    State(front): State<Arc<Front>>,
    Path((account, name)): Path<(String, String)>,
    request: Request<Body>,
) -> Response {
    let route = Route::change("CreateAccessKey", json!({ "userName": &name })).of(account);
    let route = route.on(Resource::User(name.clone())).recording_body_as("key");
    run(front, request, route, async move |call, body| create_access_key(&call, &name, &body).await).await
}

async fn create_access_key(call: &Call, name: &str, body: &[u8]) -> Answer<CreatedKey> {
    let input: CreateKey = if body.is_empty() { CreateKey::default() } else { read(body)? };
    if input.duration_seconds.is_some() && !input.temporary {
        return Err(ApiError::validation("durationSeconds: only a temporary key ends by itself"));
    }
    let lifetime_s = input.duration_seconds.unwrap_or(DEFAULT_LIFETIME_S);
    if !LIFETIME_S.contains(&lifetime_s) {
        let (least, most) = (LIFETIME_S.start(), LIFETIME_S.end());
        return Err(ApiError::validation(format!(
            "durationSeconds: {lifetime_s} is not between {least} and {most}"
        )));
    }
    let now_ms = call.front.clock.now_ms();
    let fresh = Fresh::new(if input.temporary { "ASIA" } else { "AKIA" });
    let session_token = input.temporary.then(credentials::new_session_token);
    let expires_at_ms = input.temporary.then(|| now_ms + lifetime_s * 1000);
    let owner = key_owner(&fresh.id);
    let owner = Owner { account: call.scope.account.as_str(), arn: &owner };
    let new = NewAccessKey {
        id: fresh.id.clone(),
        user_name: name.to_owned(),
        sealed: call.front.store.keyring().seal(&owner, fresh.secret.expose().as_bytes())?,
        token_hash: session_token.as_ref().map(|token| audit::hash(token.expose())),
        expires_at_ms,
    };
    let shown = AccessKeyInfo {
        id: fresh.id,
        user_name: name.to_owned(),
        expires_at_ms,
        is_active: true,
        created_at_ms: now_ms,
    };
    let user = name.to_owned();
    // What is answered to the change is what is recorded: the secret is not among it.
    let change = call.asked.change(move |made| match made {
        Made::Made | Made::AlreadyExists => Ok(ShownKey::of(shown, now_ms)),
        Made::NoUser => Err(no_user(&user)),
        Made::LimitExceeded => Err(ApiError::new(
            ErrorCode::LimitExceeded,
            if expires_at_ms.is_some() {
                format!(
                    "the user {user} has {TEMPORARY_KEYS_PER_USER} temporary keys, which is as many as may be: \
                     delete one first, or wait until one ends"
                )
            } else {
                format!(
                    "the user {user} has {KEYS_PER_USER} keys that do not expire, which is as many as may be: \
                     delete one first"
                )
            },
        )),
    });
    let key = call.front.store.create_access_key(&call.scope.account, new, change).await??;
    Ok(CreatedKey {
        account_id: call.scope.account.as_str().to_owned(),
        key,
        secret_access_key: fresh.secret,
        session_token,
    })
}

/// `POST /api/v1/accounts/{account}/users/{name}/keys/{id}/activate`
pub(super) async fn activate_key(
    state: State<Arc<Front>>,
    path: Path<(String, String, String)>,
    request: Request<Body>,
) -> Response {
    set_active(state, path, request, true).await
}

/// `POST /api/v1/accounts/{account}/users/{name}/keys/{id}/deactivate`
pub(super) async fn deactivate_key(
    state: State<Arc<Front>>,
    path: Path<(String, String, String)>,
    request: Request<Body>,
) -> Response {
    set_active(state, path, request, false).await
}

async fn set_active(
    State(front): State<Arc<Front>>,
    Path((account, name, id)): Path<(String, String, String)>,
    request: Request<Body>,
    is_active: bool,
) -> Response {
    let status = if is_active { "Active" } else { "Inactive" };
    let parameters = json!({ "userName": &name, "accessKeyId": &id, "status": status });
    let route = Route::change("UpdateAccessKey", parameters).of(account).on(Resource::User(name.clone()));
    run(front, request, route, async move |call, _| {
        let (missing, key) = (ApiError::not_found("access key", &id), id.clone());
        let change = call.asked.change(move |changed| {
            if changed { Ok(json!({ "accessKeyId": key, "status": status })) } else { Err(missing) }
        });
        call.front.store.set_access_key_active(&call.scope.account, &name, &id, is_active, change).await?
    })
    .await
}

/// `DELETE /api/v1/accounts/{account}/users/{name}/keys/{id}`
pub(super) async fn delete_key(
    State(front): State<Arc<Front>>,
    Path((account, name, id)): Path<(String, String, String)>,
    request: Request<Body>,
) -> Response {
    let parameters = json!({ "userName": &name, "accessKeyId": &id });
    let route = Route::change("DeleteAccessKey", parameters).of(account).on(Resource::User(name.clone()));
    run(front, request, route, async move |call, _| {
        let missing = ApiError::not_found("access key", &id);
        let change = call.asked.change(|deleted| if deleted { Ok(json!({})) } else { Err(missing) });
        call.front.store.delete_access_key(&call.scope.account, &name, &id, change).await?
    })
    .await
}

/// The routes below `/api/v1/accounts/{account}`.
pub(super) fn routes() -> axum::Router<Arc<Front>> {
    use axum::routing::{delete, get, post, put};
    axum::Router::new()
        .route("/audit", get(super::audit::list_of_account))
        .route("/users", get(users))
        .route("/users/{name}", put(put_user).delete(delete_user))
        .route("/users/{name}/policies", get(policies))
        .route("/users/{name}/policies/{policy}", put(put_policy).delete(delete_policy))
        .route("/users/{name}/keys", post(create_key))
        .route("/users/{name}/keys/{id}", delete(delete_key))
        .route("/users/{name}/keys/{id}/activate", post(activate_key))
        .route("/users/{name}/keys/{id}/deactivate", post(deactivate_key))
        .route("/keys", get(keys))
        .route("/suspend", post(super::suspensions::suspend_account))
        .route("/resume", post(super::suspensions::resume_account))
}
