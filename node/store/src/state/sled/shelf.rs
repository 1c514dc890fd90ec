//! The shelf: what the state keeps in its database, and the blocks that were read last.
//!
//! | key | value |
//! |---|---|
//! | `b` lot serial | a block |
//! | `r` lot number | a chunk of what is to be known of a run's blocks |
//! | `m` | the manifest: which runs there are, how far the state is with them, and what may be left over |
//!
//! Whatever a manifest names is put before it and taken away after one that does not name it, and the database, being a log, forgets what came
//! last: after a crash an older manifest holds. Should the database lose more than that, the checksums of what is read say so.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bincode::{Decode, Encode};
use caps_model::{Wire, codec};
use sled::IVec;

use super::block::{Block, BlockId, BlockInfo};
use super::cache::Cache;
use super::database::Database;
use super::place;
use super::run::{CHUNK_BLOCKS, Chunk, Run, RunName};
use super::{Header, StateError, engine};
use crate::state::entries::encode;

/// What is kept in the database.
#[derive(Debug)]
pub(super) struct Shelf {
    database: Database,
    path: PathBuf,
    cache: Mutex<Cache>,
}

/// What of a shelf counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct Manifest {
    /// How far the state is with these runs.
    pub(super) header: Header,
    /// The newest first.
    pub(super) runs: Vec<RunName>,
    /// Runs that were merged: those of their blocks that no other run took over may still be there.
    pub(super) dead: Vec<RunName>,
    /// Lots that are under way: their blocks belong to no run yet.
    pub(super) unfinished: Vec<u64>,
    /// No lot from here on belongs to a run.
    pub(super) next_lot: u64,
}

impl Shelf {
    /// Opens the database in a directory, making it if there is none; keeps `cache_bytes` of unpacked blocks in memory.
    pub(super) fn open(path: &Path, cache_bytes: usize) -> Result<Self, StateError> {
        let database = Database::new(place::open_database(path)?);
        Ok(Self { database, path: path.to_owned(), cache: Mutex::new(Cache::new(cache_bytes)) })
    }

    /// The manifest; that of an empty state when there is nothing at all.
    pub(super) fn manifest(&self) -> Result<Manifest, StateError> {
        match self.get(MANIFEST)? {
            Some(bytes) => codec::decode(&bytes).map_err(|source| StateError::Malformed { what: "manifest", source }),
            None if self.database.is_empty() => Ok(Manifest::default()),
            None => Err(StateError::Lacks { what: "its manifest".to_owned() }),
        }
    }

    /// Makes a manifest the one that counts.
    pub(super) fn publish(&self, manifest: &Manifest) -> Result<(), StateError> {
        self.put(MANIFEST, encode(manifest)?)
    }

    /// A block, from memory if it was read lately.
    pub(super) fn block(&self, info: &BlockInfo) -> Result<Arc<Block>, StateError> {
        if let Some(block) = self.cache().get(info.id) {
            return Ok(block);
        }
        let block = Arc::new(self.read_block(info)?);
        self.cache().put(info.id, block.clone());
        Ok(block)
    }

    /// A block that is read once, past the memory of those read lately.
    pub(super) fn read_block(&self, info: &BlockInfo) -> Result<Block, StateError> {
        let bytes = self.get(&block_key(info.id)).map_err(|error| self.damaged(error))?;
        let bytes = bytes.ok_or_else(|| self.damaged(StateError::Lacks { what: info.id.to_string() }))?;
        let block = Block::unpack(info.id, &bytes).filter(|block| block.ends() == Some((&info.first, &info.last)));
        block.ok_or_else(|| self.damaged(StateError::Damaged { what: info.id.to_string() }))
    }

    pub(super) fn put_block(&self, id: BlockId, packed: Vec<u8>) -> Result<(), StateError> {
        self.put(&block_key(id), packed)
    }

    pub(super) fn remove_block(&self, id: BlockId) -> Result<(), StateError> {
        self.cache().forget(id);
        self.database.remove(block_key(id)).map(drop).map_err(engine)
    }

    /// Puts down what is to be known of a run's blocks.
    pub(super) fn put_run(&self, run: &Run) -> Result<(), StateError> {
        (0..).zip(run.blocks.chunks(CHUNK_BLOCKS)).try_for_each(|(number, blocks)| {
            let chunk = Chunk(blocks.to_vec());
            self.put(&run_key(run.lot, number), encode(&chunk)?)
        })
    }

    /// The run of this name.
    pub(super) fn run(&self, name: RunName) -> Result<Run, StateError> {
        let mut blocks = Vec::new();
        for number in 0..name.chunks() {
            let bytes = self.get(&run_key(name.lot, number))?;
            let bytes = bytes.ok_or_else(|| StateError::Lacks { what: format!("a part of run {}", name.lot) })?;
            let chunk: Chunk = codec::decode(&bytes).map_err(|source| StateError::Malformed { what: "run", source })?;
            blocks.extend(chunk.0);
        }
        if blocks.len() as u64 != name.blocks || !blocks.is_sorted_by(|a, b| a.first <= a.last && a.last < b.first) {
            return Err(StateError::Damaged { what: format!("run {}", name.lot) });
        }
        Ok(Run::new(name.lot, blocks))
    }

    /// Removes what is known of a run's blocks.
    pub(super) fn remove_run(&self, name: RunName) -> Result<(), StateError> {
        (0..name.chunks()).try_for_each(|number| self.database.remove(run_key(name.lot, number)).map(drop).map_err(engine))
    }

    /// The first lot of which there is nothing at all: what was left over of a lot that came to nothing is not to be taken for a later one's.
    pub(super) fn first_free_lot(&self, manifest: &Manifest) -> Result<u64, StateError> {
        let mut free = manifest.next_lot;
        for kind in [b'b', b'r'] {
            let last = self.database.range(lot_keys(kind, manifest.next_lot)..vec![kind + 1]).keys().next_back();
            let lot = last.transpose().map_err(engine)?.and_then(|key| key.get(1..9)?.try_into().ok().map(u64::from_be_bytes));
            free = free.max(lot.map_or(0, |lot| lot.saturating_add(1)));
        }
        Ok(free)
    }

    /// Removes what was left over when the last process ended: blocks of lots that never became runs, and of runs that were merged.
    pub(super) fn tidy(&self, manifest: &Manifest, live: &[Arc<Run>]) -> Result<(), StateError> {
        for lot in &manifest.unfinished {
            self.remove_range(&lot_keys(b'b', *lot), &lot_keys(b'b', lot.saturating_add(1)))?;
            self.remove_range(&lot_keys(b'r', *lot), &lot_keys(b'r', lot.saturating_add(1)))?;
        }
        for kind in [b'b', b'r'] {
            self.remove_range(&lot_keys(kind, manifest.next_lot), &[kind + 1])?;
        }
        if manifest.dead.is_empty() {
            return Ok(());
        }
        let kept: BTreeSet<BlockId> = live.iter().flat_map(|run| run.blocks.iter().map(|block| block.id)).collect();
        for name in &manifest.dead {
            // What is known of its blocks is removed after them: where that is gone, they are.
            if let Ok(run) = self.run(*name) {
                run.blocks.iter().filter(|block| !kept.contains(&block.id)).try_for_each(|block| self.remove_block(block.id))?;
            }
            self.remove_run(*name)?;
        }
        Ok(())
    }

    /// Where the database is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    #[cfg(test)]
    pub(super) fn cached_bytes(&self) -> usize {
        self.cache().size_bytes()
    }

    fn remove_range(&self, from: &[u8], to: &[u8]) -> Result<(), StateError> {
        self.database.range(from..to).keys().try_for_each(|key| {
            let key = key.map_err(engine)?;
            self.database.remove(key).map(drop).map_err(engine)
        })
    }

    fn get(&self, key: &[u8]) -> Result<Option<IVec>, StateError> {
        // sled panics on some damage where it should fail.
        let found = catch_unwind(AssertUnwindSafe(|| self.database.get(key)));
        found.map_err(|_| StateError::Damaged { what: "database".to_owned() })?.map_err(engine)
    }

    fn put(&self, key: &[u8], value: Vec<u8>) -> Result<(), StateError> {
        self.database.insert(key, value).map(drop).map_err(engine)
    }

    /// Sees to it that the state is not opened again as if nothing were wrong with it.
    fn damaged(&self, error: StateError) -> StateError {
        // When this fails too, the next one to read the block finds out again.
        fs::write(self.path.join(place::DAMAGED), error.to_string()).ok();
        error
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn block_key(id: BlockId) -> Vec<u8> {
    [lot_keys(b'b', id.lot).as_slice(), &id.serial.to_be_bytes()].concat()
}

fn run_key(lot: u64, number: u32) -> Vec<u8> {
    [lot_keys(b'r', lot).as_slice(), &number.to_be_bytes()].concat()
}

fn lot_keys(kind: u8, lot: u64) -> Vec<u8> {
    [&[kind], lot.to_be_bytes().as_slice()].concat()
}

/// 2: a manifest of runs. 1 was the mark of a state that kept every key in the database by itself.
impl Wire for Manifest {
    const SCHEMA: u8 = 2;
}

const MANIFEST: &[u8] = b"m";
