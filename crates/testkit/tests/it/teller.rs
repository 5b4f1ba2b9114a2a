//! Tells stories in which a server dies: a commit is pushed while no server runs, a server starts and dies at
//! one passing of a fault point, another one starts, and everything must be as if nothing had happened.

use std::time::Duration;

use aws_sdk_codeconnections::types::ResourceSyncStatus;
use syncline_cloudformation_sim::{CallFault, ResourceVerb, Times};
use syncline_seams::{Clock as _, SystemClock};
use syncline_testkit::forge;
use syncline_testkit::git_host::Fault;
use syncline_testkit::plans::Deadly;
use syncline_testkit::receiver::Receiver;
use syncline_testkit::world::{ACCOUNT, REGION};

use crate::house::{House, Neighbourhood, STACK, deployment, ends_at, patience, within};
use crate::invariants::{Expected, attempts, check, check_failed, check_history};

/// What happens to a sync besides the kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Story {
    /// The first commit makes the stack.
    Create,
    /// A commit changes the stack.
    Update,
    /// A commit changes nothing of the stack.
    NothingToDo,
    /// A commit's execution fails and is rolled back; the next commit is right.
    Failing,
    /// A newer commit arrives while the change set is being made.
    Superseded,
    /// Somebody deletes the change set.
    ChangeSetDeleted,
    /// The configuration is deleted, and made again after the kill.
    Deleted,
    /// CloudFormation throttles a call.
    Throttled,
    /// CloudFormation does not answer a call for longer than a claim lasts unrenewed.
    Hanging,
    /// The Git host answers 503.
    RemoteDown,
    /// The Git host refuses the token.
    TokenRefused,
    /// The commit cannot be kept in the cache.
    CacheBroken,
    /// Somebody is told of changed statuses.
    Told,
    /// Somebody is told of changed statuses, and takes the first only when it is told again.
    ToldAgain,
}

impl Story {
    /// How the attempt at the head ends.
    fn ending(self) -> ResourceSyncStatus {
        match self {
            Self::Failing => ResourceSyncStatus::Failed,
            _ => ResourceSyncStatus::Succeeded,
        }
    }
}

/// Tells stories one after the other.
pub(crate) struct Teller {
    around: Neighbourhood,
    /// The house whose stack exists.
    settled: House,
    /// Counts the stories told.
    told: u64,
    /// The parameter's newest value in the settled house.
    name: String,
    /// The commits that failed in it.
    failed: Vec<String>,
    /// Who is told of changed statuses in this story.
    listener: Option<Receiver>,
}

/// A house before the server starts that is to die in it.
struct Scene<'a> {
    house: &'a House,
    head: String,
    name: String,
}

impl Teller {
    pub(crate) async fn new() -> Self {
        let around = Neighbourhood::new().await;
        let settled = around.configured_house().await;
        let server = settled.start(&around, None).await.expect("nothing ends it");
        within("the first sync", server.settles_at(&around.first)).await;
        server.kill().await;
        Self { around, settled, told: 0, name: "first".to_owned(), failed: Vec::new(), listener: None }
    }

    /// Tells a story in which the server dies at `deadly`, if that is passed at all. Answers whether it was,
    /// and everything that the first server passed.
    pub(crate) async fn tell(&mut self, story: Story, deadly: Option<&Deadly>) -> (bool, Vec<String>) {
        self.told += 1;
        self.listener = None;
        let fresh;
        let scene = match story {
            Story::Create => {
                fresh = self.around.configured_house().await;
                self.first_commit(&fresh).await
            }
            Story::Told | Story::ToldAgain => {
                fresh = self.around.configured_house().await;
                let listener = self.around.listener(&fresh).await;
                if story == Story::ToldAgain {
                    listener.fail(forge::Fault::Status(500, &[], "not now"));
                }
                self.listener = Some(listener);
                self.first_commit(&fresh).await
            }
            Story::Superseded | Story::ChangeSetDeleted => {
                fresh = self.around.slow_house().await;
                self.while_planning(story, &fresh).await
            }
            Story::Deleted => {
                fresh = self.around.configured_house().await;
                let server = fresh.start_api(&self.around).await;
                server.delete_sync().await;
                server.kill().await;
                self.first_commit(&fresh).await
            }
            Story::NothingToDo => {
                // Told in full: another story may have put the branch back to its first commit.
                let files = [("prod.yaml", &*deployment(&self.name)), ("README", &*self.told.to_string())];
                let head = self.around.repository.commit_files(&files).await;
                Scene { house: &self.settled, head, name: self.name.clone() }
            }
            _ => {
                self.name = format!("name-{}", self.told);
                let head = self.around.repository.commit("prod.yaml", deployment(&self.name)).await;
                Scene { house: &self.settled, head, name: self.name.clone() }
            }
        };
        self.go_wrong(story, scene.house);
        scene.house.forget_passings();
        let died = self.live_and_die(story, &scene, deadly).await;
        let passings = scene.house.passings();
        self.go_right(story, scene.house);
        self.settle(story, &scene, deadly).await;
        if story == Story::Failing {
            self.failed.push(scene.head);
            self.name = self.mended_name();
        }
        (died, passings)
    }

    async fn first_commit<'a>(&self, house: &'a House) -> Scene<'a> {
        self.around.repository.force_push(&self.around.first).await;
        Scene { house, head: self.around.first.clone(), name: "first".to_owned() }
    }

    /// A change set was asked for and is being made.
    async fn while_planning<'a>(&self, story: Story, house: &'a House) -> Scene<'a> {
        let scene = self.first_commit(house).await;
        house.forget_passings();
        let deadly = "store.record_change_set:after:1".parse().expect("a passing");
        let died = self.live_and_die(story, &scene, Some(&deadly)).await;
        assert!(died, "the first change set was recorded");
        if story == Story::Superseded {
            let name = format!("name-{}", self.told);
            let head = self.around.repository.commit("prod.yaml", deployment(&name)).await;
            return Scene { house, head, name };
        }
        let stack = house.simulator.stack(ACCOUNT, REGION, STACK).expect("a stack");
        for name in stack.change_sets {
            assert!(house.simulator.faults().delete_change_set(ACCOUNT, REGION, STACK, &name), "{name}");
        }
        scene
    }

    fn go_wrong(&self, story: Story, house: &House) {
        let faults = house.simulator.faults();
        match story {
            Story::Throttled => faults.on_call("DescribeStacks", CallFault::Throttle, Times::Next(1)),
            Story::Hanging => faults.on_call("DescribeStacks", CallFault::HangBefore, Times::Next(1)),
            Story::Failing => {
                faults.fail_resource(STACK, "Topic", ResourceVerb::Update, "no such topic today")
            }
            Story::RemoteDown => self.around.repository.fail(Fault::Status(503)),
            Story::TokenRefused => self.around.repository.require_tokens(&["another"]),
            Story::CacheBroken => {
                std::fs::remove_dir_all(house.directory.join("git-cache")).expect("a cache");
                std::fs::write(house.directory.join("git-cache"), "no directory").expect("written");
            }
            _ => {}
        }
    }

    fn go_right(&self, story: Story, house: &House) {
        if story != Story::Failing {
            house.simulator.faults().clear();
        }
        self.around.repository.recover();
        self.around.repository.require_tokens(&[]);
        if story == Story::CacheBroken {
            std::fs::remove_file(house.directory.join("git-cache")).expect("what was written");
        }
    }

    /// Runs a server until it dies at `deadly` or has done everything; whether it died. Change sets and stacks
    /// are made no faster than the server has looked at them.
    async fn live_and_die(&self, story: Story, scene: &Scene<'_>, deadly: Option<&Deadly>) -> bool {
        // Held until the stack was seen at work, or until nothing is to be killed any more.
        scene.house.brake.hold();
        let Some(mut server) = scene.house.start(&self.around, deadly).await else { return true };
        let client = server.client.clone();
        let what = format!("{story:?} until {deadly:?}\n");
        let to_the_end = async {
            // The stack has been seen at work; now its work may end.
            scene.house.passes("store.record_events:after").await;
            scene.house.brake.let_go();
            std::future::pending::<()>().await;
        };
        let died = tokio::select! {
            () = server.dies() => true,
            () = within(&what, ends_at(&client, &scene.head, story.ending())) => false,
            () = to_the_end => false,
        };
        if !died {
            server.kill().await;
        }
        died
    }

    /// Runs a server that nobody kills until everything is done, and checks that it was done right.
    async fn settle(&self, story: Story, scene: &Scene<'_>, deadly: Option<&Deadly>) {
        let Scene { house, head, name } = scene;
        house.brake.let_go();
        let before = attempts(house).await;
        let server = house.start(&self.around, None).await.expect("nothing ends it");
        if story == Story::Deleted {
            server.create_sync(&self.around.link).await.expect("a sync configuration again");
        }
        let ends = async {
            ends_at(&server.client, head, story.ending()).await;
            self.is_told().await;
        };
        let settled = tokio::select! {
            () = ends => true,
            () = patience() => false,
        };
        server.kill().await;
        assert!(settled, "{story:?} after {deadly:?}: {:?}\n{}", attempts(house).await, house.log());
        check_history(&before, &attempts(house).await);
        if let Some(listener) = &self.listener {
            let statuses: Vec<_> =
                listener.taken().iter().map(|body| body["data"]["status"].to_string()).collect();
            let expected = ["\"INITIATED\"", "\"IN_PROGRESS\"", "\"SUCCEEDED\""];
            assert_eq!(statuses, expected, "{story:?} after {deadly:?}: each once and in order");
        }
        if story == Story::Failing {
            check_failed(house, head).await;
            self.mend(house, head).await;
        } else {
            let executed = story != Story::NothingToDo;
            check(house, &Expected { head, name, executed, failed: &[] }).await;
        }
    }

    /// Waits until whoever listens has taken three changes, or more.
    async fn is_told(&self) {
        let Some(listener) = &self.listener else { return };
        while listener.taken().len() < 3 {
            SystemClock.sleep(Duration::from_millis(10)).await;
        }
    }

    fn mended_name(&self) -> String {
        format!("mended-{}", self.told)
    }

    /// Pushes a commit that works after one that failed.
    async fn mend(&self, house: &House, failed: &str) {
        house.simulator.faults().clear();
        let failed: Vec<_> = self.failed.iter().cloned().chain([failed.to_owned()]).collect();
        let name = self.mended_name();
        let head = self.around.repository.commit("prod.yaml", deployment(&name)).await;
        let server = house.start(&self.around, None).await.expect("nothing ends it");
        within("the next commit's sync", server.settles_at(&head)).await;
        server.kill().await;
        check(house, &Expected { head: &head, name: &name, executed: true, failed: &failed }).await;
    }
}
