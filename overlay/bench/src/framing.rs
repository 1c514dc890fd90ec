//! Numbered frames on one stream, with as little around them as possible: the speed that lanes are compared with.
//!
//! A frame is its body's length (four bytes), the number of the call (eight bytes), and the body.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::Context as _;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use quinn::{RecvStream, SendStream};
use tokio::io::AsyncReadExt as _;
use tokio::sync::{mpsc, oneshot};

/// Sends each request back, all that arrived together in one write.
pub(crate) async fn serve(mut send: SendStream, mut receive: RecvStream) -> anyhow::Result<()> {
    let mut input = BytesMut::new();
    let mut output = BytesMut::new();
    while read_more(&mut receive, &mut input).await? {
        while let Some(frame) = take(&mut input) {
            put(&mut output, &frame);
        }
        send.write_all(&output).await?;
        output.clear();
    }
    Ok(())
}

/// The calling side. Clones share the stream.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    requests: mpsc::Sender<Frame>,
    waiting: Arc<Waiting>,
}

impl Client {
    /// Starts the two tasks that write and read the stream.
    pub(crate) fn start(send: SendStream, receive: RecvStream) -> Self {
        let (requests, queue) = mpsc::channel(QUEUE_FRAMES);
        let waiting = Arc::new(Waiting::default());
        tokio::spawn(write_requests(send, queue));
        tokio::spawn(read_replies(receive, waiting.clone()));
        Self { requests, waiting }
    }

    pub(crate) async fn call(&self, body: Bytes) -> anyhow::Result<Bytes> {
        let (number, reply) = self.waiting.enter();
        self.requests.send(Frame { number, body }).await.context("the stream is closed")?;
        reply.await.context("the stream is closed")
    }
}

#[derive(Clone, Debug)]
struct Frame {
    number: u64,
    body: Bytes,
}

/// The calls that wait for their replies.
#[derive(Debug, Default)]
struct Waiting {
    calls: Mutex<(u64, HashMap<u64, oneshot::Sender<Bytes>>)>,
}

impl Waiting {
    fn enter(&self) -> (u64, oneshot::Receiver<Bytes>) {
        let (reply, waiting) = oneshot::channel();
        let mut calls = self.calls();
        calls.0 += 1;
        let number = calls.0;
        calls.1.insert(number, reply);
        (number, waiting)
    }

    fn leave(&self, frame: Frame) {
        if let Some(reply) = self.calls().1.remove(&frame.number) {
            // A caller that went away does not want it.
            drop(reply.send(frame.body));
        }
    }

    fn calls(&self) -> MutexGuard<'_, (u64, HashMap<u64, oneshot::Sender<Bytes>>)> {
        self.calls.lock().expect("nothing panics while it holds this lock")
    }
}

async fn write_requests(mut send: SendStream, mut queue: mpsc::Receiver<Frame>) -> anyhow::Result<()> {
    let mut frames = Vec::with_capacity(BATCH_FRAMES);
    let mut output = BytesMut::new();
    while queue.recv_many(&mut frames, BATCH_FRAMES).await > 0 {
        for frame in frames.drain(..) {
            put(&mut output, &frame);
        }
        send.write_all(&output).await?;
        output.clear();
    }
    Ok(())
}

async fn read_replies(mut receive: RecvStream, waiting: Arc<Waiting>) -> anyhow::Result<()> {
    let mut input = BytesMut::new();
    while read_more(&mut receive, &mut input).await? {
        while let Some(frame) = take(&mut input) {
            waiting.leave(frame);
        }
    }
    Ok(())
}

async fn read_more(receive: &mut RecvStream, input: &mut BytesMut) -> anyhow::Result<bool> {
    input.reserve(READ_BYTES);
    Ok(receive.read_buf(input).await? > 0)
}

fn take(input: &mut BytesMut) -> Option<Frame> {
    let length = *input.first_chunk::<4>()?;
    let body_bytes = u32::from_be_bytes(length) as usize;
    if input.len() < HEADER_BYTES + body_bytes {
        return None;
    }
    let mut header = input.split_to(HEADER_BYTES);
    header.advance(4);
    Some(Frame { number: header.get_u64(), body: input.split_to(body_bytes).freeze() })
}

fn put(output: &mut BytesMut, frame: &Frame) {
    output.put_u32(u32::try_from(frame.body.len()).expect("bodies here are small"));
    output.put_u64(frame.number);
    output.put_slice(&frame.body);
}

const HEADER_BYTES: usize = 12;
const READ_BYTES: usize = 32 << 10;
const BATCH_FRAMES: usize = 256;
/// More than there are callers, so that none waits for room.
const QUEUE_FRAMES: usize = 1024;
