//! State in a relational database: PostgreSQL, MariaDB or SQLite, reached by SQL through `caps_adapters::sql`.
//!
//! Objects, their versions, their places in indexes, commits: each has its table, with the bytes that every other state keeps, so all answers are
//! equal, byte for byte. What a query asks is asked as SQL ([`Engine`]), in which the database plans; the evaluator decides about what comes. Beside
//! it stands the same content as people and report writers expect it in a database: values by attribute, and a view for each entity, of the present
//! and of all its past. SQL.md describes both.
//!
//! | file | what it does |
//! |---|---|
//! | [`link`] | a thread of its own speaks with the database; questions wait for it, writes do not |
//! | [`ledger`] | gathers writes into transactions, and does them again when the connection breaks before one is complete |
//! | [`schema`] | the tables, by number of version |
//! | [`rows`] | what a step comes to as rows |
//! | [`questions`] | what is read, as statements |
//! | [`newcomers`] | which ids are new for certain, and not asked for |
//! | [`views`] | a view for each entity, by the attributes that were seen |
//!
//! Like every state it is no truth. Transactions are completed when enough is gathered, or nothing more came for a moment; the mark is in the same
//! one. What a crash takes away is replayed from the journal. A database that is empty, of another release, damaged or ahead of the journal is
//! emptied and filled anew. Replicas that share a database share nothing in it: each has its own space, and they agree through their log, so that no
//! property of the database, or of its replication, becomes one of the cabinet. One that is away for a moment is waited for; one that stays away ends the replica, which goes on when it is started again.

mod ledger;
mod link;
mod newcomers;
mod questions;
mod rows;
mod schema;
#[cfg(test)]
pub(crate) mod tests;
mod views;

use std::cell::RefCell;
use std::collections::BTreeMap;

use caps_adapters::sql::{Cell, Row, SqlError, Target};
use caps_model::{CommitId, Name, Object, ObjectId, Position};

use self::ledger::{Spot, Write};
use self::link::Link;
use self::newcomers::Newcomers;
use self::questions::Question;
use self::rows::Rows;
use super::engine::{Engine, Sought};
use super::entries::{self, Header, Kept, decode, object};
use super::index::{Index, Place, Span};
use super::key::{self, Key};
use super::path::Path;
use super::{CommitRecord, Counts, Fate, Mark, Purge, State, StateError, Step, Transaction};

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
    /// Ids of objects, and of commits.
    objects: Newcomers,
    commits: Newcomers,
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
        let future = newcomers::future_of(header.mark.moment);
        let objects = Newcomers::between(
            edge(&link, questions::last_object_before(future), object_number)?,
            edge(&link, questions::first_object_from(future), object_number)?,
        );
        let commits = Newcomers::between(
            edge(&link, questions::last_fate_before(future), fate_number)?,
            edge(&link, questions::first_fate_from(future), fate_number)?,
        );
        Ok((Self { link, header, present: RefCell::default(), objects, commits, name }, opened))
    }

    /// Throws away whatever is at a place.
    pub fn discard(place: &SqlPlace) -> Result<(), StateError> {
        Link::start(place)?.empty().map_err(engine)
    }

    fn get<T>(&self, key: &Key, read: impl FnOnce(&[u8]) -> Result<T, StateError>) -> Result<Option<T>, StateError> {
        self.link.get(key.as_bytes()).map_err(engine)?.map(|bytes| read(&bytes)).transpose()
    }

    /// What `read` makes of each row of an answer.
    fn ask<T>(&self, question: Question, read: impl Fn(&Row) -> Result<T, StateError>) -> Result<Vec<T>, StateError> {
        self.link.rows(question).map_err(engine)?.iter().map(read).collect()
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
        if self.objects.is_new(id.0) {
            return Ok(None);
        }
        let is_present = position >= self.header.mark.position;
        if is_present && let Some(known) = self.present.borrow_mut().get(id) {
            return Ok(known);
        }
        let found = self.link.version(id, position).map_err(engine)?.map(|bytes| object(&bytes)).transpose()?;
        if is_present {
            self.present.borrow_mut().put(id, found.clone());
        }
        Ok(found)
    }

    fn versions(&self, id: ObjectId, before: Option<Position>, limit: usize) -> Result<Vec<Object>, StateError> {
        self.ask(questions::versions(id, before, limit), |row| object(bytes_of(row, 0)?))
    }

    fn objects_of(&self, entity: &Name, after: Option<ObjectId>, backwards: bool, limit: usize) -> Result<Vec<ObjectId>, StateError> {
        self.ask(questions::members(entity, after, backwards, limit), |row| id_of(row, 0))
    }

    fn scan(&self, entity: &Name, index: &Index, span: &Span, backwards: bool, limit: usize) -> Result<Vec<Place>, StateError> {
        if span.is_empty() {
            return Ok(Vec::new());
        }
        self.ask(questions::places(entity, index, span, backwards, limit), |row| place_of(row, 0))
    }

    fn count(&self, entity: &Name, index: &Index, span: &Span, limit: usize) -> Result<usize, StateError> {
        if span.is_empty() {
            return Ok(0);
        }
        let counts = self.ask(questions::count(entity, index, span, limit), |row| {
            row.first().and_then(Cell::as_int).and_then(|count| usize::try_from(count).ok()).ok_or_else(|| lacks("a count"))
        })?;
        counts.into_iter().next().ok_or_else(|| lacks("a count"))
    }

    fn commit_at(&self, position: Position) -> Result<Option<CommitRecord>, StateError> {
        self.get(&key::commit(position), |bytes| decode(bytes, "commit"))
    }

    fn fate(&self, commit: CommitId) -> Result<Option<Fate>, StateError> {
        if self.commits.is_new(commit.0) {
            return Ok(None);
        }
        self.get(&key::fate(commit), |bytes| decode(bytes, "fate"))
    }

    fn write(&mut self, transaction: &Transaction<'_>) -> Result<(), StateError> {
        let Self { objects, commits, .. } = self;
        let (mut entries, mut places, mut bodies) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        entries::put(transaction, |kept, value| match kept {
            Kept::Version(id, position) => {
                objects.came(id.0);
                bodies.insert((id, position), value.unwrap_or_default().to_vec());
            }
            Kept::Place(entity, index, place) => {
                // Only places are kept.
                let place = Place::from_bytes(place).expect("an index has places");
                places.insert(Spot { entity: entity.clone(), index: index.clone(), place }, value.is_some());
            }
            // A row says when it was born, too.
            Kept::Member(..) => {}
            Kept::Commit(_) | Kept::Fate(_) => {
                if let Kept::Fate(commit) = kept {
                    commits.came(commit.0);
                }
                entries.insert(kept.key().as_bytes().to_vec(), value.map(<[u8]>::to_vec));
            }
        })?;
        let header = self.header.after(transaction);
        let write = Write { entries, places, header: entries::encode(&header)?, rows: Rows::of(transaction, bodies) };
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

    fn engine(&self) -> Option<&dyn Engine> {
        Some(self)
    }

    /// What the database keeps beside its tables is for whoever runs it: see SQL.md.
    fn purge(&mut self) -> Result<Option<Box<dyn Purge>>, StateError> {
        Ok(None)
    }
}

impl Engine for SqlState {
    fn objects(&self, sought: Sought<'_>, after: Option<ObjectId>, backwards: bool, limit: usize) -> Result<Vec<Object>, StateError> {
        self.ask(questions::objects(sought, after, backwards, limit), |row| object(bytes_of(row, 0)?))
    }

    fn places(
        &self,
        sought: Sought<'_>,
        index: &Index,
        span: &Span,
        backwards: bool,
        limit: usize,
    ) -> Result<Vec<(Place, Object)>, StateError> {
        if span.is_empty() {
            return Ok(Vec::new());
        }
        self.ask(questions::placed(sought, index, span, backwards, limit), |row| Ok((place_of(row, 0)?, object(bytes_of(row, 1)?)?)))
    }

    fn span_counts(&self, entity: &Name, within: &Path, most: usize) -> Result<Vec<usize>, StateError> {
        if within.spans() == 0 {
            return Ok(Vec::new());
        }
        let count = |cell: &Cell| cell.as_int().and_then(|count| usize::try_from(count).ok()).ok_or_else(|| lacks("a count"));
        let rows = self.ask(questions::span_counts(entity, within, most), |row| row.iter().map(count).collect())?;
        rows.into_iter().next().ok_or_else(|| lacks("counts"))
    }

    fn listed(&self, entity: &Name, within: &Path, counts: &[usize], limit: usize) -> Result<Vec<Object>, StateError> {
        self.ask(questions::listed(entity, within, counts, limit), |row| object(bytes_of(row, 0)?))
    }

    fn candidates(&self, entity: &Name, within: &Path, counts: &[usize]) -> Result<Vec<ObjectId>, StateError> {
        self.ask(questions::candidates(entity, within, counts), |row| id_of(row, 0))
    }

    fn objects_then(&self, entity: &Name, position: Position, after: Option<ObjectId>, limit: usize) -> Result<Vec<Object>, StateError> {
        self.ask(questions::objects_then(entity, position, after, limit), |row| object(bytes_of(row, 0)?))
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

/// The id at one end of a gap.
fn edge(link: &Link, question: Question, read: fn(&Row) -> Result<u128, StateError>) -> Result<Option<u128>, StateError> {
    link.rows(question).map_err(engine)?.first().map(read).transpose()
}

fn object_number(row: &Row) -> Result<u128, StateError> {
    id_of(row, 0).map(|id| id.0)
}

fn fate_number(row: &Row) -> Result<u128, StateError> {
    key::fate_in(bytes_of(row, 0)?).map(|commit| commit.0).ok_or_else(|| lacks("a commit's id in a key"))
}

fn bytes_of(row: &Row, column: usize) -> Result<&[u8], StateError> {
    row.get(column).and_then(Cell::as_bytes).ok_or_else(|| lacks("the bytes of a row"))
}

fn place_of(row: &Row, column: usize) -> Result<Place, StateError> {
    Place::from_bytes(bytes_of(row, column)?).ok_or_else(|| lacks("a place in a row of an index"))
}

fn id_of(row: &Row, column: usize) -> Result<ObjectId, StateError> {
    let text = str::from_utf8(bytes_of(row, column)?).ok();
    text.and_then(|text| text.parse().ok()).ok_or_else(|| lacks("an object's id in a row"))
}

fn lacks(what: &str) -> StateError {
    StateError::Lacks { what: what.to_owned() }
}

fn engine(error: SqlError) -> StateError {
    StateError::Engine(Box::new(error))
}

/// Objects kept in memory in each of two generations: some tens of megabytes, as objects commonly are.
const PRESENT_MAX: usize = 10_000;
