//! What became of a run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::network::{Counts, TraceHash};

/// What became of one run of a scenario. The same scenario and seed give the same, bit for bit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The scenario's file name, without its ending.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// The hash over every datagram: time, source, destination, bytes.
    pub trace: TraceHash,
    /// How long the world lived.
    pub virtual_seconds: f64,
    /// Faults that happened.
    pub faults: u64,
    /// How many of each kind.
    pub faults_by_kind: BTreeMap<String, u64>,
    /// Promises that were broken; none is the only good number.
    pub violations: Vec<Violation>,
    /// What the scenario expected, and was not so.
    pub unmet: Vec<String>,
    /// Writes that were said to be durable.
    pub acknowledged: u64,
    /// Writes that a module or a host refused.
    pub refused: u64,
    /// Writes of which nothing was heard in time, and that had happened.
    pub open_happened: u64,
    /// Those that had not.
    pub open_not_happened: u64,
    /// Writes of front ends that died before they were told.
    pub orphaned: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Operations that failed, by what was said.
    pub failed: BTreeMap<String, u64>,
    /// Changes that followers were told of.
    pub followed: u64,
    /// The longest that a follower was told of a write after it had been acknowledged.
    #[serde(default)]
    pub longest_lateness_ms: u64,
    /// Terms that had a leader.
    pub leaders: usize,
    /// The longest pause between two acknowledged writes.
    pub longest_write_gap_ms: u64,
    /// How long it took to recover when nothing happened any more.
    pub healed_in_ms: Option<u64>,
    /// What became of the datagrams.
    pub datagrams: Counts,
    /// What happened, in order.
    #[serde(skip)]
    pub story: Vec<(Duration, String)>,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Violation {
    /// When it was noticed: seconds since the beginning.
    pub at: f64,
    /// Which promise.
    pub invariant: String,
    /// What was seen.
    pub what: String,
}

impl Outcome {
    /// Whether every promise was kept and everything was as expected.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty() && self.unmet.is_empty()
    }

    /// How many operations failed.
    pub fn failed_count(&self) -> u64 {
        self.failed.values().sum()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {:.3}s, {}: {}", self.at, self.invariant, self.what)
    }
}
