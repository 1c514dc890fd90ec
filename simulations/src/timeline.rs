//! Events in the order of their time; those of one moment in the order in which they were planned.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// What is going to happen, and when. Times are nanoseconds since the beginning of the world.
#[derive(Debug)]
pub(crate) struct Timeline<E> {
    heap: BinaryHeap<Planned<E>>,
    planned: u64,
}

#[derive(Debug)]
struct Planned<E> {
    at_ns: u64,
    turn: u64,
    event: E,
}

impl<E> Timeline<E> {
    pub(crate) fn new() -> Self {
        Self { heap: BinaryHeap::new(), planned: 0 }
    }

    pub(crate) fn plan(&mut self, at_ns: u64, event: E) {
        let turn = self.planned;
        self.planned += 1;
        self.heap.push(Planned { at_ns, turn, event });
    }

    /// When the next event happens.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        self.heap.peek().map(|planned| planned.at_ns)
    }

    /// Takes the next event, if it is due.
    pub(crate) fn pop_due(&mut self, now_ns: u64) -> Option<E> {
        if self.next_ns()? > now_ns {
            return None;
        }
        self.heap.pop().map(|planned| planned.event)
    }
}

impl<E> PartialEq for Planned<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Planned<E> {}

impl<E> PartialOrd for Planned<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Planned<E> {
    /// The heap gives the greatest first: that is the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at_ns, other.turn).cmp(&(self.at_ns, self.turn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_by_turn() {
        let mut timeline = Timeline::new();
        for (at, event) in [(5, 'c'), (1, 'a'), (5, 'd'), (3, 'b')] {
            timeline.plan(at, event);
        }
        assert_eq!((timeline.next_ns(), timeline.pop_due(0)), (Some(1), None));
        assert_eq!(std::iter::from_fn(|| timeline.pop_due(5)).collect::<String>(), "abcd");
    }
}
