//! Whether a commit is accepted, and what it then changes.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use caps_model::commit::{CHANGES_MAX, EFFECTS_MAX, READS_MAX};
use caps_model::{Change, Commit, Object, ObjectId, Position, Query, Read, Value};
use caps_overlay::Rng;
use caps_overlay::bugs::{self, Bug};

use super::{Changed, Missing, object_bytes};
use crate::state::{State, StateError, search_all};

/// Why a commit is not even proposed. The caller is at fault; nothing happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It relies on too much.
    #[error("the commit has {0} reads, at most {READS_MAX} are allowed: read by query")]
    Reads(usize),
    /// It changes too much.
    #[error("the commit changes {0} objects, at most {CHANGES_MAX} are allowed: split it")]
    Changes(usize),
    /// It asks for too much.
    #[error("the commit has {0} effects, at most {EFFECTS_MAX} are allowed")]
    Effects(usize),
    /// It changes one object more than once.
    #[error("the commit changes the object {0} more than once: put its changes together")]
    Twice(ObjectId),
    /// It relies on a query that nobody could hold against what others commit.
    #[error(
        "the commit relies on a query that reaches through relations or says something about now: ask for the objects referred to, or bind now"
    )]
    Query,
    /// It does not fit a log entry.
    #[error("the commit is larger than {PROPOSAL_BYTES_MAX} bytes: split it")]
    Size,
}

/// Checks what a commit must satisfy wherever it is applied, and gives the bytes to propose; their [`stamp`](super::stamp) is to be set. Salts
/// are drawn from `rng`.
pub fn admit(commit: &Commit, rng: &Rng) -> Result<Vec<u8>, Refusal> {
    within_limits(commit)?;
    let bytes = super::proposal::encode_commit(commit, 0, rng).map_err(|_| Refusal::Size)?;
    if bytes.len() > PROPOSAL_BYTES_MAX { Err(Refusal::Size) } else { Ok(bytes) }
}

/// What an acceptable commit changes, or the objects (a few of them) that stand against it. None of them: it exceeds a limit.
pub(super) fn decide(state: &dyn State, position: Position, commit: &Commit) -> Result<Result<Vec<Changed>, Vec<ObjectId>>, StateError> {
    if within_limits(commit).is_err() {
        return Ok(Err(Vec::new()));
    }
    let mut conflicts = BTreeSet::new();
    for read in &commit.reads {
        check_read(state, position, read, &mut conflicts)?;
        if conflicts.len() >= CONFLICTS_MAX {
            break;
        }
    }
    if !conflicts.is_empty() {
        return Ok(Err(conflicts.into_iter().collect()));
    }
    make_changes(state, position.next(), commit)
}

/// What a commit changed that is known to have been accepted: of which values may be missing.
pub(super) fn carry_out(state: &dyn State, position: Position, commit: &Commit, missing: &Missing) -> Result<Vec<Changed>, StateError> {
    let change = |change: &Change| {
        let before = state.object(change.object())?;
        let after = Object::after(before.as_ref(), change, position.next());
        let after = after.ok_or_else(|| StateError::Lacks { what: format!("what the commit after {position} was accepted upon") })?;
        Ok(Changed { before, after })
    };
    let mut changes = commit.changes.iter().map(change).collect::<Result<Vec<Changed>, StateError>>()?;
    for (object, attribute) in &missing.values {
        let changed = changes.iter_mut().filter(|change| change.after.id == *object);
        changed.for_each(|change| change.after.obliterate(attribute));
    }
    Ok(changes)
}

fn within_limits(commit: &Commit) -> Result<(), Refusal> {
    if commit.reads.len() > READS_MAX {
        return Err(Refusal::Reads(commit.reads.len()));
    }
    let is_elusive = |query: &Query| query.filter.reaches_through() || query.filter.is_relative_to_now();
    if commit.reads.iter().any(|read| matches!(read, Read::Query { query, .. } if is_elusive(query))) {
        return Err(Refusal::Query);
    }
    if commit.changes.len() > CHANGES_MAX {
        return Err(Refusal::Changes(commit.changes.len()));
    }
    if commit.effects.len() > EFFECTS_MAX {
        return Err(Refusal::Effects(commit.effects.len()));
    }
    if commit.changes.len() <= 1 {
        return Ok(());
    }
    let mut objects = BTreeSet::new();
    match commit.changes.iter().find(|change| !objects.insert(change.object())) {
        Some(change) => Err(Refusal::Twice(change.object())),
        None => Ok(()),
    }
}

fn check_read(state: &dyn State, now: Position, read: &Read, conflicts: &mut BTreeSet<ObjectId>) -> Result<(), StateError> {
    match read {
        _ if bugs::has(Bug::ReadsNotValidated) => Ok(()),
        Read::Object { object, version } => {
            let current = state.object(*object)?.map_or(Position::ZERO, |object| object.version);
            if current != *version {
                conflicts.insert(*object);
            }
            Ok(())
        }
        Read::Query { query, at } if now.0.saturating_sub(at.0) <= WALK_MAX => check_recent(state, now, query, *at, conflicts),
        Read::Query { query, at } => check_all(state, query, *at, conflicts),
    }
}

/// An object has a version after `at` if and only if a commit after `at` changed it: mostly there are none, or few.
fn check_recent(
    state: &dyn State,
    now: Position,
    query: &Query,
    at: Position,
    conflicts: &mut BTreeSet<ObjectId>,
) -> Result<(), StateError> {
    for position in (at.0.saturating_add(1)..=now.0).map(Position) {
        let record = state.commit_at(position)?.ok_or_else(|| StateError::Lacks { what: format!("the commit at {position}") })?;
        for id in record.objects {
            if state.object(id)?.is_some_and(|object| query.matches(&object)) {
                conflicts.insert(id);
            }
            if conflicts.len() >= CONFLICTS_MAX {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn check_all(state: &dyn State, query: &Query, at: Position, conflicts: &mut BTreeSet<ObjectId>) -> Result<(), StateError> {
    let visit = |object: Object| {
        if object.version > at {
            conflicts.insert(object.id);
        }
        if conflicts.len() >= CONFLICTS_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    search_all(state, query, visit)
}

fn make_changes(state: &dyn State, position: Position, commit: &Commit) -> Result<Result<Vec<Changed>, Vec<ObjectId>>, StateError> {
    let mut changes = Vec::with_capacity(commit.changes.len());
    let mut bytes = 0;
    for change in &commit.changes {
        let before = state.object(change.object())?;
        let Some(mut after) = Object::after(before.as_ref(), change, position) else {
            return Ok(Err(vec![change.object()]));
        };
        if bugs::has(Bug::ClockInApply) {
            let values = after.attributes.values_mut().flatten();
            values.filter(|value| matches!(value, Value::Timestamp(_))).for_each(|value| *value = Value::Timestamp(bugs::own_time()));
        }
        bytes += object_bytes(&after);
        // Whatever one commit changed is told to subscribers in one frame; so is an object that grew bit by bit.
        if bytes > super::ANSWER_BYTES_MAX {
            return Ok(Err(vec![change.object()]));
        }
        changes.push(Changed { before, after });
    }
    Ok(Ok(changes))
}

/// Bytes of a proposal: it must fit a frame between replicas, with what surrounds it.
pub const PROPOSAL_BYTES_MAX: usize = 900 << 10;

/// Objects named in a conflict.
const CONFLICTS_MAX: usize = 10;

/// Commits gone through to check a query; a reader that is further behind has the query asked again. Both give the same answer.
const WALK_MAX: u64 = 1_000;
