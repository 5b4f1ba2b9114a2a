//! Certificate bundles: the machine's roots and one remote's extra root, in a file for git.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::error::{GitError, internal};

/// Where the usual distributions and macOS keep their bundle.
const SYSTEM_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Writes the bundle of the machine's roots and `extra` below `directory`, once per content; answers its
/// path.
pub(crate) fn bundle(directory: &Path, extra: &str) -> Result<PathBuf, GitError> {
    if !extra.contains("-----BEGIN CERTIFICATE-----") {
        return Err(internal("the extra root certificate cannot be used", "it is not in PEM"));
    }
    let system = SYSTEM_BUNDLES.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default();
    let mut content = system;
    content.push(b'\n');
    content.extend_from_slice(extra.as_bytes());
    content.push(b'\n');
    let path = directory.join(format!("{}.pem", hex(&Sha256::digest(&content))));
    let is_there = std::fs::read(&path).is_ok_and(|found| found == content);
    if !is_there {
        write_whole(&path, &content)
            .map_err(|error| internal("the root certificates cannot be written", error))?;
    }
    Ok(path)
}

/// Writes a file so that nobody ever sees half of it.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().ok_or_else(|| io::Error::other("a path without a directory"))?;
    std::fs::create_dir_all(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    io::Write::write_all(&mut file, content)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
