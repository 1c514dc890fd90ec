//! The blobs beside a journal that is no replica's at work: a backup's, or one that is being restored. They are kept as a replica keeps them.

use std::collections::BTreeSet;
use std::sync::Arc;

use caps_model::BlobId;
use caps_model::blob::Table;

use crate::blobs::Files;
use crate::blobs::proof::{self, Look, Proof};
use crate::storage::{File, Storage, StorageError};

/// The blobs in a directory. Everything here blocks, and holds at most a table and a chunk in memory, less than a MiB.
#[derive(Debug)]
pub struct Beside {
    storage: Arc<dyn Storage>,
    files: Files,
}

/// A blob that is being written. What was there of it before is kept, if it is proven; what is taken is durable when it is [finished](Self::finish),
/// and, but for the last 8 MiB, before.
#[derive(Debug)]
pub struct Receiving<'a> {
    files: &'a Files,
    file: Arc<dyn File>,
    table: Table,
    missing: BTreeSet<u32>,
    unsynced_bytes: usize,
}

impl Beside {
    /// Looks through a directory. A file that is shorter or longer than its blob is set aside.
    pub fn open(storage: Arc<dyn Storage>) -> Result<Self, StorageError> {
        let (files, _) = Files::open(storage.clone())?;
        Ok(Self { storage, files })
    }

    /// Whether a blob is there whole. `closely`: every byte is read and proven, and `tell` hears of each piece; else the table and the length are.
    pub fn has(&self, blob: BlobId, closely: bool, tell: &mut dyn FnMut(u64)) -> Result<bool, StorageError> {
        let look = if closely { Look::Bytes } else { Look::Table };
        Ok(proof::prove(&*self.storage, blob, look, tell)? == Proof::Whole)
    }

    /// Bytes of a blob that are not to be made room for in a directory, because its file or a part of it, which is as long, is there.
    pub fn held_bytes(storage: &dyn Storage, blob: BlobId) -> u64 {
        if Files::has_any(storage, blob.hash) { blob.size_bytes } else { 0 }
    }

    /// Makes ready for the chunks of a blob.
    pub fn receive(&self, table: Table) -> Result<Receiving<'_>, StorageError> {
        let (file, resumed) = self.files.begin(&table)?;
        let mut missing = BTreeSet::new();
        for index in 0..table.chunks() {
            if !resumed || !Files::read_part(&*file, &table, index)? {
                missing.insert(index);
            }
        }
        Ok(Receiving { files: &self.files, file, table, missing, unsynced_bytes: 0 })
    }

    /// Overwrites a blob and removes it. Whether it was there.
    pub fn burn(&self, blob: BlobId) -> Result<bool, StorageError> {
        self.files.burn(blob.hash)
    }
}

impl Receiving<'_> {
    /// The numbers of the chunks that are not there; at most 16,384.
    pub fn missing(&self) -> &BTreeSet<u32> {
        &self.missing
    }

    /// Takes a chunk. `false`: it is not the one that it is said to be, and was not taken.
    pub fn put(&mut self, index: u32, bytes: &[u8]) -> Result<bool, StorageError> {
        let sync = self.unsynced_bytes + bytes.len() >= UNSYNCED_BYTES_MAX;
        if !self.files.write_chunk(&*self.file, &self.table, index, bytes, sync)? {
            return Ok(false);
        }
        self.unsynced_bytes = if sync { 0 } else { self.unsynced_bytes + bytes.len() };
        self.missing.remove(&index);
        Ok(true)
    }

    /// Makes it a whole blob, durably. `false`: it is not whole yet; what is there goes on being a part.
    pub fn finish(self) -> Result<bool, StorageError> {
        if !self.missing.is_empty() {
            return Ok(false);
        }
        self.files.finish(&*self.file, &self.table)?;
        Ok(true)
    }
}

/// Bytes between two syncs.
const UNSYNCED_BYTES_MAX: usize = 8 << 20;
