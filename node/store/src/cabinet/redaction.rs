//! What is to be taken out of a journal after values were obliterated.
//!
//! Of a commit that gave an attribute the values that are to go, these go; with them the queries that it relied on, and, if it was the one that
//! brought the values in, its reason, its result and the arguments of its effects. What was refused, repeated another, or lost its place in the
//! log goes wholly, whatever it was about: it never happened, nothing needs it any more, and it may have been an earlier attempt to write just
//! these values, under another id.
//!
//! Later proposals may have been decided by what is taken away (a query finds an object, or does not). So everything that was decided between
//! the first entry that is emptied and the obliteration gets its decision written beside it, and is never decided again.

use std::collections::{BTreeMap, BTreeSet};

use caps_model::{BlobId, CommitId, Name, ObjectId, Position};

use super::proposal::{self, BadProposal, Holds, Proposal};
use super::{Cabinet, Obliteration};
use crate::journal::envelope::{self, Decision, Envelope};
use crate::state::{CommitRecord, Fate, State, StateError};

/// What is to be taken out of a journal. Made from a state, and right for the entries up to the last one that the state had applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redaction {
    /// The positions at which an attribute of an object has no values any more, because they were obliterated.
    gone: BTreeMap<(ObjectId, Name), BTreeSet<Position>>,
}

/// The blobs that a commit in the log names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlobsNamed {
    /// In what is to be taken out, and nowhere else in it.
    pub going: BTreeSet<BlobId>,
    /// In what stays.
    pub staying: BTreeSet<BlobId>,
}

/// What became of the proposal in an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Became {
    /// It was accepted at a position; whether its words are gone.
    Made(Position, bool),
    /// Nothing: it was refused, was a repetition, or another entry took its place.
    Nothing,
}

impl<S: State> Cabinet<S> {
    /// What is to be taken out of a journal after these orders, and others before them, were applied.
    pub fn redaction<'a>(&self, orders: impl IntoIterator<Item = &'a Obliteration>) -> Result<Redaction, StateError> {
        let mut redaction = Redaction::default();
        for target in orders.into_iter().flat_map(|order| &order.targets) {
            let versions = self.state.versions(target.object, None, usize::MAX)?;
            let gone = versions.iter().filter(|version| version.is_obliterated(&target.attribute)).map(|version| version.version);
            redaction.gone.insert((target.object, target.attribute.clone()), gone.collect());
        }
        Ok(redaction)
    }

    /// The entries whose commits are at these positions.
    pub fn entries_at(&self, positions: &BTreeSet<Position>) -> Result<BTreeSet<u64>, StateError> {
        positions.iter().map(|position| Ok(self.record(*position)?.index)).collect()
    }

    /// What became of the proposal of this name in the entry at `index`.
    pub fn became(&self, id: CommitId, index: u64) -> Result<Became, StateError> {
        let Some(Fate::Accepted(position)) = self.state.fate(id)? else { return Ok(Became::Nothing) };
        let CommitRecord { index: made_by, obliterated, .. } = self.record(position)?;
        Ok(if made_by == index { Became::Made(position, obliterated) } else { Became::Nothing })
    }
}

impl Redaction {
    /// The positions of commits of which an order took something away, or one before it that was about the same.
    pub fn positions(&self, order: &Obliteration) -> BTreeSet<Position> {
        let target = |target: &super::Target| self.gone.get(&(target.object, target.attribute.clone()));
        order.targets.iter().filter_map(target).flatten().copied().collect()
    }

    /// The blobs that an entry's data names, if its commit was accepted: others name nothing.
    pub fn blobs<E: From<BadProposal>>(&self, data: &[u8], became: impl FnOnce(CommitId) -> Result<Became, E>) -> Result<BlobsNamed, E> {
        let Some(envelope) = Envelope::parse(data) else { return Ok(BlobsNamed::default()) };
        let Some((Decision::Accepted, goes)) = self.verdict(&envelope, became)? else { return Ok(BlobsNamed::default()) };
        let mut emptied = data.to_vec();
        envelope::obliterate(&mut emptied, |number| goes[number]);
        let staying = Envelope::parse(&emptied).map_or(Ok(BTreeSet::new()), |emptied| named(&emptied))?;
        Ok(BlobsNamed { going: named(&envelope)?.difference(&staying).copied().collect(), staying })
    }

    /// Whether there is something in an entry's data that has to go.
    pub fn concerns<E: From<BadProposal>>(&self, data: &[u8], became: impl FnOnce(CommitId) -> Result<Became, E>) -> Result<bool, E> {
        let Some(envelope) = Envelope::parse(data) else { return Ok(false) };
        let Some((_, goes)) = self.verdict(&envelope, became)? else { return Ok(false) };
        Ok(envelope.slots().zip(goes).any(|(slot, goes)| goes && slot.value.is_some()))
    }

    /// Writes the decision into the data of the entry with this index and term, and empties it. Whether anything is different now.
    pub fn redact<E: From<BadProposal>>(
        &self,
        data: &mut [u8],
        (index, term): (u64, u64),
        became: impl FnOnce(CommitId) -> Result<Became, E>,
    ) -> Result<bool, E> {
        let Some(envelope) = Envelope::parse(data) else { return Ok(false) };
        let Some((decision, goes)) = self.verdict(&envelope, became)? else { return Ok(false) };
        let before = data.to_vec();
        envelope::decide(data, decision, index, term);
        envelope::obliterate(data, |number| goes[number]);
        Ok(data != before)
    }

    /// The decision about a proposal, and which of its slots go; `None` for one of which nothing depends on values.
    fn verdict<E: From<BadProposal>>(
        &self,
        envelope: &Envelope<'_>,
        became: impl FnOnce(CommitId) -> Result<Became, E>,
    ) -> Result<Option<(Decision, Vec<bool>)>, E> {
        let mut slots = Vec::new();
        let (proposal, ..) = proposal::open(envelope, |holds| slots.push(self.kind(holds)))?;
        let id = match proposal {
            Proposal::Commit(commit) => commit.id,
            Proposal::Obliterate(order) => order.id,
            Proposal::Seal(_) => return Ok(None),
        };
        let Became::Made(position, words_are_gone) = became(id)? else {
            return Ok(Some((Decision::Refused, vec![true; slots.len()])));
        };
        let is_gone = |slot: &Slot<'_>| matches!(slot, Slot::Values(gone) if gone.contains(&position));
        let touched = slots.iter().any(is_gone);
        let goes = slots.iter().map(|slot| match slot {
            Slot::Words => touched && words_are_gone,
            Slot::Query => touched,
            slot => is_gone(slot),
        });
        Ok(Some((Decision::Accepted, goes.collect())))
    }

    fn kind(&self, holds: Holds<'_>) -> Slot<'_> {
        match holds {
            Holds::Words => Slot::Words,
            Holds::Query => Slot::Query,
            Holds::Values(object, attribute) => self.gone.get(&(object, attribute.clone())).map_or(Slot::Kept, Slot::Values),
        }
    }
}

fn named(envelope: &Envelope<'_>) -> Result<BTreeSet<BlobId>, BadProposal> {
    match proposal::open(envelope, |_| {})? {
        (Proposal::Commit(commit), ..) => Ok(commit.blobs()),
        _ => Ok(BTreeSet::new()),
    }
}

/// A slot, as far as it matters here.
enum Slot<'a> {
    Words,
    Query,
    /// Values of an attribute that lost its values at these positions.
    Values(&'a BTreeSet<Position>),
    /// Values of another attribute.
    Kept,
}
