//! Reading the proposals of a journal one after the other, as cheaply as can be.

use super::EntryKind;
use super::envelope;
use super::index::Held;
use super::piece::Piece;
use super::reader::{JournalReader, ReadError};

/// Entries in the order of the log: what verifying one finds out is not found out again by whoever applies it, and nothing is copied.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    reader: &'a JournalReader,
    piece: Piece,
}

/// An entry on the way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passed<'a> {
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) data: &'a [u8],
    /// What of its data enters the chain, if it is a proposal: a normal entry that is not empty.
    pub(crate) digest: Option<[u8; 32]>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(reader: &'a JournalReader) -> Self {
        Self { reader, piece: Piece::new(u64::MAX) }
    }

    /// What `read` makes of the entry with this index.
    pub(crate) fn pass<T>(&mut self, index: u64, read: impl FnOnce(Passed<'_>) -> T) -> Result<T, ReadError> {
        match self.reader.held(index)? {
            Held::Entry(entry) => {
                let is_proposal = entry.kind == EntryKind::Normal && !entry.payload.is_empty();
                let digest = is_proposal.then(|| envelope::digest(&entry.payload));
                Ok(read(Passed { index, term: entry.term, data: &entry.payload, digest }))
            }
            Held::OnDisk { location, index, term } => {
                let verified = self.piece.verified(self.reader, location, index, term)?;
                let data = self.piece.data(&verified);
                Ok(read(Passed { index, term, data, digest: verified.digest }))
            }
        }
    }
}
