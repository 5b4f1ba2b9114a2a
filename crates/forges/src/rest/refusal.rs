//! What an answer means that is not the one asked for.

use std::time::UNIX_EPOCH;

use http::{HeaderMap, Response, StatusCode};
use serde_json::Value;
use thiserror::Error;

use super::access::Access;
use crate::Forge;

/// The most that is kept of what a forge says, in characters.
const MAX_CHARS: usize = 300;

/// Why a forge did not do, or may not have done, what it was asked: by what is to be done about it. No message has the
/// token.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It does not take the token: somebody must give another.
    #[error("it refuses the token: {0}")]
    Unauthorized(String),
    /// It knows whose the token is, who may not do this.
    #[error("the token may not do this: {0}")]
    Forbidden(String),
    /// There is no such thing, or the token may not know of it.
    #[error("it is not there, or the token may not see it: {0}")]
    NotFound(String),
    /// It wants to be asked less.
    #[error("it wants fewer requests: {message}")]
    Throttled {
        /// After how many milliseconds it wants to be asked again, if it says so.
        retry_after_ms: Option<i64>,
        /// What it says.
        message: String,
    },
    /// It is not to be done as it was asked for: asking again changes nothing.
    #[error("{0}")]
    Invalid(String),
    /// It cannot be reached now: nothing was asked. To be asked again later.
    #[error("{0}")]
    Unreached(String),
    /// Nobody knows: it may have been done. To be asked again later.
    #[error("{0}")]
    Unavailable(String),
}

impl Refusal {
    /// Whether the same question may have another answer later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Throttled { .. } | Self::Unreached(_) | Self::Unavailable(_))
    }
}

/// What an answer means whose status does not say success; `None` if it does.
pub(crate) fn of(access: &Access, response: &Response<impl AsRef<[u8]>>, now_ms: i64) -> Option<Refusal> {
    let (status, headers) = (response.status(), response.headers());
    // What Azure DevOps answers to a token it does not know is the page where people sign in.
    let asks_to_sign_in = access.forge() == Forge::AzureDevOps && matches!(status.as_u16(), 203 | 302);
    if status.is_success() && !asks_to_sign_in {
        return None;
    }
    let said = said(access, status, headers, response.body().as_ref());
    let retry_after_ms = retry_after_ms(headers, now_ms);
    let throttled = |message| Refusal::Throttled { retry_after_ms, message };
    Some(match status.as_u16() {
        _ if asks_to_sign_in => Refusal::Unauthorized(said),
        401 => Refusal::Unauthorized(said),
        403 if is_rate_limit(headers, &said) => throttled(said),
        403 => Refusal::Forbidden(said),
        404 | 410 => Refusal::NotFound(said),
        429 => throttled(said),
        503 if headers.contains_key("retry-after") => throttled(said),
        // Somebody else is at it, or what it needs is not there yet.
        408 | 409 | 423 | 425 | 500.. => Refusal::Unavailable(said),
        300..=399 => Refusal::Invalid(format!("{said}: redirects are not followed")),
        _ => Refusal::Invalid(said),
    })
}

/// GitHub says 403 for a spent budget, too.
fn is_rate_limit(headers: &HeaderMap, said: &str) -> bool {
    text(headers, "x-ratelimit-remaining") == Some("0")
        || headers.contains_key("retry-after")
        || said.to_ascii_lowercase().contains("rate limit")
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// When a forge wants to be asked again: seconds or a date (RFC 9110), or the end of the budget's period in seconds since
/// the Unix epoch.
fn retry_after_ms(headers: &HeaderMap, now_ms: i64) -> Option<i64> {
    let from_now = |at_ms: i64| at_ms.saturating_sub(now_ms).max(0);
    if let Some(said) = text(headers, "retry-after") {
        if let Ok(seconds) = said.parse::<u32>() {
            return Some(i64::from(seconds) * 1000);
        }
        let date = httpdate::parse_http_date(said).ok()?.duration_since(UNIX_EPOCH).ok()?;
        return i64::try_from(date.as_millis()).ok().map(from_now);
    }
    let is_spent =
        ["x-ratelimit-remaining", "ratelimit-remaining"].iter().any(|name| text(headers, name) == Some("0"));
    let reset = text(headers, "x-ratelimit-reset").or_else(|| text(headers, "ratelimit-reset"));
    let reset_s = reset.filter(|_| is_spent)?.parse::<u32>().ok()?;
    Some(from_now(i64::from(reset_s) * 1000))
}

/// The status and the forge's own words.
fn said(access: &Access, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> String {
    let is_json = is_json(headers);
    let words = serde_json::from_slice::<Value>(body).ok().filter(|_| is_json).map(|body| words(&body));
    match words.filter(|words| !words.is_empty()) {
        Some(words) => scrubbed(access, &format!("{status}: {words}")),
        None => status.to_string(),
    }
}

pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let media = text(headers, "content-type").unwrap_or_default().split(';').next().unwrap_or_default();
    let media = media.trim().to_ascii_lowercase();
    media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"))
}

/// Where the forges put what they have to say: `message` (a text, or lists of them by field), `error` and
/// `error_description`, `error.message` and `error.detail`, `errors[].message`.
fn words(body: &Value) -> String {
    let mut found: Vec<String> = Vec::new();
    let mut add = |value: Option<&Value>| match value {
        Some(Value::String(text)) => found.push(text.clone()),
        Some(Value::Object(fields)) => {
            for (name, value) in fields.iter().take(5) {
                let texts = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                found.extend(texts.iter().take(5).filter_map(Value::as_str).map(
                    |text| match name.as_str() {
                        "message" | "detail" => text.to_owned(),
                        name => format!("{name} {text}"),
                    },
                ));
            }
        }
        _ => {}
    };
    add(body.get("message"));
    add(body.get("error"));
    add(body.get("error_description"));
    for error in body.get("errors").and_then(Value::as_array).into_iter().flatten().take(5) {
        add(if error.is_string() { Some(error) } else { error.get("message") });
    }
    found.join("; ")
}

/// Somebody else's words as one line: without the token, control characters, or more than is read.
pub(crate) fn scrubbed(access: &Access, text: &str) -> String {
    let text = access.without_token(text);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_CHARS).collect()
}
