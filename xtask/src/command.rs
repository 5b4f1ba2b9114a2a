//! Running other programs: always named on standard output first, never through a shell.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// The workspace's root: the folder above this crate's.
pub(crate) fn workspace_root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// Reads one variable of the environment; empty counts as unset.
#[expect(clippy::disallowed_methods, reason = "xtask is a tool of the build, not of the product")]
pub(crate) fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The `cargo` that runs this task, started at the workspace's root.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(variable("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).current_dir(workspace_root());
    cargo
}

/// Prints the command, runs it to its end with this process's output, and takes a failure for an error.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    run_with_input(command, Stdio::null())
}

/// The same, with something of the caller's as standard input.
pub(crate) fn run_with_input(command: &mut Command, input: Stdio) -> anyhow::Result<()> {
    let line = line(command);
    println!("$ {line}");
    let status = command.stdin(input).status().with_context(|| format!("{line}: could not be started"))?;
    if !status.success() {
        bail!("{line}: {status}");
    }
    Ok(())
}

/// Runs the command to its end and returns what it printed on standard output.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let line = line(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{line}: could not be started"))?;
    if !output.status.success() {
        bail!("{line}: {}", output.status);
    }
    Ok(output.stdout)
}

/// Whether the command exists and succeeds; it prints nothing.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words = std::iter::once(name).chain(command.get_args()).map(OsStr::to_string_lossy);
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_without_its_folder() {
        assert_eq!(line(Command::new("/usr/bin/git").args(["log", "-1"])), "git log -1");
    }

    #[test]
    fn a_failing_command_is_an_error_that_names_it() {
        let error = run(&mut Command::new("false")).expect_err("false fails").to_string();
        assert!(error.starts_with("false: exit status: 1"), "{error}");
    }

    #[test]
    fn a_missing_command_does_not_succeed() {
        assert!(!succeeds(&mut Command::new("no-such-program-of-ours")));
    }
}
