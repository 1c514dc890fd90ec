//! Takes obliterated values out of the journal's segments, on a worker of its own, so that neither the driver nor the next commit waits.
//!
//! Blobs that only those values named go first, and at once ([`super::blobs::doomed`]): which they are is in the journal as long as the values are.
//!
//! What is to go is found out when an obliteration is applied, from the state as it is right then. Then the segment that is being written is
//! finished, because only finished ones are rewritten. They are rewritten from the last to the first: whatever a crash leaves, every entry
//! that can no longer be decided about has its decision beside it, because what it depends on comes before it. What was not finished is made up
//! for at the next start, before anything is served.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use caps_model::CommitId;
use caps_overlay::{Worker, WorkerGone};
use futures_util::future::BoxFuture;

use super::blobs::doomed;
use super::shared::{Shared, Stopped};
use crate::blobs::BlobError;
use crate::cabinet::{BadProposal, Became, Cabinet, Obliteration, Proposal, Proposed, Redaction};
use crate::journal::{JournalReader, JournalWriter, ReadError, RedactError, WriteError};
use crate::replay::{ReplayError, replay};
use crate::state::StateError;
use crate::storage::StorageError;

/// Why obliterated values are still in the journal.
#[derive(Debug, thiserror::Error)]
pub enum NotRedacted {
    /// The journal cannot be read, or is damaged.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The journal cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The journal cannot be rewritten.
    #[error("the journal cannot be rewritten")]
    Storage(#[from] StorageError),
    /// The state does not answer.
    #[error(transparent)]
    State(#[from] StateError),
    /// An entry makes no sense.
    #[error(transparent)]
    Entry(#[from] BadProposal),
    /// The rewritten state cannot be brought up to the journal.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// Blobs cannot be taken away.
    #[error("blobs cannot be taken away: {0}")]
    Blobs(#[source] StorageError),
    /// The worker for blobs has gone: the node is stopping.
    #[error("the worker for blobs is gone")]
    WorkerGone,
}

/// The worker that redacts, and what it is to do.
pub(crate) struct Redactor {
    worker: Worker,
    shared: Arc<Shared>,
    reader: JournalReader,
    /// What is to be done next. A later plan includes an earlier one that was not begun.
    wanted: Option<Plan>,
    /// The job of the disk after which what is wanted stands in finished segments, once it is known.
    finished_after: Option<u64>,
    /// The blobs of the last plan are being taken away.
    settling: Option<BoxFuture<'static, Result<(), NotRedacted>>>,
    /// A plan came meanwhile: its blobs are next.
    settles_again: bool,
    job: Option<BoxFuture<'static, Result<Result<u64, NotRedacted>, WorkerGone>>>,
}

/// What is to be taken out of entries up to the last obliteration.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) redaction: Redaction,
    /// The obliterations that ask for it, by their entries.
    pub(super) orders: BTreeMap<u64, Obliteration>,
    pub(super) last: u64,
}

impl Redactor {
    pub(crate) fn new(worker: Worker, shared: Arc<Shared>, reader: JournalReader) -> Self {
        Self { worker, shared, reader, wanted: None, finished_after: None, settling: None, settles_again: false, job: None }
    }

    /// An obliteration was applied just now, and nothing after it.
    pub(crate) fn want(&mut self, shared: &Shared) -> Result<(), Stopped> {
        self.wanted = Plan::make(shared, &self.reader, shared.redacted_index()).map_err(failed)?;
        self.finished_after = None;
        self.settles_again = true;
        self.settle();
        Ok(())
    }

    /// Whether the segment that is being written is to be finished.
    pub(crate) fn wants_finished_segments(&self) -> bool {
        self.wanted.is_some() && self.finished_after.is_none()
    }

    /// The segment will be finished with this job of the disk.
    pub(crate) fn finished_after(&mut self, job: u64) {
        self.finished_after = Some(job);
    }

    /// Starts what is wanted, if the disk has come far enough and nothing else is under way.
    pub(crate) fn start(&mut self, finished: u64) {
        if self.job.is_some() || self.settling.is_some() || self.finished_after.is_none_or(|job| finished < job) {
            return;
        }
        let Some(plan) = self.wanted.take() else { return };
        let (worker, shared, reader) = (self.worker.clone(), self.shared.clone(), self.reader.clone());
        self.job = Some(Box::pin(async move { worker.run(move || plan.carry_out(&shared, &reader)).await }));
    }

    /// Resolves when a step is done; with the index up to which everything was taken out, if it was the last one.
    pub(crate) async fn stepped(&mut self) -> Result<Option<u64>, Stopped> {
        tokio::select! {
            // The short one first: who wants to name blobs waits for it.
            biased;
            settled = ended(&mut self.settling) => {
                self.settling = None;
                settled.map_err(failed)?;
                self.settle();
                Ok(None)
            }
            done = ended(&mut self.job) => {
                self.job = None;
                done.map_err(|_| Stopped::WorkerGone)?.map(Some).map_err(failed)
            }
        }
    }

    fn settle(&mut self) {
        if !self.settles_again || self.settling.is_some() {
            return;
        }
        self.settles_again = false;
        let Some(plan) = self.wanted.clone() else { return };
        let (shared, reader) = (self.shared.clone(), self.reader.clone());
        self.settling = Some(Box::pin(async move {
            let last = plan.last;
            let found = {
                let shared = shared.clone();
                shared.clone().blobs.run(move || doomed(&plan, &shared, &reader)).await
            };
            shared.blobs.settle(last, found??).await.map_err(NotRedacted::from)
        }));
    }
}

async fn ended<T>(job: &mut Option<BoxFuture<'static, T>>) -> T {
    match job {
        Some(job) => job.await,
        None => std::future::pending().await,
    }
}

/// Takes out, when a replica opens, what a crash or another start left in.
pub(super) fn make_up(shared: &Shared, writer: &mut JournalWriter, reader: &JournalReader) -> Result<(), NotRedacted> {
    let done = reader.redacted_up_to(shared.seat().incarnation)?;
    shared.note_redacted(done);
    let Some(plan) = Plan::make(shared, reader, done)? else {
        let applied = shared.cabinet().mark().index;
        let last = reader.obliterations(applied).last().copied().unwrap_or(0);
        return shared.blobs.settle_at_once(last, Vec::new()).map_err(NotRedacted::Blobs);
    };
    tracing::info!(cabinet = %shared.cabinet_name, up_to = plan.last, "taking obliterated values out of the journal");
    shared.blobs.settle_at_once(plan.last, doomed(&plan, shared, reader)?).map_err(NotRedacted::Blobs)?;
    writer.finish_segment()?;
    let done = plan.carry_out(shared, reader)?;
    shared.note_redacted(done);
    Ok(())
}

impl Plan {
    /// What obliterations after `done` ask for, of those that are applied.
    fn make(shared: &Shared, reader: &JournalReader, done: u64) -> Result<Option<Self>, NotRedacted> {
        let cabinet = shared.cabinet();
        let pending: Vec<u64> = reader.obliterations(cabinet.mark().index).into_iter().filter(|index| *index > done).collect();
        let Some(&last) = pending.last() else { return Ok(None) };
        let mut orders = BTreeMap::new();
        for index in pending {
            for entry in reader.entries(index, index + 1, u64::MAX)? {
                if let Proposal::Obliterate(order) = Proposed::decode(&entry.payload, entry.index, entry.term)?.proposal {
                    orders.insert(entry.index, order);
                }
            }
        }
        Ok(Some(Self { redaction: cabinet.redaction(orders.values())?, orders, last }))
    }

    fn carry_out(self, shared: &Shared, reader: &JournalReader) -> Result<u64, NotRedacted> {
        let finished = reader.finished_segments();
        if let Some(first) = self.first_concerned(shared, reader, finished)? {
            for segment in (first..=finished).rev() {
                let redacted = reader.redact(segment, |entry| {
                    if entry.index > self.last {
                        return Ok(false);
                    }
                    self.redaction.redact(entry.data, (entry.index, entry.term), |id| became(shared, id, entry.index, entry.stands))
                });
                redacted.map_err(NotRedacted::from)?;
            }
        }
        reader.forget(self.last);
        purge(shared, reader)?;
        reader.note_redacted(shared.seat().incarnation, self.last)?;
        tracing::info!(cabinet = %shared.cabinet_name, up_to = self.last, "obliterated values are out of the journal");
        Ok(self.last)
    }

    /// The first segment that holds something that is to go.
    fn first_concerned(&self, shared: &Shared, reader: &JournalReader, finished: u32) -> Result<Option<u32>, NotRedacted> {
        for segment in 1..=finished {
            let mut concerned = false;
            let looked = reader.redact::<NotRedacted>(segment, |entry| {
                if !concerned && entry.index <= self.last {
                    concerned = self.redaction.concerns(entry.data, |id| became(shared, id, entry.index, entry.stands))?;
                }
                Ok(false)
            });
            looked.map_err(NotRedacted::from)?;
            if concerned {
                return Ok(Some(segment));
            }
        }
        Ok(None)
    }
}

/// Has the state rewritten. The cabinet is locked when that begins, and when the new state takes its place; in between, which may be minutes, it is
/// read and written.
pub(super) fn purge(shared: &Shared, reader: &JournalReader) -> Result<(), NotRedacted> {
    // A statement of its own, so that the lock is let go.
    let purge = shared.cabinet().purge()?;
    let Some(purge) = purge else { return Ok(()) };
    let mut fresh = Cabinet::new(purge.copy()?);
    let mut catch_up = |last: u64| {
        replay(reader, &mut fresh, last, |_, _, _| ControlFlow::Continue(()), &mut |_| {})?;
        Ok::<u64, ReplayError>(fresh.mark().index)
    };
    let replaced = loop {
        let applied = shared.cabinet().mark().index;
        let caught_up = catch_up(applied)?;
        let mut cabinet = shared.cabinet();
        let applied = cabinet.mark().index;
        if applied - caught_up <= REPLAYED_AT_ONCE {
            catch_up(applied)?;
            assert_eq!(fresh.mark(), cabinet.mark(), "the same log gives the same state");
            break std::mem::replace(&mut *cabinet, fresh);
        }
    };
    Ok(purge.end(replaced.into_state())?)
}

/// What became of the proposal in an entry. The cabinet is locked for one entry at a time: the driver wants it, too.
pub(super) fn became(shared: &Shared, id: CommitId, index: u64, stands: bool) -> Result<Became, NotRedacted> {
    if stands { Ok(shared.cabinet().became(id, index)?) } else { Ok(Became::Nothing) }
}

impl From<RedactError<Self>> for NotRedacted {
    fn from(error: RedactError<Self>) -> Self {
        match error {
            RedactError::Read(error) => Self::Read(error),
            RedactError::Storage(error) => Self::Storage(error),
            RedactError::Edit(error) => error,
        }
    }
}

impl From<BlobError> for NotRedacted {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Storage(error) => Self::Blobs(error),
            _ => Self::WorkerGone,
        }
    }
}

fn failed(error: NotRedacted) -> Stopped {
    Stopped::Redaction(Arc::new(error))
}

/// Entries that are brought to a rewritten state while the cabinet is locked: some milliseconds.
const REPLAYED_AT_ONCE: u64 = 64;
