//! The half of a journal that answers: it never waits for a sync.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::format;
use super::index::{Held, Index};
use super::piece::Piece;
use super::redact::Reading;
use super::{Entry, HardState, Place, Record, Seat};
use crate::storage::{File, StorageError};

/// The half of a journal that takes records in and answers what it holds. Clones share one journal.
#[derive(Clone, Debug)]
pub struct JournalReader {
    pub(super) place: Place,
    pub(super) index: Arc<Mutex<Index>>,
    /// The segment read last: readers mostly go on where they were.
    pub(super) file: Arc<Mutex<Option<OpenSegment>>>,
    /// Held by whoever reads a segment, so that no segment is replaced meanwhile.
    pub(super) reading: Arc<Reading>,
}

/// A segment's number and file.
pub(super) type OpenSegment = (u32, Arc<dyn File>);

/// Records that are staged and must be written next, in the order of their staging.
#[derive(Debug)]
#[must_use = "staged records are durable only after the writer has appended and synced them"]
pub struct Batch {
    pub(super) number: u64,
    pub(super) records: Vec<Record>,
}

/// Why entries could not be read. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log ends before that: a mistake of the caller.
    #[error("there is no entry {index}, the last one is {last_index}")]
    Beyond {
        /// The first index that does not exist.
        index: u64,
        /// The last one that does.
        last_index: u64,
    },
    /// The disk gave back other bytes than were written to it. This replica must not go on.
    #[error("{file} is damaged at offset {offset}: {reason}")]
    Damaged {
        /// The file.
        file: String,
        /// Where the damaged record starts.
        offset: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The disk gave nothing back.
    #[error("the journal cannot be read")]
    Storage(#[from] StorageError),
}

impl JournalReader {
    pub(super) fn new(place: Place, index: Arc<Mutex<Index>>) -> Self {
        Self { place, index, file: Arc::default(), reading: Arc::default() }
    }

    /// Takes records in: from now on they can be read back, and only from the next sync on they are durable.
    ///
    /// # Panics
    /// When an entry leaves a gap after the last one: consensus never does that.
    pub fn stage(&self, records: Vec<Record>) -> Batch {
        let mut index = lock(&self.index);
        for record in &records {
            index.stage(record);
        }
        let number = index.batches;
        index.batches += 1;
        Batch { number, records }
    }

    /// The entries from `low` up to but without `high`: as many as have `max_bytes` of payload together, but at least one.
    pub fn entries(&self, low: u64, high: u64, max_bytes: u64) -> Result<Vec<Entry>, ReadError> {
        let low = low.max(1);
        let mut entries = Vec::new();
        let mut bytes: u64 = 0;
        let mut piece = Piece::new(high.saturating_sub(low));
        for index in low..high {
            let entry = match self.held(index)? {
                Held::Entry(entry) => entry,
                Held::OnDisk { location, index, term } => piece.entry(self, location, index, term)?.to_entry(),
            };
            bytes += entry.payload.len() as u64;
            if bytes > max_bytes && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    /// The term of the entry at `index`: 0 for index 0, `None` beyond the last entry.
    pub fn term(&self, index: u64) -> Option<u64> {
        lock(&self.index).term(index)
    }

    /// The last index, staged entries included; 0: the log is empty.
    pub fn last_index(&self) -> u64 {
        lock(&self.index).last_index()
    }

    /// The last entry that was durable after the last sync.
    pub fn durable_index(&self) -> u64 {
        lock(&self.index).durable_index
    }

    /// The hard state, staged or durable.
    pub fn hard_state(&self) -> HardState {
        lock(&self.index).hard_state
    }

    /// Who this replica is, staged or durable.
    pub fn seat(&self) -> Option<Seat> {
        lock(&self.index).seat.clone()
    }

    /// The entries up to `last` that change the membership, in order.
    pub fn changes(&self, last: u64) -> Vec<Entry> {
        lock(&self.index).changes(last)
    }

    /// Whether reading this entry asks nothing of the disk.
    pub fn is_in_memory(&self, index: u64) -> bool {
        matches!(lock(&self.index).held(index), Some(Held::Entry(_)))
    }

    /// Bytes of all segments on disk, preallocated ones included.
    pub fn size_bytes(&self) -> u64 {
        lock(&self.index).size_bytes
    }

    pub(super) fn held(&self, index: u64) -> Result<Held, ReadError> {
        let log = lock(&self.index);
        log.held(index).ok_or(ReadError::Beyond { index, last_index: log.last_index() })
    }

    /// Fills a buffer from a segment; the answer is how many bytes there were.
    pub(super) fn read_segment(&self, segment: u32, offset: u64, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let _not_replaced = self.reading.read().unwrap_or_else(PoisonError::into_inner);
        Ok(self.file(segment)?.read_at(offset, buffer)?)
    }

    fn file(&self, segment: u32) -> Result<Arc<dyn File>, ReadError> {
        let mut last = lock(&self.file);
        if let Some((number, file)) = &*last
            && *number == segment
        {
            return Ok(Arc::clone(file));
        }
        let file = self.place.storage.open(&format::file_name(segment))?;
        *last = Some((segment, Arc::clone(&file)));
        Ok(file)
    }
}

/// Nothing that runs under these locks can leave them half changed: a poisoned one is as good as any.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
