//! Many runs of one operation, held against its limit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Measured, Outcome};
use crate::deployment::workload::Operation;

/// What came out of many runs of one operation.
#[derive(Debug, Clone)]
pub struct Tally {
    operation: Arc<Operation>,
    limit: Option<Duration>,
    /// What the runs that were done felt like, sorted.
    felt: Vec<Duration>,
    /// How long after their commits changes were shown, sorted.
    shown_after: Vec<Duration>,
    updates: u64,
    idle: u64,
    /// Why runs failed, and how often.
    failures: BTreeMap<String, u64>,
}

/// Whether an operation is as fast as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// 95 of 100 runs were done within the limit.
    Pass,
    /// They were not: a run that fails is longer than any limit.
    Fail,
    /// There is no limit, and nothing failed; or nothing was measured.
    Open,
}

impl Tally {
    /// Nothing yet.
    pub fn new(operation: Arc<Operation>, limit: Option<Duration>) -> Self {
        Self { operation, limit, felt: Vec::new(), shown_after: Vec::new(), updates: 0, idle: 0, failures: BTreeMap::new() }
    }

    /// Takes one run in.
    pub fn add(&mut self, measured: &Measured) {
        match &measured.outcome {
            Outcome::Done => insert(&mut self.felt, measured.felt),
            Outcome::Idle(_) => self.idle += 1,
            Outcome::Cut => {}
            Outcome::Failed(error) => {
                let known = self.failures.len() < FAILURES_MAX;
                let reason = if known { error.to_string() } else { "other reasons".to_owned() };
                *self.failures.entry(reason).or_default() += 1;
            }
        }
        for watched in measured.steps.iter().filter_map(|step| step.watched.as_ref()) {
            self.updates += watched.updates;
            watched.delays.iter().for_each(|delay| insert(&mut self.shown_after, *delay));
        }
    }

    /// The operation.
    pub fn operation(&self) -> &Arc<Operation> {
        &self.operation
    }

    /// How long 95 of 100 runs may take.
    pub fn limit(&self) -> Option<Duration> {
        self.limit
    }

    /// Runs that were done.
    pub fn done(&self) -> usize {
        self.felt.len()
    }

    /// Runs that failed.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Why, and how often.
    pub fn failures(&self) -> &BTreeMap<String, u64> {
        &self.failures
    }

    /// Runs that found nothing to do.
    pub fn idle(&self) -> u64 {
        self.idle
    }

    /// Commits that consoles showed.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// What this percentage of the runs that were done stayed within, by the nearest rank; the longest is `felt(100)`.
    pub fn felt(&self, percent: usize) -> Option<Duration> {
        ranked(&self.felt, percent, self.felt.len())
    }

    /// How long after its commit a change was shown, for this percentage of the changes.
    pub fn shown_after(&self, percent: usize) -> Option<Duration> {
        ranked(&self.shown_after, percent, self.shown_after.len())
    }

    /// Whether it is as fast as it should be.
    pub fn verdict(&self) -> Verdict {
        let failed = usize::try_from(self.failed()).unwrap_or(usize::MAX);
        let count = self.felt.len().saturating_add(failed);
        let at_p95 = ranked(&self.felt, 95, count);
        match (self.limit, at_p95) {
            _ if count == 0 => Verdict::Open,
            (None, Some(_)) => Verdict::Open,
            (Some(limit), Some(felt)) if felt <= limit => Verdict::Pass,
            _ => Verdict::Fail,
        }
    }
}

/// The value at the nearest rank among `count`, of which those not in `sorted` are larger than any in it.
fn ranked(sorted: &[Duration], percent: usize, count: usize) -> Option<Duration> {
    let rank = count.saturating_mul(percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

fn insert(sorted: &mut Vec<Duration>, value: Duration) {
    if sorted.len() < SAMPLES_MAX {
        sorted.insert(sorted.partition_point(|other| *other <= value), value);
    }
}

/// Values kept of one operation: 16 MB, and more than enough for any percentile.
const SAMPLES_MAX: usize = 1 << 20;

/// Reasons told apart.
const FAILURES_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::deployment::workload::{Source, Step};
    use crate::workload::StepError;

    fn tally(limit_ms: Option<u64>, done_ms: impl IntoIterator<Item = u64>, failed: usize) -> Tally {
        let operation = Operation { name: "x".to_owned(), about: None, limit: None, steps: vec![Step::Connect] };
        let mut tally = Tally::new(Arc::new(operation), limit_ms.map(Duration::from_millis));
        let outcome = |felt, outcome| Measured { started: Instant::now(), felt, outcome, steps: Vec::new() };
        done_ms.into_iter().for_each(|ms| tally.add(&outcome(Duration::from_millis(ms), Outcome::Done)));
        let fails = || Outcome::Failed(StepError::NotOpened(Duration::ZERO));
        (0..failed).for_each(|_| tally.add(&outcome(Duration::ZERO, fails())));
        tally.add(&outcome(Duration::ZERO, Outcome::Idle(Source::Found(None))));
        tally
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let hundred = tally(None, (1..=100).rev(), 0);
        let ms = |percent| hundred.felt(percent).map(|felt| felt.as_millis());
        assert_eq!([ms(50), ms(95), ms(99), ms(100)], [Some(50), Some(95), Some(99), Some(100)]);
        assert_eq!(tally(None, [], 0).felt(50), None);
        assert_eq!(tally(None, [3], 0).felt(95), Some(Duration::from_millis(3)));
    }

    #[test]
    fn run_that_fails_is_longer_than_any_limit() {
        assert_eq!(tally(Some(95), 1..=100, 0).verdict(), Verdict::Pass);
        assert_eq!(tally(Some(94), 1..=100, 0).verdict(), Verdict::Fail);
        // 5 of 100 may fail, 6 of 101 may not.
        assert_eq!(tally(Some(95), 1..=95, 5).verdict(), Verdict::Pass);
        assert_eq!(tally(Some(95), 1..=95, 6).verdict(), Verdict::Fail);
        assert_eq!(tally(None, 1..=3, 0).verdict(), Verdict::Open);
        assert_eq!(tally(None, [], 3).verdict(), Verdict::Fail);
        assert_eq!(tally(Some(1), [], 0).verdict(), Verdict::Open);
    }
}
