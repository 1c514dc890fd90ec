//! Commits: resolved outcomes of business logic, as the replication log carries them.

use std::collections::BTreeSet;

use bincode::{Decode, Encode};

use crate::{BlobId, CommitId, Name, ObjectId, Position, Query, Record, Value};

/// One atomic change, decided in layer 2: what was read, what is to change, who asked for it.
///
/// Applying it is deterministic: if every read still holds, every change is made at the next position; else nothing is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Commit {
    /// Its name, chosen by the front end; it is applied at most once, for ever.
    pub id: CommitId,
    /// Who asked for it, through what.
    pub author: Author,
    /// When the host decided it: microseconds since 1970. Order never depends on it.
    pub time: i64,
    /// What the logic read; at most [`READS_MAX`].
    pub reads: Vec<Read>,
    /// What changes; at most [`CHANGES_MAX`], each object at most once.
    pub changes: Vec<Change>,
    /// What is to be done in the world once the commit is durable; at most [`EFFECTS_MAX`].
    pub effects: Vec<Effect>,
    /// What the method answered: kept, so that asking again gives the same answer.
    pub result: Record,
}

/// Who asked for a commit, and the code that decided it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Author {
    /// The user on whose behalf, if a user was authenticated.
    pub user: Option<ObjectId>,
    /// The identity of the front end that asked.
    pub front_end: String,
    /// The identity of the host that ran the logic.
    pub host: String,
    /// The module.
    pub module: Name,
    /// The module's version.
    pub module_version: u32,
    /// The method.
    pub method: Name,
    /// Why, as the user says; at most [`REASON_BYTES_MAX`].
    pub reason: Option<String>,
}

/// One thing that the logic relied on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[expect(clippy::large_enum_variant, reason = "most reads are of objects, and there are not many at a time")]
pub enum Read {
    /// The object was last changed at this position; [`Position::ZERO`]: it did not exist.
    Object {
        /// The object.
        object: ObjectId,
        /// The version read.
        version: Position,
    },
    /// The query was answered at this position, and the objects it returned are listed as reads of their own.
    ///
    /// It holds as long as no object that matches now was changed after `at`: together with the listed objects that makes phantoms impossible.
    Query {
        /// The query; its order and limit do not matter here.
        query: Query,
        /// The position it was answered at.
        at: Position,
    },
}

/// One change to one object.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Change {
    /// A new object.
    Create {
        /// Its id.
        object: ObjectId,
        /// What it is.
        entity: Name,
        /// What its entity inherits from, nearest first.
        ancestors: Vec<Name>,
        /// Its values.
        attributes: Record,
    },
    /// New values for some attributes; an empty list clears one.
    Update {
        /// The object.
        object: ObjectId,
        /// The attributes that change.
        attributes: Record,
    },
    /// The object is deprecated: it stays, and queries of the present no longer find it.
    Delete {
        /// The object.
        object: ObjectId,
    },
}

/// Something to be done in the world after the commit is durable, at least once.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Effect {
    /// What kind of effect: `mail`, `http`, `sql`.
    pub kind: Name,
    /// The object it belongs to.
    pub object: ObjectId,
    /// The key by which a repeated execution is recognised.
    pub key: String,
    /// What to do, as the adapter of that kind understands it.
    pub arguments: Record,
}

impl Change {
    /// The object that changes.
    pub fn object(&self) -> ObjectId {
        match self {
            Self::Create { object, .. } | Self::Update { object, .. } | Self::Delete { object } => *object,
        }
    }
}

impl Commit {
    /// The blobs that it names: in what changes, in its effects, in its result.
    pub fn blobs(&self) -> BTreeSet<BlobId> {
        let changed = self.changes.iter().filter_map(|change| match change {
            Change::Create { attributes, .. } | Change::Update { attributes, .. } => Some(attributes),
            Change::Delete { .. } => None,
        });
        let records = changed.chain(self.effects.iter().map(|effect| &effect.arguments)).chain([&self.result]);
        records.flat_map(|record| record.values().flatten()).filter_map(Value::blob_within).collect()
    }
}

/// Bytes of a reason.
pub const REASON_BYTES_MAX: usize = 1_000;

/// Reads in one commit: logic that reads more belongs in a query of its own.
pub const READS_MAX: usize = 10_000;

/// Objects changed by one commit.
pub const CHANGES_MAX: usize = 1_000;

/// Effects of one commit.
pub const EFFECTS_MAX: usize = 100;

/// Targets of one obliteration.
pub const OBLITERATIONS_MAX: usize = 100;
