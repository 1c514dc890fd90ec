//! One connection to one peer.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use caps_certs_gen::{CertificateFacts, Identity};
use quinn::RecvStream;
use rustls::pki_types::CertificateDer;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::close::{CloseCode, error_of_call};
use crate::failure::CallError;
use crate::frame::FrameReader;
use crate::header::Priority;
use crate::hello::{Control, Hello};
use crate::lane::{Lane, LaneError};
use crate::limits::{CANCELS_AT_ONCE, CANCELS_PER_SECOND};
use crate::node::Node;
use crate::output::write_output;
use crate::paths::PathKnowledge;
use crate::service::Caller;
use crate::travel::{PathFacts, PathWatch, Travel};

/// A connection to a peer whose certificate was accepted.
pub(crate) struct Connection {
    pub(crate) quic: quinn::Connection,
    pub(crate) peer: Identity,
    pub(crate) caller: Caller,
    /// Whether we dialled.
    pub(crate) dialled: bool,
    pub(crate) since: Instant,
    pub(crate) certificate_expires: i64,
    /// What the peer said about itself, once it has.
    hello: OnceLock<Hello>,
    lanes: [OnceLock<Arc<Lane>>; 3],
    path: Mutex<PathWatch>,
    control: mpsc::Sender<Control>,
    ending: Ending,
    outgoing: AtomicUsize,
    serving: AtomicUsize,
    made: AtomicU64,
    served: AtomicU64,
    cancels: Mutex<CancelBudget>,
    node: Arc<Node>,
}

/// How far the connection is on its way out.
#[derive(Debug, Default)]
struct Ending {
    /// We make no more calls on it.
    retiring: AtomicBool,
    /// The peer makes no more, and all that it made are answered.
    peer_retired: AtomicBool,
    changed: Notify,
}

impl Connection {
    pub(crate) fn new(
        quic: quinn::Connection,
        peer: Identity,
        dialled: bool,
        hello: Option<Hello>,
        control: mpsc::Sender<Control>,
        node: Arc<Node>,
    ) -> Self {
        let leaf = certificates(&quic).into_iter().next();
        let expires = leaf.and_then(|leaf| CertificateFacts::of(&leaf)).map(|facts| facts.validity.not_after);
        let expires = expires.map(std::time::SystemTime::from).and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        Self {
            caller: Caller::of(peer.role()),
            since: Instant::now(),
            certificate_expires: expires.and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(0),
            hello: hello.map_or_else(OnceLock::new, OnceLock::from),
            lanes: Default::default(),
            path: Mutex::new(PathWatch::new(node.paths.travel)),
            ending: Ending::default(),
            outgoing: AtomicUsize::new(0),
            serving: AtomicUsize::new(0),
            made: AtomicU64::new(0),
            served: AtomicU64::new(0),
            cancels: Mutex::new(CancelBudget::full(Instant::now())),
            quic,
            peer,
            dialled,
            control,
            node,
        }
    }

    /// What the peer said about itself.
    pub(crate) fn hello(&self) -> Option<&Hello> {
        self.hello.get()
    }

    /// Takes note of what the peer says about itself; it may say so once.
    pub(crate) fn set_hello(&self, hello: Hello) -> bool {
        self.hello.set(hello).is_ok()
    }

    /// Whether new calls may be made on it.
    pub(crate) fn is_usable(&self) -> bool {
        !self.ending.retiring.load(Ordering::Acquire) && self.quic.close_reason().is_none()
    }

    /// The lane for calls of this priority, which is opened when the first one comes.
    pub(crate) fn lane(self: &Arc<Self>, priority: Priority) -> &Arc<Lane> {
        self.lanes[priority.index()].get_or_init(|| {
            let lane = Arc::new(Lane::new(self.node.limits.pending_calls));
            self.node.environment.tasks.spawn(self.clone().run_lane(lane.clone(), priority));
            lane
        })
    }

    /// The lane for this priority, if it was ever opened.
    pub(crate) fn opened_lane(&self, priority: Priority) -> Option<&Arc<Lane>> {
        self.lanes[priority.index()].get()
    }

    /// How the next small call travels. When the streams that peers of our kind permit run out, it does not wait for one.
    pub(crate) fn next_travel(&self, now: Instant) -> Travel {
        let streams = self.node.limits.streams as usize;
        if self.outgoing.load(Ordering::Relaxed) > streams - streams / 4 { Travel::Lane } else { self.travel(now) }
    }

    /// How small calls travel over its path.
    pub(crate) fn travel(&self, now: Instant) -> Travel {
        let mut path = self.path.lock().expect("nothing panics while it holds this lock");
        if path.is_due(now) {
            self.look(&mut path, now);
        }
        path.travel()
    }

    /// Keeps what the connection knows about its path for the next one.
    pub(crate) fn remember_path(&self) {
        self.look(&mut self.path.lock().expect("nothing panics while it holds this lock"), Instant::now());
    }

    fn look(&self, path: &mut PathWatch, now: Instant) {
        let facts = self.quic.stats().path;
        path.observe(PathFacts { rtt: facts.rtt, sent_packets: facts.sent_packets, lost_packets: facts.lost_packets }, now);
        let knowledge = PathKnowledge { rtt: facts.rtt, loss: path.loss(), window_bytes: facts.cwnd };
        self.node.endpoint.learn(&self.peer, self.quic.remote_address(), knowledge);
    }

    /// The share of packets lost lately.
    pub(crate) fn loss(&self) -> f64 {
        self.path.lock().expect("nothing panics while it holds this lock").loss()
    }

    /// Counts a call of ours for as long as the guard lives; `None` when no new calls may be made on it any more.
    ///
    /// Counted first and asked afterwards: whoever retires the connection sees either the call or is seen.
    pub(crate) fn begin_call(self: &Arc<Self>) -> Option<Outgoing> {
        self.outgoing.fetch_add(1, Ordering::SeqCst);
        let outgoing = Outgoing(self.clone());
        if self.ending.retiring.load(Ordering::SeqCst) {
            return None;
        }
        self.made.fetch_add(1, Ordering::Relaxed);
        Some(outgoing)
    }

    /// Counts a call of the peer's for as long as the guard lives, unless there are too many.
    pub(crate) fn begin_serving(self: &Arc<Self>) -> Option<Serving> {
        if self.serving.fetch_add(1, Ordering::AcqRel) >= self.node.limits.calls_per_connection {
            self.serving.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Serving(self.clone()))
    }

    /// Counts calls that were answered.
    pub(crate) fn count_served(&self, calls: u64) {
        self.served.fetch_add(calls, Ordering::Relaxed);
    }

    /// Calls that we made, and calls that we served.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.made.load(Ordering::Relaxed), self.served.load(Ordering::Relaxed))
    }

    /// Takes note that the peer cancelled a call, and cuts a peer that does so faster than anybody needs to.
    pub(crate) fn note_cancel(&self, now: Instant) {
        let excessive = !self.cancels.lock().expect("nothing panics while it holds this lock").take(now);
        if excessive {
            self.close(CloseCode::Excessive, "");
        }
    }

    /// Says something on the control stream. A full queue means that the peer does not read, and then it is dropped.
    pub(crate) fn say(&self, control: Control) {
        if self.control.try_send(control).is_err() {
            tracing::debug!(peer = %self.peer, "control message dropped");
        }
    }

    /// Makes no new calls on it from now on; says whether that is new.
    pub(crate) fn retire(&self) -> bool {
        let new = !self.ending.retiring.swap(true, Ordering::SeqCst);
        self.ending.changed.notify_waiters();
        new
    }

    /// The peer makes no more calls on it.
    pub(crate) fn set_peer_retired(&self) {
        self.ending.peer_retired.store(true, Ordering::Release);
        self.ending.changed.notify_waiters();
    }

    /// Waits until all calls of ours are answered.
    pub(crate) async fn own_calls_answered(&self) {
        self.wait_until(|| self.outgoing.load(Ordering::SeqCst) == 0).await;
    }

    /// Waits until all calls of the peer's are answered and it makes no more.
    pub(crate) async fn peer_retired(&self) {
        self.wait_until(|| self.ending.peer_retired.load(Ordering::Acquire)).await;
    }

    /// Closes it for a reason.
    pub(crate) fn close(&self, code: CloseCode, reason: &str) {
        tracing::debug!(peer = %self.peer, %code, reason, "closing a connection");
        self.quic.close(code.to_varint(), reason.as_bytes());
    }

    /// What its end means for a call that was out on it.
    pub(crate) fn error_of_call(&self) -> CallError {
        match self.quic.close_reason() {
            Some(error) => error_of_call(&self.peer, &error),
            None => CallError::Lost { peer: self.peer.clone(), cause: "the stream was ended".to_owned() },
        }
    }

    /// The certificates that the peer showed, the leaf first.
    pub(crate) fn certificates(&self) -> Vec<CertificateDer<'static>> {
        certificates(&self.quic)
    }

    async fn wait_until(&self, condition: impl Fn() -> bool) {
        loop {
            let changed = self.ending.changed.notified();
            if condition() || self.quic.close_reason().is_some() {
                return;
            }
            tokio::select! {
                // Either order would do: both are checked again.
                biased;
                () = changed => {}
                _ = self.quic.closed() => return,
            }
        }
    }

    async fn run_lane(self: Arc<Self>, lane: Arc<Lane>, priority: Priority) {
        let Ok((mut send, recv)) = self.quic.open_bi().await else { return lane.fail(&self.error_of_call()) };
        let write = async {
            // The lane ends when the connection does; whatever happens to this stream alone ends the connection too.
            let opened = send.set_priority(priority.of_stream()).is_ok() && send.write_all(&[LANE, priority.to_wire()]).await.is_ok();
            if !opened || write_output(&*lane, &mut send).await.is_err() {
                lane.fail(&self.error_of_call());
            }
        };
        let read = async {
            if let Err(error) = read_answers(&lane, recv).await {
                self.close(CloseCode::Malformed, &error.to_string());
            }
            lane.fail(&self.error_of_call());
        };
        tokio::join!(write, read, lane.keep_deadlines());
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).field("dialled", &self.dialled).finish_non_exhaustive()
    }
}

/// A call of ours that is out.
#[derive(Debug)]
pub(crate) struct Outgoing(Arc<Connection>);

impl Outgoing {
    /// The connection that it goes over.
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.0
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        let was = self.0.outgoing.fetch_sub(1, Ordering::AcqRel);
        if was == 1 && self.0.ending.retiring.load(Ordering::Acquire) {
            self.0.ending.changed.notify_waiters();
        }
    }
}

/// A call of the peer's that is being served.
#[derive(Debug)]
pub(crate) struct Serving(Arc<Connection>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.serving.fetch_sub(1, Ordering::AcqRel);
        self.0.count_served(1);
    }
}

/// Lends chunks of a stream to the frame reader, many at a time: each read takes quinn's lock once.
pub(crate) struct Chunks([Bytes; CHUNKS]);

impl Chunks {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| Bytes::new()))
    }

    /// The next chunks; `None` at the end of the stream.
    pub(crate) async fn read(&mut self, stream: &mut RecvStream) -> Result<Option<impl Iterator<Item = Bytes>>, quinn::ReadError> {
        let Some(count) = stream.read_chunks(&mut self.0).await? else { return Ok(None) };
        Ok(Some(self.0[..count].iter_mut().map(std::mem::take)))
    }
}

/// The certificates that the peer of `quic` showed, the leaf first.
pub(crate) fn certificates(quic: &quinn::Connection) -> Vec<CertificateDer<'static>> {
    quic.peer_identity().and_then(|chain| chain.downcast().ok()).map(|chain| *chain).unwrap_or_default()
}

async fn read_answers(lane: &Lane, mut stream: RecvStream) -> Result<(), LaneError> {
    let (mut reader, mut chunks) = (FrameReader::default(), Chunks::new());
    // However the stream ends, the lane has ended, and the connection says why.
    while let Ok(Some(chunks)) = chunks.read(&mut stream).await {
        lane.receive(&mut reader, chunks)?;
    }
    Ok(())
}

/// How many cancellations the peer may send.
#[derive(Debug)]
struct CancelBudget {
    left: u32,
    filled: Instant,
}

impl CancelBudget {
    fn full(now: Instant) -> Self {
        Self { left: CANCELS_AT_ONCE, filled: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        if self.left == 0 {
            let earned = (now - self.filled).as_millis() * u128::from(CANCELS_PER_SECOND) / 1000;
            let left = u32::try_from(earned).unwrap_or(u32::MAX).min(CANCELS_AT_ONCE);
            *self = Self { left, filled: now };
        }
        self.left = match self.left.checked_sub(1) {
            Some(left) => left,
            None => return false,
        };
        true
    }
}

const CHUNKS: usize = 32;

/// The first byte of a stream that two sides use says what it is.
pub(crate) const LANE: u8 = 1;
/// A call with a stream of its own.
pub(crate) const CALL: u8 = 2;
/// The first byte of a stream that one side uses: the control stream.
pub(crate) const CONTROL: u8 = 1;
/// An answer that is too large for its lane.
pub(crate) const ANSWER: u8 = 2;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn cancel_budget_is_spent_and_earned_back() {
        let start = Instant::now();
        let mut budget = CancelBudget::full(start);
        assert!((0..CANCELS_AT_ONCE).all(|_| budget.take(start)));
        assert!(!budget.take(start));
        // 1,024 are earned in half a second at 2,048 a second.
        let later = start + Duration::from_millis(500);
        assert_eq!((0..5000).filter(|_| budget.take(later)).count(), 1024);
    }
}
