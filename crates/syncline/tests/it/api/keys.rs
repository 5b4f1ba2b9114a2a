//! Users, their policies and their keys: made by the operator, used by their holders, ended at any time.

use aws_credential_types::Credentials;
use serde_json::{Value, json};
use syncline_wire::{Protocol, Service};

use super::client::{Client, Draft, EVERYTHING, OURS, REGION, Reply, Server, THEIRS};
use super::scene::text;

const CUSTOMER: &str = "333333333333";

/// Makes a user of `account` who may do everything there, and a key of it.
async fn key(client: Client<'_>, account: &str, user: &str, wanted: Value) -> Value {
    let path = format!("/accounts/{account}/users/{user}");
    let made = client.rest("PUT", &path, &Value::Null).await;
    assert_eq!(made.status, 200, "{}", made.value);
    let everything: Value = serde_json::from_str(EVERYTHING).expect("JSON");
    let put = client.rest("PUT", &format!("{path}/policies/everything"), &everything).await;
    assert_eq!(put.status, 200, "{}", put.value);
    let created = client.rest("POST", &format!("{path}/keys"), &wanted).await;
    assert_eq!(created.status, 200, "{}", created.value);
    created.value
}

fn credentials(key: &Value) -> Credentials {
    let token = key["sessionToken"].as_str().map(str::to_owned);
    Credentials::new(text(key, "/accessKeyId"), text(key, "/secretAccessKey"), token, None, "test")
}

/// Lists connections with these credentials: what the server says to them.
async fn answers(server: &Server, credentials: Credentials) -> Reply {
    let draft = Draft::new(Service::CodeConnections, Protocol::Json, "ListConnections", b"{}".to_vec());
    server.send(draft.signed_by(credentials, REGION, "codeconnections", server.now_ms())).await
}

async fn check(server: &Server, credentials: Credentials, expect: Result<(), &str>, why: &str) {
    let reply = answers(server, credentials).await;
    match expect {
        Ok(()) => assert_eq!(reply.status, 200, "{why}: {}", reply.value),
        Err(code) => assert_eq!(reply.refusal().0, code, "{why}"),
    }
}

const UNKNOWN: Result<(), &str> = Err("UnrecognizedClientException");

#[tokio::test]
async fn the_operator_gives_another_account_a_key_that_works_until_it_is_ended() {
    let server = Server::start().await;
    let operator = server.client();
    let made = key(operator, CUSTOMER, "ci", Value::Null).await;
    assert_eq!(text(&made, "/accountId"), CUSTOMER);
    let id = text(&made, "/accessKeyId");
    assert!(id.starts_with("AKIA"), "{id}");
    let of_key = |what: &str| format!("/accounts/{CUSTOMER}/users/ci/keys/{id}{what}");

    check(&server, credentials(&made), Ok(()), "a new key").await;
    let with_token = Credentials::new(&id, text(&made, "/secretAccessKey"), Some("t".into()), None, "test");
    check(&server, with_token, UNKNOWN, "a token where there is none").await;
    let wrong = Credentials::new(&id, "wrong", None, None, "test");
    check(&server, wrong, Err("InvalidSignatureException"), "a wrong secret").await;

    assert_eq!(operator.rest("POST", &of_key("/deactivate"), &Value::Null).await.status, 200);
    check(&server, credentials(&made), UNKNOWN, "an inactive key").await;
    assert_eq!(operator.rest("POST", &of_key("/activate"), &Value::Null).await.status, 200);
    check(&server, credentials(&made), Ok(()), "an active key").await;
    assert_eq!(operator.rest("DELETE", &of_key(""), &Value::Null).await.status, 200);
    check(&server, credentials(&made), UNKNOWN, "a deleted key").await;
    assert_eq!(operator.rest("DELETE", &of_key(""), &Value::Null).await.status, 404);

    let second = key(operator, CUSTOMER, "ci", Value::Null).await;
    let user = format!("/accounts/{CUSTOMER}/users/ci");
    assert_eq!(operator.rest("DELETE", &user, &Value::Null).await.status, 200);
    check(&server, credentials(&second), UNKNOWN, "a key of a deleted user").await;
}

#[tokio::test]
async fn a_temporary_key_needs_its_token_and_ends_by_itself() {
    let server = Server::start().await;
    let wanted = json!({"temporary": true, "durationSeconds": 900});
    let made = key(server.client(), CUSTOMER, "ci", wanted).await;
    assert!(text(&made, "/accessKeyId").starts_with("ASIA"));
    check(&server, credentials(&made), Ok(()), "with its token").await;
    let bare =
        Credentials::new(text(&made, "/accessKeyId"), text(&made, "/secretAccessKey"), None, None, "test");
    check(&server, bare, UNKNOWN, "without its token").await;
    let mut other = made.clone();
    other["sessionToken"] = "another".into();
    check(&server, credentials(&other), UNKNOWN, "with another token").await;
    server.clock.advance_ms(900_000);
    check(&server, credentials(&made), Err("ExpiredTokenException"), "after its end").await;
}

/// Asks the REST API with these credentials; no body where `body` is null.
async fn rest(server: &Server, credentials: Credentials, method: &str, path: &str, body: &Value) -> Reply {
    let draft = Draft {
        method: method.to_owned(),
        path: format!("/api/v1{path}"),
        headers: vec![("host".to_owned(), "127.0.0.1:7962".to_owned())],
        body: if body.is_null() { Vec::new() } else { serde_json::to_vec(body).expect("JSON") },
    };
    server.send_raw(draft.signed_by(credentials, REGION, "codeconnections", server.now_ms())).await
}

#[tokio::test]
async fn nothing_that_a_temporary_key_makes_outlives_it() {
    let server = Server::start().await;
    let lasting = key(server.client(), CUSTOMER, "ci", Value::Null).await;
    let made = key(server.client(), CUSTOMER, "ci", json!({"temporary": true})).await;
    let (users, id) = (format!("/accounts/{CUSTOMER}/users"), text(&lasting, "/accessKeyId"));
    let refused = format!(
        "the access key {} is temporary: users, their policies and their keys are changed only with a key that does \
         not expire",
        text(&made, "/accessKeyId")
    );
    let everything: Value = serde_json::from_str(EVERYTHING).expect("JSON");
    let temporary = json!({"temporary": true});
    for (method, path, body) in [
        ("PUT", "/eve".to_owned(), &Value::Null),
        ("PUT", "/ci/policies/more".to_owned(), &everything),
        ("DELETE", "/ci/policies/everything".to_owned(), &Value::Null),
        ("POST", "/ci/keys".to_owned(), &Value::Null),
        ("POST", "/ci/keys".to_owned(), &temporary),
        ("POST", format!("/ci/keys/{id}/deactivate"), &Value::Null),
        ("POST", format!("/ci/keys/{id}/activate"), &Value::Null),
        ("DELETE", format!("/ci/keys/{id}"), &Value::Null),
        ("DELETE", "/ci".to_owned(), &Value::Null),
    ] {
        let path = format!("{users}{path}");
        let reply = rest(&server, credentials(&made), method, &path, body).await;
        assert_eq!((reply.status, text(&reply.value, "/message")), (403, refused.clone()), "{method} {path}");
        assert_eq!(text(&reply.value, "/code"), "AccessDeniedException");
    }
    // It still looks, and a lasting key of the same user still changes.
    assert_eq!(rest(&server, credentials(&made), "GET", &users, &Value::Null).await.status, 200);
    let reply = rest(&server, credentials(&lasting), "PUT", &format!("{users}/eve"), &Value::Null).await;
    assert_eq!(reply.status, 200, "{}", reply.value);
}

#[tokio::test]
async fn sessions_are_ended_by_a_denial_of_those_that_began_before() {
    let server = Server::start().await;
    let operator = server.client();
    let lasting = key(operator, CUSTOMER, "ci", Value::Null).await;
    let before = key(operator, CUSTOMER, "ci", json!({"temporary": true})).await;
    server.clock.advance_ms(60_000);
    // As AWS's console revokes sessions; the server's clock says 2025-11-23T02:41:00Z.
    let revoked = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Deny", "Action": "*", "Resource": "*",
        "Condition": {"DateLessThan": {"aws:TokenIssueTime": "2025-11-23T02:41:00Z"}}}]});
    let policies = format!("/accounts/{CUSTOMER}/users/ci/policies");
    assert_eq!(operator.rest("PUT", &format!("{policies}/revoked"), &revoked).await.status, 200);
    let after = key(operator, CUSTOMER, "ci", json!({"temporary": true})).await;
    check(&server, credentials(&before), Err("AccessDeniedException"), "a session from before").await;
    check(&server, credentials(&after), Ok(()), "a session from after").await;
    check(&server, credentials(&lasting), Ok(()), "no session").await;

    let no_factor = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Deny", "Action": "*", "Resource": "*",
        "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "false"}}}]});
    assert_eq!(operator.rest("PUT", &format!("{policies}/factor"), &no_factor).await.status, 200);
    check(&server, credentials(&after), Err("AccessDeniedException"), "a session without a second factor")
        .await;
    check(&server, credentials(&lasting), Ok(()), "no session").await;
}

#[tokio::test]
async fn a_user_has_so_many_temporary_keys_at_a_time() {
    let server = Server::start().await;
    let operator = server.client();
    let wanted = json!({"temporary": true, "durationSeconds": 900});
    key(operator, CUSTOMER, "ci", wanted.clone()).await;
    let keys = format!("/accounts/{CUSTOMER}/users/ci/keys");
    for _ in 1..100 {
        assert_eq!(operator.rest("POST", &keys, &wanted).await.status, 200);
    }
    let full = operator.rest("POST", &keys, &wanted).await;
    let message = "the user ci has 100 temporary keys, which is as many as may be: delete one first, or wait until \
                   one ends";
    assert_eq!((full.status, text(&full.value, "/message").as_str()), (429, message));
    assert_eq!(
        operator.rest("POST", &keys, &Value::Null).await.status,
        200,
        "a lasting key is no temporary one"
    );
    server.clock.advance_ms(900_000);
    assert_eq!(operator.rest("POST", &keys, &wanted).await.status, 200, "ended keys do not count");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_says_why() {
    let server = Server::start().await;
    let operator = server.client();
    key(operator, CUSTOMER, "ci", Value::Null).await;
    key(operator, CUSTOMER, "ci", Value::Null).await;
    let check = async |method: &str, path: &str, body: Value, status: u16, message: &str| {
        let reply = operator.rest(method, path, &body).await;
        assert_eq!((reply.status, text(&reply.value, "/message").as_str()), (status, message), "{path}");
    };
    let user = format!("/accounts/{CUSTOMER}/users/ci");
    let keys = format!("{user}/keys");
    check(
        "POST",
        &keys,
        Value::Null,
        429,
        "the user ci has 2 keys that do not expire, which is as many as may be: delete one first",
    )
    .await;
    check(
        "POST",
        &keys,
        json!({"durationSeconds": 900}),
        400,
        "durationSeconds: only a temporary key ends by itself",
    )
    .await;
    let short = json!({"temporary": true, "durationSeconds": 899});
    check("POST", &keys, short, 400, "durationSeconds: 899 is not between 900 and 129600").await;
    let nobody = format!("/accounts/{CUSTOMER}/users/nobody");
    check("POST", &format!("{nobody}/keys"), Value::Null, 404, "Could not find user:nobody").await;
    check("DELETE", &nobody, Value::Null, 404, "Could not find user:nobody").await;
    check("GET", &format!("{nobody}/policies"), Value::Null, 404, "Could not find user:nobody").await;
    check("DELETE", &format!("{user}/policies/none"), Value::Null, 404, "Could not find policy:ci/none")
        .await;
    let bad_name = "the user's name: it must have 1 to 64 letters, digits or characters of _+=,.@-";
    check("PUT", &format!("/accounts/{CUSTOMER}/users/c%20i"), Value::Null, 400, bad_name).await;
    let not_an_account = "the account: '12' is not an AWS account id: it must be 12 digits";
    check("GET", "/accounts/12/users", Value::Null, 400, not_an_account).await;
    let refused = operator
        .rest("PUT", &format!("{user}/policies/bad"), &json!({"Statement": [{"Effect": "Perhaps"}]}))
        .await;
    assert_eq!(refused.status, 400, "{}", refused.value);
    let message = text(&refused.value, "/message");
    assert!(message.starts_with("the policy document: ") && message.contains("Statement[0]"), "{message}");
}

#[tokio::test]
async fn a_user_manages_its_own_account_and_no_other() {
    let server = Server::start().await;
    let them = Client { key: THEIRS, ..server.client() };
    let own = them.rest("GET", &format!("/accounts/{}/users", THEIRS.account), &Value::Null).await;
    assert_eq!(own.status, 200, "{}", own.value);
    assert_eq!(text(&own.value, "/users/0/userName"), "them");
    for (method, path) in [
        ("GET", format!("/accounts/{}/users", OURS.account)),
        ("PUT", format!("/accounts/{}/users/spy", OURS.account)),
        ("POST", format!("/accounts/{CUSTOMER}/users/ci/keys")),
    ] {
        let reply = them.rest(method, &path, &Value::Null).await;
        assert_eq!(
            (reply.status, text(&reply.value, "/code").as_str()),
            (403, "AccessDeniedException"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_secret_is_shown_once_and_stored_nowhere_in_the_clear() {
    let server = Server::start().await;
    let made = key(server.client(), CUSTOMER, "ci", json!({"temporary": true})).await;
    let listed = server.client().rest("GET", &format!("/accounts/{CUSTOMER}/keys"), &Value::Null).await;
    assert_eq!(text(&listed.value, "/keys/0/accessKeyId"), text(&made, "/accessKeyId"));
    assert_eq!(text(&listed.value, "/keys/0/status"), "Active");
    for secret in [text(&made, "/secretAccessKey"), text(&made, "/sessionToken")] {
        assert!(!listed.value.to_string().contains(&secret));
        for entry in std::fs::read_dir(server.directory.path()).expect("read") {
            let path = entry.expect("read").path();
            if path.is_file() {
                let bytes = std::fs::read(&path).expect("read");
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "a secret is in {}", path.display());
            }
        }
    }
}
