//! What is at hand of the cabinet while a method runs, and what is wished for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use caps_model::messages::Objects;
use caps_model::{Object, ObjectId, Position, Query};

/// What has been read from layer 1 for one call, with the positions at which it was so.
///
/// The answers may be from different positions, so a run may see a state that never was. That harms nobody: a commit is validated by layer 1,
/// and what does not become a commit is confirmed first ([`stale`](Self::stale)).
#[derive(Debug, Default)]
pub struct Material {
    objects: BTreeMap<ObjectId, Known>,
    answers: Vec<Answer>,
    newest: Position,
}

/// One object, `None` if there is none, as it was at a position.
#[derive(Debug)]
struct Known {
    object: Option<Arc<Object>>,
    at: Position,
}

/// What a query was answered with.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) query: Query,
    pub(crate) at: Position,
    pub(crate) objects: Vec<ObjectId>,
    /// The answer did not fit a frame: something is missing although the limit was not reached.
    pub(crate) cut: bool,
}

/// What module code wants to read and is not at hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Objects by id.
    pub objects: BTreeSet<ObjectId>,
    /// Queries, the reader's rights conjoined.
    pub queries: Vec<Query>,
}

/// What was fetched for some wishes.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    pub(crate) objects: Vec<(ObjectId, Option<Object>, Position)>,
    pub(crate) answers: Vec<(Query, Objects)>,
}

impl Wishes {
    /// Whether nothing is wished for.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.queries.is_empty()
    }
}

impl Material {
    /// The newest position at which anything was read.
    pub fn newest(&self) -> Position {
        self.newest
    }

    /// The object, if it is at hand: `Some(None)` is known not to exist.
    pub(crate) fn object(&self, id: ObjectId) -> Option<Option<&Arc<Object>>> {
        self.objects.get(&id).map(|known| known.object.as_ref())
    }

    /// The answer to a query, with its number, if it is at hand.
    pub(crate) fn answer(&self, query: &Query) -> Option<(usize, &Answer)> {
        self.answers.iter().enumerate().find(|(_, answer)| answer.query == *query)
    }

    pub(crate) fn answer_at(&self, number: usize) -> &Answer {
        &self.answers[number]
    }

    /// Takes in what was fetched; whether anything differs from what was at hand.
    pub(crate) fn absorb(&mut self, fetched: Fetched) -> bool {
        let mut differs = false;
        for (id, object, at) in fetched.objects {
            differs |= self.learn(id, object, at);
        }
        for (query, objects) in fetched.answers {
            differs |= self.learn_answer(query, objects);
        }
        differs
    }

    /// Everything at hand, wished for anew: for a re-run, which reads mostly the same.
    pub(crate) fn wishes(&self) -> Wishes {
        let answered: BTreeSet<ObjectId> = self.answers.iter().flat_map(|answer| answer.objects.iter().copied()).collect();
        let objects = self.objects.keys().filter(|id| !answered.contains(id)).copied().collect();
        Wishes { objects, queries: self.answers.iter().map(|answer| answer.query.clone()).collect() }
    }

    /// Of what a run read, that which is older than the newest. Fetched again "at least at" the newest and found unchanged, everything held
    /// together at the position of the newest: the double collect of snapshot algorithms.
    pub(crate) fn stale(&self, objects: impl Iterator<Item = ObjectId>, answers: impl Iterator<Item = usize>) -> Wishes {
        let old = |id: &ObjectId| self.objects.get(id).is_some_and(|known| known.at < self.newest);
        let old_answers = answers.map(|number| &self.answers[number]).filter(|answer| answer.at < self.newest);
        Wishes { objects: objects.filter(old).collect(), queries: old_answers.map(|answer| answer.query.clone()).collect() }
    }

    fn learn(&mut self, id: ObjectId, object: Option<Object>, at: Position) -> bool {
        self.newest = self.newest.max(at);
        let version = |object: Option<&Object>| object.map(|object| object.version);
        if let Some(known) = self.objects.get(&id) {
            if known.at > at {
                return false;
            }
            if version(known.object.as_deref()) == version(object.as_ref()) {
                self.objects.insert(id, Known { object: known.object.clone(), at });
                return false;
            }
        }
        self.objects.insert(id, Known { object: object.map(Arc::new), at }).is_some()
    }

    fn learn_answer(&mut self, query: Query, objects: Objects) -> bool {
        let at = objects.position;
        let cut = objects.more && objects.objects.len() < query.limit as usize;
        let ids = objects.objects.iter().map(|object| object.id).collect();
        let mut differs = false;
        for object in objects.objects {
            differs |= self.learn(object.id, Some(object), at);
        }
        self.newest = self.newest.max(at);
        let answer = Answer { query, at, objects: ids, cut };
        match self.answers.iter_mut().find(|known| known.query == answer.query) {
            Some(known) if known.at > at => differs,
            Some(known) => {
                differs |= known.objects != answer.objects;
                *known = answer;
                differs
            }
            None => {
                self.answers.push(answer);
                differs
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use caps_model::Name;

    use super::*;

    fn object(id: u128, version: u64) -> Object {
        let (created, version) = (Position(1), Position(version));
        Object { version, ..Object::new(ObjectId(id), Name::fixed("thing"), created, [].into()) }
    }

    fn fetched(id: u128, version: u64, at: u64) -> Fetched {
        Fetched { objects: vec![(ObjectId(id), Some(object(id, version)), Position(at))], answers: Vec::new() }
    }

    #[test]
    fn only_what_is_older_than_the_newest_is_stale_and_confirming_it_settles() {
        let mut material = Material::default();
        assert!(!material.absorb(fetched(1, 1, 5)));
        assert!(!material.absorb(fetched(2, 1, 7)));
        let both = || [ObjectId(1), ObjectId(2)].into_iter();
        let stale = material.stale(both(), [].into_iter());
        assert_eq!(stale.objects, [ObjectId(1)].into());
        assert!(!material.absorb(fetched(1, 1, 7)), "unchanged");
        assert!(material.stale(both(), [].into_iter()).is_empty());
        assert!(material.absorb(fetched(1, 8, 8)), "changed");
    }

    #[test]
    fn an_older_answer_never_replaces_a_newer() {
        let mut material = Material::default();
        material.absorb(fetched(1, 6, 6));
        assert!(!material.absorb(fetched(1, 2, 5)));
        assert_eq!(material.object(ObjectId(1)).unwrap().unwrap().version, Position(6));
    }

    #[test]
    fn everything_at_hand_can_be_wished_for_again() {
        let mut material = Material::default();
        let query = Query::all(Name::fixed("thing"));
        let objects = Objects { position: Position(3), objects: vec![object(1, 1)], more: false };
        material.absorb(Fetched { objects: vec![(ObjectId(9), None, Position(3))], answers: vec![(query.clone(), objects)] });
        assert_eq!(material.wishes(), Wishes { objects: [ObjectId(9)].into(), queries: vec![query] });
    }
}
