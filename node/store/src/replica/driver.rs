//! The one task that drives a replica: everything that changes it passes through here, one thing after the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use caps_model::codec;
use caps_overlay::bugs::{self, Bug};
use caps_overlay::{Priority, Worker, WorkerGone};
use futures_util::future::BoxFuture;
use raft::eraftpb::{Message, MessageType};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

use super::peers::Peers;
use super::shared::{Shared, Stopped};
use super::waiting::{Ask, NotDecided, Proposals, ReadRounds, Subject};
use crate::cabinet::{Proposal, Verdict};
use crate::journal::{Entry, EntryKind, JournalWriter, WriteError};
use crate::replication::{self, APPEND_BYTES_MAX, Consensus, HandleError, ProposeError, Role, Standing, Write};

/// The queues into the driver, all bounded.
pub(crate) struct Inlets {
    /// Consensus messages of peers. A full queue loses them, which consensus is made for.
    pub(crate) messages: mpsc::Receiver<Message>,
    /// Proposals. A full queue makes their askers wait.
    pub(crate) asks: mpsc::Receiver<Ask>,
    /// Linearizable reads.
    pub(crate) reads: mpsc::Receiver<oneshot::Sender<u64>>,
    /// The wish to stop, with the latest moment for it.
    pub(crate) stop: mpsc::Receiver<Instant>,
}

/// A replica at work.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    peers: Arc<dyn Peers>,
    consensus: Consensus,
    disk: Disk,
    inlets: Inlets,
    proposals: Proposals,
    rounds: ReadRounds,
    standing: Standing,
    ticks: u64,
    /// Set when the replica is to stop.
    stop_at: Option<Instant>,
}

/// How one turn of the driver ends.
enum Turn {
    Go,
    Stop,
}

impl Driver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        peers: Arc<dyn Peers>,
        consensus: Consensus,
        disk: Disk,
        inlets: Inlets,
        rounds: ReadRounds,
    ) -> Self {
        let standing = Standing::default();
        Self { shared, peers, consensus, disk, inlets, proposals: Proposals::default(), rounds, standing, ticks: 0, stop_at: None }
    }

    /// Drives the replica until it is told to stop, or cannot go on.
    pub(crate) async fn run(mut self) {
        let outcome = self.turns().await;
        self.proposals.abandon();
        let closed = match outcome {
            Ok(()) => self.disk.close().await.map_err(write_failed),
            Err(stopped) => Err(stopped),
        };
        let reason = closed.err().unwrap_or(Stopped::Asked);
        if let Stopped::Asked = reason {
            tracing::info!(cabinet = %self.shared.cabinet_name, "replica stopped");
        } else {
            tracing::error!(cabinet = %self.shared.cabinet_name, %reason, "replica cannot go on");
        }
        self.shared.stop(reason);
    }

    async fn turns(&mut self) -> Result<(), Stopped> {
        let mut ticker = tokio::time::interval(self.shared.timing.tick);
        // After a stall the missed ticks are not made up for: they would look like silence of a leader who was heard.
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut messages = Vec::new();
        let mut asks = Vec::new();
        let mut reads = Vec::new();
        loop {
            self.work().await?;
            if self.stop_at.is_some_and(|latest| self.may_stop(latest)) {
                return Ok(());
            }
            tokio::select! {
                // The clock first: it is ready once a tick, and a heartbeat that waits behind load would cost an election. Then what frees
                // waiters (the disk), what peers say, and last what makes new work, so that overload slows its cause and nothing else.
                biased;
                _ = ticker.tick() => self.handle_tick(),
                done = self.disk.written() => self.consensus.handle_persisted(done?),
                Some(latest) = self.inlets.stop.recv() => self.handle_stop(latest),
                count = self.inlets.messages.recv_many(&mut messages, AT_ONCE) => {
                    let turn = self.handle_messages(messages.drain(..), count)?;
                    if let Turn::Stop = turn { return Ok(()) }
                }
                count = self.inlets.asks.recv_many(&mut asks, AT_ONCE) => {
                    if count == 0 { return Ok(()) }
                    self.handle_asks(asks.drain(..));
                }
                count = self.inlets.reads.recv_many(&mut reads, AT_ONCE) => {
                    if count == 0 { return Ok(()) }
                    self.handle_reads(reads.drain(..));
                }
            }
        }
    }

    fn handle_tick(&mut self) {
        self.consensus.handle_tick();
        self.ticks += 1;
        if self.ticks.is_multiple_of(REPEAT_READS_TICKS)
            && !bugs::has(Bug::ReadNotRepeated)
            && let Some(context) = self.rounds.repeat()
        {
            self.consensus.read_index(context);
        }
    }

    fn handle_messages(&mut self, messages: impl Iterator<Item = Message>, count: usize) -> Result<Turn, Stopped> {
        if count == 0 {
            return Ok(Turn::Stop);
        }
        for message in messages {
            let (from, kind) = (message.from, message.get_msg_type());
            match self.consensus.handle_message(message) {
                Ok(()) => {}
                Err(HandleError::Refused(refusal)) => {
                    self.shared.count_refused();
                    tracing::debug!(from, ?kind, %refusal, "refused a consensus message");
                }
                Err(HandleError::Lost(lost)) => return Err(Stopped::Lost(lost)),
            }
        }
        Ok(Turn::Go)
    }

    fn handle_asks(&mut self, asks: impl Iterator<Item = Ask>) {
        // Whatever was proposed in another term may never be decided: the waiting proposals must be of this one.
        self.note_standing();
        for ask in asks {
            let Some(reply) = self.proposals.join(ask.subject, ask.reply) else { continue };
            let refusal = match self.proposals.has_room() && self.stop_at.is_none() {
                false => Some(NotDecided::Overloaded),
                true => match self.consensus.propose(ask.payload) {
                    Ok(()) => None,
                    Err(ProposeError::NotLeader) => Some(NotDecided::NotLeader),
                    Err(ProposeError::Full) => Some(NotDecided::Overloaded),
                },
            };
            match refusal {
                None => self.proposals.add(ask.subject, reply),
                // Whoever gave up waiting is not there any more.
                Some(refusal) => {
                    reply.send(Err(refusal)).ok();
                }
            }
        }
    }

    fn handle_reads(&mut self, reads: impl Iterator<Item = oneshot::Sender<u64>>) {
        reads.for_each(|reader| self.rounds.add(reader));
    }

    /// A leader hands over before it stops, so that nobody waits for an election.
    fn handle_stop(&mut self, latest: Instant) {
        self.stop_at = Some(latest);
        if let Some(successor) = self.consensus.hand_over() {
            tracing::info!(successor, "handing over the leadership");
        }
    }

    fn may_stop(&self, latest: Instant) -> bool {
        let led = self.consensus.standing().role == Role::Leader && self.shared.voters.len() > 1;
        (!led && self.disk.is_idle()) || Instant::now() >= latest
    }

    /// Does everything that consensus asks for, until it asks for nothing more.
    async fn work(&mut self) -> Result<(), Stopped> {
        loop {
            if let Some(context) = self.rounds.start() {
                self.consensus.read_index(context);
            }
            let Some(output) = self.consensus.poll().map_err(|error| Stopped::Read(Arc::new(error)))? else { break };
            self.send(output.messages);
            if let Some(write) = output.write {
                self.disk.queue(write);
            }
            self.disk.start();
            self.note_standing();
            for (context, index) in output.reads {
                self.rounds.answer(context, index);
            }
            if !output.committed.is_empty() {
                self.apply(output.committed)?;
                // A long catch-up comes in slices: calls, heartbeats and acknowledgements get their turn between them.
                tokio::task::yield_now().await;
            }
        }
        self.disk.start();
        self.shared.note_committed(self.consensus.committed_index());
        Ok(())
    }

    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            let to = message.to;
            for part in replication::split(message, APPEND_BYTES_MAX) {
                let kind = part.get_msg_type();
                let Some(bytes) = replication::encode(&self.shared.cabinet_name, &part) else { continue };
                if !self.peers.send(to, bytes, priority(kind)) && kind == MessageType::MsgAppend {
                    self.consensus.handle_unreachable(to);
                }
            }
        }
    }

    /// Follows changes of leadership; proposals of an earlier term are given up.
    fn note_standing(&mut self) {
        let standing = self.consensus.standing();
        if standing == self.standing {
            return;
        }
        if standing.role != self.standing.role || standing.term != self.standing.term {
            tracing::info!(cabinet = %self.shared.cabinet_name, role = ?standing.role, term = standing.term, "role changed");
            self.proposals.abandon();
        }
        self.standing = standing;
        self.shared.note_standing(standing);
    }

    /// Applies committed entries to the cabinet, tells the subscriptions, and answers whoever proposed them.
    ///
    /// This runs here and not on a worker: a slice is bounded to some milliseconds, the states never wait for a disk (sled writes behind), and
    /// readers on this thread need no lock that a writer on another could hold.
    fn apply(&mut self, entries: Vec<Entry>) -> Result<(), Stopped> {
        let mut verdicts: BTreeMap<Subject, Verdict> = BTreeMap::new();
        let mut last = 0;
        for entry in entries {
            last = entry.index;
            if entry.kind != EntryKind::Normal || entry.payload.is_empty() {
                self.shared.skip(entry.index);
                continue;
            }
            let proposal: Proposal =
                codec::decode(&entry.payload).map_err(|error| Stopped::Entry { index: entry.index, error: Arc::new(error) })?;
            let applied = self.shared.apply(entry.index, &proposal).map_err(Stopped::State)?;
            let subject = match proposal {
                Proposal::Commit(_) => Subject::Commit(applied.commit),
                Proposal::Seal(_) => Subject::Seal(applied.commit),
            };
            verdicts.entry(subject).or_insert_with(|| applied.verdict.clone());
        }
        self.consensus.handle_applied(last);
        self.shared.arrived(last);
        for (subject, verdict) in &verdicts {
            self.proposals.decide(*subject, verdict);
        }
        Ok(())
    }
}

/// The journal's writer on its worker: while one sync runs, the next batch collects (group commit).
pub(crate) struct Disk {
    worker: Worker,
    /// Taken while a job runs.
    writer: Option<JournalWriter>,
    queued: Vec<Write>,
    job: Option<BoxFuture<'static, Result<Done, WorkerGone>>>,
}

/// What comes back from the worker.
struct Done {
    writer: JournalWriter,
    result: Result<u64, WriteError>,
}

impl Disk {
    pub(crate) fn new(worker: Worker, writer: JournalWriter) -> Self {
        Self { worker, writer: Some(writer), queued: Vec::new(), job: None }
    }

    fn queue(&mut self, write: Write) {
        self.queued.push(write);
    }

    fn is_idle(&self) -> bool {
        self.job.is_none() && self.queued.is_empty()
    }

    /// Starts a job for what is queued, unless one runs.
    fn start(&mut self) {
        if self.queued.is_empty() {
            return;
        }
        let Some(mut writer) = self.writer.take() else { return };
        let writes = std::mem::take(&mut self.queued);
        let worker = self.worker.clone();
        self.job = Some(Box::pin(async move {
            worker
                .run(move || {
                    let result = write_all(&mut writer, writes);
                    Done { writer, result }
                })
                .await
        }));
    }

    /// Resolves with the number of the last write that is durable. A failure is final: what the disk holds is not known any more.
    async fn written(&mut self) -> Result<u64, Stopped> {
        let Some(job) = &mut self.job else { return std::future::pending().await };
        let done = job.await.map_err(|_| Stopped::WorkerGone)?;
        self.job = None;
        self.writer = Some(done.writer);
        done.result.map_err(write_failed)
    }

    /// Marks the orderly end of the journal.
    async fn close(mut self) -> Result<(), WriteError> {
        if let Some(job) = self.job.take()
            && let Ok(done) = job.await
        {
            done.result?;
            self.writer = Some(done.writer);
        }
        let Some(mut writer) = self.writer.take() else { return Ok(()) };
        let writes = std::mem::take(&mut self.queued);
        let closed = self
            .worker
            .run(move || {
                if !writes.is_empty() {
                    write_all(&mut writer, writes)?;
                }
                writer.close()
            })
            .await;
        // A worker that has gone closes nothing: the journal then ends as after a crash, which it is made for.
        closed.unwrap_or(Ok(()))
    }
}

fn write_failed(error: WriteError) -> Stopped {
    Stopped::Write(Arc::new(error))
}

fn write_all(writer: &mut JournalWriter, writes: Vec<Write>) -> Result<u64, WriteError> {
    let mut last = 0;
    for write in writes {
        last = write.number;
        writer.append(write.batch)?;
    }
    if !bugs::has(Bug::AcknowledgeBeforeSync) {
        writer.sync()?;
    }
    Ok(last)
}

/// Votes and heartbeats overtake appends, so that load cannot cost an election.
fn priority(kind: MessageType) -> Priority {
    match kind {
        MessageType::MsgAppend | MessageType::MsgAppendResponse => Priority::Interactive,
        _ => Priority::Control,
    }
}

/// Inputs taken from one queue in one turn: what a single round trip through consensus and disk then carries.
const AT_ONCE: usize = 256;

/// Ticks after which an unanswered linearizable read is asked again.
const REPEAT_READS_TICKS: u64 = 4;

/// The queue of consensus messages: a few round trips of the appends that two followers may have under way.
pub(crate) const MESSAGES_QUEUED_MAX: usize = 1_024;

/// The queue of proposals: one turn's worth; the rest waits where it comes from.
pub(crate) const ASKS_QUEUED_MAX: usize = 256;

/// The queue of linearizable reads.
pub(crate) const READS_QUEUED_MAX: usize = 1_024;

/// A consensus message of a peer, in bytes; `None` when it is not one.
pub(crate) fn message(shared: &Shared, from: u64, body: Bytes) -> Option<Message> {
    let message = match replication::decode(&shared.cabinet_name, body) {
        Ok(message) => message,
        Err(error) => {
            tracing::debug!(from, %error, "dropping a consensus message");
            return None;
        }
    };
    // The certificate decides who speaks; a message that claims to be another voter's is a lie.
    (message.from == from).then_some(message)
}
