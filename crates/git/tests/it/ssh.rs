//! Repositories behind a real OpenSSH server.

use std::time::Duration;

use syncline_git::{Entry, Git, GitError, HostKeys, Limits, Proxy, Remote, Settings, SshAccess};
use syncline_model::names::ObjectId;
use syncline_seams::{Outside, Secret};
use syncline_testkit::git_host::GitHost;
use syncline_testkit::proxy as testkit;
use syncline_testkit::repository::Repository;
use syncline_testkit::ssh_host::{SshFault, SshHost, generate};
use tempfile::TempDir;

use crate::world::{KEY, branch, id, path, remote};

/// A Git host behind SSH, and who reads it.
pub(crate) struct Ssh {
    pub(crate) git: Git,
    pub(crate) ssh: SshHost,
    pub(crate) host: GitHost,
    pub(crate) directory: TempDir,
    pub(crate) key: String,
}

impl Ssh {
    /// `None` where there is no OpenSSH.
    pub(crate) async fn start() -> Option<Self> {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Option<Self> {
        let host = GitHost::start().await;
        let ssh = SshHost::start(&host).await?;
        let key = ssh.key("ed25519").await;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut settings = Settings::new(directory.path().join("cache"));
        settings.egress =
            syncline_git::Egress::new(vec!["127.0.0.1".parse().expect("a network")], Vec::new());
        settings.limits.max_memory_bytes = 0;
        change(&mut settings);
        Some(Self { git: Git::new(settings, Outside::default()), ssh, host, directory, key })
    }

    /// The repository as whoever has this key and knows the host by these lines sees it.
    pub(crate) fn seen(&self, repository: &Repository, key: &str, lines: &str) -> Remote {
        let remote = remote(&self.ssh.url(repository));
        let host_keys = HostKeys::read(lines, &remote.url).expect("host keys");
        Remote { ssh: Some(SshAccess { username: None, key: Secret::new(key), host_keys }), ..remote }
    }

    pub(crate) fn remote(&self, repository: &Repository) -> Remote {
        self.seen(repository, &self.key, &self.ssh.known_hosts())
    }

    pub(crate) async fn head(&self, remote: &Remote) -> Result<Option<ObjectId>, GitError> {
        let main = branch("main");
        Ok(self.git.heads(remote, std::slice::from_ref(&main)).await?.remove(&main))
    }

    pub(crate) async fn read(
        &self,
        remote: &Remote,
        commit: &ObjectId,
        name: &str,
    ) -> Result<Vec<u8>, GitError> {
        self.git.read(remote, KEY, commit, &path(name), 1 << 20).await
    }
}

#[tokio::test]
async fn servers_of_every_age_are_read_by_ssh() {
    let Some(world) = Ssh::start().await else { return };
    for (number, (is_v2, filter, any)) in [
        (true, "true", "true"),
        (true, "false", "true"),
        (false, "true", "true"),
        (false, "false", "false"),
        (false, "true", "false"),
    ]
    .into_iter()
    .enumerate()
    {
        let what = format!("v2: {is_v2}, filter: {filter}, any object: {any}");
        let key = format!("link-{number}");
        world.ssh.take_protocol(is_v2);
        let repo = world.host.repository(&format!("acme/infra-{number}")).await;
        repo.configure("uploadpack.allowFilter", filter).await;
        repo.configure("uploadpack.allowAnySHA1InWant", any).await;
        let remote = world.remote(&repo);
        let mut before: Option<ObjectId> = None;
        for version in ["v1", "v2", "v3"] {
            repo.commit_files(&[("prod.yaml", version), ("other.yaml", version), ("same.yaml", "same")])
                .await;
            let head = world.head(&remote).await.expect(&what).expect(&what);
            assert_eq!(world.git.heads(&remote, &[branch("gone")]).await.expect(&what).len(), 0, "{what}");
            world.git.fetch(&remote, &key, &head).await.expect(&what);
            for (name, content) in [("prod.yaml", version), ("other.yaml", version), ("same.yaml", "same")] {
                let read = world.git.read(&remote, &key, &head, &path(name), 1 << 20).await;
                assert_eq!(read.expect(&what), content.as_bytes(), "{what} {name}");
            }
            let missing = world.git.entry(&remote, &key, &head, &path("none.yaml")).await;
            assert_eq!(missing, Ok(Entry::Missing), "{what}");
            if let Some(before) = before.replace(head.clone()) {
                let changes = world.git.changes(&remote, &key, &before, &head).await.expect(&what);
                let names: Vec<_> = changes.expect(&what).into_keys().collect();
                assert_eq!(names, ["other.yaml", "prod.yaml"], "{what}");
            }
        }
    }
}

#[tokio::test]
async fn one_connection_serves_all_that_is_asked_with_one_key() {
    let Some(world) = Ssh::start().await else { return };
    let repo = world.host.repository("acme/infra").await;
    let other = world.host.repository("acme/other").await;
    for repo in [&repo, &other] {
        let head = id(&repo.commit("prod.yaml", "v1").await);
        let remote = world.remote(repo);
        for _ in 0..2 {
            assert_eq!(world.head(&remote).await, Ok(Some(head.clone())));
        }
        let key = repo.name();
        world.git.read(&remote, key, &head, &path("prod.yaml"), 100).await.expect("read");
    }
    assert_eq!(world.ssh.connections(), 1, "whoever asks next goes on with it");

    // Another key, or another idea of the host, does not share it.
    let pair = generate("ecdsa", "").await.0;
    world.ssh.let_in(&pair.public);
    assert!(world.head(&world.seen(&repo, &pair.private, &world.ssh.known_hosts())).await.is_ok());
    let by_fingerprint = world.seen(&repo, &pair.private, &world.ssh.fingerprint().await);
    assert!(world.head(&by_fingerprint).await.is_ok());
    assert_eq!(world.ssh.connections(), 3);
}

#[tokio::test]
async fn keys_of_every_type_are_let_in() {
    let Some(world) = Ssh::start().await else { return };
    let repo = world.host.repository("acme/infra").await;
    let head = id(&repo.commit("prod.yaml", "v1").await);
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let key = world.ssh.key(kind).await;
        world.ssh.change_host_key(kind).await;
        let remote = world.seen(&repo, &key, &world.ssh.known_hosts());
        assert_eq!(world.head(&remote).await, Ok(Some(head.clone())), "{kind}");
        // As it is copied out of a terminal, or stored on Windows.
        let copied = format!("\n{}", key.trim().replace('\n', "\r\n"));
        let remote = world.seen(&repo, &copied, &world.ssh.known_hosts());
        assert_eq!(world.head(&remote).await, Ok(Some(head.clone())), "{kind}");
    }
}

#[tokio::test]
async fn a_key_that_is_not_let_in_is_told_by_its_public_half() {
    let Some(world) = Ssh::start().await else { return };
    let repo = world.host.repository("acme/infra").await;
    let head = id(&repo.commit("prod.yaml", "v1").await);
    let pair = generate("ed25519", "").await.0;
    let remote = world.seen(&repo, &pair.private, &world.ssh.known_hosts());
    let Err(GitError::Unauthorized { message }) = world.head(&remote).await else { panic!("it is let in") };
    let public = pair.public.trim().rsplit_once(' ').expect("a comment").0;
    assert!(message.contains(public) && message.contains("SHA256:"), "{message}");
    let fetched = world.git.fetch(&remote, KEY, &head).await;
    assert!(matches!(fetched, Err(GitError::Unauthorized { .. })), "{fetched:?}");
    // As soon as it is added, it works.
    world.ssh.let_in(&pair.public);
    assert_eq!(world.head(&remote).await, Ok(Some(head)));

    let nobody = Remote { ssh: None, ..remote };
    assert!(matches!(world.head(&nobody).await, Err(GitError::Unauthorized { .. })));
}

#[tokio::test]
async fn a_host_that_shows_another_key_is_shown_none_of_ours() {
    let Some(world) = Ssh::start().await else { return };
    let repo = world.host.repository("acme/infra").await;
    let head = id(&repo.commit("prod.yaml", "v1").await);
    let known = world.ssh.known_hosts();
    let before = world.ssh.fingerprint().await;
    for kind in ["ed25519", "ecdsa"] {
        world.ssh.change_host_key(kind).await;
        let refused = world.head(&world.seen(&repo, &world.key, &known)).await;
        let Err(GitError::UnknownHost { message }) = refused else { panic!("{refused:?}") };
        assert!(message.contains(&before), "{message}");
        let shown =
            if kind == "ed25519" { world.ssh.fingerprint().await } else { "ecdsa-sha2-nistp256".to_owned() };
        assert!(message.contains(&shown), "{message}");
    }
    // Whoever knows the host by both goes on through the change.
    world.ssh.change_host_key("ed25519").await;
    let both = format!("{known}\n{}", world.ssh.known_hosts());
    assert_eq!(world.head(&world.seen(&repo, &world.key, &both)).await, Ok(Some(head)));
    let nothing = world.head(&world.seen(&repo, &world.key, "")).await;
    assert!(matches!(nothing, Err(GitError::UnknownHost { .. })), "{nothing:?}");
}

#[tokio::test]
async fn an_introduction_pins_the_key_that_was_confirmed() {
    let Some(world) = Ssh::start().await else { return };
    let repo = world.host.repository("acme/infra").await;
    let unknown = world.git.introduce(&world.seen(&repo, &world.key, "")).await;
    let Err(GitError::UnknownHost { message }) = unknown else { panic!("{unknown:?}") };
    let fingerprint = world.ssh.fingerprint().await;
    assert!(message.contains(&fingerprint), "{message}");
    let confirmed = world.git.introduce(&world.seen(&repo, &world.key, &fingerprint)).await.expect("known");
    let line = world.ssh.known_hosts();
    let key: Vec<&str> = line.split(' ').skip(1).take(2).collect();
    assert_eq!(confirmed.to_string(), format!("{}\n", key.join(" ")));
    // A host with several keys shows one, which may not be the one that a person was told of.
    let other = format!("SHA256:{}", "a".repeat(43));
    let alarmed = world.git.introduce(&world.seen(&repo, &world.key, &other)).await;
    let Err(GitError::UnknownHost { message }) = alarmed else { panic!("{alarmed:?}") };
    assert!(message.contains(&fingerprint) && message.contains(&other), "{message}");
    assert!(message.contains("several keys, of which this is the one of type ssh-ed25519"), "{message}");
    let stranger = generate("ed25519", "").await.0;
    let refused = world.git.introduce(&world.seen(&repo, &stranger.private, &line)).await;
    assert!(matches!(refused, Err(GitError::Unauthorized { .. })), "{refused:?}");
    world.ssh.fail(SshFault::Disconnect);
    let away = world.git.introduce(&world.seen(&repo, &world.key, &line)).await;
    assert!(matches!(away, Err(GitError::Unavailable { .. })), "{away:?}");
}

#[tokio::test]
async fn a_repository_is_not_there_or_called_what_a_shell_would_read() {
    let Some(world) = Ssh::start().await else { return };
    let repo = world.host.repository("acme/infra").await;
    let head = id(&repo.commit("prod.yaml", "v1").await);
    let mut gone = world.remote(&repo);
    gone.url = format!("{}/acme/gone.git", world.ssh.endpoint()).parse().expect("a url");
    let refused = world.head(&gone).await;
    assert!(matches!(refused, Err(GitError::RepositoryNotFound { .. })), "{refused:?}");

    // A name that is one part of a path, with everything in it that a shell reads.
    let odd = "it's $(touch canary)`touch canary`;touch canary&!*";
    std::fs::create_dir_all(world.host.directory().join("odd")).expect("made");
    std::os::unix::fs::symlink(repo.path(), world.host.directory().join("odd").join(format!("{odd}.git")))
        .expect("linked");
    let url = syncline_git::RemoteUrl::of_repository(&world.ssh.endpoint(), "odd", odd).expect("a url");
    let mut remote = world.remote(&repo);
    remote.url = url;
    assert_eq!(world.head(&remote).await, Ok(Some(head.clone())));
    assert_eq!(world.read(&remote, &head, "prod.yaml").await.expect("read"), b"v1");
    assert!(!world.host.directory().join("canary").exists(), "a shell read the path");
}

#[tokio::test]
async fn a_host_that_hangs_or_is_no_ssh_host_is_unavailable() {
    let soon = Duration::from_millis(500);
    let limits = Limits { heads_timeout: soon, max_memory_bytes: 0, ..Limits::default() };
    let Some(world) = Ssh::with(|settings| settings.limits = limits).await else { return };
    let repo = world.host.repository("acme/infra").await;
    repo.commit("prod.yaml", "v1").await;
    let remote = world.remote(&repo);
    for fault in [SshFault::Hang, SshFault::Disconnect, SshFault::Http] {
        world.ssh.fail(fault);
        let refused = world.head(&remote).await;
        assert!(matches!(refused, Err(GitError::Unavailable { .. })), "{fault:?}: {refused:?}");
    }
}

#[tokio::test]
async fn nothing_is_dialled_that_the_rules_do_not_admit() {
    let Some(world) = Ssh::with(|settings| settings.egress = syncline_git::Egress::default()).await else {
        return;
    };
    let repo = world.host.repository("acme/infra").await;
    let remote = world.remote(&repo);
    let refused = [world.head(&remote).await.map(|_| ()), world.git.introduce(&remote).await.map(|_| ())];
    for refused in refused {
        assert!(matches!(refused, Err(GitError::RefusedByPolicy { .. })), "{refused:?}");
    }
    assert_eq!(world.ssh.connections(), 0);
}

#[tokio::test]
async fn an_ssh_host_is_not_gone_to_past_the_proxy() {
    let proxy = testkit::Proxy::start().await;
    let by = Proxy::parse(&Secret::new(proxy.url(""))).expect("a proxy");
    let with = |settings: &mut Settings| settings.egress = settings.egress.clone().through_proxy(by);
    let Some(world) = Ssh::with(with).await else { return };
    let repo = world.host.repository("acme/infra").await;
    let head = id(&repo.commit("prod.yaml", "v1").await);
    let remote = world.remote(&repo);
    for refused in [
        world.head(&remote).await.map(|_| ()),
        world.git.introduce(&remote).await.map(|_| ()),
        world.git.fetch(&remote, KEY, &head).await,
    ] {
        let Err(GitError::RefusedByPolicy { message }) = refused else { panic!("{refused:?}") };
        assert!(message.contains("(--egress-proxy): give the repository's https:// URL"), "{message}");
    }
    assert_eq!((world.ssh.connections(), proxy.asked().len()), (0, 0));
}
