//! Credentials reach git's environment and nothing else.

use syncline_git::{Credential, GitError, Remote};
use syncline_seams::Secret;
use syncline_testkit::git_host::Fault;

use crate::world::{KEY, Way, World, both_ways, branch, http, id, impatient, with_token};

both_ways! {
    the_host_gets_the_credential_and_errors_do_not,
    a_token_is_never_written_to_the_cache,
}

const CANARY: &str = "canary-7d1f-token";

/// The command line of every process, with blanks between its arguments.
pub(crate) fn command_lines() -> Vec<String> {
    let processes = std::fs::read_dir("/proc").expect("a proc file system").filter_map(Result::ok);
    processes
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .collect()
}

/// The names of the processes whose environment holds `text`.
pub(crate) fn holders(text: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").expect("a proc file system").filter_map(Result::ok);
    processes
        .filter(|entry| {
            std::fs::read(entry.path().join("environ"))
                .is_ok_and(|environment| String::from_utf8_lossy(&environment).contains(text))
        })
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .collect()
}

#[tokio::test]
async fn a_poll_of_our_own_gives_the_token_to_no_process() {
    let world = World::start().await;
    let repo = world.host.repository("acme/infra").await;
    repo.commit("prod.yaml", "v1").await;
    repo.fail(Fault::Hang);
    let (remote, asked) = (with_token(&repo, "canary-20c9-token"), [branch("main")]);
    let looked = async {
        while world.host.received() == 0 {
            tokio::task::yield_now().await;
        }
        // base64 of the end of "x-access-token:canary-20c9-token".
        [holders("canary-20c9-token"), holders("Y2FuYXJ5LTIwYzktdG9rZW4=")].concat()
    };
    let holders = tokio::select! {
        answer = world.git.heads(&remote, &asked) => panic!("the host hangs: {answer:?}"),
        holders = looked => holders,
    };
    assert_eq!(holders, Vec::<String>::new());
}

#[tokio::test]
async fn a_token_is_on_no_command_line_and_only_in_gits_environment() {
    let world = World::start_by(Way::Command).await;
    let repo = world.host.repository("acme/infra").await;
    repo.commit("prod.yaml", "v1").await;
    repo.fail(Fault::Hang);
    let remote = with_token(&repo, CANARY);
    // base64 of "x-access-token:" and the canary.
    let encoded = "eC1hY2Nlc3MtdG9rZW46Y2FuYXJ5LTdkMWYtdG9rZW4=";
    let asked = [branch("main")];
    let looked = async {
        // The hanging helper is the last process to start.
        while !holders(encoded).iter().any(|name| name == "git-remote-http") {
            tokio::task::yield_now().await;
        }
        let lines = command_lines();
        let leaking: Vec<_> =
            lines.iter().filter(|line| line.contains(CANARY) || line.contains(encoded)).collect();
        assert_eq!(leaking, Vec::<&String>::new());
        assert!(lines.iter().any(|line| line.contains(&repo.url())), "git is running");
        holders(encoded)
    };
    let holders = tokio::select! {
        answer = world.git.heads(&remote, &asked) => panic!("the host hangs: {answer:?}"),
        holders = looked => holders,
    };
    assert!(holders.iter().all(|name| name.starts_with("git")), "{holders:?}");
}

async fn the_host_gets_the_credential_and_errors_do_not(way: Way) {
    let world = World::by(way, |settings| settings.limits = impatient()).await;
    let repo = world.host.repository("acme/infra").await;
    let commit = id(&repo.commit("prod.yaml", "v1").await);
    repo.require_tokens(&["another"]);
    let remote = with_token(&repo, CANARY);
    let faults =
        [None, Some(Fault::Status(403)), Some(Fault::Status(500)), Some(Fault::HtmlPage), Some(Fault::Hang)];
    for fault in faults {
        if let Some(fault) = fault.clone() {
            repo.fail(fault);
        }
        let heads = world.git.heads(&remote, &[branch("main")]).await.expect_err("a fault");
        let fetch = world.git.fetch(&remote, KEY, &commit).await.expect_err("a fault");
        for error in [heads, fetch] {
            let told = format!("{error} {error:?}");
            assert!(!told.contains(CANARY) && !told.contains("Basic "), "{told}");
        }
    }
    let sent = world.host.requests();
    assert!(
        sent.iter()
            .any(|request| request.authorization.as_ref().is_some_and(|value| value.starts_with("Basic ")))
    );
    assert!(!format!("{remote:?}").contains(CANARY), "{remote:?}");
}

async fn a_token_is_never_written_to_the_cache(way: Way) {
    let world = World::start_by(way).await;
    let repo = world.host.repository("acme/infra").await;
    let commit = repo.commit("prod.yaml", "v1").await;
    repo.require_tokens(&[CANARY]);
    let credential = Credential { username: "u".into(), password: Secret::new(CANARY) };
    let remote = Remote { credential: Some(credential), ..http(&repo) };
    assert_eq!(world.read(&remote, &commit, "prod.yaml").await, Ok::<_, GitError>(b"v1".to_vec()));
    let mut directories = vec![world.directory.path().to_owned()];
    let mut files = 0;
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("readable").filter_map(Result::ok) {
            if entry.path().is_dir() {
                directories.push(entry.path());
                continue;
            }
            files += 1;
            let content = std::fs::read(entry.path()).expect("readable");
            let text = String::from_utf8_lossy(&content);
            assert!(!text.contains(CANARY) && !text.contains("dTpjYW5hcnk"), "{}", entry.path().display());
        }
    }
    assert!(files > 3, "the cache holds files");
}
