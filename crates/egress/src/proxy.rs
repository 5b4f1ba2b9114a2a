//! The HTTP proxy that everything outside is reached through, if the operator names one.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use syncline_seams::Secret;
use thiserror::Error;

use crate::url::{Host, parse_host, percent_decoded, split_port};

/// A text that is not an acceptable proxy URL. It may hold a password and is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the proxy's url is not acceptable: {0}")]
pub struct InvalidProxy(&'static str);

/// An HTTP proxy, with a user and a password or without.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    pub(crate) host: Host,
    pub(crate) port: u16,
    /// As it stands in the URL, and decoded.
    login: Option<(Secret, Login)>,
}

/// A user and a password of a proxy's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password; may be empty.
    pub password: Secret,
}

impl Proxy {
    /// The proxy at `http://[user:password@]host[:port]`; the port is 80 unless it says another.
    ///
    /// # Errors
    /// [`InvalidProxy`]: another scheme, a path, or a host, port or login that is none.
    pub fn parse(url: &Secret) -> Result<Self, InvalidProxy> {
        let refuse = |rule| Err(InvalidProxy(rule));
        let text = url.expose();
        if text.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return refuse("it must hold only visible ASCII characters");
        }
        let Some(rest) = text.strip_prefix("http://") else {
            return refuse("it must begin with http://, for that is how the proxy itself is spoken to");
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, authority) = match rest.rsplit_once('@') {
            Some((login, authority)) => (Some(login), authority),
            None => (None, rest),
        };
        let place = split_port(authority).and_then(|(host, port)| Some((parse_host(host)?, port)));
        let Some((host, port)) = place else {
            return refuse("it must name a host, or an address in full, and a port from 1 to 65535 if any");
        };
        let login = match login {
            None => None,
            Some(login) => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                let decoded = percent_decoded(user).zip(percent_decoded(password));
                let Some((user, password)) = decoded.filter(|(user, _)| !user.contains(':')) else {
                    return refuse(
                        "its user and password must be percent-encoded, without control characters",
                    );
                };
                if login.contains(['/', '?', '#', '@']) {
                    return refuse("'/', '?', '#' and '@' in its user and password must be percent-encoded");
                }
                Some((Secret::new(login), Login { user, password: Secret::new(password) }))
            }
        };
        Ok(Self { host, port: port.unwrap_or(80), login })
    }

    /// Its host and port.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Its URL with the port, the user and the password.
    #[must_use]
    pub fn url(&self) -> Secret {
        let login = self.login.as_ref().map_or_else(String::new, |(text, _)| format!("{}@", text.expose()));
        Secret::new(format!("http://{login}{}", self.authority()))
    }

    /// Who it knows us as.
    #[must_use]
    pub fn login(&self) -> Option<&Login> {
        self.login.as_ref().map(|(_, login)| login)
    }

    /// What it is asked for a connection to `host:port` with.
    pub(crate) fn question(&self, authority: &str) -> Secret {
        let login = self.login().map_or_else(String::new, |login| {
            let basic = STANDARD.encode(format!("{}:{}", login.user, login.password.expose()));
            format!("proxy-authorization: Basic {basic}\r\n")
        });
        Secret::new(format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n{login}\r\n"))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({})", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_host_and_perhaps_a_login_that_nobody_sees() {
        let check = |url: &str, expect: Option<(&str, Option<(&str, &str)>)>| {
            let parsed = Proxy::parse(&Secret::new(url));
            let shown = format!("{parsed:?}");
            assert!(!shown.contains("canary"), "{shown}");
            let parsed = parsed.ok();
            let login = parsed.as_ref().and_then(Proxy::login);
            let login = login.map(|login| (login.user.as_str(), login.password.expose().as_str()));
            assert_eq!(
                parsed.as_ref().map(|proxy| (proxy.authority(), login)),
                expect.map(|(a, l)| (a.to_owned(), l)),
                "{url}"
            );
        };
        check("http://proxy.example.com:3128", Some(("proxy.example.com:3128", None)));
        check("http://Proxy.example.com/", Some(("proxy.example.com:80", None)));
        check("http://10.0.0.1:8080", Some(("10.0.0.1:8080", None)));
        check("http://[2001:db8::1]:8080", Some(("[2001:db8::1]:8080", None)));
        check("http://me:canary@proxy:1", Some(("proxy:1", Some(("me", "canary")))));
        check("http://me@proxy:1", Some(("proxy:1", Some(("me", "")))));
        check("http://me:canary%40%3A%2f@proxy:1", Some(("proxy:1", Some(("me", "canary@:/")))));
        for url in [
            "",
            "proxy:3128",
            "https://me:canary@proxy:1",
            "socks5://proxy:1",
            "http://",
            "http://proxy:0",
            "http://proxy:x",
            "http://canary a@proxy",
            "http://me:canary%0a@proxy",
            "http://me:can@ary@proxy",
            "http://a%3ab:canary@proxy",
            "http://me:canary/@proxy",
            "http://proxy/canary",
            "http://proxy?canary",
            "http://2130706433:1",
        ] {
            check(url, None);
        }
        let proxy = Proxy::parse(&Secret::new("http://me:p%40ss@proxy:1")).expect("a proxy");
        assert_eq!(proxy.url().expose(), "http://me:p%40ss@proxy:1");
        let question = proxy.question("git.example.com:443");
        assert_eq!(
            question.expose(),
            "CONNECT git.example.com:443 HTTP/1.1\r\nhost: git.example.com:443\r\nproxy-authorization: Basic bWU6cEBzcw==\r\n\r\n"
        );
    }
}
