//! The journal as the consensus library reads it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use raft::eraftpb::{ConfState, Entry, EntryType, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, StorageError};

use crate::journal::{self, JournalReader, ReadError};

/// The replication log: every entry since the first, read from the journal. Nothing is ever compacted, so there are no snapshots.
pub(crate) struct Log {
    reader: JournalReader,
    /// The membership that the library starts with.
    members: ConfState,
    /// Where the library starts: the recovered vote, brought into the range that the library insists on.
    initial: journal::HardState,
    /// The first read that failed. The library panics on errors, so it is told "no entries" and whoever drives it looks here.
    failure: Cell<Option<ReadError>>,
    fetching: RefCell<Fetching>,
}

/// Entries for followers that are behind, which are not in memory any more and are read elsewhere meanwhile.
#[derive(Default)]
struct Fetching {
    /// To be read.
    wanted: Vec<Fetch>,
    /// The first index of each read that was asked for and has not come back.
    under_way: BTreeSet<u64>,
    /// What came back, by its first index.
    ready: BTreeMap<u64, VecDeque<journal::Entry>>,
}

/// Entries to be read from the journal.
#[derive(Debug)]
pub(crate) struct Fetch {
    low: u64,
    high: u64,
    context: GetEntriesContext,
}

/// What was read.
#[derive(Debug)]
pub(crate) struct Fetched {
    low: u64,
    context: GetEntriesContext,
    entries: Result<Vec<journal::Entry>, ReadError>,
}

impl Fetch {
    /// Reads the entries, which waits for the disk: a worker's job, bounded in bytes.
    pub(crate) fn read(self, reader: &JournalReader) -> Fetched {
        let Self { low, high, context } = self;
        Fetched { low, context, entries: reader.entries(low, high, FETCH_BYTES) }
    }
}

impl Log {
    /// The log in the journal behind `reader`, whose state has applied everything up to `applied`, when the group had these `members`.
    pub(crate) fn new(reader: JournalReader, members: ConfState, applied: u64) -> Self {
        let initial = consistent(reader.hard_state(), &reader, applied);
        Self { reader, members, initial, failure: Cell::new(None), fetching: RefCell::default() }
    }

    /// What is to be read.
    pub(crate) fn take_fetches(&self) -> Vec<Fetch> {
        std::mem::take(&mut self.fetching.borrow_mut().wanted)
    }

    /// What was read is there. Whoever waited for it is to be tried again.
    pub(crate) fn handle_fetched(&self, fetched: Fetched) -> Option<GetEntriesContext> {
        let mut fetching = self.fetching.borrow_mut();
        fetching.under_way.remove(&fetched.low);
        match fetched.entries {
            Ok(entries) => {
                // A follower that turned out to need other entries leaves some behind.
                if fetching.ready.len() >= READY_MAX {
                    fetching.ready.clear();
                }
                fetching.ready.insert(fetched.low, entries.into());
                Some(fetched.context)
            }
            Err(error) => {
                self.failure.set(Some(error));
                None
            }
        }
    }

    /// Nobody follows this replica any more: what was read for followers is of no use, and may be superseded.
    pub(crate) fn forget_fetched(&self) {
        *self.fetching.borrow_mut() = Fetching::default();
    }

    /// Entries that were fetched, or the wish to fetch them.
    fn fetched(&self, low: u64, high: u64, max_bytes: u64, context: GetEntriesContext) -> raft::Result<Vec<Entry>> {
        let mut fetching = self.fetching.borrow_mut();
        let mut ready = fetching.ready.remove(&low).unwrap_or_default();
        let mut entries = Vec::new();
        let mut bytes = 0;
        while let Some(entry) = ready.front() {
            bytes += entry.payload.len() as u64;
            // An entry that was superseded since is not what stands there now.
            let stands = entry.index < high && self.reader.term(entry.index) == Some(entry.term);
            if !stands || (bytes > max_bytes && !entries.is_empty()) {
                break;
            }
            entries.extend(ready.pop_front().map(to_raft));
        }
        if entries.is_empty() {
            if fetching.under_way.insert(low) {
                fetching.wanted.push(Fetch { low, high, context });
            }
            return Err(raft::Error::Store(StorageError::LogTemporarilyUnavailable));
        }
        if let Some(first) = ready.front().map(|entry| entry.index) {
            fetching.ready.insert(first, ready);
        }
        Ok(entries)
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
        Ok(RaftState::new(hard_state, self.members.clone()))
    }

    fn entries(&self, low: u64, high: u64, max_size: impl Into<Option<u64>>, context: GetEntriesContext) -> raft::Result<Vec<Entry>> {
        let max_bytes = max_size.into().unwrap_or(u64::MAX);
        if context.can_async() && !self.reader.is_in_memory(low) {
            return self.fetched(low, high, max_bytes, context);
        }
        match self.reader.entries(low, high, max_bytes) {
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

/// Payload read at once for a follower that is behind: a few appends.
const FETCH_BYTES: u64 = 1 << 20;

/// What is kept of such reads at most: one for each follower, and there are few.
const READY_MAX: usize = 16;
