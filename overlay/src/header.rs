//! What every call carries, however it travels.

use std::fmt;

/// Which method of which service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MethodId {
    /// The number of the service.
    pub service: u16,
    /// The number of the method within it.
    pub method: u16,
}

impl fmt::Display for MethodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.service, self.method)
    }
}

/// How urgent a call is. Control goes before interactive, interactive before bulk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// What keeps the system together: votes, heartbeats, membership.
    Control,
    /// What somebody waits for.
    #[default]
    Interactive,
    /// What may take its time: snapshots, reports, copies.
    Bulk,
}

impl Priority {
    /// Every priority, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Control, Self::Interactive, Self::Bulk];

    /// The priority's place in [`ALL`](Self::ALL).
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// The number on the wire.
    pub(crate) fn to_wire(self) -> u8 {
        self as u8
    }

    /// The priority of this number on the wire, if there is one.
    pub(crate) fn from_wire(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The priority of a QUIC stream: higher goes first.
    pub(crate) fn of_stream(self) -> i32 {
        match self {
            Self::Control => 2,
            Self::Interactive => 1,
            Self::Bulk => 0,
        }
    }
}

/// What a call is part of (W3C Trace Context's identifiers). All zero: nothing is traced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Trace {
    /// The whole story.
    pub id: u128,
    /// The step in it that made this call.
    pub parent: u64,
}

impl Trace {
    /// Whether nothing is traced.
    pub fn is_none(&self) -> bool {
        self.id == 0 && self.parent == 0
    }
}
