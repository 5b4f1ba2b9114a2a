//! Hosts, connections and repository links: who may make what, and what keeps it from going.

use syncline_store::{
    Change, ConnectionStatus, CreateConnection, CreateHost, CreateLink, CredentialRow, DeleteHost,
    DeleteLink, Kind, NewConnection, Owner, Page, Store,
};

use crate::world::{World, new_host as host, new_link, ours, scope_of};

fn connection(name: &str, host_id: Option<&str>) -> NewConnection {
    NewConnection {
        id: format!("id-of-{name}"),
        service: "codeconnections".to_owned(),
        name: name.to_owned(),
        provider_type: host_id.is_none().then(|| "GitHub".to_owned()),
        host_id: host_id.map(str::to_owned),
        tags: Vec::new(),
    }
}

fn sealed_for(store: &Store, arn: &str) -> Vec<u8> {
    store.keyring().seal(&Owner { account: "111111111111", arn }, b"token").expect("sealed")
}

#[tokio::test]
async fn a_host_lives_in_its_account_and_region() {
    let world = World::new();
    let store = &world.store;
    assert_eq!(
        store.create_host(&ours(), host("forge-1"), 2, Change::unrecorded()).await.expect("written"),
        CreateHost::Created
    );
    let found = store.host(&ours(), "forge-1").await.expect("read").expect("a host");
    assert_eq!(
        (found.name.as_str(), found.service.as_str(), found.status.as_str(), found.provider_type.as_str()),
        ("forge", "codestar-connections", "PENDING", "Git")
    );
    assert_eq!(found.provider_endpoint, "https://git.example.com");
    assert_eq!(found.vpc_configuration.as_deref(), Some(r#"{"VpcId":"vpc-01234567"}"#));

    let all = Page { after: None, limit: 10 };
    for elsewhere in [scope_of("222222222222", "eu-west-1"), scope_of("111111111111", "eu-west-2")] {
        assert_eq!(store.host(&elsewhere, "forge-1").await.expect("read"), None, "{elsewhere:?}");
        assert!(store.hosts(&elsewhere, &all).await.expect("read").items.is_empty(), "{elsewhere:?}");
        let deleted = store.delete_host(&elsewhere, "forge-1", Change::unrecorded()).await.expect("written");
        assert_eq!(deleted, DeleteHost::NotFound, "{elsewhere:?}");
        // The quota counts what the scope has, not what others have.
        let id = format!("forge-{}", elsewhere.region.as_str());
        let id = format!("{id}-{}", elsewhere.account);
        let created =
            store.create_host(&elsewhere, host(&id), 1, Change::unrecorded()).await.expect("written");
        assert_eq!(created, CreateHost::Created, "{elsewhere:?}");
    }
    // The same name again is fine; the quota is not.
    assert_eq!(
        store.create_host(&ours(), host("forge-2"), 2, Change::unrecorded()).await.expect("written"),
        CreateHost::Created
    );
    let third = store.create_host(&ours(), host("forge-3"), 2, Change::unrecorded()).await.expect("written");
    assert_eq!(third, CreateHost::LimitExceeded);
    assert_eq!(store.host(&ours(), "forge-3").await.expect("read"), None);
}

#[tokio::test]
async fn a_host_goes_when_its_connections_are_gone_and_its_id_is_never_used_again() {
    let world = World::new();
    let store = &world.store;
    store.create_host(&ours(), host("forge-1"), 5, Change::unrecorded()).await.expect("written");
    let new = connection("web", Some("forge-1"));
    assert_eq!(
        store.create_connection(&ours(), new, 5, Change::unrecorded()).await.expect("written"),
        CreateConnection::Created
    );
    assert_eq!(
        store.delete_host(&ours(), "forge-1", Change::unrecorded()).await.expect("written"),
        DeleteHost::InUse
    );
    assert!(store.delete_connection(&ours(), "id-of-web", Change::unrecorded()).await.expect("written"));
    assert_eq!(
        store.delete_host(&ours(), "forge-1", Change::unrecorded()).await.expect("written"),
        DeleteHost::Deleted
    );
    assert_eq!(
        store.delete_host(&ours(), "forge-1", Change::unrecorded()).await.expect("written"),
        DeleteHost::NotFound
    );
    assert!(
        store.create_host(&ours(), host("forge-1"), 5, Change::unrecorded()).await.is_err(),
        "its row is kept"
    );
    let on_it = store
        .create_connection(&ours(), connection("api", Some("forge-1")), 5, Change::unrecorded())
        .await
        .expect("written");
    assert_eq!(on_it, CreateConnection::HostNotFound);
    let freed = store.create_host(&ours(), host("forge-2"), 1, Change::unrecorded()).await.expect("written");
    assert_eq!(freed, CreateHost::Created, "a deleted host does not count");
}

#[tokio::test]
async fn a_connection_has_a_name_of_its_own_and_a_quota() {
    let world = World::new();
    let store = &world.store;
    let check = async |scope, name: &str, quota, expect: CreateConnection| {
        let new = NewConnection { id: uuid::Uuid::new_v4().to_string(), ..connection(name, None) };
        assert_eq!(
            store.create_connection(&scope, new, quota, Change::unrecorded()).await.expect("written"),
            expect,
            "{name}"
        );
    };
    check(ours(), "web", 2, CreateConnection::Created).await;
    check(ours(), "web", 2, CreateConnection::NameTaken).await;
    check(ours(), "Web", 2, CreateConnection::Created).await;
    check(ours(), "third", 2, CreateConnection::LimitExceeded).await;
    check(ours(), "web", 2, CreateConnection::NameTaken).await;
    check(scope_of("222222222222", "eu-west-1"), "web", 1, CreateConnection::Created).await;
    check(scope_of("111111111111", "eu-west-2"), "web", 1, CreateConnection::Created).await;
}

#[tokio::test]
async fn a_deleted_connection_leaves_its_name_and_its_quota() {
    let world = World::new();
    let store = &world.store;
    let id = world.connection(&ours(), "web").await;
    for elsewhere in [scope_of("222222222222", "eu-west-1"), scope_of("111111111111", "eu-west-2")] {
        assert!(
            !store.delete_connection(&elsewhere, &id, Change::unrecorded()).await.expect("written"),
            "{elsewhere:?}"
        );
        let credential = CredentialRow { sealed: None, tried_at: None };
        assert!(
            !store
                .authorize_connection(&elsewhere, &id, credential, Change::unrecorded())
                .await
                .expect("written")
        );
        assert_eq!(store.connection(&elsewhere, &id).await.expect("read"), None);
    }
    assert!(store.delete_connection(&ours(), &id, Change::unrecorded()).await.expect("written"));
    assert!(
        !store.delete_connection(&ours(), &id, Change::unrecorded()).await.expect("written"),
        "only once"
    );
    let new = connection("web", None);
    assert_eq!(
        store.create_connection(&ours(), new, 1, Change::unrecorded()).await.expect("written"),
        CreateConnection::Created
    );
}

#[tokio::test]
async fn a_handshake_makes_connection_and_host_available_and_wakes_the_links() {
    let world = World::new();
    let store = &world.store;
    store.create_host(&ours(), host("forge-1"), 5, Change::unrecorded()).await.expect("written");
    store
        .create_connection(&ours(), connection("web", Some("forge-1")), 5, Change::unrecorded())
        .await
        .expect("written");
    let found = store.connection(&ours(), "id-of-web").await.expect("read").expect("a connection");
    assert_eq!((found.status, found.provider_type.as_str()), (ConnectionStatus::Pending, "Git"));
    assert_eq!(found.host, Some(("forge-1".to_owned(), "codestar-connections".to_owned())));

    let pending = store
        .create_link(&ours(), new_link("id-of-web", "infra"), 5, Change::unrecorded())
        .await
        .expect("written");
    assert_eq!(pending, CreateLink::ConnectionNotAvailable(ConnectionStatus::Pending));

    let sealed =
        Some(sealed_for(store, "arn:aws:codeconnections:eu-west-1:111111111111:connection/id-of-web"));
    assert!(
        store
            .authorize_connection(
                &ours(),
                "id-of-web",
                CredentialRow { sealed, tried_at: None },
                Change::unrecorded()
            )
            .await
            .expect("written")
    );
    let found = store.connection(&ours(), "id-of-web").await.expect("read").expect("a connection");
    assert_eq!(found.status, ConnectionStatus::Available);
    assert_eq!(store.host(&ours(), "forge-1").await.expect("read").expect("a host").status, "AVAILABLE");

    let link = world.link_on(&ours(), "id-of-web", "infra").await;
    assert!(world.nothing_due(Kind::Link).await, "nothing follows a branch yet");
    store
        .authorize_connection(
            &ours(),
            "id-of-web",
            CredentialRow { sealed: None, tried_at: None },
            Change::unrecorded(),
        )
        .await
        .expect("written");
    assert_eq!(world.claim(Kind::Link).await.id, link);
}

#[tokio::test]
async fn links_are_made_once_per_repository_and_connection() {
    let world = World::new();
    let store = &world.store;
    let first = world.available_connection(&ours(), "first").await;
    let second = world.available_connection(&ours(), "second").await;
    let check = async |connection: &str, repository: &str, quota, expect: Option<CreateLink>| {
        let got = store
            .create_link(&ours(), new_link(connection, repository), quota, Change::unrecorded())
            .await
            .expect("written");
        match (got, expect) {
            (CreateLink::Created(link), None) => {
                assert_eq!((link.owner_id.as_str(), link.repository_name.as_str()), ("acme", repository));
                assert_eq!(link.provider_type, "GitHub");
            }
            (got, expect) => assert_eq!(Some(got), expect, "{connection} {repository}"),
        }
    };
    check("nobody", "infra", 9, Some(CreateLink::ConnectionNotFound)).await;
    check(&first, "infra", 9, None).await;
    check(&first, "infra", 9, Some(CreateLink::AlreadyExists)).await;
    check(&first, "web", 9, None).await;
    check(&second, "infra", 9, None).await;
    check(&second, "web", 3, Some(CreateLink::LimitExceeded)).await;
    let foreign = scope_of("222222222222", "eu-west-1");
    let got = store
        .create_link(&foreign, new_link(&first, "infra"), 9, Change::unrecorded())
        .await
        .expect("written");
    assert_eq!(got, CreateLink::ConnectionNotFound);
}

#[tokio::test]
async fn a_link_goes_when_its_syncs_are_gone_and_takes_its_branches_along() {
    let (world, link, _) = World::followed("web").await;
    let store = &world.store;
    world.heads(&[("main", Some(&crate::world::sha('a')))]).await;
    let (claim, ..) = world.reading().await;
    assert_eq!(
        store.delete_link(&ours(), &link, Change::unrecorded()).await.expect("written"),
        DeleteLink::InUse
    );
    let foreign = scope_of("222222222222", "eu-west-1");
    assert_eq!(
        store.delete_link(&foreign, &link, Change::unrecorded()).await.expect("written"),
        DeleteLink::NotFound
    );
    assert_eq!(store.link(&foreign, &link).await.expect("read"), None);

    store
        .delete_configuration(&ours(), crate::world::CFN, "web", Change::unrecorded())
        .await
        .expect("written");
    assert_eq!(
        store.delete_link(&ours(), &link, Change::unrecorded()).await.expect("written"),
        DeleteLink::Deleted
    );
    assert_eq!(
        store.delete_link(&ours(), &link, Change::unrecorded()).await.expect("written"),
        DeleteLink::NotFound
    );
    assert_eq!(store.link(&ours(), &link).await.expect("read"), None);
    assert_eq!(store.link_record(&link).await.expect("read"), None);
    assert_eq!(store.branch_record(&claim.id).await.expect("read"), None);
    assert_eq!(store.repository_status(&ours(), &link, "main").await.expect("read"), None);
    assert!(matches!(store.renew(&claim, 1).await, Err(syncline_store::StoreError::Stale(_))));
}

#[tokio::test]
async fn a_link_knows_what_its_calls_need_and_outlives_its_connection() {
    let world = World::new();
    let store = &world.store;
    store.create_host(&ours(), host("forge-1"), 5, Change::unrecorded()).await.expect("written");
    store
        .create_connection(&ours(), connection("web", Some("forge-1")), 5, Change::unrecorded())
        .await
        .expect("written");
    let sealed = sealed_for(store, "arn:aws:codeconnections:eu-west-1:111111111111:connection/id-of-web");
    let credential = CredentialRow { sealed: Some(sealed.clone()), tried_at: None };
    store
        .authorize_connection(&ours(), "id-of-web", credential, Change::unrecorded())
        .await
        .expect("written");
    let link = world.link_on(&ours(), "id-of-web", "infra").await;
    for (name, branch) in [("a", "main"), ("b", "main"), ("c", "dev")] {
        world.sync(&link, name, branch).await;
    }

    let record = store.link_record(&link).await.expect("read").expect("a link");
    assert_eq!((record.account.as_str(), record.failures), ("111111111111", 0));
    assert_eq!(record.branches, ["dev", "main"]);
    let connection = record.connection.expect("a connection");
    assert_eq!(connection.arn, "arn:aws:codeconnections:eu-west-1:111111111111:connection/id-of-web");
    assert_eq!(connection.provider_endpoint.as_deref(), Some("https://git.example.com"));
    assert_eq!(connection.vpc_configuration.as_deref(), Some(r#"{"VpcId":"vpc-01234567"}"#));
    assert_eq!(connection.credential, Some(sealed));

    let claim = world.claim(Kind::Link).await;
    let used = connection.credential.as_deref();
    let refused = Some("bad token".to_owned());
    assert!(store.record_credential(&claim, used, refused.clone()).await.expect("written"));
    assert!(!store.record_credential(&claim, Some(b"another"), None).await.expect("written"));
    assert!(!store.record_credential(&claim, None, None).await.expect("written"));
    let found = store.connection(&ours(), "id-of-web").await.expect("read").expect("a connection");
    assert_eq!((found.status, found.status_reason.as_deref()), (ConnectionStatus::Error, Some("bad token")));
    assert!(store.record_credential(&claim, used, None).await.expect("written"));
    let found = store.connection(&ours(), "id-of-web").await.expect("read").expect("a connection");
    assert_eq!((found.status, found.status_reason), (ConnectionStatus::Available, None));
    store.release(claim, None).await.expect("released");

    assert!(store.delete_connection(&ours(), "id-of-web", Change::unrecorded()).await.expect("written"));
    assert_eq!(world.claim(Kind::Link).await.id, link, "its syncs are to learn of it at once");
    let record = store.link_record(&link).await.expect("read").expect("a link");
    assert_eq!(record.connection, None, "the credential went with it");
    assert!(record.link.connection_arn.ends_with("connection/id-of-web"), "still shown");
}

#[tokio::test]
async fn an_account_keeps_its_external_id() {
    let world = World::new();
    let [first, second] = ["111111111111", "222222222222"].map(|id| id.parse().expect("an account"));
    assert_eq!(world.store.external_id(&first).await.expect("read"), None);
    let made = world.store.account(&first).await.expect("made").external_id;
    assert!(made.starts_with("syncline-") && made.len() > 24, "{made}");
    assert_ne!(world.store.account(&second).await.expect("made").external_id, made);

    assert_eq!(world.store.root_account().await.expect("read"), None);
    world.store.record_root_account(&first).await.expect("written");
    world.store.record_root_account(&second).await.expect("written");
    let world = world.reopened();
    assert_eq!(world.store.account(&first).await.expect("kept").external_id, made);
    assert_eq!(
        world.store.root_account().await.expect("read").as_deref(),
        Some("111111111111"),
        "the first stays"
    );
}
