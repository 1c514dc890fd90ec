//! Bringing blobs to the cabinet and getting them back, over everything that happens to hosts, replicas and lines.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use bytes::Bytes;
use caps_model::BlobId;
use caps_model::blob::{CHUNK_BYTES, Table, TableMaker};
use caps_model::codec::{decode, encode};
use caps_model::messages::blobs::{Answer, Download, Part, Progress, Question, Secured, Upload, Uploaded};
use caps_model::messages::host::{self, As, codes};
use caps_overlay::{CallError, CallOptions, Layer, Priority, Replies, To};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, timeout};

use crate::client::pause_before_next;
use crate::{Client, ClientError};

/// What an upload came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The blob's name: what an attribute holds.
    pub blob: BlobId,
    /// Chunks that had to be sent; none when it was there already.
    pub sent: u32,
    /// Voters that are known to have it on disk: a majority.
    pub voters: u32,
}

/// How a step of an upload ended that is not the end of the upload.
enum Step {
    Done(Answer),
    /// The replica that took the steps before cannot be asked any more: another one is begun with.
    Anew,
}

/// The table of a file's chunks. Reads all of it.
pub fn table_of(file: &File) -> io::Result<Table> {
    let (mut maker, mut buffer, mut offset) = (TableMaker::default(), vec![0; CHUNK_BYTES], 0);
    loop {
        match file.read_at(&mut buffer, offset) {
            Ok(0) => return maker.finish().map_err(io::Error::other),
            Ok(read) => {
                maker.push(&buffer[..read]).map_err(io::Error::other)?;
                offset += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// One of a file's chunks.
pub fn chunk_of(file: &File, table: &Table, index: u32) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; table.chunk_bytes(index)];
    file.read_exact_at(&mut bytes, u64::from(index) * CHUNK_BYTES as u64)?;
    Ok(bytes)
}

impl Client {
    /// Brings a blob to the cabinet, and returns once a majority of the voters has it on disk: then a commit may name it.
    ///
    /// `read` gives each chunk by its number and may be asked for one twice; `told` hears how many chunks are there. Only what is not there is
    /// sent. When a replica or a host fails in between, the upload goes on at another one, or later, where it broke. The client's deadline bounds
    /// each step, not the whole.
    pub async fn put_blob(
        &self,
        table: &Table,
        mut read: impl FnMut(u32) -> io::Result<Vec<u8>>,
        mut told: impl FnMut(u32),
    ) -> Result<Stored, ClientError> {
        let mut sent = 0;
        for _ in 0..BEGINNINGS_MAX {
            let (at, progress) = self.begin(table).await?;
            told(progress.chunks);
            if !self.send_missing(table, &at, progress, &mut read, &mut told, &mut sent).await? {
                continue;
            }
            if let Some(Secured { voters, .. }) = self.secure(table.id(), &at).await? {
                return Ok(Stored { blob: table.id(), sent, voters });
            }
        }
        Err(ClientError::Unsecured { blob: table.id() })
    }

    async fn begin(&self, table: &Table) -> Result<(String, Progress), ClientError> {
        let (at, step) = self.step(None, Question::Begin { table: table.clone() }).await?;
        match step {
            Step::Done(Answer::Progress(progress)) => Ok((at, progress)),
            _ => Err(ClientError::Untrue),
        }
    }

    /// Sends what is missing, a few chunks at a time. `false`: it has to be begun anew.
    async fn send_missing(
        &self,
        table: &Table,
        at: &str,
        mut progress: Progress,
        read: &mut impl FnMut(u32) -> io::Result<Vec<u8>>,
        told: &mut impl FnMut(u32),
        sent: &mut u32,
    ) -> Result<bool, ClientError> {
        let (blob, chunks) = (table.id(), table.chunks());
        let mut next = 0;
        let mut under_way = FuturesUnordered::new();
        while let Some(missing) = progress.missing {
            next = next.max(missing);
            while next < chunks && under_way.len() < CHUNKS_AT_ONCE {
                let bytes = read(next).map_err(ClientError::Source)?;
                if !table.proves(next, &bytes) {
                    return Err(ClientError::Source(io::Error::other("the file has changed while it was sent")));
                }
                under_way.push(self.step(Some(at), Question::Put { blob, index: next, bytes }));
                *sent += 1;
                next += 1;
            }
            let Some(step) = under_way.next().await else { return Ok(false) };
            match step?.1 {
                Step::Done(Answer::Progress(now)) if now.missing.is_none() || now.chunks >= progress.chunks => progress = now,
                // An older answer that came later.
                Step::Done(Answer::Progress(_)) => {}
                Step::Done(_) => return Err(ClientError::Untrue),
                Step::Anew => return Ok(false),
            }
            told(progress.chunks);
        }
        Ok(true)
    }

    /// Asks until a majority has it. `None`: it has to be begun anew.
    async fn secure(&self, blob: BlobId, at: &str) -> Result<Option<Secured>, ClientError> {
        let until = Instant::now() + self.deadline();
        let mut last = 0;
        loop {
            match self.step(Some(at), Question::Secure { blob }).await?.1 {
                Step::Done(Answer::Secured(secured)) if secured.is_enough() => return Ok(Some(secured)),
                Step::Done(Answer::Secured(secured)) if secured.voters > last || Instant::now() < until => last = secured.voters,
                Step::Done(Answer::Secured(_)) => return Err(ClientError::Unsecured { blob }),
                Step::Done(_) => return Err(ClientError::Untrue),
                Step::Anew => return Ok(None),
            }
        }
    }

    /// One step of an upload, at this replica or any, asked for again until it is answered or the deadline passes.
    async fn step(&self, at: Option<&str>, step: Question) -> Result<(String, Step), ClientError> {
        let message = As { session: self.session(), message: Upload { at: at.map(str::to_owned), step } };
        let body = Bytes::from(encode(&message)?);
        let until = Instant::now() + self.deadline();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let options = CallOptions { deadline: left, priority: Priority::Bulk, repeatable: true, ..CallOptions::default() };
            let error = match self.overlay().call(To::Layer(Layer::Host), self.method_id(host::UPLOAD), body.clone(), options).await {
                Ok(reply) => {
                    let Uploaded { at, answer } = decode(&reply.body)?;
                    return Ok((at, Step::Done(answer)));
                }
                Err(error) => error,
            };
            if let (Some(at), CallError::Failed(failure)) = (at, &error)
                && matches!(failure.code, codes::BLOB_NOT_BEGUN | codes::CABINET_UNAVAILABLE)
            {
                tracing::debug!(at, %error, "an upload goes on elsewhere");
                return Ok((at.to_owned(), Step::Anew));
            }
            let Some(pause) = pause_before_next(&error) else { return Err(ClientError::of(error)) };
            if until.saturating_duration_since(Instant::now()) <= pause {
                return Err(ClientError::NoAnswer { within: self.deadline(), commit: None, last: error });
            }
            tokio::time::sleep(self.overlay().environment().rng.jitter(pause)).await;
        }
    }

    /// Gets the bytes of a blob, each chunk proven, in order, to `take`. Goes on where a stream broke. The client's deadline bounds the time
    /// without any progress. The blob, and how many bytes were taken.
    pub async fn get_blob(
        &self,
        wanted: Download,
        mut take: impl FnMut(&Table, &[u8]) -> io::Result<()>,
    ) -> Result<(BlobId, u64), ClientError> {
        let mut left = wanted.clone();
        let mut blob = None;
        let mut until = Instant::now() + self.deadline();
        loop {
            let error = match self.receive(&mut left, &mut blob, &mut take).await {
                Ok(blob) => return Ok((blob, left.offset - wanted.offset)),
                Err(Broken::Final(error)) => return Err(error),
                Err(Broken::Stream { error, progress }) => {
                    if progress {
                        until = Instant::now() + self.deadline();
                    }
                    error
                }
            };
            let Some(pause) = pause_before_next(&error) else { return Err(ClientError::of(error)) };
            if Instant::now() + pause >= until {
                return Err(ClientError::NoAnswer { within: self.deadline(), commit: None, last: error });
            }
            tokio::time::sleep(self.overlay().environment().rng.jitter(pause)).await;
        }
    }

    /// Takes in one stream, moving `left` along.
    async fn receive(
        &self,
        left: &mut Download,
        blob: &mut Option<BlobId>,
        take: &mut impl FnMut(&Table, &[u8]) -> io::Result<()>,
    ) -> Result<BlobId, Broken> {
        let begun = left.offset;
        let broken = |error, offset| Broken::Stream { error, progress: offset > begun };
        let mut replies = self.open(left).await?;
        let Part::Table(table) =
            self.next(&mut replies).await.map_err(|error| broken(error, begun))?.ok_or(Broken::Final(ClientError::Untrue))?
        else {
            return Err(Broken::Final(ClientError::Untrue));
        };
        let id = *blob.get_or_insert(table.id());
        if id != table.id() {
            return Err(Broken::Final(ClientError::Source(io::Error::other("the object holds another blob now: get it again"))));
        }
        let end = left.offset.saturating_add(left.length).min(table.size_bytes());
        while left.offset < end {
            let part = self.next(&mut replies).await.map_err(|error| broken(error, left.offset))?;
            let Some(Part::Chunk { index, bytes }) = part else { return Err(broken(CallError::Malformed, left.offset)) };
            let start = u64::from(index) * CHUNK_BYTES as u64;
            let wanted = left.offset.checked_sub(start).filter(|_| table.proves(index, &bytes));
            let from = wanted.and_then(|from| usize::try_from(from).ok()).ok_or(Broken::Final(ClientError::Untrue))?;
            let to = usize::try_from(end - start).unwrap_or(usize::MAX).min(bytes.len());
            let useful = bytes.get(from..to).ok_or(Broken::Final(ClientError::Untrue))?;
            take(&table, useful).map_err(|error| Broken::Final(ClientError::Source(error)))?;
            left.offset += useful.len() as u64;
            left.length = left.length.saturating_sub(useful.len() as u64);
        }
        Ok(id)
    }

    async fn open(&self, wanted: &Download) -> Result<Replies, Broken> {
        let message = As { session: self.session(), message: wanted.clone() };
        let body = encode(&message).map_err(|error| Broken::Final(error.into()))?;
        let options = CallOptions {
            deadline: self.deadline(),
            priority: Priority::Bulk,
            position: self.position().0,
            repeatable: true,
            own_stream: true,
            ..CallOptions::default()
        };
        let replies = self.overlay().stream(To::Layer(Layer::Host), self.method_id(host::DOWNLOAD), body.into(), options).await;
        replies.map_err(|error| Broken::Stream { error, progress: false })
    }

    /// The next part; a host that is silent for long is given up.
    async fn next(&self, replies: &mut Replies) -> Result<Option<Part>, CallError> {
        match timeout(SILENCE_MAX, replies.next()).await {
            Ok(Some(Ok(body))) => decode(&body).map(Some).map_err(|_| CallError::Malformed),
            Ok(Some(Err(error))) => Err(error),
            Ok(None) => Ok(None),
            Err(_) => Err(CallError::DeadlineExceeded),
        }
    }
}

/// Why a stream of parts ended too early.
enum Broken {
    /// Another one will do no better.
    Final(ClientError),
    /// Another one may go on.
    Stream { error: CallError, progress: bool },
}

/// Chunks that are on their way at once: at 100 ms round trip 10 MiB a second.
const CHUNKS_AT_ONCE: usize = 4;

/// How often an upload is begun, at one replica or another, until it is given up.
const BEGINNINGS_MAX: u32 = 20;

/// How long a host may be silent in the middle of a download: it has 10 s for a chunk.
const SILENCE_MAX: Duration = Duration::from_secs(12);
