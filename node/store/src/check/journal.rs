//! Examining a journal.

use std::ops::ControlFlow;
use std::sync::Arc;

use caps_model::Name;

use crate::backup::{Named, named};
use crate::cabinet::Cabinet;
use crate::journal::{self, HardState, JournalReader, OpenError, Opened, Seat, TornTail};
use crate::replay::{Figures, ReplayError, replay};
use crate::replica::committed;
use crate::state::{Mark, State};
use crate::storage::{Shadow, Storage, StorageError};

/// What a directory was found to hold.
#[derive(Debug)]
pub struct Examined {
    /// The journal.
    pub journal: JournalFound,
}

/// What a journal was found to be.
#[derive(Debug)]
pub enum JournalFound {
    /// There is none.
    Nothing,
    /// Every record is as it was written, each follows the one before it, and the chain holds.
    Sound(Box<Sound>),
    /// It is not; the error names the first record that is wrong. A replica would set it aside and be repaired from its peers.
    Unsound(OpenError),
}

/// A journal without damage.
#[derive(Debug)]
pub struct Sound {
    /// The cabinet.
    pub cabinet: Name,
    /// The last entry.
    pub last_index: u64,
    /// The last entry that it knows to be committed.
    pub committed: u64,
    /// The hard state.
    pub hard_state: HardState,
    /// Whose it is.
    pub seat: Option<Seat>,
    /// Bytes on the disk.
    pub size_bytes: u64,
    /// What stands after the last whole record: a write that a crash interrupted. It is cut off when a replica opens it.
    pub torn: Option<TornTail>,
    pub(super) reader: JournalReader,
}

/// Reads and verifies every record in a directory, as a replica does when it opens it; nothing is changed.
pub fn examine(storage: Arc<dyn Storage>) -> Result<Examined, StorageError> {
    let cabinet = match journal::cabinet_of(&*storage) {
        Ok(Some(cabinet)) => cabinet,
        Ok(None) => return Ok(Examined { journal: JournalFound::Nothing }),
        Err(OpenError::Storage(error)) => return Err(error),
        Err(error) => return Ok(Examined { journal: JournalFound::Unsound(error) }),
    };
    let shadow = Arc::new(Shadow::over(storage));
    let journal = match journal::open(shadow, journal::Options::new(cabinet.clone())) {
        Ok(Opened { reader, recovered, .. }) => JournalFound::Sound(Box::new(Sound {
            cabinet,
            last_index: recovered.last_index,
            committed: committed(&recovered),
            hard_state: recovered.hard_state,
            seat: recovered.seat,
            size_bytes: reader.size_bytes(),
            torn: recovered.repaired,
            reader,
        })),
        Err(OpenError::Storage(error)) => return Err(error),
        Err(error) => JournalFound::Unsound(error),
    };
    Ok(Examined { journal })
}

impl Sound {
    /// Replays it into an empty state, up to an entry. `tell` hears how far that is.
    pub fn replay<S: State>(&self, scratch: S, last: u64, tell: &mut dyn FnMut(Figures)) -> Result<(S, Mark), ReplayError> {
        let mut cabinet = Cabinet::new(scratch);
        replay(&self.reader, &mut cabinet, last.min(self.last_index), |_, _, _| ControlFlow::Continue(()), tell)?;
        let mark = cabinet.mark();
        Ok((cabinet.into_state(), mark))
    }

    /// Replays what is committed into an empty state, to find out which blobs it names. `tell` hears how far that is.
    pub fn named<S: State>(&self, scratch: S, tell: &mut dyn FnMut(Figures)) -> Result<Named, ReplayError> {
        named(&self.reader, self.committed, scratch, tell)
    }
}
