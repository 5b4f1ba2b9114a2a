//! Where the master keys are read from: a file, the environment, or a program's output.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use syncline_seams::{Outside, Secret};
use syncline_store::{KeySource, MasterKeys};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use crate::config::KeyringSource;

/// How long the program may take: somebody may have to touch a token, but not to look for it.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// The most that is read of its output, in bytes. No keyring is longer.
const MAX_OUTPUT_BYTES: u64 = 64 * 1024;
/// The most that is read of its complaints, in bytes.
const MAX_COMPLAINT_BYTES: u64 = 4 * 1024;
/// The most that is told of them, in characters.
const TOLD_CHARS: usize = 300;
/// Runs of letters and digits from this length on may be keys or tokens.
const MIN_SECRET_CHARS: usize = 16;

/// The master keys, or the file that the store reads or makes.
///
/// # Errors
/// A variable or an output that holds no keys, a program that fails; the message names the source, never a key.
pub(crate) async fn read(source: &KeyringSource, outside: &Outside) -> anyhow::Result<KeySource> {
    let (name, keys) = match source {
        KeyringSource::File(path) => return Ok(KeySource::File(path.clone())),
        KeyringSource::Environment { name, keys } => (format!("env:{name}"), keys.clone()),
        KeyringSource::Command { program, arguments } => {
            let output = outside.call("keyring.command", COMMAND_TIMEOUT, output(program, arguments));
            let keys = output.await.with_context(|| format!("--keyring command:{program}"))?;
            // The arguments may name what nobody else needs to know.
            (format!("command:{program}"), keys)
        }
    };
    Ok(MasterKeys::parse(&name, &keys)?.into())
}

async fn output(program: &str, arguments: &[String]) -> anyhow::Result<Secret> {
    let mut child = Command::new(program)
        .args(arguments)
        // Such programs find their own credentials there; ours are none of their business.
        .env_remove("SYNCLINE_ROOT_SECRET_ACCESS_KEY")
        .env_remove("SYNCLINE_SECRET_ACCESS_KEY")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("it cannot be started")?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        bail!("its pipes are missing");
    };
    let (printed, complaints) =
        tokio::try_join!(at_most(MAX_OUTPUT_BYTES, stdout), at_most(MAX_COMPLAINT_BYTES, stderr))
            .context("its output cannot be read")?;
    let status = child.wait().await.context("it cannot be awaited")?;
    if !status.success() {
        let complaints = scrubbed(&String::from_utf8_lossy(complaints.expose()));
        bail!("it ended with {status}{}{complaints}", if complaints.is_empty() { "" } else { ": " });
    }
    let Ok(text) = std::str::from_utf8(printed.expose()) else { bail!("its output is not UTF-8") };
    Ok(Secret::new(text))
}

/// What a pipe brings up to its end, or to `limit`; the rest is read and forgotten, so that the program can end.
async fn at_most(limit: u64, mut pipe: impl AsyncRead + Unpin) -> std::io::Result<Secret<Vec<u8>>> {
    let mut bytes = Vec::new();
    (&mut pipe).take(limit).read_to_end(&mut bytes).await?;
    let kept = Secret::from(bytes);
    tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    Ok(kept)
}

/// A program's complaint in one line, without what may be a key or a token.
fn scrubbed(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '_' | '-');
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        for part in word.split_inclusive(|c| !is_word(c)) {
            let core = part.trim_end_matches(|c| !is_word(c));
            let has_digit = core.chars().any(|c| c.is_ascii_digit());
            let letters = core.chars().filter(char::is_ascii_alphanumeric).count();
            if letters >= MIN_SECRET_CHARS && (has_digit || letters >= 2 * MIN_SECRET_CHARS) {
                line.push_str("***");
                line.push_str(&part[core.len()..]);
            } else {
                line.push_str(part);
            }
        }
    }
    line.chars().filter(|c| !c.is_control()).take(TOLD_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use syncline_seams::{Faults, Injected, Moment};

    use super::*;

    const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    async fn keys_of(script: &str) -> Result<String, String> {
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        let source = KeyringSource::Command { program: "sh".to_owned(), arguments };
        match read(&source, &Outside::default()).await {
            Ok(keys) => Ok(format!("{keys:?}")),
            Err(error) => Err(format!("{error:#}")),
        }
    }

    #[tokio::test]
    async fn a_program_prints_the_keys() {
        let keys = keys_of(&format!("echo a warning >&2; echo 2026:{KEY}")).await.expect("keys");
        assert!(keys.starts_with("Given(MasterKeys(command:sh, [") && !keys.contains(KEY), "{keys}");
    }

    #[tokio::test]
    async fn a_program_that_fails_is_named_and_its_secrets_are_not() {
        let check = async |script: &str, expect: &str| {
            assert_eq!(keys_of(script).await.expect_err(script), expect, "{script}");
        };
        check(
            &format!("printf 'no access\\n  to \"{KEY}\"\\033[0m' >&2; echo {KEY}; exit 3"),
            "--keyring command:sh: it ended with exit status: 3: no access to \"***\"[0m",
        )
        .await;
        check("exit 1", "--keyring command:sh: it ended with exit status: 1").await;
        check("true", "the keyring command:sh: it does not hold 64 hexadecimal digits").await;
        check(&format!("echo {KEY}; echo {KEY}"), "the keyring command:sh: line 2 repeats a key").await;
        check("printf '\\377'", "--keyring command:sh: its output is not UTF-8").await;
        check("yes | head -c 1000000", "the keyring command:sh: it is longer than 16384 bytes").await;
        let source = KeyringSource::Command {
            program: "/nowhere/kms".to_owned(),
            arguments: vec!["--pin=1234".to_owned()],
        };
        let error = format!("{:#}", read(&source, &Outside::default()).await.expect_err("it is not there"));
        assert!(error.starts_with("--keyring command:/nowhere/kms: it cannot be started"), "{error}");
        assert!(!error.contains("1234"), "{error}");
    }

    #[tokio::test]
    async fn a_program_that_does_not_end_is_given_up() {
        let faults = Faults::none();
        faults.inject("keyring.command", Moment::Before, Injected::TimeOut, 1);
        let source = KeyringSource::Command { program: "cat".to_owned(), arguments: Vec::new() };
        let error = format!("{:#}", read(&source, &faults.outside()).await.expect_err("too late"));
        assert_eq!(error, "--keyring command:cat: keyring.command did not answer within 30 s");
    }

    #[test]
    fn complaints_lose_what_may_be_a_secret() {
        let check = |text: &str, expect: &str| assert_eq!(scrubbed(text), expect, "{text}");
        check("Error: the keychain\n is locked\n", "Error: the keychain is locked");
        check(
            "no key arn:aws:kms:eu-west-1:111111111111:key/x",
            "no key arn:aws:kms:eu-west-1:111111111111:key/x",
        );
        check("token=ghp_0123456789abcdefABCDEF, sorry", "***, sorry");
        check(&format!("'{KEY}'"), "'***'");
        check("responsibilities-of-nobody", "responsibilities-of-nobody");
        check("abcdefghijklmnopqrstuvwxyzabcdefghijklmnop", "***");
        check(&"no ".repeat(200), "no ".repeat(100).as_str());
    }
}
