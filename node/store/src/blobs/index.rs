//! What is known of every blob: which are here, arriving, named by commits, or to be fetched. No I/O; time comes in as an argument.
//!
//! About 100 bytes of memory for each blob that is here or named, and 8 for each commit that names one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use caps_model::BlobId;
use caps_model::blob::Table;
use caps_overlay::Identity;
use tokio::time::Instant;

use super::BlobError;
use super::files::Found;
use super::limits::{
    ASKED_MAX, PART_IDLE, PARTS_MAX, RETRY_MAX, RETRY_MIN, TABLES_MAX, TRIES_UNNAMED_MAX, UNNAMED_BYTES_MAX, UNNAMED_KEPT,
};
use super::names::Note;
use super::part::Part;

/// What is known of every blob.
#[derive(Debug, Default)]
pub(super) struct Index {
    whole: BTreeSet<BlobId>,
    /// Those of them that no commit named, and when somebody asked about them last.
    unnamed: BTreeMap<BlobId, Instant>,
    /// The blobs that commits named, and the entries of the log that did, in their order.
    named: BTreeMap<BlobId, Vec<u64>>,
    /// Blobs that are being taken away at this moment: nothing is taken in of them meanwhile.
    condemned: BTreeSet<BlobId>,
    arriving: BTreeMap<BlobId, Arriving>,
    /// Parts on disk that nobody is at, and since when.
    orphans: BTreeMap<BlobId, Instant>,
    wanted: BTreeMap<BlobId, Want>,
    /// Tables read lately, the latest last.
    tables: VecDeque<(BlobId, Arc<Table>)>,
}

#[derive(Debug)]
struct Arriving {
    part: Arc<Part>,
    touched: Instant,
}

/// A blob that is not here and should be.
#[derive(Debug)]
struct Want {
    due: Instant,
    tries: u32,
    is_under_way: bool,
    /// Somebody asked for it while an attempt was under way, which may have asked too early: another one follows at once.
    is_asked_again: bool,
    /// Who is likely to have it.
    from: Option<Identity>,
}

/// A blob to be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Errand {
    pub(crate) blob: BlobId,
    /// Who is likely to have it.
    pub(crate) from: Option<Identity>,
}

/// Where a chunk goes.
#[derive(Debug)]
pub(super) enum Put {
    /// Nowhere: the blob is here.
    Whole,
    /// Into this.
    Arriving(Arc<Part>),
}

impl Index {
    pub(super) fn new(found: Found, notes: Vec<Note>, now: Instant) -> Self {
        let mut index = Self { whole: found.whole.into_iter().collect(), ..Self::default() };
        index.orphans = found.parts.into_iter().map(|part| (part, now)).collect();
        index.unnamed = index.whole.iter().map(|blob| (*blob, now)).collect();
        for note in notes {
            match note {
                Note::Named { index: entry, blob } => index.name(blob, entry, now),
                Note::Taken { .. } | Note::Left { .. } | Note::Mark { .. } | Note::Journal { .. } => {}
            }
        }
        index
    }

    /// Blobs that commits named and that are not here.
    pub(super) fn missing(&self) -> usize {
        self.named.keys().filter(|blob| !self.whole.contains(blob)).count()
    }

    /// The commit in an entry of the log names the blob.
    pub(super) fn name(&mut self, blob: BlobId, entry: u64, now: Instant) {
        self.named.entry(blob).or_default().push(entry);
        self.unnamed.remove(&blob);
        self.need(blob, now);
    }

    /// The entries whose commits named the blob.
    pub(super) fn namers(&self, blob: &BlobId) -> Vec<u64> {
        self.named.get(blob).cloned().unwrap_or_default()
    }

    fn need(&mut self, blob: BlobId, now: Instant) {
        if !self.whole.contains(&blob) {
            self.wanted.entry(blob).or_insert_with(|| Want::new(now, None));
        }
    }

    /// Whether it is here. If so, it is not removed for a while.
    pub(super) fn touch(&mut self, blob: BlobId, now: Instant) -> bool {
        if let Some(touched) = self.unnamed.get_mut(&blob) {
            *touched = now;
        }
        self.whole.contains(&blob)
    }

    /// Somebody wants it to be here. Whether there is something to do.
    pub(super) fn want(&mut self, blob: BlobId, from: Option<Identity>, now: Instant) -> bool {
        if self.whole.contains(&blob) {
            return false;
        }
        if let Some(want) = self.wanted.get_mut(&blob) {
            want.from = from.or(want.from.take());
            want.due = want.due.min(now);
            want.is_asked_again = want.is_under_way;
            return !want.is_under_way;
        }
        let asked = self.wanted.len().saturating_sub(self.missing());
        if asked >= ASKED_MAX {
            return false;
        }
        self.wanted.insert(blob, Want::new(now, from));
        true
    }

    /// The next blob to be fetched; or when its time comes.
    pub(super) fn errand(&mut self, now: Instant) -> Result<Errand, Option<Instant>> {
        let idle = || self.wanted.iter().filter(|(_, want)| !want.is_under_way);
        let Some(blob) = idle().find(|(_, want)| want.due <= now).map(|(blob, _)| *blob) else {
            return Err(idle().map(|(_, want)| want.due).min());
        };
        let want = self.wanted.get_mut(&blob).ok_or(None)?;
        want.is_under_way = true;
        Ok(Errand { blob, from: want.from.clone() })
    }

    /// An errand has ended. What is not here is tried again later, unless it was only asked for and nobody has it.
    pub(super) fn errand_done(&mut self, blob: BlobId, now: Instant) {
        let Some(want) = self.wanted.get_mut(&blob) else { return };
        want.is_under_way = false;
        want.tries = want.tries.saturating_add(1);
        let pause = RETRY_MIN.saturating_mul(1 << want.tries.min(16)).min(RETRY_MAX);
        want.due = if std::mem::take(&mut want.is_asked_again) { now } else { now + pause };
        if want.tries >= TRIES_UNNAMED_MAX && !self.named.contains_key(&blob) {
            self.wanted.remove(&blob);
        }
    }

    /// Where the chunks of this blob go; a new place, if there is room for one.
    pub(super) fn place(&mut self, blob: BlobId, table: Table, now: Instant) -> Result<Put, BlobError> {
        if self.whole.contains(&blob) || self.arriving.contains_key(&blob) {
            return self.arriving(blob, now);
        }
        // What there is of one under that name is being overwritten.
        if self.condemned.iter().any(|condemned| condemned.hash == blob.hash) {
            return Err(BlobError::Busy);
        }
        if !self.named.contains_key(&blob) && self.unnamed_bytes(blob) + blob.size_bytes > UNNAMED_BYTES_MAX {
            return Err(BlobError::TooMuchUnnamed);
        }
        if self.arriving.len() >= PARTS_MAX {
            let (idle, touched) =
                self.arriving.iter().min_by_key(|(_, part)| part.touched).map(|(id, part)| (*id, part.touched)).ok_or(BlobError::Busy)?;
            if now.saturating_duration_since(touched) < PART_IDLE {
                return Err(BlobError::Busy);
            }
            // What there is of it stays on disk, and is found there if it goes on.
            self.arriving.remove(&idle);
            self.orphans.insert(idle, touched);
        }
        self.orphans.retain(|part, _| part.hash != blob.hash);
        let part = Arc::new(Part::new(table));
        self.arriving.insert(blob, Arriving { part: part.clone(), touched: now });
        Ok(Put::Arriving(part))
    }

    /// Where the chunks of this blob go, if it was begun.
    pub(super) fn arriving(&mut self, blob: BlobId, now: Instant) -> Result<Put, BlobError> {
        if self.touch(blob, now) {
            return Ok(Put::Whole);
        }
        let arriving = self.arriving.get_mut(&blob).ok_or(BlobError::NotBegun)?;
        arriving.touched = now;
        Ok(Put::Arriving(arriving.part.clone()))
    }

    /// The blob is here.
    pub(super) fn arrived(&mut self, blob: BlobId, table: Arc<Table>, now: Instant) {
        self.arriving.remove(&blob);
        self.orphans.remove(&blob);
        self.wanted.remove(&blob);
        self.whole.insert(blob);
        if !self.named.contains_key(&blob) {
            self.unnamed.insert(blob, now);
        }
        self.remember(blob, table);
    }

    /// The part of this blob is not used any more.
    pub(super) fn forget(&mut self, blob: BlobId) {
        self.arriving.remove(&blob);
    }

    /// The blob is not here any more; what commits named is wanted back.
    pub(super) fn lost(&mut self, blob: BlobId, now: Instant) {
        self.whole.remove(&blob);
        self.unnamed.remove(&blob);
        self.tables.retain(|(of, _)| *of != blob);
        if self.named.contains_key(&blob) {
            self.need(blob, now);
        }
    }

    /// The blob is to be nowhere, unless an entry after this one names it. Whether it goes; and if it was arriving, what is to be closed.
    pub(super) fn condemn(&mut self, blob: BlobId, up_to: u64) -> (bool, Option<Arc<Part>>) {
        if let Some(namers) = self.named.get_mut(&blob) {
            namers.retain(|entry| *entry > up_to);
            if !namers.is_empty() {
                return (false, None);
            }
        }
        self.named.remove(&blob);
        self.whole.remove(&blob);
        self.unnamed.remove(&blob);
        self.orphans.retain(|part, _| part.hash != blob.hash);
        self.wanted.remove(&blob);
        self.tables.retain(|(of, _)| *of != blob);
        self.condemned.insert(blob);
        (true, self.arriving.remove(&blob).map(|arriving| arriving.part))
    }

    /// What a step that was under way meanwhile made of it does not count: its files are gone.
    pub(super) fn burnt(&mut self, blob: BlobId) {
        self.whole.remove(&blob);
        self.unnamed.remove(&blob);
        self.tables.retain(|(of, _)| *of != blob);
        self.condemned.remove(&blob);
    }

    /// Takes out what nobody named or asked about for long: blobs (`true`) and parts (`false`). Nothing is taken in of them until they are
    /// [`burnt`](Self::burnt).
    pub(super) fn stale(&mut self, now: Instant) -> Vec<(BlobId, bool)> {
        let is_old = |touched: &Instant| now.saturating_duration_since(*touched) >= UNNAMED_KEPT;
        let mut stale = Vec::new();
        for (blob, touched) in std::mem::take(&mut self.unnamed) {
            if is_old(&touched) {
                self.whole.remove(&blob);
                self.tables.retain(|(of, _)| *of != blob);
                stale.push((blob, true));
            } else {
                self.unnamed.insert(blob, touched);
            }
        }
        for (blob, part) in std::mem::take(&mut self.arriving) {
            if is_old(&part.touched) && !self.wanted.contains_key(&blob) {
                stale.push((blob, false));
            } else {
                self.arriving.insert(blob, part);
            }
        }
        let abandoned = std::mem::take(&mut self.orphans);
        for (blob, touched) in abandoned {
            if is_old(&touched) && !self.wanted.contains_key(&blob) {
                stale.push((blob, false));
            } else {
                self.orphans.insert(blob, touched);
            }
        }
        self.condemned.extend(stale.iter().map(|(blob, _)| *blob));
        stale
    }

    /// The blobs that are here after this one, in order.
    pub(super) fn after(&self, blob: Option<BlobId>, limit: usize) -> Vec<BlobId> {
        let from = blob.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        self.whole.range((from, std::ops::Bound::Unbounded)).take(limit).copied().collect()
    }

    /// Its table, if it is here and was read lately.
    pub(super) fn table(&self, blob: BlobId) -> Result<Option<Arc<Table>>, BlobError> {
        if !self.whole.contains(&blob) {
            return Err(BlobError::Absent);
        }
        Ok(self.tables.iter().find(|(of, _)| *of == blob).map(|(_, table)| table.clone()))
    }

    pub(super) fn remember(&mut self, blob: BlobId, table: Arc<Table>) {
        self.tables.retain(|(of, _)| *of != blob);
        self.tables.push_back((blob, table));
        if self.tables.len() > TABLES_MAX {
            self.tables.pop_front();
        }
    }

    #[cfg(test)]
    pub(super) fn forget_tables(&mut self) {
        self.tables.clear();
    }

    /// Bytes on disk that no commit asked for, not counting those of this blob.
    fn unnamed_bytes(&self, besides: BlobId) -> u64 {
        let all = self.unnamed.keys().chain(self.orphans.keys()).chain(self.arriving.keys());
        all.filter(|blob| **blob != besides && !self.named.contains_key(blob)).map(|blob| blob.size_bytes).sum()
    }
}

impl Want {
    fn new(due: Instant, from: Option<Identity>) -> Self {
        Self { due, tries: 0, is_under_way: false, is_asked_again: false, from }
    }
}
