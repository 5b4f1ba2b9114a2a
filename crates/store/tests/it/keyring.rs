//! The keyring at the start: where keys come from, and what opens with which.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use syncline_seams::{Outside, Secret, VirtualClock};
use syncline_store::{
    Change, ConnectionStatus, CredentialRow, KeySource, KeyringStatus, MasterKeys, Owner, Page, Store,
    StoreError, StoreResult,
};
use tempfile::TempDir;

use crate::rotation::rotated;
use crate::world::{START_MS, World, open, ours};

const ACCOUNT: &str = "111111111111";
/// A key file, and what the version before data keys sealed with it.
const FORMER_KEY: &str = "030a11181f262d343b424950575e656c737a81888f969da4abb2b9c0c7ced5dc";
const FORMER_TOKEN_KEY: &str = "5caff23664eca0305cc5988d3c93d8a1799c7b8233dd035c304d47944fc317c4";
const FORMER_SECRETS: [(&str, &str); 2] = [
    (
        "first",
        "01e310f87754cbab06901eb576b8822580489639ebf5bb471c4c1dfac963d4f8faf7894cba07810bb520f843843ec2e7674fa32bd\
         8b828538de1465f7a759e",
    ),
    (
        "second",
        "01e310f87754cbab0669c0abdcd4ef2cedf805e97a9c2c5ebfbec0af8cac36daae836d0fb370b383e9192d58ffd5e838afab1ed03\
         d35a792bf1ba1bcb5b28b5f",
    ),
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn arn_of(name: &str) -> String {
    format!("arn:aws:codeconnections:eu-west-1:{ACCOUNT}:connection/connection-{name}")
}

/// Stores `token` as the credential of the connection `name`.
pub(crate) async fn authorize(store: &Store, name: &str, token: &str) {
    let arn = arn_of(name);
    let sealed =
        store.keyring().seal(&Owner { account: ACCOUNT, arn: &arn }, token.as_bytes()).expect("sealed");
    store_sealed(store, name, sealed).await;
}

pub(crate) async fn store_sealed(store: &Store, name: &str, sealed: Vec<u8>) {
    let row = CredentialRow { sealed: Some(sealed), tried_at: None };
    let done =
        store.authorize_connection(&ours(), &format!("connection-{name}"), row, Change::unrecorded()).await;
    assert!(done.expect("written"), "{name}");
}

/// The sealed credential of the connection that the link reads by.
pub(crate) async fn sealed_of(store: &Store, link: &str) -> Vec<u8> {
    let record = store.link_record(link).await.expect("read").expect("a link");
    record.connection.expect("a connection").credential.expect("a credential")
}

/// The opened credential of the connection `name`, which the link reads by.
pub(crate) async fn token_of(store: &Store, name: &str, link: &str) -> StoreResult<String> {
    let arn = arn_of(name);
    let sealed = sealed_of(store, link).await;
    let opened = store.keyring().open_sealed(&Owner { account: ACCOUNT, arn: &arn }, &sealed).await?;
    Ok(String::from_utf8(opened.expose().clone()).expect("a text"))
}

fn masters(text: &str) -> StoreResult<MasterKeys> {
    MasterKeys::parse("env:TEST_KEYRING", &Secret::new(text))
}

fn key(digit: char) -> String {
    digit.to_string().repeat(64)
}

fn open_with(directory: &TempDir, keys: impl Into<KeySource>) -> StoreResult<Store> {
    let clock = Arc::new(VirtualClock::starting_at(START_MS));
    Store::open(&directory.path().join("syncline.db"), keys, clock, Outside::default())
}

async fn status(store: &Store) -> KeyringStatus {
    store.keyring().status().await.expect("read")
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test plays an earlier version, and somebody who can write the file"
)]
fn outside_of_the_store(database: &Path, sql: &str) {
    rusqlite::Connection::open(database).expect("opens").execute_batch(sql).expect("done");
}

#[tokio::test]
async fn a_key_file_is_made_once_and_kept_to_its_owner() {
    let world = World::on_sqlite();
    let path = world.directory.path().join("keyring");
    let made = std::fs::read_to_string(&path).expect("made");
    assert_eq!(made.trim_end().len(), 64);
    assert_eq!(std::fs::metadata(&path).expect("made").permissions().mode() & 0o777, 0o600);
    let beside = std::fs::read_dir(world.directory.path()).expect("readable").filter_map(Result::ok);
    let scratch = beside.filter(|entry| entry.file_name().to_string_lossy().starts_with("keyring.")).count();
    assert_eq!(scratch, 0, "nothing is left of making it");
    let before = status(&world.store).await;
    let world = world.reopened();
    assert_eq!(status(&world.store).await, before);
    assert_eq!(std::fs::read_to_string(&path).expect("kept"), made);
}

#[tokio::test]
async fn a_key_file_that_others_may_read_is_refused() {
    let World { directory, clock, faults, store, .. } = World::on_sqlite();
    drop(store);
    let path = directory.path().join("keyring");
    for mode in [0o640, 0o604, 0o620, 0o601] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("chmod");
        let refused = open(&directory, &clock, &faults).expect_err("others may read it");
        let expected =
            format!("{} may be read by others (mode {mode:o}): run chmod 600 on it", path.display());
        assert_eq!(refused.to_string(), expected);
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).expect("chmod");
    open(&directory, &clock, &faults).expect("its owner need not write it");
}

#[test]
fn a_keyring_is_a_list_of_keys() {
    let check = |text: &str, expect: Result<usize, &str>| match (masters(text), expect) {
        (Ok(keys), Ok(count)) => {
            assert_eq!(format!("{keys:?}").matches(", ").count(), count, "{keys:?}");
        }
        (Err(error), Err(part)) => {
            let error = error.to_string();
            assert!(error.starts_with("the keyring env:TEST_KEYRING: ") && error.contains(part), "{error}");
            assert!(!error.contains("abababab") && !error.contains("secret"), "{error}");
        }
        (got, expect) => panic!("{got:?}, not {expect:?}"),
    };
    let (a, ab) = (key('a'), "ab".repeat(32));
    check(&a, Ok(1));
    check(&format!("\n# the key of 2026\n  {a}\r\n\n"), Ok(1));
    check(&format!("2026.b:{ab}\n2025_a: {a}\n"), Ok(2));
    check(&ab.to_uppercase(), Ok(1));
    check("", Err("does not hold 64 hexadecimal digits"));
    check("# nothing\n", Err("does not hold 64 hexadecimal digits"));
    check(&ab[1..], Err("line 1 does not hold 64 hexadecimal digits"));
    check(&format!("{a}\n{ab}ab\n"), Err("line 2 does not hold 64 hexadecimal digits"));
    check(&format!("+{}", &ab[1..]), Err("line 1 does not hold 64 hexadecimal digits"));
    check("my secret", Err("line 1 does not hold 64 hexadecimal digits"));
    check(&format!(":{ab}"), Err("line 1: the label"));
    check(&format!("my secret:{ab}"), Err("line 1: the label"));
    check(&format!("{ab}\n\nold:{ab}"), Err("line 3 repeats a key"));
    check(&format!("x:{ab}\nx:{a}"), Err("line 2 repeats a label"));
    check(&"#".repeat(20_000), Err("is longer than 16384 bytes"));
    let many: String = (0..33).map(|n| format!("{n:064x}\n")).collect();
    check(&many, Err("it holds 33 keys; 32 are the most"));
}

#[tokio::test]
async fn a_wrong_or_missing_keyring_is_told_at_the_start() {
    let world = World::on_sqlite();
    world.connection(&ours(), "web").await;
    authorize(&world.store, "web", "token").await;
    let master = status(&world.store).await.masters[0].id;
    let World { directory, store, .. } = world;
    drop(store);
    let path = directory.path().join("keyring");
    let database = directory.path().join("syncline.db");
    let text = std::fs::read_to_string(&path).expect("made");
    let refused = |keys: KeySource| {
        let error = open_with(&directory, keys).expect_err("not its keyring");
        assert!(matches!(error, StoreError::Key(_)), "{error}");
        let error = error.to_string();
        assert!(!error.contains(text.trim()), "{error}");
        error
    };
    let other = masters(&key('a')).expect("a keyring");
    let error = refused(other.clone().into());
    let expected = format!(
        "but {} holds secrets sealed with {master}: give the keyring that has it too (--keyring)",
        database.display()
    );
    assert!(
        error.starts_with("the keyring env:TEST_KEYRING holds the master key ") && error.ends_with(&expected)
    );

    let away = directory.path().join("away");
    std::fs::rename(&path, &away).expect("moved");
    let error = refused((&path).into());
    let expected = format!(
        "the keyring file:{} does not exist, but {} holds secrets sealed with the master key {master}: put that keyring \
         back (a new one could not open them)",
        path.display(),
        database.display()
    );
    assert_eq!(error, expected);
    assert!(!path.exists(), "nothing is put in its place");
    std::fs::write(&path, "nonsense").expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    assert!(refused((&path).into()).contains("line 1 does not hold 64 hexadecimal digits"));
    open_with(&directory, &away).expect("wherever it is, it opens");
}

/// What the guide tells whose keyring is gone for good.
#[tokio::test]
async fn secrets_can_be_given_up_as_the_guide_says() {
    let world = World::on_sqlite();
    let connection = world.connection(&ours(), "web").await;
    authorize(&world.store, "web", "token").await;
    let link = world.link_on(&ours(), &connection, "infra").await;
    let World { directory, store, .. } = world;
    drop(store);
    std::fs::remove_file(directory.path().join("keyring")).expect("removed");
    let path = directory.path().join("new-keyring");
    open_with(&directory, &path).expect_err("the secrets are still there");

    let guide = include_str!("../../../../docs/guide.md");
    let sql = guide.split("sqlite3 syncline.db \"DELETE FROM data_key;").nth(1).expect("the guide tells it");
    let sql = format!("DELETE FROM data_key;{}", sql.split('"').next().expect("a statement"));
    outside_of_the_store(&directory.path().join("syncline.db"), &sql);
    let store = open_with(&directory, &path).expect("it opens with a new keyring");
    let found = store.connection(&ours(), &connection).await.expect("read").expect("a connection");
    assert_eq!(found.status, ConnectionStatus::Pending);
    assert_eq!((status(&store).await.data_keys.len(), status(&store).await.lost_secrets), (2, 0));
    authorize(&store, "web", "another token").await;
    assert_eq!(token_of(&store, "web", &link).await.expect("opens"), "another token");
}

#[tokio::test]
async fn a_changed_or_swapped_data_key_is_refused_at_the_start() {
    let World { directory, store, .. } = World::on_sqlite();
    let keys = status(&store).await.data_keys;
    assert_eq!(keys.len(), 2, "one for secrets, one for tokens");
    drop(store);
    let database = directory.path().join("syncline.db");
    let path = directory.path().join("keyring");
    let refused = |part: &str| {
        let error = open_with(&directory, &path).expect_err("it was changed").to_string();
        assert!(error.contains(part), "{error}");
    };
    let swap = "CREATE TEMP TABLE before AS SELECT id, sealed FROM data_key;
        UPDATE data_key SET sealed = (SELECT sealed FROM before WHERE before.id <> data_key.id)";
    outside_of_the_store(&database, swap);
    refused("was changed or does not belong to its row");
    outside_of_the_store(&database, swap);
    open_with(&directory, &path).expect("swapped back").ping().await.expect("and it works");
    let purposes =
        "UPDATE data_key SET purpose = CASE purpose WHEN 'SECRETS' THEN 'PAGE_TOKENS' ELSE 'SECRETS' END";
    outside_of_the_store(&database, &format!("DROP INDEX data_key_in_use; {purposes}"));
    refused("was changed or does not belong to its row");
    outside_of_the_store(&database, purposes);
    outside_of_the_store(&database, "UPDATE data_key SET sealed = zeroblob(length(sealed))");
    refused("was changed or does not belong to its row");
}

/// A database as the version before data keys left it, with two connections, and its key file.
async fn former() -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut sql = include_str!("../../migrations/0001_init.sql").to_owned();
    sql.push_str("CREATE TABLE schema_migration (version BIGINT PRIMARY KEY); INSERT INTO schema_migration VALUES (1);");
    for (name, sealed) in FORMER_SECRETS {
        sql.push_str(&format!(
            "INSERT INTO connection VALUES ('connection-{name}', '{ACCOUNT}', 'eu-west-1', 'codeconnections', '{name}',
                                            'GitHub', NULL, 'AVAILABLE', NULL, x'{sealed}', 1);
             INSERT INTO repository_link VALUES ('link-{name}', '{ACCOUNT}', 'eu-west-1', 'codeconnections',
                                            'connection-{name}', '{}', 'acme', 'infra', 'GitHub', NULL, 0, 1);
             INSERT INTO work VALUES ('link-{name}', 'LINK', 1, NULL, NULL, 0, 0);",
            arn_of(name)
        ));
    }
    outside_of_the_store(&directory.path().join("syncline.db"), &sql);
    let path = directory.path().join("keyring");
    std::fs::write(&path, format!("{FORMER_KEY}\n")).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    directory
}

#[tokio::test]
async fn a_data_directory_of_before_data_keys_keeps_working() {
    let directory = former().await;
    let path = directory.path().join("keyring");
    let store = open_with(&directory, &path).expect("it opens");
    assert_eq!(
        hex(store.keyring().token_key().expose()),
        FORMER_TOKEN_KEY,
        "tokens given out are good for their day"
    );
    for (name, _) in FORMER_SECRETS {
        assert_eq!(
            token_of(&store, name, &format!("link-{name}")).await.expect("opens"),
            format!("token of {name}")
        );
    }
    let before = status(&store).await;
    assert_eq!((before.masters[0].secrets, before.lost_secrets), (2, 0));

    authorize(&store, "second", "a newer token").await;
    assert_eq!(status(&store).await.masters[0].secrets, 1, "a new secret is sealed by the data key");
    let done = rotated(&store, 1000).await;
    assert!(done.is_finished && done.unreadable.is_empty(), "{done:?}");
    assert_eq!((done.resealed, done.deleted), (2, 1));
    drop(store);

    // The master key can be replaced now, and nothing needs the first one any more.
    let both = masters(&format!("new:{}\nold:{FORMER_KEY}", key('b'))).expect("a keyring");
    let store = open_with(&directory, both).expect("it opens");
    let done = rotated(&store, 1000).await;
    assert_eq!(done.rewrapped, 2, "the key for tokens, and that for secrets before it goes");
    drop(store);
    let store = open_with(&directory, masters(&key('b')).expect("a keyring")).expect("it opens");
    assert_eq!(token_of(&store, "first", "link-first").await.expect("opens"), "token of first");
    assert_eq!(token_of(&store, "second", "link-second").await.expect("opens"), "a newer token");
    assert_eq!(hex(store.keyring().token_key().expose()), FORMER_TOKEN_KEY);
}

#[tokio::test]
async fn a_former_data_directory_without_its_key_is_refused() {
    let directory = former().await;
    let other = masters(&key('a')).expect("a keyring");
    let error = open_with(&directory, other).expect_err("not its key").to_string();
    assert!(error.contains("holds secrets sealed with e310f87754cbab06"), "{error}");
    std::fs::remove_file(directory.path().join("keyring")).expect("removed");
    let error = open_with(&directory, &directory.path().join("keyring")).expect_err("no key").to_string();
    assert!(error.contains("holds secrets sealed with the master key e310f87754cbab06"), "{error}");
}

#[tokio::test]
async fn a_credential_of_another_row_or_with_another_byte_does_not_open() {
    let world = World::on_sqlite();
    let mut links = Vec::new();
    for name in ["first", "second"] {
        let connection = world.connection(&ours(), name).await;
        authorize(&world.store, name, &format!("token of {name}")).await;
        links.push(world.link_on(&ours(), &connection, name).await);
    }
    let sealed = sealed_of(&world.store, &links[0]).await;
    let keyring = world.store.keyring();
    let arn = arn_of("first");
    let owner = Owner { account: ACCOUNT, arn: &arn };
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 0x04;
        assert!(keyring.open_sealed(&owner, &changed).await.is_err(), "byte {at} changed");
    }
    assert!(keyring.open_sealed(&Owner { account: "222222222222", ..owner }, &sealed).await.is_err());
    outside_of_the_store(
        &world.database(),
        "CREATE TEMP TABLE before AS SELECT id, credential FROM connection;
         UPDATE connection SET credential = (SELECT credential FROM before WHERE before.id <> connection.id)",
    );
    // So long a reader may keep what it saw before.
    world.clock.advance_ms(200);
    for (name, link) in [("first", &links[0]), ("second", &links[1])] {
        let error = token_of(&world.store, name, link).await.expect_err("swapped").to_string();
        assert_eq!(
            error,
            format!("the secret of {} does not belong to this row or was changed", arn_of(name))
        );
    }
    let page = Page { after: None, limit: 9 };
    assert_eq!(
        world.store.links(&ours(), &page).await.expect("read").items.len(),
        2,
        "the rest is not disturbed"
    );
}
