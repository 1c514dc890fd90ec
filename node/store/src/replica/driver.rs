//! The one task that drives a replica: everything that changes it passes through here, one thing after the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use caps_overlay::bugs::{self, Bug};
use caps_overlay::{Identity, Priority, Rng, Worker, WorkerGone};
use futures_util::future::BoxFuture;
use raft::eraftpb::{Message, MessageType};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

use super::blobs;
use super::fetcher::Fetcher;
use super::joining::was_removed;
use super::orders::{OrderAsk, OrderFailed};
use super::peers::Peers;
use super::redactor::Redactor;
use super::room::{LOOK_TICKS, Room};
use super::seat::new_incarnation;
use super::shared::{Shared, Stopped};
use super::waiting::{Ask, NotDecided, Proposals, ReadRounds, Subject};
use crate::cabinet::{Proposal, Proposed, Verdict};
use crate::journal::envelope::{Class, Envelope};
use crate::journal::{Batch, Entry, EntryKind, JournalWriter, Seat, WriteError};
use crate::replication::{self, APPEND_BYTES_MAX, ChangeRefused, Consensus, HandleError, Plan, ProposeError, Role, Standing, Write};

/// The queues into the driver, all bounded.
pub(crate) struct Inlets {
    /// Consensus messages of peers. A full queue loses them, which consensus is made for.
    pub(crate) messages: mpsc::Receiver<Message>,
    /// Proposals. A full queue makes their askers wait.
    pub(crate) asks: mpsc::Receiver<Ask>,
    /// Changes of membership and leadership.
    pub(crate) orders: mpsc::Receiver<OrderAsk>,
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
    fetcher: Fetcher,
    redactor: Redactor,
    inlets: Inlets,
    rng: Rng,
    proposals: Proposals,
    rounds: ReadRounds,
    room: Room,
    /// The change of membership that somebody waits for: the index of its entry.
    changing: Option<(u64, Waiter)>,
    /// Changes that are made and wait for the disk: the number of the sync.
    made: Vec<(Option<u64>, Waiter)>,
    /// The tick at which this replica saw that it was removed.
    removed_at: Option<u64>,
    /// The transfer of the leadership that somebody waits for: to whom.
    transferring: Option<(Option<Identity>, Waiter)>,
    standing: Standing,
    ticks: u64,
    /// The tick at which the disk was seen at work last, and how many jobs it had been given by then.
    busy_at: u64,
    seen_jobs: u64,
    /// The tick at which there was a leader last.
    led_at: u64,
    /// The question whether this replica was removed.
    inquiry: Option<BoxFuture<'static, bool>>,
    /// Set when the replica is to stop.
    stop_at: Option<Instant>,
}

/// Who waits for the outcome of an order.
type Waiter = oneshot::Sender<Result<(), OrderFailed>>;

/// What a driver is made of.
pub(crate) struct Parts {
    pub(crate) consensus: Consensus,
    pub(crate) disk: Disk,
    pub(crate) fetcher: Fetcher,
    pub(crate) redactor: Redactor,
    pub(crate) inlets: Inlets,
    pub(crate) rounds: ReadRounds,
    pub(crate) room: Room,
    pub(crate) rng: Rng,
}

/// How one turn of the driver ends.
enum Turn {
    Go,
    Stop,
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>, peers: Arc<dyn Peers>, parts: Parts) -> Self {
        let Parts { consensus, disk, fetcher, redactor, inlets, rounds, room, rng } = parts;
        Self {
            shared,
            peers,
            consensus,
            disk,
            fetcher,
            redactor,
            inlets,
            rng,
            proposals: Proposals::default(),
            rounds,
            room,
            changing: None,
            made: Vec::new(),
            removed_at: None,
            transferring: None,
            standing: Standing::default(),
            ticks: 0,
            busy_at: 0,
            seen_jobs: 0,
            led_at: 0,
            inquiry: None,
            stop_at: None,
        }
    }

    /// Drives the replica until it is told to stop, or cannot go on.
    pub(crate) async fn run(mut self) {
        let outcome = self.turns().await;
        self.proposals.abandon();
        let closed = match outcome {
            Ok(()) => {
                let last_words = self.consensus.last_words(None);
                self.disk.close(Some(last_words)).await.map_err(write_failed)
            }
            Err(stopped @ (Stopped::Removed | Stopped::Lost(_))) => {
                let resignation = self.resignation(&stopped);
                self.disk.close(Some(resignation)).await.map_err(write_failed).and(Err(stopped))
            }
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

    /// Gives up the number for ever. What is in the journal is worth keeping, under another one; but where not all is there that was promised, the
    /// journal is another one from now on, so that nobody takes it for the one that had the number.
    fn resignation(&self, reason: &Stopped) -> Batch {
        let seat = Seat { number: 0, ..self.shared.seat() };
        self.consensus.last_words(Some(match reason {
            Stopped::Lost(_) => Seat { incarnation: new_incarnation(&self.rng), ..seat },
            _ => seat,
        }))
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
            self.note_members();
            if self.stop_at.is_some_and(|latest| self.may_stop(latest)) {
                return Ok(());
            }
            if self.removed_at.is_some_and(|at| self.ticks - at >= FAREWELL_TICKS) {
                return Err(Stopped::Removed);
            }
            tokio::select! {
                // The clock first: it is ready once a tick, and a heartbeat that waits behind load would cost an election. Then what frees
                // waiters (the disk), what peers say, and last what makes new work, so that overload slows its cause and nothing else.
                biased;
                _ = ticker.tick() => self.handle_tick(),
                done = self.disk.written() => {
                    self.consensus.handle_persisted(done?);
                    self.answer_made();
                    self.redactor.start(self.disk.finished);
                }
                stepped = self.redactor.stepped() => {
                    if let Some(redacted) = stepped? {
                        self.shared.note_redacted(redacted);
                        self.consensus.forget_fetched();
                    }
                    self.redactor.start(self.disk.finished);
                }
                fetched = self.fetcher.fetched() => self.consensus.handle_fetched(fetched?),
                Some(latest) = self.inlets.stop.recv() => self.handle_stop(latest),
                count = self.inlets.messages.recv_many(&mut messages, AT_ONCE) => {
                    let turn = self.handle_messages(messages.drain(..), count)?;
                    if let Turn::Stop = turn { return Ok(()) }
                }
                removed = inquired(&mut self.inquiry) => {
                    self.inquiry = None;
                    if removed { return Err(Stopped::Removed) }
                }
                Some(order) = self.inlets.orders.recv() => self.handle_order(order),
                // While the leader's disk is busy, proposals collect (group commit): what came during one sync shares the next one, and with it an
                // append to each follower, which leaves before that sync has begun. None could be acknowledged sooner: the leader has to have
                // it, too. Whoever does not lead says so at once, however busy.
                count = self.inlets.asks.recv_many(&mut asks, ASKS_QUEUED_MAX), if self.takes_asks() => {
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

    fn takes_asks(&self) -> bool {
        self.standing.role != Role::Leader || self.disk.is_idle()
    }

    fn handle_tick(&mut self) {
        self.ticks += 1;
        if !self.disk.is_idle() || self.disk.started != self.seen_jobs {
            (self.busy_at, self.seen_jobs) = (self.ticks, self.disk.started);
        } else if self.ticks - self.busy_at >= MARK_TICKS {
            self.disk.mark(|| self.consensus.last_words(None));
        }
        self.consensus.handle_tick();
        self.finish_transfer();
        if self.consensus.standing().leader.is_some() {
            self.led_at = self.ticks;
        } else if self.inquiry.is_none() && self.ticks - self.led_at >= LEADERLESS_TICKS {
            self.led_at = self.ticks;
            self.inquiry = Some(Box::pin(was_removed(self.shared.clone(), self.peers.clone())));
        }
        if self.ticks.is_multiple_of(REPAIR_TICKS) {
            self.repair();
        }
        if self.ticks.is_multiple_of(LOOK_TICKS) {
            self.look_for_room();
        }
        if self.ticks.is_multiple_of(REPEAT_READS_TICKS)
            && !bugs::has(Bug::ReadNotRepeated)
            && let Some(context) = self.rounds.repeat()
        {
            self.consensus.read_index(context);
        }
    }

    /// A leader whose disk is nearly full orders nothing any more; another one may have room.
    fn look_for_room(&mut self) {
        self.room.look();
        if self.consensus.leads()
            && self.room.wants_another_leader(self.ticks)
            && let Some(successor) = self.consensus.hand_over()
        {
            tracing::warn!(successor, "handing over the leadership: the disk is nearly full");
        }
    }

    fn handle_messages(&mut self, messages: impl Iterator<Item = Message>, count: usize) -> Result<Turn, Stopped> {
        if count == 0 {
            return Ok(Turn::Stop);
        }
        for message in messages {
            if !self.room.takes(&message) {
                continue;
            }
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
        let mut subjects = Vec::new();
        let mut payloads = Vec::new();
        // Whether there is one among these is not in the journal's index yet.
        let mut obliterates = false;
        let last_obliteration = self.shared.journal().last_obliteration();
        for ask in asks {
            let Some(reply) = self.proposals.join(ask.subject, ask.reply) else { continue };
            let refusal = match self.proposals.has_room() && self.stop_at.is_none() {
                false => Some(NotDecided::Overloaded),
                // Whoever does not lead says so: the leader may have room.
                true if !self.room.takes_commits() && self.standing.role == Role::Leader => Some(NotDecided::NearlyFull),
                true if ask.after.is_some_and(|after| obliterates || after != last_obliteration) => Some(NotDecided::Obliterated),
                true => None,
            };
            if let Some(refusal) = refusal {
                // Whoever gave up waiting is not there any more.
                reply.send(Err(refusal)).ok();
                continue;
            }
            self.proposals.add(ask.subject, reply);
            obliterates |= Envelope::parse(&ask.payload).is_some_and(|envelope| envelope.class == Class::Obliteration);
            subjects.push(ask.subject);
            payloads.push(ask.payload);
        }
        let (taken, refusal) = self.consensus.propose(payloads);
        let refusal = match refusal {
            None => return,
            Some(ProposeError::NotLeader) => NotDecided::NotLeader,
            Some(ProposeError::Full) => NotDecided::Overloaded,
        };
        subjects[taken..].iter().for_each(|subject| self.proposals.refuse(*subject, refusal));
    }

    fn handle_reads(&mut self, reads: impl Iterator<Item = oneshot::Sender<u64>>) {
        reads.for_each(|reader| self.rounds.add(reader));
    }

    fn handle_order(&mut self, order: OrderAsk) {
        self.note_standing();
        let OrderAsk { wish, reply } = order;
        let outcome = match self.consensus.plan(&wish) {
            Err(refused) => Err(refused),
            Ok(Plan::Nothing) => Ok(()),
            Ok(Plan::StepAside) => {
                if let Some(successor) = self.consensus.hand_over() {
                    tracing::info!(successor, "letting somebody else lead, to leave");
                }
                Err(ChangeRefused::NotLeader)
            }
            Ok(Plan::Transfer(to)) => {
                tracing::info!(to, "handing over the leadership, as asked");
                self.consensus.transfer(to);
                self.transferring = Some((self.shared.identity_of(to), reply));
                return;
            }
            Ok(Plan::Change(change)) => match self.consensus.propose_change(&change) {
                Ok(index) => {
                    tracing::info!(cabinet = %self.shared.cabinet_name, index, ?change, "changing the membership");
                    self.changing = Some((index, reply));
                    return;
                }
                Err(refused) => Err(refused),
            },
        };
        // Whoever gave up waiting is not there any more.
        reply.send(outcome.map_err(OrderFailed::from)).ok();
    }

    /// A transfer ends when somebody else leads, or when consensus has given it up.
    fn finish_transfer(&mut self) {
        if self.consensus.is_transferring() {
            return;
        }
        let Some((to, reply)) = self.transferring.take() else { return };
        let outcome = match self.consensus.standing().role {
            Role::Leader => Err(OrderFailed::NotTaken { node: to.map_or_else(String::new, |to| to.name().to_owned()) }),
            Role::Follower | Role::Candidate => Ok(()),
        };
        reply.send(outcome).ok();
    }

    /// Gives a replica that lost its journal, and has caught up under another number, the vote of its old one.
    fn repair(&mut self) {
        let Some(change) = self.consensus.plan_repair() else { return };
        match self.consensus.propose_change(&change) {
            Ok(index) => tracing::info!(cabinet = %self.shared.cabinet_name, index, ?change, "ending a repair"),
            Err(refused) => tracing::debug!(%refused, "a repair cannot be ended yet"),
        }
    }

    /// A leader hands over before it stops, so that nobody waits for an election.
    fn handle_stop(&mut self, latest: Instant) {
        self.stop_at = Some(latest);
        if let Some(successor) = self.consensus.hand_over() {
            tracing::info!(successor, "handing over the leadership");
        }
    }

    fn may_stop(&self, latest: Instant) -> bool {
        let led = self.consensus.standing().role == Role::Leader && self.consensus.membership().voters().len() > 1;
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
            self.fetcher.queue(output.fetches);
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
        if self.redactor.wants_finished_segments() {
            self.redactor.finished_after(self.disk.finish_segment());
        }
        self.disk.start();
        for (sync, _) in &mut self.made {
            sync.get_or_insert(self.disk.last_wanted());
        }
        self.shared.note_committed(self.consensus.committed_index());
        Ok(())
    }

    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            let to = message.to;
            let Some(identity) = self.shared.identity_of(to) else { continue };
            for part in replication::split(message, APPEND_BYTES_MAX) {
                let kind = part.get_msg_type();
                let Some(bytes) = replication::encode(&self.shared.cabinet_name, &part) else { continue };
                let priority = self.priority(to, kind);
                if !self.peers.send(&identity, bytes, priority) && kind == MessageType::MsgAppend {
                    self.consensus.handle_unreachable(to);
                }
            }
        }
    }

    /// Votes and heartbeats overtake appends, so that load cannot cost an election; what a follower far behind is sent travels by itself, behind
    /// everything else, so that its catching up costs nobody a thing.
    fn priority(&mut self, to: u64, kind: MessageType) -> Priority {
        match kind {
            MessageType::MsgAppend if self.consensus.is_catching_up(to) => Priority::Bulk,
            MessageType::MsgAppend | MessageType::MsgAppendResponse => Priority::Interactive,
            _ => Priority::Control,
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
            if let Some((_, reply)) = self.changing.take() {
                reply.send(Err(OrderFailed::LeadershipLost)).ok();
            }
        }
        self.standing = standing;
        self.shared.note_standing(standing);
        self.finish_transfer();
    }

    /// Tells the services what the leader knows of its followers.
    fn note_members(&self) {
        let numbers = self.consensus.membership().members().map(|(number, _)| number);
        let followed = numbers.filter_map(|number| Some((number, self.consensus.followed(number)?))).collect();
        self.shared.note_followed(followed, self.consensus.leads(), self.consensus.is_changing());
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
            if entry.kind != EntryKind::Normal {
                self.change(&entry)?;
            }
            if entry.kind != EntryKind::Normal || entry.payload.is_empty() {
                self.shared.skip(entry.index);
                continue;
            }
            let index = entry.index;
            let proposed = Proposed::decode(&entry.payload, index, entry.term);
            let proposed = proposed.map_err(|error| Stopped::Entry { index, error: Arc::new(error) })?;
            let applied = self.shared.apply(index, &proposed).map_err(Stopped::State)?;
            blobs::note(&self.shared.blobs, index, &proposed.proposal, &applied.verdict);
            let subject = match proposed.proposal {
                Proposal::Commit(_) => Subject::Commit(applied.commit),
                Proposal::Seal(_) => Subject::Seal(applied.commit),
                Proposal::Obliterate(_) => {
                    self.redactor.want(&self.shared)?;
                    Subject::Commit(applied.commit)
                }
            };
            verdicts.entry(subject).or_insert_with(|| applied.verdict.clone());
        }
        self.consensus.handle_applied(last);
        self.shared.arrived(last);
        for (subject, verdict) in &verdicts {
            self.proposals.decide(*subject, verdict);
        }
        let (number, membership) = (self.shared.number(), self.consensus.membership());
        if membership.member(number).is_none() && number < membership.next_number() {
            // It goes a little later: until the others have it on disk, its vote may be needed.
            self.removed_at.get_or_insert(self.ticks);
        }
        Ok(())
    }

    /// Lets an entry that changes the membership take effect.
    fn change(&mut self, entry: &Entry) -> Result<(), Stopped> {
        let index = entry.index;
        self.consensus.apply_change(entry).map_err(|error| Stopped::Change { index, error: Arc::new(error) })?;
        let membership = self.consensus.membership();
        let voters = membership.voters();
        tracing::info!(cabinet = %self.shared.cabinet_name, index, ?voters, joint = membership.is_joint(), "the membership has changed");
        self.shared.with_table(|table| table.change(membership.clone()));
        // A joint change is made when it is over.
        let made = !membership.is_joint();
        if let Some((_, reply)) = self.changing.take_if(|(proposed, _)| made && *proposed <= index) {
            self.made.push((None, reply));
        }
        Ok(())
    }

    /// Tells those whose change is on the disk.
    fn answer_made(&mut self) {
        let done = self.disk.finished;
        for (_, reply) in self.made.extract_if(.., |(sync, _)| sync.is_some_and(|sync| sync <= done)) {
            reply.send(Ok(())).ok();
        }
    }
}

async fn inquired(inquiry: &mut Option<BoxFuture<'static, bool>>) -> bool {
    match inquiry {
        Some(inquiry) => inquiry.await,
        None => std::future::pending().await,
    }
}

/// The journal's writer on its worker: while one sync runs, the next batch collects (group commit).
pub(crate) struct Disk {
    worker: Worker,
    /// Taken while a job runs.
    writer: Option<JournalWriter>,
    queued: Vec<Write>,
    /// Whether the segment is to be finished after what is queued.
    finish: bool,
    /// Whether something was written since the last mark.
    unmarked: bool,
    /// Jobs begun, and those of them that are done.
    started: u64,
    finished: u64,
    job: Option<BoxFuture<'static, Result<Done, WorkerGone>>>,
}

/// What comes back from the worker.
struct Done {
    writer: JournalWriter,
    result: Result<u64, WriteError>,
}

impl Disk {
    pub(crate) fn new(worker: Worker, writer: JournalWriter) -> Self {
        Self { worker, writer: Some(writer), queued: Vec::new(), finish: false, unmarked: false, started: 0, finished: 0, job: None }
    }

    /// The number of the job after which everything given so far is durable.
    fn last_wanted(&self) -> u64 {
        self.started + u64::from(!self.queued.is_empty() || self.finish)
    }

    /// Has the segment finished; the number of the job after which it is.
    fn finish_segment(&mut self) -> u64 {
        self.finish = true;
        self.last_wanted()
    }

    fn queue(&mut self, write: Write) {
        self.queued.push(write);
    }

    fn is_idle(&self) -> bool {
        self.job.is_none() && self.queued.is_empty() && !self.finish
    }

    /// Starts a job for what is queued, unless one runs.
    fn start(&mut self) {
        if self.queued.is_empty() && !self.finish {
            return;
        }
        let Some(mut writer) = self.writer.take() else { return };
        let (writes, finish) = (std::mem::take(&mut self.queued), std::mem::take(&mut self.finish));
        let worker = self.worker.clone();
        self.started += 1;
        self.unmarked = true;
        self.job = Some(Box::pin(async move {
            worker
                .run(move || {
                    let written = write_all(&mut writer, writes);
                    let result = if finish { written.and_then(|last| writer.finish_segment().map(|()| last)) } else { written };
                    Done { writer, result }
                })
                .await
        }));
    }

    /// Marks what is durable as such, unless it is marked or something is under way: damage to the last batch is then told from a torn write,
    /// however the replica ends. `last` is written before the mark.
    fn mark(&mut self, last: impl FnOnce() -> Batch) {
        if !self.unmarked || !self.is_idle() {
            return;
        }
        let Some(mut writer) = self.writer.take() else { return };
        let (worker, last) = (self.worker.clone(), last());
        self.started += 1;
        self.unmarked = false;
        self.job = Some(Box::pin(async move {
            worker
                .run(move || {
                    // It makes nothing durable that was not: no write has the number 0.
                    let result = writer.append(last).and_then(|()| writer.mark()).map(|()| 0);
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
        self.finished += 1;
        self.writer = Some(done.writer);
        done.result.map_err(write_failed)
    }

    /// Writes who this replica is, from a task that waits for it.
    pub(crate) async fn write(&mut self, batch: Batch) -> Result<(), Stopped> {
        let Some(mut writer) = self.writer.take() else { return Err(Stopped::WorkerGone) };
        let worker = self.worker.clone();
        let written = worker.run(move || {
            let result = writer.append(batch).and_then(|()| writer.sync());
            (writer, result)
        });
        let (writer, result) = written.await.map_err(|_| Stopped::WorkerGone)?;
        self.writer = Some(writer);
        result.map(drop).map_err(write_failed)
    }

    /// Marks the orderly end of the journal, after `last`.
    pub(crate) async fn close(mut self, last: Option<Batch>) -> Result<(), WriteError> {
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
                last.map_or(Ok(()), |last| writer.append(last))?;
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

/// Inputs taken from one queue in one turn: what a single round trip through consensus and disk then carries.
const AT_ONCE: usize = 256;

/// Ticks after which an unanswered linearizable read is asked again.
const REPEAT_READS_TICKS: u64 = 4;

/// Ticks without a write after which what was written is marked as durable: seldom enough to cost nothing, soon enough that a last batch at rest
/// is proven.
const MARK_TICKS: u64 = 20;

/// Ticks without a leader until a replica asks whether it was removed: several elections.
const LEADERLESS_TICKS: u64 = 100;

/// Ticks that a replica which was removed goes on: syncs and round trips of the others.
const FAREWELL_TICKS: u64 = 40;

/// Ticks between two looks for a repair that can be ended.
const REPAIR_TICKS: u64 = 10;

/// The queue of orders: administrators and repairs are few.
pub(crate) const ORDERS_QUEUED_MAX: usize = 16;

/// The queue of consensus messages: a few round trips of the appends that two followers may have under way.
pub(crate) const MESSAGES_QUEUED_MAX: usize = 1_024;

/// The queue of proposals: what collects while the disk is busy, and is then proposed at once; the rest waits where it comes from.
pub(crate) const ASKS_QUEUED_MAX: usize = 1_024;

/// The queue of linearizable reads.
pub(crate) const READS_QUEUED_MAX: usize = 1_024;

/// A consensus message of a peer, in bytes; `None` when it is not one.
pub(crate) fn message(shared: &Shared, from: &Identity, body: Bytes) -> Option<Message> {
    let message = match replication::decode(&shared.cabinet_name, body) {
        Ok(message) => message,
        Err(error) => {
            tracing::debug!(from = from.name(), %error, "dropping a consensus message");
            return None;
        }
    };
    // The certificate decides who speaks; a message that claims to be another member's is a lie.
    shared.admits(message.from, from).then_some(message)
}
