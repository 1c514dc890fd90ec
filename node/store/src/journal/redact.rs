//! Taking things out of segments that are finished, so that the chain stays and a crash at any moment leaves either the old or the new.

use std::sync::{PoisonError, RwLock};

use super::format::{self, Found, Parsed, SegmentHeader};
use super::index::Location;
use super::reader::{JournalReader, ReadError, lock};
use crate::storage::{StorageError, burn};

/// An entry whose data may be changed without changing its digest.
#[derive(Debug)]
pub struct Editable<'a> {
    /// Its place in the log.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Whether it still has its place: another entry may have taken it.
    pub stands: bool,
    /// Its data: not empty.
    pub data: &'a mut [u8],
}

/// Why a segment was not redacted. It is as it was before, or wholly redacted: to be tried again at the next start.
#[derive(Debug, thiserror::Error)]
pub enum RedactError<E> {
    /// The segment could not be read, or is damaged.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The redacted segment could not be written.
    #[error("the journal cannot be rewritten")]
    Storage(#[from] StorageError),
    /// Whoever decides about an entry could not.
    #[error(transparent)]
    Edit(E),
}

impl JournalReader {
    /// The entries up to `last` that ask for slots to be emptied.
    pub fn obliterations(&self, last: u64) -> Vec<u64> {
        lock(&self.index).obliterations(last)
    }

    /// The last entry that asks for slots to be emptied, applied or not; 0: none does.
    pub fn last_obliteration(&self) -> u64 {
        lock(&self.index).last_obliteration()
    }

    /// How many segments are finished: they have the numbers 1 to that.
    pub fn finished_segments(&self) -> u32 {
        lock(&self.index).tail_segment.saturating_sub(1)
    }

    /// Goes through the proposals of a finished segment, and replaces the segment if `edit` changed one. Whether it did.
    ///
    /// # Errors
    /// [`RedactError::Edit`] with the first error of `edit`; the segment then stays as it was.
    ///
    /// # Panics
    /// When a segment is larger than 32 GiB, which no writer makes.
    pub fn redact<E>(&self, segment: u32, mut edit: impl FnMut(Editable<'_>) -> Result<bool, E>) -> Result<bool, RedactError<E>> {
        let name = format::file_name(segment);
        let old = self.place.storage.open(&name).map_err(ReadError::from)?;
        let mut bytes = super::recovery::read_all(&*old).map_err(ReadError::from)?;
        let mut changed = false;
        for (offset, size_bytes) in self.records(segment, &bytes)? {
            let record = &mut bytes[offset..offset + size_bytes];
            let word = u32::try_from(offset / format::ALIGNMENT).expect("segments are smaller than 32 GiB");
            let Some((index, term, data)) = format::proposal_within(record) else { continue };
            let stands = lock(&self.index).is_at(index, Location { segment, word });
            changed |= edit(Editable { index, term, stands, data }).map_err(RedactError::Edit)?;
        }
        if !changed {
            return Ok(false);
        }
        // The chain must hold as before: else what was just made is wrong, and must not replace what is right.
        self.records(segment, &bytes)?;
        self.replace(&name, &bytes)?;
        // Nobody reads the old file any more.
        drop(old);
        burn::burn_replaced(&*self.place.storage, &name)?;
        Ok(true)
    }

    /// Where the records of a segment start, and how long they are, after verifying all of them.
    fn records(&self, segment: u32, bytes: &[u8]) -> Result<Vec<(usize, usize)>, ReadError> {
        let damaged = |offset, reason| ReadError::Damaged { file: format::file_name(segment), offset: offset as u64, reason };
        let header = SegmentHeader::decode(bytes).map_err(|_| damaged(0, "the segment header does not match its check"))?;
        let mut chain = header.chain;
        let mut offset = format::HEADER_BYTES;
        let mut records = Vec::new();
        while offset < bytes.len() {
            match format::verify_record(segment, offset as u64, &bytes[offset..], &chain) {
                Found::Record(record) if format::decode_payload(&record) == Parsed::Malformed => {
                    return Err(damaged(offset, "a whole record makes no sense"));
                }
                Found::Record(record) => {
                    records.push((offset, record.size_bytes));
                    chain = record.chain;
                    offset += record.size_bytes;
                }
                Found::End => return Err(damaged(offset, "nothing stands there")),
                Found::Bad(reason) => return Err(damaged(offset, reason)),
            }
        }
        Ok(records)
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
        self.prepare(name, bytes)?;
        let _nobody_reads = self.reading.write().unwrap_or_else(PoisonError::into_inner);
        burn::replace(&*self.place.storage, name)?;
        *lock(&self.file) = None;
        Ok(())
    }

    /// Writes, durably, what is to stand in a file.
    fn prepare(&self, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
        let (storage, name) = (&*self.place.storage, burn::prepared(name));
        match storage.remove(&name) {
            Ok(()) | Err(StorageError::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
        let new = storage.create(&name)?;
        new.write_at(0, bytes)?;
        new.sync_data()
    }

    /// Forgets what it holds in memory of entries up to `last`: they are on disk.
    pub fn forget(&self, last: u64) {
        lock(&self.index).forget_up_to(last);
    }

    /// Up to which entry everything that was asked for was taken out of the journal that this replica, of this incarnation, keeps; 0 if
    /// that is not known: then it is to be done again, which changes nothing that is done.
    pub fn redacted_up_to(&self, incarnation: u64) -> Result<u64, StorageError> {
        let storage = &*self.place.storage;
        if !storage.list()?.iter().any(|name| name == REDACTED) {
            return Ok(0);
        }
        let mut bytes = [0; 32];
        let read = storage.open(REDACTED)?.read_at(0, &mut bytes)?;
        let [_, _, index, _] = words(&bytes);
        Ok(if read == bytes.len() && bytes == redacted(incarnation, index) { index } else { 0 })
    }

    /// Remembers, durably, that everything that entries up to `index` ask for was taken out.
    pub fn note_redacted(&self, incarnation: u64, index: u64) -> Result<(), StorageError> {
        self.prepare(REDACTED, &redacted(incarnation, index))?;
        self.place.storage.rename(&burn::prepared(REDACTED), REDACTED)?;
        self.place.storage.sync_directory()
    }
}

fn redacted(incarnation: u64, index: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..16].copy_from_slice(&incarnation.to_le_bytes());
    bytes[16..24].copy_from_slice(&index.to_le_bytes());
    let check = format::check(&bytes[..24]);
    bytes[24..].copy_from_slice(&check);
    bytes
}

fn words(bytes: &[u8; 32]) -> [u64; 4] {
    let (words, _) = bytes.as_chunks::<8>();
    std::array::from_fn(|place| u64::from_le_bytes(words[place]))
}

/// Readers of segments, and whoever replaces one: nobody reads from a file that is about to be overwritten.
pub(super) type Reading = RwLock<()>;

/// The file that says up to where it is done.
const REDACTED: &str = "redacted";
const MAGIC: &[u8; 8] = b"CAPSREDA";
