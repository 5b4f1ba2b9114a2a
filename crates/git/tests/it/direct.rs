//! What is asked without starting git.

use std::path::PathBuf;
use std::sync::Arc;

use syncline_git::{Git, GitError, Settings};
use syncline_seams::Outside;
use syncline_testkit::git_host::Fault;
use syncline_testkit::repository::Change;

use crate::egress::Scripted;
use crate::world::{KEY, World, branch, http, id, remote};

/// A world in which starting git would be told.
async fn without_git() -> World {
    World::with(|settings| settings.program = PathBuf::from("/nowhere/git")).await
}

fn methods(world: &World) -> Vec<String> {
    world.host.requests().into_iter().map(|request| request.method).collect()
}

#[tokio::test]
async fn a_poll_of_a_known_remote_is_one_request_on_a_connection_that_is_there() {
    let world = without_git().await;
    let repo = world.host.repository("acme/infra").await;
    for version in ["v1", "v2", "v3"] {
        let head = id(&repo.commit("prod.yaml", version).await);
        assert_eq!(world.head(&http(&repo), "main").await, Ok(Some(head)));
        assert_eq!(world.head(&http(&repo), "nothing").await, Ok(None));
    }
    assert_eq!(methods(&world), ["GET", "POST", "POST", "POST", "POST", "POST", "POST"]);
    assert_eq!(world.host.connections(), 1);
    let sent = world.host.requests();
    assert!(sent.iter().all(|request| request.protocol.as_deref() == Some("version=2")), "{sent:?}");
    let answered: usize = sent.iter().skip(1).map(|request| request.answered_bytes).sum();
    assert!(answered < 6 * 100, "{answered} bytes for six polls of one branch");
}

#[tokio::test]
async fn a_commit_and_each_file_of_a_known_remote_are_one_request() {
    let world = World::start().await;
    let repo = world.host.repository("acme/infra").await;
    let mut commits = Vec::new();
    for version in ["v1", "v2"] {
        let other = format!("other {version}");
        let files = [("dir/prod.yaml", version), ("other.yaml", other.as_str()), ("kept.yaml", "v0")];
        commits.push(repo.commit_files(&files).await);
        world.head(&http(&repo), "main").await.expect("heads");
        world.host.clear_log();
        let commit = id(commits.last().expect("one"));
        world.git.fetch(&http(&repo), KEY, &commit).await.expect("fetched");
        assert_eq!(methods(&world), ["POST"]);
        for (name, content) in &files[..2] {
            let read = world.read(&http(&repo), commit.as_str(), name).await;
            assert_eq!(read.expect("read"), content.as_bytes());
        }
        assert_eq!(methods(&world), ["POST"; 3]);
    }
    assert_eq!(world.host.connections(), 1);
    // A server that lost what we have of it sends what it has.
    let rewritten =
        id(&repo.rewrite(&[Change::File("other.yaml", b"v3"), Change::File("new.yaml", b"v3")]).await);
    repo.prune().await;
    world.host.clear_log();
    world.git.fetch(&http(&repo), KEY, &rewritten).await.expect("fetched");
    assert_eq!(world.read(&http(&repo), rewritten.as_str(), "new.yaml").await.expect("read"), b"v3");
    assert_eq!(methods(&world), ["POST"; 2]);
    let [from, to] = [&commits[0], &commits[1]].map(|commit| id(commit));
    let changed = world.git.changes(&http(&repo), KEY, &from, &to).await.expect("compared").expect("there");
    assert_eq!(changed.keys().collect::<Vec<_>>(), ["dir", "dir/prod.yaml", "other.yaml"]);
    // What git would say of the cache.
    let checked =
        std::process::Command::new("git").arg("-C").arg(world.cache()).args(["fsck", "--full"]).output();
    let checked = checked.expect("git runs");
    assert!(checked.status.success(), "{checked:?}");
}

#[tokio::test]
async fn asking_for_no_branch_asks_whether_the_repository_may_be_read() {
    let world = without_git().await;
    let repo = world.host.repository("acme/infra").await;
    repo.commit("prod.yaml", "v1").await;
    world.head(&http(&repo), "main").await.expect("known");
    assert_eq!(world.git.heads(&http(&repo), &[]).await.expect("read").len(), 0);
    repo.require_tokens(&["a token"]);
    let refused = world.git.heads(&http(&repo), &[]).await;
    assert!(matches!(refused, Err(GitError::Unauthorized { .. })), "{refused:?}");
}

#[tokio::test]
async fn what_is_remembered_of_a_remote_may_be_wrong() {
    let world = World::start().await;
    let repo = world.host.repository("acme/infra").await;
    let head = id(&repo.commit("prod.yaml", "v1").await);
    let poll = async || world.head(&http(&repo), "main").await;
    assert_eq!(poll().await, Ok(Some(head.clone())));
    repo.speak_only_v0();
    assert_eq!(poll().await, Ok(Some(head.clone())), "it was moved to an older server");
    std::fs::remove_dir_all(repo.path()).expect("deleted");
    let gone = poll().await;
    assert!(matches!(gone, Err(GitError::RepositoryNotFound { .. })), "{gone:?}");
}

#[tokio::test]
async fn a_server_of_an_older_protocol_is_not_asked_for_more_than_git_asks_it_for() {
    let world = World::start().await;
    let repo = world.host.repository("acme/infra").await;
    repo.speak_only_v0();
    let head = id(&repo.commit("prod.yaml", "v1").await);
    let mut refs = String::new();
    for number in 0..2_000 {
        refs.push_str(&format!("create refs/heads/topic-{number} {head}\n"));
    }
    repo.served_git(&["update-ref", "--stdin"], refs.as_bytes()).await;
    assert_eq!(world.head(&http(&repo), "main").await, Ok(Some(head.clone())));
    assert_eq!(methods(&world), ["GET"; 2], "ours, whose beginning says enough, and that of git ls-remote");
    world.host.clear_log();
    assert_eq!(world.head(&http(&repo), "main").await, Ok(Some(head.clone())));
    world.git.fetch(&http(&repo), KEY, &head).await.expect("fetched");
    let gets = methods(&world).iter().filter(|method| *method == "GET").count();
    assert_eq!(gets, 2, "one of git ls-remote, one of git fetch");
}

#[tokio::test]
async fn a_connection_that_the_host_closed_meanwhile_is_no_fault() {
    let world = without_git().await;
    let repo = world.host.repository("acme/infra").await;
    let head = id(&repo.commit("prod.yaml", "v1").await);
    for connections in 1..4 {
        assert_eq!(world.head(&http(&repo), "main").await, Ok(Some(head.clone())));
        assert_eq!(world.host.connections(), connections);
        world.host.close_connections();
    }
    repo.fail(Fault::Disconnect);
    let broken = world.head(&http(&repo), "main").await;
    assert!(matches!(broken, Err(GitError::Unavailable { .. })), "{broken:?}");
}

#[tokio::test]
async fn a_connection_is_not_used_for_a_name_that_has_another_address_now() {
    let world = World::start().await;
    let repo = world.host.repository("acme/infra").await;
    repo.commit("prod.yaml", "v1").await;
    let mut settings = Settings::new(world.directory.path().join("other-cache"));
    settings.program = PathBuf::from("/nowhere/git");
    settings.egress = syncline_git::Egress::new(vec!["127.0.0.0/8".parse().expect("a network")], Vec::new())
        .with_resolver(Scripted::new([Ok(vec!["127.0.0.1"]), Ok(vec!["127.0.0.1"]), Ok(vec!["127.0.0.2"])]));
    let git = Git::new(settings, Outside::default());
    let named = remote(&format!("http://git.example.test:{}/acme/infra.git", world.host.address().port()));
    for _ in 0..2 {
        assert_eq!(git.heads(&named, &[branch("main")]).await.expect("heads").len(), 1);
    }
    assert_eq!(world.host.connections(), 1);
    let moved = git.heads(&named, &[branch("main")]).await;
    assert!(
        matches!(&moved, Err(GitError::Unavailable { message }) if message.contains("cannot be reached")),
        "{moved:?}"
    );
}

#[tokio::test]
async fn an_address_that_nobody_listens_at_costs_nothing_beside_one_where_somebody_does() {
    let world = World::start().await;
    let repo = world.host.repository("acme/infra").await;
    repo.commit("prod.yaml", "v1").await;
    let mut settings = Settings::new(world.directory.path().join("other-cache"));
    settings.program = PathBuf::from("/nowhere/git");
    settings.egress = syncline_git::Egress::new(vec!["127.0.0.0/8".parse().expect("a network")], Vec::new())
        .with_resolver(Scripted::new([Ok(vec!["127.0.0.9", "127.0.0.1", "127.0.0.2"])]));
    let git = Git::new(settings, Outside::default());
    let named = remote(&format!("http://git.example.test:{}/acme/infra.git", world.host.address().port()));
    assert_eq!(git.heads(&named, &[branch("main")]).await.expect("heads").len(), 1);
}

#[tokio::test]
async fn a_hundred_polls_at_once_share_the_connections_that_a_host_is_allowed() {
    let world = without_git().await;
    let repo = world.host.repository("acme/infra").await;
    repo.commit("prod.yaml", "v1").await;
    let git = Arc::new(world.git);
    let mut polls = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (git, remote) = (Arc::clone(&git), http(&repo));
        polls.spawn(async move { git.heads(&remote, &[branch("main")]).await });
    }
    while let Some(heads) = polls.join_next().await {
        assert_eq!(heads.expect("no panic").expect("heads").len(), 1);
    }
    let limit = syncline_git::Limits::default().max_processes_per_host;
    assert!(world.host.connections() <= limit, "{} connections", world.host.connections());
}

#[tokio::test]
async fn a_host_says_when_it_wants_to_be_asked_again() {
    let world = without_git().await;
    let repo = world.host.repository("acme/infra").await;
    repo.commit("prod.yaml", "v1").await;
    for known in [false, true] {
        for status in [403, 429, 503] {
            repo.fail(Fault::RetryAfter(status, 7));
            let told = world.head(&http(&repo), "main").await;
            assert!(
                matches!(told, Err(GitError::Throttled { retry_after_ms: Some(7_000), .. })),
                "{status}, known: {known}: {told:?}"
            );
        }
        repo.recover();
        world.head(&http(&repo), "main").await.expect("heads");
    }
}
