//! New access keys: their ids, secrets and session tokens, all from the operating system's randomness.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use syncline_seams::Secret;
use uuid::Uuid;

/// An access key, whose secret is shown once.
pub(crate) struct Fresh {
    /// Its id.
    pub(crate) id: String,
    /// Its secret.
    pub(crate) secret: Secret,
}

impl Fresh {
    /// A key whose id begins with `prefix`: `AKIA` of a lasting one, `ASIA` of a temporary one.
    pub(crate) fn new(prefix: &str) -> Self {
        Self { id: new_id(prefix), secret: random_text(2) }
    }
}

/// An id as AWS's are: `prefix` and 16 capitals or digits.
pub(crate) fn new_id(prefix: &str) -> String {
    format!("{prefix}{}", &Uuid::new_v4().simple().to_string().to_uppercase()[..16])
}

/// The token that goes with a temporary key.
pub(crate) fn new_session_token() -> Secret {
    random_text(4)
}

/// A webhook's secret.
pub(crate) fn new_webhook_secret() -> Secret {
    random_text(2)
}

/// A webhook's secret that is also a signing key as the Standard Webhooks specification writes one: 32 bytes in base64.
pub(crate) fn new_signing_key() -> Secret {
    let bytes = random_bytes(2);
    Secret::new(format!("whsec_{}", STANDARD.encode(bytes.expose())))
}

/// As many times 122 random bits in base64.
fn random_text(parts: usize) -> Secret {
    Secret::new(URL_SAFE_NO_PAD.encode(random_bytes(parts).expose()))
}

fn random_bytes(parts: usize) -> Secret<Vec<u8>> {
    (0..parts).flat_map(|_| Uuid::new_v4().into_bytes()).collect::<Vec<_>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_look_like_aws_s() {
        let key = Fresh::new("AKIA");
        assert_eq!(key.id.len(), 20);
        assert!(
            key.id.starts_with("AKIA")
                && key.id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        );
        assert_eq!(key.secret.expose().len(), 43);
        assert_ne!(key.secret, Fresh::new("AKIA").secret);
        assert_eq!(new_session_token().expose().len(), 86);
        assert_eq!(new_webhook_secret().expose().len(), 43);
        let key = new_signing_key();
        let bytes = key.expose().strip_prefix("whsec_").and_then(|key| STANDARD.decode(key).ok());
        assert_eq!(bytes.expect("base64").len(), 32);
    }
}
