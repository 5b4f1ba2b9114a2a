//! The table of deployment files against cfn-lint itself.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::deployment_files::{AGREED, DIFFERENT, outcome, passes};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/oracle.py");

#[expect(
    clippy::disallowed_methods,
    reason = "the test environment is named by a variable, not by configuration"
)]
fn python() -> Option<PathBuf> {
    std::env::var_os("SYNCLINE_TEST_ENV").map(|dir| Path::new(&dir).join("venv/bin/python"))
}

/// cfn-lint's verdicts, one per document.
fn verdicts(python: &Path, documents: &[&[u8]]) -> Vec<bool> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("deployment-files");
    std::fs::create_dir_all(&dir).expect("the directory is made");
    let mut paths = String::new();
    for (index, document) in documents.iter().enumerate() {
        let path = dir.join(format!("{index}.yaml"));
        std::fs::write(&path, document).expect("the file is written");
        paths.push_str(&format!("{}\n", path.display()));
    }
    let mut child = Command::new(python)
        .arg(SCRIPT)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{} does not start: {error}", python.display()));
    child.stdin.take().expect("stdin is piped").write_all(paths.as_bytes()).expect("the paths are written");
    let output = child.wait_with_output().expect("the script ends");
    assert!(output.status.success(), "the script fails: {}", output.status);
    let text = String::from_utf8(output.stdout).expect("the script writes UTF-8");
    let verdicts: Vec<bool> = text.lines().map(|line| line == "pass").collect();
    assert_eq!(verdicts.len(), documents.len(), "a verdict for each document");
    verdicts
}

#[test]
fn cfn_lint_passes_and_fails_the_same_deployment_files() {
    let Some(python) = python() else {
        println!("skipped: SYNCLINE_TEST_ENV is not set, so there is no cfn-lint to compare with");
        return;
    };
    let agreed: Vec<&[u8]> = AGREED.iter().map(|(document, _)| *document).collect();
    let mut wrong = Vec::new();
    for (document, oracle) in agreed.iter().zip(verdicts(&python, &agreed)) {
        if passes(document) != oracle {
            let here = outcome(document);
            wrong.push(format!(
                "{:?}: cfn-lint passes: {oracle}; here: {here}",
                String::from_utf8_lossy(document)
            ));
        }
    }
    let different: Vec<&[u8]> = DIFFERENT.iter().map(|(document, _)| *document).collect();
    for (document, oracle) in different.iter().zip(verdicts(&python, &different)) {
        if passes(document) == oracle {
            wrong.push(format!("{:?}: no difference any more", String::from_utf8_lossy(document)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
