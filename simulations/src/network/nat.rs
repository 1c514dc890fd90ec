//! Network address translation (RFC 4787): what peers see of a machine behind it, and what gets back in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::nanos;

/// Who may answer through a binding (RFC 4787, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Filtering {
    /// Anybody.
    Endpoint,
    /// Addresses that were written to.
    Address,
    /// Addresses and ports that were written to.
    AddressAndPort,
}

/// A NAT with endpoint-independent mapping: one outside port for each inside socket.
#[derive(Clone, Debug)]
pub(crate) struct Nat {
    outside: IpAddr,
    filtering: Filtering,
    timeout_ns: u64,
    next_port: u16,
    bindings: BTreeMap<SocketAddr, Binding>,
}

#[derive(Clone, Debug)]
struct Binding {
    port: u16,
    used_ns: u64,
    written_to: BTreeSet<SocketAddr>,
}

impl Nat {
    /// A NAT that shows this address and forgets a binding that nobody sent over for `timeout`.
    pub(crate) fn new(outside: IpAddr, filtering: Filtering, timeout: Duration) -> Self {
        Self { outside, filtering, timeout_ns: nanos(timeout), next_port: FIRST_PORT, bindings: BTreeMap::new() }
    }

    pub(crate) fn outside(&self) -> IpAddr {
        self.outside
    }

    /// Forgets every binding.
    pub(crate) fn forget(&mut self) {
        self.bindings.clear();
    }

    /// The source that the world sees of what an inside socket sends.
    pub(super) fn outgoing(&mut self, now_ns: u64, inside: SocketAddr, to: SocketAddr) -> SocketAddr {
        let timeout = self.timeout_ns;
        if self.bindings.get(&inside).is_none_or(|binding| now_ns - binding.used_ns > timeout) {
            let port = self.next_port;
            // Old ports are not soon given again.
            self.next_port = port.checked_add(1).unwrap_or(FIRST_PORT);
            self.bindings.insert(inside, Binding { port, used_ns: now_ns, written_to: BTreeSet::new() });
        }
        let binding = self.bindings.get_mut(&inside).expect("it was just seen to");
        binding.used_ns = now_ns;
        binding.written_to.insert(to);
        SocketAddr::new(self.outside, binding.port)
    }

    /// The inside socket that a datagram for the outside address goes to, if it is let in.
    pub(super) fn incoming(&self, now_ns: u64, from: SocketAddr, to: SocketAddr) -> Option<SocketAddr> {
        let is_for =
            |binding: &Binding| to.ip() == self.outside && binding.port == to.port() && now_ns - binding.used_ns <= self.timeout_ns;
        let (inside, binding) = self.bindings.iter().find(|(_, binding)| is_for(binding))?;
        let passes = match self.filtering {
            Filtering::Endpoint => true,
            Filtering::Address => binding.written_to.iter().any(|peer| peer.ip() == from.ip()),
            Filtering::AddressAndPort => binding.written_to.contains(&from),
        };
        passes.then_some(*inside)
    }
}

/// The first port that is not reserved for services.
const FIRST_PORT: u16 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], port))
    }

    fn nat(filtering: Filtering) -> Nat {
        Nat::new([100, 64, 0, 1].into(), filtering, Duration::from_secs(30))
    }

    #[test]
    fn bindings_last_while_they_are_used_and_move_when_they_are_forgotten() {
        let mut nat = nat(Filtering::AddressAndPort);
        let first = nat.outgoing(0, address(1, 9), address(2, 1));
        assert_eq!(nat.outgoing(30_000_000_000, address(1, 9), address(3, 1)), first);
        assert_eq!(nat.incoming(60_000_000_000, address(3, 1), first), Some(address(1, 9)));
        assert_eq!(nat.incoming(60_000_000_001, address(3, 1), first), None);
        let second = nat.outgoing(60_000_000_001, address(1, 9), address(2, 1));
        assert_ne!(first, second);
        nat.forget();
        assert_eq!(nat.incoming(60_000_000_002, address(2, 1), second), None);
    }

    #[test]
    fn filtering_lets_in_whom_it_should() {
        // (filtering, same port of a written peer, other port of it, somebody else)
        let table = [
            (Filtering::Endpoint, [true, true, true]),
            (Filtering::Address, [true, true, false]),
            (Filtering::AddressAndPort, [true, false, false]),
        ];
        for (filtering, expected) in table {
            let mut nat = nat(filtering);
            let outside = nat.outgoing(0, address(1, 9), address(2, 1));
            let let_in = [address(2, 1), address(2, 2), address(3, 1)].map(|peer| nat.incoming(1, peer, outside).is_some());
            assert_eq!(let_in, expected, "{filtering:?}");
        }
    }
}
