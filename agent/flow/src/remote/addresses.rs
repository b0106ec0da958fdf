//! Which node an address leads to: as the agents say, or as answers have shown.

use std::net::IpAddr;

use foldhash::fast::RandomState;
use foldhash::{HashMap, HashSet};
use hashlink::LinkedHashMap;
use smallvec::SmallVec;

use super::PeerId;

pub(crate) struct Addresses {
    /// Of the host, whose interfaces have them.
    host: HashSet<IpAddr>,
    /// Of sockets of this node, with the time of the last one, in that order.
    seen: LinkedHashMap<IpAddr, u64, RandomState>,
    looked_ns: u64,
    claimed: HashMap<IpAddr, SmallVec<[PeerId; 2]>>,
    claims: HashMap<PeerId, usize>,
    /// Nobody's: who is behind such a one is found by asking everybody, a few times.
    strangers: LinkedHashMap<IpAddr, Stranger, RandomState>,
    budget: Budget,
}

/// Whom to ask for who has sent from an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// It is of this node, or leads nowhere.
    Nobody,
    Peers(SmallVec<[PeerId; 2]>),
    Everybody,
    /// Nobody has known before, or too much has been asked.
    Vain,
}

#[derive(Default)]
struct Stranger {
    /// Has answered.
    peer: Option<PeerId>,
    misses: u32,
    quiet_until_ns: u64,
}

/// A token bucket.
struct Budget {
    left: u64,
    filled_ns: u64,
}

/// Of this node, and of each peer.
const MAX_ADDRESSES: usize = 4096;
const MAX_STRANGERS: usize = 4096;
/// Nodes that may say that they have the same address.
const MAX_CLAIMS: usize = 4;
/// An address of which no socket was opened for so long may have gone to another node.
const OLD_NS: u64 = 600_000_000_000;
const LOOK_NS: u64 = 60_000_000_000;
/// After so many vain questions about a stranger nobody is asked for a while, then once.
const MAX_MISSES: u32 = 8;
const QUIET_NS: u64 = 60_000_000_000;
/// Messages in a second of questions to everybody.
const TO_EVERYBODY: u64 = 4000;

// === impl Addresses ===

impl Addresses {
    pub(crate) fn of_host(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        let leading = addresses.into_iter().map(|address| address.to_canonical());
        self.host
            .extend(leading.filter(leads_somewhere).take(MAX_ADDRESSES));
    }

    /// A socket has it. True: this is news.
    pub(crate) fn here(&mut self, address: IpAddr, now_ns: u64) -> bool {
        if let Some(last_ns) = self.seen.to_back(&address) {
            *last_ns = now_ns;
            return false;
        }
        if !leads_somewhere(&address)
            || self.host.contains(&address)
            || self.seen.len() >= MAX_ADDRESSES
        {
            return false;
        }
        self.seen.insert(address, now_ns);
        true
    }

    pub(crate) fn own(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.host.iter().chain(self.seen.keys()).copied()
    }

    pub(crate) fn is_own(&self, address: &IpAddr) -> bool {
        !leads_somewhere(address) || self.host.contains(address) || self.seen.contains_key(address)
    }

    /// True: some were forgotten.
    pub(crate) fn forget_old(&mut self, now_ns: u64) -> bool {
        if now_ns.saturating_sub(self.looked_ns) < LOOK_NS {
            return false;
        }
        self.looked_ns = now_ns;
        let before = self.seen.len();
        while let Some((_, last_ns)) = self.seen.front()
            && now_ns.saturating_sub(*last_ns) > OLD_NS
        {
            self.seen.pop_front();
        }
        self.seen.len() < before
    }

    /// A peer says that these lead to its node.
    pub(crate) fn claim(&mut self, peer: PeerId, anew: bool, list: &[IpAddr]) {
        if anew {
            self.unclaim(peer);
        }
        let count = self.claims.entry(peer).or_default();
        for address in list.iter().filter(|address| leads_somewhere(address)) {
            if *count >= MAX_ADDRESSES {
                return;
            }
            let peers = self.claimed.entry(*address).or_default();
            if peers.len() < MAX_CLAIMS && !peers.contains(&peer) {
                peers.push(peer);
                *count += 1;
            }
        }
    }

    pub(crate) fn unclaim(&mut self, peer: PeerId) {
        if self.claims.remove(&peer).is_none_or(|count| count == 0) {
            return;
        }
        self.claimed.retain(|_, peers| {
            peers.retain(|other| *other != peer);
            !peers.is_empty()
        });
    }

    /// `everybody`: how many that are.
    pub(crate) fn route(&mut self, address: IpAddr, everybody: usize, now_ns: u64) -> Route {
        if !leads_somewhere(&address) || self.host.contains(&address) {
            return Route::Nobody;
        }
        if let Some(peers) = self.claimed.get(&address) {
            return Route::Peers(peers.clone());
        }
        if self.seen.contains_key(&address) {
            return Route::Nobody;
        }
        if let Some(stranger) = self.strangers.to_back(&address) {
            if let Some(peer) = stranger.peer {
                return Route::Peers(SmallVec::from_slice(&[peer]));
            }
            if stranger.quiet_until_ns > now_ns {
                return Route::Vain;
            }
        }
        if self.budget.take(everybody as u64, now_ns) {
            Route::Everybody
        } else {
            Route::Vain
        }
    }

    /// A peer knew who sent from there.
    pub(crate) fn answered(&mut self, address: IpAddr, peer: PeerId) {
        if !self.claimed.contains_key(&address) {
            let stranger = self.stranger(address);
            stranger.peer = Some(peer);
            stranger.misses = 0;
        }
    }

    /// Nobody knew.
    pub(crate) fn missed(&mut self, address: IpAddr, now_ns: u64) {
        if self.claimed.contains_key(&address) {
            return;
        }
        let stranger = self.stranger(address);
        stranger.peer = None;
        stranger.misses += 1;
        if stranger.misses >= MAX_MISSES {
            stranger.misses = MAX_MISSES - 1;
            stranger.quiet_until_ns = now_ns.saturating_add(QUIET_NS);
        }
    }

    fn stranger(&mut self, address: IpAddr) -> &mut Stranger {
        if self.strangers.len() >= MAX_STRANGERS && !self.strangers.contains_key(&address) {
            self.strangers.pop_front();
        }
        self.strangers
            .entry(address)
            .or_insert_with(Stranger::default)
    }
}

impl Default for Addresses {
    fn default() -> Self {
        Self {
            host: HashSet::default(),
            seen: LinkedHashMap::with_hasher(RandomState::default()),
            looked_ns: 0,
            claimed: HashMap::default(),
            claims: HashMap::default(),
            strangers: LinkedHashMap::with_hasher(RandomState::default()),
            budget: Budget {
                left: TO_EVERYBODY,
                filled_ns: 0,
            },
        }
    }
}

// === impl Budget ===

impl Budget {
    fn take(&mut self, cost: u64, now_ns: u64) -> bool {
        const NS: u64 = 1_000_000_000 / TO_EVERYBODY;
        let earned = now_ns.saturating_sub(self.filled_ns) / NS;
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(TO_EVERYBODY);
            self.filled_ns = now_ns;
        }
        let enough = self.left >= cost;
        self.left -= if enough { cost } else { 0 };
        enough
    }
}

/// To one node, from others too.
fn leads_somewhere(address: &IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast() || link_local)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: PeerId = PeerId(1);
    const TWO: PeerId = PeerId(2);
    const SECOND: u64 = 1_000_000_000;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn to(peers: &[PeerId]) -> Route {
        Route::Peers(SmallVec::from_slice(peers))
    }

    #[test]
    fn who_is_asked() {
        let mut addresses = Addresses::default();
        addresses.of_host([ip("10.0.0.1"), ip("127.0.0.1")]);
        assert!(addresses.here(ip("10.1.0.5"), 0));
        assert!(!addresses.here(ip("10.1.0.5"), 1) && !addresses.here(ip("10.0.0.1"), 1));
        addresses.claim(ONE, true, &[ip("10.1.0.6"), ip("10.0.0.1"), ip("::1")]);
        addresses.claim(TWO, true, &[ip("10.1.0.6"), ip("10.1.0.5")]);
        for (address, expected) in [
            ("127.0.0.1", Route::Nobody),
            ("fe80::1", Route::Nobody),
            // The host's own, whoever else says so.
            ("10.0.0.1", Route::Nobody),
            ("10.1.0.6", to(&[ONE, TWO])),
            // It may have moved.
            ("10.1.0.5", to(&[TWO])),
            ("10.1.0.7", Route::Everybody),
        ] {
            assert_eq!(addresses.route(ip(address), 2, 0), expected, "{address}");
        }
        addresses.claim(ONE, true, &[]);
        addresses.unclaim(TWO);
        assert_eq!(addresses.route(ip("10.1.0.6"), 2, 0), Route::Everybody);
        assert_eq!(addresses.route(ip("10.1.0.5"), 2, 0), Route::Nobody);
    }

    #[test]
    fn strangers_are_asked_for_a_few_times() {
        let mut addresses = Addresses::default();
        let router = ip("192.0.2.1");
        for _ in 0..8 {
            assert_eq!(addresses.route(router, 2, 0), Route::Everybody);
            addresses.missed(router, 0);
        }
        assert_eq!(addresses.route(router, 2, 59 * SECOND), Route::Vain);
        assert_eq!(addresses.route(router, 2, 61 * SECOND), Route::Everybody);
        addresses.missed(router, 61 * SECOND);
        assert_eq!(addresses.route(router, 2, 62 * SECOND), Route::Vain);
        assert_eq!(addresses.route(router, 2, 122 * SECOND), Route::Everybody);
        addresses.answered(router, TWO);
        assert_eq!(addresses.route(router, 2, 122 * SECOND), to(&[TWO]));
        addresses.missed(router, 122 * SECOND);
        assert_eq!(addresses.route(router, 2, 122 * SECOND), Route::Everybody);
        // And not too many in a second.
        let asked = (0..5000_u32)
            .map(|n| IpAddr::from(std::net::Ipv4Addr::from(0x0800_0000 + n)))
            .filter(|address| addresses.route(*address, 4, 200 * SECOND) == Route::Everybody);
        assert_eq!(asked.count(), 1000);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut addresses = Addresses::default();
        let many: Vec<IpAddr> = (0..10_000_u32)
            .map(|n| std::net::Ipv4Addr::from(0x0a00_0000 + n).into())
            .collect();
        for peer in 1..10 {
            addresses.claim(PeerId(peer), false, &many);
            addresses.claim(PeerId(peer), false, &many);
        }
        assert!(
            addresses
                .claims
                .values()
                .all(|count| *count <= MAX_ADDRESSES)
        );
        for peer in 1..10 {
            addresses.unclaim(PeerId(peer));
        }
        assert!(addresses.claimed.is_empty());
        many.iter().for_each(|address| {
            addresses.here(*address, 0);
            addresses.missed(*address, 0);
        });
        assert_eq!(addresses.seen.len(), MAX_ADDRESSES);
        assert!(addresses.strangers.len() <= MAX_STRANGERS);
        assert!(addresses.forget_old(OLD_NS + LOOK_NS) && addresses.seen.is_empty());
    }
}
