//! Each way a remote fails, and the decision it leaves to the caller.

use std::sync::{Arc, Mutex};

use syncline_git::{Git, GitError, Settings};
use syncline_seams::{FaultPlan, Injected, Moment, Outside};
use syncline_testkit::git_host::Fault;

use crate::world::{KEY, Way, World, both_ways, branch, http, id, impatient, path};

both_ways! {
    each_fault_of_a_remote_is_one_decision,
    a_repository_or_host_that_is_not_there,
    an_empty_repository_has_no_heads,
    a_server_that_hangs_is_cut_off_and_its_git_ends,
    force_pushed_and_pruned_commits_are_gone,
    deleted_branches_are_absent_and_return,
    every_operation_has_a_fault_point_on_either_side,
}

/// The variant's name: what the caller decides by.
fn decision<T: std::fmt::Debug>(result: Result<T, GitError>) -> &'static str {
    match result {
        Ok(_) => "Ok",
        Err(GitError::Unavailable { .. }) => "Unavailable",
        Err(GitError::Throttled { .. }) => "Throttled",
        Err(GitError::Unauthorized { .. }) => "Unauthorized",
        Err(GitError::RepositoryNotFound { .. }) => "RepositoryNotFound",
        Err(GitError::RefusedByPolicy { .. }) => "RefusedByPolicy",
        Err(GitError::CommitGone { .. }) => "CommitGone",
        Err(other) => panic!("no remote should cause {other:?}"),
    }
}

async fn each_fault_of_a_remote_is_one_decision(way: Way) {
    let world = World::start_by(way).await;
    let elsewhere = world.host.repository("evil/elsewhere").await;
    elsewhere.commit("a", "1").await;
    let cases = [
        (Fault::Status(401), "Unauthorized"),
        (Fault::Status(403), "Unauthorized"),
        (Fault::Status(404), "RepositoryNotFound"),
        (Fault::Status(410), "RepositoryNotFound"),
        (Fault::Status(429), "Throttled"),
        (Fault::RetryAfter(429, 7), "Throttled"),
        (Fault::Status(500), "Unavailable"),
        (Fault::Status(502), "Unavailable"),
        (Fault::Status(503), "Unavailable"),
        (Fault::HtmlPage, "Unavailable"),
        (Fault::HalfBody, "Unavailable"),
        (Fault::Disconnect, "Unavailable"),
        (Fault::RedirectTo(format!("{}/evil/elsewhere.git/..", world.host.endpoint())), "RefusedByPolicy"),
        (Fault::RedirectTo("http://169.254.169.254".into()), "RefusedByPolicy"),
    ];
    for (number, (fault, expected)) in cases.into_iter().enumerate() {
        let repo = world.host.repository(&format!("acme/r{number}")).await;
        let commit = id(&repo.commit("prod.yaml", "v1").await);
        let (remote, key) = (http(&repo), format!("r{number}"));
        repo.fail(fault.clone());
        let check = |what, result| assert_eq!(result, expected, "{what} under {fault:?}");
        let heads = async || world.git.heads(&remote, &[branch("main")]).await;
        check("heads", decision(heads().await));
        repo.recover();
        assert_eq!(decision(heads().await), "Ok");
        repo.fail(fault.clone());
        check("heads of a remote that answered before", decision(heads().await));
        check("fetch", decision(world.git.fetch(&remote, &key, &commit).await));

        // The commit is in the cache, its file is not.
        repo.recover();
        world.git.fetch(&remote, &key, &commit).await.expect("a fetch after the fault");
        repo.fail(fault.clone());
        let read = async || world.git.read(&remote, &key, &commit, &path("prod.yaml"), 100).await;
        check("read", decision(read().await));
        repo.recover();
        assert_eq!(read().await.expect("a read after the fault"), b"v1");
    }
    assert!(!world.host.requests().iter().any(|request| request.target.contains("/evil/")));
}

async fn a_repository_or_host_that_is_not_there(way: Way) {
    let world = World::start_by(way).await;
    let repo = world.host.repository("acme/infra").await;
    let unknown = crate::world::remote(&repo.url().replace("infra", "other"));
    assert_eq!(decision(world.head(&unknown, "main").await), "RepositoryNotFound");
    let unknown = crate::world::remote(&repo.file_url().replace("infra", "other"));
    assert_eq!(decision(world.head(&unknown, "main").await), "RepositoryNotFound");

    let closed =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    let nobody = crate::world::remote(&format!("http://{closed}/acme/infra.git"));
    assert_eq!(decision(world.head(&nobody, "main").await), "Unavailable");
}

async fn an_empty_repository_has_no_heads(way: Way) {
    let world = World::start_by(way).await;
    let repo = world.host.repository("acme/empty").await;
    assert_eq!(world.head(&http(&repo), "main").await, Ok(None));
}

async fn a_server_that_hangs_is_cut_off_and_its_git_ends(way: Way) {
    let world = World::by(way, |settings| settings.limits = impatient()).await;
    let repo = world.host.repository("acme/infra").await;
    let commit = id(&repo.commit("prod.yaml", "v1").await);
    repo.fail(Fault::Hang);
    assert_eq!(decision(world.head(&http(&repo), "main").await), "Unavailable");
    assert_eq!(decision(world.git.fetch(&http(&repo), KEY, &commit).await), "Unavailable");
    let address = world.host.address().to_string();
    // A killed process takes a moment to go.
    let gone = async {
        while crate::secrets::command_lines().iter().any(|line| line.contains(&address)) {
            tokio::task::yield_now().await;
        }
        Ok::<_, GitError>(())
    };
    let outside = Outside::default();
    outside.call("test", std::time::Duration::from_secs(30), gone).await.expect("no git is left");
}

async fn force_pushed_and_pruned_commits_are_gone(way: Way) {
    let world = World::start_by(way).await;
    let repo = world.host.repository("acme/infra").await;
    let lost = repo.commit("prod.yaml", "v1").await;
    let kept = repo.rewrite(&[syncline_testkit::repository::Change::File("prod.yaml", b"v2")]).await;
    repo.prune().await;
    for remote in [http(&repo), crate::world::remote(&repo.file_url())] {
        assert_eq!(
            world.git.fetch(&remote, KEY, &id(&lost)).await,
            Err(GitError::CommitGone { commit: lost.clone() })
        );
        assert_eq!(world.head(&remote, "main").await, Ok(Some(id(&kept))));
        assert_eq!(world.read(&remote, &kept, "prod.yaml").await.expect("the new head"), b"v2");
    }
}

async fn deleted_branches_are_absent_and_return(way: Way) {
    let world = World::start_by(way).await;
    let repo = world.host.repository("acme/infra").await;
    repo.commit("prod.yaml", "v1").await;
    let feature = repo.branch("feature").await;
    let head = id(&feature.commit("prod.yaml", "v2").await);
    assert_eq!(world.head(&http(&repo), "feature").await, Ok(Some(head.clone())));
    feature.delete_branch().await;
    assert_eq!(world.head(&http(&repo), "feature").await, Ok(None));
    feature.force_push(head.as_str()).await;
    assert_eq!(world.head(&http(&repo), "feature").await, Ok(Some(head)));
}

/// Fails one point at one moment and notes every point it is asked about.
#[derive(Debug)]
struct FailAt {
    point: &'static str,
    moment: Moment,
    asked: Mutex<Vec<(&'static str, Moment)>>,
}

impl FaultPlan for FailAt {
    fn at(&self, point: &'static str, moment: Moment) -> Option<Injected> {
        self.asked.lock().expect("not poisoned").push((point, moment));
        (point == self.point && moment == self.moment).then_some(Injected::Fail)
    }
}

async fn every_operation_has_a_fault_point_on_either_side(way: Way) {
    let world = World::start_by(way).await;
    let repo = world.host.repository("acme/infra").await;
    let commit = id(&repo.commit("prod.yaml", "v1").await);
    for point in ["git.heads", "git.fetch", "git.read_tree", "git.read_blob"] {
        for moment in [Moment::Before, Moment::After] {
            let plan = Arc::new(FailAt { point, moment, asked: Mutex::default() });
            let directory = tempfile::tempdir().expect("a temporary directory");
            let mut settings = Settings::new(directory.path());
            settings.in_process = way.is_direct();
            settings.egress = world.egress();
            let git = Git::new(settings, Outside::with_faults(plan.clone()));
            let remote = http(&repo);
            let name = path("prod.yaml");
            let outcomes = [
                ("git.heads", decision(git.heads(&remote, &[branch("main")]).await)),
                ("git.fetch", decision(git.fetch(&remote, KEY, &commit).await)),
                ("git.read_tree", decision(git.entry(&remote, KEY, &commit, &name).await)),
                ("git.read_blob", decision(git.read(&remote, KEY, &commit, &name, 100).await)),
            ];
            for (operation, outcome) in outcomes {
                let expected = if operation == point { "Unavailable" } else { "Ok" };
                assert_eq!(outcome, expected, "{operation} with {point} failing {moment:?}");
            }
            assert!(plan.asked.lock().expect("not poisoned").contains(&(point, moment)));
        }
    }
}
