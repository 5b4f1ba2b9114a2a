//! Who sent a request: its signature, its account, its region.

use std::borrow::Cow;

use http::request::Parts;
use subtle::ConstantTimeEq as _;
use syncline_model::names::Region;
use syncline_wire::sigv4::{Expected, Presented, SessionToken, SignedParts};
use syncline_wire::{ErrorCode, WireError};

use super::caller::{Caller, Principal};
use super::error::{Answer, ApiError};
use super::{Front, SourceAddress, audit};

/// Verifies the signature of a request to `service` and says who sent it, to which region. A request that does
/// not prove it costs its source.
pub(super) async fn authenticate(
    front: &Front,
    parts: &Parts,
    body: &[u8],
    service: &str,
) -> Answer<(Caller, Region)> {
    prove(front, parts, body, service).await.inspect_err(|refusal| {
        // What the server itself failed in is nobody's guess at a secret.
        if refusal.error.code != ErrorCode::InternalServer {
            front.gate.unproven(SourceAddress::of(&parts.extensions));
        }
    })
}

async fn prove(front: &Front, parts: &Parts, body: &[u8], service: &str) -> Answer<(Caller, Region)> {
    let mut headers = Cow::Borrowed(&parts.headers);
    if !headers.contains_key(http::header::HOST)
        && let Some(authority) = parts.uri.authority()
        && let Ok(host) = authority.as_str().parse()
    {
        // HTTP/2 has `:authority` where HTTP/1 has `Host`.
        headers.to_mut().insert(http::header::HOST, host);
    }
    let signed = SignedParts {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &headers,
        body,
    };
    let now_ms = front.clock.now_ms();
    let presented = Presented::parse(signed, Expected { service, now_ms, normalize_path: true })?;
    let id = presented.access_key_id();
    let (caller, verified) = if id == front.root.access_key_id {
        let verified =
            presented.verify(front.root.secret_access_key.expose().as_bytes(), &front.signing_keys)?;
        if verified.session_token.is_some() {
            return Err(unknown());
        }
        let caller = Caller {
            key_id: id.to_owned(),
            account: front.root.account.clone(),
            principal: Principal::Root,
            session_began_ms: None,
        };
        (caller, verified)
    } else {
        let key = front.store.access_key(id).await?;
        let Some(key) = key else { return Err(presented.unknown(&front.signing_keys).into()) };
        // What a secret is sealed into is no other secret's, and found without opening it.
        let label = key.label(id);
        let verified = match presented.verify_kept(&label, &front.signing_keys) {
            Some(verified) => verified?,
            None => {
                let secret = front.store.secret_of(id, &key).await?;
                presented.verify_as(&label, secret.expose(), &front.signing_keys)?
            }
        };
        if !key.is_active {
            return Err(unknown());
        }
        if !is_token_of(verified.session_token.as_ref(), key.token_hash.as_deref()) {
            return Err(unknown());
        }
        if key.expires_at_ms.is_some_and(|ends| ends <= now_ms) {
            return Err(ApiError::new(
                ErrorCode::ExpiredToken,
                "The security token included in the request is expired",
            ));
        }
        let caller = Caller {
            key_id: id.to_owned(),
            account: key.account,
            principal: Principal::User(key.user),
            session_began_ms: key.expires_at_ms.map(|_| key.created_at_ms),
        };
        (caller, verified)
    };
    let region: Region = verified
        .region
        .parse()
        .map_err(|error| ApiError::new(ErrorCode::InvalidSignature, format!("Credential scope: {error}")))?;
    Ok((caller, region))
}

fn unknown() -> ApiError {
    WireError::unknown_key().into()
}

fn is_token_of(given: Option<&SessionToken>, hash: Option<&str>) -> bool {
    match (given, hash) {
        (None, None) => true,
        (Some(given), Some(hash)) => audit::hash(given.expose()).as_bytes().ct_eq(hash.as_bytes()).into(),
        _ => false,
    }
}
