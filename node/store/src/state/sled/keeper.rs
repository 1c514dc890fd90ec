//! The keeper: a thread that turns full tables into runs and merges runs, so that there are few.
//!
//! It is a thread of its own, not one of the environment's workers: simulations keep their state in memory, and a merge may take minutes.

use std::any::Any;
use std::collections::BTreeSet;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::block::BlockId;
use super::merge::{Merge, Rules};
use super::run::{Run, RunWriter};
use super::shelf::{Manifest, Shelf};
use super::view::{Frozen, View};
use super::{Limits, StateError, tiers};

/// The keeper as the state sees it.
#[derive(Debug)]
pub(super) struct Keeper {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
    limits: Limits,
}

/// What the state and the keeper's thread share.
#[derive(Debug)]
struct Desk {
    papers: Mutex<Papers>,
    /// Something on it has changed.
    changed: Condvar,
}

#[derive(Debug)]
struct Papers {
    view: Arc<View>,
    ending: Option<Ending>,
    failure: Option<Arc<StateError>>,
}

/// How the thread is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// With every table on the disk; merges under way are given up.
    Orderly,
    /// At once, as if the process had been killed.
    #[cfg(test)]
    Abrupt,
}

impl Keeper {
    /// Starts the thread, over the runs of a manifest.
    pub(super) fn start(shelf: Arc<Shelf>, manifest: &Manifest, runs: Vec<Arc<Run>>, limits: Limits) -> Result<Self, StateError> {
        let view = Arc::new(View { frozen: Vec::new(), runs, header: manifest.header });
        let desk = Arc::new(Desk { papers: Mutex::new(Papers { view, ending: None, failure: None }), changed: Condvar::new() });
        let manifest = Manifest { dead: Vec::new(), unfinished: Vec::new(), ..manifest.clone() };
        let work = Work { shelf, desk: desk.clone(), limits, manifest, graves: Vec::new(), busy: BTreeSet::new() };
        let thread = thread::Builder::new().name("state".to_owned()).spawn(move || work.run());
        let thread = thread.map_err(|error| StateError::Engine(Box::new(error)))?;
        Ok(Self { desk, thread: Some(thread), limits })
    }

    /// What can be read at this moment.
    pub(super) fn view(&self) -> Arc<View> {
        self.desk.papers().view.clone()
    }

    /// Fails when the keeper has failed.
    pub(super) fn check(&self) -> Result<(), StateError> {
        match &self.desk.papers().failure {
            Some(failure) => Err(StateError::Engine(Box::new(failure.clone()))),
            None => Ok(()),
        }
    }

    /// What waits, on another thread, until everything that was handed over so far is in the database.
    pub(super) fn watch(&self) -> Watch {
        Watch { desk: self.desk.clone(), awaited: self.view().frozen.clone() }
    }

    /// Hands over a full table; waits while too many of them wait already.
    pub(super) fn take(&self, frozen: Frozen) -> Result<(), StateError> {
        let waits = |papers: &mut Papers| papers.failure.is_none() && papers.view.frozen.len() >= self.limits.tables_waiting_max;
        let papers = self.desk.changed.wait_while(self.desk.papers(), waits).unwrap_or_else(PoisonError::into_inner);
        if let Some(failure) = &papers.failure {
            return Err(StateError::Engine(Box::new(failure.clone())));
        }
        self.desk.add(papers, frozen);
        Ok(())
    }

    /// Ends the thread when everything handed over, and this last table, is in the database.
    pub(super) fn end(&mut self, last: Option<Frozen>) -> Result<(), StateError> {
        if let Some(last) = last {
            self.desk.add(self.desk.papers(), last);
        }
        self.stop(Ending::Orderly);
        self.check()
    }

    /// Ends the thread and forgets what is not in the database yet.
    #[cfg(test)]
    pub(super) fn abandon(&mut self) {
        self.stop(Ending::Abrupt);
    }

    /// Waits until the thread has nothing to do.
    #[cfg(test)]
    pub(super) fn settle(&self) {
        let has_work = |view: &View| !view.frozen.is_empty() || self.limits.due(&view.runs).is_some();
        let is_busy = |papers: &mut Papers| papers.failure.is_none() && has_work(&papers.view);
        drop(self.desk.changed.wait_while(self.desk.papers(), is_busy).unwrap_or_else(PoisonError::into_inner));
    }

    fn stop(&mut self, ending: Ending) {
        self.desk.papers().ending.get_or_insert(ending);
        self.desk.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // Its panics are caught where they happen.
            thread.join().ok();
        }
    }
}

/// Waits for the keeper's work.
#[derive(Debug)]
pub(super) struct Watch {
    desk: Arc<Desk>,
    /// Tables on their way to the disk.
    awaited: Vec<Arc<Frozen>>,
}

impl Watch {
    /// What is in the database once everything is that was awaited, and maybe more. The state's end brings that about at the latest.
    pub(super) fn flushed(&self) -> Result<Arc<View>, StateError> {
        let is_awaited = |table: &Arc<Frozen>| self.awaited.iter().any(|awaited| Arc::ptr_eq(table, awaited));
        let waits = |papers: &mut Papers| papers.failure.is_none() && papers.view.frozen.iter().any(is_awaited);
        let papers = self.desk.changed.wait_while(self.desk.papers(), waits).unwrap_or_else(PoisonError::into_inner);
        match &papers.failure {
            Some(failure) => Err(StateError::Engine(Box::new(failure.clone()))),
            None => Ok(papers.view.clone()),
        }
    }
}

impl Desk {
    fn papers(&self) -> MutexGuard<'_, Papers> {
        self.papers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, mut papers: MutexGuard<'_, Papers>, frozen: Frozen) {
        let older = papers.view.frozen.iter().cloned();
        let frozen = std::iter::once(Arc::new(frozen)).chain(older).collect();
        papers.view = Arc::new(View { frozen, runs: papers.view.runs.clone(), header: papers.view.header });
        drop(papers);
        self.changed.notify_all();
    }
}

/// What the thread works with.
struct Work {
    shelf: Arc<Shelf>,
    desk: Arc<Desk>,
    limits: Limits,
    /// As it was published last.
    manifest: Manifest,
    graves: Vec<Grave>,
    /// Runs that are being merged.
    busy: BTreeSet<u64>,
}

/// Runs that were merged, as long as somebody may read them.
struct Grave {
    runs: Vec<Arc<Run>>,
    /// Those of their blocks that the merged run did not take over.
    blocks: Vec<BlockId>,
}

/// Why the thread ends.
enum End {
    Asked,
    Failed(StateError),
}

impl From<StateError> for End {
    fn from(error: StateError) -> Self {
        Self::Failed(error)
    }
}

impl Work {
    fn run(mut self) {
        let desk = self.desk.clone();
        let failure = match catch_unwind(AssertUnwindSafe(|| self.work())) {
            Ok(End::Asked) => return,
            Ok(End::Failed(error)) => error,
            Err(panic) => StateError::Engine(said(&*panic).into()),
        };
        desk.papers().failure = Some(Arc::new(failure));
        desk.changed.notify_all();
    }

    fn work(&mut self) -> End {
        loop {
            if let Err(end) = self.tend() {
                return end;
            }
            let idle = |papers: &mut Papers| papers.view.frozen.is_empty() && papers.ending.is_none();
            let papers = self.desk.changed.wait_while(self.desk.papers(), idle).unwrap_or_else(PoisonError::into_inner);
            if papers.ending.is_some() && papers.view.frozen.is_empty() {
                return End::Asked;
            }
        }
    }

    /// Does what there is to do: tables first, since a writer may wait. A merge calls this after each of its blocks, so that a long one delays
    /// neither tables nor the short merges of what they become.
    fn tend(&mut self) -> Result<(), End> {
        loop {
            let (view, ending) = {
                let papers = self.desk.papers();
                (papers.view.clone(), papers.ending)
            };
            #[cfg(test)]
            if ending == Some(Ending::Abrupt) {
                return Err(End::Asked);
            }
            if let Some(frozen) = view.frozen.last()
                && (view.runs.len() < self.limits.runs_max || ending.is_some())
            {
                self.flush(frozen)?;
                continue;
            }
            let due = if ending.is_none() { self.due(&view.runs) } else { None };
            drop(view);
            let Some((runs, is_oldest)) = due else { return Ok(self.bury()?) };
            self.merge(&runs, is_oldest)?;
        }
    }

    fn flush(&mut self, frozen: &Arc<Frozen>) -> Result<(), StateError> {
        let lot = self.begin_lot();
        let shelf = self.shelf.clone();
        let mut writer = RunWriter::new(&shelf, lot, self.limits.block_bytes);
        let mut key = Vec::new();
        for (space, rest, value) in frozen.table.entries() {
            key.clear();
            key.extend_from_slice(space);
            key.extend_from_slice(rest);
            writer.push(&key, value)?;
        }
        let run = Arc::new(writer.finish()?);
        self.end_lot(lot);
        self.manifest.header = frozen.header;
        let older = self.desk.papers().view.runs.clone();
        self.show(std::iter::once(run).chain(older).collect(), Some(frozen))
    }

    fn merge(&mut self, runs: &[Arc<Run>], is_oldest: bool) -> Result<(), End> {
        let lot = self.begin_lot();
        let inputs: BTreeSet<u64> = runs.iter().map(|run| run.lot).collect();
        self.busy.extend(&inputs);
        let shelf = self.shelf.clone();
        let writer = RunWriter::new(&shelf, lot, self.limits.block_bytes);
        let mut merge = Merge::new(&shelf, writer, runs, Rules { is_oldest, takes_over: true });
        while merge.step()? {
            self.tend()?;
            if self.desk.papers().ending.is_some() {
                // What it wrote is found to be unfinished when the state is opened.
                return Ok(());
            }
        }
        let (run, replaced) = merge.finish()?;
        self.busy.retain(|lot| !inputs.contains(lot));
        self.graves.push(Grave { runs: runs.to_vec(), blocks: replaced });
        let mut merged = Some(Arc::new(run));
        let view = self.desk.papers().view.clone();
        let instead = |other: &Arc<Run>| if inputs.contains(&other.lot) { merged.take() } else { Some(other.clone()) };
        let runs = view.runs.iter().filter_map(instead).collect();
        self.end_lot(lot);
        Ok(self.show(runs, None)?)
    }

    /// Makes these the runs that count, in the database and then to readers; `flushed` is one of them now.
    fn show(&mut self, runs: Vec<Arc<Run>>, flushed: Option<&Arc<Frozen>>) -> Result<(), StateError> {
        self.manifest.runs = runs.iter().map(|run| run.name()).collect();
        self.publish()?;
        let mut papers = self.desk.papers();
        // Tables may have come in between; runs are changed by this thread alone.
        let waiting = papers.view.frozen.iter().filter(|table| flushed.is_none_or(|flushed| !Arc::ptr_eq(table, flushed)));
        papers.view = Arc::new(View { frozen: waiting.cloned().collect(), runs, header: self.manifest.header });
        drop(papers);
        self.desk.changed.notify_all();
        Ok(())
    }

    /// Removes what was replaced and nobody can read any more.
    fn bury(&mut self) -> Result<(), StateError> {
        let is_read = |grave: &Grave| grave.runs.iter().any(|run| Arc::strong_count(run) > 1);
        let (read, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.graves).into_iter().partition(is_read);
        self.graves = read;
        if gone.is_empty() {
            return Ok(());
        }
        for grave in gone {
            grave.blocks.iter().try_for_each(|block| self.shelf.remove_block(*block))?;
            grave.runs.iter().try_for_each(|run| self.shelf.remove_run(run.name()))?;
        }
        self.publish()
    }

    fn publish(&mut self) -> Result<(), StateError> {
        self.manifest.dead = self.graves.iter().flat_map(|grave| grave.runs.iter().map(|run| run.name())).collect();
        self.shelf.publish(&self.manifest)
    }

    /// The runs to merge next, and whether there is none older. Those newer than what is being merged may be merged meanwhile.
    fn due(&self, runs: &[Arc<Run>]) -> Option<(Vec<Arc<Run>>, bool)> {
        let free = runs.iter().position(|run| self.busy.contains(&run.lot)).unwrap_or(runs.len());
        let due = self.limits.due(&runs[..free])?;
        let is_oldest = due.end == runs.len();
        Some((runs[due].to_vec(), is_oldest))
    }

    fn begin_lot(&mut self) -> u64 {
        let lot = self.manifest.next_lot;
        self.manifest.next_lot += 1;
        self.manifest.unfinished.push(lot);
        lot
    }

    fn end_lot(&mut self, lot: u64) {
        self.manifest.unfinished.retain(|other| *other != lot);
    }
}

impl Limits {
    /// Which of these runs, the newest first, are to become one.
    fn due(&self, runs: &[Arc<Run>]) -> Option<Range<usize>> {
        let sizes: Vec<u64> = runs.iter().map(|run| run.size_bytes).collect();
        tiers::due(&sizes, self.fan, self.runs_max)
    }
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the state's keeper panicked: {}", text.unwrap_or("without a word"))
}
