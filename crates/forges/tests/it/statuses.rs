//! How each forge is told how a sync of a commit stands.

use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};
use syncline_forges::Forge;
use syncline_forges::rest::{
    Access, CommitStatus, Deployment, Question, Refusal, Repository, State, create_deployment,
    find_deployment, has_deployments, is_there_already, set_commit_status, set_deployment_status,
};

const SHA: &str = "0123456789abcdef0123456789abcdef01234567";
const STATES: [State; 5] =
    [State::Pending, State::Running, State::Succeeded, State::Failed, State::Superseded];

fn access(forge: Forge) -> Access {
    Access::new(forge, "https://forge.example", None, None)
}

fn repository(owner: &str) -> Repository {
    Repository { owner: owner.to_owned(), name: "infra".to_owned() }
}

/// Method and target of what is sent, and its body.
fn sent<T: 'static>(question: &Question<T>) -> (String, Value) {
    let request = question.request().expect("a request");
    let target = request.uri().path_and_query().map_or("", |target| target.as_str()).to_owned();
    let body = serde_json::from_slice(request.body()).unwrap_or_default();
    (format!("{} {target}", request.method()), body)
}

fn status(state: State) -> CommitStatus {
    CommitStatus {
        context: "syncline/eu/web".to_owned(),
        key: "key".to_owned(),
        state,
        description: "d".repeat(200),
        url: Some("https://sync.example/".to_owned()),
    }
}

fn deployment(state: State) -> Deployment {
    Deployment {
        commit: SHA.to_owned(),
        branch: "main".to_owned(),
        environment: "eu/web".to_owned(),
        marker: "sync-1".to_owned(),
        state,
        description: "d".to_owned(),
        url: Some("https://sync.example/".to_owned()),
    }
}

fn answered<T: 'static>(question: Question<T>, status: u16, body: &Value) -> Result<T, Refusal> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status.try_into().expect("a status");
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    question.answered(response, 0)
}

#[test]
fn a_status_has_each_forge_s_own_words() {
    let check = |forge, owner: &str, target: &str, url_member: &str, states: [&str; 5], extra: Value| {
        for (state, expected) in STATES.into_iter().zip(states) {
            let question = set_commit_status(&access(forge), &repository(owner), SHA, &status(state));
            let (asked, body) = sent(&question);
            assert_eq!(asked, format!("POST {target}"), "{forge:?}");
            assert_eq!(body["state"], expected, "{forge:?} {state:?}");
            assert_eq!(body["description"].as_str().map(str::len), Some(140), "{forge:?}");
            assert_eq!(body[url_member], "https://sync.example/", "{forge:?}");
            for (name, value) in extra.as_object().expect("members") {
                assert_eq!(body[name], *value, "{forge:?}");
            }
        }
    };
    let github = ["pending", "pending", "success", "failure", "pending"];
    let context = json!({ "context": "syncline/eu/web" });
    let target = format!("/repos/acme/infra/statuses/{SHA}");
    check(Forge::GitHub, "acme", &target, "target_url", github, context.clone());
    check(Forge::Gitea, "acme", &target, "target_url", github, context);
    let gitlab = ["pending", "running", "success", "failed", "canceled"];
    let target = format!("/projects/a%2Fb%2Finfra/statuses/{SHA}");
    check(Forge::GitLab, "a/b", &target, "target_url", gitlab, json!({ "name": "syncline/eu/web" }));
    let bitbucket = ["INPROGRESS", "INPROGRESS", "SUCCESSFUL", "FAILED", "STOPPED"];
    let target = format!("/repositories/acme/infra/commit/{SHA}/statuses/build");
    let extra = json!({ "key": "key", "name": "syncline/eu/web" });
    check(Forge::Bitbucket, "acme", &target, "url", bitbucket, extra);
    let azure = ["pending", "pending", "succeeded", "failed", "notApplicable"];
    let target = format!("/acme/shop/_apis/git/repositories/infra/commits/{SHA}/statuses?api-version=7.1");
    let extra = json!({ "context": { "name": "syncline/eu/web", "genre": "syncline" } });
    check(Forge::AzureDevOps, "acme/shop", &target, "targetUrl", azure, extra);

    let without = CommitStatus { url: None, ..status(State::Pending) };
    let (_, body) = sent(&set_commit_status(&access(Forge::Bitbucket), &repository("acme"), SHA, &without));
    assert_eq!(body["url"], format!("https://bitbucket.org/acme/infra/commits/{SHA}"), "it wants one");
    let (_, body) = sent(&set_commit_status(&access(Forge::GitHub), &repository("acme"), SHA, &without));
    assert_eq!(body.get("target_url"), None);
}

#[test]
fn a_deployment_is_made_found_and_given_its_state() {
    let (github, gitlab) = (access(Forge::GitHub), access(Forge::GitLab));
    let repository = repository("acme");
    let pending = deployment(State::Pending);
    let (asked, body) = sent(&create_deployment(&github, &repository, &pending));
    assert_eq!(asked, "POST /repos/acme/infra/deployments");
    assert_eq!((&body["auto_merge"], &body["required_contexts"]), (&json!(false), &json!([])));
    assert_eq!((&body["ref"], &body["payload"]), (&json!(SHA), &json!({ "syncline": "sync-1" })));
    let (asked, body) = sent(&create_deployment(&gitlab, &repository, &pending));
    assert_eq!(asked, "POST /projects/acme%2Finfra/deployments");
    let whole =
        json!({ "environment": "eu/web", "sha": SHA, "ref": "main", "tag": false, "status": "running" });
    assert_eq!(body, whole);
    let made = answered(create_deployment(&github, &repository, &pending), 201, &json!({ "id": 7 }));
    assert_eq!(made, Ok("7".to_owned()));

    let (asked, _) = sent(&find_deployment(&github, &repository, &pending));
    assert_eq!(
        asked,
        format!("GET /repos/acme/infra/deployments?sha={SHA}&environment=eu%2Fweb&per_page=50")
    );
    let found = |access: &Access, rows: Value| {
        answered(find_deployment(access, &repository, &pending), 200, &rows).expect("read")
    };
    let ours = json!({ "id": 3, "sha": SHA, "payload": { "syncline": "sync-1" } });
    let theirs = [
        json!({ "id": 1, "sha": SHA, "payload": "" }),
        json!({ "id": 2, "sha": SHA, "payload": { "syncline": "sync-2" } }),
        json!({ "id": 4, "sha": "another", "payload": { "syncline": "sync-1" } }),
        json!({}),
    ];
    assert_eq!(found(&github, json!(theirs)), None);
    assert_eq!(found(&github, json!([theirs[0], theirs[1], ours])), Some("3".to_owned()));
    let rows =
        json!([{ "id": 9, "sha": SHA, "status": "success" }, { "id": 8, "sha": SHA, "status": "running" }]);
    assert_eq!(found(&gitlab, rows), Some("8".to_owned()), "one that has ended is another attempt's");

    let check = |access: &Access, target: &str, member: &str, states: [&str; 5]| {
        for (state, expected) in STATES.into_iter().zip(states) {
            let (asked, body) = sent(&set_deployment_status(access, &repository, "7", &deployment(state)));
            assert_eq!((asked.as_str(), &body[member]), (target, &json!(expected)), "{state:?}");
        }
    };
    let of_github = ["queued", "in_progress", "success", "failure", "inactive"];
    check(&github, "POST /repos/acme/infra/deployments/7/statuses", "state", of_github);
    let of_gitlab = ["running", "running", "success", "failed", "canceled"];
    check(&gitlab, "PUT /projects/acme%2Finfra/deployments/7", "status", of_gitlab);
    let with: Vec<_> =
        [Forge::GitHub, Forge::GitLab, Forge::Gitea, Forge::Bitbucket, Forge::AzureDevOps, Forge::Git]
            .into_iter()
            .filter(|forge| has_deployments(*forge))
            .collect();
    assert_eq!(with, [Forge::GitHub, Forge::GitLab]);
}

#[test]
fn only_gitlab_says_that_a_status_is_there_already() {
    let said = "Cannot transition status via :enqueue from :pending (Reason(s): Status cannot transition)";
    let check = |forge, status: u16, message: &str, expect: bool| {
        let question =
            set_commit_status(&access(forge), &repository("acme"), SHA, &self::status(State::Pending));
        let refusal = answered(question, status, &json!({ "message": message })).expect_err("refused");
        assert_eq!(is_there_already(&access(forge), &refusal), expect, "{forge:?} {status} {message}");
    };
    check(Forge::GitLab, 400, said, true);
    check(Forge::GitLab, 400, "something else", false);
    check(Forge::GitLab, 500, said, false);
    check(Forge::GitHub, 422, said, false);
}
