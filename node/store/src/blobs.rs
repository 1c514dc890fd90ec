//! Blobs: large values that the journal and the state only name, kept as files of their own beside the journal.
//!
//! | file | what it is |
//! |---|---|
//! | `blob-<hash>` | a whole blob, durable: its [table](caps_model::blob), then its bytes |
//! | `blob-<hash>.part` | the same while it arrives: chunks that are not there yet are zeros |
//! | `blob-<hash>.damaged-<n>` | one that could not be proven: set aside, never read again; it goes only with a blob that is obliterated |
//! | `blob-names` | which blobs commits named, and up to which entry of the log that is known ([`names`]) |
//!
//! A blob is *here* once its file is written, synced, renamed and the directory synced, in this order. Every chunk is proven by its table whenever
//! it is read, and the table by the blob's name: what cannot be proven is set aside, said, and fetched from another replica; it is never served.
//! Whatever a commit named is kept for ever, unless all that named it is obliterated ([`settle`]); what nobody named within
//! [`UNNAMED_KEPT`](limits::UNNAMED_KEPT) is removed. Both are overwritten before.
//!
//! This module is one replica's own shelf and knows nothing of the others. `replica::blobs` fetches, spreads and answers.
//!
//! Start reading at [`Blobs`]; then [`files`] (what is on disk), [`index`] (what is known of it).

mod files;
mod index;
pub(crate) mod limits;
mod names;
mod part;
pub(crate) mod proof;
mod settle;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard};

use caps_model::BlobId;
use caps_model::blob::Table;
use caps_model::messages::blobs::Progress;
use caps_overlay::{Identity, Worker, WorkerGone};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::storage::{Storage, StorageError};
use files::{Reading, part_name, whole_name};
use index::{Index, Put};
use names::{Names, Note};
use part::Part;

pub(crate) use files::{Files, is_set_aside};
pub(crate) use index::Errand;
pub(crate) use names::Settlement;
pub(crate) use settle::Doomed;

/// The blobs of one replica.
///
/// Everything that touches the disk runs on a worker of its own, in steps of at most one chunk, so that it stands neither before a sync of the
/// journal nor before a call.
pub(crate) struct Blobs {
    files: Arc<Files>,
    worker: Worker,
    index: Mutex<Index>,
    names: Mutex<Names>,
    /// Held by whoever writes notes.
    noting: tokio::sync::Mutex<()>,
    /// The entry of the log up to which obliterations are carried out here, as far as blobs are concerned.
    settled: AtomicU64,
    /// Told whenever a blob has arrived, is wanted, or is to be noted, and when an obliteration is carried out.
    changed: Notify,
}

/// Why a blob is not served or not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlobError {
    /// It is not here.
    #[error("this replica has not got the blob")]
    Absent,
    /// It was here and is damaged. It was set aside.
    #[error("the blob is damaged here and was set aside")]
    Damaged,
    /// A chunk came before the table that proves it.
    #[error("the upload was not begun here: begin it first")]
    NotBegun,
    /// The caller is at fault: these bytes are not that chunk, or there is no such chunk.
    #[error("{0}")]
    Refused(String),
    /// Too many blobs arrive at once.
    #[error("{} blobs arrive here at once, and more are not taken", limits::PARTS_MAX)]
    Busy,
    /// Too much is here that no commit named.
    #[error("blobs that no commit named may take {} GiB together, and more are not taken", limits::UNNAMED_BYTES_MAX >> 30)]
    TooMuchUnnamed,
    /// The disk.
    #[error("the blob cannot be kept: {0}")]
    Storage(#[from] StorageError),
    /// The worker has gone: the node is stopping.
    #[error("the worker for blobs is gone")]
    WorkerGone,
}

impl Blobs {
    /// Looks through the directory, for the journal of this incarnation; what is obviously damaged is set aside. Nothing is changed on the disk of
    /// a replica without blobs.
    pub(crate) fn open(storage: Arc<dyn Storage>, incarnation: u64, worker: Worker, now: Instant) -> Result<Self, StorageError> {
        let (names, notes) = Names::open(&*storage, incarnation)?;
        let (files, found) = Files::open(storage)?;
        let index = Index::new(found, notes, now);
        let missing = index.missing();
        if missing > 0 {
            tracing::warn!(missing, "commits name blobs that are not here: they are fetched from the other replicas");
        }
        Ok(Self {
            files: Arc::new(files),
            worker,
            index: Mutex::new(index),
            settled: AtomicU64::new(names.settled()),
            names: Mutex::new(names),
            noting: tokio::sync::Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// Up to which entry of the log it is known which blobs commits named.
    pub(crate) fn noted(&self) -> u64 {
        unpoisoned(&self.names).noted()
    }

    /// Takes note of the blobs that the entry at `index` named. Durable a little later ([`keep_notes`](Self::keep_notes)); until then the entry
    /// itself is what a restart finds it by.
    pub(crate) fn note(&self, index: u64, blobs: impl IntoIterator<Item = BlobId>, now: Instant) {
        // A state that is rebuilt applies entries again; what became of their blobs since must not be undone.
        if !unpoisoned(&self.names).is_new(index) {
            return;
        }
        let mut any = unpoisoned(&self.names).passed(index);
        for blob in blobs {
            unpoisoned(&self.names).add(Note::Named { index, blob });
            self.index().name(blob, index, now);
            any = true;
        }
        if any {
            self.changed.notify_waiters();
        }
    }

    /// Makes durable what was noted. A disk that fails costs only time: the next start looks through the log again.
    pub(crate) async fn keep_notes(&self) -> Result<(), BlobError> {
        let _noting = self.noting.lock().await;
        let Some(mut batch) = unpoisoned(&self.names).batch() else { return Ok(()) };
        let files = self.files.clone();
        let (batch, result) = self
            .worker
            .run(move || {
                let result = batch.write(files.storage());
                (batch, result)
            })
            .await?;
        unpoisoned(&self.names).written(batch, &result);
        result.map_err(|error| error.into_cause().into())
    }

    /// Whether there is something for [`keep_notes`](Self::keep_notes).
    pub(crate) fn has_notes(&self) -> bool {
        unpoisoned(&self.names).has_news()
    }

    /// Whether the blob is here, whole and durable. Being asked about keeps it from being removed for a while.
    pub(crate) fn holds(&self, blob: BlobId, now: Instant) -> bool {
        self.index().touch(blob, now)
    }

    /// Sees to it that the blob is fetched, though no commit names it yet; best from `from`.
    pub(crate) fn want(&self, blob: BlobId, from: Option<Identity>, now: Instant) {
        if self.index().want(blob, from, now) {
            self.changed.notify_waiters();
        }
    }

    /// Resolves when something has changed since this was called.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// The next blob to be fetched, if its time has come; or when that is.
    pub(crate) fn errand(&self, now: Instant) -> Result<Errand, Option<Instant>> {
        self.index().errand(now)
    }

    /// An errand has ended: the blob is here, or is tried again later.
    pub(crate) fn errand_done(&self, blob: BlobId, now: Instant) {
        self.index().errand_done(blob, now);
    }

    /// Makes ready for the chunks of a blob; how much of it is there already. An upload that a crash interrupted goes on: what it left is proven
    /// chunk by chunk.
    pub(crate) async fn begin(&self, table: Table, now: Instant) -> Result<Progress, BlobError> {
        let blob = table.id();
        let place = self.index().place(blob, table, now)?;
        let Put::Arriving(part) = place else { return Ok(Progress { chunks: self.chunks_of(blob), missing: None }) };
        let mut state = part.lock().await;
        if state.is_closed() {
            return Err(BlobError::NotBegun);
        }
        if !state.is_open() {
            let (files, table) = (self.files.clone(), part.table.clone());
            match self.worker.run(move || files.begin(&table)).await? {
                Ok((file, resumed)) => state.opened(file, resumed),
                Err(error) => {
                    self.index().forget(blob);
                    return Err(error.into());
                }
            }
        }
        while let Some((index, file)) = state.unproven() {
            let table = part.table.clone();
            let there = self.worker.run(move || Files::read_part(&*file, &table, index)).await?;
            state.proven(index, there?);
        }
        self.finish_if_whole(blob, &part, &mut state, now).await
    }

    /// Takes one chunk. One that is there is not written again; one that is not what the table says is refused.
    pub(crate) async fn put(&self, blob: BlobId, index: u32, bytes: Vec<u8>, now: Instant) -> Result<Progress, BlobError> {
        let place = self.index().arriving(blob, now)?;
        let Put::Arriving(part) = place else { return Ok(Progress { chunks: self.chunks_of(blob), missing: None }) };
        if index >= part.table.chunks() || bytes.len() != part.table.chunk_bytes(index) {
            return Err(BlobError::Refused(format!("the blob has no chunk {index} of {} bytes", bytes.len())));
        }
        let mut state = part.lock().await;
        let Some(file) = state.file() else { return Err(BlobError::NotBegun) };
        if !state.has(index) {
            let sync = state.is_sync_due();
            let (files, table) = (self.files.clone(), part.table.clone());
            let written = self.worker.run(move || files.write_chunk(&*file, &table, index, &bytes, sync)).await?;
            match written {
                Ok(true) => state.take(index, sync),
                Ok(false) => return Err(BlobError::Refused(format!("these bytes are not chunk {index} of the blob"))),
                Err(error) => return Err(self.spoilt(blob, error).await),
            }
        }
        self.finish_if_whole(blob, &part, &mut state, now).await
    }

    /// The table of a blob that is here.
    pub(crate) async fn table(&self, blob: BlobId, now: Instant) -> Result<Arc<Table>, BlobError> {
        if let Some(table) = self.index().table(blob)? {
            return Ok(table);
        }
        let files = self.files.clone();
        let table = self.worker.run(move || files.table(blob)).await?;
        let table = Arc::new(self.read(blob, table, now)?);
        self.index().remember(blob, table.clone());
        Ok(table)
    }

    /// One chunk of a blob that is here, proven.
    pub(crate) async fn chunk(&self, blob: BlobId, index: u32, now: Instant) -> Result<Vec<u8>, BlobError> {
        let table = self.table(blob, now).await?;
        if index >= table.chunks() {
            return Err(BlobError::Refused(format!("the blob has {} chunks, and no number {index}", table.chunks())));
        }
        let files = self.files.clone();
        let chunk = self.worker.run(move || files.chunk(blob.hash, &table, index)).await?;
        self.read(blob, chunk, now)
    }

    /// Removes blobs and parts of blobs that nobody named or asked about for long.
    pub(crate) async fn sweep(&self, now: Instant) -> Result<(), BlobError> {
        let stale = self.index().stale(now);
        let mut result = Ok(());
        for (blob, whole) in stale {
            if result.is_ok() {
                tracing::info!(%blob, whole, "removing a blob that no commit named");
                let name = if whole { whole_name(&blob.hash) } else { part_name(&blob.hash) };
                result = self.burn(name).await;
            }
            self.index().burnt(blob);
        }
        result
    }

    /// Overwrites a file of a blob and removes it, a chunk at a time.
    async fn burn(&self, name: String) -> Result<(), BlobError> {
        let files = self.files.clone();
        let mut burning = self.worker.run(move || files.burning(&name)).await??;
        while let Some(mut piece) = burning.take() {
            let files = self.files.clone();
            let stepped = self.worker.run(move || piece.step(files.storage()).map(|more| more.then_some(piece)));
            burning = stepped.await??;
        }
        Ok(())
    }

    /// The blobs that are here after this one, in order; at most `limit`.
    pub(crate) fn after(&self, blob: Option<BlobId>, limit: usize) -> Vec<BlobId> {
        self.index().after(blob, limit)
    }

    /// Forgets which tables were read: the next read looks at the disk.
    #[cfg(test)]
    pub(crate) fn forget_tables(&self) {
        self.index().forget_tables();
    }

    async fn finish_if_whole(&self, blob: BlobId, part: &Part, state: &mut part::State, now: Instant) -> Result<Progress, BlobError> {
        let progress = state.progress();
        if progress.missing.is_some() {
            return Ok(progress);
        }
        let Some(file) = state.file() else { return Ok(progress) };
        let (files, table) = (self.files.clone(), part.table.clone());
        match self.worker.run(move || files.finish(&*file, &table)).await? {
            Ok(()) => {
                self.index().arrived(blob, part.table.clone(), now);
                self.changed.notify_waiters();
                Ok(progress)
            }
            Err(error) => Err(self.spoilt(blob, error).await),
        }
    }

    /// After a failed write or sync nobody knows what the disk holds: nothing of this is used any more.
    async fn spoilt(&self, blob: BlobId, error: StorageError) -> BlobError {
        self.index().forget(blob);
        let files = self.files.clone();
        // If even that fails, the next upload of this blob does it.
        self.worker.run(move || files.discard_part(blob.hash)).await.ok();
        error.into()
    }

    /// What came of a read; damage makes the blob one that is not here.
    fn read<T>(&self, blob: BlobId, reading: Reading<T>, now: Instant) -> Result<T, BlobError> {
        let error = match reading {
            Reading::Good(good) => return Ok(good),
            Reading::Damaged => BlobError::Damaged,
            Reading::Gone => BlobError::Absent,
            Reading::Failed(error) => return Err(error.into()),
        };
        self.index().lost(blob, now);
        self.changed.notify_waiters();
        Err(error)
    }

    fn chunks_of(&self, blob: BlobId) -> u32 {
        u32::try_from(blob.size_bytes.div_ceil(caps_model::blob::CHUNK_BYTES as u64)).unwrap_or(u32::MAX)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        unpoisoned(&self.index)
    }
}

impl fmt::Debug for Blobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blobs").field("index", &self.index()).finish_non_exhaustive()
    }
}

impl From<WorkerGone> for BlobError {
    fn from(_: WorkerGone) -> Self {
        Self::WorkerGone
    }
}

/// A panic while one of these locks is held is our bug; what they guard is consistent between statements, so that others go on.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
