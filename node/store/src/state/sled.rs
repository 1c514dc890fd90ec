//! State in sled: the embedded default.
//!
//! One key space, told apart by the first byte of a key:
//!
//! | key | value |
//! |---|---|
//! | `o` id position | the object after the commit at that position |
//! | `e` entity 0 id | nothing: the entity, or one that inherits from it, has or had this object |
//! | `v` entity 0 attribute 0 value id | nothing: the live object holds this value |
//! | `w` entity 0 word id | nothing: the live object holds this word |
//! | `c` position | what is kept of a commit |
//! | `i` commit id | what became of it |
//!
//! A commit writes a dozen small keys, and a database pays for each as if it were large. So they are gathered: commits write into a [`table`]
//! in memory; when that is full, a thread, the [`keeper`], writes it to the database as a [`run`] of sorted [`block`]s, and merges runs so that
//! there are few. Reading ([`view`]) goes through the table and all runs, the newest counts. What is asked for one by one is looked for only in
//! blocks whose [`filter`] says that it may be there.
//!
//! A [`shelf`]'s manifest says which runs there are and how far the state is with them. After a crash the state is some transactions behind: at
//! most those of [`Limits::tables_waiting_max`] tables and the one that was being written. The journal makes that good. Nothing here relies on
//! the disk's having kept what it was told to: whatever is read is checked, what is not as it was written is an error, and the state is rebuilt
//! when it is opened next.

mod block;
mod cache;
mod database;
mod filter;
mod keeper;
mod merge;
mod place;
mod purge;
mod run;
mod shelf;
mod table;
mod tiers;
mod view;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::io;
use std::ops::{Bound, ControlFlow};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use caps_model::{CommitId, Name, Object, ObjectId, Position};

use self::filter::Probe;
use self::keeper::Keeper;
use self::purge::Rewriting;
use self::shelf::Shelf;
use self::table::Table;
use self::view::{Frozen, Part, Reader};
use super::engine::Engine;
use super::entries::{self, Header, decode, object};
use super::index::{Index, Place, Span};
use super::key::{self, Key};
use super::{CommitRecord, Counts, Fate, Mark, Purge, State, StateError, Transaction};

/// State in a sled database.
#[derive(Debug)]
pub struct SledState {
    /// The directory that it is called by; it may be in one beside it.
    home: PathBuf,
    limits: Limits,
    header: Header,
    table: Table,
    shelf: Arc<Shelf>,
    keeper: Keeper,
}

/// How a state was found.
#[derive(Debug)]
pub enum StateOpened {
    /// There was none.
    Fresh,
    /// It was usable as it was.
    Kept,
    /// It was not, and is rebuilt from the journal.
    Rebuilding {
        /// What was wrong with it.
        reason: String,
        /// Where it is kept for inspection.
        set_aside: PathBuf,
    },
}

/// How much a state may have of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of the table in memory: 32 MiB, about 20,000 small commits. More of them make merging cheaper and a crash dearer.
    pub(crate) table_bytes: usize,
    /// Full tables that wait for the disk: 2. When there are so many, writing waits.
    pub(crate) tables_waiting_max: usize,
    /// Bytes of a block: 8 KiB. Larger ones cost a reader more that it does not need, smaller ones cost sled more.
    pub(crate) block_bytes: usize,
    /// How many runs of a tier are merged into one of the next: 4. Fewer make reading cheaper and writing dearer.
    pub(crate) fan: usize,
    /// Runs at which tables wait for merges: 32. There are 20 in a state of a terabyte.
    pub(crate) runs_max: usize,
    /// Bytes of unpacked blocks kept in memory: 64 MiB.
    pub(crate) cache_bytes: usize,
}

impl SledState {
    /// Opens the state in the directory `path`, making it if there is none. A state that cannot be opened, or is ahead of the journal, whose
    /// last entry is `journal_last_index`, is set aside beside it.
    pub fn open(path: &Path, journal_last_index: u64) -> Result<(Self, StateOpened), StateError> {
        Self::open_with(path, journal_last_index, Limits::default())
    }

    pub(crate) fn open_with(path: &Path, journal_last_index: u64, limits: Limits) -> Result<(Self, StateOpened), StateError> {
        let is_purging = purge::resume(path).map_err(system)?;
        let (mut state, opened) = Self::open_or_set_aside(path, journal_last_index, limits)?;
        if is_purging {
            let rewriting = state.begin_rewriting()?;
            let fresh = rewriting.copy_state()?;
            rewriting.finish(Box::new(state)).map_err(system)?;
            state = fresh;
        }
        Ok((state, opened))
    }

    /// Packed bytes of everything in the database, by what they hold; a block counts as what its first key is. What is still in memory does not
    /// count, nor what the database itself adds.
    pub fn kept_bytes(&self) -> BTreeMap<&'static str, u64> {
        let mut kept = BTreeMap::new();
        for block in self.keeper.view().runs.iter().flat_map(|run| &run.blocks) {
            *kept.entry(key::kind(&block.first)).or_default() += u64::from(block.size_bytes);
        }
        kept
    }

    /// Reads everything in the database and sees whether it is as it was written. Gives how many blocks there are. It reads past the cache, and
    /// takes as long as the disk does; what is still in memory needs no look.
    pub fn check(&self) -> Result<u64, StateError> {
        self.reading(|reader| {
            let blocks = || reader.view.runs.iter().flat_map(|run| &run.blocks);
            blocks().try_for_each(|info| reader.shelf.read_block(info).map(drop)).map(|()| blocks().count() as u64)
        })
    }

    fn open_or_set_aside(path: &Path, journal_last_index: u64, limits: Limits) -> Result<(Self, StateOpened), StateError> {
        let existed = path.exists();
        let reason = match Self::open_existing(path, path, limits) {
            Ok(state) if state.header.mark.index <= journal_last_index => {
                return Ok((state, if existed { StateOpened::Kept } else { StateOpened::Fresh }));
            }
            Ok(state) => format!("it is at index {}, the journal ends at {journal_last_index}", state.header.mark.index),
            Err(error) if place::is_no_fault_of_the_state(&error) => return Err(error),
            Err(error) => describe(&error),
        };
        let set_aside = place::set_aside(path).map_err(system)?;
        Ok((Self::open_existing(path, path, limits)?, StateOpened::Rebuilding { reason, set_aside }))
    }

    /// Gives the state in a directory another name beside it, and says which: it is kept for inspection, and never read again.
    pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
        purge::resume(path)?;
        place::set_aside(path)
    }

    /// The directory in which the state of this path is, if there is one: while it is at work, and after it was killed, that may be one beside it.
    pub fn whereabouts(path: &Path) -> Option<PathBuf> {
        Some(purge::whereabouts(path)).filter(|place| place.exists())
    }

    /// The states that were set aside beside this path.
    pub fn quarantines(path: &Path) -> Vec<PathBuf> {
        place::quarantines(path).filter(|aside| aside.exists()).collect()
    }

    /// Overwrites a state that was set aside, and removes it, durably.
    pub fn wipe_set_aside(aside: &Path) -> io::Result<()> {
        place::wipe(aside)?;
        place::sync_parent(aside)
    }

    /// Opens the state that is called by `home`, in a directory.
    fn open_existing(home: &Path, path: &Path, limits: Limits) -> Result<Self, StateError> {
        if let Some(what) = place::noted_damage(path) {
            return Err(StateError::Damaged { what: format!("files, as was found before: {what}") });
        }
        let shelf = Arc::new(Shelf::open(path, limits.cache_bytes)?);
        let mut manifest = shelf.manifest()?;
        let next_lot = shelf.first_free_lot(&manifest)?;
        let runs = manifest.runs.iter().map(|name| shelf.run(*name).map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
        shelf.tidy(&manifest, &runs)?;
        manifest.next_lot = next_lot;
        let keeper = Keeper::start(shelf.clone(), &manifest, runs, limits)?;
        Ok(Self { home: home.to_owned(), limits, header: manifest.header, table: Table::default(), shelf, keeper })
    }

    /// Looks at everything that can be read at this moment.
    fn reading<T>(&self, read: impl FnOnce(Reader<'_>) -> Result<T, StateError>) -> Result<T, StateError> {
        let view = self.keeper.view();
        read(Reader { shelf: &self.shelf, table: &self.table, view: &view })
    }

    /// Versions of an object between two positions, the newest first.
    fn versions_within(&self, from: &Key, to: Bound<&[u8]>, limit: usize) -> Result<Vec<Object>, StateError> {
        let bounds = (Bound::Included(from.rest()), to);
        let part = Part { space: from.space(), bounds, probe: Probe::of(from.as_bytes()) };
        self.collect(part, true, limit, |_, bytes| object(bytes))
    }

    /// What `read` makes of the first entries in a part of a space, in order or backwards.
    fn collect<T>(
        &self,
        part: Part<'_>,
        backwards: bool,
        limit: usize,
        read: impl Fn(&[u8], &[u8]) -> Result<T, StateError>,
    ) -> Result<Vec<T>, StateError> {
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        self.reading(|reader| {
            reader.visit(part, backwards, |rest, value| {
                found.push(read(rest, value)?);
                Ok(if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            })
        })?;
        Ok(found)
    }

    /// Has everything that is in memory written to the database, to be rewritten from there.
    fn begin_rewriting(&mut self) -> Result<Rewriting, StateError> {
        if let Some(table) = self.take_table() {
            self.keeper.take(table)?;
        }
        Ok(Rewriting { home: self.home.clone(), shelf: self.shelf.clone(), watch: self.keeper.watch(), limits: self.limits })
    }

    /// The table, to be handed over; a new one takes its place.
    fn take_table(&mut self) -> Option<Frozen> {
        if self.table.is_empty() {
            return None;
        }
        let next = self.table.next();
        Some(Frozen { table: std::mem::replace(&mut self.table, next), header: self.header })
    }
}

impl State for SledState {
    fn name(&self) -> &'static str {
        "sled"
    }

    fn mark(&self) -> Mark {
        self.header.mark
    }

    fn counts(&self) -> Counts {
        self.header.counts
    }

    fn object_at(&self, id: ObjectId, position: Position) -> Result<Option<Object>, StateError> {
        let (first, last) = (key::version(id, Position::ZERO), key::version(id, position));
        self.reading(|reader| reader.last(&first, &last, object))
    }

    fn versions(&self, id: ObjectId, before: Option<Position>, limit: usize) -> Result<Vec<Object>, StateError> {
        let (first, end) = (key::version(id, Position::ZERO), key::version(id, before.unwrap_or(Position(u64::MAX))));
        self.versions_within(&first, Bound::Excluded(end.rest()), limit)
    }

    fn objects_of(&self, entity: &Name, after: Option<ObjectId>, backwards: bool, limit: usize) -> Result<Vec<ObjectId>, StateError> {
        let key = key::member(entity, after.unwrap_or(ObjectId(0)));
        let end = if after.is_some() { Bound::Excluded(key.rest()) } else { Bound::Unbounded };
        let bounds = if backwards { (Bound::Unbounded, end) } else { (end, Bound::Unbounded) };
        self.collect(Part { space: key.space(), bounds, probe: None }, backwards, limit, |rest, _| {
            let id = rest.try_into().map_err(|_| StateError::Lacks { what: "an object id at the end of a key".to_owned() })?;
            Ok(ObjectId(u128::from_be_bytes(id)))
        })
    }

    fn scan(&self, entity: &Name, index: &Index, span: &Span, backwards: bool, limit: usize) -> Result<Vec<Place>, StateError> {
        if span.is_empty() {
            return Ok(Vec::new());
        }
        let key = key::index(entity, index);
        let bounds = (span.from.as_ref().map(Vec::as_slice), span.to.as_ref().map(Vec::as_slice));
        self.collect(Part { space: key.space(), bounds, probe: None }, backwards, limit, |rest, _| {
            Place::from_bytes(rest).ok_or_else(|| StateError::Lacks { what: "a place in the key of an index".to_owned() })
        })
    }

    fn count(&self, entity: &Name, index: &Index, span: &Span, limit: usize) -> Result<usize, StateError> {
        if span.is_empty() || limit == 0 {
            return Ok(0);
        }
        let key = key::index(entity, index);
        let bounds = (span.from.as_ref().map(Vec::as_slice), span.to.as_ref().map(Vec::as_slice));
        let mut count = 0;
        self.reading(|reader| {
            reader.visit(Part { space: key.space(), bounds, probe: None }, false, |_, _| {
                count += 1;
                Ok(if count < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            })
        })?;
        Ok(count)
    }

    fn commit_at(&self, position: Position) -> Result<Option<CommitRecord>, StateError> {
        self.reading(|reader| reader.get(&key::commit(position), |bytes| decode(bytes, "commit")))
    }

    fn fate(&self, commit: CommitId) -> Result<Option<Fate>, StateError> {
        self.reading(|reader| reader.get(&key::fate(commit), |bytes| decode(bytes, "fate")))
    }

    fn engine(&self) -> Option<&dyn Engine> {
        None
    }

    fn write(&mut self, transaction: &Transaction<'_>) -> Result<(), StateError> {
        self.keeper.check()?;
        entries::put(transaction, |kept, value| self.table.put(&kept.key(), value))?;
        self.header = self.header.after(transaction);
        if self.table.size_bytes() >= self.limits.table_bytes
            && let Some(full) = self.take_table()
        {
            self.keeper.take(full)?;
        }
        Ok(())
    }

    fn purge(&mut self) -> Result<Option<Box<dyn Purge>>, StateError> {
        Ok(Some(Box::new(self.begin_rewriting()?)))
    }
}

/// An orderly end: the table goes to the database, so that nothing needs to be replayed.
impl Drop for SledState {
    fn drop(&mut self) {
        let last = self.take_table();
        if let Err(error) = self.keeper.end(last) {
            tracing::warn!(error = %describe(&error), "the state could not be closed: what it lacks is replayed from the journal");
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { table_bytes: 32 << 20, tables_waiting_max: 2, block_bytes: 8 << 10, fan: 4, runs_max: 32, cache_bytes: 64 << 20 }
    }
}

fn engine(error: ::sled::Error) -> StateError {
    StateError::Engine(Box::new(error))
}

fn system(error: io::Error) -> StateError {
    StateError::Engine(Box::new(error))
}

fn describe(error: &StateError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
