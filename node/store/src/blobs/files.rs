//! Blobs on disk. Everything here blocks and runs on the worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use caps_model::BlobId;
use caps_model::blob::{CHUNK_BYTES, HEAD_BYTES, SIZE_BYTES_MAX, Table, size_in};

use crate::storage::burn::{self, Burning};
use crate::storage::{File, Storage, StorageError};

/// The hash of a blob.
pub(crate) type Hash = [u8; 32];

/// The files of blobs in a directory.
#[derive(Debug)]
pub(crate) struct Files {
    storage: Arc<dyn Storage>,
    /// The number of the next file that is set aside.
    next_damaged: AtomicU64,
}

/// What was in the directory.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) whole: Vec<BlobId>,
    /// Of size 0 when it is not even known how large it is to be.
    pub(crate) parts: Vec<BlobId>,
}

/// What came of reading something of a blob.
#[derive(Debug)]
pub(super) enum Reading<T> {
    /// It is proven.
    Good(T),
    /// It is not what it should be. It was set aside.
    Damaged,
    /// There is no file.
    Gone,
    /// It is not known what it is: setting it aside failed.
    Failed(StorageError),
}

/// What a file of ours is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Whole,
    Part,
    Damaged(u64),
}

impl Files {
    /// Looks through the directory. A whole blob whose length is not what its head says is set aside.
    pub(crate) fn open(storage: Arc<dyn Storage>) -> Result<(Self, Found), StorageError> {
        let names: Vec<(Hash, Kind)> = storage.list()?.iter().filter_map(|name| parse(name)).collect();
        let numbers = names.iter().filter_map(|(_, kind)| if let Kind::Damaged(number) = kind { Some(*number) } else { None });
        let files = Self { next_damaged: AtomicU64::new(numbers.max().map_or(1, |last| last.saturating_add(1))), storage };
        let mut found = Found::default();
        for (hash, kind) in names {
            match kind {
                Kind::Damaged(_) => {}
                Kind::Part => found.parts.push(BlobId { hash, size_bytes: files.size_of_part(hash)? }),
                Kind::Whole => match files.size_of(hash) {
                    Ok(Some(size_bytes)) => found.whole.push(BlobId { hash, size_bytes }),
                    _ => files.set_aside(hash)?,
                },
            }
        }
        Ok((files, found))
    }

    pub(super) fn storage(&self) -> &dyn Storage {
        &*self.storage
    }

    /// Opens the part that a blob is made of, or makes it and reserves its space. `true`: it was there, and some chunks may be.
    pub(crate) fn begin(&self, table: &Table) -> Result<(Arc<dyn File>, bool), StorageError> {
        let name = part_name(&table.id().hash);
        let head = table.to_bytes();
        match self.storage.open(&name) {
            Ok(file) => {
                let mut there = vec![0; head.len()];
                if file.read_at(0, &mut there)? == head.len() && there == head {
                    return Ok((file, true));
                }
                // A crash left less than its head: nothing in it can be proven.
                self.storage.remove(&name)?;
            }
            Err(StorageError::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
        let file = self.storage.create(&name)?;
        let made = file.preallocate(head.len() as u64 + table.size_bytes()).and_then(|()| file.write_at(0, &head));
        if let Err(error) = made {
            // Half a part would be taken for one.
            self.storage.remove(&name).ok();
            return Err(error);
        }
        Ok((file, false))
    }

    /// Whether a blob is in a directory, or a part of it, for which all space is reserved.
    pub(crate) fn has_any(storage: &dyn Storage, hash: Hash) -> bool {
        [whole_name(&hash), part_name(&hash)].iter().any(|name| storage.open(name).is_ok())
    }

    /// Whether this chunk of a part is there.
    pub(crate) fn read_part(file: &dyn File, table: &Table, index: u32) -> Result<bool, StorageError> {
        Ok(read_chunk(file, table, index)?.is_some())
    }

    /// Writes a chunk into a part; with `sync` durably, and with it everything before and the part's name. `false`: the bytes are not this chunk,
    /// and nothing was written.
    pub(crate) fn write_chunk(&self, file: &dyn File, table: &Table, index: u32, bytes: &[u8], sync: bool) -> Result<bool, StorageError> {
        if !table.proves(index, bytes) {
            return Ok(false);
        }
        file.write_at(offset_of(table, index), bytes)?;
        if sync {
            file.sync_data()?;
            self.storage.sync_directory()?;
        }
        Ok(true)
    }

    /// Makes a part whose chunks are all there a whole blob, durably. Done again after it was done, it does nothing.
    pub(crate) fn finish(&self, file: &dyn File, table: &Table) -> Result<(), StorageError> {
        let hash = table.id().hash;
        file.sync_data()?;
        match self.storage.rename(&part_name(&hash), &whole_name(&hash)) {
            // Whoever asked before went away before it heard.
            Err(StorageError::Missing { .. }) if self.storage.open(&whole_name(&hash)).is_ok() => {}
            renamed => renamed?,
        }
        self.storage.sync_directory()
    }

    /// The table of a whole blob.
    pub(super) fn table(&self, blob: BlobId) -> Reading<Table> {
        self.reading(blob.hash, |file| {
            let chunks = usize::try_from(blob.size_bytes.min(SIZE_BYTES_MAX).div_ceil(CHUNK_BYTES as u64)).unwrap_or(0);
            let mut bytes = vec![0; HEAD_BYTES + 32 * chunks];
            let read = file.read_at(0, &mut bytes)?;
            Ok(Table::from_bytes(&bytes[..read]).ok().filter(|table| table.id() == blob))
        })
    }

    /// A chunk of a whole blob.
    pub(super) fn chunk(&self, hash: Hash, table: &Table, index: u32) -> Reading<Vec<u8>> {
        self.reading(hash, |file| read_chunk(file, table, index))
    }

    /// Removes what there is of a blob that was arriving.
    pub(super) fn discard_part(&self, hash: Hash) -> Result<(), StorageError> {
        match self.storage.remove(&part_name(&hash)) {
            Ok(()) => self.storage.sync_directory(),
            Err(StorageError::Missing { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Overwrites every file of a blob with zeros, those that were set aside included, and removes it. Whether there was any.
    pub(crate) fn burn(&self, hash: Hash) -> Result<bool, StorageError> {
        let names = self.names_of(hash)?;
        names.iter().try_for_each(|name| burn::burn(&*self.storage, name))?;
        Ok(!names.is_empty())
    }

    /// Every file of a blob, those that were set aside included.
    pub(super) fn names_of(&self, hash: Hash) -> Result<Vec<String>, StorageError> {
        let mut names = self.storage.list()?;
        names.retain(|name| parse(name).is_some_and(|(of, _)| of == hash));
        Ok(names)
    }

    /// Begins to overwrite a file; `None`: it is not there.
    pub(super) fn burning(&self, name: &str) -> Result<Option<Burning>, StorageError> {
        match Burning::open(&*self.storage, name) {
            Ok(burning) => Ok(Some(burning)),
            Err(StorageError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How many bytes the whole blob under this hash has; `None`: its file has another length than its head says.
    fn size_of(&self, hash: Hash) -> Result<Option<u64>, StorageError> {
        let file = self.storage.open(&whole_name(&hash))?;
        let mut head = [0; HEAD_BYTES];
        if file.read_at(0, &mut head)? < HEAD_BYTES {
            return Ok(None);
        }
        let length = file.size_bytes()?;
        Ok(size_in(&head).filter(|size| length == HEAD_BYTES as u64 + 32 * size.div_ceil(CHUNK_BYTES as u64) + size))
    }

    /// How large a part is to be; 0 if it does not say.
    fn size_of_part(&self, hash: Hash) -> Result<u64, StorageError> {
        let mut head = [0; HEAD_BYTES];
        let read = self.storage.open(&part_name(&hash))?.read_at(0, &mut head)?;
        Ok(size_in(&head[..read]).unwrap_or(0))
    }

    /// Reads something of a whole blob. What cannot be read or proven is set aside.
    fn reading<T>(&self, hash: Hash, read: impl FnOnce(&dyn File) -> Result<Option<T>, StorageError>) -> Reading<T> {
        let read = match self.storage.open(&whole_name(&hash)) {
            Ok(file) => read(&*file),
            Err(StorageError::Missing { .. }) => {
                tracing::error!(blob = %hex(&hash), "a blob is damaged: its file is gone");
                return Reading::Gone;
            }
            Err(error) => Err(error),
        };
        if let Ok(Some(good)) = read {
            return Reading::Good(good);
        }
        match self.set_aside(hash) {
            Ok(()) => Reading::Damaged,
            Err(error) => Reading::Failed(error),
        }
    }

    fn set_aside(&self, hash: Hash) -> Result<(), StorageError> {
        let number = self.next_damaged.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}.damaged-{number}", whole_name(&hash));
        self.storage.rename(&whole_name(&hash), &name)?;
        self.storage.sync_directory()?;
        tracing::error!(blob = %hex(&hash), set_aside = %name, "a blob is damaged: it was set aside");
        Ok(())
    }
}

/// A chunk of a file, if it is what the table says.
pub(crate) fn read_chunk(file: &dyn File, table: &Table, index: u32) -> Result<Option<Vec<u8>>, StorageError> {
    let mut bytes = vec![0; table.chunk_bytes(index)];
    let read = file.read_at(offset_of(table, index), &mut bytes)?;
    bytes.truncate(read);
    Ok(table.proves(index, &bytes).then_some(bytes))
}

fn offset_of(table: &Table, index: u32) -> u64 {
    HEAD_BYTES as u64 + 32 * u64::from(table.chunks()) + u64::from(index) * CHUNK_BYTES as u64
}

pub(super) fn whole_name(hash: &Hash) -> String {
    format!("blob-{}", hex(hash))
}

pub(super) fn part_name(hash: &Hash) -> String {
    format!("blob-{}.part", hex(hash))
}

/// A hash in hexadecimal digits.
pub(super) fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a file is a blob that was set aside.
pub(crate) fn is_set_aside(name: &str) -> bool {
    matches!(parse(name), Some((_, Kind::Damaged(_))))
}

fn parse(name: &str) -> Option<(Hash, Kind)> {
    let rest = name.strip_prefix("blob-")?;
    let (digits, suffix) = rest.split_at_checked(64)?;
    let mut hash = [0; 32];
    for (byte, two) in hash.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()?;
    }
    let kind = match suffix {
        "" => Kind::Whole,
        ".part" => Kind::Part,
        suffix => Kind::Damaged(suffix.strip_prefix(".damaged-")?.parse().ok()?),
    };
    // Other spellings of the same hash would be other files.
    (hex(&hash) == digits).then_some((hash, kind))
}
