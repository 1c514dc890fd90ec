//! Replaying a journal: what it holds, applied to a cabinet entry by entry.

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

/// Applies the entries after the cabinet's mark up to `last` to it. After every slice of the journal, some thousand entries at most, `tell` hears
/// how far it is. Before an entry is applied, `before` may end the replay there.
pub(crate) fn replay<S: State>(
    reader: &JournalReader,
    cabinet: &mut Cabinet<S>,
    last: u64,
    mut before: impl FnMut(&Cabinet<S>, &Entry, Option<&Proposed>) -> ControlFlow<()>,
    tell: &mut dyn FnMut(Figures),
) -> Result<(), ReplayError> {
    let first = cabinet.mark().index + 1;
    let total = last.saturating_sub(first - 1);
    let mut next = first;
    while next <= last {
        let high = last.min(next.saturating_add(SLICE_ENTRIES - 1)) + 1;
        for entry in reader.entries(next, high, SLICE_BYTES)? {
            next = entry.index + 1;
            let proposed = proposed(&entry)?;
            if before(cabinet, &entry, proposed.as_ref()).is_break() {
                return Ok(());
            }
            match &proposed {
                Some(proposed) => drop(cabinet.apply(entry.index, proposed)?),
                None => cabinet.skip(entry.index),
            }
        }
        tell(Figures { done: next - first, total });
    }
    Ok(())
}

/// What an entry asks of the cabinet, if it does.
pub(crate) fn proposed(entry: &Entry) -> Result<Option<Proposed>, ReplayError> {
    if entry.kind != EntryKind::Normal || entry.payload.is_empty() {
        return Ok(None);
    }
    Proposed::decode(&entry.payload, entry.index, entry.term).map(Some).map_err(|error| ReplayError::Entry { index: entry.index, error })
}

/// Bytes of the journal read at once.
const SLICE_BYTES: u64 = 4 << 20;

/// Entries read at once: they may be empty.
const SLICE_ENTRIES: u64 = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_say_what_is_left() {
        let figures = Figures { done: 300, total: 1_000 };
        let elapsed = Duration::from_secs(3);
        assert_eq!((figures.rate(elapsed), figures.left(elapsed)), (100, Some(Duration::from_secs(7))));
        assert_eq!(Figures { done: 0, total: 10 }.left(elapsed), None);
    }
}
