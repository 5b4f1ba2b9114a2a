//! Who signed a request: AWS Signature Version 4, as a service verifies it.
//!
//! Two steps, because the caller looks the key up in between: [`Presented::parse`] checks everything that needs no
//! secret, [`Presented::verify`] compares signatures. Exactly the headers in `SignedHeaders` are verified, and these
//! must be among them: `host`, every received `x-amz-*` header, and the date used. The body's hash is always
//! computed. Unsigned payloads, streaming, presigned queries and SigV4a are refused.
//!
//! **Architecture Invariant:** an unknown key takes the same steps as a known one that is in use, and signatures are
//! compared in constant time.

mod authorization;
mod canonical;
mod keys;
pub(crate) mod time;

use std::fmt;

use http::header::{AUTHORIZATION, DATE, HOST};
use http::{HeaderMap, HeaderName};
use subtle::ConstantTimeEq as _;

use keys::Derived;
pub use keys::SigningKeys;

use crate::{ErrorCode, WireError};
use authorization::{Authorization, Scope};

/// How far a signature's time may be from ours, in milliseconds, to either side.
pub const MAX_SKEW_MS: i64 = 15 * 60 * 1000;

const AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What of a request is signed.
#[derive(Clone, Copy)]
pub struct SignedParts<'r> {
    /// The HTTP method, in capitals.
    pub method: &'r str,
    /// The path as it was received, still percent-encoded.
    pub path: &'r str,
    /// The query as it was received, without the question mark; empty where there is none.
    pub query: &'r str,
    /// All headers as they were received. HTTP/2 requests need their `:authority` put here as `host`.
    pub headers: &'r HeaderMap,
    /// The whole body.
    pub body: &'r [u8],
}

impl<'r> SignedParts<'r> {
    /// What is signed of a request whose head an HTTP server has read.
    #[must_use]
    pub fn of(head: &'r http::request::Parts, body: &'r [u8]) -> Self {
        Self {
            method: head.method.as_str(),
            path: head.uri.path(),
            query: head.uri.query().unwrap_or_default(),
            headers: &head.headers,
            body,
        }
    }
}

/// What the endpoint expects of a signature.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'e> {
    /// The only service the scope may name: that of the routed target, or `codeconnections` under `/api/v1`.
    pub service: &'e str,
    /// The time now, in milliseconds since 1970.
    pub now_ms: i64,
    /// Whether clients normalise the path before signing: true for every service but S3.
    pub normalize_path: bool,
}

/// A signature that is well-formed, current and meant for us, and not verified yet.
#[derive(Debug, Clone)]
pub struct Presented {
    access_key_id: String,
    scope: Scope,
    signed_at_ms: i64,
    session_token: Option<SessionToken>,
    string_to_sign: String,
    signature: [u8; 32],
}

/// Who signed a request, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The id of the key.
    pub access_key_id: String,
    /// The region of the scope.
    pub region: String,
    /// The service of the scope.
    pub service: String,
    /// When the request was signed, in milliseconds since 1970, by the client's clock.
    pub signed_at_ms: i64,
    /// The session token, which is signed but says nothing by itself: the caller checks that it belongs to the key,
    /// and refuses one where the key has none.
    pub session_token: Option<SessionToken>,
}

/// A session token, which `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken(String);

impl SessionToken {
    /// The token itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(…)")
    }
}

impl Presented {
    /// Reads the signature of a request and checks all that needs no secret.
    ///
    /// # Errors
    ///
    /// `MissingAuthenticationTokenException` where there is no signature, `IncompleteSignatureException` where it is
    /// malformed or of a kind that is refused, `InvalidSignatureException` where it is out of date, for another
    /// service, or leaves out what must be signed.
    pub fn parse(parts: SignedParts<'_>, expected: Expected<'_>) -> Result<Self, WireError> {
        refuse_presigned(parts.query)?;
        let Some(header) = single(parts.headers, &AUTHORIZATION)? else {
            return Err(WireError::new(
                ErrorCode::MissingAuthenticationToken,
                "Missing Authentication Token",
            ));
        };
        let dated_by = if parts.headers.contains_key(AMZ_DATE) { AMZ_DATE } else { DATE };
        let date = single(parts.headers, &dated_by)?;
        let Authorization { access_key_id, scope, signed_headers, signature } =
            Authorization::parse(header, date.is_some())?;
        let signed_at_ms = date.and_then(time::parse).ok_or_else(|| {
            incomplete("Date must be in ISO-8601 'basic format' or, in the header Date, in RFC 7231's")
        })?;

        let signed_at = time::basic_format(signed_at_ms);
        check_scope(&scope, expected.service, &signed_at)?;
        check_skew(signed_at_ms, expected.now_ms)?;
        check_signed_headers(&signed_headers, parts.headers, dated_by)?;
        let body_hash = check_body_hash(parts)?;

        let canonical = canonical::request(parts, &signed_headers, &body_hash, expected.normalize_path);
        let string_to_sign =
            format!("{ALGORITHM}\n{signed_at}\n{}\n{}", scope.text(), keys::hex(&keys::sha256(&canonical)),);
        let session_token =
            single(parts.headers, &SECURITY_TOKEN)?.map(|token| SessionToken(token.to_owned()));
        Ok(Self { access_key_id, scope, signed_at_ms, session_token, string_to_sign, signature })
    }

    /// The id of the key the request says it was signed with; not proved before [`Presented::verify`].
    #[must_use]
    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    /// Compares the signature with that of `secret`, the secret of [`Presented::access_key_id`].
    ///
    /// # Errors
    ///
    /// `InvalidSignatureException` where the signature differs.
    pub fn verify(&self, secret: &[u8], keys: &SigningKeys) -> Result<Verified, WireError> {
        self.verify_kept(secret, keys).unwrap_or_else(|| self.verify_as(secret, secret, keys))
    }

    /// Compares the signature with that of `secret`; if it is right, what is derived is kept for
    /// [`Presented::verify_kept`] under `label`.
    ///
    /// # Errors
    ///
    /// `InvalidSignatureException` where the signature differs.
    pub fn verify_as(&self, label: &[u8], secret: &[u8], keys: &SigningKeys) -> Result<Verified, WireError> {
        let derived = Derived::of(label, secret, &self.scope);
        let verified = self.compare(&derived.key)?;
        keys.keep(derived);
        Ok(verified)
    }

    /// Compares the signature without the secret, if somebody has signed with it in this scope of late: `label` is what
    /// the signing key was kept under, and belongs to this secret and no other. `None` where none is kept.
    ///
    /// # Errors
    ///
    /// `InvalidSignatureException` where the signature differs.
    pub fn verify_kept(&self, label: &[u8], keys: &SigningKeys) -> Option<Result<Verified, WireError>> {
        keys.find(label, &self.scope).map(|key| self.compare(&key))
    }

    /// The refusal of a key that does not exist, at the cost of one that is in use.
    #[must_use]
    pub fn unknown(&self, keys: &SigningKeys) -> WireError {
        let computed = keys::hmac(&keys.nobodys(&self.scope)[..], self.string_to_sign.as_bytes());
        let _ = bool::from(computed.ct_eq(&self.signature));
        WireError::unknown_key()
    }

    fn compare(&self, key: &keys::SigningKey) -> Result<Verified, WireError> {
        let computed = keys::hmac(&key[..], self.string_to_sign.as_bytes());
        if !bool::from(computed.ct_eq(&self.signature)) {
            return Err(invalid(
                "The request signature we calculated does not match the signature you provided. Check your secret \
                 access key and signing method.",
            ));
        }
        Ok(Verified {
            access_key_id: self.access_key_id.clone(),
            region: self.scope.region.clone(),
            service: self.scope.service.clone(),
            signed_at_ms: self.signed_at_ms,
            session_token: self.session_token.clone(),
        })
    }
}

/// Signs what unknown keys ask for; as long as AWS's secrets are. Its signatures are computed and never accepted.
const NOBODYS_SECRET: &[u8] = b"0000000000000000000000000000000000000000";

fn refuse_presigned(query: &str) -> Result<(), WireError> {
    let presigned = query.split('&').any(|parameter| {
        let name = parameter.split('=').next().unwrap_or_default();
        let name = String::from_utf8_lossy(&canonical::percent_decode(name)).to_ascii_lowercase();
        ["x-amz-algorithm", "x-amz-credential", "x-amz-signature"].contains(&name.as_str())
    });
    if presigned { Err(incomplete("a signature in the query is not accepted here")) } else { Ok(()) }
}

fn check_scope(scope: &Scope, service: &str, signed_at: &str) -> Result<(), WireError> {
    if scope.terminator != "aws4_request" {
        let message = format!(
            "Credential should be scoped with a valid terminator: 'aws4_request', not '{}'.",
            scope.terminator
        );
        return Err(invalid(message));
    }
    if scope.service != service {
        return Err(invalid(format!("Credential should be scoped to correct service: '{service}'.")));
    }
    // Regions are names of ours, so any well-formed one will do; the bound keeps them storable.
    let well_formed = (1..=32).contains(&scope.region.len())
        && scope.region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !scope.region.starts_with('-')
        && !scope.region.ends_with('-');
    if !well_formed {
        return Err(invalid("Credential should be scoped to a valid region."));
    }
    if signed_at.get(..8) != Some(scope.date.as_str()) {
        return Err(invalid(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != \
             '{}', from '{signed_at}'.",
            scope.date,
            &signed_at[..8],
        )));
    }
    Ok(())
}

fn check_skew(signed_at_ms: i64, now_ms: i64) -> Result<(), WireError> {
    let basic = time::basic_format;
    if signed_at_ms < now_ms - MAX_SKEW_MS {
        return Err(invalid(format!(
            "Signature expired: {} is now earlier than {} ({} - 15 min.)",
            basic(signed_at_ms),
            basic(now_ms - MAX_SKEW_MS),
            basic(now_ms),
        )));
    }
    if signed_at_ms > now_ms + MAX_SKEW_MS {
        return Err(invalid(format!(
            "Signature not yet current: {} is still later than {} ({} + 15 min.)",
            basic(signed_at_ms),
            basic(now_ms + MAX_SKEW_MS),
            basic(now_ms),
        )));
    }
    Ok(())
}

fn check_signed_headers(
    signed: &[HeaderName],
    headers: &HeaderMap,
    dated_by: HeaderName,
) -> Result<(), WireError> {
    let unsigned =
        |name: &HeaderName| invalid(format!("'{name}' must be a 'SignedHeader' in the AWS Authorization."));
    for name in [HOST, dated_by] {
        if !signed.contains(&name) {
            return Err(unsigned(&name));
        }
    }
    if let Some(name) =
        headers.keys().find(|name| name.as_str().starts_with("x-amz-") && !signed.contains(name))
    {
        return Err(unsigned(name));
    }
    if let Some(missing) = signed.iter().find(|name| !headers.contains_key(*name)) {
        return Err(not_received(missing.as_str()));
    }
    single(headers, &HOST)?;
    Ok(())
}

/// The refusal of a header that is signed and was not received, such as one that has no name of a header.
fn not_received(name: &str) -> WireError {
    invalid(format!("the signed header '{name}' is not in the request"))
}

/// The hexadecimal SHA-256 of the body, which is also what the client says it is, where it says so.
fn check_body_hash(parts: SignedParts<'_>) -> Result<String, WireError> {
    let computed = keys::hex(&keys::sha256(parts.body));
    match single(parts.headers, &CONTENT_SHA256)? {
        Some(given) if given == "UNSIGNED-PAYLOAD" || given.starts_with("STREAMING-") => {
            Err(incomplete(format!("the payload '{given}' is not accepted here: sign the body")))
        }
        Some(given) if given != computed => {
            Err(invalid("the header x-amz-content-sha256 is not the hash of the body"))
        }
        _ => Ok(computed),
    }
}

/// The value of a header that may be there once, as text.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, WireError> {
    let mut values = headers.get_all(name).iter();
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(incomplete(format!("the header '{name}' is there twice")));
    }
    let text = first.map(|value| value.to_str()).transpose();
    text.map_err(|_| incomplete(format!("the header '{name}' is not ASCII")))
}

fn incomplete(message: impl Into<String>) -> WireError {
    WireError::new(ErrorCode::IncompleteSignature, message)
}

fn invalid(message: impl Into<String>) -> WireError {
    WireError::new(ErrorCode::InvalidSignature, message)
}
