//! Opening a journal: verify everything, cut off what a crash tore, and stop at damage.

use std::sync::{Arc, Mutex};

use super::format::{self, BadHeader, Found, Hash, Parsed, RawRecord, SegmentHeader};
use super::index::{Index, Location};
use super::reader::JournalReader;
use super::writer::{JournalWriter, Tail};
use super::{Opened, Options, Place, Record, Recovered, TornTail};
use crate::storage::{File, Storage, StorageError, burn};

/// Why a journal cannot be opened. Nothing was changed on disk, except where [`Storage`](Self::Storage) failed half-way through a repair.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A record that was durable once is not what it was: set the journal aside, and let the replica be repaired from its peers.
    #[error("{file} is damaged at offset {offset}: {reason}")]
    Damaged {
        /// The file.
        file: String,
        /// Where.
        offset: u64,
        /// What is wrong there.
        reason: &'static str,
    },
    /// Another release wrote this journal: run that release.
    #[error("{file} was written by another release: {what} {found} is unknown here")]
    OtherVersion {
        /// The file.
        file: String,
        /// What is unknown.
        what: &'static str,
        /// Its number.
        found: u16,
    },
    /// The directory holds another cabinet's journal: check the node's directory.
    #[error("{file} belongs to the cabinet {found}, not to {expected}")]
    OtherCabinet {
        /// The file.
        file: String,
        /// The cabinet it belongs to.
        found: String,
        /// The cabinet asked for.
        expected: String,
    },
    /// The disk does not do what it should.
    #[error("the journal cannot be opened")]
    Storage(#[from] StorageError),
}

/// Opens the journal in a directory; begins one if there is none.
///
/// Reads and verifies every byte: about a second for a gigabyte.
pub fn open(storage: Arc<dyn Storage>, options: Options) -> Result<Opened, OpenError> {
    let place = Place { storage, options: Arc::new(options) };
    let mut recovery = Recovery { index: Index::new(place.options.cache_bytes), place, chain: [0; 32], repaired: None };
    let tail = recovery.run()?;
    let Recovery { place, mut index, chain, repaired } = recovery;
    index.durable_index = index.last_index();
    index.tail_segment = tail.segment;
    let recovered = Recovered { last_index: index.last_index(), hard_state: index.hard_state, seat: index.seat.clone(), repaired };
    let index = Arc::new(Mutex::new(index));
    let writer = JournalWriter::new(place.clone(), Arc::clone(&index), tail, chain);
    Ok(Opened { writer, reader: JournalReader::new(place, index), recovered })
}

/// What has been verified so far.
struct Recovery {
    place: Place,
    index: Index,
    chain: Hash,
    repaired: Option<TornTail>,
}

impl Recovery {
    fn run(&mut self) -> Result<Tail, OpenError> {
        burn::finish(&*self.place.storage)?;
        let mut segments: Vec<u32> = self.place.storage.list()?.iter().filter_map(|name| format::segment_of(name)).collect();
        segments.sort_unstable();
        self.drop_unfinished_segment(&mut segments)?;
        let mut tail = None;
        for (expected, segment) in (1..).zip(&segments) {
            if *segment != expected {
                return Err(damaged(expected, 0, "the segment is missing"));
            }
            tail = Some(self.segment(*segment, expected as usize == segments.len())?);
        }
        let tail = match tail {
            Some(tail) => tail,
            None => Tail::create(&self.place, 1, 1, self.chain, 0)?,
        };
        self.index.size_bytes += tail.size_bytes;
        Ok(tail)
    }

    /// Removes a last segment whose header never reached the disk: a crash came while it was being made, so it holds nothing.
    fn drop_unfinished_segment(&mut self, segments: &mut Vec<u32>) -> Result<(), OpenError> {
        let Some(&last) = segments.last() else { return Ok(()) };
        let name = format::file_name(last);
        let bytes = read_all(&*self.place.storage.open(&name)?)?;
        if SegmentHeader::decode(&bytes) != Err(BadHeader::Malformed) {
            return Ok(());
        }
        // The first record of a segment vouches for the header before it.
        if format::later_proof_of_sync(last, &bytes, 0) {
            return Err(damaged(last, 0, "the segment header does not match its check"));
        }
        self.repaired = Some(TornTail { file: name.clone(), offset: 0, lost_bytes: used_bytes(&bytes, 0) });
        self.place.storage.remove(&name)?;
        self.place.storage.sync_directory()?;
        segments.pop();
        Ok(())
    }

    fn segment(&mut self, segment: u32, last: bool) -> Result<Tail, OpenError> {
        let file = self.place.storage.open(&format::file_name(segment))?;
        let bytes = read_all(&*file)?;
        self.header(segment, &bytes)?;
        let mut offset = format::HEADER_BYTES;
        // From here on nobody has said that it is on the disk.
        let mut doubtful = 0;
        let bad = loop {
            match format::verify_record(segment, offset as u64, &bytes[offset..], &self.chain) {
                Found::Record(record) => {
                    self.record(segment, offset, &record)?;
                    if record.all_before_synced {
                        doubtful = offset;
                    }
                    self.chain = record.chain;
                    offset += record.size_bytes;
                }
                Found::End if used_bytes(&bytes, offset) > 0 => break Some("bytes stand after the last record"),
                Found::End => break None,
                Found::Bad(reason) => break Some(reason),
            }
        };
        let mut tail = Tail { file, segment, offset: offset as u64, size_bytes: bytes.len() as u64 };
        match bad {
            Some(reason) if !last || format::later_proof_of_sync(segment, &bytes, offset) => Err(damaged(segment, tail.offset, reason)),
            Some(_) if format::ends_beyond(segment, offset as u64, &bytes[offset..]) => {
                Err(damaged(segment, tail.offset, "the file was cut off inside a record"))
            }
            Some(_) => {
                let lost_bytes = used_bytes(&bytes, offset);
                self.repaired = Some(TornTail { file: format::file_name(segment), offset: tail.offset, lost_bytes });
                self.make_tail(&mut tail, &bytes[doubtful..offset])?;
                Ok(tail)
            }
            None if last => self.make_tail(&mut tail, &bytes[doubtful..offset]).map(|()| tail),
            None => {
                self.index.size_bytes += tail.size_bytes;
                Ok(tail)
            }
        }
    }

    /// Makes the last segment ready to be written after its last whole record.
    ///
    /// What was read may so far be in the system's cache only: a process that was killed leaves it there. To sync it is not enough. If a sync
    /// failed before the process died, the system has dropped the error and takes the pages for clean (Rebello and others, "Can applications
    /// recover from fsync failures?", USENIX ATC 2020), so the next sync writes nothing and reports success. Therefore `doubtful`, the end of
    /// the records, of which no later record says that it was synced, is written once more first.
    fn make_tail(&self, tail: &mut Tail, doubtful: &[u8]) -> Result<(), OpenError> {
        if self.repaired.is_some() {
            tail.file.truncate(tail.offset)?;
            // The cut must be durable before new records can stand where torn ones stood.
            tail.file.sync_data()?;
        }
        tail.file.write_at(tail.offset - doubtful.len() as u64, doubtful)?;
        tail.size_bytes = self.place.options.segment_bytes().max(tail.offset);
        tail.file.preallocate(tail.size_bytes)?;
        tail.file.sync_data()?;
        tail.size_bytes = tail.size_bytes.max(tail.file.size_bytes()?);
        Ok(())
    }

    fn header(&mut self, segment: u32, bytes: &[u8]) -> Result<(), OpenError> {
        let file = format::file_name(segment);
        let header = match SegmentHeader::decode(bytes) {
            Ok(header) => header,
            Err(BadHeader::OtherVersion(found)) => return Err(OpenError::OtherVersion { file, what: "format", found }),
            Err(BadHeader::Malformed) => return Err(damaged(segment, 0, "the segment header does not match its check")),
        };
        let expected = &self.place.options.cabinet;
        if header.cabinet != *expected {
            let (found, expected) = (header.cabinet.to_string(), expected.to_string());
            return Err(OpenError::OtherCabinet { file, found, expected });
        }
        if header.segment != segment || header.chain != self.chain || header.next_index != self.index.last_index() + 1 {
            return Err(damaged(segment, 0, "the segment does not continue the one before it"));
        }
        Ok(())
    }

    fn record(&mut self, segment: u32, offset: usize, record: &RawRecord<'_>) -> Result<(), OpenError> {
        match format::decode_payload(record) {
            Parsed::Record(Record::HardState(state)) => self.index.hard_state = state,
            Parsed::Record(Record::Seat(seat)) => self.index.seat = Some(seat),
            Parsed::Record(Record::Entry(entry)) if (1..=self.index.last_index() + 1).contains(&entry.index) => {
                let word = u32::try_from(offset / format::ALIGNMENT).expect("segments are smaller than 32 GiB");
                self.index.put(entry, Location { segment, word });
            }
            Parsed::Record(Record::Entry(_)) => return Err(damaged(segment, offset as u64, "an entry does not follow the last one")),
            Parsed::Mark => {}
            Parsed::UnknownKind(kind) => {
                let file = format::file_name(segment);
                return Err(OpenError::OtherVersion { file, what: "record kind", found: kind.into() });
            }
            Parsed::Malformed => return Err(damaged(segment, offset as u64, "a whole record makes no sense")),
        }
        Ok(())
    }
}

fn damaged(segment: u32, offset: u64, reason: &'static str) -> OpenError {
    OpenError::Damaged { file: format::file_name(segment), offset, reason }
}

/// Bytes from `offset` up to the last that is not zero.
fn used_bytes(bytes: &[u8], offset: usize) -> u64 {
    bytes[offset..].iter().rposition(|b| *b != 0).map_or(0, |last| last as u64 + 1)
}

/// A whole segment: some MiB.
pub(super) fn read_all(file: &dyn File) -> Result<Vec<u8>, StorageError> {
    let size = usize::try_from(file.size_bytes()?).unwrap_or(usize::MAX);
    let mut bytes = vec![0; size];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}
