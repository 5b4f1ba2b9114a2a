//! Repositories of type `Git` behind real servers: OpenSSH with a key, and HTTPS with a private authority and a login.

use aws_sdk_codeconnections::types::VpcConfiguration;
use serde_json::{Value, json};
use syncline_seams::{Faults, Injected, Moment};
use syncline_testkit::repository::Repository;
use syncline_testkit::ssh_host::{SshFault, SshHost, generate};
use syncline_testkit::world::World;

use super::forges::{is_nowhere, private_host};
use super::{deployment, template};

/// A world with an SSH host that has a repository, a PENDING connection to it, and a key that the host lets in.
struct Scene {
    world: World,
    ssh: SshHost,
    repo: Repository,
    connection: String,
    key: String,
}

impl Scene {
    /// `None` where there is no OpenSSH.
    async fn start(world: World) -> Option<Self> {
        let ssh = SshHost::start(&world.git).await?;
        let repo = world.repository("acme/infra").await;
        repo.commit_files(&[("prod.yaml", &deployment("one")), ("template.yaml", &template(""))]).await;
        let key = ssh.key("ed25519").await;
        let connection = world.connection_of("ssh", "Git", Some(&ssh.endpoint())).await;
        Some(Self { world, ssh, repo, connection, key })
    }

    async fn authorize(&self, body: &Value) -> (u16, Value) {
        let id = self.connection.rsplit('/').next().expect("an id");
        let (status, answer) = self.world.rest("POST", &format!("/connections/{id}/authorize"), body).await;
        assert!(!answer.to_string().contains(&canary(&self.key)), "{answer}");
        (status, answer)
    }

    async fn refused(&self, body: Value, code: &str, words: &[&str]) {
        let (status, answer) = self.authorize(&body).await;
        assert_eq!((status, answer["code"].as_str()), (400, Some(code)), "{answer}");
        let message = answer["message"].as_str().expect("a message");
        for words in words {
            assert!(message.contains(words), "'{words}' is not in '{message}'");
        }
    }

    /// Links the repository and syncs it.
    async fn synced(&self) {
        let (status, answer) =
            self.authorize(&json!({"sshKey": self.key, "hostKeys": self.ssh.known_hosts()})).await;
        assert_eq!((status, &answer["connectionStatus"]), (200, &json!("AVAILABLE")), "{answer}");
        let link = self.world.link(&self.connection, &self.repo).await;
        self.world.sync(&link, "web", "main", "prod.yaml").await;
        self.world.settle().await;
        let attempts = self.world.attempts("web", &self.repo).await;
        assert_eq!(attempts, "SUCCEEDED   commit 1\n", "{}", self.world.blockers("web").await);
    }

    /// Looks again and again; the connection's status then, and the newest blocker.
    async fn after_a_while(&self) -> (String, String) {
        for _ in 0..6 {
            self.world.settle().await;
        }
        let blockers = self.world.blockers("web").await;
        let newest = blockers.lines().next().unwrap_or_default().to_owned();
        (self.world.connection_status(&self.connection).await, newest)
    }
}

/// A line of a private key that is to be seen nowhere.
fn canary(key: &str) -> String {
    key.lines().nth(2).expect("a line").to_owned()
}

#[tokio::test]
async fn a_repository_is_linked_polled_and_synced_by_ssh() {
    for is_v2 in [true, false] {
        let Some(scene) = Scene::start(World::start().await).await else { return };
        scene.ssh.take_protocol(is_v2);
        scene.synced().await;
        let (world, repo) = (&scene.world, &scene.repo);
        repo.commit("prod.yaml", deployment("two")).await;
        world.settle().await;
        let attempts = world.attempts("web", repo).await;
        assert_eq!(attempts, "SUCCEEDED   commit 1\nSUCCEEDED   commit 2\n", "v2: {is_v2}");
        is_nowhere(world, &canary(&scene.key));
        // What the connection's key is sealed with changes like any other.
        let keyring = world.parts().store.keyring();
        keyring.rotate(usize::MAX, syncline_store::Change::unrecorded()).await.expect("rotated");
        repo.commit("prod.yaml", deployment("three")).await;
        world.settle().await;
        assert!(world.attempts("web", repo).await.ends_with("SUCCEEDED   commit 3\n"));
    }
}

#[tokio::test]
async fn a_host_is_confirmed_before_a_key_is_stored() {
    let Some(scene) = Scene::start(World::start().await).await else { return };
    let (wrong, fingerprint) = ("ValidationException", scene.ssh.fingerprint().await);
    let known = scene.ssh.known_hosts();
    let stranger = generate("ed25519", "").await.0;
    let encrypted = generate("ed25519", "a passphrase").await.0;
    let another = format!("SHA256:{}", "A".repeat(43));
    let (nothing, at) = ("nothing was stored", scene.ssh.address());
    for (body, words) in [
        (json!({"sshKey": scene.key}), &[fingerprint.as_str(), "ssh-ed25519", "--host-key", nothing][..]),
        (json!({"sshKey": scene.key, "hostKeys": another}), &[&fingerprint, &another, "in between", nothing]),
        (
            json!({"sshKey": scene.key, "hostKeys": format!("[{}]:{} ssh-ed25519 AAAA", at.ip(), at.port())}),
            &["line 1", nothing],
        ),
        (
            json!({"sshKey": scene.key, "hostKeys": "@revoked elsewhere.example ssh-ed25519 AAAA"}),
            &["no line is about", nothing],
        ),
        (
            json!({"sshKey": stranger.private, "hostKeys": known}),
            &["add its public key there", "ssh-ed25519 AAAA"],
        ),
        (json!({"sshKey": stranger.public, "hostKeys": known}), &["public key", ".pub", nothing]),
        (json!({"sshKey": encrypted.private, "hostKeys": known}), &["passphrase", "ssh-keygen", nothing]),
        (json!({"sshKey": "x".repeat(40_000), "hostKeys": known}), &["at most"]),
        (json!({"sshKey": scene.key, "hostKeys": known, "token": "t"}), &["a token or an SSH key"]),
        (json!({"sshKey": scene.key, "hostKeys": known, "username": "somebody-else"}), &["names the user"]),
        (json!({"token": "t"}), &["reached by SSH"]),
        (json!({}), &["reached by SSH"]),
    ] {
        scene.refused(body, wrong, words).await;
    }
    for fault in [SshFault::Disconnect, SshFault::Http] {
        scene.ssh.fail(fault);
        let body = json!({"sshKey": scene.key, "hostKeys": known});
        scene.refused(body, "ResourceUnavailableException", &[nothing, "try again"]).await;
    }
    scene.ssh.recover();
    assert_eq!(scene.world.connection_status(&scene.connection).await, "PENDING");
    is_nowhere(&scene.world, &canary(&scene.key));
    let (status, answer) = scene.authorize(&json!({"sshKey": scene.key, "hostKeys": fingerprint})).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["hostKeys"], json!(format!("ssh-ed25519 {fingerprint}")));

    // A key is of no use where there is no SSH host.
    let by_http = scene.world.connection_of("http", "Git", Some(&scene.world.git.endpoint())).await;
    let elsewhere = Scene { connection: by_http, ..scene };
    elsewhere.refused(json!({"sshKey": elsewhere.key}), wrong, &["not reached by SSH"]).await;
    let github = elsewhere.world.client.create_host().name("ghes").provider_endpoint("ssh://git@192.0.2.1");
    let refused =
        github.provider_type("GitHubEnterpriseServer".into()).send().await.expect_err("no SSH there");
    let message = refused.into_service_error().meta().message().unwrap_or_default().to_owned();
    assert!(message.contains("ProviderType Git only"), "{message}");
}

#[tokio::test]
async fn a_host_that_does_not_answer_in_time_is_told_as_such() {
    let faults = Faults::none();
    let Some(scene) = Scene::start(World::with_faults(faults.clone()).await).await else { return };
    let body = || json!({"sshKey": scene.key, "hostKeys": scene.ssh.known_hosts()});
    for (moment, injected) in [(Moment::Before, Injected::TimeOut), (Moment::After, Injected::Fail)] {
        faults.inject("git.introduce", moment, injected, 1);
        scene.refused(body(), "ResourceUnavailableException", &["try again"]).await;
    }
    scene.synced().await;
}

#[tokio::test]
async fn a_connection_is_in_error_while_its_key_is_refused_and_recovers_by_itself() {
    let Some(scene) = Scene::start(World::start().await).await else { return };
    scene.synced().await;
    let (world, repo) = (&scene.world, &scene.repo);
    // A connection that is kept was let in before; forgetting it is the host's to do.
    let another = generate("ed25519", "").await.0;
    scene.ssh.let_in(&another.public);
    scene.ssh.close_connections();
    repo.commit("prod.yaml", deployment("two")).await;
    let (status, blocker) = scene.after_a_while().await;
    assert_eq!(status, "ERROR");
    assert!(
        blocker.starts_with("ACTIVE   CREDENTIAL_REFUSED: ") && blocker.contains("add its public key"),
        "{blocker}"
    );

    // A host that is down says nothing of the key.
    scene.ssh.fail(SshFault::Disconnect);
    assert_eq!(scene.after_a_while().await.0, "ERROR");
    scene.ssh.recover();
    let public = syncline_git::SshAccess {
        username: None,
        key: syncline_seams::Secret::new(scene.key.clone()),
        host_keys: syncline_git::HostKeys::default(),
    };
    scene.ssh.let_in(&public.public_key().expect("a key"));
    world.clock.advance_ms(15 * 60 * 1000);
    world.settle().await;
    assert_eq!(world.connection_status(&scene.connection).await, "AVAILABLE");
    assert_eq!(world.attempts("web", repo).await, "SUCCEEDED   commit 1\nSUCCEEDED   commit 2\n");
}

#[tokio::test]
async fn a_connection_is_in_error_while_its_host_shows_another_key() {
    let Some(scene) = Scene::start(World::start().await).await else { return };
    scene.synced().await;
    let (world, repo) = (&scene.world, &scene.repo);
    scene.ssh.change_host_key("ed25519").await;
    scene.ssh.close_connections();
    repo.commit("prod.yaml", deployment("two")).await;
    let (status, blocker) = scene.after_a_while().await;
    assert_eq!(status, "ERROR");
    let shown = scene.ssh.fingerprint().await;
    assert!(
        blocker.starts_with("ACTIVE   CONNECTION_UNAVAILABLE: ") && blocker.contains(&shown),
        "{blocker}"
    );
    // Nobody but a person says that this is right.
    let body = json!({"sshKey": scene.key, "hostKeys": shown});
    assert_eq!(scene.authorize(&body).await.0, 200);
    world.settle().await;
    assert_eq!(world.connection_status(&scene.connection).await, "AVAILABLE");
    assert_eq!(world.attempts("web", repo).await, "SUCCEEDED   commit 1\nSUCCEEDED   commit 2\n");
}

#[tokio::test]
async fn a_connection_whose_host_moves_to_ssh_is_authorized_again() {
    let Some(scene) = Scene::start(World::start().await).await else { return };
    let (world, client) = (&scene.world, &scene.world.client);
    let by_http = world.connect("http", None).await;
    let link = world.link(&by_http, &scene.repo).await;
    world.sync(&link, "web", "main", "prod.yaml").await;
    world.settle().await;
    assert_eq!(world.attempts("web", &scene.repo).await, "SUCCEEDED   commit 1\n");
    let hosts = client.list_hosts().send().await.expect("hosts");
    let host = hosts.hosts().iter().find(|host| host.name() == Some("http-host")).expect("the host");
    let update = client.update_host().host_arn(host.host_arn().expect("an ARN"));
    update.provider_endpoint(scene.ssh.endpoint()).send().await.expect("updated");
    scene.repo.commit("prod.yaml", deployment("two")).await;
    for _ in 0..6 {
        world.settle().await;
    }
    let blockers = world.blockers("web").await;
    assert!(blockers.starts_with("ACTIVE") && blockers.contains("authorize it"), "{blockers}");
    let moved = Scene { connection: by_http, ..scene };
    let body = json!({"sshKey": moved.key, "hostKeys": moved.ssh.known_hosts()});
    assert_eq!(moved.authorize(&body).await.0, 200);
    moved.world.settle().await;
    assert_eq!(
        moved.world.attempts("web", &moved.repo).await,
        "SUCCEEDED   commit 1\nSUCCEEDED   commit 2\n"
    );
}

#[tokio::test]
async fn a_repository_behind_a_private_authority_and_a_login_is_linked_polled_and_synced() {
    const CANARY: &str = "canary-27aa-password-of-a-git-host";
    let world = World::start().await;
    let (host, root) = private_host().await;
    let repo = host.repository("acme/infra").await;
    repo.commit_files(&[("prod.yaml", &deployment("one")), ("template.yaml", &template(""))]).await;
    repo.require_login("deploy", CANARY);
    let connection = world.connection_of("git", "Git", Some(&host.endpoint())).await;
    let id = connection.rsplit('/').next().expect("an id");
    let body = json!({"token": CANARY, "username": "deploy"});
    let (status, answer) = world.rest("POST", &format!("/connections/{id}/authorize"), &body).await;
    assert_eq!(status, 200, "{answer}");
    let link = world.link(&connection, &repo).await;
    world.sync(&link, "web", "main", "prod.yaml").await;
    for _ in 0..6 {
        world.settle().await;
    }
    let blockers = world.blockers("web").await;
    assert!(
        blockers.starts_with("ACTIVE   REPOSITORY_UNAVAILABLE: ") && blockers.contains("certificate"),
        "{blockers}"
    );
    assert_eq!(host.requests(), [], "nobody who is not trusted is asked anything");

    let client = &world.client;
    let hosts = client.list_hosts().send().await.expect("hosts");
    let vpc = VpcConfiguration::builder()
        .vpc_id("vpc-01234567")
        .subnet_ids("subnet-01234567")
        .security_group_ids("sg-01234567")
        .tls_certificate(root)
        .build()
        .expect("complete");
    let update = client.update_host().host_arn(hosts.hosts()[0].host_arn().expect("an ARN"));
    update.vpc_configuration(vpc).send().await.expect("updated");
    world.clock.advance_ms(15 * 60 * 1000);
    world.settle().await;
    assert_eq!(
        world.attempts("web", &repo).await,
        "SUCCEEDED   commit 1\n",
        "{}",
        world.blockers("web").await
    );
    repo.commit("prod.yaml", deployment("two")).await;
    world.settle().await;
    assert_eq!(world.attempts("web", &repo).await, "SUCCEEDED   commit 1\nSUCCEEDED   commit 2\n");
    // base64 of "deploy:" and the canary.
    let basic = "Basic ZGVwbG95OmNhbmFyeS0yN2FhLXBhc3N3b3JkLW9mLWEtZ2l0LWhvc3Q=";
    assert!(host.requests().iter().all(|request| request.authorization.as_deref() == Some(basic)));
    is_nowhere(&world, CANARY);
}
