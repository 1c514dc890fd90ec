//! Purging: what was overwritten is still in the files of a database that is a log. So a state is copied into a fresh one, which takes its place,
//! and the files of the old one are overwritten.
//!
//! The copy is made while the state is read and written as ever: it is made of what is in the database at one moment, runs that never change.
//! What came after that is for whoever asked for it to bring to the copy, from the journal; then the two are exchanged.
//!
//! A database that is open stays in its directory, so a state is in one of two, and a copy goes into the other one. Beside the state's directory
//! stand, while that goes on:
//!
//! | name | what it is |
//! |---|---|
//! | `<state>.purging` | nothing: the purge was asked for and is not done. Whoever opens the state does it |
//! | `<state>.fresh` | the other directory |
//! | `<state>.moved` | nothing: as long as it is there, the other directory counts. When the state is opened next, that becomes `<state>` |
//! | `<state>.old` | what the release before this one was wiping |
//!
//! States that were set aside hold the same values: they go, too.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::keeper::Watch;
use super::merge::{Merge, Rules};
use super::run::RunWriter;
use super::shelf::{Manifest, Shelf};
use super::view::View;
use super::{Limits, SledState, StateError, place, system};
use crate::state::{Purge, State};

/// The rewriting of a state, from the moment at which it was asked for.
#[derive(Debug)]
pub(super) struct Rewriting {
    pub(super) home: PathBuf,
    pub(super) shelf: Arc<Shelf>,
    pub(super) watch: Watch,
    pub(super) limits: Limits,
}

impl Rewriting {
    /// Copies the state, as it was when this was asked for or later, into the other directory, and opens that.
    pub(super) fn copy_state(&self) -> Result<SledState, StateError> {
        let target = other(&self.home, self.shelf.path());
        File::create(place::beside(&self.home, PURGING)).and_then(|file| file.sync_all()).map_err(system)?;
        // Left over by one that did not come to its end.
        place::wipe(&target).and_then(|()| place::sync_parent(&target)).map_err(system)?;
        let view = self.watch.flushed()?;
        copy(&self.shelf, &view, &target, self.limits)?;
        place::wait_until_closed(&target).and_then(|()| place::sync(&target)).map_err(system)?;
        SledState::open_existing(&self.home, &target, self.limits)
    }

    /// Lets the copy be the one that counts, and wipes the other one, which must not be in use any more, and what was set aside earlier.
    pub(super) fn finish(self, replaced: Box<dyn State>) -> io::Result<()> {
        let Self { home, shelf, .. } = self;
        let old = shelf.path().to_owned();
        let moved = place::beside(&home, MOVED);
        if old == home {
            File::create(&moved).and_then(|file| file.sync_all())?;
        } else {
            fs::remove_file(&moved)?;
        }
        place::sync_parent(&home)?;
        // The old database closes with these.
        drop((replaced, shelf));
        place::wait_until_closed(&old)?;
        place::wipe(&old)?;
        place::wipe(&place::beside(&home, OLD))?;
        place::quarantines(&home).try_for_each(|aside| place::wipe(&aside))?;
        place::sync_parent(&home)?;
        fs::remove_file(place::beside(&home, PURGING))?;
        place::sync_parent(&home)
    }
}

impl Purge for Rewriting {
    fn copy(&self) -> Result<Box<dyn State>, StateError> {
        Ok(Box::new(self.copy_state()?))
    }

    fn end(self: Box<Self>, replaced: Box<dyn State>) -> Result<(), StateError> {
        self.finish(replaced).map_err(system)
    }
}

/// The directory that counts.
pub(super) fn whereabouts(home: &Path) -> PathBuf {
    let fresh = place::beside(home, FRESH);
    if place::beside(home, MOVED).exists() && fresh.exists() { fresh } else { home.to_owned() }
}

/// Brings the directories back in order after an end of any kind. Gives whether a purge is still to be done.
pub(super) fn resume(home: &Path) -> io::Result<bool> {
    let (fresh, old, moved) = (place::beside(home, FRESH), place::beside(home, OLD), place::beside(home, MOVED));
    if moved.exists() {
        if fresh.exists() {
            place::wait_until_closed(&fresh)?;
            place::wipe(home)?;
            fs::rename(&fresh, home)?;
            place::sync_parent(home)?;
        }
        fs::remove_file(&moved)?;
        place::sync_parent(home)?;
    }
    if !home.exists() && old.exists() {
        // As the release before this one left it between two renamings: the copy is complete if it is there.
        fs::rename(if fresh.exists() { &fresh } else { &old }, home)?;
    }
    place::wipe(&fresh)?;
    Ok(place::beside(home, PURGING).exists())
}

/// The one of the two directories that this is not.
fn other(home: &Path, live: &Path) -> PathBuf {
    if live == home { place::beside(home, FRESH) } else { home.to_owned() }
}

fn copy(shelf: &Shelf, view: &View, to: &Path, limits: Limits) -> Result<(), StateError> {
    let fresh = Shelf::open(to, 0)?;
    let lot = view.runs.iter().map(|run| run.lot).max().map_or(0, |last| last.saturating_add(1));
    let writer = RunWriter::new(&fresh, lot, limits.block_bytes);
    let mut merge = Merge::new(shelf, writer, &view.runs, Rules { is_oldest: true, takes_over: false });
    while merge.step()? {}
    let (run, _) = merge.finish()?;
    let runs = if run.blocks.is_empty() { Vec::new() } else { vec![run.name()] };
    fresh.publish(&Manifest { header: view.header, runs, next_lot: lot.saturating_add(1), ..Manifest::default() })
}

const PURGING: &str = "purging";
const FRESH: &str = "fresh";
const MOVED: &str = "moved";
const OLD: &str = "old";
