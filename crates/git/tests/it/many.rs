//! Many paths at once, and the difference of two commits.

use std::collections::BTreeMap;

use syncline_git::{Entry, EntryKind, GitError, Limits};
use syncline_model::names::RepoPath;
use syncline_testkit::git_host::Fault;
use syncline_testkit::repository::Change;

use crate::world::{KEY, World, http, id, path};

fn word(entry: &Entry) -> &'static str {
    match entry {
        Entry::Missing => "missing",
        Entry::File { .. } => "file",
        Entry::NotAFile(EntryKind::Symlink) => "link",
        Entry::NotAFile(EntryKind::Submodule) => "submodule",
        Entry::NotAFile(EntryKind::Directory) => "directory",
    }
}

#[tokio::test]
async fn many_entries_are_those_that_are_told_one_by_one() {
    let world = World::start().await;
    let repo = world.host.repository("acme/infra").await;
    let long = "d".repeat(200);
    let deep: Vec<String> = (0..600).map(|number| format!("{long}/{number:03}/{long}")).collect();
    let elsewhere = "1".repeat(40);
    let mut changes: Vec<Change<'_>> = deep.iter().map(|path| Change::File(path, path.as_bytes())).collect();
    changes.extend([
        Change::File("a/b/c", b"x"),
        Change::Symlink("link", "a"),
        Change::Submodule("module", &elsewhere),
    ]);
    let commit = id(&repo.change(&changes).await);
    // More than one command line holds, a directory beside what is below it, and one path twice.
    let names = ["a", "a/b", "a/b/c", "a/b/c/d", "link", "module", "nothing", "a"];
    let mut paths: Vec<RepoPath> = deep.iter().map(|name| path(name)).collect();
    paths.extend(names.map(path));
    let remote = http(&repo);
    let entries = world.git.entries(&remote, KEY, &commit, &paths).await.expect("entries");
    let words: Vec<_> = entries.iter().map(word).collect();
    assert_eq!(words[..600], ["file"; 600]);
    assert_eq!(
        words[600..],
        ["directory", "directory", "file", "missing", "link", "submodule", "missing", "directory"]
    );
    for number in [0, 300, 599, 602] {
        let one = world.git.entry(&remote, KEY, &commit, &paths[number]).await.expect("an entry");
        assert_eq!(entries[number], one);
    }
}

#[tokio::test]
async fn many_files_are_downloaded_and_read_together() {
    let world = World::start().await;
    let repo = world.host.repository("acme/infra").await;
    let names: Vec<String> = (0..700).map(|number| format!("stacks/{number:03}.yaml")).collect();
    let mut changes: Vec<Change<'_>> = names.iter().map(|name| Change::File(name, name.as_bytes())).collect();
    let large = vec![b'x'; 3_000];
    changes.extend([
        Change::File("large", &large),
        Change::File("twin", b"stacks/007.yaml"),
        Change::File("empty", b""),
        Change::Symlink("link", "twin"),
    ]);
    let commit = id(&repo.change(&changes).await);
    let remote = http(&repo);
    world.git.fetch(&remote, KEY, &commit).await.expect("fetched");
    let mut paths: Vec<RepoPath> = names.iter().map(|name| path(name)).collect();
    paths.extend(["large", "twin", "empty", "link", "nothing"].map(path));
    world.host.clear_log();
    let read = world.git.read_all(&remote, KEY, &commit, &paths, 1_000).await.expect("read");
    for (name, bytes) in names.iter().zip(&read) {
        assert_eq!(bytes.as_deref(), Some(name.as_bytes()));
    }
    assert_eq!(
        read[700..],
        [None, Some(b"stacks/007.yaml".to_vec()), Some(Vec::new()), None, None],
        "what reading one by one says of the others"
    );
    let posts = world.host.requests().iter().filter(|request| request.method == "POST").count();
    assert!(posts <= 4, "{posts} requests for 703 files");
    world.host.clear_log();
    let again = world.git.read_all(&remote, KEY, &commit, &paths, 1_000).await.expect("read");
    assert_eq!(again, read);
    assert_eq!(world.host.requests(), [], "everything is in the cache");
}

#[tokio::test]
async fn the_difference_of_two_commits_is_told_without_reading_files() {
    let world = World::start().await;
    let repo = world.host.repository("acme/infra").await;
    let elsewhere = "1".repeat(40);
    let first = repo
        .change(&[
            Change::File("kept", b"1"),
            Change::File("dir/kept", b"1"),
            Change::File("dir/changed", b"1"),
            Change::File("dir/gone", b"1"),
            Change::File("becomes-directory", b"1"),
            Change::File("becomes-file/below", b"1"),
            Change::Symlink("becomes-module", "kept"),
            Change::File("äöü \"quoted\"", b"1"),
        ])
        .await;
    let second = repo
        .change(&[
            Change::File("dir/changed", b"2"),
            Change::Remove("dir/gone"),
            Change::Remove("becomes-directory"),
            Change::File("becomes-directory/below", b"2"),
            Change::Remove("becomes-file"),
            Change::File("becomes-file", b"2"),
            Change::Submodule("becomes-module", &elsewhere),
            Change::File("äöü \"quoted\"", b"2"),
            Change::File("new/file", b"2"),
        ])
        .await;
    let remote = http(&repo);
    let changes = async |from: &str, to: &str| {
        world.git.changes(&remote, KEY, &id(from), &id(to)).await.expect("compared")
    };
    assert_eq!(changes(&first, &second).await, None, "nobody is asked for the first one");
    world.git.fetch(&remote, KEY, &id(&first)).await.expect("fetched");
    world.host.clear_log();
    let changed = changes(&first, &second).await.expect("both are there");
    assert_eq!(world.host.requests(), []);
    let words: BTreeMap<&str, &str> =
        changed.iter().map(|(path, entry)| (path.as_str(), word(entry))).collect();
    let expected = [
        ("becomes-directory", "directory"),
        ("becomes-directory/below", "file"),
        ("becomes-file", "file"),
        ("becomes-file/below", "missing"),
        ("becomes-module", "submodule"),
        ("dir", "directory"),
        ("dir/changed", "file"),
        ("dir/gone", "missing"),
        ("new", "directory"),
        ("new/file", "file"),
        ("äöü \"quoted\"", "file"),
    ];
    assert_eq!(words, expected.into_iter().collect());
    for (name, entry) in &changed {
        let told = world.git.entry(&remote, KEY, &id(&second), &path(name)).await.expect("an entry");
        assert_eq!(*entry, told, "{name}");
    }
    assert_eq!(changes(&second, &second).await, Some(BTreeMap::new()));

    // Their history does not matter.
    let third = repo.rewrite(&[Change::File("kept", b"1")]).await;
    let changed = changes(&second, &third).await.expect("both are there");
    assert!(!changed.contains_key("kept") && word(&changed["dir/kept"]) == "missing", "{changed:?}");
}

#[tokio::test]
async fn a_cache_that_was_begun_anew_knows_no_difference() {
    let world = World::with(|settings| {
        settings.limits = Limits { max_kept_commits: 1, ..Limits::default() };
    })
    .await;
    let repo = world.host.repository("acme/infra").await;
    let remote = http(&repo);
    let mut commits = Vec::new();
    for number in 0..3 {
        commits.push(id(&repo.commit("file", format!("{number}")).await));
        world.git.fetch(&remote, KEY, &commits[number]).await.expect("fetched");
    }
    let known = world.git.changes(&remote, KEY, &commits[0], &commits[2]).await.expect("looked");
    assert_eq!(known, None);
    std::fs::remove_dir_all(world.cache().join("objects/pack")).expect("deleted");
    let broken = world.git.changes(&remote, KEY, &commits[1], &commits[2]).await.expect("looked");
    assert_eq!(broken, None, "a broken cache is mended by whoever reads next");
    assert_eq!(world.read(&remote, commits[2].as_str(), "file").await.expect("read"), b"2");
}

#[tokio::test]
async fn what_was_read_together_is_read_again_from_memory() {
    let world = World::remembering(1 << 20, |_| {}).await;
    let repo = world.host.repository("acme/infra").await;
    let names: Vec<String> = (0..50).map(|number| format!("{number}.yaml")).collect();
    let mut changes: Vec<Change<'_>> = names.iter().map(|name| Change::File(name, name.as_bytes())).collect();
    changes.extend([Change::File("large", &[b'x'; 2_000]), Change::Symlink("link", "large")]);
    let commit = id(&repo.change(&changes).await);
    let remote = http(&repo);
    let paths: Vec<RepoPath> = names.iter().map(|name| path(name)).collect();
    world.git.read_all(&remote, KEY, &commit, &paths, 1_000).await.expect("read");
    let odd = ["large", "link", "nothing"].map(path);
    world.git.read_all(&remote, KEY, &commit, &odd, 5_000).await.expect("read");

    // Neither the host nor the cache is there any more.
    repo.fail(Fault::Status(500));
    std::fs::remove_dir_all(world.directory.path().join("cache")).expect("deleted");
    let read = async |name: &str, limit| world.git.read(&remote, KEY, &commit, &path(name), limit).await;
    for name in &names {
        assert_eq!(read(name, 100).await.expect("remembered"), name.as_bytes());
    }
    assert_eq!(
        read("large", 1_000).await,
        Err(GitError::TooLarge { path: path("large"), size: Some(2_000), limit: 1_000 })
    );
    assert_eq!(
        read("link", 1_000).await,
        Err(GitError::NotRegularFile { path: path("link"), kind: EntryKind::Symlink })
    );
    assert_eq!(read("nothing", 1_000).await, Err(GitError::Missing { path: path("nothing") }));
    let entries = world.git.entries(&remote, KEY, &commit, &odd).await.expect("remembered");
    assert_eq!(entries.iter().map(word).collect::<Vec<_>>(), ["file", "link", "missing"]);

    // Of another commit or another repository nothing is known.
    let of_another = world.git.read(&remote, "link-2", &commit, &path("1.yaml"), 100).await;
    assert!(matches!(of_another, Err(GitError::Unavailable { .. })), "{of_another:?}");
    let another = id(&repo.commit("1.yaml", "newer").await);
    let of_another = world.git.read(&remote, KEY, &another, &path("1.yaml"), 100).await;
    assert!(matches!(of_another, Err(GitError::Unavailable { .. })), "{of_another:?}");
}
