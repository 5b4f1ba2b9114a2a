//! The keyring of the built binary: where its keys come from, and what it says when they are not the right ones.

use std::path::Path;
use std::sync::Arc;

use syncline::config::{Config, KeyringSource};
use syncline::running::{self, Seams};
use syncline_seams::{Outside, Secret, SystemClock};
use tokio::process::Command;

use crate::cli::{ended, syncline};
use crate::serving::{Aws, KEY_ID, SECRET, Serve};

const KEY: &str = "5f1d7c2a9b8e4d6c5f1d7c2a9b8e4d6c5f1d7c2a9b8e4d6c5f1d7c2a9b8e4d6c";
const NEWER_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// `syncline keyring …` against a running server.
fn keyring(serve: &Serve, subcommand: &str) -> Command {
    let mut command = syncline(&["keyring", subcommand, "--endpoint", &serve.endpoint]);
    command.env("SYNCLINE_ACCESS_KEY_ID", KEY_ID).env("SYNCLINE_SECRET_ACCESS_KEY", SECRET);
    command
}

#[tokio::test]
async fn the_keys_come_from_a_program_that_does_not_get_ours() {
    let print = format!(
        "command:sh -c 'test -z \"$SYNCLINE_ROOT_SECRET_ACCESS_KEY\" && printf \"2026:%s\\n\" {NEWER_KEY}'"
    );
    let serve = Serve::start_with(Aws::Simulated, |command| {
        command.arg("--keyring").arg(print);
    })
    .await;
    assert!(!serve.folder().join("data/keyring").exists(), "no key file is made");
    let status = ended(keyring(&serve, "status"), b"").await.good();
    let lines: Vec<_> = status.lines().collect();
    assert_eq!(lines[0], "Keyring  command:sh");
    assert!(lines[3].contains("  2026 "), "{status}");
    let rotated = ended(keyring(&serve, "rotate"), b"").await.good();
    let told = "seals everything: 0 secrets sealed anew, 0 data keys sealed with the first master key, 1 old data keys \
                deleted\n";
    assert!(rotated.starts_with("data key ") && rotated.ends_with(told), "{rotated}");
    assert!(!serve.log().contains(NEWER_KEY));
}

/// What `syncline serve` says that does not start.
async fn refused(data_dir: &Path, source: &str, keys: Option<&str>) -> String {
    let mut command = syncline(&["serve", "--simulate-cloudformation", "--listen", "127.0.0.1:0"]);
    command.args(["--admin-listen", "127.0.0.1:0", "--data-dir"]).arg(data_dir).args(["--keyring", source]);
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin").envs(keys.map(|keys| ("TEST_KEYRING", keys)));
    let ended = ended(command, b"").await;
    assert!(!ended.stderr.contains(KEY) && !ended.stderr.contains(NEWER_KEY), "{}", ended.stderr);
    ended.failed()
}

#[tokio::test]
async fn a_start_with_the_wrong_keys_names_their_source_and_not_the_keys() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut config = Config::on_loopback(directory.path());
    config.keyring = KeyringSource::Environment { name: "TEST_KEYRING".to_owned(), keys: Secret::new(KEY) };
    let seams = Seams { clock: Arc::new(SystemClock), outside: Outside::default() };
    running::start(&config, &seams).await.expect("a server").stop().await;

    let check = async |source: &str, keys: Option<&str>, parts: &[&str]| {
        let said = refused(directory.path(), source, keys).await;
        for part in parts {
            assert!(said.contains(part), "{part:?} is not in: {said}");
        }
    };
    let not_ours = ["the keyring env:TEST_KEYRING holds the master key ", "give the keyring that has it too"];
    check("env:TEST_KEYRING", Some(NEWER_KEY), &not_ours).await;
    check("env:TEST_KEYRING", Some(&KEY[1..]), &["env:TEST_KEYRING", "line 1 does not hold 64"]).await;
    check("env:TEST_KEYRING", None, &["the variable TEST_KEYRING is not set"]).await;
    let complains = format!("command:sh -c 'echo no {KEY} here >&2; exit 7'");
    check(&complains, None, &["command:sh: it ended with exit status: 7: no *** here"]).await;
    check("command:sh -c 'echo nonsense'", None, &["the keyring command:sh", "line 1 does not hold 64"])
        .await;
    let absent = directory.path().join("absent");
    let absent = format!("file:{}", absent.display());
    check(&absent, None, &[&format!("the keyring {absent} does not exist"), "put that keyring back"]).await;
    check(KEY, None, &["--keyring must be file:PATH, env:NAME or command:PROGRAM ARGUMENTS"]).await;

    // The right one among others is enough.
    config.keyring = KeyringSource::Environment {
        name: "TEST_KEYRING".to_owned(),
        keys: Secret::new(format!("{NEWER_KEY}\n{KEY}")),
    };
    running::start(&config, &seams).await.expect("a server").stop().await;
}

/// A rotation that a process began and did not end is ended by the next one.
#[tokio::test]
async fn a_start_completes_a_rotation_that_was_interrupted() {
    use syncline_seams::{Faults, Moment};
    use syncline_store::{Change, Store};

    let directory = tempfile::tempdir().expect("a temporary directory");
    let config = Config::on_loopback(directory.path());
    let clock = || Arc::new(SystemClock);
    {
        let faults = Faults::none();
        let path = directory.path().join("keyring");
        let store = Store::open(&config.database, &path, clock(), faults.outside()).expect("a new store");
        faults.fail("store.finish_rotation", Moment::Before);
        let died = store.keyring().rotate(1000, Change::unrecorded()).await;
        assert!(died.is_err() && store.keyring().is_rotating().await.expect("read"), "{died:?}");
    }
    let seams = Seams { clock: clock(), outside: Outside::default() };
    let running = running::start(&config, &seams).await.expect("a server");
    while running.keyring().is_rotating().await.expect("read") {
        tokio::task::yield_now().await;
    }
    let status = running.keyring().status().await.expect("read");
    assert!(status.data_keys.iter().all(|key| key.retired_at_ms.is_none()), "{status:?}");
    running.stop().await;
}
