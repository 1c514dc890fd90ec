//! What layer 1 answers: the service `cabinet`, called by hosts, by administrators and by its own replicas.
//!
//! | method | takes | answers |
//! |---|---|---|
//! | `query` | [`Query`](crate::Query) | [`Objects`](super::Objects) |
//! | `get` | [`Get`](super::Get) | [`Got`](super::Got) |
//! | `history` | [`History`](super::History) | [`Timeline`](super::Timeline) |
//! | `commit` | [`Commit`] | [`Committed`] |
//! | `outcome` | [`AskOutcome`](super::AskOutcome) | [`Outcome`](super::Outcome) |
//! | `subscribe` | [`Subscribe`](super::Subscribe) | a stream of [`Update`](super::Update) |
//! | `status` | nothing | [`ReplicaStatus`] |

use bincode::{Decode, Encode};

use crate::{Commit, ObjectId, Position, Record, Wire};

/// What became of a commit that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Committed {
    /// It is durable on a majority of replicas.
    Accepted {
        /// Where.
        position: Position,
        /// Its result: the first one's, when it had been accepted before.
        result: Record,
        /// Whether it had been accepted before.
        repeated: bool,
    },
    /// Something it relied on has changed. Nothing happened; decide anew.
    Conflict {
        /// How far the replica that found out has come: reads "at least" here see what changed.
        position: Position,
        /// Objects that changed, a few of them.
        objects: Vec<ObjectId>,
    },
    /// Somebody asked for its outcome and had it sealed.
    Sealed,
}

/// How one replica is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ReplicaStatus {
    /// The cabinet.
    pub cabinet: String,
    /// The replica's node.
    pub node: String,
    /// Its part.
    pub role: ReplicaRole,
    /// The Raft term.
    pub term: u64,
    /// The leader's node, if known.
    pub leader: Option<String>,
    /// The last commit applied.
    pub position: Position,
    /// The hash chain over all commits up to `position`: replicas at equal positions have equal heads.
    pub chain_head: [u8; 32],
    /// The last Raft index known to be committed.
    pub committed_index: u64,
    /// The last Raft index in this replica's journal, durable.
    pub durable_index: u64,
    /// Objects, deleted ones included.
    pub objects: u64,
    /// Bytes of the journal on disk.
    pub journal_bytes: u64,
    /// Live subscriptions.
    pub subscriptions: u32,
    /// What the state is kept in: `memory`, `sled`.
    pub state: String,
}

/// A replica's part in its Raft group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ReplicaRole {
    /// Orders the commits.
    Leader,
    /// Follows a leader.
    Follower,
    /// Asks to become leader.
    Candidate,
}

impl Wire for Commit {}
impl Wire for Committed {}
impl Wire for ReplicaStatus {}

/// The service's number on the overlay.
pub const SERVICE: u16 = 1;
/// The number of `query`.
pub const QUERY: u16 = 1;
/// The number of `get`.
pub const GET: u16 = 2;
/// The number of `history`.
pub const HISTORY: u16 = 3;
/// The number of `commit`.
pub const COMMIT: u16 = 4;
/// The number of `outcome`.
pub const OUTCOME: u16 = 5;
/// The number of `subscribe`.
pub const SUBSCRIBE: u16 = 6;
/// The number of `status`.
pub const STATUS: u16 = 7;
