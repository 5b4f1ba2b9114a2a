//! What must hold once a history has come to rest, and what must never have changed on the way.

use std::collections::{BTreeMap, BTreeSet};

use crate::files;
use crate::hosts::{Files, Hosted};
use crate::oracle::{Attempted, Configured, Oracle};
use crate::story::{ACCOUNTS, REGION, Story, TOKENS, url_of};
use crate::world::World;

/// Blockers that say the outside does not work: none may outlast that.
const OUTAGES: [&str; 6] = [
    "ROLE_NOT_ASSUMABLE",
    "ACCESS_DENIED",
    "TARGET_UNAVAILABLE",
    "REPOSITORY_UNAVAILABLE",
    "REPOSITORY_NOT_FOUND",
    "CREDENTIAL_REFUSED",
];

/// What was recorded at some time: it may only be added to.
#[derive(Default)]
pub(crate) struct Memory {
    attempts: BTreeMap<String, Attempted>,
}

impl Memory {
    /// Compares what is recorded with what was, and remembers it.
    pub(crate) fn compare(&mut self, world: &World, oracle: &Oracle) {
        for now in oracle.attempts() {
            let Some(before) = self.attempts.get(&now.id) else {
                self.attempts.insert(now.id.clone(), now);
                continue;
            };
            if matches!(before.status.as_str(), "SUCCEEDED" | "FAILED") && *before != now {
                world.violation(format!("an ended attempt changed: {before:?} is now {now:?}"));
            }
            let is_same_page = before.event_count < 100 && now.event_count < 100;
            let kept = before.events.strip_suffix(']').is_some_and(|events| now.events.starts_with(events));
            if now.event_count < before.event_count || (is_same_page && !kept) {
                world.violation(format!(
                    "events of {} changed: {} is now {}",
                    now.id, before.events, now.events
                ));
            }
            self.attempts.insert(now.id.clone(), now);
        }
    }

    /// Every attempt that was ever seen, also those of configurations that are gone.
    fn attempts(&self) -> &BTreeMap<String, Attempted> {
        &self.attempts
    }
}

/// Checks a history at rest.
pub(crate) fn check(story: &Story, memory: &Memory, database: &[u8]) {
    let oracle = &story.site.oracle;
    let world = &story.site.world;
    let attempts = oracle.attempts();
    check_attempts(world, &attempts);
    check_executions(world, memory);
    check_acknowledged(world, oracle, &story.acknowledged());
    for token in TOKENS {
        if memchr::memmem::find(database, token.as_bytes()).is_some() {
            world.violation(format!("the database shows {token}"));
        }
    }
    let mut blockers = BTreeMap::<String, Vec<String>>::new();
    for (sync, kind) in oracle.active_blockers() {
        blockers.entry(sync).or_default().push(kind);
    }
    let nothing = Vec::new();
    for configured in oracle.configurations() {
        if configured.is_deleted {
            world.violation(format!("{} is deleted and never forgotten", configured.name));
            continue;
        }
        let of_it: Vec<_> = attempts.iter().filter(|attempt| attempt.sync_id == configured.id).collect();
        let active = blockers.get(&configured.id).unwrap_or(&nothing);
        if let Err(why) = check_sync(world, &configured, &of_it, active) {
            world.violation(format!("{}: {why} (blockers {active:?}; {configured:?})", configured.name));
        }
    }
}

fn check_attempts(world: &World, attempts: &[Attempted]) {
    let mut wanted = BTreeMap::<_, &Attempted>::new();
    for attempt in attempts {
        if !matches!(attempt.status.as_str(), "SUCCEEDED" | "FAILED") {
            world.violation(format!("an attempt never ended: {attempt:?}"));
        }
        // What was given up because the sync was to rest is attempted anew.
        if let Some(before) = wanted.insert((&attempt.sync_id, attempt.wanted), attempt)
            && !(before.status == "FAILED" && before.events.contains(r#""Type":"SUPERSEDED""#))
        {
            world.violation(format!("two attempts for the same: {before:?} and {attempt:?}"));
        }
    }
}

/// At most one accepted execution for each stack, revision and generation, whoever attempted it.
fn check_executions(world: &World, memory: &Memory) {
    let mut by_wanted = BTreeMap::<(String, (i64, i64)), Vec<String>>::new();
    for execution in world.simulator.executions() {
        let name = execution.change_set_name;
        let attempt = name.rsplit_once('-').map_or(name.as_str(), |(attempt, _)| attempt);
        // One that was never seen in the database is known by its id alone.
        let wanted = match memory.attempts().get(attempt) {
            Some(recorded) => (recorded.sync_id.clone(), recorded.wanted),
            None => (attempt.to_owned(), (0, 0)),
        };
        by_wanted.entry(wanted).or_default().push(name);
    }
    for (wanted, executed) in by_wanted {
        if executed.len() > 1 {
            world.violation(format!("executed more than once: {executed:?} for {wanted:?}"));
        }
    }
}

/// Whatever was acknowledged is there: its record was written in the same transaction.
fn check_acknowledged(world: &World, oracle: &Oracle, acknowledged: &[String]) {
    let recorded: BTreeSet<String> =
        oracle.rows("SELECT id FROM audit_record", |row| row.get(0)).into_iter().collect();
    for id in acknowledged {
        if !recorded.contains(id) {
            world.violation(format!("request {id} was acknowledged and is lost"));
        }
    }
    let (waiting, places, newest) = (
        oracle.count("SELECT count(*) FROM audit_record WHERE sequence IS NULL"),
        oracle.count("SELECT count(*) FROM (SELECT DISTINCT account_id, sequence FROM audit_record)"),
        oracle.count(
            "SELECT coalesce(sum(newest), 0) FROM (SELECT max(sequence) AS newest FROM audit_record GROUP BY account_id)",
        ),
    );
    if waiting > 0 || places != newest {
        world.violation(format!("the audit log has gaps: {waiting} wait, {places} places, newest {newest}"));
    }
}

/// Synced means the branch's head, or an ACTIVE blocker says why not.
fn check_sync(
    world: &World,
    configured: &Configured,
    attempts: &[&Attempted],
    active: &[String],
) -> Result<(), String> {
    let newest_success = attempts.iter().rev().find(|attempt| attempt.status == "SUCCEEDED");
    if !configured.is_connected {
        return if active.iter().any(|kind| kind == "CONNECTION_UNAVAILABLE") {
            Ok(())
        } else {
            Err("its connection is gone and no blocker says so".to_owned())
        };
    }
    let state = world.hosts.lock();
    let hosted = state.repositories.get(&url_of(&configured.repository)).ok_or("its repository is gone")?;
    let Some(head) = hosted.branches.get(&configured.branch) else {
        return if active.iter().any(|kind| kind == "BRANCH_MISSING") {
            Ok(())
        } else {
            Err("its branch is gone and no blocker says so".to_owned())
        };
    };
    // What rests does not try again what failed.
    if let Some(outage) = active.iter().find(|kind| OUTAGES.contains(&kind.as_str()))
        && !configured.is_suspended
    {
        return Err(format!("{outage} stands although everything works"));
    }
    if active.iter().any(|kind| kind == "BRANCH_MISSING" || kind == "CONNECTION_UNAVAILABLE") {
        return Err("a blocker of the repository stands although it can be read".to_owned());
    }
    let (seen, seq) = &configured.head;
    if seen.as_ref() != Some(head) || configured.considered != (*seq, configured.generation) {
        return Err(format!("the head {head} was never considered"));
    }
    if configured.is_suspended {
        // It knows what it would do, and does it once it is resumed.
        return Ok(());
    }
    let Some(newest) = attempts.last() else {
        return Err("there is no attempt".to_owned());
    };
    let wanted = inputs(hosted, head, &configured.config_file);
    let target = inputs(hosted, &newest.sha, &configured.config_file);
    let is_at_head = if configured.only_file_changes { wanted == target } else { newest.sha == *head };
    if !is_at_head && !active.iter().any(|kind| kind == "STACK_DELETED") {
        return Err(format!("the newest attempt is for {}, not for the head {head}", newest.sha));
    }
    match newest.status.as_str() {
        "SUCCEEDED" if is_at_head => {
            if !active.is_empty() {
                return Err("it is at the head, and a blocker stands all the same".to_owned());
            }
            check_stack(world, configured, newest, newest_success, wanted)
        }
        _ if active.is_empty() => Err(format!("no blocker says why it is not at the head: {newest:?}")),
        _ => Ok(()),
    }
}

/// What the stack is to be made of: the deployment file's value and the template.
type Inputs<'h> = Option<(Option<&'h str>, Option<&'h str>)>;

fn inputs<'h>(hosted: &'h Hosted, sha: &str, config_file: &str) -> Inputs<'h> {
    let files: &Files = hosted.commits.get(sha)?;
    let config = files.get(config_file)?;
    let template = files::template_path(config).and_then(|path| files.get(path)).map(|text| &**text);
    Some((files::value_of(config), template))
}

/// The stack is what the revision says, unless somebody else touched it after that.
fn check_stack(
    world: &World,
    configured: &Configured,
    newest: &Attempted,
    newest_success: Option<&&Attempted>,
    wanted: Inputs<'_>,
) -> Result<(), String> {
    if newest_success.is_none_or(|success| success.id != newest.id) {
        return Err("the newest success is not the newest attempt".to_owned());
    }
    let Some(stack) = world.simulator.stack(&configured.account, REGION, &configured.name) else {
        return Err("there is no stack".to_owned());
    };
    if !ACCOUNTS.contains(&configured.account.as_str()) || world.was_touched(&configured.name) {
        return Ok(());
    }
    if !matches!(stack.status.as_str(), "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "UPDATE_ROLLBACK_COMPLETE") {
        return Err(format!("the stack is {}", stack.status));
    }
    let value = stack.parameters.iter().find(|(key, _)| key == "V").map(|(_, value)| value.as_str());
    let is = Some((value, Some(stack.template.as_str())));
    if is != wanted {
        return Err(format!("the stack is made of {is:?}, the head of {wanted:?}"));
    }
    Ok(())
}
