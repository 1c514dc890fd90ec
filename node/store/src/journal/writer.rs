//! The half of a journal that waits for the disk.

use std::sync::{Arc, Mutex};

use caps_overlay::bugs::{self, Bug};

use super::format::{self, Hash, SegmentHeader, Spot};
use super::index::{Index, Location};
use super::reader::{Batch, lock};
use super::{Place, Record};
use crate::storage::{File, StorageError};

/// The half of a journal that makes records durable. It belongs on a worker thread.
#[derive(Debug)]
pub struct JournalWriter {
    place: Place,
    index: Arc<Mutex<Index>>,
    tail: Tail,
    chain: Hash,
    /// The last entry written, and so what the next sync makes durable.
    written_index: u64,
    /// Whether something was written since the last sync.
    dirty: bool,
    batches: u64,
    poisoned: bool,
}

/// The segment being written.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    pub(super) file: Arc<dyn File>,
    pub(super) segment: u32,
    /// Where the next record goes.
    pub(super) offset: u64,
    /// How far the file is preallocated.
    pub(super) size_bytes: u64,
}

/// Why records are not durable. What the disk holds of them is unknown; stop this replica, and let the next start find out.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The disk refused.
    #[error("the journal cannot be written")]
    Storage(#[from] StorageError),
    /// It refused before: nothing is written any more.
    #[error("the journal failed earlier and takes no more records")]
    Poisoned,
}

impl JournalWriter {
    pub(super) fn new(place: Place, index: Arc<Mutex<Index>>, tail: Tail, chain: Hash) -> Self {
        let written_index = lock(&index).last_index();
        Self { place, index, tail, chain, written_index, dirty: false, batches: 0, poisoned: false }
    }

    /// Writes a batch; it is durable after the next [`sync`](Self::sync). Several batches may share one.
    ///
    /// # Panics
    /// When batches come in another order than they were staged in.
    pub fn append(&mut self, batch: Batch) -> Result<(), WriteError> {
        assert_eq!(batch.number, self.batches, "batches are written in the order of their staging");
        self.batches += 1;
        self.guarded(|writer| writer.write(&batch.records))
    }

    /// Makes everything written durable, and answers with the last entry among it.
    pub fn sync(&mut self) -> Result<u64, WriteError> {
        self.guarded(Self::flush)?;
        Ok(self.written_index)
    }

    /// Finishes the segment that is being written, unless nothing is in it, and syncs: what was written so far can then be
    /// [redacted](super::JournalReader::redact).
    pub fn finish_segment(&mut self) -> Result<(), WriteError> {
        self.guarded(|writer| {
            if writer.tail.offset > format::HEADER_BYTES as u64 {
                writer.begin_segment(0)?;
            }
            writer.flush()
        })
    }

    /// Ends the journal in an orderly way: [`mark`](Self::mark)ed.
    pub fn close(mut self) -> Result<(), WriteError> {
        self.mark()
    }

    /// Syncs everything and marks it as durable, so that damage to the last records is not taken for a torn write when the journal is opened
    /// again: for an orderly end, and for a pause.
    pub fn mark(&mut self) -> Result<(), WriteError> {
        self.guarded(|writer| {
            writer.flush()?;
            writer.reserve(format::record_bytes(0))?;
            let mut bytes = Vec::new();
            writer.encode(format::KIND_MARK, &[], &mut bytes);
            writer.put(&bytes)?;
            writer.flush()
        })
    }

    /// After one failure everything fails: a sync that is tried again may succeed without having written anything.
    fn guarded(&mut self, step: impl FnOnce(&mut Self) -> Result<(), StorageError>) -> Result<(), WriteError> {
        if self.poisoned {
            return Err(WriteError::Poisoned);
        }
        step(self).map_err(|error| {
            self.poisoned = true;
            WriteError::Storage(error)
        })
    }

    /// Writes records with one write a segment.
    fn write(&mut self, records: &[Record]) -> Result<(), StorageError> {
        let mut bytes = Vec::new();
        let mut written = Vec::new();
        for record in records {
            let (kind, payload) = format::encode_payload(record);
            if !self.fits(bytes.len() + format::record_bytes(payload.len())) {
                self.put(&bytes)?;
                bytes.clear();
                self.reserve(format::record_bytes(payload.len()))?;
            }
            if let Record::Entry(entry) = record {
                written.push((entry.index, entry.term, self.location(bytes.len())));
                self.written_index = entry.index;
            }
            self.encode(kind, &payload, &mut bytes);
        }
        self.put(&bytes)?;
        self.publish(&written);
        Ok(())
    }

    fn encode(&mut self, kind: u8, payload: &[u8], bytes: &mut Vec<u8>) {
        let offset = self.tail.offset + bytes.len() as u64;
        // Only the first record after a sync can vouch for everything before it.
        let all_before_synced = !self.dirty && bytes.is_empty();
        let spot = Spot { segment: self.tail.segment, offset, all_before_synced };
        self.chain = format::encode_record(spot, &self.chain, kind, payload, bytes);
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.dirty = true;
        self.tail.file.write_at(self.tail.offset, bytes)?;
        self.tail.offset += bytes.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        if self.dirty {
            match self.tail.file.sync_data() {
                Err(_) if bugs::has(Bug::SyncErrorIgnored) => {}
                synced => synced?,
            }
            self.dirty = false;
        }
        lock(&self.index).durable_index = self.written_index;
        Ok(())
    }

    fn publish(&self, written: &[(u64, u64, Location)]) {
        let mut index = lock(&self.index);
        for (entry, term, location) in written {
            index.written(*entry, *term, *location);
        }
        index.forget();
    }

    fn fits(&self, bytes: usize) -> bool {
        self.tail.offset + bytes as u64 <= self.tail.size_bytes
    }

    fn location(&self, ahead: usize) -> Location {
        let word = (self.tail.offset + ahead as u64) / format::ALIGNMENT as u64;
        Location { segment: self.tail.segment, word: u32::try_from(word).expect("segments are smaller than 32 GiB") }
    }

    /// Begins a new segment when `bytes` do not fit into this one.
    fn reserve(&mut self, bytes: usize) -> Result<(), StorageError> {
        if self.fits(bytes) { Ok(()) } else { self.begin_segment(bytes) }
    }

    /// Begins a new segment with room for a record of `bytes`.
    fn begin_segment(&mut self, bytes: usize) -> Result<(), StorageError> {
        // A segment that has a successor is durable as a whole: recovery counts on it.
        self.tail.file.truncate(self.tail.offset)?;
        self.dirty = true;
        let unused = self.tail.size_bytes - self.tail.offset;
        let index_after = self.written_index + 1;
        self.tail.file.sync_data()?;
        self.tail = Tail::create(&self.place, self.tail.segment + 1, index_after, self.chain, bytes as u64)?;
        self.dirty = false;
        let mut index = lock(&self.index);
        index.size_bytes = index.size_bytes - unused + self.tail.size_bytes;
        index.tail_segment = self.tail.segment;
        Ok(())
    }
}

impl Tail {
    /// Makes a new segment with room for a record of `record_bytes`, durable with its name.
    pub(super) fn create(place: &Place, segment: u32, next_index: u64, chain: Hash, record_bytes: u64) -> Result<Self, StorageError> {
        let header = SegmentHeader { segment, next_index, cabinet: place.options.cabinet.clone(), chain };
        let offset = format::HEADER_BYTES as u64;
        let size_bytes = place.options.segment_bytes().max(offset + record_bytes);
        let file = place.storage.create(&format::file_name(segment))?;
        file.preallocate(size_bytes)?;
        file.write_at(0, &header.encode())?;
        file.sync_data()?;
        place.storage.sync_directory()?;
        Ok(Self { file, segment, offset, size_bytes })
    }
}
