//! The simulator beside independent implementations: `scenarios.py` asks both the same, and they must agree on every
//! fact but those below, where the other is known to differ from CloudFormation.
//!
//! Where a peer is not installed, its test says so and ends.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use serde_json::Value;
use syncline_cloudformation_sim::{Settings, Simulator};
use syncline_peers::{self as peers, Boto3, LocalStack, Moto};
use syncline_seams::SystemClock;
use tokio::net::TcpListener;
use tokio::process::Command;

/// Where moto differs, and what CloudFormation does instead. A fact listed here on which both agree is an error too,
/// so that the list stays true.
const MOTO_DIFFERS: [(&str, &str); 27] = [
    ("create.events", "CloudFormation writes events of resources; moto writes the stack's only"),
    ("create.execute_twice", "InvalidChangeSetStatus; moto executes again"),
    (
        "exports.imported",
        "exports of stacks made by change sets exist; moto forgets the outputs of such stacks",
    ),
    ("exports.missing", "an unknown export is refused; moto looks when it executes"),
    ("exports.outputs", "a stack made by a change set has outputs; moto computes none"),
    (
        "names.create_again",
        "a CREATE on a stack that exists is refused; moto makes a second stack of that name",
    ),
    ("names.deleted_change_set", "ChangeSetNotFound (404); moto takes the change set's name for a stack's"),
    ("names.events_of_nothing", "'Stack [x] does not exist'; moto words it 'Stack with id x'"),
    ("names.no_change_set", "ChangeSetNotFound (404); moto takes the change set's name for a stack's"),
    ("names.update_of_nothing", "'Stack [x] does not exist'; moto words it 'Stack with id x'"),
    ("parameters.missing", "a parameter without a value is refused; moto accepts"),
    ("parameters.unknown", "a parameter the template lacks is refused; moto accepts"),
    ("parameters.values", "NoEcho values are answered as ****; moto shows them"),
    ("references.Cidr", "Fn::Cidr divides a block; moto does not know it and breaks"),
    ("references.JoinList", "a list parameter is a list; moto joins the characters of its text"),
    ("references.NoValue", "AWS::NoValue removes an item; moto writes None"),
    ("references.SelectName", "a list parameter is a list; moto selects a character of its text"),
    ("replacement.changes", "a Modify says whether it replaces; moto leaves it out"),
    ("templates.circle", "circular dependencies are refused; moto accepts"),
    ("templates.empty", "a template without resources is a ValidationError; moto answers HTTP 500 in HTML"),
    ("templates.iam", "IAM resources need a capability; moto never asks"),
    ("templates.unknown_condition", "an unknown condition is refused; moto accepts"),
    ("templates.unresolved", "an unresolved reference is refused; moto accepts"),
    ("templates.yaml", "malformed YAML is a ValidationError; moto answers HTTP 500 in HTML"),
    ("updates.changes", "an unchanged resource is no change; moto lists it as modified"),
    ("validation.parameters", "ValidateTemplate answers the parameters; moto answers none"),
    ("conditions.added", "a resource whose condition has become true is added; moto does not see it"),
];

/// Where LocalStack 2026.3 differs; as [`MOTO_DIFFERS`].
const LOCALSTACK_DIFFERS: [(&str, &str); 15] = [
    ("create.events", "a resource has two CREATE_IN_PROGRESS events; LocalStack writes one"),
    ("exports.missing", "an unknown export is refused; LocalStack looks when it executes"),
    ("identity.key", "temporary keys begin with ASIA; LocalStack's with LSIA"),
    ("names.update_of_nothing", "'Stack [x] does not exist'; LocalStack has its own words"),
    ("parameters.unknown", "a parameter the template lacks is refused; LocalStack accepts"),
    ("references.Cidr", "Fn::Cidr divides a block; LocalStack does not know it"),
    ("references.SelectName", "a list parameter is a list; LocalStack cannot select from it"),
    ("references.SubLiteral", "${!x} stands for ${x}; LocalStack takes it for a reference"),
    ("references.Suffix", "AWS::URLSuffix is a domain of AWS; LocalStack's is its own"),
    ("replacement.topic", "a replaced resource stays in its stack; LocalStack forgets it with the old one"),
    ("templates.circle", "circular dependencies are refused; LocalStack accepts"),
    ("templates.empty", "a template without resources is refused; LocalStack accepts"),
    ("templates.iam", "IAM resources need a capability; LocalStack never asks"),
    ("templates.unknown_condition", "an unknown condition is refused; LocalStack answers InternalError"),
    ("templates.yaml", "the message says where the template is malformed; LocalStack's does not"),
];

#[tokio::test]
async fn the_simulator_and_moto_agree_where_moto_is_right() {
    let Some(moto) = Moto::start().await else { return };
    compare(moto.endpoint(), &MOTO_DIFFERS).await;
}

#[tokio::test]
async fn the_simulator_and_localstack_agree_where_localstack_is_right() {
    let Some(localstack) = LocalStack::start().await else { return };
    compare(localstack.endpoint(), &LOCALSTACK_DIFFERS).await;
}

async fn compare(peer_url: &str, differs: &[(&str, &str)]) {
    let python = peers::python(Boto3::V1_44).expect("the peer's environment holds a Python with boto3");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("a bound listener has an address"));
    let simulator = Simulator::new(Arc::new(SystemClock), Settings::instant());
    let server = tokio::spawn(async move { simulator.serve(listener).await });
    let (ours, theirs) = tokio::join!(ask(&python, &url), ask(&python, peer_url));
    server.abort();

    let known: BTreeMap<&str, &str> = differs.iter().copied().collect();
    let mut wrong = Vec::new();
    for fact in ours.keys().chain(theirs.keys().filter(|fact| !ours.contains_key(*fact))) {
        let (our, their) = (ours.get(fact), theirs.get(fact));
        match (our == their, known.contains_key(fact.as_str())) {
            (false, false) => wrong.push(format!("{fact}: we say {our:?}, the peer says {their:?}")),
            (true, true) => {
                wrong.push(format!("{fact}: the peer is listed as different but agrees: {our:?}"))
            }
            _ => {}
        }
    }
    for fact in known.keys().filter(|fact| !ours.contains_key(**fact)) {
        wrong.push(format!("{fact}: listed as different, but no scenario asks for it"));
    }
    assert!(ours.len() > 60, "only {} facts were asked for", ours.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn ask(python: &Path, url: &str) -> BTreeMap<String, Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/scenarios.py");
    let output = Command::new(python)
        .arg(script)
        .arg(url)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("the script runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the script failed against {url}: {said}");
    serde_json::from_slice(&output.stdout).expect("the script prints JSON")
}
