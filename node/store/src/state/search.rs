//! Query evaluation over any state: an index proposes, the model's evaluator decides.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};

use caps_model::query::{Order, Relations};
use caps_model::{Name, Object, ObjectId, Position, Query};

use super::engine::{Engine, Sought};
use super::index::{Index, Place, Span, is_exact, ordered};
use super::path::Path;
use super::plan::{Plan, plan, proposed};
use super::{State, StateError};

/// The objects of a state, as they are now or were once: where conditions through relations look.
pub(crate) struct Among<'a> {
    state: &'a dyn State,
    at: Option<Position>,
}

/// Visits objects that a query of the present matches until the visitor has enough, or there are no more. With a plan that is in order they
/// come in the query's order from its cursor on; with others in any order, and the cursor is for the visitor to obey. Gives how many objects
/// were looked at.
pub(crate) fn search(
    state: &dyn State,
    query: &Query,
    plan: &Plan,
    visit: impl FnMut(Object) -> ControlFlow<()>,
) -> Result<u64, StateError> {
    let engine = state.engine().filter(|_| matches!(plan, Plan::Engine { .. }));
    let mut search = Search { state, engine, within: None, query, among: Among::now(state), looked_at: 0, visit };
    match plan {
        Plan::Engine { within } => {
            search.within = within.as_ref();
            search.in_order()
        }
        Plan::Listed { ids, .. } => search.listed(ids),
        Plan::Fetched { objects, .. } => search.fetched(objects),
        Plan::Part { index, value } => search.part(index, &ordered(value)),
        Plan::Ordered => search.in_order(),
        Plan::Entity => search.entity(),
    }?;
    Ok(search.looked_at)
}

/// Visits the objects that matched a query after the commit at `position`, in the order of ids, until the visitor has enough.
///
/// Indexes know the present only. What matched then has the same values now, or was changed since: while that is little, the indexes of the
/// present and the commits since propose everything.
pub(crate) fn search_at(
    state: &dyn State,
    query: &Query,
    position: Position,
    mut visit: impl FnMut(Object) -> ControlFlow<()>,
) -> Result<(), StateError> {
    let among = Among::at(state, position);
    let mut look = |object: Option<Object>| -> Result<ControlFlow<()>, StateError> {
        match object {
            Some(object) if query.matches_among(&object, &among)? => Ok(visit(object)),
            _ => Ok(ControlFlow::Continue(())),
        }
    };
    if let Some(ids) = proposed_then(state, query, position)? {
        for id in ids {
            if look(state.object_at(id, position)?)?.is_break() {
                break;
            }
        }
        return Ok(());
    }
    every_then(state, &query.entity, position, look)
}

/// Goes through the objects that an entity had after the commit at `position`, until there are enough.
fn every_then(
    state: &dyn State,
    entity: &Name,
    position: Position,
    mut look: impl FnMut(Option<Object>) -> Result<ControlFlow<()>, StateError>,
) -> Result<(), StateError> {
    let mut after = None;
    loop {
        let page: Vec<Candidate> = match state.engine() {
            Some(engine) => engine.objects_then(entity, position, after, PAGE)?.into_iter().map(Candidate::known).collect(),
            None => state.objects_of(entity, after, false, PAGE)?.into_iter().map(Candidate::unknown).collect(),
        };
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.id);
        for Candidate { id, object } in page {
            let object = if object.is_some() { object } else { state.object_at(id, position)? };
            if look(object)?.is_break() {
                return Ok(());
            }
        }
    }
}

fn proposed_then(state: &dyn State, query: &Query, position: Position) -> Result<Option<BTreeSet<ObjectId>>, StateError> {
    let now = state.mark().position;
    // What others referred to then says little about what they refer to now.
    if now.0.saturating_sub(position.0) > WALK_MAX || query.filter.reaches_through() {
        return Ok(None);
    }
    let Some(mut ids) = proposed(state, query, PROPOSED_MAX)? else { return Ok(None) };
    for position in (position.0.saturating_add(1)..=now.0).map(Position) {
        let record = state.commit_at(position)?.ok_or_else(|| StateError::Lacks { what: format!("the commit at {position}") })?;
        ids.extend(record.objects);
    }
    Ok(Some(ids))
}

struct Search<'a, V> {
    state: &'a dyn State,
    /// Asked instead of the indexes.
    engine: Option<&'a dyn Engine>,
    /// What the engine is told of the matches.
    within: Option<&'a Path>,
    query: &'a Query,
    among: Among<'a>,
    looked_at: u64,
    visit: V,
}

impl<V: FnMut(Object) -> ControlFlow<()>> Search<'_, V> {
    fn listed(&mut self, ids: &BTreeSet<ObjectId>) -> Result<(), StateError> {
        let from = self.start().map_or(Bound::Unbounded, Bound::Excluded);
        for id in ids.range((from, Bound::Unbounded)) {
            if self.look(Candidate::unknown(*id))?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn fetched(&mut self, objects: &BTreeMap<ObjectId, Object>) -> Result<(), StateError> {
        let from = self.start().map_or(Bound::Unbounded, Bound::Excluded);
        for object in objects.range((from, Bound::Unbounded)).map(|(_, object)| object) {
            if self.look(Candidate::known(object.clone()))?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn part(&mut self, index: &Index, value: &[u8]) -> Result<(), StateError> {
        let mut span = Span::beginning(value);
        if let Some(object) = self.start() {
            span = span.beyond(&Place::of(value, object), false);
        }
        loop {
            let places = self.places(index, &span, false)?;
            let Some((last, _)) = places.last() else { return Ok(()) };
            span = span.beyond(last, false);
            for (_, candidate) in places {
                if self.look(candidate)?.is_break() {
                    return Ok(());
                }
            }
        }
    }

    fn entity(&mut self) -> Result<(), StateError> {
        let mut after = self.start();
        loop {
            let page = self.members(after, false, None)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.id);
            for candidate in page {
                if self.look(candidate)?.is_break() {
                    return Ok(());
                }
            }
        }
    }

    /// Objects that have a value of the first order, by the index of its attribute; then those that have none.
    fn in_order(&mut self) -> Result<(), StateError> {
        let Some(order) = self.query.order.first() else {
            return match self.within.and_then(Path::one_value) {
                Some((index, value)) => self.part(&index, &ordered(&value)),
                None => self.entity(),
            };
        };
        let first_of_cursor = self.query.after.as_ref().map(|cursor| cursor.values.first().cloned().flatten());
        let span = match &first_of_cursor {
            None => Span::all(),
            Some(Some(value)) if order.descending => Span { to: Span::of_value(value).to, ..Span::all() },
            Some(Some(value)) => Span { from: Span::of_value(value).from, ..Span::all() },
            Some(None) => return self.without_value(order).map(drop),
        };
        match self.with_value(order, span)? {
            ControlFlow::Continue(()) => self.without_value(order).map(drop),
            ControlFlow::Break(()) => Ok(()),
        }
    }

    fn with_value(&mut self, order: &Order, mut span: Span) -> Result<ControlFlow<()>, StateError> {
        let index = Index::Attribute(order.attribute.clone());
        let mut group = Group::default();
        loop {
            let places = self.places(&index, &span, order.descending)?;
            let Some((last, _)) = places.last() else { return Ok(self.deliver(&mut group)) };
            span = span.beyond(last, order.descending);
            for (place, candidate) in places {
                if group.value != place.value() {
                    if self.deliver(&mut group).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    group.value = place.value().to_vec();
                }
                let Some(object) = self.matching(candidate)? else { continue };
                let Some(first) = object.value(order.attribute.as_str()) else { continue };
                // An object stands under each of its values; the first one counts.
                if ordered(first) != place.value() || !self.is_beyond_cursor(&object) {
                    continue;
                }
                let is_settled = self.query.order.len() == 1 && is_exact(first);
                if is_settled && (self.visit)(object.clone()).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                if !is_settled {
                    self.gather(&mut group, object);
                }
            }
        }
    }

    fn without_value(&mut self, order: &Order) -> Result<ControlFlow<()>, StateError> {
        let backwards = self.query.order.last().is_some_and(|order| order.descending);
        let is_settled = self.query.order.len() == 1;
        let starts_here = self.query.after.as_ref().filter(|cursor| is_settled && cursor.values.first() == Some(&None));
        let mut after = starts_here.map(|cursor| cursor.object);
        let mut group = Group::default();
        loop {
            let page = self.members(after, backwards, Some(&order.attribute))?;
            let Some(last) = page.last() else { return Ok(self.deliver(&mut group)) };
            after = Some(last.id);
            for candidate in page {
                let Some(object) = self.matching(candidate)? else { continue };
                if object.value(order.attribute.as_str()).is_some() || !self.is_beyond_cursor(&object) {
                    continue;
                }
                if !is_settled {
                    self.gather(&mut group, object);
                } else if (self.visit)(object).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
    }

    /// Keeps an object until all are there that the index does not tell from it; of them only those that fit into the answer.
    fn gather(&self, group: &mut Group, object: Object) {
        group.objects.push(object);
        let wanted = self.query.limit as usize + 1;
        if group.objects.len() >= 2 * wanted + PAGE {
            group.objects.sort_by(|a, b| self.query.compare(a, b));
            group.objects.truncate(wanted);
        }
    }

    fn deliver(&mut self, group: &mut Group) -> ControlFlow<()> {
        group.objects.sort_by(|a, b| self.query.compare(a, b));
        group.objects.drain(..).try_for_each(&mut self.visit)
    }

    /// The next objects of the entity, in the order of ids or backwards. Those that have a value of the attribute `lacking` may be left out.
    fn members(&self, after: Option<ObjectId>, backwards: bool, lacking: Option<&Name>) -> Result<Vec<Candidate>, StateError> {
        let entity = &self.query.entity;
        Ok(match self.engine {
            Some(engine) => {
                let sought = Sought { entity, within: self.within, lacking };
                engine.objects(sought, after, backwards, self.page())?.into_iter().map(Candidate::known).collect()
            }
            None => self.state.objects_of(entity, after, backwards, PAGE)?.into_iter().map(Candidate::unknown).collect(),
        })
    }

    /// The next places of an index.
    fn places(&self, index: &Index, span: &Span, backwards: bool) -> Result<Vec<(Place, Candidate)>, StateError> {
        let entity = &self.query.entity;
        Ok(match self.engine {
            Some(engine) => {
                let sought = Sought { entity, within: self.within, lacking: None };
                let places = engine.places(sought, index, span, backwards, self.page())?;
                places.into_iter().map(|(place, object)| (place, Candidate::known(object))).collect()
            }
            None => {
                let places = self.state.scan(entity, index, span, backwards, PAGE)?;
                let candidate = |place: &Place| Candidate::unknown(place.object());
                places.into_iter().map(|place| (place.clone(), candidate(&place))).collect()
            }
        })
    }

    /// Objects asked of an engine at once: hardly more than are wanted, for it reads them all.
    fn page(&self) -> usize {
        (self.query.limit as usize).saturating_add(1).clamp(PAGE_MIN, PAGE)
    }

    fn look(&mut self, candidate: Candidate) -> Result<ControlFlow<()>, StateError> {
        let found = self.matching(candidate)?;
        Ok(found.map_or(ControlFlow::Continue(()), &mut self.visit))
    }

    fn matching(&mut self, Candidate { id, object }: Candidate) -> Result<Option<Object>, StateError> {
        self.looked_at += 1;
        let object = if object.is_some() { object } else { self.state.object(id)? };
        match object {
            Some(object) if self.query.matches_among(&object, &self.among)? => Ok(Some(object)),
            _ => Ok(None),
        }
    }

    /// Where an answer in the order of ids begins.
    fn start(&self) -> Option<ObjectId> {
        self.query.after.as_ref().filter(|_| self.query.order.is_empty()).map(|cursor| cursor.object)
    }

    fn is_beyond_cursor(&self, object: &Object) -> bool {
        self.query.after.as_ref().is_none_or(|cursor| self.query.is_after(object, cursor))
    }
}

/// An object that may match, which is known already or is to be read when somebody looks at it.
struct Candidate {
    id: ObjectId,
    object: Option<Object>,
}

impl Candidate {
    fn known(object: Object) -> Self {
        Self { id: object.id, object: Some(object) }
    }

    fn unknown(id: ObjectId) -> Self {
        Self { id, object: None }
    }
}

/// Objects that stand under the same bytes of an index.
#[derive(Default)]
struct Group {
    value: Vec<u8>,
    objects: Vec<Object>,
}

impl<'a> Among<'a> {
    /// The objects as they were after the commit at `position`.
    pub(crate) fn at(state: &'a dyn State, position: Position) -> Self {
        Self { state, at: Some(position) }
    }

    /// The objects as they are now.
    pub(crate) fn now(state: &'a dyn State) -> Self {
        Self { state, at: None }
    }
}

impl Relations for Among<'_> {
    type Error = StateError;

    fn related(&self, id: ObjectId) -> Result<Option<Cow<'_, Object>>, StateError> {
        let object = match self.at {
            None => self.state.object(id),
            Some(position) => self.state.object_at(id, position),
        };
        Ok(object?.map(Cow::Owned))
    }
}

/// Everything that a query matches now, in any order: its order, cursor and limit do not matter.
pub(crate) fn search_all(state: &dyn State, query: &Query, visit: impl FnMut(Object) -> ControlFlow<()>) -> Result<(), StateError> {
    let all = Query { filter: query.filter.clone(), ..Query::all(query.entity.clone()) };
    let plan = plan(state, &all, true)?;
    search(state, &all, &plan, visit).map(drop)
}

/// Ids or places taken at once.
const PAGE: usize = 256;

/// Some objects more cost an engine less than another question.
const PAGE_MIN: usize = 16;

/// Commits gone through to answer a query of the past from indexes of the present.
const WALK_MAX: u64 = 1_000;

/// Objects looked at for a query of the past without going through the whole entity.
const PROPOSED_MAX: usize = 100_000;
