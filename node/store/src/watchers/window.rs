//! The first objects of an order.
//!
//! A window remembers which objects it shows and in which version, 24 bytes each, and nothing of what they hold: how it looks now is asked of the
//! state like any query, and how its objects looked before is in their history. So only its newest state is ever told, and a commit that
//! falls behind its end is not worth asking for. One that says something about what its objects refer to asks again after every commit that
//! may have to do with either.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;

use caps_model::messages::ObjectChange;
use caps_model::query::Cursor;
use caps_model::{Object, ObjectId, Position, Query};

use super::merge::Merge;
use super::sought::Sought;
use crate::cabinet::{ANSWER_BYTES_MAX, Applied, object_bytes};
use crate::state::{Changed, State, StateError, plan, search};

/// What a reader sees of an order.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// In order, each with the version that was told.
    members: Vec<(ObjectId, Position)>,
    /// The place of the last one, if there are as many as there may be: what comes after it is not seen.
    end: Option<Cursor>,
    /// Commits that may have changed it since it was told.
    commits: u64,
}

/// How a window became different.
#[derive(Debug)]
pub(super) struct Difference {
    pub(super) changes: Vec<ObjectChange>,
    /// Where the objects added or changed stand, in their order.
    pub(super) places: Vec<u32>,
    /// Commits that may have to do with it.
    pub(super) commits: u64,
}

impl Window {
    /// Shows what is there now, and names it.
    pub(super) fn start(&mut self, sought: &Sought, state: &dyn State) -> Result<VecDeque<ObjectId>, StateError> {
        let first = first(sought.query(), sought.query().limit as usize, state)?;
        self.show(&first, sought.query());
        Ok(self.members.iter().map(|(id, _)| *id).collect())
    }

    /// Shows what was there at `position`: what is there now, if one undoes the commits since, which `merge` knows.
    pub(super) fn restore(&mut self, position: Position, merge: &Merge, sought: &Sought, state: &dyn State) -> Result<(), StateError> {
        let query = sought.query();
        let changed: BTreeSet<ObjectId> = merge.objects().collect();
        let mut then = first(query, query.limit as usize + changed.len(), state)?;
        then.retain(|object| !changed.contains(&object.id));
        for id in changed {
            then.extend(state.object_at(id, position)?.filter(|object| sought.matches(object)).map(|object| key(query, object)));
        }
        query.arrange(&mut then);
        self.show(&then, query);
        self.commits = merge.commits();
        Ok(())
    }

    /// Takes note of a commit; `true` if it may change what is shown.
    pub(super) fn applied(&mut self, applied: &Applied, sought: &Sought) -> bool {
        let touched = applied.changes.iter().any(|change| self.is_touched_by(change, sought));
        self.commits += u64::from(touched);
        touched
    }

    /// Whether it may show something else by now.
    pub(super) fn is_touched(&self) -> bool {
        self.commits > 0
    }

    /// Shows what is there now; `None` if there is more to tell than an update holds.
    pub(super) fn renew(&mut self, sought: &Sought, state: &dyn State) -> Result<Option<Difference>, StateError> {
        let query = sought.query();
        let now = first(query, query.limit as usize, state)?;
        let before: BTreeMap<ObjectId, Position> = self.members.iter().copied().collect();
        let here: BTreeSet<ObjectId> = now.iter().map(|object| object.id).collect();
        let gone = before.keys().filter(|id| !here.contains(id)).map(|id| ObjectChange::Removed(*id));
        let mut difference = Difference { changes: gone.collect(), places: Vec::new(), commits: self.commits };
        let mut bytes = 0;
        for (place, key) in (0..).zip(&now) {
            let version = before.get(&key.id);
            if version == Some(&key.version) {
                continue;
            }
            let lacks = || StateError::Lacks { what: format!("the object {}", key.id) };
            let object = state.object(key.id)?.ok_or_else(lacks)?;
            let change = match version {
                None => ObjectChange::Added(sought.shown(&object)),
                Some(version) => {
                    let before = state.object_at(key.id, *version)?.ok_or_else(lacks)?;
                    if !sought.differs(&before, &object) && query.cursor(&before) == query.cursor(&object) {
                        continue;
                    }
                    ObjectChange::Changed(sought.shown(&object))
                }
            };
            bytes += change.object().map_or(0, object_bytes);
            difference.changes.push(change);
            difference.places.push(place);
        }
        if bytes > ANSWER_BYTES_MAX {
            return Ok(None);
        }
        self.show(&now, query);
        Ok(Some(difference))
    }

    fn show(&mut self, objects: &[Object], query: &Query) {
        self.members = objects.iter().map(|object| (object.id, object.version)).collect();
        self.end = objects.last().filter(|_| objects.len() >= query.limit as usize).map(|object| query.cursor(object));
        self.commits = 0;
    }

    fn is_touched_by(&self, change: &Changed, sought: &Sought) -> bool {
        // Whatever becomes of one that is shown is seen; and what others refer to is known to matter, by what it is.
        sought.reaches_through()
            || self.members.iter().any(|(id, _)| *id == change.after.id)
            || (sought.matches(&change.after) && self.end.as_ref().is_none_or(|end| !sought.query().is_after(&change.after, end)))
    }
}

/// The first objects that a query matches now, with nothing but what they are ordered by.
fn first(query: &Query, limit: usize, state: &dyn State) -> Result<Vec<Object>, StateError> {
    let query = Query { limit: u32::try_from(limit).unwrap_or(u32::MAX), ..query.clone() };
    let plan = plan(state, &query, false)?;
    let is_in_order = plan.is_in_order(&query);
    let mut first = Vec::new();
    search(state, &query, &plan, |object| {
        first.push(key(&query, object));
        if is_in_order && first.len() >= limit {
            return ControlFlow::Break(());
        }
        if first.len() >= 2 * limit + GATHERED_MIN {
            query.arrange(&mut first);
        }
        ControlFlow::Continue(())
    })?;
    query.arrange(&mut first);
    Ok(first)
}

/// The object without what does not decide its place.
fn key(query: &Query, mut object: Object) -> Object {
    object.attributes.retain(|name, _| query.order.iter().any(|order| order.attribute == *name));
    object
}

/// Objects gathered before those that come too late are dropped.
const GATHERED_MIN: usize = 256;
