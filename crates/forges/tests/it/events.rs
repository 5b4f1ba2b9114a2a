//! What it says.

use serde_json::{Value, json};
use syncline_forges::{Branches, Forge, Meaning};

use crate::samples::{branches, pushes, read};

#[test]
fn a_push_names_the_branches_that_are_new_changed_or_gone_and_no_tags() {
    for sample in pushes() {
        let body = sample.body.to_string();
        let received = read(sample.forge, &sample.headers, body.as_bytes());
        let told = format!("{:?} {body}", sample.forge);
        assert!(received.id.is_some(), "{told}");
        let named = (sample.forge != Forge::AzureDevOps).then_some("acme/infra");
        assert_eq!(received.repository.as_deref(), named, "{told}");
        if sample.branches.is_empty() {
            let about_tags = "the event is about tags or other refs, not about a branch";
            assert_eq!(received.meaning, Meaning::Nothing(about_tags.to_owned()), "{told}");
        } else {
            assert_eq!(received.meaning, branches(sample.branches), "{told}");
        }
    }
}

#[test]
fn what_is_no_push_is_told_apart() {
    let check = |forge: Forge, header: Option<(&str, &str)>, body: Value, expect: &str| {
        let headers: Vec<_> = header.into_iter().collect();
        let received = read(forge, &headers, body.to_string().as_bytes());
        let said = match received.meaning {
            Meaning::Nothing(why) => why,
            other => format!("{other:?}"),
        };
        assert_eq!(said, expect, "{forge:?} {header:?} {body}");
    };
    let (pull_request, ping) = ("PullRequest", "Ping");
    let zen = json!({"zen": "Keep it logically awesome.", "hook_id": 1});
    check(Forge::GitHub, Some(("x-github-event", "ping")), zen, ping);
    check(Forge::GitHub, Some(("x-github-event", "pull_request")), json!({"action": "opened"}), pull_request);
    let unknown = "issues is no event that changes a branch";
    check(Forge::GitHub, Some(("x-github-event", "issues")), json!({"ref": "refs/heads/main"}), unknown);
    check(Forge::GitHub, None, json!({"ref": "refs/heads/main"}), "the header X-GitHub-Event is missing");
    check(Forge::GitHub, Some(("x-github-event", "push")), json!({}), "the event names no branch");
    check(Forge::GitHub, Some(("x-github-event", "push")), json!([]), "the event names no branch");

    let merge_request = json!({"object_kind": "merge_request", "object_attributes": {"action": "open"}});
    check(Forge::GitLab, Some(("x-gitlab-event", "Merge Request Hook")), merge_request.clone(), pull_request);
    check(Forge::GitLab, Some(("x-gitlab-event", "System Hook")), merge_request, pull_request);
    let of_server = "System Hook is no event that changes a branch";
    check(
        Forge::GitLab,
        Some(("x-gitlab-event", "System Hook")),
        json!({"event_name": "project_create"}),
        of_server,
    );
    check(Forge::GitLab, None, json!({}), "the header X-Gitlab-Event is missing");

    for event in ["created", "updated", "fulfilled", "rejected"] {
        let event = format!("pullrequest:{event}");
        check(
            Forge::Bitbucket,
            Some(("x-event-key", &event)),
            json!({"pullrequest": {"id": 1}}),
            pull_request,
        );
    }
    check(Forge::Bitbucket, Some(("x-event-key", "diagnostics:ping")), json!({"test": true}), ping);
    check(
        Forge::Bitbucket,
        Some(("x-event-key", "repo:fork")),
        json!({}),
        "repo:fork is no event that changes a branch",
    );
    let nothing = "the event names no branch";
    check(Forge::Bitbucket, Some(("x-event-key", "repo:push")), json!({"push": {"changes": []}}), nothing);
    check(Forge::Bitbucket, None, json!({}), "the header X-Event-Key is missing");

    for event in ["created", "updated", "merged"] {
        let body =
            json!({"eventType": format!("git.pullrequest.{event}"), "resource": {"status": "completed"}});
        check(Forge::AzureDevOps, None, body, pull_request);
    }
    let all = "Pushed(All)";
    check(Forge::AzureDevOps, None, json!({"eventType": "git.push", "resource": null}), all);
    check(
        Forge::AzureDevOps,
        None,
        json!({"eventType": "git.push", "resource": {"refUpdates": []}}),
        nothing,
    );
    check(Forge::AzureDevOps, None, json!({}), "the member eventType is missing");

    check(Forge::Gitea, Some(("x-gitea-event", "pull_request")), json!({"action": "opened"}), pull_request);
    check(Forge::Gitea, Some(("x-gitea-event", "pull_request_sync")), json!({}), pull_request);
    check(Forge::Gitea, Some(("x-gitea-event", "create")), json!({"ref": "main"}), nothing);
    check(Forge::Gitea, Some(("x-gitea-event", "wiki")), json!({}), "wiki is no event that changes a branch");
    check(Forge::Gitea, None, json!({}), "the header X-Gitea-Event is missing");

    check(Forge::Git, None, json!({}), all);
    check(Forge::Git, Some(("x-github-event", "ping")), json!(null), all);
}

#[test]
fn a_body_that_is_no_json_is_said_to_be_none_and_git_s_may_be_anything() {
    let unreadable = Meaning::Nothing("the body is not the JSON that this event has".to_owned());
    for body in [&b""[..], b"payload", b"{", b"{\"ref\": \"refs/heads/main\"}x", b"\xff\xfe"] {
        for (forge, name, event) in [
            (Forge::GitHub, "x-github-event", "push"),
            (Forge::GitLab, "x-gitlab-event", "Push Hook"),
            (Forge::Bitbucket, "x-event-key", "repo:push"),
            (Forge::Gitea, "x-gitea-event", "push"),
            (Forge::AzureDevOps, "x-none", "none"),
        ] {
            assert_eq!(read(forge, &[(name, event)], body).meaning, unreadable, "{forge:?} {body:?}");
        }
        assert_eq!(read(Forge::Git, &[], body).meaning, Meaning::Pushed(Branches::All), "{body:?}");
    }
}

#[test]
fn a_form_holds_the_same_json_in_its_payload() {
    let of =
        [("x-github-event", "push"), ("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
    let check = |body: &str, expect: Option<Meaning>| {
        let meaning = read(Forge::GitHub, &of, body.as_bytes()).meaning;
        let expect =
            expect.unwrap_or(Meaning::Nothing("the body is not the JSON that this event has".to_owned()));
        assert_eq!(meaning, expect, "{body}");
    };
    check("payload=%7B%22ref%22%3A%22refs%2Fheads%2Fmain%22%7D", Some(branches(&["main"])));
    check("a=b&payload=%7B%22ref%22%3A+%22refs%2Fheads%2Fmain%22%7D", Some(branches(&["main"])));
    check("payload=", None);
    check("", None);
    check("{\"ref\": \"refs/heads/main\"}", None);
}

#[test]
fn of_more_branches_than_are_told_apart_all_are_meant() {
    let bodies = |count: usize| {
        let names: Vec<_> = (0..count).map(|number| format!("b{number}")).collect();
        let change = |name: &String| json!({"new": {"type": "branch", "name": name}, "old": null});
        let update = |name: &String| json!({"name": format!("refs/heads/{name}")});
        let bitbucket = json!({"push": {"changes": names.iter().map(change).collect::<Vec<_>>()}});
        let updates: Vec<_> = names.iter().map(update).collect();
        (bitbucket, json!({"eventType": "git.push", "resource": {"refUpdates": updates}}))
    };
    for (count, is_told_apart) in [(1, true), (256, true), (257, false), (1001, false), (5000, false)] {
        let (bitbucket, azure) = bodies(count);
        let of_bitbucket =
            read(Forge::Bitbucket, &[("x-event-key", "repo:push")], bitbucket.to_string().as_bytes());
        let of_azure = read(Forge::AzureDevOps, &[], azure.to_string().as_bytes());
        for meaning in [of_bitbucket.meaning, of_azure.meaning] {
            match meaning {
                Meaning::Pushed(Branches::Named(names)) => assert!(is_told_apart && names.len() == count),
                Meaning::Pushed(Branches::All) => assert!(!is_told_apart, "{count}"),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn deliveries_are_told_apart_by_what_each_forge_says() {
    let check = |forge: Forge, of: &[(&str, &str)], body: Value, expect: Option<&str>| {
        let received = read(forge, of, body.to_string().as_bytes());
        assert_eq!(received.id.as_deref(), expect, "{forge:?} {of:?} {body}");
    };
    let (one, none) = ([("x-delivery-id", "1")], &[][..]);
    check(Forge::GitHub, &[("x-github-delivery", "g")], json!({}), Some("g"));
    check(Forge::GitHub, &one, json!({}), None);
    check(Forge::GitHub, &[("x-github-delivery", " ")], json!({}), None);
    check(Forge::GitLab, &[("webhook-id", "w"), ("idempotency-key", "i")], json!({}), Some("w"));
    check(Forge::GitLab, &[("idempotency-key", "i")], json!({}), Some("i"));
    check(Forge::GitLab, &[("x-gitlab-event-uuid", "of several deliveries")], json!({}), None);
    check(Forge::Bitbucket, &[("x-request-uuid", "b")], json!({}), Some("b"));
    check(Forge::Gitea, &[("x-gitea-delivery", "t"), ("x-github-delivery", "g")], json!({}), Some("t"));
    check(Forge::AzureDevOps, none, json!({"subscriptionId": "s", "notificationId": 3}), Some("s/3"));
    check(Forge::AzureDevOps, none, json!({"subscriptionId": "s", "notificationId": "3"}), Some("s/3"));
    check(Forge::AzureDevOps, none, json!({"subscriptionId": "s"}), None);
    check(Forge::AzureDevOps, none, json!({"notificationId": 3}), None);
    check(Forge::Git, &one, json!({}), Some("1"));
    check(Forge::Git, &[("x-github-delivery", "g")], json!({}), Some("g"));
    check(Forge::Git, none, json!({}), None);
}

#[test]
fn an_event_s_name_is_kept_short_and_printable() {
    let long = "x".repeat(1000);
    assert_eq!(read(Forge::GitHub, &[("x-github-event", &long)], b"{}").event.len(), 100);
    let odd = json!({"eventType": "git.\u{1b}[31mpush\u{202e}é"}).to_string();
    assert_eq!(read(Forge::AzureDevOps, &[], odd.as_bytes()).event, "");
    let odd = json!({"eventType": "git.püsh"}).to_string();
    assert_eq!(read(Forge::AzureDevOps, &[], odd.as_bytes()).event, "git.psh");
}
