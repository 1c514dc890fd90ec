//! Merging: several runs that follow each other become one.

use std::sync::Arc;

use super::StateError;
use super::block::{Block, BlockId};
use super::run::{Run, RunWriter};
use super::shelf::Shelf;

/// A merge under way.
///
/// A block whose keys lie between those of all other runs is taken over as it is, unread: what commits add at the end (versions of new objects,
/// commits, their names) is written once and never again, however often its run is merged.
#[derive(Debug)]
pub(super) struct Merge<'a> {
    from: &'a Shelf,
    writer: RunWriter<'a>,
    rules: Rules,
    /// The newest first.
    inputs: Vec<Input>,
    replaced: Vec<BlockId>,
}

/// How a merge is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Whether no older run has anything that a key must be known to be gone from.
    pub(super) is_oldest: bool,
    /// Whether blocks may be taken over.
    pub(super) takes_over: bool,
}

#[derive(Debug)]
struct Input {
    run: Arc<Run>,
    at: usize,
    /// The block at `at`, once it had to be read.
    block: Option<Block>,
    entry: usize,
}

impl<'a> Merge<'a> {
    /// Merges `runs`, the newest first, from one shelf into a writer.
    pub(super) fn new(from: &'a Shelf, writer: RunWriter<'a>, runs: &[Arc<Run>], rules: Rules) -> Self {
        let inputs = runs.iter().map(|run| Input { run: run.clone(), at: 0, block: None, entry: 0 }).collect();
        Self { from, writer, rules, inputs, replaced: Vec::new() }
    }

    /// Goes on until a block is written or taken over. Gives whether there is more to do.
    pub(super) fn step(&mut self) -> Result<bool, StateError> {
        loop {
            let Some((foremost, runner_up)) = self.foremost() else { return Ok(false) };
            if self.takes_over(foremost, runner_up)? {
                return Ok(true);
            }
            if self.inputs[foremost].block.is_none() {
                self.replaced.extend(self.inputs[foremost].load(self.from)?);
            }
            if self.put(foremost)? {
                return Ok(true);
            }
        }
    }

    /// The run, and the blocks of the runs it was made of that are not part of it.
    pub(super) fn finish(self) -> Result<(Run, Vec<BlockId>), StateError> {
        Ok((self.writer.finish()?, self.replaced))
    }

    /// Which input comes first, the newest of several at the same key, and which one after it.
    fn foremost(&self) -> Option<(usize, Option<usize>)> {
        let mut order: Option<(usize, Option<usize>)> = None;
        for (place, input) in self.inputs.iter().enumerate() {
            let Some(key) = input.key() else { continue };
            let is_before = |other: usize| self.inputs[other].key().is_none_or(|other| key < other);
            order = Some(match order {
                None => (place, None),
                Some((first, _)) if is_before(first) => (place, Some(first)),
                Some((first, second)) if second.is_none_or(is_before) => (first, Some(place)),
                Some(order) => order,
            });
        }
        order
    }

    fn takes_over(&mut self, foremost: usize, runner_up: Option<usize>) -> Result<bool, StateError> {
        let input = &self.inputs[foremost];
        if !self.rules.takes_over || input.block.is_some() {
            return Ok(false);
        }
        let block = &input.run.blocks[input.at];
        let is_alone = runner_up.and_then(|other| self.inputs[other].key()).is_none_or(|key| key > block.last.as_slice());
        let taken = is_alone && self.writer.takes_over(block)?;
        if taken {
            self.inputs[foremost].at += 1;
        }
        Ok(taken)
    }

    /// Writes the foremost entry, and passes over what it overwrote.
    fn put(&mut self, foremost: usize) -> Result<bool, StateError> {
        let (newer, rest) = self.inputs.split_at_mut(foremost);
        let Some((input, older)) = rest.split_first_mut() else { return Ok(false) };
        debug_assert!(newer.iter().all(|newer| newer.key().is_none_or(|key| Some(key) > input.key())));
        let Some((key, value)) = input.head() else { return Ok(false) };
        for older in older {
            if older.key() == Some(key) {
                if older.block.is_none() {
                    self.replaced.extend(older.load(self.from)?);
                }
                older.advance();
            }
        }
        let completed = match value {
            None if self.rules.is_oldest => false,
            value => self.writer.push(key, value)?,
        };
        input.advance();
        Ok(completed)
    }
}

impl Input {
    /// The key that comes next; known without reading where a block begins.
    fn key(&self) -> Option<&[u8]> {
        match &self.block {
            Some(block) => Some(block.key(self.entry)),
            None => self.run.blocks.get(self.at).map(|block| block.first.as_slice()),
        }
    }

    fn head(&self) -> Option<(&[u8], Option<&[u8]>)> {
        self.block.as_ref().map(|block| (block.key(self.entry), block.value(self.entry)))
    }

    /// Reads the block that is next, and gives its name.
    fn load(&mut self, from: &Shelf) -> Result<Option<BlockId>, StateError> {
        let Some(info) = self.run.blocks.get(self.at) else { return Ok(None) };
        self.block = Some(from.read_block(info)?);
        self.entry = 0;
        Ok(Some(info.id))
    }

    fn advance(&mut self) {
        self.entry += 1;
        if self.block.as_ref().is_none_or(|block| self.entry >= block.len()) {
            self.block = None;
            self.at += 1;
        }
    }
}
