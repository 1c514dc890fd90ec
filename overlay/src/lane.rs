//! The caller's side of a lane: a long-lived stream that many small calls share.
//!
//! A call takes a place, writes its frame with that place's number, and waits for the frame that answers it. Everything of
//! all calls sits in one table under one short lock: no task, no timer and no allocation belongs to a single call.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use slab::Slab;
use thiserror::Error;
use tokio::time::{Instant, sleep_until};

use crate::failure::CallError;
use crate::frame::{Frame, FrameError, FrameReader, Header, put_cancel, put_notice, put_request};
use crate::output::{Outlet, Output};

/// The caller's side of a lane.
#[derive(Debug)]
pub(crate) struct Lane {
    state: Mutex<State>,
    pending_max: usize,
}

/// What the peer wrote on a lane makes no sense; the connection must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum LaneError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("an answer to no call")]
    UnknownCall,
    #[error("a frame that does not belong here")]
    Unexpected,
}

impl Lane {
    pub(crate) fn new(pending_max: usize) -> Self {
        Self { state: Mutex::default(), pending_max }
    }

    /// Makes a call. Dropping the future cancels it.
    pub(crate) fn call(&self, header: Header, body: Bytes, deadline: Instant) -> LaneCall<'_> {
        LaneCall { lane: self, header, body, deadline, place: None }
    }

    /// Sends a one-way message if there is room for it.
    pub(crate) fn notice(&self, header: &Header, body: &[u8]) -> bool {
        let mut state = self.state();
        let accepted = state.closed.is_none() && state.output.has_room();
        if accepted {
            put_notice(state.output.append(), header, body);
        }
        accepted
    }

    /// Hands the answers in `chunks` to their calls.
    pub(crate) fn receive(&self, reader: &mut FrameReader, chunks: impl Iterator<Item = Bytes>) -> Result<(), LaneError> {
        let mut state = self.state();
        for chunk in chunks {
            reader.push(chunk);
            while let Some(frame) = reader.next()? {
                match frame {
                    Frame::Reply { id, body } => state.settle(id, Ok(body))?,
                    Frame::Failed { id, failure } => state.settle(id, Err(failure.into()))?,
                    _ => return Err(LaneError::Unexpected),
                }
            }
        }
        Ok(())
    }

    /// Hands over an answer that came on a stream of its own.
    pub(crate) fn settle(&self, id: u32, answer: Result<Bytes, CallError>) -> Result<(), LaneError> {
        self.state().settle(id, answer)
    }

    /// Ends the lane: every call that is out fails with `error`, and so does every later one.
    pub(crate) fn fail(&self, error: &CallError) {
        let mut state = self.state();
        if state.closed.is_some() {
            return;
        }
        state.closed = Some(error.clone());
        state.output.close();
        state.pending.retain(|_, pending| pending.fail(error));
        state.keeper.take().into_iter().for_each(Waker::wake);
    }

    /// Ends calls whose time is over, until the lane is closed. One timer serves all calls.
    pub(crate) async fn keep_deadlines(&self) {
        while let Some(next) = poll_fn(|context| self.poll_earliest(context, None)).await {
            {
                let mut timer = pin!(sleep_until(next));
                poll_fn(|context| match timer.as_mut().poll(context) {
                    Poll::Ready(()) => Poll::Ready(()),
                    // A call that ends earlier, or the end of the lane, interrupts the wait.
                    Poll::Pending => self.poll_earliest(context, Some(next)).map(drop),
                })
                .await;
            }
            self.state().expire(Instant::now());
        }
    }

    fn poll_earliest(&self, context: &Context<'_>, known: Option<Instant>) -> Poll<Option<Instant>> {
        let mut state = self.state();
        if state.closed.is_some() {
            return Poll::Ready(None);
        }
        match state.earliest {
            Some(earliest) if known.is_none_or(|known| earliest < known) => Poll::Ready(Some(earliest)),
            _ => {
                state.keeper = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }
}

impl Outlet for Lane {
    fn with_output<T>(&self, act: impl FnOnce(&mut Output) -> T) -> T {
        act(&mut self.state().output)
    }
}

/// A call on a lane.
#[derive(Debug)]
#[must_use = "a call is not sent before it is awaited"]
pub(crate) struct LaneCall<'a> {
    lane: &'a Lane,
    header: Header,
    body: Bytes,
    deadline: Instant,
    place: Option<usize>,
}

impl Future for LaneCall<'_> {
    type Output = Result<Bytes, CallError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let call = &mut *self;
        let lane = call.lane;
        let mut state = lane.state();
        let place = match call.place {
            Some(place) => place,
            None => match state.enter(lane.pending_max, call.deadline, context.waker()) {
                Ok(place) => *call.place.insert(place),
                Err(error) => return Poll::Ready(Err(error)),
            },
        };
        let answer = state.poll_answer(place, &call.header, &call.body, context);
        if answer.is_ready() {
            call.place = None;
        }
        answer
    }
}

impl Drop for LaneCall<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.lane.state().abandon(place);
        }
    }
}

#[derive(Debug, Default)]
struct State {
    output: Output,
    pending: Slab<Pending>,
    /// No call that is out ends earlier than this.
    earliest: Option<Instant>,
    /// Waits for `earliest`.
    keeper: Option<Waker>,
    closed: Option<CallError>,
}

/// A call that has a place.
#[derive(Debug)]
struct Pending {
    stage: Stage,
    deadline: Instant,
    waker: Waker,
}

#[derive(Debug)]
enum Stage {
    /// Waits for room in the output.
    Queued,
    /// Waits for the answer.
    Sent,
    /// Sent, but its time is over and its caller does not know yet.
    Expired,
    /// Answered, and its caller does not know yet.
    Answered(Result<Bytes, CallError>),
    /// Nobody waits, but the peer still owes the answer, and until then the place's number must not be used again.
    Abandoned,
}

impl State {
    fn enter(&mut self, pending_max: usize, deadline: Instant, waker: &Waker) -> Result<usize, CallError> {
        if let Some(error) = &self.closed {
            return Err(error.clone().before_sending());
        }
        if self.pending.len() >= pending_max {
            return Err(CallError::Overloaded { retry_after: RETRY_AFTER });
        }
        if self.earliest.is_none_or(|earliest| deadline < earliest) {
            self.earliest = Some(deadline);
            self.keeper.take().into_iter().for_each(Waker::wake);
        }
        Ok(self.pending.insert(Pending { stage: Stage::Queued, deadline, waker: waker.clone() }))
    }

    fn poll_answer(&mut self, place: usize, header: &Header, body: &[u8], context: &Context<'_>) -> Poll<Result<Bytes, CallError>> {
        let pending = &mut self.pending[place];
        match &mut pending.stage {
            Stage::Queued => {
                if self.output.poll_room(context).is_ready() {
                    let id = u32::try_from(place).expect("there are fewer places than `pending_max`");
                    put_request(self.output.append(), id, header, body);
                    pending.stage = Stage::Sent;
                }
            }
            Stage::Sent => {}
            Stage::Expired => {
                self.abandon(place);
                return Poll::Ready(Err(CallError::DeadlineExceeded));
            }
            Stage::Answered(_) | Stage::Abandoned => {
                let Stage::Answered(answer) = self.pending.remove(place).stage else { unreachable!("nobody polls an abandoned call") };
                return Poll::Ready(answer);
            }
        }
        pending.waker.clone_from(context.waker());
        Poll::Pending
    }

    fn settle(&mut self, id: u32, answer: Result<Bytes, CallError>) -> Result<(), LaneError> {
        let place = usize::try_from(id).map_err(|_| LaneError::UnknownCall)?;
        let pending = self.pending.get_mut(place).ok_or(LaneError::UnknownCall)?;
        match pending.stage {
            Stage::Sent | Stage::Expired => {
                pending.stage = Stage::Answered(answer);
                pending.waker.wake_by_ref();
            }
            Stage::Abandoned => drop(self.pending.remove(place)),
            Stage::Queued | Stage::Answered(_) => return Err(LaneError::UnknownCall),
        }
        Ok(())
    }

    fn abandon(&mut self, place: usize) {
        match self.pending[place].stage {
            Stage::Sent | Stage::Expired if self.closed.is_none() => {
                self.pending[place].stage = Stage::Abandoned;
                let id = u32::try_from(place).expect("there are fewer places than `pending_max`");
                put_cancel(self.output.append(), id);
            }
            _ => drop(self.pending.remove(place)),
        }
    }

    fn expire(&mut self, now: Instant) {
        let mut earliest = None;
        for (_, pending) in &mut self.pending {
            match pending.stage {
                Stage::Sent | Stage::Queued if pending.deadline <= now => pending.expire(),
                Stage::Sent | Stage::Queued => earliest = Some(earliest.map_or(pending.deadline, |e: Instant| e.min(pending.deadline))),
                Stage::Expired | Stage::Answered(_) | Stage::Abandoned => {}
            }
        }
        self.earliest = earliest;
    }
}

impl Pending {
    fn expire(&mut self) {
        self.stage = match self.stage {
            Stage::Queued => Stage::Answered(Err(CallError::DeadlineExceeded)),
            _ => Stage::Expired,
        };
        self.waker.wake_by_ref();
    }

    /// Tells the caller, if there is one; says whether the place is still needed.
    fn fail(&mut self, error: &CallError) -> bool {
        match self.stage {
            Stage::Queued => self.end(error.clone().before_sending()),
            Stage::Sent => self.end(error.clone()),
            Stage::Expired | Stage::Answered(_) => true,
            Stage::Abandoned => false,
        }
    }

    fn end(&mut self, error: CallError) -> bool {
        self.stage = Stage::Answered(Err(error));
        self.waker.wake_by_ref();
        true
    }
}

/// When to try again after this node's own bound was met.
const RETRY_AFTER: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::BytesMut;
    use tokio::task::yield_now;

    use super::*;
    use crate::failure::Failure;
    use crate::frame::{put_failed, put_reply};
    use crate::header::{MethodId, Priority, Trace};

    fn header() -> Header {
        Header {
            method: MethodId { service: 9, method: 1 },
            deadline_ms: 1000,
            priority: Priority::Interactive,
            position: 0,
            call_id: 1,
            trace: Trace::default(),
        }
    }

    fn call(lane: &Arc<Lane>, within: Duration) -> tokio::task::JoinHandle<Result<Bytes, CallError>> {
        let lane = lane.clone();
        let deadline = Instant::now() + within;
        tokio::spawn(async move { lane.call(header(), Bytes::from_static(b"question"), deadline).await })
    }

    async fn written(lane: &Lane) -> Vec<Frame> {
        let batch = poll_fn(|context| lane.with_output(|output| output.poll_take(context))).await.unwrap();
        let mut reader = FrameReader::default();
        reader.push(batch);
        std::iter::from_fn(|| reader.next().unwrap()).collect()
    }

    fn answers(write: impl FnOnce(&mut BytesMut)) -> impl Iterator<Item = Bytes> {
        let mut out = BytesMut::new();
        write(&mut out);
        std::iter::once(out.freeze())
    }

    #[tokio::test(start_paused = true)]
    async fn answers_find_their_calls_in_any_order() {
        let lane = Arc::new(Lane::new(8));
        let (one, two) = (call(&lane, Duration::from_secs(1)), call(&lane, Duration::from_secs(1)));
        yield_now().await;
        assert_eq!(written(&lane).await.len(), 2);
        let both = answers(|out| {
            put_reply(out, 1, b"two");
            put_failed(out, 0, &Failure::new(100, "one"));
        });
        lane.receive(&mut FrameReader::default(), both).unwrap();
        assert_eq!(two.await.unwrap(), Ok(Bytes::from_static(b"two")));
        assert_eq!(one.await.unwrap(), Err(CallError::Failed(Failure::new(100, "one"))));
    }

    #[tokio::test(start_paused = true)]
    async fn expired_deadline_cancels_call_and_keeps_its_place() {
        let lane = Arc::new(Lane::new(8));
        let keeper = tokio::spawn({
            let lane = lane.clone();
            async move { lane.keep_deadlines().await }
        });
        let (late, soon) = (call(&lane, Duration::from_secs(9)), call(&lane, Duration::from_secs(1)));
        yield_now().await;
        written(&lane).await;
        assert_eq!(soon.await.unwrap(), Err(CallError::DeadlineExceeded));
        assert_eq!(written(&lane).await, [Frame::Cancel { id: 1 }]);
        assert!(!late.is_finished());
        // The place is free only when the peer has answered.
        lane.receive(&mut FrameReader::default(), answers(|out| put_failed(out, 1, &Failure::new(8, "")))).unwrap();
        assert_eq!(lane.settle(1, Ok(Bytes::new())), Err(LaneError::UnknownCall));
        lane.fail(&CallError::ShuttingDown);
        assert_eq!(late.await.unwrap(), Err(CallError::ShuttingDown));
        keeper.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_call_is_cancelled() {
        let lane = Arc::new(Lane::new(8));
        let dropped = call(&lane, Duration::from_secs(1));
        yield_now().await;
        written(&lane).await;
        dropped.abort();
        assert!(dropped.await.unwrap_err().is_cancelled());
        assert_eq!(written(&lane).await, [Frame::Cancel { id: 0 }]);
    }

    #[tokio::test(start_paused = true)]
    async fn more_calls_than_places_are_overloaded() {
        let lane = Arc::new(Lane::new(1));
        let _first = call(&lane, Duration::from_secs(1));
        yield_now().await;
        assert!(matches!(call(&lane, Duration::from_secs(1)).await.unwrap(), Err(CallError::Overloaded { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn answer_to_nobody_is_an_error() {
        let lane = Lane::new(8);
        let answer = answers(|out| put_reply(out, 3, b""));
        assert_eq!(lane.receive(&mut FrameReader::default(), answer), Err(LaneError::UnknownCall));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_wait_for_room_and_expire_waiting() {
        let lane = Arc::new(Lane::new(64));
        let keeper = tokio::spawn({
            let lane = lane.clone();
            async move { lane.keep_deadlines().await }
        });
        while lane.notice(&header(), &[0; 16 << 10]) {}
        let waiting = call(&lane, Duration::from_secs(1));
        assert_eq!(waiting.await.unwrap(), Err(CallError::DeadlineExceeded));
        let waiting = call(&lane, Duration::from_secs(1));
        yield_now().await;
        assert!(written(&lane).await.iter().all(|frame| matches!(frame, Frame::Notice { .. })));
        assert!(matches!(written(&lane).await[..], [Frame::Request { id: 0, .. }]));
        drop(waiting);
        keeper.abort();
    }
}
