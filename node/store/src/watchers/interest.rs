//! Which watchers a change may concern: an index over their queries, so that a commit pays for the subscriptions that it touches.
//!
//! Each query is tied to one or a few *anchors*: conditions of which an object must satisfy one to match. Of several that would do, the one that
//! is shared by the fewest others is taken, so that a condition which all queries have, such as a right, ties nobody. Whether a change concerns
//! a watcher is for its query to say.

mod ranges;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use caps_model::query::{Condition, Test, words_of};
use caps_model::{Entry, Filter, Name, Object, Query, Value};

use self::ranges::Ranges;
use super::WatcherId;
use crate::state::Changed;

/// The queries of all watchers, by what an object must be or have to match them.
#[derive(Debug, Default)]
pub(super) struct Interests {
    entities: BTreeMap<Name, EntityInterests>,
    anchors: BTreeMap<WatcherId, (Name, Vec<Anchor>)>,
}

#[derive(Debug, Default)]
struct EntityInterests {
    attributes: BTreeMap<Name, AttributeInterests>,
    words: BTreeMap<String, BTreeSet<WatcherId>>,
    /// Queries that nothing ties.
    any: BTreeSet<WatcherId>,
}

#[derive(Debug, Default)]
struct AttributeInterests {
    values: BTreeMap<Value, BTreeSet<WatcherId>>,
    ranges: Ranges,
    present: BTreeSet<WatcherId>,
}

/// Something that an object has if it matches; of several anchors of one query, at least one.
#[derive(Clone, Debug, PartialEq)]
enum Anchor {
    /// This value of this attribute.
    Value(Name, Value),
    /// A value of this attribute between the two, ends included.
    Range(Name, Option<Value>, Option<Value>),
    /// Some value of this attribute.
    Present(Name),
    /// This word in some text.
    Word(String),
}

impl Interests {
    pub(super) fn add(&mut self, id: WatcherId, query: &Query) {
        let entity = self.entities.entry(query.entity.clone()).or_default();
        let anchors = entity.anchors(&query.filter);
        entity.tie(id, anchors.as_deref());
        self.anchors.insert(id, (query.entity.clone(), anchors.unwrap_or_default()));
    }

    /// Forgets a watcher, and the places that only it needed.
    pub(super) fn remove(&mut self, id: WatcherId) {
        let Some((name, anchors)) = self.anchors.remove(&id) else { return };
        let Some(entity) = self.entities.get_mut(&name) else { return };
        entity.untie(id, &anchors);
        if entity.is_empty() {
            self.entities.remove(&name);
        }
    }

    /// The watchers whose queries may match one of these objects before or after the change, in order.
    pub(super) fn concerned(&self, changes: &[Changed]) -> BTreeSet<WatcherId> {
        let mut concerned = BTreeSet::new();
        for change in changes {
            for entity in change.after.entities().filter_map(|entity| self.entities.get(entity)) {
                concerned.extend(&entity.any);
                for object in change.before.iter().chain([&change.after]) {
                    entity.tied_by(object, &mut concerned);
                }
            }
        }
        concerned
    }
}

impl EntityInterests {
    /// The anchors of a filter; `None`: an object may match without any.
    ///
    /// Filters come from the wire and are at most `DEPTH_MAX` deep, so this recursion is bounded.
    fn anchors(&self, filter: &Filter) -> Option<Vec<Anchor>> {
        match filter {
            Filter::All | Filter::Not(_) | Filter::Through { .. } => None,
            Filter::Where(condition) => of_condition(condition),
            Filter::Text(words) => words.iter().find(|word| !word.begins).map(|word| vec![Anchor::Word(word.text.clone())]),
            Filter::And(all) => all.iter().filter_map(|filter| self.anchors(filter)).min_by_key(|anchors| self.shared(anchors)),
            Filter::Or(any) => {
                let anchors: Option<Vec<Vec<Anchor>>> = any.iter().map(|filter| self.anchors(filter)).collect();
                anchors.map(|anchors| anchors.concat()).filter(|anchors| anchors.len() <= ANCHORS_MAX)
            }
        }
    }

    /// How many watchers these anchors are shared with, and something for what they cost.
    fn shared(&self, anchors: &[Anchor]) -> usize {
        let shared = |anchor: &Anchor| match anchor {
            Anchor::Value(attribute, value) => self.attributes.get(attribute).and_then(|at| at.values.get(value)).map_or(0, BTreeSet::len),
            Anchor::Range(attribute, from, to) => {
                let ranges = self.attributes.get(attribute).map(|at| &at.ranges);
                let end = from.as_ref().or(to.as_ref());
                ranges.zip(end).map_or(0, |(ranges, end)| ranges.holding(end).count()) + RANGE_COST
            }
            Anchor::Present(attribute) => self.attributes.get(attribute).map_or(0, |at| at.present.len()) + PRESENT_COST,
            Anchor::Word(word) => self.words.get(word).map_or(0, BTreeSet::len) + WORD_COST,
        };
        anchors.iter().map(shared).sum()
    }

    fn tie(&mut self, id: WatcherId, anchors: Option<&[Anchor]>) {
        let Some(anchors) = anchors else {
            self.any.insert(id);
            return;
        };
        for anchor in anchors {
            match anchor.clone() {
                Anchor::Value(attribute, value) => {
                    self.attributes.entry(attribute).or_default().values.entry(value).or_default().insert(id);
                }
                Anchor::Range(attribute, from, to) => self.attributes.entry(attribute).or_default().ranges.insert(from, to, id),
                Anchor::Present(attribute) => {
                    self.attributes.entry(attribute).or_default().present.insert(id);
                }
                Anchor::Word(word) => {
                    self.words.entry(word).or_default().insert(id);
                }
            }
        }
    }

    fn untie(&mut self, id: WatcherId, anchors: &[Anchor]) {
        self.any.remove(&id);
        for anchor in anchors {
            match anchor {
                Anchor::Word(word) => remove_from(&mut self.words, word, id),
                Anchor::Value(attribute, _) | Anchor::Range(attribute, ..) | Anchor::Present(attribute) => {
                    let Some(at) = self.attributes.get_mut(attribute) else { continue };
                    match anchor {
                        Anchor::Value(_, value) => remove_from(&mut at.values, value, id),
                        Anchor::Range(..) => at.ranges.remove(id),
                        _ => {
                            at.present.remove(&id);
                        }
                    }
                    if at.values.is_empty() && at.ranges.is_empty() && at.present.is_empty() {
                        self.attributes.remove(attribute);
                    }
                }
            }
        }
    }

    fn tied_by(&self, object: &Object, concerned: &mut BTreeSet<WatcherId>) {
        for (name, values) in &object.attributes {
            let Some(at) = self.attributes.get(name) else { continue };
            concerned.extend(&at.present);
            for value in values {
                concerned.extend(at.values.get(value).into_iter().flatten());
                concerned.extend(at.ranges.holding(value));
            }
        }
        if self.words.is_empty() {
            return;
        }
        for word in object.attributes.values().flatten().filter_map(Value::text_within).flat_map(words_of) {
            concerned.extend(self.words.get(&word).into_iter().flatten());
        }
    }

    fn is_empty(&self) -> bool {
        self.any.is_empty() && self.attributes.is_empty() && self.words.is_empty()
    }
}

fn of_condition(Condition { attribute, key, test }: &Condition) -> Option<Vec<Anchor>> {
    let wrapped = |value: &Value| match key {
        None => Some(value.clone()),
        Some(key) => Entry::new(key.clone(), value.clone()).map(|entry| Value::Entry(Box::new(entry))),
    };
    let present = || vec![Anchor::Present(attribute.clone())];
    let value = |value: &Value| wrapped(value).map(|value| Anchor::Value(attribute.clone(), value));
    match test {
        Test::Equal(wanted) => value(wanted).map(|anchor| vec![anchor]),
        Test::In(wanted) if wanted.len() <= ANCHORS_MAX => wanted.iter().map(value).collect(),
        // An open end under a key would reach into the next key.
        Test::Range { from, to } if key.is_none() => Some(vec![Anchor::Range(attribute.clone(), end(from), end(to))]),
        Test::Words(words) => {
            let word = words.iter().find(|word| !word.begins);
            Some(word.map_or_else(present, |word| vec![Anchor::Word(word.text.clone())]))
        }
        Test::Present | Test::In(_) | Test::Range { .. } | Test::Like(_) => Some(present()),
        Test::FromNow { .. } => None,
    }
}

fn end(bound: &Bound<Value>) -> Option<Value> {
    match bound {
        Bound::Included(value) | Bound::Excluded(value) => Some(value.clone()),
        Bound::Unbounded => None,
    }
}

fn remove_from<K: Ord>(map: &mut BTreeMap<K, BTreeSet<WatcherId>>, key: &K, id: WatcherId) {
    if let Some(ids) = map.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            map.remove(key);
        }
    }
}

/// Anchors of one query; one that would need more is tied to the attribute as a whole, or to nothing.
const ANCHORS_MAX: usize = 64;

/// By how many sharers worse than a value these are: a range is found in more steps, words take a text apart, and an attribute is nearly always
/// there.
const RANGE_COST: usize = 4;
const WORD_COST: usize = 16;
const PRESENT_COST: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use caps_model::{ObjectId, Position};

    fn query(filter: &str) -> Query {
        Query::all(Name::fixed("case")).and(filter.parse().unwrap())
    }

    fn change(attributes: &[(&'static str, Value)]) -> Changed {
        let attributes = attributes.iter().map(|(name, value)| (Name::fixed(name), vec![value.clone()])).collect();
        Changed { before: None, after: Object::new(ObjectId(1), Name::fixed("case"), Position(1), attributes) }
    }

    #[test]
    fn a_condition_that_all_share_ties_nobody() {
        let mut interests = Interests::default();
        for number in 0..1_000 {
            interests.add(WatcherId(number), &query(&format!("readers = g and number = {number}")));
        }
        let concerned = interests.concerned(&[change(&[("readers", Value::text("g")), ("number", Value::Int(7))])]);
        // The first came when nobody shared anything yet.
        assert!(concerned.contains(&WatcherId(7)) && concerned.len() <= 2, "{concerned:?}");
    }

    #[test]
    fn every_kind_of_condition_ties_to_what_it_needs() {
        let mut interests = Interests::default();
        let filters = [
            "number = 5",
            "number in (4, 5)",
            "number between 5 and 6",
            "number > 4",
            "number < 5",
            "subject about 'pump leak'",
            "text 'leak*'",
            "has number",
            "number = 1 or subject = 'the pump'",
            "not number = 5",
            "names['sv'] = 5",
            "number = 6",
        ];
        for (id, filter) in (0..).zip(filters) {
            interests.add(WatcherId(id), &query(filter));
        }
        let names = Value::Entry(Box::new(Entry::new("sv", Value::Int(5)).unwrap()));
        let changed = change(&[("number", Value::Int(5)), ("subject", Value::text("the pump")), ("names", names)]);
        let concerned: Vec<u64> = interests.concerned(&[changed]).iter().map(|id| id.0).collect();
        // Ends of ranges are taken in; the query says that 5 is not below 5.
        assert_eq!(concerned, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        for id in 0..12 {
            interests.remove(WatcherId(id));
        }
        assert!(interests.entities.is_empty() && interests.anchors.is_empty());
    }
}
