//! The thread that speaks with the database.
//!
//! A state is asked by code that waits for nobody and runs on the thread of a node's runtime, and sqlx waits on a runtime: so it has one of its own, on a
//! thread of its own. Questions wait for their answers. Writes do not: they queue, a bounded number of them, and what went wrong with one is told to
//! whoever asks next.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use caps_adapters::sql::{Row, SqlError};
use caps_model::{ObjectId, Position};
use tokio::runtime::Builder;
use tokio::time::Instant;

use super::SqlPlace;
use super::ledger::{Ledger, Write};
use super::questions::Question;
use crate::state::StateError;

/// A way to the thread.
#[derive(Debug)]
pub(super) struct Link {
    requests: Option<SyncSender<Request>>,
    thread: Option<JoinHandle<()>>,
}

/// Where an answer goes.
type Reply<T> = SyncSender<Result<T, SqlError>>;

enum Request {
    Write(Box<Write>),
    Header(Reply<Option<Vec<u8>>>),
    Get { key: Vec<u8>, reply: Reply<Option<Vec<u8>>> },
    Version { id: ObjectId, position: Position, reply: Reply<Option<Vec<u8>>> },
    Rows { question: Question, reply: Reply<Vec<Row>> },
    Complete(Reply<()>),
    Empty(Reply<()>),
}

impl Link {
    /// Starts the thread, connects, and makes what tables are missing.
    pub(super) fn start(place: &SqlPlace) -> Result<Self, StateError> {
        let (requests, queue) = mpsc::sync_channel(QUEUED_MAX);
        let (say, opened) = mpsc::sync_channel(1);
        let place = place.clone();
        let run = move || serve(&place, &queue, &say);
        let thread = thread::Builder::new().name("state-sql".to_owned()).spawn(run).map_err(|error| StateError::Engine(Box::new(error)))?;
        let link = Self { requests: Some(requests), thread: Some(thread) };
        opened.recv().map_err(|_| super::engine(gone()))?.map_err(super::engine)?;
        Ok(link)
    }

    /// Takes a write in; it is done before whatever is asked next is answered.
    pub(super) fn write(&self, write: Write) -> Result<(), SqlError> {
        self.send(Request::Write(Box::new(write)))
    }

    /// How far the state is, as it says itself; `None`: it has not begun.
    pub(super) fn header(&self) -> Result<Option<Vec<u8>>, SqlError> {
        self.ask(Request::Header)
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, SqlError> {
        let key = key.to_vec();
        self.ask(|reply| Request::Get { key, reply })
    }

    /// The last version of an object at or before a position, as bytes.
    pub(super) fn version(&self, id: ObjectId, position: Position) -> Result<Option<Vec<u8>>, SqlError> {
        self.ask(|reply| Request::Version { id, position, reply })
    }

    /// What the database answers to a question.
    pub(super) fn rows(&self, question: Question) -> Result<Vec<Row>, SqlError> {
        self.ask(|reply| Request::Rows { question, reply })
    }

    /// Waits until everything written is complete, for others to see.
    pub(super) fn complete(&self) -> Result<(), SqlError> {
        self.ask(Request::Complete)
    }

    /// Throws everything away.
    pub(super) fn empty(&self) -> Result<(), SqlError> {
        self.ask(Request::Empty)
    }

    fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, SqlError> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.send(request(reply))?;
        answer.recv().map_err(|_| gone())?
    }

    fn send(&self, request: Request) -> Result<(), SqlError> {
        self.requests.as_ref().ok_or_else(gone)?.send(request).map_err(|_| gone())
    }
}

/// An orderly end: what was written is completed, so that nothing needs to be replayed.
impl Drop for Link {
    fn drop(&mut self) {
        if let Err(error) = self.complete() {
            tracing::warn!(%error, "the state's last writes are not complete: they are replayed from the journal");
        }
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // It ends when nobody can ask it any more. If it panicked, that was said.
            thread.join().ok();
        }
    }
}

fn serve(place: &SqlPlace, queue: &Receiver<Request>, opened: &Reply<()>) {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(opened.send(Err(SqlError::Away { said: error.to_string() }))),
    };
    let mut ledger = match runtime.block_on(Ledger::open(place)) {
        Ok(ledger) => ledger,
        Err(error) => return drop(opened.send(Err(error))),
    };
    if opened.send(Ok(())).is_err() {
        return;
    }
    // What failed for good; from then on nothing else is answered.
    let mut failed: Option<SqlError> = None;
    loop {
        let left = ledger.due().map_or(COMPLETED_AFTER, |due| due.saturating_duration_since(Instant::now()));
        let asked = queue.recv_timeout(left.min(COMPLETED_AFTER));
        // Whoever asks without a pause must not keep it waiting.
        if failed.is_none() && (left.is_zero() || asked.is_err()) {
            failed = runtime.block_on(ledger.complete()).err();
        }
        let request = match asked {
            Ok(request) => request,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return runtime.block_on(ledger.close()),
        };
        runtime.block_on(answer(&mut ledger, request, &mut failed));
    }
}

/// Whoever asked and waits no more is not told.
async fn answer(ledger: &mut Ledger, request: Request, failed: &mut Option<SqlError>) {
    match request {
        Request::Write(write) => {
            if failed.is_none() {
                *failed = ledger.take(*write).await.err();
            }
        }
        Request::Header(reply) => drop(reply.send(unless(failed, ledger.header()).await)),
        Request::Get { key, reply } => drop(reply.send(unless(failed, ledger.get(&key)).await)),
        Request::Version { id, position, reply } => drop(reply.send(unless(failed, ledger.version(id, position)).await)),
        Request::Rows { question, reply } => drop(reply.send(unless(failed, ledger.rows(&question)).await)),
        Request::Complete(reply) => drop(reply.send(unless(failed, ledger.complete()).await)),
        Request::Empty(reply) => drop(reply.send(unless(failed, ledger.empty()).await)),
    }
}

async fn unless<T>(failed: &mut Option<SqlError>, doing: impl Future<Output = Result<T, SqlError>>) -> Result<T, SqlError> {
    if let Some(failed) = failed {
        return Err(failed.clone());
    }
    let done = doing.await;
    *failed = done.as_ref().err().cloned();
    done
}

fn gone() -> SqlError {
    SqlError::Away { said: "the state was closed".to_owned() }
}

/// Writes that wait: the one who writes waits for room then.
const QUEUED_MAX: usize = 256;

/// Silence after which a transaction is completed, so that others see what was written.
const COMPLETED_AFTER: Duration = Duration::from_millis(20);
