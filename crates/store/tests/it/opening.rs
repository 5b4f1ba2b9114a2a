//! Opening: one process at a time, the newest schema.

use std::os::unix::fs::PermissionsExt as _;

use syncline_store::StoreError;

use crate::world::{World, open, ours};

#[tokio::test]
async fn a_second_process_is_refused_and_told_why() {
    let world = World::on_sqlite();
    let refused = open(&world.directory, &world.clock, &world.faults).expect_err("it is in use");
    let text = refused.to_string();
    assert!(matches!(refused, StoreError::InUse { .. }), "{text}");
    let named = format!("another syncline process has the database {} open", world.database().display());
    assert!(text.starts_with(&named), "{text}");
    world.store.ping().await.expect("the first one is not disturbed");
    world.reopened().store.ping().await.expect("once the first one is gone, it opens");
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_restart() {
    let (world, link, sync) = World::followed("web").await;
    let before = world.store.configuration(&ours(), crate::world::CFN, "web").await.expect("read");
    let world = world.reopened();
    assert_eq!(world.store.configuration(&ours(), crate::world::CFN, "web").await.expect("read"), before);
    assert!(world.store.link(&ours(), &link).await.expect("read").is_some());
    assert_eq!(world.record(&sync.id).await.recorded.generation, 1);
    let gauges = world.store.gauges().await.expect("read");
    assert!(gauges.iter().any(|(name, _, value)| *name == "syncline_sync_configurations" && *value == 1));
}

#[tokio::test]
async fn nobody_else_may_read_the_database() {
    let world = World::on_sqlite();
    let mode = std::fs::metadata(world.database()).expect("made").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test plays somebody else who opens the file")]
async fn a_database_of_a_newer_version_is_left_alone() {
    let World { directory, clock, faults, store, .. } = World::on_sqlite();
    drop(store);
    let path = directory.path().join("syncline.db");
    let database = rusqlite::Connection::open(&path).expect("opens");
    let newest: i64 = database
        .query_row("SELECT max(version) FROM schema_migration", [], |row| row.get(0))
        .expect("a version");
    database.execute("INSERT INTO schema_migration (version) VALUES (99)", []).expect("from the future");
    let refused = open(&directory, &clock, &faults).expect_err("too new").to_string();
    let expected = format!(
        "cannot open the database {}: it has schema version 99, but this syncline knows only {newest}: use a \
         newer syncline",
        path.display()
    );
    assert_eq!(refused, expected);
    database.execute("DELETE FROM schema_migration WHERE version = 99", []).expect("back again");
    open(&directory, &clock, &faults).expect("nothing was done to it").ping().await.expect("and it works");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("syncline.db"), "this is no database, but a letter")
        .expect("written");
    let world = World::on_sqlite();
    assert!(open(&directory, &world.clock, &world.faults).is_err());
    std::fs::remove_file(directory.path().join("syncline.db")).expect("removed");
    open(&directory, &world.clock, &world.faults).expect("the lock was given back");
}
