//! URLs of what is outside: in one normal form, and never ambiguous about where they lead.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

/// A text that is not an acceptable remote URL.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{value}' is not a repository url: {rule}")]
pub struct InvalidRemoteUrl {
    value: String,
    rule: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    Name(String),
    Address(IpAddr),
}

/// As URLs have it.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Http { is_tls: bool, host: Host, port: u16 },
    Ssh { user: Option<String>, host: Host, port: u16, path: String },
    File(PathBuf),
}

/// The URL of a repository: `https`, `http` or `file`, without a user, query or fragment; or `ssh://[user@]host/path`,
/// also as `user@host:path`, whose path is below the user's home.
///
/// Host names are lower-case; a host that some resolver could take for a number (`2130706433`, `0x7f.1`,
/// `127.1`) is refused unless it is an address in full.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RemoteUrl {
    text: String,
    place: Place,
}

impl RemoteUrl {
    /// The longest URL accepted, in bytes.
    pub const MAX_BYTES: usize = 2048;

    /// The clone URL `<endpoint>/<owner>/<repository>.git`; the owner may hold `/` for nested groups.
    ///
    /// # Errors
    /// When the endpoint is not an acceptable URL, or a part of owner or repository is empty, `.` or `..`.
    pub fn of_repository(endpoint: &str, owner: &str, repository: &str) -> Result<Self, InvalidRemoteUrl> {
        let url = format!("{}.git", joined(endpoint, owner.split('/').chain([repository])));
        if repository.is_empty() || repository.starts_with('-') || owner.starts_with('-') {
            return Err(invalid(&url, "owner and repository must not be empty or begin with '-'"));
        }
        // `...git` would be a file like any other, but a forge's own paths hold the bare name.
        if matches!(repository, "." | "..") {
            return Err(invalid(&url, "the repository must not be '.' or '..'"));
        }
        url.parse()
    }

    /// `<endpoint>/<segment>/…`, each segment one part of the path, whatever is in it.
    ///
    /// # Errors
    /// When the endpoint is not an acceptable URL, or a segment is empty, `.` or `..`, or begins with '-'.
    pub fn below(endpoint: &str, segments: &[&str]) -> Result<Self, InvalidRemoteUrl> {
        let url = joined(endpoint, segments.iter().copied());
        if segments.iter().any(|segment| segment.is_empty() || segment.starts_with('-')) {
            return Err(invalid(&url, "no part of it must be empty or begin with '-'"));
        }
        url.parse()
    }

    /// The URL in normal form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The user and the path that are named to an SSH server; `None` for a URL of another kind.
    #[must_use]
    pub fn ssh(&self) -> Option<(Option<&str>, &str)> {
        match &self.place {
            Place::Ssh { user, path, .. } => Some((user.as_deref(), path)),
            Place::Http { .. } | Place::File(_) => None,
        }
    }

    /// Whether it is a `file://` URL.
    #[must_use]
    pub fn is_file(&self) -> bool {
        matches!(self.place, Place::File(_))
    }

    /// The host and port that are called; `None` for a `file://` URL.
    #[must_use]
    pub fn host(&self) -> Option<String> {
        match &self.place {
            Place::Http { host, port, .. } | Place::Ssh { host, port, .. } => Some(match host {
                Host::Name(name) => format!("{name}:{port}"),
                Host::Address(address) => format!("{address}:{port}"),
            }),
            Place::File(_) => None,
        }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for RemoteUrl {
    type Err = InvalidRemoteUrl;

    fn from_str(s: &str) -> Result<Self, InvalidRemoteUrl> {
        let refuse = |rule| Err(invalid(s, rule));
        if s.len() > Self::MAX_BYTES {
            return refuse("it must have at most 2048 bytes");
        }
        if s.bytes().any(|b| !b.is_ascii_graphic() || b == b'\\') {
            return refuse("it must hold only visible ASCII characters other than '\\'");
        }
        if s.contains(['?', '#', '"', '<', '>', '^', '`', '{', '}', '|']) {
            return refuse("it must have no query, fragment or reserved characters");
        }
        let Some((scheme, rest)) = s.split_once("://") else {
            return match scp_parts(s) {
                Some((user, host, path)) => of_scp(s, user, host, path),
                None => refuse(SCHEMES),
            };
        };
        let is_ssh = scheme.eq_ignore_ascii_case("ssh");
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, authority) = match authority.rsplit_once('@') {
            Some((user, host)) if is_ssh && is_user(user) => (Some(user), host),
            Some(_) if is_ssh => return refuse(USER),
            Some(_) => return refuse("it must not name a user: credentials are given apart"),
            None => (None, authority),
        };
        let path = path.trim_end_matches('/');
        if !path.is_empty() && !path.split('/').all(is_ordinary_segment) {
            return refuse("no part of its path may be empty, '.', '..', or a malformed % escape");
        }
        let is_tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" | "ssh" => false,
            "file" if !authority.is_empty() => return refuse("a file url must have no host"),
            "file" => {
                let path =
                    PathBuf::from(percent_decoded(path).map(|path| format!("/{path}")).ok_or_else(|| {
                        invalid(s, "no part of its path may hold NUL or bytes that are not UTF-8")
                    })?);
                return Ok(Self { text: file_url(&path), place: Place::File(path) });
            }
            _ => return refuse(SCHEMES),
        };
        let (host, port) =
            split_port(authority).ok_or_else(|| invalid(s, "its port must be a number from 1 to 65535"))?;
        let host = parse_host(host).ok_or_else(|| {
            invalid(s, "its host must be a name or an address in full (as 192.0.2.1 or [2001:db8::1])")
        })?;
        let default_port = match (is_ssh, is_tls) {
            (true, _) => 22,
            (false, true) => 443,
            (false, false) => 80,
        };
        let shown_port =
            port.filter(|&port| port != default_port).map_or_else(String::new, |p| format!(":{p}"));
        if is_ssh {
            let path = percent_decoded(path).ok_or_else(|| invalid(s, "its path must be UTF-8"))?;
            let (asked, text) = (
                // As git asks for it: a home is not below the root.
                if path.starts_with('~') { path.clone() } else { format!("/{path}") },
                path.split('/').map(percent_encoded).collect::<Vec<_>>().join("/"),
            );
            let at = user.map_or_else(String::new, |user| format!("{user}@"));
            let user = user.map(str::to_owned);
            return Ok(Self {
                text: format!("ssh://{at}{host}{shown_port}/{text}"),
                place: Place::Ssh { user, host, port: port.unwrap_or(default_port), path: asked },
            });
        }
        let scheme = if is_tls { "https" } else { "http" };
        Ok(Self {
            text: format!("{scheme}://{host}{shown_port}/{path}"),
            place: Place::Http { is_tls, host, port: port.unwrap_or(default_port) },
        })
    }
}

const SCHEMES: &str = "it must begin with https://, http://, ssh:// or file://, or be user@host:path";
const USER: &str = "its user must be 1 to 64 letters, digits, '.', '_', '+' or '-', without a password";

/// The parts of `user@host:path`.
fn scp_parts(text: &str) -> Option<(&str, &str, &str)> {
    let (user, rest) = text.split_once('@')?;
    // The colons of an address in brackets are its own.
    let bracketed = rest.find("]:").filter(|_| rest.starts_with('['));
    let colon = bracketed.map_or_else(|| rest.find(':'), |at| Some(at + 1))?;
    let (host, path) = (&rest[..colon], &rest[colon + 1..]);
    (!user.contains([':', '/']) && !host.contains('/')).then_some((user, host, path))
}

fn of_scp(text: &str, user: &str, host: &str, path: &str) -> Result<RemoteUrl, InvalidRemoteUrl> {
    let refuse = |rule| Err(invalid(text, rule));
    if !is_user(user) {
        return refuse(USER);
    }
    let Some(host) = parse_host(host) else {
        return refuse("its host must be a name or an address in full (as 192.0.2.1 or [2001:db8::1])");
    };
    let path = path.trim_end_matches('/');
    let below = path.strip_prefix('/').unwrap_or(path);
    if path.starts_with('-') || !below.split('/').all(|part| !matches!(part, "" | "." | "..")) {
        return refuse("no part of its path may be empty, '.' or '..', nor may it begin with '-'");
    }
    let (user, path) = (user.to_owned(), path.to_owned());
    let text = format!("{user}@{}:{path}", shown(&host));
    Ok(RemoteUrl { text, place: Place::Ssh { user: Some(user), host, port: 22, path } })
}

fn is_user(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
}

fn shown(host: &Host) -> String {
    match host {
        Host::Name(name) => name.clone(),
        Host::Address(IpAddr::V4(address)) => address.to_string(),
        Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
    }
}

fn joined<'a>(endpoint: &str, segments: impl Iterator<Item = &'a str>) -> String {
    if let Some((user, host, path)) = scp_parts(endpoint).filter(|_| !endpoint.contains("://")) {
        // Nothing decodes such a path again; "host:" is the user's home, "host:/" the root.
        let base = match path.trim_end_matches('/') {
            "" if path.is_empty() => String::new(),
            base => format!("{base}/"),
        };
        return format!("{user}@{host}:{base}{}", segments.collect::<Vec<_>>().join("/"));
    }
    let mut url = endpoint.trim_end_matches('/').to_owned();
    for segment in segments {
        url.push('/');
        url.push_str(&percent_encoded(segment));
    }
    url
}

/// A `file://` URL git decodes to exactly this path.
pub(crate) fn file_url(path: &Path) -> String {
    let encoded: Vec<_> = path.to_string_lossy().split('/').map(percent_encoded).collect();
    format!("file://{}", encoded.join("/"))
}

fn invalid(value: &str, rule: &'static str) -> InvalidRemoteUrl {
    // A user's part may hold a password.
    let shown = match (value.find("://"), value.rfind('@')) {
        (Some(start), Some(at)) if start < at => format!("{}***{}", &value[..start + 3], &value[at..]),
        (None, Some(at)) if value[..at].contains(':') => format!("***{}", &value[at..]),
        _ => value.to_owned(),
    };
    InvalidRemoteUrl { value: shown.chars().take(300).collect(), rule }
}

pub(crate) fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => return Some((authority, None)),
    };
    let is_number = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let port = port.parse().ok().filter(|&port: &u16| is_number && port != 0)?;
    Some((host, Some(port)))
}

pub(crate) fn parse_host(host: &str) -> Option<Host> {
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().ok().map(|address| Host::Address(address.into()));
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Some(Host::Address(address.into()));
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
    };
    // inet_aton(3) reads 1 to 4 decimal, octal or hexadecimal parts as an address; no real top-level domain
    // is a number (URL Standard, "ends in a number").
    let last = host.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let ends_in_number = last.bytes().all(|b| b.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    let is_name = host.len() <= 253 && host.split('.').all(is_label) && !ends_in_number;
    is_name.then(|| Host::Name(host.to_ascii_lowercase()))
}

/// Whether a part of a path is not empty, `.` or `..`, and its escapes are well-formed.
fn is_ordinary_segment(segment: &str) -> bool {
    percent_decoded(segment)
        .is_some_and(|decoded| !matches!(decoded.as_str(), "" | "." | "..") && !decoded.contains('/'))
}

pub(crate) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                return None;
            }
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok().filter(|decoded| !decoded.chars().any(char::is_control))
}

fn percent_encoded(segment: &str) -> String {
    let mut encoded = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_one_normal_form() {
        let check = |text: &str, expected: &str| {
            assert_eq!(text.parse::<RemoteUrl>().expect(text).as_str(), expected, "{text}");
        };
        check("https://Git.Example.com/a/b.git", "https://git.example.com/a/b.git");
        check("HTTPS://git.example.com:443/a/b.git/", "https://git.example.com/a/b.git");
        check("http://git.example.com:80", "http://git.example.com/");
        check("https://git.example.com:8443/a%20b", "https://git.example.com:8443/a%20b");
        check("https://192.0.2.1/a", "https://192.0.2.1/a");
        check("https://[2001:DB8:0::1]:99/a", "https://[2001:db8::1]:99/a");
        check("https://dev.azure.com/org/project/_git/repo", "https://dev.azure.com/org/project/_git/repo");
        check("ssh://git@Git.Example.com:22/a/b.git", "ssh://git@git.example.com/a/b.git");
        check("SSH://git.example.com:2222/a%20b/", "ssh://git.example.com:2222/a%20b");
        check("git@Git.example.com:a/b.git", "git@git.example.com:a/b.git");
        check("git@[2001:DB8:0::1]:a", "git@[2001:db8::1]:a");
        check("git@host:/srv/a", "git@host:/srv/a");
        check("file:///srv/git/a.git", "file:///srv/git/a.git");
        check("file:///srv/my%20git/%C3%A4.git/", "file:///srv/my%20git/%C3%A4.git");
    }

    #[test]
    fn an_ssh_server_is_told_a_user_and_a_path() {
        let check = |text: &str, user: Option<&str>, path: &str, host: &str| {
            let url: RemoteUrl = text.parse().expect(text);
            assert_eq!((url.ssh(), url.host().as_deref()), (Some((user, path)), Some(host)), "{text}");
        };
        check("ssh://git@host/a/b.git", Some("git"), "/a/b.git", "host:22");
        check("ssh://host:2222/a%20b", None, "/a b", "host:2222");
        check("ssh://host/a%27;%24(x)", None, "/a';$(x)", "host:22");
        check("ssh://host/~me/a", None, "~me/a", "host:22");
        check("git@host:a/b.git", Some("git"), "a/b.git", "host:22");
        check("git@host:/a/b%20c.git", Some("git"), "/a/b%20c.git", "host:22");
        check("git@[::1]:a", Some("git"), "a", "::1:22");
        assert_eq!("https://host/a".parse::<RemoteUrl>().expect("a url").ssh(), None);
    }

    #[test]
    fn what_is_no_url_says_why_and_keeps_passwords_to_itself() {
        for text in [
            "",
            "https:",
            "https://",
            "https:///a",
            "git.example.com/a",
            "ssh://git:password@host/a",
            "ssh://-x@host/a",
            "ssh://@host/a",
            "ssh://-oProxyCommand=x/a",
            "ssh://git@host:0/a",
            "ssh://git@host/a/../b",
            "git@host",
            "git@host:",
            "git@host:-x",
            "git@host:a/../b",
            "git@-host:a",
            "gi t@host:a",
            "me:pw@host:a",
            "host:a/b",
            "ext::sh -c x",
            "ftp://host/a",
            "--upload-pack=x",
            "https://host/../a",
            "https://host/a/./b",
            "https://host/a//b",
            "https://host/%2e%2E/a",
            "https://host/a%2fb",
            "https://host/%",
            "https://host/%zz",
            "https://host/%00",
            "https://host/a?b",
            "https://host/a#b",
            "https://host/a b",
            "https://host/a\\b",
            "https://host/a\n",
            "https://host:0/a",
            "https://host:65536/a",
            "https://host:/a",
            "https://host:+1/a",
            "https://ho st/a",
            "https://host%41/a",
            "https://ä.example/a",
            "file://host/a",
            "file://localhost/a",
            "file:///a/../b",
            "file:///a%00b",
            "file:a",
        ] {
            assert!(text.parse::<RemoteUrl>().is_err(), "{text}");
        }
        let told = "https://me:hunter2@host/a".parse::<RemoteUrl>().expect_err("a user").to_string();
        assert!(told.contains("must not name a user") && !told.contains("hunter2"), "{told}");
        let told = "me:hunter2@host:a".parse::<RemoteUrl>().expect_err("a password").to_string();
        assert!(told.starts_with("'***@host:a' is not"), "{told}");
        assert!(format!("https://host/{}", "a".repeat(2048)).parse::<RemoteUrl>().is_err());
    }

    #[test]
    fn clone_urls_are_made_of_endpoint_owner_and_repository() {
        let check = |owner: &str, repository: &str, expected: Option<&str>| {
            let made = RemoteUrl::of_repository("https://git.example.com/base/", owner, repository).ok();
            assert_eq!(made.as_ref().map(RemoteUrl::as_str), expected, "{owner} {repository}");
        };
        check("acme", "infra", Some("https://git.example.com/base/acme/infra.git"));
        check("group/sub", "a.b", Some("https://git.example.com/base/group/sub/a.b.git"));
        check("a b", "ä?#%", Some("https://git.example.com/base/a%20b/%C3%A4%3F%23%25.git"));
        for (endpoint, expected) in [
            ("ssh://git@host:2222", "ssh://git@host:2222/a/b.git"),
            ("ssh://git@host/srv/", "ssh://git@host/srv/a/b.git"),
            ("git@host:", "git@host:a/b.git"),
            ("git@host:/", "git@host:/a/b.git"),
            ("git@host:scm/", "git@host:scm/a/b.git"),
            ("git@host:/srv", "git@host:/srv/a/b.git"),
        ] {
            let made = RemoteUrl::of_repository(endpoint, "a", "b").expect(endpoint);
            assert_eq!(made.as_str(), expected, "{endpoint}");
        }
        let below = |segments: &[&str]| {
            RemoteUrl::below("https://dev.azure.com", segments).ok().map(|url| url.as_str().to_owned())
        };
        let expected = "https://dev.azure.com/acme/my%20project/_git/a%20b";
        assert_eq!(below(&["acme", "my project", "_git", "a b"]).as_deref(), Some(expected));
        for segments in [["acme", ""], ["..", "a"], ["-x", "a"], ["a", "b/c"]] {
            assert_eq!(below(&segments), None, "{segments:?}");
        }
        for (owner, repository) in [
            ("", "a"),
            ("a", ""),
            ("..", "a"),
            ("a/..", "b"),
            ("a//b", "c"),
            ("-a", "b"),
            ("a", "-b"),
            ("a", "b/c"),
            ("a", "b\0"),
        ] {
            check(owner, repository, None);
        }
    }
}
