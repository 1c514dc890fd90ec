//! Examining the blobs beside a journal.

use caps_model::BlobId;

use super::Sound;
use crate::backup::{Named, mentioned};
use crate::blobs::proof::{Look, Proof, prove};
use crate::replay::ReplayError;
use crate::storage::{Storage, StorageError};

/// What was found of the blobs that a journal's commits name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlobsFound {
    /// How many are whole: every byte is proven.
    pub whole: u64,
    /// How many bytes these have.
    pub size_bytes: u64,
    /// Those that are not there, in order.
    pub missing: Vec<BlobId>,
    /// Those that are not what they should be, in order.
    pub damaged: Vec<BlobId>,
}

/// Why blobs were not examined.
#[derive(Debug, thiserror::Error)]
pub enum BlobsError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] ReplayError),
    /// The disk.
    #[error("a blob cannot be read: {0}")]
    Storage(#[from] StorageError),
}

impl Sound {
    /// Reads every blob that a proposal in the journal mentions; `tell` hears of bytes that were read. Nothing is changed.
    ///
    /// Not every one that is mentioned must be there: a commit may have been refused, or its values obliterated. [`BlobsFound::only`] says which.
    pub fn examine_blobs(&self, storage: &dyn Storage, tell: &mut dyn FnMut(u64)) -> Result<BlobsFound, BlobsError> {
        let mut found = BlobsFound::default();
        for blob in mentioned(&self.reader, self.committed)? {
            match prove(storage, blob, Look::Bytes, tell)? {
                Proof::Whole => {
                    found.whole += 1;
                    found.size_bytes += blob.size_bytes;
                }
                Proof::Missing => found.missing.push(blob),
                Proof::Damaged => found.damaged.push(blob),
            }
        }
        Ok(found)
    }
}

impl BlobsFound {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.missing.is_empty() && self.damaged.is_empty()
    }

    /// Without complaints about what nothing needs.
    #[must_use]
    pub fn only(mut self, named: &Named) -> Self {
        for complaints in [&mut self.missing, &mut self.damaged] {
            complaints.retain(|blob| named.blobs.contains_key(blob));
        }
        self
    }
}
