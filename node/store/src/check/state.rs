//! Holding a state against what it must be.

use std::collections::BTreeSet;
use std::fmt::Debug;

use caps_model::{Name, ObjectId, Position};

use crate::replay::Figures;
use crate::state::{Fate, Index, Mark, Place, Span, State, StateError};

/// What a comparison of states found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateFound {
    /// Commits compared.
    pub commits: u64,
    /// Objects compared, all versions of each.
    pub objects: u64,
    /// Indexes compared, all places in each.
    pub indexes: u64,
    /// What is not as it must be: the first of them.
    pub disagreements: Vec<Disagreement>,
}

/// Something in a state is not what the journal makes of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// How far it says that it is.
    #[error("it says that it is at {found:?}, and is at {expected:?}")]
    Mark {
        /// What it says.
        found: Box<Mark>,
        /// What the journal says.
        expected: Box<Mark>,
    },
    /// How much it says that it holds.
    #[error("it miscounts its objects")]
    Counts,
    /// What is kept of a commit.
    #[error("the commit at position {0} is another one")]
    Commit(Position),
    /// The versions of an object.
    #[error("the object #{0} is another one, now or in the past")]
    Object(ObjectId),
    /// Which objects an entity has.
    #[error("the objects of {0} are others")]
    Members(Name),
    /// The places of an index.
    #[error("an index of {entity} gives other answers: {index}")]
    Index {
        /// The entity.
        entity: Name,
        /// The index.
        index: String,
    },
    /// Something cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
}

/// Compares everything that a state answers with what another one answers, which was made from the journal: every commit, every version of every
/// object, every place of every index. `tell` hears how many commits were compared.
///
/// Holds the ids of all objects in memory: 16 bytes each.
pub fn compare(expected: &dyn State, mark: Mark, found: &dyn State, tell: &mut dyn FnMut(Figures)) -> Result<StateFound, StateError> {
    let mut comparison =
        Comparison { expected, found, result: StateFound { commits: 0, objects: 0, indexes: 0, disagreements: Vec::new() } };
    let own = found.mark();
    // A state's mark lags behind by entries that changed nothing.
    if (own.position, own.chain_head, own.moment) != (mark.position, mark.chain_head, mark.moment) || own.index > mark.index {
        comparison.note(Disagreement::Mark { found: Box::new(own), expected: Box::new(mark) });
    }
    if found.counts() != expected.counts() {
        comparison.note(Disagreement::Counts);
    }
    let objects = comparison.commits(mark.position, tell)?;
    let indexes = comparison.objects(&objects)?;
    comparison.indexes(&indexes)?;
    Ok(comparison.result)
}

struct Comparison<'a> {
    expected: &'a dyn State,
    found: &'a dyn State,
    result: StateFound,
}

/// The indexes of entities, and the entities themselves.
#[derive(Default)]
struct Known {
    entities: BTreeSet<Name>,
    indexes: BTreeSet<(Name, Index)>,
}

impl Comparison<'_> {
    fn note(&mut self, disagreement: Disagreement) {
        if self.result.disagreements.len() < DISAGREEMENTS_MAX {
            self.result.disagreements.push(disagreement);
        }
    }

    /// Notes a disagreement unless the state found answers as expected, and says whether it does. A failure to read is one, too.
    fn hold<T: PartialEq + Debug>(&mut self, expected: &T, found: Result<T, StateError>, otherwise: impl FnOnce() -> Disagreement) -> bool {
        match found {
            Ok(found) if found == *expected => return true,
            Ok(_) => self.note(otherwise()),
            Err(error) => self.note(Disagreement::Unreadable(error.to_string())),
        }
        false
    }

    fn commits(&mut self, last: Position, tell: &mut dyn FnMut(Figures)) -> Result<BTreeSet<ObjectId>, StateError> {
        let mut objects = BTreeSet::new();
        for position in (1..=last.0).map(Position) {
            let record = self.expected.commit_at(position)?;
            if let Some(record) = &record {
                objects.extend(record.objects.iter().copied());
                let fate = self.found.fate(record.id);
                self.hold(&Some(Fate::Accepted(position)), fate, || Disagreement::Commit(position));
            }
            let found = self.found.commit_at(position);
            self.hold(&record, found, || Disagreement::Commit(position));
            self.result.commits += 1;
            if position.0.is_multiple_of(TELL_EVERY) {
                tell(Figures { done: position.0, total: last.0 });
            }
        }
        let beyond = self.found.commit_at(last.next());
        self.hold(&None, beyond, || Disagreement::Commit(last.next()));
        Ok(objects)
    }

    fn objects(&mut self, objects: &BTreeSet<ObjectId>) -> Result<Known, StateError> {
        let mut known = Known::default();
        for id in objects {
            self.result.objects += 1;
            let mut before = None;
            loop {
                let versions = self.expected.versions(*id, before, PAGE)?;
                let found = self.found.versions(*id, before, PAGE);
                self.hold(&versions, found, || Disagreement::Object(*id));
                for object in &versions {
                    for entity in object.entities() {
                        known.entities.insert(entity.clone());
                        let attributes = object.attributes.keys().map(|name| Index::Attribute(name.clone()));
                        known.indexes.extend(attributes.chain([Index::Words]).map(|index| (entity.clone(), index)));
                    }
                }
                match versions.last() {
                    Some(oldest) if versions.len() == PAGE => before = Some(oldest.version),
                    _ => break,
                }
            }
        }
        Ok(known)
    }

    fn indexes(&mut self, known: &Known) -> Result<(), StateError> {
        for entity in &known.entities {
            self.members(entity)?;
        }
        for (entity, index) in &known.indexes {
            self.result.indexes += 1;
            self.places(entity, index)?;
        }
        Ok(())
    }

    fn members(&mut self, entity: &Name) -> Result<(), StateError> {
        let mut after = None;
        loop {
            let expected = self.expected.objects_of(entity, after, false, PAGE)?;
            let found = self.found.objects_of(entity, after, false, PAGE);
            if !self.hold(&expected, found, || Disagreement::Members(entity.clone())) || expected.len() < PAGE {
                return Ok(());
            }
            after = expected.last().copied();
        }
    }

    fn places(&mut self, entity: &Name, index: &Index) -> Result<(), StateError> {
        let mut span = Span::all();
        loop {
            let expected: Vec<Place> = self.expected.scan(entity, index, &span, false, PAGE)?;
            let found = self.found.scan(entity, index, &span, false, PAGE);
            let otherwise = || Disagreement::Index { entity: entity.clone(), index: format!("{index:?}") };
            if !self.hold(&expected, found, otherwise) {
                return Ok(());
            }
            match expected.last() {
                Some(last) if expected.len() == PAGE => span = span.beyond(last, false),
                _ => return Ok(()),
            }
        }
    }
}

/// Disagreements that are listed; more say nothing new: the state is to be rebuilt.
const DISAGREEMENTS_MAX: usize = 20;

/// Versions, members and places compared at once.
const PAGE: usize = 256;

/// Commits between two words about how far it is.
const TELL_EVERY: u64 = 1_024;
