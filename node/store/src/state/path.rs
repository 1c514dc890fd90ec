//! Where in the indexes every match of a filter stands.
//!
//! A path says too much rather than too little: an index keeps the beginnings of long texts, and knows nothing of what a filter denies. Which of the
//! objects that it leads to match is for the evaluator to say.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use caps_model::query::{Condition, Test, beginning};
use caps_model::{Filter, Name, ObjectId, Query, Value};

use super::index::{Index, Span, is_exact};
use super::plan::proposed;
use super::search::Among;
use super::{State, StateError};

/// Objects, and what proposed them.
pub(super) type Proposed = (BTreeSet<ObjectId>, Arc<str>);

/// A part of the indexes in which every match stands.
#[derive(Clone, Debug)]
pub enum Path {
    /// In this part of this index.
    Span {
        /// The index.
        index: Index,
        /// The part of it.
        span: Span,
        /// The condition, for people; shared by all parts of one condition.
        by: Arc<str>,
        /// The value, if all of the part stands under it.
        value: Option<Value>,
    },
    /// In some of these.
    Any(Vec<Self>),
    /// In each of these.
    All(Vec<Self>),
}

/// Where every match stands; `None`: no index knows.
///
/// Filters come from the wire and are at most `DEPTH_MAX` deep, so this recursion is bounded.
pub(super) fn path(state: &dyn State, filter: &Filter) -> Result<Option<Path>, StateError> {
    Ok(match filter {
        Filter::All | Filter::Not(_) => None,
        Filter::Where(condition) => of_condition(condition),
        Filter::Text(words) => Some(Path::All(words.iter().map(|word| word_path(word, filter)).collect())),
        Filter::Through { attribute, entity: Some(entity), filter: inner } => {
            let related = related(state, entity, inner)?;
            let name = format!("{attribute} through {entity}").into();
            related.map(|ids| Path::Any(ids.into_iter().map(|id| reference(attribute, id, &name)).collect()))
        }
        Filter::Through { .. } => None,
        Filter::And(all) => {
            let mut paths = Vec::new();
            for filter in all {
                paths.extend(path(state, filter)?);
            }
            (!paths.is_empty()).then_some(Path::All(paths))
        }
        Filter::Or(any) => {
            let mut paths = Vec::new();
            for filter in any {
                match path(state, filter)? {
                    Some(path) => paths.push(path),
                    None => return Ok(None),
                }
            }
            Some(Path::Any(paths))
        }
    })
}

fn of_condition(condition: &Condition) -> Option<Path> {
    let Condition { attribute, key, test } = condition;
    let index = Index::Attribute(attribute.clone());
    let by = told(condition);
    let within = |span: Span, value: Option<Value>| {
        let span = match key {
            Some(key) => span.under_key(key),
            None => span,
        };
        Path::Span { index: index.clone(), span, by: by.clone(), value: value.filter(|_| key.is_none()) }
    };
    match test {
        Test::Present => {
            let span = key.as_ref().map_or_else(Span::all, |key| Span::of_key(key));
            Some(Path::Span { index, span, by, value: None })
        }
        Test::Equal(value) => Some(within(Span::of_value(value), Some(value.clone()).filter(is_exact))),
        Test::In(values) => Some(Path::Any(values.iter().map(|value| within(Span::of_value(value), None)).collect())),
        Test::Range { from, to } => Some(within(Span::between(from, to), None)),
        Test::Like(pattern) => {
            let prefix = pattern.prefix();
            (!prefix.is_empty()).then(|| within(Span::of_prefix(&prefix), None))
        }
        Test::Words(words) => {
            let filter = Filter::Where(condition.clone());
            Some(Path::All(words.iter().map(|word| word_path(word, &filter)).collect()))
        }
        Test::FromNow { .. } => None,
    }
}

/// A condition in words; of a long list only how long it is.
fn told(condition: &Condition) -> Arc<str> {
    match &condition.test {
        Test::In(values) if values.len() > VALUES_TOLD => format!("{} in ({} values)", condition.attribute, values.len()).into(),
        _ => shortened(&Filter::Where(condition.clone())),
    }
}

fn shortened(filter: &Filter) -> Arc<str> {
    beginning(&filter.to_string(), BYTES_TOLD).into()
}

fn word_path(word: &caps_model::query::Word, filter: &Filter) -> Path {
    Path::Span { index: Index::Words, span: Span::of_word(word), by: shortened(filter), value: None }
}

fn reference(attribute: &Name, id: ObjectId, by: &Arc<str>) -> Path {
    let span = Span::of_value(&Value::Reference(id));
    Path::Span { index: Index::Attribute(attribute.clone()), span, by: by.clone(), value: None }
}

/// The objects that satisfy a filter, if an index finds them and they are few.
fn related(state: &dyn State, entity: &Name, filter: &Filter) -> Result<Option<Vec<ObjectId>>, StateError> {
    let query = Query { filter: filter.clone(), ..Query::all(entity.clone()) };
    let Some(ids) = proposed(state, &query, RELATED_MAX)? else { return Ok(None) };
    let mut matching = Vec::new();
    for id in ids {
        if let Some(object) = state.object(id)?
            && query.matches_among(&object, &Among::now(state))?
        {
            matching.push(id);
        }
    }
    Ok(Some(matching))
}

impl Path {
    /// How many parts of indexes it is made of.
    pub(super) fn spans(&self) -> usize {
        match self {
            Self::Span { .. } => 1,
            Self::Any(paths) | Self::All(paths) => paths.iter().map(Self::spans).sum(),
        }
    }

    /// The conditions, for people.
    pub(super) fn describe(&self) -> String {
        let listed = |paths: &[Self], by: &str| {
            let mut told: Vec<String> = paths.iter().map(Self::describe).collect();
            told.dedup();
            told.join(by)
        };
        match self {
            Self::Span { by, .. } => by.to_string(),
            Self::Any(paths) => listed(paths, " or "),
            Self::All(paths) => listed(paths, " and "),
        }
    }

    /// The objects that stand there, and what led to them; `None` when there are more than `most`.
    fn ids(&self, state: &dyn State, entity: &Name, most: usize) -> Result<Option<Proposed>, StateError> {
        match self {
            Self::Span { index, span, by, .. } => {
                // Many are counted before they are held.
                if most > LISTED_MIN && state.count(entity, index, span, most.saturating_add(1))? > most {
                    return Ok(None);
                }
                let places = state.scan(entity, index, span, false, most.saturating_add(1))?;
                Ok((places.len() <= most).then(|| (places.iter().map(|place| place.object()).collect(), by.clone())))
            }
            Self::Any(paths) => {
                let (mut ids, mut all_by) = (BTreeSet::new(), Vec::new());
                for path in paths {
                    let Some((some, by)) = path.ids(state, entity, most)? else { return Ok(None) };
                    ids.extend(some);
                    if !all_by.contains(&by) {
                        all_by.push(by);
                    }
                    if ids.len() > most {
                        return Ok(None);
                    }
                }
                Ok(Some((ids, all_by.join(" or ").into())))
            }
            Self::All(paths) => {
                for path in paths {
                    if let Some(found) = path.ids(state, entity, most)? {
                        return Ok(Some(found));
                    }
                }
                Ok(None)
            }
        }
    }

    /// The same by the smallest part, which is found without counting the largest. Only the outermost path asks again with more, so that no
    /// depth of a filter multiplies the asking.
    pub(super) fn fewest(&self, state: &dyn State, entity: &Name, most: usize) -> Result<Option<Proposed>, StateError> {
        let mut budget = LISTED_MIN.min(most);
        loop {
            let found = self.ids(state, entity, budget)?;
            if found.is_some() || budget >= most {
                return Ok(found);
            }
            budget = budget.saturating_mul(BUDGET_GROWTH);
            if budget > most / 2 {
                // To count a little less first would nearly double what it costs.
                budget = most;
            }
        }
    }

    /// How many objects stand within it at most, by what was counted of its spans in their order.
    pub(super) fn at_most(&self, counts: &[usize]) -> usize {
        match self {
            Self::Span { .. } => counts.first().copied().unwrap_or(usize::MAX),
            Self::Any(paths) => counted(paths, counts).fold(0, |sum, (path, counts)| sum.saturating_add(path.at_most(counts))),
            Self::All(paths) => counted(paths, counts).map(|(path, counts)| path.at_most(counts)).min().unwrap_or(usize::MAX),
        }
    }

    /// A value that every match has, if the index tells it from all others.
    pub(super) fn one_value(&self) -> Option<(Index, Value)> {
        match self {
            Self::Span { index, value: Some(value), .. } => Some((index.clone(), value.clone())),
            Self::All(paths) => paths.iter().find_map(Self::one_value),
            Self::Span { .. } | Self::Any(_) => None,
        }
    }
}

/// Each of several paths with what was counted of its spans.
pub(super) fn counted<'p, 'c>(paths: &'p [Path], mut counts: &'c [usize]) -> impl Iterator<Item = (&'p Path, &'c [usize])> {
    paths.iter().map(move |path| {
        let (own, rest) = counts.split_at(path.spans().min(counts.len()));
        counts = rest;
        (path, own)
    })
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attribute(attribute) => attribute.fmt(f),
            Self::Words => f.write_str("words"),
        }
    }
}

/// So few objects are looked at without asking for something better.
pub(super) const LISTED_MIN: usize = 64;

/// By how much more is counted in the next round, when nothing was selective enough in the last.
const BUDGET_GROWTH: usize = 8;

/// What of a condition is told.
const VALUES_TOLD: usize = 8;
const BYTES_TOLD: usize = 200;

/// Objects from which others are found through their references.
const RELATED_MAX: usize = 1_000;
