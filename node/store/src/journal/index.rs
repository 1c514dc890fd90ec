//! Where each entry is, and the most recent entries themselves: what both halves of a journal share.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::envelope::{Class, Envelope};
use super::{Entry, EntryKind, HardState, Record, Seat};

/// Where a record is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) segment: u32,
    /// The offset in the segment in units of [`ALIGNMENT`](super::format::ALIGNMENT), so that 32 bits suffice.
    pub(super) word: u32,
}

/// 16 bytes an entry: a log of 10 million entries costs 160 MB.
#[derive(Clone, Copy, Debug)]
struct Slot {
    term: u64,
    location: Location,
}

/// The log as consensus sees it: staged entries included.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The slot of index 1 is the first.
    slots: Vec<Slot>,
    /// The last entries, up to the very last one.
    recent: VecDeque<Entry>,
    recent_bytes: usize,
    recent_bytes_max: usize,
    /// The entries that change the membership, by index. Each is an administrator's doing, or a repair's: there are few.
    changes: BTreeMap<u64, Entry>,
    /// The entries that ask for slots to be emptied. Each is an administrator's doing.
    obliterations: BTreeSet<u64>,
    /// The segment that is being written.
    pub(super) tail_segment: u32,
    pub(super) hard_state: HardState,
    pub(super) seat: Option<Seat>,
    /// The last entry on disk when the last sync began.
    pub(super) durable_index: u64,
    pub(super) size_bytes: u64,
    pub(super) batches: u64,
}

/// An entry, or where to find it.
#[derive(Debug)]
pub(super) enum Held {
    Entry(Entry),
    OnDisk { location: Location, index: u64, term: u64 },
}

impl Index {
    pub(super) fn new(recent_bytes_max: usize) -> Self {
        Self { recent_bytes_max, ..Self::default() }
    }

    pub(super) fn last_index(&self) -> u64 {
        self.slots.len() as u64
    }

    pub(super) fn term(&self, index: u64) -> Option<u64> {
        match index.checked_sub(1) {
            None => Some(0),
            Some(place) => self.slots.get(usize::try_from(place).ok()?).map(|slot| slot.term),
        }
    }

    pub(super) fn held(&self, index: u64) -> Option<Held> {
        let slot = self.slots.get(usize::try_from(index.checked_sub(1)?).ok()?)?;
        let first_recent = self.last_index() - self.recent.len() as u64 + 1;
        let recent = index.checked_sub(first_recent).and_then(|place| self.recent.get(usize::try_from(place).ok()?));
        Some(match recent {
            Some(entry) => Held::Entry(entry.clone()),
            None => Held::OnDisk { location: slot.location, index, term: slot.term },
        })
    }

    /// Takes in a record that is not on disk yet.
    ///
    /// # Panics
    /// When an entry leaves a gap after the last one: consensus never does that.
    pub(super) fn stage(&mut self, record: &Record) {
        match record {
            Record::HardState(state) => self.hard_state = *state,
            Record::Seat(seat) => self.seat = Some(seat.clone()),
            Record::Entry(entry) => self.put(entry.clone(), UNWRITTEN),
        }
    }

    /// Takes in an entry; `location` says where it is on disk. It supersedes what had its index, and everything after.
    ///
    /// # Panics
    /// When the entry leaves a gap.
    pub(super) fn put(&mut self, entry: Entry, location: Location) {
        assert!(entry.index >= 1 && entry.index <= self.last_index() + 1, "entry {} after {}", entry.index, self.last_index());
        self.cut(entry.index);
        self.slots.push(Slot { term: entry.term, location });
        if entry.kind != EntryKind::Normal {
            self.changes.insert(entry.index, entry.clone());
        } else if Envelope::parse(&entry.payload).is_some_and(|envelope| envelope.class == Class::Obliteration) {
            self.obliterations.insert(entry.index);
        }
        self.recent_bytes += entry.payload.len();
        self.recent.push_back(entry);
        self.forget();
    }

    /// Notes where an entry was written. Nothing happens when it was superseded in the meantime.
    pub(super) fn written(&mut self, index: u64, term: u64, location: Location) {
        let slot = usize::try_from(index - 1).ok().and_then(|place| self.slots.get_mut(place));
        // Entries of equal index and term are equal: Raft's log matching.
        if let Some(slot) = slot.filter(|slot| slot.term == term) {
            slot.location = location;
        }
    }

    /// Forgets recent entries beyond the bound, unless memory is the only place where they are.
    pub(super) fn forget(&mut self) {
        while self.recent_bytes > self.recent_bytes_max {
            let first = self.slots.len() - self.recent.len();
            if self.recent.is_empty() || self.slots[first].location == UNWRITTEN {
                break;
            }
            self.recent_bytes -= self.recent.pop_front().map_or(0, |entry| entry.payload.len());
        }
    }

    /// The entries up to `last` that change the membership.
    pub(super) fn changes(&self, last: u64) -> Vec<Entry> {
        self.changes.range(..=last).map(|(_, entry)| entry.clone()).collect()
    }

    /// The entries up to `last` that ask for slots to be emptied.
    pub(super) fn obliterations(&self, last: u64) -> Vec<u64> {
        self.obliterations.range(..=last).copied().collect()
    }

    /// The last entry that asks for slots to be emptied; 0: none does.
    pub(super) fn last_obliteration(&self) -> u64 {
        self.obliterations.last().copied().unwrap_or(0)
    }

    /// Whether the entry with this index is the one at that place.
    pub(super) fn is_at(&self, index: u64, location: Location) -> bool {
        let slot = index.checked_sub(1).and_then(|place| self.slots.get(usize::try_from(place).ok()?));
        slot.is_some_and(|slot| slot.location == location)
    }

    /// Forgets recent entries up to `last`, unless memory is the only place where they are.
    pub(super) fn forget_up_to(&mut self, last: u64) {
        while let Some(entry) = self.recent.front().filter(|entry| entry.index <= last) {
            if self.slots[self.slots.len() - self.recent.len()].location == UNWRITTEN {
                break;
            }
            self.recent_bytes -= entry.payload.len();
            self.recent.pop_front();
        }
    }

    fn cut(&mut self, index: u64) {
        drop(self.changes.split_off(&index));
        drop(self.obliterations.split_off(&index));
        while self.last_index() >= index {
            self.slots.pop();
            self.recent_bytes -= self.recent.pop_back().map_or(0, |entry| entry.payload.len());
        }
    }
}

const UNWRITTEN: Location = Location { segment: u32::MAX, word: u32::MAX };
