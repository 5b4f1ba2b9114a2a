//! Master keys: what seals the data keys. They are never stored.

use std::fmt::{self, Write as _};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use syncline_seams::Secret;

use super::sealed::{Key, KeyId, from_hex};
use crate::{StoreError, StoreResult};

/// The most keys a keyring may hold: more are no rotation any more.
const MAX_KEYS: usize = 32;
/// The longest text of a keyring, in bytes.
const MAX_BYTES: usize = 16 * 1024;
const MAX_LABEL_BYTES: usize = 64;

/// Where the master keys come from.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// A file, made with one new key where the database holds nothing sealed yet.
    File(PathBuf),
    /// Somewhere else; read already.
    Given(MasterKeys),
}

impl From<&Path> for KeySource {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl From<&PathBuf> for KeySource {
    fn from(path: &PathBuf) -> Self {
        Self::File(path.clone())
    }
}

impl From<MasterKeys> for KeySource {
    fn from(keys: MasterKeys) -> Self {
        Self::Given(keys)
    }
}

impl KeySource {
    /// How it is named in messages, as in the settings.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File(path) => format!("file:{}", path.display()),
            Self::Given(keys) => keys.source.clone(),
        }
    }

    /// The keys; `None` if they would be in a file that does not exist.
    pub(super) fn read(&self) -> StoreResult<Option<MasterKeys>> {
        let path = match self {
            Self::Given(keys) => return Ok(Some(keys.clone())),
            Self::File(path) => path,
        };
        let mut text = String::with_capacity(MAX_BYTES + 1);
        let most = u64::try_from(MAX_BYTES + 1).unwrap_or(u64::MAX);
        match fs::File::open(path).and_then(|file| file.take(most).read_to_string(&mut text)) {
            Ok(_) => {
                let text = Secret::new(text);
                refuse_if_others_may_read(path)?;
                MasterKeys::parse(&self.name(), &text).map(Some)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::Key(format!("cannot read {}: {error}", path.display()))),
        }
    }

    /// Makes the file with one new key, and reads it.
    pub(super) fn make(&self) -> StoreResult<MasterKeys> {
        if let Self::File(path) = self {
            write_key(path, &Key::random().bytes)
                .map_err(|error| StoreError::Key(format!("cannot make {}: {error}", path.display())))?;
        }
        self.read()?.ok_or_else(|| StoreError::Key(format!("{} vanished", self.name())))
    }
}

/// One or more master keys. The first seals; the others still open what they sealed.
#[derive(Clone)]
pub struct MasterKeys {
    source: String,
    keys: Vec<MasterKey>,
}

#[derive(Clone)]
struct MasterKey {
    label: Option<String>,
    key: Key,
}

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKeys({}, {:?})", self.source, self.ids().collect::<Vec<_>>())
    }
}

impl MasterKeys {
    /// Reads keys from a text that came from `source`: one a line, 64 hexadecimal digits, with a label and a colon
    /// before them or not. Empty lines and lines that begin with `#` count for nothing.
    ///
    /// # Errors
    /// [`StoreError::Key`] with the source and the line, never with what is in it.
    pub fn parse(source: &str, text: &Secret) -> StoreResult<Self> {
        let refused = |why: String| StoreError::Key(format!("the keyring {source}: {why}"));
        if text.expose().len() > MAX_BYTES {
            return Err(refused(format!("it is longer than {MAX_BYTES} bytes")));
        }
        let mut keys: Vec<MasterKey> = Vec::new();
        for (index, line) in text.expose().lines().enumerate() {
            let (number, line) = (index + 1, line.trim());
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (label, digits) = match line.rsplit_once(':') {
                Some((label, digits)) => (Some(label.trim()), digits.trim()),
                None => (None, line),
            };
            let bytes = from_hex(digits)
                .ok_or_else(|| refused(format!("line {number} does not hold 64 hexadecimal digits")))?;
            if label.is_some_and(|label| !is_label(label)) {
                return Err(refused(format!(
                    "line {number}: the label before ':' must have 1 to 64 letters, digits, '.', '_' and '-'"
                )));
            }
            let new = MasterKey { label: label.map(str::to_owned), key: Key::master(bytes) };
            if keys.iter().any(|old| old.key.id == new.key.id) {
                return Err(refused(format!("line {number} repeats a key")));
            }
            if new.label.is_some() && keys.iter().any(|old| old.label == new.label) {
                return Err(refused(format!("line {number} repeats a label")));
            }
            keys.push(new);
        }
        match keys.len() {
            0 => Err(refused("it does not hold 64 hexadecimal digits".to_owned())),
            1..=MAX_KEYS => Ok(Self { source: source.to_owned(), keys }),
            more => Err(refused(format!("it holds {more} keys; {MAX_KEYS} are the most"))),
        }
    }

    /// Where they come from.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// The one that seals.
    pub(super) fn first(&self) -> &Key {
        &self.keys[0].key
    }

    pub(super) fn find(&self, id: KeyId) -> Option<&Key> {
        self.keys.iter().map(|master| &master.key).find(|key| key.id == id)
    }

    /// Their ids, the sealing one first.
    pub(super) fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.keys.iter().map(|master| master.key.id)
    }

    /// Ids and labels.
    pub(super) fn named(&self) -> impl Iterator<Item = (KeyId, Option<&str>)> {
        self.keys.iter().map(|master| (master.key.id, master.label.as_deref()))
    }
}

fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL_BYTES).contains(&label.len())
        && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

/// Makes the file whole or not at all: half a key would keep every later start from making one.
fn write_key(path: &Path, key: &Secret<[u8; 32]>) -> io::Result<()> {
    let mut line = String::with_capacity(2 * key.expose().len() + 1);
    // Writing to a string cannot fail.
    let _ = key.expose().iter().try_for_each(|byte| write!(line, "{byte:02x}"));
    line.push('\n');
    let line = Secret::new(line);
    let mut scratch = path.as_os_str().to_owned();
    scratch.push(format!(".{}", KeyId::random()));
    let scratch = PathBuf::from(scratch);
    let written = (|| {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&scratch)?;
        file.write_all(line.expose().as_bytes())?;
        file.sync_all()?;
        match fs::hard_link(&scratch, path) {
            // Somebody else was first; theirs counts.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            // A file system without hard links.
            Err(_) if !path.exists() => fs::rename(&scratch, path),
            linked => linked,
        }
    })();
    let _ = fs::remove_file(&scratch);
    written?;
    // The name must survive a crash too: without it every sealed secret would be lost.
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    fs::File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn refuse_if_others_may_read(path: &Path) -> StoreResult<()> {
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
