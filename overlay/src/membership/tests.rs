//! Clusters of memberships in memory: virtual time, seeded loss, a trace that can be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use caps_certs_gen::{Identity, Layer};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::directory::tests::node;

const LAN: Duration = Duration::from_millis(1);
const SITES: [&str; 3] = ["lund", "goteborg", "kiruna"];

/// Nodes, and a network between those that the policy lets connect. Dead nodes keep their connections: nobody tells.
struct Cluster {
    now: Duration,
    nodes: BTreeMap<Identity, Membership>,
    dead: BTreeSet<Identity>,
    /// One way, by pair of sites; half the round trip.
    one_way: fn(&Identity, &Identity) -> Duration,
    loss: f64,
    cut: fn(&Identity, &Identity) -> bool,
    wire: BTreeMap<(Duration, u64), (Identity, Transmit)>,
    sent: u64,
    rng: ChaCha8Rng,
    trace: DefaultHasher,
    notices: Vec<(Duration, Identity, Notice)>,
    errors: Vec<DatagramError>,
}

impl Cluster {
    fn new(seed: u64, one_way: fn(&Identity, &Identity) -> Duration) -> Self {
        Self {
            now: Duration::ZERO,
            nodes: BTreeMap::new(),
            dead: BTreeSet::new(),
            one_way,
            loss: 0.0,
            cut: |_, _| false,
            wire: BTreeMap::new(),
            sent: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
            trace: DefaultHasher::new(),
            notices: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// A cabinet and two hosts at each of three sites.
    fn of_nine(seed: u64, one_way: fn(&Identity, &Identity) -> Duration) -> Self {
        let mut cluster = Self::new(seed, one_way);
        for site in SITES {
            for (layer, name) in [(1, "store"), (2, "host-a"), (2, "host-b")] {
                cluster.start(node(site, layer, name), 1);
            }
        }
        cluster
    }

    fn start(&mut self, identity: Identity, generation: u64) {
        let seeds = SITES.map(|site| node(site, 1, "store")).map(|seed| (seed.clone(), address(&seed)));
        let me = Announced::new(identity.clone(), generation, address(&identity));
        let mut membership = Membership::new(me, layered(), Config::default(), self.rng.random(), self.now);
        membership.join(seeds, self.now);
        self.dead.remove(&identity);
        self.nodes.insert(identity.clone(), membership);
        self.connect();
    }

    fn kill(&mut self, identity: &Identity) {
        self.dead.insert(identity.clone());
    }

    /// Tells every live node of its connections.
    fn connect(&mut self) {
        let names: Vec<Identity> = self.nodes.keys().cloned().collect();
        for name in &names {
            let peers = names.iter().filter(|peer| *peer != name && may_connect(name, peer) && !(self.cut)(name, peer));
            let connected = peers.map(|peer| (peer.clone(), 2 * (self.one_way)(name, peer))).collect();
            self.nodes.get_mut(name).unwrap().handle_connections(connected, self.now);
            self.collect(name);
        }
    }

    fn collect(&mut self, name: &Identity) {
        let node = self.nodes.get_mut(name).unwrap();
        while let Some(notice) = node.poll_notice() {
            self.notices.push((self.now, name.clone(), notice));
        }
        while let Some(transmit) = node.poll_transmit() {
            assert!(transmit.datagram.len() <= DATAGRAM_BYTES_MAX);
            assert!(may_connect(name, &transmit.to), "{name} has no connection to {}", transmit.to);
            if self.rng.random_bool(self.loss) || (self.cut)(name, &transmit.to) {
                continue;
            }
            self.sent += 1;
            let arrives = self.now + (self.one_way)(name, &transmit.to);
            self.wire.insert((arrives, self.sent), (name.clone(), transmit));
        }
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let arrival = self.wire.first_key_value().map(|((at, _), _)| *at);
            let live = self.nodes.iter().filter(|(name, _)| !self.dead.contains(*name));
            let timeout = live.filter_map(|(name, node)| Some((node.poll_timeout()?, name.clone()))).min();
            let next = arrival.into_iter().chain(timeout.as_ref().map(|(at, _)| *at)).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                self.deliver();
            } else if let Some((_, name)) = timeout {
                self.nodes.get_mut(&name).unwrap().handle_timeout(self.now);
                self.collect(&name);
            }
        }
        self.now = end;
    }

    fn deliver(&mut self) {
        let (_, (from, transmit)) = self.wire.pop_first().unwrap();
        (self.now, &from, &transmit.to, &transmit.datagram).hash(&mut self.trace);
        if self.dead.contains(&transmit.to) || self.dead.contains(&from) {
            return;
        }
        let node = self.nodes.get_mut(&transmit.to).unwrap();
        self.errors.extend(node.handle_datagram(&from, transmit.datagram, self.now).err());
        self.collect(&transmit.to);
    }

    fn state(&self, believer: &Identity, about: &Identity) -> Option<MemberState> {
        self.nodes[believer].directory().get(about).map(|member| member.state)
    }

    fn live(&self) -> Vec<Identity> {
        self.nodes.keys().filter(|name| !self.dead.contains(*name)).cloned().collect()
    }

    fn all_believe(&self, about: &Identity, state: MemberState) -> bool {
        self.live().iter().all(|believer| self.state(believer, about) == Some(state))
    }

    fn has_converged(&self) -> bool {
        self.live().iter().all(|about| self.all_believe(about, MemberState::Up))
    }

    /// When the last live node learnt that `about` is down.
    fn down_everywhere_at(&self, about: &Identity) -> Option<Duration> {
        let since = |believer| self.nodes[believer].directory().get(about).filter(|member| !member.is_active()).map(|member| member.since);
        self.live().iter().map(since).collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    fn downs(&self) -> usize {
        self.notices.iter().filter(|(_, _, notice)| notice.now == MemberState::Down).count()
    }
}

fn layered() -> Adjacency {
    Adjacency::of_policy(|from, to| {
        matches!((from, to), (Layer::FrontEnd, Layer::Host) | (Layer::Host, Layer::Cabinet) | (Layer::Cabinet, Layer::Cabinet))
    })
}

fn may_connect(a: &Identity, b: &Identity) -> bool {
    a.layer() == Some(Layer::Cabinet) || b.layer() == Some(Layer::Cabinet)
}

fn address(identity: &Identity) -> SocketAddr {
    let mut hasher = DefaultHasher::new();
    identity.hash(&mut hasher);
    SocketAddr::from(([192, 0, 2, 1], u16::try_from(hasher.finish() & 0xffff).unwrap()))
}

fn lan(_: &Identity, _: &Identity) -> Duration {
    LAN / 2
}

/// 400 ms between sites, there and back.
fn far(a: &Identity, b: &Identity) -> Duration {
    if a.site() == b.site() { LAN / 2 } else { Duration::from_millis(200) }
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

#[test]
fn nine_members_find_each_other() {
    let mut cluster = Cluster::of_nine(1, lan);
    cluster.run(seconds(1));
    assert!(cluster.has_converged());
    assert!(cluster.nodes.values().all(|node| node.directory().len() == 9));
    assert_eq!(cluster.errors, []);
}

#[test]
fn a_killed_node_is_down_everywhere_in_time() {
    let mut took = Vec::new();
    for seed in 0..40u8 {
        let mut cluster = Cluster::of_nine(seed.into(), lan);
        cluster.run(seconds(3));
        let victim = node(SITES[usize::from(seed) % 3], 1 + u8::from(seed % 2 == 0), if seed % 2 == 0 { "host-a" } else { "store" });
        let killed = cluster.now;
        cluster.kill(&victim);
        cluster.run(seconds(6));
        took.push(cluster.down_everywhere_at(&victim).expect("everybody has learnt of it") - killed);
        // One death, eight who learn of it; nobody else was thought dead.
        assert_eq!(cluster.downs(), 8, "seed {seed}");
    }
    took.sort_unstable();
    // Not yet probed 0.5 s (round of a period), probe 0.5 s, suspicion 1 s: 2 s, and three gossip rounds to spread: 2.6 s.
    assert!(took[20] <= Duration::from_millis(2_600), "median {:?}", took[20]);
    // Nobody may probe it for two periods more.
    assert!(took[39] <= Duration::from_millis(3_600), "longest {:?}", took[39]);
}

#[test]
fn nobody_flaps_at_400_ms() {
    let mut cluster = Cluster::of_nine(3, far);
    cluster.run(seconds(3));
    assert!(cluster.has_converged());
    cluster.notices.clear();
    cluster.run(seconds(600));
    // A reply takes 400 ms, and 500 ms are allowed: nobody is even suspected.
    assert!(cluster.notices.is_empty(), "{:?}", &cluster.notices[0]);
}

#[test]
fn loss_of_a_fifth_fells_nobody() {
    for seed in [1, 2, 3] {
        let mut cluster = Cluster::of_nine(seed, lan);
        cluster.loss = 0.2;
        cluster.run(seconds(5));
        assert!(cluster.has_converged(), "seed {seed}");
        cluster.run(seconds(600));
        assert_eq!(cluster.downs(), 0, "seed {seed}");
    }
}

#[test]
fn hosts_hear_of_each_other_over_a_relay_and_over_another_when_it_dies() {
    let (host, other) = (node("lund", 2, "host-a"), node("kiruna", 2, "host-a"));
    let relay = node("lund", 1, "store");
    let mut cluster = Cluster::of_nine(5, lan);
    cluster.run(seconds(3));
    cluster.kill(&relay);
    cluster.run(seconds(60));
    assert_eq!(cluster.state(&host, &relay), Some(MemberState::Down));
    assert_eq!(cluster.state(&host, &other), Some(MemberState::Up));
    // The relay was nobody's only way: it alone went down.
    assert_eq!(cluster.downs(), 8);
}

#[test]
fn a_restarted_node_is_back_at_once() {
    let host = node("lund", 2, "host-a");
    let mut cluster = Cluster::of_nine(6, lan);
    cluster.run(seconds(3));
    cluster.kill(&host);
    cluster.run(Duration::from_millis(300));
    cluster.start(host.clone(), 2);
    cluster.run(Duration::from_millis(500));
    // Gossip rounds of 200 ms: two of them reach nine members.
    assert!(cluster.live().iter().all(|believer| cluster.nodes[believer].directory().get(&host).unwrap().generation == 2));
    cluster.run(seconds(10));
    assert!(cluster.has_converged());
    assert_eq!(cluster.downs(), 0);

    cluster.kill(&host);
    cluster.run(seconds(10));
    assert!(cluster.all_believe(&host, MemberState::Down));
    cluster.start(host.clone(), 3);
    cluster.run(Duration::from_millis(500));
    assert!(cluster.all_believe(&host, MemberState::Up));
}

#[test]
fn a_node_whose_clock_was_set_back_gets_in_again() {
    let host = node("lund", 2, "host-a");
    let mut cluster = Cluster::of_nine(7, lan);
    cluster.run(seconds(3));
    cluster.kill(&host);
    cluster.start(host.clone(), 1_000_000);
    cluster.run(seconds(3));
    cluster.kill(&host);
    cluster.start(host.clone(), 5);
    // Until somebody probes the later life, and so tells the earlier one of it: 4 s if only one did, in turn.
    cluster.run(seconds(5));
    assert!(cluster.has_converged());
    assert!(cluster.nodes[&host].me().generation() > 1_000_000);
}

#[test]
fn a_partition_heals() {
    let mut cluster = Cluster::of_nine(8, lan);
    cluster.run(seconds(3));
    cluster.cut = |a, b| (a.site() == Some("kiruna")) != (b.site() == Some("kiruna"));
    cluster.run(seconds(10));
    cluster.connect();
    cluster.run(seconds(50));
    // Six lost three, and three lost six.
    assert_eq!(cluster.downs(), 6 * 3 + 3 * 6);
    cluster.cut = |_, _| false;
    cluster.connect();
    cluster.run(seconds(10));
    assert!(cluster.has_converged());
}

#[test]
fn leaving_is_known_before_any_probe_fails() {
    let host = node("lund", 2, "host-a");
    let mut cluster = Cluster::of_nine(9, lan);
    cluster.run(seconds(3));
    let now = cluster.now;
    cluster.nodes.get_mut(&host).unwrap().drain(now);
    cluster.collect(&host);
    cluster.run(seconds(1));
    let others: Vec<_> = cluster.live().into_iter().filter(|name| *name != host).collect();
    assert!(others.iter().all(|believer| cluster.state(believer, &host) == Some(MemberState::Leaving)));
    let now = cluster.now;
    cluster.nodes.get_mut(&host).unwrap().leave(now);
    cluster.collect(&host);
    cluster.run(LAN);
    cluster.kill(&host);
    // The news goes to three, and from those to the rest within a few rounds of 200 ms.
    cluster.run(seconds(1));
    assert!(cluster.all_believe(&host, MemberState::Down));
}

#[test]
fn load_and_position_spread_and_reach_those_who_come_later() {
    let store = node("lund", 1, "store");
    let mut cluster = Cluster::of_nine(10, lan);
    cluster.run(seconds(3));
    let now = cluster.now;
    cluster.nodes.get_mut(&store).unwrap().report(100, Offers::of([1]).at(&[(1, 7)]), now);
    cluster.nodes.get_mut(&store).unwrap().report(100, Offers::of([1]).at(&[(1, 8)]), now);
    cluster.collect(&store);
    cluster.run(seconds(3));
    let late = node("lund", 2, "host-c");
    cluster.start(late.clone(), 1);
    // Reports are repeated every 15 s.
    cluster.run(seconds(20));
    for believer in cluster.live() {
        let member = cluster.nodes[&believer].directory().get(&store).unwrap();
        assert_eq!((member.load, member.offers.position(1)), (100, 8), "{believer}");
    }
}

#[test]
fn a_name_in_use_is_not_given_away() {
    let store = node("lund", 1, "store");
    let host = node("lund", 2, "host-a");
    let mut cluster = Cluster::of_nine(11, lan);
    cluster.run(seconds(3));
    let elsewhere: SocketAddr = "203.0.113.9:1".parse().unwrap();
    let mut double = Membership::new(Announced::new(host.clone(), 2, elsewhere), layered(), Config::default(), 1, cluster.now);
    double.handle_connections([(store.clone(), LAN)].into(), cluster.now);
    let announcement = double.poll_transmit().unwrap();
    let now = cluster.now;
    let refusal = cluster.nodes.get_mut(&store).unwrap().handle_datagram(&host, announcement.datagram, now).unwrap_err();
    assert_eq!(refusal, DatagramError::NameTaken { identity: host.clone(), known: address(&host), claimed: elsewhere });
    assert_eq!(cluster.nodes[&store].directory().get(&host).unwrap().address, address(&host));
}

#[test]
fn only_a_relay_may_speak_for_another() {
    let mut cluster = Cluster::of_nine(12, lan);
    cluster.run(seconds(3));
    let (store, host, other) = (node("lund", 1, "store"), node("lund", 2, "host-a"), node("kiruna", 2, "host-a"));
    let now = cluster.now;
    let header = Header {
        src: Announced::new(other.clone(), 1, address(&other)),
        src_incarnation: 0,
        dst: Announced::new(store.clone(), 1, address(&store)),
        message: Message::TurnUndead,
    };
    let mut packet = Vec::new();
    PacketCodec::new("caps.example").encode_header(&header, &mut packet).unwrap();
    let packet = Bytes::from(packet);
    let mut deliver = |to: &Identity, from: &Identity, envelope: Envelope| {
        cluster.nodes.get_mut(to).unwrap().handle_datagram(from, envelope.encode(), now)
    };
    let claimed = other.clone();
    assert_eq!(
        deliver(&store, &host, Envelope::Direct(packet.clone())),
        Err(DatagramError::Impersonation { sender: host.clone(), claimed })
    );
    let relayed = Envelope::FromRelay { from: other.clone(), packet: packet.clone() };
    assert_eq!(deliver(&store, &host, relayed.clone()), Err(DatagramError::NotARelay));
    // The same from another cabinet is believed, and makes the store take its next life.
    assert_eq!(deliver(&store, &node("goteborg", 1, "store"), relayed), Ok(()));
    let to_relay = Envelope::ToRelay { to: store.clone(), packet };
    assert_eq!(deliver(&other, &store, to_relay), Err(DatagramError::NotARelay));
    let front_end = node("lund", 4, "desk");
    assert_eq!(deliver(&store, &front_end, Envelope::Direct(Bytes::new())), Err(DatagramError::NotAMember(front_end.clone())));
    assert_eq!(cluster.nodes[&store].me().generation(), 2);
}

#[test]
fn a_crowd_of_invented_members_is_bounded() {
    let store = node("lund", 1, "store");
    let mut cluster = Cluster::new(13, lan);
    cluster.start(store.clone(), 1);
    let liar = node("lund", 1, "liar");
    let mut codec = PacketCodec::new("caps.example");
    let header = Header {
        src: Announced::new(liar.clone(), 1, address(&liar)),
        src_incarnation: 0,
        dst: Announced::new(store.clone(), 1, address(&store)),
        message: Message::Gossip,
    };
    let mut refused = 0;
    for round in 0..200 {
        let mut packet = Vec::new();
        codec.encode_header(&header, &mut packet).unwrap();
        packet.extend_from_slice(&10u16.to_be_bytes());
        for number in 0..10 {
            let invented = node("lund", 2, &format!("x{round}-{number}"));
            codec.encode_member(&foca::Member::alive(Announced::new(invented, 1, address(&liar))), &mut packet).unwrap();
        }
        let datagram = Envelope::Direct(packet.into()).encode();
        refused += u32::from(cluster.nodes.get_mut(&store).unwrap().handle_datagram(&liar, datagram, cluster.now).is_err());
    }
    assert!(refused > 0);
    assert!(cluster.nodes[&store].directory().len() <= MEMBERS_MAX);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| {
        let mut cluster = Cluster::of_nine(seed, far);
        cluster.loss = 0.1;
        cluster.run(seconds(30));
        (cluster.trace.finish(), cluster.sent)
    };
    assert_eq!(trace(21), trace(21));
    assert_ne!(trace(21), trace(22));
}

/// A node that knows another one, and a datagram from that one that it would accept.
fn listener() -> (Membership, Identity, Bytes) {
    let mut cluster = Cluster::of_nine(31, lan);
    cluster.run(seconds(2));
    let (store, host) = (node("lund", 1, "store"), node("lund", 2, "host-a"));
    let now = cluster.now;
    cluster.nodes.get_mut(&host).unwrap().drain(now);
    let mut datagram = None;
    let speaker = cluster.nodes.get_mut(&host).unwrap();
    while let Some(transmit) = speaker.poll_transmit() {
        datagram = Some(transmit.datagram);
    }
    (cluster.nodes.remove(&store).unwrap(), host, datagram.expect("draining is gossip"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn garbage_is_never_a_panic(garbage in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1200), 40)) {
        let (mut listener, host, _) = listener();
        for (round, bytes) in (0u64..).zip(garbage) {
            listener.handle_datagram(&host, bytes.into(), seconds(3 + round)).ok();
            listener.handle_timeout(seconds(3 + round));
        }
    }

    #[test]
    fn damaged_gossip_is_never_a_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<prop::sample::Index>()), 60)
    ) {
        let (mut listener, host, datagram) = listener();
        for (round, (at, to, end)) in (0u64..).zip(damage) {
            let mut bytes = datagram.to_vec();
            let position = at.index(bytes.len());
            bytes[position] = to;
            if round % 3 == 0 {
                bytes.truncate(end.index(bytes.len()));
            }
            listener.handle_datagram(&host, bytes.into(), seconds(3 + round)).ok();
            listener.handle_timeout(seconds(3 + round));
            prop_assert!(listener.directory().len() <= MEMBERS_MAX);
            while listener.poll_transmit().is_some() {}
        }
    }
}
