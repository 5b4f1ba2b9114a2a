//! Takes credentials out of texts that come from outside, before anything keeps or shows them.
//!
//! AWS echoes the signed request, session token included, when a signature does not match, and a credential
//! process may say anything on its way down.

const REMOVED: &str = "[removed]";

/// The longest text that leaves this crate, in bytes.
const MAX_BYTES: usize = 2_000;

/// A long text of this alphabet is a session token.
const MIN_TOKEN_BYTES: usize = 100;

/// The text without credentials, cut to 2,000 bytes.
pub(crate) fn scrub(text: &str) -> String {
    let text = without_token_header(text);
    let text = replace_runs(&text, |c| c.is_ascii_alphanumeric(), is_access_key_id);
    let text = replace_runs(&text, is_base64, |run| run.len() >= MIN_TOKEN_BYTES || is_secret_key(run));
    cut(text)
}

fn is_base64(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '+' || c == '/'
}

/// Long-term (`AKIA…`) and temporary (`ASIA…`) access key ids.
fn is_access_key_id(run: &str) -> bool {
    run.len() == 20
        && (run.starts_with("AKIA") || run.starts_with("ASIA"))
        && run.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

/// Forty characters of base64; commit ids have as many, but never capitals.
fn is_secret_key(run: &str) -> bool {
    let has = |of: fn(&u8) -> bool| run.as_bytes().iter().any(of);
    run.len() == 40 && has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit)
}

fn replace_runs(text: &str, belongs: fn(char) -> bool, is_secret: impl Fn(&str) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (run, after) = rest.split_at(rest.find(|c| !belongs(c)).unwrap_or(rest.len()));
        out.push_str(if is_secret(run) { REMOVED } else { run });
        let (between, after) = after.split_at(after.find(belongs).unwrap_or(after.len()));
        out.push_str(between);
        rest = after;
    }
    out
}

/// Removes the value of `x-amz-security-token`, however it is encoded.
fn without_token_header(text: &str) -> String {
    const NAME: &str = "x-amz-security-token";
    // ASCII lower case keeps every byte's place.
    let lower = text.to_ascii_lowercase();
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    while let Some(at) = lower[done..].find(NAME) {
        let name_end = done + at + NAME.len();
        let value = &text[name_end..];
        let value_start = value.find(|c: char| !matches!(c, ':' | '=' | ' ' | '"')).unwrap_or(value.len());
        // In `a;b;x-amz-security-token` or at the end it is only a name.
        let is_value = value[..value_start].contains([':', '=']);
        let value_end = value[value_start..]
            .find(|c: char| c.is_whitespace() || matches!(c, '&' | '\'' | '"' | '<' | ',' | ';'))
            .map_or(value.len(), |length| value_start + length);
        out.push_str(&text[done..name_end]);
        done = name_end;
        if is_value {
            out.push_str(&value[..value_start]);
            out.push_str(REMOVED);
            done += value_end;
        }
    }
    out.push_str(&text[done..]);
    out
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_BYTES {
        let end = (0..=MAX_BYTES).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        assert_eq!(scrub(text), expect);
    }

    #[test]
    fn credentials_are_removed_and_the_rest_stays() {
        let token = "IQoJb3JpZ2luX2VjEJr//////////wEaCXVzLWVhc3QtMSJHMEUCIQ".repeat(3);
        check(
            "The security token AKIAIOSFODNN7EXAMPLE is invalid",
            "The security token [removed] is invalid",
        );
        check(
            "Credential=ASIAIOSFODNN7EXAMPLE/20261123/eu-west-1/sts/aws4_request",
            "Credential=[removed]/20261123/eu-west-1/sts/aws4_request",
        );
        check(&format!("'{token}=='"), "'[removed]=='");
        check("key wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY.", "key [removed].");
        check(
            "host:sts.amazonaws.com\nx-amz-security-token:short/one\n\nhost;x-amz-security-token\nabc",
            "host:sts.amazonaws.com\nx-amz-security-token:[removed]\n\nhost;x-amz-security-token\nabc",
        );
        check("?X-Amz-Security-Token=a%2Fb%3D&X-Amz-Date=1", "?X-Amz-Security-Token=[removed]&X-Amz-Date=1");
        check("ends with x-amz-security-token:", "ends with x-amz-security-token:[removed]");
    }

    #[test]
    fn what_only_looks_like_a_credential_stays() {
        for text in [
            "",
            "Stack [wéb] does not exist — no token",
            "commit 4b825dc642cb6eb9a060e54bf8d69288fbee4904",
            "arn:aws:cloudformation:eu-west-1:123456789012:changeSet/a-1/4b825dc6-42cb-6eb9-a060-e54bf8d69288",
            "AKIA",
            "an x-amz-security-token is missing",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let cut = scrub(&"ä ".repeat(2_000));
        assert!(cut.len() <= MAX_BYTES + '…'.len_utf8() && cut.ends_with('…'), "{}", cut.len());
    }
}
