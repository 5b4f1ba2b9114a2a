//! What is to be told to the outside: written once, told in its newest version or in its order.

use syncline_model::plan::Phase;
use syncline_model::sync::{AttemptStatus, EventKind, SyncEvent};
use syncline_store::{
    Change, Claim, CreateNotificationTarget, Ending, Kind, NewConfiguration, NewNotificationTarget,
    OUTBOX_LIFETIME_MS, OutboxItem, OutboxKind, OutboxState, Owner, Page, Progress, StatusEvent, StoreError,
    TargetKind, Unsent, Wanted, notification_target_owner,
};

use crate::world::{LEASE_MS, START_MS, World, configuration, ours, role, scope_of, sha};

fn wanted(subject: &str, document: &str) -> Wanted {
    Wanted {
        kind: OutboxKind::Comment,
        subject: subject.to_owned(),
        scope: ours(),
        endpoint: "rest:forge.example.com".to_owned(),
        document: document.to_owned(),
    }
}

/// Wants something under the claim of a link's turn.
async fn want(world: &World, claim: &Claim, subject: &str, document: &str) {
    world.store.want(claim, vec![wanted(subject, document)]).await.expect("written");
}

async fn all(world: &World) -> Vec<OutboxItem> {
    let page = Page { after: None, limit: 1000 };
    world.store.outbox(&ours(), None, &page).await.expect("read").items
}

async fn one(world: &World) -> OutboxItem {
    let mut items = all(world).await;
    assert_eq!(items.len(), 1, "{items:?}");
    items.remove(0)
}

async fn claimed(world: &World) -> (Claim, OutboxItem) {
    let claim = world.claim(Kind::Outbox).await;
    let item = world.store.outbox_item(&claim.id).await.expect("read").expect("a row");
    (claim, item)
}

fn again(reason: &str, at_ms: Option<i64>) -> Unsent {
    Unsent { reason: reason.to_owned(), again_at_ms: at_ms, remote_id: None }
}

/// A target that is told of these syncs and statuses; its id.
async fn target(world: &World, name: &str, syncs: Option<&[&str]>, statuses: Option<&[&str]>) -> String {
    let id = format!("target-{name}");
    let owner = notification_target_owner(&id);
    let owner = Owner { account: ours().account.as_str(), arn: &owner }.seal(world);
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let new = NewNotificationTarget {
        id: id.clone(),
        name: name.to_owned(),
        kind: TargetKind::Webhook,
        shown: "https://hooks.example.com/".to_owned(),
        role_arn: None,
        sealed: owner,
        syncs: syncs.map(texts),
        statuses: statuses.map(texts),
    };
    let made = world.store.create_notification_target(&ours(), new, 10, Change::unrecorded()).await;
    assert!(matches!(made.expect("written"), CreateNotificationTarget::Created(_)));
    id
}

trait Seals {
    fn seal(&self, world: &World) -> Vec<u8>;
}

impl Seals for Owner<'_> {
    fn seal(&self, world: &World) -> Vec<u8> {
        world.store.keyring().seal(self, b"secret").expect("sealed")
    }
}

#[tokio::test]
async fn of_a_wanted_thing_only_the_newest_content_is_sent() {
    let (world, _, _) = World::followed("web").await;
    let link = world.claim(Kind::Link).await;
    want(&world, &link, "pr 1", "first").await;
    want(&world, &link, "pr 1", "second").await;
    let (claim, item) = claimed(&world).await;
    assert_eq!((&*item.document, item.version, item.sent_version), ("second", 2, 0));
    assert_eq!(claim.lane.to_string(), "111111111111/rest:forge.example.com/");
    assert!(world.nothing_due(Kind::Outbox).await, "there is one piece of work for it");
    // What comes while it is being sent is not lost, and is due at once.
    want(&world, &link, "pr 1", "third").await;
    world.store.record_sent(&claim, &item, Some("remote 7".to_owned())).await.expect("recorded");
    let (claim, item) = claimed(&world).await;
    assert_eq!((&*item.document, item.version, item.sent_version), ("third", 3, 2));
    assert_eq!((item.state, item.remote_id.as_deref()), (OutboxState::Waiting, Some("remote 7")));
    world.store.record_sent(&claim, &item, None).await.expect("recorded");
    let item = one(&world).await;
    assert_eq!((item.state, item.sent_version, item.due_at_ms), (OutboxState::Sent, 3, None));
    assert_eq!(item.remote_id.as_deref(), Some("remote 7"), "it is remembered");
    // The same again changes nothing, something else does.
    want(&world, &link, "pr 1", "third").await;
    assert!(world.nothing_due(Kind::Outbox).await);
    want(&world, &link, "pr 1", "fourth").await;
    let (_, item) = claimed(&world).await;
    assert_eq!((item.version, item.remote_id.as_deref()), (4, Some("remote 7")));
}

#[tokio::test]
async fn what_is_told_to_another_is_not_looked_for_under_the_id_of_the_one_before() {
    let (world, _, _) = World::followed("web").await;
    let link = world.claim(Kind::Link).await;
    want(&world, &link, "pr 1", "first").await;
    let (claim, item) = claimed(&world).await;
    world.store.record_sent(&claim, &item, Some("remote 7".to_owned())).await.expect("recorded");
    let moved = Wanted { endpoint: "rest:other.example.com".to_owned(), ..wanted("pr 1", "second") };
    world.store.want(&link, vec![moved]).await.expect("written");
    let (claim, item) = claimed(&world).await;
    assert_eq!((&*item.endpoint, item.remote_id), ("rest:other.example.com", None));
    assert_eq!(claim.lane.to_string(), "111111111111/rest:other.example.com/");
}

#[tokio::test]
async fn whoever_lost_the_claim_records_nothing() {
    let (world, _, _) = World::followed("web").await;
    let link = world.claim(Kind::Link).await;
    want(&world, &link, "pr 1", "first").await;
    let (lost, item) = claimed(&world).await;
    world.clock.advance_ms(LEASE_MS);
    let (held, again_item) = claimed(&world).await;
    assert_eq!(again_item, item);
    let stale =
        |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::Stale(_))), "{result:?}");
    stale(world.store.record_sent(&lost, &item, Some("remote".to_owned())).await);
    stale(world.store.record_unsent(&lost, &item, again("down", None)).await);
    stale(world.store.want(&link, vec![wanted("pr 2", "x")]).await);
    assert_eq!(one(&world).await.state, OutboxState::Waiting);
    world.store.record_sent(&held, &item, None).await.expect("recorded");
    stale(world.store.record_sent(&held, &item, None).await);
    assert_eq!(one(&world).await.remote_id, None);
}

#[tokio::test]
async fn what_cannot_be_sent_is_tried_again_and_given_up_in_sight() {
    let (world, _, _) = World::followed("web").await;
    let link = world.claim(Kind::Link).await;
    want(&world, &link, "pr 1", "first").await;
    let (claim, item) = claimed(&world).await;
    let long = "x".repeat(2000);
    world.store.record_unsent(&claim, &item, again(&long, Some(START_MS + 5000))).await.expect("recorded");
    let item = one(&world).await;
    assert_eq!((item.state, item.failures, item.due_at_ms), (OutboxState::Waiting, 1, Some(START_MS + 5000)));
    assert_eq!(item.last_error.map(|error| error.len()), Some(500));
    assert!(world.nothing_due(Kind::Outbox).await);
    world.clock.advance_ms(5000);
    let (claim, item) = claimed(&world).await;
    // A part of it was done: what it is known by is kept also where nothing else is.
    let unsent = Unsent { remote_id: Some("remote 7".to_owned()), ..again("half", None) };
    world.store.record_unsent(&claim, &item, unsent).await.expect("recorded");
    let item = one(&world).await;
    assert_eq!(
        (item.state, item.failures, item.remote_id.as_deref()),
        (OutboxState::Failed, 2, Some("remote 7"))
    );
    assert_eq!((item.last_error.as_deref(), item.due_at_ms), (Some("half"), None));
    world.clock.advance_ms(OUTBOX_LIFETIME_MS);
    assert!(world.nothing_due(Kind::Outbox).await, "it is given up");
    let failed =
        world.store.outbox(&ours(), Some(OutboxState::Failed), &Page { after: None, limit: 9 }).await;
    assert_eq!(failed.expect("read").items.len(), 1);
    // Wanted once more, be it the same, it is tried once more.
    let link = world.store.claim(Kind::Link, "again", LEASE_MS).await.expect("claimed").expect("due");
    want(&world, &link, "pr 1", "first").await;
    let (claim, item) = claimed(&world).await;
    assert_eq!((item.version, item.failures), (2, 0));
    // Given up, but something newer came meanwhile.
    want(&world, &link, "pr 1", "newer").await;
    world.store.record_unsent(&claim, &item, again("refused", None)).await.expect("recorded");
    let (claim, item) = claimed(&world).await;
    assert_eq!((&*item.document, item.state, item.failures), ("newer", OutboxState::Waiting, 1));
    world.store.record_sent(&claim, &item, None).await.expect("recorded");
    let item = one(&world).await;
    assert_eq!((item.state, item.failures, item.last_error), (OutboxState::Sent, 0, None));
}

#[tokio::test]
async fn what_was_sent_long_ago_goes_with_what_is_sent_now() {
    let (world, _, _) = World::followed("web").await;
    let link = world.claim(Kind::Link).await;
    for subject in ["a", "b", "waits"] {
        want(&world, &link, subject, "x").await;
    }
    for _ in 0..2 {
        let (claim, item) = claimed(&world).await;
        world.store.record_sent(&claim, &item, None).await.expect("recorded");
    }
    world.clock.advance_ms(OUTBOX_LIFETIME_MS);
    assert_eq!(all(&world).await.len(), 3);
    let (claim, item) = claimed(&world).await;
    world.store.record_sent(&claim, &item, None).await.expect("recorded");
    let left = one(&world).await;
    assert_eq!(left.id, item.id, "what was sent now stays");
}

/// Every notification that waits, in the order in which it was made: what its target is, and its detail in short.
async fn told(world: &World) -> Vec<String> {
    let mut items = all(world).await;
    items.sort_by_key(|item| (item.target_id.clone(), item.created_at_ms, item.subject.clone()));
    items.iter().map(short).collect()
}

fn short(item: &OutboxItem) -> String {
    let event: StatusEvent = serde_json::from_str(&item.document).expect("an event");
    let text = |member: &str| event.detail[member].as_str().unwrap_or("-").to_owned();
    let what = event.sync.unwrap_or_else(|| text("branch"));
    format!("{what} {} -> {}", text("previousStatus"), text("status"))
}

fn ending(status: AttemptStatus, kind: EventKind) -> Ending {
    let event = SyncEvent { time_ms: START_MS, kind, text: "the end".to_owned(), external_id: None };
    Ending { status, events: vec![event], last_stack_event: None, blocker: None, recovered: false }
}

/// Sends everything that may be sent, in the order in which it is due; what was sent.
async fn sent(world: &World) -> Vec<String> {
    let mut sent = Vec::new();
    while let Some(claim) = world.store.claim(Kind::Outbox, "worker", LEASE_MS).await.expect("claimed") {
        let item = world.store.outbox_item(&claim.id).await.expect("read").expect("a row");
        sent.push(short(&item));
        world.store.record_sent(&claim, &item, None).await.expect("recorded");
    }
    sent
}

#[tokio::test]
async fn each_change_of_a_status_is_told_once_and_in_order() {
    let (world, _, sync) = World::followed("web").await;
    target(&world, "all", None, None).await;
    world.pushed(&sha('a')).await;
    let claim = world.claim(Kind::Sync).await;
    let attempt = async || {
        let record = world.store.open_attempt(&claim).await.expect("opened").expect("a sync");
        record.open.expect("an attempt").id
    };
    let first = attempt().await;
    world
        .store
        .end_attempt(&claim, &first, ending(AttemptStatus::Failed, EventKind::Superseded))
        .await
        .expect("ended");
    let second = attempt().await;
    let executing = Progress { phase: Some(Phase::Executing), in_progress: true, ..Progress::default() };
    world
        .store
        .record_progress("store.record_execution", &claim, &second, executing)
        .await
        .expect("recorded");
    world
        .store
        .record_progress("store.record_events", &claim, &second, Progress::default())
        .await
        .expect("recorded");
    world
        .store
        .end_attempt(&claim, &second, ending(AttemptStatus::Failed, EventKind::Failed))
        .await
        .expect("ended");
    let third = attempt().await;
    world
        .store
        .end_attempt(&claim, &third, ending(AttemptStatus::Succeeded, EventKind::Succeeded))
        .await
        .expect("ended");

    let of_sync = [
        "web - -> INITIATED",
        // The one that was given up is no failure.
        "web INITIATED -> INITIATED",
        "web INITIATED -> IN_PROGRESS",
        "web IN_PROGRESS -> FAILED",
        "web FAILED -> INITIATED",
        "web INITIATED -> SUCCEEDED",
    ];
    let of_branch = ["main - -> INITIATED", "main INITIATED -> IN_PROGRESS", "main IN_PROGRESS -> SUCCEEDED"];
    // One of each subject may begin, and the next begins when it was sent.
    let backlog = world.store.backlog(Kind::Outbox).await.expect("read");
    assert_eq!(backlog.due.iter().map(|due| due.pieces).sum::<u32>(), 2);
    let sent = sent(&world).await;
    let of = |what: &str| sent.iter().filter(|text| text.starts_with(what)).cloned().collect::<Vec<_>>();
    assert_eq!(
        (of("web"), of("main")),
        (of_sync.map(str::to_owned).to_vec(), of_branch.map(str::to_owned).to_vec())
    );
    let items = all(&world).await;
    let about_sync: Vec<_> = items.iter().filter(|item| item.subject == sync.id).collect();
    assert_eq!(about_sync.len(), of_sync.len());
    let event: StatusEvent = serde_json::from_str(&about_sync[0].document).expect("an event");
    assert_eq!(event.detail_type, "Git Sync Resource Sync Status Change");
    assert_eq!(event.detail["commit"], sha('a'));
}

#[tokio::test]
async fn the_next_of_a_line_waits_for_the_one_before_and_not_for_ever() {
    let (world, _, _) = World::followed("web").await;
    target(&world, "all", Some(&["web"]), None).await;
    world.pushed(&sha('a')).await;
    let sync = world.claim(Kind::Sync).await;
    let record = world.store.open_attempt(&sync).await.expect("opened").expect("a sync");
    let attempt = record.open.expect("an attempt").id;
    let (claim, item) = claimed(&world).await;
    world.store.record_unsent(&claim, &item, again("down", Some(START_MS + 60_000))).await.expect("recorded");
    world
        .store
        .end_attempt(&sync, &attempt, ending(AttemptStatus::Succeeded, EventKind::Succeeded))
        .await
        .expect("ended");
    assert!(world.nothing_due(Kind::Outbox).await, "the first is to come first");
    world.clock.advance_ms(60_000);
    let (claim, same) = claimed(&world).await;
    assert_eq!(same.id, item.id, "under the same id");
    world.store.record_unsent(&claim, &same, again("gone", None)).await.expect("recorded");
    assert_eq!(sent(&world).await, ["web INITIATED -> SUCCEEDED"]);
}

#[tokio::test]
async fn filters_say_what_a_target_is_told_and_a_deleted_one_is_told_nothing() {
    let world = World::new();
    let link = world.link(&ours(), "infra").await;
    world.sync(&link, "api", "main").await;
    world.sync(&link, "web", "main").await;
    let theirs = scope_of("222222222222", "eu-west-1");
    let their_link = world.link(&theirs, "theirs").await;
    let of_theirs =
        NewConfiguration { role_arn: role("222222222222"), ..configuration(&their_link, "theirs", "main") };
    world.sync_as(&theirs, of_theirs).await;
    target(&world, "everything", None, None).await;
    target(&world, "failures-of-web", Some(&["web"]), Some(&["FAILED"])).await;
    for _ in 0..2 {
        world.heads(&[("main", Some(&sha('a')))]).await;
    }
    for _ in 0..2 {
        world.considered("files").await;
    }
    while let Some(claim) = world.store.claim(Kind::Sync, "worker", LEASE_MS).await.expect("claimed") {
        let record = world.store.open_attempt(&claim).await.expect("opened").expect("a sync");
        let failed = ending(AttemptStatus::Failed, EventKind::Failed);
        world.store.end_attempt(&claim, &record.open.expect("open").id, failed).await.expect("ended");
        world.store.release(claim, None).await.expect("released");
    }
    let mut told = told(&world).await;
    assert_eq!(told.pop().as_deref(), Some("web INITIATED -> FAILED"));
    let of = |what: &str| told.iter().filter(|text| text.starts_with(what)).count();
    assert_eq!((told.len(), of("main"), of("api"), of("web")), (7, 3, 2, 2), "{told:?}");

    let delete = async |name: &str| {
        let deleted = world.store.delete_notification_target(&ours(), name, Change::unrecorded()).await;
        deleted.expect("written").map(|target| target.name)
    };
    let (claim, item) = claimed(&world).await;
    assert_eq!(delete("everything").await.as_deref(), Some("everything"));
    assert_eq!(delete("everything").await, None);
    let recorded = world.store.record_sent(&claim, &item, None).await;
    assert!(matches!(recorded, Err(StoreError::Stale(_))), "{recorded:?}");
    assert_eq!(sent(&world).await, ["web INITIATED -> FAILED"]);
    assert_eq!(delete("target-failures-of-web").await.as_deref(), Some("failures-of-web"));
    assert_eq!(all(&world).await, []);
    assert!(world.store.notification_targets(&theirs).await.expect("read").is_empty());
}

#[tokio::test]
async fn a_target_has_a_name_of_its_own_and_secrets_that_rotate() {
    let world = World::new();
    let id = target(&world, "all", None, Some(&["FAILED"])).await;
    let new = |name: &str| NewNotificationTarget {
        id: format!("another-{name}"),
        name: name.to_owned(),
        kind: TargetKind::Slack,
        shown: "https://slack.example.com/".to_owned(),
        role_arn: None,
        sealed: world
            .store
            .keyring()
            .seal(
                &Owner {
                    account: ours().account.as_str(),
                    arn: &notification_target_owner(&format!("another-{name}")),
                },
                b"x",
            )
            .expect("sealed"),
        syncs: None,
        statuses: None,
    };
    let create = async |name: &str, most| {
        world
            .store
            .create_notification_target(&ours(), new(name), most, Change::unrecorded())
            .await
            .expect("written")
    };
    assert_eq!(create("all", 10).await, CreateNotificationTarget::NameTaken);
    assert_eq!(create("more", 1).await, CreateNotificationTarget::LimitExceeded);
    assert!(matches!(create("more", 2).await, CreateNotificationTarget::Created(_)));
    let targets = world.store.notification_targets(&ours()).await.expect("read");
    assert_eq!(targets.iter().map(|target| &*target.name).collect::<Vec<_>>(), ["all", "more"]);
    assert_eq!(crate::rotation::rotated(&world.store, 1000).await.unreadable, [""; 0]);
    let record = world.store.notification_target(&ours(), "all").await.expect("read").expect("a target");
    assert_eq!(
        (record.target.id.as_str(), record.target.statuses.clone()),
        (id.as_str(), Some(vec!["FAILED".into()]))
    );
    assert_eq!(world.store.target_secret(&record).await.expect("opened").expose(), b"secret");
    assert_eq!(world.store.target_record(&id).await.expect("read"), Some(record));
    let theirs = scope_of("222222222222", "eu-west-1");
    assert_eq!(world.store.notification_target(&theirs, &id).await.expect("read"), None);
}

#[tokio::test]
async fn where_nobody_listens_a_sync_takes_as_many_statements_as_without_an_outbox() {
    let (world, _, _) = World::followed("web").await;
    world.pushed(&sha('a')).await;
    let claim = world.claim(Kind::Sync).await;
    let statements = async |told: bool| {
        let before = world.store.statements();
        let record = world.store.open_attempt(&claim).await.expect("opened").expect("a sync");
        let attempt = record.open.expect("an attempt").id;
        let executing = Progress { phase: Some(Phase::Executing), in_progress: true, ..Progress::default() };
        world
            .store
            .record_progress("store.record_execution", &claim, &attempt, executing)
            .await
            .expect("recorded");
        world
            .store
            .end_attempt(&claim, &attempt, ending(AttemptStatus::Succeeded, EventKind::Succeeded))
            .await
            .expect("ended");
        let after = world.store.statements();
        assert_eq!(!all(&world).await.is_empty(), told);
        after - before
    };
    let without = statements(false).await;
    target(&world, "all", None, None).await;
    assert!(statements(true).await > without + 9);
    assert_eq!(without, 10, "what there was before there was an outbox");
}

#[tokio::test]
async fn what_is_added_while_others_send_is_sent_in_order_and_none_of_it_is_left() {
    const SYNCS: usize = 4;
    const ATTEMPTS: usize = 5;
    let world = World::new();
    let link = world.link(&ours(), "infra").await;
    for number in 0..SYNCS {
        world.sync(&link, &format!("web-{number}"), "main").await;
    }
    target(&world, "one", Some(&["web-0", "web-1", "web-2", "web-3"]), None).await;
    target(&world, "two", Some(&["web-0", "web-1", "web-2", "web-3"]), None).await;
    world.pushed(&sha('a')).await;
    let mut adding = tokio::task::JoinSet::new();
    for _ in 0..SYNCS {
        let (store, claim) = (world.store.clone(), world.claim(Kind::Sync).await);
        adding.spawn(async move {
            for _ in 0..ATTEMPTS {
                let record = store.open_attempt(&claim).await.expect("opened").expect("a sync");
                let attempt = record.open.expect("an attempt").id;
                let failed = ending(AttemptStatus::Failed, EventKind::Failed);
                store.end_attempt(&claim, &attempt, failed).await.expect("ended");
            }
        });
    }
    let all_of_them = 2 * 2 * SYNCS * ATTEMPTS;
    let sent = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut sending = tokio::task::JoinSet::new();
    for number in 0..4 {
        let (store, sent) = (world.store.clone(), std::sync::Arc::clone(&sent));
        sending.spawn(async move {
            let owner = format!("sender {number}");
            while sent.lock().expect("no panic").len() < all_of_them {
                let claim = store.claim(Kind::Outbox, &owner, LEASE_MS).await.expect("claimed");
                let Some(claim) = claim else {
                    tokio::task::yield_now().await;
                    continue;
                };
                let item = store.outbox_item(&claim.id).await.expect("read").expect("a row");
                let line = (item.target_id.clone(), item.subject.clone());
                sent.lock().expect("no panic").push((line, short(&item)));
                store.record_sent(&claim, &item, None).await.expect("recorded");
            }
        });
    }
    adding.join_all().await;
    sending.join_all().await;
    let sent = sent.lock().expect("no panic").clone();
    let lines: std::collections::BTreeSet<_> = sent.iter().map(|(line, _)| line.clone()).collect();
    assert_eq!((lines.len(), sent.len()), (2 * SYNCS, all_of_them));
    for line in lines {
        let statuses: Vec<_> = sent.iter().filter(|(of, _)| *of == line).map(|(_, text)| text).collect();
        for pair in statuses.chunks(2) {
            assert!(pair[0].ends_with("-> INITIATED") && pair[1].ends_with("-> FAILED"), "{statuses:?}");
        }
    }
    assert!(all(&world).await.iter().all(|item| item.state == OutboxState::Sent));
}
