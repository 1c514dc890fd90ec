//! Which blobs go with values that were obliterated.

use std::collections::{BTreeMap, BTreeSet};

use caps_model::BlobId;

use super::super::redactor::{NotRedacted, Plan, became};
use super::super::shared::Shared;
use crate::blobs::Doomed;
use crate::cabinet::BlobsNamed;
use crate::journal::JournalReader;

/// What each obliteration of a plan that is not settled yet does to blobs.
///
/// The blobs are those that the obliterated values named, and the words that go with them. A blob goes if no commit in the journal names it in
/// something that stays: what any version of any object has, a commit brought in. Reads those commits and no others.
pub(in crate::replica) fn doomed(plan: &Plan, shared: &Shared, reader: &JournalReader) -> Result<Vec<Doomed>, NotRedacted> {
    let settled = shared.blobs.settled();
    let mut read = Journal { plan, shared, reader, known: BTreeMap::new() };
    let mut doomed = Vec::new();
    for (index, order) in plan.orders.iter().filter(|(index, _)| **index > settled) {
        let mut concerned = BTreeSet::new();
        // The cabinet is locked for one commit at a time: the driver wants it, too.
        for position in plan.redaction.positions(order) {
            let entries = shared.cabinet().entries_at(&BTreeSet::from([position]))?;
            for entry in entries {
                concerned.extend(read.named(entry)?.going.iter().copied());
            }
        }
        let (mut going, mut staying) = (BTreeSet::new(), BTreeSet::new());
        for blob in concerned {
            match read.is_held(&blob)? {
                true => staying.insert(blob),
                false => going.insert(blob),
            };
        }
        if !going.is_empty() || !staying.is_empty() {
            tracing::info!(cabinet = %shared.cabinet_name, index, going = going.len(), staying = staying.len(), "values that named blobs were obliterated");
            doomed.push(Doomed { index: *index, going, staying });
        }
    }
    Ok(doomed)
}

/// What entries name, read once each.
struct Journal<'a> {
    plan: &'a Plan,
    shared: &'a Shared,
    reader: &'a JournalReader,
    known: BTreeMap<u64, BlobsNamed>,
}

impl Journal<'_> {
    fn is_held(&mut self, blob: &BlobId) -> Result<bool, NotRedacted> {
        for entry in self.shared.blobs.namers(blob) {
            // What came later is not part of the plan: it holds what it names.
            if entry > self.plan.last || self.named(entry)?.staying.contains(blob) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn named(&mut self, index: u64) -> Result<&BlobsNamed, NotRedacted> {
        if !self.known.contains_key(&index) {
            let mut named = BlobsNamed::default();
            for entry in self.reader.entries(index, index + 1, u64::MAX)? {
                named = self.plan.redaction.blobs(&entry.payload, |id| became(self.shared, id, index, true))?;
            }
            if self.known.len() >= KNOWN_MAX {
                self.known.pop_first();
            }
            self.known.insert(index, named);
        }
        Ok(&self.known[&index])
    }
}

/// Entries of which it is remembered what they name: a few kilobytes each at most.
const KNOWN_MAX: usize = 10_000;
