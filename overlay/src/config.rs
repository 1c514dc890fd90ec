//! What a node is told at its start, and why it may not start.

use std::net::SocketAddr;

use caps_certs_gen::{Identity, Rejection, VerifierError};
use thiserror::Error;

use crate::limits::{Limits, Timing};
use crate::offers::OFFERS_MAX;
use crate::paths::PathRules;
use crate::policy::Policy;

/// What an overlay node is told at its start, beyond its credentials and its environment.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who may dial whom. The layers of CAPS by default.
    pub policy: Policy,
    /// The address that peers dial. `None`, the default, makes a leaf: it claims no name and is never dialled.
    pub announce: Option<SocketAddr>,
    /// Where the first peers are. None by default, which suits only a node that waits to be dialled.
    pub seeds: Vec<Seed>,
    /// What peers may make the node hold.
    pub limits: Limits,
    /// How long things take before somebody gives up.
    pub timing: Timing,
    /// What is decided for each path. Nothing by default: the overlay judges by what it measures.
    pub paths: PathRules,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            policy: Policy::layered(),
            announce: None,
            seeds: Vec::new(),
            limits: Limits::default(),
            timing: Timing::default(),
            paths: PathRules::default(),
        }
    }
}

/// A peer to begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// Who is expected there; anybody else is refused.
    pub identity: Identity,
    /// Where it is dialled.
    pub address: SocketAddr,
}

/// Why a node does not start. Nothing was changed, and nothing runs.
#[derive(Debug, Error)]
pub enum StartError {
    /// The socket cannot be used.
    #[error("the socket cannot be used")]
    Socket(#[source] std::io::Error),
    /// The node's own certificate would be refused by every peer that trusts the same roots.
    #[error("the node's own certificate would be refused by its peers")]
    Certificate(#[source] Rejection),
    /// The node's chain and key cannot be used for TLS.
    #[error("the node's certificate and key cannot be used for TLS")]
    Credentials(#[source] rustls::Error),
    /// A root certificate or a revocation list cannot be used.
    #[error("the trust anchors cannot be used")]
    Anchors(#[source] VerifierError),
    /// Two services have one number.
    #[error("the services {first} and {second} both have the number {id}")]
    DoubleService {
        /// The number.
        id: u16,
        /// The one service.
        first: &'static str,
        /// The other one.
        second: &'static str,
    },
    /// More services than peers can be told of.
    #[error("{count} services are more than the {OFFERS_MAX} that a node may offer")]
    TooManyServices {
        /// How many there are.
        count: usize,
    },
    /// A seed belongs to another trust domain, so no connection to it could ever be made.
    #[error("the seed {0} is of another trust domain")]
    ForeignSeed(Identity),
}
