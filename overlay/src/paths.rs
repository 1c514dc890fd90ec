//! What is known and what is decided about paths: the round trip before it is measured, the congestion controller and what it begins with, how
//! small calls travel.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use caps_certs_gen::Identity;

use crate::limits::{PATHS_REMEMBERED, WINDOW_BYTES, WINDOW_BYTES_MAX, WINDOW_BYTES_MIN};
use crate::travel::{LOSSY, Travel};

/// What is decided for each path. By default everything is left to the overlay, which judges by what it has measured; `overlay/PATHS.md` has the
/// figures behind its judgement.
#[derive(Clone, Debug, Default)]
pub struct PathRules {
    /// The congestion controller of every connection.
    pub controller: Option<Controller>,
    /// The bytes that a connection may send before anything is acknowledged.
    pub initial_window_bytes: Option<u64>,
    /// How small calls travel.
    pub travel: Option<Travel>,
}

/// A congestion controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// Slows down whenever a packet is lost (RFC 9438): fair to everybody, and slow where packets are lost by chance.
    Cubic,
    /// Models the path by its bandwidth and delay, and takes no notice of loss. quinn calls its BBR experimental.
    Bbr,
}

/// What the last connection over a path told about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PathKnowledge {
    /// The round trip, smoothed.
    pub(crate) rtt: Duration,
    /// The share of packets lost lately, from 0 to 1.
    pub(crate) loss: f64,
    /// The congestion window.
    pub(crate) window_bytes: u64,
}

impl PathKnowledge {
    /// What the next connection may send at once: what the last one could. Where packets get lost by chance, a small window says nothing.
    pub(crate) fn initial_window_bytes(&self) -> u64 {
        let least = if self.loses() { WINDOW_BYTES } else { WINDOW_BYTES_MIN };
        self.window_bytes.clamp(least, WINDOW_BYTES_MAX)
    }

    /// Whether packets get lost often.
    pub(crate) fn loses(&self) -> bool {
        self.loss > LOSSY
    }
}

/// What is known about the paths to the addresses that were reached lately, and to the sites where they are.
///
/// Ports do not matter: what listens at one address is reached over one path. Only connections whose peer was admitted are learnt from.
#[derive(Debug, Default)]
pub(crate) struct PathMemory {
    addresses: BTreeMap<IpAddr, (u64, PathKnowledge)>,
    /// When each address was learnt of, the oldest first, to forget it when there are too many.
    order: BTreeMap<u64, IpAddr>,
    /// The last round trip to a node of each site, for nodes that were never reached. As many as there are sites in certificates.
    sites: BTreeMap<String, Duration>,
    learnt: u64,
}

impl PathMemory {
    /// Takes note of a path.
    pub(crate) fn learn(&mut self, peer: &Identity, address: IpAddr, knowledge: PathKnowledge) {
        self.learnt += 1;
        if let Some((before, _)) = self.addresses.insert(address, (self.learnt, knowledge)) {
            self.order.remove(&before);
        }
        self.order.insert(self.learnt, address);
        if self.order.len() > PATHS_REMEMBERED
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.addresses.remove(&oldest);
        }
        if let Some(site) = peer.site() {
            if let Some(rtt) = self.sites.get_mut(site) {
                *rtt = knowledge.rtt;
            } else if self.sites.len() < PATHS_REMEMBERED {
                self.sites.insert(site.to_owned(), knowledge.rtt);
            }
        }
    }

    /// What is known about the path to this address.
    pub(crate) fn to(&self, address: IpAddr) -> Option<PathKnowledge> {
        self.addresses.get(&address).map(|(_, knowledge)| *knowledge)
    }

    /// How long the round trip to a node at this address will be: as it was, or as it was to another node of its site.
    pub(crate) fn rtt(&self, peer: &Identity, address: IpAddr) -> Option<Duration> {
        self.to(address).map(|knowledge| knowledge.rtt).or_else(|| self.sites.get(peer.site()?).copied())
    }
}

#[cfg(test)]
mod tests {
    use caps_certs_gen::Layer;

    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    fn peer(site: &str, name: &str) -> Identity {
        Identity::node("caps.test", site, Layer::Host, name).unwrap()
    }

    fn knowledge(rtt_ms: u64) -> PathKnowledge {
        PathKnowledge { rtt: Duration::from_millis(rtt_ms), loss: 0.0, window_bytes: 100_000 }
    }

    #[test]
    fn an_address_is_known_by_itself_and_a_site_by_its_nodes() {
        let mut memory = PathMemory::default();
        memory.learn(&peer("lund", "one"), address(1), knowledge(7));
        memory.learn(&peer("lund", "two"), address(2), knowledge(8));
        assert_eq!(memory.rtt(&peer("lund", "one"), address(1)), Some(Duration::from_millis(7)));
        assert_eq!(memory.rtt(&peer("lund", "three"), address(3)), Some(Duration::from_millis(8)));
        assert_eq!(memory.rtt(&peer("kiruna", "four"), address(4)), None);
        assert_eq!(memory.to(address(3)), None);
    }

    #[test]
    fn the_path_that_was_learnt_of_longest_ago_is_forgotten_first() {
        let mut memory = PathMemory::default();
        for number in 0..u32::try_from(PATHS_REMEMBERED).unwrap() {
            memory.learn(&peer("lund", "one"), address(number), knowledge(7));
        }
        memory.learn(&peer("lund", "one"), address(0), knowledge(9));
        memory.learn(&peer("lund", "one"), address(u32::MAX), knowledge(7));
        assert_eq!((memory.to(address(0)), memory.to(address(1))), (Some(knowledge(9)), None));
        assert_eq!(memory.addresses.len(), PATHS_REMEMBERED);
    }

    #[test]
    fn the_next_connection_begins_with_what_the_last_one_had_within_bounds() {
        let begins = |loss, window_bytes| PathKnowledge { window_bytes, loss, ..knowledge(1) }.initial_window_bytes();
        assert_eq!([1000, 200_000, 10_000_000].map(|bytes| begins(0.0, bytes)), [WINDOW_BYTES_MIN, 200_000, WINDOW_BYTES_MAX]);
        assert_eq!(begins(0.01, 1000), WINDOW_BYTES);
    }
}
