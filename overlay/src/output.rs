//! What waits to be written to a lane.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use quinn::{SendStream, WriteError};

use crate::limits::LANE_OUTPUT_BYTES;

/// Frames of many calls that leave together: one buffer, one writer.
///
/// Whoever has a frame appends it; the writer takes everything that is there. The busier the lane, the larger the
/// batches, and the fewer packets and wake-ups a call costs. Lives inside its lane's lock.
#[derive(Debug, Default)]
pub(crate) struct Output {
    buffer: BytesMut,
    /// How large the last batch was: the next is likely to be as large.
    usual: usize,
    writer: Option<Waker>,
    waiting: Vec<Waker>,
    closed: bool,
}

impl Output {
    /// The buffer, to append frames to it. The writer hears of them.
    pub(crate) fn append(&mut self) -> &mut BytesMut {
        if self.buffer.capacity() == 0 {
            self.buffer.reserve(self.usual.clamp(BATCH_BYTES_MIN, LANE_OUTPUT_BYTES));
        }
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
        &mut self.buffer
    }

    /// Appends many frames at once; takes the buffer as it is when nothing else waits.
    pub(crate) fn append_batch(&mut self, frames: BytesMut) {
        if self.buffer.is_empty() {
            self.buffer = frames;
            self.writer.take().into_iter().for_each(Waker::wake);
        } else {
            self.append().extend_from_slice(&frames);
        }
    }

    /// Whether there is room for more. Cancellations and failures may exceed the bound a little: they are small, and no
    /// more of them than calls.
    pub(crate) fn has_room(&self) -> bool {
        self.buffer.len() < LANE_OUTPUT_BYTES
    }

    /// Ready when there is room, or nothing will be written any more.
    pub(crate) fn poll_room(&mut self, context: &Context<'_>) -> Poll<()> {
        if self.has_room() || self.closed {
            return Poll::Ready(());
        }
        self.waiting.push(context.waker().clone());
        Poll::Pending
    }

    /// Nothing is to be written any more; what is there still goes out.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.wake_all();
    }

    /// Everything that waits to be written; `None` when the lane is closed and nothing is left.
    pub(crate) fn poll_take(&mut self, context: &Context<'_>) -> Poll<Option<Bytes>> {
        if !self.buffer.is_empty() {
            let batch = std::mem::take(&mut self.buffer);
            self.usual = batch.len().next_power_of_two();
            self.waiting.drain(..).for_each(Waker::wake);
            return Poll::Ready(Some(batch.freeze()));
        }
        if self.closed {
            return Poll::Ready(None);
        }
        self.writer = Some(context.waker().clone());
        Poll::Pending
    }

    fn wake_all(&mut self) {
        self.waiting.drain(..).chain(self.writer.take()).for_each(Waker::wake);
    }
}

/// A lane, seen by its writer.
pub(crate) trait Outlet {
    /// Lends the output, under the lane's lock.
    fn with_output<T>(&self, act: impl FnOnce(&mut Output) -> T) -> T;
}

/// Writes whatever the lane has to say until it is closed.
pub(crate) async fn write_output(lane: &impl Outlet, stream: &mut SendStream) -> Result<(), WriteError> {
    while let Some(batch) = poll_fn(|context| lane.with_output(|output| output.poll_take(context))).await {
        stream.write_chunk(batch).await?;
    }
    // Dropping the stream would say the same.
    stream.finish().or(Ok(()))
}

/// Room for a dozen small frames.
const BATCH_BYTES_MIN: usize = 1 << 10;
