//! Repositories that are reached by another way: another connection, another place of the host.

use insta::assert_snapshot;

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
    assert_eq!(world.blocker_rows("web")[0].kind.as_str(), "CONNECTION_UNAVAILABLE");

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
    assert_eq!(world.blocker_rows("web")[0].status.as_str(), "RESOLVED");
}

#[tokio::test]
async fn a_host_that_moves_is_read_at_its_new_place_at_once() {
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
    let blocker = world.blocker_rows("web").remove(0);
    assert_eq!((blocker.kind.as_str(), blocker.status.as_str()), ("REPOSITORY_NOT_FOUND", "ACTIVE"));
    repo.commit("prod.yaml", deployment("two")).await;
    move_to(endpoint).await;
    assert_eq!(world.blocker_rows("web")[0].status.as_str(), "RESOLVED");
    assert_snapshot!(world.attempts("web", &repo).await, @r"
    SUCCEEDED   commit 1
    SUCCEEDED   commit 2
    ");
}
