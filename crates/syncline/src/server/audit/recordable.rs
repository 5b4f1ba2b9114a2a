//! What of a request and its answer may be recorded: no secret, and nothing that is too long.

use serde_json::{Map, Value, json};

/// What stands for a secret, as CloudTrail writes it.
const HIDDEN: &str = "HIDDEN_DUE_TO_SECURITY_REASONS";
/// Members whose values are secrets, in lower case.
const SECRETS: [&str; 6] = ["password", "privatekey", "secret", "secretaccesskey", "sessiontoken", "token"];
/// Members up to this length are kept whatever the rest comes to, in bytes of JSON: the names and ARNs that say
/// what was changed.
const SHORT_BYTES: usize = 512;

/// The same value without what is secret: members that are named like a secret, and the user's part of URLs.
pub(super) fn without_secrets(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| {
                let is_secret = SECRETS.contains(&&*name.to_ascii_lowercase()) && !value.is_null();
                (name.clone(), if is_secret { HIDDEN.into() } else { without_secrets(value) })
            });
            Value::Object(members.collect())
        }
        Value::Array(items) => items.iter().map(without_secrets).collect(),
        Value::String(text) => without_userinfo(text).into(),
        other => other.clone(),
    }
}

/// The same value in no more than `limit` bytes: of an object's members the longest are left out first, and
/// short ones never.
pub(super) fn shortened(mut value: Value, limit: usize) -> Value {
    let size = value.to_string().len();
    if size <= limit {
        return value;
    }
    let Value::Object(members) = &mut value else { return omitted(size) };
    let mut longest: Vec<(usize, String)> = members
        .iter()
        .map(|(name, value)| (value.to_string().len(), name.clone()))
        .filter(|(length, _)| *length > SHORT_BYTES)
        .collect();
    longest.sort_unstable_by(|one, other| other.cmp(one));
    let mut left = size;
    for (length, name) in longest {
        if left <= limit {
            break;
        }
        let instead = omitted(length);
        left = left - length + instead.to_string().len();
        members.insert(name, instead);
    }
    value
}

/// What stands for what is left out.
fn omitted(size: usize) -> Value {
    json!({ "omitted": true, "originalSize": size })
}

/// The text with the user's part of every URL blotted out: it may be a password.
pub(super) fn without_userinfo(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        // Whoever reads URLs leniently skips any number of slashes, of either kind.
        let authority = rest[at + 3..].trim_start_matches(['/', '\\']);
        let (before, after) = rest.split_at(rest.len() - authority.len());
        clean.push_str(before);
        let end = after.find(['/', '\\', '?', '#', ' ']).unwrap_or(after.len());
        let user_end = match after[..end].rfind('@') {
            // A password with such a character in it that was not escaped: no host has a port like that.
            None if !has_sound_port(&after[..end]) => after.rfind('@'),
            found => found,
        };
        rest = match user_end {
            Some(user_end) => {
                clean.push_str("***");
                &after[user_end..]
            }
            None => after,
        };
    }
    clean.push_str(rest);
    clean
}

/// Whether what follows the host is a port, if anything does.
fn has_sound_port(authority: &str) -> bool {
    let after_address = authority.rsplit(']').next().unwrap_or(authority);
    after_address.split_once(':').is_none_or(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The same value with each member's name in lower camel case, as CloudTrail spells them.
pub(in super::super) fn lower_camel(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| {
                let mut chars = name.chars();
                let first = chars.next().map(|first| first.to_ascii_lowercase());
                (first.into_iter().chain(chars).collect(), lower_camel(value))
            });
            Value::Object(members.collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(lower_camel).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_named_like_a_secret_is_hidden_wherever_it_is() {
        let check = |value: Value, expect: Value| assert_eq!(without_secrets(&value), expect, "{value}");
        check(json!({"token": "t", "name": "n"}), json!({"token": HIDDEN, "name": "n"}));
        check(
            json!({"key": [{"secretAccessKey": "s", "accessKeyId": "AKIA"}]}),
            json!({"key": [{"secretAccessKey": HIDDEN, "accessKeyId": "AKIA"}]}),
        );
        check(json!({"SessionToken": {"a": 1}}), json!({"SessionToken": HIDDEN}));
        check(json!({"token": null}), json!({"token": null}));
        check(
            json!({"tags": [{"key": "token", "value": "v"}]}),
            json!({"tags": [{"key": "token", "value": "v"}]}),
        );
        check(Value::Null, Value::Null);
    }

    #[test]
    fn the_user_of_a_url_is_not_recorded() {
        let check = |text: &str, expect: &str| {
            assert_eq!(without_secrets(&json!({"a": [text]})), json!({"a": [expect]}), "{text}");
        };
        check("https://me:t0ken@git.example.com/x", "https://***@git.example.com/x");
        check("https://t0ken@git.example.com", "https://***@git.example.com");
        check("https://me:t@ken@git.example.com", "https://***@git.example.com");
        check("https:///me:t0ken@git.example.com", "https:///***@git.example.com");
        check("https://me:t0/k?e#n@git.example.com/x", "https://***@git.example.com/x");
        check("https://me:t0\tken@git.example.com", "https://***@git.example.com");
        check("two: http://a:b@c and ssh://d:e@f.", "two: http://***@c and ssh://***@f.");
        for sound in [
            "https://git.example.com:8443/@scope/x",
            "https://git.example.com/a@b",
            "https://[2001:db8::1]:8443/a@b",
            "git@git.example.com:acme/infra",
            "ann@example.com",
            "://",
            "",
        ] {
            check(sound, sound);
        }
    }

    #[test]
    fn of_what_is_too_long_the_longest_members_are_left_out() {
        let check = |value: Value, limit: usize, expect: Value| {
            let left = shortened(value, limit);
            assert_eq!(left, expect);
        };
        // The text's two quotes and the object around it count too.
        let of_size = |size: usize| json!({ "a": "x".repeat(size - 8) });
        check(of_size(4096), 4096, of_size(4096));
        check(of_size(4097), 4096, json!({"a": {"omitted": true, "originalSize": 4091}}));
        let long = |length: usize| Value::from("x".repeat(length - 2));
        let left_out = |length: usize| json!({"omitted": true, "originalSize": length});
        check(
            json!({"userName": "ann", "one": long(2000), "other": long(3000), "policyName": "all"}),
            4096,
            json!({"userName": "ann", "one": long(2000), "other": left_out(3000), "policyName": "all"}),
        );
        check(
            json!({"userName": "ann", "one": long(2000), "other": long(3000), "name": long(SHORT_BYTES)}),
            600,
            json!({"userName": "ann", "one": left_out(2000), "other": left_out(3000), "name": long(SHORT_BYTES)}),
        );
        check(long(5000), 4096, left_out(5000));
    }
}
