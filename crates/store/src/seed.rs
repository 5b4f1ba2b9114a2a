//! Filling a store with many syncs at once, for measurements; compiled only with the feature `seed`.
//!
//! What it writes is what the product writes, column for column, but in large transactions and without the checks.

use sha2::{Digest as _, Sha256};
use syncline_model::sync::{AttemptStatus, EventKind, Revision, SyncEvent};
use uuid::Uuid;

use crate::access::key_owner;
use crate::keyring::Owner;
use crate::sql::{Tx, params, to_json};
use crate::{Scope, Store, StoreResult, events};

/// Syncs that are written in one transaction, and whose attempts are written in turns, as those of syncs are that run
/// side by side.
const AT_ONCE: u32 = 250;
/// Syncs of one repository link.
const PER_LINK: u32 = 100;
/// Every one in so many syncs has failed last.
const FAILED_EVERY: u32 = 10;

/// The policy of every user.
const POLICY: &str = r#"{"Version": "2012-10-17", "Statement": [
  {"Effect": "Allow", "Action": ["codeconnections:*", "codestar-connections:*", "iam:PassRole"], "Resource": "*"},
  {"Effect": "Deny", "Action": ["codeconnections:Delete*", "codestar-connections:Delete*"], "Resource": "*"}]}"#;

/// What to fill a store with.
#[derive(Debug, Clone)]
pub struct Seed {
    /// Whose the syncs are.
    pub scope: Scope,
    /// How many users the account has, each with a policy and an access key.
    pub users: u32,
    /// How many syncs there are.
    pub syncs: u32,
    /// How many attempts each has had.
    pub attempts: u32,
    /// How many events each attempt has.
    pub events: u32,
}

impl Seed {
    /// The stack's name of the sync number `sync`.
    #[must_use]
    pub fn resource_name(sync: u32) -> String {
        format!("service-{sync:06}-production")
    }

    /// Names what a seeded store is like: another schema or another seeding has another one.
    #[must_use]
    pub fn version() -> String {
        let mut hasher = Sha256::new();
        for text in crate::raw::MIGRATIONS.iter().chain(&[include_str!("seed.rs")]) {
            hasher.update(text.as_bytes());
        }
        hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Id and secret of the access key of user number `user`, who may do everything but delete.
    #[must_use]
    pub fn access_key(user: u32) -> (String, String) {
        (format!("AKSLSEED{user:012}"), format!("{user:040}"))
    }

    /// The branch that every sync follows.
    pub const BRANCH: &'static str = "main";
}

/// An id as random as the product's, and the same in every run.
fn id(what: u64, number: u64) -> Uuid {
    // SplitMix64 by Steele, Lea and Flood: every input has another output, and they look random.
    let mix = |seed: u64| {
        let mut z = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let (high, low) = (mix(number << 4 | what), mix(number << 4 | what | 8));
    uuid::Builder::from_random_bytes((u128::from(high) << 64 | u128::from(low)).to_be_bytes()).into_uuid()
}

fn sync_id(sync: u32) -> String {
    id(1, sync.into()).to_string()
}

fn link_id(link: u32) -> String {
    id(3, link.into()).to_string()
}

fn sha(sync: u32, number: u32) -> String {
    let id = id(4, u64::from(sync) << 20 | u64::from(number)).simple().to_string();
    format!("{id}{}", &id[..8])
}

fn revision(sync: u32, number: u32) -> Revision {
    Revision {
        branch: Seed::BRANCH.to_owned(),
        directory: "deploy/production".to_owned(),
        owner_id: "acme".to_owned(),
        repository_name: format!("services-{:04}", sync / PER_LINK),
        provider_type: "GitHub".to_owned(),
        sha: sha(sync, number),
    }
}

/// One attempt while it is written.
struct Attempt {
    sync: u32,
    number: u32,
    id: String,
    status: AttemptStatus,
    change_set_arn: String,
}

impl Attempt {
    fn of(seed: &Seed, sync: u32, number: u32) -> Self {
        let id = format!("syncline-{}", id(2, u64::from(sync) << 20 | u64::from(number)));
        let failed = number == seed.attempts && sync.is_multiple_of(FAILED_EVERY);
        let change_set_arn = format!(
            "arn:aws:cloudformation:{}:{}:changeSet/{id}-1/{}",
            seed.scope.region,
            seed.scope.account,
            link_id(sync),
        );
        let status = if failed { AttemptStatus::Failed } else { AttemptStatus::Succeeded };
        Self { sync, number, id, status, change_set_arn }
    }

    /// The event `seq` of `events`: those of an update of several resources.
    fn event(&self, seq: u32, events: u32, now_ms: i64) -> SyncEvent {
        let name = Seed::resource_name(self.sync);
        let sha = sha(self.sync, self.number);
        let resource = (seq / 2) % 7;
        let (kind, text, external_id) = match seq {
            0 => {
                (EventKind::AttemptStarted, format!("Started syncing commit {sha} of branch main"), Some(sha))
            }
            _ if seq + 1 == events && self.status == AttemptStatus::Succeeded => {
                (EventKind::Succeeded, format!("Stack {name} is at commit {sha}"), Some(sha))
            }
            _ if seq + 1 == events => {
                (EventKind::Failed, format!("Stack {name} is not at commit {sha}: rolled back"), Some(sha))
            }
            1 => {
                let text = format!("Read deploy/production/service.yaml and its template at {sha}");
                (EventKind::FilesRead, text, Some(sha))
            }
            2 => (EventKind::ChangeSetCreating, format!("Asked for change set {}-1", self.id), None),
            3 => {
                let text = "The change set has 7 changes: 5 to modify, 2 to add".to_owned();
                (EventKind::ChangeSetCreated, text, Some(self.change_set_arn.clone()))
            }
            4 => {
                let text = format!("Executing change set {}-1", self.id);
                (EventKind::ExecutionStarted, text, Some(self.change_set_arn.clone()))
            }
            _ => {
                let state = if seq.is_multiple_of(2) { "UPDATE_IN_PROGRESS" } else { "UPDATE_COMPLETE" };
                let text = format!("Function{resource} (AWS::Lambda::Function): {state}");
                (EventKind::StackEvent, text, Some(format!("Function{resource}-{state}-{}", &sha[..32])))
            }
        };
        SyncEvent { time_ms: now_ms + i64::from(seq) * 731, kind, text, external_id }
    }
}

impl Store {
    /// Fills an empty store. `progress` hears of the syncs that are written.
    ///
    /// # Errors
    /// The database's; those of a store that is not empty.
    pub async fn seed(&self, seed: &Seed, progress: impl Fn(u32)) -> StoreResult<()> {
        let (store, users) = (self.clone(), seed.clone());
        self.write("store.seed", move |tx| {
            (0..users.users).try_for_each(|user| store.seed_user(tx, &users, user))
        })
        .await?;
        for first in (0..seed.syncs).step_by(AT_ONCE as usize) {
            let (seed, last) = (seed.clone(), seed.syncs.min(first + AT_ONCE));
            self.write("store.seed", move |tx| syncs(tx, &seed, first..last)).await?;
            progress(last);
        }
        Ok(())
    }
}

impl Store {
    fn seed_user(&self, tx: &Tx<'_>, seed: &Seed, user: u32) -> StoreResult<()> {
        let account = seed.scope.account.as_str();
        let (key_id, secret) = Seed::access_key(user);
        let user_id = format!("AIDA{}", &id(7, user.into()).simple().to_string().to_uppercase()[..16]);
        let resource = key_owner(&key_id);
        let sealed = self.keyring().seal(&Owner { account, arn: &resource }, secret.as_bytes())?;
        tx.execute(
            "INSERT INTO principal (id, account_id, name, policy_version, created_at_ms) VALUES ($1, $2, $3, 1, $4)",
            params![&user_id, account, format!("user-{user}"), tx.now_ms()],
        )?;
        tx.execute(
            "INSERT INTO policy (principal_id, name, document) VALUES ($1, 'deploy', $2)",
            params![&user_id, POLICY],
        )?;
        tx.execute(
            "INSERT INTO access_key (id, account_id, principal_id, secret, active, created_at_ms)
               VALUES ($1, $2, $3, $4, 1, $5)",
            params![&key_id, account, &user_id, sealed, tx.now_ms()],
        )?;
        Ok(())
    }
}

fn syncs(tx: &mut Tx<'_>, seed: &Seed, range: std::ops::Range<u32>) -> StoreResult<()> {
    for sync in range.clone() {
        if sync.is_multiple_of(PER_LINK) {
            link(tx, seed, sync / PER_LINK)?;
        }
        configuration(tx, seed, sync)?;
    }
    for number in 1..=seed.attempts {
        let attempts: Vec<Attempt> = range.clone().map(|sync| Attempt::of(seed, sync, number)).collect();
        for attempt in &attempts {
            open(tx, seed, attempt)?;
        }
    }
    Ok(())
}

fn link(tx: &Tx<'_>, seed: &Seed, link: u32) -> StoreResult<()> {
    let (account, region) = (seed.scope.account.as_str(), seed.scope.region.as_str());
    let connection_id = id(5, link.into()).to_string();
    tx.execute(
        "INSERT INTO connection (id, account_id, region, service, name, provider_type, status, created_at_ms)
           VALUES ($1, $2, $3, 'codeconnections', $4, 'GitHub', 'AVAILABLE', $5)",
        params![&connection_id, account, region, format!("connection-{link}"), tx.now_ms()],
    )?;
    tx.execute(
        "INSERT INTO repository_link (id, account_id, region, service, connection_id, connection_arn, owner_id,
             repository_name, provider_type, failures, created_at_ms)
           VALUES ($1, $2, $3, 'codeconnections', $4, $5, 'acme', $6, 'GitHub', 0, $7)",
        params![
            link_id(link),
            account,
            region,
            &connection_id,
            crate::arn("codeconnections", region, account, "connection", &connection_id),
            format!("services-{link:04}"),
            tx.now_ms()
        ],
    )?;
    let branch_id = id(6, link.into()).to_string();
    tx.execute(
        "INSERT INTO branch (id, link_id, name, head_seq, failures) VALUES ($1, $2, $3, $4, 0)",
        params![&branch_id, link_id(link), Seed::BRANCH, i64::from(seed.attempts)],
    )?;
    for (kind, id) in [("LINK", link_id(link)), ("BRANCH", branch_id)] {
        work(tx, kind, &id)?;
    }
    Ok(())
}

fn work(tx: &Tx<'_>, kind: &str, id: &str) -> StoreResult<()> {
    tx.execute(
        "INSERT INTO work (id, kind, due_at_ms, epoch, wake_seq) VALUES ($1, $2, NULL, 1, 1)",
        params![id, kind],
    )?;
    Ok(())
}

fn configuration(tx: &Tx<'_>, seed: &Seed, sync: u32) -> StoreResult<()> {
    let (account, region) = (seed.scope.account.as_str(), seed.scope.region.as_str());
    let name = Seed::resource_name(sync);
    let revision = to_json(&revision(sync, seed.attempts))?;
    tx.execute(
        "INSERT INTO sync_configuration (id, account_id, region, sync_type, resource_name, link_id, branch,
             config_file, role_arn, role_account, generation, considered_seq, considered_generation,
             desired_revision, desired_seq, desired_generation, applied_revision, stack_id, deleted, created_at_ms)
           VALUES ($1, $2, $3, 'CFN_STACK_SYNC', $4, $5, $6, 'deploy/production/service.yaml', $7, $2, 1, $8, 1, $9,
             $8, 1, $9, $10, 0, $11)",
        params![
            sync_id(sync),
            account,
            region,
            &name,
            link_id(sync / PER_LINK),
            Seed::BRANCH,
            format!("arn:aws:iam::{account}:role/deploy"),
            i64::from(seed.attempts),
            revision,
            format!("arn:aws:cloudformation:{region}:{account}:stack/{name}/{}", sync_id(sync)),
            tx.now_ms()
        ],
    )?;
    work(tx, "SYNC", &sync_id(sync))
}

fn open(tx: &Tx<'_>, seed: &Seed, attempt: &Attempt) -> StoreResult<()> {
    let started_ms = tx.now_ms() - i64::from(seed.attempts - attempt.number) * 3_600_000;
    let events: Vec<SyncEvent> =
        (0..seed.events).map(|seq| attempt.event(seq, seed.events, started_ms)).collect();
    let inserted = tx.row(
        "INSERT INTO attempt (id, sync_id, number, status, phase, phase_since_ms, started_at_ms, ended_at_ms,
             initial_revision, target_revision, target, desired_seq, generation, role_arn, link_id, config_file,
             plan_number, change_set_arn, failures, event_count, events)
           VALUES ($1, $2, $3, $4, 'EXECUTING', $5, $5, $6, $7, $8, $9, $3, 1, $10, $11,
             'deploy/production/service.yaml', 1, $12, 0, $13, $14)
         RETURNING seq",
        params![
            &attempt.id,
            sync_id(attempt.sync),
            i64::from(attempt.number),
            attempt.status.as_str(),
            started_ms,
            started_ms + i64::from(seed.events) * 731,
            to_json(&revision(attempt.sync, attempt.number.saturating_sub(1)))?,
            to_json(&revision(attempt.sync, attempt.number))?,
            Seed::resource_name(attempt.sync),
            format!("arn:aws:iam::{}:role/deploy", seed.scope.account),
            link_id(attempt.sync / PER_LINK),
            &attempt.change_set_arn,
            i64::from(seed.events),
            events::write(&events)?
        ],
    )?;
    if attempt.number + 1 < seed.attempts {
        return Ok(());
    }
    let seq = inserted.map(|mut row| row.int()).transpose()?;
    tx.execute(
        "UPDATE sync_configuration SET newest_attempt = $2, newest_success = coalesce($3, newest_success) WHERE id = $1",
        params![
            sync_id(attempt.sync),
            seq,
            seq.filter(|_| attempt.status == AttemptStatus::Succeeded)
        ],
    )?;
    Ok(())
}
