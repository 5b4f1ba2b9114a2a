//! Several processes on one PostgreSQL database. What SQLite's one writer excludes, locks must: without them, those
//! who want a name, a quota's last place, a stack, a user, a blocker or work at once get an error, or more than
//! there is. The stories are skipped where no PostgreSQL is installed.

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};

use syncline_model::plan::Phase;
use syncline_model::sync::{BlockerKind, BlockerStatus};
use syncline_peers::postgres::{Database, Server};
use syncline_seams::{CallError, FaultPlan, Injected, Moment, Outside, VirtualClock};
use syncline_store::{
    Change, CreateConfiguration, CreateConnection, Kind, Location, Made, NewBlocker, NewConnection, Page,
    Progress, Store, StoreError,
};
use tokio::task::JoinSet;

use crate::keyring::{authorize, token_of};
use crate::rotation::rotated;
use crate::world::{CFN, LEASE_MS, PLENTY, START_MS, World, configuration, ours, role, scope_of};

/// How many do the same at once.
const AT_ONCE: usize = 12;

/// What each of many gets who all do the same at once, half of them in another process.
async fn at_once<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    stores: &[Store],
    what: impl Fn(usize, Store) -> F,
) -> Vec<T> {
    let mut all = JoinSet::new();
    for number in 0..AT_ONCE {
        all.spawn(what(number, stores[number % stores.len()].clone()));
    }
    all.join_all().await
}

fn named(name: String, id: String) -> NewConnection {
    NewConnection {
        id,
        service: "codeconnections".to_owned(),
        name,
        provider_type: Some("GitHub".to_owned()),
        host_id: None,
        tags: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_name_that_many_want_at_once_goes_to_one_and_the_others_are_told() {
    let Some(world) = World::on_postgres() else { return };
    let stores = [world.store.clone(), world.another()];
    for round in 0..5 {
        let made = at_once(&stores, |number, store| async move {
            let new = named(format!("round-{round}"), format!("{round}-{number}"));
            store.create_connection(&ours(), new, 1000, Change::unrecorded()).await
        });
        let made = made.await.into_iter().map(|made| made.expect("nobody fails"));
        let (created, taken): (Vec<_>, Vec<_>) = made.partition(|made| *made == CreateConnection::Created);
        assert_eq!((created.len(), taken.len()), (1, AT_ONCE - 1));
        assert!(taken.iter().all(|made| *made == CreateConnection::NameTaken), "{taken:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_quota_that_many_reach_at_once_is_kept() {
    let Some(world) = World::on_postgres() else { return };
    let stores = [world.store.clone(), world.another()];
    let made = at_once(&stores, |number, store| async move {
        let new = named(format!("n{number}"), format!("{number}"));
        store.create_connection(&ours(), new, 5, Change::unrecorded()).await.expect("written")
    });
    let created = made.await.into_iter().filter(|made| *made == CreateConnection::Created).count();
    assert_eq!(created, 5);
    let page = Page { after: None, limit: 100 };
    let listed = world.store.connections(&ours(), None, None, &page).await.expect("read");
    assert_eq!(listed.items.len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stack_that_two_accounts_want_at_once_goes_to_one() {
    let Some(world) = World::on_postgres() else { return };
    let stores = [world.store.clone(), world.another()];
    let mut links = Vec::new();
    for number in 0..AT_ONCE {
        let scope = scope_of(&format!("{number:012}"), "eu-west-1");
        links.push(world.link(&scope, &format!("infra-{number}")).await);
    }
    let links = Arc::new(links);
    let made = at_once(&stores, |number, store| {
        let links = Arc::clone(&links);
        async move {
            let scope = scope_of(&format!("{number:012}"), "eu-west-1");
            let mut new = configuration(&links[number], "web", "main");
            new.role_arn = role("999999999999");
            store.create_configuration(&scope, new, PLENTY, Change::unrecorded()).await.expect("nobody fails")
        }
    });
    let made = made.await;
    let created = made.iter().filter(|made| matches!(made, CreateConfiguration::Created(_))).count();
    let taken = made.iter().filter(|made| **made == CreateConfiguration::StackTaken).count();
    assert_eq!((created, taken), (1, AT_ONCE - 1), "{made:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn work_that_many_claim_at_once_is_given_to_each_once() {
    let Some(world) = World::on_postgres() else { return };
    let stores = [world.store.clone(), world.another()];
    for number in 0..AT_ONCE {
        let link = world.link(&ours(), &format!("r{number}")).await;
        world.sync(&link, &format!("s{number}"), "main").await;
    }
    let claimed = at_once(&stores, |number, store| async move {
        store.claim(Kind::Link, &format!("worker {number}"), LEASE_MS).await.expect("claimed")
    });
    let claimed: Vec<_> = claimed.await.into_iter().flatten().map(|claim| claim.id).collect();
    assert_eq!(claimed.len(), AT_ONCE, "nobody goes without while there is work");
    assert_eq!(claimed.iter().collect::<BTreeSet<_>>().len(), AT_ONCE, "nothing is given twice");
    assert!(world.nothing_due(Kind::Link).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_account_that_appears_at_once_in_many_places_has_one_external_id() {
    let Some(world) = World::on_postgres() else { return };
    let stores = [world.store.clone(), world.another()];
    let ids = at_once(&stores, |_, store| async move {
        store.account(&ours().account).await.expect("there").external_id
    });
    assert_eq!(ids.await.into_iter().collect::<BTreeSet<_>>().len(), 1);
    let users = at_once(&stores, |number, store| async move {
        let id = format!("AIDA{number}");
        store.create_user(&ours().account, &id, "ann", Change::unrecorded()).await.expect("nobody fails")
    });
    let made = users.await.into_iter().filter(|made| *made == Made::Made).count();
    assert_eq!(made, 1);
}

/// The workers of a link and of a stack raise and resolve blockers of one sync.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn blockers_that_are_raised_at_once_are_counted_and_stand_once() {
    let Some(world) = World::on_postgres() else { return };
    let (world, _, sync) = world.following("web").await;
    world.pushed(&"1".repeat(40)).await;
    let stores = [world.store.clone(), world.another()];
    let of_sync = world.claim(Kind::Sync).await;
    stores[0].open_attempt(&of_sync).await.expect("opened");
    let attempt = world.record(&sync.id).await.open.expect("open").id;
    world.store.sync_now(&ours(), CFN, "web", Change::unrecorded()).await.expect("written");
    let of_link = world.claim(Kind::Link).await;
    for _ in 0..10 {
        let raised = at_once(&stores, |number, store| {
            let (of_sync, of_link, attempt) = (of_sync.clone(), of_link.clone(), attempt.clone());
            async move {
                let kind = BlockerKind::TargetUnavailable;
                let blocker = NewBlocker { kind, reason: "throttled".to_owned(), contexts: Vec::new() };
                match number % 3 {
                    0 => {
                        let progress = Progress { blocker: Some(blocker), ..Progress::default() };
                        store.record_progress("store.record_plan", &of_sync, &attempt, progress).await
                    }
                    1 => {
                        let progress = Progress { recovered: true, ..Progress::default() };
                        store.record_progress("store.record_plan", &of_sync, &attempt, progress).await
                    }
                    _ => {
                        let kind = Some(BlockerKind::RepositoryUnavailable);
                        store.record_remote_trouble(&of_link, "no route", kind).await
                    }
                }
            }
        });
        for raised in raised.await {
            raised.expect("nobody fails");
        }
        let blockers = world.store.blockers(&ours(), CFN, "web").await.expect("read").expect("a sync");
        for kind in [BlockerKind::TargetUnavailable, BlockerKind::RepositoryUnavailable] {
            let stand = blockers.iter().filter(|b| b.kind == kind && b.status == BlockerStatus::Active);
            assert!(stand.count() <= 1, "{blockers:#?}");
        }
    }
}

/// A link's worker finds new heads while the branch's reads the one before.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn heads_that_are_found_while_a_branch_is_read_disturb_nothing() {
    let Some(world) = World::on_postgres() else { return };
    let (world, link, _) = world.following("web").await;
    let other = world.another();
    world.heads(&[("main", Some(&"0".repeat(40)))]).await;
    for round in 1..20 {
        world.store.sync_now(&ours(), CFN, "web", Change::unrecorded()).await.expect("written");
        let of_link = world.claim(Kind::Link).await;
        let (of_branch, branch, attempt) = world.reading().await;
        let head = Some(format!("{round:040}"));
        let heads = [("main".to_owned(), head)].into_iter().collect();
        let (found, read) = tokio::join!(
            world.store.record_heads(&of_link, heads),
            other.record_considered(&of_branch, &branch, &attempt, Vec::new(), Vec::new()),
        );
        found.expect("nobody fails");
        read.expect("nobody fails");
        world.store.release(of_link, None).await.expect("released");
        world.store.release(of_branch, None).await.expect("released");
    }
    assert!(world.store.link(&ours(), &link).await.expect("read").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lease_is_its_holder_s_in_every_process_and_outlives_a_restart() {
    let Some(world) = World::on_postgres() else { return };
    let (world, link, _) = world.following("web").await;
    let held = world.claim(Kind::Link).await;
    let other = world.another();
    assert!(other.claim(Kind::Link, "other", LEASE_MS).await.expect("looked").is_none());
    let world = world.reopened();
    assert!(world.nothing_due(Kind::Link).await, "whoever holds it may be alive");
    other.renew(&held, LEASE_MS).await.expect("it is still held");
    world.clock.advance_ms(LEASE_MS);
    let taken = other.claim(Kind::Link, "other", LEASE_MS).await.expect("claimed").expect("it has run out");
    assert_eq!(taken.id, link);
    assert!(matches!(world.store.renew(&held, LEASE_MS).await, Err(StoreError::Stale(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wake_in_one_process_is_heard_in_the_others() {
    let Some(world) = World::on_postgres() else { return };
    let (world, _, _) = world.following("web").await;
    let other = world.another();
    for round in 0..5 {
        if round == 3 {
            let database = world.postgres.as_ref().expect("its database");
            assert_ne!(database.ask(CUT), "0", "they listen again on another connection");
        }
        let heard = other.clone();
        let waiter = tokio::spawn(async move { heard.woken().await });
        // A hint may come before somebody waits for the next; each change gives another.
        while !waiter.is_finished() {
            // One that is cut off in the middle says so.
            drop(world.store.sync_now(&ours(), CFN, "web", Change::unrecorded()).await);
        }
        waiter.await.expect("it ends");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_that_another_process_made_is_found_while_it_is_made() {
    let Some(world) = World::on_postgres() else { return };
    let connection = world.connection(&ours(), "c").await;
    authorize(&world.store, "c", "first").await;
    let link = world.link_on(&ours(), &connection, "c").await;
    let other = world.another();
    for round in 0..10 {
        let token = format!("token {round}");
        let (done, ()) = tokio::join!(rotated(&other, 1000), authorize(&world.store, "c", &token));
        assert!(done.unreadable.is_empty(), "{done:?}");
        for store in [&world.store, &other] {
            assert_eq!(token_of(store, "c", &link).await.expect("it opens"), token);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rotations_that_begin_at_once_in_many_places_come_to_one_end() {
    let Some(world) = World::on_postgres() else { return };
    let connection = world.connection(&ours(), "c").await;
    authorize(&world.store, "c", "token").await;
    let link = world.link_on(&ours(), &connection, "c").await;
    let stores = [world.store.clone(), world.another()];
    at_once(&stores, |_, store| async move { rotated(&store, 1000).await }).await;
    while !rotated(&world.store, 1000).await.is_finished {}
    assert_eq!(token_of(&stores[1], "c", &link).await.expect("it opens"), "token");
    let status = world.store.keyring().status().await.expect("read");
    assert_eq!((status.data_keys.len(), status.lost_secrets), (2, 0), "{status:?}");
}

/// Opens a database in many processes at once, with one keyring.
fn opened_at_once(database: &Database) -> Vec<Result<Store, String>> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let keyring = folder.path().join("keyring");
    std::fs::write(&keyring, "a".repeat(64)).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&keyring, mode).expect("its owner's");
    let location = Location::parse(&database.url).expect("a URL");
    let ready = Barrier::new(6);
    std::thread::scope(|scope| {
        let starts: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    ready.wait();
                    let clock = Arc::new(VirtualClock::starting_at(START_MS));
                    Store::open(&location, &keyring, clock, Outside::default()).map_err(|e| e.to_string())
                })
            })
            .collect();
        starts.into_iter().map(|start| start.join().expect("no panic")).collect()
    })
}

#[tokio::test]
async fn processes_that_start_together_make_the_database_once() {
    let Some(database) = Database::new() else { return };
    let stores: Vec<_> =
        opened_at_once(&database).into_iter().collect::<Result<_, _>>().expect("each of them starts");
    let key = stores[0].keyring().token_key();
    assert!(stores.iter().all(|store| store.keyring().token_key() == key), "and all have its keys");
    assert_eq!(database.ask("SELECT count(*) - max(version) FROM schema_migration"), "0");
    assert_eq!(database.ask("SELECT count(*) FROM data_key"), "2");
}

#[tokio::test]
async fn a_process_without_the_others_keyring_is_told_so() {
    let Some(world) = World::on_postgres() else { return };
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    let clock = Arc::new(VirtualClock::starting_at(START_MS));
    let keyring = elsewhere.path().join("keyring");
    let refused = Store::open(&world.location, &keyring, clock, Outside::default()).expect_err("no keyring");
    let text = refused.to_string();
    assert!(text.contains("every process on one database needs the same keyring"), "{text}");
    assert!(!keyring.exists(), "and none is made that would fit nothing");
}

#[tokio::test]
async fn a_process_one_version_behind_goes_on_where_the_migration_lets_it() {
    let Some(world) = World::on_postgres() else { return };
    let database = world.postgres.as_ref().expect("its database");
    let next = "INSERT INTO schema_migration (version, works_with)
                  SELECT max(version) + 1, max(version) FROM schema_migration";
    database.run(next);
    world.another().ping().await.expect("the migration was additive");
    database.run("UPDATE schema_migration SET works_with = NULL");
    let clock = Arc::new(VirtualClock::starting_at(START_MS));
    let open = || {
        let keyring = world.directory.path().join("keyring");
        Store::open(&world.location, &keyring, clock.clone(), Outside::default())
    };
    let refused = open().expect_err("the migration was not").to_string();
    assert!(refused.contains("use a newer syncline"), "{refused}");
    database.run(next);
    let refused = open().expect_err("it is two versions behind").to_string();
    assert!(refused.contains("use a newer syncline"), "{refused}");
}

/// Ends every connection of the stores on a database at one moment of one write.
#[derive(Debug)]
struct Cut {
    url: String,
    at: (&'static str, Moment),
}

const CUT: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name = 'syncline'";

impl FaultPlan for Cut {
    fn at(&self, point: &'static str, moment: Moment) -> Option<Injected> {
        if (point, moment) == self.at {
            Database::ask_at(&self.url, CUT);
        }
        None
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_told_as_such() {
    let Some(database) = Database::new() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cut = Cut { url: database.url.clone(), at: ("store.create_connection", Moment::Before) };
    let location = Location::parse(&database.url).expect("a URL");
    let clock = Arc::new(VirtualClock::starting_at(START_MS));
    let keyring = folder.path().join("keyring");
    let outside = Outside::with_faults(Arc::new(cut));
    let store = Store::open(&location, &keyring, clock, outside).expect("it opens");
    let new = named("c".to_owned(), "c".to_owned());
    let lost = store.create_connection(&ours(), new, 1000, Change::unrecorded()).await.expect_err("lost");
    let expected = |point: &str| point == "store.create_connection";
    assert!(
        matches!(&lost, StoreError::Interrupted(CallError::Lost { point, .. }) if expected(point)),
        "{lost:?}"
    );
    let page = Page { after: None, limit: 10 };
    let listed = store.connections(&ours(), None, None, &page).await.expect("another connection is made");
    assert!(listed.items.is_empty(), "this one did not happen");
}

#[tokio::test]
async fn connections_that_were_cut_while_idle_are_made_again_unnoticed() {
    let Some(world) = World::on_postgres() else { return };
    let database = world.postgres.as_ref().expect("its database");
    for name in ["one", "two", "three"] {
        world.connection(&ours(), name).await;
        assert!(database.ask(CUT).parse::<u32>().expect("a number") > 0);
        let page = Page { after: None, limit: 10 };
        world.store.connections(&ours(), None, None, &page).await.expect("read");
        assert!(world.store.access_key("AKIA").await.expect("looked up").is_none());
    }
}

#[tokio::test]
async fn a_server_is_spoken_to_by_tls_and_only_where_its_certificate_is_good() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let Some((server, port)) = Server::start_with_tls(&certificate, &key) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let roots = folder.path().join("roots.pem");
    let open = |host: &str, settings: &str| {
        let url =
            format!("postgres://syncline@{host}:{port}/postgres?sslrootcert={}{settings}", roots.display());
        let clock = Arc::new(VirtualClock::starting_at(START_MS));
        let keyring = folder.path().join("keyring");
        Location::parse(&url).and_then(|at| Store::open(&at, &keyring, clock, Outside::default()))
    };
    std::fs::write(&roots, &certificate).expect("written");
    let store = open("localhost", "").expect("it opens");
    store.account(&ours().account).await.expect("written");
    let plain = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                  WHERE application_name = 'syncline' AND NOT ssl";
    assert_eq!(Database::ask_at(&server.url, plain), "0");
    assert_ne!(Database::ask_at(&server.url, &plain.replace("NOT ", "")), "0");
    let told = open("127.0.0.1", "").expect_err("it is another's certificate").to_string();
    assert!(told.contains("certificate"), "{told}");
    let another = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(&roots, another.cert.pem()).expect("written");
    let told = open("localhost", "&sslmode=require").expect_err("nobody vouches for it").to_string();
    assert!(told.contains("certificate"), "{told}");
}

#[tokio::test]
async fn a_session_that_lost_its_claim_to_another_process_writes_nothing() {
    let Some(world) = World::on_postgres() else { return };
    let (world, _, sync) = world.following("web").await;
    world.pushed(&"1".repeat(40)).await;
    let of_sync = world.claim(Kind::Sync).await;
    world.store.open_attempt(&of_sync).await.expect("opened");
    let attempt = world.record(&sync.id).await.open.expect("open").id;
    let other = world.another();
    world.clock.advance_ms(LEASE_MS);
    other.claim(Kind::Sync, "other", LEASE_MS).await.expect("claimed").expect("it has run out");
    let progress = Progress { phase: Some(Phase::Executing), ..Progress::default() };
    let late = world.store.record_progress("store.begin_execution", &of_sync, &attempt, progress).await;
    assert!(matches!(late, Err(StoreError::Stale(_))), "{late:?}");
    assert_eq!(
        other.sync_record(&sync.id).await.expect("read").expect("a sync").open.expect("open").phase,
        Phase::Opened
    );
}
