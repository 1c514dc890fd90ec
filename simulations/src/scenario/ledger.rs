//! What front ends asked for, were told and saw: the side of the story that the cabinet must agree with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use caps_model::{CommitId, ObjectId, Position};

/// Everything that all front ends asked for and saw; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
pub(super) struct Book {
    /// Whether everybody is to go home after what they are at.
    pub(super) closed: bool,
    /// Front ends that are at something: each by its name and life.
    pub(super) at_work: BTreeSet<(String, u64)>,
    /// Each write under the id that was chosen before it was asked for.
    pub(super) writes: BTreeMap<CommitId, Write>,
    /// When writes were acknowledged, in order.
    pub(super) acknowledged_at: Vec<Duration>,
    /// When the write at each position was acknowledged.
    pub(super) durable_at: BTreeMap<u64, Duration>,
    /// The longest that a follower was told of a write after it had been acknowledged.
    pub(super) longest_lateness: Duration,
    /// Reads that were answered.
    pub(super) reads: u64,
    /// Operations that failed, by what was said.
    pub(super) failed: BTreeMap<String, u64>,
    /// What each follower saw, by its front end and its life.
    pub(super) seen: BTreeMap<(String, u64), Seen>,
    /// What front ends saw that must never be.
    pub(super) broken: Vec<(Duration, String)>,
}

/// One write.
#[derive(Clone, Debug)]
pub(super) struct Write {
    /// Who asked.
    pub(super) by: String,
    /// In which of its lives.
    pub(super) life: u64,
    /// When.
    pub(super) at: Duration,
    /// The Message-ID, if it files a mail.
    pub(super) message_id: Option<String>,
    pub(super) state: WriteState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WriteState {
    /// Nothing was heard.
    Open,
    /// It was said to be durable.
    Acknowledged(Position),
    /// A module or a host said no.
    Refused,
}

/// What one follower saw.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// From where on it must see everything; `None` until it has all of the present.
    pub(super) start: Option<u64>,
    /// How far it knows.
    pub(super) position: u64,
    /// How often it was told of each version of each object.
    pub(super) versions: BTreeMap<(ObjectId, u64), u64>,
    /// Updates at or before the position of an earlier one.
    pub(super) disordered: u64,
}

impl Ledger {
    pub(super) fn open(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    pub(super) fn asked(&mut self, commit: CommitId, by: &str, life: u64, at: Duration, message_id: Option<String>) {
        self.writes.insert(commit, Write { by: by.to_owned(), life, at, message_id, state: WriteState::Open });
    }

    pub(super) fn acknowledged(&mut self, commit: CommitId, position: Position, now: Duration) {
        self.acknowledged_at.push(now);
        self.durable_at.insert(position.0, now);
        self.set(commit, WriteState::Acknowledged(position));
    }

    /// A follower was told what had changed at this position.
    pub(super) fn followed(&mut self, position: Position, now: Duration) {
        if let Some(durable_at) = self.durable_at.get(&position.0) {
            self.longest_lateness = self.longest_lateness.max(now.saturating_sub(*durable_at));
        }
    }

    pub(super) fn refused(&mut self, commit: CommitId, reason: String) {
        self.set(commit, WriteState::Refused);
        // Front ends race each other on purpose; whoever loses such a race was answered well.
        if !LOST_RACES.iter().any(|lost| reason.contains(lost)) {
            self.failed(reason);
        }
    }

    pub(super) fn failed(&mut self, reason: String) {
        // Reasons carry ids and times; what comes before the first of them tells them apart well enough.
        let kind: String = reason.chars().take(REASON_CHARS).take_while(|c| !c.is_ascii_digit()).collect();
        *self.failed.entry(kind).or_default() += 1;
    }

    pub(super) fn must_never_be(&mut self, now: Duration, what: String) {
        if self.broken.len() < BROKEN_MAX {
            self.broken.push((now, what));
        }
    }

    pub(super) fn count(&self, counts: impl Fn(&WriteState) -> bool) -> u64 {
        self.writes.values().filter(|write| counts(&write.state)).count() as u64
    }

    /// The longest pause between two acknowledgements.
    pub(super) fn longest_gap(&self) -> Duration {
        self.acknowledged_at.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or_default()
    }

    fn set(&mut self, commit: CommitId, state: WriteState) {
        if let Some(write) = self.writes.get_mut(&commit) {
            write.state = state;
        }
    }
}

/// What is said to who was too late: with a write that somebody sealed, or to close a case that somebody closed.
const LOST_RACES: [&str; 2] = ["this commit was sealed", "the case is closed already"];

const REASON_CHARS: usize = 60;

/// After so many nobody reads on.
const BROKEN_MAX: usize = 1_000;
