//! State in sled: the embedded default.
//!
//! One key space, told apart by the first byte of a key, so that one batch carries a whole transaction and its mark:
//!
//! | key | value |
//! |---|---|
//! | `m` | mark and counts |
//! | `o` id position | the object after the commit at that position |
//! | `e` entity 0 id | nothing: the entity, or one that inherits from it, has or had this object |
//! | `v` entity 0 attribute 0 value id | nothing: the live object holds this value |
//! | `w` entity 0 word id | nothing: the live object holds this word |
//! | `c` position | what is kept of a commit |
//! | `i` commit id | what became of it |
//!
//! sled decides when to write; after a crash the state is some transactions behind, which the journal makes good. Its `flush` is no barrier
//! on Linux and nothing here calls it.

use std::fs;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use bincode::{Decode, Encode};
use caps_model::{CommitId, Name, Object, ObjectId, Position, Wire, codec};
use sled::{Batch, Db, IVec};

use super::index::{Index, Place, Span, places};
use super::{Changed, CommitRecord, Counts, Fate, Mark, State, StateError, Step, Transaction, key};

/// State in a sled database.
#[derive(Debug)]
pub struct SledState {
    database: Db,
    header: Header,
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

#[derive(Clone, Copy, Debug, Default, Encode, Decode)]
struct Header {
    mark: Mark,
    counts: Counts,
}

#[derive(Encode, Decode)]
struct Version(Object);

impl SledState {
    /// Opens the state in the directory `path`, making it if there is none. A state that cannot be opened, or is ahead of the journal, whose
    /// last entry is `journal_last_index`, is set aside beside it.
    pub fn open(path: &Path, journal_last_index: u64) -> Result<(Self, StateOpened), StateError> {
        let existed = path.exists();
        let reason = match Self::open_existing(path) {
            Ok(state) if state.header.mark.index <= journal_last_index => {
                return Ok((state, if existed { StateOpened::Kept } else { StateOpened::Fresh }));
            }
            Ok(state) => format!("it is at index {}, the journal ends at {journal_last_index}", state.header.mark.index),
            Err(error) if is_no_fault_of_the_state(&error) => return Err(error),
            Err(error) => describe(&error),
        };
        let set_aside = set_aside(path).map_err(|error| StateError::Engine(Box::new(error)))?;
        Ok((Self::open_existing(path)?, StateOpened::Rebuilding { reason, set_aside }))
    }

    /// How many states were set aside beside this path.
    pub fn set_aside_beside(path: &Path) -> usize {
        (1..=QUARANTINES_MAX).filter(|number| quarantine(path, *number).exists()).count()
    }

    fn open_existing(path: &Path) -> Result<Self, StateError> {
        let database = open_database(path)?;
        let header = match database.get(key::MARK).map_err(engine)? {
            Some(bytes) => decode(&bytes, "mark")?,
            None if database.is_empty() => Header::default(),
            None => return Err(StateError::Lacks { what: "its mark".to_owned() }),
        };
        Ok(Self { database, header })
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
        let versions = key::version(id, Position::ZERO)..=key::version(id, position);
        self.database.range(versions).next_back().map(object).transpose()
    }

    fn versions(&self, id: ObjectId, before: Option<Position>, limit: usize) -> Result<Vec<Object>, StateError> {
        let end = before.unwrap_or(Position(u64::MAX));
        let versions = key::version(id, Position::ZERO)..key::version(id, end);
        self.database.range(versions).rev().take(limit).map(object).collect()
    }

    fn objects_of(&self, entity: &Name, after: Option<ObjectId>, backwards: bool, limit: usize) -> Result<Vec<ObjectId>, StateError> {
        let end = after.map_or(Bound::Unbounded, |after| Bound::Excluded(key::member(entity, after)));
        let (first, last) = (key::member(entity, ObjectId(0)), key::member(entity, ObjectId(u128::MAX)));
        let or = |bound: Bound<Vec<u8>>, key| if bound == Bound::Unbounded { Bound::Included(key) } else { bound };
        match backwards {
            false => self.database.range((or(end, first), Bound::Included(last))).keys().take(limit).map(listed).collect(),
            true => self.database.range((Bound::Included(first), or(end, last))).keys().rev().take(limit).map(listed).collect(),
        }
    }

    fn scan(&self, entity: &Name, index: &Index, span: &Span, backwards: bool, limit: usize) -> Result<Vec<Place>, StateError> {
        if span.is_empty() {
            return Ok(Vec::new());
        }
        let prefix = key::index_prefix(entity, index);
        let whole = Span::beginning(&prefix);
        let within = |bound: &Bound<Vec<u8>>, end: Bound<Vec<u8>>| match bound {
            Bound::Unbounded => end,
            bound => bound.as_ref().map(|bytes| [prefix.as_slice(), bytes].concat()),
        };
        let keys = self.database.range((within(&span.from, whole.from), within(&span.to, whole.to))).keys();
        let place = |key: sled::Result<IVec>| {
            let key = key.map_err(engine)?;
            let place = key.strip_prefix(prefix.as_slice()).and_then(Place::from_bytes);
            place.ok_or_else(|| StateError::Lacks { what: "a place in the key of an index".to_owned() })
        };
        match backwards {
            false => keys.take(limit).map(place).collect(),
            true => keys.rev().take(limit).map(place).collect(),
        }
    }

    fn commit_at(&self, position: Position) -> Result<Option<CommitRecord>, StateError> {
        let bytes = self.database.get(key::commit(position)).map_err(engine)?;
        bytes.map(|bytes| decode(&bytes, "commit")).transpose()
    }

    fn fate(&self, commit: CommitId) -> Result<Option<Fate>, StateError> {
        let bytes = self.database.get(key::fate(commit)).map_err(engine)?;
        bytes.map(|bytes| decode(&bytes, "fate")).transpose()
    }

    fn write(&mut self, transaction: &Transaction<'_>) -> Result<(), StateError> {
        let mut batch = Batch::default();
        let mut header = Header { mark: transaction.mark, ..self.header };
        match transaction.step {
            Step::Commit { record, changes } => {
                let position = transaction.mark.position;
                for change in changes {
                    put_change(&mut batch, change)?;
                }
                header.counts = header.counts.after(changes);
                batch.insert(key::commit(position), encode(record)?);
                batch.insert(key::fate(record.id), encode(&Fate::Accepted(position))?);
            }
            Step::Seal(id) => batch.insert(key::fate(id), encode(&Fate::Sealed)?),
            Step::Obliterate { record, changes, versions, commits } => {
                let position = transaction.mark.position;
                for change in changes {
                    put_change(&mut batch, change)?;
                }
                for version in versions {
                    batch.insert(key::version(version.id, version.version), encode(&Version(version.clone()))?);
                }
                for (position, record) in commits {
                    batch.insert(key::commit(*position), encode(record)?);
                }
                batch.insert(key::commit(position), encode(record)?);
                batch.insert(key::fate(record.id), encode(&Fate::Accepted(position))?);
            }
        }
        batch.insert(key::MARK, encode(&header)?);
        self.database.apply_batch(batch).map_err(engine)?;
        self.header = header;
        Ok(())
    }
}

/// Opens the database, waiting for its lock: sled's own threads hold it a little longer than the handle that was dropped last.
fn open_database(path: &Path) -> Result<Db, StateError> {
    let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES);
    for _ in 0..LOCK_ATTEMPTS {
        // sled panics on some damaged files where it should fail.
        let opened = catch_unwind(AssertUnwindSafe(|| config.open()));
        match opened.map_err(|_| StateError::Lacks { what: "files that sled can open without a panic".to_owned() })? {
            Ok(database) => return Ok(database),
            // sled gives this failure no kind of its own.
            Err(sled::Error::Io(error)) if error.to_string().starts_with("could not acquire lock") => thread::park_timeout(LOCK_PAUSE),
            Err(error) => return Err(engine(error)),
        }
    }
    Err(StateError::InUse { path: path.display().to_string() })
}

/// Setting a state aside helps against damage, not against a full disk, missing permission, or another process.
fn is_no_fault_of_the_state(error: &StateError) -> bool {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match error {
        StateError::InUse { .. } => true,
        StateError::Engine(source) => source.downcast_ref().is_some_and(|error: &sled::Error| {
            matches!(error, sled::Error::Io(error) if matches!(error.kind(), PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull))
        }),
        StateError::Malformed { .. } | StateError::Lacks { .. } => false,
    }
}

fn put_change(batch: &mut Batch, change: &Changed) -> Result<(), StateError> {
    let before = change.live_before().map(places).unwrap_or_default();
    let after = change.live_after().map(places).unwrap_or_default();
    for entity in change.after.entities() {
        for (index, place) in before.difference(&after) {
            batch.remove(key::place(entity, index, place));
        }
        for (index, place) in after.difference(&before) {
            batch.insert(key::place(entity, index, place), &[]);
        }
        if change.before.is_none() {
            batch.insert(key::member(entity, change.after.id), &[]);
        }
    }
    let version = key::version(change.after.id, change.after.version);
    batch.insert(version, encode(&Version(change.after.clone()))?);
    Ok(())
}

fn object(pair: sled::Result<(IVec, IVec)>) -> Result<Object, StateError> {
    let (_, bytes) = pair.map_err(engine)?;
    decode::<Version>(&bytes, "object").map(|version| version.0)
}

fn listed(key: sled::Result<IVec>) -> Result<ObjectId, StateError> {
    let key = key.map_err(engine)?;
    key::object_of(&key).ok_or_else(|| StateError::Lacks { what: "an object id at the end of a key".to_owned() })
}

fn encode<T: Wire>(value: &T) -> Result<Vec<u8>, StateError> {
    codec::encode(value).map_err(|error| StateError::Engine(Box::new(error)))
}

fn decode<T: Wire>(bytes: &[u8], what: &'static str) -> Result<T, StateError> {
    codec::decode(bytes).map_err(|source| StateError::Malformed { what, source })
}

fn engine(error: sled::Error) -> StateError {
    StateError::Engine(Box::new(error))
}

fn describe(error: &StateError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn quarantine(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".quarantine-{number}"));
    PathBuf::from(name)
}

/// Gives a state's directory the first free name of `<name>.quarantine-1`, `-2`, ...
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    for number in 1..=QUARANTINES_MAX {
        let aside = quarantine(path, number);
        if !aside.exists() {
            fs::rename(path, &aside)?;
            return Ok(aside);
        }
    }
    Err(io::Error::other(format!("{QUARANTINES_MAX} states were set aside already: inspect and remove them")))
}

impl Wire for Header {}
impl Wire for Version {}
impl Wire for Fate {}

/// Pages of the database kept in memory.
const CACHE_BYTES: u64 = 64 << 20;

/// How often the lock is tried, and how long is waited in between: two seconds together.
const LOCK_ATTEMPTS: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A state that goes bad this often has a cause that rebuilding does not cure.
const QUARANTINES_MAX: u32 = 100;
