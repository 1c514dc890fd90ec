//! Reads of the journal for followers that are behind, on a worker: one at a time, each bounded, so that a follower that lacks everything takes
//! nothing from the driver but the sending.

use std::collections::VecDeque;

use caps_overlay::{Worker, WorkerGone};
use futures_util::future::BoxFuture;

use super::shared::Stopped;
use crate::journal::JournalReader;
use crate::replication::{Fetch, Fetched};

/// The worker that reads, and what it is to read. At most one read is wanted for each follower.
pub(crate) struct Fetcher {
    worker: Worker,
    reader: JournalReader,
    queue: VecDeque<Fetch>,
    job: Option<BoxFuture<'static, Result<Fetched, WorkerGone>>>,
}

impl Fetcher {
    pub(crate) fn new(worker: Worker, reader: JournalReader) -> Self {
        Self { worker, reader, queue: VecDeque::new(), job: None }
    }

    /// Queues reads.
    pub(crate) fn queue(&mut self, fetches: Vec<Fetch>) {
        self.queue.extend(fetches);
        self.start();
    }

    /// Resolves with the next entries that were read.
    pub(crate) async fn fetched(&mut self) -> Result<Fetched, Stopped> {
        let Some(job) = &mut self.job else { return std::future::pending().await };
        let fetched = job.await.map_err(|_| Stopped::WorkerGone)?;
        self.job = None;
        self.start();
        Ok(fetched)
    }

    fn start(&mut self) {
        if self.job.is_some() {
            return;
        }
        let Some(fetch) = self.queue.pop_front() else { return };
        let (worker, reader) = (self.worker.clone(), self.reader.clone());
        self.job = Some(Box::pin(async move { worker.run(move || fetch.read(&reader)).await }));
    }
}
