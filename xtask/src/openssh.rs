//! OpenSSH's server for the tests, where the machine has none: unpacked from Debian's packages, not installed, so that
//! nothing is started by it and no root is needed.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::command;

/// The server, a library that it needs beyond those of git and its own client, and one that tells it of users.
pub(crate) const PACKAGES: [&str; 3] = ["openssh-server", "libwrap0", "libnss-wrapper"];

/// Where systems have it.
const INSTALLED: [&str; 4] =
    ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd", "/opt/homebrew/sbin/sshd"];

/// Whether the machine has one.
pub(crate) fn is_installed() -> bool {
    INSTALLED.iter().any(|path| Path::new(path).exists())
}

/// Unpacks it into the folder's `root`.
pub(crate) fn unpack(
    folder: &Path,
    mut run: impl FnMut(&mut Command) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let wanted = "the tests need OpenSSH's sshd (Debian: openssh-server): none was found";
    if !command::succeeds(Command::new("apt-get").arg("--version")) {
        bail!("{wanted}");
    }
    let mut download =
        || run(Command::new("apt-get").args(["download", "--quiet"]).args(PACKAGES).current_dir(folder));
    if download().is_err() {
        // Its lists may be too old, or not be there; only root renews them.
        command::run(Command::new("apt-get").args(["update", "--quiet"])).context(wanted)?;
        download().context(wanted)?;
    }
    let root = folder.join("root");
    for entry in fs::read_dir(folder)? {
        let package = entry?.path();
        if package.extension().is_some_and(|extension| extension == "deb") {
            command::run(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(&root))?;
            fs::remove_file(&package)?;
        }
    }
    Ok(())
}
