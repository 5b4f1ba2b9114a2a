//! Grants and handshakes: who gets the next token, and who goes on with a handshake.

use syncline_store::{
    Change, Claim, ConnectionStatus, CredentialRow, Handshake, HostChange, Kind, NewConnection, NewGrant,
    NewHandshake, NotRenewed, Owner, Renewed, Store, StoreError, StoreResult, grant_owner, handshake_owner,
    is_of_handshake,
};

use crate::rotation::rotated;
use crate::world::{LEASE_MS, World, new_host, ours};

const HOUR_MS: i64 = 60 * 60 * 1000;

fn seal(store: &Store, arn: &str, secret: &str) -> Vec<u8> {
    let account = ours().account;
    let owner = Owner { account: account.as_str(), arn };
    store.keyring().seal(&owner, secret.as_bytes()).expect("sealed")
}

fn arn_of(connection: &str) -> String {
    syncline_store::arn(
        "codeconnections",
        ours().region.as_str(),
        ours().account.as_str(),
        "connection",
        connection,
    )
}

/// Authorizes a connection with a token and a grant that is called like it.
async fn authorize(store: &Store, connection: &str, what: &str) -> bool {
    let credential = CredentialRow { sealed: Some(seal(store, &arn_of(connection), what)), tried_at: None };
    let sealed = seal(store, &grant_owner(connection), what);
    let grant = NewGrant { sealed, lifetime_ms: HOUR_MS };
    let done = store.authorize_with_grant(&ours(), connection, credential, grant, Change::unrecorded()).await;
    done.expect("written")
}

/// Notes what came of using the credential that a link's connection has.
async fn note_credential(store: &Store, of_link: &Claim, refused: Option<&str>) {
    let record = store.link_record(&of_link.id).await.expect("read").expect("a link");
    let noted = store.record_credential(of_link, record.credential(), refused.map(str::to_owned)).await;
    assert!(noted.expect("recorded"));
}

async fn renew(store: &Store, claim: &Claim, connection: &str, what: &str) -> StoreResult<i64> {
    let renewed = Renewed {
        credential: seal(store, &arn_of(connection), what),
        grant: seal(store, &grant_owner(connection), what),
        lifetime_ms: HOUR_MS,
    };
    store.record_renewal(claim, renewed).await
}

/// What a link's token and its connection's grant say; and the connection's status.
async fn state(world: &World, link: &str, claim: &Claim) -> (String, String, ConnectionStatus) {
    let store = &world.store;
    let connection = store.link_record(link).await.expect("read").expect("a link").connection;
    let connection = connection.expect("a connection");
    let open = async |arn: &str, sealed: &[u8]| {
        let account = ours().account;
        let owner = Owner { account: account.as_str(), arn };
        let opened = store.keyring().open_sealed(&owner, sealed).await.expect("opens");
        String::from_utf8(opened.expose().clone()).expect("a text")
    };
    let grant = store.grant(claim).await.expect("read").expect("a grant");
    let token = open(&connection.arn, &connection.credential.expect("a token")).await;
    (token, open(&grant_owner(&grant.connection_id), &grant.sealed).await, connection.status)
}

/// A world with a link whose connection has a grant, which is claimed.
async fn granted() -> (World, String, String, Claim) {
    let world = World::new();
    let connection = world.connection(&ours(), "app").await;
    assert!(authorize(&world.store, &connection, "first").await);
    let link = world.link_on(&ours(), &connection, "infra").await;
    let claim = world.claim(Kind::Token).await;
    (world, connection, link, claim)
}

#[tokio::test]
async fn a_token_is_replaced_by_one_holder_whose_claim_still_stands() {
    let (world, connection, link, claim) = granted().await;
    let store = &world.store;
    assert!(world.nothing_due(Kind::Token).await, "somebody has it");
    assert!(!store.begin_renewal(&claim).await.expect("begun").is_unanswered);
    assert!(store.grant(&claim).await.expect("read").expect("a grant").is_unanswered);
    let due_ms = renew(store, &claim, &connection, "second").await.expect("recorded");
    let grant = store.grant(&claim).await.expect("read").expect("a grant");
    assert!(!grant.is_unanswered && grant.ends_ms == grant.issued_ms + HOUR_MS);
    assert_eq!((due_ms, grant.due_ms()), (grant.issued_ms + HOUR_MS / 4 * 3, due_ms));
    let second = || ("second".to_owned(), "second".to_owned(), ConnectionStatus::Available);
    assert_eq!(state(&world, &link, &claim).await, second());

    world.clock.advance_ms(LEASE_MS + 1);
    let newer = world.claim(Kind::Token).await;
    for stale in [
        store.begin_renewal(&claim).await.map(|_| 0),
        renew(store, &claim, &connection, "stale").await,
        store.record_no_renewal(&claim, refused("stale")).await,
    ] {
        assert!(matches!(stale, Err(StoreError::Stale(_))), "{stale:?}");
    }
    assert_eq!(state(&world, &link, &newer).await, second());
}

fn refused(reason: &str) -> NotRenewed {
    NotRenewed { reason: reason.to_owned(), is_refused: true, is_unanswered: false }
}

#[tokio::test]
async fn a_connection_is_in_error_until_a_token_is_got_and_says_why() {
    let (world, connection, link, claim) = granted().await;
    let store = &world.store;
    store.record_no_renewal(&claim, refused("suspended")).await.expect("recorded");
    // A token that still works says nothing of the next one.
    world.sync(&link, "web", "main").await;
    let of_link = world.claim(Kind::Link).await;
    note_credential(store, &of_link, None).await;
    let found = store.connection(&ours(), &connection).await.expect("read").expect("a connection");
    assert_eq!((found.status, found.status_reason.as_deref()), (ConnectionStatus::Error, Some("suspended")));
    // An outage after it does not mend it either.
    let outage = NotRenewed { reason: "down".to_owned(), is_refused: false, is_unanswered: true };
    store.record_no_renewal(&claim, outage).await.expect("recorded");
    let grant = store.grant(&claim).await.expect("read").expect("a grant");
    assert_eq!((grant.failures, grant.is_unanswered), (2, true));
    let ran_out = async || {
        let record = store.link_record(&link).await.expect("read").expect("a link");
        record.connection.expect("a connection").ran_out
    };
    assert_eq!(ran_out().await, None);
    world.clock.advance_ms(HOUR_MS);
    assert_eq!(ran_out().await.as_deref(), Some("down"));
    let claim = world.claim(Kind::Token).await;
    renew(store, &claim, &connection, "second").await.expect("recorded");
    assert_eq!(ran_out().await, None);
    assert_eq!(state(&world, &link, &claim).await.2, ConnectionStatus::Available);
}

#[tokio::test]
async fn a_token_that_its_forge_refuses_is_wanted_anew_unless_it_is_young() {
    let (world, _, link, claim) = granted().await;
    let store = &world.store;
    world.sync(&link, "web", "main").await;
    store.release(claim, None).await.expect("released");
    let of_link = world.claim(Kind::Link).await;
    let is_wanted = async |minutes: i64| {
        world.clock.advance_ms(minutes * 60_000);
        let of_link = if minutes > 0 { world.claim(Kind::Link).await } else { of_link.clone() };
        note_credential(store, &of_link, Some("401")).await;
        !world.nothing_due(Kind::Token).await
    };
    assert!(!is_wanted(0).await);
    assert!(is_wanted(5).await);
}

#[tokio::test]
async fn whoever_finds_a_token_refused_has_it_replaced_unless_it_is_young_or_somebodys() {
    let (world, _, link, claim) = granted().await;
    let store = &world.store;
    store.release(claim, None).await.expect("released");
    let brought = world.available_connection(&ours(), "brought").await;
    let other = world.link_on(&ours(), &brought, "other").await;
    for is_old in [false, true] {
        for (link, is_granted) in [(&other, false), (&link, true)] {
            store.want_token(link).await.expect("noted");
            assert_eq!(world.nothing_due(Kind::Token).await, !(is_old && is_granted), "{link}");
        }
        world.clock.advance_ms(HOUR_MS / 12);
    }
    let claim = world.claim(Kind::Token).await;
    assert!(store.grant(&claim).await.expect("read").expect("a grant").is_wanted);
    let seen = world.faults.seen().len();
    store.want_token(&link).await.expect("noted");
    store.want_token(&other).await.expect("noted");
    assert_eq!(world.faults.seen().len(), seen, "nothing is written where nothing changes");
}

#[tokio::test]
async fn another_handshake_another_host_and_deletion_end_a_grant() {
    let (world, connection, link, claim) = granted().await;
    let store = &world.store;
    assert!(authorize(store, &connection, "another").await);
    assert!(matches!(renew(store, &claim, &connection, "late").await, Err(StoreError::Stale(_))));
    let claim = world.claim(Kind::Token).await;
    let another = ("another".to_owned(), "another".to_owned(), ConnectionStatus::Available);
    assert_eq!(state(&world, &link, &claim).await, another);
    // A token that somebody brings does not run out.
    let row = CredentialRow { sealed: None, tried_at: None };
    let done = store.authorize_connection(&ours(), &connection, row, Change::unrecorded()).await;
    assert!(done.expect("written"));
    assert_eq!(store.grant(&claim).await.expect("read"), None);
    assert!(matches!(store.begin_renewal(&claim).await, Err(StoreError::Stale(_))));

    store.create_host(&ours(), new_host("host-1"), 9, Change::unrecorded()).await.expect("written");
    let new = NewConnection {
        id: "hosted".to_owned(),
        service: "codeconnections".to_owned(),
        name: "hosted".to_owned(),
        provider_type: None,
        host_id: Some("host-1".to_owned()),
        tags: Vec::new(),
    };
    store.create_connection(&ours(), new, 9, Change::unrecorded()).await.expect("written");
    assert!(authorize(store, "hosted", "at the first host").await);
    let claim = world.claim(Kind::Token).await;
    // What kept a token from being got may be mended.
    store.release(claim.clone(), None).await.expect("released");
    assert!(world.nothing_due(Kind::Token).await);
    let mended = HostChange {
        provider_endpoint: None,
        vpc_configuration: Some(r#"{"TlsCertificate":"x"}"#.to_owned()),
    };
    store.update_host(&ours(), "host-1", mended, Change::unrecorded()).await.expect("written");
    let claim = world.claim(Kind::Token).await;
    let moved = HostChange {
        provider_endpoint: Some("https://elsewhere.example".to_owned()),
        vpc_configuration: None,
    };
    store.update_host(&ours(), "host-1", moved, Change::unrecorded()).await.expect("written");
    assert_eq!(store.grant(&claim).await.expect("read"), None);
    assert!(authorize(store, "hosted", "at the second").await);
    let claim = world.claim(Kind::Token).await;
    assert!(store.delete_connection(&ours(), "hosted", Change::unrecorded()).await.expect("written"));
    assert_eq!(store.grant(&claim).await.expect("read"), None);
    assert!(world.nothing_due(Kind::Token).await);
}

async fn begin(store: &Store, connection: &str, id: &str) {
    let new = NewHandshake {
        id: id.to_owned(),
        kind: "CODE".to_owned(),
        begun_by: "{}".to_owned(),
        tried_at: None,
        ticket: format!("ticket of {id}"),
        lifetime_ms: HOUR_MS,
        sealed: seal(store, &handshake_owner(id), "verifier"),
    };
    assert!(store.begin_handshake(&ours(), connection, new, Change::unrecorded()).await.expect("written"));
}

async fn open(store: &Store, id: &str, known: Option<&str>, fresh: &str) -> Option<Handshake> {
    let state = format!("state of {id}");
    store.open_handshake(&format!("ticket of {id}"), known, fresh, &state).await.expect("written")
}

async fn take(store: &Store, id: &str, kind: &str, browser: &str) -> Option<Handshake> {
    store.take_handshake(kind, browser, &format!("state of {id}")).await.expect("written")
}

#[tokio::test]
async fn a_handshake_is_opened_by_one_browser_and_taken_once() {
    let world = World::new();
    let store = &world.store;
    let connection = world.connection(&ours(), "app").await;
    begin(store, &connection, "a").await;
    assert_eq!(take(store, "a", "CODE", "one").await, None, "nobody opened it");
    assert!(open(store, "a", None, "one").await.is_some_and(|opened| opened.is_of_browser("one")));
    assert_eq!(open(store, "a", None, "two").await, None);
    assert_eq!(open(store, "a", Some("two"), "three").await, None);
    let again = open(store, "a", Some("one"), "four").await.expect("the same browser");
    assert!(again.is_of_browser("one") && again.scope == ours());
    assert_eq!(take(store, "a", "OTHER", "one").await, None);
    assert_eq!(take(store, "a", "CODE", "two").await, None);
    let taken = take(store, "a", "CODE", "one").await.expect("it is there");
    assert_eq!(take(store, "a", "CODE", "one").await, None, "a second time");

    let goes_on = async |taken: &Handshake| {
        let sealed = seal(store, &handshake_owner("a"), "key");
        let done = store.continue_handshake(taken.clone(), "NEXT", "state of a", HOUR_MS, sealed).await;
        done.expect("written")
    };
    assert!(goes_on(&taken).await);
    world.clock.advance_ms(HOUR_MS);
    assert_eq!(take(store, "a", "NEXT", "one").await, None, "too late");
    begin(store, &connection, "b").await;
    assert!(!goes_on(&taken).await, "another one was begun");
    // A newer one takes its place.
    begin(store, &connection, "c").await;
    assert_eq!(open(store, "b", None, "one").await, None);
    assert!(open(store, "c", None, "one").await.is_some());
    assert!(store.delete_connection(&ours(), &connection, Change::unrecorded()).await.expect("written"));
    assert_eq!(take(store, "c", "CODE", "one").await, None);
    assert!(!goes_on(&taken).await, "the connection is gone");
}

#[tokio::test]
async fn grants_and_handshakes_are_sealed_anew_with_everything_else() {
    let (world, connection, link, claim) = granted().await;
    begin(&world.store, &connection, "a").await;
    assert_eq!(rotated(&world.store, usize::MAX).await.resealed, 3);
    let first = ("first".to_owned(), "first".to_owned(), ConnectionStatus::Available);
    assert_eq!(state(&world, &link, &claim).await, first);
    let opened = open(&world.store, "a", None, "one").await.expect("it is there");
    let account = ours().account;
    let owner = Owner { account: account.as_str(), arn: &handshake_owner("a") };
    let content = world.store.keyring().open_sealed(&owner, &opened.sealed).await.expect("opens");
    assert_eq!(content.expose(), b"verifier");
}

#[tokio::test]
async fn what_is_said_of_the_token_before_is_not_said_of_the_connection() {
    let (world, connection, link, claim) = granted().await;
    let store = &world.store;
    world.sync(&link, "web", "main").await;
    let of_link = world.claim(Kind::Link).await;
    let before = store.link_record(&link).await.expect("read").expect("a link");
    renew(store, &claim, &connection, "second").await.expect("recorded");
    for said in [Some("401".to_owned()), None] {
        let noted = store.record_credential(&of_link, before.credential(), said).await;
        assert!(!noted.expect("written"), "another one is stored");
    }
    let second = ("second".to_owned(), "second".to_owned(), ConnectionStatus::Available);
    assert_eq!(state(&world, &link, &claim).await, second);
    assert!(!store.grant(&claim).await.expect("read").expect("a grant").is_wanted);
}

/// Gives a connection a token as a version does that knows nothing of grants.
async fn bring_unknowing(world: &World, connection: &str, token: &str) {
    let sealed = seal(&world.store, &arn_of(connection), token);
    let hex: String = sealed.iter().map(|byte| format!("{byte:02x}")).collect();
    let bytes = if world.postgres.is_some() { format!("'\\x{hex}'") } else { format!("X'{hex}'") };
    world.run(&format!(
        "UPDATE connection SET credential = {bytes}, status = 'AVAILABLE' WHERE id = '{connection}'"
    ));
}

#[tokio::test]
async fn a_token_that_a_version_without_grants_was_given_is_kept() {
    let (world, connection, link, claim) = granted().await;
    let store = &world.store;
    store.begin_renewal(&claim).await.expect("begun");
    bring_unknowing(&world, &connection, "brought").await;
    assert_eq!(store.grant(&claim).await.expect("read"), None);
    for stale in [
        store.begin_renewal(&claim).await.map(drop),
        renew(store, &claim, &connection, "late").await.map(drop),
        store.record_no_renewal(&claim, refused("late")).await.map(drop),
    ] {
        assert!(matches!(stale, Err(StoreError::Stale(_))), "{stale:?}");
    }
    let found = async || {
        let record = store.link_record(&link).await.expect("read").expect("a link").connection;
        let found = record.expect("a connection");
        let account = ours().account;
        let owner = Owner { account: account.as_str(), arn: &found.arn };
        let sealed = found.credential.expect("a credential");
        let token = store.keyring().open_sealed(&owner, &sealed).await.expect("opens");
        (token.expose().clone(), found.status, found.ran_out)
    };
    world.clock.advance_ms(2 * HOUR_MS);
    let brought = (b"brought".to_vec(), ConnectionStatus::Available, None);
    assert_eq!(found().await, brought);
    let claim = world.claim(Kind::Token).await;
    store.forget_grant(&claim).await.expect("forgotten");
    assert_eq!((world.rows("connection_grant"), found().await), (0, brought));
    assert!(world.nothing_due(Kind::Token).await);
}

#[tokio::test]
async fn nothing_is_left_of_a_connection_that_a_version_without_grants_deleted() {
    let (world, connection, _, claim) = granted().await;
    begin(&world.store, &connection, "a").await;
    world.run(&format!("DELETE FROM connection WHERE id = '{connection}'"));
    assert_eq!(world.store.grant(&claim).await.expect("read"), None);
    world.store.forget_grant(&claim).await.expect("forgotten");
    assert_eq!(world.rows("connection_grant"), 0);
    world.clock.advance_ms(HOUR_MS);
    let claim = world.claim(Kind::Token).await;
    assert!(is_of_handshake(&claim));
    assert_eq!(world.store.sweep_handshake(&claim).await.expect("swept"), None);
    assert_eq!(world.rows("handshake"), 0);
    assert!(world.nothing_due(Kind::Token).await);
}

#[tokio::test]
async fn a_handshake_that_nobody_goes_on_with_is_thrown_away() {
    let world = World::new();
    let store = &world.store;
    let connection = world.connection(&ours(), "app").await;
    begin(store, &connection, "a").await;
    assert!(world.nothing_due(Kind::Token).await, "it is not over");
    world.clock.advance_ms(HOUR_MS / 2);
    begin(store, &connection, "b").await;
    world.clock.advance_ms(HOUR_MS / 2);
    assert!(world.nothing_due(Kind::Token).await, "the newest is not over");
    let taken = async {
        open(store, "b", None, "one").await?;
        take(store, "b", "CODE", "one").await
    };
    let taken = taken.await.expect("it is there");
    let sealed = seal(store, &handshake_owner("b"), "key");
    assert!(store.continue_handshake(taken, "NEXT", "state", HOUR_MS, sealed).await.expect("written"));
    world.clock.advance_ms(HOUR_MS / 2);
    assert!(world.nothing_due(Kind::Token).await, "it goes on");
    world.clock.advance_ms(HOUR_MS / 2);
    let claim = world.claim(Kind::Token).await;
    assert!(is_of_handshake(&claim) && world.rows("handshake") == 1);
    assert_eq!(store.sweep_handshake(&claim).await.expect("swept"), None);
    assert_eq!(world.rows("handshake"), 0);
    assert!(world.nothing_due(Kind::Token).await);
    // One that is completed leaves nothing either.
    begin(store, &connection, "c").await;
    assert!(authorize(store, &connection, "first").await);
    assert_eq!(world.rows("handshake"), 0);
    let claim = world.claim(Kind::Token).await;
    assert!(!is_of_handshake(&claim));
    assert_eq!(claim.lane.endpoint, "token:111111111111@GitHub", "apart from what tokens are spent on");
    store.release(claim, None).await.expect("released");
    world.clock.advance_ms(HOUR_MS);
    assert!(world.nothing_due(Kind::Token).await);
}
