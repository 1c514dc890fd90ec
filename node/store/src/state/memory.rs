//! State in ordered maps: for simulations and tests, and the plain reading of what every state must do.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use caps_model::{CommitId, Name, Object, ObjectId, Position};

use super::engine::Engine;
use super::index::{Index, Place, Span, differences};
use super::rest::Rest;
use super::{Changed, CommitRecord, Counts, Fate, Mark, Purge, State, StateError, Step, Transaction};

/// State in memory; gone with the process, rebuilt from the journal.
#[derive(Debug, Default)]
pub struct MemoryState {
    mark: Mark,
    counts: Counts,
    /// Oldest version first.
    versions: BTreeMap<ObjectId, Vec<Object>>,
    members: BTreeMap<Name, BTreeSet<ObjectId>>,
    /// By entity.
    indexes: BTreeMap<Name, BTreeMap<Index, BTreeSet<Rest>>>,
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
        for entity in change.after.entities() {
            let indexes = self.indexes.entry(entity.clone()).or_default();
            differences(change.live_before(), change.live_after(), |index, place, stands| {
                let place = Rest::new(place);
                match (indexes.get_mut(index), stands) {
                    (Some(places), true) => drop(places.insert(place)),
                    (None, true) => drop(indexes.insert(index.clone(), [place].into())),
                    (Some(places), false) => {
                        places.remove(&place);
                        if places.is_empty() {
                            indexes.remove(index);
                        }
                    }
                    (None, false) => {}
                }
            });
            self.members.entry(entity.clone()).or_default().insert(change.after.id);
        }
        self.versions.entry(change.after.id).or_default().push(change.after.clone());
    }

    /// The places of an index within a span.
    fn within(&self, entity: &Name, index: &Index, span: &Span) -> impl DoubleEndedIterator<Item = &Rest> {
        let places = self.indexes.get(entity).and_then(|indexes| indexes.get(index)).filter(|_| !span.is_empty());
        let bound = |bound: &Bound<Vec<u8>>| bound.as_ref().map(|bytes| Rest::new(bytes));
        places.into_iter().flat_map(move |places| places.range((bound(&span.from), bound(&span.to))))
    }

    fn replace(&mut self, version: &Object) {
        let versions = self.versions.entry(version.id).or_default();
        if let Ok(place) = versions.binary_search_by_key(&version.version, |object| object.version) {
            versions[place].clone_from(version);
        }
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

    fn objects_of(&self, entity: &Name, after: Option<ObjectId>, backwards: bool, limit: usize) -> Result<Vec<ObjectId>, StateError> {
        let Some(ids) = self.members.get(entity) else { return Ok(Vec::new()) };
        let end = after.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(match backwards {
            false => ids.range((end, Bound::Unbounded)).take(limit).copied().collect(),
            true => ids.range((Bound::Unbounded, end)).rev().take(limit).copied().collect(),
        })
    }

    fn scan(&self, entity: &Name, index: &Index, span: &Span, backwards: bool, limit: usize) -> Result<Vec<Place>, StateError> {
        let within = self.within(entity, index, span);
        let place = |place: &Rest| Place::from_bytes(place.as_bytes()).expect("only places are kept");
        Ok(match backwards {
            false => within.take(limit).map(place).collect(),
            true => within.rev().take(limit).map(place).collect(),
        })
    }

    fn count(&self, entity: &Name, index: &Index, span: &Span, limit: usize) -> Result<usize, StateError> {
        Ok(self.within(entity, index, span).take(limit).count())
    }

    fn commit_at(&self, position: Position) -> Result<Option<CommitRecord>, StateError> {
        let place = position.0.checked_sub(1).and_then(|place| usize::try_from(place).ok());
        Ok(place.and_then(|place| self.commits.get(place)).cloned())
    }

    fn fate(&self, commit: CommitId) -> Result<Option<Fate>, StateError> {
        Ok(self.fates.get(&commit).copied())
    }

    fn engine(&self) -> Option<&dyn Engine> {
        None
    }

    fn purge(&mut self) -> Result<Option<Box<dyn Purge>>, StateError> {
        Ok(None)
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
            Step::Obliterate { record, changes, versions, commits } => {
                for change in changes {
                    self.change(change);
                }
                versions.iter().for_each(|version| self.replace(version));
                for (position, record) in commits {
                    let place = position.0.checked_sub(1).and_then(|place| usize::try_from(place).ok());
                    if let Some(kept) = place.and_then(|place| self.commits.get_mut(place)) {
                        kept.clone_from(record);
                    }
                }
                self.fates.insert(record.id, Fate::Accepted(transaction.mark.position));
                self.commits.push(record.clone());
            }
        }
        self.mark = transaction.mark;
        Ok(())
    }
}
