//! Webhooks, their secrets, and the inbox.

use std::collections::BTreeSet;

use syncline_store::{
    Accepted, Change, DELIVERIES_PER_LINK, DELIVERY_LIFETIME_MS, Delivery, Kind, NewDelivery,
    NewWebhookSecret, Outcome, Owner, Page, Rotated, Says, Scope, Store, webhook_secret_owner,
};

use crate::rotation::rotated;
use crate::world::{World, ours, scope_of};

/// Gives a link's webhook the secret of that id, whose text is the id.
async fn rotate(store: &Store, scope: &Scope, link: &str, id: &str, overlap_ms: i64) -> Option<Rotated> {
    let arn = webhook_secret_owner(id);
    let owner = Owner { account: scope.account.as_str(), arn: &arn };
    let sealed = store.keyring().seal(&owner, id.as_bytes()).expect("sealed");
    let webhook_id = format!("hook-of-{link}");
    let new = NewWebhookSecret { webhook_id, id: id.to_owned(), sealed, overlap_ms, register: false };
    store.rotate_webhook(scope, link, new, Change::unrecorded()).await.expect("written")
}

async fn secrets(store: &Store, link: &str) -> Vec<String> {
    let webhook = store.webhook(&format!("hook-of-{link}")).await.expect("read").expect("a webhook");
    let secrets = store.secrets_of(&webhook).await.expect("they open");
    secrets.iter().map(|secret| String::from_utf8(secret.expose().clone()).expect("text")).collect()
}

fn delivery(id: impl std::fmt::Display, says: Says) -> NewDelivery {
    NewDelivery {
        id: format!("id-{id}"),
        dedupe: Some(id.to_string()),
        event: "push".to_owned(),
        says,
        headers: vec![("x-event".to_owned(), "push".to_owned())],
        body: Some(b"{}".to_vec()),
        body_bytes: 2,
    }
}

fn pushed(names: &[&str]) -> Says {
    Says::Pushed(Some(names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>()))
}

async fn accept(world: &World, link: &str, new: NewDelivery) -> Accepted {
    let webhook = world.store.webhook(&format!("hook-of-{link}")).await.expect("read").expect("a webhook");
    world.store.accept_delivery(&webhook, new).await.expect("written")
}

async fn listed(store: &Store, scope: &Scope) -> Vec<Delivery> {
    let page = Page { after: None, limit: 10_000 };
    store.deliveries(scope, None, &page).await.expect("read").items
}

/// Gives back the claims of all links that are due; how many there were.
async fn links_due(world: &World) -> usize {
    let mut due = 0;
    while let Some(claim) = world.store.claim(Kind::Link, "worker", 15_000).await.expect("claimed") {
        world.store.release(claim, None).await.expect("released");
        due += 1;
    }
    due
}

#[tokio::test]
async fn two_secrets_count_until_the_overlap_ends_and_are_sealed() {
    let (world, link, _) = World::followed("web").await;
    let nothing = rotate(&world.store, &ours(), "nothing", "s0", 0).await;
    assert_eq!(nothing, None);
    let theirs = scope_of("222222222222", "eu-west-1");
    assert_eq!(rotate(&world.store, &theirs, &link, "s0", 0).await, None);
    let elsewhere = scope_of("111111111111", "us-east-1");
    assert_eq!(rotate(&world.store, &elsewhere, &link, "s0", 0).await, None);

    let first = rotate(&world.store, &ours(), &link, "s1", 1000).await.expect("a link");
    assert_eq!(first.previous_until_ms, None);
    assert_eq!(secrets(&world.store, &link).await, ["s1"]);
    let second = rotate(&world.store, &ours(), &link, "s2", 1000).await.expect("a link");
    assert_eq!(second.previous_until_ms, Some(crate::world::START_MS + 1000));
    assert_eq!(secrets(&world.store, &link).await, ["s1", "s2"]);
    rotate(&world.store, &ours(), &link, "s3", 1000).await;
    assert_eq!(secrets(&world.store, &link).await, ["s2", "s3"]);
    world.clock.advance_ms(999);
    assert_eq!(secrets(&world.store, &link).await, ["s2", "s3"]);
    assert_eq!(rotated(&world.store, 1000).await.unreadable, [""; 0]);
    assert_eq!(secrets(&world.store, &link).await, ["s2", "s3"], "under a new data key");
    world.clock.advance_ms(1);
    assert_eq!(secrets(&world.store, &link).await, ["s3"]);
    let last = rotate(&world.store, &ours(), &link, "s4", 0).await.expect("a link");
    assert_eq!((last.previous_until_ms, secrets(&world.store, &link).await), (None, vec!["s4".to_owned()]));
    let status = world.store.keyring().status().await.expect("read");
    let sealed: Vec<_> = status.data_keys.iter().flat_map(|key| &key.secrets).collect();
    assert!(sealed.contains(&&("secrets of webhooks", 1)), "{sealed:?}");
}

#[tokio::test]
async fn a_delivery_makes_due_what_is_followed_and_comes_once() {
    let (world, link, _) = World::followed("web").await;
    world.sync(&link, "next", "next").await;
    rotate(&world.store, &ours(), &link, "s1", 0).await;
    links_due(&world).await;
    let check = async |id: &str, says: Says, outcome: Outcome, woken: &[&str], reason: Option<&str>| {
        assert_eq!(accept(&world, &link, delivery(id, says)).await, Accepted::New(outcome), "{id}");
        let (known, body) =
            world.store.delivery(&ours(), &format!("id-{id}")).await.expect("read").expect("a delivery");
        assert_eq!((known.outcome, known.reason.as_deref()), (outcome, reason), "{id}");
        assert_eq!(
            (known.woken, body),
            (woken.iter().map(|name| (*name).to_owned()).collect(), Some(b"{}".to_vec()))
        );
        assert_eq!(links_due(&world).await, usize::from(!woken.is_empty()), "{id}");
    };
    check("1", pushed(&["main"]), Outcome::Woke, &["main"], None).await;
    check("2", pushed(&["main", "next", "other"]), Outcome::Woke, &["main", "next"], None).await;
    check("3", Says::Pushed(None), Outcome::Woke, &["main", "next"], None).await;
    check("4", pushed(&["other"]), Outcome::Ignored, &[], Some("no sync follows the branch 'other'")).await;
    let more = Some("no sync follows the branch 'a' or 2 more");
    check("5", pushed(&["a", "b", "c"]), Outcome::Ignored, &[], more).await;
    check("6", Says::Ping, Outcome::Ping, &[], None).await;
    check("7", Says::Nothing("a tag".to_owned()), Outcome::Ignored, &[], Some("a tag")).await;

    let again =
        accept(&world, &link, NewDelivery { id: "other".to_owned(), ..delivery("1", pushed(&["main"])) })
            .await;
    assert_eq!(again, Accepted::Duplicate("id-1".to_owned()));
    assert_eq!(links_due(&world).await, 0);
    let (known, _) = world.store.delivery(&ours(), "id-1").await.expect("read").expect("a delivery");
    assert_eq!((known.duplicates, known.duplicate_at_ms), (1, Some(known.received_at_ms)));
    // What nobody tells apart is never the same.
    for number in 0..2 {
        let new = NewDelivery { dedupe: None, ..delivery(format!("n{number}"), Says::Ping) };
        assert_eq!(accept(&world, &link, new).await, Accepted::New(Outcome::Ping));
    }
    // Another link's delivery of the same name is another one.
    let other = world.link(&ours(), "other").await;
    rotate(&world.store, &ours(), &other, "s2", 0).await;
    let new = NewDelivery { id: "of-other".to_owned(), ..delivery("1", Says::Ping) };
    assert_eq!(accept(&world, &other, new).await, Accepted::New(Outcome::Ping));
    assert_eq!(listed(&world.store, &ours()).await.len(), 10);
    for scope in [scope_of("222222222222", "eu-west-1"), scope_of("111111111111", "us-east-1")] {
        assert_eq!(listed(&world.store, &scope).await, []);
        assert_eq!(world.store.delivery(&scope, "id-1").await.expect("read"), None);
        let replayed = world.store.replay_delivery(&scope, "id-1", Change::unrecorded()).await;
        assert_eq!(replayed.expect("written"), None);
    }
}

#[tokio::test]
async fn a_delivery_that_wakes_a_link_in_the_middle_of_its_turn_is_not_lost() {
    let (world, link, _) = World::followed("web").await;
    rotate(&world.store, &ours(), &link, "s1", 0).await;
    let claim = world.claim(Kind::Link).await;
    accept(&world, &link, delivery("1", pushed(&["main"]))).await;
    world.store.release(claim, None).await.expect("released");
    assert_eq!(links_due(&world).await, 1, "what was woken after the claim is due again");
}

#[tokio::test]
async fn so_many_deliveries_are_kept_for_so_long() {
    let (world, link, _) = World::followed("web").await;
    let other = world.link(&ours(), "other").await;
    for link in [&link, &other] {
        rotate(&world.store, &ours(), link, &format!("s-{link}"), 0).await;
    }
    accept(&world, &other, delivery("of-other", Says::Ping)).await;
    // All in one millisecond.
    for number in 0..DELIVERIES_PER_LINK + 5 {
        accept(&world, &link, delivery(number, Says::Ping)).await;
    }
    let kept = listed(&world.store, &ours()).await;
    let ids: BTreeSet<_> = kept.iter().map(|delivery| delivery.id.as_str()).collect();
    assert_eq!(i64::try_from(ids.len()), Ok(DELIVERIES_PER_LINK + 1));
    assert!(ids.contains("id-of-other"), "each link has its own");
    for number in 0..DELIVERIES_PER_LINK + 5 {
        assert_eq!(ids.contains(&*format!("id-{number}")), number >= 5, "{number}");
    }
    world.clock.advance_ms(DELIVERY_LIFETIME_MS - 1);
    assert_eq!(listed(&world.store, &ours()).await.len(), ids.len());
    world.clock.advance_ms(1);
    assert_eq!(listed(&world.store, &ours()).await, [], "nobody is shown what is too old");
    assert_eq!(world.store.delivery(&ours(), "id-7").await.expect("read"), None);
    let replayed = world.store.replay_delivery(&ours(), "id-7", Change::unrecorded()).await;
    assert_eq!(replayed.expect("written"), None);
}

#[tokio::test]
async fn deliveries_that_arrive_at_once_are_each_recorded_or_counted() {
    let (world, link, _) = World::followed("web").await;
    rotate(&world.store, &ours(), &link, "s1", 0).await;
    links_due(&world).await;
    let webhook = world.store.webhook(&format!("hook-of-{link}")).await.expect("read").expect("a webhook");
    let mut arriving = tokio::task::JoinSet::new();
    for number in 0..60 {
        let (store, webhook) = (world.store.clone(), webhook.clone());
        arriving.spawn(async move {
            let new = NewDelivery { id: format!("n{number}"), ..delivery(number % 20, pushed(&["main"])) };
            store.accept_delivery(&webhook, new).await.expect("written")
        });
    }
    let accepted = arriving.join_all().await;
    let new = accepted.iter().filter(|accepted| matches!(accepted, Accepted::New(Outcome::Woke))).count();
    let again = accepted.iter().filter(|accepted| matches!(accepted, Accepted::Duplicate(_))).count();
    assert_eq!((new, again), (20, 40));
    let kept = listed(&world.store, &ours()).await;
    assert_eq!(kept.iter().map(|delivery| delivery.duplicates).sum::<i64>(), 40);
    assert_eq!(links_due(&world).await, 1, "one look for all of them");
}

#[tokio::test]
async fn a_webhook_that_was_registered_stays_so_until_its_link_is_gone() {
    let world = World::new();
    let link = world.link(&ours(), "infra").await;
    let store = &world.store;
    assert!(!rotate(store, &ours(), &link, "one", 0).await.expect("a link").registered);
    assert_eq!(store.registered_webhook(&ours(), &link).await.expect("read"), None);
    let arn = webhook_secret_owner("two");
    let scope = ours();
    let owner = Owner { account: scope.account.as_str(), arn: &arn };
    let new = NewWebhookSecret {
        webhook_id: "another".to_owned(),
        id: "two".to_owned(),
        sealed: store.keyring().seal(&owner, b"two").expect("sealed"),
        overlap_ms: 60_000,
        register: true,
    };
    let rotated = store.rotate_webhook(&ours(), &link, new, Change::unrecorded()).await.expect("written");
    assert!(rotated.expect("a link").registered);
    let rotated = rotate(store, &ours(), &link, "three", 60_000).await.expect("a link");
    assert!(rotated.registered, "it was once");
    let webhook = format!("hook-of-{link}");
    assert_eq!(store.registered_webhook(&ours(), &link).await.expect("read"), Some(webhook.clone()));
    let theirs = scope_of("222222222222", "eu-west-1");
    assert_eq!(store.registered_webhook(&theirs, &link).await.expect("read"), None);
    let (id, secret) = store.newest_webhook_secret(&webhook).await.expect("read").expect("a secret");
    assert_eq!((id.as_str(), secret.expose().as_slice()), ("three", &b"three"[..]));
    store.delete_link(&ours(), &link, Change::unrecorded()).await.expect("written");
    assert_eq!(store.registered_webhook(&ours(), &link).await.expect("read"), None);
    assert_eq!(store.newest_webhook_secret(&webhook).await.expect("read"), None);
}
