//! The half of a journal that answers: it never waits for a sync.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::format::{self, Found, Parsed};
use super::index::{Held, Index, Location};
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
        let mut entries = Vec::new();
        let mut bytes: u64 = 0;
        for index in low.max(1)..high {
            let entry = self.entry(index)?;
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

    fn entry(&self, index: u64) -> Result<Entry, ReadError> {
        let (held, last_index) = {
            let log = lock(&self.index);
            (log.held(index), log.last_index())
        };
        match held.ok_or(ReadError::Beyond { index, last_index })? {
            Held::Entry(entry) => Ok(entry),
            Held::OnDisk { location, index, term } => self.read(location, index, term),
        }
    }

    /// Reads one record together with the link before it, which stands right in front of it, and verifies it.
    fn read(&self, location: Location, index: u64, term: u64) -> Result<Entry, ReadError> {
        let _not_replaced = self.reading.read().unwrap_or_else(PoisonError::into_inner);
        let offset = u64::from(location.word) * format::ALIGNMENT as u64;
        let damaged = |reason| ReadError::Damaged { file: format::file_name(location.segment), offset, reason };
        let file = self.file(location.segment)?;
        let mut head = [0; format::HASH_BYTES + format::RECORD_HEADER_BYTES];
        if file.read_at(offset - format::HASH_BYTES as u64, &mut head)? < head.len() {
            return Err(damaged("the file is cut off"));
        }
        let (chain, header) = head.split_first_chunk().expect("the head is a link and a record header");
        let header = header.first_chunk().expect("the head is a link and a record header");
        if !format::header_is_sound(location.segment, offset, header) {
            return Err(damaged("a record header does not match its check"));
        }
        let mut record = vec![0; format::record_bytes(format::payload_length(header))];
        let read = file.read_at(offset, &mut record)?;
        match format::verify_record(location.segment, offset, &record[..read], chain) {
            Found::Record(raw) => match format::decode_payload(&raw) {
                Parsed::Record(Record::Entry(entry)) if (entry.index, entry.term) == (index, term) => Ok(entry),
                _ => Err(damaged("another record stands there")),
            },
            Found::End => Err(damaged("nothing stands there")),
            Found::Bad(reason) => Err(damaged(reason)),
        }
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
