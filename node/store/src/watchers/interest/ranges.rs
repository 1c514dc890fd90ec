//! Ranges of values, found by a value that they hold.
//!
//! Most stand in an array ordered by their lower ends, read as a balanced tree of which each node knows the largest upper end below it: those
//! that hold a value are found in a logarithm of steps and one for each. What came since, and what went, is kept aside until it is worth a new
//! array.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use caps_model::Value;

use crate::watchers::WatcherId;

/// Ranges, each of a watcher; ends are included, and one may be open.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    ordered: Vec<Range>,
    /// For each place of `ordered`, the largest upper end in the part of which it is the middle.
    reach: Vec<Option<Value>>,
    recent: Vec<Range>,
    gone: BTreeSet<WatcherId>,
}

#[derive(Clone, Debug)]
struct Range {
    from: Option<Value>,
    to: Option<Value>,
    id: WatcherId,
}

impl Ranges {
    pub(super) fn insert(&mut self, from: Option<Value>, to: Option<Value>, id: WatcherId) {
        self.recent.push(Range { from, to, id });
        if self.recent.len() > RECENT_MIN + self.ordered.len() / RECENT_SHARE {
            self.rebuild();
        }
    }

    /// Takes away all ranges of a watcher. Watchers' names are never given twice, so what is gone does not come back.
    pub(super) fn remove(&mut self, id: WatcherId) {
        self.recent.retain(|range| range.id != id);
        self.gone.insert(id);
        if self.gone.len() > RECENT_MIN + self.ordered.len() / RECENT_SHARE {
            self.rebuild();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.recent.is_empty() && self.ordered.iter().all(|range| self.gone.contains(&range.id))
    }

    /// The watchers of ranges that hold a value.
    pub(super) fn holding(&self, value: &Value) -> impl Iterator<Item = WatcherId> {
        let mut found = Vec::new();
        self.gather(0, self.ordered.len(), value, &mut found);
        let recent = self.recent.iter().filter(|range| range.holds(value)).map(|range| range.id);
        found.extend(recent);
        found.into_iter()
    }

    /// From the part of the array between two places; as deep as a logarithm of its length.
    fn gather(&self, start: usize, end: usize, value: &Value, found: &mut Vec<WatcherId>) {
        if start >= end {
            return;
        }
        let middle = start + (end - start) / 2;
        if self.reach[middle].as_ref().is_some_and(|reach| reach < value) {
            return;
        }
        self.gather(start, middle, value, found);
        let range = &self.ordered[middle];
        if range.from.as_ref().is_some_and(|from| from > value) {
            return;
        }
        if range.holds(value) && !self.gone.contains(&range.id) {
            found.push(range.id);
        }
        self.gather(middle + 1, end, value, found);
    }

    fn rebuild(&mut self) {
        let gone = std::mem::take(&mut self.gone);
        self.ordered.append(&mut self.recent);
        self.ordered.retain(|range| !gone.contains(&range.id));
        // An open lower end comes first, as `None` does.
        self.ordered.sort_by(|a, b| a.from.cmp(&b.from).then(a.id.cmp(&b.id)));
        self.reach = vec![None; self.ordered.len()];
        self.measure(0, self.ordered.len());
    }

    /// The largest upper end between two places; the outer `None`: there is nothing.
    fn measure(&mut self, start: usize, end: usize) -> Option<Option<Value>> {
        if start >= end {
            return None;
        }
        let middle = start + (end - start) / 2;
        let below = [self.measure(start, middle), self.measure(middle + 1, end)];
        let own = self.ordered[middle].to.clone();
        let reach = below.into_iter().flatten().fold(own, |a, b| if further(&a, &b) == Ordering::Less { b } else { a });
        self.reach[middle] = reach.clone();
        Some(reach)
    }
}

impl Range {
    fn holds(&self, value: &Value) -> bool {
        self.from.as_ref().is_none_or(|from| from <= value) && self.to.as_ref().is_none_or(|to| value <= to)
    }
}

/// Which of two upper ends is further; an open one is furthest.
fn further(a: &Option<Value>, b: &Option<Value>) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) => a.cmp(b),
    }
}

/// So many are kept aside at least, and one in so many of the ordered ones more.
const RECENT_MIN: usize = 32;
const RECENT_SHARE: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cabinet::workload::seeded;

    proptest! {
        #![proptest_config(seeded(128))]

        #[test]
        fn exactly_those_that_hold_a_value_are_found(
            ends in prop::collection::vec((prop::option::weighted(0.9, 0..50_i64), prop::option::weighted(0.9, 0..50_i64)), 0..300),
            gone in prop::collection::btree_set(0..300_u64, 0..200),
            value in 0..50_i64,
        ) {
            let mut ranges = Ranges::default();
            for (id, (from, to)) in (0..).zip(&ends) {
                ranges.insert(from.map(Value::Int), to.map(Value::Int), WatcherId(id));
            }
            for id in &gone {
                ranges.remove(WatcherId(*id));
            }
            let found: BTreeSet<u64> = ranges.holding(&Value::Int(value)).map(|id| id.0).collect();
            let holds = |(from, to): &(Option<i64>, Option<i64>)| from.is_none_or(|from| from <= value) && to.is_none_or(|to| value <= to);
            let expected = (0..).zip(&ends).filter(|(id, ends)| !gone.contains(id) && holds(ends)).map(|(id, _)| id);
            prop_assert_eq!(found, expected.collect::<BTreeSet<u64>>());
        }
    }
}
