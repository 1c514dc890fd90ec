//! What is restored from: a backup, or the journal that a replica left. It is read and never changed.

use std::sync::Arc;

use caps_model::Name;

use crate::journal::{self, Entry, JournalReader, Opened, ReadError, Seat, TornTail};
use crate::replica::committed;
use crate::storage::{Shadow, Storage};

/// A journal to restore from.
#[derive(Debug)]
pub struct Source {
    /// What people call it: its directory.
    pub name: String,
    /// The cabinet.
    pub cabinet: Name,
    /// The last entry in it that is known to be committed.
    pub committed: u64,
    /// What stands after the last whole record, if something does. It is passed over.
    pub torn: Option<TornTail>,
    pub(super) seat: Seat,
    pub(super) reader: JournalReader,
    pub(super) storage: Arc<dyn Storage>,
}

/// Why nothing can be restored from a directory.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is no journal.
    #[error("{name} holds no backup")]
    Nothing {
        /// The directory.
        name: String,
    },
    /// The journal does not say with whom its group began.
    #[error("{name} does not say who kept the cabinet: the backup was never finished")]
    Unfinished {
        /// The directory.
        name: String,
    },
    /// It is damaged, or cannot be read.
    #[error("{name}: {error}")]
    Journal {
        /// The directory.
        name: String,
        /// What is wrong.
        #[source]
        error: journal::OpenError,
    },
}

impl Source {
    /// Opens what is in `storage`, reading and verifying all of it.
    pub fn open(name: &str, storage: Arc<dyn Storage>) -> Result<Self, SourceError> {
        let failed = |error| SourceError::Journal { name: name.to_owned(), error };
        let cabinet = journal::cabinet_of(&*storage).map_err(failed)?;
        let Some(cabinet) = cabinet else { return Err(SourceError::Nothing { name: name.to_owned() }) };
        let shadow = Arc::new(Shadow::over(storage.clone()));
        let Opened { reader, recovered, .. } = journal::open(shadow, journal::Options::new(cabinet.clone())).map_err(failed)?;
        let committed = committed(&recovered);
        match recovered.seat {
            Some(seat) if !seat.founders.is_empty() && committed > 0 => {
                Ok(Self { name: name.to_owned(), cabinet, committed, torn: recovered.repaired, seat, reader, storage })
            }
            _ => Err(SourceError::Unfinished { name: name.to_owned() }),
        }
    }

    /// Whether both are of one history, as far as both go.
    pub(super) fn agrees_with(&self, other: &Self) -> Result<bool, ReadError> {
        let common = self.committed.min(other.committed);
        let entry = |source: &Self| -> Result<Option<Entry>, ReadError> { Ok(source.reader.entries(common, common + 1, u64::MAX)?.pop()) };
        let are_one = entry(self)?.zip(entry(other)?).is_some_and(|(own, others)| own.is_one_with(&others));
        Ok(self.cabinet == other.cabinet && self.seat.founders == other.seat.founders && are_one)
    }

    /// Room that its entries take in a journal.
    pub fn size_bytes(&self) -> u64 {
        self.reader.size_bytes()
    }
}
