//! What proxies say of whom they hand requests on for.
//!
//! Of a connection only its other end is certain. Where that is a proxy that the operator trusts (`--trusted-proxy`), what
//! it says of the end beyond it is believed, and so on from the last hop to the first, until one is not trusted: that one is
//! the client, whatever it says itself. Anybody else's headers of this kind mean nothing.
//!
//! A proxy that writes one of the two families of headers hands the other on as the client sent it. So where both are there
//! and name different clients, or one of them names none, the request is refused: were it taken for the proxy's own, a client
//! could choose to be the proxy.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::header::{FORWARDED, HeaderName};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue};
use syncline_git::Network;
use thiserror::Error;

/// The most hops that are followed.
const MAX_HOPS: usize = 32;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The proxies that the operator trusts.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    trusted: Vec<Network>,
}

/// How a request came to be here, as far as that can be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arrival {
    /// The client.
    pub(super) source: IpAddr,
    /// Whether the client was spoken to with TLS; `None` if no trusted proxy says.
    pub(super) is_encrypted: Option<bool>,
    /// The host that the client asked for; `None` if no trusted proxy says.
    pub(super) host: Option<HeaderValue>,
}

/// Why nobody can say whom a request comes from. It was handed on by a trusted proxy, which should have seen to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Unclear {
    /// A header names nobody, or cannot be read.
    #[error(
        "the header {0} does not say where this request comes from: the trusted proxy must set or extend it, or else remove it"
    )]
    Unread(&'static str),
    /// The two families of headers name different clients.
    #[error(
        "the headers X-Forwarded-For and Forwarded name different clients: the trusted proxy must remove the one of the two \
         that it does not set"
    )]
    Contradiction,
}

impl Proxies {
    /// Trusts the proxies in these networks.
    #[must_use]
    pub fn trusting(trusted: Vec<Network>) -> Self {
        Self { trusted }
    }

    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// How a request came that has these headers and was received from `peer`.
    ///
    /// # Errors
    /// [`Unclear`].
    pub(super) fn arrival(&self, peer: IpAddr, headers: &HeaderMap) -> Result<Arrival, Unclear> {
        let of_itself = Arrival { source: peer, is_encrypted: None, host: None };
        if !self.trusts(peer) {
            return Ok(of_itself);
        }
        match (self.listed(headers)?, self.standard(headers)?) {
            (None, None) => Ok(of_itself),
            (Some(told), None) | (None, Some(told)) => Ok(told),
            (Some(one), Some(other)) if one.source != other.source => Err(Unclear::Contradiction),
            (Some(one), Some(other)) => {
                let is_encrypted = match (one.is_encrypted, other.is_encrypted) {
                    (Some(false), _) | (_, Some(false)) => Some(false),
                    (Some(true), Some(true)) => Some(true),
                    _ => None,
                };
                let host = one.host.filter(|host| other.host.as_ref() == Some(host));
                Ok(Arrival { source: one.source, is_encrypted, host })
            }
        }
    }

    /// What `X-Forwarded-*` say; `None` if they name nobody.
    fn listed(&self, headers: &HeaderMap) -> Result<Option<Arrival>, Unclear> {
        let hops = texts(headers, &X_FORWARDED_FOR).map(|hop| hop.and_then(parse_hop)).collect::<Vec<_>>();
        if hops.is_empty() {
            return Ok(None);
        }
        let (_, source) = self.client(&hops).ok_or(Unclear::Unread("X-Forwarded-For"))?;
        let hosts: Vec<_> = texts(headers, &X_FORWARDED_HOST).map(parse_host).collect();
        let is_encrypted = is_encrypted(texts(headers, &X_FORWARDED_PROTO));
        Ok(Some(Arrival { source, is_encrypted, host: agreed(&hosts).flatten() }))
    }

    /// What `Forwarded` says; `None` if it is not there. Elements before the client's own are the client's words, those after
    /// it are about what lies between proxies.
    fn standard(&self, headers: &HeaderMap) -> Result<Option<Arrival>, Unclear> {
        let elements = elements(headers);
        if elements.is_empty() {
            return Ok(None);
        }
        let hop = |element: &Option<Pairs<'_>>| the_one(element.as_deref()?, "for").and_then(parse_hop);
        let hops: Vec<_> = elements.iter().map(hop).collect();
        let (at, source) = self.client(&hops).ok_or(Unclear::Unread("Forwarded"))?;
        let of_client = elements[at].as_deref().unwrap_or_default();
        let is_encrypted = is_encrypted(the_one(of_client, "proto").map(Some).into_iter());
        Ok(Some(Arrival { source, is_encrypted, host: parse_host(the_one(of_client, "host")) }))
    }

    /// The last hop that is not trusted, and where it stands; the first, if all are. `None` where one is no address, so that
    /// nothing is known of whoever lies beyond, or there are too many.
    fn client(&self, hops: &[Option<IpAddr>]) -> Option<(usize, IpAddr)> {
        let mut client = None;
        for (at, hop) in hops.iter().enumerate().rev().take(MAX_HOPS) {
            let hop = (*hop)?;
            client = Some((at, hop));
            if !self.trusts(hop) {
                return client;
            }
        }
        client.filter(|_| hops.len() <= MAX_HOPS)
    }
}

/// What all say.
fn agreed<T: Clone + PartialEq>(told: &[T]) -> Option<T> {
    let first = told.first()?;
    told.iter().all(|other| other == first).then(|| first.clone())
}

/// True if everything there is says so, false if anything says otherwise.
fn is_encrypted<'h>(told: impl Iterator<Item = Option<&'h str>>) -> Option<bool> {
    let mut is_encrypted = None;
    for scheme in told {
        match scheme.map(str::to_ascii_lowercase).as_deref() {
            Some("https") => is_encrypted = is_encrypted.or(Some(true)),
            Some("http") => return Some(false),
            _ => return None,
        }
    }
    is_encrypted
}

/// The members of a list that may be in several headers; `None` for one that is no text.
fn texts<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = Option<&'h str>> {
    let members = headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    members.map(|member| std::str::from_utf8(member).ok().map(str::trim))
}

/// An address, with a port or without.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let address = match text.parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) => match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => inner.parse::<Ipv6Addr>().ok()?.into(),
            None => text.parse::<SocketAddr>().ok()?.ip(),
        },
    };
    Some(address.to_canonical())
}

fn parse_host(text: Option<&str>) -> Option<HeaderValue> {
    let host = text?.parse::<Authority>().ok().filter(|host| !host.as_str().contains('@'))?;
    HeaderValue::from_str(host.as_str()).ok()
}

/// An element of `Forwarded`: names and values.
type Pairs<'h> = Vec<(&'h str, &'h str)>;

/// The elements of `Forwarded` (RFC 7239), one for each hop; `None` for one that is none.
fn elements(headers: &HeaderMap) -> Vec<Option<Pairs<'_>>> {
    let mut elements = Vec::new();
    for value in headers.get_all(FORWARDED) {
        match std::str::from_utf8(value.as_bytes()) {
            Ok(text) => elements.extend(outside_quotes(text, ',').into_iter().map(pairs)),
            Err(_) => elements.push(None),
        }
    }
    elements
}

/// The value of a name that is there once.
fn the_one<'h>(pairs: &[(&'h str, &'h str)], name: &str) -> Option<&'h str> {
    let mut known = pairs.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    match (known.next(), known.next()) {
        (Some((_, value)), None) => Some(value),
        _ => None,
    }
}

/// `name=value;name="value"`.
fn pairs(element: &str) -> Option<Pairs<'_>> {
    outside_quotes(element, ';').into_iter().map(parse_pair).collect()
}

fn parse_pair(pair: &str) -> Option<(&str, &str)> {
    let (name, value) = pair.split_once('=')?;
    let value = match value.strip_prefix('"') {
        // A quoted pair in an address or a host has no use.
        Some(quoted) => quoted.strip_suffix('"').filter(|inner| !inner.contains(['"', '\\']))?,
        None => value,
    };
    Some((name, value))
}

/// The parts between separators that are not in quotes.
fn outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let mut is_quoted = false;
    let parts = text.split(|c: char| {
        is_quoted ^= c == '"';
        c == separator && !is_quoted
    });
    parts.map(str::trim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Behind proxies in 10.0.0.0/8, on 192.0.2.1, and in 2001:db8:1::/48.
    fn proxies() -> Proxies {
        let networks = ["10.0.0.0/8", "192.0.2.1", "2001:db8:1::/48"];
        Proxies::trusting(networks.map(|network| network.parse().expect("a network")).to_vec())
    }

    fn arrival(peer: &str, headers: &[(&str, &str)]) -> Result<Arrival, Unclear> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = name.parse::<HeaderName>().expect("a name");
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        proxies().arrival(peer.parse().expect("an address"), &map)
    }

    fn source(peer: &str, headers: &[(&str, &str)]) -> Result<String, Unclear> {
        arrival(peer, headers).map(|arrival| arrival.source.to_string())
    }

    const X: &str = "x-forwarded-for";
    const F: &str = "forwarded";

    #[test]
    fn the_client_is_the_last_hop_that_is_not_trusted() {
        let check = |peer: &str, headers: &[(&str, &str)], expect: &str| {
            assert_eq!(source(peer, headers), Ok(expect.to_owned()), "{peer} {headers:?}");
        };
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &[(X, "198.51.100.7")], "198.51.100.7");
        // Who is not trusted says nothing, not even from this machine.
        check("198.51.100.9", &[(X, "203.0.113.1")], "198.51.100.9");
        check("127.0.0.1", &[(X, "203.0.113.1"), (F, "for=203.0.113.1")], "127.0.0.1");
        check("198.51.100.9", &[(X, "203.0.113.1"), (F, "for=\"")], "198.51.100.9");
        // What the client wrote itself comes before what the proxy knows of it.
        check("10.0.0.1", &[(X, "203.0.113.1, 198.51.100.7")], "198.51.100.7");
        check("10.0.0.1", &[(X, "10.9.9.9, 198.51.100.7")], "198.51.100.7");
        check("10.0.0.1", &[(X, "127.0.0.1, 198.51.100.7")], "198.51.100.7");
        check("10.0.0.1", &[(X, "203.0.113.1"), (X, "198.51.100.7")], "198.51.100.7");
        // Through several proxies.
        check("10.0.0.1", &[(X, "203.0.113.1, 198.51.100.7, 192.0.2.1, 10.1.1.1")], "198.51.100.7");
        check("10.0.0.1", &[(X, "203.0.113.1,198.51.100.7"), (X, "10.2.2.2")], "198.51.100.7");
        check("10.0.0.1", &[(X, "10.3.3.3, 10.2.2.2")], "10.3.3.3");
        // Forms of an address.
        check("10.0.0.1", &[(X, "198.51.100.7:4711")], "198.51.100.7");
        check("10.0.0.1", &[(X, "2001:db8::7")], "2001:db8::7");
        check("10.0.0.1", &[(X, "[2001:db8::7]")], "2001:db8::7");
        check("10.0.0.1", &[(X, "[2001:db8::7]:4711")], "2001:db8::7");
        check("10.0.0.1", &[(X, "2001:db8:2::7, 2001:db8:1::2")], "2001:db8:2::7");
        check("::ffff:10.0.0.1", &[(X, "::ffff:198.51.100.7, ::ffff:10.0.0.2")], "198.51.100.7");
        check("2001:db8:1::1", &[(X, "2001:db8:9::9")], "2001:db8:9::9");
        let most = format!("203.0.113.1{}", ", 10.5.5.5".repeat(MAX_HOPS - 1));
        check("10.0.0.1", &[(X, &most)], "203.0.113.1");
    }

    #[test]
    fn beyond_what_is_no_address_nobody_is_known() {
        let unread = Err(Unclear::Unread("X-Forwarded-For"));
        for junk in ["", "unknown", "_hidden", "x", "1.2.3", "198.51.100.7 10.0.0.1", "[::1", "ä", "\t"] {
            let check = |list: &str, expect: &Result<String, Unclear>| {
                assert_eq!(source("10.0.0.1", &[(X, list)]), *expect, "{list:?}");
            };
            check(junk, &unread);
            check(&format!("203.0.113.1, {junk}"), &unread);
            check(&format!("203.0.113.1, {junk}, 10.4.4.4"), &unread);
            // It is the client's own word.
            check(&format!("{junk}, 198.51.100.7"), &Ok("198.51.100.7".to_owned()));
        }
        let long = format!("203.0.113.1{}", ", 10.5.5.5".repeat(MAX_HOPS));
        assert_eq!(source("10.0.0.1", &[(X, &long)]), unread);
    }

    #[test]
    fn the_standard_s_header_says_the_same() {
        let check = |headers: &[(&str, &str)], expect: &str| {
            assert_eq!(source("10.0.0.1", headers), Ok(expect.to_owned()), "{headers:?}");
        };
        check(&[(F, "for=198.51.100.7")], "198.51.100.7");
        check(&[(F, "For=198.51.100.7;proto=https;by=10.0.0.1")], "198.51.100.7");
        check(&[(F, "for=\"198.51.100.7:80\"")], "198.51.100.7");
        check(&[(F, "for=\"[2001:db8::7]:80\" ; proto=http")], "2001:db8::7");
        check(&[(F, "for=203.0.113.1, for=198.51.100.7, for=10.1.1.1")], "198.51.100.7");
        check(&[(F, "for=203.0.113.1"), (F, "for=198.51.100.7")], "198.51.100.7");
        check(&[(F, "for=198.51.100.7"), (X, "203.0.113.1, 198.51.100.7")], "198.51.100.7");
        for junk in [
            "for=unknown",
            "for=_a",
            "proto=https",
            "for",
            "",
            "for=",
            "for=\"1.1.1.1",
            "for=\"",
            "for=1.1.1.1;for=2.2.2.2",
            // The quotes that a client opens reach over what the proxy has added.
            "for=203.0.113.1, for=\"x, for=198.51.100.7",
            "for=203.0.113.1;x=\", for=198.51.100.7",
            "for=203.0.113.1;x=\", for=\"[2001:db8::7]\"",
        ] {
            for list in [junk.to_owned(), format!("for=203.0.113.1, {junk}")] {
                assert_eq!(source("10.0.0.1", &[(F, &list)]), Err(Unclear::Unread("Forwarded")), "{list}");
            }
        }
    }

    #[test]
    fn a_client_cannot_choose_to_be_the_proxy() {
        // A proxy that extends one of the two hands the other on as it came.
        let check = |x: &str, f: &str, expect: Unclear| {
            assert_eq!(source("10.0.0.1", &[(X, x), (F, f)]), Err(expect), "{x} {f}");
        };
        check("198.51.100.7", "for=203.0.113.1", Unclear::Contradiction);
        check("203.0.113.1", "for=198.51.100.7", Unclear::Contradiction);
        check("198.51.100.7", "for=10.0.0.1", Unclear::Contradiction);
        check("198.51.100.7", "for=\"", Unclear::Unread("Forwarded"));
        check("unknown", "for=198.51.100.7", Unclear::Unread("X-Forwarded-For"));
    }

    #[test]
    fn tls_is_what_is_said_with_the_client_s_name_and_nobody_denies() {
        let check = |headers: &[(&str, &str)], expect: Option<bool>| {
            let is_encrypted = |peer| arrival(peer, headers).expect("clear").is_encrypted;
            assert_eq!(is_encrypted("10.0.0.1"), expect, "{headers:?}");
            assert_eq!(is_encrypted("198.51.100.9"), None, "{headers:?}");
        };
        let (by, x) = ((X, "198.51.100.7"), "x-forwarded-proto");
        check(&[], None);
        check(&[by], None);
        check(&[by, (x, "https")], Some(true));
        check(&[by, (x, "HTTPS")], Some(true));
        check(&[by, (x, "http")], Some(false));
        check(&[by, (x, "https, http")], Some(false));
        check(&[by, (x, "https"), (x, "http")], Some(false));
        check(&[by, (x, "https, https")], Some(true));
        check(&[by, (x, "wss")], None);
        check(&[by, (x, "https, wss")], None);
        check(&[by, (x, "")], None);
        check(&[by, (x, "ä")], None);
        // Of a proxy that names no client this may be the client's word.
        check(&[(x, "https")], None);
        check(&[(F, "for=198.51.100.7"), (x, "https")], None);
        check(&[by, (x, "http"), (F, "for=198.51.100.7;proto=https")], Some(false));
        check(&[by, (F, "for=198.51.100.7;proto=https")], None);
        check(&[by, (x, "https"), (F, "for=198.51.100.7")], None);
        check(&[by, (x, "https"), (F, "for=198.51.100.7;proto=https")], Some(true));
        check(&[by, (x, "https"), (F, "for=198.51.100.7;proto=http")], Some(false));
        // Of the standard's header only what is said of that hop counts.
        check(&[(F, "for=198.51.100.7;proto=https")], Some(true));
        check(&[(F, "for=198.51.100.7;proto=https, for=10.1.1.1;proto=http")], Some(true));
        check(&[(F, "for=203.0.113.1;proto=https, for=198.51.100.7;proto=http")], Some(false));
        check(&[(F, "for=203.0.113.1;proto=https, for=198.51.100.7")], None);
        check(&[(F, "for=198.51.100.7;proto=https;proto=http")], None);
    }

    #[test]
    fn the_host_is_what_the_proxy_was_asked_for() {
        let check = |headers: &[(&str, &str)], expect: Option<&str>| {
            let host = |peer| {
                let host = arrival(peer, headers).expect("clear").host;
                host.map(|host| host.to_str().expect("ASCII").to_owned())
            };
            assert_eq!(host("10.0.0.1").as_deref(), expect, "{headers:?}");
            assert_eq!(host("198.51.100.9"), None, "{headers:?}");
        };
        let (by, x) = ((X, "198.51.100.7"), "x-forwarded-host");
        check(&[by], None);
        check(&[by, (x, "syncline.example.com")], Some("syncline.example.com"));
        check(&[by, (x, "syncline.example.com:8443")], Some("syncline.example.com:8443"));
        check(&[(F, "for=198.51.100.7;host=\"[2001:db8::1]:80\"")], Some("[2001:db8::1]:80"));
        check(&[by, (x, "a.example"), (F, "for=198.51.100.7;host=a.example")], Some("a.example"));
        check(&[by, (x, "a.example"), (F, "for=198.51.100.7;host=b.example")], None);
        check(&[by, (F, "for=198.51.100.7;host=b.example")], None);
        check(&[(x, "a.example")], None);
        check(&[by, (x, "evil.example, a.example")], None);
        check(&[by, (x, "a.example"), (x, "b.example")], None);
        for junk in ["", "a b", "me@a.example", "a/b", "ä", "a:b:c"] {
            check(&[by, (x, junk)], None);
        }
    }
}
