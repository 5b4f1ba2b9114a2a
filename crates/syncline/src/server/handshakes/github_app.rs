//! A GitHub App by manifest: a form that GitHub makes an App of, a code for its key, an installation, and its first token.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use serde::Deserialize;
use serde_json::json;
use syncline_forges::Forge;
use syncline_forges::rest::{Access, AppKey, Manifest, NewApp, Refusal, convert_manifest, segment};
use syncline_seams::Secret;
use syncline_store::Handshake;
use uuid::Uuid;

use super::super::Front;
use super::super::api::Call;
use super::super::audit::hash;
use super::super::authorizing::{Subject, app_key, organization_name};
use super::super::error::{Answer, ApiError};
use super::page::{form, link, page, text};
use super::{
    Begun, LIFETIME_MS, PREFIX, brought, call_of, content, ended, is_trouble_here, looked_at, new_state,
    origin, over, taken, whole_step,
};
use crate::grants::AppGrant;

/// The step that offers the manifest and takes the code.
pub(super) const MANIFEST: &str = "GITHUB_APP_MANIFEST";
/// The step that takes the installation.
const INSTALLATION: &str = "GITHUB_APP_INSTALLATION";

/// The longest name of an organization at GitHub, in bytes.
const MAX_ORGANIZATION_BYTES: usize = 39;

/// What a person chooses.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Choice {
    /// The organization that the App is to belong to; the person's own account where it is not said.
    #[serde(default)]
    organization: Option<String>,
}

/// The App, between its making and its installation.
#[derive(Deserialize)]
struct Made {
    app_id: u64,
    private_key: Secret,
    owner: String,
}

/// Begins the handshake.
pub(in super::super) async fn begin(call: &Call, id: &str, choice: Choice) -> Answer<Begun> {
    let subject = Subject::of(call, id).await?;
    subject.needs_github()?;
    if let Some(name) = &choice.organization {
        organization_name(name, MAX_ORGANIZATION_BYTES)?;
    }
    origin(&subject.endpoint.git)?;
    let content = json!({ "organization": choice.organization }).to_string().into_bytes();
    super::begin(call, &subject, MANIFEST, &content.into()).await
}

/// The page that offers to make the App.
pub(super) async fn offer(call: &Call, handshake: &Handshake, state: &str) -> Answer<Response> {
    let subject = Subject::of_handshake(call, handshake).await?;
    let content = content(&call.front, handshake).await?;
    let Choice { organization } = serde_json::from_slice(content.expose()).map_err(|_| over())?;
    let public_url = call.front.public_url.clone().unwrap_or_default();
    let suffix = &Uuid::new_v4().simple().to_string()[..8];
    let name: String = subject.connection.name.chars().take(15).collect();
    let manifest = Manifest {
        name: format!("syncline-{name}-{suffix}"),
        redirect_url: format!("{public_url}{PREFIX}github-app/made"),
        setup_url: format!("{public_url}{PREFIX}github-app/installed"),
        url: public_url,
    };
    let git = &subject.endpoint.git;
    let of =
        organization.as_ref().map_or_else(String::new, |name| format!("/organizations/{}", segment(name)));
    let action = format!("{git}{of}/settings/apps/new?state={}", segment(state));
    let (who, whose) = (
        call.asked.caller.arn(),
        organization.map_or_else(|| "your own account".to_owned(), |name| format!("the organization {name}")),
    );
    let body = format!(
        "<p>{} wants {} to make a GitHub App in {}, which the connection {} ({}) of this Syncline server is to read \
         repositories with.</p><p>Go on only if you asked for this yourself, or trust who did: whoever uses this connection \
         gets to read every repository that the App is installed for.</p>{}",
        text(&who),
        text(git),
        text(&whose),
        text(&subject.connection.name),
        text(&subject.arn),
        form(&action, &[("manifest", &manifest.to_json())], "Make the GitHub App"),
    );
    Ok(page(StatusCode::OK, "Make a GitHub App", &body, Some(&origin(git)?)))
}

/// `GET /handshakes/github-app/made`: GitHub made the App, and hands back the code for its key.
pub(super) async fn made(State(front): State<Arc<Front>>, parts: Parts) -> Response {
    whole_step(front, parts, |front, parts, request_id| async move {
        let (handshake, label) = taken(&front, &parts, MANIFEST).await?;
        let code = brought(&parts, "code").ok_or_else(over)?;
        let call = call_of(&front, &handshake, &parts, &request_id).await.map_err(ended)?;
        let answer = convert(&call, handshake, &label, &code).await;
        if let Err(refusal) = &answer {
            call.asked.refused(&front, refusal).await;
        }
        answer
    })
    .await
}

async fn convert(call: &Call, handshake: Handshake, label: &str, code: &str) -> Answer<Response> {
    let front = &call.front;
    let subject = Subject::of_handshake(call, &handshake).await.map_err(ended)?;
    let nobody = Access::new(Forge::GitHub, &subject.endpoint.api, None, None);
    let question = convert_manifest(&nobody, code);
    let app = front.forges.ask(subject.place().extra_root_pem, question).await.map_err(|refusal| {
        let why = subject.not_exchanged("code of the GitHub App", &refusal);
        if !matches!(refusal, Refusal::Unavailable(_)) {
            return why;
        }
        // It may have made the answer that nobody has: the App is there, and its key is lost.
        let advice = "GitHub takes the code once: delete the App in its settings, and begin again";
        ApiError::new(why.error.code, format!("{}. {advice}", why.error.message))
    })?;
    let slug = app.slug.clone();
    keep(call, &subject, handshake, label, app).await.map_err(|error| {
        let why = if is_trouble_here(&error) { "the server could not store it" } else { &error.error.message };
        let words = format!(
            "the GitHub App {slug} was made, and its key is lost: {why}. Delete it in GitHub's settings, and begin again"
        );
        ApiError::new(error.error.code, words)
    })
}

/// Keeps an App's key until it is installed, and says where that is done.
async fn keep(
    call: &Call,
    subject: &Subject,
    handshake: Handshake,
    label: &str,
    app: NewApp,
) -> Answer<Response> {
    let front = &call.front;
    let content = json!({
        "app_id": app.key.id(),
        "private_key": app.key.pem().expose(),
        "owner": app.owner,
    });
    let content = Secret::from(content.to_string().into_bytes());
    let row = syncline_store::handshake_owner(&handshake.id);
    let owner = syncline_store::Owner { account: call.scope.account.as_str(), arn: &row };
    let sealed = front.store.keyring().seal(&owner, content.expose())?;
    let state = new_state(label);
    let digest = hash(state.expose());
    if !front.store.continue_handshake(handshake, INSTALLATION, &digest, LIFETIME_MS, sealed).await? {
        return Err(ApiError::validation(
            "the connection was deleted, its host moved, or another handshake was begun",
        ));
    }
    let below = if subject.connection.provider_type == "GitHub" { "apps" } else { "github-apps" };
    let url = format!(
        "{}/{below}/{}/installations/new?state={}",
        subject.endpoint.git,
        segment(&app.slug),
        segment(state.expose())
    );
    let body = format!(
        "<p>{} belongs to {} now. Install it for the repositories that the connection {} is to read, within ten \
         minutes.</p>{}",
        text(&app.slug),
        text(&app.owner),
        text(&subject.connection.name),
        link(&url, "Install the GitHub App"),
    );
    Ok(page(StatusCode::OK, "The GitHub App is made", &body, None))
}

/// `GET /handshakes/github-app/installed`: the App was installed, says the browser; GitHub is asked whether it was. There is
/// no code that is good for once, and the App's key is nowhere else: it is kept until it is of use, so that the page may be
/// loaded again.
pub(super) async fn installed(State(front): State<Arc<Front>>, parts: Parts) -> Response {
    whole_step(front, parts, |front, parts, request_id| async move {
        let handshake = looked_at(&front, &parts, INSTALLATION).await?;
        let call = call_of(&front, &handshake, &parts, &request_id).await?;
        let answer = async {
            let named = brought(&parts, "installation_id").and_then(|id| id.parse::<u64>().ok());
            let installation = named.ok_or_else(|| {
                let asked = brought(&parts, "setup_action").as_deref() == Some("request");
                ApiError::validation(if asked {
                    "an owner of the organization must approve the installation first. This handshake ends after ten minutes, \
                     and the App's private key that it holds is lost then: once the App is installed, make another private key \
                     in its settings, and authorize the connection with it, the App's id and the installation's"
                } else {
                    "GitHub names no installation: install the App, or begin again"
                })
            })?;
            install(&call, &handshake, installation).await
        };
        let answer = answer.await;
        if let Err(refusal) = &answer {
            call.asked.refused(&front, refusal).await;
        }
        answer
    })
    .await
}

async fn install(call: &Call, handshake: &Handshake, installation: u64) -> Answer<Response> {
    let subject = Subject::of_handshake(call, handshake).await?;
    let content = content(&call.front, handshake).await?;
    let Made { app_id, private_key, owner } = serde_json::from_slice(content.expose()).map_err(|_| over())?;
    let key: AppKey = app_key(app_id, private_key)?;
    let got = subject.token_of_app(call, AppGrant { key, installation }, &owner).await?;
    let name = subject.connection.name.clone();
    let authorized = subject.store(call, got, Some(owner.clone())).await?;
    let body = format!(
        "<p>The connection {} ({}) is {}: it reads the repositories of {} that the GitHub App is installed for. You can close \
         this page.</p>",
        text(&name),
        text(&authorized.connection_arn),
        authorized.connection_status,
        text(&owner),
    );
    Ok(page(StatusCode::OK, "The connection is authorized", &body, None))
}
