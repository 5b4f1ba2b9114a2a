//! Finding a Python interpreter that is new enough.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::command;
use crate::version::{Version, parse};

/// An interpreter that answered.
#[derive(Debug, Clone)]
pub(crate) struct Python {
    /// The interpreter itself, never a shim or a venv's link.
    pub(crate) path: PathBuf,
    /// Its full version, such as `3.13.0`.
    pub(crate) version: String,
}

/// The first interpreter of at least `minimum`: `python3` if it will do, else a versioned name on the PATH,
/// else one that pyenv has installed.
pub(crate) fn find(minimum: Version) -> Option<Python> {
    candidates(minimum).into_iter().find_map(|candidate| ask(&candidate, minimum))
}

fn candidates(minimum: Version) -> Vec<PathBuf> {
    let newest_first = || (minimum.1..=minimum.1 + 9).rev();
    let mut names: Vec<PathBuf> = vec!["python3".into()];
    names.extend(newest_first().map(|minor| PathBuf::from(format!("python{}.{minor}", minimum.0))));
    let pyenv = command::variable("PYENV_ROOT")
        .or_else(|| command::variable("HOME").map(|home| home.join(".pyenv")))
        .map(|root| root.join("versions"));
    if let Some(versions) = pyenv {
        let mut installed: Vec<(Version, PathBuf)> = versions
            .read_dir()
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok())
            .filter_map(|entry| Some((parse(entry.file_name().to_str()?)?, entry.path())))
            .collect();
        installed.sort();
        names.extend(installed.into_iter().rev().map(|(_, path)| path.join("bin").join("python3")));
    }
    names
}

/// Runs the candidate: a name on the PATH may be a shim that only says which versions it does not have.
fn ask(candidate: &Path, minimum: Version) -> Option<Python> {
    let question =
        "import os, sys; print(os.path.realpath(sys.executable)); print('%d.%d.%d' % sys.version_info[:3])";
    let output = Command::new(candidate)
        .args(["-I", "-c", question])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let answer = String::from_utf8(output.stdout).ok()?;
    let (path, version) = answer.trim().split_once('\n')?;
    (parse(version)? >= minimum).then(|| Python { path: path.trim().into(), version: version.trim().into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_that_does_not_run_is_not_found() {
        assert!(ask(Path::new("no-such-python-of-ours"), Version(3, 0)).is_none());
        assert!(ask(Path::new("false"), Version(3, 0)).is_none());
    }
}
