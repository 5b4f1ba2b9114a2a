//! What SSH hosts may do that a good one does not, and where the key is meanwhile.

use syncline_git::{Git, GitError, InvalidKey, Limits, Remote, Settings, SshAccess};
use syncline_model::names::BranchName;
use syncline_seams::{Outside, Secret};
use syncline_testkit::repository::Change;
use syncline_testkit::ssh_host::generate;

use crate::secrets::{command_lines, holders};
use crate::ssh::Ssh;
use crate::world::{KEY, branch, id, path};

fn branches(count: u32) -> Vec<BranchName> {
    (0..count).map(|number| branch(&format!("topic-{number}"))).collect()
}

#[tokio::test]
async fn limits_hold_by_ssh_as_they_do_by_http() {
    for is_v2 in [true, false] {
        let limits = Limits {
            max_pack_bytes: 40_000,
            max_heads_bytes: 10_000,
            max_memory_bytes: 0,
            ..Limits::default()
        };
        let Some(world) = Ssh::with(|settings| settings.limits = limits).await else { return };
        world.ssh.take_protocol(is_v2);
        let repo = world.host.repository("acme/infra").await;
        repo.configure("uploadpack.allowAnySHA1InWant", "true").await;
        let zeros = vec![0; 1_000_000];
        let small = id(&repo.change(&[Change::File("a.yaml", b"a"), Change::File("zeros", &zeros)]).await);
        let remote = world.remote(&repo);
        assert_eq!(world.read(&remote, &small, "a.yaml").await.expect("read"), b"a");
        let large = world.git.read(&remote, KEY, &small, &path("zeros"), 1_000).await;
        assert!(matches!(large, Err(GitError::TooLarge { .. })), "{large:?}");
        let names: Vec<_> = (0..2_000).map(|number| format!("stack-{number:04}/t-{number}.yaml")).collect();
        let files: Vec<_> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
        let big = id(&repo.commit_files(&files).await);
        let refused = world.git.fetch(&remote, KEY, &big).await;
        assert_eq!(refused, Err(GitError::CommitTooLarge { limit: 40_000 }), "v2: {is_v2}");
        let refs: String = (0..500).map(|n| format!("create refs/heads/topic-{n} {big}\n")).collect();
        repo.served_git(&["update-ref", "--stdin"], refs.as_bytes()).await;
        let cut = world.git.heads(&remote, &branches(500)).await;
        assert!(
            matches!(&cut, Err(GitError::Unavailable { message }) if message.contains("exceeds 10000 bytes")),
            "v2: {is_v2}: {cut:?}"
        );
    }
}

#[tokio::test]
async fn a_commit_that_is_gone_is_told_as_gone() {
    let Some(world) = Ssh::start().await else { return };
    for is_v2 in [true, false] {
        world.ssh.take_protocol(is_v2);
        let repo = world.host.repository(&format!("acme/infra-{is_v2}")).await;
        repo.commit("prod.yaml", "v1").await;
        let gone = id(&"1".repeat(40));
        let refused = world.git.fetch(&world.remote(&repo), KEY, &gone).await;
        assert_eq!(refused, Err(GitError::CommitGone { commit: gone.to_string() }), "v2: {is_v2}");
    }
}

#[tokio::test]
async fn a_host_that_forgets_or_learns_protocol_v2_is_asked_anew() {
    let Some(world) = Ssh::start().await else { return };
    let repo = world.host.repository("acme/infra").await;
    let remote = world.remote(&repo);
    for (round, is_v2) in [true, false, true, false].into_iter().enumerate() {
        let head = id(&repo.commit("prod.yaml", format!("v{round}")).await);
        world.ssh.take_protocol(is_v2);
        // What it takes from clients is read once for each connection, and another key gets another one.
        let remote = world.seen(&repo, &world.ssh.key("ed25519").await, &world.ssh.known_hosts());
        assert_eq!(world.head(&remote).await, Ok(Some(head.clone())), "round {round}");
        let content = world.read(&remote, &head, "prod.yaml").await.expect("read");
        assert_eq!(content, format!("v{round}").as_bytes());
    }
    // A repository of the same name with other object ids: what was remembered is wrong in another way.
    std::fs::remove_dir_all(repo.path()).expect("deleted");
    std::fs::create_dir(repo.path()).expect("made");
    world.ssh.take_protocol(true);
    world.ssh.let_in(&generate("ed25519", "").await.0.public);
    let key = world.ssh.key("ed25519").await;
    let anew = world.seen(&repo, &key, &world.ssh.known_hosts());
    let init = ["init", "--quiet", "--bare", "--object-format=sha256", "--initial-branch=main"];
    repo.served_git(&init, b"").await;
    repo.configure("uploadpack.allowFilter", "true").await;
    let head = crate::hostile::commit_raw(&repo, "100644 blob BLOB\tprod.yaml\n").await;
    assert_eq!(world.head(&anew).await, Ok(Some(id(&head))));
    assert_eq!(world.read(&anew, &id(&head), "prod.yaml").await.expect("sha-256"), b"../../etc/passwd");
    assert_ne!(anew.ssh, remote.ssh);
}

#[tokio::test]
async fn an_empty_repository_has_no_branch() {
    let Some(world) = Ssh::start().await else { return };
    for is_v2 in [true, false] {
        world.ssh.take_protocol(is_v2);
        let repo = world.host.repository(&format!("acme/empty-{is_v2}")).await;
        assert_eq!(world.head(&world.remote(&repo)).await, Ok(None), "v2: {is_v2}");
    }
}

#[tokio::test]
async fn keys_that_cannot_be_used_say_so() {
    let Some(world) = Ssh::start().await else { return };
    let repo = world.host.repository("acme/infra").await;
    let (pair, _) = generate("ed25519", "").await;
    let (encrypted, _) = generate("ed25519", "a passphrase").await;
    let cut = pair.private.replace("-----END", "-----END NOTHING");
    let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----\n";
    for (text, expect) in [
        (pair.public.as_str(), InvalidKey::Public),
        (encrypted.private.as_str(), InvalidKey::Encrypted),
        (cut.as_str(), InvalidKey::Format),
        (pem, InvalidKey::Format),
        ("", InvalidKey::Format),
    ] {
        let remote = world.seen(&repo, text, &world.ssh.known_hosts());
        let access: SshAccess = remote.ssh.clone().expect("a key");
        assert_eq!(access.public_key(), Err(expect));
        let refused = world.head(&remote).await;
        assert!(matches!(refused, Err(GitError::Unauthorized { .. })), "{refused:?}");
    }
    assert_eq!(world.ssh.connections(), 0, "such a key is not even carried there");
    let good = world.remote(&repo).ssh.expect("a key").public_key().expect("a public key");
    assert!(good.starts_with("ssh-ed25519 AAAA"), "{good}");
}

#[tokio::test]
async fn a_key_is_on_no_command_line_in_no_environment_and_in_no_file() {
    let Some(world) = Ssh::start().await else { return };
    let repo = world.host.repository("acme/infra").await;
    let commit = id(&repo.commit("prod.yaml", "v1").await);
    let remote = world.remote(&repo);
    // A line out of the middle of it.
    let canary = world.key.lines().nth(2).expect("a line").to_owned();
    let seen = async {
        for _ in 0_u64.. {
            let lines = command_lines().into_iter().filter(|line| line.contains(&canary)).collect::<Vec<_>>();
            assert_eq!((lines, holders(&canary)), (Vec::new(), Vec::new()));
            tokio::task::yield_now().await;
        }
    };
    let used = async {
        world.head(&remote).await.expect("a head");
        world.read(&remote, &commit, "prod.yaml").await.expect("read")
    };
    let read = tokio::select! {
        () = seen => unreachable!("it looks for ever"),
        read = used => read,
    };
    assert_eq!(read, b"v1");
    assert!(!format!("{remote:?}").contains(&canary));
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
            assert!(!String::from_utf8_lossy(&content).contains(&canary), "{}", entry.path().display());
        }
    }
    assert!(files > 3, "the cache holds files");
}

#[tokio::test]
async fn a_name_that_changes_its_address_gains_nothing_by_ssh() {
    let Some(world) = Ssh::start().await else { return };
    let repo = world.host.repository("acme/infra").await;
    let head = id(&repo.commit("prod.yaml", "v1").await);
    let mut settings = Settings::new(world.directory.path().join("other"));
    let egress = syncline_git::Egress::new(vec!["127.0.0.1".parse().expect("a network")], Vec::new());
    let answers =
        [Ok(vec!["127.0.0.1"]), Ok(vec!["127.0.0.1"]), Ok(vec!["10.0.0.1"]), Ok(vec!["169.254.169.254"])];
    settings.egress = egress.with_resolver(crate::egress::Scripted::new(answers));
    let git = Git::new(settings, Outside::default());
    let port = world.ssh.address().port();
    let url = world.ssh.url(&repo).replace("127.0.0.1", "git.example.test");
    let line = world.ssh.known_hosts().replace("[127.0.0.1]", "[git.example.test]");
    let remote = Remote { url: url.parse().expect("a url"), ..world.remote(&repo) };
    let known = syncline_git::HostKeys::read(&line, &remote.url).expect("host keys");
    let key = Secret::new(world.key.clone());
    let remote = Remote { ssh: Some(SshAccess { username: None, key, host_keys: known }), ..remote };
    assert_eq!(remote.url.host(), Some(format!("git.example.test:{port}")));
    let main = [branch("main")];
    for _ in 0..2 {
        assert_eq!(git.heads(&remote, &main).await.expect("heads").into_values().next(), Some(head.clone()));
    }
    // The connection is still there, and is of no use any more.
    for _ in 0..2 {
        let refused = git.heads(&remote, &main).await;
        assert!(matches!(refused, Err(GitError::RefusedByPolicy { .. })), "{refused:?}");
    }
    assert_eq!(world.ssh.connections(), 1);
}
