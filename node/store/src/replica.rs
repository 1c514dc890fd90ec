//! One replica of a cabinet at work: the shell around consensus, journal, cabinet and watchers.
//!
//! A commit's way: service → [`commits`] → the driver's queue → consensus → journal (on its worker) and the other voters → consensus says
//! "committed" → cabinet → watchers and whoever asked. One task, the driver, makes every change; everything else only reads or waits.

mod arrivals;
mod commits;
mod driver;
mod peers;
mod shared;
pub(crate) mod subscription;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use caps_model::messages::cabinet::{Committed, ReplicaStatus};
use caps_model::messages::{AskOutcome, Outcome};
use caps_model::{Commit, DecodeError, Name, Position, codec};
use caps_overlay::bugs::{self, Bug};
use caps_overlay::{Environment, Failure, Identity, Overlay, Rng, Service, Tasks, Workers};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::cabinet::{Cabinet, Proposal};
use crate::journal::{self, EntryKind, JournalReader, Opened, ReadError};
use crate::replication::{Consensus, Draw, Timing};
use crate::service::{CabinetService, RaftService};
use crate::state::{MemoryState, SledState, State, StateError, StateOpened};
use crate::storage::Storage;
use crate::watchers::{self, Watchers};

pub(crate) use commits::{Origin, commit, outcome};
pub(crate) use driver::message;
pub use shared::Stopped;
pub(crate) use shared::{AnyCabinet, Shared};

use commits::linearizable;
use driver::{ASKS_QUEUED_MAX, Disk, Driver, Inlets, MESSAGES_QUEUED_MAX, READS_QUEUED_MAX};
use peers::{OverlayPeers, Peers};
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
    /// This replica's number among the voters.
    pub id: u64,
    /// Every voter, this replica included: the same on all of them, for ever. Numbers are not 0; [`Settings::numbered`] gives them out.
    pub voters: Vec<(u64, Identity)>,
    /// Where the state is kept.
    pub state: StateKind,
    /// How fast failures are noticed.
    pub timing: Timing,
}

/// Where a replica keeps what the journal materialises into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateKind {
    /// In memory; rebuilt from the journal at every start.
    Memory,
    /// In sled, in this directory.
    Sled(PathBuf),
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
    /// The journal, while the state was brought up to it.
    #[error("the journal cannot be read back: {0}")]
    Read(#[from] ReadError),
    /// The state.
    #[error("the state cannot be opened: {0}")]
    State(#[from] StateError),
    /// A committed entry is not understood: it was written by a node of a later release.
    #[error("entry {index} cannot be understood: {error}; was it written by a later release?")]
    Entry {
        /// The entry's index.
        index: u64,
        /// What is wrong with it.
        #[source]
        error: DecodeError,
    },
}

/// What the driver is made of.
struct Prepared {
    consensus: Consensus,
    disk: Disk,
    inlets: Inlets,
    rounds: ReadRounds,
}

impl Store {
    /// Opens the journal in `storage`, brings the state up to it, and makes ready to serve. It reads as much as must be replayed, at once.
    pub fn open(settings: Settings, storage: Arc<dyn Storage>, environment: &Environment) -> Result<Self, OpenError> {
        Self::open_in(settings, storage, &environment.rng, &*environment.workers, &environment.tasks)
    }

    /// Opens it with just those parts of an environment that a replica takes by itself; the rest reaches it through the overlay.
    pub(crate) fn open_in(
        settings: Settings,
        storage: Arc<dyn Storage>,
        rng: &Rng,
        workers: &dyn Workers,
        tasks: &Tasks,
    ) -> Result<Self, OpenError> {
        let voters = settings.voters()?;
        let Opened { writer, reader, recovered } = journal::open(storage, journal::Options::new(settings.cabinet.clone()))?;
        if let Some(tail) = &recovered.repaired {
            tracing::warn!(cabinet = %settings.cabinet, ?tail, "repaired the torn tail of the journal");
        }
        let mut cabinet = Cabinet::new(open_state(&settings.state, recovered.last_index)?);
        let committed = recovered.hard_state.commit.min(recovered.last_index);
        replay(&reader, &mut cabinet, committed)?;

        let rng = rng.fork();
        let first_context = rng.next_u64();
        let draw: Draw = Box::new(move |below| rng.below(below));
        let ids = voters.keys().copied().collect();
        let consensus = Consensus::new(settings.id, ids, settings.timing, reader.clone(), cabinet.mark().index, draw)
            .map_err(|error| settings.impossible(error.to_string()))?;

        let (messages, messages_in) = mpsc::channel(MESSAGES_QUEUED_MAX);
        let (asks, asks_in) = mpsc::channel(ASKS_QUEUED_MAX);
        let (reads, reads_in) = mpsc::channel(READS_QUEUED_MAX);
        let (stop, stop_in) = mpsc::channel(1);
        let watchers = Watchers::new(watchers::Limits::default(), cabinet.mark().position);
        let shared = Arc::new(Shared::new(shared::Parts {
            cabinet_name: settings.cabinet.clone(),
            id: settings.id,
            voters,
            timing: settings.timing,
            messages,
            asks,
            reads,
            stop,
            cabinet,
            journal: reader,
            watchers,
        }));
        let worker = workers.start(&format!("{}-journal", settings.cabinet), JOURNAL_JOBS);
        let prepared = Prepared {
            consensus,
            disk: Disk::new(worker, writer),
            inlets: Inlets { messages: messages_in, asks: asks_in, reads: reads_in, stop: stop_in },
            rounds: ReadRounds::new(first_context),
        };
        Ok(Self { shared, tasks: tasks.clone(), prepared: Arc::new(Mutex::new(Some(prepared))) })
    }

    /// The services that this replica offers, for [`Overlay::start`].
    pub fn services(&self) -> Vec<Arc<dyn Service>> {
        vec![Arc::new(CabinetService::new(self.shared.clone())), Arc::new(RaftService::new(self.shared.clone()))]
    }

    /// Begins to work, with `overlay` as the way to the other voters. Done once; again it does nothing.
    pub fn run(&self, overlay: Overlay) {
        let voters = self.shared.voters.clone();
        self.run_with(Arc::new(OverlayPeers::new(overlay, voters)));
    }

    pub(crate) fn run_with(&self, peers: Arc<dyn Peers>) {
        let prepared = self.prepared.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(Prepared { consensus, disk, inlets, rounds }) = prepared else { return };
        self.shared.set_peers(Some(peers.clone()));
        let release = Release(self.shared.clone());
        let driver = Driver::new(self.shared.clone(), peers, consensus, disk, inlets, rounds);
        self.tasks.spawn(async move {
            let _release = release;
            driver.run().await;
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

    /// Waits until this replica has everything that was acknowledged anywhere before this was called: a read at the position that it answers
    /// is linearizable.
    pub async fn linearizable(&self, deadline: Instant) -> Result<Position, Failure> {
        linearizable(&self.shared, deadline).await
    }
}

impl Settings {
    /// Numbers for the voters of a cabinet: 1, 2, ... in the order of their identities, whatever order they are listed in.
    pub fn numbered(voters: impl IntoIterator<Item = Identity>) -> Vec<(u64, Identity)> {
        let sorted: BTreeSet<Identity> = voters.into_iter().collect();
        (1..).zip(sorted).collect()
    }

    fn voters(&self) -> Result<BTreeMap<u64, Identity>, OpenError> {
        let voters: BTreeMap<u64, Identity> = self.voters.iter().cloned().collect();
        let identities: BTreeSet<&Identity> = voters.values().collect();
        if voters.len() != self.voters.len() || identities.len() != self.voters.len() {
            return Err(self.impossible("two voters have the same number or the same identity".to_owned()));
        }
        if !voters.contains_key(&self.id) || voters.contains_key(&0) {
            return Err(self.impossible(format!("number {} is not among the voters, or a voter has number 0", self.id)));
        }
        Ok(voters)
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
    let StateKind::Sled(path) = kind else { return Ok(Box::new(MemoryState::new())) };
    let (state, opened) = SledState::open(path, last_index)?;
    if let StateOpened::Rebuilding { reason, set_aside } = opened {
        tracing::warn!(%reason, set_aside = %set_aside.display(), "the state was set aside and is rebuilt from the journal");
    }
    Ok(Box::new(state))
}

/// Applies what the journal knows to be committed and the state has not seen.
fn replay(reader: &JournalReader, cabinet: &mut AnyCabinet, committed: u64) -> Result<(), OpenError> {
    let mut next = cabinet.mark().index + 1;
    let behind = committed.saturating_sub(cabinet.mark().index);
    if behind > 0 {
        tracing::info!(entries = behind, "replaying the journal into the state");
    }
    while next <= committed {
        let entries = reader.entries(next, committed + 1, REPLAY_BYTES)?;
        let Some(last) = entries.last() else { break };
        next = last.index + 1;
        for entry in entries {
            let forgotten = bugs::has(Bug::EntrySkippedAtReplay) && entry.index == committed;
            if entry.kind != EntryKind::Normal || entry.payload.is_empty() || forgotten {
                cabinet.skip(entry.index);
                continue;
            }
            let index = entry.index;
            let proposal: Proposal = codec::decode(&entry.payload).map_err(|error| OpenError::Entry { index, error })?;
            cabinet.apply(index, &proposal)?;
        }
    }
    Ok(())
}

/// Bytes of the journal read at once when the state is replayed.
const REPLAY_BYTES: u64 = 4 << 20;

/// Jobs that wait for the journal's worker: the driver has at most one under way.
const JOURNAL_JOBS: usize = 2;
