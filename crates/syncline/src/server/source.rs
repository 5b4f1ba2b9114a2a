//! Where a request comes from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Extensions;

/// The address of whoever sent a request: that of the connection's other end or, where that is a trusted proxy, whom the proxy
/// names. A request that came over no socket, as in tests, comes from 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceAddress(pub IpAddr);

impl SourceAddress {
    /// The address that the listener noted on a request.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or(Self(IpAddr::V4(Ipv4Addr::LOCALHOST)))
    }

    /// What limits count as one source; `None` for loopback, where everything arrives that a proxy on this
    /// machine hands on.
    pub(super) fn counted(self) -> Option<IpAddr> {
        let address = self.0.to_canonical();
        if address.is_loopback() {
            return None;
        }
        Some(match address {
            IpAddr::V4(_) => address,
            // A /64 is what one network is given, so whoever has one address of it has them all.
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        })
    }
}

/// Whether a request was encrypted on its way here; `None` where that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encrypted(pub Option<bool>);

impl Encrypted {
    /// What the listener noted on a request. Without TLS here, one from this machine may be that of a proxy, and how
    /// that was spoken to cannot be known.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<bool> {
        let is_near = SourceAddress::of(extensions).0.to_canonical().is_loopback();
        let unnoted = Self(if is_near { None } else { Some(false) });
        extensions.get().copied().unwrap_or(unnoted).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_address_or_a_network_of_one_customer() {
        let check = |address: &str, counted: Option<&str>| {
            let source = SourceAddress(address.parse().expect("an address"));
            assert_eq!(source.counted(), counted.map(|text| text.parse().expect("an address")), "{address}");
        };
        check("192.0.2.7", Some("192.0.2.7"));
        check("::ffff:192.0.2.7", Some("192.0.2.7"));
        check("2001:db8:1:2:3:4:5:6", Some("2001:db8:1:2::"));
        check("2001:db8:1:2::", Some("2001:db8:1:2::"));
        check("127.0.0.1", None);
        check("127.9.9.9", None);
        check("::ffff:127.0.0.1", None);
        check("::1", None);
    }

    #[test]
    fn what_came_over_no_socket_came_from_here() {
        assert_eq!(SourceAddress::of(&Extensions::new()).0, IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
}
