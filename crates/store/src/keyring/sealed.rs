//! The layout of sealed values, and the cipher.
//!
//! A sealed value is `format (1 byte) | key id (8 bytes) | nonce (24 bytes) | XChaCha20-Poly1305 ciphertext`.
//! What a value belongs to is its associated data; of the formats from 2 on, so are the format and the key id.

use std::fmt;
use std::str::FromStr;

use chacha20poly1305::aead::{Aead, AeadCore, KeyInit, OsRng, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};
use syncline_seams::Secret;

use crate::StoreError;

const NONCE_LEN: usize = 24;
/// How many bytes of a sealed value name its format and its key.
pub(super) const HEAD_LEN: usize = 1 + KeyId::LEN;

/// What a sealed value holds and which kind of key sealed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Format {
    /// A secret, sealed by the master key itself. Only opened: versions before data keys made it.
    SecretByMaster = 1,
    /// A secret, sealed by a data key.
    Secret = 2,
    /// A data key, sealed by a master key.
    DataKey = 3,
}

/// Names a key without telling anything about it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; Self::LEN]);

impl KeyId {
    const LEN: usize = 8;

    /// An id that no other key has.
    pub(super) fn random() -> Self {
        let random = XChaCha20Poly1305::generate_key(&mut OsRng);
        Self::first_of(&random)
    }

    fn first_of(bytes: &[u8]) -> Self {
        let mut id = [0; Self::LEN];
        id.copy_from_slice(&bytes[..Self::LEN]);
        Self(id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyId {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let id = from_hex(text).ok_or_else(|| StoreError::Corrupt(format!("'{text}' is no key id")))?;
        Ok(Self(*id.expose()))
    }
}

/// A key with its id.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) id: KeyId,
    pub(super) bytes: Secret<[u8; 32]>,
}

impl Key {
    /// A new data key.
    pub(super) fn random() -> Self {
        let bytes: [u8; 32] = XChaCha20Poly1305::generate_key(&mut OsRng).into();
        Self { id: KeyId::random(), bytes: Secret::from(bytes) }
    }

    /// A master key: its id is a digest of it, so that a key cannot be taken for another one.
    pub(super) fn master(bytes: Secret<[u8; 32]>) -> Self {
        let digest = Sha256::new().chain_update(b"syncline key id\0").chain_update(bytes.expose()).finalize();
        Self { id: KeyId::first_of(&digest), bytes }
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.bytes.expose().into())
    }

    /// Seals `plain` for what `owner` names.
    pub(super) fn seal(&self, format: Format, owner: &str, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
        let mut sealed = Vec::with_capacity(HEAD_LEN + NONCE_LEN + plain.len() + 16);
        sealed.push(format as u8);
        sealed.extend_from_slice(&self.id.0);
        sealed.extend_from_slice(&nonce);
        let aad = associated(format, self.id, owner);
        let body = self
            .cipher()
            .encrypt(&nonce, Payload { msg: plain, aad: &aad })
            .map_err(|_| StoreError::Key("the secret cannot be sealed".into()))?;
        sealed.extend_from_slice(&body);
        Ok(sealed)
    }

    /// Opens what this key sealed for the same owner; `None` if it did not, or the value was changed.
    pub(super) fn open(&self, sealed: &Sealed<'_>, owner: &str) -> Option<Secret<Vec<u8>>> {
        let aad = associated(sealed.format, sealed.key, owner);
        let payload = Payload { msg: sealed.body, aad: &aad };
        self.cipher().decrypt(XNonce::from_slice(sealed.nonce), payload).ok().map(Secret::from)
    }
}

fn associated(format: Format, key: KeyId, owner: &str) -> Vec<u8> {
    let mut aad = Vec::with_capacity(32 + owner.len());
    if format != Format::SecretByMaster {
        aad.extend_from_slice(b"syncline\0");
        aad.push(format as u8);
        aad.extend_from_slice(&key.0);
    }
    aad.extend_from_slice(owner.as_bytes());
    aad
}

/// A sealed value taken apart.
#[derive(Debug)]
pub(super) struct Sealed<'a> {
    pub(super) format: Format,
    pub(super) key: KeyId,
    nonce: &'a [u8],
    body: &'a [u8],
}

impl<'a> Sealed<'a> {
    /// `None` for what is in no known format.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (format, key) = head(bytes)?;
        let (nonce, body) = bytes[HEAD_LEN..].split_at_checked(NONCE_LEN)?;
        Some(Self { format, key, nonce, body })
    }
}

/// The format and the key of a sealed value, of which the first bytes are enough.
pub(super) fn head(bytes: &[u8]) -> Option<(Format, KeyId)> {
    let formats = [Format::SecretByMaster, Format::Secret, Format::DataKey];
    let format = formats.into_iter().find(|format| bytes.first() == Some(&(*format as u8)))?;
    Some((format, KeyId::first_of(bytes.get(1..HEAD_LEN)?)))
}

/// The first bytes of what a data key seals.
pub(super) fn head_of(key: KeyId) -> Vec<u8> {
    let mut head = vec![Format::Secret as u8];
    head.extend_from_slice(&key.0);
    head
}

/// As many bytes as asked for, from twice as many hexadecimal digits.
pub(super) fn from_hex<const N: usize>(text: &str) -> Option<Secret<[u8; N]>> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(Secret::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_opens_with_its_own_key_for_its_own_owner_and_unchanged() {
        for format in [Format::SecretByMaster, Format::Secret, Format::DataKey] {
            let key = Key::random();
            let sealed = key.seal(format, "111\narn:a", b"token").expect("sealed");
            let open = |key: &Key, owner: &str, bytes: &[u8]| {
                Sealed::parse(bytes).and_then(|sealed| key.open(&sealed, owner))
            };
            assert_eq!(open(&key, "111\narn:a", &sealed).expect("opened").expose(), b"token");
            assert!(open(&key, "111\narn:b", &sealed).is_none(), "another owner");
            let another = Key { id: key.id, bytes: Key::random().bytes };
            assert!(open(&another, "111\narn:a", &sealed).is_none(), "another key under the same id");
            for at in 0..sealed.len() {
                for bit in 0..8 {
                    let mut changed = sealed.clone();
                    changed[at] ^= 1 << bit;
                    let opened = open(&key, "111\narn:a", &changed);
                    // Of the first format the key id is no associated data: it only chooses the key.
                    let chooses = format == Format::SecretByMaster && (1..HEAD_LEN).contains(&at);
                    assert!(opened.is_none() || chooses, "{format:?}: bit {bit} of byte {at} changed");
                }
            }
            for length in 0..sealed.len() {
                assert!(open(&key, "111\narn:a", &sealed[..length]).is_none(), "{length} bytes");
            }
        }
    }

    #[test]
    fn key_ids_are_sixteen_digits() {
        let id = KeyId::random();
        assert_eq!(id.to_string().parse::<KeyId>().expect("an id"), id);
        for bad in ["", "0", "00112233445566", "0011223344556677 ", "+011223344556677"] {
            assert!(bad.parse::<KeyId>().is_err(), "{bad}");
        }
    }
}
