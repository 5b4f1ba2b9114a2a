//! What it costs to learn of commits: remote calls, statements, and who is woken. Nothing is timed; all is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use syncline_model::plan::{Seen, Step, next_step};
use syncline_model::sync::AttemptStatus;
use syncline_seams::{Clock, Faults, Moment};
use syncline_store::{Change, ConfigurationQuotas, CreateConfiguration, Ending, Kind, NewConfiguration};
use syncline_testkit::repository::{Change as Edit, Repository};
use syncline_testkit::world::{ROLE, World};

use super::{deployment, template};

/// More than any of these stories makes.
const PLENTY: ConfigurationQuotas =
    ConfigurationQuotas { per_account: 10_000, per_link: 10_000, per_branch: 10_000 };

/// A world that counts what it passes.
async fn counting() -> (World, Arc<Faults>) {
    let faults = Faults::none();
    (World::with_faults(Arc::clone(&faults) as _).await, faults)
}

/// How often a point was passed since the faults were cleared.
fn passed(faults: &Faults, point: &str) -> usize {
    faults.seen().iter().filter(|(passed, moment)| *passed == point && *moment == Moment::Before).count()
}

/// Makes syncs without the API's quotas; `stack` names them and their files from their number.
async fn make_syncs(world: &World, link: &str, numbers: std::ops::Range<usize>, trigger: Option<&str>) {
    for number in numbers {
        let new = NewConfiguration {
            sync_type: "CFN_STACK_SYNC".to_owned(),
            resource_name: stack(number),
            link_id: link.to_owned(),
            branch: "main".to_owned(),
            config_file: file(number),
            role_arn: ROLE.parse().expect("a role"),
            publish_deployment_status: None,
            trigger_resource_update_on: trigger.map(str::to_owned),
            pull_request_comment: None,
        };
        let store = &world.parts().store;
        let made = store.create_configuration(&world.scope(), new, PLENTY, Change::unrecorded()).await;
        let made = made.expect("written");
        assert!(matches!(made, CreateConfiguration::Created(_)), "{made:?}");
    }
}

fn stack(number: usize) -> String {
    format!("stack-{number:04}")
}

fn file(number: usize) -> String {
    format!("stacks/{number:04}/deploy.yaml")
}

/// A commit with the deployment files of so many syncs, and their one template.
async fn commit_all(repo: &Repository, count: usize) {
    let content = deployment("one");
    let files: Vec<String> = (0..count).map(file).collect();
    let template = template("");
    let mut all: Vec<(&str, &str)> = files.iter().map(|file| (file.as_str(), content.as_str())).collect();
    all.push(("template.yaml", &template));
    repo.commit_files(&all).await;
}

/// Ends whatever syncs want, as if their stacks were as they should be already: thousands of stacks are not what these
/// stories are about. How many there were.
async fn drain(world: &World) -> usize {
    let store = &world.parts().store;
    let mut drained = 0;
    while let Some(claim) = store.claim(Kind::Sync, "drain", 15_000).await.expect("claimed") {
        let record = async || store.sync_record(&claim.id).await.expect("read").expect("a sync");
        if next_step(&record().await.recorded, &Seen::Nothing) == Step::Open {
            store.open_attempt(&claim).await.expect("opened");
        }
        let Some(attempt) = record().await.open else {
            store.release(claim, None).await.expect("released");
            continue;
        };
        let ending = Ending {
            status: AttemptStatus::Succeeded,
            events: Vec::new(),
            last_stack_event: None,
            blocker: None,
            recovered: true,
        };
        store.end_attempt(&claim, &attempt.id, ending).await.expect("ended");
        store.release(claim, None).await.expect("released");
        drained += 1;
    }
    drained
}

/// Has links and branches look until everybody was told of the head; whatever the syncs want is drained.
async fn look(world: &World) -> usize {
    let mut drained = 0;
    for _ in 0..1_000 {
        let store = &world.parts().store;
        let now_ms = world.clock.now_ms();
        let is_due = async |kind| {
            store.next_due_ms(Some(kind)).await.expect("a read").is_some_and(|due| due <= now_ms)
        };
        if !is_due(Kind::Link).await && !is_due(Kind::Branch).await {
            return drained;
        }
        // Before each tick, so that it finds no sync to work on.
        drained += drain(world).await;
        world.tick().await;
        drained += drain(world).await;
    }
    panic!("links and branches do not come to rest");
}

async fn poll(world: &World) -> usize {
    world.clock.advance_ms(60_000);
    look(world).await
}

#[tokio::test]
async fn one_commit_that_touches_one_of_two_thousand_stacks_makes_one_plan() {
    let (world, faults) = counting().await;
    let repo = world.repository("acme/infra").await;
    commit_all(&repo, 2_000).await;
    let connection = world.connect("forge", None).await;
    let link = world.link(&connection, &repo).await;
    make_syncs(&world, &link, 0..2_000, Some("FILE_CHANGE")).await;
    // The first of them is worked on within the tick that reads the branch.
    assert!(look(&world).await >= 1_999);
    world.work().await;

    faults.clear();
    repo.commit(&file(777), deployment("two")).await;
    world.settle().await;
    assert_eq!(passed(&faults, "cloudformation.CreateChangeSet"), 1, "one plan");
    assert_eq!(passed(&faults, "store.open_attempt"), 1, "one attempt");
    assert_eq!(passed(&faults, "git.heads"), 1);
    assert!(passed(&faults, "git.read_blob") <= 4, "what the one stack needs");
    let newest = world.attempt_rows(&stack(777)).await.pop().expect("an attempt");
    assert_eq!((newest.status, newest.target_revision.sha), (AttemptStatus::Succeeded, repo.head().await));
    let untouched = world.attempt_rows(&stack(778)).await;
    assert_eq!(untouched.len(), 1);

    // Those that were passed over are known at the newest commit all the same.
    repo.commit("elsewhere", "x").await;
    assert_eq!(poll(&world).await, 0);
}

#[tokio::test]
async fn a_commit_costs_as_many_statements_whatever_the_number_of_syncs_it_does_not_touch() {
    let mut costs = BTreeSet::new();
    for count in [2, 40, 400] {
        let (world, _) = counting().await;
        let repo = world.repository("acme/infra").await;
        commit_all(&repo, count).await;
        let connection = world.connect("forge", None).await;
        let link = world.link(&connection, &repo).await;
        make_syncs(&world, &link, 0..count, Some("FILE_CHANGE")).await;
        look(&world).await;
        world.work().await;
        repo.commit("elsewhere", "x").await;
        let before = world.parts().store.statements();
        assert_eq!(poll(&world).await, 0);
        costs.insert(world.parts().store.statements() - before);
    }
    assert_eq!(costs.len(), 1, "{costs:?}");
}

#[tokio::test]
async fn a_poll_without_news_costs_as_many_statements_whatever_the_number_of_syncs() {
    let mut costs = BTreeSet::new();
    for count in [1, 30, 300] {
        let (world, faults) = counting().await;
        let repo = world.repository("acme/infra").await;
        commit_all(&repo, count).await;
        let connection = world.connect("forge", None).await;
        let link = world.link(&connection, &repo).await;
        make_syncs(&world, &link, 0..count, None).await;
        look(&world).await;
        world.work().await;
        faults.clear();
        let before = world.parts().store.statements();
        assert_eq!(poll(&world).await, 0);
        costs.insert(world.parts().store.statements() - before);
        assert_eq!(passed(&faults, "git.heads"), 1);
        assert_eq!(passed(&faults, "store.record_heads"), 0, "nothing is written");
    }
    assert_eq!(costs.len(), 1, "{costs:?}");
}

#[tokio::test]
async fn a_thousand_syncs_on_one_repository_make_one_remote_call_a_poll() {
    let (world, faults) = counting().await;
    let repo = world.repository("acme/infra").await;
    commit_all(&repo, 1_000).await;
    for number in 0..10 {
        let connection = world.connect(&format!("forge-{number}"), None).await;
        let link = world.link(&connection, &repo).await;
        make_syncs(&world, &link, number * 100..(number + 1) * 100, None).await;
        // So that the links are not due together to begin with.
        world.clock.advance_ms(1_700);
        look(&world).await;
    }
    world.work().await;
    poll(&world).await;
    let mut calls = Vec::new();
    for _ in 0..5 {
        faults.clear();
        assert_eq!(poll(&world).await, 0);
        calls.push(passed(&faults, "git.heads"));
    }
    assert_eq!(calls, [1; 5]);

    // And all of them are told.
    repo.commit("elsewhere", "x").await;
    faults.clear();
    // But for the one that is worked on within each tick that reads a branch.
    assert!(poll(&world).await >= 990, "every sync wants every commit");
    assert_eq!(passed(&faults, "git.heads"), 1);
}

#[tokio::test]
async fn a_link_that_is_woken_is_not_told_what_was_known_before() {
    let (world, faults) = counting().await;
    let repo = world.repository("acme/infra").await;
    commit_all(&repo, 2).await;
    for number in 0..2 {
        let connection = world.connect(&format!("forge-{number}"), None).await;
        let link = world.link(&connection, &repo).await;
        make_syncs(&world, &link, number..number + 1, None).await;
    }
    world.work().await;
    world.settle().await;
    world.clock.advance_ms(20_000);
    repo.commit(&file(1), deployment("two")).await;
    faults.clear();
    let store = &world.parts().store;
    let woken = store.sync_now(&world.scope(), "CFN_STACK_SYNC", &stack(1), Change::unrecorded()).await;
    assert_eq!(woken.expect("written"), Some(Ok(())));
    // Sixty seconds did not pass: nobody but the woken link asks.
    world.tick().await;
    assert_eq!(passed(&faults, "git.heads"), 1);
    look(&world).await;
    let desired = async |number| {
        let newest = world.attempt_rows(&stack(number)).await.pop().expect("an attempt");
        newest.target_revision.sha
    };
    assert_eq!(desired(1).await, repo.head().await, "it was told at once");
    assert_ne!(desired(0).await, repo.head().await);
    // The other link's poll is told what the woken one found.
    world.clock.advance_ms(40_000);
    look(&world).await;
    assert_eq!(desired(0).await, repo.head().await);
    assert_eq!(passed(&faults, "git.heads"), 1, "one call served both");
}

#[tokio::test]
async fn links_with_other_credentials_ask_for_themselves() {
    let (world, faults) = counting().await;
    let repo = world.repository("acme/infra").await;
    commit_all(&repo, 4).await;
    repo.require_tokens(&["one", "two"]);
    for (number, token) in ["one", "two", "one"].into_iter().enumerate() {
        let connection = world.connect(&format!("forge-{number}"), Some(token)).await;
        let link = world.link(&connection, &repo).await;
        make_syncs(&world, &link, number..number + 1, None).await;
    }
    look(&world).await;
    world.work().await;
    poll(&world).await;
    faults.clear();
    poll(&world).await;
    assert_eq!(passed(&faults, "git.heads"), 2, "one call for each credential");

    // A token that is refused is nobody else's trouble.
    repo.require_tokens(&["one"]);
    repo.commit("elsewhere", "x").await;
    poll(&world).await;
    poll(&world).await;
    let listed = world.client.list_connections().send().await.expect("a listing");
    let refused: Vec<_> = listed
        .connections()
        .iter()
        .filter(|connection| connection.connection_status().is_some_and(|status| status.as_str() == "ERROR"))
        .filter_map(|connection| connection.connection_name())
        .collect();
    assert_eq!(refused, ["forge-1"]);
    let told = async |number| world.attempt_rows(&stack(number)).await.len();
    assert_eq!((told(0).await, told(1).await, told(2).await), (2, 1, 2));
}

#[tokio::test]
async fn a_commit_that_many_syncs_want_is_read_for_all_of_them_at_once() {
    let (world, faults) = counting().await;
    let repo = world.repository("acme/infra").await;
    commit_all(&repo, 40).await;
    let connection = world.connect("forge", None).await;
    let link = world.link(&connection, &repo).await;
    make_syncs(&world, &link, 0..40, None).await;
    let reads = || ["git.read_tree", "git.read_blob"].map(|point| passed(&faults, point));
    faults.clear();
    world.work().await;
    for number in [0, 39] {
        let newest = world.attempt_rows(&stack(number)).await.pop().expect("an attempt");
        assert_eq!(newest.status, AttemptStatus::Succeeded);
    }
    assert_eq!(reads(), [1, 2], "the entries; the deployment files, and the template with them");

    // Only the trees are compared; whatever was read before is what it was.
    faults.clear();
    repo.commit("elsewhere", "x").await;
    world.settle().await;
    let newest = world.attempt_rows(&stack(20)).await.pop().expect("an attempt");
    assert_eq!((newest.status, newest.target_revision.sha), (AttemptStatus::Succeeded, repo.head().await));
    assert_eq!(reads(), [0, 1]);
}

#[tokio::test]
async fn polls_beyond_the_budget_of_a_host_are_spread() {
    let faults = Faults::none();
    let plan = Arc::clone(&faults) as _;
    let world = World::configured(plan, |config| config.limits.remote_polls_per_second = 1).await;
    let mut repos = Vec::new();
    for number in 0..5 {
        let repo = world.repository(&format!("acme/repo-{number}")).await;
        commit_all(&repo, number + 1).await;
        let connection = world.connect(&format!("forge-{number}"), None).await;
        let link = world.link(&connection, &repo).await;
        make_syncs(&world, &link, number..number + 1, None).await;
        repos.push(repo);
    }
    faults.clear();
    look(&world).await;
    assert_eq!(passed(&faults, "git.heads"), 5, "who is woken does not wait for a poll's turn");
    world.work().await;
    world.clock.advance_ms(60_000);
    let mut calls = Vec::new();
    for _ in 0..6 {
        faults.clear();
        look(&world).await;
        calls.push(passed(&faults, "git.heads"));
        world.clock.advance_ms(1_000);
    }
    assert_eq!(calls.iter().sum::<usize>(), 5, "{calls:?}");
    assert!(calls.iter().all(|calls| *calls <= 2), "{calls:?}");
    // They stay apart.
    world.clock.advance_ms(60_000 - 6_000);
    faults.clear();
    look(&world).await;
    assert!(passed(&faults, "git.heads") <= 2);
}

#[tokio::test]
async fn an_index_of_a_commit_that_is_lost_does_no_harm() {
    let (world, _) = counting().await;
    let repo = world.repository("acme/infra").await;
    commit_all(&repo, 2).await;
    let connection = world.connect("forge", None).await;
    let link = world.link(&connection, &repo).await;
    make_syncs(&world, &link, 0..2, Some("FILE_CHANGE")).await;
    look(&world).await;
    world.work().await;
    let attempts =
        async || [world.attempt_rows(&stack(0)).await.len(), world.attempt_rows(&stack(1)).await.len()];

    std::fs::remove_dir_all(world.data_dir().join("git-cache")).expect("the cache is disposable");
    repo.commit(&file(1), deployment("two")).await;
    world.settle().await;
    assert_eq!(attempts().await, [1, 2]);

    // The same files without a common history, and the old one forgotten by the host.
    let (one, two, template) = (deployment("one"), deployment("three"), template(""));
    let (first, second) = (file(0), file(1));
    let whole = [
        Edit::File(&first, one.as_bytes()),
        Edit::File(&second, two.as_bytes()),
        Edit::File("template.yaml", template.as_bytes()),
    ];
    repo.rewrite(&whole).await;
    repo.prune().await;
    world.settle().await;
    assert_eq!(attempts().await, [1, 3]);
}

/// What the paths of a random story may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Nothing,
    File(u8),
    Link,
    Directory(u8),
}

/// Every random commit wakes just the syncs of which a file, as (path, content), differs from what they wanted last.
#[tokio::test]
async fn whatever_a_commit_changes_it_wakes_just_whom_it_concerns() {
    const SYNCS: usize = 4;
    const TEMPLATES: [&str; 3] = ["a/template.yaml", "b/template.yaml", "a/b"];
    let (world, _) = counting().await;
    let repo = world.repository("acme/infra").await;
    // Which template each deployment file names, if it is one; what is at each template's path.
    let mut deployments: [Option<(usize, u8)>; SYNCS] = [Some((0, 0)); SYNCS];
    let mut templates = [At::File(0), At::File(0), At::Nothing];
    let content = |(template, version): (usize, u8)| {
        format!("template-file-path: {}\nparameters:\n  Version: v{version}\n", TEMPLATES[template])
    };
    let mut random = fastrand::Rng::with_seed(7);
    let mut wanted: BTreeMap<usize, String> = BTreeMap::new();
    let files: Vec<String> = (0..SYNCS).map(file).collect();
    let (first, text) = (content((0, 0)), [0]);
    let mut all: Vec<Edit<'_>> = files.iter().map(|file| Edit::File(file, first.as_bytes())).collect();
    all.extend([Edit::File(TEMPLATES[0], &text), Edit::File(TEMPLATES[1], &text)]);
    repo.change(&all).await;
    let connection = world.connect("forge", None).await;
    let link = world.link(&connection, &repo).await;
    make_syncs(&world, &link, 0..SYNCS, Some("FILE_CHANGE")).await;
    look(&world).await;
    world.work().await;
    let inputs = |deployments: &[Option<(usize, u8)>; SYNCS], templates: &[At; 3], sync: usize| {
        let at = match deployments[sync] {
            None => return "none".to_owned(),
            Some((template, version)) => (
                template,
                version,
                match templates[template] {
                    At::Directory(_) => At::Directory(0),
                    at => at,
                },
            ),
        };
        format!("{at:?}")
    };
    for sync in 0..SYNCS {
        wanted.insert(sync, inputs(&deployments, &templates, sync));
    }
    let newest =
        async |sync| world.attempt_rows(&stack(sync)).await.pop().expect("an attempt").target_revision.sha;
    for step in 0..40_u8 {
        for _ in 0..random.usize(1..=2) {
            if random.bool() {
                let sync = random.usize(0..SYNCS);
                let next = (random.u8(0..4) > 0).then(|| (random.usize(0..3), random.u8(0..2)));
                deployments[sync] = next;
                match next {
                    Some(next) => repo.commit(&files[sync], content(next)).await,
                    None => repo.change(&[Edit::Remove(&files[sync])]).await,
                };
            } else {
                let template = random.usize(0..3);
                let path = TEMPLATES[template];
                let below = format!("{path}/below");
                let version = [random.u8(0..3)];
                let next = match random.u8(0..6) {
                    0 => At::Nothing,
                    1 => At::Link,
                    2 => At::Directory(step),
                    _ => At::File(version[0]),
                };
                templates[template] = next;
                let removed = Edit::Remove(path);
                let change = match next {
                    At::Nothing => vec![removed],
                    At::Link => vec![removed, Edit::Symlink(path, "elsewhere")],
                    At::Directory(_) => vec![removed, Edit::File(&below, std::slice::from_ref(&step))],
                    At::File(_) => vec![removed, Edit::File(path, &version)],
                };
                repo.change(&change).await;
            }
        }
        if random.u8(0..8) == 0 {
            std::fs::remove_dir_all(world.data_dir().join("git-cache")).expect("the cache is disposable");
        }
        poll(&world).await;
        world.work().await;
        let head = repo.head().await;
        for sync in 0..SYNCS {
            let now = inputs(&deployments, &templates, sync);
            let is_concerned = wanted.insert(sync, now.clone()).as_ref() != Some(&now);
            assert_eq!(newest(sync).await == head, is_concerned, "step {step}, sync {sync}: {now}");
        }
    }
}
