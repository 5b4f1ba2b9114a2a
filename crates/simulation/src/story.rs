//! What happens in a history: commits, requests, and what others do to stacks and hosts.

use std::sync::{Arc, Mutex, PoisonError};

use syncline_model::names::RoleArn;
use syncline_store::{Scope, Suspended};

use crate::clock::pass;
use crate::files::{self, Flavour};
use crate::hosts::{Files, Outage};
use crate::process::Site;
use crate::requests::suspended;
use crate::world::Answer;

pub(crate) const REGION: &str = "eu-central-1";
/// The accounts, each with its own connection.
pub(crate) const ACCOUNTS: [&str; 2] = ["000000000001", "000000000002"];
/// What no table, event or reason may ever show.
pub(crate) const TOKENS: [&str; 2] = ["canary-token-one", "canary-token-two"];
/// The host that all repositories are on.
pub(crate) const ENDPOINT: &str = "https://git.simulated";
/// The repositories: their account, and their link's id.
pub(crate) const REPOSITORIES: [(usize, &str, &str); 3] = [
    (0, "one/infra", "10000000-0000-4000-8000-000000000001"),
    (0, "one/apps", "10000000-0000-4000-8000-000000000002"),
    (1, "two/infra", "10000000-0000-4000-8000-000000000003"),
];
/// The ids of the accounts' connections.
pub(crate) const CONNECTIONS: [&str; 2] =
    ["20000000-0000-4000-8000-000000000001", "20000000-0000-4000-8000-000000000002"];
/// The ids of the accounts' hosts.
pub(crate) const HOSTS: [&str; 2] = ["git-00000001", "git-00000002"];
pub(crate) const BRANCHES: [&str; 2] = ["main", "dev"];

/// The URL of a repository.
pub(crate) fn url_of(repository: &str) -> String {
    format!("{ENDPOINT}/{repository}.git")
}

/// The account and region of an account.
///
/// # Panics
/// Never: both are valid.
pub(crate) fn scope_of(account: usize) -> Scope {
    Scope {
        account: ACCOUNTS[account].parse().expect("an account"),
        region: REGION.parse().expect("a region"),
    }
}

pub(crate) fn role_of(account: usize, name: &str) -> RoleArn {
    format!("arn:aws:iam::{}:role/{name}", ACCOUNTS[account]).parse().expect("a role")
}

/// A stack that a history is about.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) account: usize,
    pub(crate) stack: String,
    /// The deployment file's name, without its ending.
    pub(crate) file: String,
    pub(crate) repository: usize,
}

/// Tells a history.
pub(crate) struct Story {
    pub(crate) site: Arc<Site>,
    pub(crate) slots: Vec<Slot>,
    /// The connections that took the place of deleted ones, by account.
    pub(crate) gone_connections: Mutex<[Option<String>; 2]>,
    /// The ids of the audit records of requests that were acknowledged.
    pub(crate) acknowledged: Mutex<Vec<String>>,
    values: Mutex<u64>,
}

impl Story {
    /// A history on three repositories with five to seven stacks; a crowd is of one account, but for one of them.
    pub(crate) fn new(site: Arc<Site>, is_crowd: bool) -> Self {
        let count = if is_crowd { 7 } else { site.world.dice(|dice| dice.usize(5..8)) };
        let slots = (0..count)
            .map(|n| {
                // Each of the repositories has at least one.
                let repository = match n {
                    0..3 => n,
                    _ if is_crowd => n % 2,
                    _ => site.world.dice(|dice| dice.usize(..3)),
                };
                let account = REPOSITORIES[repository].0;
                Slot { account, stack: format!("stack-{n}"), file: format!("f{n}"), repository }
            })
            .collect();
        Self {
            site,
            slots,
            gone_connections: Mutex::default(),
            acknowledged: Mutex::default(),
            values: Mutex::default(),
        }
    }

    pub(crate) fn dice(&self, below: usize) -> usize {
        self.site.world.dice(|dice| dice.usize(..below))
    }

    pub(crate) fn some_slot(&self) -> &Slot {
        &self.slots[self.dice(self.slots.len())]
    }

    fn new_value(&self) -> u64 {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        *values += 1;
        *values
    }

    /// The ids of the audit records of all requests that were acknowledged.
    pub(crate) fn acknowledged(&self) -> Vec<String> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes the repositories' first commits and the configurations.
    pub(crate) async fn begin(&self) {
        for (at, (account, name, _)) in REPOSITORIES.iter().enumerate() {
            let mut files = Files::new();
            for slot in self.slots.iter().filter(|slot| slot.repository == at) {
                files::put(&mut files, &slot.file, self.new_value(), Flavour::Plain);
            }
            let mut state = self.site.world.hosts.lock();
            let url = url_of(name);
            state.repositories.entry(url.clone()).or_default().token = TOKENS[*account];
            for branch in BRANCHES {
                let head = state.commit(&url, files.clone());
                if let Some(hosted) = state.repositories.get_mut(&url) {
                    hosted.point(branch, Some(head), 0);
                }
            }
        }
        self.site.world.simulator.faults().fail_resource(
            "*",
            files::BROKEN,
            syncline_cloudformation_sim::ResourceVerb::Create,
            "it never works",
        );
        for slot in &self.slots {
            self.configure(slot).await;
        }
    }

    /// One change of the world, and some time.
    pub(crate) async fn step(&self) {
        match self.dice(100) {
            0..52 => self.commit(),
            52..57 => self.force_push(),
            57..61 => self.delete_branch(),
            61..66 => self.sync_now().await,
            66..71 => self.update_configuration().await,
            71..74 => self.suspend_or_resume().await,
            74..78 => self.delete_configuration().await,
            78..83 => self.configure(&self.some_slot().clone()).await,
            83..89 => self.resolve().await,
            89..91 => self.update_link().await,
            91..94 => self.authorize().await,
            94..96 => self.replace_connection().await,
            96..98 => self.change_unused_link().await,
            _ => self.touch_stack(),
        }
        // Beside the changes: nothing of it is synced.
        if self.dice(12) == 0 {
            self.administer().await;
        }
        let ms = match self.dice(10) {
            0..3 => 0,
            3..6 => self.dice(3_000),
            6..9 => self.dice(30_000),
            _ => self.dice(150_000),
        };
        pass(ms as u64).await;
    }

    /// A commit to one branch of one repository.
    fn commit(&self) {
        let at = self.dice(REPOSITORIES.len());
        let (_, name, _) = REPOSITORIES[at];
        let branch = BRANCHES[usize::from(self.dice(4) == 0)];
        let mine: Vec<&Slot> = self.slots.iter().filter(|slot| slot.repository == at).collect();
        let url = url_of(name);
        let mut state = self.site.world.hosts.lock();
        let Some(hosted) = state.repositories.get(&url) else { return };
        let base = match hosted.branches.get(branch).or_else(|| hosted.branches.get("main")) {
            Some(head) => hosted.commits.get(head).cloned().unwrap_or_default(),
            None => Files::new(),
        };
        let mut files = base;
        let kind = self.dice(100);
        match kind {
            0..60 => {
                for _ in 0..=self.dice(3) {
                    let slot = mine[self.dice(mine.len())];
                    let flavour = if self.dice(4) == 0 { Flavour::Extra } else { Flavour::Plain };
                    files::put(&mut files, &slot.file, self.new_value(), flavour);
                }
            }
            60..72 => {
                files.insert("README.md".to_owned(), format!("{}", self.new_value()).into());
            }
            72..97 => {
                let flavour = match kind {
                    72..80 => Flavour::Broken,
                    80..88 => Flavour::Refused,
                    88..94 => Flavour::Invalid,
                    94..96 => Flavour::Missing,
                    _ => Flavour::Slow,
                };
                files::put(&mut files, &mine[self.dice(mine.len())].file, self.new_value(), flavour);
            }
            _ => {
                // What was before some commit, as a revert makes it.
                let commits: Vec<_> = {
                    let mut ids: Vec<_> = hosted.commits.keys().collect();
                    ids.sort_unstable();
                    ids.into_iter().cloned().collect()
                };
                let id = &commits[self.dice(commits.len())];
                files = hosted.commits.get(id).cloned().unwrap_or_default();
            }
        }
        let head = state.commit(&url, files);
        self.site.world.tell(|| format!("commit {head} to {name} {branch} ({kind})"));
        if let Some(hosted) = state.repositories.get_mut(&url) {
            hosted.point(branch, Some(head), self.site.world.clock.elapsed_ms());
        }
    }

    /// The head is replaced by another commit and not given out any more.
    fn force_push(&self) {
        let at = self.dice(REPOSITORIES.len());
        let url = url_of(REPOSITORIES[at].1);
        let branch = BRANCHES[usize::from(self.dice(4) == 0)];
        let slot = self.slots.iter().find(|slot| slot.repository == at);
        let mut state = self.site.world.hosts.lock();
        let Some(old) = state.repositories.get(&url).and_then(|hosted| hosted.branches.get(branch).cloned())
        else {
            return;
        };
        let mut files =
            state.repositories.get(&url).and_then(|h| h.commits.get(&old).cloned()).unwrap_or_default();
        if let Some(slot) = slot
            && self.dice(3) > 0
        {
            files::put(&mut files, &slot.file, self.new_value(), Flavour::Plain);
        }
        let head = state.commit(&url, files);
        self.site.world.tell(|| format!("force-push {head} over {old} to {url} {branch}"));
        self.site.world.count_fault();
        if let Some(hosted) = state.repositories.get_mut(&url) {
            let elsewhere = hosted.branches.iter().any(|(name, head)| name != branch && *head == old);
            if !elsewhere {
                hosted.gone.insert(old);
            }
            hosted.point(branch, Some(head), self.site.world.clock.elapsed_ms());
        }
    }

    /// A branch goes, or comes back.
    fn delete_branch(&self) {
        let url = url_of(REPOSITORIES[self.dice(REPOSITORIES.len())].1);
        let branch = BRANCHES[usize::from(self.dice(2) == 0)];
        let mut state = self.site.world.hosts.lock();
        let Some(hosted) = state.repositories.get_mut(&url) else { return };
        self.site.world.count_fault();
        self.site.world.tell(|| format!("{url} {branch} goes, or comes back"));
        let now_ms = self.site.world.clock.elapsed_ms();
        if hosted.branches.contains_key(branch) {
            hosted.point(branch, None, now_ms);
            return;
        }
        // It comes back where it may or may not have been.
        let mut ids: Vec<_> =
            hosted.commits.keys().filter(|id| !hosted.gone.contains(*id)).cloned().collect();
        ids.sort_unstable();
        if let Some(id) = ids.get(self.dice(ids.len().max(1))) {
            hosted.point(branch, Some(id.clone()), now_ms);
        }
    }

    /// Somebody else changes, deletes or breaks a stack, or deletes a change set.
    fn touch_stack(&self) {
        let slot = self.some_slot();
        let (account, stack) = (ACCOUNTS[slot.account], &slot.stack);
        let faults = self.site.world.simulator.faults();
        let found = self.site.world.simulator.stack(account, REGION, stack);
        let what = self.dice(4);
        self.site.world.count_fault();
        self.site.world.touch(stack);
        self.site.world.tell(|| format!("somebody else touches {stack} ({what})"));
        match (what, found) {
            (0, _) => {
                faults.delete_stack(account, REGION, stack);
            }
            (1, Some(found)) if found.status.ends_with("_COMPLETE") => {
                let template = files::template(Flavour::Extra, 7);
                faults.modify_stack(account, REGION, stack, &template);
            }
            (2, Some(found)) => {
                if let Some(name) = found.change_sets.last() {
                    faults.delete_change_set(account, REGION, stack, name);
                }
            }
            (3, Some(found)) if found.status == "UPDATE_COMPLETE" => {
                faults.set_status(account, REGION, stack, "UPDATE_ROLLBACK_FAILED", "somebody's rollback");
            }
            _ => {}
        }
    }

    /// Something goes wrong that no point of the engine stands for.
    pub(crate) async fn fault(&self) {
        let world = &self.site.world;
        let what = self.dice(100);
        world.count_fault();
        world.tell(|| format!("fault {what}"));
        let ms = 1_000 + self.dice(60_000);
        let long = i64::try_from(ms).unwrap_or_default();
        match what {
            0..10 => self.site.kill(),
            10..15 => self.site.strike(self.dice(4), None),
            15..20 => self.site.drain(self.dice(4)).await,
            20..32 => self.site.strike(self.dice(4), Some(16_000 + ms as u64)),
            32..42 => world.break_database(long / 4),
            42..52 => world.break_cloudformation(
                long,
                [Answer::Throttling, Answer::Failure, Answer::Denied][self.dice(3)],
            ),
            52..58 => world.expire_sessions(),
            58..66 => {
                let slot = self.some_slot();
                let role = role_of(slot.account, "sync");
                world.simulator.faults().deny_role(role.as_str());
                world.expire_sessions();
                let (simulator, role) = (world.simulator.clone(), role.as_str().to_owned());
                tokio::spawn(async move {
                    pass(ms as u64).await;
                    simulator.faults().allow_role(&role);
                });
            }
            66..86 => {
                let outages = [Outage::Unavailable, Outage::Unauthorized, Outage::NotFound, Outage::Internal];
                let outage = outages[self.dice(outages.len())];
                let url = url_of(REPOSITORIES[self.dice(REPOSITORIES.len())].1);
                let until = world.clock.elapsed_ms() + 3 * long;
                if let Some(hosted) = world.hosts.lock().repositories.get_mut(&url) {
                    hosted.outage = Some((until, outage));
                }
            }
            86..93 => {
                let hour = 3_600_000;
                let by = [-hour, hour, -5_000, 20_000, -120_000][self.dice(5)];
                world.clock.set_ahead(by);
                self.site.oracle.clock_was_set(by);
            }
            _ => self.touch_stack(),
        }
    }

    /// Nothing goes wrong any more, and what was broken for good is mended as an operator would.
    pub(crate) async fn mend(&self) {
        let world = &self.site.world;
        world.set_faults(false);
        world.hosts.mend();
        self.site.resume();
        world.simulator.faults().clear();
        world.simulator.faults().fail_resource(
            "*",
            files::BROKEN,
            syncline_cloudformation_sim::ResourceVerb::Create,
            "it never works",
        );
        while self.site.store().is_none() {
            pass(100).await;
        }
        // What rests may go on, or rest for good.
        for account in 0..ACCOUNTS.len() {
            if self.dice(4) > 0 {
                self.resume(account, Suspended::Account).await;
            }
        }
        for slot in &self.slots {
            if self.dice(4) > 0 {
                self.resume(slot.account, suspended(slot)).await;
            }
        }
        // Some links may have lost their connection for good.
        let lost = |account| {
            let links = self.site.oracle.rows(
                "SELECT l.id FROM repository_link l LEFT JOIN connection c ON c.id = l.connection_id
                  WHERE c.id IS NULL",
                |row| row.get::<_, String>(0),
            );
            REPOSITORIES.iter().any(|(owner, _, link)| *owner == account && links.iter().any(|id| id == link))
        };
        for account in 0..ACCOUNTS.len() {
            if lost(account) && self.dice(3) > 0 {
                self.connect_again(account).await;
            }
        }
    }
}
