//! State in ordered maps: for simulations and tests, and the plain reading of what every state must do.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use caps_model::{CommitId, Name, Object, ObjectId, Position, Value};

use super::search::is_indexed;
use super::{Changed, CommitRecord, Counts, Fate, IndexRange, Mark, State, StateError, Step, Transaction};

/// State in memory; gone with the process, rebuilt from the journal.
#[derive(Debug, Default)]
pub struct MemoryState {
    mark: Mark,
    counts: Counts,
    /// Oldest version first.
    versions: BTreeMap<ObjectId, Vec<Object>>,
    members: BTreeMap<Name, BTreeSet<ObjectId>>,
    values: BTreeMap<(Name, Name), BTreeMap<Value, BTreeSet<ObjectId>>>,
    /// The commit at position 1 first.
    commits: Vec<CommitRecord>,
    fates: BTreeMap<CommitId, Fate>,
}

impl MemoryState {
    /// An empty state.
    pub fn new() -> Self {
        Self::default()
    }

    fn change(&mut self, change: &Changed) {
        for (attribute, value) in change.live_before().into_iter().flat_map(indexed_values) {
            let ids = self.values.get_mut(&attribute).and_then(|values| values.get_mut(value));
            ids.map(|ids| ids.remove(&change.after.id));
        }
        for (attribute, value) in change.live_after().into_iter().flat_map(indexed_values) {
            self.values.entry(attribute).or_default().entry(value.clone()).or_default().insert(change.after.id);
        }
        self.members.entry(change.after.entity.clone()).or_default().insert(change.after.id);
        self.versions.entry(change.after.id).or_default().push(change.after.clone());
    }
}

impl State for MemoryState {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn mark(&self) -> Mark {
        self.mark
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    fn object_at(&self, id: ObjectId, position: Position) -> Result<Option<Object>, StateError> {
        let versions = self.versions.get(&id).map_or(&[][..], Vec::as_slice);
        let count = versions.partition_point(|object| object.version <= position);
        Ok(versions[..count].last().cloned())
    }

    fn versions(&self, id: ObjectId, before: Option<Position>, limit: usize) -> Result<Vec<Object>, StateError> {
        let versions = self.versions.get(&id).into_iter().flatten().rev();
        Ok(versions.filter(|object| before.is_none_or(|before| object.version < before)).take(limit).cloned().collect())
    }

    fn objects_of(&self, entity: &Name, after: Option<ObjectId>, limit: usize) -> Result<Vec<ObjectId>, StateError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(self.members.get(entity).map_or(Vec::new(), |ids| ids.range((from, Bound::Unbounded)).take(limit).copied().collect()))
    }

    fn candidates(&self, entity: &Name, range: &IndexRange, limit: usize) -> Result<Option<BTreeSet<ObjectId>>, StateError> {
        let mut found = BTreeSet::new();
        let values = self.values.get(&(entity.clone(), range.attribute.clone()));
        let Some(values) = values.filter(|_| !is_empty(range)) else { return Ok(Some(found)) };
        for (value, ids) in values.range((range.from.clone(), range.to.clone())) {
            // An open end reaches into other kinds.
            if range.kind() == Some(value.kind()) {
                found.extend(ids);
            }
            if found.len() > limit {
                return Ok(None);
            }
        }
        Ok(Some(found))
    }

    fn commit_at(&self, position: Position) -> Result<Option<CommitRecord>, StateError> {
        let place = position.0.checked_sub(1).and_then(|place| usize::try_from(place).ok());
        Ok(place.and_then(|place| self.commits.get(place)).cloned())
    }

    fn fate(&self, commit: CommitId) -> Result<Option<Fate>, StateError> {
        Ok(self.fates.get(&commit).copied())
    }

    fn write(&mut self, transaction: &Transaction<'_>) -> Result<(), StateError> {
        match transaction.step {
            Step::Commit { record, changes } => {
                for change in changes {
                    self.change(change);
                }
                self.counts = self.counts.after(changes);
                self.fates.insert(record.id, Fate::Accepted(transaction.mark.position));
                self.commits.push(record.clone());
            }
            Step::Seal(id) => {
                self.fates.insert(id, Fate::Sealed);
            }
        }
        self.mark = transaction.mark;
        Ok(())
    }
}

fn indexed_values(object: &Object) -> impl Iterator<Item = ((Name, Name), &Value)> {
    object.attributes.iter().flat_map(|(attribute, values)| {
        let key = (object.entity.clone(), attribute.clone());
        values.iter().filter(|value| is_indexed(value)).map(move |value| (key.clone(), value))
    })
}

/// Ordered maps refuse ranges that end before they start.
fn is_empty(range: &IndexRange) -> bool {
    match (&range.from, &range.to) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
    }
}
