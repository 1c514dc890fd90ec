//! Making a replica's journal from a backup.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use caps_model::messages::inspect::At;
use caps_model::{BlobId, CommitId, Position};
use caps_overlay::Identity;

use super::beside::{Beside, Receiving};
use super::founding::Founding;
use super::named::{Named, Naming};
use super::orders::Order;
use super::source::Source;
use crate::blobs::proof;
use crate::cabinet::{Cabinet, Proposed};
use crate::journal::{self, Entry, EntryKind, JournalReader, Opened, ReadError, Record, Seat, WriteError};
use crate::replay::{Figures, ReplayError, replay};
use crate::replication::{ChangeError, Membership};
use crate::state::{Mark, State};
use crate::storage::{Prefixed, Storage, StorageError};

/// What is to be restored, and for whom.
#[derive(Clone, Debug)]
pub struct Restoration {
    /// The node whose journal is made.
    pub node: Identity,
    /// Who is to vote: each of them is restored in the same way.
    pub voters: Vec<Identity>,
    /// Who is to follow.
    pub learners: Vec<Identity>,
    /// The moment. The present: all that there is.
    pub to: At,
    /// Whether a journal that the node has is set aside; else it is in the way.
    pub set_aside: bool,
    /// Obliterations that count besides those that the sources know of, from journals of any history of this cabinet.
    pub orders: Vec<Order>,
}

/// A journal that is made, and has not taken its place yet.
#[derive(Debug)]
pub struct Built {
    target: Arc<dyn Storage>,
    building: Arc<dyn Storage>,
    restored: Restored,
    blobs: BTreeSet<BlobId>,
    /// The obliterations that are in it, by name.
    obliterations: BTreeSet<CommitId>,
}

/// What was restored of the blobs that are named up to the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlobsRestored {
    /// How many were copied.
    pub copied: u64,
    /// How many the node had whole already.
    pub kept: u64,
    /// How many bytes all of these have.
    pub size_bytes: u64,
    /// Those that no source has whole, in order.
    pub missing: Vec<BlobId>,
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// How far the cabinet is.
    pub mark: Mark,
    /// How far the longest source is.
    pub available: Position,
    /// Entries in the journal, those that found the new group included.
    pub entries: u64,
    /// The node's number in the new group.
    pub number: u64,
    /// Obliterations after the moment that were carried over.
    pub carried: usize,
    /// The prefix under which an earlier journal was set aside.
    pub set_aside: Option<String>,
}

/// Why nothing was restored. A journal that the node had is where it was, except where [`Storage`](Self::Storage) failed at the very end: then run
/// the command again.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is nothing to restore from.
    #[error("no source was given")]
    NoSource,
    /// Two sources contradict each other.
    #[error("{one} and {other} are of different histories: restore from one of them")]
    Disagree {
        /// The one.
        one: String,
        /// The other.
        other: String,
    },
    /// The node has a journal.
    #[error("the node has a journal already: look at it with `caps check`, and have it set aside with --set-aside")]
    Occupied,
    /// The node is to keep no replica.
    #[error(
        "{node} is neither a voter nor a learner of the cabinet in the deployment file: name it there, or add it later with `caps cabinet add-learner`"
    )]
    NotAMember {
        /// The node.
        node: String,
    },
    /// The moment is not in the backup.
    #[error("the backup ends at position {last}: {asked} is not in it")]
    Future {
        /// The position asked for.
        asked: Position,
        /// The last one there is.
        last: Position,
    },
    /// Nothing had happened at that moment.
    #[error("nothing had happened by then: the first commit in the backup came later")]
    BeforeAll,
    /// The source cannot be replayed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The source cannot be read.
    #[error("the source cannot be read: {0}")]
    Read(#[from] ReadError),
    /// The membership in the source makes no sense.
    #[error("the membership in the source makes no sense: {0}")]
    Membership(#[from] ChangeError),
    /// The new journal cannot be written.
    #[error("the journal cannot be written: {0}")]
    Write(#[from] WriteError),
    /// The new journal cannot be begun.
    #[error("the journal cannot be begun: {0}")]
    Begin(#[from] journal::OpenError),
    /// The disk does not do what it should.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Makes the journal of a node in `target` from the longest of some sources, which must be of one history, up to the moment asked for. `scratch`
/// is an empty state: the source is replayed into it, to prove it and to find the moment. `tell` hears how far that is. The journal counts once it
/// [takes its place](Built::take_place); a state that was made from another one must be gone before.
///
/// What any of the sources knows of obliterations after that moment counts all the same, and so do those that the restoration names.
pub fn build(
    sources: &[Source],
    target: &Arc<dyn Storage>,
    restoration: &Restoration,
    scratch: Box<dyn State>,
    tell: &mut dyn FnMut(Figures),
) -> Result<Built, RestoreError> {
    let source = sources.first().ok_or(RestoreError::NoSource)?;
    build_in(sources, target, restoration, scratch, tell, &journal::Options::new(source.cabinet.clone()))
}

/// With a journal that is kept as `options` say.
pub(super) fn build_in(
    sources: &[Source],
    target: &Arc<dyn Storage>,
    restoration: &Restoration,
    scratch: Box<dyn State>,
    tell: &mut dyn FnMut(Figures),
    options: &journal::Options,
) -> Result<Built, RestoreError> {
    let source = sources.iter().max_by_key(|source| source.committed).ok_or(RestoreError::NoSource)?;
    for other in sources {
        if !source.agrees_with(other)? {
            return Err(RestoreError::Disagree { one: source.name.clone(), other: other.name.clone() });
        }
    }
    if journal::exists(&**target)? && !restoration.set_aside {
        return Err(RestoreError::Occupied);
    }
    let (cut, available, named) = find(source, restoration.to, scratch, tell)?;
    let before = Membership::founded(&source.seat.founders)?.after(&source.reader.changes(cut.index))?;
    let term = source.reader.term(cut.index).unwrap_or_default() + 1;
    let (carried, obliterations) = carried(source, sources, &restoration.orders, cut.index)?;
    let founding = Founding::new(&before, &cut, term, &carried, &restoration.voters, &restoration.learners);
    let (number, incarnation) =
        founding.seat_of(&restoration.node).ok_or_else(|| RestoreError::NotAMember { node: restoration.node.name().to_owned() })?;
    let seat = Seat { incarnation, number, founders: source.seat.founders.clone() };

    let entry = |(index, order): (u64, &Order)| Entry { index, term, kind: EntryKind::Normal, payload: order.data.clone() };
    let mut added: Vec<Entry> = (cut.index + 1..).zip(&carried).map(entry).collect();
    added.extend(founding.entries(&before, cut.index + 1 + added.len() as u64, term));
    let building: Arc<dyn Storage> = Arc::new(Prefixed::new(target.clone(), BUILDING));
    clear(&*building)?;
    write(&building, options, source, cut.index, seat, &added)?;
    let restored =
        Restored { mark: cut, available, entries: cut.index + added.len() as u64, number, carried: carried.len(), set_aside: None };
    let blobs = named.blobs.into_iter().filter(|(_, position)| *position <= cut.position).map(|(blob, _)| blob).collect();
    Ok(Built { target: target.clone(), building, restored, blobs, obliterations })
}

impl Built {
    /// Those of some obliterations that are not in it: what they took away would come back.
    pub fn lacking(&self, orders: &[Order]) -> Vec<CommitId> {
        orders.iter().map(|order| order.id).filter(|id| !self.obliterations.contains(id)).collect()
    }

    /// The blobs that it names: those of commits up to the moment, without those that an obliteration took, then or later.
    pub fn blobs(&self) -> &BTreeSet<BlobId> {
        &self.blobs
    }

    /// Copies the blobs that it names to the node, each proven, from whichever source has them. Those that the node has whole it keeps. A copy that
    /// broke off goes on where it broke. `tell` hears of bytes as they are done.
    pub fn copy_blobs(&self, sources: &[Source], tell: &mut dyn FnMut(u64)) -> Result<BlobsRestored, RestoreError> {
        let beside = Beside::open(self.target.clone())?;
        let mut restored = BlobsRestored::default();
        for blob in &self.blobs {
            if beside.has(*blob, true, tell)? {
                restored.kept += 1;
            } else if copy_blob(sources, &beside, *blob, tell)? {
                restored.copied += 1;
            } else {
                restored.missing.push(*blob);
                continue;
            }
            restored.size_bytes += blob.size_bytes;
        }
        Ok(restored)
    }

    /// Makes it the node's journal. One that is in the way was to be set aside, and is.
    pub fn take_place(mut self) -> Result<Restored, RestoreError> {
        if journal::exists(&*self.target)? {
            self.restored.set_aside = Some(journal::set_aside(&*self.target)?);
        }
        take_place(&*self.target, &*self.building)?;
        Ok(self.restored)
    }
}

/// Copies one blob; whether it is whole then. A chunk that is damaged in one source may be whole in another.
fn copy_blob(sources: &[Source], beside: &Beside, blob: BlobId, tell: &mut dyn FnMut(u64)) -> Result<bool, RestoreError> {
    let mut receiving = None;
    for source in sources {
        let Some((file, Some(table))) = proof::open(&*source.storage, blob)? else { continue };
        let receiving = match &mut receiving {
            Some(receiving) => receiving,
            None => receiving.insert(beside.receive(table.clone())?),
        };
        for index in receiving.missing().clone() {
            if let Some(chunk) = proof::read_chunk(&*file, &table, index)? {
                receiving.put(index, &chunk)?;
                tell(chunk.len() as u64);
            }
        }
        if receiving.missing().is_empty() {
            break;
        }
    }
    Ok(receiving.map_or(Ok(false), Receiving::finish)?)
}

/// The last mark at the moment asked for, the last position there is, and the blobs that are named up to that.
fn find(source: &Source, to: At, scratch: Box<dyn State>, tell: &mut dyn FnMut(Figures)) -> Result<(Mark, Position, Named), RestoreError> {
    let is_within = |mark: &Mark| match to {
        At::Present => true,
        At::Position(position) => mark.position <= position,
        At::Time(time) => mark.moment <= time,
    };
    let mut cut = Mark::default();
    let mut cabinet = Cabinet::new(scratch);
    // Moments and positions never go back: what is beyond once stays beyond.
    let mut note = |mark: Mark| {
        if is_within(&mark) {
            cut = mark;
        }
    };
    let mut naming = Naming::default();
    let before = |cabinet: &Cabinet<Box<dyn State>>, index: u64, proposed: Option<&Proposed>| {
        note(cabinet.mark());
        naming.see(index, proposed);
        ControlFlow::Continue(())
    };
    replay(&source.reader, &mut cabinet, source.committed, before, tell)?;
    let last = cabinet.mark();
    note(last);
    match to {
        At::Position(asked) if asked > last.position => Err(RestoreError::Future { asked, last: last.position }),
        At::Time(_) if cut.position == Position::ZERO => Err(RestoreError::BeforeAll),
        _ => Ok((cut, last.position, naming.end(&source.reader, &cabinet)?)),
    }
}

/// The obliterations that hold although they are not in the history up to the cut, and the names of all that are in the restored one.
///
/// No other proposal outlives a cut. A commit does not: not to have it is what was asked for. Nor does a sealing: the commit has not happened in the
/// restored history, and whoever asks seals it there. What is to be gone for ever must not come back with an older history.
///
/// First those of the history itself, in its order; then those that only other journals know, in an order that does not depend on which is given
/// first: every member must come to the same log.
fn carried(source: &Source, sources: &[Source], others: &[Order], cut: u64) -> Result<(Vec<Order>, BTreeSet<CommitId>), RestoreError> {
    let (own, tail): (Vec<_>, Vec<_>) = source.orders()?.into_iter().partition(|order| order.index <= source.committed);
    let mut known: BTreeSet<CommitId> = own.iter().filter(|order| order.index <= cut).map(|order| order.id).collect();
    let mut elsewhere = tail;
    for other in sources {
        elsewhere.extend(other.orders()?);
    }
    elsewhere.extend_from_slice(others);
    elsewhere.sort_by(|a, b| (a.index, a.id, &a.data).cmp(&(b.index, b.id, &b.data)));
    let mut carried: Vec<Order> = own.into_iter().filter(|order| order.index > cut).collect();
    carried.retain(|order| known.insert(order.id));
    elsewhere.retain(|order| known.insert(order.id));
    carried.extend(elsewhere);
    Ok((carried, known))
}

/// Removes what an earlier restore left when it broke off. It is a copy of what that was made from.
fn clear(building: &dyn Storage) -> Result<(), StorageError> {
    for name in building.list()? {
        building.remove(&name)?;
    }
    building.sync_directory()
}

/// Writes the journal: seat, entries up to the cut, and those that are added. There is no hard state: nothing is promised yet.
fn write(
    building: &Arc<dyn Storage>,
    options: &journal::Options,
    source: &Source,
    cut: u64,
    seat: Seat,
    added: &[Entry],
) -> Result<(), RestoreError> {
    let Opened { reader, mut writer, .. } = journal::open(building.clone(), options.clone())?;
    writer.append(reader.stage(vec![Record::Seat(seat)]))?;
    let mut next = 1;
    while next <= cut {
        let entries = slice(&source.reader, next, cut)?;
        next = entries.last().map_or(cut, |entry| entry.index) + 1;
        writer.append(reader.stage(entries.into_iter().map(Record::Entry).collect()))?;
    }
    writer.append(reader.stage(added.iter().cloned().map(Record::Entry).collect()))?;
    Ok(writer.close()?)
}

fn slice(reader: &JournalReader, next: u64, last: u64) -> Result<Vec<Entry>, ReadError> {
    reader.entries(next, last.min(next + SLICE_ENTRIES - 1) + 1, SLICE_BYTES)
}

/// Gives the finished journal its name, the first segment last: what a crash leaves of this lacks its beginning, and is taken for no journal.
fn take_place(target: &dyn Storage, building: &dyn Storage) -> Result<(), StorageError> {
    for name in building.list()?.iter().rev() {
        target.rename(&format!("{BUILDING}{name}"), name)?;
        target.sync_directory()?;
    }
    Ok(())
}

/// In front of the names of a journal that is not finished.
const BUILDING: &str = "restoring-";

/// Bytes and entries copied at once.
const SLICE_BYTES: u64 = 4 << 20;
const SLICE_ENTRIES: u64 = 4_096;
