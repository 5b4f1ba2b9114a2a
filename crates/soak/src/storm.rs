//! What a fleet goes through: pushes, requests, kills and pauses at once; and the quiet that follows.

use std::time::Duration;

use aws_sdk_codeconnections::Client;
use aws_sdk_codeconnections::types::SyncConfigurationType;
use syncline_seams::{Clock as _, SystemClock};

use crate::estate::{Estate, configure, reconfigure, tag};
use crate::fleet::Fleet;
use crate::replica::Replica;
use crate::verdict;

/// Requests that change something.
const REQUEST_EVERY: Duration = Duration::from_millis(250);
/// Looks at a status.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// Of the requests, one in so many syncs a stack anew.
const RECONFIGURE: usize = 8;
/// The time between two pauses of a replica.
const BETWEEN_PAUSES: Duration = Duration::from_secs(20);

/// What is done to a fleet, and how often.
#[derive(Debug, Clone)]
pub struct Weather {
    /// How long it lasts.
    pub lasts: Duration,
    /// A commit is pushed so often.
    pub push_every: Duration,
    /// A replica is killed so often, at a random moment.
    pub kill_every: Option<Duration>,
    /// One replica after the other is stopped for so long.
    pub pause: Option<Duration>,
    /// What decides by chance decides alike for the same seed.
    pub seed: u64,
}

/// A request that was answered with success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acknowledged {
    /// A link got this tag.
    Tagged {
        /// The link.
        link_arn: String,
        /// The tag's key.
        key: String,
    },
    /// A stack got its sync configuration.
    Configured(String),
    /// A stack's sync configuration was updated.
    Reconfigured(String),
}

/// The newest attempt of a stack, as a replica told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The stack.
    pub stack: String,
    /// When the attempt began, in milliseconds since the Unix epoch.
    pub started_at_ms: i64,
    /// The commit.
    pub sha: String,
    /// The status.
    pub status: String,
    /// The type and text of each event, oldest first.
    pub events: Vec<(String, String)>,
}

/// What happened in a storm.
#[derive(Debug, Default)]
pub struct Happened {
    /// Commits pushed.
    pub pushes: usize,
    /// Replicas killed.
    pub kills: usize,
    /// Replicas stopped and let go on.
    pub pauses: usize,
    /// Requests that were answered with success.
    pub acknowledged: Vec<Acknowledged>,
    /// Requests without an answer, or refused.
    pub failed_requests: usize,
    /// What the statuses were, in the order in which they were told.
    pub told: Vec<Told>,
}

/// Makes the sync configurations of these stacks.
///
/// # Errors
/// What the fleet answers: nothing is killed yet.
pub async fn configure_all(fleet: &Fleet, estate: &Estate, stacks: &[usize]) -> anyhow::Result<()> {
    let client = fleet.client_of(&fleet.replicas[0].ready().await);
    for number in stacks {
        let stack = &estate.stacks[*number];
        let link = &estate.repositories[stack.repository].link;
        configure(&client, stack, link).await.map_err(|(error, _)| anyhow::anyhow!(error))?;
    }
    Ok(())
}

/// Lets the weather happen. The stacks of `held_back` get their sync configurations meanwhile, and are all configured
/// at the end.
pub async fn storm(fleet: &Fleet, estate: &mut Estate, held_back: Vec<usize>, weather: &Weather) -> Happened {
    let until_ms = SystemClock.now_ms() + i64::try_from(weather.lasts.as_millis()).unwrap_or(i64::MAX);
    let is_over = || SystemClock.now_ms() >= until_ms;
    let mut choices = fastrand::Rng::with_seed(weather.seed);
    let [mut for_pushes, mut for_kills, mut for_requests] = [choices.fork(), choices.fork(), choices.fork()];
    let requests = Requests::of(estate, held_back);
    let names: Vec<_> = estate.stacks.iter().map(|stack| stack.name.clone()).collect();
    let pushing = async {
        let mut pushes = 0;
        while !is_over() {
            estate.push(&mut for_pushes).await;
            pushes += 1;
            SystemClock.sleep(weather.push_every).await;
        }
        pushes
    };
    let paused = std::cell::Cell::new(None);
    let killing = async {
        let mut kills = 0;
        let Some(every) = weather.kill_every else { return kills };
        while !is_over() {
            // At some moment of each interval, whatever anybody is doing then.
            let wait = every.mul_f64(for_kills.f64());
            SystemClock.sleep(wait).await;
            let may_be: Vec<_> =
                fleet.running().filter(|replica| paused.get() != Some(replica.number)).collect();
            kills += usize::from(may_be[for_kills.usize(..may_be.len())].kill());
            SystemClock.sleep(every.saturating_sub(wait)).await;
        }
        kills
    };
    let pausing = async {
        let mut pauses = 0;
        let Some(pause) = weather.pause else { return pauses };
        for replica in fleet.replicas.iter().cycle() {
            let left_ms = u64::try_from(until_ms - SystemClock.now_ms()).unwrap_or_default();
            SystemClock.sleep(BETWEEN_PAUSES.min(Duration::from_millis(left_ms))).await;
            if is_over() {
                break;
            }
            paused.set(Some(replica.number));
            replica.ready().await;
            pauses += usize::from(replica.pause());
            SystemClock.sleep(pause).await;
            replica.go_on();
            paused.set(None);
        }
        pauses
    };
    let looking = async {
        let mut told = Vec::new();
        while !is_over() {
            let name = &names[fastrand::usize(..names.len())];
            if let Some(client) = fleet.client() {
                told.extend(newest(&client, name).await);
            }
            SystemClock.sleep(LOOK_EVERY).await;
        }
        told
    };
    let asking = requests.go_on(fleet, &mut for_requests, is_over);
    let (pushes, kills, pauses, told, requests) = tokio::join!(pushing, killing, pausing, looking, asking);
    let Requests { acknowledged, failed, .. } = requests;
    Happened { pushes, kills, pauses, acknowledged, failed_requests: failed, told }
}

/// Requests that change something.
struct Requests {
    links: Vec<(String, String)>,
    stacks: Vec<crate::estate::Stack>,
    /// Those without a sync configuration.
    held_back: Vec<usize>,
    acknowledged: Vec<Acknowledged>,
    failed: usize,
    tags: usize,
}

impl Requests {
    fn of(estate: &Estate, held_back: Vec<usize>) -> Self {
        let links = estate.repositories.iter().map(|linked| (linked.link.clone(), linked.link_arn.clone()));
        Self {
            links: links.collect(),
            stacks: estate.stacks.clone(),
            held_back,
            acknowledged: Vec::new(),
            failed: 0,
            tags: 0,
        }
    }

    async fn go_on(mut self, fleet: &Fleet, choices: &mut fastrand::Rng, is_over: impl Fn() -> bool) -> Self {
        while !is_over() || !self.held_back.is_empty() {
            if let Some(client) = fleet.client() {
                match self.ask(&client, choices, is_over()).await {
                    Ok(acknowledged) => self.acknowledged.extend(acknowledged),
                    Err(_) => self.failed += 1,
                }
            }
            SystemClock.sleep(REQUEST_EVERY).await;
        }
        self
    }

    async fn ask(
        &mut self,
        client: &Client,
        choices: &mut fastrand::Rng,
        only_configure: bool,
    ) -> Result<Option<Acknowledged>, String> {
        if !self.held_back.is_empty() && (only_configure || choices.bool()) {
            let place = choices.usize(..self.held_back.len());
            let stack = &self.stacks[self.held_back[place]];
            let made = configure(client, stack, &self.links[stack.repository].0).await;
            let made = match made {
                Ok(()) => Some(Acknowledged::Configured(stack.name.clone())),
                // An earlier request was done, and its answer lost.
                Err((_, true)) => None,
                Err((error, false)) => return Err(error),
            };
            self.held_back.swap_remove(place);
            return Ok(made);
        }
        let stack = choices.usize(..self.stacks.len());
        if choices.usize(..RECONFIGURE) == 0 && !self.held_back.contains(&stack) && !self.stacks[stack].fails
        {
            let stack = &self.stacks[stack];
            reconfigure(client, &stack.name, &stack.file()).await?;
            return Ok(Some(Acknowledged::Reconfigured(stack.name.clone())));
        }
        // A resource has 200 tags at the most.
        self.tags += 1;
        let (_, link_arn) = &self.links[self.tags % self.links.len()];
        let key = format!("soak-{}", self.tags % (self.links.len() * 150));
        tag(client, link_arn, &key).await?;
        Ok(Some(Acknowledged::Tagged { link_arn: link_arn.clone(), key }))
    }
}

/// The newest attempt of a stack, if a replica tells it.
pub async fn newest(client: &Client, stack: &str) -> Option<Told> {
    let answer = client
        .get_resource_sync_status()
        .sync_type(SyncConfigurationType::CfnStackSync)
        .resource_name(stack)
        .send()
        .await
        .ok()?;
    let latest = answer.latest_sync()?;
    let events = latest.events().iter();
    Some(Told {
        stack: stack.to_owned(),
        started_at_ms: latest.started_at().to_millis().ok()?,
        sha: latest.target_revision()?.sha().to_owned(),
        status: latest.status().as_str().to_owned(),
        events: events.map(|event| (event.r#type().to_owned(), event.event().to_owned())).collect(),
    })
}

/// Waits until every stack is at its branch's head or blocked for a reason that is known, and nothing is in progress any
/// more.
///
/// # Errors
/// The stacks that are not within `limit`, and why.
pub async fn settle(fleet: &Fleet, estate: &Estate, limit: Duration) -> Result<(), Vec<String>> {
    for replica in fleet.running() {
        replica.go_on();
        replica.ready().await;
    }
    match fleet.running().next() {
        Some(replica) => settle_seen_by(replica, fleet, estate, limit).await,
        None => Err(vec!["no replica runs".to_owned()]),
    }
}

/// The same as one replica tells it, whatever the others are doing.
///
/// # Errors
/// As [`settle`].
pub async fn settle_seen_by(
    replica: &Replica,
    fleet: &Fleet,
    estate: &Estate,
    limit: Duration,
) -> Result<(), Vec<String>> {
    let until_ms = SystemClock.now_ms() + i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
    let mut left: Vec<_> = estate.stacks.iter().collect();
    loop {
        let mut unsettled = Vec::new();
        let client = fleet.client_of(&replica.ready().await);
        for stack in left {
            if let Err(why) = verdict::at_rest(&client, fleet, estate, stack).await {
                unsettled.push((stack, why));
            }
        }
        if unsettled.is_empty() {
            break;
        }
        if SystemClock.now_ms() > until_ms {
            return Err(unsettled.into_iter().map(|(stack, why)| format!("{}: {why}", stack.name)).collect());
        }
        left = unsettled.into_iter().map(|(stack, _)| stack).collect();
        SystemClock.sleep(Duration::from_millis(100)).await;
    }
    while !is_quiet(replica).await {
        if SystemClock.now_ms() > until_ms {
            return Err(vec![
                "every stack is as it should be, and there is still work in progress".to_owned(),
            ]);
        }
        SystemClock.sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// The gauges that are zero when nothing is in progress.
const QUIET: [&str; 4] = [
    "syncline_syncs_in_progress",
    "syncline_branches_in_progress",
    "syncline_open_attempts",
    "syncline_audit_waiting",
];

/// Whether nobody works on anything.
async fn is_quiet(replica: &Replica) -> bool {
    let Some((200, metrics)) = replica.admin("/metrics").await else { return false };
    QUIET.iter().all(|gauge| metrics.lines().any(|line| line == format!("{gauge} 0")))
}
