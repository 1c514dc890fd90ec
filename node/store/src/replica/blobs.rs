//! The blobs of a replica among those of the others: answers about them, fetches what is missing, and sees to it that a majority has what a
//! commit is to name.
//!
//! A blob's way: upload (`Begin`, `Put` ...) → this replica's shelf → [`secure`] makes the other voters fetch it → a majority has it on disk →
//! the commit that names it is admitted → every replica that applies it keeps the blob, and fetches it if it has not got it ([`fetch`]).

mod care;
mod doomed;
mod fetch;
mod secure;

use std::sync::Arc;

use caps_model::messages::audit::{BLOBS_TOLD_MAX, BlobsTaken};
use caps_model::messages::blobs::{Answer, Progress, Question};
use caps_model::{BlobId, Commit};
use caps_overlay::{Failure, Identity, Layer, Retry};
use tokio::time::{Instant, timeout_at};

use super::shared::{AnyCabinet, Shared};
use crate::blobs::limits::ANSWER_WITHIN;
use crate::blobs::{BlobError, Blobs, Settlement};
use crate::cabinet::{Proposal, Proposed, Verdict};
use crate::journal::{EntryKind, JournalReader};
use crate::replay::ReplayError;
use crate::service::failure;
use crate::state::{Fate, State, StateError};
use crate::storage::StorageError;

pub(crate) use care::care;
pub(super) use doomed::doomed;
pub(super) use secure::{admit_blobs, within_limits};

/// Answers a question about a blob.
pub(crate) async fn answer_about_blob(
    shared: &Arc<Shared>,
    question: Question,
    peer: &Identity,
    deadline: Instant,
) -> Result<Answer, Failure> {
    let blobs = &shared.blobs;
    let now = Instant::now();
    Ok(match question {
        Question::Begin { table } => match blobs.holds(table.id(), now) || !secure::is_elsewhere(shared, table.id()).await {
            true => Answer::Progress(blobs.begin(table, Instant::now()).await.map_err(failed)?),
            false => {
                // Whoever is asked to secure it fetches it from there.
                blobs.want(table.id(), None, Instant::now());
                Answer::Progress(Progress { chunks: table.chunks(), missing: None })
            }
        },
        Question::Put { blob, index, bytes } => Answer::Progress(blobs.put(blob, index, bytes, now).await.map_err(failed)?),
        Question::Secure { blob } => Answer::Secured(secure::secure(shared, blob, before(deadline)).await?),
        Question::Want { blob, wait } => {
            let from = (peer.layer() == Some(Layer::Cabinet)).then(|| peer.clone());
            Answer::Held(want(blobs, blob, wait.then(|| before(deadline)), from, 0).await)
        }
        Question::Hold { blob, wait, settled } => {
            let from = (peer.layer() == Some(Layer::Cabinet)).then(|| peer.clone());
            Answer::Held(want(blobs, blob, wait.then(|| before(deadline)), from, settled).await)
        }
        Question::Table { blob } => Answer::Table((*blobs.table(blob, now).await.map_err(failed)?).clone()),
        Question::Chunk { blob, index } => Answer::Chunk(blobs.chunk(blob, index, now).await.map_err(failed)?),
    })
}

/// What the obliteration in an entry did to blobs here.
pub(crate) fn blobs_taken(shared: &Shared, index: u64) -> BlobsTaken {
    let settled = shared.blobs.settled() >= index;
    let Settlement { taken, left } = shared.blobs.settlement(index);
    BlobsTaken { settled, taken, left: left.into_iter().take(BLOBS_TOLD_MAX).collect() }
}

/// Takes note of the blobs of commits that were applied and not yet looked through: those since the last note of it. Reads the log at once.
pub(super) fn look_through(blobs: &Blobs, reader: &JournalReader, cabinet: &AnyCabinet, now: Instant) -> Result<(), ReplayError> {
    let applied = cabinet.mark().index;
    let mut next = blobs.noted() + 1;
    while next <= applied {
        let entries = reader.entries(next, applied + 1, READ_BYTES)?;
        let Some(last) = entries.last() else { break };
        next = last.index + 1;
        for entry in entries {
            if entry.kind != EntryKind::Normal || entry.payload.is_empty() {
                continue;
            }
            let index = entry.index;
            let proposed = Proposed::decode(&entry.payload, index, entry.term).map_err(|error| ReplayError::Entry { index, error })?;
            if let Proposal::Commit(commit) = proposed.proposal {
                let named = commit.blobs();
                if !named.is_empty() && was_accepted(cabinet, index, &commit)? {
                    blobs.note(index, named, now);
                }
            }
        }
        blobs.note(next - 1, [], now);
    }
    Ok(())
}

/// Takes note of the blobs of a commit that was just applied.
pub(super) fn note(blobs: &Blobs, index: u64, proposal: &Proposal, verdict: &Verdict) {
    let named = match (proposal, verdict) {
        (Proposal::Commit(commit), Verdict::Commit(caps_model::messages::cabinet::Committed::Accepted { repeated: false, .. })) => {
            commit.blobs()
        }
        _ => Default::default(),
    };
    blobs.note(index, named, Instant::now());
}

/// Whether it was this entry that made the commit happen.
fn was_accepted(cabinet: &AnyCabinet, index: u64, commit: &Commit) -> Result<bool, StateError> {
    let Some(Fate::Accepted(position)) = cabinet.state().fate(commit.id)? else { return Ok(false) };
    Ok(cabinet.state().commit_at(position)?.is_some_and(|record| record.index == index))
}

/// Whether the blob is here, or is by then, with obliterations up to an entry carried out.
async fn want(blobs: &Blobs, blob: BlobId, until: Option<Instant>, from: Option<Identity>, settled: u64) -> bool {
    loop {
        let changed = blobs.changed();
        if holds(blobs, blob, settled) {
            return true;
        }
        // What an obliteration is about to take away needs not be fetched before.
        if blobs.settled() >= settled {
            blobs.want(blob, from.clone(), Instant::now());
        }
        let Some(until) = until else { return false };
        if timeout_at(until, changed).await.is_err() {
            return false;
        }
    }
}

/// Whether the blob is here, and no obliteration up to an entry will take it away.
fn holds(blobs: &Blobs, blob: BlobId, settled: u64) -> bool {
    // In this order: what is here after it was settled came after it.
    blobs.settled() >= settled && blobs.holds(blob, Instant::now())
}

/// In the words of the service.
fn failed(error: BlobError) -> Failure {
    let message = error.to_string();
    match error {
        BlobError::Absent | BlobError::Damaged => Failure::new(failure::BLOB_ABSENT, message).retry(Retry::Elsewhere),
        BlobError::NotBegun => Failure::new(failure::BLOB_NOT_BEGUN, message),
        BlobError::Refused(_) => Failure::new(failure::BLOB_REFUSED, message),
        BlobError::Busy | BlobError::TooMuchUnnamed | BlobError::Storage(StorageError::Full { .. }) => {
            Failure::new(failure::BLOB_NO_ROOM, message)
        }
        BlobError::Storage(_) => Failure::new(failure::BROKEN, message),
        BlobError::WorkerGone => failure::stopped(),
    }
}

/// A little before the asker hangs up.
fn before(deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(Instant::now());
    deadline - (left / 10).min(MARGIN).max(left.saturating_sub(ANSWER_WITHIN))
}

/// Bytes of the log read at once.
const READ_BYTES: u64 = 4 << 20;

/// Time left to an answer on its way back.
const MARGIN: std::time::Duration = std::time::Duration::from_millis(200);
