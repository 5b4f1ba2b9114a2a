//! Events with the members that the vendors document, and what each means. The values are ours.

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use syncline_forges::{Branches, Forge, Meaning, Received, Request, verify};
use syncline_seams::Secret;

pub(crate) const NOW_MS: i64 = 1_763_865_600_000;
pub(crate) const SECRET: &str = "a secret of forty-three characters or so";
pub(crate) const ZERO: &str = "0000000000000000000000000000000000000000";
pub(crate) const SHA: &str = "1481a2de7b2a7d02428ad93446ab166be7793fbb";

pub(crate) fn headers(of: &[(&str, &str)]) -> HeaderMap {
    let parse = |(name, value): &(&str, &str)| {
        let name: HeaderName = name.parse().expect("a name");
        (name, HeaderValue::from_str(value).expect("a value"))
    };
    of.iter().map(parse).collect()
}

pub(crate) fn hex_hmac(secret: &str, body: &[u8]) -> String {
    use hmac::Mac as _;
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(body);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The headers that prove a body.
pub(crate) fn proof(forge: Forge, secret: &str, body: &[u8]) -> (&'static str, String) {
    use base64::Engine as _;
    match forge {
        Forge::Git | Forge::GitHub => ("x-hub-signature-256", format!("sha256={}", hex_hmac(secret, body))),
        Forge::Bitbucket => ("x-hub-signature", format!("sha256={}", hex_hmac(secret, body))),
        Forge::Gitea => ("x-gitea-signature", hex_hmac(secret, body)),
        Forge::GitLab => ("x-gitlab-token", secret.to_owned()),
        Forge::AzureDevOps => {
            let credentials = base64::engine::general_purpose::STANDARD.encode(format!("syncline:{secret}"));
            ("authorization", format!("Basic {credentials}"))
        }
    }
}

/// The event read, its proof being right.
pub(crate) fn read(forge: Forge, of: &[(&str, &str)], body: &[u8]) -> Received {
    let mut headers = headers(of);
    let (name, value) = proof(forge, SECRET, body);
    headers.insert(name, HeaderValue::from_str(&value).expect("a value"));
    let secrets = [Secret::from(SECRET.as_bytes().to_vec())];
    let request = Request { headers: &headers, body, now_ms: NOW_MS };
    verify(forge, request, &secrets).expect("the proof is right").read()
}

pub(crate) fn branches(names: &[&str]) -> Meaning {
    Meaning::Pushed(Branches::Named(names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>()))
}

/// An event of a forge.
pub(crate) struct Sample {
    pub(crate) forge: Forge,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) body: Value,
    /// The branches that it may make due, whatever is taken out of it.
    pub(crate) branches: &'static [&'static str],
}

/// Pushes of every forge: of branches that are new, changed and gone, of tags, and of many refs at once.
pub(crate) fn pushes() -> Vec<Sample> {
    let github = |body: Value, branches| Sample {
        forge: Forge::GitHub,
        headers: vec![
            ("x-github-event", "push"),
            ("x-github-delivery", "d-1"),
            ("content-type", "application/json"),
        ],
        body,
        branches,
    };
    let gitlab = |event: &'static str, body: Value, branches| Sample {
        forge: Forge::GitLab,
        headers: vec![("x-gitlab-event", event), ("idempotency-key", "k-1")],
        body,
        branches,
    };
    let bitbucket = |changes: Value, branches| Sample {
        forge: Forge::Bitbucket,
        headers: vec![("x-event-key", "repo:push"), ("x-request-uuid", "u-1")],
        body: json!({"push": {"changes": changes}, "repository": {"type": "repository", "full_name": "acme/infra"},
                     "actor": {"type": "user", "display_name": "Ann"}}),
        branches,
    };
    let azure = |updates: Value, branches| Sample {
        forge: Forge::AzureDevOps,
        headers: vec![("content-type", "application/json; charset=utf-8")],
        body: json!({"subscriptionId": "00000000-0000-0000-0000-000000000001", "notificationId": 7, "id": "e-1",
                     "eventType": "git.push", "publisherId": "tfs", "resourceVersion": "1.0",
                     "resource": {"commits": [], "refUpdates": updates, "pushId": 14,
                                  "repository": {"id": "r", "name": "infra", "project": {"id": "p", "name": "acme"}}}}),
        branches,
    };
    let gitea = |event: &'static str, body: Value, branches| Sample {
        forge: Forge::Gitea,
        headers: vec![("x-gitea-event", event), ("x-gitea-delivery", "d-2"), ("x-gitea-event-type", event)],
        body,
        branches,
    };
    let repository = || json!({"id": 1, "full_name": "acme/infra", "default_branch": "main"});
    let pushed = |reference: &str, before: &str, after: &str| {
        json!({"ref": reference, "before": before, "after": after, "created": before == ZERO, "deleted": after == ZERO,
               "commits": [], "head_commit": null, "repository": repository(), "pusher": {"name": "ann"}})
    };
    let of_gitlab = |kind: &str, reference: &str, before: &str, after: &str| {
        json!({"object_kind": kind, "event_name": kind, "before": before, "after": after, "ref": reference,
               "checkout_sha": null, "project_id": 15, "total_commits_count": 0, "commits": [],
               "project": {"id": 15, "path_with_namespace": "acme/infra", "default_branch": "main"}})
    };
    let target = |kind: &str, name: &str| json!({"type": kind, "name": name, "target": {"type": "commit", "hash": SHA}});
    let update =
        |name: &str, old: &str, new: &str| json!({"name": name, "oldObjectId": old, "newObjectId": new});
    vec![
        github(pushed("refs/heads/main", SHA, SHA), &["main"]),
        github(pushed("refs/heads/feature/x", ZERO, SHA), &["feature/x"]),
        github(pushed("refs/heads/old", SHA, ZERO), &["old"]),
        github(pushed("refs/tags/v1", ZERO, SHA), &[]),
        gitlab("Push Hook", of_gitlab("push", "refs/heads/main", SHA, SHA), &["main"]),
        gitlab("Push Hook", of_gitlab("push", "refs/heads/a/b", ZERO, SHA), &["a/b"]),
        gitlab("Push Hook", of_gitlab("push", "refs/heads/old", SHA, ZERO), &["old"]),
        gitlab("Tag Push Hook", of_gitlab("tag_push", "refs/tags/v1", ZERO, SHA), &[]),
        gitlab("System Hook", of_gitlab("push", "refs/heads/main", SHA, SHA), &["main"]),
        bitbucket(
            json!([{"new": target("branch", "main"), "old": target("branch", "main"), "forced": false}]),
            &["main"],
        ),
        bitbucket(json!([{"new": target("branch", "new"), "old": null, "created": true}]), &["new"]),
        bitbucket(json!([{"new": null, "old": target("branch", "old"), "closed": true}]), &["old"]),
        bitbucket(json!([{"new": target("tag", "v1"), "old": null, "created": true}]), &[]),
        bitbucket(
            json!([{"new": target("branch", "one"), "old": null}, {"new": target("tag", "v1"), "old": null},
                   {"new": null, "old": target("branch", "two")}]),
            &["one", "two"],
        ),
        azure(json!([update("refs/heads/main", SHA, SHA)]), &["main"]),
        azure(
            json!([update("refs/heads/new", ZERO, SHA), update("refs/heads/old", SHA, ZERO)]),
            &["new", "old"],
        ),
        azure(json!([update("refs/tags/v1", ZERO, SHA)]), &[]),
        gitea("push", pushed("refs/heads/main", SHA, SHA), &["main"]),
        gitea("push", pushed("refs/tags/v1", ZERO, SHA), &[]),
        gitea(
            "create",
            json!({"sha": SHA, "ref": "new", "ref_type": "branch", "repository": repository()}),
            &["new"],
        ),
        gitea("delete", json!({"ref": "old", "ref_type": "branch", "repository": repository()}), &["old"]),
        gitea("create", json!({"sha": SHA, "ref": "v1", "ref_type": "tag", "repository": repository()}), &[]),
    ]
}
