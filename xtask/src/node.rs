//! Finding a Node.js that is new enough, with its npm.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::command;
use crate::version::{Version, parse};

/// A Node.js that answered.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// The program itself, never a shim.
    pub(crate) path: PathBuf,
    /// Its full version, such as `20.20.2`.
    pub(crate) version: String,
}

/// `node` of at least `minimum`, if `npm` is there too.
pub(crate) fn find(minimum: Version) -> Option<Node> {
    ask("node", minimum).filter(|_| command::succeeds(Command::new("npm").arg("--version")))
}

/// Runs the candidate: a name on the PATH may be a shim.
fn ask(candidate: &str, minimum: Version) -> Option<Node> {
    let output = Command::new(candidate)
        .args(["--print", "process.execPath + '\\n' + process.versions.node"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let answer = String::from_utf8(output.stdout).ok()?;
    let (path, version) = answer.trim().split_once('\n')?;
    (parse(version)? >= minimum).then(|| Node { path: path.into(), version: version.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_no_node_is_not_found() {
        for candidate in ["no-such-node-of-ours", "false", "echo"] {
            assert!(ask(candidate, Version(0, 0)).is_none(), "{candidate}");
        }
    }

    #[test]
    fn a_node_that_is_too_old_is_not_found() {
        assert!(ask("node", Version(u32::MAX, 0)).is_none());
    }
}
