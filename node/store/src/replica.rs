//! One replica of a cabinet at work: the shell around consensus, journal, cabinet and watchers.
//!
//! A commit's way: service → [`commits`] → the driver's queue → consensus → journal (on its worker) and the other voters → consensus says
//! "committed" → cabinet → watchers and whoever asked. One task, the driver, makes every change; everything else only reads or waits.

mod archive;
mod arrivals;
mod blobs;
mod commits;
mod driver;
mod fetcher;
mod joining;
mod orders;
mod peers;
mod rebuild;
mod redactor;
mod restored;
mod room;
mod seat;
mod shared;
pub(crate) mod subscription;
mod table;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use caps_model::messages::audit::Obliterate;
use caps_model::messages::cabinet::{Committed, Members, Order, ReplicaStatus};
use caps_model::messages::{AskOutcome, Outcome};
use caps_model::{Commit, Name, Position};
use caps_overlay::{Environment, Failure, Identity, Overlay, Rng, Service, Tasks, WallClock, Workers};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::blobs::Blobs;
use crate::cabinet::Cabinet;
use crate::journal::{self, Founder, JournalReader, Opened, Record, Seat, WriteError};
use crate::replay::ReplayError;
use crate::replication::{ChangeError, Consensus, Draw, Membership, Timing};
use crate::service::{BlobService, CabinetService, RaftService};
use crate::state::{MemoryState, SledState, SqlOpened, SqlPlace, SqlState, State, StateError, StateOpened};
use crate::storage::{Storage, StorageError};
use crate::watchers::{self, Watchers};

pub(crate) use archive::serve as back_up;
pub(crate) use blobs::{answer_about_blob, blobs_taken};
pub(crate) use commits::{Origin, commit, linearizable, obliterate, outcome};
pub(crate) use driver::message;
pub(crate) use orders::{admit, order};
pub use redactor::NotRedacted;
pub(crate) use restored::committed;
pub use room::RESERVE_BYTES;
pub use shared::Stopped;
pub(crate) use shared::{AnyCabinet, Shared};

use archive::Archive;
use driver::{ASKS_QUEUED_MAX, Disk, Driver, Inlets, MESSAGES_QUEUED_MAX, ORDERS_QUEUED_MAX, READS_QUEUED_MAX};
use fetcher::Fetcher;
use peers::{OverlayPeers, Peers};
use rebuild::bring_up;
use redactor::Redactor;
use room::Room;
use waiting::ReadRounds;

/// One replica of a cabinet.
///
/// It is opened first, because its [`services`](Self::services) are what an overlay is started with; then [`run`](Self::run) hands it the
/// overlay and the work begins. Until then it refuses calls and loses consensus messages.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    tasks: Tasks,
    /// What the driver is made of, until it runs.
    prepared: Arc<Mutex<Option<Prepared>>>,
}

/// What one replica is to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cabinet.
    pub cabinet: Name,
    /// This node.
    pub identity: Identity,
    /// With whom the group begins: the same on all of them. [`Settings::founders`] gives them their numbers. Once a journal is begun, it says who
    /// they were, and its log what changed since; a node that is not among them waits until it is added.
    pub founders: Vec<Founder>,
    /// The nodes that may keep a replica, this one included or not: who is asked for the way into the group.
    pub peers: Vec<Identity>,
    /// Where the state is kept.
    pub state: StateKind,
    /// How fast failures are noticed.
    pub timing: Timing,
    /// Bytes of the disk that are kept free, [`RESERVE_BYTES`] by default: below that this replica, when it leads, refuses commits and lets
    /// another one lead; below half of that it takes in nothing more. 0 switches that off: a full disk then stops the replica. More refuses
    /// earlier.
    pub reserve_bytes: u64,
}

/// Where a replica keeps what the journal materialises into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateKind {
    /// In memory; rebuilt from the journal at every start.
    Memory,
    /// In sled, in this directory.
    Sled(PathBuf),
    /// In a relational database.
    Sql(SqlPlace),
}

impl StateKind {
    /// Opens the state, for who looks after it while its node does not run. One that is ahead of a journal that ends at `last_index`, or that cannot be
    /// read, begins anew.
    pub fn open(&self, last_index: u64) -> Result<Box<dyn State>, StateError> {
        open_state(self, last_index)
    }

    /// Throws the state away: it is filled from the journal when it is opened next. One in files is set aside beside them.
    /// Where it was set aside, if it was.
    pub fn discard(&self) -> Result<Option<PathBuf>, StateError> {
        match self {
            Self::Sled(path) if SledState::whereabouts(path).is_some() => {
                SledState::set_aside(path).map(Some).map_err(|error| StateError::Engine(Box::new(error)))
            }
            Self::Memory | Self::Sled(_) => Ok(None),
            Self::Sql(place) => SqlState::discard(place).map(|()| None),
        }
    }
}

/// A replica was not opened. Nothing was served, nothing was changed except what opening repairs.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The configuration contradicts itself.
    #[error("the configuration of cabinet {cabinet} is impossible: {why}")]
    Settings {
        /// The cabinet.
        cabinet: Name,
        /// What to change.
        why: String,
    },
    /// The journal.
    #[error("the journal cannot be opened: {0}")]
    Journal(#[from] journal::OpenError),
    /// The state could not be brought up to the journal.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The first record of a journal could not be written.
    #[error("the journal cannot be begun: {0}")]
    Begin(#[from] WriteError),
    /// The journal says who belongs to the group, and it makes no sense.
    #[error("the membership in the journal makes no sense: {0}")]
    Membership(#[from] ChangeError),
    /// The state.
    #[error("the state cannot be opened: {0}")]
    State(#[from] StateError),
    /// The files of blobs.
    #[error("the blobs cannot be opened: {0}")]
    Blobs(#[source] StorageError),
    /// Obliterated values could not be taken out of the journal, which has to be done before anything is served.
    #[error("obliterated values cannot be taken out of the journal: {0}")]
    Redaction(#[from] NotRedacted),
}

/// What the driver is made of, and what makes the rest of it.
struct Prepared {
    core: Core,
    disk: Disk,
    fetcher: Fetcher,
    redactor: Redactor,
    inlets: Inlets,
    rounds: ReadRounds,
    room: Room,
    rng: Rng,
}

/// What consensus is made of, once it is known who the replica is.
struct Core {
    timing: Timing,
    reader: JournalReader,
    /// How far the state is.
    applied: u64,
    rng: Rng,
}

impl Core {
    /// Whether nothing was ever promised in this journal.
    fn is_empty(&self) -> bool {
        self.reader.last_index() == 0 && self.reader.hard_state() == journal::HardState::default()
    }

    /// Whether it holds what was restored, and nothing was promised in it yet.
    fn is_restored(&self) -> bool {
        restored::is_restored(self.reader.last_index(), self.reader.hard_state())
    }

    /// The last entry that is known here to be committed, and its term: what the group must have, too, to be the same.
    fn history(&self) -> (u64, u64) {
        (self.applied, self.reader.term(self.applied).unwrap_or_default())
    }

    /// Who belongs to the group as of what is applied.
    fn membership(&self, seat: &Seat) -> Result<Membership, ChangeError> {
        Membership::founded(&seat.founders)?.after(&self.reader.changes(self.applied))
    }

    fn consensus(self, number: u64, membership: Membership) -> Result<Consensus, raft::Error> {
        let Self { timing, reader, applied, rng } = self;
        let draw: Draw = Box::new(move |below| rng.below(below));
        Consensus::new(number, membership, timing, reader, applied, draw)
    }
}

impl Store {
    /// Opens the journal in `storage`, brings the state up to it, and makes ready to serve. It reads as much as must be replayed, at once.
    pub fn open(settings: Settings, storage: Arc<dyn Storage>, environment: &Environment) -> Result<Self, OpenError> {
        Self::open_in(settings, storage, &environment.rng, &environment.wall_clock, &*environment.workers, &environment.tasks)
    }

    /// Opens it with just those parts of an environment that a replica takes by itself; the rest reaches it through the overlay.
    pub(crate) fn open_in(
        settings: Settings,
        storage: Arc<dyn Storage>,
        rng: &Rng,
        wall_clock: &Arc<dyn WallClock>,
        workers: &dyn Workers,
        tasks: &Tasks,
    ) -> Result<Self, OpenError> {
        settings.check()?;
        let rng = rng.fork();
        let (Opened { mut writer, reader, recovered }, mut seat) = seat::open_journal(&settings, &storage, &rng)?;
        let mut cabinet = Cabinet::new(open_state(&settings.state, recovered.last_index)?);
        let committed = committed(&recovered);
        if let Err(error) = bring_up(&settings.cabinet, &reader, &mut cabinet, committed) {
            let failed = cabinet.into_state();
            cabinet = Cabinet::new(instead_of(failed, &settings.state, error)?);
            bring_up(&settings.cabinet, &reader, &mut cabinet, committed)?;
        }
        let shelf = workers.start(&format!("{}-blobs", settings.cabinet), crate::blobs::limits::JOBS);
        let blobs = Blobs::open(storage.clone(), seat.incarnation, shelf, Instant::now()).map_err(OpenError::Blobs)?;
        blobs::look_through(&blobs, &reader, &cabinet, Instant::now())?;

        let core = Core { timing: settings.timing, reader: reader.clone(), applied: cabinet.mark().index, rng: rng.clone() };
        let membership = if seat.founders.is_empty() { Membership::default() } else { core.membership(&seat)? };
        if membership.member(seat.number).is_none() && seat.number < membership.next_number() {
            // It was removed: whatever it is to be comes with another number.
            seat.number = 0;
        }
        let first_context = rng.next_u64();
        let (messages, messages_in) = mpsc::channel(MESSAGES_QUEUED_MAX);
        let (asks, asks_in) = mpsc::channel(ASKS_QUEUED_MAX);
        let (orders, orders_in) = mpsc::channel(ORDERS_QUEUED_MAX);
        let (reads, reads_in) = mpsc::channel(READS_QUEUED_MAX);
        let (stop, stop_in) = mpsc::channel(1);
        let watchers = Watchers::new(watchers::Limits::default(), cabinet.mark().position);
        let others = settings.peers.iter().filter(|peer| **peer != settings.identity).cloned().collect();
        let shared = Arc::new(Shared::new(shared::Parts {
            cabinet_name: settings.cabinet.clone(),
            identity: settings.identity,
            others,
            seat,
            membership,
            timing: settings.timing,
            wall_clock: wall_clock.clone(),
            rng: rng.fork(),
            quarantined: quarantined(&*storage, &settings.state)?,
            messages,
            asks,
            orders,
            reads,
            stop,
            cabinet,
            journal: reader.clone(),
            watchers,
            archive: Archive::new(workers.start(&format!("{}-backup", settings.cabinet), JOURNAL_JOBS)),
            blobs,
        }));
        redactor::make_up(&shared, &mut writer, &reader)?;
        let worker = workers.start(&format!("{}-journal", settings.cabinet), JOURNAL_JOBS);
        let reading = workers.start(&format!("{}-catch-up", settings.cabinet), JOURNAL_JOBS);
        let prepared = Prepared {
            core,
            disk: Disk::new(worker, writer),
            fetcher: Fetcher::new(reading, reader.clone()),
            redactor: Redactor::new(workers.start(&format!("{}-redaction", settings.cabinet), JOURNAL_JOBS), shared.clone(), reader),
            inlets: Inlets { messages: messages_in, asks: asks_in, orders: orders_in, reads: reads_in, stop: stop_in },
            rounds: ReadRounds::new(first_context),
            room: Room::new(storage, settings.reserve_bytes),
            rng,
        };
        Ok(Self { shared, tasks: tasks.clone(), prepared: Arc::new(Mutex::new(Some(prepared))) })
    }

    /// The services that this replica offers, for [`Overlay::start`].
    pub fn services(&self) -> Vec<Arc<dyn Service>> {
        let shared = || self.shared.clone();
        vec![Arc::new(CabinetService::new(shared())), Arc::new(RaftService::new(shared())), Arc::new(BlobService::new(shared()))]
    }

    /// Under which number the service that answers reads and commits is found on the overlay.
    pub fn number(&self) -> u16 {
        self.shared.services.cabinet()
    }

    /// Begins to work, with `overlay` as the way to the other replicas. Done once; again it does nothing.
    ///
    /// A replica that has no number yet waits until it is given one.
    pub fn run(&self, overlay: Overlay) {
        let peers = OverlayPeers::new(overlay, self.shared.services);
        self.run_with(Arc::new(peers));
    }

    pub(crate) fn run_with(&self, peers: Arc<dyn Peers>) {
        let prepared = self.prepared.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(prepared) = prepared else { return };
        self.shared.set_peers(Some(peers.clone()));
        let (shared, release, tasks) = (self.shared.clone(), Release(self.shared.clone()), self.tasks.clone());
        self.tasks.spawn(async move {
            let _release = release;
            match prepared.admitted(&shared, &peers).await {
                Ok(parts) => {
                    shared.begin();
                    tasks.spawn(blobs::care(shared.clone()));
                    Driver::new(shared, peers, parts).run().await;
                }
                Err(reason) => {
                    tracing::info!(cabinet = %shared.cabinet_name, %reason, "replica stopped before it was admitted");
                    shared.stop(reason);
                }
            }
        });
    }

    /// Resolves when the replica has stopped, with the reason. For any but [`Stopped::Asked`] the node must exit, non-zero.
    pub async fn stopped(&self) -> Stopped {
        let mut stopped = self.shared.stopped();
        match stopped.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or(Stopped::Asked),
            // The sender lives in `shared`, which we hold.
            Err(_) => Stopped::Asked,
        }
    }

    /// Stops in good order: takes no new work, hands over the leadership, finishes what the disk is at, closes the journal. Gives up on the
    /// first two after `within`. To be called before the overlay drains: the handing over needs it.
    pub async fn shutdown(&self, within: Duration) -> Stopped {
        self.shared.drain();
        if self.shared.peers().is_none() {
            return Stopped::Asked;
        }
        // A full queue holds an earlier wish to stop; a closed one means that it has.
        self.shared.stop.try_send(Instant::now() + within).ok();
        self.stopped().await
    }

    /// How this replica is.
    pub fn status(&self) -> ReplicaStatus {
        self.shared.status()
    }

    /// Who keeps the cabinet, as this replica knows it.
    pub fn members(&self) -> Members {
        self.shared.members()
    }

    /// Sees to it that a node becomes what is asked, through whoever leads, until `deadline`.
    pub async fn order(&self, order: Order, deadline: Instant) -> Result<Members, Failure> {
        orders::order(&self.shared, order, Origin::Client, deadline).await
    }

    /// Consensus messages that were dropped since the start: malformed, impossible, stale, or too many at once.
    pub fn refused_messages(&self) -> u64 {
        self.shared.refused()
    }

    /// Brings a commit to its end, through whoever leads, until `deadline`. Asking again with the same id never does it twice.
    pub async fn commit(&self, request: Commit, deadline: Instant) -> Result<Committed, Failure> {
        commit(&self.shared, request, Origin::Client, deadline).await
    }

    /// What became of a commit; with `seal` the answer is final.
    pub async fn outcome(&self, ask: AskOutcome, deadline: Instant) -> Result<Outcome, Failure> {
        outcome(&self.shared, ask, Origin::Client, deadline).await
    }

    /// Takes values away for ever, through whoever leads, until `deadline`. Asking again with the same id does it once.
    pub async fn obliterate(&self, order: Obliterate, deadline: Instant) -> Result<Committed, Failure> {
        obliterate(&self.shared, order, Origin::Client, deadline).await
    }

    /// Waits until this replica has everything that was acknowledged anywhere before this was called: a read at the position that it answers
    /// is linearizable.
    pub async fn linearizable(&self, deadline: Instant) -> Result<Position, Failure> {
        linearizable(&self.shared, deadline).await
    }
}

impl Prepared {
    /// The driver's parts, as soon as the replica has a number.
    async fn admitted(self, shared: &Arc<Shared>, peers: &Arc<dyn Peers>) -> Result<driver::Parts, Stopped> {
        let Self { core, mut disk, fetcher, redactor, mut inlets, rounds, room, rng } = self;
        let asked = async {
            if core.is_restored() {
                restored::begin(shared, peers, &core, &mut disk, &mut inlets.stop, &rng).await?;
            }
            if shared.seat().number != 0 && core.is_empty() {
                let seat = shared.seat();
                if joining::is_founded(shared, peers, &seat, &mut inlets.stop).await.ok_or(Stopped::Asked)? {
                    tracing::warn!(cabinet = %shared.cabinet_name, "the group exists, and this journal is empty: its number is given up");
                    shared.take_seat(Seat { incarnation: seat.incarnation, ..Seat::default() });
                }
            }
            match shared.seat() {
                seat if seat.number == 0 => {
                    joining::admission(shared, peers, &seat, core.history(), &mut inlets.stop, &rng).await.map(Some)
                }
                _ => Ok(None),
            }
        };
        let admitted = match asked.await {
            Ok(admitted) => admitted,
            Err(reason) => return disk.close(None).await.map_err(|error| Stopped::Write(Arc::new(error))).and(Err(reason)),
        };
        if let Some(seat) = admitted {
            disk.write(core.reader.stage(vec![Record::Seat(seat.clone())])).await?;
            shared.take_seat(seat);
        }
        let seat = shared.seat();
        let membership = core.membership(&seat).map_err(|error| Stopped::Change { index: 0, error: Arc::new(error) })?;
        shared.with_table(|table| table.change(membership.clone()));
        let consensus = core.consensus(seat.number, membership).map_err(|error| Stopped::Core(error.to_string()))?;
        Ok(driver::Parts { consensus, disk, fetcher, redactor, inlets, rounds, room, rng })
    }
}

impl Settings {
    /// Those with whom a group begins, with their numbers: 1, 2, ... in the order of their identities, whatever order they are listed in; voters
    /// before learners.
    pub fn founders(voters: impl IntoIterator<Item = Identity>, learners: impl IntoIterator<Item = Identity>) -> Vec<Founder> {
        let sorted = |nodes: BTreeSet<Identity>, votes| nodes.into_iter().map(move |identity| (identity, votes));
        let all = sorted(voters.into_iter().collect(), true).chain(sorted(learners.into_iter().collect(), false));
        (1..).zip(all).map(|(number, (identity, votes))| Founder { number, votes, identity: identity.uri().to_owned() }).collect()
    }

    fn check(&self) -> Result<(), OpenError> {
        let identities: BTreeSet<&str> = self.founders.iter().map(|founder| founder.identity.as_str()).collect();
        let numbers: BTreeSet<u64> = self.founders.iter().map(|founder| founder.number).collect();
        if numbers.len() != self.founders.len() || identities.len() != self.founders.len() {
            return Err(self.impossible("two of its first members have the same number or the same identity".to_owned()));
        }
        if numbers.contains(&0) || !self.founders.iter().any(|founder| founder.votes) {
            return Err(self.impossible("nobody of its first members votes, or one has number 0".to_owned()));
        }
        Membership::founded(&self.founders).map(drop).map_err(|error| self.impossible(error.to_string()))
    }

    /// Whether somebody else may have a replica to be repaired from.
    fn has_peers(&self) -> bool {
        let me = self.identity.uri();
        self.peers.iter().any(|peer| *peer != self.identity) || self.founders.iter().any(|founder| founder.identity != me)
    }

    fn impossible(&self, why: String) -> OpenError {
        OpenError::Settings { cabinet: self.cabinet.clone(), why }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.shared).finish()
    }
}

/// Lets go of the overlay when the driver ends, however it does: the overlay holds the services, and they what the driver shares with them.
struct Release(Arc<Shared>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.set_peers(None);
    }
}

fn open_state(kind: &StateKind, last_index: u64) -> Result<Box<dyn State>, StateError> {
    match kind {
        StateKind::Memory => Ok(Box::new(MemoryState::new())),
        StateKind::Sled(path) => {
            let (state, opened) = SledState::open(path, last_index)?;
            if let StateOpened::Rebuilding { reason, set_aside } = opened {
                tracing::warn!(%reason, set_aside = %set_aside.display(), "the state was set aside and is rebuilt from the journal");
            }
            Ok(Box::new(state))
        }
        StateKind::Sql(place) => {
            let (state, opened) = SqlState::open(place, last_index)?;
            match opened {
                SqlOpened::Kept => {}
                SqlOpened::Fresh => {
                    tracing::info!(database = %place.target, space = place.space, "the state is empty and is filled from the journal");
                }
                SqlOpened::Emptied { reason } => {
                    tracing::warn!(%reason, database = %place.target, space = place.space, "the state was emptied and is filled from the journal");
                }
            }
            Ok(Box::new(state))
        }
    }
}

/// An empty state in the place of one that could be opened and then took nothing: damage that only a write, or a read of what lies deep, finds.
/// Whatever else keeps the journal from being replayed is not the state's fault, and is given back; nor is a database to blame that cannot be reached.
fn instead_of(failed: Box<dyn State>, kind: &StateKind, error: OpenError) -> Result<Box<dyn State>, OpenError> {
    let OpenError::Replay(ReplayError::State(reason)) = &error else { return Err(error) };
    // It closes with this.
    drop(failed);
    match kind {
        StateKind::Memory => return Err(error),
        StateKind::Sled(path) => {
            let set_aside = SledState::set_aside(path).map_err(|error| StateError::Engine(Box::new(error)))?;
            tracing::warn!(%reason, set_aside = %set_aside.display(), "the state was set aside and is rebuilt from the journal");
        }
        StateKind::Sql(place) => {
            SqlState::discard(place)?;
            tracing::warn!(%reason, database = %place.target, space = place.space, "the state was emptied and is filled from the journal");
        }
    }
    Ok(open_state(kind, 0)?)
}

/// How many files lie here that were set aside, because they were damaged: they may hold values that are obliterated by now.
fn quarantined(storage: &dyn Storage, state: &StateKind) -> Result<u32, OpenError> {
    let journals = journal::quarantined(storage).map_err(journal::OpenError::from)?.len();
    let states = match state {
        StateKind::Memory | StateKind::Sql(_) => 0,
        StateKind::Sled(path) => SledState::quarantines(path).len(),
    };
    Ok(u32::try_from(journals + states).unwrap_or(u32::MAX))
}

/// Jobs that wait for the journal's worker: the driver has at most one under way.
const JOURNAL_JOBS: usize = 2;
