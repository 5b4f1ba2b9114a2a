//! Webhooks as forges deliver them, to the real router and store.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use syncline_seams::Moment;
use syncline_store::{Change, CreateConfiguration, Kind, NewConfiguration};

use super::access::{ann, may, scene_with_ann};
use super::client::{Client, Draft, OURS, Reply, Server, THEIRS};
use super::scene::{authorize, but, link, scope_of, sync_input, text};

/// The provider types and the headers in which each names an event, its proof apart.
pub(super) const TYPES: [&str; 8] = [
    "GitHub",
    "GitHubEnterpriseServer",
    "GitLab",
    "GitLabSelfManaged",
    "Bitbucket",
    "AzureDevOps",
    "Gitea",
    "Git",
];

/// A link's webhook, as its forge knows it.
#[derive(Debug, Clone)]
pub(crate) struct Hook {
    pub(crate) provider_type: String,
    pub(crate) path: String,
    pub(crate) secret: String,
}

/// Makes a link of `acme/<name>` of a provider type, whose `main` the sync `<name>` follows.
pub(super) async fn followed(client: Client<'_>, provider_type: &str, name: &str) -> String {
    let input = if ["GitHubEnterpriseServer", "GitLabSelfManaged", "Gitea", "Git"].contains(&provider_type) {
        let host = json!({"Name": name, "ProviderType": provider_type,
                          "ProviderEndpoint": format!("https://{name}.example.com")});
        let host = text(&client.ok("CreateHost", host).await, "/HostArn");
        json!({"ConnectionName": name, "HostArn": host})
    } else {
        json!({"ConnectionName": name, "ProviderType": provider_type})
    };
    let connection = text(&client.ok("CreateConnection", input).await, "/ConnectionArn");
    authorize(client.server, client.key, &connection).await;
    let link = match provider_type {
        "AzureDevOps" => {
            let input = json!({"ConnectionArn": connection, "OwnerId": "acme/shop", "RepositoryName": name});
            text(&client.ok("CreateRepositoryLink", input).await, "/RepositoryLinkInfo/RepositoryLinkId")
        }
        _ => link(client, &connection, name).await,
    };
    let role = format!("arn:aws:iam::{}:role/deploy", client.key.account);
    client.ok("CreateSyncConfiguration", but(sync_input(&link, name), json!({"RoleArn": role}))).await;
    at_rest(client.server).await;
    link
}

/// Makes, or rotates, a link's webhook.
pub(super) async fn hook(client: Client<'_>, link: &str, body: Value) -> (Hook, Value) {
    let reply = client.rest("POST", &format!("/repository-links/{link}/webhook"), &body).await;
    assert_eq!(reply.status, 200, "{}", reply.value);
    let url = text(&reply.value, "/url");
    let path = url.strip_prefix("http://127.0.0.1:7962").expect("where the request was sent to").to_owned();
    let secret = text(&reply.value, "/secret");
    let provider_type = text(&reply.value, "/providerType");
    (Hook { provider_type, path, secret }, reply.value)
}

fn signature(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(body);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Hook {
    /// The header that proves a body.
    pub(super) fn proof(&self, secret: &str, body: &[u8]) -> (&'static str, String) {
        match &*self.provider_type {
            "Bitbucket" => ("x-hub-signature", format!("sha256={}", signature(secret, body))),
            "GitLab" | "GitLabSelfManaged" => ("x-gitlab-token", secret.to_owned()),
            "AzureDevOps" => {
                ("authorization", format!("Basic {}", STANDARD.encode(format!("syncline:{secret}"))))
            }
            "Gitea" => ("x-gitea-signature", signature(secret, body)),
            _ => ("x-hub-signature-256", format!("sha256={}", signature(secret, body))),
        }
    }

    /// A delivery that says whose it is by `secret`.
    pub(crate) fn draft(&self, secret: &str, of: &[(&str, &str)], body: &[u8]) -> Draft {
        let mut headers: Vec<_> =
            of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (name, value) = self.proof(secret, body);
        headers.push((name.to_owned(), value));
        Draft { method: "POST".to_owned(), path: self.path.clone(), headers, body: body.to_vec() }
    }

    /// Delivers with the right proof.
    pub(super) async fn deliver(&self, server: &Server, of: &[(&str, &str)], body: &[u8]) -> Reply {
        server.send_raw(self.draft(&self.secret, of, body)).await
    }

    /// A push of its forge to a branch of `acme/<repository>`, told apart by `id`.
    pub(crate) fn push(
        &self,
        repository: &str,
        branch: &str,
        id: &str,
    ) -> (Vec<(&'static str, String)>, Value) {
        let (full_name, reference) = (format!("acme/{repository}"), format!("refs/heads/{branch}"));
        let id = id.to_owned();
        let header = |name: &'static str, value: &str| (name, value.to_owned());
        match &*self.provider_type {
            "Bitbucket" => (
                vec![header("x-event-key", "repo:push"), ("x-request-uuid", id)],
                json!({"push": {"changes": [{"new": {"type": "branch", "name": branch}, "old": null}]},
                       "repository": {"full_name": full_name}}),
            ),
            "GitLab" | "GitLabSelfManaged" => (
                vec![header("x-gitlab-event", "Push Hook"), ("idempotency-key", id)],
                json!({"object_kind": "push", "ref": reference, "project": {"path_with_namespace": full_name}}),
            ),
            "AzureDevOps" => (
                vec![header("content-type", "application/json; charset=utf-8")],
                json!({"subscriptionId": "s", "notificationId": id, "eventType": "git.push",
                       "resource": {"refUpdates": [{"name": reference}]}}),
            ),
            "Gitea" => (
                vec![header("x-gitea-event", "push"), ("x-gitea-delivery", id)],
                json!({"ref": reference, "repository": {"full_name": full_name}}),
            ),
            _ => (
                vec![header("x-github-event", "push"), ("x-github-delivery", id)],
                json!({"ref": reference, "repository": {"full_name": full_name}}),
            ),
        }
    }

    /// Delivers such a push.
    pub(super) async fn deliver_push(
        &self,
        server: &Server,
        repository: &str,
        branch: &str,
        id: &str,
    ) -> Reply {
        let (headers, body) = self.push(repository, branch, id);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
        self.deliver(server, &headers, body.to_string().as_bytes()).await
    }
}

/// Takes the turns of all links that are due, and of nothing else. How many there were.
pub(super) async fn at_rest(server: &Server) -> usize {
    let store = &server.parts.store;
    let mut turns = 0;
    while let Some(claim) = store.claim(Kind::Link, "test", 15_000).await.expect("claimed") {
        store.release(claim, None).await.expect("released");
        turns += 1;
    }
    turns
}

async fn deliveries(client: Client<'_>, query: &str) -> Vec<Value> {
    let reply = client.rest("GET", &format!("/deliveries{query}"), &Value::Null).await;
    assert_eq!(reply.status, 200, "{}", reply.value);
    reply.value["deliveries"].as_array().expect("a list").clone()
}

fn outcome(reply: &Reply) -> (u16, String) {
    (reply.status, text(&reply.value, "/outcome"))
}

fn woke() -> (u16, String) {
    (202, "WOKE".to_owned())
}

fn ignored() -> (u16, String) {
    (202, "IGNORED".to_owned())
}

#[tokio::test]
async fn every_forge_s_push_makes_the_branch_due_that_it_names() {
    let server = Server::start().await;
    let client = server.client();
    for provider_type in TYPES {
        let name = provider_type.to_lowercase();
        let link = followed(client, provider_type, &name).await;
        let (hook, answer) = hook(client, &link, Value::Null).await;
        let owner = if provider_type == "AzureDevOps" { "acme/shop" } else { "acme" };
        assert_eq!(answer["repository"], format!("{owner}/{name}"));
        assert_eq!(answer["previousSecretUntil"], Value::Null);
        assert!(answer["events"].as_array().is_some_and(|events| !events.is_empty()), "{answer}");
        assert!(text(&answer, "/note").contains("--public-url is not set"));
        let reply = hook.deliver_push(&server, &name, "main", "1").await;
        assert_eq!(outcome(&reply), woke(), "{provider_type}");
        assert_eq!(at_rest(&server).await, 1, "{provider_type}");
        let said = &deliveries(client, &format!("?link={link}")).await[0];
        assert_eq!(said["branches"], json!(["main"]), "{said}");

        server.clock.advance_ms(1);
        // A branch that nobody follows; for type Git nobody says which it is.
        let reply = hook.deliver_push(&server, &name, "other", "2").await;
        let of_any = provider_type == "Git";
        assert_eq!(outcome(&reply), if of_any { woke() } else { ignored() }, "{provider_type}");
        assert_eq!(at_rest(&server).await, usize::from(of_any), "{provider_type}");
        if !of_any {
            let said = &deliveries(client, "?limit=1").await[0];
            assert_eq!(said["reason"], "no sync follows the branch 'other'");
        }
        // Another repository of the same organisation; Azure DevOps and Git do not say in words that compare.
        let reply = hook.deliver_push(&server, "elsewhere", "main", "3").await;
        let compares = !["AzureDevOps", "Git"].contains(&provider_type);
        assert_eq!(outcome(&reply), if compares { ignored() } else { woke() }, "{provider_type}");
        assert_eq!(at_rest(&server).await, usize::from(!compares), "{provider_type}");
    }
}

#[tokio::test]
async fn whoever_proves_nothing_is_told_the_same_whether_there_is_a_webhook_or_not() {
    let server = Server::start().await;
    let client = server.client();
    let secret_of_another = {
        let link = followed(client, "GitHub", "another").await;
        hook(client, &link, Value::Null).await.0.secret
    };
    let them = Client { key: THEIRS, ..client };
    let secret_of_theirs = {
        let link = followed(them, "GitHub", "theirs").await;
        hook(them, &link, Value::Null).await.0.secret
    };
    for provider_type in TYPES {
        let name = provider_type.to_lowercase();
        let link = followed(client, provider_type, &name).await;
        let (hook, _) = hook(client, &link, Value::Null).await;
        let (headers, body) = hook.push(&name, "main", "1");
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
        let body = body.to_string();
        let right = hook.draft(&hook.secret, &headers, body.as_bytes());
        let (proof, value) = hook.proof(&hook.secret, body.as_bytes());
        let mut wrongs = vec![
            Draft { path: "/webhooks/00000000000000000000000000000000".to_owned(), ..right.clone() },
            Draft { path: "/webhooks/x".to_owned(), ..right.clone() },
            Draft { path: format!("/webhooks/{link}"), ..right.clone() },
            Draft { path: format!("{}0", hook.path), ..right.clone() },
            right.clone().without(proof),
            hook.draft("", &headers, body.as_bytes()),
            hook.draft(&secret_of_another, &headers, body.as_bytes()),
            hook.draft(&secret_of_theirs, &headers, body.as_bytes()),
            hook.draft(&format!("{}x", hook.secret), &headers, body.as_bytes()),
        ];
        let mut twice = right.clone();
        twice.headers.push((proof.to_owned(), value));
        wrongs.push(twice);
        // A token and a password say nothing about the body.
        if !["x-gitlab-token", "authorization"].contains(&proof) {
            wrongs.push(Draft { body: body.replace("main", "next").into_bytes(), ..right.clone() });
            wrongs.push(Draft { body: Vec::new(), ..right.clone() });
        }
        let mut told = Vec::new();
        for wrong in wrongs {
            let reply = server.send_raw(wrong).await;
            let mut headers = reply.headers;
            assert!(headers.remove("x-amzn-requestid").is_some());
            told.push((reply.status, headers, reply.body));
        }
        assert_eq!(told[0].0, 401);
        told.dedup();
        assert_eq!(told.len(), 1, "{provider_type}: {told:?}");
        assert_eq!(at_rest(&server).await, 0, "{provider_type}");
        assert_eq!(deliveries(client, &format!("?link={link}")).await.len(), 0);
        assert_eq!(outcome(&server.send_raw(right).await), woke());
        assert_eq!(at_rest(&server).await, 1);
    }
}

#[tokio::test]
async fn a_hundred_duplicates_are_one_delivery() {
    let server = Server::start().await;
    let client = server.client();
    for provider_type in TYPES {
        let name = provider_type.to_lowercase();
        let link = followed(client, provider_type, &name).await;
        let (hook, _) = hook(client, &link, Value::Null).await;
        let first = hook.deliver_push(&server, &name, "main", "the same").await;
        assert_eq!(outcome(&first), woke());
        assert_eq!(at_rest(&server).await, 1);
        let again = (0..99).map(|_| hook.deliver_push(&server, &name, "main", "the same"));
        for reply in futures_util::future::join_all(again).await {
            assert_eq!(outcome(&reply), (202, "DUPLICATE".to_owned()), "{provider_type}");
            assert_eq!(reply.value["deliveryId"], first.value["deliveryId"]);
        }
        assert_eq!(at_rest(&server).await, 0, "{provider_type}");
        let known = deliveries(client, &format!("?link={link}")).await;
        assert_eq!((known.len(), &known[0]["duplicates"]), (1, &json!(99)));
    }
    // What nobody tells apart comes each for itself.
    let link = followed(client, "Git", "untold").await;
    let (hook, _) = hook(client, &link, Value::Null).await;
    for _ in 0..3 {
        assert_eq!(outcome(&hook.deliver(&server, &[], b"anything").await), woke());
    }
    assert_eq!(deliveries(client, &format!("?link={link}")).await.len(), 3);
    assert_eq!(at_rest(&server).await, 1);
}

#[tokio::test]
async fn a_secret_is_changed_for_another_without_a_delivery_being_lost() {
    let server = Server::start().await;
    let client = server.client();
    let link = followed(client, "GitHub", "infra").await;
    let counts = async |hook: &Hook| {
        let reply = hook.deliver(&server, &[("x-github-event", "ping")], b"{}").await;
        assert!(reply.status == 200 || reply.status == 401, "{}", reply.value);
        reply.status == 200
    };
    let (first, _) = hook(client, &link, Value::Null).await;
    let (second, answer) = hook(client, &link, json!({"overlapSeconds": 3600})).await;
    assert_eq!(text(&answer, "/previousSecretUntil"), "2025-11-23T03:40:00Z");
    assert_eq!(first.path, second.path, "the URL stays");
    assert_ne!(first.secret, second.secret);
    assert!(counts(&first).await && counts(&second).await);
    server.clock.advance_ms(3_600_000 - 1);
    assert!(counts(&first).await && counts(&second).await);
    server.clock.advance_ms(1);
    assert!(!counts(&first).await && counts(&second).await);
    // A day unless said otherwise; the one before the last ends with the next.
    let (third, _) = hook(client, &link, Value::Null).await;
    assert!(counts(&second).await && counts(&third).await);
    let (fourth, _) = hook(client, &link, Value::Null).await;
    assert!(!counts(&second).await && counts(&third).await && counts(&fourth).await);
    let (fifth, answer) = hook(client, &link, json!({"overlapSeconds": 0})).await;
    assert_eq!(answer["previousSecretUntil"], Value::Null);
    assert!(!counts(&third).await && !counts(&fourth).await && counts(&fifth).await);
    for body in [json!({"overlapSeconds": -1}), json!({"overlapSeconds": 604_801}), json!({"overlap": 1})] {
        let path = format!("/repository-links/{link}/webhook");
        assert_eq!(client.rest("POST", &path, &body).await.status, 400, "{body}");
    }
    assert!(counts(&fifth).await);
}

#[tokio::test]
async fn a_url_begins_with_what_the_operator_says() {
    let server = Server::with(|config| config.public_url = Some("https://example.com/sync".to_owned())).await;
    let client = server.client();
    let link = followed(client, "GitHub", "infra").await;
    let reply = client.rest("POST", &format!("/repository-links/{link}/webhook"), &Value::Null).await;
    let url = text(&reply.value, "/url");
    assert!(url.starts_with("https://example.com/sync/webhooks/"), "{url}");
    assert_eq!(reply.value.get("note"), None);
    assert_eq!(reply.value["events"], json!(["push", "pull_request"]));
}

#[tokio::test]
async fn a_replay_looks_again_at_what_is_followed_now() {
    let server = Server::start().await;
    let client = server.client();
    let link = followed(client, "GitHub", "infra").await;
    let (hook, _) = hook(client, &link, Value::Null).await;
    let delivered = hook.deliver_push(&server, "infra", "next", "1").await;
    assert_eq!(outcome(&delivered), ignored());
    let path = format!("/deliveries/{}", text(&delivered.value, "/deliveryId"));
    let replay = async || client.rest("POST", &format!("{path}/replay"), &Value::Null).await;
    let replayed = replay().await;
    assert_eq!((replayed.status, &replayed.value["outcome"]), (202, &json!("IGNORED")), "{}", replayed.value);
    let mut sync = sync_input(&link, "next");
    sync["Branch"] = "next".into();
    client.ok("CreateSyncConfiguration", sync).await;
    at_rest(&server).await;
    let replayed = replay().await.value;
    assert_eq!((&replayed["outcome"], &replayed["branches"]), (&json!("WOKE"), &json!(["next"])));
    assert_eq!((&replayed["replays"], &replayed["reason"]), (&json!(2), &Value::Null));
    assert_eq!(at_rest(&server).await, 1);
    let ping = hook.deliver(&server, &[("x-github-event", "ping")], b"{}").await;
    let of_ping = format!("/deliveries/{}/replay", text(&ping.value, "/deliveryId"));
    let replayed = client.rest("POST", &of_ping, &Value::Null).await.value;
    assert_eq!(replayed["outcome"], "PING");
    assert_eq!(at_rest(&server).await, 0);

    // Nobody else's, and of no other region.
    let them = Client { key: THEIRS, ..client };
    let elsewhere = Client { region: "us-east-1", ..client };
    for client in [them, elsewhere] {
        assert_eq!(client.rest("GET", &path, &Value::Null).await.status, 404);
        assert_eq!(client.rest("POST", &format!("{path}/replay"), &Value::Null).await.status, 404);
        assert_eq!(deliveries(client, "").await.len(), 0);
        let rotate = format!("/repository-links/{link}/webhook");
        assert_eq!(client.rest("POST", &rotate, &Value::Null).await.status, 404);
    }
    assert_eq!(at_rest(&server).await, 0);
}

#[tokio::test]
async fn deliveries_are_listed_page_by_page_and_shown_without_their_proof() {
    let server = Server::start().await;
    let client = server.client();
    let link = followed(client, "GitHub", "infra").await;
    let other = followed(client, "GitHub", "other").await;
    let (hook, _) = hook(client, &link, Value::Null).await;
    for number in 0..5 {
        hook.deliver_push(&server, "infra", "main", &format!("d{number}")).await;
        server.clock.advance_ms(1);
    }
    let names = |page: &Value| {
        let names = page["deliveries"].as_array().expect("a list").iter();
        names.map(|delivery| text(delivery, "/forgeDeliveryId")).collect::<Vec<_>>()
    };
    let get = async |query: &str| client.rest("GET", &format!("/deliveries?{query}"), &Value::Null).await;
    let first = get(&format!("limit=2&link={link}")).await.value;
    assert_eq!(names(&first), ["d4", "d3"]);
    let after = text(&first, "/next");
    let second = get(&format!("limit=2&link={link}&after={after}")).await.value;
    assert_eq!(names(&second), ["d2", "d1"]);
    let third = get(&format!("limit=2&link={link}&after={}", text(&second, "/next"))).await.value;
    assert_eq!((names(&third), &third["next"]), (vec!["d0".to_owned()], &Value::Null));
    assert_eq!(names(&get(&format!("link={other}")).await.value), [""; 0]);
    for bad in [format!("after={after}"), format!("link={other}&after={after}"), "limit=101".to_owned()] {
        assert_eq!(get(&bad).await.status, 400, "{bad}");
    }

    // Old versions of Gitea put the secret into the body, and whoever misconfigures into anything.
    let body = format!("{{\"ref\": \"refs/heads/main\", \"secret\": \"{}\"}}", hook.secret);
    let of =
        [("x-github-event", "push"), ("user-agent", "GitHub-Hookshot/1"), ("x-github-hook-id", &hook.secret)];
    let delivered = hook.deliver(&server, &of, body.as_bytes()).await;
    let path = format!("/deliveries/{}", text(&delivered.value, "/deliveryId"));
    let shown = client.rest("GET", &path, &Value::Null).await;
    assert_eq!(
        shown.value["headers"],
        json!({"user-agent": "GitHub-Hookshot/1", "x-github-event": "push",
                                              "x-github-hook-id": "***"})
    );
    assert_eq!(shown.value["body"], body.replace(&hook.secret, "***"));
    assert_eq!(shown.value["bodyBytes"], body.len());
    let signature = signature(&hook.secret, body.as_bytes());
    let whole = String::from_utf8(shown.body).expect("text");
    assert!(!whole.contains(&hook.secret) && !whole.contains(&signature), "{whole}");

    // What is no text, and what is too long to be kept.
    let git = followed(client, "Git", "git").await;
    let (hook, _) = super::webhooks::hook(client, &git, Value::Null).await;
    let show = async |reply: Reply| {
        client
            .rest("GET", &format!("/deliveries/{}", text(&reply.value, "/deliveryId")), &Value::Null)
            .await
            .value
    };
    let shown = show(hook.deliver(&server, &[], b"\xff\0\x01").await).await;
    assert_eq!((&shown["body"], &shown["bodyEncoding"]), (&json!("/wAB"), &json!("base64")));
    for (length, is_kept) in [(64 * 1024, true), (64 * 1024 + 1, false), (3 << 20, false)] {
        let shown = show(hook.deliver(&server, &[], &vec![b'x'; length]).await).await;
        assert_eq!((shown["body"].is_string(), &shown["bodyBytes"]), (is_kept, &json!(length)));
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_whoever_sends_it() {
    let server = Server::with(|config| config.limits.webhook_bytes = 2000).await;
    let client = server.client();
    let link = followed(client, "Git", "infra").await;
    let (hook, _) = hook(client, &link, Value::Null).await;
    assert_eq!(outcome(&hook.deliver(&server, &[], &[b'x'; 2000]).await), woke());
    at_rest(&server).await;
    let too_long = hook.draft(&hook.secret, &[], &[b'x'; 2001]);
    assert_eq!(server.send_raw(too_long.clone()).await.status, 413);
    let nowhere = Draft { path: "/webhooks/nowhere".to_owned(), ..too_long };
    assert_eq!(server.send_raw(nowhere).await.status, 413);
    assert_eq!(at_rest(&server).await, 0);
    let get = Draft { method: "GET".to_owned(), body: Vec::new(), ..hook.draft(&hook.secret, &[], b"") };
    assert_eq!(server.send_raw(get).await.status, 405);
}

#[tokio::test]
async fn a_source_that_proves_nothing_is_soon_told_to_wait() {
    let server = Server::with(|config| config.limits.source_requests_per_second = 1).await;
    let client = server.client();
    let link = followed(client, "Git", "infra").await;
    let (hook, _) = hook(client, &link, Value::Null).await;
    let [stranger, forge]: [IpAddr; 2] =
        ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().expect("an address"));
    let wrong = hook.draft("wrong", &[], b"x");
    let mut statuses = Vec::new();
    for _ in 0..60 {
        statuses.push(server.send_from(stranger, wrong.clone()).await.status);
    }
    statuses.dedup();
    assert_eq!(statuses, [401, 429], "proofs that are wrong cost their source dearly");
    let right = hook.draft(&hook.secret, &[], b"x");
    let reply = server.send_from(stranger, right.clone()).await;
    assert!(reply.headers.contains_key("x-amz-retry-after"), "{:?}", reply.headers);
    assert_eq!(outcome(&server.send_from(forge, right).await), woke());
}

#[tokio::test]
async fn what_is_not_committed_is_not_acknowledged() {
    let server = Server::start().await;
    let client = server.client();
    let link = followed(client, "GitHub", "infra").await;
    let (hook, _) = hook(client, &link, Value::Null).await;
    server.faults.fail("store.accept_delivery", Moment::Before);
    let reply = hook.deliver_push(&server, "infra", "main", "1").await;
    assert_eq!(reply.status, 503, "{}", reply.value);
    assert_eq!((deliveries(client, "").await.len(), at_rest(&server).await), (0, 0));
    // Committed, but the answer was lost: sent again it is a duplicate, and the work is not lost.
    server.faults.fail("store.accept_delivery", Moment::After);
    assert_eq!(hook.deliver_push(&server, "infra", "main", "1").await.status, 503);
    let again = hook.deliver_push(&server, "infra", "main", "1").await;
    assert_eq!(outcome(&again), (202, "DUPLICATE".to_owned()));
    assert_eq!((deliveries(client, "").await.len(), at_rest(&server).await), (1, 1));
}

#[tokio::test]
async fn policies_say_who_may_make_webhooks_and_see_deliveries_and_previews() {
    let scene = scene_with_ann().await;
    let user = ann(&scene);
    let rotate = format!("/repository-links/{}/webhook", scene.link);
    let statuses = async || {
        let mut statuses = Vec::new();
        for (method, path) in [
            ("POST", &*rotate),
            ("GET", "/deliveries"),
            ("GET", "/deliveries/none"),
            ("POST", "/deliveries/none/replay"),
            ("GET", "/previews"),
            ("GET", "/previews/preview-none"),
        ] {
            statuses.push(user.rest(method, path, &Value::Null).await.status);
        }
        statuses
    };
    assert_eq!(statuses().await, [403; 6]);
    let allow =
        |action: &str, resource: String| json!({"Effect": "Allow", "Action": action, "Resource": resource});
    let of = |service: &str, rest: &str| format!("arn:aws:{service}:eu-west-1:{}:{rest}", OURS.account);
    let on_link = of("codeconnections", &format!("repository-link/{}", scene.link));
    may(&scene, json!([allow("syncline:RotateWebhook", on_link)])).await;
    assert_eq!(statuses().await, [200, 403, 403, 403, 403, 403]);
    may(&scene, json!([allow("syncline:ListDeliveries", of("syncline", "*"))])).await;
    assert_eq!(statuses().await, [403, 200, 403, 403, 403, 403]);
    may(&scene, json!([allow("syncline:GetDelivery", of("syncline", "delivery/*"))])).await;
    assert_eq!(statuses().await, [403, 403, 404, 403, 403, 403]);
    may(&scene, json!([allow("syncline:ReplayDelivery", of("syncline", "delivery/none"))])).await;
    assert_eq!(statuses().await, [403, 403, 403, 404, 403, 403]);
    may(&scene, json!([allow("syncline:ListPreviews", of("syncline", "*"))])).await;
    assert_eq!(statuses().await, [403, 403, 403, 403, 200, 403]);
    may(&scene, json!([allow("syncline:GetPreview", of("syncline", "preview/*"))])).await;
    assert_eq!(statuses().await, [403, 403, 403, 403, 403, 404]);
}

#[tokio::test]
async fn the_audit_log_has_rotations_and_replays_and_neither_url_nor_secret() {
    let server = Server::start().await;
    let client = server.client();
    let link = followed(client, "GitHub", "infra").await;
    let (hook, _) = hook(client, &link, json!({"overlapSeconds": 60})).await;
    let delivered = hook.deliver_push(&server, "infra", "main", "1").await;
    let replay = format!("/deliveries/{}/replay", text(&delivered.value, "/deliveryId"));
    client.rest("POST", &replay, &Value::Null).await;
    server.clock.advance_ms(1000);
    let claim = server.parts.store.claim(Kind::Audit, "test", 15_000).await.expect("claimed").expect("due");
    server.parts.store.sequence_audit(&claim).await.expect("sequenced");
    let log = client.rest("GET", "/audit?limit=1000", &Value::Null).await;
    let records = log.value["records"].as_array().expect("records");
    let record = |name: &str| {
        let records = records.iter().map(|record| match &record["record"] {
            Value::String(text) => serde_json::from_str(text).expect("JSON"),
            other => other.clone(),
        });
        records
            .into_iter()
            .find(|record: &Value| record["eventName"] == name)
            .unwrap_or_else(|| panic!("no {name}"))
    };
    let rotated = record("RotateWebhook");
    assert_eq!(
        rotated["requestParameters"],
        json!({"repositoryLinkId": link, "rotation": {"overlapSeconds": 60}})
    );
    assert_eq!(rotated["responseElements"]["repositoryLinkId"], link);
    assert_eq!(record("ReplayDelivery")["responseElements"]["outcome"], "WOKE");
    let whole = String::from_utf8(log.body).expect("text");
    let id = hook.path.strip_prefix("/webhooks/").expect("an id");
    assert!(!whole.contains(&hook.secret) && !whole.contains(id), "{whole}");
}

#[tokio::test]
async fn a_link_s_webhook_and_deliveries_go_with_it() {
    let server = Server::start().await;
    let client = server.client();
    let link = followed(client, "Git", "infra").await;
    let (hook, _) = hook(client, &link, Value::Null).await;
    hook.deliver(&server, &[], b"x").await;
    client.ok("DeleteSyncConfiguration", super::scene::by_name("infra")).await;
    client.ok("DeleteRepositoryLink", json!({"RepositoryLinkId": link})).await;
    assert_eq!(hook.deliver(&server, &[], b"x").await.status, 401);
    assert_eq!(deliveries(client, "").await.len(), 0);
    let status = server.parts.store.keyring().status().await.expect("read");
    assert!(
        status.data_keys.iter().flat_map(|key| &key.secrets).all(|(what, _)| *what != "secrets of webhooks")
    );
}

/// A configuration of a branch, made without a request.
pub(super) async fn follow(server: &Server, link: &str, branch: &str, name: &str) {
    let new = NewConfiguration {
        sync_type: super::scene::CFN.to_owned(),
        resource_name: name.to_owned(),
        link_id: link.to_owned(),
        branch: branch.to_owned(),
        config_file: "deploy.yaml".to_owned(),
        role_arn: super::scene::ROLE.parse().expect("a role"),
        publish_deployment_status: None,
        trigger_resource_update_on: None,
        pull_request_comment: None,
    };
    let quotas = syncline_store::ConfigurationQuotas { per_account: 1000, per_link: 1000, per_branch: 1000 };
    let made =
        server.parts.store.create_configuration(&scope_of(OURS), new, quotas, Change::unrecorded()).await;
    assert!(matches!(made.expect("written"), CreateConfiguration::Created(_)));
    at_rest(server).await;
}
