//! A disk on which a process dies at a chosen operation.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use caps_store::storage::{File, Storage, StorageError};

/// The moment at which a process is to die: at the n-th operation of a kind since it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// What it is at.
    pub kind: Kind,
    /// Which one, from 1.
    pub number: u64,
    /// How far it gets with it.
    pub moment: Moment,
}

/// What changes a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Writing to a file.
    Write,
    /// Making a file's content durable.
    Sync,
    /// Making a file.
    Create,
    /// Reserving room for a file.
    Reserve,
    /// Cutting a file.
    Truncate,
    /// Making the directory durable.
    SyncDirectory,
    /// Giving a file another name.
    Rename,
    /// Removing a file.
    Remove,
}

/// How far a process gets with the operation it dies at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// It has not begun.
    Before,
    /// Half of the bytes are written. For anything but writing the same as before.
    Half,
    /// It is done, and nobody knows yet.
    After,
}

/// A directory whose owner dies, as by `kill -9`, when it comes to a point.
#[derive(Debug)]
pub struct MortalStorage {
    inner: Arc<dyn Storage>,
    doom: Arc<Doom>,
}

#[derive(Debug)]
struct MortalFile {
    inner: Arc<dyn File>,
    doom: Arc<Doom>,
}

#[derive(Debug)]
struct Doom {
    point: Point,
    seen: AtomicU64,
}

impl MortalStorage {
    /// The directory `inner`, at one of whose changes the process dies.
    pub fn new(inner: Arc<dyn Storage>, point: Point) -> Self {
        Self { inner, doom: Arc::new(Doom { point, seen: AtomicU64::new(0) }) }
    }

    fn file(&self, inner: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(MortalFile { inner, doom: self.doom.clone() })
    }
}

impl Storage for MortalStorage {
    fn create(&self, name: &str) -> Result<Arc<dyn File>, StorageError> {
        self.doom.at(Kind::Create, || self.inner.create(name)).map(|file| self.file(file))
    }

    fn open(&self, name: &str) -> Result<Arc<dyn File>, StorageError> {
        self.inner.open(name).map(|file| self.file(file))
    }

    fn list(&self) -> Result<Vec<String>, StorageError> {
        self.inner.list()
    }

    fn remove(&self, name: &str) -> Result<(), StorageError> {
        self.doom.at(Kind::Remove, || self.inner.remove(name))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), StorageError> {
        self.doom.at(Kind::Rename, || self.inner.rename(from, to))
    }

    fn sync_directory(&self) -> Result<(), StorageError> {
        self.doom.at(Kind::SyncDirectory, || self.inner.sync_directory())
    }
}

impl File for MortalFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let half = || drop(self.inner.write_at(offset, &bytes[..bytes.len() / 2]));
        self.doom.half_way_at(Kind::Write, half, || self.inner.write_at(offset, bytes))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        self.inner.read_at(offset, buffer)
    }

    fn size_bytes(&self) -> Result<u64, StorageError> {
        self.inner.size_bytes()
    }

    fn preallocate(&self, size_bytes: u64) -> Result<(), StorageError> {
        self.doom.at(Kind::Reserve, || self.inner.preallocate(size_bytes))
    }

    fn truncate(&self, size_bytes: u64) -> Result<(), StorageError> {
        self.doom.at(Kind::Truncate, || self.inner.truncate(size_bytes))
    }

    fn sync_data(&self) -> Result<(), StorageError> {
        self.doom.at(Kind::Sync, || self.inner.sync_data())
    }
}

impl Doom {
    fn at<T>(&self, kind: Kind, operation: impl FnOnce() -> T) -> T {
        self.half_way_at(kind, || (), operation)
    }

    fn half_way_at<T>(&self, kind: Kind, half: impl FnOnce(), operation: impl FnOnce() -> T) -> T {
        let here = kind == self.point.kind && self.seen.fetch_add(1, Ordering::Relaxed) + 1 == self.point.number;
        if !here {
            return operation();
        }
        if self.point.moment == Moment::Half {
            half();
        }
        if self.point.moment != Moment::After {
            die();
        }
        drop(operation());
        die()
    }
}

/// Ends this process as `kill -9` does: nothing is flushed, nobody is told.
fn die() -> ! {
    loop {
        // It succeeds, and then nothing comes after it.
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).ok();
        std::thread::park();
    }
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Write, Self::Sync, Self::Create, Self::Reserve, Self::Truncate, Self::SyncDirectory, Self::Rename, Self::Remove];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Create => "create",
            Self::Reserve => "reserve",
            Self::Truncate => "truncate",
            Self::SyncDirectory => "sync-directory",
            Self::Rename => "rename",
            Self::Remove => "remove",
        }
    }
}

impl Moment {
    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Half => "half",
            Self::After => "after",
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.kind.name(), self.number, self.moment.name())
    }
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let [kind, number, moment] = parts[..] else { return Err("a point is KIND:NUMBER:MOMENT, as write:3:half".to_owned()) };
        let kind = Kind::ALL.into_iter().find(|known| known.name() == kind).ok_or_else(|| format!("there is no operation {kind:?}"))?;
        let moments = [Moment::Before, Moment::Half, Moment::After];
        let moment = moments.into_iter().find(|known| known.name() == moment).ok_or_else(|| format!("there is no moment {moment:?}"))?;
        let number = number.parse().ok().filter(|number| *number > 0).ok_or_else(|| format!("{number:?} is not a number from 1"))?;
        Ok(Self { kind, number, moment })
    }
}

#[cfg(test)]
mod tests {
    use caps_store::storage::MemoryStorage;

    use super::*;

    #[test]
    fn points_are_written_as_they_are_read() {
        for text in ["write:3:half", "sync-directory:1:before", "rename:12:after"] {
            assert_eq!(text.parse::<Point>().unwrap().to_string(), text);
        }
        for text in ["write:0:half", "write:1", "chmod:1:half", "write:1:later", ""] {
            text.parse::<Point>().unwrap_err();
        }
    }

    #[test]
    fn nobody_dies_elsewhere() {
        let storage = MortalStorage::new(Arc::new(MemoryStorage::new()), "write:3:half".parse().unwrap());
        let file = storage.create("a").unwrap();
        file.write_at(0, b"one").unwrap();
        file.write_at(3, b"two").unwrap();
        file.sync_data().unwrap();
        storage.sync_directory().unwrap();
        assert_eq!(file.size_bytes().unwrap(), 6);
    }
}
