//! What layer 1 answers: the service `cabinet`, called by hosts, by administrators and by its own replicas.
//!
//! | method | takes | answers |
//! |---|---|---|
//! | `query` | [`Query`](crate::Query) | [`Objects`](super::Objects) |
//! | `get` | [`Get`](super::Get) | [`Got`](super::Got) |
//! | `history` | [`History`](super::History) | [`Timeline`](super::Timeline) |
//! | `latest` | nothing | [`Latest`](super::Latest) |
//! | `inspect` | [`Inspect`](super::inspect::Inspect) | [`Inspected`](super::inspect::Inspected) |
//! | `commit` | [`Commit`] | [`Committed`] |
//! | `outcome` | [`AskOutcome`](super::AskOutcome) | [`Outcome`](super::Outcome) |
//! | `subscribe` | [`Subscribe`](super::Subscribe) | a stream of [`Update`](super::Update) |
//! | `status` | nothing | [`ReplicaStatus`] |
//! | `members` | nothing | [`Members`] |
//! | `order` | [`Order`] | [`Members`] |
//! | `join` | [`Join`] | [`Admission`] |
//! | `back up` | [`BackUp`](super::backup::BackUp) | a stream of [`Backed`](super::backup::Backed) |

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
    /// The index of the last entry, among those applied, that asks for values to be obliterated; 0: none.
    pub obliterated_index: u64,
    /// The index up to which that was carried out in this replica's files, too.
    pub redacted_index: u64,
    /// Files on this node that were set aside, because they were damaged: they may hold values that are obliterated by now.
    pub quarantined: u32,
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
    /// Follows a leader and never votes: serves reads and subscriptions like any replica.
    Learner,
    /// Belongs to no group: it has not been added yet, was removed, or waits to be let in again after its journal was lost.
    Outside,
}

/// Who keeps the cabinet, as one replica knows it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Members {
    /// The cabinet.
    pub cabinet: String,
    /// The identity of the replica that answers.
    pub node: String,
    /// Its number; 0: it belongs to no group.
    pub number: u64,
    /// The number that was drawn when its journal was begun.
    pub incarnation: u64,
    /// The Raft term.
    pub term: u64,
    /// The identity of the leader, if known.
    pub leader: Option<String>,
    /// The last commit applied here.
    pub position: Position,
    /// The last index of the log here.
    pub last_index: u64,
    /// Whether a change of membership is under way.
    pub changing: bool,
    /// The members, in the order of their numbers.
    pub members: Vec<MemberStatus>,
    /// The round-trip times to the peers that this replica is connected with.
    pub round_trips: Vec<RoundTrip>,
}

/// One member of a cabinet's group.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct MemberStatus {
    /// Its identity.
    pub node: String,
    /// Its number in the group.
    pub number: u64,
    /// Whether it votes, or did until the change under way began.
    pub votes: bool,
    /// How far its journal is known to agree with the leader's: only the leader knows.
    pub matched: Option<u64>,
    /// Whether it was heard lately: only the leader knows.
    pub active: Option<bool>,
}

/// How long a question to a peer and its answer take.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RoundTrip {
    /// The peer's identity.
    pub node: String,
    /// Microseconds.
    pub micros: u64,
}

/// Asks for another membership, or another leader. Asking again for what is so already changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Order {
    /// What is to become of it.
    pub kind: OrderKind,
    /// The identity of the node that it is about.
    pub node: String,
}

/// What is to become of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum OrderKind {
    /// It is to follow and serve, without a vote.
    AddLearner,
    /// A learner is to vote.
    Promote,
    /// A voter is to be a learner.
    Demote,
    /// It is to leave the group.
    Remove,
    /// It is to lead.
    Transfer,
}

/// A replica without a number asks for the one that it was given; one with a number, that hears no leader, asks whether it still has it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Join {
    /// Its number; 0: none.
    pub number: u64,
    /// The number that was drawn when its journal was begun.
    pub incarnation: u64,
    /// The last entry that it knows to be committed; 0: none.
    pub committed: u64,
    /// The term of that entry. The leader must have the same there: a replica with another history is not let in.
    pub committed_term: u64,
}

/// What a replica must know to take part.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Admission {
    /// Its number.
    pub number: u64,
    /// With whom the group began; what changed since is in the log.
    pub founders: Vec<Founder>,
}

/// One of those with whom a group began.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Founder {
    /// Its number.
    pub number: u64,
    /// Its identity.
    pub node: String,
    /// Whether it voted.
    pub votes: bool,
}

impl Wire for Commit {}
impl Wire for Committed {}
/// 2: how far obliterations are.
impl Wire for ReplicaStatus {
    const SCHEMA: u8 = 2;
}
impl Wire for Members {}
impl Wire for Order {}
/// 2: who joins says where its history ends.
impl Wire for Join {
    const SCHEMA: u8 = 2;
}
impl Wire for Admission {}

/// The number of `query`.
pub const QUERY: u16 = 1;
/// The number of `get`.
pub const GET: u16 = 2;
/// The number of `history`.
pub const HISTORY: u16 = 3;
/// The number of `inspect`.
pub const INSPECT: u16 = 8;
/// The number of `latest`.
pub const LATEST: u16 = 9;
/// The number of `commit`.
pub const COMMIT: u16 = 4;
/// The number of `outcome`.
pub const OUTCOME: u16 = 5;
/// The number of `subscribe`.
pub const SUBSCRIBE: u16 = 6;
/// The number of `status`.
pub const STATUS: u16 = 7;
/// The number of `members`.
pub const MEMBERS: u16 = 20;
/// The number of `order`.
pub const ORDER: u16 = 21;
/// The number of `join`.
pub const JOIN: u16 = 22;
