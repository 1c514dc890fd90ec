//! The table: what recent commits wrote, in memory and in order.

use std::collections::{BTreeMap, btree_map};
use std::ops::Bound;

use crate::state::key::Key;
use crate::state::rest::Rest;

/// An ordered map of keys to values, and of what is gone.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// By the spaces of keys: short keys in small maps are quicker than long keys in one.
    spaces: BTreeMap<Box<[u8]>, BTreeMap<Rest, Slot>>,
    /// All values, one after the other: one piece of memory is let go more quickly than many.
    values: Vec<u8>,
    entries: usize,
}

/// A value, or that its key is gone, whatever older runs say.
pub(super) type Entry<'a> = Option<&'a [u8]>;

/// Where a value is among the values; `None`: its key is gone.
type Slot = Option<(u32, u32)>;

/// Entries of a part of a space, from both ends.
#[derive(Debug)]
pub(super) struct Entries<'a> {
    slots: btree_map::Range<'a, Rest, Slot>,
    values: &'a [u8],
}

impl Table {
    /// An empty one with room for as much as this one holds: what grows to megabytes step by step is copied again and again.
    pub(super) fn next(&self) -> Self {
        Self { values: Vec::with_capacity(self.values.len()), ..Self::default() }
    }

    /// Writes a value, or that the key is gone.
    ///
    /// # Panics
    /// When the table holds four gigabytes: it is handed over long before.
    pub(super) fn put(&mut self, key: &Key, value: Entry<'_>) {
        let offset = |bytes: usize| u32::try_from(bytes).expect("a table is bounded");
        let slot = value.map(|value| {
            let begin = self.values.len();
            self.values.extend_from_slice(value);
            (offset(begin), offset(self.values.len()))
        });
        self.entries += 1;
        let rest = Rest::new(key.rest());
        match self.spaces.get_mut(key.space()) {
            Some(space) => space.insert(rest, slot),
            None => self.spaces.entry(key.space().into()).or_default().insert(rest, slot),
        };
    }

    /// What it says of a key; `None`: nothing.
    pub(super) fn get(&self, key: &Key) -> Option<Entry<'_>> {
        self.spaces.get(key.space())?.get(&Rest::new(key.rest())).map(|slot| value_in(&self.values, *slot))
    }

    /// Its entries in a part of a space, which must not be empty by its bounds.
    pub(super) fn range(&self, space: &[u8], bounds: (Bound<&[u8]>, Bound<&[u8]>)) -> Option<Entries<'_>> {
        let bounds = (bounds.0.map(Rest::new), bounds.1.map(Rest::new));
        self.spaces.get(space).map(|space| Entries { slots: space.range(bounds), values: &self.values })
    }

    /// All of it, in the order of keys: their space, the rest, the value.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8], Entry<'_>)> {
        let slots = self.spaces.iter().flat_map(|(space, slots)| slots.iter().map(|(rest, slot)| (&**space, rest.as_bytes(), *slot)));
        slots.map(|(space, rest, slot)| (space, rest, value_in(&self.values, slot)))
    }

    /// Whether nothing was written.
    pub(super) fn is_empty(&self) -> bool {
        self.spaces.is_empty()
    }

    /// The memory that it takes, about; overwriting counts again.
    pub(super) fn size_bytes(&self) -> usize {
        self.values.len() + self.entries * ENTRY_BYTES
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a [u8], Entry<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.slots.next().map(|(rest, slot)| (rest.as_bytes(), value_in(self.values, *slot)))
    }
}

impl DoubleEndedIterator for Entries<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.slots.next_back().map(|(rest, slot)| (rest.as_bytes(), value_in(self.values, *slot)))
    }
}

fn value_in(values: &[u8], slot: Slot) -> Entry<'_> {
    slot.map(|(begin, end)| &values[begin as usize..end as usize])
}

/// What an entry takes beside its value: its place in a map that is two thirds full.
const ENTRY_BYTES: usize = 84;

#[cfg(test)]
mod tests {
    use caps_model::{CommitId, Position};

    use super::*;
    use crate::state::key;

    #[test]
    fn entries_come_in_the_order_of_whole_keys() {
        let mut table = Table::default();
        let keys = [key::fate(CommitId(2)), key::commit(Position(3)), key::fate(CommitId(1)), key::commit(Position(1))];
        keys.iter().for_each(|key| table.put(key, None));
        let mut sorted: Vec<_> = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
        sorted.sort();
        assert_eq!(table.entries().map(|(space, rest, _)| [space, rest].concat()).collect::<Vec<_>>(), sorted);
    }
}
