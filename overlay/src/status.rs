//! What an overlay node tells about its connections.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use caps_certs_gen::Identity;

use crate::travel::Travel;

/// A live connection.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// Who is on the other side.
    pub identity: Identity,
    /// Where datagrams to it go.
    pub address: SocketAddr,
    /// The address at which it wants to be dialled, if it has said one.
    pub announced: Option<SocketAddr>,
    /// Whether we dialled.
    pub dialled: bool,
    /// The smoothed round-trip time.
    pub rtt: Duration,
    /// The share of packets lost lately, 0 to 1. Measured while calls are made.
    pub loss: f64,
    /// How long the connection has been open.
    pub open_for: Duration,
    /// Calls that we made over it.
    pub calls_made: u64,
    /// Calls that we served over it.
    pub calls_served: u64,
    /// How small calls travel on it.
    pub travel: Travel,
    /// When the peer's certificate ends, in seconds since 1970.
    pub certificate_expires: i64,
}

/// What a ping found.
#[derive(Clone, Debug)]
pub struct Ping {
    /// How long this ping took, the peer's work included.
    pub round_trip: Duration,
    /// The smoothed round-trip time of the connection.
    pub rtt: Duration,
    /// How datagrams get there.
    pub path: Path,
    /// Where they go.
    pub remote_address: SocketAddr,
    /// How the connection is protected.
    pub tls: TlsFacts,
    /// When the peer's certificate ends, in seconds since 1970.
    pub certificate_expires: i64,
}

/// How datagrams get to a peer. Relayed paths come with the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Path {
    /// Straight to its address.
    Direct,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("direct"),
        }
    }
}

/// How a connection is protected. The version is certain: nothing else is spoken. quinn does not tell the rest, so cipher
/// and key exchange are what this node offers first, which is what a peer with the same provider takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// The version of TLS.
    pub version: String,
    /// The cipher suite.
    pub cipher_suite: String,
    /// The key exchange.
    pub key_exchange: String,
}
