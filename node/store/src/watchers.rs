//! Subscriptions: who is told what, in which order, and how a slow reader costs nothing.
//!
//! A core without tasks or sockets. The shell [`add`](Watchers::add)s a watcher for each subscription, reports every
//! [`applied`](Watchers::applied) proposal in order, and asks for the [`next`](Watchers::next) update whenever the reader can take one.
//!
//! A watcher is a place up to which its reader has been told everything, and then works in one of three ways:
//!
//! 1. *present*: going through the objects that match at one fixed place, some at a time;
//! 2. *catching up*: going through the commits after its position, with the objects as they were before and after each. One that is more than
//!    [`Limits::patience`] commits behind is told what many of them did as one change, as many as one update holds, unless it asked for every
//!    change;
//! 3. *live*: holding the positions of commits that touch its query, at most [`Limits::patience`] of them, or [`Limits::backlog`] for a reader
//!    that asked for every change. When a reader falls behind that, the list is dropped and the watcher catches up from its position.
//!
//! All three read the same history, so a watcher may change from one to the other without gap or repetition. What recent commits changed is
//! kept once for all watchers, up to [`Limits::recent_bytes`]; older changes are read from the state.
//!
//! **Positions and moments.** A query that says something about now is bound to a moment. Its reader's place is a position and a moment, and
//! what it has been told is what matches after the commit at that position with that moment for now: that depends on no clock. From there a
//! watcher moves on in position (commits, seen at the moment of the reader) and, when no commit waits to be told, in moment (up to the clock
//! of the replica, by what crosses a bound until then, see `clock`). Whatever way two replicas go, and however their clocks differ, they agree
//! on what a place means, so a reader resumes at any of them; one whose moment is ahead of a replica's clock hears of commits only, until the
//! clock has come as far.

mod clock;
mod interest;
mod merge;
mod names;
mod recent;
mod slots;
mod sought;
#[cfg(test)]
mod tests;
mod touched;
mod vain;
mod watcher;
mod window;

use std::sync::Arc;

use caps_model::Position;
use caps_model::messages::{Elusive, Subscribe, Update};

use crate::cabinet::Applied;
use crate::state::{State, StateError};
use interest::Interests;
use names::Names;
use recent::Recent;
use slots::Slots;
use watcher::{Around, Noted, Watcher};

/// All subscriptions of one replica.
#[derive(Debug)]
pub struct Watchers {
    limits: Limits,
    watchers: Slots,
    interests: Interests,
    names: Names,
    recent: Recent,
    /// The last commit reported.
    position: Position,
}

/// The name of one subscription within its replica; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatcherId(pub u64);

/// What subscriptions may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Watchers at once; 100,000 by default, a few hundred bytes each.
    pub watchers: usize,
    /// Commits that a reader may be behind before it is told many as one; 64 by default, 8 bytes each.
    pub patience: usize,
    /// Commits that the list of a reader who asked for every change holds before it is read from history instead; 1,024 by default, 8 bytes
    /// each.
    pub backlog: usize,
    /// Bytes of recent changes kept for all watchers together; 16 MiB by default. Beyond it they are read from the state, which is slower.
    pub recent_bytes: usize,
    /// Commits or objects looked at in one call of [`Watchers::next`], and objects in one coalesced update; 500 by default: more delays others,
    /// fewer costs calls.
    pub step: usize,
    /// Commits that do not concern a reader after which it is told how far it is anyway, so that it resumes cheaply; 256 by default.
    pub progress_every: u64,
    /// Bytes of objects in one update of the present objects, or in a coalesced one, about; 256 KiB by default.
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
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The replica serves as many as it may: try another.
    #[error("the replica serves {0} subscriptions already")]
    TooMany(usize),
    /// This cannot be followed: ask for something else.
    #[error(transparent)]
    Elusive(#[from] Elusive),
    /// The reader has seen more than this replica: try another, or wait until it has come as far.
    #[error("the replica is at position {position}, the subscription starts after {after}")]
    Ahead {
        /// How far the replica is.
        position: Position,
        /// Where the subscription starts.
        after: Position,
    },
    /// The state failed. The replica must stop.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Watchers {
    /// No subscriptions, on a cabinet that is at `position`.
    pub fn new(limits: Limits, position: Position) -> Self {
        let recent = Recent::new(limits.recent_bytes);
        Self { limits, watchers: Slots::default(), interests: Interests::default(), names: Names::default(), recent, position }
    }

    /// Begins a subscription; `now_us` is the replica's clock, in microseconds since 1970. Ask for its first update at once.
    pub fn add(&mut self, subscribe: Subscribe, now_us: i64, state: &dyn State) -> Result<WatcherId, AddError> {
        if self.watchers.len() >= self.limits.watchers {
            return Err(AddError::TooMany(self.watchers.len()));
        }
        subscribe.check()?;
        if let Some(after) = subscribe.from.position().filter(|after| *after > self.position) {
            return Err(AddError::Ahead { position: self.position, after });
        }
        let subscribe = Subscribe { query: self.names.share(subscribe.query), ..subscribe };
        let watcher = Watcher::new(subscribe, self.position, now_us, state)?;
        let id = self.watchers.insert(watcher);
        if let Some(watcher) = self.watchers.get(id) {
            self.interests.add(id, watcher.sought());
        }
        Ok(id)
    }

    /// Ends a subscription.
    pub fn remove(&mut self, id: WatcherId) {
        if self.watchers.remove(id).is_some() {
            self.interests.remove(id);
        }
    }

    /// Forgets what commits before `position` changed. Readers that are behind hear of it as the state has it from now on.
    pub fn forget_before(&mut self, position: Position) {
        self.recent.forget_before(position);
    }

    /// Takes note of a proposal that was applied, and answers which watchers have something new to tell, or are [`due`](Self::due) sooner.
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
            let Some(watcher) = self.watchers.get_mut(id) else { continue };
            match watcher.applied(applied, &self.limits) {
                Noted::Concerned => awake.push(id),
                Noted::Unconcerned => {}
                Noted::InVain { within } => self.interests.tie_elsewhere(id, watcher.sought(), within),
            }
        }
        awake
    }

    /// The next thing to tell a watcher's reader. A watcher that was removed is idle.
    ///
    /// The state may be ahead of what was reported as applied, never behind; `now_us` is the replica's clock.
    pub fn next(&mut self, id: WatcherId, now_us: i64, state: &dyn State) -> Result<Next, StateError> {
        let Some(watcher) = self.watchers.get_mut(id) else { return Ok(Next::Idle) };
        watcher.next(Around { now: self.position, now_us, recent: &self.recent, limits: &self.limits, state })
    }

    /// The moment at which an idle watcher may have something to tell although nothing was committed: microseconds since 1970.
    pub fn due(&self, id: WatcherId) -> Option<i64> {
        self.watchers.get(id)?.due()
    }

    /// Tells an idle reader how far it is, if that is further than it knows: for a slow timer.
    pub fn progress(&mut self, id: WatcherId) -> Option<Update> {
        self.watchers.get_mut(id)?.progress(self.position, 1)
    }

    /// Live subscriptions.
    pub fn len(&self) -> usize {
        self.watchers.len()
    }

    /// Whether nobody watches.
    pub fn is_empty(&self) -> bool {
        self.watchers.len() == 0
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            watchers: 100_000,
            patience: 64,
            backlog: 1_024,
            recent_bytes: 16 << 20,
            step: 500,
            progress_every: 256,
            part_bytes: 256 << 10,
        }
    }
}
