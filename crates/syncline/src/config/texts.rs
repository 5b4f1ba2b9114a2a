//! Settings that are texts with a rule.

use std::time::Duration;

use anyhow::Context as _;
use syncline_model::names::AccountId;

/// Two accounts, as `--allow-role-account` names them.
pub(super) fn parse_pair(pair: &str) -> anyhow::Result<(AccountId, AccountId)> {
    let parsed = pair.split_once('=').and_then(|(owner, account)| {
        Some((owner.parse::<AccountId>().ok()?, account.parse::<AccountId>().ok()?))
    });
    parsed.with_context(|| {
        format!("--allow-role-account {pair}: it must be two account ids, as 111111111111=222222222222")
    })
}

/// A URL to which paths are added: scheme and host, and a path where a proxy has one.
pub(super) fn parse_public_url(text: &str) -> anyhow::Result<String> {
    let uri = text.parse::<http::Uri>().ok().filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
            && uri.query().is_none()
            && !text.contains('#')
    });
    uri.context("--public-url must be like https://syncline.example.com, without user, query or fragment")?;
    Ok(text.trim_end_matches('/').to_owned())
}

/// A duration such as `500ms`, `60s`, `5m` or `1h`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let milliseconds_each: u64 = match unit {
        "ms" => 1,
        "s" | "" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("'{text}' is not a duration: use ms, s, m or h, as in 60s")),
    };
    let milliseconds = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(milliseconds_each))
        .ok_or_else(|| format!("'{text}' is not a duration: it must begin with a number, as in 60s"))?;
    let duration = Duration::from_millis(milliseconds);
    if duration < Duration::from_millis(100) {
        return Err(format!("'{text}' is too short: at least 100ms"));
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_is_what_paths_are_added_to() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(parse_public_url(text).ok().as_deref(), expect, "{text}");
        };
        check("https://syncline.example.com", Some("https://syncline.example.com"));
        check("https://example.com:8443/syncline/", Some("https://example.com:8443/syncline"));
        check("http://127.0.0.1:7962", Some("http://127.0.0.1:7962"));
        check("syncline.example.com", None);
        check("https://user:password@example.com", None);
        check("https://example.com/?a=b", None);
        check("https://example.com/#a", None);
        check("ssh://example.com", None);
        check("", None);
    }

    #[test]
    fn durations_have_units() {
        let check = |text: &str, ms: Option<u64>| {
            assert_eq!(parse_duration(text).ok(), ms.map(Duration::from_millis), "{text}");
        };
        check("60s", Some(60_000));
        check("500ms", Some(500));
        check("5m", Some(300_000));
        check("1h", Some(3_600_000));
        check("10", Some(10_000));
        check("50ms", None);
        check("s", None);
        check("1d", None);
        check("99999999999999999999s", None);
    }
}
