//! The messages between layers, by the service that answers them.
//!
//! A read says in the call's header at which position at least it wants to be answered; every answer says at which position it was. So
//! messages carry no position of their own except where it is the subject.

pub mod audit;
pub mod cabinet;
pub mod host;
pub mod inspect;

use bincode::{Decode, Encode};

use crate::{CommitId, Name, Object, ObjectId, Position, Query, Record, Wire};

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

/// Asks to be told what changes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Subscribe {
    /// Which objects. Order and limit do not matter: a subscription covers all that match.
    pub query: Query,
    /// Where to start.
    pub from: From,
}

/// Where a subscription starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum From {
    /// With the objects that match now, then what changes.
    Present,
    /// With what changed after this position: the reader has everything up to it.
    After(Position),
}

/// What a subscription tells. Positions never repeat and never go back; a reader that resumes [`From::After`] the last one misses nothing.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Update {
    /// Some of the objects that match at `position`; only at the start of [`From::Present`], in as many parts as needed, all at one position.
    Present {
        /// Every commit up to this one is reflected.
        position: Position,
        /// Objects.
        objects: Vec<Object>,
        /// Whether this is the last part.
        complete: bool,
    },
    /// What the commit at `position` changed among the objects that match.
    Changes {
        /// The commit's position.
        position: Position,
        /// One change for each object; never empty.
        changes: Vec<ObjectChange>,
    },
    /// Nothing that matters happened up to `position`.
    Progress {
        /// The position.
        position: Position,
    },
}

/// One object's change, as seen through a query.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ObjectChange {
    /// It matches now and did not before.
    Added(Object),
    /// It matched before and does now, with other values.
    Changed(Object),
    /// It no longer matches, was deleted, or may no longer be seen.
    Removed(ObjectId),
}

impl Update {
    /// The position from which a reader that has seen this resumes; `None` in the middle of the first objects.
    pub fn resume(&self) -> Option<Position> {
        match self {
            Self::Present { complete: false, .. } => None,
            Self::Present { position, .. } | Self::Changes { position, .. } | Self::Progress { position } => Some(*position),
        }
    }
}

impl ObjectChange {
    /// The object concerned.
    pub fn id(&self) -> ObjectId {
        match self {
            Self::Added(object) | Self::Changed(object) => object.id,
            Self::Removed(id) => *id,
        }
    }

    /// How a query's reader sees an object that was `before` and is `after`; `None`: it does not concern them.
    pub fn seen(query: &Query, before: Option<&Object>, after: &Object) -> Option<Self> {
        match (before.is_some_and(|b| query.matches(b)), query.matches(after)) {
            (false, false) => None,
            (false, true) => Some(Self::Added(after.clone())),
            (true, true) => Some(Self::Changed(after.clone())),
            (true, false) => Some(Self::Removed(after.id)),
        }
    }
}

impl Wire for Objects {}
impl Wire for Get {}
impl Wire for Got {}
impl Wire for History {}
impl Wire for Timeline {}
impl Wire for AskOutcome {}
impl Wire for Outcome {}
impl Wire for Subscribe {}
impl Wire for Update {}

/// Objects asked for at once by id.
pub const GET_MAX: usize = 1_000;

/// Events answered at once.
pub const HISTORY_MAX: u32 = 1_000;
