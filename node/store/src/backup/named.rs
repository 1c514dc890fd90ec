//! Which blobs the commits in a journal name.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use caps_model::{BlobId, CommitId, Position};

use crate::cabinet::{BadProposal, Became, Cabinet, Obliteration, Proposal, Proposed};
use crate::journal::JournalReader;
use crate::replay::{Figures, ReplayError, proposed, replay};
use crate::state::{State, StateError};

/// The blobs that commits name: about 100 bytes of memory each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Those that must be there, and the position of the first commit that names each.
    pub blobs: BTreeMap<BlobId, Position>,
    /// Those that were named, and of which all that named them was obliterated.
    pub obliterated: BTreeSet<BlobId>,
}

/// What is seen of a journal while it is replayed: 8 bytes for each commit that names a blob.
#[derive(Debug, Default)]
pub(crate) struct Naming {
    entries: Vec<u64>,
    orders: Vec<Obliteration>,
}

impl Named {
    /// How many bytes they have.
    pub fn size_bytes(&self) -> u64 {
        self.blobs.keys().map(|blob| blob.size_bytes).sum()
    }
}

impl Naming {
    /// Takes note of what an entry asks for.
    pub(crate) fn see(&mut self, index: u64, proposed: Option<&Proposed>) {
        match proposed.map(|proposed| &proposed.proposal) {
            Some(Proposal::Commit(commit)) if !commit.blobs().is_empty() => self.entries.push(index),
            Some(Proposal::Obliterate(order)) => self.orders.push(order.clone()),
            _ => {}
        }
    }

    /// What is named, by the commits that the cabinet made of what was seen.
    pub(crate) fn end<S: State>(self, reader: &JournalReader, cabinet: &Cabinet<S>) -> Result<Named, ReplayError> {
        let redaction = cabinet.redaction(&self.orders)?;
        let mut named = Named::default();
        for index in self.entries.into_iter().take_while(|index| *index <= cabinet.mark().index) {
            for entry in reader.entries(index, index + 1, u64::MAX)? {
                let position = Cell::new(Position::ZERO);
                let became = |id: CommitId| -> Result<Became, Failed> {
                    let became = cabinet.became(id, index)?;
                    if let Became::Made(made_at, _) = became {
                        position.set(made_at);
                    }
                    Ok(became)
                };
                let blobs = redaction.blobs(&entry.payload, became).map_err(|failed| failed.at(index))?;
                for blob in blobs.staying {
                    named.blobs.entry(blob).or_insert_with(|| position.get());
                }
                named.obliterated.extend(blobs.going);
            }
        }
        named.obliterated.retain(|blob| !named.blobs.contains_key(blob));
        Ok(named)
    }
}

/// Replays a journal into an empty state up to an entry, to find out what is named. `tell` hears how far that is.
pub(crate) fn named<S: State>(reader: &JournalReader, last: u64, scratch: S, tell: &mut dyn FnMut(Figures)) -> Result<Named, ReplayError> {
    let mut naming = Naming::default();
    let mut cabinet = Cabinet::new(scratch);
    let see = |_: &Cabinet<S>, index: u64, proposed: Option<&Proposed>| {
        naming.see(index, proposed);
        ControlFlow::Continue(())
    };
    replay(reader, &mut cabinet, last, see, tell)?;
    naming.end(reader, &cabinet)
}

/// The blobs that proposals up to an entry mention, whatever became of them: those that are named, and others.
pub(crate) fn mentioned(reader: &JournalReader, last: u64) -> Result<BTreeSet<BlobId>, ReplayError> {
    let mut blobs = BTreeSet::new();
    let mut next = 1;
    while next <= last {
        for entry in reader.entries(next, last.min(next + SLICE_ENTRIES - 1) + 1, SLICE_BYTES)? {
            next = entry.index + 1;
            if let Some(Proposed { proposal: Proposal::Commit(commit), .. }) = proposed(&entry)? {
                blobs.extend(commit.blobs());
            }
        }
    }
    Ok(blobs)
}

#[derive(Debug)]
enum Failed {
    State(StateError),
    Entry(BadProposal),
}

impl Failed {
    fn at(self, index: u64) -> ReplayError {
        match self {
            Self::State(error) => error.into(),
            Self::Entry(error) => ReplayError::Entry { index, error },
        }
    }
}

impl From<StateError> for Failed {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

impl From<BadProposal> for Failed {
    fn from(error: BadProposal) -> Self {
        Self::Entry(error)
    }
}

/// Bytes and entries read at once.
const SLICE_BYTES: u64 = 4 << 20;
const SLICE_ENTRIES: u64 = 4_096;
