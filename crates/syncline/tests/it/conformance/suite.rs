//! Every case, called.

use std::collections::{BTreeMap, BTreeSet};

use syncline_wire::{ErrorCode, Operation, Protocol, Service};

use super::cases::{Case, Change, Verdict, cases, sites};
use super::fixtures::Stage;
use super::wording::{Violation, misfit};
use super::{answers, meaning};
use crate::api::client::Client;

/// The most failures that are told.
const TOLD: usize = 12;

/// What the calls of one protocol have shown.
#[derive(Default)]
struct Findings {
    failures: Vec<String>,
    /// How many calls succeeded, broke a constraint and could not be read, for each place of an input.
    met: BTreeMap<(&'static str, String), [u32; 3]>,
    /// The places of the outputs that had a value.
    seen: BTreeSet<String>,
}

impl Findings {
    fn fail(&mut self, operation: Operation, case: &Case, why: &str) {
        let change = match &case.change {
            Change::Put(value) => shortened(&value.to_string()),
            other => format!("{other:?}"),
        };
        self.failures.push(format!("{} {} {change}: {}", operation.name(), case.site, shortened(why)));
    }

    fn check(&self) {
        let told: Vec<_> = self.failures.iter().take(TOLD).cloned().collect();
        assert!(told.is_empty(), "{} failures, among them:\n{}", self.failures.len(), told.join("\n"));
    }

    fn count(&mut self, operation: Operation, case: &Case, what: usize) {
        self.met.entry((operation.name(), case.site.clone())).or_default()[what] += 1;
    }
}

/// The text without its middle, for a failure that somebody is to read.
fn shortened(text: &str) -> String {
    let length = text.chars().count();
    if length < 400 {
        return text.to_owned();
    }
    let (head, tail) = (text.chars().take(100), text.chars().skip(length - 250));
    head.chain(" … ".chars()).chain(tail).collect()
}

/// Calls the operation with one case and holds the answer against what the case expects.
async fn meet(stage: &Stage, client: Client<'_>, case: &Case, findings: &mut Findings) {
    let operation = stage.operation;
    let input = case.apply(stage.input(client, &case.site).await);
    let reply = client.call(operation.name(), &input).await;
    let expected = match &case.verdict {
        Verdict::Within => meaning::refusal(operation, case, &input),
        Verdict::Unreadable(message) => Some((ErrorCode::Serialization, message.clone())),
        Verdict::Broken(violations) => {
            let refused = answers::refusal(operation, client.protocol, &reply);
            let told = refused.and_then(|(code, message)| {
                if code != operation.validation_code() {
                    return Err(format!("refused as {}: {message}", code.name()));
                }
                misfit(violations, &message).map_or(Ok(()), Err)
            });
            match told {
                Ok(()) => findings.count(operation, case, 1),
                Err(why) => findings.fail(operation, case, &why),
            }
            return;
        }
    };
    let Some(expected) = expected else {
        match answers::success(operation, client.protocol, &reply) {
            Ok(seen) => {
                findings.count(operation, case, 0);
                findings.seen.extend(seen);
                stage.undo(client, &input, &reply.value).await;
            }
            Err(why) => findings.fail(operation, case, &why),
        }
        return;
    };
    match answers::refusal(operation, client.protocol, &reply) {
        Ok(refused) if refused == expected => {
            if matches!(case.verdict, Verdict::Unreadable(_)) {
                findings.count(operation, case, 2);
            }
        }
        other => findings.fail(operation, case, &format!("expected {expected:?}, got {other:?}")),
    }
}

/// Calls every operation with every case in one protocol, under both names.
async fn all_cases(protocol: Protocol) {
    let mut findings = Findings::default();
    for operation in Operation::ALL {
        let stage = Stage::of(operation).await;
        let cases = cases(operation);
        for &service in Service::ALL {
            let client = Client { protocol, service, ..stage.client() };
            for case in &cases {
                meet(&stage, client, case, &mut findings).await;
            }
            several(&stage, client, &cases, &mut findings).await;
        }
    }
    findings.check();
    for operation in Operation::ALL {
        for site in sites(operation) {
            let met = findings.met.get(&(operation.name(), site.clone())).copied().unwrap_or_default();
            let [succeeded, _, unreadable] = met;
            assert!(succeeded > 0 && unreadable > 0, "{} {site}: {met:?}", operation.name());
        }
        for site in constrained(operation) {
            let [_, broken, _] = findings.met[&(operation.name(), site.clone())];
            assert!(broken > 0, "{} {site}: no constraint was broken", operation.name());
        }
    }
    let modelled: BTreeSet<_> = Operation::ALL.into_iter().flat_map(answers::places).collect();
    let unseen: Vec<_> = modelled.difference(&findings.seen).map(String::as_str).collect();
    assert_eq!(unseen, NEVER_ANSWERED, "places of the outputs that never had a value");
}

/// The places of an input that have a constraint.
fn constrained(operation: Operation) -> BTreeSet<String> {
    let cases = cases(operation);
    let broken = cases.into_iter().filter(|case| matches!(case.verdict, Verdict::Broken(_)));
    broken.map(|case| case.site).collect()
}

/// Breaks one constraint at each place of the input at once, as far as the places do not hold each other.
async fn several(stage: &Stage, client: Client<'_>, cases: &[Case], findings: &mut Findings) {
    let operation = stage.operation;
    for nth in 0..3 {
        let mut input = stage.input(client, "").await;
        let (mut expected, mut done) = (Vec::<Violation>::new(), Vec::<String>::new());
        for case in cases {
            let Verdict::Broken(violations) = &case.verdict else { continue };
            let broken = cases.iter().filter(|other| matches!(other.verdict, Verdict::Broken(_)));
            let here = broken.clone().filter(|other| other.pointer == case.pointer);
            let chosen = here.clone().nth(nth % here.count());
            // Another one of the place's cases each time, and places within places from the second time on.
            let within = |other: &Case| below(&other.pointer, &case.pointer) && other.pointer != case.pointer;
            let yields = nth > 0 && broken.clone().any(within);
            let apart = done.iter().all(|done| !below(&case.pointer, done));
            if yields || !apart || !chosen.is_some_and(|chosen| std::ptr::eq(chosen, case)) {
                continue;
            }
            input = case.apply(input);
            expected.extend(violations.iter().cloned());
            done.push(case.pointer.clone());
        }
        if expected.len() < 2 {
            continue;
        }
        let reply = client.call(operation.name(), &input).await;
        let refused = answers::refusal(operation, client.protocol, &reply);
        let told = refused.and_then(|(_, message)| misfit(&expected, &message).map_or(Ok(()), Err));
        if let Err(why) = told {
            findings.failures.push(format!("{} several: {}", operation.name(), shortened(&why)));
        }
    }
}

fn below(pointer: &str, parent: &str) -> bool {
    pointer == parent || pointer.strip_prefix(parent).is_some_and(|rest| rest.starts_with('/'))
}

/// Places of the outputs that this server leaves out, in the order of their names: syncs have no parents, and no
/// status of a host needs a message.
const NEVER_ANSWERED: &[&str] = &[
    "GetSyncBlockerSummary.SyncBlockerSummary.ParentResourceName",
    "ListHosts.Hosts[].StatusMessage",
    "UpdateSyncBlocker.ParentResourceName",
];

#[tokio::test]
async fn every_member_at_below_and_above_its_constraints_in_json() {
    all_cases(Protocol::Json).await;
}

#[tokio::test]
async fn every_member_at_below_and_above_its_constraints_in_cbor() {
    all_cases(Protocol::Cbor).await;
}
