//! GitHub's own examples of every event, of github.com and of GitHub Enterprise Server, which nobody here wrote.
//!
//! Each goes through the receiver with a right, a wrong and a missing proof; and through verifying and reading with every
//! member nulled and taken out in turn.

use std::path::Path;

use http::HeaderMap;
use serde_json::Value;
use syncline_forges::{Branches, Forge, Meaning, Request, verify};
use syncline_peers::webhook_examples;
use syncline_seams::Secret;

use super::client::Server;
use super::webhooks::{Hook, at_rest, follow, followed, hook};

/// An example of an event.
struct Example {
    edition: String,
    event: String,
    body: Value,
}

impl Example {
    /// The branch that it is about, if it is a push to one: as GitHub documents it, found without our code.
    fn branch(&self) -> Option<&str> {
        let of_push = (self.event == "push").then(|| self.body["ref"].as_str())??;
        of_push.strip_prefix("refs/heads/")
    }
}

fn examples(folder: &Path) -> Vec<Example> {
    let mut examples = Vec::new();
    let mut editions: Vec<_> =
        std::fs::read_dir(folder).expect("a folder").map(|of| of.expect("readable")).collect();
    editions.sort_by_key(std::fs::DirEntry::file_name);
    for edition in editions {
        let Ok(text) = std::fs::read_to_string(edition.path().join("index.json")) else { continue };
        let events: Value = serde_json::from_str(&text).expect("JSON");
        for event in events.as_array().expect("a list") {
            for body in event["examples"].as_array().expect("a list") {
                examples.push(Example {
                    edition: edition.file_name().to_string_lossy().into_owned(),
                    event: event["name"].as_str().expect("a name").to_owned(),
                    body: body.clone(),
                });
            }
        }
    }
    examples
}

/// A server whose link `Codertocat/Hello-World`, of which the examples tell, has syncs of `master` and `main`.
async fn codertocat(server: &Server, provider_type: &str) -> Hook {
    let client = server.client();
    let link = followed(client, provider_type, "hello").await;
    let hook = hook(client, &link, Value::Null).await.0;
    for branch in ["master", "simple-tag", "changes", "refs/heads/master"] {
        follow(server, &link, branch, &format!("of-{}", branch.replace('/', "-"))).await;
    }
    hook
}

#[tokio::test]
async fn every_example_of_github_s_goes_through_the_receiver() {
    let Some(folder) = webhook_examples() else { return };
    let examples = examples(&folder);
    let editions: std::collections::BTreeSet<_> = examples.iter().map(|example| &example.edition).collect();
    assert!(examples.len() > 500 && editions.len() > 4, "{} examples of {editions:?}", examples.len());
    let (mut woken, mut pings, mut pull_requests) = (0, 0, 0);
    let server = Server::start().await;
    // The examples are of another repository than any that this server makes for the other tests.
    let hook = codertocat(&server, "GitHub").await;
    for (number, example) in examples.iter().enumerate() {
        let mut body = example.body.clone();
        if let Some(name) = body.pointer_mut("/repository/full_name") {
            *name = "Acme/Hello".into();
        }
        let body = body.to_string();
        let id = number.to_string();
        let of = [
            ("x-github-event", &*example.event),
            ("x-github-delivery", &id),
            ("content-type", "application/json"),
        ];
        let right = hook.draft(&hook.secret, &of, body.as_bytes());
        let told = format!("{} {} {body}", example.edition, example.event);
        for wrong in [hook.draft("wrong", &of, body.as_bytes()), right.clone().without("x-hub-signature-256")]
        {
            assert_eq!(server.send_raw(wrong).await.status, 401, "{told}");
        }
        assert_eq!(at_rest(&server).await, 0, "{told}");
        let reply = server.send_raw(right).await;
        let outcome = reply.value["outcome"].as_str().unwrap_or_default();
        let expect = match (&*example.event, example.branch()) {
            (_, Some("master")) => "WOKE",
            ("ping", _) => "PING",
            _ => "IGNORED",
        };
        assert_eq!(outcome, expect, "{told}");
        assert_eq!(reply.status, if expect == "PING" { 200 } else { 202 }, "{told}");
        assert_eq!(at_rest(&server).await, usize::from(expect == "WOKE"), "{told}");
        if !["push", "ping", "pull_request"].contains(&&*example.event) {
            continue;
        }
        let path = format!("/deliveries/{}", reply.value["deliveryId"].as_str().expect("an id"));
        let shown = server.client().rest("GET", &path, &Value::Null).await.value;
        assert_eq!(shown["event"], example.event);
        match expect {
            "WOKE" => assert_eq!(shown["branches"], serde_json::json!(["master"]), "{told}"),
            _ => assert_eq!(shown["branches"], serde_json::json!([]), "{told}"),
        }
        if example.event == "pull_request" {
            pull_requests += 1;
            assert_eq!(
                shown["reason"], "no sync of this repository has PullRequestComment ENABLED",
                "{told}"
            );
        }
        woken += usize::from(expect == "WOKE");
        pings += usize::from(expect == "PING");
    }
    assert!(woken > 1 && pings > 5 && pull_requests > 30, "{woken} {pings} {pull_requests}");
}

/// Every place in a value, as the names and numbers that lead there.
pub(super) fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                places(value, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        // Its members are alike, and what is beyond the second is nothing new.
        Value::Array(items) => {
            for (number, value) in items.iter().enumerate().take(2) {
                places(value, &format!("{at}/{number}"), found);
            }
        }
        _ => {}
    }
}

/// The value with null in a place, and without the place.
pub(super) fn without(value: &Value, place: &str) -> [Value; 2] {
    let mut nulled = value.clone();
    *nulled.pointer_mut(place).expect("a place") = Value::Null;
    let mut taken = value.clone();
    if let Some((parent, name)) = place.rsplit_once('/') {
        match taken.pointer_mut(parent) {
            Some(Value::Object(members)) => {
                members.remove(&name.replace("~1", "/").replace("~0", "~"));
            }
            Some(Value::Array(items)) => drop(items.remove(name.parse().expect("a number"))),
            _ => {}
        }
    }
    [nulled, taken]
}

/// What an example says without its proof's being asked for again and again in the receiver.
fn read(example: &Example, body: &Value, secret: &Secret<Vec<u8>>) -> Meaning {
    use hmac::Mac as _;
    let body = body.to_string();
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(secret.expose()).expect("any length");
    mac.update(body.as_bytes());
    let digits: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut headers = HeaderMap::new();
    headers.insert("x-github-event", example.event.parse().expect("a value"));
    headers.insert("x-hub-signature-256", format!("sha256={digits}").parse().expect("a value"));
    let request = Request { headers: &headers, body: body.as_bytes(), now_ms: 0 };
    let proven = verify(Forge::GitHub, request, std::slice::from_ref(secret)).expect("the proof is right");
    proven.read().meaning
}

#[test]
fn an_example_without_one_of_its_members_names_no_other_branch() {
    let Some(folder) = webhook_examples() else { return };
    let secret = Secret::from(b"a secret".to_vec());
    // Every push and ping has its members taken, and one of each other event.
    let mut seen = std::collections::BTreeSet::new();
    let mut shaken = 0;
    for example in examples(&folder) {
        let is_ours = ["push", "ping"].contains(&&*example.event) && example.edition == "api.github.com";
        if !seen.insert(example.event.clone()) && !is_ours {
            continue;
        }
        let mut found = Vec::new();
        places(&example.body, "", &mut found);
        // The members of members are many; what is asked for stands further out.
        found.retain(|place| place.matches('/').count() <= if is_ours { 3 } else { 1 });
        for place in &found {
            for body in without(&example.body, place) {
                shaken += 1;
                let told = format!("{} without {place}", example.event);
                match read(&example, &body, &secret) {
                    Meaning::Pushed(Branches::Named(names)) => {
                        let branch = example.branch().unwrap_or_else(|| panic!("{told}: {names:?}"));
                        assert!(names.iter().eq([branch]), "{told}: {names:?}");
                    }
                    Meaning::Pushed(Branches::All) => panic!("{told}: all branches"),
                    Meaning::PullRequest => assert_eq!(example.event, "pull_request", "{told}"),
                    Meaning::Ping => assert_eq!(example.event, "ping", "{told}"),
                    Meaning::Nothing(_) => {}
                }
            }
        }
    }
    assert!(shaken > 2_000, "{shaken}");
    println!("{shaken} examples without a member");
}
