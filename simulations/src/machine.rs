//! A simulated computer: its clock, its disk, the speed of its worker threads. All of it outlives the process that runs on it.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use caps_overlay::{Pace, Rng, WallClock, Worker, Workers};

use crate::clock::Clock;
use crate::network::Network;

/// The time of day as one machine sees it: the world's, drifting and jumping.
#[derive(Debug)]
pub(crate) struct MachineClock {
    world: Clock,
    gait: Mutex<Gait>,
}

/// How a clock goes since a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Gait {
    /// The moment, in microseconds of the world.
    since: i64,
    /// How far it was ahead then, in microseconds.
    ahead: i64,
    /// Parts per million that it goes too fast.
    drift_ppm: i64,
}

impl MachineClock {
    pub(crate) fn new(world: Clock) -> Self {
        Self { world, gait: Mutex::default() }
    }

    /// Sets the clock forward, or back.
    pub(crate) fn jump(&self, micros: i64) {
        self.gait().ahead += micros;
    }

    /// Makes it go too fast, or too slow, by this much from now on.
    pub(crate) fn drift(&self, ppm: i64) {
        let now = self.elapsed();
        let mut gait = self.gait();
        *gait = Gait { since: now, ahead: gait.ahead_at(now), drift_ppm: ppm };
    }

    fn elapsed(&self) -> i64 {
        i64::try_from(self.world.now_ns() / 1_000).unwrap_or(i64::MAX)
    }

    fn gait(&self) -> MutexGuard<'_, Gait> {
        self.gait.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gait {
    fn ahead_at(&self, now: i64) -> i64 {
        self.ahead + (now - self.since) / 1_000 * self.drift_ppm / 1_000
    }
}

impl WallClock for MachineClock {
    fn now_micros(&self) -> i64 {
        let elapsed = self.elapsed();
        BEGINNING_MICROS + elapsed + self.gait().ahead_at(elapsed)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_drift_from_where_they_are() {
        // A tenth too fast for ten seconds is a second; what went before stays.
        let gait = Gait { since: 5_000_000, ahead: 7, drift_ppm: 100_000 };
        assert_eq!(gait.ahead_at(15_000_000), 1_000_007);
    }
}
