//! Files of a directory that are not what they will be yet: everything is done under longer names.

use std::sync::Arc;

use super::{File, Storage, StorageError};

/// The files of a directory whose names begin with a prefix, seen without it.
///
/// What is built here takes its place at the end, by being renamed in the directory itself: until then nobody takes it for the real thing.
#[derive(Debug)]
pub(crate) struct Prefixed {
    whole: Arc<dyn Storage>,
    prefix: &'static str,
}

impl Prefixed {
    /// The files in `whole` whose names begin with `prefix`.
    pub(crate) fn new(whole: Arc<dyn Storage>, prefix: &'static str) -> Self {
        Self { whole, prefix }
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl Storage for Prefixed {
    fn create(&self, name: &str) -> Result<Arc<dyn File>, StorageError> {
        self.whole.create(&self.name(name))
    }

    fn open(&self, name: &str) -> Result<Arc<dyn File>, StorageError> {
        self.whole.open(&self.name(name))
    }

    fn list(&self) -> Result<Vec<String>, StorageError> {
        Ok(self.whole.list()?.iter().filter_map(|name| name.strip_prefix(self.prefix)).map(str::to_owned).collect())
    }

    fn remove(&self, name: &str) -> Result<(), StorageError> {
        self.whole.remove(&self.name(name))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), StorageError> {
        self.whole.rename(&self.name(from), &self.name(to))
    }

    fn sync_directory(&self) -> Result<(), StorageError> {
        self.whole.sync_directory()
    }

    fn free_bytes(&self) -> Result<u64, StorageError> {
        self.whole.free_bytes()
    }
}
