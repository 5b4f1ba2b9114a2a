//! Samples of the webhooks of GitLab, Bitbucket, Azure DevOps and Gitea, which nobody here wrote.
//!
//! Each goes through the receiver with a right, a wrong and a missing proof; and through verifying and reading with every
//! member nulled, taken out and, where it is a list, emptied in turn.

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderName};
use serde_json::{Value, json};
use syncline_forges::{Branches, Forge, Meaning, Request, verify};
use syncline_peers::webhook_samples;
use syncline_seams::Secret;

use super::client::Server;
use super::webhook_examples::{places, without};
use super::webhooks::{Hook, at_rest, follow, followed, hook};

/// A sample, and what its forge sends with it.
struct Sample {
    name: String,
    provider_type: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: Value,
}

impl Sample {
    /// The branches that it is about: as the forges document it, found without our code.
    fn branches(&self) -> BTreeSet<String> {
        let all =
            |place: &str| self.body.pointer(place).and_then(Value::as_array).cloned().unwrap_or_default();
        let of_ref = |reference: &Value| reference.as_str()?.strip_prefix("refs/heads/").map(str::to_owned);
        match self.provider_type {
            "Bitbucket" => {
                let ends = all("/push/changes")
                    .into_iter()
                    .flat_map(|change| [change["new"].clone(), change["old"].clone()]);
                let branches = ends.filter(|end| end["type"] == "branch");
                branches.filter_map(|end| end["name"].as_str().map(str::to_owned)).collect()
            }
            "AzureDevOps" => {
                all("/resource/refUpdates").iter().filter_map(|update| of_ref(&update["name"])).collect()
            }
            _ => of_ref(&self.body["ref"]).into_iter().collect(),
        }
    }

    fn draft(&self, hook: &Hook, secret: &str, id: &str, body: &Value) -> super::client::Draft {
        let mut headers = self.headers.clone();
        headers.push(match self.provider_type {
            "GitLab" => ("idempotency-key", id),
            "Bitbucket" => ("x-request-uuid", id),
            "Gitea" => ("x-gitea-delivery", id),
            _ => ("content-type", "application/json"),
        });
        hook.draft(secret, &headers, body.to_string().as_bytes())
    }
}

fn samples() -> Option<Vec<Sample>> {
    let mut samples = Vec::new();
    for file in std::fs::read_dir(webhook_samples()?).expect("a folder") {
        let path = file.expect("readable").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let body: Value = serde_json::from_slice(&std::fs::read(&path).expect("readable")).expect("JSON");
        let (provider_type, headers) = match name.split('_').next().expect("a word") {
            "GITLAB" => ("GitLab", vec![("x-gitlab-event", "Push Hook")]),
            "BITBUCKET" if body["pullrequest"].is_object() => {
                ("Bitbucket", vec![("x-event-key", "pullrequest:fulfilled")])
            }
            "BITBUCKET" => ("Bitbucket", vec![("x-event-key", "repo:push")]),
            "AZURE" => ("AzureDevOps", Vec::new()),
            "GITEA" => ("Gitea", vec![("x-gitea-event", "push")]),
            _ => panic!("{name}: of which forge?"),
        };
        samples.push(Sample { name, provider_type, headers, body });
    }
    samples.sort_by(|one, other| one.name.cmp(&other.name));
    let forges: BTreeSet<_> = samples.iter().map(|sample| sample.provider_type).collect();
    assert!(forges.len() == 4 && samples.len() > 8, "{} samples of {forges:?}", samples.len());
    Some(samples)
}

#[tokio::test]
async fn every_sample_goes_through_the_receiver() {
    let Some(samples) = samples() else { return };
    let server = Server::start().await;
    let mut woken = BTreeSet::new();
    for (number, sample) in samples.iter().enumerate() {
        let name = format!("sample-{number}");
        let link = followed(server.client(), sample.provider_type, &name).await;
        let hook = hook(server.client(), &link, Value::Null).await.0;
        for branch in sample.branches() {
            // Names of syncs are an account's.
            follow(&server, &link, &branch, &format!("of-{number}-{}", branch.replace('/', "-"))).await;
        }
        // They tell of other repositories than a link of these tests can be of.
        let mut body = sample.body.clone();
        for place in ["/repository/full_name", "/project/path_with_namespace"] {
            if let Some(full_name) = body.pointer_mut(place) {
                *full_name = json!(format!("acme/{name}"));
            }
        }
        let right = sample.draft(&hook, &hook.secret, "1", &body);
        let proof = hook.proof(&hook.secret, b"").0;
        let told = &sample.name;
        for wrong in [sample.draft(&hook, "wrong", "1", &body), right.clone().without(proof)] {
            assert_eq!(server.send_raw(wrong).await.status, 401, "{told}");
        }
        assert_eq!(at_rest(&server).await, 0, "{told}");
        let reply = server.send_raw(right.clone()).await;
        let expect = if sample.branches().is_empty() { "IGNORED" } else { "WOKE" };
        assert_eq!(
            (reply.status, reply.value["outcome"].as_str()),
            (202, Some(expect)),
            "{told}: {}",
            reply.value
        );
        assert_eq!(at_rest(&server).await, usize::from(expect == "WOKE"), "{told}");
        let path = format!("/deliveries/{}", reply.value["deliveryId"].as_str().expect("an id"));
        let shown = server.client().rest("GET", &path, &Value::Null).await.value;
        assert_eq!(shown["branches"], json!(sample.branches()), "{told}");
        // It comes again, as forges send it that had no answer in time.
        let again = server.send_raw(right).await;
        assert_eq!((again.status, again.value["outcome"].as_str()), (202, Some("DUPLICATE")), "{told}");
        assert_eq!(at_rest(&server).await, 0, "{told}");
        if expect == "WOKE" {
            woken.insert(sample.provider_type);
        }
    }
    assert_eq!(woken.len(), 4, "{woken:?}");
}

#[test]
fn a_sample_without_one_of_its_members_names_no_other_branch() {
    let Some(samples) = samples() else { return };
    let mut shaken = 0;
    for sample in &samples {
        let secret = "a secret";
        let hook = Hook {
            provider_type: sample.provider_type.to_owned(),
            path: "/".to_owned(),
            secret: secret.to_owned(),
        };
        let forge = Forge::of_provider_type(sample.provider_type).expect("a forge");
        let expect = sample.branches();
        let read = |body: &Value, told: &str| {
            let draft = sample.draft(&hook, secret, "1", body);
            let mut headers = HeaderMap::new();
            for (name, value) in &draft.headers {
                let name = name.parse::<HeaderName>().expect("a name");
                headers.append(name, value.parse().expect("a value"));
            }
            let request = Request { headers: &headers, body: &draft.body, now_ms: 0 };
            let proven = verify(forge, request, &[Secret::from(secret.as_bytes().to_vec())]);
            match proven.expect("the proof is right").read().meaning {
                Meaning::Pushed(Branches::Named(names)) => {
                    let named: BTreeSet<_> = names.into_iter().collect();
                    assert!(named.is_subset(&expect), "{told}: {named:?}");
                }
                // Azure DevOps may leave the details out.
                Meaning::Pushed(Branches::All) => {
                    let has_details = body.pointer("/resource/refUpdates").is_some_and(Value::is_array);
                    assert!(sample.provider_type == "AzureDevOps" && !has_details, "{told}: all branches");
                }
                Meaning::PullRequest => {
                    let is_one = sample.headers.iter().any(|(_, event)| event.starts_with("pullrequest:"));
                    assert!(is_one, "{told}");
                }
                Meaning::Ping => panic!("{told}: a ping"),
                Meaning::Nothing(_) => {}
            }
        };
        let mut found = Vec::new();
        places(&sample.body, "", &mut found);
        for place in &found {
            let told = format!("{} without {place}", sample.name);
            for body in without(&sample.body, place) {
                shaken += 1;
                read(&body, &told);
            }
            let mut emptied = sample.body.clone();
            if let Some(Value::Array(items)) = emptied.pointer_mut(place) {
                items.clear();
                read(&emptied, &format!("{} with nothing in {place}", sample.name));
            }
        }
    }
    assert!(shaken > 1_000, "{shaken}");
    println!("{shaken} samples without a member");
}
