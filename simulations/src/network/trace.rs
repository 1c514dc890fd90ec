//! The trace: a running hash over everything that is sent and everything that arrives.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use sha2::{Digest, Sha256};

/// The hash of a world's trace until some moment: equal hashes, equal worlds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TraceHash([u8; 32]);

impl fmt::Display for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for TraceHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for TraceHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digit = |place: usize| text.get(2 * place..2 * place + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let mut hash = [0; 32];
        for (place, byte) in hash.iter_mut().enumerate() {
            *byte = digit(place).ok_or_else(|| serde::de::Error::custom("a trace hash has 64 hexadecimal digits"))?;
        }
        Ok(Self(hash))
    }
}

/// SHA-256 over time, source, destination, length and bytes of each datagram, when it is sent and when it arrives, and over the world's own
/// notes.
#[derive(Default)]
pub(super) struct Trace {
    hash: Sha256,
}

impl Trace {
    pub(super) fn datagram(&mut self, now_ns: u64, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.hash.update(now_ns.to_le_bytes());
        self.address(from);
        self.address(to);
        self.sized(bytes);
    }

    pub(super) fn note(&mut self, now_ns: u64, event: &str) {
        self.hash.update(now_ns.to_le_bytes());
        self.sized(event.as_bytes());
    }

    pub(super) fn hash(&self) -> TraceHash {
        TraceHash(self.hash.clone().finalize().into())
    }

    fn address(&mut self, address: SocketAddr) {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        self.hash.update(ip.octets());
        self.hash.update(address.port().to_le_bytes());
    }

    fn sized(&mut self, bytes: &[u8]) {
        self.hash.update((bytes.len() as u64).to_le_bytes());
        self.hash.update(bytes);
    }
}
