//! Sealing of secrets at rest.
//!
//! A sealed value is `0x01 | key id (8 bytes) | nonce (24 bytes) | XChaCha20-Poly1305 ciphertext`. The
//! associated data names the account and the ARN of the row it belongs to, so a value copied into another
//! row does not open.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use chacha20poly1305::aead::{Aead, AeadCore, KeyInit, OsRng, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::StoreError;

const FORMAT: u8 = 1;
const KEY_ID_LEN: usize = 8;
const NONCE_LEN: usize = 24;

/// The key that seals secrets at rest.
pub struct Keyring {
    cipher: XChaCha20Poly1305,
    key_id: [u8; KEY_ID_LEN],
    token_key: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyring(***)")
    }
}

impl Keyring {
    /// Opens the key file at `path` (32 bytes as 64 hexadecimal digits), making it with mode 0600 if there is
    /// none yet.
    ///
    /// # Errors
    /// [`StoreError::Key`] if the file cannot be read or made, is readable by others, or does not hold a key.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        match fs::read_to_string(path) {
            Ok(text) => {
                refuse_if_others_may_read(path)?;
                let key = parse_key(text.trim()).ok_or_else(|| {
                    StoreError::Key(format!("{} does not hold 64 hexadecimal digits", path.display()))
                })?;
                Ok(Self::from_key(&key))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let key: Zeroizing<[u8; 32]> =
                    Zeroizing::new(XChaCha20Poly1305::generate_key(&mut OsRng).into());
                write_key(path, &key)
                    .map_err(|error| StoreError::Key(format!("cannot make {}: {error}", path.display())))?;
                Ok(Self::from_key(&key))
            }
            Err(error) => Err(StoreError::Key(format!("cannot read {}: {error}", path.display()))),
        }
    }

    /// A keyring of the given key.
    #[must_use]
    pub fn from_key(key: &[u8; 32]) -> Self {
        let derive = |label: &[u8]| Sha256::new().chain_update(label).chain_update(key).finalize();
        let mut key_id = [0; KEY_ID_LEN];
        key_id.copy_from_slice(&derive(b"syncline key id\0")[..KEY_ID_LEN]);
        Self {
            cipher: XChaCha20Poly1305::new(key.into()),
            key_id,
            token_key: Zeroizing::new(derive(b"syncline page tokens\0").into()),
        }
    }

    /// The key that authenticates paging tokens; derived, so that it opens no sealed secret.
    #[must_use]
    pub fn token_key(&self) -> &[u8; 32] {
        &self.token_key
    }

    /// Seals `secret` for the row named by `owner`.
    ///
    /// # Errors
    /// [`StoreError::Key`] if the cipher refuses (a secret beyond 256 GiB).
    pub fn seal(&self, owner: &Owner<'_>, secret: &[u8]) -> Result<Vec<u8>, StoreError> {
        let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
        let sealed = self
            .cipher
            .encrypt(&nonce, Payload { msg: secret, aad: owner.associated_data().as_bytes() })
            .map_err(|_| StoreError::Key("the secret cannot be sealed".into()))?;
        let mut out = Vec::with_capacity(1 + KEY_ID_LEN + NONCE_LEN + sealed.len());
        out.push(FORMAT);
        out.extend_from_slice(&self.key_id);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        Ok(out)
    }

    /// Opens what [`Keyring::seal`] sealed for the same row.
    ///
    /// # Errors
    /// [`StoreError::Key`] if it was sealed with another key, for another row, or was changed.
    pub fn open_sealed(&self, owner: &Owner<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let refused = |why: &str| StoreError::Key(format!("the secret of {} {why}", owner.arn));
        let head = 1 + KEY_ID_LEN + NONCE_LEN;
        if sealed.len() < head || sealed[0] != FORMAT {
            return Err(refused("is not in a known format"));
        }
        if sealed[1..=KEY_ID_LEN] != self.key_id {
            return Err(refused("was sealed with another key than the key file's"));
        }
        let nonce = XNonce::from_slice(&sealed[1 + KEY_ID_LEN..head]);
        self.cipher
            .decrypt(nonce, Payload { msg: &sealed[head..], aad: owner.associated_data().as_bytes() })
            .map(Zeroizing::new)
            .map_err(|_| refused("does not belong to this row or was changed"))
    }
}

/// The row a secret belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The account.
    pub account: &'a str,
    /// The ARN of the resource.
    pub arn: &'a str,
}

impl Owner<'_> {
    fn associated_data(&self) -> String {
        format!("{}\n{}", self.account, self.arn)
    }
}

fn parse_key(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(key)
}

fn write_key(path: &Path, key: &[u8; 32]) -> std::io::Result<()> {
    let text: Zeroizing<String> = Zeroizing::new(key.iter().map(|byte| format!("{byte:02x}")).collect());
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    // The name must survive a crash too: without it every sealed secret would be lost.
    if let Some(directory) = path.parent() {
        fs::File::open(directory)?.sync_all()?;
    }
    Ok(())
}

fn refuse_if_others_may_read(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::MetadataExt;
    let mode = fs::metadata(path)
        .map_err(|error| StoreError::Key(format!("cannot read {}: {error}", path.display())))?
        .mode();
    if mode & 0o077 != 0 {
        return Err(StoreError::Key(format!(
            "{} may be read by others (mode {:o}): run chmod 600 on it",
            path.display(),
            mode & 0o777
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Owner<'_> = Owner { account: "111111111111", arn: "arn:a" };

    #[test]
    fn a_secret_opens_only_in_its_own_row() {
        let keyring = Keyring::from_key(&[7; 32]);
        let sealed = keyring.seal(&A, b"token").expect("sealed");
        assert!(!sealed.windows(5).any(|window| window == b"token"));
        assert_eq!(&**keyring.open_sealed(&A, &sealed).expect("opened"), b"token");

        let other_row = Owner { arn: "arn:b", ..A };
        let other_account = Owner { account: "222222222222", ..A };
        assert!(keyring.open_sealed(&other_row, &sealed).is_err());
        assert!(keyring.open_sealed(&other_account, &sealed).is_err());
        assert!(Keyring::from_key(&[8; 32]).open_sealed(&A, &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(keyring.open_sealed(&A, &changed).is_err(), "byte {at} changed");
        }
        assert!(keyring.open_sealed(&A, &[]).is_err());
    }

    #[test]
    fn the_key_file_is_made_once_and_must_be_private() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("keyring");
        let sealed = Keyring::open(&path).expect("made").seal(&A, b"token").expect("sealed");
        let again = Keyring::open(&path).expect("read");
        assert_eq!(&**again.open_sealed(&A, &sealed).expect("opened"), b"token");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod");
        let error = Keyring::open(&path).expect_err("others may read it").to_string();
        assert!(error.contains("chmod 600"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        fs::write(&path, "nonsense").expect("write");
        assert!(Keyring::open(&path).is_err());
    }
}
