//! Where the keys come from that secrets are sealed with.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use syncline_seams::Secret;

use super::environment::variable;

/// Where the master keys come from.
#[derive(Debug, Clone)]
pub enum KeyringSource {
    /// A file; absolute. Made where nothing is sealed yet.
    File(PathBuf),
    /// A variable of the environment.
    Environment {
        /// Its name.
        name: String,
        /// What it holds.
        keys: Secret,
    },
    /// The output of a program.
    Command {
        /// The program, found as the server's `PATH` says.
        program: String,
        /// Its arguments.
        arguments: Vec<String>,
    },
}

impl KeyringSource {
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(std::path::absolute(path)?)),
            Some(("env", name)) if is_variable(name) => {
                let keys = variable(name)
                    .with_context(|| format!("--keyring env:{name}: the variable {name} is not set"))?;
                Ok(Self::Environment { name: name.to_owned(), keys: Secret::new(keys) })
            }
            Some(("command", line)) => {
                let mut words = words(line).context("--keyring command: a quote is not closed")?.into_iter();
                let program = words.next().context("--keyring command: it names no program")?;
                Ok(Self::Command { program, arguments: words.collect() })
            }
            // It may be a key that somebody took for the setting: it is not repeated.
            _ => bail!("--keyring must be file:PATH, env:NAME or command:PROGRAM ARGUMENTS"),
        }
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The words of a line: separated by blanks, unless between quotes of either kind. There is no shell, and no other
/// character means anything. `None` if a quote is not closed.
fn words(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyring_comes_from_a_file_a_variable_or_a_program() {
        let check = |text: &str, expect: &str| {
            let got = match KeyringSource::parse(text) {
                Ok(KeyringSource::File(path)) => format!("file {}", path.display()),
                Ok(KeyringSource::Environment { name, keys }) => {
                    assert!(!keys.expose().is_empty() && format!("{keys:?}") == "***", "{name}");
                    format!("variable {name}")
                }
                Ok(KeyringSource::Command { program, arguments }) => format!("run {program} {arguments:?}"),
                Err(error) => format!("{error:#}"),
            };
            assert_eq!(got, expect, "{text}");
        };
        let refused = "--keyring must be file:PATH, env:NAME or command:PROGRAM ARGUMENTS";
        check("file:/etc/syncline/keyring", "file /etc/syncline/keyring");
        check("file:", refused);
        check("env:PATH", "variable PATH");
        check(
            "env:SYNCLINE_NOT_SET",
            "--keyring env:SYNCLINE_NOT_SET: the variable SYNCLINE_NOT_SET is not set",
        );
        check("env:", refused);
        check("env:A=B", refused);
        check("command:pass show syncline/keyring", r#"run pass ["show", "syncline/keyring"]"#);
        check(
            "command: 'my program'  --key \"a b'c\" ''x $HOME;",
            r#"run my program ["--key", "a b'c", "x", "$HOME;"]"#,
        );
        check("command:pass ''", r#"run pass [""]"#);
        check("command:", "--keyring command: it names no program");
        check("command:pass 'show", "--keyring command: a quote is not closed");
        check(&"ab".repeat(32), refused);
        check(&format!("secret:{}", "ab".repeat(32)), refused);
    }
}
