//! Several commits, told as one.

use std::collections::BTreeMap;

use caps_model::messages::ObjectChange;
use caps_model::{ObjectId, Position};

use super::Limits;
use super::sought::Sought;
use crate::cabinet::object_bytes;
use crate::state::{Changed, State, StateError};

/// What commits changed for a reader since a position: only which objects, because how they changed is read from the state in the end.
#[derive(Debug)]
pub(super) struct Merge {
    /// Every commit up to here is looked at.
    pub(super) position: Position,
    /// The objects that it concerns, with the bytes that each took when it was last changed.
    objects: BTreeMap<ObjectId, usize>,
    bytes: usize,
    commits: u64,
}

impl Merge {
    /// Nothing yet, after `position`.
    pub(super) fn new(position: Position) -> Self {
        Self { position, objects: BTreeMap::new(), bytes: 0, commits: 0 }
    }

    /// Commits that concern the reader.
    pub(super) fn commits(&self) -> u64 {
        self.commits
    }

    /// The objects that they changed.
    pub(super) fn objects(&self) -> impl Iterator<Item = ObjectId> {
        self.objects.keys().copied()
    }

    /// Takes in the next commit; `false`: it would be more than one update holds, and was left alone. The first is always taken.
    pub(super) fn take(&mut self, changes: &[Changed], sought: &Sought, limits: &Limits) -> bool {
        let concerning: Vec<&Changed> = changes.iter().filter(|change| sought.concerns(change)).collect();
        let new = concerning.iter().filter(|change| !self.objects.contains_key(&change.after.id)).count();
        let bytes: usize = concerning.iter().map(|change| object_bytes(&change.after)).sum();
        let too_much = self.objects.len() + new > limits.step || self.bytes + bytes > limits.part_bytes;
        if too_much && self.commits > 0 && !concerning.is_empty() {
            return false;
        }
        for change in &concerning {
            let bytes = object_bytes(&change.after);
            self.bytes += bytes;
            self.bytes -= self.objects.insert(change.after.id, bytes).unwrap_or(0);
        }
        self.commits += u64::from(!concerning.is_empty());
        self.position = self.position.next();
        true
    }

    /// What became of the objects since the reader was told of them at `told`.
    pub(super) fn changes(&self, told: Position, sought: &Sought, state: &dyn State) -> Result<Vec<ObjectChange>, StateError> {
        let mut changes = Vec::new();
        for id in self.objects() {
            let after = state.object_at(id, self.position)?.ok_or_else(|| StateError::Lacks { what: format!("the object {id}") })?;
            changes.extend(sought.seen(state.object_at(id, told)?.as_ref(), &after));
        }
        Ok(changes)
    }
}
