//! Which blobs commits named, durably: so that a restart knows what it lacks and what it must keep without looking through the whole log.
//!
//! The file `blob-names` is a sequence of records of 64 bytes, integers little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | 1: an entry of the log named a blob; 2: a blob is gone for ever; 3: all entries up to an index have been looked through |
//! | 7 | zeros |
//! | 8 | the entry's index |
//! | 32 | the blob's hash |
//! | 8 | its size |
//! | 8 | the first bytes of SHA-256 of the 56 bytes before |
//!
//! What follows the first record that is not whole was never synced, or is damaged, and counts for nothing: the log of the replicas is the truth,
//! and what it says since the last mark is looked through again. So is everything when the file is gone.

use std::sync::Arc;

use caps_model::BlobId;
use sha2::{Digest, Sha256};

use super::limits::ENTRIES_UNNOTED_MAX;
use crate::storage::{File, Storage, StorageError};

/// What is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// The entry at `index` named a blob.
    Named { index: u64, blob: BlobId },
    /// A blob was taken away for ever.
    Gone { blob: BlobId },
    /// Everything up to this entry has been looked through.
    Mark { index: u64 },
}

/// The notes that are to be written, and how far the file is.
#[derive(Debug)]
pub(super) struct Names {
    file: Option<Arc<dyn File>>,
    end: u64,
    pending: Vec<Note>,
    /// The last entry that was looked through.
    passed: u64,
    /// The last one of which the file says so.
    noted: u64,
    /// A sync failed: nothing is written any more until the next start.
    is_given_up: bool,
}

/// Notes on their way to the disk.
#[derive(Debug)]
pub(super) struct Batch {
    file: Option<Arc<dyn File>>,
    end: u64,
    notes: Vec<Note>,
    passed: u64,
}

impl Names {
    /// Reads the file, if there is one.
    pub(super) fn open(storage: &dyn Storage) -> Result<(Self, Vec<Note>), StorageError> {
        let mut names = Self { file: None, end: 0, pending: Vec::new(), passed: 0, noted: 0, is_given_up: false };
        let file = match storage.open(FILE) {
            Ok(file) => file,
            Err(StorageError::Missing { .. }) => return Ok((names, Vec::new())),
            Err(error) => return Err(error),
        };
        let mut notes = Vec::new();
        let mut block = vec![0; RECORD_BYTES * RECORDS_AT_ONCE];
        'all: loop {
            let read = file.read_at(names.end, &mut block)?;
            for record in block[..read].chunks(RECORD_BYTES) {
                let Some(note) = Note::decode(record) else { break 'all };
                names.end += RECORD_BYTES as u64;
                match note {
                    Note::Mark { index } => names.noted = names.noted.max(index),
                    note => notes.push(note),
                }
            }
            if read < block.len() {
                break;
            }
        }
        let left = file.size_bytes()?.saturating_sub(names.end);
        if left > 0 {
            tracing::warn!(bytes = left, from_entry = names.noted, "the end of {FILE} is torn or damaged: the log is looked through again");
        }
        names.passed = names.noted;
        names.file = Some(file);
        Ok((names, notes))
    }

    /// Up to which entry the file knows.
    pub(super) fn noted(&self) -> u64 {
        self.noted
    }

    /// Whether this entry was not looked through before.
    pub(super) fn is_new(&self, index: u64) -> bool {
        index > self.passed
    }

    /// An entry was looked through. Whether that is worth a note by itself.
    pub(super) fn passed(&mut self, index: u64) -> bool {
        self.passed = self.passed.max(index);
        self.has_news()
    }

    pub(super) fn add(&mut self, note: Note) {
        self.pending.push(note);
    }

    /// Whether there is something to be written.
    pub(super) fn has_news(&self) -> bool {
        !self.is_given_up && (!self.pending.is_empty() || self.passed - self.noted >= ENTRIES_UNNOTED_MAX)
    }

    /// What is to be written; given back by [`written`](Self::written).
    pub(super) fn batch(&mut self) -> Option<Batch> {
        let notes = if self.has_news() { std::mem::take(&mut self.pending) } else { return None };
        Some(Batch { file: self.file.clone(), end: self.end, notes, passed: self.passed })
    }

    /// What became of it.
    pub(super) fn written(&mut self, batch: Batch, result: &Result<(), NotWritten>) {
        match result {
            Ok(()) => {
                self.end = batch.end;
                self.file = batch.file;
                self.noted = batch.passed;
            }
            // It is tried again, over whatever half of it is there.
            Err(NotWritten::Before(_)) => {
                self.file = batch.file;
                self.pending.splice(..0, batch.notes);
            }
            Err(NotWritten::Sync(_)) => self.is_given_up = true,
        }
    }
}

/// Notes are not on the disk.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotWritten {
    /// They were not written whole.
    #[error(transparent)]
    Before(StorageError),
    /// They were not synced: what the disk holds is not known any more.
    #[error(transparent)]
    Sync(StorageError),
}

impl Batch {
    /// Appends the notes and a mark, durably. Blocks: to be run on the worker.
    pub(super) fn write(&mut self, storage: &dyn Storage) -> Result<(), NotWritten> {
        let mark = Note::Mark { index: self.passed };
        let bytes: Vec<u8> = self.notes.iter().chain([&mark]).flat_map(|note| note.encode()).collect();
        let (file, is_new) = match &self.file {
            Some(file) => (file.clone(), false),
            None => (storage.create(FILE).map_err(NotWritten::Before)?, true),
        };
        self.file = Some(file.clone());
        file.write_at(self.end, &bytes).map_err(NotWritten::Before)?;
        file.sync_data().map_err(NotWritten::Sync)?;
        if is_new {
            storage.sync_directory().map_err(NotWritten::Sync)?;
        }
        self.end += bytes.len() as u64;
        Ok(())
    }
}

impl Note {
    fn encode(self) -> [u8; RECORD_BYTES] {
        let nothing = BlobId { hash: [0; 32], size_bytes: 0 };
        let (kind, index, blob) = match self {
            Self::Named { index, blob } => (1, index, blob),
            Self::Gone { blob } => (2, 0, blob),
            Self::Mark { index } => (3, index, nothing),
        };
        let mut record = [0; RECORD_BYTES];
        record[0] = kind;
        record[8..16].copy_from_slice(&index.to_le_bytes());
        record[16..48].copy_from_slice(&blob.hash);
        record[48..56].copy_from_slice(&blob.size_bytes.to_le_bytes());
        let check = Sha256::digest(&record[..CHECKED_BYTES]);
        record[CHECKED_BYTES..].copy_from_slice(&check[..RECORD_BYTES - CHECKED_BYTES]);
        record
    }

    fn decode(record: &[u8]) -> Option<Self> {
        let (checked, check) = record.split_at_checked(CHECKED_BYTES)?;
        if check.len() != RECORD_BYTES - CHECKED_BYTES || !Sha256::digest(checked).starts_with(check) {
            return None;
        }
        let number = |from: usize| Some(u64::from_le_bytes(*checked.get(from..)?.first_chunk()?));
        let (index, blob) = (number(8)?, BlobId { hash: *checked.get(16..)?.first_chunk()?, size_bytes: number(48)? });
        match checked[0] {
            1 => Some(Self::Named { index, blob }),
            2 => Some(Self::Gone { blob }),
            3 => Some(Self::Mark { index }),
            _ => None,
        }
    }
}

const FILE: &str = "blob-names";
const RECORD_BYTES: usize = 64;
const CHECKED_BYTES: usize = 56;
const RECORDS_AT_ONCE: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    fn blob(number: u8) -> BlobId {
        BlobId { hash: [number; 32], size_bytes: u64::from(number) }
    }

    fn write(names: &mut Names, storage: &dyn Storage) -> bool {
        let mut batch = names.batch().unwrap();
        let result = batch.write(storage);
        names.written(batch, &result);
        result.is_ok()
    }

    #[test]
    fn whatever_the_power_cut_leaves_the_notes_before_a_mark_are_there() {
        for halt in 0..8 {
            for kept in [false, true] {
                let disk = MemoryStorage::new();
                let (mut names, _) = Names::open(&disk).unwrap();
                disk.halt_after(halt);
                let mut durable = 0;
                for index in 1..=2 {
                    let number = u8::try_from(index).unwrap();
                    names.add(Note::Named { index, blob: blob(number) });
                    names.passed(index);
                    if !write(&mut names, &disk) {
                        break;
                    }
                    durable = index;
                }
                disk.power_cut(|| kept);
                let (names, notes) = Names::open(&disk).unwrap();
                assert!(names.noted() >= durable, "halted at {halt}");
                let all: Vec<Note> = (1..=2).map(|index| Note::Named { index, blob: blob(u8::try_from(index).unwrap()) }).collect();
                assert!(all.starts_with(&notes) && notes.len() as u64 >= names.noted(), "halted at {halt}: {notes:?}");
            }
        }
    }

    #[test]
    fn a_flipped_bit_ends_what_is_believed() {
        let disk = MemoryStorage::new();
        let (mut names, _) = Names::open(&disk).unwrap();
        for index in 1..=3 {
            names.add(Note::Gone { blob: blob(index) });
            names.passed(u64::from(index));
            assert!(write(&mut names, &disk));
        }
        // The third record is the second batch's note.
        for bit in 0..512 {
            let disk = disk.copy();
            disk.flip_bit(FILE, 128 + bit / 8, u8::try_from(bit % 8).unwrap());
            let (names, notes) = Names::open(&disk).unwrap();
            assert_eq!((names.noted(), notes), (1, vec![Note::Gone { blob: blob(1) }]), "bit {bit}");
        }
    }

    #[test]
    fn a_full_disk_is_tried_again_and_a_failed_sync_is_not() {
        let disk = MemoryStorage::new();
        let (mut names, _) = Names::open(&disk).unwrap();
        disk.limit_capacity(64);
        names.add(Note::Named { index: 1, blob: blob(1) });
        names.passed(1);
        assert!(!write(&mut names, &disk));
        disk.limit_capacity(u64::MAX);
        assert!(write(&mut names, &disk));
        disk.fail_sync(0);
        names.add(Note::Named { index: 2, blob: blob(2) });
        assert!(!write(&mut names, &disk));
        assert!(!names.has_news());
        let (names, notes) = Names::open(&disk).unwrap();
        assert_eq!((names.noted(), notes[0]), (1, Note::Named { index: 1, blob: blob(1) }));
    }
}
