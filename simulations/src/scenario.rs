//! Scenarios: a deployment, what its people do, what happens to it, and what must hold all the same.
//!
//! A file's way: [`file`] (its shape and its mistakes) → [`storm`] (faults drawn from the seed) → [`run`] (the world goes through it, while
//! [`actor`]s work and the [`monitor`] watches) → [`outcome`] (what to tell). [`shrink`] makes a failing timetable smaller.

mod actor;
mod closing;
mod fault;
mod file;
mod ledger;
mod monitor;
mod outcome;
mod panics;
mod run;
pub mod shrink;
mod storm;
mod surroundings;

use std::path::{Path, PathBuf};
use std::time::Duration;

use caps_node::deployment::Deployment;
use caps_node::output::Compact;

pub use fault::{Fault, Planned, Target};
pub use file::ScenarioError;
pub use outcome::{Outcome, Violation};
pub use run::run;
pub use storm::Storm;

use crate::machine::Speed;
use ledger::Ledger;
use surroundings::Surroundings;

/// A scenario that makes sense.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The file it was read from.
    pub path: PathBuf,
    /// What it shows, in a sentence.
    pub about: String,
    /// The deployment, with the front ends that the scenario adds.
    pub deployment: Deployment,
    /// How fast the machines are.
    pub speed: Speed,
    /// How long things happen to it, in virtual time.
    pub length: Duration,
    /// How long it may take to recover when nothing happens to it any more.
    pub heal: Duration,
    /// How long a run may take in real time.
    pub real_limit: Duration,
    /// What its people do.
    pub load: Load,
    /// What happens, and when.
    pub timetable: Vec<Planned>,
    /// What happens at random.
    pub storm: Option<Storm>,
    /// What must hold beyond the invariants.
    pub expect: Expect,
    /// NATs, slow machines, and links that change.
    surroundings: Surroundings,
}

/// What each front end does while the scenario lasts.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// The mean time between two operations of one front end.
    pub every: Duration,
    /// The share of operations that write, 0 to 1.
    pub writes: f64,
    /// How many front ends also follow everything that changes; the first ones of the file.
    pub watchers: usize,
    /// How long a front end waits for an answer before it gives up.
    pub patience: Duration,
}

/// What must hold beyond the invariants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expect {
    /// At least this many writes are acknowledged.
    pub acknowledged_min: u64,
    /// No pause between two acknowledged writes is longer.
    pub write_gap_max: Option<Duration>,
    /// At most this many operations fail.
    pub failed_max: Option<u64>,
    /// No follower is told of a write longer after it was acknowledged.
    pub lateness_max: Option<Duration>,
    /// At most this many datagrams are sent.
    pub datagrams_max: Option<u64>,
}

impl Expect {
    /// What is not as expected, in words.
    fn unmet(&self, ledger: &Ledger, datagrams: u64) -> Vec<String> {
        let book = ledger.open();
        let (acknowledged, failed) = (book.acknowledged_at.len() as u64, book.failed.values().sum::<u64>());
        let mut unmet = Vec::new();
        if acknowledged < self.acknowledged_min {
            unmet.push(format!("{acknowledged} writes were acknowledged, and {} were expected at least", self.acknowledged_min));
        }
        let gap = book.longest_gap();
        if let Some(most) = self.write_gap_max.filter(|most| gap > *most) {
            unmet.push(format!("writes paused for {}, and {} was expected at most", Compact(gap), Compact(most)));
        }
        if let Some(most) = self.failed_max.filter(|most| failed > *most) {
            unmet.push(format!("{failed} operations failed, and {most} were expected at most"));
        }
        if let Some(most) = self.lateness_max.filter(|most| book.longest_lateness > *most) {
            let late = Compact(book.longest_lateness);
            unmet.push(format!(
                "a follower was told of a write {late} after it was acknowledged, and {} was expected at most",
                Compact(most)
            ));
        }
        if let Some(most) = self.datagrams_max.filter(|most| datagrams > *most) {
            unmet.push(format!("{datagrams} datagrams were sent, and {most} were expected at most"));
        }
        unmet
    }
}

impl Scenario {
    /// Reads and checks a scenario file, and the deployment that it names.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        file::read(path)
    }

    /// Everything that is going to happen under this seed, in order.
    pub fn plan(&self, seed: u64) -> Vec<Planned> {
        let mut plan = self.timetable.clone();
        if let Some(storm) = &self.storm {
            plan.extend(storm.draw(&self.deployment, self.length, seed));
        }
        plan.sort_by_key(|planned| planned.at);
        plan
    }
}
