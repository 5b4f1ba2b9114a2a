//! Derived signing keys, and the hashes everything is made of.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::authorization::Scope;

type SigningKey = Zeroizing<[u8; 32]>;

/// The signing keys derived of late: a key is good for one date, region and service.
///
/// They are kept under a hash of secret and scope, so that a key whose secret was replaced is not found.
#[derive(Debug)]
pub struct SigningKeys {
    capacity: usize,
    derived: Mutex<HashMap<[u8; 32], SigningKey>>,
}

impl SigningKeys {
    /// A cache of at most `capacity` keys, of about 100 bytes each.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity, derived: Mutex::new(HashMap::new()) }
    }

    pub(super) fn derive(&self, secret: &[u8], scope: &Scope) -> SigningKey {
        let mut hasher = Sha256::new();
        hasher.update((secret.len() as u64).to_be_bytes());
        hasher.update(secret);
        hasher.update(scope.text().as_bytes());
        let id: [u8; 32] = hasher.finalize().into();
        // The map is whole between any two statements, so a panic elsewhere spoils nothing.
        let mut derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = derived.get(&id) {
            return key.clone();
        }
        let key = derive(secret, scope);
        // Scopes change once a day; starting afresh is cheaper than keeping an order.
        if derived.len() >= self.capacity {
            derived.clear();
        }
        derived.insert(id, key.clone());
        key
    }
}

impl Default for SigningKeys {
    fn default() -> Self {
        Self::new(1024)
    }
}

fn derive(secret: &[u8], scope: &Scope) -> SigningKey {
    let mut seed = Zeroizing::new(Vec::with_capacity(4 + secret.len()));
    seed.extend_from_slice(b"AWS4");
    seed.extend_from_slice(secret);
    let mut key = hmac(&seed, scope.date.as_bytes());
    for part in [&scope.region, &scope.service, &scope.terminator] {
        key = hmac(&key[..], part.as_bytes());
    }
    Zeroizing::new(key)
}

pub(super) fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(2 * bytes.len());
    for b in bytes {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{b:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(region: &str) -> Scope {
        let [date, region, service, terminator] =
            ["20150830", region, "iam", "aws4_request"].map(str::to_owned);
        Scope { date, region, service, terminator }
    }

    #[test]
    fn the_cache_is_bounded_and_forgets_replaced_secrets() {
        let keys = SigningKeys::new(4);
        let first = keys.derive(b"one", &scope("r0"));
        assert_eq!(first, keys.derive(b"one", &scope("r0")));
        assert_ne!(first, keys.derive(b"two", &scope("r0")));
        for i in 0..100 {
            keys.derive(b"one", &scope(&format!("r{i}")));
            assert!(keys.derived.lock().expect("not poisoned").len() <= 4);
        }
        assert_eq!(first, keys.derive(b"one", &scope("r0")));
    }
}
