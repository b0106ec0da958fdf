//! Addresses of this host, as its own network name space has them.

use std::{
    collections::HashSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Addresses that lead to this host itself, as they were when they were read.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnAddresses(HashSet<IpAddr>);

impl OwnAddresses {
    pub(crate) fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self::parse(&text("/proc/net/fib_trie"), &text("/proc/net/if_inet6"))
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_loopback() || self.0.contains(&address)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.0.iter().copied()
    }

    /// `fib_trie`: an address stands above the lines of its routes; `if_inet6`: one a line, first.
    fn parse(fib_trie: &str, if_inet6: &str) -> Self {
        let mut addresses = HashSet::new();
        let mut above: Option<Ipv4Addr> = None;
        for line in fib_trie.lines().map(str::trim) {
            if let Some(address) = line.strip_prefix("|-- ") {
                above = address.parse().ok();
            } else if line.starts_with("/32 host LOCAL") {
                addresses.extend(above.map(IpAddr::V4));
            }
        }
        for line in if_inet6.lines() {
            let digits = line.split_ascii_whitespace().next();
            let address = digits.and_then(|digits| u128::from_str_radix(digits, 16).ok());
            addresses.extend(address.map(|address| IpAddr::V6(Ipv6Addr::from_bits(address))));
        }
        Self(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_ones_of_both_families() {
        let fib_trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.2.0\n        /24 link UNICAST\n\
                        Local:\n        |-- 10.0.2.15\n           /32 host LOCAL\n        |-- 10.0.2.255\n           /32 link BROADCAST\n";
        let if_inet6 =
            "fe800000000000005054 00 x\nfd000000000000000000000000000015 02 40 00 80 eth0\n";
        let own = OwnAddresses::parse(fib_trie, if_inet6);
        for (address, expected) in [
            ("10.0.2.15", true),
            ("::ffff:10.0.2.15", true),
            ("10.0.2.255", false),
            ("10.0.2.16", false),
            ("127.9.9.9", true),
            ("::1", true),
            ("fd00::15", true),
            ("fd00::16", false),
        ] {
            assert_eq!(
                own.contains(address.parse().unwrap()),
                expected,
                "{address}"
            );
        }
    }
}
