//! Paths between sites, as the hosts at their ends measure them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use caps_model::messages::host::{HostStatus, Peer};
use caps_overlay::Identity;

/// What the hosts say of every two sites between which there is a connection, and of each site within itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Paths(BTreeMap<Ends, Path>);

/// Two sites, the one that comes first in the alphabet first.
pub type Ends = (String, String);

/// What was measured between two sites.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    /// The round trip: the median of the measurements.
    pub round_trip: Duration,
    /// The share of packets lost lately where it is worst, 0 to 1.
    pub loss: f64,
    /// Hosts times peers that were measured; two hosts measure their connection twice, once from each end.
    pub measured: usize,
}

impl Paths {
    /// What these hosts say.
    pub fn of<'a>(hosts: impl Iterator<Item = (&'a Identity, &'a HostStatus)>) -> Self {
        let mut measured: BTreeMap<Ends, Vec<&Peer>> = BTreeMap::new();
        for (host, status) in hosts {
            for peer in &status.peers {
                let Ok(identity) = Identity::parse(&peer.identity) else { continue };
                let (Some(here), Some(there)) = (host.site(), identity.site()) else { continue };
                measured.entry(ordered(here, there)).or_default().push(peer);
            }
        }
        Self(measured.into_iter().map(|(ends, peers)| (ends, Path::of(peers))).collect())
    }

    /// All of them, in the order of their sites.
    pub fn iter(&self) -> impl Iterator<Item = (&Ends, &Path)> {
        self.0.iter()
    }

    /// The sites at their ends.
    pub fn sites(&self) -> BTreeSet<&str> {
        self.0.keys().flat_map(|(one, other)| [one.as_str(), other.as_str()]).collect()
    }
}

impl Path {
    /// `peers` is not empty.
    fn of(peers: Vec<&Peer>) -> Self {
        let mut round_trips: Vec<u64> = peers.iter().map(|peer| peer.rtt_us).collect();
        round_trips.sort_unstable();
        let worst = peers.iter().map(|peer| peer.loss_ppm).max().unwrap_or_default();
        Self { round_trip: Duration::from_micros(round_trips[round_trips.len() / 2]), loss: f64::from(worst) / 1e6, measured: peers.len() }
    }
}

fn ordered(one: &str, other: &str) -> Ends {
    let (first, second) = if one <= other { (one, other) } else { (other, one) };
    (first.to_owned(), second.to_owned())
}

#[cfg(test)]
mod tests {
    use caps_model::messages::latencies::Latencies;
    use caps_overlay::Layer;

    use super::*;

    fn identity(layer: Layer, site: &str, name: &str) -> Identity {
        Identity::node("a.example", site, layer, name).unwrap()
    }

    fn host(site: &str, peers: &[(&Identity, u64, u32)]) -> (Identity, HostStatus) {
        let peer = |(identity, rtt_us, loss_ppm): &(&Identity, u64, u32)| Peer {
            identity: identity.to_string(),
            rtt_us: *rtt_us,
            loss_ppm: *loss_ppm,
            certificate_expires: 0,
        };
        let peers = peers.iter().map(peer).collect();
        let of = identity(Layer::Host, site, "host");
        let latencies = Latencies::default();
        (of.clone(), HostStatus { node: of.to_string(), replicas: Vec::new(), calls: 0, conflicts: 0, subscriptions: 0, latencies, peers })
    }

    #[test]
    fn a_path_is_what_both_its_ends_measure() {
        let (store, far) = (identity(Layer::Cabinet, "lund", "store"), identity(Layer::Cabinet, "kiruna", "store"));
        let other = identity(Layer::Host, "kiruna", "host");
        let lund = host("lund", &[(&store, 300, 0), (&far, 20_000, 0), (&other, 30_000, 1_000)]);
        let kiruna = host("kiruna", &[(&lund.0, 31_000, 5_000), (&store, 40_000, 20_000)]);
        let hosts = [&lund, &kiruna];
        let paths = Paths::of(hosts.into_iter().map(|(identity, status)| (identity, status)));
        let told: Vec<(&str, &str, u128, f64, usize)> = paths
            .iter()
            .map(|((one, other), path)| (one.as_str(), other.as_str(), path.round_trip.as_micros(), path.loss, path.measured))
            .collect();
        // The upper one of the two in the middle.
        assert_eq!(told, [("kiruna", "lund", 31_000, 0.02, 4), ("lund", "lund", 300, 0.0, 1)]);
        assert_eq!(paths.sites().into_iter().collect::<Vec<_>>(), ["kiruna", "lund"]);
        assert_eq!(Paths::of(std::iter::empty()), Paths::default());
    }
}
