//! A simulated computer: its clock, its disk, the speed of its worker threads. All of it outlives the process that runs on it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use caps_overlay::{Pace, Rng, WallClock, Worker, Workers};

use crate::clock::Clock;
use crate::network::Network;

/// The time of day as one machine sees it: the world's, drifting and jumping.
#[derive(Debug)]
pub(crate) struct MachineClock {
    world: Clock,
    offset_micros: AtomicI64,
    /// Parts per million that it goes too fast.
    drift_ppm: AtomicI64,
}

impl MachineClock {
    pub(crate) fn new(world: Clock) -> Self {
        Self { world, offset_micros: AtomicI64::new(0), drift_ppm: AtomicI64::new(0) }
    }

    /// Sets the clock forward, or back.
    pub(crate) fn jump(&self, micros: i64) {
        self.offset_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Makes it go too fast, or too slow, by this much.
    pub(crate) fn drift(&self, ppm: i64) {
        self.drift_ppm.store(ppm, Ordering::Relaxed);
    }
}

impl WallClock for MachineClock {
    fn now_micros(&self) -> i64 {
        let elapsed = i64::try_from(self.world.now_ns() / 1_000).unwrap_or(i64::MAX);
        let drifted = elapsed / 1_000_000 * self.drift_ppm.load(Ordering::Relaxed);
        BEGINNING_MICROS + elapsed + drifted + self.offset_micros.load(Ordering::Relaxed)
    }
}

/// How long the jobs of a machine's worker threads take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    /// Reading one datagram and what follows from it: how long it keeps the core. 20 us by default, what a call of the overlay costs with
    /// some logic (BASELINES).
    pub datagram: Duration,
    /// Writing to the journal and `fdatasync`, on average. 1 ms by default: a data-centre SSD with a full cache of writes.
    pub sync: Duration,
    /// Hashing a password. 20 ms by default, which argon2id is set to take.
    pub password: Duration,
}

impl Default for Speed {
    fn default() -> Self {
        Self { datagram: Duration::from_micros(20), sync: Duration::from_millis(1), password: Duration::from_millis(20) }
    }
}

/// Starts workers that take as long as the machine's speed says.
pub(crate) struct MachineWorkers {
    pub(crate) network: Network,
    pub(crate) rng: Rng,
    pub(crate) speed: Speed,
}

impl Workers for MachineWorkers {
    fn start(&self, name: &str, _: usize) -> Worker {
        let mean = match name {
            name if name.ends_with("-journal") => self.speed.sync,
            "passwords" => self.speed.password,
            _ => return Worker::inline(),
        };
        Worker::paced(Arc::new(MachinePace { network: self.network.clone(), rng: self.rng.fork(), mean }))
    }
}

/// Jobs that take half to three halves of their mean, half of it before they are done.
struct MachinePace {
    network: Network,
    rng: Rng,
    mean: Duration,
}

impl Pace for MachinePace {
    fn before(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.after()
    }

    fn after(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let (network, within) = (self.network.clone(), self.rng.jitter(self.mean / 2));
        Box::pin(async move { network.wait(within).await })
    }
}

impl fmt::Debug for MachinePace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MachinePace({:?})", self.mean)
    }
}

/// Every world begins on 15 January 2027 at 08:00 UTC.
pub(crate) const BEGINNING_MICROS: i64 = 1_800_000_000_000_000;
