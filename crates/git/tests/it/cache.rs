//! The cache is disposable: whatever happens to it, the answers stay right.

use std::fs;
use std::path::PathBuf;

use syncline_git::{Entry, GitError, Limits};

use crate::world::{KEY, World, http, id, path};

fn packs(world: &World, extension: &str) -> Vec<PathBuf> {
    fs::read_dir(world.cache().join("objects/pack"))
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect()
}

fn make_writable(file: &PathBuf) {
    let mut permissions = fs::metadata(file).expect("a pack").permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "a test's own temporary file")]
    permissions.set_readonly(false);
    fs::set_permissions(file, permissions).expect("writable");
}

#[tokio::test]
async fn a_damaged_cache_is_fetched_anew() {
    type Damage = fn(&World);
    let damages: [(&str, Damage); 8] = [
        ("deleted", |world| fs::remove_dir_all(world.cache()).expect("deleted")),
        ("all caches deleted", |world| {
            fs::remove_dir_all(world.directory.path().join("cache")).expect("deleted");
        }),
        ("packs deleted", |world| {
            fs::remove_dir_all(world.cache().join("objects/pack")).expect("deleted");
        }),
        ("packs emptied", |world| {
            for pack in packs(world, "pack") {
                make_writable(&pack);
                fs::write(pack, b"").expect("emptied");
            }
        }),
        ("packs overwritten", |world| {
            for pack in packs(world, "pack") {
                make_writable(&pack);
                let noise = vec![0x5a; fs::metadata(&pack).expect("a pack").len() as usize];
                fs::write(pack, noise).expect("overwritten");
            }
        }),
        ("indexes deleted", |world| {
            for index in packs(world, "idx") {
                fs::remove_file(index).expect("deleted");
            }
        }),
        ("not a repository any more", |world| fs::remove_file(world.cache().join("HEAD")).expect("deleted")),
        ("configuration overwritten", |world| {
            fs::write(world.cache().join("config"), "[core]\n\thooksPath = /tmp\nnonsense").expect("written");
        }),
    ];
    let world = World::start().await;
    let repo = world.host.repository("acme/infra").await;
    for (what, damage) in damages {
        let old = repo.commit("prod.yaml", format!("old, {what}")).await;
        let _ = world.read(&http(&repo), &old, "prod.yaml").await.expect(what);
        damage(&world);
        let told = world.read(&http(&repo), &old, "prod.yaml").await.expect(what);
        assert_eq!(told, format!("old, {what}").into_bytes(), "the commit already seen");

        damage(&world);
        let new = repo.commit("prod.yaml", format!("new, {what}")).await;
        world.git.fetch(&http(&repo), KEY, &id(&new)).await.expect(what);
        let told = world.read(&http(&repo), &new, "prod.yaml").await.expect(what);
        assert_eq!(told, format!("new, {what}").into_bytes(), "the next commit");
    }
}

#[tokio::test]
async fn locks_left_by_a_killed_process_do_no_harm() {
    let world = World::start().await;
    let repo = world.host.repository("acme/infra").await;
    let first = repo.commit("prod.yaml", "v1").await;
    world.git.fetch(&http(&repo), KEY, &id(&first)).await.expect("fetch");
    let second = repo.commit("prod.yaml", "v2").await;
    for lock in ["shallow.lock", &format!("refs/syncline/{second}.lock"), "objects/pack/tmp_pack_aBcDeF"] {
        fs::write(world.cache().join(lock), "").expect("a lock");
    }
    assert_eq!(world.read(&http(&repo), &second, "prod.yaml").await.expect("read"), b"v2");
}

#[tokio::test]
async fn what_interrupted_downloads_left_is_removed() {
    let world = World::start().await;
    let repo = world.host.repository("acme/infra").await;
    let first = repo.commit("prod.yaml", "v1").await;
    world.git.fetch(&http(&repo), KEY, &id(&first)).await.expect("fetch");
    let left = world.cache().join("objects/pack/tmp_pack_aBcDeF");
    fs::write(&left, "half a pack").expect("written");
    let second = repo.commit("prod.yaml", "v2").await;
    world.git.fetch(&http(&repo), KEY, &id(&second)).await.expect("fetch");
    assert!(!left.exists());
    assert!(world.cache().join("refs/syncline").join(&first).exists(), "the rest is kept");
}

#[tokio::test]
async fn a_mark_without_its_objects_is_not_believed() {
    let world = World::start().await;
    let repo = world.host.repository("acme/infra").await;
    let first = repo.commit("prod.yaml", "v1").await;
    world.git.fetch(&http(&repo), KEY, &id(&first)).await.expect("fetch");
    let second = repo.commit("prod.yaml", "v2").await;
    fs::write(world.cache().join("refs/syncline").join(&second), format!("{second}\n")).expect("written");
    let entry = world.git.entry(&http(&repo), KEY, &id(&second), &path("prod.yaml")).await;
    assert!(matches!(entry, Ok(Entry::File { .. })), "{entry:?}");
    assert_eq!(world.read(&http(&repo), &second, "prod.yaml").await.expect("read"), b"v2");
}

#[tokio::test]
async fn an_overgrown_cache_begins_anew() {
    let world =
        World::with(|settings| settings.limits = Limits { max_kept_commits: 3, ..Limits::default() }).await;
    let repo = world.host.repository("acme/infra").await;
    let mut commits = Vec::new();
    for number in 0..8 {
        let commit = repo.commit("prod.yaml", format!("v{number}")).await;
        world.git.fetch(&http(&repo), KEY, &id(&commit)).await.expect("fetch");
        commits.push(commit);
        let kept = fs::read_dir(world.cache().join("refs/syncline")).expect("marks").count();
        assert!(kept <= 4, "{kept} commits are kept");
    }
    assert_eq!(world.read(&http(&repo), &commits[0], "prod.yaml").await.expect("the oldest"), b"v0");
}

#[tokio::test]
async fn a_later_commit_downloads_only_what_changed() {
    let world = World::start().await;
    let repo = world.host.repository("acme/infra").await;
    let names: Vec<_> = (0..500).map(|number| format!("stack-{number:03}/template-{number}.yaml")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
    let first = repo.commit_files(&files).await;
    world.host.clear_log();
    world.git.fetch(&http(&repo), KEY, &id(&first)).await.expect("fetch");
    let answered =
        |world: &World| world.host.requests().iter().map(|request| request.answered_bytes).sum::<usize>();
    let whole = answered(&world);
    let second = repo.commit(&names[7], "changed").await;
    world.host.clear_log();
    world.git.fetch(&http(&repo), KEY, &id(&second)).await.expect("fetch");
    assert!(answered(&world) * 5 < whole, "{} of {whole} bytes", answered(&world));
    assert_eq!(world.read(&http(&repo), &second, &names[7]).await.expect("read"), b"changed");
    assert_eq!(world.read(&http(&repo), &second, &names[8]).await.expect("read"), names[8].as_bytes());
}

#[tokio::test]
async fn many_reads_at_once_agree() {
    let world = World::start().await;
    let repo = world.host.repository("acme/infra").await;
    let one = repo.commit_files(&[("a", "a1"), ("b", "b1")]).await;
    let two = repo.commit_files(&[("a", "a2"), ("b", "b2")]).await;
    let remote = http(&repo);
    let read = |commit, name| world.read(&remote, commit, name);
    let (a1, b1, a2, b2) = tokio::join!(read(&one, "a"), read(&one, "b"), read(&two, "a"), read(&two, "b"));
    let told = [a1, b1, a2, b2].map(|read| String::from_utf8(read.expect("read")).expect("text"));
    assert_eq!(told, ["a1", "b1", "a2", "b2"]);
}

#[tokio::test]
async fn a_forgotten_repository_leaves_nothing() {
    let world = World::start().await;
    let repo = world.host.repository("acme/infra").await;
    let commit = repo.commit("prod.yaml", "v1").await;
    world.git.fetch(&http(&repo), KEY, &id(&commit)).await.expect("fetch");
    assert!(world.cache().exists());
    world.git.forget(KEY).await.expect("forgotten");
    assert!(!world.cache().exists());
    world.git.forget(KEY).await.expect("forgotten twice");
}

#[tokio::test]
async fn keys_that_could_leave_the_cache_are_refused() {
    let world = World::start().await;
    let repo = world.host.repository("acme/infra").await;
    let commit = id(&repo.commit("prod.yaml", "v1").await);
    for key in ["", ".", "..", "../x", "a/b", "/x", "-x", ".x", "a\0b", "ä", &"x".repeat(129)] {
        let refused = world.git.fetch(&http(&repo), key, &commit).await;
        assert!(matches!(refused, Err(GitError::Internal { .. })), "{key:?}: {refused:?}");
    }
}

#[tokio::test]
async fn calls_can_run_on_any_thread() {
    fn sendable<T: Send>(_: &T) {}
    let world = World::start().await;
    let repo = world.host.repository("acme/infra").await;
    let commit = id(&repo.commit("prod.yaml", "v1").await);
    let (remote, name) = (http(&repo), path("prod.yaml"));
    sendable(&world.git.heads(&remote, &[]));
    sendable(&world.git.entry(&remote, KEY, &commit, &name));
    let read = world.git.read(&remote, KEY, &commit, &name, 2);
    sendable(&read);
    assert_eq!(read.await.expect("read"), b"v1");
}
