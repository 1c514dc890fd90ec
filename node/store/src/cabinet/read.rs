//! What a cabinet answers. Every answer fits a frame.

use std::ops::ControlFlow;

use caps_model::messages::{Event, GET_MAX, Get, Got, HISTORY_MAX, History, Objects, Outcome, Timeline};
use caps_model::query::LIMIT_MAX;
use caps_model::{CommitId, Object, ObjectId, Position, Query};

use super::Cabinet;
use crate::state::{Fate, State, StateError, plan, search};

/// Why a question is not answered.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It asks for more than one answer may hold: ask for less at once.
    #[error("the question asks for {asked} {what}, at most {most} are answered")]
    TooMany {
        /// How many it asks for.
        asked: usize,
        /// Of what.
        what: &'static str,
        /// How many are allowed.
        most: usize,
    },
    /// It asks about a moment that has not come.
    #[error("the cabinet is at position {now}, and {asked} is still to come")]
    Future {
        /// The position asked about.
        asked: Position,
        /// The last one there is.
        now: Position,
    },
    /// The answer would not fit a frame: ask for less at once.
    #[error("the answer is larger than {ANSWER_BYTES_MAX} bytes: ask for less at once")]
    TooLarge,
    /// The state failed. The replica must stop.
    #[error(transparent)]
    State(#[from] StateError),
}

impl<S: State> Cabinet<S> {
    /// The live objects that satisfy a query now, as many as it wants and as fit a frame.
    pub fn query(&self, query: &Query) -> Result<Objects, ReadError> {
        let query = query.clone().limit(query.limit);
        let plan = plan(&self.state, &query, false)?;
        let mut best = Best::new(&query, plan.is_in_order(&query));
        search(&self.state, &query, &plan, |object| best.take(object))?;
        best.arrange();
        Ok(Objects { position: self.mark().position, objects: best.objects, more: best.more })
    }

    /// Given objects as they are now; a deleted one is `None`.
    pub fn get(&self, get: &Get) -> Result<Got, ReadError> {
        if get.objects.len() > GET_MAX {
            return Err(ReadError::TooMany { asked: get.objects.len(), what: "objects", most: GET_MAX });
        }
        let mut objects = Vec::with_capacity(get.objects.len());
        let mut bytes = 0;
        for id in &get.objects {
            let object = self.state.object(*id)?.filter(|object| !object.deleted);
            bytes += object.as_ref().map_or(1, object_bytes);
            if bytes > ANSWER_BYTES_MAX + HEADROOM_BYTES {
                return Err(ReadError::TooLarge);
            }
            objects.push(object);
        }
        Ok(Got { position: self.mark().position, objects })
    }

    /// The object as it was after the commit at `position`, also when it is deleted.
    pub fn object_at(&self, id: ObjectId, position: Position) -> Result<Option<Object>, StateError> {
        self.state.object_at(id, position)
    }

    /// What happened to an object, newest first: as much as it wants and as fits a frame. Fewer events than asked for may mean either; the
    /// oldest one, whose object was created by it, tells.
    pub fn history(&self, history: &History) -> Result<Timeline, ReadError> {
        let limit = history.limit.clamp(1, HISTORY_MAX) as usize;
        let mut events = Vec::new();
        let mut bytes = 0;
        let mut before = history.before;
        while events.len() < limit {
            // One version at a time may be large, a thousand would be too many to hold.
            let page = self.state.versions(history.object, before, HISTORY_PAGE.min(limit - events.len()))?;
            let Some(oldest) = page.last() else { break };
            before = Some(oldest.version);
            for object in page {
                let event = self.event(object)?;
                bytes += object_bytes(&event.object) + event.front_end.len() + event.reason.as_ref().map_or(0, String::len) + EVENT_BYTES;
                if bytes > ANSWER_BYTES_MAX && !events.is_empty() {
                    return Ok(Timeline { position: self.mark().position, events });
                }
                events.push(event);
            }
        }
        Ok(Timeline { position: self.mark().position, events })
    }

    /// What became of a commit, as far as this replica knows.
    pub fn outcome(&self, commit: CommitId) -> Result<Outcome, StateError> {
        Ok(match self.state.fate(commit)? {
            Some(Fate::Accepted(position)) => Outcome::Accepted { position, result: self.record(position)?.result },
            Some(Fate::Sealed) => Outcome::Sealed,
            None => Outcome::Unknown,
        })
    }

    fn event(&self, object: Object) -> Result<Event, StateError> {
        let record = self.record(object.version)?;
        let author = record.author;
        Ok(Event {
            object,
            commit: record.id,
            time: record.time,
            user: author.user,
            front_end: author.front_end,
            method: (author.module, author.method),
            reason: author.reason,
        })
    }
}

/// The first objects of an answer, found without holding all that match.
pub(super) struct Best<'a> {
    query: &'a Query,
    in_order: bool,
    pub(super) objects: Vec<Object>,
    bytes: usize,
    pub(super) more: bool,
}

impl<'a> Best<'a> {
    pub(super) fn new(query: &'a Query, in_order: bool) -> Self {
        Self { query, in_order, objects: Vec::new(), bytes: 0, more: false }
    }

    pub(super) fn take(&mut self, object: Object) -> ControlFlow<()> {
        if self.query.after.as_ref().is_some_and(|cursor| !self.query.is_after(&object, cursor)) {
            return ControlFlow::Continue(());
        }
        self.bytes += object_bytes(&object);
        self.objects.push(object);
        // When objects come in the order wanted, the rest comes after what is here.
        let enough = self.objects.len() > self.query.limit as usize || self.bytes > ANSWER_BYTES_MAX;
        if enough && self.in_order {
            self.more = true;
            return ControlFlow::Break(());
        }
        if self.objects.len() >= 2 * LIMIT_MAX as usize || self.bytes > 4 * ANSWER_BYTES_MAX {
            self.arrange();
        }
        ControlFlow::Continue(())
    }

    /// Keeps the objects that come first, as many as fit. What is cut off now would be cut off at the end, too.
    pub(super) fn arrange(&mut self) {
        self.more |= self.query.arrange(&mut self.objects);
        self.bytes = 0;
        let fitting = self.objects.iter().take_while(|object| {
            self.bytes += object_bytes(object);
            self.bytes <= ANSWER_BYTES_MAX
        });
        let fitting = fitting.count();
        self.more |= fitting < self.objects.len();
        self.objects.truncate(fitting);
    }
}

/// Bytes that an object occupies in a message, at most.
///
/// A name or text takes its length and up to 9 bytes for that, a value one more for its kind; numbers take no more than `size_bytes` and 2.
pub(crate) fn object_bytes(object: &Object) -> usize {
    let attributes = object.attributes.iter().map(|(name, values)| {
        let values: usize = values.iter().map(|value| value.size_bytes() + 10).sum();
        name.as_str().len() + 18 + values
    });
    let ancestors: usize = object.ancestors.iter().map(|name| name.as_str().len() + 9).sum();
    let obliterated: usize = object.obliterated.iter().map(|name| name.as_str().len() + 9).sum();
    OBJECT_FIXED_BYTES + ancestors + obliterated + attributes.sum::<usize>()
}

/// Bytes of objects in one answer: a frame is 1 MiB, and the header and the message around them need room.
pub const ANSWER_BYTES_MAX: usize = 900 << 10;

/// What the largest objects may exceed an answer by, so that a reader can always get one object and a few absent ones.
const HEADROOM_BYTES: usize = GET_MAX;

/// An object without attributes: id, entity, two positions, a flag and a count, at their longest.
const OBJECT_FIXED_BYTES: usize = 128;

/// An event without object and front end, at its longest.
const EVENT_BYTES: usize = 256;

/// Versions read at once for a history.
const HISTORY_PAGE: usize = 16;
