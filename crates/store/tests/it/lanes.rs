//! In which line work stands, and how an endpoint that throttles is spared.

use syncline_model::schedule::Lane;
use syncline_store::{Backlog, Change, ConfigurationChange, HostChange, Kind, NewConnection, StoreError};

use crate::world::{
    CFN, LEASE_MS, PLENTY, START_MS, World, configuration, new_host, ours, role, scope_of, sha,
};

/// A host, and a link to a repository of it that a sync follows.
async fn hosted() -> (World, String) {
    hosted_in(World::new()).await
}

async fn hosted_in(world: World) -> (World, String) {
    let store = &world.store;
    store.create_host(&ours(), new_host("host"), 9, Change::unrecorded()).await.expect("a host");
    let connection = NewConnection {
        id: "connection".to_owned(),
        service: "codeconnections".to_owned(),
        name: "connection".to_owned(),
        provider_type: None,
        host_id: Some("host".to_owned()),
        tags: Vec::new(),
    };
    store.create_connection(&ours(), connection, 9, Change::unrecorded()).await.expect("a connection");
    let nothing = syncline_store::CredentialRow { sealed: None, tried_at: None };
    let authorized = store.authorize_connection(&ours(), "connection", nothing, Change::unrecorded()).await;
    assert!(authorized.expect("written"));
    let link = world.link_on(&ours(), "connection", "infra").await;
    world.sync(&link, "web", "main").await;
    (world, link)
}

async fn due(world: &World, kind: Kind) -> Vec<String> {
    let Backlog { due, .. } = world.store.backlog(kind).await.expect("read");
    due.into_iter().map(|due| due.lane.to_string()).collect()
}

#[tokio::test]
async fn work_stands_in_the_lane_of_whoever_is_talked_to() {
    let (world, link) = hosted().await;
    assert_eq!(due(&world, Kind::Link).await, ["111111111111/git:git.example.com/"]);
    world.heads(&[("main", Some(&sha('a')))]).await;
    assert_eq!(due(&world, Kind::Branch).await, [format!("111111111111/git:git.example.com/{link}")]);
    world.considered("files").await;
    assert_eq!(due(&world, Kind::Sync).await, [format!("111111111111/aws:111111111111:eu-west-1/{link}")]);

    // Another role: another AWS account.
    let change =
        ConfigurationChange { role_arn: Some(role("333333333333")), ..ConfigurationChange::default() };
    let updated =
        world.store.update_configuration(&ours(), CFN, "web", change, PLENTY, Change::unrecorded()).await;
    updated.expect("written");
    assert_eq!(due(&world, Kind::Sync).await, [format!("111111111111/aws:333333333333:eu-west-1/{link}")]);
    // Another server: another host.
    let change = HostChange {
        provider_endpoint: Some("https://Other.example.com:8443/git".to_owned()),
        vpc_configuration: None,
    };
    world.store.update_host(&ours(), "host", change, Change::unrecorded()).await.expect("written");
    assert_eq!(due(&world, Kind::Link).await, ["111111111111/git:other.example.com:8443/"]);
    assert_eq!(due(&world, Kind::Branch).await, [format!("111111111111/git:other.example.com:8443/{link}")]);
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test plays an earlier version")]
async fn work_of_an_earlier_version_gets_its_lane_with_its_first_claim() {
    let (world, _) = hosted_in(World::on_sqlite()).await;
    let database = rusqlite::Connection::open(world.database()).expect("the database");
    database.execute("UPDATE work SET lane = ''", []).expect("as it was");
    assert_eq!(due(&world, Kind::Link).await, ["//"]);
    let lanes = vec![(Lane::default(), 9)];
    let claimed = world.store.claim_and_look(Kind::Link, lanes, "worker", LEASE_MS).await;
    let (claim, _) = claimed.expect("written").remove(0);
    assert_eq!(claim.lane.to_string(), "111111111111/git:git.example.com/");
    world.store.release(claim, Some(START_MS)).await.expect("released");
    assert_eq!(due(&world, Kind::Link).await, ["111111111111/git:git.example.com/"]);
}

#[tokio::test]
async fn a_throttled_endpoint_is_paused_for_every_worker_and_others_go_on() {
    let (world, _) = hosted().await;
    let other = scope_of("222222222222", "eu-west-1");
    let link = world.link(&other, "other").await;
    world.sync_as(&other, configuration(&link, "else", "main")).await;
    let lanes = |backlog: Backlog| backlog.due.into_iter().map(|due| (due.lane, 9)).collect();
    let backlog = world.store.backlog(Kind::Link).await.expect("read");
    assert_eq!(backlog.allowed("git:git.example.com"), None);
    let claimed = world.store.claim_and_look(Kind::Link, lanes(backlog), "worker", LEASE_MS).await;
    let mut claims = claimed.expect("written");
    claims.sort_by(|(one, _), (other, _)| one.lane.account.cmp(&other.lane.account));
    let [(throttled, _), (untouched, _)] = <[_; 2]>::try_from(claims).expect("two");
    let record = |claim| {
        let store = world.store.clone();
        async move { store.record_throttled(&claim, 8, None, 0.0).await }
    };
    assert!(record(throttled.clone()).await.expect("recorded"));
    assert!(!record(throttled.clone()).await.expect("recorded"), "one turn is one strike");
    for claim in [throttled.clone(), untouched] {
        world.store.release(claim, Some(START_MS)).await.expect("released");
    }
    assert!(matches!(record(throttled).await, Err(StoreError::Stale(_))));

    let seen = world.store.backlog(Kind::Link).await.expect("read");
    assert_eq!((seen.allowed("git:git.example.com"), seen.allowed("git:GitHub")), (Some(0), None));
    let mut beginnings: Vec<_> = seen.beginnings_ms().collect();
    beginnings.sort_unstable();
    assert_eq!(beginnings, [START_MS, START_MS + 1_000]);
    assert_eq!(world.claim(Kind::Link).await.lane.account, "222222222222");
    assert!(world.nothing_due(Kind::Link).await, "the pause is not over");
    assert_eq!(world.store.next_due_ms(Some(Kind::Link)).await.expect("read"), Some(START_MS + 1_000));
    let world = world.reopened();
    world.clock.advance_ms(1_000);
    let seen = world.store.backlog(Kind::Link).await.expect("read");
    assert_eq!(seen.allowed("git:git.example.com"), Some(1), "a restart forgets nothing");
}

#[tokio::test]
async fn a_worker_that_stops_gives_back_what_it_holds_and_nothing_else() {
    let (world, link) = hosted().await;
    world.heads(&[("main", Some(&sha('a')))]).await;
    world.store.sync_now(&ours(), CFN, "web", Change::unrecorded()).await.expect("written");
    let store = &world.store;
    let mine = store.claim(Kind::Link, "mine", LEASE_MS).await.expect("claimed").expect("due");
    let theirs = store.claim(Kind::Branch, "theirs", LEASE_MS).await.expect("claimed").expect("due");
    store.hand_over("mine").await.expect("written");
    assert!(matches!(store.renew(&mine, LEASE_MS).await, Err(StoreError::Stale(_))));
    store.renew(&theirs, LEASE_MS).await.expect("still held");
    assert_eq!(world.claim(Kind::Link).await.id, link, "due at once");
}

#[tokio::test]
async fn a_glance_tells_what_is_due_and_when_the_next_piece_is() {
    let (world, _) = hosted().await;
    let glance = async || {
        let glance = world.store.glance().await.expect("read");
        [Kind::Link, Kind::Branch, Kind::Sync].map(|kind| (glance.is_due(kind), glance.next_ms(kind)))
    };
    let nothing = (false, None);
    assert_eq!(glance().await, [(true, None), nothing, nothing], "a new link is asked at once");
    let claim = world.claim(Kind::Link).await;
    assert_eq!(glance().await, [nothing; 3], "somebody is at it");
    world.store.release(claim, Some(START_MS + 60_000)).await.expect("released");
    assert_eq!(glance().await, [(false, Some(START_MS + 60_000)), nothing, nothing]);
    world.clock.advance_ms(60_000);
    assert_eq!(glance().await, [(true, None), nothing, nothing]);
    let audit = world.store.glance().await.expect("read").is_due(Kind::Audit);
    assert_eq!(audit, world.store.next_due_ms(Some(Kind::Audit)).await.expect("read").is_some());
}
