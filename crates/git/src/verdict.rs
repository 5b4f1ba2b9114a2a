//! From git's complaints to decisions.
//!
//! git has no machine-readable errors; these texts are its own with `LC_ALL=C`, stable for many years, and
//! each is provoked by a test. A remote can put any text into `remote:` lines and so choose among the
//! verdicts about itself, which gains it nothing.

use base64::Engine as _;
use http::{HeaderMap, StatusCode};
use syncline_model::names::ObjectId;

use crate::error::{GitError, Trouble};
use crate::remote::Credential;
use syncline_egress::RemoteUrl;

/// The longest message kept, in characters.
const MAX_MESSAGE_CHARS: usize = 600;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Unauthorized,
    NotFound,
    Redirected,
    Gone,
    Malformed,
    Throttled,
    Unavailable,
}

/// The first text found decides.
const TEXTS: &[(&str, Verdict)] = &[
    ("could not read Username", Verdict::Unauthorized),
    ("could not read Password", Verdict::Unauthorized),
    ("Authentication failed", Verdict::Unauthorized),
    ("returned error: 401", Verdict::Unauthorized),
    ("returned error: 403", Verdict::Unauthorized),
    ("returned error: 429", Verdict::Throttled),
    ("returned error: 404", Verdict::NotFound),
    ("returned error: 410", Verdict::NotFound),
    ("returned error: 3", Verdict::Redirected),
    ("unable to update url base from redirection", Verdict::Redirected),
    ("not our ref", Verdict::Gone),
    ("unadvertised object", Verdict::Gone),
    ("couldn't find remote ref", Verdict::Gone),
    ("fsck error in pack", Verdict::Malformed),
    ("fsck failed", Verdict::Malformed),
    ("No space left on device", Verdict::Unavailable),
    ("returned error: ", Verdict::Unavailable),
    ("is this a git repository?", Verdict::Unavailable),
    ("unable to access", Verdict::Unavailable),
    ("RPC failed", Verdict::Unavailable),
    ("early EOF", Verdict::Unavailable),
    ("hung up unexpectedly", Verdict::Unavailable),
    ("unexpected disconnect", Verdict::Unavailable),
    ("remote error:", Verdict::Unavailable),
    ("protocol error", Verdict::Unavailable),
    ("bad line length", Verdict::Unavailable),
    ("expected flush", Verdict::Unavailable),
    ("invalid server response", Verdict::Unavailable),
    ("does not appear to be a git repository", Verdict::NotFound),
];

/// What a failed conversation with the remote means, `commit` being the one asked for.
pub(crate) fn of_conversation(
    stderr: &str,
    credential: Option<&Credential>,
    commit: Option<&ObjectId>,
) -> Trouble {
    let message = scrubbed(stderr, credential);
    // "fatal: repository 'http://…/' not found"
    let is_unknown =
        stderr.lines().any(|line| line.contains("repository '") && line.ends_with("' not found"));
    let verdict = TEXTS.iter().find(|(text, _)| stderr.contains(text)).map(|&(_, verdict)| verdict);
    let error = match verdict {
        _ if is_unknown => GitError::RepositoryNotFound { message },
        Some(Verdict::NotFound) => GitError::RepositoryNotFound { message },
        Some(Verdict::Unauthorized) => GitError::Unauthorized { message },
        Some(Verdict::Redirected) => {
            GitError::RefusedByPolicy { message: format!("redirects are not followed: {message}") }
        }
        Some(Verdict::Gone) => match commit {
            Some(commit) => GitError::CommitGone { commit: commit.to_string() },
            None => GitError::Unavailable { message },
        },
        Some(Verdict::Malformed) => GitError::Malformed { message },
        Some(Verdict::Throttled) => GitError::Throttled { message, retry_after_ms: None },
        Some(Verdict::Unavailable) => GitError::Unavailable { message },
        None => return Trouble::BrokenCache(message),
    };
    Trouble::Told(error)
}

/// What hosts say by SSH, in words of their own, of a repository that is not there or may not be known of.
const NOT_THERE: &[&str] =
    &["not found", "could not be found", "does not exist", "does not appear to be a git", "doesn't exist"];
/// What they say where the key is one of somebody who may not.
const NOT_ALLOWED: &[&str] = &[
    "permission denied",
    "access denied",
    "unauthorized",
    "not authorized",
    "not allowed",
    "do not have permission",
];

/// What it means that a host's program ended with these complaints before it answered.
pub(crate) fn of_host(stderr: &str, url: &RemoteUrl) -> GitError {
    let said = scrubbed(stderr, None);
    let lower = said.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let message = match said.as_str() {
        "" => format!("'{url}': the host ended the conversation without a word"),
        said => format!("'{url}': {said}"),
    };
    if says(NOT_THERE) {
        GitError::RepositoryNotFound { message }
    } else if says(NOT_ALLOWED) {
        GitError::Unauthorized { message }
    } else {
        GitError::Unavailable { message }
    }
}

/// What an answer with a status other than 200 means, by its number and what its host says of the time.
pub(crate) fn of_status(status: StatusCode, headers: &HeaderMap, url: &RemoteUrl) -> GitError {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let message = format!("'{url}' answered {status}");
    // The other form is a date, by the host's clock.
    let retry_after_s = text("retry-after").and_then(|value| value.parse::<u32>().ok());
    let retry_after_ms = retry_after_s.map(|seconds| i64::from(seconds) * 1_000);
    // GitHub's and Gitea's word for a spent budget, which comes with 403 too.
    let is_spent = text("x-ratelimit-remaining") == Some("0");
    match status.as_u16() {
        401 => GitError::Unauthorized { message },
        404 | 410 => GitError::RepositoryNotFound { message },
        429 => GitError::Throttled { message, retry_after_ms },
        400.. if retry_after_ms.is_some() => GitError::Throttled { message, retry_after_ms },
        403 if is_spent => GitError::Throttled { message, retry_after_ms },
        403 => GitError::Unauthorized { message },
        300..400 => GitError::RefusedByPolicy { message: format!("redirects are not followed: {message}") },
        _ => GitError::Unavailable { message },
    }
}

/// git's complaint as one short line without credentials, control characters or noise.
pub(crate) fn scrubbed(stderr: &str, credential: Option<&Credential>) -> String {
    let mut text = stderr
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("warning: "))
        .collect::<Vec<_>>()
        .join("; ");
    if let Some(credential) = credential {
        let password = credential.password.expose();
        for secret in [basic(credential), password.to_owned()] {
            if !secret.is_empty() {
                text = text.replace(&secret, "***");
            }
        }
    }
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    without_userinfo(&text).chars().take(MAX_MESSAGE_CHARS).collect()
}

/// The value of an `Authorization` header.
pub(crate) fn authorization(credential: &Credential) -> String {
    match credential.username.as_str() {
        "" => format!("Bearer {}", credential.password.expose()),
        _ => format!("Basic {}", basic(credential)),
    }
}

/// The value of a Basic `Authorization` header (RFC 7617), without its scheme.
pub(crate) fn basic(credential: &Credential) -> String {
    let pair = format!("{}:{}", credential.username, credential.password.expose());
    base64::engine::general_purpose::STANDARD.encode(pair)
}

/// The text with the user's part of every URL blotted out.
fn without_userinfo(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        clean.push_str(before);
        let end = after.find(|c: char| c == '/' || c.is_whitespace() || c == '\'').unwrap_or(after.len());
        rest = match after[..end].rfind('@') {
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

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use syncline_seams::Secret;

    #[test]
    fn messages_hold_no_credential() {
        let credential = Credential { username: "oauth2".into(), password: Secret::new("s3cr3t-token") };
        let encoded = basic(&credential);
        let said = format!(
            "remote: you sent s3cr3t-token\u{7}\nfatal: http://me:hunter2@host/x: Basic {encoded}\nwarning: noise\n"
        );
        assert_eq!(
            scrubbed(&said, Some(&credential)),
            "remote: you sent *** ; fatal: http://***@host/x: Basic ***"
        );
    }

    #[test]
    fn statuses_are_decisions() {
        let url: RemoteUrl = "https://git.example.com/a.git".parse().expect("a url");
        let check = |status: u16, headers: &[(&'static str, &'static str)], expect: &str| {
            let headers: HeaderMap = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            let told = of_status(StatusCode::from_u16(status).expect("a status"), &headers, &url);
            let told = format!("{told:?}");
            assert!(told.starts_with(expect), "{status} {headers:?}: {told}");
            assert_eq!(
                told.contains("retry_after_ms: Some(7000)"),
                headers.contains_key("retry-after"),
                "{told}"
            );
        };
        check(204, &[], "Unavailable");
        check(301, &[], "RefusedByPolicy");
        check(308, &[], "RefusedByPolicy");
        check(400, &[], "Unavailable");
        check(401, &[], "Unauthorized");
        check(403, &[], "Unauthorized");
        check(403, &[("x-ratelimit-remaining", "0")], "Throttled");
        check(403, &[("x-ratelimit-remaining", "1")], "Unauthorized");
        check(403, &[("retry-after", "7")], "Throttled");
        check(404, &[], "RepositoryNotFound");
        check(410, &[], "RepositoryNotFound");
        check(429, &[], "Throttled");
        check(429, &[("retry-after", "7")], "Throttled");
        check(503, &[], "Unavailable");
        check(503, &[("retry-after", "7")], "Throttled");
    }

    #[test]
    fn what_hosts_say_by_ssh_is_a_decision() {
        let url: RemoteUrl = "ssh://git@git.example.com/a.git".parse().expect("a url");
        let check = |said: &str, expect: &str| {
            let told = format!("{:?}", of_host(said, &url));
            assert!(told.starts_with(expect) && told.contains("ssh://"), "{said}: {told}");
        };
        check("fatal: '/srv/a.git' does not appear to be a git repository", "RepositoryNotFound");
        check("ERROR: Repository not found.", "RepositoryNotFound");
        check(
            "remote: ERROR: The project you were looking for could not be found or you don't have",
            "RepositoryNotFound",
        );
        check(
            "remote: TF401019: The Git repository a does not exist or you do not have permissions",
            "RepositoryNotFound",
        );
        check("Forgejo: Unauthorized", "Unauthorized");
        check("remote: Permission denied to key of x", "Unauthorized");
        check("fatal: out of memory", "Unavailable");
        check("", "Unavailable");
        assert!(!format!("{:?}", of_host("\u{1b}[31mred", &url)).contains("1b"));
    }

    #[test]
    fn long_complaints_are_cut() {
        assert_eq!(scrubbed(&"ä".repeat(2000), None).chars().count(), MAX_MESSAGE_CHARS);
    }
}
