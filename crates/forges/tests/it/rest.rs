//! What is sent to a forge's REST API, and what its answers mean.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response};
use serde_json::Value;
use syncline_forges::Forge;
use syncline_forges::rest::{
    Access, Endpoints, Page, Question, Refusal, Repository, git_username, is_only_narrow, list_deliveries,
    list_hooks, redeliver, whoami,
};
use syncline_seams::Secret;

/// 2026-11-01T00:00:00Z.
const NOW_MS: i64 = 1_793_491_200_000;
const TOKEN: &str = "t0ken";

fn access(forge: Forge, username: Option<&str>) -> Access {
    Access::new(forge, "https://forge.example/api", username, Some(Secret::new(TOKEN)))
}

fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_owned()));
    *response.status_mut() = status.try_into().expect("a status");
    for (name, value) in headers {
        response.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

#[test]
fn each_forge_is_asked_as_it_wants_to_be() {
    let check = |forge, username: Option<&str>, path: &str, header: &str, value: &str| {
        let question = whoami(&access(forge, username), Some("acme")).expect("a question");
        let request = question.request().expect("a request");
        assert_eq!(request.uri().to_string(), format!("https://forge.example/api{path}"), "{forge:?}");
        assert_eq!(request.headers()[header], value, "{forge:?}");
        assert!(request.headers()["user-agent"].to_str().is_ok_and(|agent| agent.starts_with("syncline/")));
        assert!(!format!("{question:?}").contains(TOKEN), "{question:?}");
    };
    check(Forge::GitHub, None, "/user", "authorization", "Bearer t0ken");
    check(Forge::GitHub, Some("me"), "/user", "x-github-api-version", "2022-11-28");
    check(Forge::GitHub, None, "/user", "accept", "application/vnd.github+json");
    check(Forge::GitLab, None, "/user", "private-token", TOKEN);
    check(Forge::Bitbucket, None, "/user", "authorization", "Bearer t0ken");
    check(Forge::Bitbucket, Some("me@a.example"), "/user", "authorization", "Basic bWVAYS5leGFtcGxlOnQwa2Vu");
    check(Forge::Gitea, None, "/user", "authorization", "token t0ken");
    let azure = "/acme/_apis/connectionData?api-version=7.1-preview.1";
    check(Forge::AzureDevOps, None, azure, "authorization", "Basic OnQwa2Vu");
    assert!(whoami(&access(Forge::AzureDevOps, None), None).is_none());
    assert!(whoami(&access(Forge::Git, None), None).is_none());
    let hooks = list_hooks(
        &access(Forge::GitLab, None),
        &Repository { owner: "a/b".to_owned(), name: "c d".to_owned() },
    );
    let asked = hooks.request().expect("a request").uri().to_string();
    assert_eq!(asked, "https://forge.example/api/projects/a%2Fb%2Fc%20d/hooks?per_page=100");
}

#[test]
fn a_forge_is_where_its_type_and_host_say() {
    let endpoints = Endpoints::default();
    let check = |provider: &str, host: Option<&str>, api: &str, git: &str| {
        let found = endpoints.of(provider, host).unwrap_or_else(|| panic!("{provider}"));
        assert_eq!((found.api.as_str(), found.git.as_str()), (api, git), "{provider}");
    };
    check("GitHub", None, "https://api.github.com", "https://github.com");
    check("GitLab", None, "https://gitlab.com/api/v4", "https://gitlab.com");
    check("Bitbucket", None, "https://api.bitbucket.org/2.0", "https://bitbucket.org");
    check("AzureDevOps", None, "https://dev.azure.com", "https://dev.azure.com");
    let host = Some("https://git.example/base/");
    check("GitHubEnterpriseServer", host, "https://git.example/base/api/v3", "https://git.example/base");
    check("GitLabSelfManaged", host, "https://git.example/base/api/v4", "https://git.example/base");
    check("Gitea", host, "https://git.example/base/api/v1", "https://git.example/base");
    for (provider, host) in [("Gitea", None), ("GitLabSelfManaged", None), ("SourceHut", host)] {
        assert_eq!(endpoints.of(provider, host), None, "{provider}");
    }
}

#[test]
fn a_token_goes_to_git_under_the_name_that_the_forge_expects() {
    let check = |forge, given: Option<&str>, expect: &str| {
        assert_eq!(git_username(forge, given), expect, "{forge:?} {given:?}");
    };
    check(Forge::GitHub, None, "x-access-token");
    check(Forge::GitHub, Some("me"), "x-access-token");
    check(Forge::GitLab, None, "oauth2");
    check(Forge::GitLab, Some("gitlab+deploy-token-1"), "gitlab+deploy-token-1");
    check(Forge::Bitbucket, None, "x-token-auth");
    check(Forge::Bitbucket, Some("me@a.example"), "x-bitbucket-api-token-auth");
    check(Forge::Bitbucket, Some("me"), "me");
    check(Forge::AzureDevOps, Some("me"), "syncline");
    check(Forge::Gitea, None, "git");
    check(Forge::Git, Some("me"), "me");
}

fn told(forge: Forge, response: Response<Bytes>) -> Result<String, Refusal> {
    whoami(&access(forge, None), Some("acme")).expect("a question").answered(response, NOW_MS)
}

#[test]
fn answers_are_decisions() {
    let check = |forge, status, headers: &[(&'static str, &'static str)], body: &str, expect: &str| {
        let told = told(forge, answer(status, headers, body));
        let shown = format!("{told:?}");
        assert!(shown.starts_with(expect), "{forge:?} {status} {headers:?} {body}: {shown}");
        assert!(!shown.contains(TOKEN), "{shown}");
    };
    let github = Forge::GitHub;
    check(github, 200, &[JSON], r#"{"login": "octo", "id": 1}"#, r#"Ok("octo")"#);
    check(Forge::GitLab, 200, &[JSON], r#"{"username": "gl"}"#, r#"Ok("gl")"#);
    check(Forge::Bitbucket, 200, &[JSON], r#"{"display_name": "B"}"#, r#"Ok("B")"#);
    let azure = r#"{"authenticatedUser": {"providerDisplayName": "A Z"}}"#;
    check(Forge::AzureDevOps, 200, &[JSON], azure, r#"Ok("A Z")"#);
    check(github, 200, &[JSON], "{}", "Err(Unavailable(");
    let bad = r#"{"message": "Bad credentials: t0ken\n"}"#;
    check(github, 401, &[JSON], bad, r#"Err(Unauthorized("401 Unauthorized: Bad credentials: *** "))"#);
    check(github, 403, &[JSON], r#"{"message": "SSO"}"#, r#"Err(Forbidden("403 Forbidden: SSO"))"#);
    let spent: &[_] = &[JSON, ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1793491260")];
    check(github, 403, spent, "{}", "Err(Throttled { retry_after_ms: Some(60000)");
    check(github, 429, spent, "{}", "Err(Throttled { retry_after_ms: Some(60000)");
    check(github, 403, &[("retry-after", "7")], "", "Err(Throttled { retry_after_ms: Some(7000)");
    let secondary = r#"{"message": "You have exceeded a secondary rate limit"}"#;
    check(github, 403, &[JSON], secondary, "Err(Throttled { retry_after_ms: None");
    let date: &[_] = &[("retry-after", "Sun, 01 Nov 2026 00:00:09 GMT")];
    check(github, 429, date, "", "Err(Throttled { retry_after_ms: Some(9000)");
    check(github, 503, &[("retry-after", "1")], "", "Err(Throttled { retry_after_ms: Some(1000)");
    check(github, 404, &[JSON], r#"{"message": "Not Found"}"#, "Err(NotFound(");
    check(github, 410, &[], "", "Err(NotFound(");
    let errors = r#"{"message": "Validation Failed", "errors": [{"message": "Hook exists"}, "x"]}"#;
    check(
        github,
        422,
        &[JSON],
        errors,
        r#"Err(Invalid("422 Unprocessable Entity: Validation Failed; Hook exists; x"#,
    );
    let fields = r#"{"message": {"base": ["one", "two"]}}"#;
    check(Forge::GitLab, 400, &[JSON], fields, r#"Err(Invalid("400 Bad Request: base one; base two"#);
    let detail = r#"{"type": "error", "error": {"message": "No", "detail": "why"}}"#;
    check(Forge::Bitbucket, 409, &[JSON], detail, r#"Err(Unavailable("409 Conflict: No; why"#);
    check(github, 301, &[], "", "Err(Invalid(");
    check(
        github,
        500,
        &[JSON],
        r#"{"message": "boom"}"#,
        "Err(Unavailable(\"500 Internal Server Error: boom",
    );
    check(github, 502, &[("content-type", "text/html")], "<p>t0ken", "Err(Unavailable(\"502 Bad Gateway\")");
    check(github, 200, &[("content-type", "text/html")], "<p>", "Err(Unavailable(\"200 OK, but no JSON");
    check(github, 200, &[JSON], r#"{"login": "t0ken"#, "Err(Unavailable(\"200 OK, but not the JSON");
    check(github, 200, &[JSON], r#"["t0ken"]"#, "Err(Unavailable(");
    for status in [203, 302] {
        check(Forge::AzureDevOps, status, &[("content-type", "text/html")], "<p>", "Err(Unauthorized(");
    }
    let long = format!(r#"{{"message": "{}"}}"#, "ä".repeat(1000));
    let Err(Refusal::Invalid(said)) = told(github, answer(400, &[JSON], &long)) else { panic!("no refusal") };
    assert_eq!(said.chars().count(), 300);
}

#[test]
fn a_token_that_may_only_read_repositories_is_one() {
    let check = |forge, body: &str, expect: bool| {
        let refusal = told(forge, answer(403, &[JSON], body)).expect_err("refused");
        assert_eq!(is_only_narrow(forge, &refusal), expect, "{forge:?} {body}");
    };
    check(Forge::GitHub, r#"{"message": "Resource not accessible by integration"}"#, true);
    check(Forge::GitHub, r#"{"message": "Your account was suspended"}"#, false);
    check(Forge::GitLab, r#"{"error": "insufficient_scope", "error_description": "x"}"#, true);
    check(Forge::Gitea, r#"{"message": "token does not have at least one of required scope(s)"}"#, true);
    check(Forge::AzureDevOps, r#"{"message": "insufficient_scope"}"#, false);
    assert!(!is_only_narrow(Forge::GitLab, &Refusal::Unauthorized("insufficient_scope".to_owned())));
}

fn items(forge: Forge, response: Response<Bytes>) -> Result<Page<Value>, Refusal> {
    let question: Question<Page<Value>> = access(forge, None).list("forges.list_hooks", "/things?a=b");
    question.answered(response, NOW_MS)
}

#[test]
fn lists_go_on_where_the_forge_says_but_nowhere_else() {
    let check = |forge, headers: &[(&'static str, &'static str)], body: &str, next: Option<&str>| {
        let page = items(forge, answer(200, &[&[JSON], headers].concat(), body)).expect("a page");
        assert_eq!(page.items.len(), 2, "{forge:?}");
        let asked = page.next.map(|next| next.request().expect("a request").uri().to_string());
        assert_eq!(asked.as_deref(), next, "{forge:?} {headers:?} {body}");
    };
    const OF_US: &str = "https://forge.example/api/things?page=2";
    for forge in [Forge::GitHub, Forge::GitLab, Forge::Gitea] {
        let link = r#"<https://forge.example/api/things?page=1>; rel="prev", <https://forge.example/api/things?page=2>; rel="next""#;
        check(forge, &[("link", link)], "[1, 2]", Some(OF_US));
        check(
            forge,
            &[("link", r#"<https://inner.local/api/things?page=2>; rel="next""#)],
            "[1, 2]",
            Some(OF_US),
        );
        check(forge, &[("link", r#"<https://forge.example/other>; rel="next""#)], "[1, 2]", None);
        check(forge, &[("link", r#"<https://forge.example/apiary>; rel="next""#)], "[1, 2]", None);
        check(forge, &[("link", "nonsense")], "[1, 2]", None);
        check(forge, &[], "[1, 2]", None);
    }
    let next = r#"{"values": [1, 2], "next": "https://attacker.example/api/things?page=2"}"#;
    check(Forge::Bitbucket, &[], next, Some(OF_US));
    check(Forge::Bitbucket, &[], r#"{"values": [1, 2]}"#, None);
    let more = "https://forge.example/api/things?a=b&continuationToken=x%2Fy&api-version=7.1";
    check(Forge::AzureDevOps, &[("x-ms-continuationtoken", "x/y")], r#"{"value": [1, 2]}"#, Some(more));
    check(Forge::AzureDevOps, &[], r#"{"value": [1, 2]}"#, None);
    for (forge, body) in
        [(Forge::GitHub, "{}"), (Forge::Bitbucket, "[]"), (Forge::AzureDevOps, "{\"value\": 1}")]
    {
        let told = items(forge, answer(200, &[JSON], body));
        assert!(matches!(told, Err(Refusal::Unavailable(_))), "{forge:?}: {told:?}");
    }
}

#[test]
fn deliveries_are_read_page_by_page_and_asked_for_again() {
    let github = access(Forge::GitHub, None);
    let repository = Repository { owner: "acme".to_owned(), name: "infra".to_owned() };
    let asked = || list_deliveries(&github, &repository, "12");
    let base = "https://forge.example/api/repos/acme/infra/hooks/12/deliveries";
    assert_eq!(asked().request().expect("a request").uri().to_string(), format!("{base}?per_page=100"));
    let link = "<https://elsewhere.example/api/repos/acme/infra/hooks/12/deliveries?per_page=100&cursor=v1_9>; rel=\"next\"";
    // An id that a double could not hold.
    let body = r#"[{"id": 9007199254740993, "guid": "g", "delivered_at": "2026-11-01T00:00:00Z", "redelivery": false,
         "duration": 0.2, "status": "failed to connect", "status_code": 502, "event": "push", "action": null,
         "installation_id": null, "repository_id": 1},
        {"id": 8, "guid": "h", "delivered_at": "2026-11-01T00:00:00.5Z", "status_code": null}]"#;
    let page = asked().answered(answer(200, &[JSON, ("link", link)], body), NOW_MS).expect("a page");
    let shown: Vec<_> = page.items.iter().map(|one| (&*one.id, &*one.guid, one.status)).collect();
    assert_eq!(shown, [("9007199254740993", "g", Some(502)), ("8", "h", None)]);
    let next = page.next.expect("more").request().expect("a request");
    assert_eq!(next.uri().to_string(), format!("{base}?per_page=100&cursor=v1_9"), "the token stays at home");
    let again = redeliver(&github, &repository, "12", "9007199254740993").request().expect("a request");
    assert_eq!(
        (again.method().as_str(), again.uri().to_string()),
        ("POST", format!("{base}/9007199254740993/attempts"))
    );
    assert!(again.body().is_empty());

    let check = |status, headers: &[(&'static str, &'static str)], body: &str, expect: &str| {
        let listed = asked().answered(answer(status, headers, body), NOW_MS);
        let shown = format!("{:?}", listed.map(|page| page.items.len()));
        assert!(shown.starts_with(expect), "{status} {body}: {shown}");
        let again =
            redeliver(&github, &repository, "12", "8").answered(answer(status, headers, body), NOW_MS);
        assert_eq!(again.is_ok(), status < 300, "{status} {body}: {again:?}");
    };
    check(202, &[JSON], "[]", "Ok(0)");
    check(200, &[("content-type", "text/html")], "<!doctype html>", "Err(Unavailable(");
    check(200, &[JSON], r#"[{"id": 1}]"#, "Err(Unavailable(");
    check(200, &[JSON], "[{", "Err(Unavailable(");
    check(400, &[JSON], r#"{"message": "Bad Request"}"#, "Err(Invalid(");
    check(401, &[JSON], "{}", "Err(Unauthorized(");
    check(403, &[JSON], "{}", "Err(Forbidden(");
    check(403, &[JSON, ("retry-after", "30")], "{}", "Err(Throttled { retry_after_ms: Some(30000)");
    check(404, &[JSON], "{}", "Err(NotFound(");
    check(422, &[JSON], "{}", "Err(Invalid(");
    check(502, &[JSON], "{}", "Err(Unavailable(");
}
