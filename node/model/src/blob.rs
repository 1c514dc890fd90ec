//! What a blob is made of: chunks, and the table that proves them.
//!
//! A blob's bytes are cut into chunks of [`CHUNK_BYTES`]; the last one is what is left. Its *table* is, byte by byte:
//!
//! | bytes | what |
//! |---|---|
//! | 16 | `caps blob 1` and zeros |
//! | 8 | how many bytes the blob has, little-endian |
//! | 32 each | SHA-256 of each chunk, in order |
//!
//! and its hash is SHA-256 of the table. So whoever knows a blob's name can prove the table, and with the table every chunk by itself, in any
//! order and from anybody: nothing unproven is ever kept or handed on, and a broken transfer goes on where it broke. A table has at most
//! 512 KiB, which fits one message.

use std::ops::Range;

use bincode::de::{BorrowDecoder, Decoder};
use bincode::error::DecodeError;
use bincode::{BorrowDecode, Decode, Encode};
use sha2::{Digest, Sha256};

use crate::BlobId;

/// The chunks of one blob, by their digests. Its parts always agree: whoever decodes one can rely on that.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
pub struct Table {
    size_bytes: u64,
    digests: Vec<[u8; 32]>,
}

/// Makes a table of bytes that come one after the other.
#[derive(Clone, Debug, Default)]
pub struct TableMaker {
    size_bytes: u64,
    digests: Vec<[u8; 32]>,
    chunk: Sha256,
    in_chunk: usize,
}

/// There is no such table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The blob is too large.
    #[error("a blob has at most {SIZE_BYTES_MAX} bytes: split what is larger")]
    TooLarge,
    /// Size and digests contradict each other.
    #[error("{digests} digests are not those of {size_bytes} bytes")]
    Count {
        /// The size.
        size_bytes: u64,
        /// The digests.
        digests: usize,
    },
    /// The bytes are no table.
    #[error("the bytes are no table of a blob")]
    Malformed,
}

impl Table {
    /// The table of a blob of this size with these chunks.
    pub fn new(size_bytes: u64, digests: Vec<[u8; 32]>) -> Result<Self, TableError> {
        if size_bytes > SIZE_BYTES_MAX {
            return Err(TableError::TooLarge);
        }
        if digests.len() as u64 != size_bytes.div_ceil(CHUNK_BYTES as u64) {
            return Err(TableError::Count { size_bytes, digests: digests.len() });
        }
        Ok(Self { size_bytes, digests })
    }

    /// The table of these bytes.
    pub fn of(bytes: &[u8]) -> Result<Self, TableError> {
        let mut maker = TableMaker::default();
        maker.push(bytes)?;
        maker.finish()
    }

    /// The name of the blob.
    pub fn id(&self) -> BlobId {
        BlobId { hash: Sha256::digest(self.to_bytes()).into(), size_bytes: self.size_bytes }
    }

    /// The table byte by byte, as it is hashed and as it stands at the head of a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + 32 * self.digests.len());
        bytes.extend(MAGIC);
        bytes.extend(self.size_bytes.to_le_bytes());
        self.digests.iter().for_each(|digest| bytes.extend(digest));
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) gave, all of it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TableError> {
        let (head, digests) = bytes.split_at_checked(HEAD_BYTES).ok_or(TableError::Malformed)?;
        let size_bytes = size_in(head).ok_or(TableError::Malformed)?;
        let (digests, []) = digests.as_chunks::<32>() else { return Err(TableError::Malformed) };
        Self::new(size_bytes, digests.to_vec())
    }

    /// How many bytes the blob has.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// How many chunks it has; at most 16,384.
    pub fn chunks(&self) -> u32 {
        u32::try_from(self.digests.len()).unwrap_or(u32::MAX)
    }

    /// How many bytes this chunk has; 0 if there is no such chunk.
    pub fn chunk_bytes(&self, index: u32) -> usize {
        let left = self.size_bytes.saturating_sub(u64::from(index) * CHUNK_BYTES as u64);
        usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES)
    }

    /// Whether these bytes are this chunk.
    pub fn proves(&self, index: u32, bytes: &[u8]) -> bool {
        let digest = usize::try_from(index).ok().and_then(|index| self.digests.get(index));
        digest.is_some_and(|digest| bytes.len() == self.chunk_bytes(index) && *digest == <[u8; 32]>::from(Sha256::digest(bytes)))
    }

    /// The chunks in which these bytes are, as far as there are such bytes.
    pub fn covering(&self, offset: u64, length: u64) -> Range<u32> {
        let end = offset.saturating_add(length).min(self.size_bytes);
        if offset >= end {
            return 0..0;
        }
        let chunk = |byte: u64| u32::try_from(byte / CHUNK_BYTES as u64).unwrap_or(u32::MAX);
        chunk(offset)..chunk(end - 1) + 1
    }
}

impl TableMaker {
    /// Takes the next bytes.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), TableError> {
        self.size_bytes += bytes.len() as u64;
        if self.size_bytes > SIZE_BYTES_MAX {
            return Err(TableError::TooLarge);
        }
        while !bytes.is_empty() {
            let (part, rest) = bytes.split_at(bytes.len().min(CHUNK_BYTES - self.in_chunk));
            self.chunk.update(part);
            self.in_chunk += part.len();
            bytes = rest;
            if self.in_chunk == CHUNK_BYTES {
                self.end_chunk();
            }
        }
        Ok(())
    }

    /// The table of everything that was pushed.
    pub fn finish(mut self) -> Result<Table, TableError> {
        if self.in_chunk > 0 {
            self.end_chunk();
        }
        Table::new(self.size_bytes, self.digests)
    }

    fn end_chunk(&mut self) {
        self.digests.push(self.chunk.finalize_reset().into());
        self.in_chunk = 0;
    }
}

/// By hand, because size and digests must agree.
impl<Context> Decode<Context> for Table {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let (size_bytes, digests) = (u64::decode(decoder)?, Vec::decode(decoder)?);
        Self::new(size_bytes, digests).map_err(|error| DecodeError::OtherString(error.to_string()))
    }
}

impl<'de, Context> BorrowDecode<'de, Context> for Table {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

/// The size that the head of a table tells, if it is one.
pub fn size_in(head: &[u8]) -> Option<u64> {
    let (magic, size) = head.split_first_chunk::<16>()?;
    let size = u64::from_le_bytes(size.try_into().ok()?);
    (*magic == *MAGIC && size <= SIZE_BYTES_MAX).then_some(size)
}

/// Bytes of a chunk: what travels and is proven as a whole. Large enough for few round trips, small enough for many to be on their way at once.
pub const CHUNK_BYTES: usize = 256 << 10;

/// Bytes of a blob: 4 GiB, whose table is as large as a message may comfortably be.
pub const SIZE_BYTES_MAX: u64 = 4 << 30;

/// Bytes of a table in front of the digests.
pub const HEAD_BYTES: usize = 24;

const MAGIC: &[u8; 16] = b"caps blob 1\0\0\0\0\0";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec;
    use crate::messages::blobs::Question;

    /// Computed with Python's hashlib from the table above.
    #[test]
    fn names_are_what_the_document_says() {
        let bytes: Vec<u8> = (0..300_000_u32).map(|byte| u8::try_from(byte % 251).unwrap()).collect();
        for (bytes, name) in [
            (&[][..], "blob:1f8c6571f8168f13a7342d1630ec7952531ab349440138d61e8a100feb96f117:0"),
            (b"caps", "blob:aa1ddca83fad05b3824a3d96f291992eb88f38cb2ec7a82b94facdfb56c212cd:4"),
            (&bytes, "blob:04b85decc48be152e0e4c1374e8ecfe9467467ff6e16e83c669f202756ac585f:300000"),
        ] {
            assert_eq!(Table::of(bytes).unwrap().id().to_string(), name);
        }
    }

    #[test]
    fn tables_that_contradict_themselves_are_refused() {
        assert_eq!(Table::new(1, Vec::new()), Err(TableError::Count { size_bytes: 1, digests: 0 }));
        assert_eq!(Table::new(SIZE_BYTES_MAX + 1, Vec::new()), Err(TableError::TooLarge));
        let largest = Table::new(SIZE_BYTES_MAX, vec![[7; 32]; 16_384]).unwrap();
        let bytes = codec::encode(&Question::Begin { table: largest.clone() }).unwrap();
        assert!(bytes.len() < 600 << 10, "the largest table fits a message");
        assert_eq!(codec::decode::<Question>(&bytes).unwrap(), Question::Begin { table: largest });
        let mut lies = codec::encode(&Question::Begin { table: Table::of(b"caps").unwrap() }).unwrap();
        assert_eq!(lies[2], 4, "the size is one byte here");
        lies[2] = 0;
        assert!(codec::decode::<Question>(&lies).is_err());
    }

    proptest! {
        #[test]
        fn pieces_make_the_same_table(bytes in prop::collection::vec(any::<u8>(), 0..700_000), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5)) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let mut maker = TableMaker::default();
            let mut from = 0;
            for cut in cuts.into_iter().chain([bytes.len()]) {
                maker.push(&bytes[from..cut]).unwrap();
                from = cut;
            }
            let table = maker.finish().unwrap();
            prop_assert_eq!(&table, &Table::of(&bytes).unwrap());
            prop_assert_eq!(&table, &Table::from_bytes(&table.to_bytes()).unwrap());
            for (index, chunk) in (0..).zip(bytes.chunks(CHUNK_BYTES)) {
                prop_assert!(table.proves(index, chunk));
                prop_assert!(!table.proves(index + 1, chunk));
                prop_assert!(!table.proves(index, &chunk[1..]));
            }
        }

        #[test]
        fn ranges_are_covered(size in 0..SIZE_BYTES_MAX, offset: u64, length: u64) {
            let table = Table { size_bytes: size, digests: Vec::new() };
            let covering = table.covering(offset, length);
            let end = offset.saturating_add(length).min(size);
            prop_assert_eq!(covering.is_empty(), offset >= end);
            if offset < end {
                let chunk = CHUNK_BYTES as u64;
                prop_assert!(u64::from(covering.start) * chunk <= offset && u64::from(covering.end) * chunk >= end);
                prop_assert!(u64::from(covering.end - 1) * chunk < end);
            }
        }
    }
}
