//! Watchers, found by what an object has: a value, a word, its name.

use std::collections::{BTreeSet, HashMap};

use crate::watchers::WatcherId;

/// Watchers by the marks of what they wait for.
///
/// A mark is a hash: found in one step however many there are, at the same few bytes whatever it stands for. Should two things have one
/// mark, a commit that touches one asks the watchers of the other, too, and their queries say no.
#[derive(Debug, Default)]
pub(super) struct Table(HashMap<u64, Ids>);

/// Nearly always there is one.
#[derive(Debug)]
enum Ids {
    One(WatcherId),
    /// In a place of its own: what is mostly one is to take little room, because many are looked for in no order.
    #[expect(clippy::box_collection, reason = "it is rare, and large beside the other")]
    Some(Box<BTreeSet<WatcherId>>),
}

impl Table {
    pub(super) fn insert(&mut self, mark: u64, id: WatcherId) {
        let ids = self.0.entry(mark).or_insert(Ids::One(id));
        match ids {
            Ids::One(first) if *first == id => {}
            Ids::One(first) => *ids = Ids::Some(Box::new([*first, id].into())),
            Ids::Some(all) => {
                all.insert(id);
            }
        }
    }

    /// Forgets that a watcher waits, and the mark with the last one.
    pub(super) fn remove(&mut self, mark: u64, id: WatcherId) {
        let is_last = match self.0.get_mut(&mark) {
            None => false,
            Some(Ids::One(only)) => *only == id,
            Some(Ids::Some(all)) => {
                all.remove(&id);
                all.is_empty()
            }
        };
        if is_last {
            self.0.remove(&mark);
        }
    }

    /// Adds those who wait for this.
    pub(super) fn gather(&self, mark: u64, found: &mut Vec<WatcherId>) {
        match self.0.get(&mark) {
            None => {}
            Some(Ids::One(id)) => found.push(*id),
            Some(Ids::Some(all)) => found.extend(&**all),
        }
    }

    /// How many wait for this.
    pub(super) fn count(&self, mark: u64) -> usize {
        match self.0.get(&mark) {
            None => 0,
            Some(Ids::One(_)) => 1,
            Some(Ids::Some(all)) => all.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
