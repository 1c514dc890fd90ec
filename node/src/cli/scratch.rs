//! A state for a while: what a journal is replayed into to see what comes out.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use caps_store::state::{MemoryState, SledState, State};

/// Where a journal is replayed: in memory as long as that is small, else in a directory that is removed in the end.
pub(super) struct Scratch {
    directory: Option<PathBuf>,
}

impl Scratch {
    /// For a journal of this size; `beside` is a directory that may be written to.
    pub(super) fn for_journal(beside: &Path, size_bytes: u64) -> anyhow::Result<Self> {
        if size_bytes <= MEMORY_BYTES_MAX {
            return Ok(Self { directory: None });
        }
        Self::in_directory(beside).map(|directory| Self { directory: Some(directory) })
    }

    /// An empty directory in `beside`, to be removed in the end.
    pub(super) fn directory(beside: &Path) -> anyhow::Result<Self> {
        Self::in_directory(beside).map(|directory| Self { directory: Some(directory) })
    }

    fn in_directory(beside: &Path) -> anyhow::Result<PathBuf> {
        let directory = beside.join(format!("scratch-{}", std::process::id()));
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(directory)
    }

    /// Its path, if it has one.
    pub(super) fn path(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// An empty state.
    pub(super) fn state(&self) -> anyhow::Result<Box<dyn State>> {
        Ok(match &self.directory {
            None => Box::new(MemoryState::new()),
            Some(directory) => Box::new(SledState::open(&directory.join("replayed"), u64::MAX)?.0),
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(directory) = &self.directory
            && let Err(error) = fs::remove_dir_all(directory)
        {
            tracing::warn!(directory = %directory.display(), %error, "cannot remove what was only needed for a while");
        }
    }
}

/// A state in memory takes a few times what the journal does.
const MEMORY_BYTES_MAX: u64 = 256 << 20;
