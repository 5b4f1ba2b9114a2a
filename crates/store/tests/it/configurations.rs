//! Sync configurations: names, stacks, quotas, changes, and what remains of a deleted one.

use syncline_model::plan::Wanted;
use syncline_model::sync::AttemptStatus;
use syncline_store::{
    Change, ConfigurationChange, ConfigurationQuotas, CreateConfiguration, Ending, Kind, NewConfiguration,
    Scope, StoreError, UpdateConfiguration,
};

use crate::world::{CFN, PLENTY, World, configuration, ours, role, scope_of, sha};

fn outcome(create: &CreateConfiguration) -> &'static str {
    match create {
        CreateConfiguration::Created(_) => "created",
        CreateConfiguration::LinkNotFound => "no link",
        CreateConfiguration::AlreadyExists => "exists",
        CreateConfiguration::StackTaken => "taken",
        CreateConfiguration::LimitExceeded(which) => which,
    }
}

#[tokio::test]
async fn a_configuration_is_made_where_link_name_stack_and_quotas_allow() {
    let world = World::new();
    let foreign = scope_of("222222222222", "eu-west-1");
    let link = world.link(&ours(), "infra").await;
    let other_link = world.link(&ours(), "other").await;
    let foreign_link = world.link(&foreign, "infra2").await;
    let quotas = ConfigurationQuotas { per_account: 4, per_link: 3, per_branch: 2 };
    let check = async |scope: &Scope, new: NewConfiguration, expect: &str| {
        let name = new.resource_name.clone();
        let created = world
            .store
            .create_configuration(scope, new, quotas, Change::unrecorded())
            .await
            .expect("written");
        assert_eq!(outcome(&created), expect, "{name}");
        if let CreateConfiguration::Created(created) = created {
            let found = world.store.configuration(scope, CFN, &name).await.expect("read").expect("made");
            assert_eq!(found, *created);
            assert_eq!((found.owner_id.as_str(), found.provider_type.as_str()), ("acme", "GitHub"));
        }
    };
    check(&ours(), configuration("nobody", "a", "main"), "no link").await;
    check(&ours(), configuration(&foreign_link, "a", "main"), "no link").await;
    check(&ours(), configuration(&link, "a", "main"), "created").await;
    check(&ours(), configuration(&link, "a", "dev"), "exists").await;
    check(&ours(), configuration(&other_link, "a", "main"), "exists").await;
    check(&foreign, configuration(&foreign_link, "a", "main"), "taken").await;
    let in_their_own_account =
        NewConfiguration { role_arn: role("222222222222"), ..configuration(&foreign_link, "a", "main") };
    check(&foreign, in_their_own_account, "created").await;
    check(&ours(), configuration(&link, "b", "main"), "created").await;
    check(&ours(), configuration(&link, "c", "main"), "sync configurations of a branch").await;
    check(&ours(), configuration(&link, "c", "dev"), "created").await;
    check(&ours(), configuration(&link, "d", "third"), "sync configurations of a repository link").await;
    check(&ours(), configuration(&other_link, "d", "main"), "created").await;
    check(&ours(), configuration(&other_link, "e", "main"), "sync configurations").await;

    assert_eq!(world.store.configuration(&foreign, CFN, "b").await.expect("read"), None);
    assert_eq!(
        world.store.configuration(&scope_of("111111111111", "eu-west-2"), CFN, "b").await.expect("read"),
        None
    );
    assert_eq!(world.store.configuration(&ours(), "OTHER", "b").await.expect("read"), None);
}

#[tokio::test]
async fn a_new_configuration_has_its_link_look_at_once() {
    let (world, link, _) = World::followed("web").await;
    let claim = world.claim(Kind::Link).await;
    assert_eq!(claim.id, link);
    world.store.release(claim, None).await.expect("released");
    world.sync(&link, "api", "main").await;
    assert_eq!(world.claim(Kind::Link).await.id, link);
    assert!(world.nothing_due(Kind::Sync).await, "it wants nothing before the branch was read");
}

#[tokio::test]
async fn a_change_touches_what_it_names_and_nothing_else() {
    let (world, _, made) = World::followed("web").await;
    let other = world.link(&ours(), "other").await;
    let update = async |change: ConfigurationChange| {
        let updated =
            world.store.update_configuration(&ours(), CFN, "web", change, PLENTY, Change::unrecorded()).await;
        match updated.expect("written") {
            UpdateConfiguration::Updated(configuration) => *configuration,
            other => panic!("{other:?}"),
        }
    };
    let none = ConfigurationChange::default;
    let mut expected = made.clone();
    assert_eq!(update(none()).await, expected);
    expected.branch = "dev".to_owned();
    assert_eq!(update(ConfigurationChange { branch: Some("dev".into()), ..none() }).await, expected);
    expected.config_file = "x.yaml".to_owned();
    assert_eq!(update(ConfigurationChange { config_file: Some("x.yaml".into()), ..none() }).await, expected);
    expected.role_arn = "arn:aws:iam::222222222222:role/deploy".to_owned();
    let change = ConfigurationChange { role_arn: Some(role("222222222222")), ..none() };
    assert_eq!(update(change).await, expected);
    expected.publish_deployment_status = Some("ENABLED".to_owned());
    let change = ConfigurationChange { publish_deployment_status: Some("ENABLED".into()), ..none() };
    assert_eq!(update(change).await, expected);
    expected.trigger_resource_update_on = Some("FILE_CHANGE".to_owned());
    let change = ConfigurationChange { trigger_resource_update_on: Some("FILE_CHANGE".into()), ..none() };
    assert_eq!(update(change).await, expected);
    expected.pull_request_comment = Some("DISABLED".to_owned());
    let change = ConfigurationChange { pull_request_comment: Some("DISABLED".into()), ..none() };
    assert_eq!(update(change).await, expected);
    expected.link_id.clone_from(&other);
    expected.repository_name = "other".to_owned();
    assert_eq!(update(ConfigurationChange { link_id: Some(other), ..none() }).await, expected);
    assert_eq!(world.store.configuration(&ours(), CFN, "web").await.expect("read"), Some(expected));
    // Every change counts a generation, even one that changes nothing: it asks for a sync.
    assert_eq!(world.record(&made.id).await.recorded.generation, 9);
}

#[tokio::test]
async fn a_change_is_refused_where_a_creation_would_be() {
    let (world, link, _) = World::followed("web").await;
    world.sync(&link, "api", "dev").await;
    let foreign = scope_of("222222222222", "eu-west-1");
    let foreign_link = world.link(&foreign, "infra2").await;
    let theirs =
        NewConfiguration { role_arn: role("333333333333"), ..configuration(&foreign_link, "web", "main") };
    world.sync_as(&foreign, theirs).await;
    let quotas = ConfigurationQuotas { per_account: 1, per_link: 2, per_branch: 1 };
    let none = ConfigurationChange::default;
    let check =
        async |scope: &Scope, name: &str, change: ConfigurationChange, expect: &UpdateConfiguration| {
            let before = world.store.configuration(&ours(), CFN, "web").await.expect("read");
            let updated = world
                .store
                .update_configuration(scope, CFN, name, change, quotas, Change::unrecorded())
                .await
                .expect("written");
            assert_eq!(&updated, expect, "{name}");
            assert_eq!(world.store.configuration(&ours(), CFN, "web").await.expect("read"), before);
        };
    check(&ours(), "nobody", none(), &UpdateConfiguration::NotFound).await;
    check(&scope_of("111111111111", "eu-west-2"), "web", none(), &UpdateConfiguration::NotFound).await;
    let to_link = |id: &str| ConfigurationChange { link_id: Some(id.to_owned()), ..none() };
    check(&ours(), "web", to_link("nobody"), &UpdateConfiguration::LinkNotFound).await;
    check(&ours(), "web", to_link(&foreign_link), &UpdateConfiguration::LinkNotFound).await;
    let to_role = ConfigurationChange { role_arn: Some(role("333333333333")), ..none() };
    check(&ours(), "web", to_role, &UpdateConfiguration::StackTaken).await;
    let to_branch = ConfigurationChange { branch: Some("dev".into()), ..none() };
    let full = UpdateConfiguration::LimitExceeded("sync configurations of a branch");
    check(&ours(), "web", to_branch, &full).await;
    // A change that stays on its branch meets no quota, however full it is.
    let stays = ConfigurationChange { branch: Some("main".into()), ..none() };
    let updated = world
        .store
        .update_configuration(&ours(), CFN, "web", stays, quotas, Change::unrecorded())
        .await
        .expect("written");
    assert!(matches!(updated, UpdateConfiguration::Updated(_)), "{updated:?}");
}

#[tokio::test]
async fn a_role_of_another_account_means_another_stack() {
    let (world, _, sync) = World::followed("web").await;
    world.pushed(&sha('a')).await;
    let claim = world.claim(Kind::Sync).await;
    world.store.open_attempt(&claim).await.expect("opened");
    let open = world.record(&sync.id).await.open.expect("open");
    let progress = syncline_store::Progress { stack_id: Some("stack-1".to_owned()), ..Default::default() };
    world.store.record_progress("store.progress", &claim, &open.id, progress).await.expect("written");
    let ending = Ending {
        status: AttemptStatus::Succeeded,
        events: Vec::new(),
        last_stack_event: None,
        blocker: None,
        recovered: false,
    };
    world.store.end_attempt(&claim, &open.id, ending).await.expect("ended");
    assert!(world.record(&sync.id).await.recorded.knows_stack);

    let update = async |account: &str| {
        let change = ConfigurationChange { role_arn: Some(role(account)), ..Default::default() };
        world
            .store
            .update_configuration(&ours(), CFN, "web", change, PLENTY, Change::unrecorded())
            .await
            .expect("written");
    };
    update("111111111111").await;
    assert!(world.record(&sync.id).await.recorded.knows_stack, "the same account, the same stack");
    update("222222222222").await;
    assert!(!world.record(&sync.id).await.recorded.knows_stack);
}

#[tokio::test]
async fn a_deleted_configuration_is_drained_before_its_successor_begins() {
    let (world, link, first) = World::followed("web").await;
    world.pushed(&sha('a')).await;
    let claim = world.claim(Kind::Sync).await;
    world.store.open_attempt(&claim).await.expect("opened");

    world.store.delete_configuration(&ours(), CFN, "web", Change::unrecorded()).await.expect("written");
    world
        .store
        .delete_configuration(&ours(), CFN, "web", Change::unrecorded())
        .await
        .expect("deleting twice is fine");
    world
        .store
        .delete_configuration(&ours(), CFN, "nobody", Change::unrecorded())
        .await
        .expect("so is deleting nothing");
    assert_eq!(world.store.configuration(&ours(), CFN, "web").await.expect("read"), None, "at once");
    assert_eq!(world.store.sync_status(&ours(), CFN, "web").await.expect("read"), None);
    assert_eq!(world.store.blockers(&ours(), CFN, "web").await.expect("read"), None);
    let tombstone = world.record(&first.id).await;
    assert!(tombstone.recorded.deleted && tombstone.open.is_some(), "its open attempt is still to be ended");
    assert_eq!(world.store.link_record(&link).await.expect("read").expect("a link").branches, [""; 0]);

    let second = world.sync(&link, "web", "main").await;
    assert_ne!(second.id, first.id);
    let waiting = world.record(&second.id).await;
    assert!(waiting.recorded.predecessor, "it waits for the tombstone");
    assert!(!tombstone.recorded.predecessor, "which waits for nobody");
    assert_eq!(waiting.open, None);
    assert_eq!(
        world.store.attempts(&ours(), CFN, "web").await.expect("read"),
        Some(Vec::new()),
        "no history"
    );

    world.store.forget_sync(&claim).await.expect("forgotten");
    assert!(world.store.sync_record(&first.id).await.expect("read").is_none());
    assert!(!world.record(&second.id).await.recorded.predecessor);
    let woken = world.claim(Kind::Sync).await;
    assert_eq!(woken.id, second.id, "the successor is told");
}

#[tokio::test]
async fn a_live_configuration_is_never_forgotten() {
    let (world, _, sync) = World::followed("web").await;
    world.pushed(&sha('a')).await;
    let claim = world.claim(Kind::Sync).await;
    let found = world.record(&sync.id).await;
    assert_eq!(found.recorded.desired, Some(Wanted { seq: 1, generation: 1 }));
    world.store.open_attempt(&claim).await.expect("opened");
    let refused = world.store.forget_sync(&claim).await.expect_err("only a tombstone may be forgotten");
    assert!(matches!(refused, StoreError::Corrupt(_)), "{refused}");
    assert!(world.store.configuration(&ours(), CFN, "web").await.expect("read").is_some());
    assert!(world.record(&sync.id).await.open.is_some(), "its history stays");
    world.store.renew(&claim, 1).await.expect("and so does its work");
}
