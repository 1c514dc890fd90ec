//! What the most recent commits changed, kept once for all watchers.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use caps_model::Position;

use crate::cabinet::{Applied, object_bytes};
use crate::state::{Changed, State, StateError};

/// The changes of the last commits, within a bound on their bytes.
#[derive(Debug)]
pub(super) struct Recent {
    /// Dense positions, oldest first.
    commits: VecDeque<(Arc<Applied>, usize)>,
    bytes: usize,
    bytes_max: usize,
}

impl Recent {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { commits: VecDeque::new(), bytes: 0, bytes_max }
    }

    pub(super) fn push(&mut self, applied: Arc<Applied>) {
        let bytes = COMMIT_BYTES + applied.changes.iter().map(changed_bytes).sum::<usize>();
        self.bytes += bytes;
        self.commits.push_back((applied, bytes));
        while self.bytes > self.bytes_max {
            let Some((_, bytes)) = self.commits.pop_front() else { break };
            self.bytes -= bytes;
        }
    }

    /// Forgets the commits before `position`: what they changed is read from the state from now on.
    pub(super) fn forget_before(&mut self, position: Position) {
        while let Some((_, bytes)) = self.commits.front().filter(|(applied, _)| applied.position < position) {
            self.bytes -= bytes;
            self.commits.pop_front();
        }
    }

    /// What the commit at `position` changed: from memory, or from the state.
    pub(super) fn changes(&self, position: Position, state: &dyn State) -> Result<Cow<'_, [Changed]>, StateError> {
        let oldest = self.commits.front().map(|(applied, _)| applied.position);
        let place = oldest.and_then(|oldest| position.0.checked_sub(oldest.0)).and_then(|place| usize::try_from(place).ok());
        match place.and_then(|place| self.commits.get(place)) {
            Some((applied, _)) => Ok(Cow::Borrowed(&applied.changes)),
            None => read_changes(position, state).map(Cow::Owned),
        }
    }
}

fn read_changes(position: Position, state: &dyn State) -> Result<Vec<Changed>, StateError> {
    let lacks = || StateError::Lacks { what: format!("the commit at {position}") };
    let record = state.commit_at(position)?.ok_or_else(lacks)?;
    let before = Position(position.0 - 1);
    let change = |id| {
        let after = state.object_at(id, position)?.ok_or_else(lacks)?;
        Ok(Changed { before: state.object_at(id, before)?, after })
    };
    record.objects.into_iter().map(change).collect()
}

fn changed_bytes(change: &Changed) -> usize {
    object_bytes(&change.after) + change.before.as_ref().map_or(0, object_bytes)
}

/// A commit that changed nothing.
const COMMIT_BYTES: usize = 256;
