//! A directory that is only looked at: changes stay in memory and never reach it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{File, Storage, StorageError};

/// What is in a directory, to be read as if it were one's own.
///
/// Opening a journal repairs a torn tail and makes the last segment ready for writing. Whoever only wants to know what a journal holds opens it
/// through this: it is read by the very code that a replica reads it with, and not a byte of it changes. A file that is written to is first
/// copied into memory, which for a journal is its last segment.
#[derive(Debug)]
pub struct Shadow {
    below: Arc<dyn Storage>,
    above: Above,
}

/// What differs from below, by name: the bytes of files made or written to here, `None` for files that are gone.
type Above = Arc<Mutex<BTreeMap<String, Option<Vec<u8>>>>>;

/// One file: below, as long as nobody writes to it.
#[derive(Debug)]
struct ShadowFile {
    name: String,
    below: Option<Arc<dyn File>>,
    above: Above,
}

impl Shadow {
    /// What `below` holds.
    pub fn over(below: Arc<dyn Storage>) -> Self {
        Self { below, above: Above::default() }
    }

    /// How a file differs from what is below; the outer `None`: not at all.
    fn difference(&self, name: &str) -> Option<Option<usize>> {
        lock(&self.above).get(name).map(|bytes| bytes.as_ref().map(Vec::len))
    }

    fn file(&self, name: &str, below: Option<Arc<dyn File>>) -> Arc<dyn File> {
        Arc::new(ShadowFile { name: name.to_owned(), below, above: self.above.clone() })
    }
}

impl Storage for Shadow {
    fn create(&self, name: &str) -> Result<Arc<dyn File>, StorageError> {
        if self.list()?.iter().any(|other| other == name) {
            return Err(StorageError::Exists { file: name.to_owned() });
        }
        lock(&self.above).insert(name.to_owned(), Some(Vec::new()));
        Ok(self.file(name, None))
    }

    fn open(&self, name: &str) -> Result<Arc<dyn File>, StorageError> {
        match self.difference(name) {
            Some(Some(_)) => Ok(self.file(name, None)),
            Some(None) => Err(StorageError::Missing { file: name.to_owned() }),
            None => Ok(self.file(name, Some(self.below.open(name)?))),
        }
    }

    fn list(&self) -> Result<Vec<String>, StorageError> {
        let mut names = self.below.list()?;
        let above = lock(&self.above);
        names.retain(|name| !above.contains_key(name));
        names.extend(above.iter().filter(|(_, bytes)| bytes.is_some()).map(|(name, _)| name.clone()));
        names.sort();
        Ok(names)
    }

    fn remove(&self, name: &str) -> Result<(), StorageError> {
        self.open(name)?;
        lock(&self.above).insert(name.to_owned(), None);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), StorageError> {
        let file = self.open(from)?;
        let mut bytes = vec![0; length(file.size_bytes()?)];
        file.read_at(0, &mut bytes)?;
        let mut above = lock(&self.above);
        above.insert(from.to_owned(), None);
        above.insert(to.to_owned(), Some(bytes));
        Ok(())
    }

    fn sync_directory(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

impl ShadowFile {
    /// Changes the copy in memory, which is made first if there is none.
    fn change(&self, act: impl FnOnce(&mut Vec<u8>)) -> Result<(), StorageError> {
        let mut above = lock(&self.above);
        if !above.contains_key(&self.name) {
            let Some(below) = &self.below else { return Err(StorageError::Missing { file: self.name.clone() }) };
            let mut bytes = vec![0; length(below.size_bytes()?)];
            below.read_at(0, &mut bytes)?;
            above.insert(self.name.clone(), Some(bytes));
        }
        match above.get_mut(&self.name) {
            Some(Some(bytes)) => act(bytes),
            _ => return Err(StorageError::Missing { file: self.name.clone() }),
        }
        Ok(())
    }
}

impl File for ShadowFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let (start, end) = (length(offset), length(offset) + bytes.len());
        self.change(|copy| {
            copy.resize(copy.len().max(end), 0);
            copy[start..end].copy_from_slice(bytes);
        })
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let above = lock(&self.above);
        match (above.get(&self.name), &self.below) {
            (Some(Some(bytes)), _) => {
                let start = length(offset).min(bytes.len());
                let read = buffer.len().min(bytes.len() - start);
                buffer[..read].copy_from_slice(&bytes[start..start + read]);
                Ok(read)
            }
            (None, Some(below)) => below.read_at(offset, buffer),
            _ => Err(StorageError::Missing { file: self.name.clone() }),
        }
    }

    fn size_bytes(&self) -> Result<u64, StorageError> {
        match (lock(&self.above).get(&self.name), &self.below) {
            (Some(Some(bytes)), _) => Ok(bytes.len() as u64),
            (None, Some(below)) => below.size_bytes(),
            _ => Err(StorageError::Missing { file: self.name.clone() }),
        }
    }

    /// Reserves nothing and grows nothing: whoever only looks needs no room.
    fn preallocate(&self, _size_bytes: u64) -> Result<(), StorageError> {
        Ok(())
    }

    fn truncate(&self, size_bytes: u64) -> Result<(), StorageError> {
        self.change(|copy| copy.resize(length(size_bytes), 0))
    }

    fn sync_data(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

fn length(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a file that is copied into memory is a segment of a journal")
}

/// Nothing that runs under this lock can leave the map half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    #[test]
    fn what_is_changed_in_the_shadow_is_not_changed_below() {
        let below = MemoryStorage::new();
        below.create("a").unwrap().write_at(0, b"whole").unwrap();
        below.create("b").unwrap();
        let operations = below.operations();
        let shadow = Shadow::over(Arc::new(below.clone()));
        let file = shadow.open("a").unwrap();
        file.truncate(3).unwrap();
        file.write_at(3, b"t?").unwrap();
        shadow.remove("b").unwrap();
        shadow.create("c").unwrap();
        shadow.rename("c", "d").unwrap();
        assert_eq!(shadow.list().unwrap(), ["a", "d"]);
        let mut bytes = [0; 9];
        // Every handle sees the same file.
        assert_eq!(shadow.open("a").unwrap().read_at(0, &mut bytes).unwrap(), 5);
        assert_eq!(&bytes[..5], b"whot?");
        assert!(matches!(shadow.open("b"), Err(StorageError::Missing { .. })));
        assert_eq!((below.operations(), below.list().unwrap()), (operations, vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(below.open("a").unwrap().read_at(0, &mut bytes).unwrap(), 5);
        assert_eq!(&bytes[..5], b"whole");
    }
}
