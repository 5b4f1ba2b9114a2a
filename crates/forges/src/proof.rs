//! Whether a request was sent by who knows the webhook's secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use http::HeaderMap;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use syncline_seams::Secret;

use crate::received::header;
use crate::{Forge, Received, azure_devops, bitbucket, git, gitea, github, gitlab};

/// A request as it arrived.
#[derive(Debug, Clone, Copy)]
pub struct Request<'r> {
    /// Its headers.
    pub headers: &'r HeaderMap,
    /// The bytes of its body.
    pub body: &'r [u8],
    /// The time, in milliseconds since the Unix epoch.
    pub now_ms: i64,
}

/// A request whose proof was found right. There is no other way to what its body says.
#[derive(Debug, Clone, Copy)]
pub struct Proven<'r> {
    forge: Forge,
    request: Request<'r>,
}

/// Checks a request's proof against every secret that counts. `None` if it is missing, ambiguous or wrong.
///
/// The time it takes depends on the lengths of what is compared, not on what it is.
#[must_use]
pub fn verify<'r>(forge: Forge, request: Request<'r>, secrets: &[Secret<Vec<u8>>]) -> Option<Proven<'r>> {
    let is_right = secrets.iter().fold(false, |is_right, secret| {
        let secret = secret.expose();
        let by_this = match forge {
            Forge::AzureDevOps => is_basic(request.headers, secret),
            Forge::Bitbucket => is_signed(request, "x-hub-signature", "sha256=", secret),
            Forge::Git | Forge::GitHub => is_signed(request, "x-hub-signature-256", "sha256=", secret),
            Forge::GitLab => gitlab::is_proven(request, secret),
            Forge::Gitea => is_signed(request, "x-gitea-signature", "", secret),
        };
        is_right | by_this
    });
    is_right.then_some(Proven { forge, request })
}

/// Does what [`verify`] would do for a webhook that does not exist.
pub fn decoy(request: Request<'_>) {
    let _ = is_signed(request, "x-hub-signature-256", "sha256=", b"nobody's");
}

impl Proven<'_> {
    /// What the event says. It is of the link's repository or not: whoever asks compares.
    #[must_use]
    pub fn read(&self) -> Received {
        let Request { headers, body, .. } = self.request;
        match self.forge {
            Forge::AzureDevOps => azure_devops::read(body),
            Forge::Bitbucket => bitbucket::read(headers, body),
            Forge::Git => git::read(headers),
            Forge::GitHub => github::read(headers, body),
            Forge::GitLab => gitlab::read(headers, body),
            Forge::Gitea => gitea::read(headers, body),
        }
    }
}

/// HMAC-SHA256 of the parts, one after the other.
pub(crate) fn hmac(secret: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any length");
    for part in parts {
        mac.update(part);
    }
    mac
}

/// Whether a header is `prefix` and the HMAC of the body in hexadecimal.
fn is_signed(request: Request<'_>, name: &str, prefix: &str, secret: &[u8]) -> bool {
    let given = header(request.headers, name).and_then(|value| unhex(value.trim().strip_prefix(prefix)?));
    let mac = hmac(secret, &[request.body]);
    // What is no signature is compared as well, so that it is not told sooner than a wrong one.
    mac.verify_slice(given.as_deref().unwrap_or_default()).is_ok()
}

/// Whether the password of HTTP Basic is the secret, whatever the user's name.
fn is_basic(headers: &HeaderMap, secret: &[u8]) -> bool {
    let password = header(headers, "authorization").and_then(|value| {
        let (scheme, credentials) = value.trim().split_once(' ')?;
        let decoded =
            STANDARD.decode(credentials.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        Some(decoded[colon + 1..].to_vec())
    });
    is_same(password.as_deref().unwrap_or_default(), secret)
}

/// Compares in a time that depends on the lengths only; an empty secret is nobody's.
pub(crate) fn is_same(given: &[u8], secret: &[u8]) -> bool {
    !secret.is_empty() && bool::from(given.ct_eq(secret))
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    let of = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(of(*high)? << 4 | of(*low)?)).collect()
}
