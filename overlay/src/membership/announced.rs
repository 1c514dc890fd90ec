//! Who gossips: an identity, in one of its lives, at an address.

use std::net::SocketAddr;

use caps_certs_gen::Identity;

/// A member as the gossip protocol names it.
///
/// The node's identity is what stays; the generation tells its lives apart, and the address is where peers dial this one.
/// A node starts with a generation above all earlier ones (its wall clock in microseconds does), and takes the next one when it
/// hears that it was declared down, which the protocol does not let it contradict otherwise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Announced {
    identity: Identity,
    generation: u64,
    address: SocketAddr,
}

impl Announced {
    /// A node in its life `generation`, to be dialled at `address`. A scope or flow label of the address is dropped.
    pub(crate) fn new(identity: Identity, generation: u64, address: SocketAddr) -> Self {
        Self { identity, generation, address: SocketAddr::new(address.ip(), address.port()) }
    }

    /// The node.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Which life of it.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Where peers dial it.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The life after the given generation; `None` at the end of numbers.
    pub(super) fn after(&self, generation: u64) -> Option<Self> {
        Some(Self { generation: generation.checked_add(1)?, ..self.clone() })
    }
}

impl foca::Identity for Announced {
    type Addr = Identity;

    fn renew(&self) -> Option<Self> {
        self.after(self.generation)
    }

    fn addr(&self) -> Identity {
        self.identity.clone()
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        // The address breaks the tie of two nodes that started in the same microsecond, so that everybody agrees.
        (self.generation, self.address) > (adversary.generation, adversary.address)
    }
}
