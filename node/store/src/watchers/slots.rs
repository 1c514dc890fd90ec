//! Where watchers are kept.

use super::WatcherId;
use super::watcher::Watcher;

/// Watchers by their names.
///
/// A name is the number of a slot and how often that was used before, so that a watcher is found at once, where a map of many takes several
/// looks at memory that is in no cache. Slots stay where they are; there are as many as there ever were watchers at once, rounded up.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// Each has [`CHUNK_SLOTS`].
    chunks: Vec<Box<[Slot]>>,
    /// Numbers of slots that nobody is in. The last one is used next.
    free: Vec<u32>,
    count: usize,
}

#[derive(Debug, Default)]
struct Slot {
    /// How often it was used before.
    used: u32,
    watcher: Option<Watcher>,
}

impl Slots {
    /// Keeps a watcher, and names it.
    ///
    /// # Panics
    /// When there are four thousand million watchers.
    pub(super) fn insert(&mut self, watcher: Watcher) -> WatcherId {
        if self.free.is_empty() {
            let first = u32::try_from(self.chunks.len() * CHUNK_SLOTS).expect("the number of watchers is bounded");
            self.chunks.push((0..CHUNK_SLOTS).map(|_| Slot::default()).collect());
            self.free.extend((first..).take(CHUNK_SLOTS).collect::<Vec<u32>>().into_iter().rev());
        }
        let number = self.free.pop().expect("there are free ones now");
        let slot = self.slot(number).expect("what is free is there");
        slot.watcher = Some(watcher);
        let id = WatcherId(u64::from(slot.used) << u32::BITS | u64::from(number));
        self.count += 1;
        id
    }

    pub(super) fn get(&self, id: WatcherId) -> Option<&Watcher> {
        let (used, number) = parts(id);
        let (chunk, place) = place(number);
        self.chunks.get(chunk)?.get(place).filter(|slot| slot.used == used)?.watcher.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: WatcherId) -> Option<&mut Watcher> {
        let (used, number) = parts(id);
        self.slot(number).filter(|slot| slot.used == used)?.watcher.as_mut()
    }

    pub(super) fn remove(&mut self, id: WatcherId) -> Option<Watcher> {
        let (used, number) = parts(id);
        let slot = self.slot(number).filter(|slot| slot.used == used)?;
        let watcher = slot.watcher.take()?;
        let next = slot.used.checked_add(1);
        slot.used = next.unwrap_or(used);
        // A slot whose names are all given is never used again.
        self.free.extend(next.map(|_| number));
        self.count -= 1;
        Some(watcher)
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    fn slot(&mut self, number: u32) -> Option<&mut Slot> {
        let (chunk, place) = place(number);
        self.chunks.get_mut(chunk)?.get_mut(place)
    }
}

fn parts(id: WatcherId) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = id.0.to_be_bytes();
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
}

fn place(number: u32) -> (usize, usize) {
    let number = number as usize;
    (number / CHUNK_SLOTS, number % CHUNK_SLOTS)
}

/// Some 30 KiB each.
const CHUNK_SLOTS: usize = 64;

#[cfg(test)]
mod tests {
    use caps_model::messages::{From, Subscribe};
    use caps_model::{Name, Position, Query};

    use super::*;
    use crate::state::MemoryState;

    fn watcher() -> Watcher {
        let subscribe = Subscribe::new(Query::all(Name::fixed("case")), From::Present);
        Watcher::new(subscribe, Position::ZERO, 0, &MemoryState::new()).unwrap()
    }

    #[test]
    fn a_name_is_given_once_and_a_slot_again() {
        let mut slots = Slots::default();
        let ids: Vec<WatcherId> = (0..100).map(|_| slots.insert(watcher())).collect();
        assert!(ids.is_sorted() && slots.len() == 100);
        assert!(slots.remove(ids[70]).is_some() && slots.remove(ids[70]).is_none());
        assert!(slots.get(ids[70]).is_none() && slots.get(ids[71]).is_some());
        let again = slots.insert(watcher());
        assert!(!ids.contains(&again) && slots.get_mut(again).is_some() && slots.get_mut(ids[70]).is_none());
        assert_eq!((parts(again), slots.len(), slots.chunks.len()), ((1, 70), 100, 2));
    }
}
