//! Setting a journal aside that cannot prove what it holds: renamed, never deleted, never read again by a replica.

use super::format;
use crate::storage::{Storage, StorageError};

/// Gives every segment of the journal another name, `quarantine-<number>-<name>`; the prefix that they then have in common.
///
/// The first segment goes first, and durably, before any other: whatever a crash leaves of this, a journal that lacks its beginning is never
/// taken for a whole one.
pub fn set_aside(storage: &dyn Storage) -> Result<String, StorageError> {
    let names = storage.list()?;
    let taken = names.iter().filter_map(|name| number_of(name)).max().unwrap_or(0);
    let prefix = format!("{PREFIX}{:04}-", taken + 1);
    for segment in names.iter().filter(|name| format::segment_of(name).is_some()) {
        storage.rename(segment, &format!("{prefix}{segment}"))?;
        storage.sync_directory()?;
    }
    Ok(prefix)
}

/// Whether a journal was ever set aside here: what was promised in it counts for ever, whatever is there now.
pub fn is_quarantined(storage: &dyn Storage) -> Result<bool, StorageError> {
    Ok(storage.list()?.iter().any(|name| number_of(name).is_some()))
}

/// Which journal that was set aside a file belongs to.
pub(super) fn number_of(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

const PREFIX: &str = "quarantine-";
