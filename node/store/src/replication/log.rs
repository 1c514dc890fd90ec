//! The journal as the consensus library reads it.

use std::cell::Cell;

use raft::eraftpb::{ConfState, Entry, EntryType, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, StorageError};

use crate::journal::{self, JournalReader, ReadError};

/// The replication log: every entry since the first, read from the journal. Nothing is ever compacted, so there are no snapshots.
pub(crate) struct Log {
    reader: JournalReader,
    voters: Vec<u64>,
    /// Where the library starts: the recovered vote, brought into the range that the library insists on.
    initial: journal::HardState,
    /// The first read that failed. The library panics on errors, so it is told "no entries" and whoever drives it looks here.
    failure: Cell<Option<ReadError>>,
}

impl Log {
    /// The log in the journal behind `reader`, for a group of `voters`, whose state has applied everything up to `applied`.
    pub(crate) fn new(reader: JournalReader, voters: Vec<u64>, applied: u64) -> Self {
        let initial = consistent(reader.hard_state(), &reader, applied);
        Self { reader, voters, initial, failure: Cell::new(None) }
    }

    /// The journal behind the log.
    pub(crate) fn reader(&self) -> &JournalReader {
        &self.reader
    }

    /// The first read that failed, once.
    pub(crate) fn take_failure(&self) -> Option<ReadError> {
        self.failure.take()
    }
}

impl raft::Storage for Log {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let journal::HardState { term, vote, commit } = self.initial;
        let hard_state = HardState { term, vote, commit, ..HardState::default() };
        Ok(RaftState::new(hard_state, ConfState::from((self.voters.clone(), vec![]))))
    }

    fn entries(&self, low: u64, high: u64, max_size: impl Into<Option<u64>>, _: GetEntriesContext) -> raft::Result<Vec<Entry>> {
        match self.reader.entries(low, high, max_size.into().unwrap_or(u64::MAX)) {
            Ok(entries) => Ok(entries.into_iter().map(to_raft).collect()),
            Err(error) => {
                self.failure.set(Some(error));
                Ok(Vec::new())
            }
        }
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        self.reader.term(index).ok_or(raft::Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.reader.last_index())
    }

    fn snapshot(&self, _: u64, _: u64) -> raft::Result<Snapshot> {
        Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}

/// An entry as the library wants it.
pub(crate) fn to_raft(entry: journal::Entry) -> Entry {
    let mut converted = Entry::default();
    converted.set_entry_type(match entry.kind {
        journal::EntryKind::Normal => EntryType::EntryNormal,
        journal::EntryKind::ConfChange => EntryType::EntryConfChange,
        journal::EntryKind::ConfChangeV2 => EntryType::EntryConfChangeV2,
    });
    converted.index = entry.index;
    converted.term = entry.term;
    converted.data = entry.payload;
    converted
}

/// An entry as the journal keeps it.
pub(crate) fn to_journal(entry: Entry) -> journal::Entry {
    let kind = match entry.get_entry_type() {
        EntryType::EntryNormal => journal::EntryKind::Normal,
        EntryType::EntryConfChange => journal::EntryKind::ConfChange,
        EntryType::EntryConfChangeV2 => journal::EntryKind::ConfChangeV2,
    };
    journal::Entry { index: entry.index, term: entry.term, kind, payload: entry.data }
}

/// The recovered hard state, made to agree with the recovered entries and state.
///
/// - What was applied was committed: the commit index is written lazily, and the library panics when it lies below what was applied
///   (raft-rs #543).
/// - A torn tail may have lost the hard state that was written behind its entries. The term then lies below the last entry's; nothing was
///   promised in that term, because promises leave after the sync, so that the vote in it is free.
fn consistent(recovered: journal::HardState, reader: &JournalReader, applied: u64) -> journal::HardState {
    let last_index = reader.last_index();
    let last_term = reader.term(last_index).unwrap_or(0);
    let (term, vote) = if recovered.term < last_term { (last_term, raft::INVALID_ID) } else { (recovered.term, recovered.vote) };
    journal::HardState { term, vote, commit: recovered.commit.max(applied).min(last_index) }
}
