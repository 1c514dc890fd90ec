//! What the journal materialises into: objects, every version of them, and what is needed to find them.
//!
//! State is never truth. It is written lazily, one atomic transaction a commit with the mark of how far it has come, and whatever it lost is
//! replayed from the journal; a state that cannot be read is set aside and rebuilt. All implementations pass one suite
//! (`state/conformance.rs`) and answer equally, because whether an object matches is decided by [`caps_model::query`] alone: an index only
//! proposes candidates.

#[cfg(test)]
pub(crate) mod conformance;
mod engine;
mod entries;
mod index;
mod key;
mod memory;
mod path;
mod plan;
mod rest;
mod search;
mod sled;
mod sql;

use std::error::Error;
use std::fmt::Debug;

use bincode::{Decode, Encode};
use caps_model::{Author, CommitId, DecodeError, Effect, Name, Object, ObjectId, Position, Record, Wire};

pub use self::sled::{SledState, StateOpened};
pub use self::sql::{SqlOpened, SqlPlace, SqlState};
pub use engine::{Engine, Sought};
pub(crate) use index::ordered;
pub use index::{Index, Place, Span};
pub use memory::MemoryState;
pub use path::Path;
pub(crate) use plan::{plan, proposed};
pub(crate) use search::{Among, search, search_all, search_at};

/// Something that keeps what the journal materialises into.
pub trait State: Send + Debug {
    /// What it is kept in: `memory`, `sled`.
    fn name(&self) -> &'static str;

    /// How far it has come.
    fn mark(&self) -> Mark;

    /// How much it holds.
    fn counts(&self) -> Counts;

    /// The object as it is now, also when it is deleted.
    fn object(&self, id: ObjectId) -> Result<Option<Object>, StateError> {
        self.object_at(id, Position(u64::MAX))
    }

    /// The object as it was after the commit at `position`: its last version at or before it.
    fn object_at(&self, id: ObjectId, position: Position) -> Result<Option<Object>, StateError>;

    /// The object after each commit that changed it, newest first: at most `limit`, only from before `before`.
    fn versions(&self, id: ObjectId, before: Option<Position>, limit: usize) -> Result<Vec<Object>, StateError>;

    /// The objects that an entity ever had, deleted ones and those of entities that inherit from it included, in order: at most `limit`, only
    /// after `after`. Backwards: in the opposite order, only before it.
    fn objects_of(&self, entity: &Name, after: Option<ObjectId>, backwards: bool, limit: usize) -> Result<Vec<ObjectId>, StateError>;

    /// Places of an entity's live objects in an index, in order or backwards: at most `limit`, only within `span`.
    fn scan(&self, entity: &Name, index: &Index, span: &Span, backwards: bool, limit: usize) -> Result<Vec<Place>, StateError>;

    /// How many places [`scan`](Self::scan) would give: it costs less, where it is many.
    fn count(&self, entity: &Name, index: &Index, span: &Span, limit: usize) -> Result<usize, StateError> {
        self.scan(entity, index, span, false, limit).map(|places| places.len())
    }

    /// The commit at a position.
    fn commit_at(&self, position: Position) -> Result<Option<CommitRecord>, StateError>;

    /// What became of a commit.
    fn fate(&self, commit: CommitId) -> Result<Option<Fate>, StateError>;

    /// Takes one step, all of it or nothing.
    fn write(&mut self, transaction: &Transaction<'_>) -> Result<(), StateError>;

    /// What answers many questions at once, where each takes a round trip. No state has one without saying so: whoever wraps a state must not hide it.
    fn engine(&self) -> Option<&dyn Engine>;

    /// Begins to rewrite what the state is kept in, so that values that were replaced until now can not be recovered from it. This itself takes no
    /// longer than a write may. A state that is opened after a crash meanwhile finishes it. `None`: there is nothing to rewrite.
    fn purge(&mut self) -> Result<Option<Box<dyn Purge>>, StateError>;
}

/// The rewriting of a state, which is read and written meanwhile.
pub trait Purge: Send + Debug {
    /// Copies the state, as it was when the purge began or later, into another one. That takes as long as copying everything does; it is to be
    /// run where nobody waits for it. What the copy lacks of what was written since, as its mark says, is to be written to it, too.
    fn copy(&self) -> Result<Box<dyn State>, StateError>;

    /// Lets the copy be the state from now on. The one that it takes the place of is closed, and what it was kept in overwritten.
    fn end(self: Box<Self>, replaced: Box<dyn State>) -> Result<(), StateError>;
}

/// How far a state has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Mark {
    /// The last Raft index applied.
    pub index: u64,
    /// The last commit applied.
    pub position: Position,
    /// The hash chain over all proposals up to the one that made it: replicas at equal positions have equal heads.
    pub chain_head: [u8; 32],
    /// The hash chain over all proposals up to `index`, those that made nothing included.
    pub log_head: [u8; 32],
    /// The latest time of any commit up to it, see [`CommitRecord::moment`]: microseconds since 1970.
    pub moment: i64,
}

/// How much a state holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Counts {
    /// Objects, deleted ones included.
    pub objects: u64,
    /// Deleted objects.
    pub deleted: u64,
}

/// What is kept of an accepted commit. The commit itself is the journal's entry at `index`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CommitRecord {
    /// Its name.
    pub id: CommitId,
    /// Its Raft index.
    pub index: u64,
    /// The hash chain over all proposals up to it.
    pub chain_head: [u8; 32],
    /// When the host decided it: microseconds since 1970.
    pub time: i64,
    /// The latest time of any commit up to this one, by the host's or the leader's clock, whichever was behind: it never goes back, so that a
    /// time has a position.
    pub moment: i64,
    /// Who asked for it.
    pub author: Author,
    /// The objects it changed.
    pub objects: Vec<ObjectId>,
    /// What it asks to be done in the world.
    pub effects: Vec<Effect>,
    /// What its method answered.
    pub result: Record,
    /// Whether reason, result and the arguments of effects were obliterated, as far as it had any.
    pub obliterated: bool,
}

/// What became of a commit, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Fate {
    /// It happened at this position.
    Accepted(Position),
    /// It never will.
    Sealed,
}

/// One object's change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Before the commit; `None`: it did not exist.
    pub before: Option<Object>,
    /// After it.
    pub after: Object,
}

/// One step of a state.
#[derive(Clone, Copy, Debug)]
pub struct Transaction<'a> {
    /// How far the state has come with it.
    pub mark: Mark,
    /// What happened.
    pub step: Step<'a>,
}

/// What happened in one step.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// A commit was accepted, at the mark's position.
    Commit {
        /// What is kept of it.
        record: &'a CommitRecord,
        /// What changed, each object once.
        changes: &'a [Changed],
    },
    /// A commit was sealed.
    Seal(CommitId),
    /// Values were obliterated, by a commit at the mark's position.
    ///
    /// Objects and commits that are replaced keep their places; nothing that finds them changes, except what `changes` says.
    Obliterate {
        /// What is kept of that commit.
        record: &'a CommitRecord,
        /// The objects concerned as they are from now on, each once. As a change of an ordinary commit, except that the object may be deleted,
        /// before and after.
        changes: &'a [Changed],
        /// Earlier versions without the values, each to replace the one of its object and position.
        versions: &'a [Object],
        /// Earlier commits without their words, each to replace the one at its position.
        commits: &'a [(Position, CommitRecord)],
    },
}

/// Why a state does not answer. It is not truth: stop the replica, set the state aside and rebuild it from the journal.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// What keeps it failed. Whether a write happened is unknown; it did as a whole or not at all.
    #[error("the state's storage failed")]
    Engine(#[source] Box<dyn Error + Send + Sync>),
    /// Another process has it open: stop that, or give this node a directory of its own.
    #[error("the state in {path} is in use by another process")]
    InUse {
        /// Where it is.
        path: String,
    },
    /// What was read back is not what can have been written.
    #[error("the state holds a malformed {what}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// What was read back is not what was written.
    #[error("the state's {what} is damaged")]
    Damaged {
        /// What was being read.
        what: String,
    },
    /// Something that must be there is not.
    #[error("the state lacks {what}")]
    Lacks {
        /// What.
        what: String,
    },
}

impl<S: State + ?Sized> State for Box<S> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn mark(&self) -> Mark {
        (**self).mark()
    }

    fn counts(&self) -> Counts {
        (**self).counts()
    }

    fn object_at(&self, id: ObjectId, position: Position) -> Result<Option<Object>, StateError> {
        (**self).object_at(id, position)
    }

    fn versions(&self, id: ObjectId, before: Option<Position>, limit: usize) -> Result<Vec<Object>, StateError> {
        (**self).versions(id, before, limit)
    }

    fn objects_of(&self, entity: &Name, after: Option<ObjectId>, backwards: bool, limit: usize) -> Result<Vec<ObjectId>, StateError> {
        (**self).objects_of(entity, after, backwards, limit)
    }

    fn scan(&self, entity: &Name, index: &Index, span: &Span, backwards: bool, limit: usize) -> Result<Vec<Place>, StateError> {
        (**self).scan(entity, index, span, backwards, limit)
    }

    fn count(&self, entity: &Name, index: &Index, span: &Span, limit: usize) -> Result<usize, StateError> {
        (**self).count(entity, index, span, limit)
    }

    fn commit_at(&self, position: Position) -> Result<Option<CommitRecord>, StateError> {
        (**self).commit_at(position)
    }

    fn fate(&self, commit: CommitId) -> Result<Option<Fate>, StateError> {
        (**self).fate(commit)
    }

    fn write(&mut self, transaction: &Transaction<'_>) -> Result<(), StateError> {
        (**self).write(transaction)
    }

    fn engine(&self) -> Option<&dyn Engine> {
        (**self).engine()
    }

    fn purge(&mut self) -> Result<Option<Box<dyn Purge>>, StateError> {
        (**self).purge()
    }
}

impl Counts {
    /// The counts after these changes.
    fn after(mut self, changes: &[Changed]) -> Self {
        for change in changes {
            self.objects += u64::from(change.before.is_none());
            self.deleted += u64::from(change.after.deleted);
        }
        self
    }
}

impl Changed {
    /// The object before, if queries of the present could find it.
    fn live_before(&self) -> Option<&Object> {
        self.before.as_ref().filter(|object| !object.deleted)
    }

    /// The object after, if queries of the present can find it.
    fn live_after(&self) -> Option<&Object> {
        Some(&self.after).filter(|object| !object.deleted)
    }
}

impl Wire for CommitRecord {}
