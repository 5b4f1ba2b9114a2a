//! SSH hosts that never come to an end, or say what no Git server says.

use std::time::Duration;

use syncline_git::{GitError, Limits, Remote};
use syncline_seams::{CallError, Outside};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::scripted::{Script, Scripted, packet, reader};
use crate::world::{KEY, branch, id};

/// Whoever is still waiting then waits for the end of what has none.
fn patient() -> Limits {
    let long = Duration::from_secs(20);
    Limits { heads_timeout: long, fetch_timeout: long, max_memory_bytes: 0, ..Limits::default() }
}

fn greeting() -> String {
    ["version 2\n", "ls-refs\n", "fetch=shallow filter\n", "object-format=sha1\n"].map(packet).concat()
        + "0000"
}

fn listed() -> String {
    greeting() + &packet(&format!("{} refs/heads/main\n", "1".repeat(40))) + "0000"
}

/// What asking such a host for its heads comes to.
async fn heads(script: Script) -> Result<usize, GitError> {
    let host = Scripted::start(script).await;
    let (git, _directory) = reader(patient());
    git.heads(&host.remote(), &[branch("main")]).await.map(|heads| heads.len())
}

fn check<T: std::fmt::Debug>(refused: Result<T, GitError>, expect: &str) {
    let is_told = matches!(&refused, Err(GitError::Unavailable { message }) if message.contains(expect));
    assert!(is_told, "{refused:?}, not {expect}");
}

#[tokio::test]
async fn a_host_that_says_its_name_and_no_more_is_left_when_the_call_has_timed_out() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.write_all(b"SSH-2.0-x\r\n").await.expect("written");
        let mut heard = Vec::new();
        // Either end of it will do.
        let _ = stream.read_to_end(&mut heard).await;
        heard
    });
    let other = Scripted::start(Script::default()).await.remote();
    let url = format!("ssh://{address}/acme/infra.git").parse().expect("a url");
    let (git, _directory) = reader(Limits { heads_timeout: Duration::from_millis(300), ..patient() });
    let refused = git.heads(&Remote { url, ..other }, &[branch("main")]).await;
    check(refused, "");
    let heard = async { Ok(heard.await.expect("it is left")) };
    // Long before a silent connection ends by itself.
    let heard = Outside::default().call("test.heard", Duration::from_secs(20), heard).await;
    let heard = heard.map_err(|error: CallError| error.to_string()).expect("it is left");
    assert!(heard.starts_with(b"SSH-2.0-git-syncline-"), "{}", String::from_utf8_lossy(&heard));
}

#[tokio::test]
async fn a_connection_that_nobody_uses_any_more_is_closed_though_nobody_asks_for_another() {
    let script = Script { says: listed(), complains: Some(""), ..Script::default() };
    let mut host = Scripted::start(script).await;
    let limits = Limits { longest_idle: Duration::from_millis(300), ..patient() };
    let (git, _directory) = reader(limits);
    for _ in 0..2 {
        assert_eq!(git.heads(&host.remote(), &[branch("main")]).await.expect("heads").len(), 1);
        host.is_left().await;
    }
}

#[tokio::test]
async fn a_host_that_talks_before_it_runs_anything_is_not_listened_to_for_long() {
    let script = Script { is_early: true, goes_on: "0000", ..Script::default() };
    check(heads(script).await, "without having said that git-upload-pack runs");
}

#[tokio::test]
async fn packets_of_nothing_come_to_an_end() {
    for says in [String::new(), greeting(), packet("version 2\n"), packet("version 1\n")] {
        let script = Script { says, goes_on: "0004", ..Script::default() };
        check(heads(script).await, "does not speak Git's protocol");
    }
    // What is hardly anything counts with its length.
    let limits = Limits { max_heads_bytes: 5_000, ..patient() };
    let host = Scripted::start(Script { goes_on: "0005a", ..Script::default() }).await;
    let (git, _directory) = reader(limits);
    check(git.heads(&host.remote(), &[branch("main")]).await, "exceeds 5000 bytes");
}

#[tokio::test]
async fn history_is_not_cut_at_endlessly_many_commits() {
    let main = format!("{} refs/heads/main\0side-band-64k shallow\n", "1".repeat(40));
    let older = packet(&main) + "0000";
    let newer = greeting() + &packet("shallow-info\n");
    for says in [older, newer] {
        let goes_on = "0034shallow 2222222222222222222222222222222222222222";
        let host = Scripted::start(Script { says, goes_on, ..Script::default() }).await;
        let (git, _directory) = reader(patient());
        let refused = git.fetch(&host.remote(), KEY, &id(&"1".repeat(40))).await;
        check(refused, "does not speak Git's protocol");
    }
}

#[tokio::test]
async fn an_answer_is_an_answer_though_the_process_that_gave_it_stays() {
    let script = Script { says: listed(), ..Script::default() };
    let mut host = Scripted::start(script).await;
    let (git, _directory) = reader(patient());
    for _ in 0..2 {
        assert_eq!(git.heads(&host.remote(), &[branch("main")]).await.expect("heads").len(), 1);
        host.is_left().await;
    }
}

#[tokio::test]
async fn who_is_no_git_server_is_told_so_without_waiting_for_its_end() {
    let says = "Welcome to the machine!\n".to_owned();
    check(heads(Script { says: says.clone(), ..Script::default() }).await, "does not speak Git's protocol");
    // It says more, once it is told that nothing else is asked of it.
    let complains = Some("ERROR: Repository not found.\n");
    let told = heads(Script { says, complains, ..Script::default() }).await;
    assert!(matches!(told, Err(GitError::RepositoryNotFound { .. })), "{told:?}");
}
