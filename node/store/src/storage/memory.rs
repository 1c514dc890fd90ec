//! A disk in memory that loses what was not synced when its power is cut, and fails when told to.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{File, Storage, StorageError};

/// A directory in memory. Clones share it: one is given to the node, another stays with the test or the simulation.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    disk: Arc<Mutex<Disk>>,
}

/// One open file, and in which life of the machine it was opened: handles do not survive a power cut.
#[derive(Debug)]
struct MemoryFile {
    disk: Arc<Mutex<Disk>>,
    life: u64,
    inode: u64,
    name: String,
}

#[derive(Debug)]
struct Disk {
    files: BTreeMap<u64, Content>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    next_inode: u64,
    /// What stood in files that had no name any more when the power was cut: space that nobody has used again.
    unused: VecDeque<Vec<u8>>,
    life: u64,
    capacity_bytes: u64,
    syncs: u64,
    operations: u64,
    halt_at: Option<u64>,
    fail_sync_in: Option<u64>,
}

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// Ranges written since the last sync, oldest first.
    unsynced: Vec<(u64, u64)>,
    /// Ranges that a failed sync left, and that the system takes for clean: no later sync brings them to the disk, as on Linux.
    forgotten: Vec<(u64, u64)>,
}

impl MemoryStorage {
    /// An empty directory on a disk without end.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts the power: names and bytes that were not synced are lost, except the sectors of unsynced writes for which `keep` says that the
    /// disk happened to get to them. Handles opened before fail ever after, a halt or a failure that was ordered is forgotten, and the
    /// directory can be opened again.
    pub fn power_cut(&self, mut keep: impl FnMut() -> bool) {
        let mut disk = self.lock();
        disk.life += 1;
        disk.halt_at = None;
        disk.fail_sync_in = None;
        disk.names = disk.durable_names.clone();
        for content in disk.files.values_mut() {
            content.lose_unsynced(&mut keep);
        }
        disk.forget_nameless();
    }

    /// Lets the next `operations` changes (writes, syncs, creations, renames, ...) happen, and none after them: the moment at which a test
    /// wants the machine to die.
    pub fn halt_after(&self, operations: u64) {
        let mut disk = self.lock();
        disk.halt_at = Some(disk.operations + operations);
    }

    /// Makes a sync fail: the next one for 0, the one after it for 1.
    pub fn fail_sync(&self, after: u64) {
        self.lock().fail_sync_in = Some(after);
    }

    /// Limits what all files together may hold.
    pub fn limit_capacity(&self, bytes: u64) {
        self.lock().capacity_bytes = bytes;
    }

    /// Successful syncs of files so far.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Changes so far, as [`halt_after`](Self::halt_after) counts them.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Flips one bit of a file, durably, as a failing disk does. `false`: there is no such byte.
    pub fn flip_bit(&self, name: &str, offset: u64, bit: u8) -> bool {
        let mut disk = self.lock();
        let Some(&inode) = disk.names.get(name) else { return false };
        let Some(content) = disk.files.get_mut(&inode) else { return false };
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        for bytes in [&mut content.bytes, &mut content.durable] {
            match bytes.get_mut(offset) {
                Some(byte) => *byte ^= 1 << (bit % 8),
                None => return false,
            }
        }
        true
    }

    /// Whether these bytes stand anywhere on the disk, in what was a file once and in what is not synced yet included: space is never used again.
    pub fn holds(&self, bytes: &[u8]) -> bool {
        let disk = self.lock();
        let found = |content: &Vec<u8>| {
            // Most of a preallocated file is zeros, which are passed over by blocks.
            let blocks = (0..content.len())
                .step_by(ZEROS.len())
                .filter(|start| !ZEROS.starts_with(&content[*start..content.len().min(start + ZEROS.len())]));
            let mut windows =
                blocks.flat_map(|start| content[start..content.len().min(start + ZEROS.len() + bytes.len())].windows(bytes.len()));
            windows.any(|window| window == bytes)
        };
        disk.files.values().any(|content| found(&content.bytes) || found(&content.durable)) || disk.unused.iter().any(found)
    }

    /// Another disk with the same content, all of it durable.
    pub fn copy(&self) -> Self {
        let disk = self.lock();
        let mut files = BTreeMap::new();
        for (inode, content) in &disk.files {
            files.insert(*inode, Content { bytes: content.bytes.clone(), durable: content.bytes.clone(), ..Content::default() });
        }
        let (names, durable_names) = (disk.names.clone(), disk.names.clone());
        let copy = Disk { files, names, durable_names, next_inode: disk.next_inode, ..Disk::default() };
        Self { disk: Arc::new(Mutex::new(copy)) }
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        lock(&self.disk)
    }

    fn file(&self, disk: &Disk, inode: u64, name: &str) -> Arc<dyn File> {
        Arc::new(MemoryFile { disk: Arc::clone(&self.disk), life: disk.life, inode, name: name.to_owned() })
    }
}

impl Storage for MemoryStorage {
    fn create(&self, name: &str) -> Result<Arc<dyn File>, StorageError> {
        let mut disk = self.lock();
        if disk.names.contains_key(name) {
            return Err(StorageError::Exists { file: name.to_owned() });
        }
        disk.operate(name)?;
        let inode = disk.next_inode;
        disk.next_inode += 1;
        disk.files.insert(inode, Content::default());
        disk.names.insert(name.to_owned(), inode);
        Ok(self.file(&disk, inode, name))
    }

    fn open(&self, name: &str) -> Result<Arc<dyn File>, StorageError> {
        let disk = self.lock();
        let inode = *disk.names.get(name).ok_or_else(|| StorageError::Missing { file: name.to_owned() })?;
        Ok(self.file(&disk, inode, name))
    }

    fn list(&self) -> Result<Vec<String>, StorageError> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> Result<(), StorageError> {
        let mut disk = self.lock();
        disk.operate(name)?;
        disk.names.remove(name).map(drop).ok_or_else(|| StorageError::Missing { file: name.to_owned() })
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), StorageError> {
        let mut disk = self.lock();
        disk.operate(from)?;
        let inode = disk.names.remove(from).ok_or_else(|| StorageError::Missing { file: from.to_owned() })?;
        disk.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn sync_directory(&self) -> Result<(), StorageError> {
        let mut disk = self.lock();
        disk.operate("the directory")?;
        disk.durable_names = disk.names.clone();
        Ok(())
    }

    fn free_bytes(&self) -> Result<u64, StorageError> {
        let disk = self.lock();
        Ok(disk.capacity_bytes.saturating_sub(disk.used_bytes()))
    }
}

impl MemoryFile {
    /// The disk, if it is still the one this file was opened on.
    fn disk(&self) -> Result<MutexGuard<'_, Disk>, StorageError> {
        let disk = lock(&self.disk);
        if disk.life == self.life { Ok(disk) } else { Err(failed(&self.name, "the power was cut")) }
    }
}

impl File for MemoryFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let mut disk = self.disk()?;
        disk.operate(&self.name)?;
        let end = offset + bytes.len() as u64;
        disk.grow(self.inode, end, &self.name)?;
        let content = disk.content(self.inode);
        content.bytes[index(offset)..index(end)].copy_from_slice(bytes);
        content.unsynced.push((offset, end));
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let mut disk = self.disk()?;
        let bytes = &disk.content(self.inode).bytes;
        let start = index(offset).min(bytes.len());
        let read = buffer.len().min(bytes.len() - start);
        buffer[..read].copy_from_slice(&bytes[start..start + read]);
        Ok(read)
    }

    fn size_bytes(&self) -> Result<u64, StorageError> {
        Ok(self.disk()?.content(self.inode).bytes.len() as u64)
    }

    fn preallocate(&self, size_bytes: u64) -> Result<(), StorageError> {
        let mut disk = self.disk()?;
        disk.operate(&self.name)?;
        disk.grow(self.inode, size_bytes, &self.name)
    }

    fn truncate(&self, size_bytes: u64) -> Result<(), StorageError> {
        let mut disk = self.disk()?;
        disk.operate(&self.name)?;
        let content = disk.content(self.inode);
        content.bytes.resize(index(size_bytes), 0);
        content.unsynced.push((size_bytes, u64::MAX));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), StorageError> {
        let mut disk = self.disk()?;
        disk.operate(&self.name)?;
        if let Some(left) = disk.fail_sync_in {
            disk.fail_sync_in = left.checked_sub(1);
            if left == 0 {
                let content = disk.content(self.inode);
                content.forgotten.append(&mut content.unsynced);
                return Err(failed(&self.name, "the sync failed as ordered"));
            }
        }
        disk.syncs += 1;
        disk.content(self.inode).sync();
        Ok(())
    }
}

impl Disk {
    /// Counts a change, and refuses it when the machine is to have died before it.
    fn operate(&mut self, file: &str) -> Result<(), StorageError> {
        if self.halt_at.is_some_and(|halt| self.operations >= halt) {
            return Err(failed(file, "the machine was halted as ordered"));
        }
        self.operations += 1;
        Ok(())
    }

    fn content(&mut self, inode: u64) -> &mut Content {
        self.files.entry(inode).or_default()
    }

    fn used_bytes(&self) -> u64 {
        self.files.values().map(|content| content.bytes.len() as u64).sum()
    }

    fn grow(&mut self, inode: u64, size_bytes: u64, name: &str) -> Result<(), StorageError> {
        let more = size_bytes.saturating_sub(self.content(inode).bytes.len() as u64);
        if self.used_bytes() + more > self.capacity_bytes {
            return Err(StorageError::Full { file: name.to_owned() });
        }
        let content = self.content(inode);
        let size = content.bytes.len().max(index(size_bytes));
        content.bytes.resize(size, 0);
        Ok(())
    }

    fn forget_nameless(&mut self) {
        let named: Vec<u64> = self.names.values().copied().collect();
        for (inode, content) in std::mem::take(&mut self.files) {
            if named.contains(&inode) {
                self.files.insert(inode, content);
            } else if content.bytes.iter().any(|byte| *byte != 0) {
                self.unused.push_back(content.bytes);
            }
        }
        while self.unused.len() > UNUSED_MAX {
            self.unused.pop_front();
        }
    }
}

impl Content {
    /// Brings what was written since the last sync to the disk.
    fn sync(&mut self) {
        self.durable.resize(self.bytes.len(), 0);
        for (start, end) in std::mem::take(&mut self.unsynced) {
            let range = index(start).min(self.bytes.len())..index(end.min(self.bytes.len() as u64));
            if !range.is_empty() {
                self.durable[range.clone()].copy_from_slice(&self.bytes[range]);
            }
        }
    }

    /// Goes back to the durable bytes, plus the sectors of unsynced writes that `keep` saves.
    ///
    /// A write past the durable end that is kept leaves zeros in front of it, as a file system does.
    fn lose_unsynced(&mut self, keep: &mut impl FnMut() -> bool) {
        let mut bytes = self.durable.clone();
        let forgotten = std::mem::take(&mut self.forgotten);
        for (start, end) in forgotten.into_iter().chain(std::mem::take(&mut self.unsynced)) {
            let end = end.min(self.bytes.len() as u64);
            for sector in start / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
                let from = index((sector * SECTOR_BYTES).max(start));
                let to = index(((sector + 1) * SECTOR_BYTES).min(end));
                if from < to && keep() {
                    bytes.resize(bytes.len().max(to), 0);
                    bytes[from..to].copy_from_slice(&self.bytes[from..to]);
                }
            }
        }
        self.durable.clone_from(&bytes);
        self.bytes = bytes;
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            next_inode: 1,
            unused: VecDeque::new(),
            life: 0,
            capacity_bytes: u64::MAX,
            syncs: 0,
            operations: 0,
            halt_at: None,
            fail_sync_in: None,
        }
    }
}

fn lock(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    // A panic while the lock was held was a failed test; the disk's content is still what it was.
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(file: &str, why: &str) -> StorageError {
    StorageError::Io { file: file.to_owned(), source: io::Error::other(why.to_owned()) }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("files in memory are smaller than memory")
}

/// What a disk writes as a whole or not at all.
const SECTOR_BYTES: u64 = 512;

/// Files without a name of which the content is remembered.
const UNUSED_MAX: usize = 256;

/// A block without content.
const ZEROS: [u8; 4_096] = [0; 4_096];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_cut_keeps_what_was_synced() {
        let storage = MemoryStorage::new();
        let file = storage.create("a").unwrap();
        storage.sync_directory().unwrap();
        file.write_at(0, b"synced").unwrap();
        file.sync_data().unwrap();
        file.write_at(3, b"lost").unwrap();
        storage.create("b").unwrap();
        storage.power_cut(|| false);
        assert_eq!(storage.list().unwrap(), ["a"]);
        assert!(file.size_bytes().is_err());
        let mut bytes = [0; 10];
        assert_eq!(storage.open("a").unwrap().read_at(0, &mut bytes).unwrap(), 6);
        assert_eq!(&bytes[..6], b"synced");
    }

    #[test]
    fn unsynced_write_may_survive_in_part() {
        let storage = MemoryStorage::new();
        let file = storage.create("a").unwrap();
        storage.sync_directory().unwrap();
        file.write_at(0, &[7; 1024]).unwrap();
        let mut first = true;
        // The second sector is kept, the first is not.
        storage.power_cut(|| !std::mem::take(&mut first));
        let mut bytes = [1; 1024];
        assert_eq!(storage.open("a").unwrap().read_at(0, &mut bytes).unwrap(), 1024);
        assert_eq!((bytes[0], bytes[511], bytes[512], bytes[1023]), (0, 0, 7, 7));
    }

    #[test]
    fn orders_to_fail_are_obeyed() {
        let storage = MemoryStorage::new();
        storage.limit_capacity(10);
        let file = storage.create("a").unwrap();
        assert!(matches!(file.write_at(0, &[0; 11]), Err(StorageError::Full { .. })));
        storage.fail_sync(1);
        file.sync_data().unwrap();
        assert!(file.sync_data().is_err());
        file.sync_data().unwrap();
        storage.halt_after(1);
        file.write_at(0, b"x").unwrap();
        assert!(file.write_at(0, b"y").is_err());
    }
}
