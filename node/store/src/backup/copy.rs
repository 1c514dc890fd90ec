//! Making a backup: what a replica sends, written down as a journal.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use caps_model::messages::backup::{BackUp, LogEntry, Reached};
use caps_model::{BlobId, Name, Position};

use super::named::{Named, Naming, mentioned, named};
use crate::cabinet::{Cabinet, Proposed};
use crate::journal::{
    self, Entry, EntryKind, Founder, HardState, JournalReader, JournalWriter, Opened, ReadError, Record, Seat, TornTail, WriteError,
};
use crate::replay::{Figures, ReplayError, replay};
use crate::state::{Mark, State};
use crate::storage::Storage;

/// A backup that is being made.
///
/// 1. [`ends_with`](Self::ends_with) is what a replica is asked;
/// 2. [`begin`](Self::begin) takes the first message of the answer, [`take`](Self::take) each of the others;
/// 3. [`finish`](Self::finish) makes it durable. What was taken before something broke is kept, and asked for no more.
#[derive(Debug)]
pub struct Backup {
    cabinet: Name,
    reader: JournalReader,
    writer: JournalWriter,
    /// What was cut off at its end, if an earlier backup broke off in the middle of a write.
    repaired: Option<TornTail>,
    /// Who sends, once somebody does.
    from: String,
    /// The last entry that the replica is to send.
    last: u64,
    unsynced_bytes: usize,
    added: u64,
}

/// A backup that is made, and durable.
#[derive(Debug)]
pub struct Copied {
    reader: JournalReader,
    /// Entries in it.
    pub entries: u64,
    /// Entries that were added this time.
    pub added: u64,
    /// Bytes that it takes on the disk.
    pub size_bytes: u64,
}

/// Why a backup is not made. What it held before it still holds.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// What is in the directory cannot be added to. If it is damaged, begin another backup in another directory.
    #[error("the backup cannot be opened: {0}")]
    Open(#[from] journal::OpenError),
    /// The directory is a replica's.
    #[error("the directory holds the journal of a replica, not a backup: give another one")]
    Replica,
    /// The disk refused.
    #[error("the backup cannot be written: {0}")]
    Write(#[from] WriteError),
    /// The backup does not give back what was written.
    #[error("the backup cannot be read back: {0}")]
    Read(#[from] ReadError),
    /// What the backup holds is not what the replica has.
    #[error("entry {index} of the backup is not the one that {node} has: the backup is of another history; begin one in another directory")]
    OtherHistory {
        /// The entry.
        index: u64,
        /// The replica's node.
        node: String,
    },
    /// The replica keeps another cabinet.
    #[error("{node} keeps the cabinet {found}, the backup is of {expected}")]
    OtherCabinet {
        /// The replica's node.
        node: String,
        /// Its cabinet.
        found: String,
        /// The backup's.
        expected: String,
    },
    /// The replica sent what makes no sense.
    #[error("{node} sent what no replica sends: {why}")]
    Malformed {
        /// The replica's node.
        node: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// A backup does not hold what the replica said that it would.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// It cannot be replayed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// It comes to something else.
    #[error("replayed, the backup comes to position {position} with another history than the replica's at {expected}: do not rely on it")]
    Different {
        /// Where it comes to.
        position: Position,
        /// Where it should have come to.
        expected: Position,
    },
}

impl Backup {
    /// Opens the backup of a cabinet in a directory, or begins one where there is none.
    pub fn open(storage: Arc<dyn Storage>, cabinet: Name) -> Result<Self, BackupError> {
        let Opened { reader, writer, recovered } = journal::open(storage, journal::Options::new(cabinet.clone()))?;
        if recovered.seat.as_ref().is_some_and(|seat| seat.number != 0) || (recovered.seat.is_none() && recovered.last_index > 0) {
            return Err(BackupError::Replica);
        }
        let (repaired, from) = (recovered.repaired, "the replica".to_owned());
        Ok(Self { cabinet, reader, writer, repaired, from, last: 0, unsynced_bytes: 0, added: 0 })
    }

    /// What was cut off at its end, if an earlier backup was ended in the middle of a write. It is asked for again.
    pub fn repaired(&self) -> Option<&TornTail> {
        self.repaired.as_ref()
    }

    /// Where it ends: the question to a replica.
    pub fn ends_with(&self) -> BackUp {
        let after = self.reader.last_index();
        BackUp { after, term: self.reader.term(after).unwrap_or_default() }
    }

    /// A replica answers, having come so far.
    pub fn begin(&mut self, reached: &Reached) -> Result<(), BackupError> {
        self.from.clone_from(&reached.node);
        if reached.cabinet != self.cabinet.as_str() {
            let (node, found, expected) = (reached.node.clone(), reached.cabinet.clone(), self.cabinet.to_string());
            return Err(BackupError::OtherCabinet { node, found, expected });
        }
        let founders = reached.founders.iter();
        let founders: Vec<Founder> =
            founders.map(|founder| Founder { number: founder.number, votes: founder.votes, identity: founder.node.clone() }).collect();
        let known = self.reader.seat().map(|seat| seat.founders).unwrap_or_default();
        if known.is_empty() {
            let seat = Seat { incarnation: 1, number: 0, founders };
            self.writer.append(self.reader.stage(vec![Record::Seat(seat)]))?;
        } else if known != founders {
            return Err(self.other_history(1));
        }
        if reached.index < self.reader.last_index() {
            return Err(self.malformed("it is behind the backup"));
        }
        self.last = reached.index;
        Ok(())
    }

    /// Takes entries in: they must follow what is there. The first may be the last that is there, and is then the same.
    pub fn take(&mut self, entries: Vec<LogEntry>) -> Result<Figures, BackupError> {
        let mut records = Vec::with_capacity(entries.len());
        let (mut last, mut term) = (self.reader.last_index(), self.ends_with().term);
        for sent in entries {
            let Some(kind) = EntryKind::from_number(sent.kind) else { return Err(self.malformed("an entry of an unknown kind")) };
            let entry = Entry { index: sent.index, term: sent.term, kind, payload: Bytes::from(sent.payload) };
            if entry.index == last && last > 0 && records.is_empty() {
                self.compare(&entry)?;
                continue;
            }
            if entry.index != last + 1 || entry.term < term.max(1) || entry.index > self.last {
                return Err(self.malformed("entries that do not follow each other"));
            }
            (last, term) = (entry.index, entry.term);
            self.unsynced_bytes += entry.payload.len();
            records.push(Record::Entry(entry));
        }
        self.added += records.len() as u64;
        self.writer.append(self.reader.stage(records))?;
        if self.unsynced_bytes >= SYNC_BYTES {
            self.writer.sync()?;
            self.unsynced_bytes = 0;
        }
        Ok(Figures { done: last, total: self.last })
    }

    /// Whether it has all that the replica was to send.
    pub fn is_complete(&self) -> bool {
        self.last > 0 && self.reader.last_index() == self.last
    }

    /// Makes it durable, up to what was taken.
    pub fn finish(mut self) -> Result<Copied, BackupError> {
        let BackUp { after, term } = self.ends_with();
        let state = HardState { term, vote: 0, commit: after };
        if self.reader.hard_state() != state {
            self.writer.append(self.reader.stage(vec![Record::HardState(state)]))?;
        }
        self.writer.close()?;
        Ok(Copied { entries: after, added: self.added, size_bytes: self.reader.size_bytes(), reader: self.reader })
    }

    /// What a replica has at the end of the backup must be what is there: else this is the backup of another cabinet of the same name, or of
    /// this one before it was restored to an earlier moment.
    fn compare(&self, entry: &Entry) -> Result<(), BackupError> {
        match self.reader.entries(entry.index, entry.index + 1, u64::MAX)?.as_slice() {
            [own] if own.is_one_with(entry) => Ok(()),
            _ => Err(self.other_history(entry.index)),
        }
    }

    fn other_history(&self, index: u64) -> BackupError {
        BackupError::OtherHistory { index, node: self.from.clone() }
    }

    fn malformed(&self, why: &'static str) -> BackupError {
        BackupError::Malformed { node: self.from.clone(), why }
    }
}

impl Copied {
    /// Replays all of it into an empty state and holds what comes out against what the replica said. `tell` hears how far it is. Where it
    /// comes to, and the blobs that it names.
    pub fn prove(&self, reached: &Reached, scratch: Box<dyn State>, tell: &mut dyn FnMut(Figures)) -> Result<(Mark, Named), ProveError> {
        let mut cabinet = Cabinet::new(scratch);
        let mut naming = Naming::default();
        let see = |_: &Cabinet<_>, index: u64, proposed: Option<&Proposed>| {
            naming.see(index, proposed);
            ControlFlow::Continue(())
        };
        replay(&self.reader, &mut cabinet, self.entries, see, tell)?;
        let mark = cabinet.mark();
        if (mark.index, mark.position, mark.chain_head) != (reached.index, reached.position, reached.chain_head) {
            return Err(ProveError::Different { position: mark.position, expected: reached.position });
        }
        Ok((mark, naming.end(&self.reader, &cabinet)?))
    }

    /// The blobs that its proposals mention, whatever became of them: found without a replay. Some may not be needed.
    pub fn mentioned(&self) -> Result<BTreeSet<BlobId>, ReplayError> {
        mentioned(&self.reader, self.entries)
    }

    /// Replays it into an empty state, to find out which blobs it names. `tell` hears how far it is.
    pub fn named(&self, scratch: Box<dyn State>, tell: &mut dyn FnMut(Figures)) -> Result<Named, ReplayError> {
        named(&self.reader, self.entries, scratch, tell)
    }
}

/// Bytes after which what was taken is made durable: a backup that breaks off loses at most these.
const SYNC_BYTES: usize = 16 << 20;
