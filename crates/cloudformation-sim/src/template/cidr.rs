//! `Fn::Cidr`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The first `count` subnets of `block`, each with `bits` host bits (8 for IPv4 and 64 for IPv6 when unset).
pub(super) fn blocks(block: &str, count: u32, bits: Option<u32>) -> Result<Vec<String>, String> {
    let wrong = |why: &str| format!("Template error: Fn::Cidr: {why} ('{block}', {count}, {bits:?})");
    let (address, prefix) = block.split_once('/').ok_or_else(|| wrong("not an IP block"))?;
    let address: IpAddr = address.parse().map_err(|_| wrong("not an IP block"))?;
    let prefix: u32 = prefix.parse().map_err(|_| wrong("not an IP block"))?;
    let (width, bits, first) = match address {
        IpAddr::V4(v4) => (32, bits.unwrap_or(8), u128::from(v4.to_bits())),
        IpAddr::V6(v6) => (128, bits.unwrap_or(64), v6.to_bits()),
    };
    if prefix > width || bits == 0 || bits > width - prefix || !(1..=256).contains(&count) {
        return Err(wrong("the block cannot be divided like this"));
    }
    let room = width - prefix - bits;
    if room < 32 && count > 1 << room {
        return Err(wrong("the block has room for fewer subnets"));
    }
    let mask = if prefix == 0 { 0 } else { u128::MAX << (width - prefix) };
    let network = first & mask;
    Ok((0..count)
        .map(|n| {
            let subnet = network + (u128::from(n) << bits);
            let address = match address {
                IpAddr::V4(_) => Ipv4Addr::from_bits(u32::try_from(subnet).unwrap_or_default()).to_string(),
                IpAddr::V6(_) => Ipv6Addr::from_bits(subnet).to_string(),
            };
            format!("{address}/{}", width - bits)
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::blocks;

    #[test]
    fn a_block_is_divided() {
        let check = |block: &str, count: u32, bits: Option<u32>, expect: Option<&[&str]>| {
            let expect = expect.map(|items| items.iter().map(ToString::to_string).collect::<Vec<_>>());
            assert_eq!(blocks(block, count, bits).ok(), expect, "{block}");
        };
        check("192.168.0.0/24", 2, Some(5), Some(&["192.168.0.0/27", "192.168.0.32/27"]));
        check("10.0.7.9/16", 2, None, Some(&["10.0.0.0/24", "10.0.1.0/24"]));
        check("fd00::/48", 2, None, Some(&["fd00::/64", "fd00:0:0:1::/64"]));
        check("10.0.0.0/24", 2, None, None);
        check("10.0.0.0/24", 1, None, Some(&["10.0.0.0/24"]));
        check("10.0.0.0", 1, None, None);
        check("10.0.0.0/24", 0, Some(4), None);
    }
}
