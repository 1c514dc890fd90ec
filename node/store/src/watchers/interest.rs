//! Which watchers a change may concern: an index over their queries, so that a commit pays for the subscriptions that it touches.
//!
//! Each query is tied to one or a few *anchors*: conditions of which an object must satisfy one to match. Of several that would do, the one that
//! is shared by the fewest others is taken, so that a condition which all queries have, such as a right, ties nobody. What the first ones are tied
//! to may turn out to be what all objects have: who is asked often and in vain is [tied elsewhere](Interests::tie_elsewhere). Whether a change
//! concerns a watcher is for its query to say.

mod marks;
mod ranges;
mod referred;
mod table;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use caps_model::query::{Condition, Test, words_of};
use caps_model::{Entry, Filter, Name, Object, ObjectId, Value};

use self::marks::Marks;
use self::ranges::Ranges;
use self::referred::Referred;
use self::table::Table;
use super::WatcherId;
use super::sought::Sought;
use crate::state::Changed;

/// What all watchers follow, by what an object must be or have for them.
#[derive(Debug, Default)]
pub(super) struct Interests {
    entities: BTreeMap<Name, EntityInterests>,
    ties: HashMap<WatcherId, Tie>,
    marks: Marks,
    referred: Referred,
}

/// What a watcher is tied to.
#[derive(Debug)]
struct Tie {
    entity: Name,
    /// None: nothing, it is asked at every commit to its entity.
    anchors: Option<Box<[Anchor]>>,
    /// What it was tied to before, if anything.
    before: Vec<Left>,
}

/// What a watcher was tied to until that had brought it too much that did not concern it.
#[derive(Debug)]
struct Left {
    anchors: Box<[Anchor]>,
    /// In how many commits.
    within: u64,
}

#[derive(Debug, Default)]
struct EntityInterests {
    attributes: BTreeMap<Name, AttributeInterests>,
    words: Table,
    objects: Table,
    /// Queries that nothing ties.
    any: BTreeSet<WatcherId>,
}

#[derive(Debug, Default)]
struct AttributeInterests {
    values: Table,
    ranges: Ranges,
    present: BTreeSet<WatcherId>,
}

/// Something that an object has if it matches; of several anchors of one query, at least one.
#[derive(Clone, Debug, PartialEq)]
enum Anchor {
    /// A value of this mark in this attribute.
    Value(Name, u64),
    /// A value of this attribute between the two, ends included.
    Range(Name, Option<Value>, Option<Value>),
    /// Some value of this attribute.
    Present(Name),
    /// A word of this mark in some text.
    Word(u64),
    /// The name of this mark.
    Object(u64),
}

impl Interests {
    pub(super) fn add(&mut self, id: WatcherId, sought: &Sought) {
        let name = &sought.query().entity;
        let entity = self.entities.entry(name.clone()).or_default();
        let anchors = match sought.objects() {
            [] => entity.anchors(sought.filter(), &self.marks, &[]),
            named => Some(named.iter().map(|object: &ObjectId| Anchor::Object(self.marks.of_object(*object))).collect()),
        };
        entity.tie(id, anchors.as_deref());
        self.referred.add(id, sought.filter());
        self.ties.insert(id, Tie { entity: name.clone(), anchors: anchors.map(Vec::into), before: Vec::new() });
    }

    /// Ties a watcher to something else, if there is anything: what it is tied to brought it a number of commits, the same for all, that did
    /// not concern it, `within` so many. When everything was tried it is tied to what took longest, and stays so.
    pub(super) fn tie_elsewhere(&mut self, id: WatcherId, sought: &Sought, within: u64) {
        let Some(tie) = self.ties.get_mut(&id) else { return };
        let (Some(entity), Some(anchors)) = (self.entities.get_mut(&tie.entity), &tie.anchors) else { return };
        if !sought.objects().is_empty() || tie.before.iter().any(|left| left.anchors == *anchors) {
            return;
        }
        tie.before.push(Left { anchors: anchors.clone(), within });
        let other = entity.anchors(sought.filter(), &self.marks, &tie.before).map(Box::from);
        let is_new = |other: &[Anchor]| tie.before.iter().all(|left| *left.anchors != *other);
        let best = tie.before.iter().max_by_key(|left| left.within).map(|left| &left.anchors);
        let Some(next) = other.filter(|other| is_new(other)).or_else(|| best.cloned()) else { return };
        entity.untie(id, anchors);
        entity.tie(id, Some(&next));
        tie.anchors = Some(next);
    }

    /// Forgets a watcher, and the places that only it needed.
    pub(super) fn remove(&mut self, id: WatcherId) {
        self.referred.remove(id);
        let Some(tie) = self.ties.remove(&id) else { return };
        let Some(entity) = self.entities.get_mut(&tie.entity) else { return };
        match &tie.anchors {
            Some(anchors) => entity.untie(id, anchors),
            None => drop(entity.any.remove(&id)),
        }
        if entity.is_empty() {
            self.entities.remove(&tie.entity);
        }
    }

    /// The watchers that one of these objects may concern before or after the change, in order.
    pub(super) fn concerned(&self, changes: &[Changed]) -> Vec<WatcherId> {
        let mut concerned = Vec::new();
        for change in changes {
            self.referred.concerned(change, &mut concerned);
            for entity in change.after.entities().filter_map(|entity| self.entities.get(entity)) {
                concerned.extend(&entity.any);
                entity.objects.gather(self.marks.of_object(change.after.id), &mut concerned);
                for object in change.before.iter().chain([&change.after]) {
                    entity.tied_by(object, &self.marks, &mut concerned);
                }
            }
        }
        concerned.sort_unstable();
        concerned.dedup();
        concerned
    }
}

impl EntityInterests {
    /// The anchors of a filter, others than those `left` if there are any; `None`: an object may match without any.
    ///
    /// Filters come from the wire and are at most `DEPTH_MAX` deep, so this recursion is bounded.
    fn anchors(&self, filter: &Filter, marks: &Marks, left: &[Left]) -> Option<Vec<Anchor>> {
        match filter {
            Filter::All | Filter::Not(_) | Filter::Through { .. } => None,
            Filter::Where(condition) => of_condition(condition, marks),
            Filter::Text(words) => words.iter().find(|word| !word.begins).map(|word| vec![Anchor::Word(marks.of_word(&word.text))]),
            Filter::And(all) => {
                let each = all.iter().filter_map(|filter| self.anchors(filter, marks, left));
                each.min_by_key(|anchors| (left.iter().any(|left| *left.anchors == **anchors), self.shared(anchors)))
            }
            Filter::Or(any) => {
                let anchors: Option<Vec<Vec<Anchor>>> = any.iter().map(|filter| self.anchors(filter, marks, left)).collect();
                anchors.map(|anchors| anchors.concat()).filter(|anchors| anchors.len() <= ANCHORS_MAX)
            }
        }
    }

    /// How many watchers these anchors are shared with, and something for what they cost.
    fn shared(&self, anchors: &[Anchor]) -> usize {
        let shared = |anchor: &Anchor| match anchor {
            Anchor::Value(attribute, mark) => self.attributes.get(attribute).map_or(0, |at| at.values.count(*mark)),
            Anchor::Range(attribute, from, to) => {
                let mut found = Vec::new();
                if let (Some(at), Some(end)) = (self.attributes.get(attribute), from.as_ref().or(to.as_ref())) {
                    at.ranges.gather(end, &mut found);
                }
                found.len() + RANGE_COST
            }
            Anchor::Present(attribute) => self.attributes.get(attribute).map_or(0, |at| at.present.len()) + PRESENT_COST,
            Anchor::Word(mark) => self.words.count(*mark) + WORD_COST,
            Anchor::Object(mark) => self.objects.count(*mark),
        };
        anchors.iter().map(shared).sum()
    }

    fn tie(&mut self, id: WatcherId, anchors: Option<&[Anchor]>) {
        let Some(anchors) = anchors else {
            self.any.insert(id);
            return;
        };
        for anchor in anchors {
            match anchor {
                Anchor::Value(attribute, mark) => self.attribute(attribute).values.insert(*mark, id),
                Anchor::Range(attribute, from, to) => self.attribute(attribute).ranges.insert(from.as_ref(), to.as_ref(), id),
                Anchor::Present(attribute) => {
                    self.attribute(attribute).present.insert(id);
                }
                Anchor::Word(mark) => self.words.insert(*mark, id),
                Anchor::Object(mark) => self.objects.insert(*mark, id),
            }
        }
    }

    fn attribute(&mut self, name: &Name) -> &mut AttributeInterests {
        self.attributes.entry(name.clone()).or_default()
    }

    fn untie(&mut self, id: WatcherId, anchors: &[Anchor]) {
        for anchor in anchors {
            match anchor {
                Anchor::Word(mark) => self.words.remove(*mark, id),
                Anchor::Object(mark) => self.objects.remove(*mark, id),
                Anchor::Value(attribute, _) | Anchor::Range(attribute, ..) | Anchor::Present(attribute) => {
                    let Some(at) = self.attributes.get_mut(attribute) else { continue };
                    match anchor {
                        Anchor::Value(_, mark) => at.values.remove(*mark, id),
                        Anchor::Range(_, from, to) => at.ranges.remove(from.as_ref(), to.as_ref(), id),
                        _ => {
                            at.present.remove(&id);
                        }
                    }
                    if at.values.is_empty() && at.present.is_empty() && at.ranges.is_empty() {
                        self.attributes.remove(attribute);
                    }
                }
            }
        }
    }

    fn tied_by(&self, object: &Object, marks: &Marks, concerned: &mut Vec<WatcherId>) {
        for (name, values) in &object.attributes {
            let Some(at) = self.attributes.get(name) else { continue };
            concerned.extend(&at.present);
            for value in values {
                if !at.values.is_empty() {
                    at.values.gather(marks.of_value(value), concerned);
                }
                at.ranges.gather(value, concerned);
            }
        }
        if self.words.is_empty() {
            return;
        }
        for word in object.attributes.values().flatten().filter_map(Value::text_within).flat_map(words_of) {
            self.words.gather(marks.of_word(&word), concerned);
        }
    }

    fn is_empty(&self) -> bool {
        self.any.is_empty() && self.attributes.is_empty() && self.words.is_empty() && self.objects.is_empty()
    }
}

fn of_condition(Condition { attribute, key, test }: &Condition, marks: &Marks) -> Option<Vec<Anchor>> {
    let wrapped = |value: &Value| match key {
        None => Some(value.clone()),
        Some(key) => Entry::new(key.clone(), value.clone()).map(|entry| Value::Entry(Box::new(entry))),
    };
    let present = || vec![Anchor::Present(attribute.clone())];
    let value = |value: &Value| wrapped(value).map(|value| Anchor::Value(attribute.clone(), marks.of_value(&value)));
    match test {
        Test::Equal(wanted) => value(wanted).map(|anchor| vec![anchor]),
        Test::In(wanted) if wanted.len() <= ANCHORS_MAX => wanted.iter().map(value).collect(),
        // An open end under a key would reach into the next key.
        Test::Range { from, to } if key.is_none() => Some(vec![Anchor::Range(attribute.clone(), end(from), end(to))]),
        Test::Words(words) => {
            let word = words.iter().find(|word| !word.begins);
            Some(word.map_or_else(present, |word| vec![Anchor::Word(marks.of_word(&word.text))]))
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

/// Anchors of one query; one that would need more is tied to the attribute as a whole, or to nothing.
const ANCHORS_MAX: usize = 64;

/// By how many sharers worse than a value these are: a range is found in more steps, words take a text apart, and an attribute is nearly always
/// there.
const RANGE_COST: usize = 1;
const WORD_COST: usize = 2;
const PRESENT_COST: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use caps_model::messages::{From, Subscribe};
    use caps_model::{Position, Query};

    fn sought(filter: &str) -> Sought {
        let query = Query::all(Name::fixed("case")).and(filter.parse().unwrap());
        Sought::new(Subscribe::new(query, From::Present), 0)
    }

    fn change(attributes: &[(&'static str, Value)]) -> Changed {
        let attributes = attributes.iter().map(|(name, value)| (Name::fixed(name), vec![value.clone()])).collect();
        Changed { before: None, after: Object::new(ObjectId(1), Name::fixed("case"), Position(1), attributes) }
    }

    #[test]
    fn a_condition_that_all_share_ties_nobody() {
        let mut interests = Interests::default();
        for number in 0..1_000 {
            interests.add(WatcherId(number), &sought(&format!("readers = g and number = {number}")));
        }
        let concerned = interests.concerned(&[change(&[("readers", Value::text("g")), ("number", Value::Int(7))])]);
        // The first came when nobody shared anything yet.
        assert!(concerned.contains(&WatcherId(7)) && concerned.len() <= 2, "{concerned:?}");
    }

    #[test]
    fn who_is_asked_in_vain_is_tied_elsewhere_until_everything_was_tried() {
        let mut interests = Interests::default();
        let sought = sought("status = open and readers = g and number between 5 and 9");
        let id = WatcherId(1);
        interests.add(id, &sought);
        let asked = |interests: &Interests| {
            let each = [("status", Value::text("open")), ("readers", Value::text("g")), ("number", Value::Int(7))];
            each.map(|one| interests.concerned(&[change(&[one])]) == [id])
        };
        assert_eq!(asked(&interests), [true, false, false]);
        interests.tie_elsewhere(id, &sought, 10);
        assert_eq!(asked(&interests), [false, true, false]);
        interests.tie_elsewhere(id, &sought, 30);
        assert_eq!(asked(&interests), [false, false, true]);
        // It had the most peace where it waited for readers.
        interests.tie_elsewhere(id, &sought, 20);
        assert_eq!(asked(&interests), [false, true, false]);
        interests.tie_elsewhere(id, &sought, 1);
        assert_eq!(asked(&interests), [false, true, false]);
        interests.remove(id);
        assert!(interests.entities.is_empty() && interests.ties.is_empty());
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
            "number = 5 and due < now",
            "due < now",
        ];
        for (id, filter) in (0..).zip(filters) {
            interests.add(WatcherId(id), &sought(filter));
        }
        let names = Value::Entry(Box::new(Entry::new("sv", Value::Int(5)).unwrap()));
        let changed = change(&[("number", Value::Int(5)), ("subject", Value::text("the pump")), ("names", names)]);
        let concerned: Vec<u64> = interests.concerned(&[changed]).iter().map(|id| id.0).collect();
        // Ends of ranges are taken in; the query says that 5 is not below 5.
        assert_eq!(concerned, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13]);
        for id in 0..14 {
            interests.remove(WatcherId(id));
        }
        assert!(interests.entities.is_empty() && interests.ties.is_empty());
    }

    #[test]
    fn given_objects_tie_to_their_names() {
        let mut interests = Interests::default();
        let all = Query::all(Name::fixed("case"));
        for number in 0..100 {
            let subscribe = Subscribe::new(all.clone(), From::Present).objects([ObjectId(number), ObjectId(1_000)]);
            interests.add(WatcherId(u64::try_from(number).unwrap()), &Sought::new(subscribe, 0));
        }
        assert_eq!(interests.concerned(&[change(&[])]), [WatcherId(1)]);
    }
}
