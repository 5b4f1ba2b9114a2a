//! One history: a beginning, changes and faults, and the quiet after them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use syncline_cloudformation_sim::{Settings, Simulator};
use syncline_seams::{Clock, Outside, Secret, chance};
use syncline_store::{Change, CredentialRow, MasterKeys, NewHost, Store};
use tokio::sync::mpsc;

use crate::clock::{VirtualTime, pass};
use crate::files;
use crate::invariants::{self, Memory};
use crate::oracle::{self, Oracle};
use crate::process::{self, Site};
use crate::requests;
use crate::story::{self, ACCOUNTS, CONNECTIONS, ENDPOINT, HOSTS, REPOSITORIES, Story, scope_of};
use crate::world::{Tallies, World};

/// In one of so many histories each claim and release is looked at.
const WATCHED: u64 = 8;
/// In one of so many histories, what is slow takes an hour instead of minutes: nothing but looks happens meanwhile.
const HOURS: u64 = 20;
/// In one of so many histories, many stacks of one account are in progress at once, all driven by one worker, which
/// then looks at them together.
const CROWDS: u64 = 16;
/// In one of so many histories, resources take long enough to be watched.
const WATCHABLE: u64 = 4;
/// Changes in each history at least.
const CHANGES: u32 = 20;
/// Faults in each history at least.
const FAULTS: u32 = 10;
/// The longest a history may take to come to rest, in milliseconds of its own.
const PATIENCE_MS: i64 = 12 * 3_600_000;

/// What came of a history.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// What must never be so and was.
    pub violations: Vec<String>,
    /// What was passed and what struck.
    pub tallies: Tallies,
    /// A hash over everything that was passed, and when.
    pub digest: u64,
    /// Faults that struck.
    pub faults: u32,
    /// What happened, if it was to be told.
    pub tale: Vec<String>,
}

/// Where histories begin: a folder, and in it a database with the accounts and their repositories.
#[derive(Debug)]
pub struct Ground {
    folder: tempfile::TempDir,
    keys: MasterKeys,
}

impl Ground {
    /// Prepares the ground, in memory where the machine has a file system for that.
    ///
    /// # Errors
    /// A folder or database that cannot be made.
    pub fn prepare() -> anyhow::Result<Self> {
        let memory = Path::new("/dev/shm");
        let folder = match tempfile::Builder::new().prefix("syncline-simulation-").tempdir_in(memory) {
            Ok(folder) => folder,
            Err(_) => tempfile::tempdir()?,
        };
        let keys = MasterKeys::parse("the simulation's", &Secret::new("5e".repeat(32)))?;
        let ground = Self { folder, keys };
        runtime()?.block_on(ground.settle())?;
        Ok(ground)
    }

    fn template(&self) -> PathBuf {
        self.folder.path().join("template.db")
    }

    /// Makes what is the same in each history.
    async fn settle(&self) -> anyhow::Result<()> {
        chance::seed_this_thread(Some(0));
        let (world, _deaths) = world(0, false);
        let clock: Arc<dyn Clock> = Arc::new(world.clock.clone());
        let (store, writer) =
            Store::open_stepwise(&self.template(), self.keys.clone(), clock, Outside::default())?;
        let pump = tokio::spawn(process::pump(world, writer));
        for (account, id) in ACCOUNTS.iter().enumerate() {
            let scope = scope_of(account);
            store.account(&scope.account).await?;
            let host = NewHost {
                id: HOSTS[account].to_owned(),
                service: "codeconnections".to_owned(),
                name: "git".to_owned(),
                provider_type: "Git".to_owned(),
                provider_endpoint: ENDPOINT.to_owned(),
                vpc_configuration: None,
                tags: Vec::new(),
            };
            store.create_host(&scope, host, 50, Change::unrecorded()).await?;
            let connection = requests::new_connection(account, CONNECTIONS[account]);
            store.create_connection(&scope, connection, 250, Change::unrecorded()).await?;
            let sealed = requests::sealed_token(&store, account, CONNECTIONS[account])?;
            let credential = CredentialRow { sealed: Some(sealed), tried_at: None };
            let id_of = CONNECTIONS[account];
            store.authorize_connection(&scope, id_of, credential, Change::unrecorded()).await?;
            for (owner, name, link) in REPOSITORIES {
                if ACCOUNTS[owner] == *id {
                    let link = requests::new_link(link, CONNECTIONS[account], name);
                    store.create_link(&scope, link, 100, Change::unrecorded()).await?;
                }
            }
        }
        drop(store);
        pump.abort();
        let _ = pump.await;
        oracle::shrink_pages(&self.template())?;
        // A copy of the database alone must have everything.
        anyhow::ensure!(!self.template().with_extension("db-wal").exists(), "the database is not whole");
        Ok(())
    }

    /// Runs the history of a seed; with `tells`, it can be read afterwards.
    ///
    /// # Errors
    /// A database that cannot be made.
    pub fn history(&self, seed: u64, tells: bool) -> anyhow::Result<Outcome> {
        let database = self.folder.path().join(format!("{seed}.db"));
        std::fs::copy(self.template(), &database)?;
        let outcome = runtime()?.block_on(history(seed, &database, &self.keys, tells));
        for ending in ["db", "db-wal", "db-shm", "lock"] {
            // Those of a database that was closed are gone already.
            let _ = std::fs::remove_file(database.with_extension(ending));
        }
        chance::seed_this_thread(None);
        outcome
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
}

fn world(seed: u64, tells: bool) -> (Arc<World>, mpsc::UnboundedReceiver<crate::world::Death>) {
    let clock = VirtualTime::new();
    let latency = std::time::Duration::from_millis(match seed {
        crowd if crowd.is_multiple_of(CROWDS) => 3_000,
        watchable if watchable.is_multiple_of(WATCHABLE) => 700,
        _ => 60,
    });
    let settings = Settings {
        default_account: "999999999999".to_owned(),
        create_latency: latency,
        update_latency: latency,
        ..Settings::default()
    };
    let right: Arc<dyn Clock> = Arc::new(clock.right());
    let simulator = Simulator::new(right, settings);
    let (deaths, buried) = mpsc::unbounded_channel();
    (World::new(seed, clock, simulator, deaths, tells), buried)
}

async fn history(seed: u64, database: &Path, keys: &MasterKeys, tells: bool) -> anyhow::Result<Outcome> {
    // Other draws than the dice's.
    chance::seed_this_thread(Some(seed ^ 0x5eed));
    let (world, deaths) = world(seed, tells);
    let oracle = Arc::new(Oracle::open(&world, database, seed.is_multiple_of(WATCHED))?);
    let is_crowd = seed.is_multiple_of(CROWDS);
    let workers = if is_crowd { 1 } else { world.dice(|dice| dice.usize(1..4)) };
    let site = Site::new(Arc::clone(&world), oracle, database.to_owned(), keys.clone(), workers);
    site.start()?;
    let supervisor = tokio::spawn(Arc::clone(&site).supervise(deaths));
    let story = Story::new(Arc::clone(&site), is_crowd);
    let mut memory = Memory::default();
    let slow = if seed.is_multiple_of(HOURS) { 3_600 } else { 240 };
    world.simulator.faults().slow_resource(files::SLOW, std::time::Duration::from_secs(slow));
    story.begin().await;
    world.set_faults(true);
    let mut changes = 0;
    while changes < CHANGES || world.faults() < FAULTS {
        if world.dice(|dice| dice.u32(..CHANGES)) < 5 || changes >= CHANGES {
            story.fault().await;
        }
        story.step().await;
        changes += 1;
        if changes % 7 == 0 {
            memory.compare(&world, &site.oracle);
        }
    }
    story.mend().await;
    world.tell(|| "everything is mended".to_owned());
    rest(&story).await;
    memory.compare(&world, &site.oracle);
    let mut text = std::fs::read(database)?;
    text.extend(std::fs::read(database.with_extension("db-wal")).unwrap_or_default());
    invariants::check(&story, &memory, &text);
    site.close().await;
    supervisor.abort();
    let (tallies, digest) = world.tallies();
    let (violations, faults, tale) = (world.violations(), world.faults(), world.tale());
    Ok(Outcome { violations, tallies, digest, faults, tale })
}

/// Lets time pass until nothing is due but the next look at the repositories.
async fn rest(story: &Story) {
    let world = &story.site.world;
    let begun = world.clock.elapsed_ms();
    let told: Vec<u64> = told(story);
    loop {
        pass(5_000).await;
        let why = restless(story, &told);
        let Some(why) = why else { return };
        if world.clock.elapsed_ms() - begun > PATIENCE_MS {
            world.violation(format!("it does not come to rest: {why}"));
            return;
        }
    }
}

/// How often each repository has told its heads.
fn told(story: &Story) -> Vec<u64> {
    let state = story.site.world.hosts.lock();
    let told = |name| state.repositories.get(&story::url_of(name)).map_or(0, |hosted| hosted.told);
    REPOSITORIES.iter().map(|(_, name, _)| told(name)).collect()
}

/// What is still to be done.
fn restless(story: &Story, told_before: &[u64]) -> Option<String> {
    let oracle = &story.site.oracle;
    let now = story.site.world.clock.now_ms();
    let told_now = told(story);
    for work in oracle.work() {
        let is_due = work.due_at_ms.is_some_and(|due| due <= now);
        let is_open = work.due_at_ms.is_some() && matches!(work.kind.as_str(), "BRANCH" | "SYNC");
        // What nothing can be read for is tried now and then for ever.
        if work.is_cut_off {
            continue;
        }
        if work.leased_until_ms > now || is_open || (is_due && work.kind != "AUDIT") {
            return Some(format!("{work:?}"));
        }
        let at = REPOSITORIES.iter().position(|(_, _, link)| *link == work.id);
        // A link that has a next look must have had one since.
        if work.due_at_ms.is_some()
            && let Some(at) = at
            && told_now[at] < told_before[at] + 2
        {
            return Some(format!("{work:?} has not been looked at"));
        }
    }
    (oracle.count("SELECT count(*) FROM audit_record WHERE sequence IS NULL") > 0)
        .then(|| "the audit log".to_owned())
}
