//! Repositories that are reached by another way: another connection, another place of the host.

use insta::assert_snapshot;

use syncline_testkit::git_host::GitHost;

use super::{deployment, synced};

#[tokio::test]
async fn a_link_whose_connection_is_gone_goes_on_through_another_one() {
    let (world, repo) = synced().await;
    let old = world.client.list_connections().send().await.expect("a listing").connections()[0].clone();
    let arn = old.connection_arn().expect("its ARN");
    world.client.delete_connection().connection_arn(arn).send().await.expect("deleted");
    repo.commit("prod.yaml", deployment("two")).await;
    world.settle().await;
    assert_snapshot!(world.attempts("web", &repo).await, @"SUCCEEDED   commit 1");
    assert_eq!(world.blocker_rows("web").await[0].kind.as_str(), "CONNECTION_UNAVAILABLE");

    let second = world.connect("second", None).await;
    let links = world.client.list_repository_links().send().await.expect("a listing");
    let link = links.repository_links()[0].repository_link_id();
    let update = world.client.update_repository_link().repository_link_id(link).connection_arn(&second);
    let updated = update.send().await.expect("updated");
    assert_eq!(updated.repository_link_info().expect("its info").connection_arn(), second);
    // At once: no poll interval passes.
    world.work().await;
    assert_snapshot!(world.attempts("web", &repo).await, @r"
    SUCCEEDED   commit 1
    SUCCEEDED   commit 2
    ");
    assert_eq!(world.blocker_rows("web").await[0].status.as_str(), "RESOLVED");
}

#[tokio::test]
async fn a_host_whose_path_changes_is_read_at_its_new_place_at_once() {
    let (world, repo) = synced().await;
    let hosts = world.client.list_hosts().send().await.expect("a listing");
    let host = &hosts.hosts()[0];
    let (arn, endpoint) =
        (host.host_arn().expect("its ARN"), host.provider_endpoint().expect("its endpoint"));
    let move_to = async |endpoint: &str| {
        let update = world.client.update_host().host_arn(arn).provider_endpoint(endpoint);
        update.send().await.expect("updated");
        world.work().await;
    };
    move_to(&format!("{endpoint}/elsewhere")).await;
    let blocker = world.blocker_rows("web").await.remove(0);
    assert_eq!((blocker.kind.as_str(), blocker.status.as_str()), ("REPOSITORY_NOT_FOUND", "ACTIVE"));
    repo.commit("prod.yaml", deployment("two")).await;
    move_to(endpoint).await;
    assert_eq!(world.blocker_rows("web").await[0].status.as_str(), "RESOLVED");
    assert_snapshot!(world.attempts("web", &repo).await, @r"
    SUCCEEDED   commit 1
    SUCCEEDED   commit 2
    ");
}

/// Whoever may change a host must not thereby learn the tokens that others gave for it.
#[tokio::test]
async fn a_host_that_moves_to_another_server_shows_it_no_token_until_it_is_authorized_again() {
    let (world, repo) = synced().await;
    let connections = world.client.list_connections().send().await.expect("a listing");
    let connection = connections.connections()[0].connection_arn().expect("its ARN").to_owned();
    world.authorize(&connection, Some("canary-token")).await;
    let hosts = world.client.list_hosts().send().await.expect("a listing");
    let host = hosts.hosts()[0].host_arn().expect("its ARN").to_owned();
    let move_to = async |endpoint: String| {
        world.client.update_host().host_arn(&host).provider_endpoint(endpoint).send().await.expect("updated");
        world.settle().await;
    };
    let state = async || {
        let host = world.client.get_host().host_arn(&host).send().await.expect("a host");
        let connection = world.client.get_connection().connection_arn(&connection).send().await.expect("one");
        let connection =
            connection.connection().and_then(|c| c.connection_status().cloned()).expect("a status");
        (host.status().expect("a status").to_owned(), connection.as_str().to_owned())
    };
    let of = |host: &str, connection: &str| (host.to_owned(), connection.to_owned());
    assert_eq!(state().await, of("AVAILABLE", "AVAILABLE"));

    let another = GitHost::start().await;
    move_to(another.endpoint()).await;
    assert_eq!(state().await, of("PENDING", "PENDING"));
    assert_eq!(another.received(), 0, "nobody is asked anything without a credential for him");
    let blocker = world.blocker_rows("web").await.remove(0);
    assert_eq!((blocker.kind.as_str(), blocker.status.as_str()), ("CONNECTION_UNAVAILABLE", "ACTIVE"));
    let moved = format!("its host moved to {}: authorize it again", another.endpoint());
    assert!(blocker.created_reason.ends_with(&moved), "{}", blocker.created_reason);

    // The way back is a move like any other.
    repo.commit("prod.yaml", deployment("two")).await;
    world.git.clear_log();
    move_to(world.git.endpoint()).await;
    assert_eq!(state().await, of("PENDING", "PENDING"));
    assert!(world.git.requests().is_empty());
    world.authorize(&connection, Some("canary-token")).await;
    world.work().await;
    assert_eq!(state().await, of("AVAILABLE", "AVAILABLE"));
    assert_eq!(world.blocker_rows("web").await[0].status.as_str(), "RESOLVED");
    assert_snapshot!(world.attempts("web", &repo).await, @r"
    SUCCEEDED   commit 1
    SUCCEEDED   commit 2
    ");
}
