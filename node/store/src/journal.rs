//! The journal: what this replica promised to remember, in the order it promised it.
//!
//! Append-only segments of chained records hold the Raft log and the Raft hard state; everything else on disk can be rebuilt from them.
//! `JOURNAL.md` beside this crate describes every byte. The life of a record:
//!
//! 1. the driver [`stage`](JournalReader::stage)s it: from then on it can be read back, which is what consensus expects;
//! 2. a worker [`append`](JournalWriter::append)s the batch and [`sync`](JournalWriter::sync)s once for all that has piled up (group commit);
//! 3. only then anybody may be told.
//!
//! At the next [`open`] every record is verified. A torn tail, which only a crash before step 3 leaves, is cut off and reported. Damage
//! before it ends the replica, because it may have promised what is damaged: the journal is [`set_aside`], never deleted, and a new replica
//! begins at its node.
//!
//! A failed write or sync is final: what the disk then holds is unknown, so the writer refuses everything afterwards.

pub mod audit;
pub mod envelope;
mod format;
mod index;
mod inventory;
mod piece;
mod quarantine;
mod reader;
mod recovery;
mod redact;
mod walk;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use caps_model::Name;

pub use inventory::{cabinet_of, exists, quarantined};
pub use quarantine::{is_quarantined, set_aside};
pub use reader::{Batch, JournalReader, ReadError};
pub use recovery::{OpenError, open};
pub use redact::{Editable, RedactError};
pub(crate) use walk::{Passed, Walk};
pub use writer::{JournalWriter, WriteError};

use crate::storage::Storage;

/// One record of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An entry of the Raft log. It supersedes an earlier entry with its index, and everything after that.
    Entry(Entry),
    /// The Raft hard state. The last one counts.
    HardState(HardState),
    /// Who this replica is, and with whom its group began. The last one counts.
    Seat(Seat),
}

/// An entry of the Raft log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log: dense, from 1.
    pub index: u64,
    /// The term of the leader that made it.
    pub term: u64,
    /// How to read the payload.
    pub kind: EntryKind,
    /// What it says: for [`EntryKind::Normal`] nothing, or an [envelope](envelope::Envelope) with a [`Proposal`](crate::cabinet::Proposal).
    pub payload: Bytes,
}

/// How to read an entry's payload. The numbers are part of the format, and are Raft's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A proposal, or nothing.
    Normal = 0,
    /// A change of membership.
    ConfChange = 1,
    /// A change of membership, second form.
    ConfChangeV2 = 2,
}

/// What a Raft replica must remember besides its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term seen.
    pub term: u64,
    /// Whom this replica voted for in that term; 0: nobody.
    pub vote: u64,
    /// An index known to be committed.
    pub commit: u64,
}

/// Who a replica is: the first record of its journal, and written again when its number changes.
///
/// A replica is its journal. Whoever lost what was written in one is somebody else from then on: it begins a new journal, draws a new
/// incarnation, and gets a new number, because what was promised under the old one (votes, acknowledgements) is forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seat {
    /// Drawn when the journal was begun, never 0: tells two replicas of one node apart.
    pub incarnation: u64,
    /// Its number in the Raft group; 0: none, it waits to be admitted.
    pub number: u64,
    /// With whom the group began, if known; what changed since is in the log.
    pub founders: Vec<Founder>,
}

/// One of those with whom a group began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founder {
    /// Its number.
    pub number: u64,
    /// Whether it voted.
    pub votes: bool,
    /// Its identity.
    pub identity: String,
}

/// How a journal is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// The cabinet: written into every segment, so that a directory is never taken for another's.
    pub cabinet: Name,
    /// Size that a segment is preallocated to, 4 KiB to 1 GiB, 16 MiB by default: larger ones are begun less often (that takes three syncs),
    /// smaller ones waste less at the end. A record that is larger gets a segment of its size.
    pub segment_bytes: u64,
    /// Payload bytes of the most recent entries kept in memory, 4 MiB by default, for followers that are a little behind. Entries that are
    /// not written yet are kept beyond this.
    pub cache_bytes: usize,
}

/// An open journal, in two halves for two threads.
#[derive(Debug)]
pub struct Opened {
    /// The half that waits for the disk.
    pub writer: JournalWriter,
    /// The half that answers.
    pub reader: JournalReader,
    /// What was found.
    pub recovered: Recovered,
}

/// What was found when a journal was opened. All of it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The index of the last entry; 0: none.
    pub last_index: u64,
    /// The hard state.
    pub hard_state: HardState,
    /// Who the replica is; `None`: nobody yet.
    pub seat: Option<Seat>,
    /// What was cut off at the end, if something was.
    pub repaired: Option<TornTail>,
}

/// The remains of a write that a crash interrupted: never acknowledged, so nothing is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The file.
    pub file: String,
    /// Where the last whole record ends.
    pub offset: u64,
    /// Bytes cut off.
    pub lost_bytes: u64,
}

impl Options {
    /// The defaults for a cabinet.
    pub fn new(cabinet: Name) -> Self {
        Self { cabinet, segment_bytes: 16 << 20, cache_bytes: 4 << 20 }
    }

    fn segment_bytes(&self) -> u64 {
        self.segment_bytes.clamp(4 << 10, 1 << 30)
    }
}

impl Entry {
    /// Whether both are the same entry, of which something may have been obliterated, and a decision noted, in one of them.
    pub(crate) fn is_one_with(&self, other: &Self) -> bool {
        (self.index, self.term, self.kind) == (other.index, other.term, other.kind)
            && match self.kind {
                EntryKind::Normal => envelope::digest(&self.payload) == envelope::digest(&other.payload),
                EntryKind::ConfChange | EntryKind::ConfChangeV2 => self.payload == other.payload,
            }
    }
}

impl EntryKind {
    /// The kind with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Normal, Self::ConfChange, Self::ConfChangeV2].into_iter().find(|kind| *kind as u8 == number)
    }
}

/// A journal's directory and how it is kept there, shared by both halves.
#[derive(Clone, Debug)]
struct Place {
    storage: Arc<dyn Storage>,
    options: Arc<Options>,
}
