//! The turns in which a forge is asked for what it failed to deliver.

use std::collections::BTreeMap;

use syncline_store::{
    AskedAgain, Change, HookLook, Kind, NewWebhookSecret, Owner, StoreError, webhook_secret_owner,
};

use crate::world::{LEASE_MS, World, ours};

const HOUR_MS: i64 = 3_600_000;

/// Gives a link's webhook a secret, and has the forge told of it if `register` says so.
async fn rotate(world: &World, link: &str, id: &str, register: bool) {
    let arn = webhook_secret_owner(id);
    let scope = ours();
    let owner = Owner { account: scope.account.as_str(), arn: &arn };
    let sealed = world.store.keyring().seal(&owner, id.as_bytes()).expect("sealed");
    let webhook_id = format!("hook-of-{link}");
    let new = NewWebhookSecret { webhook_id, id: id.to_owned(), sealed, overlap_ms: 0, register };
    world
        .store
        .rotate_webhook(&ours(), link, new, Change::unrecorded())
        .await
        .expect("written")
        .expect("a link");
}

#[tokio::test]
async fn a_registered_webhook_is_looked_after_every_start_and_until_its_link_goes() {
    let world = World::new();
    let link = world.link(&ours(), "infra").await;
    let store = &world.store;
    rotate(&world, &link, "s1", false).await;
    world.clock.advance_ms(2 * HOUR_MS);
    store.wake_redeliveries().await.expect("written");
    assert!(world.nothing_due(Kind::Redelivery).await, "nobody has registered it");
    rotate(&world, &link, "s2", true).await;
    assert!(world.nothing_due(Kind::Redelivery).await, "nothing can have failed yet");
    assert_eq!(
        store.next_due_ms(Some(Kind::Redelivery)).await.expect("read"),
        Some(crate::world::START_MS + 3 * HOUR_MS)
    );
    // Another secret changes nothing of that.
    rotate(&world, &link, "s3", true).await;

    store.wake_redeliveries().await.expect("written");
    let claim = world.claim(Kind::Redelivery).await;
    let record = store.redelivery_record(&claim).await.expect("read").expect("a webhook");
    assert_eq!((record.link_id.as_str(), record.looked_ms, record.asked.len()), (&*link, None, 0));
    let asked = BTreeMap::from([("guid".to_owned(), AskedAgain { tries: 1, at_ms: 7 })]);
    store.begin_redeliveries(&claim, asked.clone()).await.expect("written");
    let look = HookLook { asked: asked.clone(), looked_ms: None, trouble: Some("down".to_owned()) };
    store.record_hook_look(&claim, look).await.expect("written");
    let record = store.redelivery_record(&claim).await.expect("read").expect("a webhook");
    assert_eq!((record.looked_ms, record.trouble.as_deref(), &record.asked), (None, Some("down"), &asked));
    let now_ms = crate::world::START_MS + 2 * HOUR_MS;
    let look = HookLook { asked, looked_ms: Some(now_ms), trouble: None };
    store.record_hook_look(&claim, look.clone()).await.expect("written");
    let record = store.redelivery_record(&claim).await.expect("read").expect("a webhook");
    assert_eq!((record.looked_ms, record.trouble), (Some(now_ms), None));
    // Who was paused for too long writes nothing.
    world.clock.advance_ms(LEASE_MS + 1);
    let newer = world.claim(Kind::Redelivery).await;
    let stale = store.record_hook_look(&claim, look).await;
    assert!(matches!(stale, Err(StoreError::Stale(_))), "{stale:?}");
    store.release(newer, Some(now_ms + HOUR_MS)).await.expect("released");

    // A start so soon after a look looks at nothing; a later one does.
    store.wake_redeliveries().await.expect("written");
    assert!(world.nothing_due(Kind::Redelivery).await);
    world.clock.advance_ms(60_000);
    store.wake_redeliveries().await.expect("written");
    let claim = world.claim(Kind::Redelivery).await;
    // A version that registered it and did not look left no turn.
    store.forget_work(&claim).await.expect("forgotten");
    store.wake_redeliveries().await.expect("written");
    let claim = world.claim(Kind::Redelivery).await;
    assert!(claim.lane.endpoint.starts_with("rest:"), "{:?}", claim.lane);
    store.release(claim, Some(now_ms)).await.expect("released");

    store.delete_link(&ours(), &link, Change::unrecorded()).await.expect("written");
    assert!(world.nothing_due(Kind::Redelivery).await);
    store.wake_redeliveries().await.expect("written");
    assert!(world.nothing_due(Kind::Redelivery).await);
}
