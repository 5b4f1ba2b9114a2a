//! What goes wrong at a fault point, and around an outside call.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use syncline_seams::{CallError, FaultPlan, Injected, Moment, Outside};
use tokio::time::{Instant, Sleep};

use crate::clock::pass;
use crate::oracle::Oracle;
use crate::world::{Death, World};

/// The longest an outside call may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Whether somebody lives: a process, or one worker in it.
#[derive(Debug)]
pub(crate) struct Life {
    who: Death,
    is_over: AtomicBool,
    world: Arc<World>,
}

impl Life {
    pub(crate) fn new(world: &Arc<World>, who: Death) -> Arc<Self> {
        Arc::new(Self { who, is_over: AtomicBool::new(false), world: Arc::clone(world) })
    }

    /// Ends it; nothing that it still does has any effect.
    pub(crate) fn end(&self) {
        if !self.is_over.swap(true, Ordering::Relaxed) {
            self.world.kill(self.who);
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

/// The fault plan of a process, or of one worker's outside calls.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) world: Arc<World>,
    pub(crate) process: Arc<Life>,
    /// Whose outside calls these are; the store's commits are the process's own.
    pub(crate) worker: Option<Arc<Life>>,
    pub(crate) oracle: Arc<Oracle>,
}

impl Plan {
    /// Outside calls that go wrong as this plan says.
    pub(crate) fn outside(self) -> Outside {
        Outside::with_faults(Arc::new(self))
    }

    fn is_dead(&self) -> bool {
        self.process.is_over() || self.worker.as_ref().is_some_and(|worker| worker.is_over())
    }
}

impl FaultPlan for Plan {
    fn at(&self, point: &'static str, moment: Moment) -> Option<Injected> {
        if moment == Moment::After {
            // What is claimed, and for how long, makes nothing due.
            if point.starts_with("store.") && !matches!(point, "store.claim" | "store.renew") {
                self.world.count_change();
            }
            self.oracle.committed(point);
        }
        if self.is_dead() {
            return Some(Injected::Fail);
        }
        if !self.world.pass(point, moment) {
            return None;
        }
        if moment == Moment::Before && point.starts_with("store.") && self.world.is_database_down() {
            return Some(Injected::Fail);
        }
        let dies = self.world.dice(|dice| dice.u32(..100));
        let injected = match (&self.worker, dies) {
            (_, 0..8) => {
                self.process.end();
                Injected::Fail
            }
            (Some(worker), 8..20) => {
                worker.end();
                Injected::Fail
            }
            (Some(_), 20..40) => Injected::TimeOut,
            _ => Injected::Fail,
        };
        self.world.tell(|| format!("{point}: {injected:?} {moment:?}"));
        Some(injected)
    }
}

/// One worker: whether it lives, and until when it is paused.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) life: Arc<Life>,
    paused_until: Mutex<Option<Instant>>,
    pauses: AtomicU64,
}

impl Control {
    pub(crate) fn new(life: Arc<Life>) -> Arc<Self> {
        Arc::new(Self { life, paused_until: Mutex::new(None), pauses: AtomicU64::new(0) })
    }

    /// Stops the worker where it is, as SIGSTOP does, for so many milliseconds.
    pub(crate) fn pause(&self, ms: u64) {
        let until = Instant::now() + Duration::from_millis(ms);
        *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
        self.pauses.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends a pause.
    pub(crate) fn resume(&self) {
        *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn paused_until(&self) -> Option<Instant> {
        let mut paused = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        if paused.is_some_and(|until| until <= Instant::now()) {
            *paused = None;
        }
        *paused
    }
}

/// A part of a worker that stands still while the worker is paused.
pub(crate) struct Pausable<F> {
    control: Arc<Control>,
    inner: Pin<Box<F>>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<F> Pausable<F> {
    pub(crate) fn new(control: Arc<Control>, inner: F) -> Self {
        Self { control, inner: Box::pin(inner), pause: None }
    }
}

impl<F: Future<Output = ()>> Future for Pausable<F> {
    type Output = ();

    #[expect(clippy::disallowed_methods, reason = "virtual time is the runtime's")]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(until) = self.control.paused_until() else {
                self.pause = None;
                let polled = self.inner.as_mut().poll(context);
                if polled.is_pending() && self.control.paused_until().is_some() {
                    // It was paused in this very moment: wait for the end of that.
                    continue;
                }
                return polled;
            };
            let left = until.duration_since(Instant::now());
            let mut pause = Box::pin(tokio::time::sleep(left));
            let polled = pause.as_mut().poll(context);
            self.pause = Some(pause);
            if polled.is_pending() {
                return Poll::Pending;
            }
        }
    }
}

/// What happens to an outside call besides what its point says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whim {
    /// Nothing.
    None,
    /// It is never answered, and nothing happens.
    Lost,
    /// What it asks for happens, and it is never answered.
    Unanswered,
    /// It arrives when its caller has given up.
    Late,
    /// It arrives twice.
    Twice,
    /// Its caller is paused past its lease right before it goes out.
    Paused,
    /// The same right after the answer.
    PausedAfter,
    /// It takes long, but not too long.
    Slow,
}

/// Who makes outside calls, and what becomes of them on the way.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) world: Arc<World>,
    pub(crate) outside: Outside,
    pub(crate) control: Arc<Control>,
}

impl Caller {
    /// One outside call, whose effect is `effect`.
    pub(crate) async fn call<T, E>(
        &self,
        point: &'static str,
        effect: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<CallError> + Send + 'static,
    {
        self.outside.call(point, TIMEOUT, self.on_the_way(point, effect)).await
    }

    async fn on_the_way<T, E>(
        &self,
        point: &'static str,
        effect: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let effect = Arc::new(effect);
        let whim = self.whim(point);
        match self.world.dice(|dice| dice.u32(..100)) {
            0..60 => tokio::task::yield_now().await,
            60..95 => pass(self.world.dice(|dice| dice.u64(1..60))).await,
            _ => pass(self.world.dice(|dice| dice.u64(100..3_000))).await,
        }
        match whim {
            Whim::None => {}
            Whim::Slow => pass(self.world.dice(|dice| dice.u64(6_000..28_000))).await,
            Whim::Lost => std::future::pending().await,
            Whim::Unanswered => {
                drop(effect());
                std::future::pending().await
            }
            Whim::Late => {
                let (world, after) =
                    (Arc::clone(&self.world), self.world.dice(|dice| dice.u64(31_000..120_000)));
                let effect = Arc::clone(&effect);
                tokio::spawn(async move {
                    pass(after).await;
                    let _ = effect();
                    world.tell(|| format!("{point} arrives late"));
                });
                std::future::pending().await
            }
            Whim::Twice => drop(effect()),
            Whim::Paused => self.pause().await,
            Whim::PausedAfter => {
                let answer = effect();
                if point == "git.heads" {
                    self.push_meanwhile();
                }
                self.pause().await;
                return answer;
            }
        }
        effect()
    }

    /// What was heard of the heads is soon true no more.
    fn push_meanwhile(&self) {
        let (world, after) = (Arc::clone(&self.world), self.world.dice(|dice| dice.u64(500..3_000)));
        tokio::spawn(async move {
            pass(after).await;
            if world.is_on() {
                world.hosts.push_everywhere(world.clock.elapsed_ms());
                world.tell(|| "commits to every repository".to_owned());
            }
        });
    }

    async fn pause(&self) {
        self.control.pause(self.world.dice(|dice| dice.u64(16_000..45_000)));
        tokio::task::yield_now().await;
    }

    fn whim(&self, point: &'static str) -> Whim {
        if !self.world.is_on() {
            return Whim::None;
        }
        let often = crate::points::often(point).map_or(0, crate::points::Often::of_ten_thousand);
        // Where it matters most who holds what.
        let often = match point {
            "cloudformation.ExecuteChangeSet" => 4 * often,
            "git.heads" => 16 * often,
            _ => often,
        };
        if self.world.dice(|dice| dice.u32(..10_000)) >= often {
            return Whim::None;
        }
        let whim = match self.world.dice(|dice| dice.u32(..100)) {
            0..10 => Whim::Lost,
            10..20 => Whim::Unanswered,
            20..30 => Whim::Late,
            30..45 => Whim::Twice,
            45..70 => Whim::Paused,
            70..90 => Whim::PausedAfter,
            _ => Whim::Slow,
        };
        self.world.count_fault();
        self.world.tell(|| format!("{point}: {whim:?}"));
        whim
    }
}
