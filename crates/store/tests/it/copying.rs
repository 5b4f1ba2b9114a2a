//! Backups, and moving from one database to another: what was there is there again, or nothing is.

use syncline_model::sync::AttemptStatus;
use syncline_peers::postgres::Database;
use syncline_seams::Outside;
use syncline_store::{Change, Copied, Ending, Kind, Location, Store, StoreError};

use crate::keyring::{authorize, token_of};
use crate::world::{CFN, LEASE_MS, World, ours, sha};

/// A world that has something in every kind of column.
async fn lived_in(world: World) -> (World, String) {
    let connection = world.connection(&ours(), "c").await;
    authorize(&world.store, "c", "a token").await;
    let link = world.link_on(&ours(), &connection, "infra").await;
    world.sync(&link, "web", "main").await;
    world.sync(&link, "api", "dev — ü\"\\").await;
    world.pushed(&sha('1')).await;
    let claim = world.claim(Kind::Sync).await;
    world.store.open_attempt(&claim).await.expect("opened");
    world.store.release(claim, Some(0)).await.expect("released, and due again");
    let account = ours().account;
    world.store.record_unchanged(&account, "one", |_| "{}".to_owned()).await.expect("written");
    world.store.create_user(&account, "AIDA1", "ann", Change::unrecorded()).await.expect("written");
    (world, link)
}

fn saved(location: &Location) -> String {
    let mut backup = Vec::new();
    let copied = Store::back_up(location, &mut backup).expect("saved");
    assert!(copied.rows > 10 && copied.tables > 10, "{copied:?}");
    String::from_utf8(backup).expect("text")
}

/// What a backup holds, whatever the order of its rows.
fn sorted(backup: &str) -> Vec<&str> {
    let mut lines: Vec<_> = backup.lines().collect();
    lines.sort_unstable();
    lines
}

fn restored(backup: &str, to: &Location) -> Result<Copied, StoreError> {
    Store::restore(&mut backup.as_bytes(), to)
}

/// The database at `location` is what the world's was.
async fn assert_lives_on(world: &World, location: &Location, link: &str) {
    let keyring = world.directory.path().join("keyring");
    let clock = std::sync::Arc::<syncline_seams::VirtualClock>::clone(&world.clock);
    let store = Store::open(location, &keyring, clock, Outside::default()).expect("it opens");
    assert_eq!(token_of(&store, "c", link).await.expect("it opens"), "a token");
    store.record_unchanged(&ours().account, "two", |_| "{}".to_owned()).await.expect("written");
    world.clock.advance_ms(LEASE_MS);
    let claim = store.claim(Kind::Sync, "worker", LEASE_MS).await.expect("looked").expect("it is due");
    let status =
        async || store.sync_status(&ours(), CFN, "web").await.expect("read").expect("it has an attempt");
    let first = status().await.latest.id;
    let ending = Ending {
        status: AttemptStatus::Succeeded,
        events: Vec::new(),
        last_stack_event: None,
        blocker: None,
        recovered: false,
    };
    store.end_attempt(&claim, &first, ending).await.expect("ended");
    store.open_attempt(&claim).await.expect("the next one has a number of its own");
    let status = status().await;
    assert_ne!(status.latest.id, first);
    assert_eq!(status.latest_successful().map(|attempt| &attempt.id), Some(&first));
}

#[tokio::test]
async fn a_backup_of_either_database_is_restored_to_the_other() {
    let Some(database) = Database::new() else { return };
    let (world, link) = lived_in(World::on_sqlite()).await;
    let backup = saved(&world.location);
    assert!(!backup.contains("a token"), "what is sealed stays so");
    let postgres = Location::parse(&database.url).expect("a URL");
    let copied = restored(&backup, &postgres).expect("restored");
    let again = saved(&postgres);
    assert_eq!(sorted(&again), sorted(&backup));
    let elsewhere = Location::from(&world.directory.path().join("again.db"));
    assert_eq!(restored(&again, &elsewhere).expect("restored"), copied);
    assert_eq!(sorted(&saved(&elsewhere)), sorted(&backup));
    for location in [&postgres, &elsewhere] {
        assert_lives_on(&world, location, &link).await;
    }
}

#[tokio::test]
async fn a_database_is_copied_to_the_other_kind_and_back() {
    let Some(database) = Database::new() else { return };
    let (world, link) = lived_in(World::on_sqlite()).await;
    let postgres = Location::parse(&database.url).expect("a URL");
    let in_use = Store::copy(&world.location, &postgres).expect_err("a server has it");
    assert!(matches!(in_use, StoreError::InUse { .. }), "{in_use}");
    let World { store, directory, clock, faults, location, postgres: none } = world;
    drop(store);
    // Its store is another's from now on: this one's is closed.
    let store = World::on_sqlite().store;
    let world = World { store, directory, clock, faults, location, postgres: none };
    let before = saved(&world.location);
    let copied = Store::copy(&world.location, &postgres).expect("copied");
    assert_eq!(sorted(&saved(&postgres)), sorted(&before));
    let elsewhere = Location::from(&world.directory.path().join("again.db"));
    assert_eq!(Store::copy(&postgres, &elsewhere).expect("copied"), copied);
    assert_eq!(sorted(&saved(&elsewhere)), sorted(&before));
    assert_lives_on(&world, &postgres, &link).await;
}

#[tokio::test]
async fn only_a_new_database_is_filled() {
    let Some(other) = World::on_postgres() else { return };
    let (world, _) = lived_in(World::on_sqlite()).await;
    let backup = saved(&world.location);
    let check = |told: Result<Copied, StoreError>, expect: &str| {
        let told = told.expect_err(expect).to_string();
        assert!(told.contains(expect), "{told}");
    };
    check(restored(&backup, &world.location), "it exists already");
    check(restored(&backup, &other.location), "it holds something already");
    check(Store::copy(&other.location, &world.location), "syncline servers use it");
    let missing = Location::from(&world.directory.path().join("missing.db"));
    check(Store::back_up(&missing, &mut Vec::new()), "there is no such file");
    assert!(!world.directory.path().join("missing.db").exists());
}

#[tokio::test]
async fn a_backup_is_made_while_others_write() {
    let (world, _) = lived_in(World::new()).await;
    let account = ours().account;
    let before = saved(&world.location);
    let location = world.location.clone();
    let saving = std::thread::spawn(move || (0..5).map(|_| saved(&location)).collect::<Vec<_>>());
    for number in 0..50 {
        let id = format!("record {number}");
        world.store.record_unchanged(&account, &id, |_| "{}".to_owned()).await.expect("written");
    }
    let records = |backup: &str| backup.matches("\"record ").count();
    for backup in saving.join().expect("no panic") {
        assert!(records(&backup) >= records(&before));
        let folder = tempfile::tempdir().expect("a temporary folder");
        restored(&backup, &Location::from(&folder.path().join("syncline.db"))).expect("each is whole");
    }
}

#[tokio::test]
async fn a_damaged_backup_is_refused_and_leaves_nothing() {
    let (world, _) = lived_in(World::on_sqlite()).await;
    let backup = saved(&world.location);
    let path = world.directory.path().join("again.db");
    let location = Location::from(&path);
    let check = |damaged: &str, expect: &str| {
        let told = restored(damaged, &location).expect_err(expect).to_string();
        assert!(told.contains(expect), "{told}, not {expect}");
        assert!(!path.exists(), "{expect}");
    };
    check("", "it ends too early");
    check("{}\n", "the backup is damaged");
    check(&backup.replace("syncline backup 1", "syncline backup 2"), "no form of a backup that is known");
    check(&backup.replacen("\"schema\":", "\"schema\":1", 1), "restore it with the syncline that made it");
    check(&backup.replace("infra", "other"), "are not those that were saved");
    check(backup.strip_suffix("end\n").expect("its end"), "it ends too early");
    let lines: Vec<_> = backup.lines().collect();
    for left_out in 1..lines.len() {
        let mut left = lines.clone();
        left.remove(left_out);
        let text = left.join("\n") + "\n";
        assert!(restored(&text, &location).is_err(), "without line {left_out}: {}", lines[left_out]);
        assert!(!path.exists());
    }
    restored(&backup, &location).expect("whole, it is restored");
}

#[tokio::test]
async fn a_backup_that_is_refused_leaves_postgresql_empty() {
    let Some(database) = Database::new() else { return };
    let (world, _) = lived_in(World::on_sqlite()).await;
    let backup = saved(&world.location);
    let postgres = Location::parse(&database.url).expect("a URL");
    restored(&backup.replace("infra", "other"), &postgres).expect_err("it was changed");
    assert_eq!(database.ask("SELECT count(*) FROM repository_link"), "0");
    restored(&backup, &postgres).expect("nothing was left that stands in its way");
}
