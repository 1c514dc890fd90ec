//! What is measured.

use std::fmt;

/// One thing that is measured: a workload, and the way by which it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Case {
    pub(crate) workload: Workload,
    pub(crate) way: Way,
}

impl Case {
    /// Every case, in the order in which a round takes them: rivals next to each other.
    pub(crate) fn all() -> Vec<Self> {
        let calls = CONCURRENCIES.into_iter().flat_map(|callers| Way::ALL.map(|way| Self { workload: Workload::Calls { callers }, way }));
        let bulk = [Way::QuinnStream, Way::OverlayStream].map(|way| Self { workload: Workload::Bulk, way });
        let cold = [Way::QuinnStream, Way::OverlayLane, Way::Tonic].map(|way| Self { workload: Workload::Cold, way });
        let leaves = [Way::OverlayLane].map(|way| Self { workload: Workload::Leaves, way });
        calls.chain(bulk).chain(cold).chain(leaves).collect()
    }

    /// The name by which `--only` finds it.
    pub(crate) fn name(self) -> String {
        format!("{}/{}", self.workload, self.way)
    }
}

/// What the client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Workload {
    /// So many callers send 64 bytes and wait for 64 bytes, over and over.
    Calls {
        /// How many.
        callers: usize,
    },
    /// One stream from client to server, as fast as it goes.
    Bulk,
    /// A new endpoint dials and makes one call, over and over.
    Cold,
    /// A thousand leaves are connected and idle.
    Leaves,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Calls { callers } => write!(f, "calls-{callers}"),
            Self::Bulk => f.write_str("bulk"),
            Self::Cold => f.write_str("cold"),
            Self::Leaves => f.write_str("leaves"),
        }
    }
}

/// By which software, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// Raw quinn, a stream for each call.
    QuinnStream,
    /// Raw quinn, numbered frames on one stream.
    QuinnFramed,
    /// The overlay as it chooses by itself on a clean path: a lane.
    OverlayLane,
    /// The overlay with a stream for each call.
    OverlayStream,
    /// tonic, its server on a current-thread runtime like everybody here.
    Tonic,
    /// tonic, its server on two workers.
    TonicTwoWorkers,
}

impl Way {
    pub(crate) const ALL: [Self; 6] =
        [Self::QuinnStream, Self::QuinnFramed, Self::OverlayLane, Self::OverlayStream, Self::Tonic, Self::TonicTwoWorkers];
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::QuinnStream => "quinn-stream",
            Self::QuinnFramed => "quinn-framed",
            Self::OverlayLane => "overlay-lane",
            Self::OverlayStream => "overlay-stream",
            Self::Tonic => "tonic",
            Self::TonicTwoWorkers => "tonic-two-workers",
        })
    }
}

/// The bytes of a small request, and of its reply.
pub(crate) const SMALL_BYTES: usize = 64;

/// What bulk senders hand over at a time.
pub(crate) const BULK_CHUNK_BYTES: usize = 256 << 10;

/// How many leaves are connected for [`Workload::Leaves`].
pub(crate) const LEAVES: usize = 1000;

const CONCURRENCIES: [usize; 3] = [1, 16, 256];
