//! Making a replica's journal from a backup.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use caps_model::Position;
use caps_model::messages::inspect::At;
use caps_overlay::Identity;

use super::founding::Founding;
use super::source::Source;
use crate::cabinet::{Cabinet, Proposal, Proposed};
use crate::journal::envelope::undecide;
use crate::journal::{self, Entry, EntryKind, JournalReader, Opened, ReadError, Record, Seat, WriteError};
use crate::replay::{Figures, ReplayError, proposed, replay};
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
}

/// A journal that is made, and has not taken its place yet.
#[derive(Debug)]
pub struct Built {
    target: Arc<dyn Storage>,
    building: Arc<dyn Storage>,
    restored: Restored,
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
/// What the source knows of obliterations after that moment counts all the same (see `outlives_a_cut`).
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
    let (cut, available) = find(source, restoration.to, scratch, tell)?;
    let before = Membership::founded(&source.seat.founders)?.after(&source.reader.changes(cut.index))?;
    let term = source.reader.term(cut.index).unwrap_or_default() + 1;
    let founding = Founding::new(&before, &cut, term, &restoration.voters, &restoration.learners);
    let (number, incarnation) =
        founding.seat_of(&restoration.node).ok_or_else(|| RestoreError::NotAMember { node: restoration.node.name().to_owned() })?;
    let seat = Seat { incarnation, number, founders: source.seat.founders.clone() };

    let carried = carried(source, cut.index)?;
    let mut added: Vec<Entry> =
        (cut.index + 1..).zip(carried).map(|(index, payload)| Entry { index, term, kind: EntryKind::Normal, payload }).collect();
    added.extend(founding.entries(&before, cut.index + 1 + added.len() as u64, term));
    let building: Arc<dyn Storage> = Arc::new(Prefixed::new(target.clone(), BUILDING));
    clear(&*building)?;
    write(&building, options, source, cut.index, seat, &added)?;
    let restored = Restored { mark: cut, available, entries: cut.index + added.len() as u64, number, set_aside: None };
    Ok(Built { target: target.clone(), building, restored })
}

impl Built {
    /// Makes it the node's journal. One that is in the way was to be set aside, and is.
    pub fn take_place(mut self) -> Result<Restored, RestoreError> {
        if journal::exists(&*self.target)? {
            self.restored.set_aside = Some(journal::set_aside(&*self.target)?);
        }
        take_place(&*self.target, &*self.building)?;
        Ok(self.restored)
    }
}

/// The last mark at the moment asked for, and the last position there is.
fn find(source: &Source, to: At, scratch: Box<dyn State>, tell: &mut dyn FnMut(Figures)) -> Result<(Mark, Position), RestoreError> {
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
    let before = |cabinet: &Cabinet<Box<dyn State>>, _: u64, _: Option<&Proposed>| {
        note(cabinet.mark());
        ControlFlow::Continue(())
    };
    replay(&source.reader, &mut cabinet, source.committed, before, tell)?;
    let last = cabinet.mark();
    note(last);
    match to {
        At::Position(asked) if asked > last.position => Err(RestoreError::Future { asked, last: last.position }),
        At::Time(_) if cut.position == Position::ZERO => Err(RestoreError::BeforeAll),
        _ => Ok((cut, last.position)),
    }
}

/// What was decided after the cut and holds all the same.
fn carried(source: &Source, cut: u64) -> Result<Vec<Bytes>, RestoreError> {
    let mut carried = Vec::new();
    for index in cut + 1..=source.committed {
        for entry in source.reader.entries(index, index + 1, u64::MAX)? {
            if proposed(&entry)?.is_some_and(|proposed| outlives_a_cut(&proposed.proposal)) {
                let mut data = entry.payload.to_vec();
                undecide(&mut data);
                carried.push(data.into());
            }
        }
    }
    Ok(carried)
}

/// Whether a proposal holds although the cabinet is restored to a moment before it.
///
/// A commit does not: not to have it is what was asked for. Nor does a sealing: the commit has not happened in the restored history, and whoever
/// asks seals it there. What is to be gone for ever must not come back with an older history.
fn outlives_a_cut(proposal: &Proposal) -> bool {
    match proposal {
        Proposal::Commit(_) | Proposal::Seal(_) => false,
        Proposal::Obliterate(_) => true,
    }
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
