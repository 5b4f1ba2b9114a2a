//! Pull requests that end, are moved or are written to while somebody looks at them.

use aws_sdk_codeconnections::types::{PullRequestComment, SyncConfigurationType};
use http::Method;
use serde_json::Value;
use syncline_cloudformation_sim::{CallFault, Times};
use syncline_store::{Change, Suspended};
use syncline_testkit::forge::Fault;
use syncline_testkit::world::World;

use super::deployment;
use super::forges::{Scene, named};
use super::previews::{branch, change_sets, commented, look, only, told};

fn web() -> Suspended {
    Suspended::Sync { sync_type: "CFN_STACK_SYNC".to_owned(), name: "web".to_owned() }
}

async fn suspend(world: &World) {
    let suspended =
        world.parts().store.suspend(&world.scope(), web(), "a freeze", Change::unrecorded()).await;
    assert!(suspended.expect("written").is_some(), "there is one");
}

async fn resume(world: &World) {
    let resumed = world.parts().store.resume(&world.scope(), web(), Change::unrecorded()).await;
    assert_eq!(resumed.expect("written"), Some(true));
}

fn asked_for_change_sets(world: &World) -> usize {
    world.simulator.calls().into_iter().filter(|call| call.action == "CreateChangeSet").count()
}

/// A scene with a pull request that is told; its number.
async fn told_once(provider: &str) -> (Scene, i64) {
    let scene = commented(named(provider), World::start().await).await;
    let feature = branch(&scene.repo, "feature", "two").await;
    let number = scene.forge.open_pull(&feature, &scene.repo).await;
    look(&scene.world).await;
    assert!(only(&scene).0.contains("+   DisplayName: two\n"), "{:?}", only(&scene));
    (scene, number)
}

/// Until the change set of a preview is there.
async fn until_planned(world: &World) {
    for _ in 0..400 {
        if !change_sets(&world.simulator, "web").is_empty() {
            return;
        }
        if !world.tick().await {
            world.clock.advance_ms(200);
        }
    }
    panic!("no change set was made");
}

async fn follow(world: &World, branch: &str) {
    let update = world.client.update_sync_configuration().sync_type(SyncConfigurationType::CfnStackSync);
    update.resource_name("web").branch(branch).send().await.expect("updated");
}

async fn switch_comments_off(world: &World) {
    let update = world.client.update_sync_configuration().sync_type(SyncConfigurationType::CfnStackSync);
    let update = update.resource_name("web").pull_request_comment(PullRequestComment::Disabled);
    update.send().await.expect("updated");
}

#[tokio::test]
async fn whoever_writes_what_a_comment_is_known_by_into_one_of_his_own_has_it_left_alone() {
    let (scene, first) = told_once("GitHub").await;
    let (world, repo) = (&scene.world, &scene.repo);
    let feature = branch(repo, "other", "three").await;
    let second = scene.forge.open_pull(&feature, repo).await;
    // All that the comment on the first one tells of how others are known.
    let known_by = scene.forge.comments()[0].body.lines().next().expect("a line").to_owned();
    let forged = format!("{}\nmine\n", known_by.replace(&format!(" {first} "), &format!(" {second} ")));
    scene.forge.comment(second, &forged);
    look(world).await;
    let comments = scene.forge.comments();
    let on_second: Vec<_> = comments.iter().filter(|comment| comment.pull == second).collect();
    assert_eq!(on_second.len(), 2, "{comments:#?}");
    assert_eq!((&on_second[0].body, on_second[0].edits), (&forged, 0));
    assert!(on_second[1].body.contains("three"), "{}", on_second[1].body);
}

#[tokio::test]
async fn many_pull_requests_whose_ends_cannot_be_told_yet_do_not_keep_the_worker_busy() {
    let scene = commented(named("GitHub"), World::start().await).await;
    let (world, repo) = (&scene.world, &scene.repo);
    suspend(world).await;
    let feature = branch(repo, "feature", "two").await;
    for _ in 0..55 {
        scene.forge.open_pull(&feature, repo).await;
    }
    look(world).await;
    switch_comments_off(world).await;
    let mut ticks = 0;
    while world.tick().await {
        ticks += 1;
        assert!(ticks < 60, "it does not come to rest");
    }
    resume(world).await;
    world.work().await;
    assert_eq!(told(&scene), [], "none of them was spoken of");
}

#[tokio::test]
async fn a_sync_that_follows_another_branch_waits_for_no_merge_into_the_old_one() {
    let scene = commented(named("GitHub"), World::start().await).await;
    let (world, repo) = (&scene.world, &scene.repo);
    repo.branch("release").await;
    for value in ["a", "b", "c"] {
        repo.commit("prod.yaml", deployment(value)).await;
        world.settle().await;
    }
    let feature = branch(repo, "feature", "two").await;
    let number = scene.forge.open_pull(&feature, repo).await;
    look(world).await;
    assert!(only(&scene).0.contains("+   DisplayName: two\n"));
    suspend(world).await;
    repo.commit("prod.yaml", deployment("two")).await;
    scene.forge.set_pull(number, "merged");
    look(world).await;
    follow(world, "release").await;
    resume(world).await;
    look(world).await;
    look(world).await;
    assert!(only(&scene).0.contains("**not previewed** here any more"), "{:?}", only(&scene));
}

#[tokio::test]
async fn a_suspended_sync_is_not_previewed_until_it_is_resumed() {
    let scene = commented(named("GitHub"), World::start().await).await;
    let (world, repo) = (&scene.world, &scene.repo);
    suspend(world).await;
    let feature = branch(repo, "feature", "two").await;
    let number = scene.forge.open_pull(&feature, repo).await;
    look(world).await;
    assert_eq!((told(&scene), asked_for_change_sets(world)), (Vec::new(), 1), "nothing but the sync's own");
    resume(world).await;
    world.work().await;
    assert!(only(&scene).0.contains("+   DisplayName: two\n"));
    // What was begun is cleared away, and nothing said of it.
    feature.commit("prod.yaml", deployment("three")).await;
    scene.forge.push_to_pull(number, &feature, repo).await;
    world.clock.advance_ms(5 * 60_000);
    until_planned(world).await;
    suspend(world).await;
    world.work().await;
    assert_eq!(change_sets(&world.simulator, "web"), [""; 0]);
    assert!(only(&scene).0.contains("+   DisplayName: two\n"), "{:?}", only(&scene));
    resume(world).await;
    world.work().await;
    assert!(only(&scene).0.contains("+   DisplayName: three\n"), "{:?}", only(&scene));
    assert_eq!(change_sets(&world.simulator, "web"), [""; 0]);
}

#[tokio::test]
async fn a_pull_request_whose_branch_is_gone_is_open_until_it_is_closed_or_merged() {
    for provider in ["GitLab", "Bitbucket", "AzureDevOps"] {
        let (scene, number) = told_once(provider).await;
        let (world, repo) = (&scene.world, &scene.repo);
        scene.forge.lose_head(number);
        look(world).await;
        assert_eq!(only(&scene).1, 0, "{provider}: {:?}", only(&scene));
        repo.commit("prod.yaml", deployment("two")).await;
        scene.forge.set_pull(number, "merged");
        look(world).await;
        look(world).await;
        assert!(only(&scene).0.contains("**merged and synced**"), "{provider}: {:?}", only(&scene));
    }
}

#[tokio::test]
async fn a_change_set_that_will_not_go_does_not_keep_a_deleted_sync_for_ever() {
    let scene = commented(named("GitHub"), World::start().await).await;
    let (world, repo) = (&scene.world, &scene.repo);
    let feature = branch(repo, "feature", "two").await;
    scene.forge.open_pull(&feature, repo).await;
    world.clock.advance_ms(5 * 60_000);
    until_planned(world).await;
    let refusal = CallFault::Refuse {
        status: 400,
        code: "InvalidChangeSetStatus".to_owned(),
        message: "it is being made".to_owned(),
    };
    world.simulator.faults().on_call("DeleteChangeSet", refusal, Times::Always);
    let delete = world.client.delete_sync_configuration().sync_type(SyncConfigurationType::CfnStackSync);
    delete.resource_name("web").send().await.expect("deleted");
    let links = world.client.list_repository_links().send().await.expect("links");
    let link = links.repository_links()[0].repository_link_id().to_owned();
    world.sync(&link, "web", "main", "prod.yaml").await;
    let is_synced = async || !world.attempt_rows("web").await.is_empty();
    for _ in 0..400 {
        if !world.tick().await {
            world.clock.advance_ms(5_000);
        }
        if is_synced().await {
            break;
        }
    }
    assert!(is_synced().await, "its successor waits still");
}

#[tokio::test]
async fn a_pull_request_that_cannot_be_found_for_a_while_is_told_later() {
    let scene = commented(named("GitHub"), World::start().await).await;
    let (world, repo) = (&scene.world, &scene.repo);
    let feature = branch(repo, "feature", "two").await;
    scene.forge.open_pull(&feature, repo).await;
    scene.forge.fail_at(Method::POST, Fault::Status(404, &[], "Not Found"));
    look(world).await;
    look(world).await;
    assert!(only(&scene).0.contains("+   DisplayName: two\n"));
}

#[tokio::test]
async fn a_comment_that_arrives_late_leaves_one_that_tells() {
    for provider in ["GitHub", "AzureDevOps"] {
        let scene = commented(named(provider), World::start().await).await;
        let (world, repo) = (&scene.world, &scene.repo);
        let feature = branch(repo, "feature", "two").await;
        let number = scene.forge.open_pull(&feature, repo).await;
        scene.forge.delay_comment();
        look(world).await;
        look(world).await;
        feature.commit("prod.yaml", deployment("three")).await;
        scene.forge.push_to_pull(number, &feature, repo).await;
        look(world).await;
        let comments = scene.forge.comments();
        let tells: Vec<_> = comments.iter().filter(|comment| comment.body.contains("DisplayName")).collect();
        assert_eq!(tells.len(), 1, "{provider}: {comments:#?}");
        assert!(tells[0].body.contains("three"), "{}", tells[0].body);
        let marked = comments.iter().filter(|comment| comment.body.contains("syncline-preview")).count();
        assert_eq!(marked, 1, "{comments:#?}");
    }
}

#[tokio::test]
async fn a_change_set_does_not_stay_because_the_files_cannot_be_read_any_more() {
    let scene = commented(named("GitHub"), World::start().await).await;
    let (world, repo) = (&scene.world, &scene.repo);
    let feature = branch(repo, "feature", "two").await;
    scene.forge.open_pull(&feature, repo).await;
    world.clock.advance_ms(5 * 60_000);
    until_planned(world).await;
    world.client.delete_connection().connection_arn(&scene.connection).send().await.expect("deleted");
    world.work().await;
    assert_eq!(change_sets(&world.simulator, "web"), [""; 0]);
}

#[tokio::test]
async fn a_pull_request_that_ends_before_anything_was_said_of_it_is_not_commented_to_say_so() {
    for ends in ["closed", "off"] {
        let scene = commented(named("GitHub"), World::start().await).await;
        let (world, repo) = (&scene.world, &scene.repo);
        suspend(world).await;
        let feature = branch(repo, "feature", "two").await;
        let number = scene.forge.open_pull(&feature, repo).await;
        look(world).await;
        match ends {
            "closed" => scene.forge.set_pull(number, "closed"),
            _ => switch_comments_off(world).await,
        }
        look(world).await;
        resume(world).await;
        look(world).await;
        assert_eq!(told(&scene), [], "{ends}");
        let (_, outbox) = world.rest("GET", "/outbox", &Value::Null).await;
        assert!(!outbox.to_string().contains("COMMENT\""), "{ends}: {outbox}");
    }
}
