//! How a query of the present is answered: which index proposes objects, and in which order.
//!
//! Indexes are asked how many objects they would propose, never more than is worth knowing, and the most selective one is taken. When all
//! propose much, and the answer is wanted in the order of an attribute, the index of that attribute is walked until there is enough: of N
//! objects of which m match, that looks at about `limit x N / m`, and looking at all m costs m, so they break even at `m = sqrt(limit x N)`.
//!
//! A state with an engine of its own, as a database has, is asked the same in fewer questions: it counts all parts of the path at once, and then gives
//! the few objects that stand in the smallest, or the first ones of the order that stand in all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use caps_model::{Object, ObjectId, Query, Value};

use super::engine::Engine;
use super::index::Index;
use super::path::{LISTED_MIN, Path, path};
use super::{State, StateError};

/// How a query is answered.
#[derive(Debug)]
pub(crate) enum Plan {
    /// By looking at these objects.
    Listed {
        /// The objects.
        ids: BTreeSet<ObjectId>,
        /// What proposed them.
        by: Arc<str>,
    },
    /// By reading one value's part of an index, where objects stand in the order of ids.
    Part {
        /// The index.
        index: Index,
        /// The value.
        value: Value,
    },
    /// By walking the index of the first attribute of the order.
    Ordered,
    /// By looking at every object of the entity.
    Entity,
    /// By looking at these objects, which the state's engine has given.
    Fetched {
        /// The objects.
        objects: BTreeMap<ObjectId, Object>,
        /// What proposed them.
        by: String,
    },
    /// By asking the state's engine for objects in the query's order, each of which stands in all parts of a path.
    Engine {
        /// Where every match stands; `None`: anywhere.
        within: Option<Path>,
    },
}

/// The plan for a query of which everything is wanted, or only what its limit says.
pub(crate) fn plan(state: &dyn State, query: &Query, everything: bool) -> Result<Plan, StateError> {
    let path = path(state, &query.filter)?;
    if let Some(engine) = state.engine().filter(|_| path.as_ref().is_none_or(|path| path.spans() <= ENGINE_SPANS_MAX)) {
        return with_engine(engine, state.counts().objects, query, path);
    }
    let Some(path) = path else { return Ok(otherwise(query, everything)) };
    let most = if everything { LISTED_MAX } else { worth_listing(state.counts().objects, query.limit) };
    if let Some((ids, by)) = path.fewest(state, &query.entity, most)? {
        return Ok(Plan::Listed { ids, by });
    }
    if query.order.is_empty()
        && let Some((index, value)) = path.one_value()
    {
        return Ok(Plan::Part { index, value });
    }
    if query.order.is_empty() || everything {
        // Too many to list, but fewer than all: still better than the whole entity, if memory allows.
        return Ok(match path.fewest(state, &query.entity, LISTED_MAX)? {
            Some((ids, by)) => Plan::Listed { ids, by },
            None => Plan::Entity,
        });
    }
    Ok(Plan::Ordered)
}

fn with_engine(engine: &dyn Engine, objects: u64, query: &Query, path: Option<Path>) -> Result<Plan, StateError> {
    let Some(path) = path else { return Ok(Plan::Engine { within: None }) };
    let fetched = |objects: Vec<Object>| Plan::Fetched {
        objects: objects.into_iter().map(|object| (object.id, object)).collect(),
        by: path.describe(),
    };
    // One part has no smaller one: if there is little in it, it was asked for once.
    if path.spans() == 1 {
        let objects = engine.listed(&query.entity, &path, &[0], UNCOUNTED_MAX + 1)?;
        if objects.len() <= UNCOUNTED_MAX {
            return Ok(fetched(objects));
        }
    }
    let most = worth_listing(objects, query.limit).min(FETCHED_MAX);
    let counts = engine.span_counts(&query.entity, &path, most.saturating_add(1))?;
    if path.at_most(&counts) > most {
        return Ok(Plan::Engine { within: Some(path) });
    }
    Ok(fetched(engine.listed(&query.entity, &path, &counts, most)?))
}

/// Objects that indexes propose for a filter, and by what; `None`: they propose nothing, or more than `most`.
pub(crate) fn proposed(state: &dyn State, query: &Query, most: usize) -> Result<Option<BTreeSet<ObjectId>>, StateError> {
    let Some(path) = path(state, &query.filter)? else { return Ok(None) };
    if let Some(engine) = state.engine().filter(|_| path.spans() <= ENGINE_SPANS_MAX) {
        let counts = engine.span_counts(&query.entity, &path, most.saturating_add(1))?;
        return match path.at_most(&counts) <= most {
            true => Ok(Some(engine.candidates(&query.entity, &path, &counts)?.into_iter().collect())),
            false => Ok(None),
        };
    }
    Ok(path.fewest(state, &query.entity, most)?.map(|(ids, _)| ids))
}

fn otherwise(query: &Query, everything: bool) -> Plan {
    if everything || query.order.is_empty() { Plan::Entity } else { Plan::Ordered }
}

/// Where listing all matches and walking in order cost the same.
fn worth_listing(objects: u64, limit: u32) -> usize {
    let even = (u64::from(limit) + 1).saturating_mul(objects).isqrt();
    usize::try_from(even).unwrap_or(usize::MAX).clamp(LISTED_MIN, LISTED_MAX)
}

impl Plan {
    /// Whether objects come in the query's order, so that the first ones are the answer.
    pub(crate) fn is_in_order(&self, query: &Query) -> bool {
        matches!(self, Self::Ordered | Self::Engine { .. }) || query.order.is_empty()
    }

    /// In words.
    pub(crate) fn describe(&self, query: &Query) -> String {
        match self {
            Self::Listed { ids, by } => format!("{} objects found by the index for: {by}", ids.len()),
            Self::Part { index: Index::Attribute(attribute), value } => {
                format!("the objects with {attribute} {value}, by id, until there are enough")
            }
            Self::Fetched { objects, by } => format!("{} objects found by the database, for: {by}", objects.len()),
            Self::Engine { within } => {
                let order = query.order.first().map_or("of ids".to_owned(), |order| format!("of {order}"));
                let narrowed = within.as_ref().map(|path| format!(", narrowed by: {}", path.describe())).unwrap_or_default();
                format!("objects of {} from the database in the order {order}{narrowed}, until there are enough", query.entity)
            }
            Self::Part { .. } | Self::Entity => format!("every object of {}", query.entity),
            Self::Ordered => {
                let order = query.order.first().map(ToString::to_string).unwrap_or_default();
                format!("the index of {} in the order {order}, until there are enough", query.entity)
            }
        }
    }
}

/// Ids held at once, 16 bytes each: beyond that, going through the entity page by page is not much slower.
const LISTED_MAX: usize = 100_000;

/// Objects that an engine gives at once, commonly a kilobyte each.
const FETCHED_MAX: usize = 1_000;

/// Objects for which it is not worth counting first.
const UNCOUNTED_MAX: usize = 32;

/// Parts of indexes combined in one question to an engine: a statement of a database takes some thousand values.
const ENGINE_SPANS_MAX: usize = 200;
