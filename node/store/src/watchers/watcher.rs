//! One subscription.

use std::collections::VecDeque;
use std::mem;

use caps_model::messages::{ObjectChange, Update};
use caps_model::{ObjectId, Position, Query};

use super::recent::Recent;
use super::{Limits, Next};
use crate::cabinet::{Applied, object_bytes};
use crate::state::{Changed, State, StateError, proposed};

/// A query, and how far its reader has been told about it.
#[derive(Debug)]
pub(super) struct Watcher {
    query: Query,
    /// Everything up to here was told, or did not concern the reader.
    done: Position,
    /// The last position the reader was told.
    told: Position,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Going through the objects that match at `done`.
    Present(Candidates),
    /// Going through the commits after `done`.
    CatchingUp,
    /// Everything applied up to now is done, except what is at these positions.
    Live(VecDeque<Position>),
}

/// Objects that may match at the watcher's first position.
#[derive(Debug)]
enum Candidates {
    /// Not looked for yet.
    Unknown,
    /// These, in order.
    Listed(VecDeque<ObjectId>),
    /// All objects of the entity after this one.
    Entity(Option<ObjectId>),
}

impl Watcher {
    /// A watcher that starts with what matches at `position`.
    pub(super) fn present(query: Query, position: Position) -> Self {
        Self { query, done: position, told: position, phase: Phase::Present(Candidates::Unknown) }
    }

    /// A watcher whose reader knows everything up to `position`.
    pub(super) fn catching_up(query: Query, position: Position) -> Self {
        Self { query, done: position, told: position, phase: Phase::CatchingUp }
    }

    pub(super) fn query(&self) -> &Query {
        &self.query
    }

    /// Takes note of a new commit; `true` if there is something to tell.
    pub(super) fn applied(&mut self, applied: &Applied, backlog: usize) -> bool {
        // The other phases find the commit when they come to it.
        let Phase::Live(touched) = &mut self.phase else { return false };
        if !applied.changes.iter().any(|change| concerns(&self.query, change)) {
            return false;
        }
        if touched.is_empty() {
            // Nothing before this commit concerned the reader: catching up need not go through it.
            self.done = Position(applied.position.0 - 1);
        }
        touched.push_back(applied.position);
        if touched.len() > backlog {
            self.phase = Phase::CatchingUp;
        }
        true
    }

    pub(super) fn next(&mut self, now: Position, recent: &Recent, limits: &Limits, state: &dyn State) -> Result<Next, StateError> {
        match mem::replace(&mut self.phase, Phase::CatchingUp) {
            Phase::Present(candidates) => self.next_part(candidates, limits, state),
            Phase::CatchingUp => self.catch_up(now, recent, limits, state),
            Phase::Live(mut touched) => {
                let position = touched.pop_front();
                self.phase = Phase::Live(touched);
                match position {
                    Some(position) => self.tell_commit(position, recent, state),
                    None => Ok(self.progress(now, limits.progress_every).map_or(Next::Idle, Next::Update)),
                }
            }
        }
    }

    /// How far the reader is, when it has been told everything and is at least `behind` commits further than it knows.
    pub(super) fn progress(&mut self, now: Position, behind: u64) -> Option<Update> {
        let idle = matches!(&self.phase, Phase::Live(touched) if touched.is_empty());
        if !idle || now.0 - self.told.0 < behind {
            return None;
        }
        self.done = now;
        self.told = now;
        Some(Update::Progress { position: now })
    }

    fn next_part(&mut self, candidates: Candidates, limits: &Limits, state: &dyn State) -> Result<Next, StateError> {
        let mut candidates = match candidates {
            Candidates::Unknown => self.find_candidates(state)?,
            known => known,
        };
        let mut objects = Vec::new();
        let mut bytes = 0;
        let page = candidates.page(&self.query, limits.step, state)?;
        let mut complete = page.len() < limits.step;
        for id in page {
            if bytes > limits.part_bytes {
                complete = false;
                break;
            }
            if let Some(object) = state.object_at(id, self.done)?.filter(|object| self.query.matches(object)) {
                bytes += object_bytes(&object);
                objects.push(object);
            }
            candidates.pass(id);
        }
        if !complete {
            self.phase = Phase::Present(candidates);
        }
        if objects.is_empty() && !complete {
            return Ok(Next::Working);
        }
        Ok(Next::Update(Update::Present { position: self.done, objects, complete }))
    }

    /// An index knows only the present: it helps when the state is still at the watcher's position.
    fn find_candidates(&self, state: &dyn State) -> Result<Candidates, StateError> {
        if state.mark().position != self.done {
            return Ok(Candidates::Entity(None));
        }
        let listed = proposed(state, &self.query, LISTED_MAX)?;
        Ok(listed.map_or(Candidates::Entity(None), |ids| Candidates::Listed(ids.into_iter().collect())))
    }

    fn catch_up(&mut self, now: Position, recent: &Recent, limits: &Limits, state: &dyn State) -> Result<Next, StateError> {
        for _ in 0..limits.step {
            if self.done >= now {
                self.phase = Phase::Live(VecDeque::new());
                return Ok(self.progress(now, 1).map_or(Next::Idle, Next::Update));
            }
            let position = self.done.next();
            if let told @ Next::Update(_) = self.tell_commit(position, recent, state)? {
                return Ok(told);
            }
        }
        Ok(Next::Working)
    }

    /// Tells what the commit at `position` changed; [`Next::Working`] if that does not concern the reader.
    fn tell_commit(&mut self, position: Position, recent: &Recent, state: &dyn State) -> Result<Next, StateError> {
        let changes = recent.changes(position, state)?;
        let seen = changes.iter().filter_map(|change| ObjectChange::seen(&self.query, change.before.as_ref(), &change.after));
        let changes: Vec<ObjectChange> = seen.collect();
        self.done = position;
        if changes.is_empty() {
            return Ok(Next::Working);
        }
        self.told = position;
        Ok(Next::Update(Update::Changes { position, changes }))
    }
}

impl Candidates {
    /// The next ids, without passing them.
    fn page(&self, query: &Query, limit: usize, state: &dyn State) -> Result<Vec<ObjectId>, StateError> {
        match self {
            Self::Unknown => Ok(Vec::new()),
            Self::Listed(ids) => Ok(ids.iter().take(limit).copied().collect()),
            Self::Entity(after) => state.objects_of(&query.entity, *after, false, limit),
        }
    }

    fn pass(&mut self, id: ObjectId) {
        match self {
            Self::Unknown => {}
            Self::Listed(ids) => {
                ids.pop_front();
            }
            Self::Entity(after) => *after = Some(id),
        }
    }
}

fn concerns(query: &Query, change: &Changed) -> bool {
    query.matches(&change.after) || change.before.as_ref().is_some_and(|before| query.matches(before))
}

/// Ids that a watcher keeps while it goes through them, 16 bytes each.
const LISTED_MAX: usize = 10_000;
