//! The directory that a node keeps its journal in: the seam between the store and the disk.
//!
//! Production uses [`DiskStorage`]; simulations and tests use [`MemoryStorage`], which forgets what was not synced when its power is cut.

pub(crate) mod burn;
mod disk;
mod memory;
mod prefixed;
mod shadow;

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

pub use disk::DiskStorage;
pub use memory::MemoryStorage;
pub(crate) use prefixed::Prefixed;
pub use shadow::Shadow;

/// One directory of files. Names are plain file names.
///
/// What [`create`](Self::create), [`rename`](Self::rename) and [`remove`](Self::remove) did survives a power cut only after
/// [`sync_directory`](Self::sync_directory).
pub trait Storage: Send + Sync + Debug {
    /// Makes a new, empty file and opens it.
    fn create(&self, name: &str) -> Result<Arc<dyn File>, StorageError>;

    /// Opens a file for reading and writing.
    fn open(&self, name: &str) -> Result<Arc<dyn File>, StorageError>;

    /// The names of all files, in order.
    fn list(&self) -> Result<Vec<String>, StorageError>;

    /// Removes a file.
    fn remove(&self, name: &str) -> Result<(), StorageError>;

    /// Gives a file another name, replacing what had that name.
    fn rename(&self, from: &str, to: &str) -> Result<(), StorageError>;

    /// Returns when the directory itself (which names exist) is durable.
    fn sync_directory(&self) -> Result<(), StorageError>;

    /// Bytes that files here may still grow by, for this process; `u64::MAX` where nobody knows.
    fn free_bytes(&self) -> Result<u64, StorageError> {
        Ok(u64::MAX)
    }
}

/// One open file.
pub trait File: Send + Sync + Debug {
    /// Writes all of `bytes` at `offset`, growing the file if needed. Durable only after [`sync_data`](Self::sync_data).
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), StorageError>;

    /// Fills `buffer` from `offset`. The answer is how many bytes there were: fewer than asked only at the end of the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError>;

    /// The file's length in bytes.
    fn size_bytes(&self) -> Result<u64, StorageError>;

    /// Makes the file at least `size_bytes` long, zeros at the end, and reserves the space for it, so that later writes find the disk
    /// neither full nor busy with growing the file. Costs a write of as many bytes.
    fn preallocate(&self, size_bytes: u64) -> Result<(), StorageError>;

    /// Cuts the file to `size_bytes`.
    fn truncate(&self, size_bytes: u64) -> Result<(), StorageError>;

    /// Returns when everything written, and the length needed to read it back, is durable (`fdatasync`).
    ///
    /// After a failure nobody knows what the disk holds; trying again proves nothing.
    fn sync_data(&self) -> Result<(), StorageError>;
}

/// Why storage did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A file of this name exists already. Nothing was changed.
    #[error("{file} exists already")]
    Exists {
        /// The file.
        file: String,
    },
    /// No such file. Nothing was changed.
    #[error("{file} does not exist")]
    Missing {
        /// The file.
        file: String,
    },
    /// The disk, or this user's share of it, is full: make room.
    #[error("no space left for {file}")]
    Full {
        /// The file.
        file: String,
    },
    /// The node may not write here: check owner, mode and mount options.
    #[error("{file} is not writable by this process")]
    NotWritable {
        /// The file or directory.
        file: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process has this directory open: stop it, or give this node a directory of its own.
    #[error("{directory} is in use by another process")]
    InUse {
        /// The directory.
        directory: String,
    },
    /// Anything else. The file may hold a part of what was written.
    #[error("{file}: {source}")]
    Io {
        /// The file or directory.
        file: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}
