//! OpenSSH's server: the one of this machine, or the one that the test environment unpacked.

use std::path::{Path, PathBuf};

use crate::{folder_of, test_env, told};

/// Where systems have it.
const INSTALLED: &[&str] =
    &["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd", "/opt/homebrew/sbin/sshd"];

/// An OpenSSH server and what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSsh {
    /// The server program.
    pub sshd: PathBuf,
    /// Folders of shared libraries that the system does not have.
    pub libraries: Vec<PathBuf>,
    /// `libnss_wrapper`, by which the server is told of users that the system does not have.
    pub users: Option<PathBuf>,
}

/// The server; `None` when there is none.
#[must_use]
pub fn openssh() -> Option<OpenSsh> {
    let unpacked =
        folder_of(test_env().as_deref(), "openssh").ok().and_then(|folder| unpacked(&folder.join("root")));
    let installed = || INSTALLED.iter().map(PathBuf::from).find(|path| path.is_file());
    let found =
        unpacked.or_else(|| installed().map(|sshd| OpenSsh { sshd, libraries: Vec::new(), users: None }));
    told(found.ok_or_else(|| {
        "OpenSSH's sshd is not installed, and `cargo xtask test` has not unpacked it".to_owned()
    }))
}

fn unpacked(root: &Path) -> Option<OpenSsh> {
    let sshd = root.join("usr/sbin/sshd");
    let folders = std::fs::read_dir(root.join("usr/lib")).ok()?.filter_map(Result::ok);
    let libraries: Vec<PathBuf> = folders.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    let users = libraries.iter().map(|folder| folder.join("libnss_wrapper.so")).find(|path| path.is_file());
    sshd.is_file().then_some(OpenSsh { sshd, libraries, users })
}
