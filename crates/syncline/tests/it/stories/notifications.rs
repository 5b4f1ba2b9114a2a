//! Who listens is told of each change of a status: once, in its order, whatever goes wrong on the way.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use syncline_cloudformation_sim::{CallFault, Times};
use syncline_seams::{Clock as _, Faults, Injected, Moment, NoFaults, VirtualClock};
use syncline_store::OUTBOX_PATIENCE_MS;
use syncline_testkit::forge::Fault;
use syncline_testkit::receiver::Receiver;
use syncline_testkit::repository::Repository;
use syncline_testkit::world::{ACCOUNT, World};
use tokio::task::yield_now;

use super::forges::is_nowhere;
use super::{deployment, synced};

/// A part of a URL that is to be seen nowhere.
const CANARY: &str = "canary-77aa-part-of-a-url";

/// Has a receiver told of `web`; it takes only what is signed for it.
async fn listen(world: &World, name: &str, kind: &str) -> Receiver {
    let receiver = Receiver::on(&world.git, Arc::<VirtualClock>::clone(&world.clock), name);
    let url = format!("{}?token={CANARY}", receiver.url());
    let body = json!({ "name": name, "kind": kind, "url": url, "syncs": ["web"] });
    let (status, made) = world.rest("POST", "/notification-targets", &body).await;
    assert_eq!(status, 200, "{made}");
    match made["secret"].as_str() {
        Some(key) => receiver.expect_key(key),
        None => assert_eq!(kind, "SLACK"),
    }
    receiver
}

async fn push(world: &World, repo: &Repository, name: &str) {
    repo.commit("prod.yaml", deployment(name)).await;
    world.settle().await;
}

/// The changes that a receiver took, as `<previous> -> <status>`.
fn changes(receiver: &Receiver) -> Vec<String> {
    let text = |body: &Value, member: &str| {
        let data = if body["data"].is_null() { &body["detail"] } else { &body["data"] };
        data[member].as_str().unwrap_or("-").to_owned()
    };
    let change = |body: Value| format!("{} -> {}", text(&body, "previousStatus"), text(&body, "status"));
    receiver.taken().into_iter().map(change).collect()
}

const ONE_SYNC: [&str; 3] =
    ["SUCCEEDED -> INITIATED", "INITIATED -> IN_PROGRESS", "IN_PROGRESS -> SUCCEEDED"];

/// Lets so many syncs' worth of changes be told, however often that takes.
async fn told(world: &World, receiver: &Receiver, syncs: usize) {
    for _ in 0..40 {
        if receiver.taken().len() == syncs * ONE_SYNC.len() {
            return;
        }
        world.settle().await;
    }
    panic!("{:#?}\n{:#}", receiver.delivered(), outbox(world).await);
}

async fn outbox(world: &World) -> Value {
    world.rest("GET", "/outbox?limit=100", &Value::Null).await.1["outbox"].take()
}

#[tokio::test]
async fn who_listens_is_told_each_change_in_its_own_way() {
    let (world, repo) = synced().await;
    let webhook = listen(&world, "webhook", "WEBHOOK").await;
    let envelope = listen(&world, "envelope", "ENVELOPE").await;
    let slack = listen(&world, "slack", "SLACK").await;
    push(&world, &repo, "two").await;
    assert_eq!(changes(&webhook), ONE_SYNC);
    assert_eq!(changes(&envelope), ONE_SYNC);
    let last = envelope.taken().pop().expect("three");
    assert_eq!((&last["source"], &last["version"]), (&json!("aws.codeconnections"), &json!("0")));
    assert_eq!(last["detail-type"], "Git Sync Resource Sync Status Change");
    let target = last["detail"]["syncTarget"].as_str().expect("a target");
    assert!(target.starts_with("arn:aws:cloudformation:") && target.contains(":stack/web/"), "{target}");
    assert_eq!(webhook.taken()[2]["data"]["resourceName"], "web");
    let text = slack.taken()[2]["text"].as_str().expect("a text").to_owned();
    assert!(text.starts_with(":white_check_mark: *web* SUCCEEDED at `"), "{text}");

    let (_, listed) = world.rest("GET", "/notification-targets", &Value::Null).await;
    let listed = listed["notificationTargets"].as_array().expect("a list").clone();
    assert_eq!(listed.iter().map(|one| &one["name"]).collect::<Vec<_>>(), ["envelope", "slack", "webhook"]);
    let rows = outbox(&world).await;
    assert!(rows.as_array().expect("rows").iter().all(|row| row["state"] == "SENT"), "{rows:#}");
    for shown in [json!(listed).to_string(), rows.to_string()] {
        assert!(!shown.contains(CANARY) && !shown.contains("whsec_"), "{shown}");
    }
    is_nowhere(&world, CANARY);
    is_nowhere(&world, "whsec_");

    let (status, removed) = world.rest("DELETE", "/notification-targets/slack", &Value::Null).await;
    assert_eq!((status, &removed["name"]), (200, &json!("slack")));
    let (status, _) = world.rest("DELETE", "/notification-targets/slack", &Value::Null).await;
    assert_eq!(status, 404);
    push(&world, &repo, "three").await;
    assert_eq!((webhook.taken().len(), slack.taken().len()), (6, 3));
}

const BUS: &str = "arn:aws:events:eu-west-1:000000000000:event-bus/ops";
const BUS_ROLE: &str = "arn:aws:iam::000000000000:role/events";

async fn put_on_a_bus(world: &World) {
    let body = json!({ "name": "bus", "kind": "EVENTBRIDGE", "eventBus": BUS, "roleArn": BUS_ROLE, "syncs": ["web"] });
    let (status, made) = world.rest("POST", "/notification-targets", &body).await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(
        (&made["url"], &made["roleArn"], &made["secret"]),
        (&json!(BUS), &json!(BUS_ROLE), &Value::Null)
    );
}

/// The changes on the bus, as [`changes`] has a receiver's, each once.
fn on_the_bus(world: &World) -> Vec<String> {
    let mut ids = BTreeSet::new();
    let events = world.simulator.put_events().into_iter();
    let fresh = events.filter(|event| ids.insert(event.detail["notificationId"].to_string()));
    let text = |detail: &Value, member: &str| detail[member].as_str().unwrap_or("-").to_owned();
    fresh
        .map(|event| {
            format!("{} -> {}", text(&event.detail, "previousStatus"), text(&event.detail, "status"))
        })
        .collect()
}

#[tokio::test]
async fn a_bus_is_told_each_change_as_aws_words_it() {
    let (world, repo) = synced().await;
    put_on_a_bus(&world).await;
    let before_ms = world.clock.now_ms();
    push(&world, &repo, "two").await;
    assert_eq!(on_the_bus(&world), ONE_SYNC);
    let last = world.simulator.put_events().pop().expect("three");
    assert_eq!((last.bus.as_str(), last.account.as_str()), (BUS, ACCOUNT));
    let what = (last.source.as_str(), last.detail_type.as_str());
    assert_eq!(what, ("syncline.codeconnections", "Git Sync Resource Sync Status Change"));
    assert!(
        last.detail["syncTarget"].as_str().is_some_and(|target| target.contains(":stack/web/")),
        "{last:?}"
    );
    assert!((before_ms..=world.clock.now_ms()).contains(&last.time_ms), "{last:?}");
    let (_, listed) = world.rest("GET", "/notification-targets", &Value::Null).await;
    assert_eq!(listed["notificationTargets"][0]["kind"], "EVENTBRIDGE");
    let (_, tried) = world.rest("POST", "/notification-targets/bus/test", &Value::Null).await;
    assert_eq!(tried, json!({ "name": "bus", "told": true, "status": 200, "reason": null }));
    let test = world.simulator.put_events().pop().expect("a test");
    assert_eq!(test.detail_type, "Syncline Notification Test");
}

#[tokio::test]
async fn a_bus_is_told_in_the_end_whatever_its_account_refuses_meanwhile() {
    let faults =
        [CallFault::Throttle, CallFault::InternalFailure, CallFault::AccessDenied, CallFault::LoseAnswer];
    for fault in faults {
        let (world, repo) = synced().await;
        put_on_a_bus(&world).await;
        world.simulator.faults().on_call("PutEvents", fault.clone(), Times::Next(2));
        push(&world, &repo, "two").await;
        for _ in 0..40 {
            if on_the_bus(&world).len() == ONE_SYNC.len() {
                break;
            }
            world.settle().await;
        }
        assert_eq!(on_the_bus(&world), ONE_SYNC, "{fault:?}");
        assert_eq!(
            world.simulator.counts()["PutEvents"],
            5,
            "{fault:?}: two tries more than there are changes"
        );
    }
    // What is wrong, and what to do, is told to whoever tries it.
    let (world, _) = synced().await;
    put_on_a_bus(&world).await;
    world.simulator.faults().deny_role(BUS_ROLE);
    let (_, tried) = world.rest("POST", "/notification-targets/bus/test", &Value::Null).await;
    let reason = tried["reason"].as_str().expect("a reason");
    assert!(reason.contains(BUS_ROLE) && reason.contains("syncline account trust-policy"), "{reason}");
}

#[tokio::test]
async fn a_bus_has_a_role_and_no_url_and_nothing_else_has_either() {
    let (world, _) = synced().await;
    let url = "https://a.example";
    let foreign = BUS_ROLE.replace(ACCOUNT, "999999999999");
    let elsewhere = BUS.replace("arn:aws:", "arn:aws-cn:");
    for (body, said) in [
        (json!({ "kind": "EVENTBRIDGE", "eventBus": BUS }), "EVENTBRIDGE has both"),
        (json!({ "kind": "EVENTBRIDGE", "eventBus": BUS, "roleArn": BUS_ROLE, "url": url }), "no url"),
        (json!({ "kind": "EVENTBRIDGE", "eventBus": "ops", "roleArn": BUS_ROLE }), "'ops' is not"),
        (json!({ "kind": "EVENTBRIDGE", "eventBus": BUS, "roleArn": "events" }), "'events' is not"),
        (json!({ "kind": "EVENTBRIDGE", "eventBus": BUS, "roleArn": foreign }), "--allow-role-account"),
        (
            json!({ "kind": "EVENTBRIDGE", "eventBus": elsewhere, "roleArn": BUS_ROLE }),
            "reaches none of aws-cn",
        ),
        (json!({ "kind": "WEBHOOK", "eventBus": BUS, "roleArn": BUS_ROLE }), "url: this kind has one"),
        (json!({ "kind": "WEBHOOK", "url": url, "roleArn": BUS_ROLE }), "no eventBus or roleArn"),
    ] {
        let mut body = body;
        body["name"] = json!("bus");
        let (status, answer) = world.rest("POST", "/notification-targets", &body).await;
        assert_eq!(status, 400, "{body}");
        assert!(answer["message"].as_str().is_some_and(|message| message.contains(said)), "{body}: {answer}");
    }
}

#[tokio::test]
async fn a_test_tells_what_the_receiver_answers_and_leaves_nothing_behind() {
    let (world, _) = synced().await;
    let receiver = listen(&world, "ops", "WEBHOOK").await;
    let tried = async || {
        let (status, tried) = world.rest("POST", "/notification-targets/ops/test", &Value::Null).await;
        assert_eq!(status, 200, "{tried}");
        assert!(!tried.to_string().contains(CANARY), "{tried}");
        tried
    };
    assert_eq!(tried().await, json!({ "name": "ops", "told": true, "status": 200, "reason": null }));
    receiver.fail(Fault::Status(403, &[], "not you, canary-77aa-part-of-a-url"));
    let refused = tried().await;
    assert_eq!((&refused["told"], &refused["status"]), (&json!(false), &json!(403)));
    assert_eq!(refused["reason"], "it answered 403 Forbidden: not you, …");
    receiver.fail(Fault::LostAnswer);
    assert_eq!((&tried().await["told"], outbox(&world).await), (&json!(false), json!([])));
    assert_eq!(receiver.taken()[0]["type"], "test");
    let (status, _) = world.rest("POST", "/notification-targets/none/test", &Value::Null).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn who_may_not_be_reached_is_not_made_a_target() {
    let (world, _) = synced().await;
    for (url, kind, status) in [
        ("http://169.254.169.254/latest", "WEBHOOK", 400),
        ("ftp://example.com/", "WEBHOOK", 400),
        ("https://u:p@example.com/", "SLACK", 400),
        ("https://example.com/", "EMAIL", 400),
    ] {
        let body = json!({ "name": "a", "kind": kind, "url": url });
        let (answered, answer) = world.rest("POST", "/notification-targets", &body).await;
        assert_eq!(answered, status, "{url}: {answer}");
    }
    // A name is resolved when it is told: what it leads to then is what counts.
    let receiver = json!({ "name": "inside", "kind": "SLACK", "url": "http://localhost:1/x" });
    let (status, _) = world.rest("POST", "/notification-targets", &receiver).await;
    assert_eq!(status, 200);
    let (_, tried) = world.rest("POST", "/notification-targets/inside/test", &Value::Null).await;
    assert_eq!(tried["told"], false, "{tried}");
}

#[tokio::test]
async fn whatever_a_receiver_answers_it_ends_with_each_change_once_and_in_order() {
    let cases: &[&[Fault]] = &[
        &[Fault::Status(500, &[], "oops")],
        &[Fault::Status(404, &[], ""), Fault::Status(503, &[], "")],
        &[Fault::Html],
        &[Fault::LostAnswer],
        &[Fault::HalfAnswer, Fault::LostAnswer],
        &[const { Fault::Status(500, &[], "") }; 6],
    ];
    for faults in cases {
        let (world, repo) = synced().await;
        let receiver = listen(&world, "ops", "WEBHOOK").await;
        faults.iter().for_each(|fault| receiver.fail(fault.clone()));
        push(&world, &repo, "two").await;
        told(&world, &receiver, 1).await;
        assert_eq!(changes(&receiver), ONE_SYNC, "{faults:?}");
        let delivered = receiver.delivered();
        assert_eq!(delivered.len(), ONE_SYNC.len() + faults.len(), "{faults:?}: each try was one request");
        let tries = &delivered[..=faults.len()];
        assert!(tries.iter().all(|one| one.id == tries[0].id), "{faults:?}: the same id each time");
    }
}

#[tokio::test]
async fn a_receiver_that_takes_it_and_says_much_is_told_once() {
    let long: &str = "a word ".repeat(20_000).leak();
    let (world, repo) = synced().await;
    let receiver = listen(&world, "ops", "WEBHOOK").await;
    receiver.fail(Fault::Status(200, &[], long));
    receiver.fail(Fault::Status(202, &[], long));
    push(&world, &repo, "two").await;
    told(&world, &receiver, 1).await;
    assert_eq!(receiver.delivered().len(), ONE_SYNC.len(), "each change was one request");
}

#[tokio::test]
async fn a_receiver_that_throttles_is_left_alone_for_as_long_as_it_asks() {
    let (world, repo) = synced().await;
    let receiver = listen(&world, "ops", "WEBHOOK").await;
    let other = listen(&world, "other", "WEBHOOK").await;
    receiver.fail(Fault::Status(429, &[("retry-after", "120")], "slow down"));
    push(&world, &repo, "two").await;
    assert_eq!((receiver.delivered().len(), changes(&other)), (1, ONE_SYNC.map(str::to_owned).to_vec()));
    told(&world, &receiver, 1).await;
    let at_ms: Vec<i64> = receiver.delivered().iter().map(|one| one.at_ms).collect();
    assert!(at_ms[1] - at_ms[0] >= 120_000, "{at_ms:?}");
    assert_eq!(changes(&receiver), ONE_SYNC);
}

#[tokio::test]
async fn what_is_never_taken_is_given_up_in_sight_and_keeps_nothing_back() {
    let (world, repo) = synced().await;
    let receiver = listen(&world, "ops", "WEBHOOK").await;
    receiver.set_down(true);
    push(&world, &repo, "two").await;
    world.clock.advance_ms(OUTBOX_PATIENCE_MS);
    for _ in 0..4 {
        world.settle().await;
    }
    let (_, failed) = world.rest("GET", "/outbox?state=FAILED", &Value::Null).await;
    let failed = failed["outbox"].as_array().expect("rows").clone();
    assert_eq!(failed.len(), ONE_SYNC.len(), "{failed:#?}");
    for row in &failed {
        assert_eq!((&row["kind"], &row["nextTryAt"]), (&json!("NOTIFICATION"), &Value::Null));
        assert_eq!(row["lastError"], "it answered 500 Internal Server Error: ok");
    }
    receiver.set_down(false);
    push(&world, &repo, "three").await;
    told(&world, &receiver, 1).await;
    assert_eq!(changes(&receiver), ONE_SYNC);
    // One that is gone for good is not tried again.
    receiver.fail(Fault::Status(410, &[], ""));
    let before = receiver.delivered().len();
    push(&world, &repo, "four").await;
    assert_eq!(receiver.delivered().len(), before + 3);
    assert_eq!(changes(&receiver)[3..], ONE_SYNC[1..]);
}

/// Tells a story in which something fails; what the receiver has in the end, and all that it was sent.
async fn tell(faults: &Arc<Faults>) -> (Vec<String>, usize) {
    faults.hold();
    let world = World::with_faults(Arc::clone(faults) as _).await;
    let repo = world.repository("acme/infra").await;
    repo.commit_files(&[("prod.yaml", &deployment("one")), ("template.yaml", &super::template(""))]).await;
    world.create_sync("web", &repo, "main", "prod.yaml").await;
    world.settle().await;
    let receiver = listen(&world, "ops", "WEBHOOK").await;
    faults.resume();
    push(&world, &repo, "two").await;
    told(&world, &receiver, 1).await;
    faults.hold();
    (changes(&receiver), receiver.delivered().len())
}

#[tokio::test]
async fn wherever_telling_fails_each_change_is_told_once() {
    let points = ["store.claim", "store.end_attempt", "store.record_sent", "notification.send"];
    for point in points {
        for (moment, injected) in [
            (Moment::Before, Injected::Fail),
            (Moment::After, Injected::Fail),
            (Moment::After, Injected::TimeOut),
        ] {
            for nth in 0..2 {
                let faults = Faults::none();
                faults.inject(point, moment, injected, nth + 1);
                let (changes, sent) = tell(&faults).await;
                assert_eq!(changes, ONE_SYNC, "{point} {moment:?} {injected:?}");
                // An attempt ends once, whether or not anybody hears of it.
                let struck =
                    if point == "store.end_attempt" && moment == Moment::After { 1 } else { nth + 1 };
                assert_eq!(faults.struck(), struck, "{point} {moment:?} {injected:?}");
                let repeated = point == "notification.send" && moment == Moment::After;
                let repeated = repeated || (point == "store.record_sent" && moment == Moment::Before);
                assert_eq!(sent > ONE_SYNC.len(), repeated, "{point} {moment:?}: {sent}");
            }
        }
    }
    // A failure to record a failure.
    let faults = Faults::none();
    faults.fail("notification.send", Moment::Before);
    faults.fail("store.record_unsent", Moment::Before);
    assert_eq!(tell(&faults).await, (ONE_SYNC.map(str::to_owned).to_vec(), ONE_SYNC.len()));
    assert_eq!(faults.struck(), 2);
}

#[tokio::test]
async fn a_server_that_dies_between_telling_and_recording_tells_the_same_again() {
    let faults = Faults::none();
    let world = World::with_faults(faults.clone()).await;
    let repo = world.repository("acme/infra").await;
    repo.commit_files(&[("prod.yaml", &deployment("one")), ("template.yaml", &super::template(""))]).await;
    let receiver = listen(&world, "ops", "WEBHOOK").await;
    world.create_sync("web", &repo, "main", "prod.yaml").await;
    faults.inject("store.record_sent", Moment::Before, Injected::Fail, 1_000);
    world.clock.advance_ms(60_000);
    while receiver.delivered().is_empty() {
        if !world.tick().await {
            world.clock.advance_ms(1_000);
        }
    }
    let world = world.restart(Arc::new(NoFaults)).await;
    world.settle().await;
    told(&world, &receiver, 1).await;
    let delivered = receiver.delivered();
    assert_eq!(delivered[0].id, delivered[1].id);
    assert_eq!(changes(&receiver), ["- -> INITIATED", ONE_SYNC[1], ONE_SYNC[2]]);
}

#[tokio::test]
async fn whatever_the_order_of_faults_the_newest_status_comes_last() {
    let mut dice = fastrand::Rng::with_seed(7);
    for round in 0..6 {
        let faults = Faults::none();
        let world = World::with_faults(faults.clone()).await;
        let repo = world.repository("acme/infra").await;
        let first = deployment("one");
        repo.commit_files(&[("prod.yaml", &first), ("template.yaml", &super::template(""))]).await;
        world.create_sync("web", &repo, "main", "prod.yaml").await;
        world.settle().await;
        let receiver = listen(&world, "ops", "WEBHOOK").await;
        for number in 0..3 {
            for _ in 0..dice.usize(..4) {
                receiver.fail(match dice.u8(..4) {
                    0 => Fault::LostAnswer,
                    1 => Fault::HalfAnswer,
                    2 => Fault::Status(503, &[("retry-after", "30")], ""),
                    _ => Fault::Status(500, &[], ""),
                });
            }
            for point in ["notification.send", "store.record_sent", "store.record_unsent"] {
                let moment = if dice.bool() { Moment::Before } else { Moment::After };
                faults.inject(point, moment, Injected::Fail, dice.usize(..2));
            }
            push(&world, &repo, &format!("round-{round}-{number}")).await;
        }
        told(&world, &receiver, 3).await;
        assert_eq!(changes(&receiver), [ONE_SYNC, ONE_SYNC, ONE_SYNC].concat(), "round {round}");
        let rows = outbox(&world).await;
        let ids: BTreeSet<_> =
            rows.as_array().expect("rows").iter().map(|row| row["id"].to_string()).collect();
        let sent: BTreeSet<_> = receiver.delivered().iter().map(|one| json!(one.id).to_string()).collect();
        assert_eq!(ids, sent, "round {round}: every row under its own id, and nothing else");
    }
}

#[tokio::test]
async fn a_receiver_that_hangs_delays_no_sync_and_nobody_else() {
    let (world, repo) = synced().await;
    let world = Arc::new(world);
    let hangs = listen(&world, "hangs", "WEBHOOK").await;
    let answers = listen(&world, "answers", "WEBHOOK").await;
    (0..20).for_each(|_| hangs.fail(Fault::Hang));
    repo.commit("prod.yaml", deployment("two")).await;
    world.clock.advance_ms(60_000);
    let mut hanging = Vec::new();
    while changes(&answers) != ONE_SYNC {
        let before = hangs.delivered().len();
        let ticking = Arc::clone(&world);
        let tick = tokio::spawn(async move { ticking.tick().await });
        loop {
            if hangs.delivered().len() > before {
                hanging.push(tick);
                break;
            }
            if tick.is_finished() {
                tick.await.expect("the turn ended");
                world.clock.advance_ms(50);
                break;
            }
            yield_now().await;
        }
        assert!(hanging.len() < 5, "only what comes first of a sync is told to who hangs");
    }
    assert_eq!(world.attempts("web", &repo).await, "SUCCEEDED   commit 1\nSUCCEEDED   commit 2\n");
    assert_eq!((hanging.len(), hangs.delivered().len()), (1, 1));
    assert!(!hanging[0].is_finished(), "nobody's patience has ended");
    hanging.iter().for_each(tokio::task::JoinHandle::abort);
}
