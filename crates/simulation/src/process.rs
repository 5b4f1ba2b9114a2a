//! Processes of Syncline: a store, the workers on it, and what becomes of them.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use syncline::config::Limits;
use syncline::forges::Forges;
use syncline::notify::Notifier;
use syncline::worker::{Pacing, Peers, Places, Previews, Turn, Worker};
use syncline_egress::Egress;
use syncline_forges::rest::Endpoints;
use syncline_seams::{Clock, Outside};
use syncline_store::{MasterKeys, Store, StoreError, Writer};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

use crate::clock::pass;
use crate::faults::{Caller, Control, Life, Pausable, Plan};
use crate::hosts::SimulatedGit;
use crate::oracle::Oracle;
use crate::stacks::SimulatedCloudFormation;
use crate::world::{Death, World};

/// How often each repository is asked for its heads.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_secs(60);
/// Pieces of work that a worker does at once.
const LANES: usize = 3;
/// The longest a lane waits without looking, in milliseconds.
const LONGEST_WAIT_MS: i64 = 30_000;

/// The machine that the processes of a history run on, one after the other.
pub(crate) struct Site {
    pub(crate) world: Arc<World>,
    pub(crate) oracle: Arc<Oracle>,
    database: PathBuf,
    keys: MasterKeys,
    workers: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: Option<Running>,
    /// Processes and workers that were ever started.
    started: u64,
}

struct Running {
    store: Store,
    life: Arc<Life>,
    number: u64,
    pump: JoinHandle<()>,
    workers: Vec<Working>,
    quiet: Arc<Mutex<Quiet>>,
}

/// What some lane of a process found when it last looked for work: the others need not look for themselves.
#[derive(Debug, Default)]
struct Quiet {
    /// The changes of the database until then.
    changes: u64,
    /// Nothing is to be done before that, in milliseconds since the Unix epoch.
    until_ms: i64,
}

impl Quiet {
    /// Until when nothing is to be done; `None` if that is not known.
    fn until(&self, changes: u64, now_ms: i64) -> Option<i64> {
        (self.changes == changes && now_ms < self.until_ms).then_some(self.until_ms)
    }
}

struct Working {
    number: u64,
    worker: Arc<Worker>,
    control: Arc<Control>,
    lanes: Vec<JoinHandle<()>>,
}

impl Site {
    pub(crate) fn new(
        world: Arc<World>,
        oracle: Arc<Oracle>,
        database: PathBuf,
        keys: MasterKeys,
        workers: usize,
    ) -> Arc<Self> {
        Arc::new(Self { world, oracle, database, keys, workers, state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store of the process that runs.
    pub(crate) fn store(&self) -> Option<Store> {
        self.lock().running.as_ref().filter(|running| !running.life.is_over()).map(|r| r.store.clone())
    }

    /// Ends the process as `kill -9` does.
    pub(crate) fn kill(&self) {
        let life = self.lock().running.as_ref().map(|running| Arc::clone(&running.life));
        if let Some(life) = life {
            life.end();
        }
    }

    /// Ends one of the workers, or pauses it for so many milliseconds.
    pub(crate) fn strike(&self, chosen: usize, pause_ms: Option<u64>) {
        let control = {
            let state = self.lock();
            let Some(running) = &state.running else { return };
            running.workers.get(chosen % running.workers.len().max(1)).map(|w| Arc::clone(&w.control))
        };
        match (control, pause_ms) {
            (Some(control), Some(ms)) => control.pause(ms),
            (Some(control), None) => control.life.end(),
            (None, _) => {}
        }
    }

    /// Stops one of the workers as SIGTERM does when its time to finish is over, and has another in its place.
    pub(crate) async fn drain(&self, chosen: usize) {
        let stopped = {
            let mut state = self.lock();
            let Some(running) = &mut state.running else { return };
            match running.workers.len() {
                0 => return,
                count => running.workers.remove(chosen % count),
            }
        };
        self.world.tell(|| format!("worker {} is stopped", stopped.number));
        for lane in stopped.lanes {
            lane.abort();
            let _ = lane.await;
        }
        let handed_over = stopped.worker.hand_over().await;
        self.world.tell(|| format!("it hands over: {handed_over:?}"));
        self.replace_worker();
    }

    /// Starts a worker in the place of one that is gone, if the process is there.
    fn replace_worker(&self) {
        let running = self.lock().running.take();
        if let Some(mut running) = running {
            let worker = self.work(&running);
            running.workers.push(worker);
            self.lock().running = Some(running);
        }
    }

    /// Wakes all who are paused.
    pub(crate) fn resume(&self) {
        if let Some(running) = &self.lock().running {
            for worker in &running.workers {
                worker.control.resume();
            }
        }
    }

    /// Starts a process on the database.
    ///
    /// # Errors
    /// The store's, if it cannot be opened.
    pub(crate) fn start(&self) -> Result<(), StoreError> {
        let number = {
            let mut state = self.lock();
            state.started += 1;
            state.started
        };
        let life = Life::new(&self.world, Death::Process(number));
        let plan = Plan {
            world: Arc::clone(&self.world),
            process: Arc::clone(&life),
            worker: None,
            oracle: Arc::clone(&self.oracle),
        };
        let clock: Arc<dyn Clock> = Arc::new(self.world.clock.clone());
        let (store, writer) = Store::open_stepwise(&self.database, self.keys.clone(), clock, plan.outside())?;
        let pump = tokio::spawn(pump(Arc::clone(&self.world), writer));
        let quiet = Arc::default();
        let mut running = Running { store, life, number, pump, workers: Vec::new(), quiet };
        for _ in 0..self.workers {
            let worker = self.work(&running);
            running.workers.push(worker);
        }
        self.world.tell(|| format!("process {number} starts with {} workers", self.workers));
        self.lock().running = Some(running);
        Ok(())
    }

    /// Starts a worker in the process.
    fn work(&self, running: &Running) -> Working {
        let number = {
            let mut state = self.lock();
            state.started += 1;
            state.started
        };
        let life = Life::new(&self.world, Death::Worker(number));
        let control = Control::new(Arc::clone(&life));
        let plan = Plan {
            world: Arc::clone(&self.world),
            process: Arc::clone(&running.life),
            worker: Some(Arc::clone(&life)),
            oracle: Arc::clone(&self.oracle),
        };
        let outside: Outside = plan.outside();
        let outside = outside.seeded(self.world.dice(|dice| dice.u64(..)));
        let caller = Caller {
            world: Arc::clone(&self.world),
            outside: outside.clone(),
            control: Arc::clone(&control),
        };
        let clock: Arc<dyn Clock> = Arc::new(self.world.clock.clone());
        // Links are of type `Git` and there are no notification targets: neither is ever asked.
        let egress = Egress::default();
        let forges = Forges::new(egress.clone(), Endpoints::default(), outside.clone(), Arc::clone(&clock));
        let target = Arc::new(SimulatedCloudFormation::new(caller.clone(), Arc::clone(&self.oracle)));
        let buses = Arc::<SimulatedCloudFormation>::clone(&target);
        let peers = Peers {
            git: Arc::new(SimulatedGit::new(caller)),
            forges: Arc::new(forges),
            notifier: Arc::new(Notifier::new(egress, outside.clone(), Arc::clone(&clock), buses)),
            target,
        };
        let worker = Arc::new(Worker::new(
            running.store.clone(),
            peers,
            clock,
            outside,
            Pacing {
                poll_interval: POLL_INTERVAL,
                remote: Limits::default().remote(),
                places: Places::default(),
                previews: Previews::default(),
                public_url: None,
            },
        ));
        let lanes = (0..LANES)
            .map(|_| {
                let quiet = Arc::clone(&running.quiet);
                let lane = lane(Arc::clone(&self.world), Arc::clone(&worker), running.store.clone(), quiet);
                let world = Arc::clone(&self.world);
                let watched = AssertUnwindSafe(lane).catch_unwind().map(move |ended| {
                    if let Err(panic) = ended {
                        let text = panic.downcast_ref::<String>().map(String::as_str);
                        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                        world.violation(format!("a worker panicked: {}", text.unwrap_or_default()));
                    }
                });
                tokio::spawn(Pausable::new(Arc::clone(&control), watched))
            })
            .collect();
        Working { number, worker, control, lanes }
    }

    /// Buries those who die, and has others in their place.
    pub(crate) async fn supervise(self: Arc<Self>, mut deaths: UnboundedReceiver<Death>) {
        while let Some(death) = deaths.recv().await {
            match death {
                Death::Process(number) => {
                    let running = self.lock().running.take_if(|running| running.number == number);
                    let Some(running) = running else { continue };
                    bury(running).await;
                    if self.world.is_on() {
                        pass(self.world.dice(|dice| dice.u64(..20_000))).await;
                    }
                    loop {
                        match self.start() {
                            Ok(()) => break,
                            // A request that has not heard yet that its process is dead.
                            Err(StoreError::InUse { .. }) => pass(1).await,
                            Err(error) => {
                                self.world.violation(format!("the store does not open again: {error}"));
                                return;
                            }
                        }
                    }
                }
                Death::Worker(number) => {
                    let dead = {
                        let mut state = self.lock();
                        let Some(running) = &mut state.running else { continue };
                        let at = running.workers.iter().position(|worker| worker.number == number);
                        at.map(|at| running.workers.remove(at))
                    };
                    let Some(dead) = dead else { continue };
                    for lane in dead.lanes {
                        lane.abort();
                        let _ = lane.await;
                    }
                    self.replace_worker();
                }
            }
        }
    }

    /// Ends everything that runs, at the end of a history.
    pub(crate) async fn close(&self) {
        let running = self.lock().running.take();
        if let Some(running) = running {
            bury(running).await;
        }
    }
}

/// Drops everything of a process; its store's lock is free after that.
async fn bury(running: Running) {
    let lanes = running.workers.into_iter().flat_map(|worker| worker.lanes);
    for task in lanes.chain([running.pump]) {
        task.abort();
        let _ = task.await;
    }
}

/// Commits what is written, some of it together.
pub(crate) async fn pump(world: Arc<World>, mut writer: Writer) {
    let arrivals = writer.arrivals();
    loop {
        arrivals.notified().await;
        match world.dice(|dice| dice.u32(..10)) {
            0..6 => tokio::task::yield_now().await,
            6..9 => pass(1).await,
            _ => pass(world.dice(|dice| dice.u64(2..30))).await,
        }
        while writer.turn() {}
    }
}

/// One piece of work after the other, whatever is due.
async fn lane(world: Arc<World>, worker: Arc<Worker>, store: Store, quiet: Arc<Mutex<Quiet>>) {
    let quiet = || quiet.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let (changes, now) = (world.changes(), world.clock.now_ms());
        let known = quiet().until(changes, now);
        let until_ms = match known {
            Some(until_ms) => until_ms,
            None => match look(&worker, &store).await {
                Ok(Some(next_ms)) => {
                    let until_ms = next_ms.min(now + LONGEST_WAIT_MS);
                    *quiet() = Quiet { changes, until_ms };
                    until_ms
                }
                Ok(None) => continue,
                Err(_) => {
                    pass(1_000).await;
                    continue;
                }
            },
        };
        let wait = (until_ms - now).clamp(1, LONGEST_WAIT_MS).unsigned_abs();
        tokio::select! {
            biased;
            () = store.woken() => {}
            // Not all lanes at the same moment: they would only take turns in finding nothing.
            () = pass(wait + world.dice(|dice| dice.u64(..40))) => {}
        }
    }
}

/// Does what is due; when nothing is, until when nothing will be.
async fn look(worker: &Worker, store: &Store) -> Result<Option<i64>, StoreError> {
    let Turn::Idle { next_ms } = worker.take_turn().await? else { return Ok(None) };
    let lease_ends_ms = store.next_lease_end_ms().await?;
    Ok(Some(next_ms.into_iter().chain(lease_ends_ms).min().unwrap_or(i64::MAX)))
}
