//! The PostgreSQL server that the tests of one run share.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};

use crate::command;

/// Says to the tests where the server is.
pub(crate) const SERVER: &str = "SYNCLINE_TEST_POSTGRES";
/// Says to the tests which database their worlds are on.
pub(crate) const DATABASE: &str = "SYNCLINE_TEST_DATABASE";

/// What the script's exit status says when no PostgreSQL is installed that is new enough.
const NOT_INSTALLED: i32 = 3;

/// A server that ends when this is dropped, or with this process, however that ends.
#[derive(Debug)]
pub(crate) struct Postgres {
    pub(crate) url: String,
    child: Child,
}

impl Postgres {
    /// Starts a server, installing PostgreSQL first where there is none and that is possible.
    pub(crate) fn start() -> anyhow::Result<Self> {
        if let Some(server) = Self::start_installed()? {
            return Ok(server);
        }
        install()?;
        Self::start_installed()?.context("PostgreSQL was installed, but not of version 15 or newer")
    }

    /// `None` if none is installed that is new enough.
    fn start_installed() -> anyhow::Result<Option<Self>> {
        let script = command::workspace_root().join("clients/postgres_for_tests.sh");
        let mut child = Command::new("sh")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("sh could not be started")?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("standard output is taken")?;
        BufReader::new(stdout).read_line(&mut line)?;
        if let Some(url) = line.trim().strip_prefix("ready ") {
            return Ok(Some(Self { url: url.to_owned(), child }));
        }
        let mut told = String::new();
        child.stderr.take().context("standard error is taken")?.read_to_string(&mut told)?;
        match child.wait()?.code() {
            Some(NOT_INSTALLED) => Ok(None),
            _ => bail!("PostgreSQL does not start: {}", told.trim()),
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn install() -> anyhow::Result<()> {
    let wanted = "the tests need PostgreSQL 15 or newer (Debian: install postgresql): none was found";
    let is_root = command::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim_ascii() == b"0");
    if !is_root || !command::succeeds(Command::new("apt-get").arg("--version")) {
        bail!("{wanted}");
    }
    let apt = |arguments: &[&str]| {
        command::run(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    apt(&["update", "--quiet"])
        .and_then(|()| apt(&["install", "--quiet", "--yes", "--no-install-recommends", "postgresql"]))
        .context(wanted)
}
