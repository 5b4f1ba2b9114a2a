//! What every handshake shares: where its connection's forge is, what the forge must confirm, and what is stored then.

use syncline_forges::Forge;
use syncline_forges::rest::{AppKey, Endpoint, Refusal, installation};
use syncline_store::{Connection, CredentialRow, Handshake, NewGrant, Owner, grant_owner};
use syncline_wire::ErrorCode;

use super::api::Call;
use super::api::arns::arn;
use super::error::{Answer, ApiError};
use crate::grants::{AppGrant, Got, Place, token_of_app};
use crate::worker::extra_root;

/// The longest name of an organization at Azure DevOps, in bytes.
const MAX_ORGANIZATION_BYTES: usize = 100;

/// Said where nothing was stored although the forge confirmed it.
pub(super) const MOVED: &str =
    "the connection was deleted, or its host moved, while the token was tried: nothing was stored";

/// A connection, and where its forge is.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) connection: Connection,
    pub(super) arn: String,
    pub(super) forge: Forge,
    pub(super) endpoint: Endpoint,
    /// The endpoint of its host, if it has one.
    pub(super) host: Option<String>,
    extra_root_pem: Option<String>,
}

impl Subject {
    /// The connection that a call is about.
    pub(super) async fn of(call: &Call, id: &str) -> Answer<Self> {
        let connection = call.front.store.connection(&call.scope, id).await?;
        let connection = connection.ok_or_else(|| ApiError::not_found("connection", id))?;
        Self::of_connection(call, connection).await
    }

    /// The connection that a handshake is about, whose forge must be where it was when that was begun.
    pub(super) async fn of_handshake(call: &Call, handshake: &Handshake) -> Answer<Self> {
        let subject = Self::of(call, &handshake.connection_id).await?;
        if subject.host == handshake.tried_at {
            return Ok(subject);
        }
        Err(ApiError::validation(
            "the connection's host moved since the handshake was begun, so nothing was stored: begin again",
        ))
    }

    /// The same of a connection that was looked for already.
    pub(super) async fn of_connection(call: &Call, connection: Connection) -> Answer<Self> {
        let host = match &connection.host {
            None => None,
            Some((host, _)) => call.front.store.host(&call.scope, host).await?,
        };
        let provider_type = &connection.provider_type;
        let host_endpoint = host.as_ref().map(|host| host.provider_endpoint.clone());
        let endpoint = call.front.forges.endpoints().of(provider_type, host_endpoint.as_deref());
        let (forge, endpoint) =
            Forge::of_provider_type(provider_type).zip(endpoint).ok_or_else(|| unsupported(provider_type))?;
        Ok(Self {
            arn: arn(&call.scope, &connection.service, "connection", &connection.id),
            extra_root_pem: host.and_then(|host| extra_root(host.vpc_configuration.as_deref())),
            host: host_endpoint,
            connection,
            forge,
            endpoint,
        })
    }

    /// Where its forge is asked.
    pub(super) fn place(&self) -> Place<'_> {
        Place { forge: self.forge, endpoint: &self.endpoint, extra_root_pem: self.extra_root_pem.as_deref() }
    }

    /// Refuses any but GitHub's.
    pub(super) fn needs_github(&self) -> Answer<()> {
        if self.forge == Forge::GitHub {
            return Ok(());
        }
        let provider_type = &self.connection.provider_type;
        Err(ApiError::validation(format!(
            "GitHub Apps authorize connections of the provider types GitHub and GitHubEnterpriseServer, not {provider_type}"
        )))
    }

    /// What the caller is told of a forge's refusal of `what`.
    pub(super) fn not_authorized(&self, what: &str, refusal: &Refusal) -> ApiError {
        self.not_confirmed(what, refusal, "try again")
    }

    /// The same where asking once has ended the handshake.
    pub(super) fn not_exchanged(&self, what: &str, refusal: &Refusal) -> ApiError {
        self.not_confirmed(what, refusal, "the handshake is over, begin again")
    }

    fn not_confirmed(&self, what: &str, refusal: &Refusal, advice: &str) -> ApiError {
        let (provider_type, api) = (&self.connection.provider_type, &self.endpoint.api);
        if refusal.may_pass() {
            return ApiError::new(
                ErrorCode::ResourceUnavailable,
                format!(
                    "{provider_type} at {api} cannot be asked about the {what} now, so nothing was stored; {advice}: {refusal}"
                ),
            );
        }
        ApiError::validation(format!(
            "{provider_type} at {api} does not confirm the {what}, so nothing was stored: {refusal}"
        ))
    }

    /// A token of an App's installation, which must be the App's and of this account.
    pub(super) async fn token_of_app(&self, call: &Call, app: AppGrant, account: &str) -> Answer<Got> {
        let forges = &call.front.forges;
        let refused = |refusal: Refusal| self.not_authorized("GitHub App's installation", &refusal);
        let invalid = |why: String| Err(refused(Refusal::Invalid(why)));
        let access = app.key.access(&self.endpoint.api, forges.now_ms());
        let access = access.map_err(|error| refused(Refusal::Invalid(error.to_string())))?;
        let question = installation(&access, app.installation);
        let found = forges.ask(self.place().extra_root_pem, question).await.map_err(refused)?;
        if found.app_id != app.key.id() {
            return invalid(format!("the installation {} is that of another App", app.installation));
        }
        if !found.account.eq_ignore_ascii_case(account) {
            return invalid(format!("the installation {} is not of the account {account}", app.installation));
        }
        if found.is_suspended {
            return invalid(format!("the account {account} has suspended the installation"));
        }
        if !found.reads_contents {
            return invalid("the App has no permission to read the contents of repositories".to_owned());
        }
        token_of_app(forges, self.place(), app).await.map_err(refused)
    }

    /// Stores a token that its forge gave, with what the next one is got with.
    pub(super) async fn store(self, call: &Call, got: Got, account: Option<String>) -> Answer<Authorized> {
        let store = &call.front.store;
        let id = self.connection.id;
        let seal = |arn: &str, bytes: &[u8]| {
            store.keyring().seal(&Owner { account: call.scope.account.as_str(), arn }, bytes)
        };
        let sealed = Some(seal(&self.arn, got.credential.to_bytes().expose())?);
        let row = CredentialRow { sealed, tried_at: self.host };
        let grant = NewGrant {
            sealed: seal(&grant_owner(&id), got.grant.to_bytes().expose())?,
            lifetime_ms: got.lifetime_ms,
        };
        let connection_arn = self.arn;
        let change = call.asked.change(|is_stored| {
            let authorized =
                Authorized { connection_arn, connection_status: "AVAILABLE", account, host_keys: None };
            if is_stored { Ok(authorized) } else { Err(ApiError::new(ErrorCode::Conflict, MOVED)) }
        });
        store.authorize_with_grant(&call.scope, &id, row, grant, change).await?
    }
}

/// A connection whose handshake is complete.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Authorized {
    pub(super) connection_arn: String,
    pub(super) connection_status: &'static str,
    /// Whose repositories it reads, where the forge says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) account: Option<String>,
    /// SSH: the keys by which the host is known from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host_keys: Option<String>,
}

pub(super) fn unsupported(provider_type: &str) -> ApiError {
    let message = format!("connections of provider type {provider_type} cannot be authorized");
    ApiError::new(ErrorCode::UnsupportedProviderType, message)
}

/// The App of an id and a private key that somebody brought.
pub(super) fn app_key(id: u64, pem: syncline_seams::Secret) -> Answer<AppKey> {
    AppKey::new(id, pem).map_err(|error| ApiError::validation(format!("privateKey: {error}")))
}

/// Refuses what is no name of an organization at a forge where they have so many bytes at the most.
pub(super) fn organization_name(name: &str, longest: usize) -> Answer<()> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if (1..=longest).contains(&name.len()) && is_plain {
        return Ok(());
    }
    let rule = format!("it must consist of letters, digits, '-' and '_', at most {longest} of them");
    Err(ApiError::validation(format!("organization: {rule}")))
}

/// The organization that a token is tried at: Azure DevOps has to be told it, nobody else has any.
pub(super) fn organization(forge: Forge, given: Option<&str>) -> Answer<Option<&str>> {
    match (forge, given) {
        (Forge::AzureDevOps, None) => Err(ApiError::validation(
            "organization: a token of Azure DevOps is good for one organization: name it, as in dev.azure.com/<organization>",
        )),
        (Forge::AzureDevOps, Some(name)) => {
            organization_name(name, MAX_ORGANIZATION_BYTES)?;
            Ok(Some(name))
        }
        (_, Some(_)) => Err(ApiError::validation("organization: only Azure DevOps has them")),
        (_, None) => Ok(None),
    }
}
