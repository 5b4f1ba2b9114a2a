//! Databases of earlier versions keep what they hold.

#![expect(clippy::disallowed_methods, reason = "the tests make databases of earlier versions")]

use rusqlite::{Connection, params};
use syncline_model::sync::{EventKind, SyncEvent};

use crate::world::{CFN, START_MS, World, open, ours};

/// The schema of the first version, in which each event was a row.
const FIRST: &str = include_str!("../../migrations/0001_init.sql");

/// The events an answer shows.
const SHOWN: i64 = 100;

fn insert_events(database: &Connection, attempt_id: &str, count: i64) {
    // Backwards, so that the order of the rows is not that of the events.
    for seq in (0..count).rev() {
        let external_id = (seq % 2 == 0).then(|| format!("id \"{seq}\""));
        let values = params![attempt_id, seq, START_MS + seq, format!("text {seq} — ü"), external_id];
        let sql = "INSERT INTO event (attempt_id, seq, time_ms, kind, text, external_id)
                     VALUES (?1, ?2, ?3, 'STACK_EVENT', ?4, ?5)";
        database.execute(sql, values).expect("an event");
    }
}

fn expected_events(count: i64) -> Vec<SyncEvent> {
    let event = |seq| SyncEvent {
        time_ms: START_MS + seq,
        kind: EventKind::StackEvent,
        text: format!("text {seq} — ü"),
        external_id: (seq % 2 == 0).then(|| format!("id \"{seq}\"")),
    };
    ((count - SHOWN).max(0)..count).map(event).collect()
}

/// A database of the first version with one sync; each attempt has the number of events named.
fn first_version(database: &Connection, event_counts: &[i64]) {
    database.execute_batch("BEGIN").expect("one transaction, for speed");
    database.execute_batch("CREATE TABLE schema_migration (version BIGINT PRIMARY KEY)").expect("a table");
    database.execute_batch(FIRST).expect("the first schema");
    database.execute("INSERT INTO schema_migration (version) VALUES (1)", []).expect("its version");
    let revision = r#"{"branch":"main","directory":".","owner_id":"acme","repository_name":"infra","provider_type":"GitHub","sha":"1"}"#;
    database
        .execute_batch(&format!(
            "INSERT INTO repository_link VALUES ('link', '{account}', '{region}', 'codeconnections', 'c', 'arn', 'acme',
               'infra', 'GitHub', NULL, 0, 1);
             INSERT INTO branch VALUES ('branch', 'link', 'main', NULL, 1, 0);
             INSERT INTO sync_configuration VALUES ('sync', '{account}', '{region}', '{CFN}', 'web', 'link', 'main',
               'web.yaml', 'arn:aws:iam::{account}:role/deploy', '{account}', NULL, NULL, NULL, 1, 1, 1, NULL, NULL, NULL,
               NULL, NULL, NULL, 0, 1);",
            account = ours().account,
            region = ours().region,
        ))
        .expect("a sync");
    for (number, count) in (1_i64..).zip(event_counts) {
        // Every second one failed.
        let status = if number % 2 == 0 { "FAILED" } else { "SUCCEEDED" };
        let (id, repository_id) = (format!("attempt-{number}"), format!("repository-attempt-{number}"));
        database
            .execute(
                "INSERT INTO attempt VALUES (?1, 'sync', ?2, ?5, 'EXECUTING', 1, 1, 2, ?3, ?3, 'web', 1, 1, NULL,
                   'role', 'link', 'web.yaml', 1, NULL, NULL, NULL, 0, ?4)",
                params![id, number, revision, count, status],
            )
            .expect("an attempt");
        insert_events(database, &id, *count);
        database
            .execute(
                "INSERT INTO repository_attempt VALUES (?1, 'branch', ?2, '1', 'SUCCEEDED', 1)",
                params![repository_id, number],
            )
            .expect("a repository attempt");
        insert_events(database, &repository_id, *count);
    }
    database.execute_batch("COMMIT").expect("committed");
}

#[tokio::test]
async fn the_events_of_an_earlier_version_are_all_there_in_their_order() {
    // What is kept in documents of a hundred, around its edges.
    let counts = [0, 1, 99, 100, 101, 200, 201, 350];
    for newest in 0..counts.len() {
        let World { directory, clock, faults, store, .. } = World::on_sqlite();
        drop(store);
        let path = directory.path().join("syncline.db");
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
        }
        let counts = &counts[..=newest];
        first_version(&Connection::open(&path).expect("a new file"), counts);

        let store = open(&directory, &clock, &faults).expect("an earlier version opens");
        let attempts = store.attempts(&ours(), CFN, "web").await.expect("read").expect("the sync is there");
        let events: Vec<_> = attempts.into_iter().map(|attempt| attempt.events).collect();
        let expected: Vec<_> = counts.iter().map(|count| expected_events(*count)).collect();
        assert_eq!(events, expected, "{counts:?}");
        let number = newest + 1;
        let status = store.sync_status(&ours(), CFN, "web").await.expect("read").expect("an attempt");
        assert_eq!(status.latest.id, format!("attempt-{number}"));
        assert_eq!(
            status.latest.events.read().expect("events"),
            expected_events(counts[newest]),
            "{counts:?}"
        );
        let successful = status.latest_successful().expect("the first succeeded");
        assert_eq!(successful.id, format!("attempt-{}", number - usize::from(number % 2 == 0)));
        // Only the newest attempt of a branch is shown, hence a database for each count.
        let status = store.repository_status(&ours(), "link", "main").await.expect("read").expect("a link");
        assert_eq!(
            status.expect("an attempt").events.read().expect("events"),
            expected_events(counts[newest]),
            "{counts:?}"
        );

        let database = Connection::open(&path).expect("opens");
        let held: i64 = database
            .query_row(
                "SELECT (SELECT coalesce(sum(json_array_length(events)), 0) FROM event_page)
                      + (SELECT sum(json_array_length(events)) FROM attempt)
                      + (SELECT sum(json_array_length(events)) FROM repository_attempt)",
                [],
                |row| row.get(0),
            )
            .expect("a count");
        assert_eq!(held, 2 * counts.iter().sum::<i64>(), "also the events that are not shown: {counts:?}");
    }
}
