//! `kill -9` before and after every database commit and every outside call of a sync: after a restart the
//! sync ends right, with one execution.
//!
//! Each kill has a story of its own: a commit is pushed while no server runs, a server starts, and it dies at
//! one passing of a fault point. What is passed is learnt from the same story without a kill.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use syncline_testkit::plans::Deadly;
use tokio::task::JoinSet;

use crate::house::{House, Neighbourhood, deployment, within};
use crate::invariants::{Expected, attempts, check, check_history};

/// Houses at once. Most of a story is waiting for the next look at the stack.
const WORKERS: usize = 4;

/// A sync that a server is killed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Story {
    /// The first commit makes the stack.
    Create,
    /// A commit changes the stack.
    Update,
    /// A commit changes nothing of the stack.
    NothingToDo,
}

/// Tells stories one after the other.
struct Teller {
    around: Neighbourhood,
    /// The house whose stack exists.
    settled: House,
    /// Counts the stories told in it.
    told: u64,
    /// The parameter's newest value in it.
    name: String,
}

impl Teller {
    async fn new() -> Self {
        let around = Neighbourhood::new().await;
        let settled = around.configured_house().await;
        let mut this = Self { around, settled, told: 0, name: "first".to_owned() };
        let house = &this.settled;
        let server = house.start(&this.around, None).await.expect("nothing ends it");
        within("the first sync", server.settles_at(&this.around.first)).await;
        server.kill().await;
        this.told += 1;
        this
    }

    /// Tells a story in which the server dies at `deadly`, if that is passed at all; whether it was, and
    /// everything passed by the first server.
    async fn tell(&mut self, story: Story, deadly: Option<&Deadly>) -> (bool, Vec<String>) {
        self.told += 1;
        let fresh;
        let (house, head) = match story {
            Story::Create => {
                self.around.repository.force_push(&self.around.first).await;
                fresh = self.around.configured_house().await;
                (&fresh, self.around.first.clone())
            }
            Story::Update => {
                self.name = format!("name-{}", self.told);
                (&self.settled, self.around.repository.commit("prod.yaml", deployment(&self.name)).await)
            }
            Story::NothingToDo => {
                // Told in full: another story may have put the branch back to its first commit.
                let files = [("prod.yaml", &*deployment(&self.name)), ("README", &*self.told.to_string())];
                (&self.settled, self.around.repository.commit_files(&files).await)
            }
        };
        let name = if story == Story::Create { "first" } else { &self.name };
        house.forget_passings();
        let died = self.live_and_die(house, &head, deadly).await;
        let passings = house.passings();
        let before = attempts(house).await;
        let server = house.start(&self.around, None).await.expect("nothing ends it");
        within(&format!("{story:?} after {deadly:?}\n{}", house.log()), server.settles_at(&head)).await;
        server.kill().await;
        check_history(&before, &attempts(house).await);
        check(house, &Expected { head: &head, name, executed: story != Story::NothingToDo }).await;
        (died, passings)
    }

    async fn live_and_die(&self, house: &House, head: &str, deadly: Option<&Deadly>) -> bool {
        let Some(mut server) = house.start(&self.around, deadly).await else { return true };
        let client = server.client.clone();
        let died = tokio::select! {
            () = server.dies() => true,
            () = within("a sync without a kill", crate::house::settles_at(&client, head)) => false,
        };
        if !died {
            server.kill().await;
        }
        died
    }
}

/// What the first attempt at a story passes, in order, up to the release that follows its end.
fn kills_of(passings: &[String]) -> Vec<Deadly> {
    let end = passings.iter().position(|p| p == "store.end_attempt:after").expect("the attempt ended");
    let release = passings[end..].iter().position(|p| p == "store.release:after");
    let last = release.map_or(end, |release| end + release);
    let mut counts = BTreeMap::new();
    passings[..=last]
        .iter()
        .map(|passing| {
            let nth = counts.entry(passing).or_insert(0);
            *nth += 1;
            format!("{passing}:{nth}").parse().expect("a passing")
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_at_any_commit_or_call_of_a_sync_is_no_loss() {
    let mut first = Teller::new().await;
    let mut jobs = VecDeque::new();
    let mut expected = BTreeSet::new();
    for story in [Story::Create, Story::Update, Story::NothingToDo] {
        let (_, passings) = first.tell(story, None).await;
        for deadly in kills_of(&passings) {
            expected.insert((deadly.point.clone(), deadly.moment));
            jobs.push_back((story, deadly));
        }
    }
    println!("{} kills at {} points", jobs.len(), expected.len());
    let jobs = Arc::new(Mutex::new(jobs));
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let jobs = Arc::clone(&jobs);
        workers.spawn(async move {
            let mut teller = Teller::new().await;
            let mut killed = BTreeSet::new();
            loop {
                let Some((story, deadly)) = jobs.lock().expect("no panic").pop_front() else { break };
                let (died, _) = teller.tell(story, Some(&deadly)).await;
                println!("{worker}: {story:?} {deadly} {died}");
                if died {
                    killed.insert((deadly.point, deadly.moment));
                }
            }
            killed
        });
    }
    let mut killed = BTreeSet::new();
    while let Some(done) = workers.join_next().await {
        killed.extend(done.expect("every story ends right"));
    }
    let missed: Vec<_> = expected.difference(&killed).collect();
    assert!(missed.is_empty(), "no server died at {missed:?}");
}
