//! A directory of the operating system.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::Errno;

use super::{File, Storage, StorageError};

/// A directory on disk that belongs to this process as long as the value lives.
#[derive(Debug)]
pub struct DiskStorage {
    path: PathBuf,
    /// Open on the directory itself: what `sync_directory` syncs.
    directory: fs::File,
    /// Holds the lock; the system lets go of it when the process ends, however it ends. A copy on a medium that cannot be written may have none.
    _lock: Option<fs::File>,
    /// Whether files are opened for writing, too.
    writable: bool,
}

#[derive(Debug)]
struct DiskFile {
    name: String,
    file: fs::File,
}

impl DiskStorage {
    /// Opens a directory, making it if there is none, and locks it against other processes.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let name = path.display().to_string();
        fs::create_dir_all(path).map_err(|source| classify(&name, source))?;
        let lock_name = path.join(LOCK).display().to_string();
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK));
        let lock = lock.map_err(|source| classify(&lock_name, source))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(StorageError::InUse { directory: name }),
            Err(errno) => return Err(classify(&lock_name, errno.into())),
        }
        let directory = fs::File::open(path).map_err(|source| classify(&name, source))?;
        Ok(Self { path: path.to_owned(), directory, _lock: Some(lock), writable: true })
    }

    /// Opens a directory to read what is there, and changes nothing: not even an empty lock is made. Any number of readers may have it open, but
    /// no reader together with an owner, whose files would change under it.
    pub fn open_read_only(path: &Path) -> Result<Self, StorageError> {
        let name = path.display().to_string();
        let directory = fs::File::open(path).map_err(|source| classify(&name, source))?;
        let lock = match fs::File::open(path.join(LOCK)) {
            Ok(lock) => Some(lock),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(classify(&path.join(LOCK).display().to_string(), source)),
        };
        if let Some(lock) = &lock {
            match rustix::fs::flock(lock, FlockOperation::NonBlockingLockShared) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(StorageError::InUse { directory: name }),
                Err(errno) => return Err(classify(&name, errno.into())),
            }
        }
        Ok(Self { path: path.to_owned(), directory, _lock: lock, writable: false })
    }

    fn file(&self, name: &str, options: &OpenOptions) -> Result<Arc<dyn File>, StorageError> {
        let path = self.path.join(name);
        let name = path.display().to_string();
        let file = options.open(&path).map_err(|source| classify(&name, source))?;
        Ok(Arc::new(DiskFile { name, file }))
    }

    fn full_name(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }
}

impl Storage for DiskStorage {
    fn create(&self, name: &str) -> Result<Arc<dyn File>, StorageError> {
        self.file(name, OpenOptions::new().read(true).write(true).create_new(true))
    }

    fn open(&self, name: &str) -> Result<Arc<dyn File>, StorageError> {
        self.file(name, OpenOptions::new().read(true).write(self.writable))
    }

    fn list(&self) -> Result<Vec<String>, StorageError> {
        let directory = self.path.display().to_string();
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(|source| classify(&directory, source))? {
            let entry = entry.map_err(|source| classify(&directory, source))?;
            let is_file = entry.file_type().map_err(|source| classify(&directory, source))?.is_file();
            // A name that is not UTF-8 is not one of ours.
            if let (true, Ok(name)) = (is_file, entry.file_name().into_string())
                && name != LOCK
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn remove(&self, name: &str) -> Result<(), StorageError> {
        fs::remove_file(self.path.join(name)).map_err(|source| classify(&self.full_name(name), source))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), StorageError> {
        fs::rename(self.path.join(from), self.path.join(to)).map_err(|source| classify(&self.full_name(from), source))
    }

    fn sync_directory(&self) -> Result<(), StorageError> {
        self.directory.sync_all().map_err(|source| classify(&self.path.display().to_string(), source))
    }

    fn free_bytes(&self) -> Result<u64, StorageError> {
        match rustix::fs::fstatvfs(&self.directory) {
            // Blocks that only the superuser may use are not counted.
            Ok(figures) => Ok(figures.f_bavail.saturating_mul(figures.f_frsize)),
            Err(errno) => Err(classify(&self.path.display().to_string(), errno.into())),
        }
    }
}

impl File for DiskFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        self.file.write_all_at(bytes, offset).map_err(|source| classify(&self.name, source))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(classify(&self.name, source)),
            }
        }
        Ok(filled)
    }

    fn size_bytes(&self) -> Result<u64, StorageError> {
        self.file.metadata().map(|m| m.len()).map_err(|source| classify(&self.name, source))
    }

    /// Besides reserving the space it writes the zeros. A file system marks space that is only reserved, and the first write to it changes that
    /// mark: each sync then waits for a transaction of the file system, and with it for whatever else is written on the same disk. To where
    /// zeros have been written, a sync writes the data and nothing else (ext4: half of the time at the median, a fortieth at the 99th percentile).
    fn preallocate(&self, size_bytes: u64) -> Result<(), StorageError> {
        let mut end = self.size_bytes()?;
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, size_bytes) {
            // A file system that cannot reserve space can still hold the file.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(classify(&self.name, errno.into())),
        }
        while end < size_bytes {
            let length = (size_bytes - end).min(ZEROS.len() as u64);
            self.write_at(end, &ZEROS[..usize::try_from(length).unwrap_or(ZEROS.len())])?;
            end += length;
        }
        Ok(())
    }

    fn truncate(&self, size_bytes: u64) -> Result<(), StorageError> {
        self.file.set_len(size_bytes).map_err(|source| classify(&self.name, source))
    }

    fn sync_data(&self) -> Result<(), StorageError> {
        self.file.sync_data().map_err(|source| classify(&self.name, source))
    }
}

fn classify(file: &str, source: io::Error) -> StorageError {
    let file = file.to_owned();
    match source.kind() {
        io::ErrorKind::AlreadyExists => StorageError::Exists { file },
        io::ErrorKind::NotFound => StorageError::Missing { file },
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StorageError::Full { file },
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StorageError::NotWritable { file, source },
        _ => StorageError::Io { file, source },
    }
}

/// Zeros written at once.
static ZEROS: [u8; 256 << 10] = [0; 256 << 10];

/// Whoever holds the lock on this file owns the directory.
const LOCK: &str = "lock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_has_one_owner_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let first = DiskStorage::open(directory.path()).unwrap();
        assert!(matches!(DiskStorage::open(directory.path()), Err(StorageError::InUse { .. })));
        drop(first);
        DiskStorage::open(directory.path()).unwrap();
    }

    #[test]
    fn readers_share_a_directory_with_each_other_and_not_with_an_owner() {
        let directory = tempfile::tempdir().unwrap();
        let owner = DiskStorage::open(directory.path()).unwrap();
        owner.create("a").unwrap();
        assert!(matches!(DiskStorage::open_read_only(directory.path()), Err(StorageError::InUse { .. })));
        drop(owner);
        let readers = [0; 2].map(|_| DiskStorage::open_read_only(directory.path()).unwrap());
        assert!(matches!(DiskStorage::open(directory.path()), Err(StorageError::InUse { .. })));
        assert_eq!(readers[0].list().unwrap(), ["a"]);
        assert!(readers[1].open("a").unwrap().write_at(0, b"x").is_err());
        assert!(readers[0].free_bytes().unwrap() > 0);
        assert!(DiskStorage::open_read_only(&directory.path().join("absent")).is_err());
    }

    #[test]
    fn preallocating_adds_zeros_behind_what_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let storage = DiskStorage::open(directory.path()).unwrap();
        // A little more than what is written at once.
        let size = (256 << 10) + 1_000;
        let file = storage.create("file").unwrap();
        file.write_at(10, b"precious").unwrap();
        file.preallocate(size).unwrap();
        file.preallocate(100).unwrap();
        let mut expected = vec![0; usize::try_from(size).unwrap()];
        expected[10..18].copy_from_slice(b"precious");
        assert_eq!(fs::read(directory.path().join("file")).unwrap(), expected);
    }

    #[test]
    fn path_that_is_a_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, b"").unwrap();
        assert!(DiskStorage::open(&path).is_err());
    }
}
