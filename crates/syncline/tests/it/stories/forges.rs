//! Repositories on every forge there is: the handshake by token, the link, and what follows a push.

use serde_json::{Value, json};
use syncline_testkit::forge::ForgeDouble;
use syncline_testkit::repository::Repository;
use syncline_testkit::world::World;

use super::{deployment, template};

/// A token that is to be seen nowhere.
const CANARY: &str = "canary-91f3-token-of-a-forge";

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
    provider("GitLab", "group/sub", false, "oauth2"),
    provider("GitLabSelfManaged", "group/sub", true, "oauth2"),
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
    provider: Provider,
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
