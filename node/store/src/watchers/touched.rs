//! Commits that wait to be told.

use std::collections::VecDeque;

use caps_model::Position;

/// Positions in order. Mostly there is none or one, which needs no memory of its own.
#[derive(Debug, Default)]
pub(super) struct Touched {
    first: Option<Position>,
    /// None, unless there is a first.
    more: VecDeque<Position>,
}

impl Touched {
    pub(super) fn push(&mut self, position: Position) {
        match self.first {
            None => self.first = Some(position),
            Some(_) => self.more.push_back(position),
        }
    }

    /// Takes the oldest.
    pub(super) fn pop(&mut self) -> Option<Position> {
        std::mem::replace(&mut self.first, self.more.pop_front())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }
}
