//! The core of the lab: packets on their way over links. It owns no clock and no device.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use caps_node::deployment::network::HopId;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::packet::Packet;
use super::plan::{Plan, place_of};
use crate::link::{Fate, Link, LinkStats};

/// Every link, and every packet that is on one.
#[derive(Debug)]
pub(super) struct Switch {
    links: Vec<NamedLink>,
    ways: BTreeMap<(usize, usize), Arc<[usize]>>,
    under_way: BinaryHeap<Reverse<Arrival>>,
    /// Of arrivals at the same moment, the one that was known first goes first.
    arrivals_known: u64,
    carried: Carried,
}

/// What became of the packets of a lab, links aside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    /// Packets that came to the end of their way.
    pub delivered: u64,
    /// Packets to addresses that no node has, or that there is no way to.
    pub unreachable: u64,
    /// Packets dropped because there were more under way than the lab holds: links without a rate are fed too fast.
    pub too_many: u64,
    /// How late packets were delivered, summed, in nanoseconds: what the lab adds to the delay of the links.
    pub late_sum_ns: u64,
    /// How late the latest was delivered, in nanoseconds.
    pub late_max_ns: u64,
}

/// What passed a link, and what did not.
#[derive(Debug, Clone)]
pub struct LinkReport {
    /// Which link.
    pub id: HopId,
    /// Its counters.
    pub stats: LinkStats,
}

#[derive(Debug)]
struct NamedLink {
    id: HopId,
    link: Link,
    /// Each link draws from its own stream: the fate of the hundredth packet does not depend on what passes elsewhere.
    rng: ChaCha8Rng,
}

/// A packet that comes to the end of a link, or to the beginning of its way.
#[derive(Debug)]
struct Arrival {
    at_ns: u64,
    known: u64,
    to: usize,
    way: Arc<[usize]>,
    hops_done: usize,
    packet: Packet,
}

impl Switch {
    /// The links and ways of a plan, with nothing on them.
    pub(super) fn new(plan: &Plan, seed: u64) -> Self {
        let link = |(number, (id, figures)): (u64, &(HopId, _))| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(number);
            NamedLink { id: id.clone(), link: Link::new(*figures), rng }
        };
        Self {
            links: (0..).zip(&plan.links).map(link).collect(),
            ways: plan.ways.iter().map(|(ends, way)| (*ends, way.clone().into())).collect(),
            under_way: BinaryHeap::new(),
            arrivals_known: 0,
            carried: Carried::default(),
        }
    }

    /// Takes a packet that a node sent. Times must not go back from one call to the next, of this and of [`deliver`](Self::deliver).
    pub(super) fn take(&mut self, now_ns: u64, from: usize, packet: Packet) {
        let Some((to, way)) = self.way(from, packet.destination()) else {
            self.carried.unreachable += 1;
            return;
        };
        self.push(Arrival { at_ns: now_ns, known: 0, to, way, hops_done: 0, packet });
    }

    /// The next packet that has come to the end of its way by now, and the node that it is for.
    pub(super) fn deliver(&mut self, now_ns: u64) -> Option<(usize, Packet)> {
        while self.next_ns()? <= now_ns {
            let Reverse(arrival) = self.under_way.pop()?;
            if let Some(&link) = arrival.way.get(arrival.hops_done) {
                self.hop(link, arrival);
                continue;
            }
            let late_ns = now_ns - arrival.at_ns;
            self.carried.delivered += 1;
            self.carried.late_sum_ns += late_ns;
            self.carried.late_max_ns = self.carried.late_max_ns.max(late_ns);
            return Some((arrival.to, arrival.packet));
        }
        None
    }

    /// When something happens next.
    pub(super) fn next_ns(&self) -> Option<u64> {
        self.under_way.peek().map(|Reverse(arrival)| arrival.at_ns)
    }

    /// The counters of each link, in the plan's order.
    pub(super) fn links(&self) -> Vec<LinkReport> {
        self.links.iter().map(|named| LinkReport { id: named.id.clone(), stats: named.link.stats() }).collect()
    }

    /// What became of the packets.
    pub(super) fn carried(&self) -> Carried {
        self.carried
    }

    fn way(&self, from: usize, to: Ipv4Addr) -> Option<(usize, Arc<[usize]>)> {
        let to = place_of(to)?;
        let way = self.ways.get(&(from, to))?;
        Some((to, way.clone()))
    }

    /// Lets a packet over its next link. The link is asked at the moment when the packet came to it, not at the later one at which this is
    /// found out, so that lateness does not add up from link to link.
    fn hop(&mut self, link: usize, mut arrival: Arrival) {
        let NamedLink { link, rng, .. } = &mut self.links[link];
        let fate = link.offer(arrival.at_ns, arrival.packet.as_bytes().len(), arrival.packet.may_be_marked(), rng);
        let Fate::Passes { at_ns, copy_at_ns, marked } = fate else { return };
        if marked {
            arrival.packet.mark();
        }
        arrival.hops_done += 1;
        if let Some(at_ns) = copy_at_ns {
            self.push(Arrival { at_ns, way: arrival.way.clone(), packet: arrival.packet.clone(), ..arrival });
        }
        self.push(Arrival { at_ns, ..arrival });
    }

    fn push(&mut self, arrival: Arrival) {
        if self.under_way.len() == UNDER_WAY_MAX {
            self.carried.too_many += 1;
            return;
        }
        self.arrivals_known += 1;
        self.under_way.push(Reverse(Arrival { known: self.arrivals_known, ..arrival }));
    }
}

impl Arrival {
    fn order(&self) -> (u64, u64) {
        (self.at_ns, self.known)
    }
}

impl PartialEq for Arrival {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Arrival {}

impl PartialOrd for Arrival {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Arrival {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

/// Packets under way at most: 1 Gbit/s of full packets for 0.8 s, and 100 MB at most.
const UNDER_WAY_MAX: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use caps_node::deployment::network::{Hop, LinkFigures};

    use super::super::packet::tests::packet;
    use super::*;

    const MS: u64 = 1_000_000;

    fn switch(hops: &[(&str, LinkFigures)]) -> Switch {
        let mut plan = Plan::new(["a", "b"].map(str::to_owned)).unwrap();
        plan.way("a", "b", hops.iter().map(|(name, figures)| hop(name, *figures))).unwrap();
        Switch::new(&plan, 7)
    }

    fn hop(name: &str, figures: LinkFigures) -> Hop {
        Hop { id: HopId::Lan(name.to_owned()), figures }
    }

    fn to_b(size_bytes: usize) -> Packet {
        Packet::parse(&packet([0, 2], 0b10, size_bytes)).unwrap()
    }

    fn ideal(ms: u64) -> LinkFigures {
        LinkFigures::ideal(Duration::from_millis(ms))
    }

    #[test]
    fn a_packet_takes_the_sum_of_its_links_even_when_looked_for_late() {
        let mut switch = switch(&[("up", ideal(3)), ("down", ideal(4))]);
        switch.take(5 * MS, 0, to_b(100));
        assert_eq!(switch.next_ns(), Some(5 * MS));
        assert_eq!(switch.deliver(5 * MS), None);
        // Nobody looked at 8 ms, when the packet came to the second link: it has been on it since then all the same.
        assert_eq!(switch.deliver(9 * MS), None);
        assert_eq!(switch.next_ns(), Some(12 * MS));
        assert_eq!(switch.deliver(12 * MS + 5), Some((1, to_b(100))));
        assert_eq!(switch.carried(), Carried { delivered: 1, late_sum_ns: 5, late_max_ns: 5, ..Carried::default() });
    }

    #[test]
    fn packets_of_the_same_moment_keep_their_order() {
        let mut switch = switch(&[("line", ideal(1))]);
        for size in [100, 200, 300] {
            switch.take(0, 0, to_b(size));
        }
        let sizes: Vec<usize> = std::iter::from_fn(|| switch.deliver(MS)).map(|(_, packet)| packet.as_bytes().len()).collect();
        assert_eq!(sizes, [100, 200, 300]);
    }

    #[test]
    fn a_bottleneck_spreads_packets_and_marks_those_that_wait_long() {
        // 8 Mbit/s: 1000 bytes take 1 ms. The third packet finds 2000 bytes in front of it.
        let slow = LinkFigures { rate_bps: Some(8_000_000), queue_bytes: 10_000, mark_above_bytes: Some(1_500), ..ideal(0) };
        let mut switch = switch(&[("slow", slow)]);
        for _ in 0..3 {
            switch.take(0, 0, to_b(1000));
        }
        let mut seen = Vec::new();
        assert_eq!(switch.deliver(0), None);
        while let Some(at) = switch.next_ns() {
            let (_, packet) = switch.deliver(at).unwrap();
            seen.push((at, packet != to_b(1000)));
        }
        assert_eq!(seen, [(MS, false), (2 * MS, false), (3 * MS, true)]);
    }

    #[test]
    fn what_nobody_has_a_way_for_is_counted() {
        let mut switch = switch(&[("line", ideal(1))]);
        for to in [[0, 1], [0, 3], [1, 2], [255, 255]] {
            switch.take(0, 0, Packet::parse(&packet(to, 0, 40)).unwrap());
        }
        switch.take(0, 1, to_b(40));
        assert_eq!(switch.carried().unreachable, 5);
        assert_eq!(switch.next_ns(), None);
    }

    #[test]
    fn the_seed_decides_which_packets_are_lost() {
        let lost = |seed| {
            let mut plan = Plan::new(["a", "b"].map(str::to_owned)).unwrap();
            plan.way("a", "b", [hop("line", LinkFigures { loss: 0.3, ..ideal(0) })]).unwrap();
            let mut switch = Switch::new(&plan, seed);
            let survives = |n| {
                switch.take(n, 0, to_b(40));
                switch.deliver(n).is_some()
            };
            (0..100).map(survives).collect::<Vec<bool>>()
        };
        assert_eq!(lost(1), lost(1));
        assert_ne!(lost(1), lost(2));
    }

    #[test]
    fn memory_is_bounded() {
        let mut switch = switch(&[("far", ideal(1000))]);
        for n in 0..UNDER_WAY_MAX as u64 + 10 {
            switch.take(n, 0, to_b(40));
        }
        assert_eq!(switch.carried().too_many, 10);
    }
}
