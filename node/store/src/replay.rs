//! Replaying a journal: what it holds, applied to a cabinet entry by entry.

mod ahead;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::time::Duration;

use crate::cabinet::{BadProposal, Cabinet, Proposed};
use crate::journal::{Entry, EntryKind, JournalReader, ReadError};
use crate::state::{State, StateError};

/// Why a journal could not be replayed to its end. What was applied before stays applied.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The journal does not give back what was written.
    #[error("the journal cannot be read back: {0}")]
    Read(#[from] ReadError),
    /// The state does not take what it is given.
    #[error("the state cannot be written: {0}")]
    State(#[from] StateError),
    /// An entry is not understood: it was written by a node of a later release.
    #[error("entry {index} cannot be understood: {error}; was it written by a later release?")]
    Entry {
        /// The entry's index.
        index: u64,
        /// What is wrong with it.
        #[source]
        error: BadProposal,
    },
}

/// How far something long has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Entries done.
    pub done: u64,
    /// Entries to be done, those done included.
    pub total: u64,
}

impl Figures {
    /// Entries a second, on average since the beginning `elapsed` ago.
    pub fn rate(&self, elapsed: Duration) -> u64 {
        let micros = elapsed.as_micros().max(1);
        u64::try_from(u128::from(self.done) * 1_000_000 / micros).unwrap_or(u64::MAX)
    }

    /// How long the rest takes at that rate; `None`: nobody can say yet.
    pub fn left(&self, elapsed: Duration) -> Option<Duration> {
        let rate = self.rate(elapsed);
        (rate > 0).then(|| Duration::from_secs(self.total.saturating_sub(self.done) / rate))
    }
}

/// Applies the entries after the cabinet's mark up to `last` to it, while another thread reads and decodes those that follow. After every slice
/// of the journal, some thousand entries at most, `tell` hears how far it is. Before an entry is applied, `before` hears its index and what it
/// asks of the cabinet, if it does, and may end the replay there.
///
/// What is decoded comes in the order of the journal, so nothing depends on which thread is the quicker one. At most four slices wait,
/// each of a bounded number of entries and bytes.
///
/// # Errors
/// With the first entry that cannot be read, decoded or applied; all before it are applied.
pub fn replay<S: State>(
    reader: &JournalReader,
    cabinet: &mut Cabinet<S>,
    last: u64,
    mut before: impl FnMut(&Cabinet<S>, u64, Option<&Proposed>) -> ControlFlow<()>,
    tell: &mut dyn FnMut(Figures),
) -> Result<(), ReplayError> {
    let first = cabinet.mark().index + 1;
    let total = last.saturating_sub(first - 1);
    let mut apply = |entries: &[(u64, Option<Proposed>)]| -> Result<ControlFlow<()>, ReplayError> {
        for (index, proposed) in entries {
            if before(cabinet, *index, proposed.as_ref()).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            match proposed {
                Some(proposed) => drop(cabinet.apply(*index, proposed)?),
                None => cabinet.skip(*index),
            }
        }
        tell(Figures { done: cabinet.mark().index + 1 - first, total });
        Ok(ControlFlow::Continue(()))
    };
    let ended = ahead::slices(reader, first..=last, |slice| match (apply(&slice.entries), slice.failed.take()) {
        (Ok(ControlFlow::Continue(())), None) => ControlFlow::Continue(()),
        (Ok(ControlFlow::Continue(())), Some(error)) | (Err(error), _) => ControlFlow::Break(Err(error)),
        (Ok(ControlFlow::Break(())), _) => ControlFlow::Break(Ok(())),
    });
    ended.break_value().unwrap_or(Ok(()))
}

/// What an entry asks of the cabinet, if it does.
pub(crate) fn proposed(entry: &Entry) -> Result<Option<Proposed>, ReplayError> {
    if entry.kind != EntryKind::Normal || entry.payload.is_empty() {
        return Ok(None);
    }
    Proposed::decode(&entry.payload, entry.index, entry.term).map(Some).map_err(|error| ReplayError::Entry { index: entry.index, error })
}
