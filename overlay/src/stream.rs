//! Calls with a stream of their own: large ones, those on lossy paths, answers of many replies, raw streams.

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use caps_certs_gen::Identity;
use quinn::{RecvStream, SendStream, VarInt};
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::close::ResetCode;
use crate::connection::{CALL, Connection, Outgoing};
use crate::dispatch::{draining, expired, other_shape, overloaded, too_large};
use crate::failure::{CallError, Failure};
use crate::frame::{Frame, FrameReader, Header, item_head, put_accepted, put_end, put_failed, reply_head, request_head};
use crate::limits::BODY_BYTES_MAX;
use crate::node::Node;
use crate::service::Answer;

/// The other side is gone: it cancelled, or the connection was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the other side is gone")]
pub struct Gone;

/// Makes a call with one reply on a stream of its own. Dropping the future cancels it.
pub(crate) async fn call(outgoing: Outgoing, header: Header, body: Bytes, deadline: Instant) -> Result<Bytes, CallError> {
    let within = async {
        let mut stream = CallerStream::open(outgoing, &header, body).await?;
        stream.finish();
        match stream.next().await? {
            Frame::Reply { body, .. } => Ok(stream.complete(body)),
            Frame::Failed { failure, .. } => Err(stream.complete(failure).into()),
            Frame::Accepted => Err(other_shape().into()),
            _ => Err(CallError::Malformed),
        }
    };
    timeout_at(deadline, within).await.unwrap_or(Err(CallError::DeadlineExceeded))
}

/// Makes a call with many replies. The deadline is for its beginning, not for its replies.
pub(crate) async fn replies(outgoing: Outgoing, header: Header, body: Bytes, deadline: Instant) -> Result<Replies, CallError> {
    let from = outgoing.connection().peer.clone();
    let within = async {
        let mut stream = CallerStream::open(outgoing, &header, body).await?;
        stream.finish();
        let state = match stream.next().await? {
            Frame::Accepted => RepliesState::Open(Box::new(stream)),
            // A method with one reply is a stream of one.
            Frame::Reply { body, .. } => RepliesState::Last(stream.complete(body)),
            Frame::Failed { failure, .. } => return Err(stream.complete(failure).into()),
            _ => return Err(CallError::Malformed),
        };
        Ok(Replies { from, state })
    };
    timeout_at(deadline, within).await.unwrap_or(Err(CallError::DeadlineExceeded))
}

/// Opens a raw stream. The deadline is for its beginning.
pub(crate) async fn raw(outgoing: Outgoing, header: Header, body: Bytes, deadline: Instant) -> Result<RawStream, CallError> {
    let within = async {
        let mut stream = CallerStream::open(outgoing, &header, body).await?;
        match stream.next().await? {
            Frame::Accepted => Ok(stream.into_raw()),
            Frame::Failed { failure, .. } => Err(stream.complete(failure).into()),
            Frame::Reply { .. } => Err(other_shape().into()),
            _ => Err(CallError::Malformed),
        }
    };
    timeout_at(deadline, within).await.unwrap_or(Err(CallError::DeadlineExceeded))
}

/// The replies of a streaming call. Dropping it cancels the call.
#[derive(Debug)]
pub struct Replies {
    /// Who answers.
    pub from: Identity,
    state: RepliesState,
}

#[derive(Debug)]
enum RepliesState {
    Open(Box<CallerStream>),
    Last(Bytes),
    Over,
}

impl Replies {
    /// The same replies, for which no drain waits: those that nobody misses.
    pub(crate) fn in_background(mut self) -> Self {
        if let RepliesState::Open(stream) = &mut self.state {
            stream.outgoing = None;
        }
        self
    }

    /// The next reply; `None` when the answer is complete. After an error nothing more comes.
    ///
    /// A future that is dropped before it is ready loses nothing.
    pub async fn next(&mut self) -> Option<Result<Bytes, CallError>> {
        let reply = match &mut self.state {
            RepliesState::Over => return None,
            RepliesState::Open(stream) => stream.next().await,
            RepliesState::Last(body) => {
                let body = std::mem::take(body);
                self.state = RepliesState::Over;
                return Some(Ok(body));
            }
        };
        if let Ok(Frame::Item { body }) = reply {
            return Some(Ok(body));
        }
        let RepliesState::Open(stream) = std::mem::replace(&mut self.state, RepliesState::Over) else { return None };
        match reply {
            Ok(Frame::End) => stream.complete(None),
            Ok(Frame::Failed { failure, .. }) => stream.complete(Some(Err(failure.into()))),
            Ok(_) => Some(Err(CallError::Malformed)),
            Err(error) => Some(Err(error)),
        }
    }
}

/// Where a streaming answer puts its replies.
#[derive(Debug)]
pub struct ReplySink {
    stream: Option<SendStream>,
    /// A reply was begun and not finished, so that nothing more can be said on the stream.
    spoilt: bool,
    give_back: Option<oneshot::Sender<SendStream>>,
}

impl ReplySink {
    /// Sends one reply of at most 1 MiB; waits while the reader is slower than the writer.
    ///
    /// A future that was begun must be driven to its end: one that is dropped half-way cuts the answer short.
    pub async fn send(&mut self, body: Bytes) -> Result<(), Gone> {
        if body.len() > BODY_BYTES_MAX {
            tracing::error!(size_bytes = body.len(), "a reply is larger than a frame may be");
            return Err(Gone);
        }
        if self.spoilt {
            return Err(Gone);
        }
        let stream = self.stream.as_mut().ok_or(Gone)?;
        self.spoilt = true;
        stream.write_all_chunks(&mut [item_head(body.len()), body]).await.map_err(|_| Gone)?;
        self.spoilt = false;
        Ok(())
    }
}

impl Drop for ReplySink {
    fn drop(&mut self) {
        if self.spoilt {
            return;
        }
        if let (Some(stream), Some(give_back)) = (self.stream.take(), self.give_back.take()) {
            // Whoever waited for it is gone together with the call.
            drop(give_back.send(stream));
        }
    }
}

/// A raw stream of bytes both ways, with the back-pressure of QUIC. Dropping it ends both ways.
pub struct RawStream {
    send: SendStream,
    recv: RecvStream,
    rest: Bytes,
    _outgoing: Option<Outgoing>,
}

impl RawStream {
    /// Sends bytes without copying them; waits while the other side is slower.
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), Gone> {
        self.send.write_chunk(bytes).await.map_err(|_| Gone)
    }

    /// Says that no more bytes follow.
    pub fn finish(&mut self) {
        // Nothing to say on a stream that has ended.
        drop(self.send.finish());
    }

    /// The next bytes, at most `bytes_max`; `None` when the other side has finished.
    pub async fn receive(&mut self, bytes_max: usize) -> Result<Option<Bytes>, Gone> {
        if !self.rest.is_empty() {
            return Ok(Some(self.rest.split_to(bytes_max.min(self.rest.len()))));
        }
        let chunk = self.recv.read_chunk(bytes_max, true).await.map_err(|_| Gone)?;
        Ok(chunk.map(|chunk| chunk.bytes))
    }

    /// Waits until the other side has received everything that was sent before [`finish`](Self::finish).
    pub async fn delivered(&mut self) -> Result<(), Gone> {
        match self.send.stopped().await {
            Ok(None) => Ok(()),
            _ => Err(Gone),
        }
    }
}

impl fmt::Debug for RawStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawStream").field("id", &self.send.id()).finish_non_exhaustive()
    }
}

/// The caller's side of a call's own stream. Dropping it before it is complete cancels the call.
#[derive(Debug)]
struct CallerStream {
    /// Both ways of the stream, until the call is complete.
    ways: Option<(SendStream, RecvStream)>,
    reader: FrameReader,
    connection: Arc<Connection>,
    outgoing: Option<Outgoing>,
}

impl CallerStream {
    async fn open(outgoing: Outgoing, header: &Header, body: Bytes) -> Result<Self, CallError> {
        let connection = outgoing.connection().clone();
        let (send, recv) = connection.quic.open_bi().await.map_err(|_| connection.error_of_call().before_sending())?;
        let ways = Some((send, recv));
        let mut stream = Self { ways, reader: FrameReader::default(), connection: connection.clone(), outgoing: Some(outgoing) };
        let (send, _) = stream.ways.as_mut().expect("it was just opened");
        // A stream that was stopped already has an answer to be read.
        drop(send.set_priority(header.priority.of_stream()));
        let kind = Bytes::from_static(&[CALL]);
        match send.write_all_chunks(&mut [kind, request_head(header, body.len()), body]).await {
            Ok(()) | Err(quinn::WriteError::Stopped(_)) => Ok(stream),
            Err(_) => Err(connection.error_of_call()),
        }
    }

    fn finish(&mut self) {
        if let Some((send, _)) = &mut self.ways {
            // A stream that was stopped needs no end.
            drop(send.finish());
        }
    }

    async fn next(&mut self) -> Result<Frame, CallError> {
        let Some((_, recv)) = &mut self.ways else { return Err(CallError::Malformed) };
        loop {
            if let Some(frame) = self.reader.next().map_err(|_| CallError::Malformed)? {
                return Ok(frame);
            }
            match recv.read_chunk(usize::MAX, true).await {
                Ok(Some(chunk)) => self.reader.push(chunk.bytes),
                // Nothing was said that the call ended in order.
                Ok(None) | Err(quinn::ReadError::Reset(_)) => return Err(self.cut_short()),
                Err(_) => return Err(self.connection.error_of_call()),
            }
        }
    }

    fn cut_short(&self) -> CallError {
        CallError::Lost { peer: self.connection.peer.clone(), cause: "the answer was cut short".to_owned() }
    }

    fn complete<T>(mut self, result: T) -> T {
        self.ways = None;
        result
    }

    fn into_raw(mut self) -> RawStream {
        let (send, recv) = self.ways.take().expect("the stream is open until it is complete");
        RawStream { send, recv, rest: std::mem::take(&mut self.reader).into_rest(), _outgoing: self.outgoing.take() }
    }
}

impl Drop for CallerStream {
    fn drop(&mut self) {
        if let Some((mut send, mut recv)) = self.ways.take() {
            let code: VarInt = ResetCode::Cancelled.to_varint();
            // Whichever way has ended already needs no end.
            drop(send.reset(code));
            drop(recv.stop(code));
        }
    }
}

/// Serves a call with a stream of its own.
pub(crate) async fn serve(connection: Arc<Connection>, node: Arc<Node>, mut send: SendStream, mut recv: RecvStream, rest: Bytes) {
    let mut reader = FrameReader::default();
    reader.push(rest);
    let Some((header, body)) = read_request(&mut reader, &mut recv).await else {
        connection.note_cancel(Instant::now());
        let code = ResetCode::Malformed.to_varint();
        drop(send.reset(code));
        drop(recv.stop(code));
        return;
    };
    drop(send.set_priority(header.priority.of_stream()));
    let Some(_serving) = connection.begin_serving() else { return answer(send, Err(overloaded())).await };
    let now = Instant::now();
    match node.dispatch.dispatch(&connection.peer, connection.caller, &header, body, now) {
        Answer::Ready(ready) => answer(send, ready).await,
        Answer::Later(later) => {
            tokio::select! {
                // An answer that is there is worth more than the news that nobody wants it.
                biased;
                done = timeout_at(now + header.deadline(), later) => answer(send, done.unwrap_or_else(|_| Err(expired()))).await,
                _ = send.stopped() => connection.note_cancel(Instant::now()),
            }
        }
        Answer::Stream(run) => serve_replies(&connection, &node, send, run).await,
        Answer::Raw(run) => {
            let mut accepted = BytesMut::new();
            put_accepted(&mut accepted);
            if send.write_all(&accepted).await.is_ok() {
                run(RawStream { send, recv, rest: reader.into_rest(), _outgoing: None }).await;
            }
        }
    }
}

async fn serve_replies(connection: &Connection, node: &Node, mut send: SendStream, run: crate::service::StreamAnswer) {
    let mut frames = BytesMut::new();
    put_accepted(&mut frames);
    if send.write_all(&frames.split()).await.is_err() {
        return;
    }
    let stopped = send.stopped();
    let (give_back, stream) = oneshot::channel();
    let run = run(ReplySink { stream: Some(send), spoilt: false, give_back: Some(give_back) });
    let result = tokio::select! {
        // What the handler says at the end is worth more than the other side's going away.
        biased;
        result = run => result,
        _ = stopped => return connection.note_cancel(Instant::now()),
        () = node.draining_begun() => Err(draining()),
    };
    // The handler's sink was dropped with its future, so the stream is here, unless the handler kept it.
    let Ok(mut send) = stream.await else { return };
    match result {
        Ok(()) => put_end(&mut frames),
        Err(failure) => put_failed(&mut frames, 0, &failure),
    }
    finish(&mut send, &mut [frames.freeze()]).await;
}

async fn answer(mut send: SendStream, answer: Result<Bytes, Failure>) {
    let failed = |failure: &Failure| {
        let mut frame = BytesMut::new();
        put_failed(&mut frame, 0, failure);
        [frame.freeze(), Bytes::new()]
    };
    let mut frame = match answer {
        Ok(body) if body.len() <= BODY_BYTES_MAX => [reply_head(body.len()), body],
        Ok(body) => failed(&too_large(body.len())),
        Err(failure) => failed(&failure),
    };
    finish(&mut send, &mut frame).await;
}

async fn finish(send: &mut SendStream, frames: &mut [Bytes]) {
    // A caller that is gone wants no answer.
    if send.write_all_chunks(frames).await.is_ok() {
        drop(send.finish());
    }
}

async fn read_request(reader: &mut FrameReader, recv: &mut RecvStream) -> Option<(Header, Bytes)> {
    loop {
        match reader.next() {
            Ok(Some(Frame::Request { header, body, .. })) => return Some((header, body)),
            Ok(None) => reader.push(recv.read_chunk(usize::MAX, true).await.ok()??.bytes),
            Ok(Some(_)) | Err(_) => return None,
        }
    }
}
