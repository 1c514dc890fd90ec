//! One subscription.

use std::collections::VecDeque;
use std::mem;

use caps_model::messages::{From, ObjectChange, Subscribe, Update};
use caps_model::{Object, ObjectId, Position};

use super::clock::{Clock, Crossings};
use super::merge::Merge;
use super::recent::Recent;
use super::sought::Sought;
use super::touched::Touched;
use super::vain::Vain;
use super::window::Window;
use super::{Limits, Next};
use crate::cabinet::{ANSWER_BYTES_MAX, Applied, object_bytes};
use crate::state::{State, StateError, proposed};

/// What is followed, and how far its reader has been told about it.
#[derive(Debug)]
pub(super) struct Watcher {
    sought: Sought,
    every_change: bool,
    /// Only if the query says something about now.
    clock: Option<Box<Clock>>,
    /// Only if just the first objects are followed.
    window: Option<Box<Window>>,
    /// Everything up to here was told, or did not concern the reader.
    done: Position,
    /// The last position the reader was told.
    told: Position,
    phase: Phase,
    vain: Vain,
}

/// What a watcher made of a new commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noted {
    /// There is something to tell, or the moment that [`due`](Watcher::due) names is another.
    Concerned,
    /// There is not.
    Unconcerned,
    /// Nor was there with all commits that it was asked about lately: those among the last `within`.
    InVain { within: u64 },
}

#[derive(Debug)]
enum Phase {
    /// Going through the objects that match at `done`.
    Present(Candidates),
    /// Going through the commits after `done`; those that are told as one are kept in mind together.
    CatchingUp(Option<Box<Merge>>),
    /// Everything applied up to now is done, except what is at these positions.
    Live(Touched),
}

/// Objects that may match at the watcher's first place.
#[derive(Debug)]
enum Candidates {
    /// Not looked for yet.
    Unknown,
    /// These, in order.
    Listed(VecDeque<ObjectId>),
    /// All objects of the entity after this one.
    Entity(Option<ObjectId>),
}

/// What a watcher looks at to say what is next.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    /// The last commit reported.
    pub(super) now: Position,
    /// The replica's clock: microseconds since 1970.
    pub(super) now_us: i64,
    pub(super) recent: &'a Recent,
    pub(super) limits: &'a Limits,
    pub(super) state: &'a dyn State,
}

impl Around<'_> {
    /// Whether the state is where the reports are, so that its indexes say how things are there.
    fn is_in_step(&self) -> bool {
        self.state.mark().position == self.now
    }
}

impl Watcher {
    /// A watcher on a cabinet that is at `now`, at `now_us` by the replica's clock. A reader that resumes has seen no more than that.
    pub(super) fn new(subscribe: Subscribe, now: Position, now_us: i64, state: &dyn State) -> Result<Self, StateError> {
        let from = subscribe.from;
        let moment = match from {
            From::Present => now_us,
            From::After(position) => state.commit_at(position)?.map_or(0, |record| record.moment),
            From::AfterMoment { moment, .. } => moment,
        };
        let (phase, done) = match from.position() {
            None => (Phase::Present(Candidates::Unknown), now),
            Some(position) => (Phase::CatchingUp(None), position),
        };
        let (every_change, is_window) = (subscribe.every_change, subscribe.window);
        let sought = Sought::new(subscribe, moment);
        let clock = Clock::new(sought.filter(), moment).map(Box::new);
        let window = is_window.then(Box::default);
        Ok(Self { sought, every_change, clock, window, done, told: done, phase, vain: Vain::default() })
    }

    pub(super) fn sought(&self) -> &Sought {
        &self.sought
    }

    /// The moment at which there may be something to tell although nothing was committed.
    pub(super) fn due(&self) -> Option<i64> {
        self.clock.as_ref()?.due()
    }

    /// Takes note of a new commit that may concern it.
    pub(super) fn applied(&mut self, applied: &Applied, limits: &Limits) -> Noted {
        let mut sooner = false;
        if let Some(clock) = &mut self.clock {
            for change in applied.changes.iter().filter(|change| self.sought.admits(&change.after)) {
                sooner |= clock.note(&change.after);
            }
        }
        let touched = match &mut self.window {
            Some(window) => Some(window.applied(applied, &self.sought)),
            None => self.touched(applied, limits),
        };
        if touched == Some(true) || sooner {
            self.vain.end();
            return Noted::Concerned;
        }
        let often = touched.and_then(|_| self.vain.note(applied.position));
        often.map_or(Noted::Unconcerned, |within| Noted::InVain { within })
    }

    /// Whether a new commit concerns the reader; `None`: that is found out when it comes to it.
    fn touched(&mut self, applied: &Applied, limits: &Limits) -> Option<bool> {
        let Phase::Live(touched) = &mut self.phase else { return None };
        if !applied.changes.iter().any(|change| self.sought.concerns(change)) {
            return Some(false);
        }
        if touched.is_empty() {
            // Nothing before this commit concerned the reader: catching up need not go through it.
            self.done = Position(applied.position.0 - 1);
        }
        touched.push(applied.position);
        if touched.len() > if self.every_change { limits.backlog } else { limits.patience } {
            self.phase = Phase::CatchingUp(None);
        }
        Some(true)
    }

    pub(super) fn next(&mut self, around: Around<'_>) -> Result<Next, StateError> {
        match mem::replace(&mut self.phase, Phase::CatchingUp(None)) {
            Phase::Present(candidates) => self.next_part(candidates, around),
            Phase::CatchingUp(merge) => self.catch_up(merge, around),
            Phase::Live(mut touched) => {
                let position = touched.pop();
                self.phase = Phase::Live(touched);
                match position {
                    Some(position) => self.tell_commit(position, around),
                    None => self.idle(around),
                }
            }
        }
    }

    /// How far the reader is, when it has been told everything and is at least `behind` commits further than it knows.
    pub(super) fn progress(&mut self, now: Position, behind: u64) -> Option<Update> {
        let idle = matches!(&self.phase, Phase::Live(touched) if touched.is_empty());
        let touched = self.window.as_ref().is_some_and(|window| window.is_touched());
        if !idle || touched || now.0 - self.told.0 < behind {
            return None;
        }
        self.done = now;
        self.told = now;
        Some(Update::Progress { position: now, moment: self.moment() })
    }

    fn moment(&self) -> Option<i64> {
        self.clock.as_ref().map(|clock| clock.moment)
    }

    fn next_part(&mut self, candidates: Candidates, around: Around<'_>) -> Result<Next, StateError> {
        let Around { limits, state, .. } = around;
        let mut candidates = match candidates {
            Candidates::Unknown => match self.find_candidates(around)? {
                Some(found) => found,
                None => {
                    self.phase = Phase::Present(Candidates::Unknown);
                    return Ok(Next::Working);
                }
            },
            known => known,
        };
        let mut objects = Vec::new();
        let mut bytes = 0;
        let page = candidates.page(&self.sought, limits.step, state)?;
        let mut complete = page.len() < limits.step;
        for id in page {
            if bytes > limits.part_bytes {
                complete = false;
                break;
            }
            // A window has found those that match, as of this place.
            let matches = |object: &Object| self.window.is_some() || self.sought.matches(object);
            if let Some(object) = state.object_at(id, self.done)?.filter(matches) {
                let object = self.sought.shown(&object);
                bytes += object_bytes(&object);
                objects.push(object);
            }
            candidates.pass(id);
        }
        self.phase = match (complete, &self.window) {
            (false, _) => Phase::Present(candidates),
            (true, None) => Phase::CatchingUp(None),
            // It takes note of commits from the start.
            (true, Some(_)) => Phase::Live(Touched::default()),
        };
        if objects.is_empty() && !complete {
            return Ok(Next::Working);
        }
        self.told = self.done;
        Ok(Next::Update(Update::Present { position: self.done, moment: self.moment(), objects, complete }))
    }

    /// An index knows only the present: it helps when the state is still at the watcher's position. `None`: the state is ahead, and a window is
    /// found nowhere else.
    fn find_candidates(&mut self, around: Around<'_>) -> Result<Option<Candidates>, StateError> {
        let state = around.state;
        if let Some(window) = &mut self.window {
            if !around.is_in_step() {
                return Ok(None);
            }
            self.done = around.now;
            let ids = window.start(&self.sought, state)?;
            return Ok(Some(Candidates::Listed(ids)));
        }
        if !self.sought.objects().is_empty() {
            return Ok(Some(Candidates::Listed(self.sought.objects().iter().copied().collect())));
        }
        if state.mark().position != self.done {
            return Ok(Some(Candidates::Entity(None)));
        }
        let listed = proposed(state, self.sought.query(), LISTED_MAX)?;
        Ok(Some(listed.map_or(Candidates::Entity(None), |ids| Candidates::Listed(ids.into_iter().collect()))))
    }

    /// Tells everything anew, as it is now: there is more to tell than updates hold.
    fn start_anew(&mut self, around: Around<'_>) -> Next {
        self.done = around.now;
        if let Some(clock) = &mut self.clock {
            clock.advance(clock.moment.max(around.now_us));
            self.sought.bind(clock.moment);
        }
        self.phase = Phase::Present(Candidates::Unknown);
        Next::Working
    }

    fn catch_up(&mut self, merge: Option<Box<Merge>>, around: Around<'_>) -> Result<Next, StateError> {
        if self.window.is_some() {
            return self.restore_window(merge, around);
        }
        let far = around.now.0.saturating_sub(self.done.0) > around.limits.patience as u64;
        if merge.is_some() || (far && !self.every_change) {
            let merge = merge.unwrap_or_else(|| Box::new(Merge::new(self.done)));
            return self.tell_merged(merge, around);
        }
        for _ in 0..around.limits.step {
            if self.done >= around.now {
                return self.go_live(around);
            }
            let position = self.done.next();
            if let told @ Next::Update(_) = self.tell_commit(position, around)? {
                return Ok(told);
            }
        }
        Ok(Next::Working)
    }

    fn go_live(&mut self, around: Around<'_>) -> Result<Next, StateError> {
        self.phase = Phase::Live(Touched::default());
        match self.progress(around.now, 1) {
            Some(progress) => Ok(Next::Update(progress)),
            None => self.idle(around),
        }
    }

    /// Tells what the commit at `position` changed; [`Next::Working`] if that does not concern the reader.
    fn tell_commit(&mut self, position: Position, around: Around<'_>) -> Result<Next, StateError> {
        let changes = around.recent.changes(position, around.state)?;
        let changes: Vec<ObjectChange> =
            changes.iter().filter_map(|change| self.sought.seen(change.before.as_ref(), &change.after)).collect();
        self.done = position;
        Ok(self.tell(changes, None))
    }

    /// Takes in some more commits; tells what they changed as one when there are no more, or enough.
    fn tell_merged(&mut self, mut merge: Box<Merge>, around: Around<'_>) -> Result<Next, StateError> {
        let Some(full) = merge_some(&mut merge, &self.sought, around)? else {
            self.phase = Phase::CatchingUp(Some(merge));
            return Ok(Next::Working);
        };
        let changes = merge.changes(self.done, &self.sought, around.state)?;
        self.done = merge.position;
        if changes.is_empty() && !full {
            return self.go_live(around);
        }
        Ok(self.tell(changes, (merge.commits() > 1).then_some(self.told)))
    }

    fn tell(&mut self, changes: Vec<ObjectChange>, coalesced_from: Option<Position>) -> Next {
        if changes.is_empty() {
            return Next::Working;
        }
        self.told = self.done;
        Next::Update(Update::Changes { position: self.done, moment: self.moment(), changes, places: Vec::new(), coalesced_from })
    }

    /// Nothing of a commit waits to be told: looks what time has done.
    fn idle(&mut self, around: Around<'_>) -> Result<Next, StateError> {
        if self.window.is_some() {
            return self.tell_window(around);
        }
        match self.tick(around)? {
            Some(next) => Ok(next),
            None => Ok(self.progress(around.now, around.limits.progress_every).map_or(Next::Idle, Next::Update)),
        }
    }

    /// Moves the reader's moment on to the replica's clock, or as far as one update tells; `None`: nothing changed sides until now.
    fn tick(&mut self, around: Around<'_>) -> Result<Option<Next>, StateError> {
        let Around { now_us, limits, state, .. } = around;
        let Some(clock) = &mut self.clock else { return Ok(None) };
        let now_us = now_us.max(clock.moment);
        if !around.is_in_step() {
            // The report of what the state has already is on its way, and wakes nobody whom it does not concern.
            return Ok(Some(Next::Working));
        }
        let entity = &self.sought.query().entity;
        if !clock.is_due(now_us, entity, state)? {
            clock.advance(now_us);
            self.sought.bind(now_us);
            return Ok(None);
        }
        let crossings = clock.crossings(now_us, limits.step, entity, state)?;
        let Some((moment, objects)) = crossings.map(|found| fitting(found, limits, state)).transpose()?.flatten() else {
            return Ok(Some(self.start_anew(around)));
        };
        let mut changes = Vec::new();
        let before: Vec<bool> = objects.iter().map(|object| self.sought.matches(object)).collect();
        clock.advance(moment);
        self.sought.bind(moment);
        for (object, before) in objects.iter().zip(before) {
            match (before, self.sought.matches(object)) {
                (false, true) => changes.push(ObjectChange::Added(self.sought.shown(object))),
                (true, false) => changes.push(ObjectChange::Removed(object.id)),
                (true, true) | (false, false) => {}
            }
        }
        self.done = around.now;
        Ok(Some(self.tell(changes, None)))
    }

    /// Tells how the window has become different since it was told last.
    fn tell_window(&mut self, around: Around<'_>) -> Result<Next, StateError> {
        let Around { now, now_us, limits, state, .. } = around;
        let Some(window) = &mut self.window else { return Ok(Next::Idle) };
        let mut moves = false;
        if let Some(clock) = &mut self.clock {
            let now_us = now_us.max(clock.moment);
            if !around.is_in_step() {
                return Ok(Next::Working);
            }
            moves = clock.is_due(now_us, &self.sought.query().entity, state)?;
            clock.advance(now_us);
            self.sought.bind(now_us);
        }
        if !window.is_touched() && !moves {
            return Ok(self.progress(now, limits.progress_every).map_or(Next::Idle, Next::Update));
        }
        if !around.is_in_step() {
            return Ok(Next::Working);
        }
        let Some(difference) = window.renew(&self.sought, state)? else { return Ok(self.start_anew(around)) };
        let coalesced_from = (difference.commits > 1).then_some(self.told);
        self.done = now;
        Ok(match self.tell(difference.changes, coalesced_from) {
            Next::Update(Update::Changes { position, moment, changes, coalesced_from, .. }) => {
                Next::Update(Update::Changes { position, moment, changes, places: difference.places, coalesced_from })
            }
            other => other,
        })
    }

    /// Finds out what the window of a reader that resumes was.
    fn restore_window(&mut self, merge: Option<Box<Merge>>, around: Around<'_>) -> Result<Next, StateError> {
        let mut merge = merge.unwrap_or_else(|| Box::new(Merge::new(self.done)));
        if self.clock.is_some() || self.sought.reaches_through() {
            // What time or others did to it is not worth finding out: a window is small.
            return Ok(self.start_anew(around));
        }
        match merge_some(&mut merge, &self.sought, around)? {
            // More has changed than a window has room for, likely.
            Some(true) => return Ok(self.start_anew(around)),
            Some(false) if around.is_in_step() => {}
            _ => {
                self.phase = Phase::CatchingUp(Some(merge));
                return Ok(Next::Working);
            }
        }
        if let Some(window) = &mut self.window {
            window.restore(self.done, &merge, &self.sought, around.state)?;
        }
        self.phase = Phase::Live(Touched::default());
        self.done = around.now;
        self.tell_window(around)
    }
}

/// Takes commits into a merge, as many as are looked at in one call. Answers when it is done, and then whether it is full.
fn merge_some(merge: &mut Merge, sought: &Sought, around: Around<'_>) -> Result<Option<bool>, StateError> {
    for _ in 0..around.limits.step {
        if merge.position >= around.now {
            return Ok(Some(false));
        }
        let changes = around.recent.changes(merge.position.next(), around.state)?;
        if !merge.take(&changes, sought, around.limits) {
            return Ok(Some(true));
        }
    }
    Ok((merge.position >= around.now).then_some(false))
}

/// The objects that cross until a moment, as many as one update tells; `None` if already those of one moment are too many.
fn fitting(crossings: Crossings, limits: &Limits, state: &dyn State) -> Result<Option<(i64, Vec<Object>)>, StateError> {
    let Crossings { mut until, objects: by_moment } = crossings;
    let (mut found, mut bytes) = (Vec::new(), 0);
    for (moment, ids) in by_moment {
        let mut together: Vec<Object> = Vec::new();
        for id in ids {
            let object = state.object(id)?.ok_or_else(|| StateError::Lacks { what: format!("the object {id}") })?;
            bytes += object_bytes(&object);
            together.push(object);
            if bytes > ANSWER_BYTES_MAX && found.is_empty() {
                return Ok(None);
            }
        }
        if bytes > limits.part_bytes && !found.is_empty() {
            until = moment.saturating_sub(1);
            break;
        }
        found.append(&mut together);
    }
    // One that crosses twice is told once.
    found.sort_by_key(|object| object.id);
    found.dedup_by_key(|object| object.id);
    Ok(Some((until, found)))
}

impl Candidates {
    /// The next ids, without passing them.
    fn page(&self, sought: &Sought, limit: usize, state: &dyn State) -> Result<Vec<ObjectId>, StateError> {
        match self {
            Self::Unknown => Ok(Vec::new()),
            Self::Listed(ids) => Ok(ids.iter().take(limit).copied().collect()),
            Self::Entity(after) => state.objects_of(&sought.query().entity, *after, false, limit),
        }
    }

    fn pass(&mut self, id: ObjectId) {
        match self {
            Self::Unknown => {}
            Self::Listed(ids) => {
                ids.pop_front();
            }
            Self::Entity(after) => *after = Some(id),
        }
    }
}

/// Ids that a watcher keeps while it goes through them, 16 bytes each.
const LISTED_MAX: usize = 10_000;
