//! Whose a token is.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, Path, State};
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use serde_json::json;
use syncline_forges::Forge;

use super::{Grant, Inner, json_answer};

pub(super) fn routes(forge: Forge) -> Router<Arc<Inner>> {
    match forge {
        Forge::AzureDevOps => {
            Router::new().route("/{organization}/_apis/connectionData", get(connection_data))
        }
        Forge::Bitbucket | Forge::Git | Forge::GitHub | Forge::GitLab | Forge::Gitea => {
            Router::new().route("/user", get(user))
        }
    }
}

async fn user(State(inner): State<Arc<Inner>>, Extension(grant): Extension<Grant>) -> Response {
    let Some(login) = grant.login else {
        let why = match inner.forge {
            Forge::GitHub => "Resource not accessible by integration",
            Forge::GitLab => "insufficient_scope",
            Forge::Bitbucket => "Your credentials lack one or more required privilege scopes.",
            _ => "token does not have at least one of required scope(s), required=[read:user]",
        };
        return inner.says(StatusCode::FORBIDDEN, why);
    };
    let account = match inner.forge {
        Forge::GitLab => json!({ "id": 7, "username": login, "name": "A Name", "state": "active" }),
        Forge::Bitbucket => json!({ "type": "user", "display_name": login, "uuid": "{7}" }),
        _ => json!({ "id": 7, "login": login }),
    };
    json_answer(StatusCode::OK, &account)
}

async fn connection_data(
    State(inner): State<Arc<Inner>>,
    Path(organization): Path<String>,
    Extension(grant): Extension<Grant>,
) -> Response {
    let has_any =
        inner.memory().repositories.iter().any(|name| name.split('/').next() == Some(&organization));
    if !has_any {
        return inner.says(StatusCode::NOT_FOUND, "The resource cannot be found.");
    }
    let shown = json!({ "id": "7", "providerDisplayName": grant.login.unwrap_or_default() });
    json_answer(StatusCode::OK, &json!({ "authenticatedUser": shown, "instanceId": "8" }))
}
