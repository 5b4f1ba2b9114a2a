//! Repositories on every forge there is: the handshake by token, the link, and what follows a push.

use aws_sdk_codeconnections::types::VpcConfiguration;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use syncline_seams::{Faults, Injected, Moment};
use syncline_testkit::forge::{Fault, ForgeDouble, Grant};
use syncline_testkit::git_host::{self, GitHost};
use syncline_testkit::repository::Repository;
use syncline_testkit::world::World;

use super::{deployment, template};

/// A token that is to be seen nowhere.
pub(super) const CANARY: &str = "canary-91f3-token-of-a-forge";

/// One provider type, and what is its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Provider {
    pub(super) name: &'static str,
    pub(super) owner: &'static str,
    /// Whether it is reached through a host.
    has_host: bool,
    /// What is given with the token.
    given: &'static [(&'static str, &'static str)],
    /// The user that Git is asked as.
    git_user: &'static str,
}

const fn provider(
    name: &'static str,
    owner: &'static str,
    has_host: bool,
    git_user: &'static str,
) -> Provider {
    Provider { name, owner, has_host, given: &[], git_user }
}

/// Every provider type with an API.
pub(super) const PROVIDERS: &[Provider] = &[
    provider("GitHub", "acme", false, "x-access-token"),
    provider("GitHubEnterpriseServer", "acme", true, "x-access-token"),
    provider("GitLab", "acme/sub", false, "oauth2"),
    provider("GitLabSelfManaged", "acme/sub", true, "oauth2"),
    provider("Bitbucket", "acme", false, "x-token-auth"),
    Provider {
        given: &[("username", "me@acme.example")],
        ..provider("Bitbucket", "acme", false, "x-bitbucket-api-token-auth")
    },
    Provider {
        given: &[("organization", "acme")],
        ..provider("AzureDevOps", "acme/shop", false, "syncline")
    },
    provider("Gitea", "acme", true, "git"),
];

/// A provider type by its name.
pub(super) fn named(name: &str) -> Provider {
    *PROVIDERS.iter().find(|provider| provider.name == name).expect("a provider type")
}

/// A world with a forge that has a repository, which takes the canary alone, and a PENDING connection.
pub(super) struct Scene {
    pub(super) world: World,
    pub(super) forge: ForgeDouble,
    pub(super) repo: Repository,
    pub(super) connection: String,
    pub(super) provider: Provider,
}

impl Scene {
    pub(super) async fn of(provider: Provider, world: World) -> Self {
        let forge = ForgeDouble::on(&world.git, provider.name);
        let full_name = format!("{}/infra", provider.owner);
        let repo = world.repository(&full_name).await;
        repo.commit_files(&[("prod.yaml", &deployment("one")), ("template.yaml", &template(""))]).await;
        repo.require_login(provider.git_user, CANARY);
        forge.grant(CANARY, "deploy-bot");
        forge.add_repository(&full_name);
        let endpoint = provider.has_host.then(|| world.git.endpoint());
        let connection = world.connection_of("forge", provider.name, endpoint.as_deref()).await;
        Self { world, forge, repo, connection, provider }
    }

    /// Hands a token over; the status and the answer.
    pub(super) async fn authorize(&self, token: &str) -> (u16, Value) {
        let mut body = json!({ "token": token });
        for (name, value) in self.provider.given {
            body[*name] = json!(value);
        }
        let id = self.connection.rsplit('/').next().expect("an id");
        let (status, answer) = self.world.rest("POST", &format!("/connections/{id}/authorize"), &body).await;
        assert!(!answer.to_string().contains(token), "{answer}");
        (status, answer)
    }

    /// Links the repository and syncs it; the link's id.
    pub(super) async fn synced(&self) -> String {
        let (status, answer) = self.authorize(CANARY).await;
        assert_eq!((status, &answer["connectionStatus"]), (200, &json!("AVAILABLE")), "{answer}");
        let link = self.world.link(&self.connection, &self.repo).await;
        self.world.sync(&link, "web", "main", "prod.yaml").await;
        self.world.settle().await;
        assert_eq!(
            self.world.attempts("web", &self.repo).await,
            "SUCCEEDED   commit 1\n",
            "{:?}: {}",
            self.provider,
            self.world.blockers("web").await
        );
        link
    }
}

/// Whatever a world's data directory holds, it does not hold the token.
pub(super) fn is_nowhere(world: &World, token: &str) {
    let mut folders = vec![world.data_dir().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("readable").filter_map(Result::ok) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                let is_there = bytes.windows(token.len()).any(|window| window == token.as_bytes());
                assert!(!is_there, "the token is in {}", path.display());
            }
        }
    }
}

#[tokio::test]
async fn every_forge_is_connected_by_a_token_and_its_pushes_are_synced() {
    for provider in PROVIDERS {
        let scene = Scene::of(*provider, World::start().await).await;
        assert_eq!(scene.world.connection_status(&scene.connection).await, "PENDING");
        scene.synced().await;
        let (world, repo) = (&scene.world, &scene.repo);
        assert_eq!(world.connection_status(&scene.connection).await, "AVAILABLE", "{provider:?}");
        repo.commit("prod.yaml", deployment("two")).await;
        world.settle().await;
        let attempts = world.attempts("web", repo).await;
        assert_eq!(attempts, "SUCCEEDED   commit 1\nSUCCEEDED   commit 2\n", "{provider:?}");
        is_nowhere(world, CANARY);
    }
}

#[tokio::test]
async fn a_connection_is_in_error_while_its_token_is_refused_and_recovers_by_itself() {
    for provider in PROVIDERS {
        let scene = Scene::of(*provider, World::start().await).await;
        scene.synced().await;
        let (world, repo, connection) = (&scene.world, &scene.repo, &scene.connection);
        // Who is only asked to wait, or down, has not refused the token.
        for fault in [git_host::Fault::RetryAfter(403, 60), git_host::Fault::Status(502)] {
            repo.fail(fault);
            world.settle().await;
            assert_eq!(world.connection_status(connection).await, "AVAILABLE", "{provider:?}");
        }
        repo.recover();
        world.clock.advance_ms(15 * 60 * 1000);
        world.settle().await;
        repo.require_login(provider.git_user, "another");
        repo.commit("prod.yaml", deployment("two")).await;
        for _ in 0..6 {
            world.settle().await;
        }
        assert_eq!(world.connection_status(connection).await, "ERROR", "{provider:?}");
        let blockers = world.blockers("web").await;
        assert!(blockers.starts_with("ACTIVE   CREDENTIAL_REFUSED: "), "{provider:?}: {blockers}");
        repo.require_login(provider.git_user, CANARY);
        world.clock.advance_ms(15 * 60 * 1000);
        world.settle().await;
        assert_eq!(world.connection_status(connection).await, "AVAILABLE", "{provider:?}");
        let attempts = world.attempts("web", repo).await;
        assert_eq!(attempts, "SUCCEEDED   commit 1\nSUCCEEDED   commit 2\n", "{provider:?}");
    }
}

#[tokio::test]
async fn a_token_that_a_forge_does_not_confirm_is_not_stored() {
    let faults = Faults::none();
    for provider in PROVIDERS {
        let world = World::with_faults(faults.clone()).await;
        let scene = Scene::of(*provider, world).await;
        let refused = async |token: &str, what: &str, code: &str, words: &str| {
            let (status, answer) = scene.authorize(token).await;
            let what = format!("{}, {what}", provider.name);
            assert_eq!((status, answer["code"].as_str()), (400, Some(code)), "{what}: {answer}");
            let message = answer["message"].as_str().expect("a message");
            for words in [provider.name, "nothing was stored", words] {
                assert!(message.contains(words), "{what}: '{words}' is not in '{message}'");
            }
            assert_eq!(scene.world.connection_status(&scene.connection).await, "PENDING", "{what}");
        };
        let (wrong, unavailable) = ("ValidationException", "ResourceUnavailableException");
        refused("somebody's", "another token", wrong, "refuses the token").await;
        let echo = "you sent canary-91f3-token-of-a-forge";
        let cases: &[(Fault, &str, &str)] = &[
            (Fault::Status(401, &[], echo), wrong, "you sent ***"),
            (Fault::Status(403, &[], "suspended"), wrong, "may not do this"),
            (Fault::Status(403, &[("x-ratelimit-remaining", "0")], "limit"), unavailable, "fewer requests"),
            (Fault::Status(429, &[("retry-after", "60")], echo), unavailable, "fewer requests"),
            (Fault::Status(404, &[], echo), wrong, "not there"),
            (Fault::Status(422, &[], echo), wrong, "422"),
            (Fault::Status(500, &[], echo), unavailable, "500"),
            (Fault::Html, unavailable, "no JSON"),
        ];
        for (fault, code, words) in cases {
            scene.forge.fail(fault.clone());
            refused(CANARY, &format!("{fault:?}"), code, words).await;
        }
        // Where a kept connection ends without an answer, whoever only asks asks once more.
        for fault in [Fault::LostAnswer, Fault::HalfAnswer] {
            scene.forge.fail(fault.clone());
            scene.forge.fail(fault.clone());
            refused(CANARY, &format!("{fault:?} twice"), unavailable, "cannot be asked").await;
        }
        for (moment, injected) in [(Moment::Before, Injected::TimeOut), (Moment::After, Injected::Fail)] {
            faults.inject("forges.whoami", moment, injected, 1);
            refused(CANARY, &format!("{injected:?}"), unavailable, "cannot be asked").await;
        }
        is_nowhere(&scene.world, CANARY);
        scene.synced().await;
    }
}

#[tokio::test]
async fn a_token_that_may_only_read_repositories_is_enough() {
    for provider in PROVIDERS {
        if provider.name == "AzureDevOps" {
            continue;
        }
        let scene = Scene::of(*provider, World::start().await).await;
        scene.forge.grant_as(CANARY, Grant { login: None, hooks: false });
        let (status, answer) = scene.authorize(CANARY).await;
        assert_eq!((status, answer.get("account")), (200, None), "{provider:?}: {answer}");
        assert_eq!(scene.world.connection_status(&scene.connection).await, "AVAILABLE");
    }
}

#[tokio::test]
async fn a_token_of_azure_devops_is_tried_at_the_organization_that_is_named() {
    let azure = named("AzureDevOps");
    for (given, words) in [
        (&[][..], "good for one organization"),
        (&[("organization", "else")], "not there"),
        (&[("organization", "a/b")], "letters, digits"),
    ] {
        let scene = Scene::of(Provider { given, ..azure }, World::start().await).await;
        let (status, answer) = scene.authorize(CANARY).await;
        assert_eq!(status, 400, "{answer}");
        assert!(answer["message"].as_str().is_some_and(|message| message.contains(words)), "{answer}");
    }
    let scene = Scene::of(azure, World::start().await).await;
    scene.authorize(CANARY).await;
    for owner in ["acme", "acme/shop/more"] {
        let link = scene.world.client.create_repository_link().connection_arn(&scene.connection);
        let refused = link.owner_id(owner).repository_name("infra").send().await.expect_err(owner);
        let refused = refused.into_service_error().to_string();
        assert!(refused.contains("<organization>/<project>"), "{refused}");
    }
    let github = Provider { given: &[("organization", "acme")], ..named("GitHub") };
    let scene = Scene::of(github, World::start().await).await;
    let (status, answer) = scene.authorize(CANARY).await;
    assert_eq!((status, scene.forge.asked().len()), (400, 0), "{answer}");
}

/// A Git host for 127.0.0.1 whose certificate somebody of our own signed, whose certificate is the second.
pub(super) async fn private_host() -> (GitHost, String) {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let root = params.self_signed(&key).expect("a certificate").pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    (GitHost::start_tls(&certificate.pem(), &key.serialize_pem()).await, root)
}

#[tokio::test]
async fn a_private_authority_is_trusted_for_its_host_by_the_handshake_and_by_git() {
    for provider in PROVIDERS.iter().filter(|provider| provider.has_host) {
        let world = World::start().await;
        let (host, root) = private_host().await;
        let forge = ForgeDouble::on(&host, provider.name);
        let full_name = format!("{}/infra", provider.owner);
        let repo = host.repository(&full_name).await;
        repo.commit_files(&[("prod.yaml", &deployment("one")), ("template.yaml", &template(""))]).await;
        repo.require_login(provider.git_user, CANARY);
        forge.grant(CANARY, "deploy-bot");
        forge.add_repository(&full_name);
        let connection = world.connection_of("forge", provider.name, Some(&host.endpoint())).await;
        let scene = Scene { world, forge, repo, connection, provider: *provider };
        let (status, answer) = scene.authorize(CANARY).await;
        assert_eq!(status, 400, "{answer}");
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(message.contains("certificate"), "{answer}");
        assert_eq!(scene.forge.asked().len(), 0, "the token was not sent");
        let client = &scene.world.client;
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
        scene.synced().await;
    }
}
