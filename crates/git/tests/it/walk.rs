//! The walk of a push: heads, fetch, entry, read.

use syncline_git::{Entry, EntryKind, GitError};
use syncline_testkit::repository::Change;

use crate::world::{KEY, World, branch, http, id, path, remote, with_token};

#[tokio::test]
async fn a_push_is_seen_fetched_and_read_over_http_and_file() {
    let world = World::start().await;
    let repo = world.host.repository("acme/infra").await;
    repo.commit_files(&[("prod.yaml", "v1"), ("stacks/web/template.yaml", "Resources: {}")]).await;
    for (key, remote) in [("over-http", http(&repo)), ("over-file", remote(&repo.file_url()))] {
        let head = world.head(&remote, "main").await.expect("heads").expect("main");
        assert_eq!(head.as_str(), repo.head().await);

        world.git.fetch(&remote, key, &head).await.expect("fetch");
        let read = async |name| world.git.read(&remote, key, &head, &path(name), 100).await.expect(name);
        assert_eq!(read("prod.yaml").await, b"v1");
        assert_eq!(read("stacks/web/template.yaml").await, b"Resources: {}");
    }
}

#[tokio::test]
async fn each_push_is_read_as_it_was_at_its_commit() {
    let world = World::start().await;
    let repo = world.host.repository("acme/infra").await;
    let first = repo.commit("prod.yaml", "v1").await;
    let second = repo.commit("prod.yaml", "v2").await;
    let third = repo.remove("prod.yaml").await;
    let remote = http(&repo);
    assert_eq!(world.read(&remote, &second, "prod.yaml").await.expect("second"), b"v2");
    assert_eq!(world.read(&remote, &first, "prod.yaml").await.expect("first"), b"v1");
    assert_eq!(
        world.read(&remote, &third, "prod.yaml").await,
        Err(GitError::Missing { path: path("prod.yaml") })
    );
}

#[tokio::test]
async fn one_listing_answers_for_every_branch_and_leaves_out_those_that_do_not_exist() {
    let world = World::start().await;
    let repo = world.host.repository("acme/infra").await;
    let main = repo.commit("a", "1").await;
    let release = repo.branch("release/2026-11").await.commit("a", "2").await;
    world.host.clear_log();
    let asked = ["main", "release/2026-11", "release", "gone"].map(branch);
    let heads = world.git.heads(&http(&repo), &asked).await.expect("heads");
    let told: Vec<_> = heads.iter().map(|(name, commit)| (name.as_str(), commit.as_str())).collect();
    assert_eq!(told, [("main", main.as_str()), ("release/2026-11", release.as_str())]);
    let posts = world.host.requests().iter().filter(|request| request.method == "POST").count();
    assert_eq!(posts, 1);
}

#[tokio::test]
async fn a_new_head_downloads_no_file_but_those_read() {
    let world = World::start().await;
    let repo = world.host.repository("acme/infra").await;
    // Does not compress.
    let noise: Vec<u8> =
        (0u32..200_000).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8 ^ (n % 251) as u8).collect();
    let commit = repo.change(&[Change::File("large", &noise), Change::File("prod.yaml", b"v1")]).await;
    world.host.clear_log();
    world.git.fetch(&http(&repo), KEY, &id(&commit)).await.expect("fetch");
    assert_eq!(world.read(&http(&repo), &commit, "prod.yaml").await.expect("read"), b"v1");
    let answered: usize = world.host.requests().iter().map(|request| request.answered_bytes).sum();
    assert!(answered < 4_000, "{answered} bytes for a commit and a file of two bytes");

    world.host.clear_log();
    world.git.fetch(&http(&repo), KEY, &id(&commit)).await.expect("fetch again");
    assert_eq!(world.read(&http(&repo), &commit, "prod.yaml").await.expect("read again"), b"v1");
    assert_eq!(world.host.requests(), [], "everything is in the cache");
}

#[tokio::test]
async fn a_token_opens_a_private_repository() {
    let world = World::start().await;
    let repo = world.host.repository("acme/infra").await;
    let commit = repo.commit("prod.yaml", "v1").await;
    repo.require_tokens(&["right"]);
    let read = world.read(&with_token(&repo, "right"), &commit, "prod.yaml").await;
    assert_eq!(read.expect("the right token"), b"v1");
    for remote in [with_token(&repo, "wrong"), http(&repo)] {
        let refused = world.head(&remote, "main").await;
        assert!(matches!(refused, Err(GitError::Unauthorized { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn an_entry_says_what_a_path_is_without_reading_it() {
    let world = World::start().await;
    let repo = world.host.repository("acme/infra").await;
    let elsewhere = "1".repeat(40);
    let commit = repo
        .change(&[
            Change::File("a/file", b"x"),
            Change::Executable("a/tool", b"y"),
            Change::Symlink("a/link", "file"),
            Change::Submodule("a/module", &elsewhere),
        ])
        .await;
    let entry = async |name| world.git.entry(&http(&repo), KEY, &id(&commit), &path(name)).await.expect(name);
    assert!(matches!(entry("a/file").await, Entry::File { .. }));
    assert!(matches!(entry("a/tool").await, Entry::File { .. }));
    let kinds = [
        ("a/link", Entry::NotAFile(EntryKind::Symlink)),
        ("a/module", Entry::NotAFile(EntryKind::Submodule)),
        ("a", Entry::NotAFile(EntryKind::Directory)),
        ("A/file", Entry::Missing),
        ("a/FILE", Entry::Missing),
        ("a/file/x", Entry::Missing),
        ("a/link/x", Entry::Missing),
        ("a/module/x", Entry::Missing),
        ("a/*", Entry::Missing),
        (":(glob)a/*", Entry::Missing),
        ("fil", Entry::Missing),
    ];
    for (name, expected) in kinds {
        assert_eq!(entry(name).await, expected, "{name}");
    }
    let refused = world.read(&http(&repo), &commit, "a/link").await;
    assert_eq!(refused, Err(GitError::NotRegularFile { path: path("a/link"), kind: EntryKind::Symlink }));
}
