//! Derived signing keys, and the hashes everything is made of.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::NOBODYS_SECRET;
use super::authorization::Scope;

pub(super) type SigningKey = Zeroizing<[u8; 32]>;

/// The signing keys derived of late: a key is good for one date, region and service.
///
/// They are kept under a hash of scope and label, which is the secret, or what else belongs to no other secret (as what it
/// was sealed into), so that a key whose secret was replaced is not found. Only a signature that proved right adds one:
/// who cannot sign drives nobody's out. What is derived for keys that do not
/// exist is kept apart, so that they cost what a key costs that is in use.
#[derive(Debug)]
pub struct SigningKeys {
    capacity: usize,
    kept: Mutex<Kept>,
    nobodys: Mutex<Kept>,
}

/// How many signing keys of [`NOBODYS_SECRET`] are kept: more regions than anybody uses in good faith.
const NOBODYS: usize = 64;

#[derive(Debug, Default)]
struct Kept {
    by_id: HashMap<Id, SigningKey>,
    /// The same, the oldest first.
    in_order: VecDeque<Id>,
}

/// A hash of label and scope.
type Id = [u8; 32];

/// A signing key that is not kept yet.
pub(super) struct Derived {
    id: Id,
    pub(super) key: SigningKey,
}

impl SigningKeys {
    /// A cache of at most `capacity` keys, of about 150 bytes each.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity, kept: Mutex::default(), nobodys: Mutex::default() }
    }

    /// The signing key that is kept under label and scope.
    pub(super) fn find(&self, label: &[u8], scope: &Scope) -> Option<SigningKey> {
        // Both parts are whole again before anything can panic.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).by_id.get(&id(label, scope)).cloned()
    }

    /// What a key that does not exist is verified with, at the cost of one that is in use.
    pub(super) fn nobodys(&self, scope: &Scope) -> SigningKey {
        let id = id(NOBODYS_SECRET, scope);
        let found = self.nobodys.lock().unwrap_or_else(PoisonError::into_inner).by_id.get(&id).cloned();
        found.unwrap_or_else(|| {
            let key = derive(NOBODYS_SECRET, scope);
            self.nobodys.lock().unwrap_or_else(PoisonError::into_inner).keep(id, key.clone(), NOBODYS);
            key
        })
    }

    /// Keeps a key with which somebody proved that he knows the secret, for the oldest one if there is no room.
    pub(super) fn keep(&self, derived: Derived) {
        if self.capacity == 0 {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.keep(derived.id, derived.key, self.capacity);
    }
}

impl Derived {
    /// The signing key of secret and scope, to be kept under the label.
    pub(super) fn of(label: &[u8], secret: &[u8], scope: &Scope) -> Self {
        Self { id: id(label, scope), key: derive(secret, scope) }
    }
}

impl Kept {
    fn keep(&mut self, id: Id, key: SigningKey, capacity: usize) {
        if self.by_id.insert(id, key).is_some() {
            return;
        }
        self.in_order.push_back(id);
        if self.in_order.len() > capacity
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.by_id.remove(&oldest);
        }
    }
}

fn id(label: &[u8], scope: &Scope) -> Id {
    let mut hasher = Sha256::new();
    hasher.update((label.len() as u64).to_be_bytes());
    hasher.update(label);
    hasher.update(scope.text().as_bytes());
    hasher.finalize().into()
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

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hex = Vec::with_capacity(2 * bytes.len());
    for b in bytes {
        hex.extend([DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]);
    }
    String::from_utf8(hex).expect("digits are ASCII")
}

#[cfg(test)]
mod tests {
    use super::super::Presented;
    use super::*;

    fn scope(region: &str) -> Scope {
        let [date, region, service, terminator] =
            ["20150830", region, "iam", "aws4_request"].map(str::to_owned);
        Scope { date, region, service, terminator }
    }

    #[test]
    fn the_cache_is_bounded_and_forgets_the_oldest_and_replaced_secrets() {
        let keys = SigningKeys::new(4);
        let is_kept = |secret: &[u8], region: &str| keys.find(secret, &scope(region)).is_some();
        let first = Derived::of(b"one", b"one", &scope("r0"));
        let key = first.key.clone();
        assert!(!is_kept(b"one", "r0"), "nobody has proved anything with it");
        keys.keep(first);
        keys.keep(Derived::of(b"one", b"one", &scope("r0")));
        assert!(is_kept(b"one", "r0") && !is_kept(b"two", "r0"));
        assert_eq!(Some(&key), keys.find(b"one", &scope("r0")).as_ref());
        assert_ne!(key, Derived::of(b"two", b"two", &scope("r0")).key);
        for i in 1..100 {
            keys.keep(Derived::of(b"one", b"one", &scope(&format!("r{i}"))));
            let kept = keys.kept.lock().expect("not poisoned");
            assert_eq!((kept.by_id.len(), kept.in_order.len()), (4.min(i + 1), 4.min(i + 1)));
        }
        assert_eq!([96, 95, 0].map(|i| is_kept(b"one", &format!("r{i}"))), [true, false, false]);
        assert_eq!(key, Derived::of(b"one", b"one", &scope("r0")).key);
    }

    #[test]
    fn two_who_derive_the_same_key_keep_it_once() {
        let keys = SigningKeys::new(4);
        let [one, other] = [(), ()].map(|()| Derived::of(b"one", b"one", &scope("r0")));
        keys.keep(one);
        keys.keep(other);
        let kept = keys.kept.lock().expect("not poisoned");
        assert_eq!((kept.by_id.len(), kept.in_order.len()), (1, 1));
    }

    #[test]
    fn only_a_right_signature_has_its_key_kept() {
        let keys = SigningKeys::new(4);
        let message = "a string to sign";
        let presented = |secret: &[u8]| Presented {
            access_key_id: "AKIA".to_owned(),
            scope: scope("r0"),
            signed_at_ms: 0,
            session_token: None,
            string_to_sign: message.to_owned(),
            signature: hmac(&derive(secret, &scope("r0"))[..], message.as_bytes()),
        };
        let kept = || keys.kept.lock().expect("not poisoned").by_id.len();
        assert!(presented(b"a guess").verify(b"a secret", &keys).is_err());
        let _ = presented(b"a guess").unknown(&keys);
        let _ = presented(NOBODYS_SECRET).unknown(&keys);
        assert_eq!(kept(), 0);
        assert!(presented(b"a secret").verify(b"a secret", &keys).is_ok());
        assert_eq!(kept(), 1);
        assert!(presented(b"a guess").verify_as(b"sealed", b"a secret", &keys).is_err());
        assert!(presented(b"a secret").verify_kept(b"sealed", &keys).is_none());
        assert!(presented(b"a secret").verify_as(b"sealed", b"a secret", &keys).is_ok());
        let found = |signed_with| {
            let verified = presented(signed_with).verify_kept(b"sealed", &keys);
            verified.map(|verified| verified.is_ok())
        };
        assert_eq!((found(b"a secret"), found(b"a guess")), (Some(true), Some(false)));
        assert!(presented(b"a secret").verify_kept(b"sealed anew", &keys).is_none());
        assert_eq!(kept(), 2);
        for i in 0..2 * NOBODYS {
            keys.nobodys(&scope(&format!("r{i}")));
        }
        assert_eq!(keys.nobodys.lock().expect("not poisoned").by_id.len(), NOBODYS);
        assert_eq!(kept(), 2, "keys that do not exist drive none out");
    }
}
