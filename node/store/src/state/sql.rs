//! State in a relational database: PostgreSQL, MariaDB or SQLite, reached by SQL through `caps_adapters::sql`.
//!
//! What the cabinet itself needs is kept as in every other state, as keys and values (`caps_entry`, see `state/key.rs`): so all answers are equal,
//! byte for byte. Beside it stands the same content as people and report writers expect it in a database: a view for each entity, of the present
//! and of all its past. SQL.md describes both.
//!
//! | file | what it does |
//! |---|---|
//! | [`link`] | a thread of its own speaks with the database; questions wait for it, writes do not |
//! | [`ledger`] | gathers writes into transactions, and does them again when the connection breaks before one is complete |
//! | [`schema`] | the tables, by number of version |
//! | [`report`] | what a step comes to in the tables for reports |
//! | [`views`] | a view for each entity, by the attributes that were seen |
//!
//! Like every state it is no truth. Transactions are completed when enough is gathered, or nothing more came for a moment; the mark is in the same
//! one. What a crash takes away is replayed from the journal. A database that is empty, of another release, damaged or ahead of the journal is
//! emptied and filled anew. One that is away for a moment is waited for; one that stays away ends the replica, which goes on when it is started again.

mod ledger;
mod link;
mod report;
mod schema;
#[cfg(test)]
pub(crate) mod tests;
mod views;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Bound;

use caps_adapters::sql::{SqlError, Target};
use caps_model::{CommitId, Name, Object, ObjectId, Position};

use self::ledger::Write;
use self::link::Link;
use self::report::Report;
use super::entries::{self, Header, decode, object};
use super::index::{Index, Place, Span};
use super::key::{self, Key};
use super::{CommitRecord, Counts, Fate, Mark, State, StateError, Step, Transaction};

/// Where a state is kept in a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlPlace {
    /// The database.
    pub target: Target,
    /// The schema, or database, of its own: letters, digits and `_`. SQLite's file is one by itself.
    pub space: String,
}

/// State in a relational database.
#[derive(Debug)]
pub struct SqlState {
    link: Link,
    header: Header,
    /// Objects as they are now, by id: a commit looks at those that it read.
    present: RefCell<Present>,
    name: &'static str,
}

/// How a state in a database was found.
#[derive(Debug, PartialEq, Eq)]
pub enum SqlOpened {
    /// There was none.
    Fresh,
    /// It was usable as it was.
    Kept,
    /// It was not, and was thrown away, to be filled from the journal.
    Emptied {
        /// What was wrong with it.
        reason: String,
    },
}

/// Two generations of objects: what is used stays, what is not falls out with its generation.
#[derive(Debug, Default)]
struct Present {
    young: BTreeMap<ObjectId, Option<Object>>,
    old: BTreeMap<ObjectId, Option<Object>>,
}

impl SqlState {
    /// Opens the state at a place, making it if there is none. One that cannot be read, or is ahead of the journal, whose last entry is
    /// `journal_last_index`, is emptied.
    pub fn open(place: &SqlPlace, journal_last_index: u64) -> Result<(Self, SqlOpened), StateError> {
        let link = Link::start(place)?;
        let name = place.target.dialect().name();
        let found = match link.header().map_err(engine)? {
            None => Ok(None),
            Some(bytes) => decode::<Header>(&bytes, "header").map(Some),
        };
        let (header, opened) = match found {
            Ok(None) => (Header::default(), SqlOpened::Fresh),
            Ok(Some(header)) if header.mark.index <= journal_last_index => (header, SqlOpened::Kept),
            Ok(Some(header)) => {
                let reason = format!("it is at entry {} and the journal ends at {journal_last_index}", header.mark.index);
                (Header::default(), SqlOpened::Emptied { reason })
            }
            Err(error) => (Header::default(), SqlOpened::Emptied { reason: error.to_string() }),
        };
        if matches!(opened, SqlOpened::Emptied { .. }) {
            link.empty().map_err(engine)?;
        }
        Ok((Self { link, header, present: RefCell::default(), name }, opened))
    }

    /// Throws away whatever is at a place.
    pub fn discard(place: &SqlPlace) -> Result<(), StateError> {
        Link::start(place)?.empty().map_err(engine)
    }

    fn get<T>(&self, key: &Key, read: impl FnOnce(&[u8]) -> Result<T, StateError>) -> Result<Option<T>, StateError> {
        self.link.get(key.as_bytes()).map_err(engine)?.map(|bytes| read(&bytes)).transpose()
    }

    /// What `read` makes of the first entries in a part of a space, in order or backwards: of the rest of each key, and its value.
    fn collect<T>(
        &self,
        space: &[u8],
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        backwards: bool,
        limit: usize,
        read: impl Fn(&[u8], &[u8]) -> Result<T, StateError>,
    ) -> Result<Vec<T>, StateError> {
        let within = |bound: Bound<&[u8]>| bound.map(|rest| [space, rest].concat());
        let from = match within(bounds.0) {
            Bound::Unbounded => Bound::Included(space.to_vec()),
            bound => bound,
        };
        let to = match within(bounds.1) {
            Bound::Unbounded => after_all(space),
            bound => bound,
        };
        let found = self.link.range(from, to, backwards, limit).map_err(engine)?;
        found.iter().map(|(key, value)| read(key.get(space.len()..).unwrap_or_default(), value)).collect()
    }
}

impl State for SqlState {
    fn name(&self) -> &'static str {
        self.name
    }

    fn mark(&self) -> Mark {
        self.header.mark
    }

    fn counts(&self) -> Counts {
        self.header.counts
    }

    fn object_at(&self, id: ObjectId, position: Position) -> Result<Option<Object>, StateError> {
        let is_present = position >= self.header.mark.position;
        if is_present && let Some(known) = self.present.borrow_mut().get(id) {
            return Ok(known);
        }
        let (first, last) = (key::version(id, Position::ZERO), key::version(id, position));
        let bounds = (Bound::Included(first.rest()), Bound::Included(last.rest()));
        let found = self.collect(first.space(), bounds, true, 1, |_, bytes| object(bytes))?.pop();
        if is_present {
            self.present.borrow_mut().put(id, found.clone());
        }
        Ok(found)
    }

    fn versions(&self, id: ObjectId, before: Option<Position>, limit: usize) -> Result<Vec<Object>, StateError> {
        let (first, end) = (key::version(id, Position::ZERO), key::version(id, before.unwrap_or(Position(u64::MAX))));
        let bounds = (Bound::Included(first.rest()), Bound::Excluded(end.rest()));
        self.collect(first.space(), bounds, true, limit, |_, bytes| object(bytes))
    }

    fn objects_of(&self, entity: &Name, after: Option<ObjectId>, backwards: bool, limit: usize) -> Result<Vec<ObjectId>, StateError> {
        let key = key::member(entity, after.unwrap_or(ObjectId(0)));
        let end = if after.is_some() { Bound::Excluded(key.rest()) } else { Bound::Unbounded };
        let bounds = if backwards { (Bound::Unbounded, end) } else { (end, Bound::Unbounded) };
        self.collect(key.space(), bounds, backwards, limit, |rest, _| {
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
        self.collect(key.space(), bounds, backwards, limit, |rest, _| {
            Place::from_bytes(rest).ok_or_else(|| StateError::Lacks { what: "a place in the key of an index".to_owned() })
        })
    }

    fn commit_at(&self, position: Position) -> Result<Option<CommitRecord>, StateError> {
        self.get(&key::commit(position), |bytes| decode(bytes, "commit"))
    }

    fn fate(&self, commit: CommitId) -> Result<Option<Fate>, StateError> {
        self.get(&key::fate(commit), |bytes| decode(bytes, "fate"))
    }

    fn write(&mut self, transaction: &Transaction<'_>) -> Result<(), StateError> {
        let mut changes = BTreeMap::new();
        entries::put(transaction, |key, value| drop(changes.insert(key.as_bytes().to_vec(), value.map(<[u8]>::to_vec))))?;
        let header = self.header.after(transaction);
        let report = Report::of(transaction);
        let write = Write { entries: changes, header: entries::encode(&header)?, report };
        self.link.write(write).map_err(engine)?;
        self.header = header;
        let mut present = self.present.borrow_mut();
        match transaction.step {
            Step::Commit { changes, .. } => changes.iter().for_each(|change| present.put(change.after.id, Some(change.after.clone()))),
            Step::Seal(_) => {}
            Step::Obliterate { changes, versions, .. } => {
                // What was replaced may be what is known.
                versions.iter().for_each(|version| present.forget(version.id));
                changes.iter().for_each(|change| present.put(change.after.id, Some(change.after.clone())));
            }
        }
        Ok(())
    }
}

impl Present {
    fn get(&mut self, id: ObjectId) -> Option<Option<Object>> {
        if let Some(known) = self.young.get(&id) {
            return Some(known.clone());
        }
        let known = self.old.remove(&id)?;
        self.put(id, known.clone());
        Some(known)
    }

    fn put(&mut self, id: ObjectId, object: Option<Object>) {
        if self.young.len() >= PRESENT_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&id);
        self.young.insert(id, object);
    }

    fn forget(&mut self, id: ObjectId) {
        self.young.remove(&id);
        self.old.remove(&id);
    }
}

/// The end of everything that begins so; a space never ends in the largest byte.
fn after_all(space: &[u8]) -> Bound<Vec<u8>> {
    let mut end = space.to_vec();
    match end.last_mut() {
        Some(last) => *last += 1,
        None => return Bound::Unbounded,
    }
    Bound::Excluded(end)
}

fn engine(error: SqlError) -> StateError {
    StateError::Engine(Box::new(error))
}

/// Objects kept in memory in each of two generations: some tens of megabytes, as objects commonly are.
const PRESENT_MAX: usize = 10_000;
