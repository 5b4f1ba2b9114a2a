//! Who sent a request: its signature, its account, its region.

use http::request::Parts;
use syncline_model::names::Region;
use syncline_store::Scope;
use syncline_wire::sigv4::{Expected, Presented, SignedParts};
use syncline_wire::{ErrorCode, WireError};

use super::Front;

/// Verifies the signature of a request to `service` and says for whom it acts.
pub(super) fn authenticate(
    front: &Front,
    parts: &Parts,
    body: &[u8],
    service: &str,
) -> Result<Scope, WireError> {
    let mut headers = parts.headers.clone();
    if !headers.contains_key(http::header::HOST)
        && let Some(authority) = parts.uri.authority()
        && let Ok(host) = authority.as_str().parse()
    {
        // HTTP/2 has `:authority` where HTTP/1 has `Host`.
        headers.insert(http::header::HOST, host);
    }
    let signed = SignedParts {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &headers,
        body,
    };
    let expected = Expected { service, now_ms: front.clock.now_ms(), normalize_path: true };
    let presented = Presented::parse(signed, expected)?;
    let key = front.keys.get(presented.access_key_id());
    let verified = presented.verify(key.map(|key| key.secret.as_bytes()), &front.signing_keys)?;
    let unknown = || {
        WireError::new(
            ErrorCode::UnrecognizedClient,
            "The security token included in the request is invalid.",
        )
    };
    let key = key.ok_or_else(unknown)?;
    if verified.session_token.is_some() {
        return Err(unknown());
    }
    let region: Region = verified
        .region
        .parse()
        .map_err(|error| WireError::new(ErrorCode::InvalidSignature, format!("Credential scope: {error}")))?;
    Ok(Scope { account: key.account.clone(), region })
}
