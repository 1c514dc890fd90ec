//! The table: what recent commits wrote, in memory and in order.

use std::cmp::Ordering;
use std::collections::{BTreeMap, btree_map};
use std::ops::Bound;

use crate::state::key::Key;

/// An ordered map of keys to values, and of what is gone.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// By the spaces of keys: short keys in small maps are quicker than long keys in one.
    spaces: BTreeMap<Box<[u8]>, BTreeMap<Rest, Entry>>,
    size_bytes: usize,
}

/// A value; `None`: the key is gone, whatever older runs say.
pub(super) type Entry = Option<Box<[u8]>>;

/// Entries of one space, from both ends.
pub(super) type Entries<'a> = btree_map::Range<'a, Rest, Entry>;

/// The rest of a key, mostly kept in place: following a pointer at every comparison is most of the cost of a large map.
#[derive(Debug)]
pub(super) enum Rest {
    Short { length: u8, bytes: [u8; SHORT_BYTES_MAX] },
    Long(Box<[u8]>),
}

impl Table {
    /// Writes a value, or that the key is gone.
    pub(super) fn put(&mut self, key: &Key, value: Entry) {
        self.size_bytes += key.rest().len() + value.as_ref().map_or(0, |value| value.len()) + ENTRY_BYTES;
        let rest = Rest::new(key.rest());
        match self.spaces.get_mut(key.space()) {
            Some(space) => space.insert(rest, value),
            None => self.spaces.entry(key.space().into()).or_default().insert(rest, value),
        };
    }

    /// What it says of a key; `None`: nothing.
    pub(super) fn get(&self, key: &Key) -> Option<&Entry> {
        self.spaces.get(key.space())?.get(key.rest())
    }

    /// Its entries in a part of a space, which must not be empty by its bounds.
    pub(super) fn range(&self, space: &[u8], bounds: (Bound<&[u8]>, Bound<&[u8]>)) -> Option<Entries<'_>> {
        self.spaces.get(space).map(|space| space.range::<[u8], _>(bounds))
    }

    /// All of it, in the order of keys.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8], Option<&[u8]>)> {
        self.spaces.iter().flat_map(|(space, entries)| entries.iter().map(|(rest, entry)| (&**space, rest.as_bytes(), entry.as_deref())))
    }

    /// Whether nothing was written.
    pub(super) fn is_empty(&self) -> bool {
        self.spaces.is_empty()
    }

    /// The memory that it takes, about; overwriting counts again.
    pub(super) fn size_bytes(&self) -> usize {
        self.size_bytes
    }
}

impl Rest {
    fn new(rest: &[u8]) -> Self {
        let mut bytes = [0; SHORT_BYTES_MAX];
        match (bytes.get_mut(..rest.len()), u8::try_from(rest.len())) {
            (Some(start), Ok(length)) => {
                start.copy_from_slice(rest);
                Self::Short { length, bytes }
            }
            _ => Self::Long(rest.into()),
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { length, bytes } => &bytes[..usize::from(*length)],
            Self::Long(bytes) => bytes,
        }
    }
}

impl std::borrow::Borrow<[u8]> for Rest {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq for Rest {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Rest {}

impl PartialOrd for Rest {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Rest {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

/// Ids, positions, numbers and short words are not longer, with the id that follows them.
const SHORT_BYTES_MAX: usize = 38;

/// What an entry takes beside its bytes: its place in a map that is two thirds full.
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

    #[test]
    fn short_and_long_keys_order_as_bytes() {
        for (a, b) in [(vec![1; 38], vec![1; 39]), (vec![1; 40], vec![2]), (vec![], vec![0])] {
            assert!(Rest::new(&a) < Rest::new(&b));
        }
    }
}
