//! Blockers: raised, replaced, resolved, and the newest ten shown.

use syncline_model::sync::{AttemptStatus, BlockerKind, BlockerStatus};
use syncline_store::{Blocker, Change, Claim, CredentialRow, Ending, Kind, NewBlocker, Progress, Resolution};

use crate::world::{CFN, World, ours, scope_of, sha};

struct Trying {
    world: World,
    claim: Claim,
    attempt: String,
}

impl Trying {
    async fn new() -> Self {
        let (world, _, _) = World::followed("web").await;
        world.pushed(&sha('a')).await;
        let claim = world.claim(Kind::Sync).await;
        world.store.open_attempt(&claim).await.expect("opened");
        let attempt = world.record(&claim.id).await.open.expect("open").id;
        Self { world, claim, attempt }
    }

    async fn raise(&self, kind: BlockerKind, reason: &str) {
        let contexts = vec![("commit".to_owned(), sha('a'))];
        let blocker = Some(NewBlocker { kind, reason: reason.to_owned(), contexts });
        self.progress(Progress { blocker, ..Progress::default() }).await;
    }

    async fn progress(&self, progress: Progress) {
        let (store, point) = (&self.world.store, "store.progress");
        store.record_progress(point, &self.claim, &self.attempt, progress).await.expect("recorded");
    }

    async fn shown(&self) -> Vec<Blocker> {
        self.world.store.blockers(&ours(), CFN, "web").await.expect("read").expect("a sync")
    }

    /// Each blocker in one line, newest first.
    async fn story(&self) -> Vec<String> {
        let line = |blocker: Blocker| {
            let resolved = blocker.resolved_reason.map_or_else(String::new, |why| format!(" ({why})"));
            format!("{} {} {}{resolved}", blocker.status, blocker.kind, blocker.created_reason)
        };
        self.shown().await.into_iter().map(line).collect()
    }
}

#[tokio::test]
async fn a_blocker_says_what_happened_and_what_to_do() {
    let trying = Trying::new().await;
    assert_eq!(trying.shown().await, []);
    trying.raise(BlockerKind::ChangeSetFailed, "no such parameter").await;
    let shown = trying.shown().await;
    let [blocker] = shown.as_slice() else { panic!("{shown:?}") };
    assert_eq!((blocker.kind, blocker.status), (BlockerKind::ChangeSetFailed, BlockerStatus::Active));
    assert_eq!((blocker.resolved_reason.as_ref(), blocker.resolved_at_ms), (None, None));
    let keys: Vec<_> = blocker.contexts.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["kind", "commit", "suggestedFix"]);
    assert_eq!(blocker.contexts[0].1, "CHANGE_SET_FAILED");
}

#[tokio::test]
async fn a_newer_failure_replaces_the_older_one() {
    let trying = Trying::new().await;
    trying.raise(BlockerKind::InvalidFile, "first").await;
    trying.world.clock.advance_ms(1);
    trying.raise(BlockerKind::ExecutionFailed, "second").await;
    trying.world.clock.advance_ms(1);
    trying.raise(BlockerKind::ExecutionFailed, "third").await;
    assert_eq!(
        trying.story().await,
        [
            "ACTIVE EXECUTION_FAILED third",
            "RESOLVED EXECUTION_FAILED second (replaced by a newer failure)",
            "RESOLVED INVALID_FILE first (replaced by a newer failure)",
        ]
    );
}

#[tokio::test]
async fn an_outage_is_told_once_and_ends_by_itself() {
    let trying = Trying::new().await;
    trying.raise(BlockerKind::ExecutionFailed, "broken").await;
    for _ in 0..3 {
        trying.world.clock.advance_ms(1);
        trying.raise(BlockerKind::RoleNotAssumable, "denied").await;
    }
    let both = ["ACTIVE ROLE_NOT_ASSUMABLE denied", "ACTIVE EXECUTION_FAILED broken"];
    assert_eq!(trying.story().await, both, "an outage and a failure stand side by side");
    trying.progress(Progress { recovered: true, ..Progress::default() }).await;
    assert_eq!(
        trying.story().await,
        ["RESOLVED ROLE_NOT_ASSUMABLE denied (the outage is over)", "ACTIVE EXECUTION_FAILED broken"]
    );
    trying.world.clock.advance_ms(1);
    trying.raise(BlockerKind::RoleNotAssumable, "denied again").await;
    assert_eq!(trying.shown().await.len(), 3, "the next outage is another one");
}

#[tokio::test]
async fn the_newest_ten_are_shown() {
    let trying = Trying::new().await;
    for number in 0..13 {
        trying.world.clock.advance_ms(1);
        trying.raise(BlockerKind::ExecutionFailed, &number.to_string()).await;
    }
    let reasons: Vec<_> = trying.shown().await.into_iter().map(|blocker| blocker.created_reason).collect();
    let expected: Vec<_> = (3..13).rev().map(|number| number.to_string()).collect();
    assert_eq!(reasons, expected);
}

#[tokio::test]
async fn blockers_of_one_moment_are_shown_newest_first_too() {
    let trying = Trying::new().await;
    for number in 0..6 {
        trying.raise(BlockerKind::ExecutionFailed, &number.to_string()).await;
    }
    let reasons: Vec<_> = trying.shown().await.into_iter().map(|blocker| blocker.created_reason).collect();
    assert_eq!(reasons, ["5", "4", "3", "2", "1", "0"]);
}

#[tokio::test]
async fn resolving_a_blocker_has_the_head_tried_again() {
    let trying = Trying::new().await;
    trying.raise(BlockerKind::ExecutionFailed, "broken").await;
    let failed = Ending {
        status: AttemptStatus::Failed,
        events: Vec::new(),
        last_stack_event: None,
        blocker: None,
        recovered: false,
    };
    let Trying { world, claim, attempt } = trying;
    world.store.end_attempt(&claim, &attempt, failed).await.expect("ended");
    let sync_id = claim.id.clone();
    world.store.release(claim, None).await.expect("released");
    let id = world.store.blockers(&ours(), CFN, "web").await.expect("read").expect("a sync")[0].id.clone();
    assert!(world.nothing_due(Kind::Link).await && world.nothing_due(Kind::Sync).await);

    let resolve = async |scope, name: &str, id: &str, reason: &str| {
        world
            .store
            .resolve_blocker(&scope, CFN, name, id, reason, Change::unrecorded())
            .await
            .expect("written")
    };
    assert_eq!(resolve(ours(), "nobody", &id, "x").await, Resolution::NoConfiguration);
    assert_eq!(resolve(ours(), "web", "nothing", "x").await, Resolution::NoBlocker);
    let foreign = scope_of("222222222222", "eu-west-1");
    assert_eq!(resolve(foreign, "web", &id, "x").await, Resolution::NoConfiguration);
    world.clock.advance_ms(5);
    let Resolution::Resolved(resolved) = resolve(ours(), "web", &id, "fixed the role").await else {
        panic!("not resolved")
    };
    assert_eq!(resolved.status, BlockerStatus::Resolved);
    assert_eq!(resolved.resolved_reason.as_deref(), Some("fixed the role"));
    assert_eq!(resolved.resolved_at_ms, Some(resolved.created_at_ms + 5));
    assert_eq!(world.record(&sync_id).await.recorded.generation, 2);
    world.heads(&[("main", Some(&sha('a')))]).await;
    world.considered("the same files").await;
    assert_eq!(world.claim(Kind::Sync).await.id, sync_id);

    world.clock.advance_ms(5);
    let again = resolve(ours(), "web", &id, "once more").await;
    assert_eq!(again, Resolution::Resolved(resolved), "the first reason stays");
    assert_eq!(world.record(&sync_id).await.recorded.generation, 2, "and nothing is synced again");
}

#[tokio::test]
async fn a_deleted_stack_holds_its_sync_until_the_operator_lets_go() {
    let trying = Trying::new().await;
    trying.progress(Progress { stack_id: Some("stack".into()), ..Progress::default() }).await;
    let end = |status| Ending {
        status,
        events: Vec::new(),
        last_stack_event: None,
        blocker: None,
        recovered: false,
    };
    let Trying { world, claim, attempt } = trying;
    world.store.end_attempt(&claim, &attempt, end(AttemptStatus::Succeeded)).await.expect("ended");
    world.store.open_attempt(&claim).await.expect("opened");
    let attempt = world.record(&claim.id).await.open.expect("open").id;
    let gone = NewBlocker { kind: BlockerKind::StackDeleted, reason: "gone".into(), contexts: Vec::new() };
    let ending = Ending { blocker: Some(gone), ..end(AttemptStatus::Failed) };
    world.store.end_attempt(&claim, &attempt, ending).await.expect("ended");
    let record = world.record(&claim.id).await.recorded;
    assert!(record.held && record.knows_stack);
    // Not even a success of something else lets it go.
    world.store.open_attempt(&claim).await.expect("opened");
    let attempt = world.record(&claim.id).await.open.expect("open").id;
    world.store.end_attempt(&claim, &attempt, end(AttemptStatus::Succeeded)).await.expect("ended");
    assert!(world.record(&claim.id).await.recorded.held);

    let id = world.store.blockers(&ours(), CFN, "web").await.expect("read").expect("a sync")[0].id.clone();
    let resolution = world
        .store
        .resolve_blocker(&ours(), CFN, "web", &id, "create it", Change::unrecorded())
        .await
        .expect("written");
    assert!(matches!(resolution, Resolution::Resolved(_)), "{resolution:?}");
    let record = world.record(&claim.id).await.recorded;
    assert!(!record.held && !record.knows_stack, "the stack is to be created anew");
}

#[tokio::test]
async fn nothing_is_tried_again_over_a_connection_that_cannot_be_used() {
    for deleted in [true, false] {
        let trying = Trying::new().await;
        trying.raise(BlockerKind::ExecutionFailed, "broken").await;
        let world = &trying.world;
        let id = &trying.shown().await[0].id;
        let expected = if deleted {
            assert!(
                world
                    .store
                    .delete_connection(&ours(), "connection-infra", Change::unrecorded())
                    .await
                    .expect("written")
            );
            "the connection of its repository link was deleted"
        } else {
            world.store.sync_now(&ours(), CFN, "web", Change::unrecorded()).await.expect("wakes the link");
            let link = world.claim(Kind::Link).await;
            world.store.record_credential(&link, None, Some("revoked".into())).await.expect("written");
            "the connection 'infra' is ERROR; authorize it again"
        };
        let generation = world.record(&trying.claim.id).await.recorded.generation;
        let scope = ours();
        let resolve = || world.store.resolve_blocker(&scope, CFN, "web", id, "again", Change::unrecorded());
        assert_eq!(resolve().await.expect("read"), Resolution::CannotRetry(expected.to_owned()));
        let now = world.store.sync_now(&ours(), CFN, "web", Change::unrecorded()).await.expect("read");
        assert_eq!(now, Some(Err(expected.to_owned())));
        assert_eq!(trying.story().await, ["ACTIVE EXECUTION_FAILED broken"]);
        assert_eq!(world.record(&trying.claim.id).await.recorded.generation, generation);
        if !deleted {
            let credential = CredentialRow { sealed: None, tried_at: None };
            world
                .store
                .authorize_connection(&ours(), "connection-infra", credential, Change::unrecorded())
                .await
                .expect("written");
            assert!(matches!(resolve().await.expect("written"), Resolution::Resolved(_)));
        }
    }
}

#[tokio::test]
async fn sync_now_wants_a_configuration() {
    let world = World::new();
    assert_eq!(world.store.sync_now(&ours(), CFN, "nobody", Change::unrecorded()).await.expect("read"), None);
}
