//! The serving side of a lane.
//!
//! Requests are read in chunks, and answers that are ready are written in the same batch, in line: no task, no wake-up.
//! Only an answer that comes later becomes a task. While the caller does not read its answers, nothing more is read from it.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use quinn::{RecvStream, SendStream};
use tokio::time::{Instant, timeout_at};

use crate::close::CloseCode;
use crate::connection::{ANSWER, Chunks, Connection, Serving};
use crate::dispatch::{cancelled, expired, no_answer, other_shape, overloaded, too_large};
use crate::environment::TaskHandle;
use crate::failure::Failure;
use crate::frame::{Frame, FrameReader, Header, put_failed, put_reply, put_varint};
use crate::header::Priority;
use crate::lane::LaneError;
use crate::limits::{BODY_BYTES_MAX, LANE_BODY_BYTES_MAX, LANE_OUTPUT_BYTES};
use crate::node::Node;
use crate::output::{Outlet, Output, write_output};
use crate::service::Answer;

/// The serving side of a lane.
#[derive(Debug)]
pub(crate) struct ServedLane {
    state: Mutex<State>,
    connection: Arc<Connection>,
    node: Arc<Node>,
    priority: Priority,
}

#[derive(Debug, Default)]
struct State {
    output: Output,
    /// Calls that are answered later. Whoever takes one out answers it, so that each is answered once.
    running: BTreeMap<u32, Option<TaskHandle>>,
}

impl ServedLane {
    /// Serves the lane until its caller ends it or the connection is gone.
    pub(crate) async fn serve(
        connection: Arc<Connection>,
        node: Arc<Node>,
        priority: Priority,
        mut send: SendStream,
        recv: RecvStream,
        rest: Bytes,
    ) {
        let lane = Arc::new(Self { state: Mutex::default(), connection, node, priority });
        let write = async {
            let prepared = send.set_priority(priority.of_stream());
            // A writer that fails has lost its connection, which the reader notices as well.
            if prepared.is_err() || write_output(&*lane, &mut send).await.is_err() {
                lane.state().output.close();
            }
        };
        let read = async {
            if let Err(error) = lane.clone().read(recv, rest).await {
                tracing::warn!(peer = %lane.connection.peer, %error, "the peer broke the protocol of a lane");
                lane.connection.close(CloseCode::Malformed, &error.to_string());
            }
            lane.end();
        };
        tokio::join!(read, write);
    }

    async fn read(self: Arc<Self>, mut stream: RecvStream, rest: Bytes) -> Result<(), LaneError> {
        let (mut reader, mut chunks) = (FrameReader::default(), Chunks::new());
        self.receive(&mut reader, std::iter::once(rest)).await?;
        loop {
            self.room().await;
            let Ok(Some(chunks)) = chunks.read(&mut stream).await else { return Ok(()) };
            self.receive(&mut reader, chunks).await?;
        }
    }

    /// Takes requests in, and puts the answers that are ready out together, as far as there is room for them.
    async fn receive(self: &Arc<Self>, reader: &mut FrameReader, chunks: impl Iterator<Item = Bytes>) -> Result<(), LaneError> {
        let now = Instant::now();
        let mut answers = BytesMut::new();
        let mut answered = 0;
        for chunk in chunks {
            reader.push(chunk);
            while let Some(frame) = reader.next()? {
                match frame {
                    Frame::Request { id, header, body } => answered += self.request(id, header, body, now, &mut answers)?,
                    Frame::Notice { header, body } => self.notice(header, body, now),
                    Frame::Cancel { id } => self.cancel(id, now),
                    _ => return Err(LaneError::Unexpected),
                }
                if answers.len() >= LANE_OUTPUT_BYTES {
                    self.state().output.append_batch(answers.split());
                    self.room().await;
                }
            }
        }
        self.connection.count_served(answered);
        if !answers.is_empty() {
            self.state().output.append_batch(answers);
        }
        Ok(())
    }

    async fn room(&self) {
        poll_fn(|context| self.with_output(|output| output.poll_room(context))).await;
    }

    fn request(self: &Arc<Self>, id: u32, header: Header, body: Bytes, now: Instant, out: &mut BytesMut) -> Result<u64, LaneError> {
        match self.dispatch(&header, body, now) {
            Answer::Ready(answer) => {
                if let Some(large) = put_answer(out, id, answer) {
                    self.answer_elsewhere(id, large);
                }
                return Ok(1);
            }
            Answer::Later(answer) => match self.connection.begin_serving() {
                Some(serving) => self.answer_later(id, answer, now + header.deadline(), serving)?,
                None => put_failed(out, id, &overloaded()),
            },
            Answer::Stream(_) | Answer::Raw(_) => put_failed(out, id, &other_shape()),
        }
        Ok(0)
    }

    /// A one-way message runs like a call; what it answers is dropped.
    fn notice(&self, header: Header, body: Bytes, now: Instant) {
        let Answer::Later(answer) = self.dispatch(&header, body, now) else { return };
        let Some(serving) = self.connection.begin_serving() else {
            tracing::debug!(peer = %self.connection.peer, method = %header.method, "dropping a one-way message: too many calls at once");
            return;
        };
        let deadline = now + header.deadline();
        self.node.environment.tasks.spawn(async move {
            let _serving = serving;
            if timeout_at(deadline, answer).await.is_err() {
                tracing::debug!(method = %header.method, "a one-way message took too long");
            }
        });
    }

    fn cancel(&self, id: u32, now: Instant) {
        let mut state = self.state();
        if let Some(task) = state.running.remove(&id) {
            put_failed(state.output.append(), id, &cancelled());
            drop(state);
            task.inspect(TaskHandle::abort);
        }
        self.connection.note_cancel(now);
    }

    fn dispatch(&self, header: &Header, body: Bytes, now: Instant) -> Answer {
        self.node.dispatch.dispatch(&self.connection.peer, self.connection.caller, header, body, now)
    }

    fn answer_later(
        self: &Arc<Self>,
        id: u32,
        answer: BoxFuture<'static, Result<Bytes, Failure>>,
        deadline: Instant,
        serving: Serving,
    ) -> Result<(), LaneError> {
        // The place is taken before the task starts, which may end before `spawn` returns.
        if self.state().running.insert(id, None).is_some() {
            return Err(LaneError::UnknownCall);
        }
        let owed = Owed { lane: self.clone(), id };
        let task = self.node.environment.tasks.spawn(async move {
            let _serving = serving;
            let answer = timeout_at(deadline, answer).await.unwrap_or_else(|_| Err(expired()));
            owed.lane.finish(owed.id, answer);
        });
        if let Some(place) = self.state().running.get_mut(&id) {
            *place = Some(task);
        }
        Ok(())
    }

    /// Answers a call that is still owed an answer.
    fn finish(self: &Arc<Self>, id: u32, answer: Result<Bytes, Failure>) {
        let mut state = self.state();
        if state.running.remove(&id).is_none() {
            return;
        }
        if let Some(large) = put_answer(state.output.append(), id, answer) {
            drop(state);
            self.answer_elsewhere(id, large);
        }
    }

    /// A large answer has a stream of its own, so that small ones do not wait behind it.
    fn answer_elsewhere(self: &Arc<Self>, id: u32, body: Bytes) {
        let lane = self.clone();
        self.node.environment.tasks.spawn(async move {
            let Ok(mut stream) = lane.connection.quic.open_uni().await else { return };
            let mut head = BytesMut::new();
            head.put_u8(ANSWER);
            head.put_u8(lane.priority.to_wire());
            put_varint(&mut head, id.into());
            // When the connection is lost nobody waits for the answer any more.
            drop(stream.set_priority(lane.priority.of_stream()));
            drop(stream.write_all_chunks(&mut [head.freeze(), body]).await);
        });
    }

    /// The caller is gone: nobody wants the answers.
    fn end(&self) {
        let mut state = self.state();
        state.output.close();
        let running = std::mem::take(&mut state.running);
        drop(state);
        running.into_values().flatten().for_each(|task| task.abort());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }
}

impl Outlet for ServedLane {
    fn with_output<T>(&self, act: impl FnOnce(&mut Output) -> T) -> T {
        act(&mut self.state().output)
    }
}

/// Sees to it that a call is answered even if its handler panics.
struct Owed {
    lane: Arc<ServedLane>,
    id: u32,
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.lane.finish(self.id, Err(no_answer()));
    }
}

/// Writes the answer, or gives it back if it is too large for a lane.
fn put_answer(out: &mut BytesMut, id: u32, answer: Result<Bytes, Failure>) -> Option<Bytes> {
    match answer {
        Ok(body) if body.len() <= LANE_BODY_BYTES_MAX => put_reply(out, id, &body),
        Ok(body) if body.len() <= BODY_BYTES_MAX => return Some(body),
        Ok(body) => put_failed(out, id, &too_large(body.len())),
        Err(failure) => put_failed(out, id, &failure),
    }
    None
}
