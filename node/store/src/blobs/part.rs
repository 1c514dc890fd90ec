//! A blob that is arriving.

use std::sync::Arc;

use caps_model::blob::{CHUNK_BYTES, Table};
use caps_model::messages::blobs::Progress;
use tokio::sync::{Mutex, MutexGuard};

use super::limits::UNSYNCED_BYTES_MAX;
use crate::storage::File;

/// A blob that is arriving. Steps of its upload follow one another.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) table: Arc<Table>,
    state: Mutex<State>,
}

/// How far it is.
#[derive(Debug)]
pub(super) struct State {
    file: Option<Arc<dyn File>>,
    /// Nothing is taken any more.
    is_closed: bool,
    /// Whether each chunk is there; at most 16,384.
    there: Vec<bool>,
    /// Chunks below this are there.
    missing: usize,
    chunks: u32,
    /// Chunks from here on may be there from before a restart: they are read to find out.
    unproven: usize,
    unsynced_bytes: u64,
}

impl Part {
    pub(super) fn new(table: Table) -> Self {
        let chunks = table.chunks() as usize;
        let state =
            State { file: None, is_closed: false, there: vec![false; chunks], missing: 0, chunks: 0, unproven: chunks, unsynced_bytes: 0 };
        Self { table: Arc::new(table), state: Mutex::new(state) }
    }

    pub(super) async fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().await
    }
}

impl State {
    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Takes nothing any more: its file is about to go.
    pub(super) fn close(&mut self) {
        self.file = None;
        self.is_closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    pub(super) fn file(&self) -> Option<Arc<dyn File>> {
        self.file.clone()
    }

    /// Its file is there; with `resumed` it was before.
    pub(super) fn opened(&mut self, file: Arc<dyn File>, resumed: bool) {
        self.file = Some(file);
        self.unproven = if resumed { 0 } else { self.there.len() };
    }

    /// A chunk that has to be read to know whether it is there, and where.
    pub(super) fn unproven(&self) -> Option<(u32, Arc<dyn File>)> {
        let index = u32::try_from(self.unproven).ok().filter(|_| self.unproven < self.there.len())?;
        Some((index, self.file.clone()?))
    }

    /// It was read.
    pub(super) fn proven(&mut self, index: u32, there: bool) {
        self.unproven = self.unproven.max(index as usize + 1);
        if there {
            self.take(index, false);
        }
    }

    pub(super) fn has(&self, index: u32) -> bool {
        self.there.get(index as usize).copied().unwrap_or(false)
    }

    /// Whether the next chunk is to be synced with all before it.
    pub(super) fn is_sync_due(&self) -> bool {
        self.unsynced_bytes + CHUNK_BYTES as u64 >= UNSYNCED_BYTES_MAX
    }

    /// The chunk is there now.
    pub(super) fn take(&mut self, index: u32, synced: bool) {
        if let Some(there) = self.there.get_mut(index as usize)
            && !std::mem::replace(there, true)
        {
            self.chunks += 1;
        }
        self.unsynced_bytes = if synced { 0 } else { self.unsynced_bytes + CHUNK_BYTES as u64 };
        while self.there.get(self.missing).copied().unwrap_or(false) {
            self.missing += 1;
        }
    }

    pub(super) fn progress(&self) -> Progress {
        let missing = u32::try_from(self.missing).ok().filter(|_| self.missing < self.there.len());
        Progress { chunks: self.chunks, missing }
    }
}
