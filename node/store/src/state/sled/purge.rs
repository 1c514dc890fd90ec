//! Purging: what was overwritten is still in the files of a database that is a log. A state is copied into a fresh one, and the files of the
//! old one are overwritten.
//!
//! Beside the state's directory stand, while that goes on:
//!
//! | name | what it is |
//! |---|---|
//! | `<state>.purging` | nothing: the purge was asked for and is not done. Whoever opens the state does it |
//! | `<state>.fresh` | the copy, as long as it does not count |
//! | `<state>.old` | what is to be wiped, once the copy counts |
//!
//! States that were set aside hold the same values: they go, too.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::merge::{Merge, Rules};
use super::run::RunWriter;
use super::shelf::{Manifest, Shelf};
use super::view::View;
use super::{Limits, StateError, place, system};

/// Copies everything that counts on a shelf into a fresh database, which takes the place of the shelf's own, and opens that.
pub(super) fn rewrite<S>(
    shelf: &Arc<Shelf>,
    view: &View,
    limits: Limits,
    open: impl FnOnce(&Path) -> Result<S, StateError>,
) -> Result<S, StateError> {
    let path = shelf.path();
    let (fresh, old) = (place::beside(path, FRESH), place::beside(path, OLD));
    File::create(place::beside(path, PURGING)).and_then(|file| file.sync_all()).map_err(system)?;
    // Left over by one that did not come to its end.
    [&fresh, &old].into_iter().try_for_each(|path| place::wipe(path)).and_then(|()| place::sync_parent(path)).map_err(system)?;
    copy(shelf, view, &fresh, limits)?;
    place::wait_until_closed(&fresh).map_err(system)?;
    place::sync(&fresh).map_err(system)?;
    fs::rename(path, &old).and_then(|()| fs::rename(&fresh, path)).and_then(|()| place::sync_parent(path)).map_err(system)?;
    open(path)
}

/// Wipes what a copy has taken the place of, and what was set aside earlier.
pub(super) fn wipe_replaced(path: &Path) -> io::Result<()> {
    let old = place::beside(path, OLD);
    place::wait_until_closed(&old)?;
    place::wipe(&old)?;
    place::quarantines(path).try_for_each(|aside| place::wipe(&aside))?;
    place::sync_parent(path)?;
    fs::remove_file(place::beside(path, PURGING))?;
    place::sync_parent(path)
}

/// Brings the directories back in order after a crash. Gives whether a purge is still to be done.
pub(super) fn resume(path: &Path) -> io::Result<bool> {
    let (fresh, old) = (place::beside(path, FRESH), place::beside(path, OLD));
    if !path.exists() && old.exists() {
        // Between the two renamings: the copy is complete if it is there.
        fs::rename(if fresh.exists() { &fresh } else { &old }, path)?;
    }
    place::wipe(&fresh)?;
    Ok(place::beside(path, PURGING).exists())
}

fn copy(shelf: &Shelf, view: &View, to: &Path, limits: Limits) -> Result<(), StateError> {
    let manifest = shelf.manifest()?;
    let fresh = Shelf::open(to, 0)?;
    let lot = manifest.next_lot;
    let writer = RunWriter::new(&fresh, lot, limits.block_bytes);
    let mut merge = Merge::new(shelf, writer, &view.runs, Rules { is_oldest: true, takes_over: false });
    while merge.step()? {}
    let (run, _) = merge.finish()?;
    let runs = if run.blocks.is_empty() { Vec::new() } else { vec![run.name()] };
    fresh.publish(&Manifest { header: manifest.header, runs, next_lot: lot.saturating_add(1), ..Manifest::default() })
}

const PURGING: &str = "purging";
const FRESH: &str = "fresh";
const OLD: &str = "old";
