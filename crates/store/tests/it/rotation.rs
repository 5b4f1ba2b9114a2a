//! Rotation: under traffic, interrupted anywhere, by several processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use syncline_store::{
    Change, KeyringStatus, Made, NewAccessKey, Owner, Rotation, Store, StoreError, StoreResult, key_owner,
};

use crate::keyring::{authorize, sealed_of, store_sealed, token_of};
use crate::world::{World, open, ours};

/// A world whose connections have their names' tokens, and the link of each.
async fn with_secrets(count: usize) -> (World, Vec<(String, String)>) {
    filled(World::new(), count).await
}

async fn filled(world: World, count: usize) -> (World, Vec<(String, String)>) {
    let mut links = Vec::new();
    for number in 0..count {
        let name = format!("c{number:03}");
        let connection = world.connection(&ours(), &name).await;
        authorize(&world.store, &name, &format!("token of {name}")).await;
        let link = world.link_on(&ours(), &connection, &name).await;
        links.push((name, link));
    }
    (world, links)
}

pub(crate) async fn rotate(store: &Store, most: usize) -> StoreResult<Rotation> {
    store.keyring().rotate(most, Change::unrecorded()).await.map(|(_, done)| done)
}

/// What a rotation that nothing disturbs did.
pub(crate) async fn rotated(store: &Store, most: usize) -> Rotation {
    rotate(store, most).await.expect("rotated")
}

async fn status(store: &Store) -> KeyringStatus {
    store.keyring().status().await.expect("read")
}

async fn all_open(store: &Store, links: &[(String, String)]) {
    for (name, link) in links {
        assert_eq!(token_of(store, name, link).await.expect("opens"), format!("token of {name}"));
    }
}

/// A user's access key with the secret "a secret".
async fn access_key(store: &Store, id: &str) {
    let account = ours().account;
    let made = store.create_user(&account, "AIDA1", "ann", Change::unrecorded()).await;
    assert_eq!(made.expect("written"), Made::Made);
    let arn = key_owner(id);
    let owner = Owner { account: account.as_str(), arn: &arn };
    let new = NewAccessKey {
        id: id.to_owned(),
        user_name: "ann".to_owned(),
        sealed: store.keyring().seal(&owner, b"a secret").expect("sealed"),
        token_hash: None,
        expires_at_ms: None,
    };
    // Whatever happens between a request and its commit: the key in use then is what counts.
    assert!(rotated(store, 1000).await.is_finished);
    let made = store.create_access_key(&account, new, Change::unrecorded()).await;
    assert_eq!(made.expect("written"), Made::Made);
}

async fn assert_secret(store: &Store, id: &str) {
    let key = store.access_key(id).await.expect("read").expect("a key");
    assert_eq!(store.secret_of(id, &key).await.expect("it opens").expose(), b"a secret");
}

#[tokio::test]
async fn a_rotation_seals_everything_with_a_new_key_and_deletes_the_old_one() {
    let (world, links) = with_secrets(70).await;
    access_key(&world.store, "AKIA1").await;
    let before = status(&world.store).await;
    let token_key = world.store.keyring().token_key();
    let done = rotated(&world.store, 1000).await;
    assert_eq!((done.resealed, done.rewrapped, done.deleted, done.is_finished), (71, 0, 1, true));
    let after = status(&world.store).await;
    let secrets = |status: &KeyringStatus| {
        let keys = status.data_keys.iter().filter(|key| key.purpose == "SECRETS");
        keys.map(|key| (key.id, key.secrets.clone())).collect::<Vec<_>>()
    };
    let ([(old, sealed_before)], [(new, sealed_after)]) = (&secrets(&before)[..], &secrets(&after)[..])
    else {
        panic!("{before:?}\n{after:?}")
    };
    assert_ne!(old, new);
    assert_eq!(sealed_before, sealed_after);
    assert_eq!(sealed_after, &[("credentials of connections", 70), ("secrets of access keys", 1)]);
    assert_eq!((after.lost_secrets, after.is_rotating), (0, false));
    all_open(&world.store, &links).await;
    assert_secret(&world.store, "AKIA1").await;
    let world = world.reopened();
    all_open(&world.store, &links).await;
    assert_secret(&world.store, "AKIA1").await;
    assert_eq!(world.store.keyring().token_key(), token_key, "tokens that were given out stay good");
}

#[tokio::test]
async fn a_rotation_goes_on_where_the_last_call_stopped() {
    let (world, links) = with_secrets(100).await;
    let mut calls = Vec::new();
    loop {
        let done = rotated(&world.store, 40).await;
        calls.push(done.resealed);
        all_open(&world.store, &links).await;
        if done.is_finished {
            break;
        }
        assert!(status(&world.store).await.is_rotating);
    }
    assert_eq!(calls, [64, 36], "whole batches");
    assert_eq!(status(&world.store).await.data_keys.len(), 2, "one key for secrets, one for tokens");
}

#[tokio::test]
async fn what_was_sealed_before_a_rotation_may_be_written_after_it() {
    let (world, links) = with_secrets(1).await;
    let (name, link) = &links[0];
    let arn = format!("arn:aws:codeconnections:eu-west-1:111111111111:connection/connection-{name}");
    let owner = Owner { account: "111111111111", arn: &arn };
    let early = world.store.keyring().seal(&owner, b"an early token").expect("sealed");
    for _ in 0..2 {
        assert!(rotated(&world.store, 1000).await.is_finished);
    }
    store_sealed(&world.store, name, early.clone()).await;
    let world = world.reopened();
    assert_eq!(token_of(&world.store, name, link).await.expect("opens"), "an early token");
    let error =
        world.store.keyring().open_sealed(&owner, &early).await.expect_err("its key is gone").to_string();
    assert!(error.contains("which does not exist"), "{error}");
}

/// Authorizations, reads and rotations at once: the last token of every connection is the one that it was given last.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rotation_under_traffic_loses_nothing() {
    const ROUNDS: usize = 30;
    let (world, links) = with_secrets(40).await;
    let store = Arc::new(world.store.clone());
    let (opened, quiet) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut writers = tokio::task::JoinSet::new();
    for (name, _) in links.clone().into_iter().step_by(2) {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            for round in 0..ROUNDS {
                authorize(&store, &name, &format!("{name} {round}")).await;
            }
        });
    }
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (store, links, opened, quiet) =
            (Arc::clone(&store), links.clone(), Arc::clone(&opened), Arc::clone(&quiet));
        readers.spawn(async move {
            while !quiet.load(Ordering::Relaxed) {
                for (name, link) in &links {
                    let token = token_of(&store, name, link).await.expect("it opens at any time");
                    assert!(token.contains(name.as_str()), "{token}");
                    opened.fetch_add(1, Ordering::Relaxed);
                }
                tokio::task::yield_now().await;
            }
        });
    }
    let mut rotators = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (store, quiet) = (Arc::clone(&store), Arc::clone(&quiet));
        rotators.spawn(async move {
            let mut resealed = 0;
            while !quiet.load(Ordering::Relaxed) {
                let done = rotated(&store, 16).await;
                assert_eq!(done.unreadable, Vec::<String>::new());
                resealed += done.resealed;
            }
            resealed
        });
    }
    while let Some(done) = writers.join_next().await {
        done.expect("every token is accepted");
    }
    quiet.store(true, Ordering::Relaxed);
    while let Some(done) = readers.join_next().await {
        done.expect("every token opens");
    }
    let mut resealed = 0;
    while let Some(done) = rotators.join_next().await {
        resealed += done.expect("no rotation fails");
    }
    assert!(resealed > 0 && opened.load(Ordering::Relaxed) > 0);
    while !rotated(&store, 1000).await.is_finished {}
    drop(store);
    let world = world.reopened();
    for (number, (name, link)) in links.iter().enumerate() {
        let last =
            if number % 2 == 0 { format!("{name} {}", ROUNDS - 1) } else { format!("token of {name}") };
        assert_eq!(token_of(&world.store, name, link).await.expect("opens"), last);
    }
    assert_eq!(status(&world.store).await.data_keys.len(), 2, "no key is left over");
}

/// Whatever commit of a rotation fails, before or after: everything opens, also after a restart, and the next call
/// completes that rotation.
#[tokio::test]
async fn a_rotation_that_dies_anywhere_is_completed_by_the_next() {
    let points = {
        let (world, _) = with_secrets(40).await;
        world.faults.clear();
        rotate(&world.store, 1000).await.expect("nothing goes wrong");
        world.faults.seen()
    };
    let names: Vec<_> = points.iter().step_by(2).map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        [
            "store.begin_rotation",
            "store.reseal_secrets",
            "store.reseal_secrets",
            "store.rewrap_data_keys",
            "store.finish_rotation"
        ]
    );
    for nth in 0..points.len() {
        let (world, links) = with_secrets(40).await;
        let before = status(&world.store).await.data_keys;
        world.faults.clear();
        world.faults.fail_nth(nth);
        let died = rotate(&world.store, 1000).await.expect_err("it dies");
        assert!(matches!(died, StoreError::Interrupted(_)), "point {nth}: {died}");
        all_open(&world.store, &links).await;
        let world = world.reopened();
        all_open(&world.store, &links).await;
        let begun = status(&world.store).await;
        let done = rotated(&world.store, 1000).await;
        assert!(done.is_finished, "point {nth}: {done:?}");
        let after = status(&world.store).await;
        assert_eq!(
            (after.data_keys.len(), after.is_rotating, after.lost_secrets),
            (2, false, 0),
            "point {nth}"
        );
        assert!(after.data_keys.iter().filter(|key| before.iter().any(|old| old.id == key.id)).count() == 1);
        if begun.is_rotating {
            let goes_on =
                after.data_keys.iter().all(|key| begun.data_keys.iter().any(|old| old.id == key.id));
            assert!(goes_on, "point {nth}: it made one more key");
        }
        all_open(&world.store, &links).await;
    }
}

#[tokio::test]
async fn a_secret_that_cannot_be_opened_stays_with_its_key_and_is_named() {
    let (world, links) = filled(World::on_sqlite(), 3).await;
    #[expect(clippy::disallowed_methods, reason = "the test plays a disk that lost a bit")]
    rusqlite::Connection::open(world.database())
        .expect("opens")
        .execute_batch(
            "UPDATE connection SET credential = CAST(substr(credential, 1, length(credential) - 1) || x'00' AS BLOB)
              WHERE name = 'c001'",
        )
        .expect("done");
    let broken = sealed_of(&world.store, &links[1].1).await;
    for _ in 0..2 {
        let done = rotated(&world.store, 1000).await;
        let named = "arn:aws:codeconnections:eu-west-1:111111111111:connection/connection-c001".to_owned();
        assert_eq!((done.resealed, done.unreadable, done.is_finished), (2, vec![named], true));
    }
    assert_eq!(sealed_of(&world.store, &links[1].1).await, broken);
    let keys = status(&world.store).await.data_keys.into_iter().filter(|key| key.purpose == "SECRETS");
    let mut counts: Vec<_> = keys
        .map(|key| (key.retired_at_ms.is_some(), key.secrets.iter().map(|(_, n)| n).sum::<i64>()))
        .collect();
    counts.sort_unstable();
    assert_eq!(counts, [(false, 2), (true, 1)]);
}

/// Two processes on one database, as PostgreSQL will have them: what one seals with a key that it made, the other opens.
#[tokio::test]
async fn a_key_that_another_process_made_is_found() {
    let (world, links) = filled(World::on_sqlite(), 2).await;
    // SQLite lets one process in, so the other one works on a copy, which is then put into the first one's file.
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let copy = elsewhere.path().join("syncline.db");
    let run = |sql: String| {
        #[expect(clippy::disallowed_methods, reason = "the test plays the other process's commits")]
        rusqlite::Connection::open(world.database()).expect("opens").execute_batch(&sql).expect("done");
    };
    run(format!("VACUUM INTO '{}'", copy.display()));
    std::fs::copy(world.directory.path().join("keyring"), elsewhere.path().join("keyring")).expect("copied");
    let other = open(&elsewhere, &world.clock, &world.faults).expect("the other process");
    assert!(rotated(&other, 1000).await.is_finished);
    drop(other);
    run(format!(
        "ATTACH '{}' AS other; BEGIN; DELETE FROM data_key; INSERT INTO data_key SELECT * FROM other.data_key;
         UPDATE connection SET credential = (SELECT credential FROM other.connection o WHERE o.id = connection.id);
         COMMIT",
        copy.display()
    ));
    all_open(&world.store, &links).await;
    // It still seals with the key that it knows; what it writes is sealed by the one that is in use.
    authorize(&world.store, "c000", "token of c000").await;
    let world = world.reopened();
    all_open(&world.store, &links).await;
    assert_eq!(status(&world.store).await.lost_secrets, 0);
}
