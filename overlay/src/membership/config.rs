//! How fast gossip is.

use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use super::relay::ENVELOPE_BYTES_MAX;

/// How fast gossip is. The same on every node of an overlay.
///
/// The defaults let a killed node be `Down` everywhere within about two seconds on a LAN, and leave members alone whose round
/// trip is up to 400 ms. In 200 simulated kills among nine members that start at random times it took 2.1 s in the median, 2.8 s at
/// p90, 3.4 s at p99 and 4.9 s at most, when by chance nobody probed the dead one for several periods:
///
/// - a node dies; each of the others probes somebody every 500 ms, so on average 0.6 of a period passes until one of
///   them happens to probe the dead one (0.3 s), rarely two periods (1 s);
/// - the probe fails at the end of its period: 0.5 s;
/// - the suspect has [`suspicion`](Self::suspicion) to contradict: 1 s + 3 x the farthest round trip;
/// - the news of its end spreads by gossip every 200 ms, three at a time: two or three rounds for ten members.
///
/// A reply counts until its probe period ends, so a path of 400 ms passes with 100 ms to spare for jitter, and on a
/// lossless one nobody is ever suspected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// How often each node probes one member, and how long a reply may take. Default 500 ms: the farthest supported round
    /// trip and a fourth on top. Shorter finds the dead sooner and suspects those far away.
    pub(crate) probe_period: Duration,
    /// When others are asked to probe as well, because the reply is late. Default 200 ms: a LAN's and a continent's
    /// round trips are below it, so that there it takes a loss, and 300 ms remain for the indirect reply. On
    /// longer paths every probe is doubled, which costs four small datagrams each.
    pub(crate) indirect_after: Duration,
    /// How many others are asked. Default 3: with 20 % loss, one indirect try (four datagrams) succeeds in 41 % of the cases, three
    /// in 79 %.
    pub(crate) indirect_probes: NonZeroUsize,
    /// The part of the suspicion time that does not depend on the distance. Default 1 s: twenty reminders to the suspect
    /// ([`remind_every`](Self::remind_every)). At 20 % loss one fails over a relay (four datagrams) in 59 % of the cases, and all
    /// of them with a probability of 3e-5.
    pub(crate) suspicion_min: Duration,
    /// How many of the farthest measured round trips are added to it. Default 3: one to tell the suspect, one for its answer
    /// to take another way, one for jitter.
    pub(crate) suspicion_round_trips: u32,
    /// How often whoever suspects a member tells it so (Lifeguard's buddy system: Dadgar, Phillips, Currey, DSN 2018). Default
    /// 50 ms. foca leaves it to chance that the suspect hears of the suspicion; with lost datagrams that is too late too often.
    pub(crate) remind_every: Duration,
    /// How often news are passed on, while there are any. Default 200 ms.
    pub(crate) gossip_every: Duration,
    /// To how many at a time. Default 3.
    pub(crate) gossip_fanout: NonZeroUsize,
    /// How often one node passes on one piece of news. Default 15: enough for 1,000 members (4 x log10 of their number, as
    /// memberlist has it, is 12), and for small clusters that lose datagrams.
    pub(crate) transmissions: NonZeroU8,
    /// How often a node asks one more member for the members it knows, and members that are down whether they
    /// are back. Default 10 s: it heals what gossip missed, after partitions above all.
    pub(crate) exchange_every: Duration,
    /// How often seeds and connected peers are asked that do not count as members yet. Default 1 s, jittered by a quarter.
    pub(crate) join_every: Duration,
    /// How long a member that is down is remembered. Default 24 h; forgetting early lets late gossip bring it back.
    pub(crate) forget_after: Duration,
    /// How often a node may report its load and position. Default 1 s: more often would crowd out the news of members.
    pub(crate) report_every: Duration,
    /// How often it reports what has not changed, for those who joined since. Default 15 s.
    pub(crate) report_again_every: Duration,
}

impl Config {
    /// How long a suspect has to contradict when the farthest peer is `farthest` away (round trip; at most one second counts).
    pub(crate) fn suspicion(&self, farthest: Duration) -> Duration {
        self.suspicion_min + farthest.min(Duration::from_secs(1)) * self.suspicion_round_trips
    }

    pub(super) fn to_foca(&self, farthest: Duration) -> foca::Config {
        let exchange = |num_members| foca::PeriodicParams { frequency: self.exchange_every, num_members };
        foca::Config {
            probe_period: self.probe_period,
            probe_rtt: self.indirect_after,
            num_indirect_probes: self.indirect_probes,
            max_transmissions: self.transmissions,
            suspect_to_down_after: self.suspicion(farthest),
            remove_down_after: Some(self.forget_after),
            max_packet_size: PACKET_BYTES_MAX,
            notify_down_members: true,
            periodic_announce: Some(exchange(ONE)),
            periodic_announce_to_down_members: Some(exchange(TWO)),
            periodic_gossip: Some(foca::PeriodicParams { frequency: self.gossip_every, num_members: self.gossip_fanout }),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            probe_period: Duration::from_millis(500),
            indirect_after: Duration::from_millis(200),
            indirect_probes: THREE,
            suspicion_min: Duration::from_secs(1),
            suspicion_round_trips: 3,
            remind_every: Duration::from_millis(50),
            gossip_every: Duration::from_millis(200),
            gossip_fanout: THREE,
            transmissions: NonZeroU8::new(15).expect("15 is not 0"),
            exchange_every: Duration::from_secs(10),
            join_every: Duration::from_secs(1),
            forget_after: Duration::from_secs(24 * 60 * 60),
            report_every: Duration::from_secs(1),
            report_again_every: Duration::from_secs(15),
        }
    }
}

/// The longest datagram. QUIC guarantees 1,200 bytes a packet (RFC 9000, section 14), of which header, tag and frame take some 40.
pub(crate) const DATAGRAM_BYTES_MAX: usize = 1_100;
const PACKET_BYTES_MAX: NonZeroUsize =
    NonZeroUsize::new(DATAGRAM_BYTES_MAX - ENVELOPE_BYTES_MAX).expect("an envelope is much smaller than a datagram");
const ONE: NonZeroUsize = NonZeroUsize::new(1).expect("1 is not 0");
const TWO: NonZeroUsize = NonZeroUsize::new(2).expect("2 is not 0");
const THREE: NonZeroUsize = NonZeroUsize::new(3).expect("3 is not 0");
