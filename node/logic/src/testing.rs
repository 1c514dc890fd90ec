//! A whole system in memory, for tests of the host and of modules: real hosts over a cabinet that keeps the rules of layer 1.
//!
//! ```
//! # use caps_logic::testing::{World, record};
//! # use caps_logic::module::Value;
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
//! let world = World::new(7, Vec::new());
//! let host = world.host("host-a");
//! let added = world.ask(&host, &world.admin(), "people", "add_group", record([("name", vec![Value::text("desk")])])).await;
//! assert!(added.is_ok());
//! # });
//! ```

mod blobs;
mod cabinet;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use caps_model::messages::host::{As, Call, Called, Session};
use caps_model::messages::inspect::{Inspect, Inspected};
use caps_model::{CommitId, Name, ObjectId, Position, Record, Value};
pub use caps_overlay::Identity;
use caps_overlay::Layer;
use caps_overlay::{Failure, Priority, Rng, Tasks, WallClock, Worker, Workers};
use tokio::time::Instant;

pub use futures_util::future::join_all;

pub use self::cabinet::{Counts, MemoryCabinet};
use crate::cabinet::Ask;
use crate::environment::HostEnvironment;
use crate::host::Host;
use crate::module::Module;

/// Hosts over one cabinet, with a clock that stands still until it is set.
#[derive(Clone, Debug)]
pub struct World {
    /// The cabinet.
    pub cabinet: Arc<MemoryCabinet>,
    /// The clock that all hosts read.
    pub clock: Arc<TestClock>,
    rng: Rng,
    modules: Modules,
    tasks: Tasks,
}

#[derive(Clone)]
struct Modules(Vec<Arc<dyn Module>>);

/// A wall clock in the hands of a test.
#[derive(Debug)]
pub struct TestClock(AtomicI64);

impl World {
    /// A world that is wholly decided by `seed`; its hosts run these modules.
    pub fn new(seed: u64, modules: Vec<Arc<dyn Module>>) -> Self {
        let rng = Rng::seeded(seed);
        Self {
            cabinet: Arc::new(MemoryCabinet::new(rng.fork())),
            clock: Arc::new(TestClock(AtomicI64::new(START_MICROS))),
            rng,
            modules: Modules(modules),
            tasks: Tasks::default(),
        }
    }

    /// One more host.
    ///
    /// # Panics
    /// When the modules cannot be hosted together.
    pub fn host(&self, name: &str) -> Arc<Host> {
        let rng = self.rng.fork();
        let secret_rng = self.rng.fork();
        let environment = HostEnvironment {
            rng,
            wall_clock: self.clock.clone(),
            workers: Arc::new(InlineWorkers),
            tasks: self.tasks.clone(),
            secrets: Arc::new(move |bytes| {
                secret_rng.fill(bytes);
                true
            }),
        };
        let node = identity("lund", Layer::Host, name);
        Host::new(node, self.modules.0.clone(), self.cabinet.clone(), environment).expect("the modules fit together")
    }

    /// An administrator.
    ///
    /// # Panics
    /// Never: the name is one.
    pub fn admin(&self) -> Identity {
        Identity::admin(DOMAIN, "root").expect("a name written in code")
    }

    /// A front end.
    pub fn front_end(&self, name: &str) -> Identity {
        identity("kiruna", Layer::FrontEnd, name)
    }

    /// An id for a commit.
    pub fn commit_id(&self) -> CommitId {
        CommitId::new(1, self.rng.next_u128())
    }

    /// Calls a method as the peer itself.
    pub async fn ask(
        &self,
        host: &Host,
        peer: &Identity,
        module: &'static str,
        method: &'static str,
        arguments: Record,
    ) -> Result<Called, Failure> {
        host.call(self.call(None, module, method, arguments), peer, at_least(self.cabinet.position())).await
    }

    /// What exactly an effect is to do, as far as this peer may know.
    ///
    /// # Panics
    /// When the host fails.
    pub async fn effect(&self, host: &Host, peer: &Identity, effect: ObjectId) -> Option<Record> {
        let question = As { session: None, message: Inspect::Effect { object: effect } };
        match host.inspect(question, peer, at_least(self.cabinet.position())).await.expect("the host answers") {
            Inspected::Effect(effect) => effect.map(|effect| effect.arguments),
            other => panic!("another question was answered: {other:?}"),
        }
    }

    /// A call with a fresh id.
    pub fn call(&self, session: Option<Session>, module: &'static str, method: &'static str, arguments: Record) -> Call {
        let (module, method) = (Name::fixed(module), Name::fixed(method));
        Call { session, commit: self.commit_id(), again: false, module, method, arguments, reason: None, expected: Vec::new() }
    }

    /// A front end that acts as a user in these groups, which are added where they do not exist.
    ///
    /// # Panics
    /// When `people` refuses.
    pub async fn member(&self, host: &Host, name: &str, groups: &[&str]) -> Identity {
        let (admin, peer) = (self.admin(), self.front_end(name));
        for group in groups {
            // It may be there already.
            drop(self.ask(host, &admin, "people", "add_group", record([("name", vec![Value::text(*group)])])).await);
        }
        let groups = groups.iter().map(|group| Value::text(*group)).collect();
        let login = || ("login", vec![Value::text(name)]);
        let user = record([login(), ("name", vec![Value::text(name)]), ("groups", groups)]);
        self.ask(host, &admin, "people", "add_user", user).await.expect("the user is added");
        let node = record([login(), ("node", vec![Value::text(peer.uri())])]);
        self.ask(host, &admin, "people", "bind_node", node).await.expect("the node is bound");
        peer
    }
}

impl TestClock {
    /// What it shows: microseconds since 1970.
    pub fn now(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

impl WallClock for TestClock {
    fn now_micros(&self) -> i64 {
        self.now()
    }
}

impl std::fmt::Debug for Modules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} modules", self.0.len())
    }
}

struct InlineWorkers;

impl Workers for InlineWorkers {
    fn start(&self, _name: &str, _queue_jobs: usize) -> Worker {
        Worker::inline()
    }
}

/// Asks with a minute's patience, seeing everything up to `position`.
pub fn at_least(position: Position) -> Ask {
    Ask { at_least: position, deadline: Instant::now() + Duration::from_secs(60), priority: Priority::Interactive }
}

/// A record of names written in code.
pub fn record<const N: usize>(pairs: [(&'static str, Vec<Value>); N]) -> Record {
    pairs.into_iter().map(|(name, values)| (Name::fixed(name), values)).collect()
}

fn identity(site: &str, layer: Layer, name: &str) -> Identity {
    Identity::node(DOMAIN, site, layer, name).expect("tests name nodes by labels")
}

const DOMAIN: &str = "caps.example";

/// 2026-01-01T00:00:00Z.
const START_MICROS: i64 = 1_767_225_600_000_000;
