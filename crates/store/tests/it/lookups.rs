//! Lookups of single rows, which are one statement on PostgreSQL where they wait at the same time.

use syncline_store::{Change, Made, NewAccessKey, Owner, Store, key_owner};
use tokio::task::JoinSet;

use crate::world::{World, ours};

/// As many users, each with a key whose id tells whose it is.
const KEYS: usize = 40;

async fn keys(store: &Store) {
    let account = ours().account;
    for number in 0..KEYS {
        let name = format!("user-{number}");
        let made = store.create_user(&account, &format!("AIDA{number}"), &name, Change::unrecorded()).await;
        assert_eq!(made.expect("written"), Made::Made);
        let id = format!("AKIA{number}");
        let owner = key_owner(&id);
        let owner = Owner { account: account.as_str(), arn: &owner };
        let sealed = store.keyring().seal(&owner, name.as_bytes()).expect("sealed");
        let new = NewAccessKey { id, user_name: name, sealed, token_hash: None, expires_at_ms: None };
        let made = store.create_access_key(&account, new, Change::unrecorded()).await;
        assert_eq!(made.expect("written"), Made::Made);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_many_look_up_at_once_is_found_for_each() {
    let world = World::new();
    keys(&world.store).await;
    // More than are asked for in one statement, half of them there, some by several.
    let mut all = JoinSet::new();
    for number in 0..KEYS * 10 {
        let (store, wanted) = (world.store.clone(), number % (KEYS * 2));
        all.spawn(async move { (wanted, store.access_key(&format!("AKIA{wanted}")).await.expect("read")) });
    }
    while let Some(found) = all.join_next().await {
        let (wanted, key) = found.expect("nobody panics");
        let name = key.map(|key| key.user.name);
        assert_eq!(name, (wanted < KEYS).then(|| format!("user-{wanted}")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lookup_that_the_database_refuses_is_refused_alone() {
    let world = World::new();
    keys(&world.store).await;
    let mut all = JoinSet::new();
    for number in 0..KEYS * 5 {
        let store = world.store.clone();
        // PostgreSQL has no text with a NUL in it.
        let (wanted, is_refused) = (number % KEYS, number % 7 == 0);
        let id = format!("AKIA{wanted}{}", if is_refused { "\0" } else { "" });
        all.spawn(async move { (wanted, is_refused, store.access_key(&id).await) });
    }
    while let Some(asked) = all.join_next().await {
        let (wanted, is_refused, found) = asked.expect("nobody panics");
        match found {
            Ok(key) => {
                let name = key.map(|key| key.user.name);
                assert_eq!(name, (!is_refused).then(|| format!("user-{wanted}")));
            }
            Err(error) => assert!(is_refused && world.postgres.is_some(), "user-{wanted}: {error}"),
        }
    }
}
