//! Runs: immutable, sorted sequences of blocks.

use bincode::{Decode, Encode};
use caps_model::Wire;

use super::StateError;
use super::block::{BlockId, BlockInfo, BlockWriter};
use super::shelf::Shelf;

/// A run, with what must be known to read a block of it only when what is asked for may be there: about 1 % of its bytes, in memory.
#[derive(Debug)]
pub(super) struct Run {
    /// What it was made as: its name.
    pub(super) lot: u64,
    /// In the order of their keys. Those taken over from older runs keep their names.
    pub(super) blocks: Vec<BlockInfo>,
    /// Bytes of all blocks, packed.
    pub(super) size_bytes: u64,
    /// How the blocks' first keys begin, side by side: most of a search needs no more, and does not follow a pointer at every step.
    beginnings: Vec<u128>,
}

/// How a manifest names a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct RunName {
    pub(super) lot: u64,
    /// How many blocks it has.
    pub(super) blocks: u64,
}

/// A part of what is known of a run's blocks: it is kept in parts, because a message has a size.
#[derive(Debug, Encode, Decode)]
pub(super) struct Chunk(pub(super) Vec<BlockInfo>);

impl Run {
    pub(super) fn new(lot: u64, blocks: Vec<BlockInfo>) -> Self {
        let size_bytes = blocks.iter().map(|block| u64::from(block.size_bytes)).sum();
        let beginnings = blocks.iter().map(|block| beginning(&block.first)).collect();
        Self { lot, blocks, size_bytes, beginnings }
    }

    pub(super) fn name(&self) -> RunName {
        RunName { lot: self.lot, blocks: self.blocks.len() as u64 }
    }

    /// How many blocks begin at or before a key; if any holds it, the last of them does.
    pub(super) fn blocks_begun(&self, key: &[u8]) -> usize {
        let wanted = beginning(key);
        let before = self.beginnings.partition_point(|beginning| *beginning < wanted);
        let alike = self.beginnings[before..].partition_point(|beginning| *beginning == wanted);
        before + self.blocks[before..before + alike].partition_point(|block| block.first.as_slice() <= key)
    }
}

/// The first bytes of a key as a number that orders like them; zeros stand for what a short key lacks.
fn beginning(key: &[u8]) -> u128 {
    let mut bytes = [0; size_of::<u128>()];
    bytes.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    u128::from_be_bytes(bytes)
}

impl RunName {
    /// In how many chunks it is kept.
    pub(super) fn chunks(self) -> u32 {
        u32::try_from(self.blocks.div_ceil(CHUNK_BLOCKS as u64)).unwrap_or(u32::MAX)
    }
}

/// Writes a run, block by block.
#[derive(Debug)]
pub(super) struct RunWriter<'a> {
    shelf: &'a Shelf,
    lot: u64,
    block_bytes: usize,
    serial: u32,
    block: BlockWriter,
    blocks: Vec<BlockInfo>,
}

impl<'a> RunWriter<'a> {
    /// Writes blocks of about `block_bytes` to the shelf.
    pub(super) fn new(shelf: &'a Shelf, lot: u64, block_bytes: usize) -> Self {
        Self { shelf, lot, block_bytes, serial: 0, block: BlockWriter::default(), blocks: Vec::new() }
    }

    /// Adds an entry. Gives whether that completed a block.
    pub(super) fn push(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<bool, StateError> {
        self.block.push(key, value);
        let is_full = self.block.size_bytes() >= self.block_bytes;
        if is_full {
            self.end_block()?;
        }
        Ok(is_full)
    }

    /// Takes a block over as it is, if it is not so small that it should rather grow together with others.
    pub(super) fn takes_over(&mut self, block: &BlockInfo) -> Result<bool, StateError> {
        let is_large = block.size_bytes as usize >= self.block_bytes / 2;
        if is_large {
            self.end_block()?;
            self.blocks.push(block.clone());
        }
        Ok(is_large)
    }

    /// Ends the run and puts down what is to be known of its blocks.
    pub(super) fn finish(mut self) -> Result<Run, StateError> {
        self.end_block()?;
        let run = Run::new(self.lot, self.blocks);
        self.shelf.put_run(&run)?;
        Ok(run)
    }

    fn end_block(&mut self) -> Result<(), StateError> {
        if self.block.size_bytes() == 0 {
            return Ok(());
        }
        let id = BlockId { lot: self.lot, serial: self.serial };
        self.serial += 1;
        let (info, packed) = self.block.finish(id);
        self.shelf.put_block(id, packed)?;
        self.blocks.push(info);
        Ok(())
    }
}

impl Wire for Chunk {}

/// Some hundred kilobytes: a filter has at most a few kilobytes, and a key some four hundred bytes (two names, a key of a map, a value and an id).
pub(super) const CHUNK_BLOCKS: usize = 256;
