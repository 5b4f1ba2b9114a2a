//! Pull requests, and what their comments say of a merge.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_sdk_codeconnections::types::{PullRequestComment, SyncConfigurationType};
use axum::body::Body;
use hmac::{Hmac, Mac as _};
use http::{Method, Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use sha2::Sha256;
use syncline::server;
use syncline_cloudformation_sim::Simulator;
use syncline_seams::{Clock as _, Faults, Injected, Moment};
use syncline_testkit::forge::Fault;
use syncline_testkit::repository::Repository;
use syncline_testkit::world::{ACCOUNT, REGION, ROLE, World};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use super::forges::{CANARY, PROVIDERS, Provider, Scene, named};
use super::{deployment, template};

/// How long nobody asks for pull requests unless an event says so, in milliseconds.
const LOOKS_APART_MS: i64 = 5 * 60_000;

/// A scene whose sync `web` is at rest and comments on pull requests.
pub(super) async fn commented(provider: Provider, world: World) -> Scene {
    let scene = Scene::of(provider, world).await;
    let (status, answer) = scene.authorize(CANARY).await;
    assert_eq!(status, 200, "{answer}");
    let link = scene.world.link(&scene.connection, &scene.repo).await;
    comment_for(&scene.world, &link, "web", "prod.yaml").await;
    scene.world.settle().await;
    assert_eq!(scene.world.attempts("web", &scene.repo).await, "SUCCEEDED   commit 1\n");
    scene
}

/// Makes a sync with comments.
pub(super) async fn comment_for(world: &World, link: &str, stack: &str, file: &str) {
    world
        .client
        .create_sync_configuration()
        .sync_type(SyncConfigurationType::CfnStackSync)
        .resource_name(stack)
        .repository_link_id(link)
        .branch("main")
        .config_file(file)
        .role_arn(ROLE)
        .pull_request_comment(PullRequestComment::Enabled)
        .send()
        .await
        .expect("a sync configuration");
}

/// Lets the time between two looks pass, and whatever follows from them.
pub(super) async fn look(world: &World) {
    world.clock.advance_ms(LOOKS_APART_MS);
    world.work().await;
}

/// What the comments say without what is neutralised in them, each with how often it was edited; without the marker.
pub(super) fn told(scene: &Scene) -> Vec<(String, usize)> {
    let text = |body: &str| {
        let (first, rest) = body.split_once('\n').expect("a marker's line");
        assert!(first.contains("syncline-preview "), "{body}");
        rest.trim_start().replace('\u{200b}', "")
    };
    scene.forge.comments().iter().map(|comment| (text(&comment.body), comment.edits)).collect()
}

/// The only comment.
pub(super) fn only(scene: &Scene) -> (String, usize) {
    let mut told = told(scene);
    assert_eq!(told.len(), 1, "{told:#?}");
    told.remove(0)
}

pub(super) fn change_sets(simulator: &Simulator, stack: &str) -> Vec<String> {
    let stack = simulator.stack(ACCOUNT, REGION, stack);
    let names = stack.map(|stack| stack.change_sets).unwrap_or_default();
    names.into_iter().filter(|name| name.starts_with("preview-")).collect()
}

/// A branch of a pull request with a change of the deployment file.
pub(super) async fn branch(repo: &Repository, name: &str, value: &str) -> Repository {
    let branch = repo.branch(name).await;
    branch.commit("prod.yaml", deployment(value)).await;
    branch
}

#[tokio::test]
async fn a_pull_request_of_any_forge_is_told_what_its_merge_would_change_and_what_became_of_it() {
    for provider in PROVIDERS {
        let scene = commented(*provider, World::start().await).await;
        let (world, repo) = (&scene.world, &scene.repo);
        let feature = branch(repo, "feature", "two").await;
        let number = scene.forge.open_pull(&feature, repo).await;
        look(world).await;
        let (text, edits) = only(&scene);
        assert!(text.contains("would leave **1 modified**"), "{provider:?}: {text}");
        assert!(text.contains("-   DisplayName: one\n+   DisplayName: two\n"), "{provider:?}: {text}");
        assert_eq!(text.contains("<details>"), provider.name != "Bitbucket", "{text}");
        assert_eq!(edits, 0);
        assert_eq!(change_sets(&world.simulator, "web"), [""; 0], "none is left");
        assert_eq!(world.executions("web"), 1, "nothing is executed but the sync");

        // A push is told in the same comment.
        feature.commit("prod.yaml", deployment("three")).await;
        scene.forge.push_to_pull(number, &feature, repo).await;
        look(world).await;
        let (text, edits) = only(&scene);
        assert!(text.contains("+   DisplayName: three\n"), "{provider:?}: {text}");
        assert_eq!(edits, 1);

        // Merged, and synced.
        repo.commit("prod.yaml", deployment("three")).await;
        scene.forge.set_pull(number, "merged");
        look(world).await;
        look(world).await;
        let (text, _) = only(&scene);
        assert!(text.contains("**merged and synced**"), "{provider:?}: {text}");
        assert_eq!(world.executions("web"), 2);
        assert_eq!(change_sets(&world.simulator, "web"), [""; 0], "none is left");
        super::forges::is_nowhere(world, CANARY);
    }
}

#[tokio::test]
async fn a_pull_request_that_touches_the_files_no_more_is_told_so_and_one_that_never_did_is_told_nothing() {
    let scene = commented(named("GitHub"), World::start().await).await;
    let (world, repo) = (&scene.world, &scene.repo);
    let other = repo.branch("docs").await;
    other.commit("README.md", "words").await;
    scene.forge.open_pull(&other, repo).await;
    let feature = branch(repo, "feature", "two").await;
    let number = scene.forge.open_pull(&feature, repo).await;
    // What is on the branch since then is none of the pull request's doing.
    repo.commit("prod.yaml", deployment("one and a half")).await;
    world.settle().await;
    look(world).await;
    let (text, _) = only(&scene);
    assert!(text.contains("The branch has changed `prod.yaml` as well"), "{text}");
    feature.commit("prod.yaml", deployment("one")).await;
    scene.forge.push_to_pull(number, &feature, repo).await;
    look(world).await;
    let (text, edits) = only(&scene);
    assert!(text.contains("**does not touch** the stack's files any more"), "{text}");
    assert_eq!(edits, 1);
    feature.commit("prod.yaml", deployment("four")).await;
    scene.forge.push_to_pull(number, &feature, repo).await;
    look(world).await;
    assert!(only(&scene).0.contains("+   DisplayName: four\n"));
    scene.forge.set_pull(number, "closed");
    look(world).await;
    assert!(only(&scene).0.contains("**closed without a merge**"), "{:?}", only(&scene));
    // Closed is not the end.
    scene.forge.set_pull(number, "open");
    look(world).await;
    assert!(only(&scene).0.contains("+   DisplayName: four\n"), "{:?}", only(&scene));
    assert_eq!(change_sets(&world.simulator, "web"), [""; 0]);
}

#[tokio::test]
async fn a_stack_that_is_not_there_is_previewed_from_its_template_and_not_made() {
    let scene = commented(named("Gitea"), World::start().await).await;
    let (world, repo) = (&scene.world, &scene.repo);
    let links = world.client.list_repository_links().send().await.expect("links");
    let link = links.repository_links()[0].repository_link_id().to_owned();
    comment_for(world, &link, "new", "new.yaml").await;
    world.settle().await;
    let feature = repo.branch("feature").await;
    feature.commit("new.yaml", deployment("x")).await;
    scene.forge.open_pull(&feature, repo).await;
    look(world).await;
    let (text, _) = only(&scene);
    assert!(text.contains("stack `new`") && text.contains("would **make the stack**"), "{text}");
    assert!(text.contains("| `Topic` | `AWS::SNS::Topic` |"), "{text}");
    assert!(world.simulator.stack(ACCOUNT, REGION, "new").is_none(), "nothing was made, not even for review");
}

#[tokio::test]
async fn a_fork_is_not_looked_at_unless_that_is_switched_on() {
    for (provider, is_on) in PROVIDERS.iter().flat_map(|provider| [(provider, false), (provider, true)]) {
        let world = World::configured(Faults::none(), |config| config.previews.forks = is_on).await;
        let scene = commented(*provider, world).await;
        let (world, repo) = (&scene.world, &scene.repo);
        let fork = branch(repo, "patch-1", "two").await;
        scene.forge.open_pull_as(&fork, repo, true).await;
        world.git.clear_log();
        look(world).await;
        if is_on {
            assert!(only(&scene).0.contains("+   DisplayName: two\n"), "{provider:?}");
            continue;
        }
        assert_eq!(told(&scene), [], "{provider:?}");
        let asked =
            world.simulator.calls().into_iter().filter(|call| call.action == "CreateChangeSet").count();
        assert_eq!(asked, 1, "{provider:?}: the sync's own");
        let asked = scene.forge.asked();
        assert!(asked.iter().all(|asked| !asked.contains("/compare/")), "{asked:?}");
    }
}

#[tokio::test]
async fn templates_with_macros_are_not_previewed_unless_that_is_switched_on() {
    for is_on in [false, true] {
        let world = World::configured(Faults::none(), |config| config.previews.macros = is_on).await;
        let scene = commented(named("GitLab"), world).await;
        let (world, repo) = (&scene.world, &scene.repo);
        let feature = repo.branch("feature").await;
        feature.commit("template.yaml", format!("Transform: Mine\n{}", template(""))).await;
        scene.forge.open_pull(&feature, repo).await;
        look(world).await;
        let (text, _) = only(&scene);
        let expected = if is_on {
            "**would fail**"
        } else {
            "**not previewed**, because its template calls macros (`Mine`)"
        };
        assert!(text.contains(expected), "{text}");
        assert_eq!(change_sets(&world.simulator, "web"), [""; 0]);
    }
}

#[tokio::test]
async fn secrets_of_a_stack_are_in_no_comment() {
    let scene = commented(named("GitHub"), World::start().await).await;
    let (world, repo) = (&scene.world, &scene.repo);
    let template = "Parameters:\n  Name:\n    Type: String\n  Secret:\n    Type: String\n    NoEcho: true\nResources:\n  Topic:\n    \
        Type: AWS::SNS::Topic\n    Properties:\n      DisplayName: !Sub '${Name} ${Secret}'\n      KmsMasterKeyId: '{{resolve:ssm:/key}}'\n";
    let with = |name: &str, secret: &str| format!("{}  Secret: {secret}\n", deployment(name));
    repo.commit_files(&[("template.yaml", template), ("prod.yaml", &with("one", "canary-of-the-live"))])
        .await;
    world.settle().await;
    let feature = repo.branch("feature").await;
    let plain = template.replace("!Sub '${Name} ${Secret}'", "plain").replace("{{resolve:ssm:/key}}", "key");
    feature
        .commit_files(&[("template.yaml", &plain), ("prod.yaml", &with("two", "canary-of-the-head"))])
        .await;
    scene.forge.open_pull(&feature, repo).await;
    look(world).await;
    let (text, _) = only(&scene);
    assert!(text.contains("-   DisplayName: (hidden)\n+   DisplayName: (hidden)\n"), "{text}");
    assert!(text.contains("KmsMasterKeyId: (hidden)"), "{text}");
    assert!(text.contains("-   Name: one\n+   Name: two\n"), "a parameter that is no secret: {text}");
    assert!(!text.contains("canary") && !text.contains("resolve"), "{text}");
    let (_, whole) = shown(&scene, "").await;
    assert!(whole.contains("-   Name: one\n+   Name: two\n"), "{whole}");
    assert!(!whole.contains("canary") && !whole.contains("resolve"), "{whole}");
}

/// The previews that a query finds, and the whole text of the newest.
async fn shown(scene: &Scene, query: &str) -> (Vec<Value>, String) {
    let (status, listed) = scene.world.rest("GET", &format!("/previews?{query}"), &Value::Null).await;
    assert_eq!(status, 200, "{listed}");
    let previews = listed["previews"].as_array().expect("a list").clone();
    let Some(newest) = previews.first() else { return (previews, String::new()) };
    let id = newest["id"].as_str().expect("an id");
    let (status, one) = scene.world.rest("GET", &format!("/previews/{id}"), &Value::Null).await;
    assert_eq!((status, &one["sync"]), (200, &newest["sync"]), "{one}");
    assert!(newest.get("text").is_none(), "a list has no texts: {newest}");
    let text = one["text"].as_str().unwrap_or_default().to_owned();
    assert!(!text.contains("syncline-preview"), "{text}");
    (previews, text)
}

#[tokio::test]
async fn what_a_comment_leaves_out_is_read_in_the_whole_preview_that_it_leads_to() {
    for provider in ["GitHub", "Bitbucket"] {
        let world = World::configured(Faults::none(), |config| {
            config.public_url = Some("https://syncline.example".to_owned());
        })
        .await;
        let scene = commented(named(provider), world).await;
        let (world, repo) = (&scene.world, &scene.repo);
        assert_eq!(shown(&scene, "").await.0, [Value::Null; 0], "{provider}");
        // More than any comment has room for, and among it a value that is longer than is shown there.
        let topics = |count: usize| -> String {
            let name = "a-name-that-takes-its-place-".repeat(3);
            (0..count)
                .map(|number| format!("  {name}{number}:\n    Type: AWS::SNS::Topic\n").replace('-', ""))
                .collect()
        };
        let feature = repo.branch("feature").await;
        feature.commit("template.yaml", template(&topics(400))).await;
        let number = scene.forge.open_pull(&feature, repo).await;
        look(world).await;
        let (comment, _) = only(&scene);
        assert!(
            comment.len() <= 30_000 && comment.contains("more lines are left out"),
            "{provider}: {comment}"
        );
        let (previews, whole) = shown(&scene, &format!("sync=web&pullRequest={number}")).await;
        let id = previews[0]["id"].as_str().expect("an id");
        let link = format!("https://syncline.example/#{REGION}/web/{id}");
        assert!(
            comment
                .contains(&format!("[the whole preview]({link}), which `syncline preview show {id}` prints")),
            "{comment}"
        );
        let name = "anamethattakesitsplace".repeat(3);
        for number in 0..400 {
            assert!(whole.contains(&format!("`{name}{number}`")), "{provider}: {number} is missing");
        }
        assert!(whole.contains("would leave **400 added**") && !whole.contains("left out"), "{provider}");
        let state = |preview: &Value| (preview["pullRequestState"].clone(), preview["status"].clone());
        assert_eq!(state(&previews[0]), (json!("OPEN"), json!("CURRENT")));
        assert_eq!(previews[0]["repository"], json!("acme/infra"));

        // What fits needs no other text.
        feature.commit("template.yaml", template(&topics(1))).await;
        scene.forge.push_to_pull(number, &feature, repo).await;
        look(world).await;
        let (comment, _) = only(&scene);
        let (previews, whole) = shown(&scene, "sync=web").await;
        assert_eq!(comment, whole.replace('\u{200b}', ""), "{provider}");
        assert!(whole.contains("would leave **1 added**"), "{provider}: {whole}");
        assert_eq!(previews.len(), 1);
        scene.forge.set_pull(number, "closed");
        look(world).await;
        let (previews, whole) = shown(&scene, "").await;
        assert_eq!(state(&previews[0]), (json!("CLOSED"), json!("ENDED")));
        assert!(whole.contains("closed without a merge"), "{whole}");

        // Another sync's, another number's and an unknown one.
        assert_eq!(shown(&scene, "sync=other").await.0, [Value::Null; 0]);
        assert_eq!(shown(&scene, "pullRequest=4711").await.0, [Value::Null; 0]);
        let (status, answer) = world.rest("GET", "/previews/preview-none", &Value::Null).await;
        assert_eq!(status, 404, "{answer}");
        let (status, answer) = world.rest("GET", "/previews?sync=a%2Fb", &Value::Null).await;
        assert_eq!((status, &answer["code"]), (400, &json!("ValidationException")), "{answer}");
    }
}

#[tokio::test]
async fn previews_are_listed_page_by_page_the_newest_first() {
    let scene = commented(named("GitHub"), World::start().await).await;
    let (world, repo) = (&scene.world, &scene.repo);
    for number in 0..3 {
        let feature = branch(repo, &format!("feature-{number}"), &format!("value-{number}")).await;
        scene.forge.open_pull(&feature, repo).await;
        look(world).await;
    }
    let (mut after, mut numbers) = (String::new(), Vec::new());
    for _ in 0..3 {
        let (status, page) = world.rest("GET", &format!("/previews?limit=1{after}"), &Value::Null).await;
        assert_eq!((status, page["previews"].as_array().map(Vec::len)), (200, Some(1)), "{page}");
        numbers.push(page["previews"][0]["pullRequest"].as_i64().expect("a number"));
        after = match page["next"].as_str() {
            Some(next) => format!("&after={next}"),
            None => String::new(),
        };
    }
    assert_eq!(after, "", "the last page says so");
    assert!(numbers[0] > numbers[1] && numbers[1] > numbers[2], "{numbers:?}");
}

#[tokio::test]
async fn a_preview_is_made_again_when_the_stack_changed() {
    let scene = commented(named("GitHub"), World::start().await).await;
    let (world, repo) = (&scene.world, &scene.repo);
    let feature = repo.branch("feature").await;
    feature.commit("template.yaml", template("  Queue:\n    Type: AWS::SQS::Queue\n")).await;
    scene.forge.open_pull(&feature, repo).await;
    look(world).await;
    assert!(only(&scene).0.contains("would leave **1 added**"), "{:?}", only(&scene));
    // The sync brings the same by another way.
    repo.commit(
        "template.yaml",
        template("  Queue:\n    Type: AWS::SQS::Queue\n  More:\n    Type: AWS::SNS::Topic\n"),
    )
    .await;
    world.settle().await;
    look(world).await;
    assert!(only(&scene).0.contains("would leave **1 removed**"), "{:?}", only(&scene));
}

#[tokio::test]
async fn a_preview_gives_way_to_its_sync() {
    let faults = Faults::none();
    let scene = commented(named("GitHub"), World::with_faults(faults.clone()).await).await;
    let (world, repo) = (&scene.world, &scene.repo);
    let feature = branch(repo, "feature", "two").await;
    scene.forge.open_pull(&feature, repo).await;
    world.clock.advance_ms(LOOKS_APART_MS);
    // Until the change set of the preview is there.
    for _ in 0..200 {
        if !change_sets(&world.simulator, "web").is_empty() {
            break;
        }
        if !world.tick().await {
            world.clock.advance_ms(200);
        }
    }
    assert_eq!(change_sets(&world.simulator, "web").len(), 1);
    let before_ms = world.clock.now_ms();
    repo.commit("prod.yaml", deployment("three")).await;
    world.clock.advance_ms(60_000);
    world.work_until("web", "EXECUTION_STARTED").await;
    assert!(told(&scene).is_empty(), "the sync came first");
    assert!(world.clock.now_ms() - before_ms < 70_000, "it waited for a poll at the most");
    world.work().await;
    look(world).await;
    assert_eq!(world.executions("web"), 2);
    assert!(only(&scene).0.contains("-   DisplayName: three\n+   DisplayName: two\n"), "{:?}", only(&scene));
    assert_eq!(change_sets(&world.simulator, "web"), [""; 0]);
}

/// A pull request that is opened, pushed to and merged, with the fault of `plan` somewhere in it; the ending.
async fn tell(plan: Arc<Faults>) -> String {
    plan.hold();
    let scene = commented(named("GitHub"), World::with_faults(Arc::clone(&plan) as _).await).await;
    let (world, repo) = (&scene.world, &scene.repo);
    let feature = branch(repo, "feature", "two").await;
    let number = scene.forge.open_pull(&feature, repo).await;
    plan.resume();
    look(world).await;
    feature.commit("prod.yaml", deployment("three")).await;
    scene.forge.push_to_pull(number, &feature, repo).await;
    look(world).await;
    repo.commit("prod.yaml", deployment("three")).await;
    scene.forge.set_pull(number, "merged");
    for _ in 0..4 {
        look(world).await;
    }
    let comments = told(&scene);
    let newest = comments.last().map(|(text, _)| text.lines().next().unwrap_or_default().to_owned());
    let stack = world.simulator.stack(ACCOUNT, REGION, "web").expect("the stack");
    let executed: BTreeSet<_> =
        world.simulator.executions().into_iter().map(|execution| execution.change_set_name).collect();
    let of_previews = executed.iter().filter(|name| name.starts_with("preview-")).count();
    format!(
        "{} comments: {}\n{} of {:?}, {} executed, {of_previews} of previews, {:?} left",
        comments.len(),
        newest.unwrap_or_default().split(&repo.head().await[..7]).next().unwrap_or_default(),
        stack.status,
        stack.parameters,
        executed.len(),
        change_sets(&world.simulator, "web"),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_fails_a_pull_request_has_one_comment_and_leaves_no_change_set() {
    let recorder = Faults::none();
    let ending = tell(Arc::clone(&recorder)).await;
    assert_eq!(
        ending,
        "1 comments: **Syncline** · stack `web` in `eu-central-1` · **merged and synced**: the stack is at `\n\
         UPDATE_COMPLETE of [(\"Name\", \"three\")], 2 executed, 0 of previews, [] left"
    );
    let passings = recorder.seen();
    let points: BTreeSet<&str> = passings.iter().map(|(point, _)| *point).collect();
    for point in [
        "cloudformation.DeleteChangeSet",
        "cloudformation.GetTemplate",
        "forges.create_comment",
        "forges.list_comments",
        "forges.list_pulls",
        "forges.merge_base",
        "forges.pull",
        "forges.update_comment",
        "store.record_preview_change_set",
        "store.record_preview_phase",
        "store.record_preview_plan",
        "store.record_preview_told",
        "store.record_pull_request",
        "store.record_sent",
    ] {
        assert!(points.contains(point), "the story passes {point}: {points:?}");
    }
    let mut counts: BTreeMap<(&str, Moment), usize> = BTreeMap::new();
    let mut tellings = JoinSet::new();
    for (index, (point, moment)) in passings.into_iter().enumerate() {
        let count = counts.entry((point, moment)).or_default();
        *count += 1;
        // What every sync passes is made to fail elsewhere.
        let ours = ["forges.", "cloudformation.", "store.record_p", "store.record_sent", "git.fetch"];
        if *count > 2 || !ours.iter().any(|ours| point.starts_with(ours)) {
            continue;
        }
        let ways: &[Injected] =
            if moment == Moment::Before { &[Injected::Fail] } else { &[Injected::Fail, Injected::TimeOut] };
        for way in ways {
            if tellings.len() >= 4 {
                tellings.join_next().await.expect("one runs").expect("it ends alike");
            }
            let (way, ending) = (*way, ending.clone());
            tellings.spawn(async move {
                let faults = Faults::none();
                faults.inject_nth(index, way);
                let again = tell(faults).await;
                assert_eq!(again, ending, "{way:?} {moment:?} {point} (passing {index})");
            });
        }
    }
    while let Some(told) = tellings.join_next().await {
        told.expect("it ends alike");
    }
}

#[tokio::test]
async fn a_forge_that_fails_is_told_the_comment_later_and_once() {
    let faults: &[Fault] = &[
        Fault::Status(401, &[], "Bad credentials"),
        Fault::Status(403, &[("x-ratelimit-remaining", "0"), ("retry-after", "30")], "rate limit"),
        Fault::Status(403, &[], "Resource not accessible"),
        Fault::Status(429, &[("retry-after", "30")], "slow down"),
        Fault::Status(500, &[], "sorry"),
        Fault::Html,
        Fault::HalfAnswer,
        Fault::LostAnswer,
    ];
    for name in ["GitHub", "GitLab", "Bitbucket", "AzureDevOps", "Gitea"] {
        // What only the forge's words differ in is tried with some of them.
        let all = if name == "GitHub" { faults } else { &faults[faults.len() - 3..] };
        for fault in all {
            let scene = commented(named(name), World::start().await).await;
            let (world, repo) = (&scene.world, &scene.repo);
            let feature = branch(repo, "feature", "two").await;
            scene.forge.open_pull(&feature, repo).await;
            scene.forge.fail_at(Method::POST, fault.clone());
            look(world).await;
            look(world).await;
            look(world).await;
            assert!(only(&scene).0.contains("+   DisplayName: two\n"), "{name} {fault:?}");
        }
    }
}

#[tokio::test]
async fn an_event_has_pull_requests_asked_for_at_once_and_is_not_believed() {
    let scene = commented(named("GitHub"), World::start().await).await;
    let (world, repo) = (&scene.world, &scene.repo);
    let links = world.client.list_repository_links().send().await.expect("links");
    let link = links.repository_links()[0].repository_link_id().to_owned();
    let (status, answer) = world.rest("POST", &format!("/repository-links/{link}/webhook"), &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    let feature = branch(repo, "feature", "two").await;
    scene.forge.open_pull(&feature, repo).await;
    let lie = json!({
        "action": "closed", "number": 999, "repository": { "full_name": "acme/infra" },
        "pull_request": { "merged": true, "head": { "sha": "f".repeat(40), "ref": "main" } },
    });
    let (status, outcome) = deliver(&scene, &answer, &lie).await;
    assert_eq!((status, outcome.as_str()), (202, "WOKE"));
    world.work().await;
    let (text, _) = only(&scene);
    assert!(text.contains("+   DisplayName: two\n"), "{text}");
    let of_another = json!({ "repository": { "full_name": "acme/other" } });
    assert_eq!(deliver(&scene, &answer, &of_another).await.1, "IGNORED");
}

/// Delivers an event of a pull request to the webhook; the status, and what came of it.
async fn deliver(scene: &Scene, webhook: &Value, body: &Value) -> (u16, String) {
    let body = body.to_string();
    let secret = webhook["secret"].as_str().expect("a secret");
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(body.as_bytes());
    let digits: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let url = webhook["url"].as_str().expect("a URL");
    let path = &url[url.find("/webhooks/").expect("a webhook's path")..];
    let request = Request::post(path)
        .header("x-github-event", "pull_request")
        .header("x-github-delivery", digits.clone())
        .header("x-hub-signature-256", format!("sha256={digits}"))
        .header("content-type", "application/json")
        .body(Body::from(body))
        .expect("a request");
    let router = server::router(Arc::clone(&scene.world.parts().front));
    let (parts, body) = router.oneshot(request).await.expect("infallible").into_parts();
    let body = body.collect().await.expect("in memory").to_bytes();
    let value: Value = serde_json::from_slice(&body).expect("JSON");
    (parts.status.as_u16(), value["outcome"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_comment_that_a_forge_will_not_have_is_given_up_visibly_and_the_next_is_tried() {
    let scene = commented(named("GitHub"), World::start().await).await;
    let (world, repo) = (&scene.world, &scene.repo);
    let feature = branch(repo, "feature", "two").await;
    let number = scene.forge.open_pull(&feature, repo).await;
    scene.forge.fail_at(Method::POST, Fault::Status(422, &[], "Validation Failed"));
    look(world).await;
    assert_eq!(told(&scene), []);
    let (status, answer) = world.rest("GET", "/outbox", &Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    let shown = answer.to_string();
    assert!(shown.contains("FAILED") && shown.contains("Validation Failed"), "{answer}");
    feature.commit("prod.yaml", deployment("three")).await;
    scene.forge.push_to_pull(number, &feature, repo).await;
    look(world).await;
    assert!(only(&scene).0.contains("+   DisplayName: three\n"));
    // Somebody deletes it: the next is a new one.
    scene.forge.delete_comment(scene.forge.comments()[0].id);
    feature.commit("prod.yaml", deployment("four")).await;
    scene.forge.push_to_pull(number, &feature, repo).await;
    look(world).await;
    assert!(only(&scene).0.contains("+   DisplayName: four\n"));
}
