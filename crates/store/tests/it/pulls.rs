//! Pull requests and their previews.

use syncline_model::preview::{Phase, Want};
use syncline_store::{
    Change, ConfigurationChange, Done, FoundPullRequest, Kind, NewConfiguration, OutboxKind, Page, Preview,
    PreviewProgress, PreviewTold, PullRequest, PullRequestState, Sources, StoreError, UpdateConfiguration,
    WantedPreview,
};

use crate::world::{CFN, LEASE_MS, PLENTY, World, configuration, ours, sha};

fn pull_request(number: i64, head: char) -> PullRequest {
    PullRequest {
        number,
        state: PullRequestState::Open,
        is_fork: false,
        target_branch: "main".to_owned(),
        head_sha: sha(head),
    }
}

fn wants(sync_id: &str, want: Want, inputs: &str) -> WantedPreview {
    WantedPreview {
        sync_id: sync_id.to_owned(),
        want,
        inputs: inputs.to_owned(),
        sources: Sources::default(),
    }
}

fn found(head: char, previews: Vec<WantedPreview>) -> FoundPullRequest {
    FoundPullRequest {
        pull_request: pull_request(7, head),
        looked: Some(format!("looked at {head}")),
        previews,
        merged_seq: None,
    }
}

/// A world with a link and a sync of it that has comments; the link's and the sync's id.
async fn commented() -> (World, String, String) {
    let world = World::new();
    let link = world.link(&ours(), "infra").await;
    let new = NewConfiguration {
        pull_request_comment: Some("ENABLED".to_owned()),
        ..configuration(&link, "web", "main")
    };
    let sync = world.sync_as(&ours(), new).await;
    (world, link, sync.id)
}

#[tokio::test]
async fn a_forge_is_asked_for_pull_requests_only_for_links_that_have_comments() {
    let (world, link, sync) = commented().await;
    let claim = world.claim(Kind::Pulls).await;
    let record = world.store.pulls_record(&claim).await.expect("read");
    assert_eq!((record.link_id.as_str(), record.has_link), (link.as_str(), true));
    assert_eq!(record.syncs.iter().map(|sync| sync.id.as_str()).collect::<Vec<_>>(), [sync.as_str()]);
    world.store.release(claim, None).await.expect("released");
    let other = world.link(&ours(), "other").await;
    world.sync(&other, "plain", "main").await;
    assert!(world.nothing_due(Kind::Pulls).await, "the other has none");
}

#[tokio::test]
async fn a_preview_is_wanted_again_only_when_something_else_is() {
    let (world, _, sync) = commented().await;
    let claim = world.claim(Kind::Pulls).await;
    let record = async |found: FoundPullRequest| {
        world.store.record_pull_request(&claim, found).await.expect("recorded");
        let previews = world.store.previews(&sync).await.expect("read");
        previews.first().map(|preview| (preview.recorded.want, preview.recorded.wanted))
    };
    // Nobody is told of what was never there.
    assert_eq!(record(found('a', vec![wants(&sync, Want::Untouched, "")])).await, None);
    assert!(world.nothing_due(Kind::Sync).await);
    assert_eq!(record(found('a', vec![wants(&sync, Want::Changes, "one")])).await, Some((Want::Changes, 1)));
    assert_eq!(record(found('b', vec![wants(&sync, Want::Changes, "one")])).await, Some((Want::Changes, 1)));
    assert_eq!(record(found('c', vec![wants(&sync, Want::Changes, "two")])).await, Some((Want::Changes, 2)));
    assert_eq!(record(found('d', vec![wants(&sync, Want::Untouched, "")])).await, Some((Want::Untouched, 3)));
    assert_eq!(record(found('d', vec![wants(&sync, Want::Untouched, "")])).await, Some((Want::Untouched, 3)));
    // A sync that is not spoken of any more has its comments switched off.
    assert_eq!(record(found('d', Vec::new())).await, Some((Want::Off, 4)));
    let known = world.store.pulls_record(&claim).await.expect("read").open;
    assert_eq!(known[&7].looked.as_deref(), Some("looked at d"));
    assert_eq!(known[&7].syncs, [sync.as_str()]);
}

#[tokio::test]
async fn a_rebase_that_leaves_the_files_as_they_are_has_them_read_at_its_own_commits() {
    let (world, _, sync) = commented().await;
    let claim = world.claim(Kind::Pulls).await;
    for commit in ['a', 'b'] {
        let sources =
            Sources { config_commit: sha(commit), template_commit: sha(commit), ..Sources::default() };
        let touched = WantedPreview { sources: sources.clone(), ..wants(&sync, Want::Changes, "one") };
        world.store.record_pull_request(&claim, found(commit, vec![touched])).await.expect("recorded");
        let preview = world.store.previews(&sync).await.expect("read").pop().expect("one");
        assert_eq!((preview.head_sha, preview.sources), (sha(commit), sources));
        assert_eq!(preview.recorded.wanted, 1, "nothing new is to be told");
    }
}

#[tokio::test]
async fn what_is_told_is_in_the_outbox_in_the_same_commit_and_its_end_is_told_once() {
    let (world, link, sync) = commented().await;
    let pulls = world.claim(Kind::Pulls).await;
    let touched = found('a', vec![wants(&sync, Want::Changes, "one")]);
    world.store.record_pull_request(&pulls, touched).await.expect("recorded");
    let claim = world.claim(Kind::Sync).await;
    assert_eq!(claim.id, sync, "it was woken");
    let preview = async || world.store.previews(&sync).await.expect("read").pop();
    let record = async |progress: PreviewProgress| {
        let preview = preview().await.expect("one");
        world.store.record_preview("store.record_preview_told", &claim, &preview, progress).await
    };
    let planned = Some(("web".to_owned(), "role".to_owned()));
    record(PreviewProgress { phase: Some(Phase::Planning), planned, ..PreviewProgress::default() })
        .await
        .expect("recorded");
    let now = preview().await.expect("one");
    assert_eq!((now.plan_number, now.recorded.planned, now.recorded.phase), (1, 1, Phase::Planning));
    assert!(now.change_set_name().ends_with("-1") && now.change_set_name().starts_with("preview-"));
    let told = |text: &str| PreviewProgress {
        phase: Some(Phase::Idle),
        told: Some(PreviewTold {
            comment: Some(text.to_owned()),
            whole: None,
            done: Some(Done { made_on: None }),
        }),
        ..PreviewProgress::default()
    };
    assert!(record(told("first")).await.expect("recorded"));
    let items =
        world.store.outbox(&ours(), None, &Page { after: None, limit: 10 }).await.expect("read").items;
    assert_eq!(items.len(), 1);
    assert_eq!(items[0].kind, Some(OutboxKind::Comment));
    assert_eq!(items[0].subject, format!("{link} 7 {sync}"));
    assert!(items[0].document.contains("first"), "{}", items[0].document);
    let told_of = preview().await.expect("it is open still");
    assert!(told_of.recorded.rests());

    let closed = FoundPullRequest {
        pull_request: PullRequest { state: PullRequestState::Closed, ..pull_request(7, 'a') },
        looked: None,
        previews: vec![wants(&sync, Want::Closed, "")],
        merged_seq: None,
    };
    world.store.record_pull_request(&pulls, closed).await.expect("recorded");
    assert!(record(told("second")).await.expect("recorded"));
    assert_eq!(preview().await, None, "it is over");
    assert!(!world.record(&sync).await.has_previews);
    let items =
        world.store.outbox(&ours(), None, &Page { after: None, limit: 10 }).await.expect("read").items;
    assert_eq!(
        (items.len(), items[0].document.contains("second")),
        (1, true),
        "one comment, its newest text"
    );

    // Whoever has lost the sync writes nothing of its previews.
    world.clock.advance_ms(LEASE_MS + 1);
    let late = world
        .store
        .record_preview("store.record_preview_phase", &claim, &told_of, PreviewProgress::default())
        .await;
    assert!(matches!(late, Err(StoreError::Stale(_))), "{late:?}");
}

#[tokio::test]
async fn what_is_wanted_meanwhile_is_not_overwritten_by_who_has_not_seen_it() {
    for want in [Want::Changes, Want::Closed, Want::Merged] {
        let (world, _, sync) = commented().await;
        let pulls = world.claim(Kind::Pulls).await;
        let touched = found('a', vec![wants(&sync, Want::Changes, "one")]);
        world.store.record_pull_request(&pulls, touched).await.expect("recorded");
        let claim = world.claim(Kind::Sync).await;
        let preview = async || world.store.previews(&sync).await.expect("read").pop().expect("one");
        let told = || PreviewProgress {
            told: Some(PreviewTold {
                comment: Some("x".to_owned()),
                whole: None,
                done: Some(Done { made_on: None }),
            }),
            ..PreviewProgress::default()
        };
        let record = async |seen: &Preview, progress| {
            let recorded = world.store.record_preview("store.record_preview_told", &claim, seen, progress);
            recorded.await.expect("written")
        };
        assert!(record(&preview().await, told()).await);
        let seen = preview().await;
        // Two at once find that something else is to be told: the sync, which has changed the stack, and the forge.
        let other = found('b', vec![wants(&sync, want, "two")]);
        world.store.record_pull_request(&pulls, other).await.expect("recorded");
        let again = PreviewProgress { wants: Some(Want::Changes), ..PreviewProgress::default() };
        assert!(!record(&seen, again.clone()).await, "it is to look again");
        assert!(!record(&seen, told()).await);
        let planned = Some(("web".to_owned(), "role".to_owned()));
        assert!(!record(&seen, PreviewProgress { planned, ..PreviewProgress::default() }).await);
        let now = preview().await;
        assert_eq!((now.recorded.want, now.recorded.wanted, now.recorded.done), (want, 2, 1));
        assert_eq!((now.plan_number, &*now.head_sha), (0, &*sha('b')));
        // In the other order each counts.
        assert!(record(&now, again).await);
        let bumped = preview().await;
        assert_eq!((bumped.recorded.want, bumped.recorded.wanted), (Want::Changes, 3));
    }
}

#[tokio::test]
async fn a_forgotten_sync_and_a_deleted_link_leave_nothing_of_pull_requests() {
    let (world, link, sync) = commented().await;
    let pulls = world.claim(Kind::Pulls).await;
    let touched = found('a', vec![wants(&sync, Want::Changes, "one")]);
    world.store.record_pull_request(&pulls, touched).await.expect("recorded");
    world.store.delete_configuration(&ours(), CFN, "web", Change::unrecorded()).await.expect("deleted");
    let claim = world.claim(Kind::Sync).await;
    world.store.forget_sync(&claim).await.expect("forgotten");
    assert_eq!(world.store.previews(&sync).await.expect("read"), []);
    world.store.delete_link(&ours(), &link, Change::unrecorded()).await.expect("deleted");
    let record = world.store.pulls_record(&pulls).await.expect("read");
    assert_eq!((record.has_link, record.open.len()), (false, 0));
    assert!(world.nothing_due(Kind::Pulls).await);
}

#[tokio::test]
async fn what_a_deleted_link_leaves_unfinished_goes_once_it_is_finished() {
    for is_moved in [false, true] {
        let (world, link, sync) = commented().await;
        let pulls = world.claim(Kind::Pulls).await;
        let touched = found('a', vec![wants(&sync, Want::Changes, "one")]);
        world.store.record_pull_request(&pulls, touched).await.expect("recorded");
        let claim = world.claim(Kind::Sync).await;
        let preview = async || world.store.previews(&sync).await.expect("read").pop();
        let record = async |progress| {
            let seen = preview().await.expect("one");
            let recorded = world.store.record_preview("store.record_preview_phase", &claim, &seen, progress);
            assert!(recorded.await.expect("written"));
        };
        let planned = Some(("web".to_owned(), "role".to_owned()));
        let phase = |phase| PreviewProgress { phase: Some(phase), ..PreviewProgress::default() };
        record(PreviewProgress { planned, ..phase(Phase::Planning) }).await;
        match is_moved {
            true => {
                let other = world.link(&ours(), "other").await;
                let to = ConfigurationChange { link_id: Some(other), ..ConfigurationChange::default() };
                let (ours, change) = (ours(), Change::unrecorded());
                let moved = world.store.update_configuration(&ours, CFN, "web", to, PLENTY, change).await;
                assert!(matches!(moved.expect("written"), UpdateConfiguration::Updated(_)));
            }
            false => {
                let (ours, change) = (ours(), Change::unrecorded());
                world.store.delete_configuration(&ours, CFN, "web", change).await.expect("deleted");
            }
        }
        world.store.delete_link(&ours(), &link, Change::unrecorded()).await.expect("deleted");
        assert!(!preview().await.expect("it has a change set still").is_followed || !is_moved);
        assert_eq!(world.rows("pull_request"), 1);
        if is_moved {
            record(PreviewProgress { wants: Some(Want::Off), ..phase(Phase::Idle) }).await;
            let told = PreviewTold { comment: None, whole: None, done: Some(Done { made_on: None }) };
            record(PreviewProgress { told: Some(told), ..PreviewProgress::default() }).await;
        } else {
            world.store.forget_sync(&claim).await.expect("forgotten");
        }
        assert_eq!((world.rows("preview"), world.rows("pull_request")), (0, 0));
    }
}
