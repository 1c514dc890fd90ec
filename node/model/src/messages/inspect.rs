//! Questions that look further than at the present answer to a query: into the past, at how many there are, at how an answer is found.

use bincode::{Decode, Encode};

use super::Objects;
use crate::{Author, CommitId, Effect, Filter, Name, Object, ObjectId, Position, Query, Wire};

/// A moment in the history of a cabinet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum At {
    /// Now.
    Present,
    /// After the commit at this position.
    Position(Position),
    /// After the last commit up to this time, in microseconds since 1970, as the hosts' clocks had it. Where they disagreed, positions do not.
    Time(i64),
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Inspect {
    /// The objects that satisfied a query then, as they were then.
    Find {
        /// The query.
        query: Query,
        /// When.
        at: At,
        /// What an object must satisfy as it is now, or was when it was deleted. Layer 2 puts the reader's rights here.
        today: Filter,
    },
    /// How many objects satisfy a query.
    Count {
        /// The query; its order, cursor and limit do not matter.
        query: Query,
    },
    /// How a query is answered.
    Explain {
        /// The query.
        query: Query,
    },
    /// What differs between two moments, among the objects that satisfied a query at one of them; in the order of ids, after the cursor.
    Compare {
        /// The query; its order does not matter.
        query: Query,
        /// The one.
        from: At,
        /// The other.
        to: At,
        /// What an object must satisfy as it is now, or was when it was deleted.
        today: Filter,
    },
    /// Who made a commit, through what, when and why.
    Why {
        /// The commit's position.
        position: Position,
    },
    /// What exactly is to be done: the effect that an object of the entity `effect` stands for. Only who holds the claim on it may know.
    Effect {
        /// The object.
        object: ObjectId,
    },
}

/// The answer to [`Inspect`], of the same name.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Inspected {
    /// To [`Inspect::Find`]; the position is that of the moment asked about.
    Found(Objects),
    /// To [`Inspect::Count`].
    Counted(Counted),
    /// To [`Inspect::Explain`].
    Explained(Explained),
    /// To [`Inspect::Compare`].
    Compared(Differences),
    /// To [`Inspect::Why`]; `None`: there is no such commit, or none that the reader may know of.
    Because(Option<Circumstances>),
    /// To [`Inspect::Effect`]; `None`: there is none, or the reader does not hold the claim on it. Its arguments are gone if they were obliterated.
    Effect(Option<Effect>),
}

/// How many objects satisfy a query.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Counted {
    /// Every commit up to this one is reflected.
    pub position: Position,
    /// How many.
    pub count: u64,
    /// Whether that is all of them: counting ends somewhere.
    pub exact: bool,
}

/// How a query is answered.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Explained {
    /// Every commit up to this one is reflected.
    pub position: Position,
    /// Which objects are looked at, and what finds them.
    pub plan: String,
    /// How many objects were looked at.
    pub looked_at: u64,
    /// How many of those satisfied the query.
    pub matched: u64,
    /// Whether they were sorted afterwards.
    pub sorted: bool,
    /// How many were answered.
    pub answered: u64,
}

/// What differs between two moments.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Differences {
    /// The one.
    pub from: Position,
    /// The other.
    pub to: Position,
    /// Objects that differ, in the order of ids.
    pub objects: Vec<Difference>,
    /// Whether the limit, or the size of a frame, cut something off.
    pub more: bool,
}

/// One object at two moments; not the same at both.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Difference {
    /// The object.
    pub object: ObjectId,
    /// As it was; `None` if it did not satisfy the query, or did not exist.
    pub before: Option<Object>,
    /// As it became.
    pub after: Option<Object>,
}

/// What is known of a commit besides what it changed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Circumstances {
    /// Where.
    pub position: Position,
    /// Its name.
    pub commit: CommitId,
    /// When the host decided it: microseconds since 1970.
    pub time: i64,
    /// Who asked for it, through what, and why.
    pub author: Author,
    /// What it changed: each object with its entity, only those that the reader may know of.
    pub objects: Vec<(ObjectId, Name)>,
}

impl Inspect {
    /// The objects that satisfied a query then.
    pub fn find(query: Query, at: At) -> Self {
        Self::Find { query, at, today: Filter::All }
    }

    /// What differs between two moments.
    pub fn compare(query: Query, from: At, to: At) -> Self {
        Self::Compare { query, from, to, today: Filter::All }
    }
}

impl Wire for Inspect {}
impl Wire for Inspected {}
