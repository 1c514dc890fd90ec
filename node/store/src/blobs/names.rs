//! Which blobs commits named, durably: so that a restart knows what it lacks and what it must keep without looking through the whole log.
//!
//! The file `blob-names` is a sequence of records of 64 bytes, integers little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | 1: an entry of the log named a blob; 2: an obliteration took blobs away; 3: all entries up to an index have been looked through; 4: the first record: of which journal it is; 5: an obliteration would have taken a blob away, had others not named it |
//! | 7 | zeros |
//! | 8 | the entry's index; of a journal, its incarnation |
//! | 32 | the blob's hash |
//! | 8 | its size; of an obliteration, how many blobs it took away |
//! | 8 | the first bytes of SHA-256 of the 56 bytes before |
//!
//! What follows the first record that is not whole was never synced, or is damaged, and counts for nothing: the log of the replicas is the truth,
//! and what it says since the last mark is looked through again. So is everything when the file is gone, or is of another journal.
//!
//! A blob that was taken away is not in the file any more, for its name says what it was: the file is written anew without it, and the old one
//! overwritten.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use caps_model::BlobId;
use sha2::{Digest, Sha256};

use super::limits::ENTRIES_UNNOTED_MAX;
use crate::storage::{File, Storage, StorageError, burn};

/// What is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// The entry at `index` named a blob.
    Named { index: u64, blob: BlobId },
    /// The obliteration at `index` took so many blobs away.
    Taken { index: u64, count: u64 },
    /// Everything up to this entry has been looked through.
    Mark { index: u64 },
    /// The journal that it is of.
    Journal { incarnation: u64 },
    /// The obliteration at `index` left a blob, because others name it.
    Left { index: u64, blob: BlobId },
}

/// What an obliteration did to blobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settlement {
    /// How many it took away.
    pub(crate) taken: u64,
    /// Those that it left, because others name them.
    pub(crate) left: BTreeSet<BlobId>,
}

/// The notes that are to be written, and how far the file is.
#[derive(Debug)]
pub(super) struct Names {
    incarnation: u64,
    file: Option<Arc<dyn File>>,
    end: u64,
    pending: Vec<Note>,
    /// The last entry that was looked through.
    passed: u64,
    /// The last one of which the file says so.
    noted: u64,
    /// Obliterations that concerned blobs, by their index. Each is an administrator's doing.
    settlements: BTreeMap<u64, Settlement>,
    /// A sync failed: nothing is written any more until the next start.
    is_given_up: bool,
}

/// Notes on their way to the disk.
#[derive(Debug)]
pub(super) struct Batch {
    incarnation: u64,
    file: Option<Arc<dyn File>>,
    end: u64,
    notes: Vec<Note>,
    passed: u64,
    /// Blobs of which nothing is to be said any more, as far as entries up to an index named them.
    without: BTreeSet<BlobId>,
    up_to: u64,
}

impl Names {
    /// Reads the file, if there is one. That of another journal than this is removed.
    pub(super) fn open(storage: &dyn Storage, incarnation: u64) -> Result<(Self, Vec<Note>), StorageError> {
        burn::finish(storage)?;
        let mut names = Self {
            incarnation,
            file: None,
            end: 0,
            pending: Vec::new(),
            passed: 0,
            noted: 0,
            settlements: BTreeMap::new(),
            is_given_up: false,
        };
        let file = match storage.open(FILE) {
            Ok(file) => file,
            Err(StorageError::Missing { .. }) => return Ok((names, Vec::new())),
            Err(error) => return Err(error),
        };
        let mut notes = Vec::new();
        let mut is_ours = false;
        names.end = read(&*file, |note| {
            match note {
                Note::Mark { index } => names.noted = names.noted.max(index),
                Note::Journal { incarnation } => is_ours = incarnation == names.incarnation,
                Note::Named { .. } => notes.push(note),
                Note::Taken { index, count } => names.settlements.entry(index).or_default().taken = count,
                Note::Left { index, blob } => drop(names.settlements.entry(index).or_default().left.insert(blob)),
            }
            is_ours
        })?;
        if !is_ours {
            tracing::info!("{FILE} is of another journal, or of an earlier release: the log is looked through again");
            burn::burn(storage, FILE)?;
            return Self::open(storage, incarnation);
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

    /// What the obliteration at an index did, as far as blobs were concerned.
    pub(super) fn settlement(&self, index: u64) -> Settlement {
        self.settlements.get(&index).cloned().unwrap_or_default()
    }

    /// The last obliteration that did something to blobs.
    pub(super) fn settled(&self) -> u64 {
        self.settlements.last_key_value().map_or(0, |(index, _)| *index)
    }

    /// Whether there is something to be written.
    pub(super) fn has_news(&self) -> bool {
        !self.is_given_up && (!self.pending.is_empty() || self.passed - self.noted >= ENTRIES_UNNOTED_MAX)
    }

    /// What is to be written; given back by [`written`](Self::written).
    pub(super) fn batch(&mut self) -> Option<Batch> {
        let notes = if self.has_news() { std::mem::take(&mut self.pending) } else { return None };
        Some(self.batch_of(notes, BTreeSet::new(), 0))
    }

    /// What is to be written after obliterations up to an entry; blobs that they took away are not named any more. `None`: nothing can be written.
    pub(super) fn settle(&mut self, settlements: BTreeMap<u64, Settlement>, taken: BTreeSet<BlobId>, up_to: u64) -> Option<Batch> {
        if self.is_given_up {
            return None;
        }
        let mut notes = std::mem::take(&mut self.pending);
        for (index, Settlement { taken, left }) in &settlements {
            notes.push(Note::Taken { index: *index, count: *taken });
            notes.extend(left.iter().map(|blob| Note::Left { index: *index, blob: *blob }));
        }
        for settlement in self.settlements.values_mut() {
            settlement.left.retain(|blob| !taken.contains(blob));
        }
        self.settlements.extend(settlements);
        Some(self.batch_of(notes, taken, up_to))
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

    fn batch_of(&self, notes: Vec<Note>, without: BTreeSet<BlobId>, up_to: u64) -> Batch {
        let (incarnation, file, end, passed) = (self.incarnation, self.file.clone(), self.end, self.passed);
        Batch { incarnation, file, end, notes, passed, without, up_to }
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

impl NotWritten {
    pub(super) fn into_cause(self) -> StorageError {
        match self {
            Self::Before(error) | Self::Sync(error) => error,
        }
    }
}

impl Batch {
    /// Appends the notes and a mark, durably; where something is to be left out, writes all anew. Blocks: to be run on the worker.
    pub(super) fn write(&mut self, storage: &dyn Storage) -> Result<(), NotWritten> {
        match self.without.is_empty() {
            true => self.append(storage),
            false => self.rewrite(storage),
        }
    }

    fn append(&mut self, storage: &dyn Storage) -> Result<(), NotWritten> {
        let (file, is_new) = match &self.file {
            Some(file) => (file.clone(), false),
            None => (storage.create(FILE).map_err(NotWritten::Before)?, true),
        };
        self.file = Some(file.clone());
        let first = (self.end == 0).then_some(Note::Journal { incarnation: self.incarnation });
        let bytes: Vec<u8> = first.iter().chain(&self.notes).chain([&self.mark()]).flat_map(|note| note.encode()).collect();
        file.write_at(self.end, &bytes).map_err(NotWritten::Before)?;
        file.sync_data().map_err(NotWritten::Sync)?;
        if is_new {
            storage.sync_directory().map_err(NotWritten::Sync)?;
        }
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn rewrite(&mut self, storage: &dyn Storage) -> Result<(), NotWritten> {
        let name = burn::prepared(FILE);
        match storage.remove(&name) {
            Ok(()) | Err(StorageError::Missing { .. }) => {}
            Err(error) => return Err(NotWritten::Before(error)),
        }
        let new = storage.create(&name).map_err(NotWritten::Before)?;
        let mut end = 0;
        let mut put = |bytes: &[u8]| {
            new.write_at(end, bytes).map_err(NotWritten::Before)?;
            end += bytes.len() as u64;
            Ok(())
        };
        put(&Note::Journal { incarnation: self.incarnation }.encode())?;
        if let Some(old) = &self.file {
            let mut result = Ok(());
            let mut block = Vec::with_capacity(RECORD_BYTES * RECORDS_AT_ONCE);
            read(&**old, |note| {
                if self.keeps(&note) {
                    block.extend(note.encode());
                }
                if block.len() >= RECORD_BYTES * RECORDS_AT_ONCE {
                    result = put(&block);
                    block.clear();
                }
                result.is_ok()
            })
            .map_err(NotWritten::Before)?;
            result?;
            put(&block)?;
        }
        let news = self.notes.iter().copied().filter(|note| self.keeps(note)).chain([self.mark()]);
        put(&news.flat_map(Note::encode).collect::<Vec<u8>>())?;
        new.sync_data().map_err(NotWritten::Sync)?;
        if self.file.is_some() {
            burn::replace(storage, FILE).and_then(|()| burn::burn_replaced(storage, FILE)).map_err(NotWritten::Sync)?;
        } else {
            storage.rename(&name, FILE).and_then(|()| storage.sync_directory()).map_err(NotWritten::Sync)?;
        }
        self.file = Some(storage.open(FILE).map_err(NotWritten::Sync)?);
        self.end = end;
        Ok(())
    }

    fn mark(&self) -> Note {
        Note::Mark { index: self.passed }
    }

    /// Whether a note is to stand in a file that is written anew. Of marks the last one suffices.
    fn keeps(&self, note: &Note) -> bool {
        match note {
            Note::Named { index, blob } => *index > self.up_to || !self.without.contains(blob),
            Note::Left { blob, .. } => !self.without.contains(blob),
            Note::Taken { .. } => true,
            Note::Mark { .. } | Note::Journal { .. } => false,
        }
    }
}

/// Reads notes as long as they are whole and wanted; where the last whole one ends.
fn read(file: &dyn File, mut take: impl FnMut(Note) -> bool) -> Result<u64, StorageError> {
    let mut end = 0;
    let mut block = vec![0; RECORD_BYTES * RECORDS_AT_ONCE];
    loop {
        let read = file.read_at(end, &mut block)?;
        for record in block[..read].chunks(RECORD_BYTES) {
            let Some(note) = Note::decode(record) else { return Ok(end) };
            if !take(note) {
                return Ok(end);
            }
            end += RECORD_BYTES as u64;
        }
        if read < block.len() {
            return Ok(end);
        }
    }
}

impl Note {
    fn encode(self) -> [u8; RECORD_BYTES] {
        let sized = |size_bytes| BlobId { hash: [0; 32], size_bytes };
        let (kind, index, blob) = match self {
            Self::Named { index, blob } => (1, index, blob),
            Self::Taken { index, count } => (2, index, sized(count)),
            Self::Mark { index } => (3, index, sized(0)),
            Self::Journal { incarnation } => (4, incarnation, sized(0)),
            Self::Left { index, blob } => (5, index, blob),
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
            2 => Some(Self::Taken { index, count: blob.size_bytes }),
            3 => Some(Self::Mark { index }),
            4 => Some(Self::Journal { incarnation: index }),
            5 => Some(Self::Left { index, blob }),
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
                let (mut names, _) = Names::open(&disk, 7).unwrap();
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
                let (names, notes) = Names::open(&disk, 7).unwrap();
                assert!(names.noted() >= durable, "halted at {halt}");
                let all: Vec<Note> = (1..=2).map(|index| Note::Named { index, blob: blob(u8::try_from(index).unwrap()) }).collect();
                assert!(all.starts_with(&notes) && notes.len() as u64 >= names.noted(), "halted at {halt}: {notes:?}");
            }
        }
    }

    #[test]
    fn a_flipped_bit_ends_what_is_believed() {
        let disk = MemoryStorage::new();
        let (mut names, _) = Names::open(&disk, 7).unwrap();
        for index in 1..=3 {
            names.add(Note::Named { index: u64::from(index), blob: blob(index) });
            names.passed(u64::from(index));
            assert!(write(&mut names, &disk));
        }
        // The fourth record is the second batch's note.
        for bit in 0..512 {
            let disk = disk.copy();
            disk.flip_bit(FILE, 192 + bit / 8, u8::try_from(bit % 8).unwrap());
            let (names, notes) = Names::open(&disk, 7).unwrap();
            assert_eq!((names.noted(), notes), (1, vec![Note::Named { index: 1, blob: blob(1) }]), "bit {bit}");
        }
    }

    #[test]
    fn a_full_disk_is_tried_again_and_a_failed_sync_is_not() {
        let disk = MemoryStorage::new();
        let (mut names, _) = Names::open(&disk, 7).unwrap();
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
        let (names, notes) = Names::open(&disk, 7).unwrap();
        assert_eq!((names.noted(), notes[0]), (1, Note::Named { index: 1, blob: blob(1) }));
    }

    /// Wherever the power is cut, a blob is named as before, or nowhere on the disk.
    #[test]
    fn a_blob_that_was_taken_away_is_named_nowhere_on_the_disk() {
        let taken = BlobId { hash: *b"Rumpelstilzchen Rumpelstilzchen ", size_bytes: 1 };
        let mut is_through = false;
        for halt in 0.. {
            for kept in [false, true] {
                let disk = MemoryStorage::new();
                let (mut names, _) = Names::open(&disk, 7).unwrap();
                for (index, blob) in [(1, taken), (2, blob(2)), (3, taken), (5, blob(2))] {
                    names.add(Note::Named { index, blob });
                    names.passed(index);
                    assert!(write(&mut names, &disk));
                }
                disk.halt_after(halt);
                names.passed(6);
                let left = Settlement { taken: 1, left: BTreeSet::from([blob(2)]) };
                let mut batch = names.settle(BTreeMap::from([(6, left.clone())]), BTreeSet::from([taken]), 6).unwrap();
                let result = batch.write(&disk);
                names.written(batch, &result);
                is_through = result.is_ok();
                disk.power_cut(|| kept);
                let (names, notes) = Names::open(&disk, 7).unwrap();
                let is_done = names.settled() == 6;
                assert!(is_done || !is_through, "halted at {halt}");
                assert_eq!(disk.holds(&taken.hash), !is_done, "halted at {halt}");
                assert_eq!(notes.len(), if is_done { 2 } else { 4 }, "halted at {halt}");
                if is_done {
                    assert_eq!((names.settlement(6), names.noted()), (left, 6));
                }
            }
            if is_through {
                return;
            }
        }
    }

    #[test]
    fn the_notes_of_another_journal_count_for_nothing() {
        let disk = MemoryStorage::new();
        let (mut names, _) = Names::open(&disk, 7).unwrap();
        names.add(Note::Named { index: 1, blob: blob(1) });
        names.passed(1);
        assert!(write(&mut names, &disk));
        let (names, notes) = Names::open(&disk, 8).unwrap();
        assert_eq!((names.noted(), notes), (0, Vec::new()));
        assert!(disk.list().unwrap().is_empty());
    }
}
