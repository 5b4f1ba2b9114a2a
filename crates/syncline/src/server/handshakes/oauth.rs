//! OAuth's authorization code with PKCE: a page that sends the browser to the forge, and the code that it comes back with.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use serde::Deserialize;
use serde_json::json;
use syncline_forges::Forge;
use syncline_forges::rest::{Access, OAuthClient, Refusal, is_only_narrow, whoami};
use syncline_seams::Secret;
use syncline_store::Handshake;

use super::super::Front;
use super::super::api::Call;
use super::super::authorizing::{Subject, organization, unsupported};
use super::super::error::{Answer, ApiError};
use super::page::{link, page, text};
use super::{Begun, PREFIX, brought, call_of, content, ended, origin, over, taken, whole_step};
use crate::credentials;
use crate::grants::{Got, OAuthGrant, StoredGrant, oauth_place};
use crate::worker::StoredCredential;

/// The step that sends the browser to the forge, and takes the code.
pub(super) const CODE: &str = "OAUTH_CODE";

/// The longest id and secret of an application, and name of a tenant, in bytes.
const MAX_CLIENT_BYTES: usize = 1024;
const MAX_TENANT_BYTES: usize = 100;
/// The most of a forge's words that are shown, in characters.
const MAX_WORDS: usize = 300;

/// The application that is to be authorized.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in super::super) struct Application {
    client_id: String,
    client_secret: Secret,
    /// Azure DevOps: the tenant of Entra that knows the application.
    #[serde(default)]
    tenant: Option<String>,
    /// Azure DevOps: the organization at which the first token is tried.
    #[serde(default)]
    organization: Option<String>,
}

/// What the next step needs.
#[derive(Deserialize)]
struct Asking {
    client_id: String,
    client_secret: Secret,
    tenant: Option<String>,
    organization: Option<String>,
    verifier: Secret,
}

impl Asking {
    fn client(&self) -> OAuthClient {
        OAuthClient {
            id: self.client_id.clone(),
            secret: self.client_secret.clone(),
            tenant: self.tenant.clone(),
        }
    }
}

/// Where every forge sends a browser back to.
fn redirect_uri(front: &Front) -> String {
    format!("{}{PREFIX}oauth", front.public_url.as_deref().unwrap_or_default())
}

/// Begins the handshake.
pub(in super::super) async fn begin(call: &Call, id: &str, input: Application) -> Answer<Begun> {
    let subject = Subject::of(call, id).await?;
    let Application { client_id, client_secret, tenant, organization: named } = input;
    let is_plain = |text: &str, longest: usize| {
        (1..=longest).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let invalid = |what: &str| Err(ApiError::validation(what));
    if !is_plain(&client_id, MAX_CLIENT_BYTES) || client_id.contains(':') {
        return invalid(
            "clientId: it must have 1 to 1024 printable characters of ASCII, and no ':' among them",
        );
    }
    if !is_plain(client_secret.expose(), MAX_CLIENT_BYTES) {
        return invalid("clientSecret: it must have 1 to 1024 printable characters of ASCII");
    }
    organization(subject.forge, named.as_deref())?;
    let is_tenant = |name: &str| {
        is_plain(name, MAX_TENANT_BYTES)
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
    };
    match (subject.forge, &tenant) {
        (Forge::GitLab | Forge::Bitbucket, None) => {}
        (Forge::AzureDevOps, Some(name)) if is_tenant(name) => {}
        (Forge::AzureDevOps, _) => {
            return invalid(
                "tenant: name the tenant of Entra that knows the application, by its id or its domain",
            );
        }
        (Forge::GitLab | Forge::Bitbucket, Some(_)) => return invalid("tenant: only Azure DevOps has them"),
        (Forge::GitHub | Forge::Gitea | Forge::Git, _) => {
            let provider_type = &subject.connection.provider_type;
            return Err(ApiError::validation(format!(
                "OAuth authorizes connections of the provider types GitLab, GitLabSelfManaged, Bitbucket and AzureDevOps, not \
                 {provider_type}"
            )));
        }
    }
    origin(&subject.endpoint.git)?;
    let verifier = credentials::new_webhook_secret();
    let content = json!({
        "client_id": client_id,
        "client_secret": client_secret.expose(),
        "tenant": tenant,
        "organization": named,
        "verifier": verifier.expose(),
    });
    let mut begun = super::begin(call, &subject, CODE, &content.to_string().into_bytes().into()).await?;
    begun.redirect_uri = Some(redirect_uri(&call.front));
    Ok(begun)
}

async fn asking(front: &Front, handshake: &Handshake) -> Answer<Asking> {
    let content = content(front, handshake).await?;
    serde_json::from_slice(content.expose()).map_err(|_| over())
}

/// The page that sends the browser to the forge.
pub(super) async fn offer(call: &Call, handshake: &Handshake, state: &str) -> Answer<Response> {
    let front = &call.front;
    let subject = Subject::of_handshake(call, handshake).await?;
    let asking = asking(front, handshake).await?;
    let client = asking.client();
    let place = oauth_place(&front.forges, subject.place(), &client)
        .map_err(|_| unsupported(&subject.connection.provider_type))?;
    let url = place.authorization_url(&client, &redirect_uri(front), state, &asking.verifier);
    let body = format!(
        "<p>{} wants you to let the application {} use {} in your name, for the connection {} ({}) of this Syncline \
         server.</p><p>Go on only if you asked for this yourself, or trust who did: whoever uses this connection gets to read \
         every repository that you may read.</p>{}",
        text(&call.asked.caller.arn()),
        text(&client.id),
        text(&subject.endpoint.git),
        text(&subject.connection.name),
        text(&subject.arn),
        link(&url, "Go on"),
    );
    Ok(page(StatusCode::OK, "Authorize a connection", &body, None))
}

/// `GET /handshakes/oauth`: somebody authorized the application, or did not.
pub(super) async fn authorized(State(front): State<Arc<Front>>, parts: Parts) -> Response {
    whole_step(front, parts, |front, parts, request_id| async move {
        let (handshake, _) = taken(&front, &parts, CODE).await?;
        let call = call_of(&front, &handshake, &parts, &request_id).await.map_err(ended)?;
        let answer = async {
            if let Some(words) = denied(&parts) {
                let message = format!("the application was not authorized, so nothing was stored: {words}");
                return Err(ApiError::validation(message));
            }
            let code = brought(&parts, "code").ok_or_else(over)?;
            exchange(&call, &handshake, Secret::new(code)).await
        };
        let answer = answer.await.map_err(ended);
        if let Err(refusal) = &answer {
            call.asked.refused(&front, refusal).await;
        }
        answer
    })
    .await
}

/// What a forge says that gives no code, as RFC 6749 (4.1.2.1) has it: cut, and on one line.
fn denied(parts: &Parts) -> Option<String> {
    let error = brought(parts, "error")?;
    let words = match brought(parts, "error_description") {
        Some(description) => format!("{error}: {description}"),
        None => error,
    };
    Some(words.chars().take(MAX_WORDS).map(|c| if c.is_control() { ' ' } else { c }).collect())
}

async fn exchange(call: &Call, handshake: &Handshake, code: Secret) -> Answer<Response> {
    let front = &call.front;
    let subject = Subject::of_handshake(call, handshake).await?;
    let asking = asking(front, handshake).await?;
    let client = asking.client();
    let refused = |refusal: Refusal| subject.not_exchanged("code", &refusal);
    let place = oauth_place(&front.forges, subject.place(), &client).map_err(refused)?;
    let root = subject.place().extra_root_pem;
    let question = place.exchange(&client, &redirect_uri(front), &code, &asking.verifier);
    let got = front.forges.ask(root, question).await.map_err(refused)?;
    let Some(refresh_token) = got.refresh_token else {
        return Err(refused(Refusal::Invalid(
            "it gives nothing that the next token could be got with".to_owned(),
        )));
    };
    let organization = organization(subject.forge, asking.organization.as_deref())?;
    let access = Access::bearer(subject.forge, &subject.endpoint.api, got.token.clone());
    let provider_type = &subject.connection.provider_type;
    let question = whoami(&access, organization).ok_or_else(|| unsupported(provider_type))?;
    let account = match front.forges.ask(root, question).await {
        Ok(account) => Some(account),
        Err(refusal) if is_only_narrow(subject.forge, &refusal) => None,
        Err(refusal) => return Err(subject.not_exchanged("token", &refusal)),
    };
    let name = subject.connection.name.clone();
    let got = Got {
        credential: StoredCredential { username: None, token: got.token, bearer: true, host_keys: None },
        grant: StoredGrant::OAuth(OAuthGrant { client, refresh_token }),
        lifetime_ms: got.lifetime_ms,
    };
    let authorized = subject.store(call, got, account).await?;
    let of = authorized.account.map_or_else(String::new, |account| format!(", as {}", text(&account)));
    let body = format!(
        "<p>The connection {} ({}) is {}{of}. You can close this page.</p>",
        text(&name),
        text(&authorized.connection_arn),
        authorized.connection_status,
    );
    Ok(page(StatusCode::OK, "The connection is authorized", &body, None))
}
