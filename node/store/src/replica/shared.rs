//! What the driver, the services and the readers of one replica share.
//!
//! All of them run on the node's one thread; the locks are never contended and never held across an await.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use caps_model::messages::cabinet::{MemberStatus, Members, ReplicaRole, ReplicaStatus, RoundTrip};
use caps_model::{Name, Position, Services};
use caps_overlay::{Failure, Identity, Rng, WallClock, watch};
use raft::eraftpb::Message;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::archive::Archive;
use super::arrivals::{Arrivals, TooMany};
use super::orders::OrderAsk;
use super::peers::Peers;
use super::redactor::NotRedacted;
use super::table::Table;
use super::waiting::Ask;
use crate::blobs::Blobs;
use crate::cabinet::{self, Applied, BadProposal, Cabinet, Proposal, Proposed};
use crate::journal::{Founder, JournalReader, ReadError, Seat, WriteError};
use crate::replication::{ChangeError, Followed, LostEntries, Membership, Role, Standing, Timing};
use crate::service::failure;
use crate::state::{State, StateError};
use crate::watchers::{WatcherId, Watchers};

/// The cabinet of a replica, whatever its state is kept in.
pub(crate) type AnyCabinet = Cabinet<Box<dyn State>>;

/// What the parts of one replica share.
pub(crate) struct Shared {
    pub(crate) cabinet_name: Name,
    /// Under which numbers this cabinet's replicas are found.
    pub(crate) services: Services,
    pub(crate) identity: Identity,
    /// Every other node that may keep a replica.
    pub(crate) others: Vec<Identity>,
    pub(crate) timing: Timing,
    /// The time of day: for people, and for what subscriptions say about now; nothing that replicas agree on depends on it.
    pub(crate) wall_clock: Arc<dyn WallClock>,
    /// Where salts come from.
    pub(crate) rng: Rng,
    /// Into the driver.
    pub(crate) messages: mpsc::Sender<Message>,
    pub(crate) asks: mpsc::Sender<Ask>,
    pub(crate) orders: mpsc::Sender<OrderAsk>,
    pub(crate) reads: mpsc::Sender<oneshot::Sender<u64>>,
    pub(crate) stop: mpsc::Sender<Instant>,
    /// The way to the other voters, while the driver runs. The overlay holds the services, which hold this: whoever sets it takes it away.
    peers: Mutex<Option<Arc<dyn Peers>>>,
    seat: Mutex<Seat>,
    table: Mutex<Table>,
    followed: Mutex<BTreeMap<u64, Followed>>,
    leads: AtomicBool,
    changing: AtomicBool,
    /// Whether the driver is at work: a replica without a number has none.
    serving: AtomicBool,
    cabinet: Mutex<AnyCabinet>,
    journal: JournalReader,
    pub(crate) blobs: Blobs,
    watchers: Mutex<Watched>,
    positions: Mutex<Arrivals>,
    indexes: Mutex<Arrivals>,
    standing: watch::Sender<Standing>,
    stopped: watch::Sender<Option<Stopped>>,
    draining: AtomicBool,
    committed_index: AtomicU64,
    refused: AtomicU64,
    /// What backups are served with.
    pub(crate) archive: Archive,
    redacted_index: AtomicU64,
    quarantined: u32,
}

/// Why a replica stopped.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Stopped {
    /// It was asked to.
    #[error("it was asked to")]
    Asked,
    /// The journal could not be written or synced: what the disk holds is not known any more. Look at the disk, then start the node again.
    #[error("the journal cannot be written: {0}")]
    Write(#[source] Arc<WriteError>),
    /// The journal could not be read back.
    #[error("the journal cannot be read: {0}")]
    Read(#[source] Arc<ReadError>),
    /// The state could not be read or written. It is rebuilt from the journal when its directory is moved away.
    #[error("the state cannot be written: {0}")]
    State(#[source] Arc<StateError>),
    /// A committed entry is not understood: it was written by a node of a later release.
    #[error("entry {index} cannot be understood: {error}; was it written by a later release?")]
    Entry {
        /// The entry's index.
        index: u64,
        /// What is wrong with it.
        #[source]
        error: Arc<BadProposal>,
    },
    /// Obliterated values could not be taken out of the journal. What is left of them is taken out at the next start.
    #[error("obliterated values cannot be taken out of the journal: {0}")]
    Redaction(#[source] Arc<NotRedacted>),
    /// The journal lacks what this replica had acknowledged. Start the node again: it is repaired from its peers, under another number.
    #[error(transparent)]
    Lost(#[from] LostEntries),
    /// The membership cannot be followed any further.
    #[error("entry {index} does not change the membership: {error}")]
    Change {
        /// The entry's index.
        index: u64,
        /// What is wrong with it.
        #[source]
        error: Arc<ChangeError>,
    },
    /// Consensus could not be begun on what the journal holds.
    #[error("consensus cannot be begun: {0}")]
    Core(String),
    /// This replica was removed from the cabinet. Started again, it waits until it is added again.
    #[error("this replica was removed from the cabinet")]
    Removed,
    /// The journal holds what the group never had: the cabinet was restored to an earlier point since, or is another one of the same name. Have
    /// this node rebuilt from the others.
    #[error(
        "entry {index} in the journal is not in the history of the cabinet that {node} leads: if that one is right, set this journal aside with \
         `caps restore --node NAME --from-peers` and start the node again"
    )]
    OtherHistory {
        /// The last entry that is known to be committed here.
        index: u64,
        /// Who leads the other.
        node: String,
    },
    /// The worker thread of the journal is gone.
    #[error("the journal's worker thread is gone")]
    WorkerGone,
}

/// The watchers, and how to wake the task that serves each.
struct Watched {
    watchers: Watchers,
    wake: BTreeMap<WatcherId, Arc<Notify>>,
}

/// What [`Shared::new`] takes, named.
pub(crate) struct Parts {
    pub(crate) cabinet_name: Name,
    pub(crate) identity: Identity,
    pub(crate) others: Vec<Identity>,
    pub(crate) seat: Seat,
    pub(crate) membership: Membership,
    pub(crate) timing: Timing,
    pub(crate) wall_clock: Arc<dyn WallClock>,
    pub(crate) rng: Rng,
    /// Files on this node that were set aside, because they were damaged.
    pub(crate) quarantined: u32,
    pub(crate) messages: mpsc::Sender<Message>,
    pub(crate) asks: mpsc::Sender<Ask>,
    pub(crate) orders: mpsc::Sender<OrderAsk>,
    pub(crate) reads: mpsc::Sender<oneshot::Sender<u64>>,
    pub(crate) stop: mpsc::Sender<Instant>,
    pub(crate) cabinet: AnyCabinet,
    pub(crate) journal: JournalReader,
    pub(crate) watchers: Watchers,
    pub(crate) archive: Archive,
    pub(crate) blobs: Blobs,
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Self {
        let mark = parts.cabinet.mark();
        Self {
            services: Services::of(&parts.cabinet_name),
            cabinet_name: parts.cabinet_name,
            identity: parts.identity,
            others: parts.others,
            timing: parts.timing,
            wall_clock: parts.wall_clock,
            rng: parts.rng,
            quarantined: parts.quarantined,
            redacted_index: AtomicU64::new(0),
            messages: parts.messages,
            asks: parts.asks,
            orders: parts.orders,
            reads: parts.reads,
            stop: parts.stop,
            peers: Mutex::new(None),
            seat: Mutex::new(parts.seat),
            table: Mutex::new(Table::new(parts.membership)),
            followed: Mutex::default(),
            leads: AtomicBool::new(false),
            changing: AtomicBool::new(false),
            serving: AtomicBool::new(false),
            cabinet: Mutex::new(parts.cabinet),
            journal: parts.journal,
            blobs: parts.blobs,
            watchers: Mutex::new(Watched { watchers: parts.watchers, wake: BTreeMap::new() }),
            positions: Mutex::new(Arrivals::new(mark.position.0)),
            indexes: Mutex::new(Arrivals::new(mark.index)),
            standing: watch::Sender::new(Standing::default()),
            stopped: watch::Sender::new(None),
            draining: AtomicBool::new(false),
            committed_index: AtomicU64::new(mark.index),
            refused: AtomicU64::new(0),
            archive: parts.archive,
        }
    }

    /// The journal.
    pub(crate) fn journal(&self) -> &JournalReader {
        &self.journal
    }

    /// The cabinet, to be read at once.
    pub(crate) fn cabinet(&self) -> MutexGuard<'_, AnyCabinet> {
        unpoisoned(&self.cabinet)
    }

    /// Reads from the cabinet. A state that fails stops the replica.
    pub(crate) fn read<A>(&self, read: impl FnOnce(&AnyCabinet) -> Result<A, cabinet::ReadError>) -> Result<A, Failure> {
        let answer = read(&self.cabinet());
        answer.map_err(|error| match error {
            cabinet::ReadError::State(error) => self.state_failed(error),
            error => Failure::new(failure::TOO_MUCH, error.to_string()),
        })
    }

    /// The state failed under a reader: nothing that it says can be trusted any more.
    pub(crate) fn state_failed(&self, error: StateError) -> Failure {
        let failure = failure::broken(&error);
        self.stop(Stopped::State(Arc::new(error)));
        failure
    }

    /// The way to the other voters; `None` before the driver starts and after it has ended.
    pub(crate) fn peers(&self) -> Option<Arc<dyn Peers>> {
        unpoisoned(&self.peers).clone()
    }

    pub(crate) fn set_peers(&self, peers: Option<Arc<dyn Peers>>) {
        *unpoisoned(&self.peers) = peers;
    }

    /// Who this replica is.
    pub(crate) fn seat(&self) -> Seat {
        unpoisoned(&self.seat).clone()
    }

    /// The number of this replica.
    pub(crate) fn number(&self) -> u64 {
        unpoisoned(&self.seat).number
    }

    pub(crate) fn take_seat(&self, seat: Seat) {
        *unpoisoned(&self.seat) = seat;
    }

    /// With whom the group began.
    pub(crate) fn founders(&self) -> Vec<Founder> {
        unpoisoned(&self.seat).founders.clone()
    }

    /// Does something with the table of members.
    pub(crate) fn with_table<T>(&self, act: impl FnOnce(&mut Table) -> T) -> T {
        act(&mut unpoisoned(&self.table))
    }

    /// The node behind a number.
    pub(crate) fn identity_of(&self, number: u64) -> Option<Identity> {
        self.with_table(|table| table.identity(number).cloned())
    }

    /// Whether a node may speak under a number.
    pub(crate) fn admits(&self, number: u64, node: &Identity) -> bool {
        self.with_table(|table| table.admits(number, node))
    }

    /// What the leader knows of the members; on others nothing.
    pub(crate) fn note_followed(&self, followed: BTreeMap<u64, Followed>, leads: bool, changing: bool) {
        *unpoisoned(&self.followed) = followed;
        self.leads.store(leads, Ordering::Relaxed);
        self.changing.store(changing, Ordering::Relaxed);
    }

    /// Whether this replica leads, and has applied what was decided before it did.
    pub(crate) fn leads(&self) -> bool {
        self.leads.load(Ordering::Relaxed)
    }

    /// The driver begins its work.
    pub(crate) fn begin(&self) {
        self.serving.store(true, Ordering::Relaxed);
    }

    /// Whether this replica takes part: it has a number, and has not stopped.
    pub(crate) fn takes_part(&self) -> bool {
        self.serving.load(Ordering::Relaxed) && self.peers().is_some()
    }

    /// Whether it takes calls: it takes part, and is not about to stop.
    pub(crate) fn is_serving(&self) -> bool {
        self.takes_part() && !self.is_draining()
    }

    /// How this replica stands, to be read and to be waited on.
    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Resolves with the position reached once it is at least `position`.
    pub(crate) fn at_least(&self, position: Position) -> Result<oneshot::Receiver<u64>, TooMany> {
        unpoisoned(&self.positions).wait(position.0)
    }

    /// Whether `position` is reached.
    pub(crate) fn has(&self, position: Position) -> bool {
        unpoisoned(&self.positions).reached() >= position.0
    }

    /// Resolves once everything up to the Raft index is applied.
    pub(crate) fn applied(&self, index: u64) -> Result<oneshot::Receiver<u64>, TooMany> {
        unpoisoned(&self.indexes).wait(index)
    }

    /// Applies one entry and lets the watchers know.
    pub(crate) fn apply(&self, index: u64, proposed: &Proposed) -> Result<Arc<Applied>, Arc<StateError>> {
        let applied = Arc::new(self.cabinet().apply(index, proposed).map_err(Arc::new)?);
        let mut watched = unpoisoned(&self.watchers);
        for id in watched.watchers.applied(&applied) {
            if let Some(wake) = watched.wake.get(&id) {
                wake.notify_one();
            }
        }
        if matches!(proposed.proposal, Proposal::Obliterate(_)) {
            watched.watchers.forget_before(applied.position.next());
        }
        Ok(applied)
    }

    /// Passes over an entry that changes nothing.
    pub(crate) fn skip(&self, index: u64) {
        self.cabinet().skip(index);
    }

    /// Everything up to the Raft index is applied: wakes readers whose time has come.
    pub(crate) fn arrived(&self, index: u64) {
        let position = self.cabinet().mark().position;
        unpoisoned(&self.positions).arrive(position.0);
        unpoisoned(&self.indexes).arrive(index);
    }

    /// Does something with the watchers and the cabinet.
    pub(crate) fn with_watchers<T>(&self, act: impl FnOnce(&mut Watchers, &mut BTreeMap<WatcherId, Arc<Notify>>, &AnyCabinet) -> T) -> T {
        let mut watched = unpoisoned(&self.watchers);
        let Watched { watchers, wake } = &mut *watched;
        act(watchers, wake, &self.cabinet())
    }

    pub(crate) fn note_standing(&self, standing: Standing) {
        self.standing.send_replace(standing);
    }

    pub(crate) fn note_committed(&self, index: u64) {
        self.committed_index.store(index, Ordering::Relaxed);
    }

    /// Everything that entries up to this one ask for was taken out of the journal.
    pub(crate) fn note_redacted(&self, index: u64) {
        self.redacted_index.fetch_max(index, Ordering::Relaxed);
    }

    pub(crate) fn redacted_index(&self) -> u64 {
        self.redacted_index.load(Ordering::Relaxed)
    }

    pub(crate) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Consensus messages that were dropped since the start: malformed, impossible, stale, or too many.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Takes no new commits and subscriptions any more.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The replica has stopped: whoever waits learns it.
    pub(crate) fn stop(&self, reason: Stopped) {
        self.drain();
        self.stopped.send_if_modified(|stopped| {
            let first = stopped.is_none();
            stopped.get_or_insert(reason);
            first
        });
        // The driver may be at work still, when it was a reader who found out; a full queue means that it was told before.
        self.stop.try_send(Instant::now()).ok();
        unpoisoned(&self.positions).stop();
        unpoisoned(&self.indexes).stop();
        self.note_standing(Standing::default());
        for wake in unpoisoned(&self.watchers).wake.values() {
            wake.notify_one();
        }
    }

    /// Why the replica stopped, to be read and to be waited on.
    pub(crate) fn stopped(&self) -> watch::Receiver<Option<Stopped>> {
        self.stopped.subscribe()
    }

    pub(crate) fn has_stopped(&self) -> bool {
        self.stopped.borrow().is_some()
    }

    /// How this replica is.
    pub(crate) fn status(&self) -> ReplicaStatus {
        let standing = *self.standing.borrow();
        let leader = standing.leader.and_then(|leader| self.identity_of(leader)).map(|identity| identity.name().to_owned());
        let role = self.role(standing);
        let subscriptions = unpoisoned(&self.watchers).watchers.len();
        let cabinet = self.cabinet();
        let mark = cabinet.mark();
        ReplicaStatus {
            cabinet: self.cabinet_name.to_string(),
            node: self.identity.name().to_owned(),
            role,
            term: standing.term,
            leader,
            position: mark.position,
            chain_head: mark.chain_head,
            committed_index: self.committed_index.load(Ordering::Relaxed),
            durable_index: self.journal.durable_index(),
            objects: cabinet.counts().objects,
            journal_bytes: self.journal.size_bytes(),
            subscriptions: u32::try_from(subscriptions).unwrap_or(u32::MAX),
            state: cabinet.state().name().to_owned(),
            obliterated_index: self.journal.obliterations(mark.index).last().copied().unwrap_or(0),
            redacted_index: self.redacted_index(),
            quarantined: self.quarantined,
        }
    }

    fn role(&self, standing: Standing) -> ReplicaRole {
        let number = unpoisoned(&self.seat).number;
        match standing.role {
            _ if number == 0 => ReplicaRole::Outside,
            Role::Leader => ReplicaRole::Leader,
            Role::Candidate => ReplicaRole::Candidate,
            Role::Follower if self.with_table(|table| table.membership().votes(number)) => ReplicaRole::Follower,
            Role::Follower => ReplicaRole::Learner,
        }
    }

    /// Who keeps the cabinet, as this replica knows it.
    pub(crate) fn members(&self) -> Members {
        let standing = *self.standing.borrow();
        let followed = unpoisoned(&self.followed).clone();
        let seat = self.seat();
        let uri = |identity: &Identity| identity.uri().to_owned();
        let members = self.with_table(|table| {
            let membership = table.membership();
            let status = |(number, member): (u64, &crate::replication::Member)| MemberStatus {
                node: uri(&member.identity),
                number,
                votes: membership.votes(number),
                matched: followed.get(&number).map(|followed| followed.matched),
                active: followed.get(&number).map(|followed| followed.active),
            };
            membership.members().map(status).collect()
        });
        let round_trips = self.peers().map(|peers| peers.round_trips()).unwrap_or_default();
        let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Members {
            cabinet: self.cabinet_name.to_string(),
            node: uri(&self.identity),
            number: seat.number,
            incarnation: seat.incarnation,
            term: standing.term,
            leader: standing.leader.and_then(|leader| self.identity_of(leader)).map(|identity| uri(&identity)),
            position: self.cabinet().mark().position,
            last_index: self.journal.last_index(),
            changing: self.changing.load(Ordering::Relaxed),
            members,
            round_trips: round_trips.into_iter().map(|(node, time)| RoundTrip { node: uri(&node), micros: micros(time) }).collect(),
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("cabinet", &self.cabinet_name).field("node", &self.identity.name()).finish_non_exhaustive()
    }
}

/// A panic while one of these locks is held is our bug; what they guard is consistent between statements, so that readers go on.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
