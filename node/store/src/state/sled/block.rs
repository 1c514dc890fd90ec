//! Blocks: sorted entries, packed as the database keeps them and unpacked as they are read.
//!
//! Packed, an entry is four parts: the bytes that its key shares with the key before it, the bytes that follow (both counted in a variable-length
//! integer, seven bits a byte, low ones first), the size of its value plus one (zero: the key is gone), and those bytes. A checksum over the
//! block's own name and all entries ends the block, so that a block in the place of another is found out like a flipped bit.

use std::fmt;

use bincode::{Decode, Encode};

use super::filter::{Filter, Probe};

/// The name of a block: the lot that it was made in, and its number there. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub(super) struct BlockId {
    /// Which flush or merge made it.
    pub(super) lot: u64,
    /// Counted from 0.
    pub(super) serial: u32,
}

/// What is known of a block without reading it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct BlockInfo {
    pub(super) id: BlockId,
    /// Packed.
    pub(super) size_bytes: u32,
    pub(super) first: Vec<u8>,
    pub(super) last: Vec<u8>,
    pub(super) filter: Filter,
}

/// A block, ready to be read.
#[derive(Debug)]
pub(super) struct Block {
    /// Keys and values, one after the other.
    data: Vec<u8>,
    entries: Vec<Extent>,
}

/// Where an entry is in the data of its block.
#[derive(Clone, Copy, Debug)]
struct Extent {
    key: u32,
    value: u32,
    end: u32,
    is_gone: bool,
}

/// Packs a block.
#[derive(Debug, Default)]
pub(super) struct BlockWriter {
    packed: Vec<u8>,
    first: Vec<u8>,
    last: Vec<u8>,
    probes: Vec<Probe>,
}

impl BlockWriter {
    /// Adds an entry; keys come in order, each once.
    pub(super) fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        let shared = key.iter().zip(&self.last).take_while(|(a, b)| a == b).count();
        put_number(&mut self.packed, shared);
        put_number(&mut self.packed, key.len() - shared);
        put_number(&mut self.packed, value.map_or(0, |value| value.len() + 1));
        self.packed.extend_from_slice(&key[shared..]);
        self.packed.extend_from_slice(value.unwrap_or_default());
        if self.first.is_empty() {
            self.first.extend_from_slice(key);
        }
        self.last.truncate(shared);
        self.last.extend_from_slice(&key[shared..]);
        if let Some(probe) = Probe::of(key)
            && self.probes.last() != Some(&probe)
        {
            self.probes.push(probe);
        }
    }

    /// How large it is so far.
    pub(super) fn size_bytes(&self) -> usize {
        self.packed.len()
    }

    /// The block, and what is to be known of it; the writer is empty again.
    pub(super) fn finish(&mut self, id: BlockId) -> (BlockInfo, Vec<u8>) {
        let mut packed = std::mem::take(&mut self.packed);
        packed.extend_from_slice(&checksum(id, &packed).to_le_bytes());
        let filter = Filter::of(&self.probes);
        self.probes.clear();
        let (first, last) = (std::mem::take(&mut self.first), std::mem::take(&mut self.last));
        let size_bytes = u32::try_from(packed.len()).unwrap_or(u32::MAX);
        (BlockInfo { id, size_bytes, first, last, filter }, packed)
    }
}

impl Block {
    /// Unpacks a block; `None` when it is not as it was written.
    pub(super) fn unpack(id: BlockId, bytes: &[u8]) -> Option<Self> {
        let (packed, sum) = bytes.split_last_chunk()?;
        if u32::from_le_bytes(*sum) != checksum(id, packed) {
            return None;
        }
        let mut block = Self { data: Vec::with_capacity(packed.len() * 2), entries: Vec::new() };
        let mut rest = packed;
        let mut key = 0..0;
        while !rest.is_empty() {
            let (shared, own) = (take_number(&mut rest)?, take_number(&mut rest)?);
            let value = take_number(&mut rest)?;
            if shared > key.len() {
                return None;
            }
            let begins = block.data.len();
            block.data.extend_from_within(key.start..key.start + shared);
            block.data.extend_from_slice(rest.split_off(..own)?);
            key = begins..block.data.len();
            block.data.extend_from_slice(rest.split_off(..value.saturating_sub(1))?);
            let offset = |at: usize| u32::try_from(at).ok();
            block.entries.push(Extent {
                key: offset(key.start)?,
                value: offset(key.end)?,
                end: offset(block.data.len())?,
                is_gone: value == 0,
            });
        }
        Some(block)
    }

    /// How many entries it has.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Its first and its last key.
    pub(super) fn ends(&self) -> Option<(&[u8], &[u8])> {
        self.len().checked_sub(1).map(|last| (self.key(0), self.key(last)))
    }

    /// The key of an entry.
    ///
    /// # Panics
    /// When there is no such entry.
    pub(super) fn key(&self, entry: usize) -> &[u8] {
        let Extent { key, value, .. } = self.entries[entry];
        &self.data[key as usize..value as usize]
    }

    /// The value of an entry; `None`: its key is gone.
    ///
    /// # Panics
    /// When there is no such entry.
    pub(super) fn value(&self, entry: usize) -> Option<&[u8]> {
        let Extent { value, end, is_gone, .. } = self.entries[entry];
        (!is_gone).then(|| &self.data[value as usize..end as usize])
    }

    /// How many entries come before everything of which `is_before` is not true.
    pub(super) fn count_before(&self, is_before: impl Fn(&[u8]) -> bool) -> usize {
        self.entries.partition_point(|extent| is_before(&self.data[extent.key as usize..extent.value as usize]))
    }

    /// The memory that it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.data.capacity() + self.entries.capacity() * size_of::<Extent>()
    }
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {}.{}", self.lot, self.serial)
    }
}

fn checksum(id: BlockId, packed: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&id.lot.to_le_bytes());
    sum.update(&id.serial.to_le_bytes());
    sum.update(packed);
    sum.finalize()
}

fn put_number(bytes: &mut Vec<u8>, mut number: usize) {
    let low = |number: usize| number.to_le_bytes()[0];
    while number >= 0x80 {
        bytes.push(low(number) | 0x80);
        number >>= 7;
    }
    bytes.push(low(number));
}

fn take_number(bytes: &mut &[u8]) -> Option<usize> {
    let mut number = 0_usize;
    for shift in (0..NUMBER_BITS_MAX).step_by(7) {
        let byte = *bytes.split_off_first()?;
        number |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// Five groups of seven bits: more than any value is large.
const NUMBER_BITS_MAX: u32 = 35;

#[cfg(test)]
mod tests {
    use super::*;

    const ID: BlockId = BlockId { lot: 7, serial: 3 };

    fn packed() -> (BlockInfo, Vec<u8>) {
        let mut writer = BlockWriter::default();
        writer.push(b"oak", Some(b"tree"));
        writer.push(b"oakum", None);
        writer.push(b"oar", Some(b""));
        writer.push(b"ox", Some(&[7; 300]));
        writer.finish(ID)
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        let (info, bytes) = packed();
        assert_eq!((info.first.as_slice(), info.last.as_slice()), (b"oak".as_slice(), b"ox".as_slice()));
        let block = Block::unpack(ID, &bytes).unwrap();
        let entries: Vec<_> = (0..block.len()).map(|entry| (block.key(entry), block.value(entry))).collect();
        let long = [7; 300];
        assert_eq!(entries, [(b"oak".as_slice(), Some(b"tree".as_slice())), (b"oakum", None), (b"oar", Some(b"")), (b"ox", Some(&long))]);
        assert_eq!(block.count_before(|key| key < b"oar".as_slice()), 2);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let (_, bytes) = packed();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Block::unpack(ID, &damaged).is_none(), "bit {bit}");
        }
        assert!((0..bytes.len()).all(|length| Block::unpack(ID, &bytes[..length]).is_none()));
    }

    #[test]
    fn block_in_the_place_of_another_is_found() {
        assert!(Block::unpack(BlockId { serial: 4, ..ID }, &packed().1).is_none());
    }
}
