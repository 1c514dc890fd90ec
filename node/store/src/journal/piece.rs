//! Pieces of segments: records that follow each other are read from the disk together, and verified one by one.

use std::ops::Range;

use super::format::{self, Found, Hash, RawEntry};
use super::index::Location;
use super::reader::{JournalReader, ReadError};
use crate::journal::EntryKind;

/// What was read of a segment last, for whoever reads one entry after the other.
#[derive(Debug)]
pub(super) struct Piece {
    segment: u32,
    /// Where it begins in the segment.
    begin: u64,
    bytes: Vec<u8>,
    /// How much is read at once, where a record does not need more.
    size_bytes: usize,
}

/// An entry in a piece that was verified.
#[derive(Clone, Debug)]
pub(super) struct Verified {
    pub(super) kind: EntryKind,
    /// Where its data is in the piece.
    data: Range<usize>,
    /// What of its data enters the chain, if it is a proposal.
    pub(super) digest: Option<Hash>,
}

impl Piece {
    /// For a reader of about so many entries.
    pub(super) fn new(entries: u64) -> Self {
        let usual = usize::try_from(entries).unwrap_or(usize::MAX).saturating_mul(RECORD_BYTES_USUAL);
        Self { segment: 0, begin: 0, bytes: Vec::new(), size_bytes: usual.min(PIECE_BYTES_MAX) }
    }

    /// The entry at a place. It is verified together with the link before it, which stands right in front of it.
    pub(super) fn entry(&mut self, reader: &JournalReader, location: Location, index: u64, term: u64) -> Result<RawEntry<'_>, ReadError> {
        let Verified { kind, data, .. } = self.verified(reader, location, index, term)?;
        Ok(RawEntry { index, term, kind, data: &self.bytes[data] })
    }

    /// The same, with what was found about it.
    pub(super) fn verified(&mut self, reader: &JournalReader, location: Location, index: u64, term: u64) -> Result<Verified, ReadError> {
        // What was read before a record was written does not hold it.
        if let Some(Ok(verified)) = self.examine(location, index, term) {
            return Ok(verified);
        }
        self.fill(reader, location)?;
        let damaged = |reason| {
            let (file, offset) = (format::file_name(location.segment), offset(location));
            Err(ReadError::Damaged { file, offset, reason })
        };
        self.examine(location, index, term).unwrap_or(Err("the file is cut off")).or_else(damaged)
    }

    /// The data of an entry that was verified here last.
    pub(super) fn data(&self, verified: &Verified) -> &[u8] {
        &self.bytes[verified.data.clone()]
    }

    /// The entry at a place, or what is wrong with it; `None`: not even the beginning of its record is here.
    fn examine(&self, location: Location, index: u64, term: u64) -> Option<Result<Verified, &'static str>> {
        let link = offset(location) - format::HASH_BYTES as u64;
        let start = link.checked_sub(self.begin).filter(|_| location.segment == self.segment)?;
        let (chain, rest) = self.bytes.get(usize::try_from(start).ok()?..)?.split_first_chunk()?;
        Some(match format::verify_record(location.segment, offset(location), rest, chain) {
            Found::Record(record) => match format::entry_in(&record) {
                Some(entry) if (entry.index, entry.term) == (index, term) => {
                    let end = self.bytes.len() - rest.len() + format::RECORD_HEADER_BYTES + record.payload.len();
                    let digest = record.proposal.map(|proposal| proposal.digest);
                    Ok(Verified { kind: entry.kind, data: end - entry.data.len()..end, digest })
                }
                _ => Err("another record stands there"),
            },
            Found::End => Err("nothing stands there"),
            Found::Bad(reason) => Err(reason),
        })
    }

    /// Reads from the link before a record on, at least to the record's end.
    fn fill(&mut self, reader: &JournalReader, location: Location) -> Result<(), ReadError> {
        self.segment = location.segment;
        self.begin = offset(location) - format::HASH_BYTES as u64;
        self.read_up_to(reader, self.size_bytes.max(HEAD_BYTES))?;
        let header = self.bytes.get(format::HASH_BYTES..).and_then(|record| record.first_chunk());
        let header = header.filter(|header| format::header_is_sound(location.segment, offset(location), header));
        let needed = header.map_or(0, |header| format::HASH_BYTES + format::record_bytes(format::payload_length(header)));
        if needed > self.bytes.len() { self.read_up_to(reader, needed) } else { Ok(()) }
    }

    fn read_up_to(&mut self, reader: &JournalReader, size_bytes: usize) -> Result<(), ReadError> {
        self.bytes.resize(size_bytes, 0);
        let read = reader.read_segment(self.segment, self.begin, &mut self.bytes)?;
        self.bytes.truncate(read);
        Ok(())
    }
}

fn offset(location: Location) -> u64 {
    u64::from(location.word) * format::ALIGNMENT as u64
}

/// The link before a record and the record's header.
const HEAD_BYTES: usize = format::HASH_BYTES + format::RECORD_HEADER_BYTES;

/// Most of a piece, and most commits fit.
const PIECE_BYTES_MAX: usize = 256 << 10;

/// A small commit with what surrounds it.
const RECORD_BYTES_USUAL: usize = 1 << 10;
