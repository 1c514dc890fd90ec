//! Subscriptions: who is told what, in which order, and how a slow reader costs nothing.
//!
//! A core without tasks or sockets. The shell [`add`](Watchers::add)s a watcher for each subscription, reports every
//! [`applied`](Watchers::applied) proposal in order, and asks for the [`next`](Watchers::next) update whenever the reader can take one.
//!
//! A watcher is a position up to which its reader has been told everything, and then works in one of three ways:
//!
//! 1. *present*: going through the objects that match at one fixed position, some at a time;
//! 2. *catching up*: going through the commits after its position, with the objects as they were before and after each;
//! 3. *live*: holding the positions of commits that touch its query, at most [`Limits::backlog`] of them. When a reader falls behind that, the
//!    list is dropped and the watcher catches up from its position.
//!
//! All three read the same history, so a watcher may change from one to the other without gap or repetition. What recent commits changed is
//! kept once for all watchers, up to [`Limits::recent_bytes`]; older changes are read from the state.

mod interest;
mod recent;
#[cfg(test)]
mod tests;
mod watcher;

use std::collections::BTreeMap;
use std::sync::Arc;

use caps_model::Position;
use caps_model::messages::{From, Subscribe, Update};

use crate::cabinet::Applied;
use crate::state::{State, StateError};
use interest::Interests;
use recent::Recent;
use watcher::Watcher;

/// All subscriptions of one replica.
#[derive(Debug)]
pub struct Watchers {
    limits: Limits,
    watchers: BTreeMap<WatcherId, Watcher>,
    interests: Interests,
    recent: Recent,
    /// The last commit reported.
    position: Position,
    next_id: u64,
}

/// The name of one subscription within its replica; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatcherId(pub u64);

/// What subscriptions may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Watchers at once; 100,000 by default, a few hundred bytes each.
    pub watchers: usize,
    /// Commits that a live watcher is behind at most before it goes back to catching up; 1,024 by default, 8 bytes each.
    pub backlog: usize,
    /// Bytes of recent changes kept for all watchers together; 16 MiB by default. Beyond it they are read from the state, which is slower.
    pub recent_bytes: usize,
    /// Commits or objects looked at in one call of [`Watchers::next`]; 500 by default: more delays others, fewer costs calls.
    pub step: usize,
    /// Commits that do not concern a reader after which it is told how far it is anyway, so that it resumes cheaply; 256 by default.
    pub progress_every: u64,
    /// Bytes of objects in one update of the present objects, about; 256 KiB by default.
    pub part_bytes: usize,
}

/// What to do for a watcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send this, then ask again.
    Update(Update),
    /// There was much to look at and nothing to tell yet: ask again, after others had their turn.
    Working,
    /// Wait until [`Watchers::applied`] names the watcher.
    Idle,
}

/// Why there is no subscription.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// The replica serves as many as it may: try another.
    #[error("the replica serves {0} subscriptions already")]
    TooMany(usize),
    /// The query holds for other reasons than what is in an object: ask for the objects referred to, or bind now to a time.
    #[error("a subscription cannot reach through relations or say something about now")]
    Elusive,
    /// The reader has seen more than this replica: try another, or wait until it has come as far.
    #[error("the replica is at position {position}, the subscription starts after {after}")]
    Ahead {
        /// How far the replica is.
        position: Position,
        /// Where the subscription starts.
        after: Position,
    },
}

impl Watchers {
    /// No subscriptions, on a cabinet that is at `position`.
    pub fn new(limits: Limits, position: Position) -> Self {
        let recent = Recent::new(limits.recent_bytes);
        Self { limits, watchers: BTreeMap::new(), interests: Interests::default(), recent, position, next_id: 1 }
    }

    /// Begins a subscription. Ask for its first update at once.
    pub fn add(&mut self, subscribe: Subscribe) -> Result<WatcherId, AddError> {
        if self.watchers.len() >= self.limits.watchers {
            return Err(AddError::TooMany(self.watchers.len()));
        }
        if subscribe.query.filter.reaches_through() || subscribe.query.filter.is_relative_to_now() {
            return Err(AddError::Elusive);
        }
        let watcher = match subscribe.from {
            From::Present => Watcher::present(subscribe.query, self.position),
            From::After(after) if after > self.position => return Err(AddError::Ahead { position: self.position, after }),
            From::After(after) => Watcher::catching_up(subscribe.query, after),
        };
        let id = WatcherId(self.next_id);
        self.next_id += 1;
        self.interests.add(id, watcher.query());
        self.watchers.insert(id, watcher);
        Ok(id)
    }

    /// Ends a subscription.
    pub fn remove(&mut self, id: WatcherId) {
        if self.watchers.remove(&id).is_some() {
            self.interests.remove(id);
        }
    }

    /// Takes note of a proposal that was applied, and answers which watchers have something new to tell.
    ///
    /// # Panics
    /// When a position is left out: watchers would, too.
    pub fn applied(&mut self, applied: &Arc<Applied>) -> Vec<WatcherId> {
        if applied.position == self.position {
            return Vec::new();
        }
        assert_eq!(applied.position, self.position.next(), "commits are reported in order");
        self.position = applied.position;
        self.recent.push(Arc::clone(applied));
        let concerned = self.interests.concerned(&applied.changes);
        let mut awake = Vec::new();
        for id in concerned {
            let touched = self.watchers.get_mut(&id).is_some_and(|watcher| watcher.applied(applied, self.limits.backlog));
            if touched {
                awake.push(id);
            }
        }
        awake
    }

    /// Forgets what commits before `position` changed, where that is kept only for speed: values in there may have been obliterated.
    pub fn forget_before(&mut self, position: Position) {
        self.recent.forget_before(position);
    }

    /// The next thing to tell a watcher's reader. A watcher that was removed is idle.
    ///
    /// The state may be ahead of what was reported as applied, never behind.
    pub fn next(&mut self, id: WatcherId, state: &dyn State) -> Result<Next, StateError> {
        let Some(watcher) = self.watchers.get_mut(&id) else { return Ok(Next::Idle) };
        watcher.next(self.position, &self.recent, &self.limits, state)
    }

    /// Tells an idle reader how far it is, if that is further than it knows: for a slow timer.
    pub fn progress(&mut self, id: WatcherId) -> Option<Update> {
        self.watchers.get_mut(&id)?.progress(self.position, 1)
    }

    /// Live subscriptions.
    pub fn len(&self) -> usize {
        self.watchers.len()
    }

    /// Whether nobody watches.
    pub fn is_empty(&self) -> bool {
        self.watchers.is_empty()
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { watchers: 100_000, backlog: 1_024, recent_bytes: 16 << 20, step: 500, progress_every: 256, part_bytes: 256 << 10 }
    }
}
