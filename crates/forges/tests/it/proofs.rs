//! Who sent it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::Mac as _;
use http::HeaderValue;
use syncline_forges::{Forge, Request, decoy, verify};
use syncline_seams::Secret;

use crate::samples::{NOW_MS, SECRET, headers, hex_hmac, proof};

fn is_proven(forge: Forge, of: &[(&str, &str)], body: &[u8], secrets: &[&str]) -> bool {
    let headers = headers(of);
    let secrets: Vec<_> = secrets.iter().map(|secret| Secret::from(secret.as_bytes().to_vec())).collect();
    let request = Request { headers: &headers, body, now_ms: NOW_MS };
    decoy(request);
    verify(forge, request, &secrets).is_some()
}

#[test]
fn github_s_known_answer_is_right() {
    // The example of GitHub's documentation on securing webhooks.
    let secret = "It's a Secret to Everybody";
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let check = |signature: &str, body: &str, secret: &str, expect: bool| {
        for forge in [Forge::GitHub, Forge::Git] {
            let proven = is_proven(forge, &[("x-hub-signature-256", signature)], body.as_bytes(), &[secret]);
            assert_eq!(proven, expect, "{forge:?} {signature} {body}");
        }
        let proven =
            is_proven(Forge::Bitbucket, &[("x-hub-signature", signature)], body.as_bytes(), &[secret]);
        assert_eq!(proven, expect, "Bitbucket {signature} {body}");
    };
    check(signature, "Hello, World!", secret, true);
    check(&signature.replace("757107ea", "757107EA"), "Hello, World!", secret, true);
    check(signature, "Hello, World", secret, false);
    check(signature, "Hello, World!", "It's a secret to everybody", false);
    check(signature, "Hello, World!", "", false);
    check(&signature[7..], "Hello, World!", secret, false);
    check(&signature.replace("sha256", "sha1"), "Hello, World!", secret, false);
    check(&signature[..signature.len() - 1], "Hello, World!", secret, false);
    check(&signature[..signature.len() - 2], "Hello, World!", secret, false);
    check(&format!("{signature}00"), "Hello, World!", secret, false);
    check(&signature.replace('7', "g"), "Hello, World!", secret, false);
    check("sha256=", "Hello, World!", secret, false);
    check("", "Hello, World!", secret, false);
    let of_gitea =
        |value: &str| is_proven(Forge::Gitea, &[("x-gitea-signature", value)], b"Hello, World!", &[secret]);
    assert!(of_gitea(&signature[7..]));
    assert!(!of_gitea(signature), "Gitea has no prefix");
}

#[test]
fn the_standard_webhooks_known_answer_is_right() {
    // The example of the Standard Webhooks specification's libraries.
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let body = br#"{"test": 2432232314}"#;
    let time_ms = 1_614_265_330_000_i64;
    let of = [
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ];
    let headers = headers(&of);
    let check = |now_ms: i64, expect: bool| {
        let request = Request { headers: &headers, body, now_ms };
        let proven = verify(Forge::GitLab, request, &[Secret::from(secret.as_bytes().to_vec())]);
        assert_eq!(proven.is_some(), expect, "{} ms off", now_ms - time_ms);
    };
    check(time_ms, true);
    check(time_ms + 300_000, true);
    check(time_ms - 300_000, true);
    check(time_ms + 300_001, false);
    check(time_ms - 300_001, false);
    check(i64::MIN, false);
    check(i64::MAX, false);
}

/// GitLab's signature of a body.
fn signed(key: &[u8], id: &str, time: &str, body: &[u8]) -> String {
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(key).expect("any length");
    mac.update(format!("{id}.{time}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[test]
fn gitlab_proves_itself_by_its_token_or_by_a_signature_that_alone_counts() {
    let key = [7; 32];
    let secret = format!("whsec_{}", STANDARD.encode(key));
    let time = (NOW_MS / 1000).to_string();
    let good = signed(&key, "id", &time, b"body");
    let bad = signed(&[8; 32], "id", &time, b"body");
    let check = |of: &[(&str, &str)], expect: bool| {
        assert_eq!(is_proven(Forge::GitLab, of, b"body", &[&secret]), expect, "{of:?}");
    };
    let with =
        |signature| [("webhook-id", "id"), ("webhook-timestamp", &*time), ("webhook-signature", signature)];
    let (both, odd, other_version) =
        (format!("{bad} {good}"), format!("v2,x {good} v1,"), good.replace("v1,", "v1a,"));
    check(&[("x-gitlab-token", &secret)], true);
    check(&[("x-gitlab-token", &secret[..secret.len() - 1])], false);
    check(&[("x-gitlab-token", "")], false);
    check(&[], false);
    check(&with(&good), true);
    check(&with(&both), true);
    check(&with(&odd), true);
    check(&with(&bad), false);
    check(&with(""), false);
    check(&with(&other_version), false);
    check(&[&with(&bad)[..], &[("x-gitlab-token", &secret)]].concat(), false);
    check(&with(&good)[1..], false);
    check(&[with(&good)[0], with(&good)[2]], false);
    check(&[("webhook-id", "other"), with(&good)[1], with(&good)[2]], false);
    check(&[with(&good)[0], ("webhook-timestamp", "99999999999999999999"), with(&good)[2]], false);
    let plain = is_proven(Forge::GitLab, &with(&good), b"body", &["a secret that is no signing key"]);
    assert!(!plain);
}

#[test]
fn azure_devops_proves_itself_by_the_password_of_http_basic() {
    let check = |value: &str, expect: bool| {
        assert_eq!(
            is_proven(Forge::AzureDevOps, &[("authorization", value)], b"{}", &[SECRET]),
            expect,
            "{value}"
        );
    };
    let basic = |credentials: &str| format!("Basic {}", STANDARD.encode(credentials));
    check(&basic(&format!("syncline:{SECRET}")), true);
    check(&basic(&format!(":{SECRET}")), true);
    check(&basic(&format!("syncline:{SECRET}")).replace("Basic", "basic"), true);
    check(&basic(&format!("syncline:{SECRET}x")), false);
    check(&basic(SECRET), false);
    check(&basic("syncline:"), false);
    check(&format!("Bearer {SECRET}"), false);
    check("Basic", false);
    check("Basic %%%", false);
    check("", false);
}

#[test]
fn a_proof_counts_with_either_of_two_secrets_and_with_no_other_forge_s_header() {
    for forge in Forge::ALL {
        let (name, value) = proof(forge, SECRET, b"body");
        let check = |of: &[(&str, &str)], secrets: &[&str], expect: bool| {
            assert_eq!(is_proven(forge, of, b"body", secrets), expect, "{forge:?} {of:?} {secrets:?}");
        };
        check(&[(name, &value)], &[SECRET], true);
        check(&[(name, &value)], &["another", SECRET], true);
        check(&[(name, &value)], &[SECRET, "another"], true);
        check(&[(name, &value)], &["another"], false);
        check(&[(name, &value)], &[], false);
        check(&[], &[SECRET], false);
        check(&[], &[""], false);
        let others = Forge::ALL.into_iter().map(|other| proof(other, SECRET, b"body"));
        for (other, value) in others.filter(|(other, _)| *other != name) {
            check(&[(other, &value)], &[SECRET], false);
        }
    }
}

#[test]
fn a_header_that_is_there_twice_proves_nothing() {
    for forge in Forge::ALL {
        let (name, value) = proof(forge, SECRET, b"body");
        let mut headers = headers(&[(name, &value)]);
        headers.append(name, HeaderValue::from_str(&value).expect("a value"));
        let request = Request { headers: &headers, body: b"body", now_ms: NOW_MS };
        let secrets = [Secret::from(SECRET.as_bytes().to_vec())];
        assert!(verify(forge, request, &secrets).is_none(), "{forge:?}");
    }
}

#[test]
fn every_byte_of_a_body_counts_where_it_is_signed() {
    let body = br#"{"ref": "refs/heads/main"}"#;
    let signature = format!("sha256={}", hex_hmac(SECRET, body));
    for at in 0..body.len() {
        let mut changed = body.to_vec();
        changed[at] ^= 1;
        assert!(
            !is_proven(Forge::GitHub, &[("x-hub-signature-256", &signature)], &changed, &[SECRET]),
            "byte {at}"
        );
    }
}
