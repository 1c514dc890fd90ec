//! Time as a reason for change: when an object comes to satisfy a condition relative to now, or ceases to, without any commit.
//!
//! A condition relative to now has one or two *edges*: bounds that move with time. A value crosses an edge at one moment, and that moment
//! follows from the value alone, so the index of the attribute, which is ordered by values, is ordered by these moments too. It says when the
//! next object may change sides, and which do until a given moment; whether one does is for the query to say.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use caps_model::query::{Condition, Test};
use caps_model::{Filter, Name, Object, ObjectId, Value};

use crate::state::{Index, Span, State, StateError};

/// The moment that stands for now in a reader's query, and the edges that move with it.
#[derive(Debug)]
pub(super) struct Clock {
    /// Microseconds since 1970. Never goes back, whatever the clocks of replicas do.
    pub(super) moment: i64,
    edges: Box<[Edge]>,
    due: Due,
}

/// When the next object may change sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// To be looked for.
    Unknown,
    /// Not before this.
    At(i64),
    /// Never, as things are.
    Never,
}

/// A bound of a condition relative to now.
#[derive(Debug)]
struct Edge {
    attribute: Name,
    key: Option<String>,
    /// From now to the bound, in microseconds.
    offset: i64,
    /// A value that equals the bound has not crossed it yet.
    after_equal: bool,
}

/// What may change sides, by when.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Crossings {
    /// Everything up to this moment is here.
    pub(super) until: i64,
    pub(super) objects: BTreeMap<i64, BTreeSet<ObjectId>>,
}

impl Clock {
    /// A clock for a filter at a moment; `None` if the filter says nothing about now.
    pub(super) fn new(filter: &Filter, moment: i64) -> Option<Self> {
        let mut edges = Vec::new();
        gather(filter, &mut edges);
        (!edges.is_empty()).then(|| Self { moment, edges: edges.into(), due: Due::Unknown })
    }

    /// Moves on to a moment up to which everything is told.
    pub(super) fn advance(&mut self, moment: i64) {
        self.moment = moment;
        if matches!(self.due, Due::At(due) if due <= moment) {
            self.due = Due::Unknown;
        }
    }

    /// The moment before which no object changes sides; `None`: that has to be looked for, or there is none.
    pub(super) fn due(&self) -> Option<i64> {
        match self.due {
            Due::At(moment) => Some(moment),
            Due::Unknown | Due::Never => None,
        }
    }

    /// Whether an object may change sides until `now_us`; looks at the indexes if that is not known.
    pub(super) fn is_due(&mut self, now_us: i64, entity: &Name, state: &dyn State) -> Result<bool, StateError> {
        if self.due == Due::Unknown {
            self.due = self.look_ahead(entity, state)?;
        }
        Ok(matches!(self.due, Due::At(moment) if moment <= now_us))
    }

    /// Takes note of an object that has changed; `true` if it may change sides before any other.
    pub(super) fn note(&mut self, object: &Object) -> bool {
        let crossings = self.edges.iter().flat_map(|edge| edge.crossings(object)).filter(|crossing| *crossing > self.moment);
        let Some(first) = crossings.min() else { return false };
        let sooner = match self.due {
            Due::Unknown => false,
            Due::At(moment) => first < moment,
            Due::Never => true,
        };
        if sooner {
            self.due = Due::At(first);
        }
        sooner
    }

    /// What may change sides after the clock's moment and until `until`, of the entity's objects as they are now. At most `limit` places of each
    /// index are read: then the answer covers a shorter time. `None`: even a single moment holds more than that.
    pub(super) fn crossings(&self, until: i64, limit: usize, entity: &Name, state: &dyn State) -> Result<Option<Crossings>, StateError> {
        let mut found = Crossings { until, objects: BTreeMap::new() };
        for edge in &self.edges {
            let (crossings, complete) = edge.scan(self.moment, until, limit, entity, state)?;
            if let Some((last, _)) = crossings.last().filter(|_| !complete) {
                found.until = found.until.min(last.saturating_sub(1));
            }
            for (moment, id) in crossings {
                found.objects.entry(moment).or_default().insert(id);
            }
        }
        found.objects.retain(|moment, _| *moment <= found.until);
        Ok((found.until > self.moment).then_some(found))
    }

    fn look_ahead(&self, entity: &Name, state: &dyn State) -> Result<Due, StateError> {
        let mut due = Due::Never;
        for edge in &self.edges {
            let (next, _) = edge.scan(self.moment, i64::MAX, 1, entity, state)?;
            due = next.first().map_or(due, |(moment, _)| due.min(*moment));
        }
        Ok(due)
    }
}

impl Due {
    fn min(self, moment: i64) -> Self {
        match self {
            Self::At(other) => Self::At(other.min(moment)),
            Self::Unknown | Self::Never => Self::At(moment),
        }
    }
}

impl Edge {
    /// The moment from which on the value is on the other side.
    fn crossing(&self, value: i64) -> i64 {
        value.saturating_sub(self.offset).saturating_add(i64::from(self.after_equal))
    }

    /// The least value that crosses after a moment.
    fn first_after(&self, moment: i64) -> i64 {
        self.last_until(moment).saturating_add(1)
    }

    /// The greatest value that crosses until a moment.
    fn last_until(&self, moment: i64) -> i64 {
        moment.saturating_add(self.offset).saturating_sub(i64::from(self.after_equal))
    }

    /// The moments at which an object's values cross.
    fn crossings(&self, object: &Object) -> impl Iterator<Item = i64> {
        let under_key = |value: &Value| match &self.key {
            None => value.as_timestamp(),
            Some(key) => value.as_entry().filter(|entry| entry.key() == key).and_then(|entry| entry.value().as_timestamp()),
        };
        object
            .values(self.attribute.as_str())
            .iter()
            .filter_map(under_key)
            .map(|value| self.crossing(value))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// The crossings after one moment and until another, in order, and whether these are all.
    fn scan(
        &self,
        after: i64,
        until: i64,
        limit: usize,
        entity: &Name,
        state: &dyn State,
    ) -> Result<(Vec<(i64, ObjectId)>, bool), StateError> {
        let bound = |micros| Bound::Included(Value::Timestamp(micros));
        let span = Span::between(&bound(self.first_after(after)), &bound(self.last_until(until)));
        let span = match &self.key {
            None => span,
            Some(key) => span.under_key(key),
        };
        let places = state.scan(entity, &Index::Attribute(self.attribute.clone()), &span, false, limit)?;
        let complete = places.len() < limit;
        let crossings = places.iter().filter_map(|place| Some((self.crossing(place.timestamp()?), place.object())));
        Ok((crossings.collect(), complete))
    }
}

/// Filters come from the wire and are at most `DEPTH_MAX` deep, so this recursion is bounded.
fn gather(filter: &Filter, edges: &mut Vec<Edge>) {
    match filter {
        Filter::All | Filter::Text(_) | Filter::Through { .. } => {}
        Filter::Where(Condition { attribute, key, test: Test::FromNow { from, to } }) => {
            let edge = |offset, after_equal| Edge { attribute: attribute.clone(), key: key.clone(), offset, after_equal };
            edges.extend(match from {
                Bound::Included(offset) => Some(edge(*offset, true)),
                Bound::Excluded(offset) => Some(edge(*offset, false)),
                Bound::Unbounded => None,
            });
            edges.extend(match to {
                Bound::Included(offset) => Some(edge(*offset, false)),
                Bound::Excluded(offset) => Some(edge(*offset, true)),
                Bound::Unbounded => None,
            });
        }
        Filter::Where(_) => {}
        Filter::And(filters) | Filter::Or(filters) => filters.iter().for_each(|filter| gather(filter, edges)),
        Filter::Not(filter) => gather(filter, edges),
    }
}

#[cfg(test)]
mod tests {
    use caps_model::Query;

    use super::*;
    use crate::cabinet::Cabinet;
    use crate::cabinet::workload::{commit, create};
    use crate::state::MemoryState;

    fn cabinet(due: &[i64]) -> Cabinet<MemoryState> {
        let mut cabinet = Cabinet::new(MemoryState::new());
        let cases = (1..).zip(due).map(|(id, due)| create(id, "case", vec![("due", vec![Value::Timestamp(*due)])]));
        cabinet.commit(commit(1, cases.collect()));
        cabinet
    }

    /// Microseconds are written as the durations that the language has.
    fn clock(filter: &str, moment: i64) -> Clock {
        Clock::new(&filter.parse().unwrap(), moment).unwrap()
    }

    fn objects(crossings: &Crossings) -> Vec<(i64, Vec<u128>)> {
        crossings.objects.iter().map(|(moment, ids)| (*moment, ids.iter().map(|id| id.0).collect())).collect()
    }

    #[test]
    fn an_edge_is_crossed_exactly_when_the_query_says_so() {
        let second = 1_000_000;
        for filter in ["due < now + 1s", "due <= now + 1s", "due > now - 1s", "due >= now - 1s", "not due < now"] {
            let query = Query::all(Name::fixed("case")).and(filter.parse().unwrap());
            let cabinet = cabinet(&[5 * second]);
            let object = cabinet.state().object(ObjectId(1)).unwrap().unwrap();
            let mut clock = clock(filter, 0);
            assert!(!clock.is_due(3 * second, &query.entity, cabinet.state()).unwrap());
            let crossing = clock.due().unwrap();
            let matches = |moment| query.clone().at(moment).matches(&object);
            assert_ne!(matches(crossing - 1), matches(crossing), "{filter} at {crossing}");
            let found = clock.crossings(crossing, 10, &query.entity, cabinet.state()).unwrap().unwrap();
            assert_eq!(objects(&found), [(crossing, vec![1])], "{filter}");
            clock.advance(crossing);
            assert!(!clock.is_due(i64::MAX, &query.entity, cabinet.state()).unwrap(), "{filter}");
        }
    }

    #[test]
    fn what_is_read_at_once_is_bounded_and_covers_whole_moments() {
        let cabinet = cabinet(&[10, 20, 20, 30, 30, 30, 40]);
        let case = Name::fixed("case");
        let mut clock = clock("due <= now", 0);
        let crossings = |clock: &Clock, limit| clock.crossings(50, limit, &case, cabinet.state()).unwrap();
        let first = crossings(&clock, 3).unwrap();
        assert_eq!((first.until, objects(&first)), (19, vec![(10, vec![1])]));
        clock.advance(first.until);
        let second = crossings(&clock, 3).unwrap();
        assert_eq!((second.until, objects(&second)), (29, vec![(20, vec![2, 3])]));
        clock.advance(second.until);
        // Three at one moment fill what may be read: there may be more of them.
        assert_eq!(crossings(&clock, 3), None);
        assert_eq!(crossings(&clock, 9).unwrap().until, 50);
    }
}
