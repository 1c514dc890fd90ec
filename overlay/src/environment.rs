//! Everything that a node takes from outside: its socket, randomness, clocks, worker threads and tasks.
//!
//! A simulation passes its own of each, and then the same seed gives the same run, bit for bit. Time inside is
//! [`tokio::time::Instant`], which is virtual when the runtime is paused.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rand::{Rng as _, SeedableRng, TryRng};
use rand_chacha::ChaCha8Rng;
use thiserror::Error;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::AbortHandle;

/// Everything that a node takes from outside.
///
/// `Environment::real` makes the one of a real process; a simulation fills in the fields itself.
#[derive(Clone)]
pub struct Environment {
    /// The UDP socket of the node's one endpoint. The next breaking quinn changes this trait.
    pub socket: Arc<dyn quinn::AsyncUdpSocket>,
    /// The cryptography of every handshake, its randomness included.
    pub provider: Arc<rustls::crypto::CryptoProvider>,
    /// The node's only source of randomness.
    pub rng: Rng,
    /// The time of day: for certificates and for people, never for ordering.
    pub wall_clock: Arc<dyn WallClock>,
    /// Where jobs run that would hold up the runtime's one thread.
    pub workers: Arc<dyn Workers>,
    /// The owner of every task of the node, quinn's included.
    pub tasks: Tasks,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// The time of day.
pub trait WallClock: fmt::Debug + Send + Sync + 'static {
    /// Microseconds since the beginning of 1970, UTC, leap seconds not counted.
    fn now_micros(&self) -> i64;
}

/// A seeded source of random numbers; clones share it.
///
/// The same seed and the same order of questions give the same answers. It is fit for jitter, choices, and
/// identifiers that only must not collide. Keys and nonces come from the crypto provider.
#[derive(Clone)]
pub struct Rng {
    core: Arc<Mutex<ChaCha8Rng>>,
}

impl Rng {
    /// A source that is wholly decided by `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self::from_core(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A source that is wholly decided by 32 bytes.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self::from_core(ChaCha8Rng::from_seed(seed))
    }

    /// 64 random bits.
    pub fn next_u64(&self) -> u64 {
        self.with(|core| core.next_u64())
    }

    /// 128 random bits.
    pub fn next_u128(&self) -> u128 {
        self.with(|core| u128::from(core.next_u64()) << 64 | u128::from(core.next_u64()))
    }

    /// Fills `bytes`.
    pub fn fill(&self, bytes: &mut [u8]) {
        self.with(|core| core.fill_bytes(bytes));
    }

    /// A number from 0 to `bound - 1`; 0 if `bound` is 0. The bias is below 2^-32 for bounds under 2^32.
    pub fn below(&self, bound: u64) -> u64 {
        let product = u128::from(self.next_u64()) * u128::from(bound);
        (product >> 64) as u64
    }

    /// `duration` times something from 0.5 to 1.5, so that what failed together does not come back together.
    pub fn jitter(&self, duration: Duration) -> Duration {
        const STEPS: u64 = 1 << 20;
        let factor = 0.5 + (self.below(STEPS) as f64) / (STEPS as f64);
        duration.mul_f64(factor)
    }

    /// An independent source that continues from here: what its owner asks does not disturb the others.
    pub fn fork(&self) -> Self {
        let mut seed = [0; 32];
        self.fill(&mut seed);
        Self::from_seed(seed)
    }

    fn from_core(core: ChaCha8Rng) -> Self {
        Self { core: Arc::new(Mutex::new(core)) }
    }

    fn with<T>(&self, ask: impl FnOnce(&mut ChaCha8Rng) -> T) -> T {
        ask(&mut self.core.lock().expect("nothing panics while it holds this lock"))
    }
}

impl TryRng for Rng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.with(|core| core.next_u32()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(Self::next_u64(self))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.fill(bytes);
        Ok(())
    }
}

impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng")
    }
}

/// Starts workers.
pub trait Workers: Send + Sync + 'static {
    /// Starts a worker with this name and room for this many waiting jobs.
    fn start(&self, name: &str, queue_jobs: usize) -> Worker;
}

/// A place where blocking or heavy jobs run, one after the other, in the order in which they were given.
#[derive(Clone, Debug)]
pub struct Worker {
    place: Place,
}

/// A job for a worker.
pub type Job = Box<dyn FnOnce() + Send>;

impl Worker {
    /// A worker that takes its jobs from the other end of `queue`.
    pub fn behind(queue: mpsc::Sender<Job>) -> Self {
        Self { place: Place::Behind(queue) }
    }

    /// A worker that runs each job at once, in the task that asks (for simulations).
    pub fn inline() -> Self {
        Self { place: Place::Inline }
    }

    /// A worker that runs each job in the task that asks, when the pace says that its turn and its time have come (for simulations).
    pub fn paced(pace: Arc<dyn Pace>) -> Self {
        Self { place: Place::Paced { pace, turn: Arc::default() } }
    }

    /// Runs `job` and gives its result; waits for room while the queue is full.
    ///
    /// A job that has been queued runs even if the caller stops waiting. Large results cross threads: batch them.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, WorkerGone> {
        let queue = match &self.place {
            Place::Behind(queue) => queue,
            Place::Inline => return Ok(job()),
            Place::Paced { pace, turn } => {
                let _turn = turn.lock().await;
                pace.before().await;
                let result = job();
                pace.after().await;
                return Ok(result);
            }
        };
        let (result, done) = oneshot::channel();
        // A caller that went away does not want the result.
        let job: Job = Box::new(move || drop(result.send(job())));
        queue.send(job).await.map_err(|_| WorkerGone)?;
        done.await.map_err(|_| WorkerGone)
    }
}

#[derive(Clone, Debug)]
enum Place {
    Behind(mpsc::Sender<Job>),
    Inline,
    Paced { pace: Arc<dyn Pace>, turn: Arc<tokio::sync::Mutex<()>> },
}

/// How long the jobs of a simulated worker take: whoever asks waits before the job is done and after it, so that a crash may find it undone, or
/// done and not reported.
pub trait Pace: fmt::Debug + Send + Sync + 'static {
    /// The wait before a job is done.
    fn before(&self) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// The wait between a job's end and its report.
    fn after(&self) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The worker's thread has ended: the node is shutting down, or an earlier job panicked.
/// Whether this job ran is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the worker thread has ended")]
pub struct WorkerGone;

/// The tasks of one node; clones share them.
///
/// Every task of the node is started here, so that a node can be stopped wholly: orderly with
/// [`shutdown`](Self::shutdown), or as by `kill -9` with [`abort_all`](Self::abort_all).
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    shared: Arc<SharedTasks>,
}

impl Tasks {
    /// Starts a task. Once the tasks are shut down the future is dropped instead.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> TaskHandle {
        let Some(membership) = self.enter() else { return TaskHandle { abort: None } };
        let number = membership.number;
        let abort = tokio::spawn(async move {
            let membership = membership;
            let mut future = pin!(future);
            poll_fn(|context| match membership.shared.held(context) {
                true => Poll::Pending,
                false => future.as_mut().poll(context),
            })
            .await;
        })
        .abort_handle();
        self.shared.note_handle(number, &abort);
        TaskHandle { abort: Some(abort) }
    }

    /// Aborts every task, refuses new ones, and waits until all have ended. Do not call it from one of them.
    pub async fn shutdown(&self) {
        self.abort_all();
        loop {
            let ended = self.shared.ended.notified();
            if self.count() == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Aborts every task and refuses new ones: each is dropped where it stands.
    pub fn abort_all(&self) {
        let handles: Vec<AbortHandle> = {
            let mut running = self.shared.running();
            running.closed = true;
            running.handles.values().flatten().cloned().collect()
        };
        for handle in handles {
            handle.abort();
        }
    }

    /// Holds every task where it stands, as a stopped process or a machine without a free core does: time goes on, the node does not.
    pub fn pause(&self) {
        self.shared.paused.store(true, Ordering::Relaxed);
    }

    /// Lets the tasks go on after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.shared.paused.store(false, Ordering::Relaxed);
        let waiting = std::mem::take(&mut *self.shared.waiting());
        waiting.into_iter().for_each(Waker::wake);
    }

    /// How many tasks have not ended.
    pub fn count(&self) -> usize {
        self.shared.running().handles.len()
    }

    fn enter(&self) -> Option<Membership> {
        let mut running = self.shared.running();
        if running.closed {
            return None;
        }
        let number = running.next;
        running.next += 1;
        running.handles.insert(number, None);
        Some(Membership { number, shared: self.shared.clone() })
    }
}

/// A task that can be aborted. Dropping the handle leaves the task running.
#[derive(Clone, Debug)]
pub struct TaskHandle {
    abort: Option<AbortHandle>,
}

impl TaskHandle {
    /// Drops the task's future at its next await.
    pub fn abort(&self) {
        if let Some(abort) = &self.abort {
            abort.abort();
        }
    }
}

#[derive(Debug, Default)]
struct SharedTasks {
    running: Mutex<Running>,
    ended: Notify,
    paused: AtomicBool,
    /// Tasks that wanted to go on while they were held.
    waiting: Mutex<Vec<Waker>>,
}

#[derive(Debug, Default)]
struct Running {
    next: u64,
    handles: BTreeMap<u64, Option<AbortHandle>>,
    closed: bool,
}

impl SharedTasks {
    fn running(&self) -> std::sync::MutexGuard<'_, Running> {
        self.running.lock().expect("nothing panics while it holds this lock")
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Waker>> {
        self.waiting.lock().expect("nothing panics while it holds this lock")
    }

    /// Whether a task has to wait; it is woken when it may go on.
    fn held(&self, context: &Context<'_>) -> bool {
        let paused = self.paused.load(Ordering::Relaxed);
        if paused {
            self.waiting().push(context.waker().clone());
        }
        paused
    }

    fn note_handle(&self, number: u64, abort: &AbortHandle) {
        let mut running = self.running();
        let closed = running.closed;
        // A task that has ended already took its entry away.
        if let Some(entry) = running.handles.get_mut(&number) {
            *entry = Some(abort.clone());
        }
        drop(running);
        if closed {
            abort.abort();
        }
    }
}

/// Takes the task off the list when its future is dropped, however that happens.
struct Membership {
    number: u64,
    shared: Arc<SharedTasks>,
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut running = self.shared.running();
        running.handles.remove(&self.number);
        if running.handles.is_empty() {
            self.shared.ended.notify_waiters();
        }
    }
}

/// quinn's view of the environment: tokio's clock, the node's tasks.
#[derive(Debug)]
pub(crate) struct QuicRuntime {
    tasks: Tasks,
}

impl QuicRuntime {
    pub(crate) fn new(tasks: Tasks) -> Self {
        Self { tasks }
    }
}

impl quinn::Runtime for QuicRuntime {
    fn new_timer(&self, at: std::time::Instant) -> Pin<Box<dyn quinn::AsyncTimer>> {
        Box::pin(QuicTimer(Box::pin(tokio::time::sleep_until(at.into()))))
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.tasks.spawn(future);
    }

    fn wrap_udp_socket(&self, _: std::net::UdpSocket) -> std::io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn now(&self) -> std::time::Instant {
        tokio::time::Instant::now().into_std()
    }
}

#[derive(Debug)]
struct QuicTimer(Pin<Box<tokio::time::Sleep>>);

impl quinn::AsyncTimer for QuicTimer {
    fn reset(mut self: Pin<&mut Self>, at: std::time::Instant) {
        self.0.as_mut().reset(at.into());
    }

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Future::poll(self.0.as_mut(), context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_gives_same_numbers_and_forks_are_independent() {
        let (one, other) = (Rng::seeded(7), Rng::seeded(7));
        let fork = one.fork();
        drop(other.fork());
        let before = fork.next_u64();
        assert_eq!(one.next_u64(), other.next_u64());
        assert_ne!(before, one.next_u64());
    }

    #[test]
    fn jitter_stays_within_half_and_three_halves() {
        let rng = Rng::seeded(1);
        for _ in 0..1000 {
            let jittered = rng.jitter(Duration::from_secs(2));
            assert!(jittered >= Duration::from_secs(1) && jittered < Duration::from_secs(3));
        }
    }

    #[tokio::test]
    async fn shutdown_drops_every_task_and_refuses_more() {
        let tasks = Tasks::default();
        let (alive, mut ended) = mpsc::channel::<()>(1);
        tasks.spawn(async move {
            std::future::pending::<()>().await;
            drop(alive);
        });
        tokio::task::yield_now().await;
        tasks.shutdown().await;
        assert_eq!(ended.recv().await, None);
        tasks.spawn(async { panic!("must not run") });
        assert_eq!(tasks.count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn paused_tasks_stand_still_until_they_are_resumed() {
        let tasks = Tasks::default();
        let (sender, mut receiver) = mpsc::channel(1);
        tasks.spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            sender.send(tokio::time::Instant::now()).await.unwrap();
        });
        let start = tokio::time::Instant::now();
        // It is asleep when it is held.
        tokio::task::yield_now().await;
        tasks.pause();
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(receiver.try_recv().is_err());
        tasks.resume();
        assert_eq!(receiver.recv().await.unwrap() - start, Duration::from_secs(5));
    }

    #[tokio::test]
    async fn inline_worker_runs_at_once() {
        assert_eq!(Worker::inline().run(|| 7).await, Ok(7));
    }
}
