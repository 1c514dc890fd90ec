//! Each object by itself: is there an order of its operations, each at one moment between its start and its end, that explains what they saw?
//!
//! The search is Wing and Gong's ("Testing and verifying concurrent objects", 1993) with Lowe's memory of configurations seen before ("Testing
//! for linearizability", 2017), as in Porcupine. Objects are looked at one by one, which is enough (Herlihy and Wing, "Linearizability", 1990).
//! What nobody knows the outcome of may stand anywhere after its start, or nowhere.

use std::collections::{BTreeMap, HashSet};

use super::{Anomaly, Answer, Asked, Judgement, Operation};

/// What an operation does to one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It sees this.
    Read(Option<i64>),
    /// It leaves this, whatever was there.
    Write(i64),
    /// It sees one thing and leaves another.
    Change(Option<i64>, i64),
    /// It finds something other than this.
    Unlike(i64),
}

/// An operation on one object.
#[derive(Clone, Debug)]
struct Event<'a> {
    operation: &'a Operation,
    step: Step,
    start: u64,
    /// When it was over for certain; none: it may not have happened.
    end: Option<u64>,
}

/// How a search ended.
enum Search<'a> {
    Explained,
    /// The most that could be explained: so many operations, after which the object holds this, and this one fits nowhere.
    Impossible {
        explained: usize,
        value: Option<i64>,
        stuck: &'a Operation,
    },
    TooLong,
}

/// Looks at every object of a history.
pub fn check(history: &[Operation], judgement: &mut Judgement) {
    let mut objects: BTreeMap<&str, Vec<Event<'_>>> = BTreeMap::new();
    for operation in history {
        for (object, step) in steps(operation) {
            let end = matches!(operation.result, Answer::Happened { .. } | Answer::Conflict).then_some(operation.end).flatten();
            objects.entry(object).or_default().push(Event { operation, step, start: operation.start, end });
        }
    }
    judgement.objects += objects.len();
    for (object, events) in objects {
        match Configuration::new(&events).search(&events) {
            Search::Explained => {}
            Search::TooLong => judgement.undecided.push(object.to_owned()),
            Search::Impossible { explained, value, stuck } => {
                let held = value.map_or("nothing".to_owned(), |value| value.to_string());
                let after = format!("after {explained} operations that make sense it holds {held}");
                judgement.find(Anomaly::NotLinearizable, format!("{object}: {after}, and nowhere fits: {stuck}"));
            }
        }
    }
}

/// What an operation does, object by object. What may be old says nothing here.
fn steps(operation: &Operation) -> Vec<(&str, Step)> {
    if operation.may_be_old() {
        return Vec::new();
    }
    if let (Answer::Conflict, Asked::CompareAndSet { object, expected, .. }) = (&operation.result, &operation.asked) {
        return vec![(object, Step::Unlike(*expected))];
    }
    let Some(seen) = operation.seen() else { return Vec::new() };
    // Of several values for one object the last one stays.
    let writes: BTreeMap<&str, i64> = operation.writes().into_iter().collect();
    let compared = match &operation.asked {
        Asked::CompareAndSet { object, expected, .. } => Some((object.as_str(), Some(*expected))),
        _ => None,
    };
    let mut reads: BTreeMap<&str, Option<i64>> = seen.iter().map(|(object, seen)| (object.as_str(), seen.value)).collect();
    reads.extend(compared);
    let only_read = reads.iter().filter(|(object, _)| !writes.contains_key(*object)).map(|(object, value)| (*object, Step::Read(*value)));
    let written = writes.iter().map(|(object, value)| {
        let step = reads.get(object).map_or(Step::Write(*value), |before| Step::Change(*before, *value));
        (*object, step)
    });
    // What may not have happened asserts nothing about what it saw.
    let happened = matches!(operation.result, Answer::Happened { .. });
    only_read.filter(|_| happened).chain(written).collect()
}

impl Step {
    /// What the object holds afterwards; `None`: it cannot come next.
    fn after(self, value: Option<i64>) -> Option<Option<i64>> {
        match self {
            Self::Read(seen) => (seen == value).then_some(value),
            Self::Write(new) => Some(Some(new)),
            Self::Change(seen, new) => (seen == value).then_some(Some(new)),
            Self::Unlike(not) => (value != Some(not)).then_some(value),
        }
    }
}

/// A point in the search: the moments of starting and ending that have not been dealt with, as a list that things are taken out of and put back
/// into, and which operations have been.
struct Configuration {
    /// Before and after each moment; moment 0 is the list's head.
    previous: Vec<usize>,
    next: Vec<usize>,
    /// Of each moment its event, and whether it is the start.
    moments: Vec<(usize, bool)>,
    /// Of each event its two moments.
    places: Vec<(usize, Option<usize>)>,
    explained: Bits,
    /// Events that must be explained and have not been.
    left: usize,
}

type Bits = Vec<u64>;

impl Configuration {
    fn new(events: &[Event<'_>]) -> Self {
        let mut sorted: Vec<(u64, bool, usize)> = Vec::new();
        for (number, event) in events.iter().enumerate() {
            // At the same nanosecond starts come first: such operations are taken for concurrent.
            sorted.push((event.start, false, number));
            sorted.extend(event.end.map(|end| (end, true, number)));
        }
        sorted.sort_unstable();
        let mut places = vec![(0, None); events.len()];
        let mut moments = vec![(usize::MAX, true)];
        for (_, is_end, number) in sorted {
            if is_end {
                places[number].1 = Some(moments.len());
            } else {
                places[number].0 = moments.len();
            }
            moments.push((number, !is_end));
        }
        let count = moments.len();
        let previous = (0..count).map(|at| at.checked_sub(1).unwrap_or(count - 1)).collect();
        let next = (0..count).map(|at| (at + 1) % count).collect();
        let left = events.iter().filter(|event| event.end.is_some()).count();
        Self { previous, next, moments, places, explained: vec![0; events.len().div_ceil(64)], left }
    }

    fn search<'a>(mut self, events: &[Event<'a>]) -> Search<'a> {
        let mut seen: HashSet<(Bits, Option<i64>)> = HashSet::new();
        let mut path: Vec<(usize, Option<i64>)> = Vec::new();
        let (mut value, mut at) = (None, self.next[0]);
        let mut best: Option<(usize, Option<i64>, usize)> = None;
        while self.left > 0 {
            let (number, is_start) = self.moments[at];
            if !is_start {
                // It is over here and has not been placed: something before must have been placed wrongly.
                if best.is_none_or(|(explained, ..)| path.len() >= explained) {
                    best = Some((path.len(), value, number));
                }
                let Some((last, before)) = path.pop() else {
                    let (explained, value, stuck) = best.unwrap_or((0, None, number));
                    return Search::Impossible { explained, value, stuck: events[stuck].operation };
                };
                self.put_back(last, events);
                value = before;
                at = self.next[self.places[last].0];
                continue;
            }
            let after = events[number].step.after(value);
            self.explained[number / 64] ^= 1 << (number % 64);
            match after.filter(|after| seen.insert((self.explained.clone(), *after))) {
                Some(after) => {
                    path.push((number, value));
                    value = after;
                    self.take_out(number, events);
                    at = self.next[0];
                }
                None => {
                    self.explained[number / 64] ^= 1 << (number % 64);
                    at = self.next[at];
                }
            }
            if seen.len() > CONFIGURATIONS_MAX {
                return Search::TooLong;
            }
        }
        Search::Explained
    }

    fn take_out(&mut self, event: usize, events: &[Event<'_>]) {
        let (start, end) = self.places[event];
        for at in [Some(start), end].into_iter().flatten() {
            let (previous, next) = (self.previous[at], self.next[at]);
            self.next[previous] = next;
            self.previous[next] = previous;
        }
        self.left -= usize::from(events[event].end.is_some());
    }

    /// Undoes the last [`take_out`](Self::take_out): the moments still know their neighbours.
    fn put_back(&mut self, event: usize, events: &[Event<'_>]) {
        let (start, end) = self.places[event];
        for at in [end, Some(start)].into_iter().flatten() {
            let (previous, next) = (self.previous[at], self.next[at]);
            self.next[previous] = at;
            self.previous[next] = at;
        }
        self.explained[event / 64] ^= 1 << (event % 64);
        self.left += usize::from(events[event].end.is_some());
    }
}

/// Configurations remembered for one object before the search is given up: some hundred MB at worst.
const CONFIGURATIONS_MAX: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::history::Seen;

    fn operation(process: u32, asked: Asked, result: Answer, (start, end): (u64, u64)) -> Operation {
        Operation { process, asked, result, start, end: Some(end), commit: None }
    }

    fn write(process: u32, value: i64, when: (u64, u64)) -> Operation {
        operation(process, Asked::Write { object: x(), value }, answer(None), when)
    }

    fn read(process: u32, value: i64, when: (u64, u64)) -> Operation {
        operation(process, Asked::Read { object: x() }, answer(Some(value)), when)
    }

    fn add(process: u32, before: i64, when: (u64, u64)) -> Operation {
        operation(process, Asked::Add { object: x(), amount: 1 }, answer(Some(before)), when)
    }

    fn set(process: u32, (expected, value): (i64, i64), result: Answer, when: (u64, u64)) -> Operation {
        operation(process, Asked::CompareAndSet { object: x(), expected, value }, result, when)
    }

    fn x() -> String {
        "x".to_owned()
    }

    fn answer(value: Option<i64>) -> Answer {
        let seen = value.map(|value| (x(), Seen { value: Some(value), version: 0 }));
        Answer::Happened { position: 0, seen: seen.into_iter().collect() }
    }

    fn unknown(mut operation: Operation) -> Operation {
        let seen = operation.seen().cloned().unwrap_or_default();
        operation.result = Answer::Unknown { seen };
        operation
    }

    fn linearizable(history: &[Operation]) -> bool {
        let mut judgement = Judgement::default();
        check(history, &mut judgement);
        assert!(judgement.undecided.is_empty());
        judgement.is_good()
    }

    #[test]
    fn reads_see_the_last_write() {
        assert!(linearizable(&[write(1, 1, (0, 1)), read(2, 1, (2, 3)), write(1, 2, (4, 5)), read(2, 2, (6, 7))]));
        assert!(!linearizable(&[write(1, 1, (0, 1)), write(1, 2, (2, 3)), read(2, 1, (4, 5))]));
    }

    #[test]
    fn concurrent_reads_may_disagree_only_in_one_direction() {
        // While 2 is being written, one may see it and a later one must then see it, too.
        let base = [write(1, 1, (0, 1)), write(1, 2, (2, 20))];
        assert!(linearizable(&[&base[..], &[read(2, 1, (3, 4)), read(3, 2, (5, 6))]].concat()));
        assert!(!linearizable(&[&base[..], &[read(2, 2, (3, 4)), read(3, 1, (5, 6))]].concat()));
        assert!(linearizable(&[&base[..], &[read(2, 2, (3, 5)), read(3, 1, (4, 6))]].concat()));
    }

    #[test]
    fn additions_are_never_lost() {
        assert!(linearizable(&[write(1, 0, (0, 1)), add(1, 0, (2, 9)), add(2, 1, (2, 9)), read(3, 2, (10, 11))]));
        assert!(!linearizable(&[write(1, 0, (0, 1)), add(1, 0, (2, 9)), add(2, 0, (2, 9)), read(3, 1, (10, 11))]));
    }

    #[test]
    fn comparison_holds_when_it_sets_and_does_not_when_it_fails() {
        let base = write(1, 1, (0, 1));
        assert!(linearizable(&[base.clone(), set(2, (1, 2), answer(None), (2, 3)), read(3, 2, (4, 5))]));
        assert!(!linearizable(&[base.clone(), set(2, (7, 2), answer(None), (2, 3))]));
        assert!(linearizable(&[base.clone(), set(2, (7, 2), Answer::Conflict, (2, 3)), read(3, 1, (4, 5))]));
        // It says that there was something other than 1, and nobody ever wrote anything else.
        assert!(!linearizable(&[base, set(2, (1, 2), Answer::Conflict, (2, 3))]));
    }

    #[test]
    fn what_nobody_knows_happened_or_did_not_and_only_once() {
        let maybe = |operation| [write(1, 1, (0, 1)), unknown(operation)];
        let with = |operation, more: &[Operation]| linearizable(&[&maybe(operation)[..], more].concat());
        assert!(with(write(2, 2, (2, 3)), &[read(3, 1, (4, 5)), read(3, 1, (90, 91))]));
        assert!(with(write(2, 2, (2, 3)), &[read(3, 1, (4, 5)), read(3, 2, (90, 91))]));
        assert!(!with(write(2, 2, (2, 3)), &[read(3, 2, (4, 5)), read(3, 1, (90, 91))]));
        assert!(!with(write(2, 2, (20, 30)), &[read(3, 2, (4, 5))]), "not before it was asked for");
        assert!(with(add(2, 1, (2, 3)), &[write(3, 9, (4, 5)), read(3, 9, (6, 7))]));
        assert!(!with(add(2, 1, (2, 3)), &[write(3, 9, (4, 5)), read(3, 10, (6, 7))]));
    }

    #[test]
    fn transactions_count_for_each_of_their_objects() {
        let transaction = |seen: i64, when| {
            let asked = Asked::Transaction { reads: vec![x()], writes: vec![("y".to_owned(), 5)] };
            operation(2, asked, answer(Some(seen)), when)
        };
        assert!(linearizable(&[write(1, 1, (0, 1)), transaction(1, (2, 3))]));
        assert!(!linearizable(&[write(1, 1, (0, 1)), write(1, 2, (2, 3)), transaction(1, (4, 5))]));
    }

    #[test]
    fn old_snapshots_are_allowed() {
        let mut old = read(2, 1, (4, 5));
        old.asked = Asked::Snapshot { objects: vec![x()], at_least: 0 };
        assert!(linearizable(&[write(1, 1, (0, 1)), write(1, 2, (2, 3)), old]));
    }

    #[test]
    fn a_long_busy_history_is_decided() {
        // Eight processes, each of whose 500 operations overlaps with those of all others.
        let mut history = vec![write(99, 0, (0, 1))];
        for round in 0..500_u64 {
            let (start, end) = (10 + round * 100, 90 + round * 100);
            let base = i64::try_from(round).unwrap() * 8;
            for process in 0..8_u32 {
                history.push(add(process, base + i64::from(process), (start + u64::from(process), end)));
            }
        }
        assert!(linearizable(&history));
        let mut broken = history.clone();
        broken.push(read(50, 3, (70_000, 70_001)));
        assert!(!linearizable(&broken));
    }

    #[test]
    fn each_step_of_an_operation_is_known() {
        let asked = Asked::Transaction { reads: vec![x()], writes: vec![(x(), 1), (x(), 2)] };
        let seen = BTreeMap::from([(x(), Seen { value: None, version: 0 })]);
        let transaction = operation(1, asked, Answer::Happened { position: 1, seen }, (0, 1));
        assert_eq!(steps(&transaction), [("x", Step::Change(None, 2))]);
    }
}
