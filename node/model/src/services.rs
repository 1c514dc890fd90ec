//! Under which numbers the services of a cabinet are found on the overlay.

use crate::Name;

/// The numbers of the services of one cabinet: those of its replicas, and that of its hosts.
///
/// They are derived from the cabinet's name, so that a process whose deployment file is old, or of another company, finds nobody rather than
/// another cabinet. Two names may come to the same numbers, one pair in 16,383: whoever names cabinets must look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Services {
    first: u16,
}

impl Services {
    /// The services of the cabinet of this name.
    pub fn of(cabinet: &Name) -> Self {
        let group = fnv1a(cabinet.as_str().as_bytes()) % u64::from(GROUPS);
        // The remainder is less than GROUPS, so nothing is cut off.
        Self { first: EACH * (1 + u16::try_from(group).unwrap_or_default()) }
    }

    /// Reads, commits and subscriptions: [`messages::cabinet`](crate::messages::cabinet).
    pub const fn cabinet(self) -> u16 {
        self.first
    }

    /// Consensus among the replicas.
    pub const fn consensus(self) -> u16 {
        self.first + 1
    }

    /// Large values: [`messages::blobs`](crate::messages::blobs).
    pub const fn blobs(self) -> u16 {
        self.first + 2
    }

    /// What front ends ask hosts: [`messages::host`](crate::messages::host).
    pub const fn host(self) -> u16 {
        self.first + 3
    }
}

/// Fowler, Noll and Vo's hash, variant 1a, 64 bits (RFC 9923).
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Services of a cabinet.
const EACH: u16 = 4;

/// All that fit in 16 bits, without the first: number 0 is the overlay's own.
const GROUPS: u16 = u16::MAX / EACH;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_same_in_every_release() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325, "RFC 9923, test vectors");
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c, "RFC 9923, test vectors");
        let numbers = |name: &str| {
            let services = Services::of(&Name::new(name).unwrap());
            [services.cabinet(), services.consensus(), services.blobs(), services.host()]
        };
        assert_eq!(numbers("main"), [0, 1, 2, 3].map(|n| n + numbers("main")[0]));
        for name in ["main", "archive", "a", "personnel"] {
            assert!(numbers(name)[0] >= EACH, "{name}");
        }
        assert_ne!(numbers("main"), numbers("archive"));
    }
}
