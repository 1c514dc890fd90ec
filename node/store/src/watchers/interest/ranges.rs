//! Ranges of values, found by a value that they hold.
//!
//! They stand in a few arrays, each ordered by lower ends and read as a balanced tree of which every node knows the largest upper end below it:
//! those that hold a value are found in a logarithm of steps and one for each. New ones come into a short list; when it is full it is merged
//! into the first array, that into the second when it is full, and so on, each many times as long as the one before. So there are never more
//! than a handful of arrays, and every range is moved a few times only.
//!
//! Ends are kept as the first bytes of what orders like the value. That makes them small and quick to compare; a range may be found for a value
//! just beside it.

use caps_model::Value;

use crate::state::ordered;
use crate::watchers::WatcherId;

/// Ranges, each of a watcher; ends are included, and one may be open.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    recent: Vec<Range>,
    runs: Vec<Run>,
    /// How many ranges in the arrays count no more.
    gone: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    from: u128,
    to: u128,
    id: WatcherId,
}

/// Ranges in the order of their lower ends, each part of them in an array of its own: a search reads few of the others.
#[derive(Debug, Default)]
struct Run {
    from: Vec<u128>,
    /// For each place, the largest upper end in the part of which it is the middle.
    reach: Vec<u128>,
    to: Vec<u128>,
    ids: Vec<WatcherId>,
    /// Those that count no more. They keep their places, so that others are found by theirs.
    gone: Vec<bool>,
}

impl Ranges {
    pub(super) fn insert(&mut self, from: Option<&Value>, to: Option<&Value>, id: WatcherId) {
        self.recent.push(Range::new(from, to, id));
        if self.recent.len() > RECENT_MAX {
            self.merge();
        }
    }

    /// Takes away one range of a watcher, if it is there.
    pub(super) fn remove(&mut self, from: Option<&Value>, to: Option<&Value>, id: WatcherId) {
        let range = Range::new(from, to, id);
        if let Some(place) = self.recent.iter().position(|other| *other == range) {
            self.recent.swap_remove(place);
            return;
        }
        if !self.runs.iter_mut().any(|run| run.remove(range)) {
            return;
        }
        self.gone += 1;
        let ordered: usize = self.runs.iter().map(|run| run.ids.len()).sum();
        if self.gone > RECENT_MAX + ordered / GONE_SHARE || self.gone == ordered {
            self.clean();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.recent.is_empty() && self.runs.iter().all(|run| run.ids.is_empty())
    }

    /// Adds the watchers of ranges that hold a value.
    pub(super) fn gather(&self, value: &Value, found: &mut Vec<WatcherId>) {
        if self.recent.is_empty() && self.runs.is_empty() {
            return;
        }
        let value = end(value);
        found.extend(self.recent.iter().filter(|range| range.from <= value && value <= range.to).map(|range| range.id));
        // What is below all of them asks for no search: time windows and numbers often lie all on one side.
        for run in self.runs.iter().filter(|run| run.from.first().is_some_and(|first| *first <= value)) {
            run.gather(0, run.ids.len(), value, found);
        }
    }

    fn merge(&mut self) {
        let mut moving = std::mem::take(&mut self.recent);
        let mut room = RECENT_MAX * RUN_GROWTH;
        for run in &mut self.runs {
            self.gone -= run.gone.iter().filter(|gone| **gone).count();
            moving.extend(std::mem::take(run).ranges());
            if moving.len() <= room {
                *run = Run::of(moving);
                return;
            }
            room = room.saturating_mul(RUN_GROWTH);
        }
        self.runs.push(Run::of(moving));
    }

    fn clean(&mut self) {
        self.gone = 0;
        let ranges: Vec<Range> = std::mem::take(&mut self.runs).into_iter().flat_map(Run::ranges).collect();
        self.runs.extend((!ranges.is_empty()).then(|| Run::of(ranges)));
    }
}

impl Range {
    fn new(from: Option<&Value>, to: Option<&Value>, id: WatcherId) -> Self {
        Self { from: from.map_or(0, end), to: to.map_or(u128::MAX, end), id }
    }
}

impl Run {
    fn of(mut ranges: Vec<Range>) -> Self {
        ranges.sort_unstable_by_key(|range| (range.from, range.id));
        let from = ranges.iter().map(|range| range.from).collect();
        let to: Vec<u128> = ranges.iter().map(|range| range.to).collect();
        let gone = vec![false; to.len()];
        let mut run = Self { from, reach: vec![0; to.len()], to, ids: ranges.iter().map(|range| range.id).collect(), gone };
        run.measure(0, run.ids.len());
        run
    }

    /// Those that count.
    fn ranges(self) -> impl Iterator<Item = Range> {
        let ends = self.from.into_iter().zip(self.to);
        let ranges = ends.zip(self.ids).map(|((from, to), id)| Range { from, to, id });
        ranges.zip(self.gone).filter(|(_, gone)| !gone).map(|(range, _)| range)
    }

    /// Whether the range was there: it counts no more.
    fn remove(&mut self, range: Range) -> bool {
        let alike = |place: usize| (self.from[place], self.ids[place]) == (range.from, range.id);
        let begin = self.from.partition_point(|from| *from < range.from);
        let length = self.from[begin..].partition_point(|from| *from == range.from);
        let first = begin + self.ids[begin..begin + length].partition_point(|id| *id < range.id);
        // A watcher may have several that begin alike.
        let place =
            (first..self.ids.len()).take_while(|place| alike(*place)).find(|place| !self.gone[*place] && self.to[*place] == range.to);
        if let Some(place) = place {
            self.gone[place] = true;
        }
        place.is_some()
    }

    /// The largest upper end between two places.
    fn measure(&mut self, start: usize, end: usize) -> u128 {
        if start >= end {
            return 0;
        }
        let middle = start + (end - start) / 2;
        let reach = self.to[middle].max(self.measure(start, middle)).max(self.measure(middle + 1, end));
        self.reach[middle] = reach;
        reach
    }

    /// From the part of the array between two places; as deep as a logarithm of its length.
    fn gather(&self, start: usize, end: usize, value: u128, found: &mut Vec<WatcherId>) {
        if start >= end {
            return;
        }
        let middle = start + (end - start) / 2;
        if self.reach[middle] < value {
            return;
        }
        self.gather(start, middle, value, found);
        if self.from[middle] > value {
            return;
        }
        if self.to[middle] >= value && !self.gone[middle] {
            found.push(self.ids[middle]);
        }
        self.gather(middle + 1, end, value, found);
    }
}

/// The first bytes of what orders like a value, as a number: it never turns the order of two values around.
fn end(value: &Value) -> u128 {
    let bytes = ordered(value);
    let mut first = [0; 16];
    let length = bytes.len().min(first.len());
    first[..length].copy_from_slice(&bytes[..length]);
    u128::from_be_bytes(first)
}

/// Ranges that are gone through one by one.
const RECENT_MAX: usize = 32;

/// How many times as many an array holds as the one before it.
const RUN_GROWTH: usize = 16;

/// One in so many ranges of the arrays may be gone.
const GONE_SHARE: usize = 8;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::cabinet::workload::{seeded, value};

    proptest! {
        #![proptest_config(seeded(128))]

        #[test]
        fn exactly_those_that_hold_a_value_are_found(
            ends in prop::collection::vec((prop::option::weighted(0.9, 0..50_i64), prop::option::weighted(0.9, 0..50_i64)), 0..1_500),
            gone in prop::collection::btree_set(0..300_u64, 0..200),
            back in prop::collection::btree_set(0..300_u64, 0..100),
            value in 0..50_i64,
        ) {
            let mut ranges = Ranges::default();
            for (id, (from, to)) in (0..).zip(&ends) {
                ranges.insert(from.map(Value::Int).as_ref(), to.map(Value::Int).as_ref(), WatcherId(id));
            }
            for id in &gone {
                if let Some((from, to)) = usize::try_from(*id).ok().and_then(|id| ends.get(id)) {
                    ranges.remove(from.map(Value::Int).as_ref(), to.map(Value::Int).as_ref(), WatcherId(*id));
                }
            }
            // Some come back.
            for id in &back {
                if let Some((from, to)) = usize::try_from(*id).ok().and_then(|id| ends.get(id)).filter(|_| gone.contains(id)) {
                    ranges.insert(from.map(Value::Int).as_ref(), to.map(Value::Int).as_ref(), WatcherId(*id));
                }
            }
            let mut found = Vec::new();
            ranges.gather(&Value::Int(value), &mut found);
            let found: BTreeSet<u64> = found.iter().map(|id| id.0).collect();
            let holds = |(from, to): &(Option<i64>, Option<i64>)| from.is_none_or(|from| from <= value) && to.is_none_or(|to| value <= to);
            let expected = (0..).zip(&ends).filter(|(id, ends)| (!gone.contains(id) || back.contains(id)) && holds(ends)).map(|(id, _)| id);
            prop_assert_eq!(found, expected.collect::<BTreeSet<u64>>());
        }

        #[test]
        fn ends_keep_the_order_of_values(a in value(), b in value()) {
            prop_assert!(a > b || end(&a) <= end(&b));
        }
    }
}
