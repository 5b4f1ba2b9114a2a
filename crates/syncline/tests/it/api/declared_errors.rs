//! A row for every error that the model declares for an operation: what provokes it, or why
//! it never happens.

use serde_json::{Value, json};
use syncline::config::{Limits, Quotas};
use syncline_seams::Moment;
use syncline_wire::{ErrorCode as Code, Operation as Op};

use super::access::{ann, filled, needed, scene_with_ann};
use super::client::{Client, PROTOCOLS};
use super::scene::{NOTHING, Scene, authorize, by_name, link, of_link, sync_input};

/// How the world is when the operation is called.
enum World {
    /// As [`Scene`] makes it.
    Ordinary,
    /// There is room for nothing more.
    Full,
    /// The named commit fails.
    Failing(&'static str),
    /// Somebody wrote nonsense into the database.
    Nonsense(&'static str),
    /// The connection of the link was deleted.
    WithoutConnection,
    /// The connection has a tag.
    Tagged,
    /// The account has used up its rates.
    Throttled,
    /// The caller is a user without policies.
    Denied,
}

enum Row {
    /// The input that provokes the error, and its whole message. Both may hold the names of [`Scene::fill`].
    Provoked(World, Value, &'static str),
    /// Why it never happens.
    Never(&'static str),
}
use Row::{Never, Provoked};
use World::{Denied, Failing, Full, Nonsense, Ordinary, Tagged, Throttled, WithoutConnection};

const FAILED: &str = "the server could not complete the request; it is safe to try again";
/// `{action}` and `{resource}` are those of the first permission that the operation needs.
const NOT_ALLOWED: &str = "User: arn:aws:iam::111111111111:user/ann is not authorized to perform: {action} on \
                           resource: {resource} because no identity-based policy allows the {action} action";
const ONE_TRANSACTION: &str = "it is one transaction of the only writer: there is no race to lose";
const BAD_PROVIDER: &str = "UPDATE repository_link SET provider_type = 'Subversion'";

fn connection_input(name: &str) -> Value {
    json!({"ConnectionName": name, "ProviderType": "GitHub"})
}

fn link_input(repository: &str) -> Value {
    json!({"ConnectionArn": "{connection}", "OwnerId": "acme", "RepositoryName": repository})
}

fn host_arn() -> Value {
    json!({"HostArn": "arn:aws:codeconnections:eu-west-1:111111111111:host/none-01234567"})
}

fn connection_arn() -> Value {
    json!({"ConnectionArn": "arn:aws:codeconnections:eu-west-1:111111111111:connection/none"})
}

fn link_id() -> Value {
    json!({"RepositoryLinkId": NOTHING})
}

fn with(mut input: Value, name: &str, value: &str) -> Value {
    input[name] = value.into();
    input
}

fn resolve(name: &str, id: &str) -> Value {
    with(with(by_name(name), "Id", id), "ResolvedReason", "mended")
}

const NO_HOST: &str = "Could not find host:arn:aws:codeconnections:eu-west-1:111111111111:host/none-01234567";
const NO_CONNECTION: &str =
    "Could not find connection:arn:aws:codeconnections:eu-west-1:111111111111:connection/none";
const NO_LINK: &str = "Could not find repository link:00000000-1111-2222-3333-444444444444";
const NO_SYNC: &str = "Could not find a sync configuration for resource:none";
const ENUM: &str = "1 validation error detected: Value 'X' at 'syncType' failed to satisfy constraint: Member \
                    must satisfy enum value set: [CFN_STACK_SYNC]";
const NOT_AN_ID: &str = "1 validation error detected: Value 'X' at 'repositoryLinkId' failed to satisfy \
                         constraint: Member must satisfy regular expression pattern: \
                         ^[0-9a-fA-F]{8}\\b-[0-9a-fA-F]{4}\\b-[0-9a-fA-F]{4}\\b-[0-9a-fA-F]{4}\\b-[0-9a-fA-F]{12}$";

/// The table; exhaustive over (operation, declared error) by [`the_table_is_complete`].
fn row(operation: Op, code: Code) -> Option<Row> {
    Some(match (operation, code) {
        (_, Code::AccessDenied) => Provoked(Denied, needed(operation).0, NOT_ALLOWED),
        (_, Code::Throttling) => Provoked(Throttled, json!({}), "Rate exceeded"),
        (_, Code::ConcurrentModification | Code::UpdateOutOfSync) => Never(ONE_TRANSACTION),

        (Op::CreateConnection, Code::LimitExceeded) => Provoked(
            Full,
            connection_input("more"),
            "The account has 2 connections in this region, which is its quota",
        ),
        (Op::CreateConnection, Code::ResourceNotFound) => {
            let on_nothing = json!({"ConnectionName": "x", "HostArn": host_arn()["HostArn"]});
            Provoked(Ordinary, on_nothing, NO_HOST)
        }
        (Op::CreateConnection, Code::ResourceUnavailable) => {
            Never("a host takes connections from its creation on: no VPC is set up first")
        }

        (Op::CreateHost, Code::LimitExceeded) => Provoked(
            Full,
            json!({"Name": "more", "ProviderType": "Git", "ProviderEndpoint": "https://git.example.com"}),
            "The account has 1 hosts in this region, which is its quota",
        ),

        (Op::CreateRepositoryLink, Code::InternalServer) => {
            Provoked(Failing("store.create_link"), link_input("more"), FAILED)
        }
        (Op::CreateRepositoryLink, Code::InvalidInput) => Provoked(
            Ordinary,
            with(link_input("more"), "ConnectionArn", "{pending}"),
            "The connection {pending} is PENDING, not AVAILABLE: complete it with `syncline connection authorize \
             {pending}`",
        ),
        (Op::CreateRepositoryLink, Code::LimitExceeded) => Provoked(
            Full,
            link_input("more"),
            "The account has 1 repository links in this region, which is its quota",
        ),
        (Op::CreateRepositoryLink, Code::ResourceAlreadyExists) => Provoked(
            Ordinary,
            link_input("infra"),
            "A repository link of acme/infra on this connection already exists",
        ),

        (Op::CreateSyncConfiguration, Code::InternalServer) => {
            Provoked(Failing("store.create_configuration"), sync_input("{link}", "more"), FAILED)
        }
        (Op::CreateSyncConfiguration, Code::InvalidInput) => Provoked(
            Ordinary,
            sync_input(NOTHING, "more"),
            "The repository link 00000000-1111-2222-3333-444444444444 does not exist",
        ),
        (Op::CreateSyncConfiguration, Code::LimitExceeded) => {
            Provoked(Full, sync_input("{link}", "more"), "The quota of sync configurations is reached")
        }
        (Op::CreateSyncConfiguration, Code::ResourceAlreadyExists) => Provoked(
            Ordinary,
            sync_input("{link}", "web"),
            "A sync configuration for resource web already exists",
        ),

        (Op::DeleteConnection | Op::GetConnection, Code::ResourceNotFound) => {
            Provoked(Ordinary, connection_arn(), NO_CONNECTION)
        }
        (Op::GetConnection | Op::GetHost, Code::ResourceUnavailable) => {
            Never("reading a row needs nothing that could be unavailable")
        }
        (Op::DeleteHost | Op::GetHost, Code::ResourceNotFound) => Provoked(Ordinary, host_arn(), NO_HOST),
        (Op::DeleteHost, Code::ResourceUnavailable) => Provoked(
            Ordinary,
            json!({"HostArn": "{host}"}),
            "The host {host} has connections: delete them first",
        ),

        (Op::DeleteRepositoryLink, Code::InternalServer) => {
            Provoked(Failing("store.delete_link"), json!({"RepositoryLinkId": "{link}"}), FAILED)
        }
        (Op::DeleteRepositoryLink | Op::GetRepositoryLink, Code::InvalidInput) => {
            Provoked(Ordinary, json!({"RepositoryLinkId": "X"}), NOT_AN_ID)
        }
        (Op::DeleteRepositoryLink | Op::GetRepositoryLink, Code::ResourceNotFound) => {
            Provoked(Ordinary, link_id(), NO_LINK)
        }
        (Op::DeleteRepositoryLink, Code::SyncConfigurationStillExists) => Provoked(
            Ordinary,
            json!({"RepositoryLinkId": "{link}"}),
            "The repository link {link} has sync configurations: delete them first",
        ),
        (Op::DeleteRepositoryLink, Code::UnsupportedProviderType) => {
            Never("links of every provider type can be deleted")
        }
        (Op::GetRepositoryLink, Code::InternalServer) => {
            Provoked(Nonsense(BAD_PROVIDER), json!({"RepositoryLinkId": "{link}"}), FAILED)
        }

        (Op::DeleteSyncConfiguration, Code::InternalServer) => {
            Provoked(Failing("store.delete_configuration"), by_name("web"), FAILED)
        }
        (Op::DeleteSyncConfiguration, Code::LimitExceeded) => Never("there is no quota of deletions"),
        (
            Op::DeleteSyncConfiguration
            | Op::GetResourceSyncStatus
            | Op::GetSyncBlockerSummary
            | Op::GetSyncConfiguration
            | Op::UpdateSyncConfiguration,
            Code::InvalidInput,
        ) => Provoked(Ordinary, with(by_name("web"), "SyncType", "X"), ENUM),
        (Op::UpdateSyncBlocker, Code::InvalidInput) => {
            Provoked(Ordinary, with(resolve("web", "{blocker}"), "SyncType", "X"), ENUM)
        }
        (
            Op::GetSyncBlockerSummary | Op::GetSyncConfiguration | Op::UpdateSyncConfiguration,
            Code::ResourceNotFound,
        ) => Provoked(Ordinary, by_name("none"), NO_SYNC),
        (Op::GetResourceSyncStatus, Code::ResourceNotFound) => {
            Provoked(Ordinary, by_name("none"), "Could not find a sync status for resource:none")
        }
        (Op::UpdateSyncBlocker, Code::ResourceNotFound) => {
            Provoked(Ordinary, resolve("none", "{blocker}"), NO_SYNC)
        }
        (Op::GetSyncConfiguration, Code::InternalServer) => {
            Provoked(Nonsense(BAD_PROVIDER), by_name("web"), FAILED)
        }
        (Op::GetResourceSyncStatus, Code::InternalServer) => {
            Provoked(Nonsense("UPDATE attempt SET target_revision = '{'"), by_name("web"), FAILED)
        }
        (Op::GetSyncBlockerSummary, Code::InternalServer) => {
            Provoked(Nonsense("UPDATE blocker SET kind = 'BAD_LUCK'"), by_name("web"), FAILED)
        }

        (Op::GetRepositorySyncStatus, Code::InternalServer) => Provoked(
            Nonsense("UPDATE repository_attempt SET status = 'PONDERING'"),
            with(of_link("{link}"), "Branch", "main"),
            FAILED,
        ),
        (Op::GetRepositorySyncStatus, Code::InvalidInput) => {
            Provoked(Ordinary, with(of_link("X"), "Branch", "main"), NOT_AN_ID)
        }
        (Op::GetRepositorySyncStatus, Code::ResourceNotFound) => Provoked(
            Ordinary,
            with(of_link("{link}"), "Branch", "none"),
            "Could not find a sync status for repository link:{link}",
        ),

        (Op::ListConnections, Code::ResourceNotFound) => {
            Provoked(Ordinary, json!({"HostArnFilter": host_arn()["HostArn"]}), NO_HOST)
        }
        (Op::ListRepositoryLinks, Code::InternalServer) => {
            Provoked(Nonsense(BAD_PROVIDER), json!({}), FAILED)
        }
        (Op::ListRepositoryLinks, Code::InvalidInput) => Provoked(
            Ordinary,
            json!({"NextToken": "X"}),
            "NextToken is not one that this listing gave out, or it has expired",
        ),
        (Op::ListRepositoryLinks, Code::ResourceNotFound) => Never("it names no resource"),
        (Op::ListRepositorySyncDefinitions | Op::ListSyncConfigurations, Code::ResourceNotFound) => {
            Provoked(Ordinary, of_link(NOTHING), NO_LINK)
        }
        (Op::ListRepositorySyncDefinitions | Op::ListSyncConfigurations, Code::InvalidInput) => {
            Provoked(Ordinary, of_link("X"), NOT_AN_ID)
        }
        (Op::ListRepositorySyncDefinitions | Op::ListSyncConfigurations, Code::InternalServer) => Provoked(
            Nonsense("UPDATE sync_configuration SET created_at_ms = 'yesterday'"),
            of_link("{link}"),
            FAILED,
        ),

        (Op::ListTagsForResource | Op::TagResource | Op::UntagResource, Code::ResourceNotFound) => Provoked(
            Ordinary,
            json!({"ResourceArn": connection_arn()["ConnectionArn"], "Tags": [], "TagKeys": []}),
            "Could not find resource:arn:aws:codeconnections:eu-west-1:111111111111:connection/none",
        ),
        (Op::TagResource, Code::LimitExceeded) => {
            let tags: Vec<_> = (0..200).map(|i| json!({"Key": format!("k{i}"), "Value": ""})).collect();
            Provoked(
                Tagged,
                json!({"ResourceArn": "{connection}", "Tags": tags}),
                "The resource {connection} would have 201 tags, more than its quota of 200",
            )
        }

        (Op::UpdateHost, Code::Conflict) => Never(ONE_TRANSACTION),
        (Op::UpdateHost, Code::ResourceNotFound) => Provoked(Ordinary, host_arn(), NO_HOST),
        (Op::UpdateHost, Code::ResourceUnavailable) => {
            Never("a host can be changed from its creation on: no VPC is set up first")
        }
        (Op::UpdateHost, Code::UnsupportedOperation) => {
            Never("endpoint and VPC configuration of every host can be changed, whatever its status")
        }

        (Op::UpdateRepositoryLink, Code::ConditionalCheckFailed) => Never(ONE_TRANSACTION),
        (Op::UpdateRepositoryLink, Code::InternalServer) => {
            Provoked(Failing("store.update_link"), json!({"RepositoryLinkId": "{link}"}), FAILED)
        }
        (Op::UpdateRepositoryLink, Code::InvalidInput) => Provoked(
            Ordinary,
            json!({"RepositoryLinkId": "{link}", "ConnectionArn": "{pending}"}),
            "The connection {pending} is of provider type Git, the repository link of GitHub",
        ),
        (Op::UpdateRepositoryLink, Code::ResourceNotFound) => Provoked(Ordinary, link_id(), NO_LINK),

        (Op::UpdateSyncBlocker, Code::InternalServer) => {
            Provoked(Failing("store.resolve_blocker"), resolve("web", "{blocker}"), FAILED)
        }
        (Op::UpdateSyncBlocker, Code::SyncBlockerDoesNotExist) => Provoked(
            Ordinary,
            resolve("web", "none"),
            "The sync blocker none does not exist for resource web",
        ),
        (Op::UpdateSyncBlocker, Code::RetryLatestCommitFailed) => Provoked(
            WithoutConnection,
            resolve("web", "{blocker}"),
            "The latest commit of web cannot be tried again: the connection of its repository link was deleted",
        ),
        (Op::UpdateSyncConfiguration, Code::InternalServer) => {
            Provoked(Failing("store.update_configuration"), by_name("web"), FAILED)
        }
        _ => return None,
    })
}

fn declared() -> impl Iterator<Item = (Op, Code)> {
    Op::ALL
        .into_iter()
        .flat_map(|operation| operation.declared_errors().iter().map(move |&code| (operation, code)))
}

#[test]
fn the_table_is_complete() {
    let missing: Vec<_> = declared().filter(|&(operation, code)| row(operation, code).is_none()).collect();
    assert!(missing.is_empty(), "no row says what provokes these, or why they never happen: {missing:?}");
    let rows = declared().count();
    let never = declared()
        .filter(|&(operation, code)| matches!(row(operation, code), Some(Never(why)) if !why.is_empty()));
    let never = never.count();
    assert!(rows > 90 && never < rows / 2, "{never} of {rows} never happen");
}

/// Rates that a scene can be made with, and little more.
const SLOW: Limits = Limits {
    account_reads_per_second: 1,
    account_reads_burst: 20,
    account_writes_per_second: 1,
    account_writes_burst: 20,
    ..Limits::unthrottled()
};

async fn scene(world: &World) -> Scene {
    let quotas =
        Quotas { connections: 2, hosts: 1, repository_links: 1, sync_configurations: 1, ..Quotas::default() };
    let scene = match world {
        Full => Scene::with(|config| config.quotas = quotas).await,
        Throttled => Scene::with(|config| config.limits = SLOW).await,
        Denied => scene_with_ann().await,
        _ => Scene::new().await,
    };
    match world {
        Ordinary | Full | Failing(_) | Denied => {}
        Throttled => {
            for operation in ["ListHosts", "CreateHost"] {
                while scene.client().call(operation, &json!({})).await.status != 429 {}
            }
        }
        Nonsense(sql) => scene.tamper(sql),
        Tagged => {
            let tag = json!({"ResourceArn": scene.connection, "Tags": [{"Key": "first", "Value": ""}]});
            scene.client().ok("TagResource", tag).await;
        }
        WithoutConnection => {
            scene.client().ok("DeleteConnection", json!({"ConnectionArn": scene.connection})).await;
        }
    }
    scene
}

#[tokio::test]
async fn every_declared_error_that_can_happen_happens() {
    let (ordinary, throttled) = (scene(&Ordinary).await, scene(&Throttled).await);
    let denied = scene(&Denied).await;
    for (operation, code) in declared() {
        let Some(Provoked(world, input, message)) = row(operation, code) else { continue };
        let own;
        let scene = match world {
            Ordinary => &ordinary,
            Throttled => &throttled,
            Denied => &denied,
            _ => {
                own = scene(&world).await;
                &own
            }
        };
        let (action, resource) = filled(scene, &needed(operation).1).swap_remove(0);
        let message = message.replace("{action}", &action).replace("{resource}", &resource);
        let message = scene.fill(&json!(message));
        let message = message.as_str().expect("a text");
        let caller = if matches!(world, Denied) { ann(scene) } else { scene.client() };
        for protocol in PROTOCOLS {
            if let Failing(point) = world {
                scene.server.faults.fail(point, Moment::Before);
            }
            let client = Client { protocol, ..caller };
            client.refuses(operation.name(), scene.fill(&input), code.name(), message).await;
        }
    }
}

#[tokio::test]
async fn what_a_failed_commit_refused_works_when_tried_again() {
    let scene = Scene::new().await;
    let input = scene.fill(&link_input("more"));
    scene.server.faults.fail("store.create_link", Moment::Before);
    scene.client().refuses("CreateRepositoryLink", input.clone(), "InternalServerException", FAILED).await;
    scene.client().ok("CreateRepositoryLink", input.clone()).await;

    // The answer was lost, not the link: a second try says that it is there.
    let input = with(input, "RepositoryName", "third");
    scene.server.faults.fail("store.create_link", Moment::After);
    scene.client().refuses("CreateRepositoryLink", input.clone(), "InternalServerException", FAILED).await;
    let refused = scene.client().refused("CreateRepositoryLink", input).await;
    assert_eq!(refused.0, "ResourceAlreadyExistsException");
}

#[tokio::test]
async fn each_quota_is_met_exactly() {
    let scene = Scene::with(|config| {
        config.quotas.sync_configurations = 4;
        config.quotas.sync_configurations_per_link = 3;
        config.quotas.sync_configurations_per_branch = 2;
        config.quotas.repository_links = 2;
        config.quotas.connections = 3;
        config.quotas.hosts = 2;
    })
    .await;
    let client = scene.client();
    let made = client.ok("CreateConnection", connection_input("third")).await;
    let third = made["ConnectionArn"].as_str().expect("an ARN");
    authorize(&scene.server, client.key, third).await;
    let full = |what: &str| format!("The quota of {what} is reached");
    let limited = async |operation: &str, input: Value, message: &str| {
        client.refuses(operation, input, "LimitExceededException", message).await;
    };
    let message = "The account has 3 connections in this region, which is its quota";
    limited("CreateConnection", connection_input("fourth"), message).await;
    // A quota counts per region.
    let elsewhere = Client { region: "eu-west-2", ..client };
    elsewhere.ok("CreateConnection", connection_input("fourth")).await;

    let second = link(client, third, "second").await;
    let message = "The account has 2 repository links in this region, which is its quota";
    limited("CreateRepositoryLink", scene.fill(&link_input("third")), message).await;

    let on = |name: &str, branch: &str| with(sync_input(&scene.link, name), "Branch", branch);
    client.ok("CreateSyncConfiguration", on("a", "main")).await;
    limited("CreateSyncConfiguration", on("b", "main"), &full("sync configurations of a branch")).await;
    client.ok("CreateSyncConfiguration", on("b", "dev")).await;
    limited("CreateSyncConfiguration", on("c", "dev"), &full("sync configurations of a repository link"))
        .await;
    client.ok("CreateSyncConfiguration", sync_input(&second, "c")).await;
    limited("CreateSyncConfiguration", sync_input(&second, "d"), &full("sync configurations")).await;
    // UpdateSyncConfiguration declares no LimitExceededException.
    let crowd = with(by_name("b"), "Branch", "main");
    let message = full("sync configurations of a branch");
    client.refuses("UpdateSyncConfiguration", crowd, "InvalidInputException", &message).await;
    client.ok("DeleteSyncConfiguration", by_name("a")).await;
    client.ok("UpdateSyncConfiguration", with(by_name("b"), "Branch", "main")).await;
}
