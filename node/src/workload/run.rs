//! What all actors of one run share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use caps_model::Position;
use caps_overlay::watch;
use tokio::time::Instant;

/// One run: everybody who works at the same time. Cheap to clone; all clones are the same run.
#[derive(Debug, Clone)]
pub struct Run {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    numbers: AtomicU64,
    end: watch::Sender<bool>,
    /// When each of the latest commits was known to be durable.
    commits: Mutex<BTreeMap<u64, Instant>>,
}

impl Run {
    /// A run whose numbers (`$n`) start here. Runs against the same cabinet should start far apart.
    pub fn new(first_number: u64) -> Self {
        let shared = Shared { numbers: AtomicU64::new(first_number), end: watch::Sender::new(false), commits: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Ends the run: nobody starts anything any more, consoles are closed, nobody goes on thinking; what was asked is still waited for.
    pub fn end(&self) {
        self.shared.end.send_replace(true);
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        *self.shared.end.borrow()
    }

    /// Waits until it has ended.
    pub async fn ended(&self) {
        let mut end = self.shared.end.subscribe();
        // The sender lives as long as `self`, so this does not fail.
        end.wait_for(|ended| *ended).await.ok();
    }

    /// Says that a commit was durable at this moment; the earliest word counts. Actors say so when they learn of it, which is one way from the
    /// leader too late; a simulation that knows better may say so before.
    pub fn committed(&self, position: Position, at: Instant) {
        let mut commits = self.commits();
        let known = commits.entry(position.0).or_insert(at);
        *known = at.min(*known);
        if commits.len() > COMMITS_MAX {
            commits.pop_first();
        }
    }

    /// How long after their commits these arrivals were; those whose commit nobody of this run knows of are left out.
    pub(super) fn delays(&self, arrivals: &[(Position, Instant)]) -> Vec<Duration> {
        let commits = self.commits();
        let delay = |(position, at): &(Position, Instant)| commits.get(&position.0).map(|commit| at.saturating_duration_since(*commit));
        arrivals.iter().filter_map(delay).collect()
    }

    fn commits(&self) -> MutexGuard<'_, BTreeMap<u64, Instant>> {
        self.shared.commits.lock().expect("no holder of this lock panics")
    }

    /// A number that nobody else of this run gets.
    pub(super) fn number(&self) -> u64 {
        self.shared.numbers.fetch_add(1, Ordering::Relaxed)
    }
}

/// Commits that are remembered: an hour of 250 a second, at 32 bytes each.
const COMMITS_MAX: usize = 1 << 20;
