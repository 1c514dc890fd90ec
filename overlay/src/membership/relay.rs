//! How a gossip datagram reaches a member: over the connection, or over one relay.
//!
//! Gossip assumes that everybody can reach everybody, and the policy does not let everybody connect: hosts (layer 2) hold
//! connections to cabinets (layer 1) and never to one another. So a datagram between two nodes without a
//! connection goes through one node that is connected to both:
//!
//! ```text
//! host a ──ToRelay{to: b, packet}──▶ cabinet r ──FromRelay{from: a, packet}──▶ host b
//! ```
//!
//! Who sent it is never what the sender says. A direct packet comes from the peer whose certificate proved the connection;
//! the relay fills in `from` in the same way, and only a node of a relaying layer is believed when it does. A relay
//! hands a datagram on over a connection that exists, to the last hop; `FromRelay` is never passed on, so nothing can loop. The
//! relaying layers are those whose nodes are all connected among themselves and to every other server layer: with the
//! layered policy, layer 1.
//!
//! The nearest relay is taken first. When questions to a member go unanswered over it (several, for [`SILENCE`]) the next one
//! is tried, in turn, and after a while the nearest again.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use caps_certs_gen::{Identity, Layer};

use super::wire::{self, WireError};
use crate::directory::MEMBERS_MAX;

/// Which layers are servers, and which of them connect to which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Adjacency {
    servers: Vec<Layer>,
    connects: Vec<(Layer, Layer)>,
}

impl Adjacency {
    /// The adjacency of a policy that is given as "may a node of the first layer dial one of the second?".
    ///
    /// Servers are the layers that somebody may dial; whoever dials, a connection carries datagrams both ways.
    pub(crate) fn of_policy(may_dial: impl Fn(Layer, Layer) -> bool) -> Self {
        let servers: Vec<Layer> = Layer::ALL.into_iter().filter(|to| Layer::ALL.into_iter().any(|from| may_dial(from, *to))).collect();
        let pairs = servers.iter().flat_map(|a| servers.iter().map(move |b| (*a, *b)));
        let connects = pairs.filter(|(a, b)| may_dial(*a, *b) || may_dial(*b, *a)).collect();
        Self { servers, connects }
    }

    /// Whether nodes of this layer gossip, if they announce an address.
    pub(crate) fn is_server(&self, identity: &Identity) -> bool {
        identity.layer().is_some_and(|layer| self.servers.contains(&layer))
    }

    /// Whether nodes of this layer pass on the gossip of others.
    pub(crate) fn is_relay(&self, identity: &Identity) -> bool {
        let reaches = |layer: Layer| self.servers.iter().all(|other| self.connects.contains(&(layer, *other)));
        identity.layer().is_some_and(|layer| self.servers.contains(&layer) && reaches(layer))
    }
}

/// A datagram as it travels over one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Envelope {
    /// A packet of the peer for the receiver.
    Direct(Bytes),
    /// A packet of the peer, to be handed to `to`.
    ToRelay { to: Identity, packet: Bytes },
    /// A packet of `from` that the peer hands on.
    FromRelay { from: Identity, packet: Bytes },
}

impl Envelope {
    pub(super) fn encode(&self) -> Bytes {
        let (kind, name, packet) = match self {
            Self::Direct(packet) => (DIRECT, None, packet),
            Self::ToRelay { to, packet } => (TO_RELAY, Some(to), packet),
            Self::FromRelay { from, packet } => (FROM_RELAY, Some(from), packet),
        };
        let mut buf = BytesMut::with_capacity(ENVELOPE_BYTES_MAX + packet.len());
        buf.put_u8(kind);
        if let Some(name) = name {
            wire::put_name(&mut buf, name).expect("the buffer grows");
        }
        buf.put_slice(packet);
        buf.freeze()
    }

    pub(super) fn decode(mut bytes: Bytes, domain: &str) -> Result<Self, WireError> {
        match bytes.try_get_u8()? {
            DIRECT => Ok(Self::Direct(bytes)),
            TO_RELAY => Ok(Self::ToRelay { to: wire::take_name(&mut bytes, domain)?, packet: bytes }),
            FROM_RELAY => Ok(Self::FromRelay { from: wire::take_name(&mut bytes, domain)?, packet: bytes }),
            _ => Err(WireError::Unknown),
        }
    }
}

/// Which connection leads to whom.
#[derive(Debug)]
pub(super) struct Routes {
    adjacency: Adjacency,
    connected: BTreeMap<Identity, Duration>,
    /// The relay in use for a member without a connection. At most [`MEMBERS_MAX`].
    trials: BTreeMap<Identity, Trial>,
}

/// The relay that is tried for one member.
#[derive(Debug)]
struct Trial {
    relay: Identity,
    since: Duration,
    /// When the first question left that nothing has answered, and how many did.
    unanswered: Option<(Duration, u32)>,
}

impl Trial {
    fn is_silent(&self, now: Duration) -> bool {
        self.unanswered.is_some_and(|(since, questions)| questions >= QUESTIONS_MIN && now.saturating_sub(since) >= SILENCE)
    }
}

/// Where a datagram goes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hop {
    Direct,
    Over(Identity),
}

impl Routes {
    pub(super) fn new(adjacency: Adjacency) -> Self {
        Self { adjacency, connected: BTreeMap::new(), trials: BTreeMap::new() }
    }

    pub(super) fn adjacency(&self) -> &Adjacency {
        &self.adjacency
    }

    pub(super) fn is_connected(&self, peer: &Identity) -> bool {
        self.connected.contains_key(peer)
    }

    pub(super) fn connected(&self) -> impl Iterator<Item = &Identity> {
        self.connected.keys()
    }

    /// Takes the connections that exist now, with their round trip, and returns those that are new.
    pub(super) fn set_connected(&mut self, connected: BTreeMap<Identity, Duration>) -> Vec<Identity> {
        let new = connected.keys().filter(|peer| !self.connected.contains_key(peer)).cloned().collect();
        self.connected = connected;
        new
    }

    /// The farthest round trip to a server node, zero without connections.
    pub(super) fn farthest(&self) -> Duration {
        let servers = self.connected.iter().filter(|(peer, _)| self.adjacency.is_server(peer));
        servers.map(|(_, rtt)| *rtt).max().unwrap_or_default()
    }

    /// The way to `to` for a datagram that leaves now, if there is any. `asks` tells whether it is a question that `to`
    /// answers; news are not.
    pub(super) fn hop(&mut self, to: &Identity, asks: bool, now: Duration) -> Option<Hop> {
        if self.is_connected(to) {
            self.trials.remove(to);
            return Some(Hop::Direct);
        }
        let relay = self.relay_for(to, now)?;
        if self.trials.len() < MEMBERS_MAX || self.trials.contains_key(to) {
            let fresh = || Trial { relay: relay.clone(), since: now, unanswered: None };
            let trial = self.trials.entry(to.clone()).or_insert_with(fresh);
            if trial.relay != relay {
                *trial = fresh();
            }
            if asks {
                trial.unanswered.get_or_insert((now, 0)).1 += 1;
            }
        }
        Some(Hop::Over(relay))
    }

    /// Notes that something arrived from a member, whichever way: the relay that is used for it works.
    pub(super) fn heard(&mut self, from: &Identity) {
        if let Some(trial) = self.trials.get_mut(from) {
            trial.unanswered = None;
        }
    }

    fn relay_for(&self, to: &Identity, now: Duration) -> Option<Identity> {
        let nearest = self.relays(to);
        let in_use = self.trials.get(to).and_then(|trial| {
            let position = nearest.iter().position(|relay| *relay == trial.relay)?;
            Some((trial, position))
        });
        let next = match in_use {
            Some((trial, position)) if trial.is_silent(now) => (position + 1) % nearest.len(),
            Some((trial, position)) if now.saturating_sub(trial.since) < NEAREST_AGAIN => position,
            _ => 0,
        };
        nearest.into_iter().nth(next)
    }

    fn relays(&self, to: &Identity) -> Vec<Identity> {
        let relays = self.connected.iter().filter(|(peer, _)| *peer != to && self.adjacency.is_relay(peer));
        let mut nearest: Vec<(Duration, &Identity)> = relays.map(|(peer, rtt)| (*rtt, peer)).collect();
        nearest.sort_unstable();
        nearest.into_iter().map(|(_, relay)| relay.clone()).collect()
    }
}

/// How long a member may be silent over a relay before the next one is tried. Longer than a probe may take, so that
/// distance is not taken for silence, and short of the time of suspicion, so that the next relay has its chance before the
/// member is declared down.
const SILENCE: Duration = Duration::from_millis(600);
/// How many questions must have gone unanswered, so that one lost datagram does not change the way.
const QUESTIONS_MIN: u32 = 3;
/// After how long the nearest relay is tried again.
const NEAREST_AGAIN: Duration = Duration::from_secs(30);
/// The kind and the longest name.
pub(super) const ENVELOPE_BYTES_MAX: usize = 1 + wire::NAME_BYTES_MAX;
const DIRECT: u8 = 0;
const TO_RELAY: u8 = 1;
const FROM_RELAY: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::tests::node;

    fn layered() -> Adjacency {
        Adjacency::of_policy(|from, to| {
            matches!((from, to), (Layer::FrontEnd, Layer::Host) | (Layer::Host, Layer::Cabinet) | (Layer::Cabinet, Layer::Cabinet))
        })
    }

    fn milliseconds(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    fn routes() -> Routes {
        let mut routes = Routes::new(layered());
        let connected = [("near", 1), ("middle", 20), ("far", 100)];
        routes.set_connected(connected.map(|(name, rtt)| (node("lund", 1, name), milliseconds(rtt))).into());
        routes
    }

    #[test]
    fn servers_and_relays_follow_from_the_policy() {
        let layered = layered();
        assert!(layered.is_server(&node("lund", 1, "a")) && layered.is_relay(&node("lund", 1, "a")));
        assert!(layered.is_server(&node("lund", 2, "a")) && !layered.is_relay(&node("lund", 2, "a")));
        assert!(!layered.is_server(&node("lund", 4, "a")) && !layered.is_relay(&node("lund", 4, "a")));
        assert!(!layered.is_server(&Identity::admin("caps.example", "a").unwrap()));
    }

    #[test]
    fn a_connection_is_used_before_any_relay() {
        let mut routes = routes();
        assert_eq!(routes.hop(&node("lund", 1, "far"), true, Duration::ZERO), Some(Hop::Direct));
        assert_eq!(routes.farthest(), milliseconds(100));
    }

    #[test]
    fn the_nearest_relay_comes_first_and_silence_rotates() {
        let mut routes = routes();
        let host = node("kiruna", 2, "host");
        let over = |name: &str| Some(Hop::Over(node("lund", 1, name)));
        // Three questions, and 600 ms since the first: then it is another's turn.
        assert_eq!(routes.hop(&host, true, milliseconds(0)), over("near"));
        assert_eq!(routes.hop(&host, true, milliseconds(500)), over("near"));
        assert_eq!(routes.hop(&host, true, milliseconds(700)), over("near"));
        assert_eq!(routes.hop(&host, true, milliseconds(701)), over("middle"));
        routes.heard(&host);
        // News are no questions, and what was heard ends the silence.
        assert_eq!(routes.hop(&host, false, milliseconds(5_000)), over("middle"));
        assert_eq!(routes.hop(&host, false, milliseconds(6_000)), over("middle"));
        for at in [6_000, 6_300, 6_600] {
            assert_eq!(routes.hop(&host, true, milliseconds(at)), over("middle"));
        }
        assert_eq!(routes.hop(&host, true, milliseconds(6_700)), over("far"));
        // 30 s after it was chosen the nearest gets another chance.
        assert_eq!(routes.hop(&host, false, milliseconds(36_699)), over("far"));
        assert_eq!(routes.hop(&host, false, milliseconds(36_700)), over("near"));
    }

    #[test]
    fn a_relay_that_disconnects_is_replaced_at_once() {
        let mut routes = routes();
        let host = node("kiruna", 2, "host");
        routes.hop(&host, true, Duration::ZERO);
        routes.set_connected([(node("lund", 1, "far"), milliseconds(100))].into());
        assert_eq!(routes.hop(&host, true, milliseconds(1)), Some(Hop::Over(node("lund", 1, "far"))));
        routes.set_connected(BTreeMap::new());
        assert_eq!(routes.hop(&host, true, milliseconds(2)), None);
    }
}
