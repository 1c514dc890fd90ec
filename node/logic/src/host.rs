//! The host: where modules run and rights are checked.
//!
//! | what is asked | where it is answered |
//! |---|---|
//! | a call of a method | [`call`] |
//! | queries, objects, histories, outcomes | [`read`] |
//! | subscriptions | [`subscription`] |
//! | logins | [`login`] |
//! | blobs | [`blob`] |

mod blob;
mod call;
mod failures;
mod inspect;
mod login;
mod read;
mod subscription;

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use caps_model::Record;
use caps_model::messages::host::{HostStatus, Schemas, Session};
use caps_model::messages::latencies::Latencies;
use caps_overlay::Identity;
use caps_overlay::{Failure, Worker};
use tokio::sync::Semaphore;

use self::blob::BlobRoom;
pub use self::blob::Taker;
pub(crate) use self::failures::{busy, malformed};
pub use self::subscription::{Listener, ListenerGone};
use crate::cabinet::{Ask, CabinetPort, PatientCabinet};
use crate::catalogue::{Catalogue, CatalogueError};
use crate::contention::Contention;
use crate::environment::HostEnvironment;
use crate::module::{Halt, Module};
use crate::people::LoginGuard;
use crate::principals::{Credential, Principals};
use crate::privileges::Principal;
use crate::transaction::{Births, Material, Transaction};

/// A host of business logic.
pub struct Host {
    node: Identity,
    catalogue: Catalogue,
    cabinet: Arc<dyn CabinetPort>,
    principals: Arc<Principals>,
    contention: Contention,
    environment: HostEnvironment,
    passwords: Worker,
    guard: Mutex<LoginGuard>,
    /// Room for calls and reads that run at once.
    room: Semaphore,
    /// Room for logins at once: each holds the worker for 20 ms.
    login_room: Semaphore,
    /// Room for steps of uploads, and for downloads.
    blob_room: BlobRoom,
    counts: Counts,
}

#[derive(Debug)]
struct Counts {
    /// Calls that were answered, by how long each took.
    calls: [AtomicU64; Latencies::BUCKETS],
    conflicts: AtomicU64,
    subscriptions: AtomicU32,
}

impl Counts {
    fn new() -> Self {
        Self { calls: std::array::from_fn(|_| AtomicU64::new(0)), conflicts: AtomicU64::new(0), subscriptions: AtomicU32::new(0) }
    }

    fn answered(&self, took: Duration) {
        self.calls[Latencies::bucket(took)].fetch_add(1, Ordering::Relaxed);
    }
}

impl Host {
    /// A host with these modules, and the built-in modules `people` and `effects`, over a cabinet. `node` is who it is on the overlay.
    pub fn new(
        node: Identity,
        modules: Vec<Arc<dyn Module>>,
        cabinet: Arc<dyn CabinetPort>,
        environment: HostEnvironment,
    ) -> Result<Arc<Self>, CatalogueError> {
        let catalogue = Catalogue::with_built_in(modules)?;
        let cabinet: Arc<dyn CabinetPort> = Arc::new(PatientCabinet::new(cabinet, environment.rng.clone()));
        Ok(Arc::new(Self {
            node,
            catalogue,
            principals: Arc::new(Principals::new(cabinet.clone(), environment.clone())),
            cabinet,
            contention: Contention::default(),
            passwords: environment.workers.start("passwords", LOGINS_MAX),
            environment,
            guard: Mutex::default(),
            room: Semaphore::new(CALLS_MAX),
            login_room: Semaphore::new(LOGINS_MAX),
            blob_room: BlobRoom::default(),
            counts: Counts::new(),
        }))
    }

    /// Starts the host's own task, which listens to changes of users. Without it everything works, and every call looks its principal up.
    pub fn start(&self) {
        self.environment.tasks.spawn(self.principals.clone().watch());
    }

    /// The modules and what they declare.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Calls a method of a module within a transaction: the step from layer 2 into layer 3, a plain function call. The right to call, the
    /// arguments and then the module; no allocation, no lock, no waiting.
    pub fn call_module(&self, module: &str, method: &str, arguments: &Record, tx: &mut Transaction<'_>) -> Result<Record, Halt> {
        self.catalogue.call(module, method, arguments, tx)
    }

    /// A transaction to call modules in, for measuring [`call_module`](Self::call_module): what it decides goes nowhere.
    pub fn transaction<'a>(&'a self, principal: &'a Principal, material: &'a Material, births: &'a mut Births) -> Transaction<'a> {
        Transaction::new(&self.catalogue, principal, material, births, self.environment.wall_clock.now_micros())
    }

    /// Ids for the objects of one [`transaction`](Self::transaction).
    pub fn births(&self) -> Births {
        Births::new(self.environment.wall_clock.now_micros(), self.environment.rng.clone())
    }

    /// Everything that modules declare.
    pub fn schemas(&self) -> Schemas {
        Schemas { schemas: self.catalogue.schemas() }
    }

    /// How the host is, and every replica that it can ask.
    pub async fn status(&self, ask: Ask) -> HostStatus {
        let latencies = Latencies::of(self.counts.calls.iter().map(|count| count.load(Ordering::Relaxed)));
        HostStatus {
            node: self.node.to_string(),
            replicas: self.cabinet.replicas(ask).await,
            calls: latencies.count(),
            conflicts: self.counts.conflicts.load(Ordering::Relaxed),
            subscriptions: self.counts.subscriptions.load(Ordering::Relaxed),
            latencies,
            peers: self.cabinet.peers(),
        }
    }

    async fn principal(&self, session: Option<&Session>, peer: &Identity, ask: Ask) -> Result<Arc<Principal>, Failure> {
        Ok(self.principals.resolve(&Credential::of(session, peer), ask).await?)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("node", &self.node).field("catalogue", &self.catalogue).finish_non_exhaustive()
    }
}

/// Calls and reads that run at once. Each holds what it has read, at most some megabytes and commonly a few kilobytes.
const CALLS_MAX: usize = 1_024;

/// Logins that wait for the worker at once: more than a second's worth.
const LOGINS_MAX: usize = 64;

#[cfg(test)]
mod tests;
