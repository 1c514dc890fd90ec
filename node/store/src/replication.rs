//! Consensus without I/O: which commits follow each other, and when a majority has them.
//!
//! [`Consensus`] wraps TiKV's Raft core. It owns no socket, clock, thread or randomness: messages, ticks and finished disk writes come in by
//! `handle_*`, and [`Consensus::poll`] says what to send, what to write and what to apply. Whoever drives it (`replica`, or a test in
//! virtual time) keeps three rules, and nothing acknowledged is ever lost:
//!
//! 1. [`Write`]s reach the journal in the order given, and [`Consensus::handle_persisted`] is called only once the disk has them.
//! 2. [`Output::messages`] may leave at once: what must follow a write is held back here until it is persisted.
//! 3. [`Output::committed`] is applied in order, before the next poll.
//!
//! The leader's appends leave before its own write is durable; its own vote for an entry counts only afterwards (Raft dissertation, 10.2.1).
//!
//! There is no snapshot that would replace the log. A cabinet never forgets, so that every replica keeps the whole journal, and a new or
//! repaired one receives all of it, as appends: what others call installing a snapshot. Entries that are not in memory any more are read
//! elsewhere ([`Output::fetches`]) while everything else goes on, and appends to a follower that is far behind ([`Consensus::is_catching_up`])
//! travel apart from live ones, so that neither votes nor commits wait for them. How far the follower has got is known from what it
//! acknowledged: after any interruption the next append goes on from there.
//!
//! Who belongs to the group is said by the log: see [`membership`].

mod changes;
mod guard;
mod log;
mod logger;
mod membership;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use bytes::Bytes;
use caps_overlay::bugs::{self, Bug};
use raft::eraftpb::{Entry, Message, MessageType};
use raft::{RawNode, StateRole};

pub use changes::ChangeRefused;
pub(crate) use changes::{Followed, Plan, Wish};
pub use guard::{LostEntries, Refusal};
pub(crate) use log::{Fetch, Fetched};
pub use membership::ChangeError;
pub(crate) use membership::{Change, Member, Membership, Step};
pub use wire::WireError;
pub(crate) use wire::{decode, encode, split};

use crate::journal::{self, Batch, JournalReader, ReadError, Record};
use guard::Verdict;
use log::Log;

/// One replica's part in the Raft group.
pub(crate) struct Consensus {
    node: RawNode<Log>,
    draw: Draw,
    timing: Timing,
    election_timeout: usize,
    /// What the last drawn election timeout belongs to.
    drawn_for: Standing,
    /// Numbers of the readies that have a write under way, in order.
    writing: VecDeque<u64>,
    /// The last ready taken.
    last_ready: u64,
    /// Messages that follow a write, with the number of their ready.
    held: VecDeque<(u64, Vec<Message>)>,
    /// Messages whose write is persisted.
    released: Vec<Message>,
    /// Who belongs to the group, as of the last entry applied.
    membership: Membership,
    ticks: u64,
    /// The tick at which each member was heard last.
    heard: BTreeMap<u64, u64>,
    /// Followers that are far behind.
    catching_up: BTreeSet<u64>,
    /// Whether the commit index is to be written though nothing else is: it says which changes of membership count after a restart.
    commit_unsaved: bool,
    /// The last commit index that followers were told of without entries.
    told_commit: u64,
}

/// Draws a number below the one given: the caller's randomness, so that a simulated run repeats itself.
pub(crate) type Draw = Box<dyn FnMut(u64) -> u64 + Send>;

/// How fast a group notices that its leader is gone, and how fast it must not.
///
/// The defaults suit sites up to about 100 ms apart: a dead leader is replaced in 0.6 to 1.0 s. An election needs two round trips within the
/// spread of the election timeout, and a heartbeat must arrive well within its lower end: for a round-trip time R keep `heartbeat_ticks x tick
/// + R` under a third of `election_ticks.0 x tick`. For 300 ms, a tick of 150 ms does; fail-over then takes up to 3 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// One tick. Default 50 ms.
    pub tick: std::time::Duration,
    /// Ticks between two heartbeats of a leader. Default 2. Fewer cost packets, more delay the discovery of lost ones.
    pub heartbeat_ticks: usize,
    /// Ticks without a leader until a follower asks for votes, drawn anew each time from this range, its end excluded. Default 12 to 20.
    ///
    /// A follower that heard the leader within [`Timing::lease_ticks`] refuses to vote. The lower end lies above that, so that two followers
    /// that lost the leader at the same moment agree that it is gone.
    pub election_ticks: (usize, usize),
    /// Ticks for which a follower believes in a leader that it heard, and a leader in itself. Default 10.
    pub lease_ticks: usize,
}

/// How this replica stands in its group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The Raft term.
    pub term: u64,
    /// Its part.
    pub role: Role,
    /// The number of the leader, if known.
    pub leader: Option<u64>,
}

/// A replica's part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Orders the commits.
    Leader,
    /// Follows a leader, or waits for one.
    #[default]
    Follower,
    /// Asks for votes.
    Candidate,
}

/// What is to be done now.
#[derive(Default)]
pub(crate) struct Output {
    /// To be sent now.
    pub(crate) messages: Vec<Message>,
    /// To be written and synced; its number is then given to [`Consensus::handle_persisted`].
    pub(crate) write: Option<Write>,
    /// To be applied, in order: committed by a majority, and durable here.
    pub(crate) committed: Vec<journal::Entry>,
    /// Linearizable reads that may go on once everything up to the index is applied: (context, index).
    pub(crate) reads: Vec<(u64, u64)>,
    /// Entries to be read from the journal, and then given to [`Consensus::handle_fetched`].
    pub(crate) fetches: Vec<Fetch>,
}

/// Something to be made durable. It can be read from the journal already.
pub(crate) struct Write {
    /// Tells the writes apart; they grow.
    pub(crate) number: u64,
    /// What to write.
    pub(crate) batch: Batch,
    /// How many entries are in it; none: only a vote. For tests that get it wrong on purpose.
    #[cfg(test)]
    pub(crate) entries: usize,
}

/// A message was not handled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandleError {
    /// It is dropped; nothing changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The replica must stop.
    #[error(transparent)]
    Lost(#[from] LostEntries),
}

/// A payload was not taken into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProposeError {
    /// Only the leader orders commits, and not while it hands over.
    #[error("this replica is not the leader")]
    NotLeader,
    /// Too much is waiting for a majority already.
    #[error("too many commits are waiting for a majority")]
    Full,
}

impl Consensus {
    /// Replica number `id`, whose journal is behind `reader` and whose state has applied everything up to `applied`, in a group that had this
    /// `membership` then.
    ///
    /// `applied` must not lie beyond the end of the journal.
    pub(crate) fn new(
        id: u64,
        membership: Membership,
        timing: Timing,
        reader: JournalReader,
        applied: u64,
        draw: Draw,
    ) -> Result<Self, raft::Error> {
        let configuration = raft::Config {
            id,
            applied,
            election_tick: timing.lease_ticks,
            min_election_tick: timing.election_ticks.0,
            max_election_tick: timing.election_ticks.1,
            heartbeat_tick: timing.heartbeat_ticks,
            check_quorum: true,
            pre_vote: true,
            batch_append: true,
            // The library would tell every follower of every step of the commit index, in a message of its own. See `tell_commit`.
            skip_bcast_commit: true,
            max_size_per_msg: APPEND_BYTES_MAX as u64,
            max_inflight_msgs: APPENDS_IN_FLIGHT_MAX,
            max_uncommitted_size: UNCOMMITTED_BYTES_MAX,
            max_committed_size_per_ready: APPLIED_AT_ONCE_BYTES_MAX,
            ..raft::Config::default()
        };
        let log = Log::new(reader, membership.conf_state(), applied);
        let node = RawNode::new(&configuration, log, &logger::bridge())?;
        let mut consensus = Self {
            node,
            draw,
            timing,
            election_timeout: 0,
            drawn_for: Standing::default(),
            writing: VecDeque::new(),
            last_ready: 0,
            held: VecDeque::new(),
            released: Vec::new(),
            membership,
            ticks: 0,
            heard: BTreeMap::new(),
            catching_up: BTreeSet::new(),
            commit_unsaved: false,
            told_commit: 0,
        };
        consensus.draw_election_timeout();
        Ok(consensus)
    }

    /// One tick has passed.
    pub(crate) fn handle_tick(&mut self) {
        self.ticks += 1;
        self.node.tick();
        self.after_step();
    }

    /// A peer said something.
    pub(crate) fn handle_message(&mut self, message: Message) -> Result<(), HandleError> {
        if bugs::has(Bug::ForgottenVote) && message.get_msg_type() == MessageType::MsgRequestVote {
            self.node.raft.vote = raft::INVALID_ID;
        }
        let vote_is_durable = self.writing.is_empty();
        match guard::judge(&self.node, vote_is_durable, message) {
            Verdict::Handle(message) => {
                if self.node.raft.prs().get(message.from).is_some() {
                    self.heard.insert(message.from, self.ticks);
                }
                // The library's own refusals (an unknown peer, a proposal) were made above; what is left changes nothing.
                if let Err(error) = self.node.step(message) {
                    tracing::debug!(%error, "consensus ignored a message");
                }
                self.after_step();
                Ok(())
            }
            Verdict::Refuse(refusal) => Err(refusal.into()),
            Verdict::Stop(lost) => Err(lost.into()),
        }
    }

    /// Every write up to this number is on the disk.
    pub(crate) fn handle_persisted(&mut self, number: u64) {
        while self.writing.front().is_some_and(|write| *write <= number) {
            self.writing.pop_front();
        }
        let persisted = self.writing.front().map_or(self.last_ready, |next| next - 1);
        self.node.on_persist_ready(persisted);
        if bugs::has(Bug::MinorityCommit) && self.standing().role == Role::Leader {
            let log = &mut self.node.raft.raft_log;
            log.commit_to(log.persisted.max(log.committed));
        }
        while self.held.front().is_some_and(|(ready, _)| *ready <= persisted) {
            if let Some((_, messages)) = self.held.pop_front() {
                messages.into_iter().for_each(|message| release(&mut self.released, message));
            }
        }
        self.after_step();
    }

    /// A message to this voter was lost on the way out; appends are sent again.
    pub(crate) fn handle_unreachable(&mut self, voter: u64) {
        self.node.report_unreachable(voter);
    }

    /// Everything up to this index is applied.
    pub(crate) fn handle_applied(&mut self, index: u64) {
        self.node.advance_apply_to(index);
    }

    /// Entries were read that were not in memory: whoever waits for them gets them.
    pub(crate) fn handle_fetched(&mut self, fetched: Fetched) {
        if let Some(context) = self.node.store().handle_fetched(fetched) {
            self.node.on_entries_fetched(context);
            self.after_step();
        }
    }

    /// Whether a follower is so far behind that what it is sent must not stand in the way of anything else.
    pub(crate) fn is_catching_up(&mut self, number: u64) -> bool {
        let raft = &self.node.raft;
        let Some(progress) = raft.prs().get(number) else { return false };
        let behind = raft.raft_log.last_index().saturating_sub(progress.matched);
        if behind > FAR_BEHIND_ENTRIES || (behind > 0 && !self.node.store().reader().is_in_memory(progress.matched + 1)) {
            self.catching_up.insert(number);
        } else if behind <= NEAR_ENTRIES {
            self.catching_up.remove(&number);
        }
        self.catching_up.contains(&number)
    }

    /// Asks for `payloads` to become the next entries, in this order. How many of the first ones were taken, and why the next one was not; whether
    /// they become entries is seen in [`Output::committed`].
    ///
    /// What is asked for together travels together: the library looks at every follower once for each call.
    pub(crate) fn propose(&mut self, payloads: Vec<Bytes>) -> (usize, Option<ProposeError>) {
        if self.standing().role != Role::Leader || self.node.raft.lead_transferee.is_some() {
            return (0, Some(ProposeError::NotLeader));
        }
        let mut taken = 0;
        let mut payloads = payloads.into_iter().peekable();
        while let Some(first) = payloads.next() {
            let mut bytes = first.len() + ENTRY_BYTES;
            let mut entries = vec![Entry { data: first, ..Entry::default() }];
            // No more than an append holds: the library keeps the rest of a longer proposal back until the first append is answered.
            while let Some(next) = payloads.next_if(|next| bytes + next.len() + ENTRY_BYTES <= APPEND_BYTES_MAX) {
                bytes += next.len() + ENTRY_BYTES;
                entries.push(Entry { data: next, ..Entry::default() });
            }
            let count = entries.len();
            let mut proposal = Message::default();
            proposal.set_msg_type(MessageType::MsgPropose);
            proposal.from = self.node.raft.id;
            proposal.set_entries(entries.into());
            if self.node.raft.step(proposal).is_err() {
                return (taken, Some(ProposeError::Full));
            }
            taken += count;
        }
        (taken, None)
    }

    /// Asks the leader how far a read that starts now must wait. The answer comes in [`Output::reads`], or never: ask again, with the same
    /// context, until it does. Contexts are never used for two questions.
    pub(crate) fn read_index(&mut self, context: u64) {
        let mut bytes = self.node.raft.id.to_le_bytes().to_vec();
        bytes.extend_from_slice(&context.to_le_bytes());
        self.node.read_index(bytes);
    }

    /// Hands leadership to the follower that is furthest; whom, if there is one.
    pub(crate) fn hand_over(&mut self) -> Option<u64> {
        if self.standing().role != Role::Leader {
            return None;
        }
        let me = self.node.raft.id;
        let may_lead = |id: u64| id != me && self.membership.voters().contains(&id) && self.is_heard(id);
        let followers = self.node.raft.prs().iter().filter(|(id, _)| may_lead(**id));
        let successor = followers.max_by_key(|(id, progress)| (progress.matched, std::cmp::Reverse(**id))).map(|(id, _)| *id)?;
        self.node.transfer_leader(successor);
        Some(successor)
    }

    /// What is to be done now; `None`: nothing, until something is handled.
    pub(crate) fn poll(&mut self) -> Result<Option<Output>, ReadError> {
        if let Some(failure) = self.node.store().take_failure() {
            return Err(failure);
        }
        self.tell_commit();
        let fetches = self.node.store().take_fetches();
        let mut output = Output { messages: std::mem::take(&mut self.released), fetches, ..Output::default() };
        if !self.node.has_ready() {
            if std::mem::take(&mut self.commit_unsaved) {
                output.write = Some(self.write(self.last_ready, Vec::new()));
                return Ok(Some(output));
            }
            return Ok((!output.messages.is_empty() || !output.fetches.is_empty()).then_some(output));
        }
        let mut ready = self.node.ready();
        if let Some(failure) = self.node.store().take_failure() {
            return Err(failure);
        }
        let number = ready.number();
        self.last_ready = number;
        output.messages.extend(ready.take_messages());
        output.committed = ready.take_committed_entries().into_iter().map(log::to_journal).collect();
        output.reads = ready.take_read_states().iter().filter_map(|read| Some((context(&read.request_ctx)?, read.index))).collect();
        let follow = ready.take_persisted_messages();
        if ready.must_sync() {
            let entries = ready.take_entries();
            output.write = Some(self.write(number, entries));
            self.writing.push_back(number);
            self.commit_unsaved = false;
        }
        self.node.advance_append_async(ready);
        if self.writing.is_empty() {
            self.node.on_persist_ready(number);
            output.messages.extend(follow);
        } else if !follow.is_empty() {
            self.held.push_back((number, follow));
        }
        self.after_step();
        Ok(Some(output))
    }

    /// How this replica stands.
    pub(crate) fn standing(&self) -> Standing {
        let raft = &self.node.raft;
        let role = match raft.state {
            StateRole::Leader => Role::Leader,
            StateRole::Follower => Role::Follower,
            StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
        };
        Standing { term: raft.term, role, leader: (raft.leader_id != raft::INVALID_ID).then_some(raft.leader_id) }
    }

    /// The last index known to be committed.
    pub(crate) fn committed_index(&self) -> u64 {
        self.node.raft.raft_log.committed
    }

    /// Forgets entries that were read for followers: values in there may have been obliterated.
    pub(crate) fn forget_fetched(&self) {
        self.node.store().forget_fetched();
    }

    /// The last words of a replica that ends in good order: how far it knows the log to be committed, and who it is, if that changes.
    pub(crate) fn last_words(&self, seat: Option<journal::Seat>) -> Batch {
        let records = std::iter::once(Record::HardState(self.hard_state())).chain(seat.map(Record::Seat));
        self.node.store().reader().stage(records.collect())
    }

    /// Makes entries and the present hard state readable, and ready to be written.
    ///
    /// The hard state goes in front: were it behind, a torn tail could keep entries of a term that the vote does not know.
    fn write(&self, number: u64, entries: Vec<Entry>) -> Write {
        #[cfg(test)]
        let count = entries.len();
        let entries = entries.into_iter().map(|entry| Record::Entry(log::to_journal(entry)));
        let records = std::iter::once(Record::HardState(self.hard_state())).chain(entries).collect();
        Write {
            number,
            batch: self.node.store().reader().stage(records),
            #[cfg(test)]
            entries: count,
        }
    }

    fn hard_state(&self) -> journal::HardState {
        let raft = &self.node.raft;
        journal::HardState { term: raft.term, vote: raft.vote, commit: raft.raft_log.committed }
    }

    /// Tells the followers how far the log is committed, once all of it is. Before that the next append says so in passing, and if nothing more is
    /// proposed, this does when the last append is acknowledged: under load no message goes out for the commit index alone.
    fn tell_commit(&mut self) {
        let raft = &mut self.node.raft;
        let committed = raft.raft_log.committed;
        if raft.state == StateRole::Leader && committed > self.told_commit && committed == raft.raft_log.last_index() {
            self.told_commit = committed;
            raft.bcast_append();
        }
    }

    /// The library draws its election timeouts from an ambient source whenever it changes its mind about who leads; ours replace them.
    fn after_step(&mut self) {
        if self.standing() != self.drawn_for {
            self.draw_election_timeout();
        }
        self.node.raft.set_randomized_election_timeout(self.election_timeout);
    }

    fn draw_election_timeout(&mut self) {
        if self.standing().role != Role::Leader {
            self.node.store().forget_fetched();
        }
        let (from, to) = self.timing.election_ticks;
        let drawn = (self.draw)((to - from) as u64);
        self.election_timeout = from + usize::try_from(drawn).unwrap_or(0);
        self.drawn_for = self.standing();
        self.node.raft.set_randomized_election_timeout(self.election_timeout);
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self { tick: std::time::Duration::from_millis(50), heartbeat_ticks: 2, election_ticks: (12, 20), lease_ticks: 10 }
    }
}

impl fmt::Debug for Consensus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consensus").field("id", &self.node.raft.id).field("standing", &self.standing()).finish_non_exhaustive()
    }
}

/// Lets a message go. An acknowledgement says everything that the one before it said, which need not go then: appends that became durable with
/// one sync are answered together.
fn release(released: &mut Vec<Message>, message: Message) {
    let acknowledges = |message: &Message| message.get_msg_type() == MessageType::MsgAppendResponse && !message.reject;
    match released.last_mut() {
        Some(last)
            if acknowledges(last)
                && acknowledges(&message)
                && (last.to, last.term) == (message.to, message.term)
                && last.index <= message.index =>
        {
            *last = message;
        }
        _ => released.push(message),
    }
}

/// The number behind the replica's own in the context of a linearizable read.
fn context(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(8..16)?.try_into().ok()?))
}

/// Payload of one append. Larger ones would make a heartbeat wait behind them on a slow line.
pub(crate) const APPEND_BYTES_MAX: usize = 128 << 10;

/// What the library counts for an entry besides its payload, at most: three numbers and a length, with their tags.
const ENTRY_BYTES: usize = 64;

/// Appends under way to one follower: with the size above 8 MiB in a round trip, which is 27 MB/s over 300 ms. A small number makes batches
/// grow instead; a large one makes a follower that comes back receive more at once than it can write.
const APPENDS_IN_FLIGHT_MAX: usize = 64;

/// A follower that lacks more entries than this is far behind, and so is one that lacks an entry which is not in memory any more: live traffic
/// over a long line has fewer under way.
const FAR_BEHIND_ENTRIES: u64 = 4_096;

/// A follower that was far behind is not any more when it lacks at most this many. Less than the above, so that it does not change all the time:
/// appends that change their stream overtake each other, and have to be repeated.
const NEAR_ENTRIES: u64 = 256;

/// Payload that waits for a majority: proposals beyond are refused until some of it is committed.
const UNCOMMITTED_BYTES_MAX: u64 = 16 << 20;

/// Payload applied between two looks at the network.
const APPLIED_AT_ONCE_BYTES_MAX: u64 = 256 << 10;
