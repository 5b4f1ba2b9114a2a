//! What proxies say of whom they hand requests on for.
//!
//! Of a connection only its other end is certain. Where that is a proxy that the operator trusts (`--trusted-proxy`), what
//! it says of the end beyond it is believed, and so on from the last hop to the first, until one is not trusted: that one is
//! the client, whatever it says itself. Anybody else's headers of this kind mean nothing.
//!
//! A proxy that writes one of the two families of headers hands the other on as the client sent it. Where both are there
//! and say different things, nothing of them is believed.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::header::{FORWARDED, HeaderName};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue};
use syncline_git::Network;

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
    pub(super) fn arrival(&self, peer: IpAddr, headers: &HeaderMap) -> Arrival {
        if !self.trusts(peer) {
            return Arrival { source: peer, is_encrypted: None, host: None };
        }
        let forwarded = Elements::of(headers);
        let hops = texts(headers, &X_FORWARDED_FOR).map(|hop| hop.and_then(parse_hop)).collect::<Vec<_>>();
        let told = [(!hops.is_empty()).then_some(hops), forwarded.hops()];
        let told: Vec<_> = told.iter().flatten().map(|hops| self.client(peer, hops)).collect();
        Arrival {
            source: agreed(&told).unwrap_or(peer),
            is_encrypted: is_encrypted(texts(headers, &X_FORWARDED_PROTO).chain(forwarded.all("proto"))),
            host: {
                let told: Vec<_> =
                    texts(headers, &X_FORWARDED_HOST).chain(forwarded.all("host")).map(parse_host).collect();
                agreed(&told).flatten()
            },
        }
    }

    /// The last hop that is not trusted; the first, if all are. What lies beyond a hop that is no address is unknown.
    fn client(&self, peer: IpAddr, hops: &[Option<IpAddr>]) -> IpAddr {
        let mut client = peer;
        for hop in hops.iter().rev().take(MAX_HOPS) {
            let Some(hop) = hop else { break };
            client = *hop;
            if !self.trusts(client) {
                break;
            }
        }
        client
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

/// The elements of `Forwarded` (RFC 7239), one for each hop, each a list of names and values; `None` for one that is none.
struct Elements<'h>(Vec<Option<Vec<(&'h str, &'h str)>>>);

impl<'h> Elements<'h> {
    fn of(headers: &'h HeaderMap) -> Self {
        let mut elements = Vec::new();
        for value in headers.get_all(FORWARDED) {
            match std::str::from_utf8(value.as_bytes()) {
                Ok(text) => elements.extend(outside_quotes(text, ',').into_iter().map(pairs)),
                Err(_) => elements.push(None),
            }
        }
        Self(elements)
    }

    /// Where each hop was asked from; `None` without any element.
    fn hops(&self) -> Option<Vec<Option<IpAddr>>> {
        let hop = |element: &Option<Vec<(&str, &str)>>| {
            let mut known = element.iter().flatten().filter(|(name, _)| name.eq_ignore_ascii_case("for"));
            let (Some((_, address)), None) = (known.next(), known.next()) else { return None };
            parse_hop(address)
        };
        (!self.0.is_empty()).then(|| self.0.iter().map(hop).collect())
    }

    /// Every value of a name.
    fn all(&self, name: &str) -> impl Iterator<Item = Option<&'h str>> {
        let named =
            self.0.iter().flatten().flatten().filter(move |(known, _)| known.eq_ignore_ascii_case(name));
        named.map(|(_, value)| Some(*value)).collect::<Vec<_>>().into_iter()
    }
}

/// `name=value;name="value"`.
fn pairs(element: &str) -> Option<Vec<(&str, &str)>> {
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

    fn arrival(peer: &str, headers: &[(&str, &str)]) -> Arrival {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = name.parse::<HeaderName>().expect("a name");
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        proxies().arrival(peer.parse().expect("an address"), &map)
    }

    #[test]
    fn the_client_is_the_last_hop_that_is_not_trusted() {
        let check = |peer: &str, headers: &[(&str, &str)], expect: &str| {
            assert_eq!(arrival(peer, headers).source.to_string(), expect, "{peer} {headers:?}");
        };
        let x = "x-forwarded-for";
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &[(x, "198.51.100.7")], "198.51.100.7");
        // Who is not trusted says nothing, not even from this machine.
        check("198.51.100.9", &[(x, "203.0.113.1")], "198.51.100.9");
        check("127.0.0.1", &[(x, "203.0.113.1"), ("forwarded", "for=203.0.113.1")], "127.0.0.1");
        // What the client wrote itself comes before what the proxy knows of it.
        check("10.0.0.1", &[(x, "203.0.113.1, 198.51.100.7")], "198.51.100.7");
        check("10.0.0.1", &[(x, "10.9.9.9, 198.51.100.7")], "198.51.100.7");
        check("10.0.0.1", &[(x, "127.0.0.1, 198.51.100.7")], "198.51.100.7");
        check("10.0.0.1", &[(x, "203.0.113.1"), (x, "198.51.100.7")], "198.51.100.7");
        // Through several proxies.
        check("10.0.0.1", &[(x, "203.0.113.1, 198.51.100.7, 192.0.2.1, 10.1.1.1")], "198.51.100.7");
        check("10.0.0.1", &[(x, "203.0.113.1,198.51.100.7"), (x, "10.2.2.2")], "198.51.100.7");
        check("10.0.0.1", &[(x, "10.3.3.3, 10.2.2.2")], "10.3.3.3");
        // Forms of an address.
        check("10.0.0.1", &[(x, "198.51.100.7:4711")], "198.51.100.7");
        check("10.0.0.1", &[(x, "2001:db8::7")], "2001:db8::7");
        check("10.0.0.1", &[(x, "[2001:db8::7]")], "2001:db8::7");
        check("10.0.0.1", &[(x, "[2001:db8::7]:4711")], "2001:db8::7");
        check("10.0.0.1", &[(x, "2001:db8:2::7, 2001:db8:1::2")], "2001:db8:2::7");
        check("::ffff:10.0.0.1", &[(x, "::ffff:198.51.100.7, ::ffff:10.0.0.2")], "198.51.100.7");
        check("2001:db8:1::1", &[(x, "2001:db8:9::9")], "2001:db8:9::9");
        // Beyond what is no address nothing is known.
        for junk in ["", "unknown", "_hidden", "x", "1.2.3", "198.51.100.7 10.0.0.1", "[::1", "ä", "\t"] {
            check("10.0.0.1", &[(x, junk)], "10.0.0.1");
            check("10.0.0.1", &[(x, &format!("203.0.113.1, {junk}"))], "10.0.0.1");
            check("10.0.0.1", &[(x, &format!("203.0.113.1, {junk}, 10.4.4.4"))], "10.4.4.4");
            check("10.0.0.1", &[(x, &format!("{junk}, 198.51.100.7"))], "198.51.100.7");
        }
        let long = format!("203.0.113.1{}", ", 10.5.5.5".repeat(MAX_HOPS));
        check("10.0.0.1", &[(x, &long)], "10.5.5.5");
    }

    #[test]
    fn the_standard_s_header_says_the_same() {
        let check = |headers: &[(&str, &str)], expect: &str| {
            assert_eq!(arrival("10.0.0.1", headers).source.to_string(), expect, "{headers:?}");
        };
        let f = "forwarded";
        check(&[(f, "for=198.51.100.7")], "198.51.100.7");
        check(&[(f, "For=198.51.100.7;proto=https;by=10.0.0.1")], "198.51.100.7");
        check(&[(f, "for=\"198.51.100.7:80\"")], "198.51.100.7");
        check(&[(f, "for=\"[2001:db8::7]:80\" ; proto=http")], "2001:db8::7");
        check(&[(f, "for=203.0.113.1, for=198.51.100.7, for=10.1.1.1")], "198.51.100.7");
        check(&[(f, "for=203.0.113.1"), (f, "for=198.51.100.7")], "198.51.100.7");
        check(&[(f, "for=203.0.113.1, for=\"x, for=198.51.100.7")], "10.0.0.1");
        for junk in [
            "for=unknown",
            "for=_a",
            "proto=https",
            "for",
            "",
            "for=",
            "for=\"1.1.1.1",
            "for=1.1.1.1;for=2.2.2.2",
        ] {
            check(&[(f, junk)], "10.0.0.1");
            check(&[(f, &format!("for=203.0.113.1, {junk}"))], "10.0.0.1");
        }
        // A proxy that writes one hands the other on as it came.
        check(&[(f, "for=203.0.113.1"), ("x-forwarded-for", "198.51.100.7")], "10.0.0.1");
        check(&[(f, "for=198.51.100.7"), ("x-forwarded-for", "203.0.113.1, 198.51.100.7")], "198.51.100.7");
    }

    #[test]
    fn tls_is_what_nobody_on_the_way_denies() {
        let check = |headers: &[(&str, &str)], expect: Option<bool>| {
            assert_eq!(arrival("10.0.0.1", headers).is_encrypted, expect, "{headers:?}");
            assert_eq!(arrival("198.51.100.9", headers).is_encrypted, None, "{headers:?}");
        };
        let x = "x-forwarded-proto";
        check(&[], None);
        check(&[(x, "https")], Some(true));
        check(&[(x, "HTTPS")], Some(true));
        check(&[(x, "http")], Some(false));
        check(&[(x, "https, http")], Some(false));
        check(&[(x, "https"), (x, "http")], Some(false));
        check(&[(x, "https, https")], Some(true));
        check(&[(x, "wss")], None);
        check(&[(x, "https, wss")], None);
        check(&[(x, "")], None);
        check(&[(x, "ä")], None);
        check(&[("forwarded", "for=198.51.100.7;proto=https")], Some(true));
        check(&[("forwarded", "proto=https, proto=http")], Some(false));
        check(&[("forwarded", "proto=https"), (x, "http")], Some(false));
        check(&[("forwarded", "proto=https"), (x, "https")], Some(true));
    }

    #[test]
    fn the_host_is_what_the_proxy_was_asked_for() {
        let check = |headers: &[(&str, &str)], expect: Option<&str>| {
            let host =
                |peer| arrival(peer, headers).host.map(|host| host.to_str().expect("ASCII").to_owned());
            assert_eq!(host("10.0.0.1").as_deref(), expect, "{headers:?}");
            assert_eq!(host("198.51.100.9"), None, "{headers:?}");
        };
        let x = "x-forwarded-host";
        check(&[], None);
        check(&[(x, "syncline.example.com")], Some("syncline.example.com"));
        check(&[(x, "syncline.example.com:8443")], Some("syncline.example.com:8443"));
        check(&[("forwarded", "for=198.51.100.7;host=\"[2001:db8::1]:80\"")], Some("[2001:db8::1]:80"));
        check(&[(x, "a.example"), ("forwarded", "host=a.example")], Some("a.example"));
        check(&[(x, "a.example"), ("forwarded", "host=b.example")], None);
        check(&[(x, "evil.example, a.example")], None);
        check(&[(x, "a.example"), (x, "b.example")], None);
        for junk in ["", "a b", "me@a.example", "a/b", "ä", "a:b:c"] {
            check(&[(x, junk)], None);
        }
    }
}
