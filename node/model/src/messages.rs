//! The messages between layers, by the service that answers them.
//!
//! A read says in the call's header at which position at least it wants to be answered; every answer says at which position it was. So
//! messages carry no position of their own except where it is the subject.

pub mod audit;
pub mod backup;
pub mod blobs;
pub mod cabinet;
pub mod host;
pub mod inspect;
pub mod latencies;
mod subscription;

use bincode::{Decode, Encode};

pub use self::subscription::{ATTRIBUTES_MAX, Elusive, From, ObjectChange, Subscribe, Update, WINDOW_MAX, projected};
use crate::{CommitId, Name, Object, ObjectId, Position, Record, Wire};

/// Objects that satisfy a query, and how far the store had come.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Objects {
    /// Every commit up to this one is reflected.
    pub position: Position,
    /// The objects, in the order asked for.
    pub objects: Vec<Object>,
    /// Whether the limit, or the size of a frame, cut something off.
    pub more: bool,
}

/// Asks for the present values of given objects; at most [`GET_MAX`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Get {
    /// The objects.
    pub objects: Vec<ObjectId>,
}

/// The answer to [`Get`]: one entry for each id asked for, `None` for what does not exist, or what the reader may not know of.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Got {
    /// Every commit up to this one is reflected.
    pub position: Position,
    /// The objects, in the order asked for.
    pub objects: Vec<Option<Object>>,
}

/// Asks for what ever happened to an object, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct History {
    /// The object.
    pub object: ObjectId,
    /// Only changes before this position, to page through a long history.
    pub before: Option<Position>,
    /// At most this many; 1 to [`HISTORY_MAX`].
    pub limit: u32,
}

/// The answer to [`History`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Timeline {
    /// Every commit up to this one is reflected.
    pub position: Position,
    /// The changes, newest first.
    pub events: Vec<Event>,
}

/// One commit's effect on one object.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Event {
    /// The object after the commit; its `version` is the commit's position.
    pub object: Object,
    /// The commit.
    pub commit: CommitId,
    /// When the host decided it: microseconds since 1970.
    pub time: i64,
    /// On whose behalf.
    pub user: Option<ObjectId>,
    /// The front end that asked.
    pub front_end: String,
    /// Module and method that decided.
    pub method: (Name, Name),
    /// Why, as the user said.
    pub reason: Option<String>,
}

/// How far everything is that was acknowledged, anywhere, before this was asked: whoever then reads at least there reads linearizably.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Latest {
    /// Every such commit is at or before this position.
    pub position: Position,
}

/// Asks what became of a commit.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AskOutcome {
    /// The commit.
    pub commit: CommitId,
    /// If it has not happened, make sure that it never will: the answer is then final.
    pub seal: bool,
}

/// What became of a commit.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Outcome {
    /// It happened.
    Accepted {
        /// Where.
        position: Position,
        /// What its method answered.
        result: Record,
    },
    /// It has not happened and never will.
    Sealed,
    /// It had not happened when this was asked; it may be on its way.
    Unknown,
}

impl Wire for Objects {}
impl Wire for Get {}
impl Wire for Got {}
impl Wire for History {}
impl Wire for Timeline {}
impl Wire for Latest {}
impl Wire for AskOutcome {}
impl Wire for Outcome {}

/// Objects asked for at once by id.
pub const GET_MAX: usize = 1_000;

/// Events answered at once.
pub const HISTORY_MAX: u32 = 1_000;
