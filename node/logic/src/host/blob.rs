//! Blobs: brought by whoever may act here at all, read by whoever may read an object that holds them.

use caps_model::BlobId;
use caps_model::blob::Table;
use caps_model::messages::History;
use caps_model::messages::blobs::{Answer, Download, Part, Question, Upload, Uploaded};
use caps_model::messages::host::As;
use caps_overlay::{Failure, Identity, Priority};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{Host, ListenerGone, busy, malformed};
use crate::cabinet::Ask;
use crate::privileges::Principal;
use crate::service::codes;

/// Somebody who takes the parts of a blob.
pub trait Taker: Send {
    /// Takes one part; waits while the taker is slower.
    fn take(&mut self, part: Part) -> BoxFuture<'_, Result<(), ListenerGone>>;
}

/// How much of blobs a host holds at once.
#[derive(Debug)]
pub(super) struct BlobRoom {
    uploads: Semaphore,
    downloads: Semaphore,
}

impl Default for BlobRoom {
    fn default() -> Self {
        Self { uploads: Semaphore::new(UPLOADS_MAX), downloads: Semaphore::new(DOWNLOADS_MAX) }
    }
}

impl Host {
    /// Passes a step of an upload on to a replica.
    ///
    /// Any principal may upload: what no commit names is bounded on layer 1 and removed after a day, and commits are where rights are checked.
    pub async fn upload(&self, message: As<Upload>, peer: &Identity, ask: Ask) -> Result<Uploaded, Failure> {
        let _room = self.blob_room.uploads.try_acquire().map_err(|_| busy())?;
        let As { session, message: Upload { at, step } } = message;
        self.principal(session.as_ref(), peer, ask).await?;
        if !matches!(step, Question::Begin { .. } | Question::Put { .. } | Question::Secure { .. }) {
            return Err(malformed("this is no step of an upload"));
        }
        let (answer, at) = self.cabinet.blob(step, at, Ask { priority: Priority::Bulk, ..ask }).await?;
        Ok(Uploaded { at, answer })
    }

    /// Gives a blob to somebody who may read the object that holds it, chunk by chunk, each of them proven. Unreadable looks like nonexistent.
    pub async fn download(&self, message: As<Download>, peer: &Identity, ask: Ask, taker: &mut dyn Taker) -> Result<(), Failure> {
        let _room = self.blob_room.downloads.try_acquire().map_err(|_| busy())?;
        let As { session, message: wanted } = message;
        let principal = self.principal(session.as_ref(), peer, ask).await?;
        let blob = self.held(&principal, &wanted, ask).await?;
        let table = self.table(blob, ask).await?;
        let chunks = table.covering(wanted.offset, wanted.length);
        if taker.take(Part::Table(table.clone())).await.is_err() {
            return Ok(());
        }
        let fetched = stream::iter(chunks).map(|index| self.chunk(blob, &table, index));
        let mut fetched = std::pin::pin!(fetched.buffered(CHUNKS_AT_ONCE));
        while let Some(part) = fetched.next().await {
            if taker.take(part?).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// The blob that is asked for, as far as the principal may know of it: nothing if it may not read the object now, and never one of a state
    /// that it may not have read then.
    async fn held(&self, principal: &Principal, wanted: &Download, ask: Ask) -> Result<BlobId, Failure> {
        let sentence = format!("not_found[{}]: no blob that you may read is there", wanted.attribute);
        let nothing = || Failure::new(codes::NOT_FOUND, sentence.clone());
        let now = self.cabinet.get(caps_model::messages::Get { objects: vec![wanted.object] }, ask).await?;
        let now = now.objects.into_iter().flatten().next().and_then(|object| self.shown_to(principal, object)).ok_or_else(nothing)?;
        let object = match wanted.at {
            None => now,
            Some(position) => {
                let history = History { object: wanted.object, before: Some(position.next()), limit: 1 };
                let then = self.cabinet.history(history, ask.seeing(position)).await?;
                then.events.into_iter().next().and_then(|event| self.shown_to(principal, event.object)).ok_or_else(nothing)?
            }
        };
        let mut blobs = object.values(wanted.attribute.as_str()).iter().filter_map(caps_model::Value::blob_within);
        blobs.nth(usize::try_from(wanted.number).unwrap_or(usize::MAX)).ok_or_else(nothing)
    }

    async fn table(&self, blob: BlobId, ask: Ask) -> Result<Table, Failure> {
        match self.cabinet.blob(Question::Table { blob }, None, ask).await?.0 {
            Answer::Table(table) if table.id() == blob => Ok(table),
            _ => Err(untrue()),
        }
    }

    /// A chunk, from whichever replica has it: one whose own is damaged says so, and another one is asked.
    async fn chunk(&self, blob: BlobId, table: &Table, index: u32) -> Result<Part, Failure> {
        let deadline = Instant::now() + CHUNK_WITHIN;
        let ask = Ask { at_least: caps_model::Position::ZERO, deadline, priority: Priority::Bulk };
        match self.cabinet.blob(Question::Chunk { blob, index }, None, ask).await?.0 {
            Answer::Chunk(bytes) if table.proves(index, &bytes) => Ok(Part::Chunk { index, bytes }),
            _ => Err(untrue()),
        }
    }
}

/// Replicas prove what they give; one that does not is of another release, or worse.
fn untrue() -> Failure {
    Failure::new(codes::FAULT, "a replica gave something else than the blob")
}

/// Steps of uploads at once; each holds a chunk two or three times.
const UPLOADS_MAX: usize = 32;

/// Downloads at once; each holds some chunks.
const DOWNLOADS_MAX: usize = 64;

/// Chunks of one download that are fetched ahead of whoever takes them.
const CHUNKS_AT_ONCE: usize = 3;

/// How long a chunk may take, all replicas together.
const CHUNK_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);
