//! Serving a backup: the committed log, in slices, read on a worker of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use caps_model::codec;
use caps_model::messages::backup::{BackUp, Backed, LogEntry, Reached};
use caps_model::messages::cabinet::Founder;
use caps_overlay::{Failure, Retry, Worker};

use super::shared::Shared;
use super::subscription::Sink;
use crate::journal::{Entry, JournalReader, ReadError};
use crate::service::failure;

/// What backups are served with.
#[derive(Debug)]
pub(crate) struct Archive {
    worker: Worker,
    /// Backups that are being made at this moment.
    running: AtomicUsize,
}

impl Archive {
    pub(crate) fn new(worker: Worker) -> Self {
        Self { worker, running: AtomicUsize::new(0) }
    }
}

/// Sends where this replica is, and the log that leads there from where the backup ends.
///
/// Nothing is buffered: the next slice is read when the last one has left.
pub(crate) async fn serve(shared: Arc<Shared>, request: BackUp, sink: &mut impl Sink) -> Result<(), Failure> {
    let _running = Running::begin(&shared)?;
    let mark = shared.cabinet().mark();
    let journal = shared.journal().clone();
    if request.after > mark.index {
        let message = format!("the backup ends with entry {}, and this replica has come to {} only", request.after, mark.index);
        return Err(Failure::new(failure::BEHIND, message).retry(Retry::Elsewhere));
    }
    if journal.term(request.after) != Some(request.term) {
        let message = format!("entry {} is another one here: the backup is of another history", request.after);
        return Err(Failure::new(failure::OTHER_HISTORY, message));
    }
    let founders = shared.founders().into_iter();
    let founders = founders.map(|founder| Founder { number: founder.number, node: founder.identity, votes: founder.votes }).collect();
    let reached = Backed::Reached(Reached {
        cabinet: shared.cabinet_name.to_string(),
        node: shared.identity.name().to_owned(),
        founders,
        index: mark.index,
        position: mark.position,
        chain_head: mark.chain_head,
        moment: mark.moment,
    });
    if !sink.send(encode(&reached)?.into()).await {
        return Ok(());
    }
    // What the backup ends with comes first, to be compared.
    let mut next = request.after.max(1);
    while next <= mark.index {
        if shared.is_draining() {
            return Err(Failure::new(failure::STOPPED, "this replica is stopping; go on with another").retry(Retry::Elsewhere));
        }
        let (reader, last) = (journal.clone(), mark.index);
        let read = shared.archive.worker.run(move || slice(&reader, next, last)).await.map_err(|_| failure::stopped())?;
        let (bytes, after) = read.map_err(|error| failure::broken(&error))?;
        next = after;
        if !sink.send(bytes.into()).await {
            return Ok(());
        }
    }
    Ok(())
}

/// The next entries as a message, and the index that follows them.
fn slice(reader: &JournalReader, next: u64, last: u64) -> Result<(Vec<u8>, u64), SliceError> {
    let high = last.min(next.saturating_add(SLICE_ENTRIES - 1)) + 1;
    let entries = reader.entries(next, high, SLICE_BYTES)?;
    let after = entries.last().map_or(high, |entry| entry.index + 1);
    let message = Backed::Entries(entries.into_iter().map(sent).collect());
    Ok((codec::encode(&message).map_err(|error| SliceError::Encode(error.to_string()))?, after))
}

fn sent(entry: Entry) -> LogEntry {
    LogEntry { index: entry.index, term: entry.term, kind: entry.kind as u8, payload: entry.payload.to_vec() }
}

#[derive(Debug, thiserror::Error)]
enum SliceError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("entries cannot be encoded: {0}")]
    Encode(String),
}

fn encode(message: &Backed) -> Result<Vec<u8>, Failure> {
    codec::encode(message).map_err(|error| failure::broken(&error))
}

/// One backup under way, counted as long as it lives.
struct Running(Arc<Shared>);

impl Running {
    fn begin(shared: &Arc<Shared>) -> Result<Self, Failure> {
        let running = shared.archive.running.fetch_add(1, Ordering::Relaxed);
        let guard = Self(shared.clone());
        if running >= BACKUPS_MAX {
            return Err(failure::overloaded("other backups are being made from this replica"));
        }
        Ok(guard)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.archive.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Backups served at once: each reads the journal as fast as its reader takes it.
const BACKUPS_MAX: usize = 2;

/// Payload bytes of one message; a single entry may be larger, and still fits a frame of 1 MiB.
const SLICE_BYTES: u64 = 512 << 10;

/// Entries of one message: empty ones have a few bytes each.
const SLICE_ENTRIES: u64 = 4_096;
