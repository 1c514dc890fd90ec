//! Whether a directory has a blob, looked at without changing anything.

use std::sync::Arc;

use caps_model::BlobId;
use caps_model::blob::{CHUNK_BYTES, HEAD_BYTES, SIZE_BYTES_MAX, Table};

pub(crate) use super::files::read_chunk;
use super::files::whole_name;
use crate::storage::{File, Storage, StorageError};

/// What a directory has of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// All of it, proven.
    Whole,
    /// Nothing, or a part that was never finished.
    Missing,
    /// Something that is not it.
    Damaged,
}

/// How closely it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// The table is proven, and the length of the file.
    Table,
    /// Every byte is proven.
    Bytes,
}

/// Looks at a blob; `tell` hears of bytes that were read. Holds a table and a chunk in memory, less than a MiB.
pub(crate) fn prove(storage: &dyn Storage, blob: BlobId, look: Look, tell: &mut dyn FnMut(u64)) -> Result<Proof, StorageError> {
    let Some((file, table)) = open(storage, blob)? else { return Ok(Proof::Missing) };
    let Some(table) = table else { return Ok(Proof::Damaged) };
    if look == Look::Table {
        return Ok(Proof::Whole);
    }
    for index in 0..table.chunks() {
        let Some(chunk) = read_chunk(&*file, &table, index)? else { return Ok(Proof::Damaged) };
        tell(chunk.len() as u64);
    }
    Ok(Proof::Whole)
}

/// What a file is, and its table where it proves to be that of the blob.
type Opened = Option<(Arc<dyn File>, Option<Table>)>;

/// The file of a blob and its table, if there is a file. Its chunks are read, and proven, with [`read_chunk`].
pub(crate) fn open(storage: &dyn Storage, blob: BlobId) -> Result<Opened, StorageError> {
    let file = match storage.open(&whole_name(&blob.hash)) {
        Ok(file) => file,
        Err(StorageError::Missing { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let chunks = usize::try_from(blob.size_bytes.min(SIZE_BYTES_MAX).div_ceil(CHUNK_BYTES as u64)).unwrap_or(0);
    let mut bytes = vec![0; HEAD_BYTES + 32 * chunks];
    let read = file.read_at(0, &mut bytes)?;
    let is_as_long = file.size_bytes()? == bytes.len() as u64 + blob.size_bytes;
    let table = Table::from_bytes(&bytes[..read]).ok().filter(|table| table.id() == blob && is_as_long);
    Ok(Some((file, table)))
}
