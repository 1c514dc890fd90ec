//! Reading: the newest of what the table, tables on their way to the disk, and runs say, in order.

use std::ops::{Bound, ControlFlow, Range};
use std::sync::Arc;

use super::block::Block;
use super::filter::Probe;
use super::run::Run;
use super::shelf::Shelf;
use super::table::{Entries, Entry, Table};
use super::{Header, StateError};
use crate::state::key::Key;

/// Everything but the table that is being written, at one moment. It stays readable while it is held.
#[derive(Debug, Default)]
pub(super) struct View {
    /// Full tables that are on their way to the disk, the newest first.
    pub(super) frozen: Vec<Arc<Frozen>>,
    /// The newest first.
    pub(super) runs: Vec<Arc<Run>>,
    /// How far the state is with the runs.
    pub(super) header: Header,
}

/// A table that is complete.
#[derive(Debug)]
pub(super) struct Frozen {
    pub(super) table: Table,
    /// How far the state is with it.
    pub(super) header: Header,
}

/// Everything that can be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    pub(super) shelf: &'a Shelf,
    pub(super) table: &'a Table,
    pub(super) view: &'a View,
}

/// A part of a space, by the rests of its keys; its bounds do not make it empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub(super) space: &'a [u8],
    pub(super) bounds: (Bound<&'a [u8]>, Bound<&'a [u8]>),
    /// What all keys within have as their probe.
    pub(super) probe: Option<Probe>,
}

impl<'a> Reader<'a> {
    /// What `read` makes of the value under a key.
    pub(super) fn get<T>(self, key: &Key, read: impl FnOnce(&[u8]) -> Result<T, StateError>) -> Result<Option<T>, StateError> {
        if let Some(entry) = self.tables().find_map(|table| table.get(key)) {
            return entry.map(read).transpose();
        }
        let probe = Probe::of(key.as_bytes());
        for run in &self.view.runs {
            let Some(info) = run.blocks[..run.blocks_begun(key.as_bytes())].last() else { continue };
            if info.last.as_slice() < key.as_bytes() || probe.is_some_and(|probe| !info.filter.may_hold(probe)) {
                continue;
            }
            let block = self.shelf.block(info)?;
            let entry = block.count_before(|before| before < key.as_bytes());
            if entry < block.len() && block.key(entry) == key.as_bytes() {
                return block.value(entry).map(read).transpose();
            }
        }
        Ok(None)
    }

    /// What `read` makes of the value under the last key from `first` to `last`, in their space, where all keys have one probe and none is
    /// ever gone. It is what a query does most, so it takes the short way.
    pub(super) fn last<T>(
        self,
        first: &Key,
        last: &Key,
        read: impl FnOnce(&[u8]) -> Result<T, StateError>,
    ) -> Result<Option<T>, StateError> {
        let bounds = (Bound::Included(first.rest()), Bound::Included(last.rest()));
        let mut best: Option<Found<'_>> = None;
        for mut entries in self.tables().filter_map(|table| table.range(first.space(), bounds)) {
            if let Some((rest, value)) = entries.next_back()
                && best.as_ref().is_none_or(|best| best.rest() < rest)
            {
                best = Some(Found::InTable(rest, value));
            }
        }
        let probe = Probe::of(first.as_bytes());
        for run in &self.view.runs {
            let found = run.last_within(self.shelf, first.as_bytes(), last.as_bytes(), probe)?;
            if let Some((block, entry)) = found
                && best.as_ref().is_none_or(|best| best.rest() < &block.key(entry)[first.space().len()..])
            {
                best = Some(Found::InBlock(block, entry, first.space().len()));
            }
        }
        best.as_ref().and_then(Found::value).map(read).transpose()
    }

    /// Visits what is in a part of a space, in order or backwards, by the rests of keys and values, until the visitor has enough.
    pub(super) fn visit(
        self,
        part: Part<'_>,
        backwards: bool,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StateError>,
    ) -> Result<(), StateError> {
        let mut cursors = self.cursors(part, backwards)?;
        let is_before = |a: &[u8], b: &[u8]| if backwards { a > b } else { a < b };
        while let Some((foremost, runner_up)) = foremost_two(&cursors, is_before) {
            let Some(runner_up) = runner_up else {
                return cursors[foremost].drain(|_| true, &mut visit).map(drop);
            };
            let [foremost, runner_up] =
                cursors.get_disjoint_mut([foremost, runner_up]).expect("a cursor does not run up to itself, and both are there");
            let (limit, _) = runner_up.head().expect("only what has not ended runs up");
            if foremost.head().is_some_and(|(rest, _)| rest == limit) {
                // The same key in an older place is what was overwritten.
                runner_up.step()?;
            } else if foremost.drain(|rest| is_before(rest, limit), &mut visit)?.is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The newest first.
    fn tables(self) -> impl Iterator<Item = &'a Table> {
        std::iter::once(self.table).chain(self.view.frozen.iter().map(|frozen| &frozen.table))
    }

    fn cursors<'s>(self, part: Part<'s>, backwards: bool) -> Result<Vec<Cursor<'s>>, StateError>
    where
        'a: 's,
    {
        let mut cursors = Vec::new();
        for entries in self.tables().filter_map(|table| table.range(part.space, part.bounds)) {
            cursors.push(Cursor::Table(TableCursor::new(entries, backwards)));
        }
        let (low, high) = part.whole_keys();
        for run in &self.view.runs {
            let blocks = run.blocks_within(&low, &high);
            if !blocks.is_empty() {
                let cursor = RunCursor {
                    shelf: self.shelf,
                    run,
                    low: low.clone(),
                    high: high.clone(),
                    space_bytes: part.space.len(),
                    probe: part.probe,
                    backwards,
                    blocks,
                    block: None,
                    entries: 0..0,
                };
                cursors.push(Cursor::Run(cursor.settled()?));
            }
        }
        Ok(cursors)
    }
}

/// An entry that was found.
enum Found<'a> {
    InTable(&'a [u8], Entry<'a>),
    /// The block, the entry's number, and how much of its key is the space.
    InBlock(Arc<Block>, usize, usize),
}

impl Found<'_> {
    fn rest(&self) -> &[u8] {
        match self {
            Self::InTable(rest, _) => rest,
            Self::InBlock(block, entry, space_bytes) => &block.key(*entry)[*space_bytes..],
        }
    }

    fn value(&self) -> Entry<'_> {
        match self {
            Self::InTable(_, value) => *value,
            Self::InBlock(block, entry, _) => block.value(*entry),
        }
    }
}

impl Part<'_> {
    /// Its bounds as whole keys.
    fn whole_keys(&self) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
        let whole = |bound: Bound<&[u8]>| bound.map(|rest| [self.space, rest].concat());
        let (low, high) = (whole(self.bounds.0), whole(self.bounds.1));
        let after_space = || {
            let mut end = self.space.to_vec();
            // No space ends with the largest byte: it is a letter, or ends a name.
            if let Some(byte) = end.last_mut() {
                *byte = byte.saturating_add(1);
            }
            Bound::Excluded(end)
        };
        let low = if low == Bound::Unbounded { Bound::Included(self.space.to_vec()) } else { low };
        (low, if high == Bound::Unbounded { after_space() } else { high })
    }
}

impl Run {
    /// The blocks that may have keys between these bounds.
    fn blocks_within(&self, low: &Bound<Vec<u8>>, high: &Bound<Vec<u8>>) -> Range<usize> {
        let begin = self.blocks.partition_point(|block| is_below(&block.last, low));
        let length = self.blocks[begin..].partition_point(|block| !is_above(&block.first, high));
        begin..begin + length
    }
}

impl Run {
    /// The last entry from one key to another.
    fn last_within(
        &self,
        shelf: &Shelf,
        first: &[u8],
        last: &[u8],
        probe: Option<Probe>,
    ) -> Result<Option<(Arc<Block>, usize)>, StateError> {
        let end = self.blocks_begun(last);
        for info in self.blocks[..end].iter().rev().take_while(|block| block.last.as_slice() >= first) {
            if probe.is_some_and(|probe| !info.filter.may_hold(probe)) {
                continue;
            }
            let block = shelf.block(info)?;
            let after = block.count_before(|key| key <= last);
            if let Some(entry) = after.checked_sub(1)
                && block.key(entry) >= first
            {
                return Ok(Some((block, entry)));
            }
        }
        Ok(None)
    }
}

fn is_below(key: &[u8], low: &Bound<Vec<u8>>) -> bool {
    match low {
        Bound::Included(low) => key < low.as_slice(),
        Bound::Excluded(low) => key <= low.as_slice(),
        Bound::Unbounded => false,
    }
}

fn is_above(key: &[u8], high: &Bound<Vec<u8>>) -> bool {
    match high {
        Bound::Included(high) => key > high.as_slice(),
        Bound::Excluded(high) => key >= high.as_slice(),
        Bound::Unbounded => false,
    }
}

/// The cursor whose key comes first, of several at the same key that of the newest, and the one after it. What is newer stands before what is
/// older.
fn foremost_two(cursors: &[Cursor<'_>], is_before: impl Fn(&[u8], &[u8]) -> bool) -> Option<(usize, Option<usize>)> {
    let mut first: Option<(usize, &[u8])> = None;
    let mut second: Option<(usize, &[u8])> = None;
    for (place, cursor) in cursors.iter().enumerate() {
        let Some((key, _)) = cursor.head() else { continue };
        if first.is_none_or(|(_, first)| is_before(key, first)) {
            (first, second) = (Some((place, key)), first);
        } else if second.is_none_or(|(_, second)| is_before(key, second)) {
            second = Some((place, key));
        }
    }
    first.map(|(first, _)| (first, second.map(|(second, _)| second)))
}

/// Where reading is in one table or run.
enum Cursor<'a> {
    Table(TableCursor<'a>),
    Run(RunCursor<'a>),
}

/// The rest of a key, and its value unless it is gone.
type Head<'a> = (&'a [u8], Entry<'a>);

struct TableCursor<'a> {
    entries: Entries<'a>,
    head: Option<Head<'a>>,
    backwards: bool,
}

struct RunCursor<'a> {
    shelf: &'a Shelf,
    run: &'a Run,
    low: Bound<Vec<u8>>,
    high: Bound<Vec<u8>>,
    space_bytes: usize,
    probe: Option<Probe>,
    backwards: bool,
    /// Those not read yet.
    blocks: Range<usize>,
    block: Option<Arc<Block>>,
    /// Those of the block that are left.
    entries: Range<usize>,
}

impl Cursor<'_> {
    fn head(&self) -> Option<Head<'_>> {
        match self {
            Self::Table(cursor) => cursor.head,
            Self::Run(cursor) => cursor.head(),
        }
    }

    fn step(&mut self) -> Result<(), StateError> {
        match self {
            Self::Table(cursor) => {
                cursor.step();
                Ok(())
            }
            Self::Run(cursor) => cursor.step(),
        }
    }

    /// Visits what it has, as long as keys are what is wanted and the visitor has not enough.
    fn drain(
        &mut self,
        is_wanted: impl Fn(&[u8]) -> bool,
        visit: &mut impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StateError>,
    ) -> Result<ControlFlow<()>, StateError> {
        while let Some((rest, value)) = self.head().filter(|(rest, _)| is_wanted(rest)) {
            if let Some(value) = value
                && visit(rest, value)?.is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
            self.step()?;
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl<'a> TableCursor<'a> {
    fn new(entries: Entries<'a>, backwards: bool) -> Self {
        let mut cursor = Self { entries, head: None, backwards };
        cursor.step();
        cursor
    }

    fn step(&mut self) {
        self.head = if self.backwards { self.entries.next_back() } else { self.entries.next() };
    }
}

impl RunCursor<'_> {
    fn settled(mut self) -> Result<Self, StateError> {
        self.settle()?;
        Ok(self)
    }

    fn head(&self) -> Option<Head<'_>> {
        let block = self.block.as_ref()?;
        let entry = if self.backwards { self.entries.end.checked_sub(1)? } else { self.entries.start };
        (!self.entries.is_empty()).then(|| (&block.key(entry)[self.space_bytes..], block.value(entry)))
    }

    fn step(&mut self) -> Result<(), StateError> {
        match self.backwards {
            false => self.entries.next(),
            true => self.entries.next_back(),
        };
        self.settle()
    }

    /// Goes on to the next block that has something, if this one has nothing left.
    fn settle(&mut self) -> Result<(), StateError> {
        while self.entries.is_empty() {
            let next = if self.backwards { self.blocks.next_back() } else { self.blocks.next() };
            let Some(info) = next.map(|place| &self.run.blocks[place]) else { return Ok(()) };
            if self.probe.is_some_and(|probe| !info.filter.may_hold(probe)) {
                continue;
            }
            let block = self.shelf.block(info)?;
            self.entries = block.count_before(|key| is_below(key, &self.low))..block.count_before(|key| !is_above(key, &self.high));
            self.block = Some(block);
        }
        Ok(())
    }
}
