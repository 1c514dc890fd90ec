//! Reading and decoding a journal ahead of whoever applies it.

use std::ops::{ControlFlow, RangeInclusive};
use std::sync::mpsc;
use std::thread;

use caps_overlay::bugs;

use super::ReplayError;
use crate::cabinet::Proposed;
use crate::journal::{JournalReader, Passed, Walk};

/// Entries that follow each other.
#[derive(Debug, Default)]
pub(super) struct Slice {
    /// Their indexes, and what they ask of the cabinet, if they do.
    pub(super) entries: Vec<(u64, Option<Proposed>)>,
    /// Why there is nothing after them, unless it is because that is all.
    pub(super) failed: Option<ReplayError>,
}

/// Lets `take` look at the slices of a part of the journal, in order, until it has a result.
///
/// They are made by a thread that lives no longer than this call. It has neither clock nor randomness, and what it makes depends on the journal
/// alone: a simulation goes the same way each time.
pub(super) fn slices<B>(
    reader: &JournalReader,
    part: RangeInclusive<u64>,
    mut take: impl FnMut(&mut Slice) -> ControlFlow<B>,
) -> ControlFlow<B> {
    if part.is_empty() {
        return ControlFlow::Continue(());
    }
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(WAITING_MAX);
        let (back, taken) = mpsc::channel();
        let (mut ahead, bug) = (Slices::new(reader, part.clone()), bugs::switched_on());
        let make = move || {
            bugs::switch(bug);
            // Whoever takes them may have had enough.
            while ahead.next(taken.try_recv().unwrap_or_default()).is_some_and(|slice| sender.send(slice).is_ok()) {}
        };
        if thread::Builder::new().name("replay".to_owned()).spawn_scoped(scope, make).is_err() {
            // Where there is no thread to be had, it takes longer.
            let mut slices = Slices::new(reader, part);
            while let Some(mut slice) = slices.next(Slice::default()) {
                take(&mut slice)?;
            }
            return ControlFlow::Continue(());
        }
        for mut slice in receiver {
            take(&mut slice)?;
            // What was allocated there is freed there: that is cheaper, and this thread is the one that has more to do. It does not matter
            // whether there is still somebody to do it.
            back.send(slice).ok();
        }
        ControlFlow::Continue(())
    })
}

/// Makes slices.
struct Slices<'a> {
    walk: Walk<'a>,
    part: RangeInclusive<u64>,
}

impl<'a> Slices<'a> {
    fn new(reader: &'a JournalReader, part: RangeInclusive<u64>) -> Self {
        Self { walk: Walk::new(reader), part }
    }

    /// The next one, in the place of one that was taken.
    fn next(&mut self, mut slice: Slice) -> Option<Slice> {
        slice.entries.clear();
        slice.failed = None;
        let mut bytes = 0;
        while slice.failed.is_none()
            && slice.entries.len() < ENTRIES_MAX
            && bytes < BYTES_MAX
            && let Some(index) = self.part.next()
        {
            match self.walk.pass(index, |entry| decoded(entry).map(|proposed| (proposed, entry.data.len()))) {
                Ok(Ok((proposed, size_bytes))) => {
                    bytes += size_bytes;
                    slice.entries.push((index, proposed));
                }
                Ok(Err(error)) => slice.failed = Some(error),
                Err(error) => slice.failed = Some(error.into()),
            }
        }
        if slice.failed.is_some() {
            // Nothing follows what is not known.
            self.part = EMPTY;
        }
        (slice.failed.is_some() || !slice.entries.is_empty()).then_some(slice)
    }
}

fn decoded(entry: Passed<'_>) -> Result<Option<Proposed>, ReplayError> {
    let Passed { index, term, data, .. } = entry;
    let proposed = entry.digest.map(|digest| Proposed::verified(data, digest, index, term));
    proposed.transpose().map_err(|error| ReplayError::Entry { index, error })
}

#[expect(clippy::reversed_empty_ranges, reason = "it is to be empty")]
const EMPTY: RangeInclusive<u64> = 1..=0;

/// Entries of a slice.
const ENTRIES_MAX: usize = 256;

/// Bytes of entries after which a slice is full: it has one entry more at most.
const BYTES_MAX: usize = 1 << 20;

/// Slices that wait to be taken; one more is in the making, and one in use.
const WAITING_MAX: usize = 4;
