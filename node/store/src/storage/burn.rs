//! Taking the content of files away, as well as paper can be burnt: what stood in them is overwritten before their names are given up, so that it
//! does not wait on the disk until the space is used again. A disk that keeps old blocks to itself (a solid-state one, a snapshot below) keeps them.
//!
//! A file that is replaced keeps a name until it is overwritten:
//!
//! 1. the new content stands, synced, in `redacting-<name>`, and that this file is there is synced;
//! 2. `<name>` becomes `gone-<name>`; synced;
//! 3. `redacting-<name>` becomes `<name>`; synced;
//! 4. `gone-<name>` is overwritten, synced, removed; synced.
//!
//! Whatever a power cut leaves of this, [`finish`] brings to its end: with the new content if step 2 came about, else with the old.

use std::sync::Arc;

use super::{File, Storage, StorageError};

/// Where the new content of a file is prepared.
pub(crate) fn prepared(name: &str) -> String {
    format!("{PREPARED}{name}")
}

/// Puts the [`prepared`] content, which is synced, in the place of what a file holds. The old content is [`gone`](burn_replaced) after that only.
pub(crate) fn replace(storage: &dyn Storage, name: &str) -> Result<(), StorageError> {
    // Each of these is there before the next: a disk may keep changes of names in another order than they were made in.
    storage.sync_directory()?;
    storage.rename(name, &replaced(name))?;
    storage.sync_directory()?;
    storage.rename(&prepared(name), name)?;
    storage.sync_directory()
}

/// Overwrites what [`replace`] put something else in the place of.
pub(crate) fn burn_replaced(storage: &dyn Storage, name: &str) -> Result<(), StorageError> {
    burn(storage, &replaced(name))
}

/// Overwrites a file with zeros, durably, and removes it, durably.
pub(crate) fn burn(storage: &dyn Storage, name: &str) -> Result<(), StorageError> {
    let mut burning = Burning::open(storage, name)?;
    while burning.step(storage)? {}
    Ok(())
}

/// A file that is being overwritten, in steps, so that others get their turn between them. Nobody else may write to it meanwhile.
#[derive(Debug)]
pub(crate) struct Burning {
    name: String,
    file: Arc<dyn File>,
    offset: u64,
    size: u64,
}

impl Burning {
    pub(crate) fn open(storage: &dyn Storage, name: &str) -> Result<Self, StorageError> {
        let file = storage.open(name)?;
        Ok(Self { name: name.to_owned(), size: file.size_bytes()?, file, offset: 0 })
    }

    /// Overwrites a piece of it; at the end removes it. Whether there is more to do.
    pub(crate) fn step(&mut self, storage: &dyn Storage) -> Result<bool, StorageError> {
        let length = (self.size - self.offset).min(ZEROS_BYTES as u64);
        if length > 0 {
            self.file.write_at(self.offset, &vec![0; usize::try_from(length).unwrap_or(ZEROS_BYTES)])?;
            self.offset += length;
            // In pieces, too: a sync of gigabytes at the end would have everybody wait.
            if self.offset.is_multiple_of(SYNCED_BYTES) {
                self.file.sync_data()?;
            }
            return Ok(true);
        }
        self.file.sync_data()?;
        storage.remove(&self.name)?;
        storage.sync_directory()?;
        Ok(false)
    }
}

/// Brings to its end what a crash interrupted.
pub(crate) fn finish(storage: &dyn Storage) -> Result<(), StorageError> {
    let names = storage.list()?;
    for (gone, name) in names.iter().filter_map(|file| Some((file, file.strip_prefix(REPLACED)?))) {
        if !names.iter().any(|other| other == name) {
            // Between the two renamings. The new content was durable before the first.
            let new = prepared(name);
            storage.rename(if names.contains(&new) { &new } else { gone }, name)?;
            storage.sync_directory()?;
        }
        if storage.list()?.contains(gone) {
            burn(storage, gone)?;
        }
    }
    let unfinished: Vec<String> = storage.list()?.into_iter().filter(|name| name.starts_with(PREPARED)).collect();
    for name in &unfinished {
        storage.remove(name)?;
    }
    if unfinished.is_empty() { Ok(()) } else { storage.sync_directory() }
}

fn replaced(name: &str) -> String {
    format!("{REPLACED}{name}")
}

const PREPARED: &str = "redacting-";
const REPLACED: &str = "gone-";

/// Zeros written at once.
const ZEROS_BYTES: usize = 256 << 10;

/// Bytes between two syncs: a multiple of what is written at once.
const SYNCED_BYTES: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    const SECRET: &[u8] = b"Rumpelstilzchen";

    fn write(disk: &MemoryStorage, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
        let file = disk.create(name)?;
        file.write_at(0, bytes)?;
        file.sync_data()
    }

    fn read(disk: &MemoryStorage, name: &str) -> Vec<u8> {
        let file = disk.open(name).unwrap();
        let mut bytes = vec![0; usize::try_from(file.size_bytes().unwrap()).unwrap()];
        file.read_at(0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn wherever_the_power_is_cut_there_is_the_old_or_the_new_and_nothing_of_the_old_is_left_under_the_new() {
        let mut ended = false;
        for halt in 0.. {
            for kept in [false, true] {
                let disk = MemoryStorage::new();
                write(&disk, "file", SECRET).unwrap();
                disk.sync_directory().unwrap();
                disk.halt_after(halt);
                let done = write(&disk, &prepared("file"), b"harmless")
                    .and_then(|()| replace(&disk, "file"))
                    .and_then(|()| burn_replaced(&disk, "file"));
                ended = done.is_ok();
                disk.power_cut(|| kept);
                finish(&disk).unwrap();
                assert_eq!(disk.list().unwrap(), ["file"], "halted at {halt}");
                match read(&disk, "file").as_slice() {
                    SECRET => assert!(!ended),
                    found => {
                        assert_eq!(found, b"harmless", "halted at {halt}");
                        assert!(!disk.holds(SECRET), "halted at {halt}");
                    }
                }
            }
            if ended {
                return;
            }
        }
    }
}
