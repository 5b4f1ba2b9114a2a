//! Repositories and names that are out to harm.

use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use syncline_git::{Egress, Entry, Git, GitError, Remote, RemoteUrl, Settings};
use syncline_model::names::{BranchName, RepoPath};
use syncline_seams::Outside;
use syncline_testkit::repository::Repository;

use crate::world::{KEY, Way, World, both_ways, http, id, path, remote};

both_ways! {
    trees_that_only_an_attacker_makes_are_malformed,
    submodules_are_never_followed,
    pointers_of_large_files_are_read_as_they_are,
    odd_names_of_files_and_branches_are_only_names,
    the_repository_around_the_cache_and_the_one_read_configure_nothing,
    a_directory_named_like_a_command_is_only_a_directory,
}

/// Puts a commit of one raw tree on main; `entries` are lines as `git mktree` takes them, `BLOB` standing for
/// a blob.
pub(crate) async fn commit_raw(repo: &Repository, entries: &str) -> String {
    let blob = repo.served_git(&["hash-object", "-w", "--stdin"], b"../../etc/passwd").await;
    let tree = repo.served_git(&["mktree", "--missing"], entries.replace("BLOB", &blob).as_bytes()).await;
    let body =
        format!("tree {tree}\nauthor A <a@b> 1700000000 +0000\ncommitter A <a@b> 1700000000 +0000\n\nx\n");
    let commit = repo.served_git(&["hash-object", "-w", "-t", "commit", "--stdin"], body.as_bytes()).await;
    repo.served_git(&["update-ref", "refs/heads/main", &commit], b"").await;
    commit
}

async fn trees_that_only_an_attacker_makes_are_malformed(way: Way) {
    let world = World::start_by(way).await;
    let cases = [
        "100644 blob BLOB\t.git\n",
        "100644 blob BLOB\t.GIT\n",
        "100644 blob BLOB\t..\n",
        "100644 blob BLOB\t.\n",
        "120000 blob BLOB\t.gitmodules\n",
    ];
    for (number, entries) in cases.into_iter().enumerate() {
        let repo = world.host.repository(&format!("evil/r{number}")).await;
        let commit = commit_raw(&repo, entries).await;
        let refused = world.git.fetch(&http(&repo), KEY, &id(&commit)).await;
        assert!(matches!(refused, Err(GitError::Malformed { .. })), "{entries}: {refused:?}");
    }
}

async fn submodules_are_never_followed(way: Way) {
    let world = World::start_by(way).await;
    let repo = world.host.repository("acme/infra").await;
    let canary = world.directory.path().join("canary");
    let modules = format!(
        "[submodule \"-u\"]\n\tpath = module\n\turl = ext::sh -c touch% {}\n\tupdate = !touch {}\n",
        canary.display(),
        canary.display()
    );
    repo.commit(".gitmodules", "[submodule \"m\"]\n\tpath = module\n\turl = http://127.0.0.1:9/x\n").await;
    let honest = repo.commit("prod.yaml", "v1").await;
    world.host.clear_log();
    assert_eq!(world.read(&http(&repo), &honest, "prod.yaml").await.expect("read"), b"v1");
    let evil = repo.commit(".gitmodules", &modules).await;
    let read = world.read(&http(&repo), &evil, "prod.yaml").await;
    assert!(matches!(read, Ok(_) | Err(GitError::Malformed { .. })), "{read:?}");
    assert!(!canary.exists());
    assert!(world.host.requests().iter().all(|request| request.target.starts_with("/acme/infra.git/")));
}

async fn pointers_of_large_files_are_read_as_they_are(way: Way) {
    let world = World::start_by(way).await;
    let repo = world.host.repository("acme/infra").await;
    let pointer =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 5\n", "a".repeat(64));
    let attributes = "*.yaml filter=lfs diff=lfs merge=lfs text eol=crlf ident\n";
    let commit = repo.commit_files(&[(".gitattributes", attributes), ("prod.yaml", &pointer)]).await;
    assert_eq!(world.read(&http(&repo), &commit, "prod.yaml").await.expect("read"), pointer.as_bytes());
}

async fn odd_names_of_files_and_branches_are_only_names(way: Way) {
    let world = World::start_by(way).await;
    let repo = world.host.repository("acme/infra").await;
    let names = ["-x", "--upload-pack=x", "a b", "ä/ö", "a\"b", "$(x)", "*", ":(exclude)*", "%2e", "'"];
    for name in names {
        let commit = repo.commit(name, name).await;
        assert_eq!(world.read(&http(&repo), &commit, name).await.expect(name), name.as_bytes(), "{name}");
    }
    for name in ["main;x", "a'b", "$(x)", "ä", "a/-b", "--x", "refs/heads/main"] {
        let Ok(branch) = name.parse::<BranchName>() else { continue };
        let head = repo.on(name).commit("a", name).await;
        assert_eq!(world.head(&http(&repo), branch.as_str()).await, Ok(Some(id(&head))), "{name}");
        assert_eq!(
            world.head(&remote(&repo.file_url()), branch.as_str()).await,
            Ok(Some(id(&head))),
            "{name}"
        );
    }
}

async fn the_repository_around_the_cache_and_the_one_read_configure_nothing(way: Way) {
    let world = World::start_by(way).await;
    let repo = world.host.repository("acme/infra").await;
    let commit = repo.commit("prod.yaml", "v1").await;
    let canary = world.directory.path().join("canary");
    let touch = format!("touch {}", canary.display());
    for key in
        ["uploadpack.packObjectsHook", "core.fsmonitor", "core.sshCommand", "core.alternateRefsCommand"]
    {
        repo.configure(key, &touch).await;
    }
    let around = world.directory.path().join("around");
    std::fs::create_dir_all(around.join(".git/objects")).expect("made");
    std::fs::create_dir_all(around.join(".git/refs")).expect("made");
    std::fs::write(around.join(".git/HEAD"), "ref: refs/heads/main\n").expect("written");
    let config = format!(
        "[core]\n\tfsmonitor = {touch}\n[url \"http://127.0.0.1:9/\"]\n\tinsteadOf = http://\n\tinsteadOf = file://\n"
    );
    std::fs::write(around.join(".git/config"), config).expect("written");
    let mut settings = Settings::new(around.join("data"));
    settings.in_process = way.is_direct();
    settings.egress = world.egress();
    let git = Git::new(settings, Outside::default());
    for remote in [http(&repo), remote(&repo.file_url())] {
        git.heads(&remote, &["main".parse().expect("a branch")]).await.expect("heads");
        let read = git.read(&remote, KEY, &id(&commit), &path("prod.yaml"), 100).await;
        assert_eq!(read.expect("read"), b"v1");
        git.forget(KEY).await.expect("forgotten");
    }
    assert!(!canary.exists());
}

/// Texts that some program on the way could take for more than a name. `CANARY` stands for a file to create.
fn hostile_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("--upload-pack=touch CANARY;".to_owned()),
        Just("-utouch CANARY".to_owned()),
        Just("ext::sh -c touch% CANARY".to_owned()),
        Just("ext::touch%20CANARY".to_owned()),
        Just("$(touch CANARY)".to_owned()),
        Just("`touch CANARY`".to_owned()),
        Just("';touch CANARY;'".to_owned()),
        Just("\ntouch CANARY\n".to_owned()),
        Just("\0".to_owned()),
        Just("|touch${IFS}CANARY".to_owned()),
        Just("--output=CANARY".to_owned()),
        Just("-c".to_owned()),
        Just("core.sshCommand=touch CANARY".to_owned()),
        Just("%0atouch%20CANARY".to_owned()),
        Just("@".to_owned()),
        Just("/".to_owned()),
        Just("..".to_owned()),
        "[ -~]{0,12}",
        "\\PC{0,4}",
    ];
    proptest::collection::vec(piece, 1..4).prop_map(|pieces| pieces.concat())
}

#[test]
fn no_text_becomes_an_option_or_a_command() {
    for way in [Way::Direct, Way::Command] {
        every_operation_with_hostile_texts(way);
    }
}

/// Whatever parses is handed to every operation; nothing may run or be written outside the cache.
fn every_operation_with_hostile_texts(way: Way) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let world = runtime.block_on(World::start_by(way));
    let repo = runtime.block_on(world.host.repository("acme/infra"));
    let commit = id(&runtime.block_on(repo.commit("prod.yaml", "v1")));
    let canary = world.directory.path().join("canary");
    let mut runner = TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
    let texts = (hostile_text(), hostile_text(), hostile_text());
    let outcome = runner.run(&texts, |(owner, name, text)| {
        let armed = |text: &str| text.replace("CANARY", &canary.display().to_string());
        let (owner, name, text) = (armed(&owner), armed(&name), armed(&text));
        let endpoint = world.host.endpoint();
        let files = format!("file://{}", world.host.directory().display());
        let urls = [
            RemoteUrl::of_repository(&endpoint, &owner, &name),
            RemoteUrl::of_repository(&files, &owner, &name),
            format!("{endpoint}/{text}").parse(),
            format!("{files}/{text}").parse(),
            text.parse(),
            repo.url().parse(),
        ];
        runtime.block_on(async {
            for url in urls.into_iter().flatten() {
                let remote = Remote { url, credential: None, ssh: None, extra_root_pem: None };
                let branches: Vec<BranchName> =
                    [&owner, &name, &text].iter().filter_map(|t| t.parse().ok()).collect();
                let _ = world.git.heads(&remote, &branches).await;
                let _ = world.git.fetch(&remote, "injected", &commit).await;
            }
            if let Ok(path) = text.parse::<RepoPath>() {
                let entry = world.git.entry(&http(&repo), KEY, &commit, &path).await;
                assert_eq!(entry, Ok(Entry::Missing), "{path}");
            }
        });
        prop_assert!(!canary.exists());
        prop_assert!(!Path::new("/canary").exists());
        Ok(())
    });
    outcome.expect("no canary");
}

async fn a_directory_named_like_a_command_is_only_a_directory(way: Way) {
    let world = World::start_by(way).await;
    let repo = world.host.repository("acme/infra").await;
    let commit = repo.commit("prod.yaml", "v1").await;
    let odd = world.directory.path().join("a';touch canary;'$(touch canary)%20 b.git");
    let copied = std::process::Command::new("cp").arg("-r").arg(repo.path()).arg(&odd).status();
    assert!(copied.expect("cp runs").success());
    let mut settings = Settings::new(world.directory.path().join("cache"));
    settings.in_process = way.is_direct();
    settings.egress = Egress::new(Vec::new(), vec![world.directory.path().to_owned()]);
    let git = Git::new(settings, Outside::default());
    let name = odd.file_name().expect("a name").to_string_lossy();
    let url = RemoteUrl::of_repository(
        &format!("file://{}", world.directory.path().parent().expect("a parent").display()),
        &world.directory.path().file_name().expect("a name").to_string_lossy(),
        name.strip_suffix(".git").expect("a suffix"),
    );
    let remote = Remote { url: url.expect("a url"), credential: None, ssh: None, extra_root_pem: None };
    let read = git.read(&remote, KEY, &id(&commit), &path("prod.yaml"), 100).await;
    assert_eq!(read.expect("read"), b"v1");
    assert!(!Path::new("/canary").exists());
}
