//! What a directory holds, before anything in it is opened as a journal.

use caps_model::Name;

use super::format::{self, BadHeader, SegmentHeader};
use super::quarantine::number_of;
use super::recovery::OpenError;
use crate::storage::{Storage, StorageError};

/// Whether a directory holds a journal.
pub fn exists(storage: &dyn Storage) -> Result<bool, StorageError> {
    Ok(storage.list()?.iter().any(|name| format::segment_of(name).is_some()))
}

/// The cabinet that the journal in a directory belongs to, as its first segment says; `None`: there is no journal.
pub fn cabinet_of(storage: &dyn Storage) -> Result<Option<Name>, OpenError> {
    let names = storage.list()?;
    let Some(first) = names.iter().find(|name| format::segment_of(name).is_some()) else { return Ok(None) };
    let mut bytes = [0; format::HEADER_BYTES];
    let read = storage.open(first)?.read_at(0, &mut bytes)?;
    match SegmentHeader::decode(&bytes[..read]) {
        Ok(header) => Ok(Some(header.cabinet)),
        Err(BadHeader::OtherVersion(found)) => Err(OpenError::OtherVersion { file: first.clone(), what: "format", found }),
        Err(BadHeader::Malformed) => {
            let reason = "the segment header does not match its check";
            Err(OpenError::Damaged { file: first.clone(), offset: 0, reason })
        }
    }
}

/// The segments of journals that were set aside here, in order.
pub fn quarantined(storage: &dyn Storage) -> Result<Vec<String>, StorageError> {
    Ok(storage.list()?.into_iter().filter(|file| number_of(file).is_some()).collect())
}
