//! What forges told while nobody listened: their deliveries failed and do not come again, and nothing is lost.

use std::sync::Arc;

use syncline_seams::{Clock as _, NoFaults};
use syncline_testkit::world::World;

use super::deployment;
use super::forges::{PROVIDERS, Scene};
use super::previews::commented;

/// How long the server is away, in milliseconds.
const AWAY_MS: i64 = 3 * 3_600_000;

/// How often a world's server asks for heads, in milliseconds.
const POLL_MS: i64 = 60_000;

#[tokio::test]
async fn what_a_forge_told_while_the_server_was_away_is_found_by_looking() {
    for provider in PROVIDERS {
        let scene = commented(*provider, World::start().await).await;
        let (forge, repo) = (&scene.forge, &scene.repo);
        let before = repo.branch("before").await;
        before.commit("prod.yaml", deployment("before")).await;
        let known = forge.open_pull(&before, repo).await;
        scene.world.clock.advance_ms(5 * 60_000);
        scene.world.work().await;
        assert_eq!(forge.comments().len(), 1, "{provider:?}");

        // Two pushes, a pull request that is closed, one that is opened, and one that comes and goes: each was delivered,
        // to nobody.
        repo.commit("prod.yaml", deployment("two")).await;
        repo.commit("prod.yaml", deployment("three")).await;
        forge.set_pull(known, "closed");
        let during = repo.branch("during").await;
        during.commit("prod.yaml", deployment("during")).await;
        forge.open_pull(&during, repo).await;
        let gone = repo.branch("gone").await;
        gone.commit("prod.yaml", deployment("gone")).await;
        let came_and_went = forge.open_pull(&gone, repo).await;
        forge.set_pull(came_and_went, "closed");
        scene.world.clock.advance_ms(AWAY_MS);

        let Scene { world, forge, repo, .. } = scene;
        let world = world.restart(Arc::new(NoFaults)).await;
        let back_ms = world.clock.now_ms();
        world.work().await;
        let took_ms = world.clock.now_ms() - back_ms;
        assert!(took_ms < POLL_MS, "{provider:?}: {took_ms} ms, so nobody waited for an interval of polling");
        let attempts = world.attempts("web", &repo).await;
        assert_eq!(attempts, "SUCCEEDED   commit 1\nSUCCEEDED   commit 4\n", "{provider:?}");
        let mut comments: Vec<_> = forge.comments().into_iter().map(|comment| comment.body).collect();
        comments.sort_by_key(|body| body.contains("DisplayName: during"));
        assert_eq!(comments.len(), 2, "{provider:?}: {comments:#?}");
        assert!(comments[0].contains("**closed without a merge**"), "{provider:?}: {comments:#?}");
        assert!(comments[1].contains("+   DisplayName: during"), "{provider:?}: {comments:#?}");
    }
}
