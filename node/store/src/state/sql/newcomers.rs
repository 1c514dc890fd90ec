//! Which ids are new for certain, so that nobody need ask the database for what it cannot have.
//!
//! Ids sort by birth. When a state is opened, the ids that it has leave a gap around the present: beyond the newest one of the past, and before the
//! first of those that were made of something else than the time. What comes into the gap is remembered, so of every id in it is known whether it was
//! there before.

use std::collections::BTreeSet;

/// The gap, and the ids that came into it.
#[derive(Debug)]
pub(super) struct Newcomers {
    /// The last id before the gap; none: it begins with the first id there is.
    after: Option<u128>,
    /// The first id behind it; none: it has no end.
    before: Option<u128>,
    came: BTreeSet<u128>,
}

impl Newcomers {
    /// The gap between two ids that are there.
    pub(super) fn between(after: Option<u128>, before: Option<u128>) -> Self {
        Self { after, before, came: BTreeSet::new() }
    }

    /// Whether it is certain that this id was not there.
    pub(super) fn is_new(&self, id: u128) -> bool {
        self.is_in_gap(id) && !self.came.contains(&id)
    }

    /// Remembers that an id is there from now on.
    pub(super) fn came(&mut self, id: u128) {
        if !self.is_in_gap(id) {
            return;
        }
        self.came.insert(id);
        if self.came.len() > REMEMBERED_MAX {
            // Of the older half the database is asked again.
            let middle = self.came.iter().nth(REMEMBERED_MAX / 2).copied();
            if let Some(middle) = middle {
                self.came = self.came.split_off(&middle);
                self.after = Some(middle);
            }
        }
    }

    fn is_in_gap(&self, id: u128) -> bool {
        self.after.is_none_or(|after| id > after) && self.before.is_none_or(|before| id < before)
    }
}

/// The first id that could be born an hour after a moment, in microseconds since 1970: clocks differ by less than that.
pub(super) fn future_of(moment: i64) -> u128 {
    let milliseconds = u128::try_from(moment / 1_000).unwrap_or_default() + 3_600_000;
    milliseconds << 80
}

/// Ids that are remembered, 16 bytes each and what a tree needs besides.
const REMEMBERED_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_in_the_gap_are_new_until_they_came() {
        let mut ids = Newcomers::between(Some(10), Some(20));
        assert_eq!([10, 11, 19, 20].map(|id| ids.is_new(id)), [false, true, true, false]);
        [11, 20, 30].into_iter().for_each(|id| ids.came(id));
        assert_eq!([11, 12, 19].map(|id| ids.is_new(id)), [false, true, true]);
        let open = Newcomers::between(None, None);
        assert!(open.is_new(0) && open.is_new(u128::MAX));
    }

    #[test]
    fn what_is_forgotten_is_not_taken_for_new() {
        let mut ids = Newcomers::between(None, None);
        let last = REMEMBERED_MAX as u128;
        (0..=last).for_each(|id| ids.came(id * 2));
        assert!(ids.came.len() <= REMEMBERED_MAX / 2 + 1);
        assert!((0..=last).all(|id| !ids.is_new(id * 2)), "all of them came");
        assert!(!ids.is_new(1) && ids.is_new(last * 2 - 1), "what lies before the gap is asked for");
    }

    #[test]
    fn the_future_begins_an_hour_from_now() {
        let id = |micros: i64| caps_model::ObjectId::new(u64::try_from(micros / 1_000).unwrap(), u128::MAX).0;
        let now = 1_764_543_600_000_000;
        assert!(id(now + 3_599_000_000) < future_of(now) && id(now + 3_601_000_000) > future_of(now));
        assert_eq!(future_of(-1), future_of(0));
    }
}
