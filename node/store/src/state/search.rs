//! Query evaluation over any state: an index proposes, the model's evaluator decides.

use std::ops::{Bound, ControlFlow};

use caps_model::{Filter, Object, ObjectId, Query, Value, ValueKind};

use super::{IndexRange, State, StateError};

/// Visits every object that a query of the present matches, in the order of ids, until the visitor has enough. The query's own order and
/// limit are left to the visitor.
pub(crate) fn search(state: &dyn State, query: &Query, mut visit: impl FnMut(Object) -> ControlFlow<()>) -> Result<(), StateError> {
    if let Some(range) = best_range(&query.filter)
        && let Some(candidates) = state.candidates(&query.entity, &range, CANDIDATES_MAX)?
    {
        return visit_matching(state, query, candidates, &mut visit).map(drop);
    }
    let mut after = None;
    loop {
        let page = state.objects_of(&query.entity, after, PAGE)?;
        let Some(&last) = page.last() else { return Ok(()) };
        after = Some(last);
        if visit_matching(state, query, page, &mut visit)?.is_break() {
            return Ok(());
        }
    }
}

/// A range that every match lies in and an index can find; an equality if there is one.
pub(crate) fn best_range(filter: &Filter) -> Option<IndexRange> {
    match filter {
        Filter::Equal { attribute, value } if is_indexed(value) => {
            let bound = Bound::Included(value.clone());
            Some(IndexRange { attribute: attribute.clone(), from: bound.clone(), to: bound })
        }
        Filter::Range { attribute, from, to } => {
            let mut limits = [from, to].into_iter().filter_map(|bound| match bound {
                Bound::Included(value) | Bound::Excluded(value) => Some(value),
                Bound::Unbounded => None,
            });
            let first = limits.next().filter(|value| is_indexed(value))?;
            // Bounds of different kinds match nothing, which the evaluator says better.
            let one_kind = limits.all(|value| value.kind() == first.kind());
            one_kind.then(|| IndexRange { attribute: attribute.clone(), from: from.clone(), to: to.clone() })
        }
        Filter::And(all) => {
            let ranges = all.iter().filter_map(best_range);
            ranges.min_by_key(|range| range.from != range.to || range.from == Bound::Unbounded)
        }
        Filter::All | Filter::Equal { .. } | Filter::Or(_) | Filter::Not(_) => None,
    }
}

/// Whether every state indexes values of this kind.
pub(crate) fn is_indexed(value: &Value) -> bool {
    use ValueKind::{Bool, Int, Reference, Text, Timestamp};
    matches!(value.kind(), Bool | Int | Timestamp | Reference | Text)
}

fn visit_matching(
    state: &dyn State,
    query: &Query,
    ids: impl IntoIterator<Item = ObjectId>,
    visit: &mut impl FnMut(Object) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, StateError> {
    for id in ids {
        if let Some(object) = state.object(id)?
            && query.matches(&object)
            && visit(object).is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Ids taken from an index at once, 16 bytes each: beyond that, going through the entity page by page is not much slower.
const CANDIDATES_MAX: usize = 100_000;

/// Ids of an entity taken at once.
const PAGE: usize = 1_000;
