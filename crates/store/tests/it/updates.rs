//! What can be changed of hosts and links, and that nothing found at the old place is written.

use syncline_model::sync::EventKind;
use syncline_store::{
    Change, Claim, ConnectionStatus, Consideration, CreateConnection, CreateHost, CredentialRow, HostChange,
    Kind, LinkChange, NewConfiguration, NewConnection, Owner, StoreError, UpdateHost, UpdateLink,
};

use crate::world::{World, configuration, new_host, ours, revision, scope_of};

const HOST: &str = "forge-1";

impl World {
    async fn host(&self) {
        let made =
            self.store.create_host(&ours(), new_host(HOST), 5, Change::unrecorded()).await.expect("written");
        assert_eq!(made, CreateHost::Created);
    }

    /// An AVAILABLE connection on the host.
    async fn hosted(&self, id: &str) {
        let new = NewConnection {
            id: id.to_owned(),
            service: "codeconnections".to_owned(),
            name: id.to_owned(),
            provider_type: None,
            host_id: Some(HOST.to_owned()),
            tags: Vec::new(),
        };
        let store = &self.store;
        let made = store.create_connection(&ours(), new, 5, Change::unrecorded()).await.expect("written");
        assert_eq!(made, CreateConnection::Created);
        let credential = CredentialRow { sealed: None, tried_at: None };
        let done = store.authorize_connection(&ours(), id, credential, Change::unrecorded()).await;
        assert!(done.expect("written"));
    }

    async fn move_host(&self, endpoint: Option<&str>, vpc: Option<&str>) -> UpdateHost {
        let to = HostChange {
            provider_endpoint: endpoint.map(str::to_owned),
            vpc_configuration: vpc.map(str::to_owned),
        };
        self.store.update_host(&ours(), HOST, to, Change::unrecorded()).await.expect("written")
    }

    async fn reconnect(&self, link: &str, connection: &str) -> UpdateLink {
        let to = LinkChange { connection_id: Some(connection.to_owned()), encryption_key_arn: None };
        self.store.update_link(&ours(), link, to, Change::unrecorded()).await.expect("written")
    }

    async fn is_lost(&self, claim: &Claim) -> bool {
        match self.store.renew(claim, 15_000).await {
            Ok(()) => false,
            Err(StoreError::Stale(_)) => true,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_host_s_move_voids_the_claims_on_its_links_and_on_no_others() {
    let world = World::new();
    world.host().await;
    world.hosted("here").await;
    let hosted = world.link_on(&ours(), "here", "infra").await;
    let other = world.link(&ours(), "elsewhere").await;
    for (link, name) in [(&hosted, "a"), (&other, "b")] {
        world.sync(link, name, "main").await;
    }
    let claims = [world.claim(Kind::Link).await, world.claim(Kind::Link).await];
    let of = |id: &str| claims.iter().find(|claim| claim.id == id).expect("claimed");

    assert_eq!(world.move_host(None, None).await, UpdateHost::Updated);
    assert_eq!(world.move_host(Some("https://git.example.com"), None).await, UpdateHost::Updated);
    assert!(!world.is_lost(of(&hosted)).await, "nothing has changed");

    assert_eq!(world.move_host(Some("https://git.example.org"), Some("{}")).await, UpdateHost::Updated);
    assert!(world.is_lost(of(&hosted)).await);
    assert!(!world.is_lost(of(&other)).await);
    // What was lost is due, also if its holder gives it back.
    world.store.release(of(&hosted).clone(), None).await.expect("released");
    let claim = world.claim(Kind::Link).await;
    assert_eq!(claim.id, hosted);
    let host = world.store.host(&ours(), HOST).await.expect("read").expect("a host");
    let kept = (host.provider_endpoint.as_str(), host.vpc_configuration.as_deref());
    assert_eq!(kept, ("https://git.example.org", Some("{}")));
    // A root certificate of its own is another way to look, too.
    assert_eq!(world.move_host(None, Some("{\"TlsCertificate\":\"x\"}")).await, UpdateHost::Updated);
    assert!(world.is_lost(&claim).await);
}

#[tokio::test]
async fn a_host_s_connections_keep_their_credentials_only_where_it_stays_the_same_server() {
    let world = World::new();
    let store = &world.store;
    world.host().await;
    world.hosted("here").await;
    let hosted = world.link_on(&ours(), "here", "infra").await;
    let other = world.link(&ours(), "elsewhere").await;
    let authorize = async |id: &str| {
        let arn = format!("arn:aws:codeconnections:eu-west-1:111111111111:connection/{id}");
        let sealed = store.keyring().seal(&Owner { account: "111111111111", arn: &arn }, b"token");
        let credential = CredentialRow { sealed: Some(sealed.expect("sealed")), tried_at: None };
        let done = store.authorize_connection(&ours(), id, credential, Change::unrecorded()).await;
        assert!(done.expect("written"));
    };
    let seen = async |link: &str| {
        let record = store.link_record(link).await.expect("read").expect("a link");
        let connection = record.connection.expect("a connection");
        (connection.status, connection.credential.is_some(), connection.status_reason)
    };
    let host_status = async || store.host(&ours(), HOST).await.expect("read").expect("a host").status;
    let available = (ConnectionStatus::Available, true, None);
    authorize("here").await;
    authorize("connection-elsewhere").await;
    for same in ["https://git.example.com/scm", "https://GIT.example.com:443", "https://git.example.com"] {
        assert_eq!(world.move_host(Some(same), None).await, UpdateHost::Updated);
        assert_eq!(
            (seen(&hosted).await, host_status().await.as_str()),
            (available.clone(), "AVAILABLE"),
            "{same}"
        );
    }
    for moved in ["http://git.example.com", "http://git.example.com:8080", "http://git.example.org:8080"] {
        assert_eq!(world.move_host(Some(moved), None).await, UpdateHost::Updated);
        let expected = (ConnectionStatus::Pending, false, Some(format!("its host moved to {moved}")));
        assert_eq!((seen(&hosted).await, host_status().await.as_str()), (expected, "PENDING"), "{moved}");
        assert_eq!(seen(&other).await, available, "it is on no host");
        authorize("here").await;
        assert_eq!((seen(&hosted).await, host_status().await.as_str()), (available.clone(), "AVAILABLE"));
    }
}

#[tokio::test]
async fn a_token_is_stored_only_where_it_was_tried() {
    let world = World::new();
    let store = &world.store;
    world.host().await;
    world.hosted("here").await;
    let endpoint = store.host(&ours(), HOST).await.expect("read").expect("a host").provider_endpoint;
    let authorized = async |tried_at: &str| {
        let arn = "arn:aws:codeconnections:eu-west-1:111111111111:connection/here";
        let sealed = store.keyring().seal(&Owner { account: "111111111111", arn }, b"token");
        let credential =
            CredentialRow { sealed: Some(sealed.expect("sealed")), tried_at: Some(tried_at.to_owned()) };
        store.authorize_connection(&ours(), "here", credential, Change::unrecorded()).await.expect("written")
    };
    assert!(authorized(&endpoint).await);
    // Meanwhile somebody moves the host.
    assert_eq!(world.move_host(Some("https://git.example.org"), None).await, UpdateHost::Updated);
    assert!(!authorized(&endpoint).await);
    let found = store.connection(&ours(), "here").await.expect("read").expect("a connection");
    assert_eq!(found.status, ConnectionStatus::Pending);
    assert!(authorized("https://git.example.org").await);
}

#[tokio::test]
async fn a_link_is_given_only_a_connection_that_it_could_have_been_made_on() {
    let world = World::new();
    let store = &world.store;
    world.host().await;
    world.hosted("hosted").await;
    let link = world.link(&ours(), "infra").await;
    let before = store.link(&ours(), &link).await.expect("read").expect("a link");
    let other = world.available_connection(&ours(), "other").await;
    let pending = world.connection(&ours(), "pending").await;
    let taken = world.available_connection(&ours(), "taken").await;
    world.link_on(&ours(), &taken, "infra").await;
    let foreign = world.available_connection(&scope_of("222222222222", "eu-west-1"), "foreign").await;

    let refused = UpdateLink::OtherProviderType { connection: "Git".to_owned(), link: "GitHub".to_owned() };
    assert_eq!(world.reconnect(&link, "hosted").await, refused);
    let refused = UpdateLink::ConnectionNotAvailable(ConnectionStatus::Pending);
    assert_eq!(world.reconnect(&link, &pending).await, refused);
    assert_eq!(world.reconnect(&link, &taken).await, UpdateLink::AlreadyExists(before.clone()));
    assert_eq!(world.reconnect(&link, &foreign).await, UpdateLink::ConnectionNotFound);
    assert_eq!(world.reconnect(&link, "").await, UpdateLink::ConnectionNotFound);
    assert_eq!(world.reconnect("none", &other).await, UpdateLink::NotFound);
    assert_eq!(store.link(&ours(), &link).await.expect("read"), Some(before.clone()));

    let UpdateLink::Updated(after) = world.reconnect(&link, &other).await else { panic!("refused") };
    assert!(after.connection_arn.ends_with(&format!(":connection/{other}")), "{}", after.connection_arn);
    let record = store.link_record(&link).await.expect("read").expect("a link");
    assert_eq!(record.connection.expect("a connection").arn, after.connection_arn);
    let to = LinkChange { connection_id: None, encryption_key_arn: Some("a key".to_owned()) };
    let keyed = store.update_link(&ours(), &link, to, Change::unrecorded()).await.expect("written");
    let UpdateLink::Updated(keyed) = keyed else { panic!("refused") };
    assert_eq!(
        (keyed.encryption_key_arn.as_deref(), keyed.connection_arn),
        (Some("a key"), after.connection_arn)
    );
}

#[tokio::test]
async fn what_a_call_finds_through_the_old_connection_is_not_written() {
    let (world, link, _) = World::followed("web").await;
    let other = world.available_connection(&ours(), "other").await;
    let claim = world.claim(Kind::Link).await;
    let UpdateLink::Updated(_) = world.reconnect(&link, &other).await else { panic!("refused") };
    let refusal = world.store.record_credential(&claim, None, Some("the old token".to_owned())).await;
    assert!(matches!(refusal, Err(StoreError::Stale(_))), "{refusal:?}");
    let status = world.store.connection(&ours(), &other).await.expect("read").expect("a connection").status;
    assert_eq!(status, ConnectionStatus::Available);
    world.heads(&[("main", Some(&crate::world::sha('a')))]).await;
}

#[tokio::test]
async fn what_is_read_of_a_branch_at_the_old_place_is_not_written_and_its_head_is_told_anew() {
    for of_host in [true, false] {
        let world = World::new();
        world.host().await;
        world.hosted("here").await;
        let (link, other) = match of_host {
            true => (world.link_on(&ours(), "here", "infra").await, String::new()),
            false => {
                let other = world.available_connection(&ours(), "other").await;
                (world.link(&ours(), "infra").await, other)
            }
        };
        let sync = world.sync(&link, "web", "main").await;
        let head = crate::world::sha('a');
        let moved = async |place: &str| match of_host {
            true => assert_eq!(world.move_host(Some(place), None).await, UpdateHost::Updated),
            false => drop(world.reconnect(&link, &other).await),
        };
        let newest = async || {
            let status =
                world.store.repository_status(&ours(), &link, "main").await.expect("read").expect("a link");
            let status = status.expect("an attempt");
            (
                status.status.to_string(),
                status.events.read().expect("events").last().map(|event| event.kind).expect("an event"),
            )
        };
        world.heads(&[("main", Some(&head))]).await;
        let (claim, branch, attempt) = world.reading().await;

        moved("https://git.example.com/scm").await;
        let wanted = Consideration {
            sync_id: sync.id.clone(),
            generation: 1,
            desired: Some((revision(&head), "of the old place".to_owned())),
            files: None,
        };
        let store = &world.store;
        let late = store.record_considered(&claim, &branch, &attempt, vec![wanted], Vec::new()).await;
        assert!(matches!(late, Err(StoreError::Stale(_))), "{late:?}");
        store.release(claim.clone(), None).await.expect("released");
        assert_eq!(newest().await, ("FAILED".to_owned(), EventKind::Superseded));
        let branch = store.branch_record(&claim.id).await.expect("read").expect("a branch");
        assert_eq!((branch.head_sha, branch.head_seq), (None, 1));
        assert!(world.record(&sync.id).await.blockers.is_empty(), "the branch is not missing");

        // The interrupted turn has nothing to read before the new place was asked.
        store.release(world.claim(Kind::Branch).await, None).await.expect("released");
        world.pushed(&head).await;
        assert_eq!(newest().await.0, "SUCCEEDED");
        assert_eq!(world.claim(Kind::Sync).await.id, sync.id);

        // What everybody has read is no news at another place.
        match of_host {
            true => moved("https://git.example.com").await,
            false => drop(world.reconnect(&link, "connection-infra").await),
        }
        let branch = store.branch_record(&branch.id).await.expect("read").expect("a branch");
        assert_eq!((branch.head_sha.as_deref(), branch.head_seq), (Some(head.as_str()), 2));
        store.release(world.claim(Kind::Branch).await, None).await.expect("released");
        world.heads(&[("main", Some(&head))]).await;
        assert!(world.nothing_due(Kind::Branch).await);
    }
}

#[tokio::test]
async fn what_the_old_place_says_of_pull_requests_is_not_written_and_the_new_one_is_asked_at_once() {
    for of_host in [true, false] {
        let world = World::new();
        world.host().await;
        world.hosted("here").await;
        let other = world.available_connection(&ours(), "other").await;
        let link = match of_host {
            true => world.link_on(&ours(), "here", "infra").await,
            false => world.link(&ours(), "infra").await,
        };
        let commented = Some("ENABLED".to_owned());
        let new = NewConfiguration { pull_request_comment: commented, ..configuration(&link, "web", "main") };
        world.sync_as(&ours(), new).await;
        let claim = world.claim(Kind::Pulls).await;
        match of_host {
            true => {
                assert_eq!(world.move_host(Some("https://new.example.com"), None).await, UpdateHost::Updated)
            }
            false => drop(world.reconnect(&link, &other).await),
        }
        assert!(world.is_lost(&claim).await);
        let again = world.claim(Kind::Pulls).await;
        assert_eq!(again.lane != claim.lane, of_host, "another host is another line");
    }
}

#[tokio::test]
async fn a_branch_that_is_read_with_another_root_certificate_is_read_again_in_the_same_attempt() {
    let world = World::new();
    world.host().await;
    world.hosted("here").await;
    let link = world.link_on(&ours(), "here", "infra").await;
    world.sync(&link, "web", "main").await;
    world.heads(&[("main", Some(&crate::world::sha('a')))]).await;
    let (claim, _, attempt) = world.reading().await;
    assert_eq!(world.move_host(None, Some("{\"TlsCertificate\":\"x\"}")).await, UpdateHost::Updated);
    assert!(world.is_lost(&claim).await);
    let (_, _, again) = world.reading().await;
    assert_eq!(again, attempt);
}
