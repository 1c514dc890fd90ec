//! Readers of every kind, at any pace, resuming anywhere: what each has is, at every place that it is told, what its query says of that place.

use std::borrow::Cow;
use std::ops::Bound;

use caps_model::messages::projected;
use caps_model::query::{Condition, Relations, Test};

use super::*;

/// A reader that holds a copy of what it follows, in order, and nothing else.
#[derive(Debug)]
struct Copyist {
    subscribe: Subscribe,
    watcher: WatcherId,
    copy: Vec<Object>,
    /// The next update may be a part of a present already begun.
    mid_present: bool,
}

impl Copyist {
    fn hear(&mut self, update: &Update) {
        let (seen, place) = (self.subscribe.from.place(), (update.position(), update.moment()));
        match update {
            Update::Present { objects, complete, .. } => {
                assert!(seen <= Some(place), "{seen:?} then {update:?}");
                if !self.mid_present {
                    self.copy.clear();
                }
                self.copy.extend(objects.iter().cloned());
                self.mid_present = !complete;
            }
            Update::Changes { changes, places, coalesced_from, .. } => {
                assert!(seen < Some(place), "{seen:?} then {update:?}");
                assert!(coalesced_from.is_none() || !self.subscribe.every_change, "{update:?}");
                assert!(coalesced_from.is_none_or(|from| Some(from) == seen.map(|(position, _)| position)), "{seen:?} then {update:?}");
                self.change(changes, places);
            }
            Update::Progress { .. } => assert!(seen < Some(place), "{seen:?} then {update:?}"),
        }
        self.subscribe.from = update.resume_from();
    }

    fn change(&mut self, changes: &[ObjectChange], places: &[u32]) {
        assert!(!changes.is_empty());
        for change in changes {
            let before = self.copy.iter().position(|object| object.id == change.id());
            assert_eq!(before.is_some(), !matches!(change, ObjectChange::Added(_)), "{change:?}");
            if let Some(before) = before {
                self.copy.remove(before);
            }
        }
        let objects: Vec<&Object> = changes.iter().filter_map(ObjectChange::object).collect();
        if self.subscribe.window {
            assert_eq!(objects.len(), places.len());
            assert!(places.is_sorted());
        }
        for (number, object) in objects.into_iter().enumerate() {
            let place = places.get(number).map_or(self.copy.len(), |place| usize::try_from(*place).unwrap());
            self.copy.insert(place, object.clone());
        }
    }

    /// Holds the copy against history, if it is whole.
    fn check(&self, desk: &Desk) {
        let Some((position, moment)) = self.subscribe.from.place() else { return };
        let query = self.subscribe.query.clone().at(moment.unwrap_or_default());
        let named = |id: &ObjectId| self.subscribe.objects.is_empty() || self.subscribe.objects.contains(id);
        let ids = (1..9).map(ObjectId).filter(named);
        let then = Then { state: desk.cabinet.state(), position };
        let mut expected: Vec<Object> = ids
            .filter_map(|id| desk.cabinet.state().object_at(id, position).unwrap())
            .filter(|object| query.matches_among(object, &then).unwrap())
            .collect();
        let mut copy = self.copy.clone();
        if self.subscribe.window {
            query.arrange(&mut expected);
        } else {
            copy.sort_by_key(|object| object.id);
        }
        let mut expected: Vec<Object> = expected.iter().map(|object| projected(object, &self.subscribe.attributes)).collect();
        if !self.subscribe.attributes.is_empty() {
            // A version that looks the same is not told.
            copy.iter_mut().chain(&mut expected).for_each(|object| object.version = Position::ZERO);
        }
        assert_eq!(copy, expected, "{:?}", self.subscribe);
    }
}

/// Everything as it was at a position.
struct Then<'a> {
    state: &'a MemoryState,
    position: Position,
}

impl Relations for Then<'_> {
    type Error = StateError;

    fn related(&self, id: ObjectId) -> Result<Option<Cow<'_, Object>>, StateError> {
        Ok(self.state.object_at(id, self.position)?.map(Cow::Owned))
    }
}

/// The filter without the entities that are referred to: here any object refers to any.
fn unhinted(filter: Filter) -> Filter {
    let each = |filters: Vec<Filter>| filters.into_iter().map(unhinted).collect();
    match filter {
        Filter::Through { attribute, filter, .. } => Filter::Through { attribute, entity: None, filter: Box::new(unhinted(*filter)) },
        Filter::And(filters) => Filter::And(each(filters)),
        Filter::Or(filters) => Filter::Or(each(filters)),
        Filter::Not(filter) => Filter::Not(Box::new(unhinted(*filter))),
        other => other,
    }
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a few of them, in a test")]
enum Act {
    Apply(Vec<Plan>),
    Watch(Subscribe),
    /// A reader takes so many updates.
    Take(usize, usize),
    /// A reader's connection breaks; it resumes where it was.
    Resume(usize),
    Progress(usize),
    /// Time passes; the replica's clock may also go back.
    Time(i64),
    Forget,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => prop::collection::vec(plan(), 1..6).prop_map(Act::Apply),
        2 => subscribe().prop_map(Act::Watch),
        6 => (0..8_usize, 1..5_usize).prop_map(|(reader, count)| Act::Take(reader, count)),
        2 => (0..8_usize).prop_map(Act::Resume),
        1 => (0..8_usize).prop_map(Act::Progress),
        3 => (-1..4_i64).prop_map(Act::Time),
        1 => Just(Act::Forget),
    ]
}

fn subscribe() -> impl Strategy<Value = Subscribe> {
    let name = || prop::sample::select(vec!["state", "number", "owner", "due"]).prop_map(Name::fixed);
    let attributes = prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(name(), 1..3)];
    let objects = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec((1..9_u128).prop_map(ObjectId), 1..4)];
    let relative = prop::option::weighted(0.5, (name(), bound(), -3..4_i64, any::<bool>()));
    let query = query().prop_map(|query| Query { filter: unhinted(query.filter), ..query });
    (query, relative, attributes, objects, 0..3_u8).prop_map(|(mut query, relative, attributes, objects, kind)| {
        if let Some((attribute, from, to, either)) = relative {
            let test = Test::FromNow { from, to: Bound::Included(to) };
            let condition = Filter::Where(Condition { attribute, key: None, test });
            query.filter = match either {
                true => Filter::Or(vec![query.filter, condition]),
                false => Filter::And(vec![query.filter, Filter::Not(Box::new(condition))]),
            };
        }
        let is_window = kind == 0 || query.filter.reaches_through();
        let objects = if is_window { Vec::new() } else { objects };
        let query = Query { limit: query.limit.min(4), ..query };
        Subscribe { objects, attributes, window: is_window, every_change: kind == 1 && !is_window, ..Subscribe::new(query, From::Present) }
    })
}

fn bound() -> impl Strategy<Value = Bound<i64>> {
    prop_oneof![Just(Bound::Unbounded), (-3..4_i64).prop_map(Bound::Included), (-3..4_i64).prop_map(Bound::Excluded)]
}

proptest! {
    #![proptest_config(seeded(256))]

    #[test]
    fn a_copy_is_what_the_query_says_at_every_place(
        acts in prop::collection::vec(act(), 1..60),
        step in 1..6_usize,
        patience in 1..4_usize,
        recent_bytes in prop::sample::select(vec![0_usize, 3_000, 1 << 20]),
    ) {
        let part_bytes = 400;
        let limits = Limits { step, patience, backlog: 3, recent_bytes, progress_every: 2, part_bytes, ..Limits::default() };
        let mut desk = Desk::new(limits);
        let mut readers: Vec<Copyist> = Vec::new();
        for act in acts {
            match act {
                Act::Apply(plans) => {
                    // The cabinet runs ahead of what watchers are told, as it does when it applies in batches.
                    let applied: Vec<Applied> = plans.iter().map(|plan| desk.cabinet.next(&plan.proposal(&desk.cabinet))).collect();
                    take(&mut desk, readers.first_mut(), 1);
                    for applied in applied {
                        desk.watchers.applied(&Arc::new(applied));
                    }
                }
                Act::Watch(subscribe) if readers.len() < 8 => {
                    let watcher = desk.follow(subscribe.clone());
                    readers.push(Copyist { subscribe, watcher, copy: Vec::new(), mid_present: false });
                }
                Act::Watch(_) => {}
                Act::Take(place, count) => take(&mut desk, readers.get_mut(place), count),
                Act::Resume(place) => {
                    let Some(reader) = readers.get_mut(place) else { continue };
                    desk.watchers.remove(reader.watcher);
                    reader.mid_present = false;
                    reader.watcher = desk.follow(reader.subscribe.clone());
                }
                Act::Progress(place) => {
                    let Some(reader) = readers.get_mut(place) else { continue };
                    if let Some(update) = desk.watchers.progress(reader.watcher) {
                        reader.hear(&update);
                        reader.check(&desk);
                    }
                }
                Act::Time(micros) => desk.now_us += micros,
                Act::Forget => {
                    let position = desk.cabinet.mark().position;
                    desk.watchers.forget_before(position);
                }
            }
        }
        // Everybody hears everything in the end, and no clock is behind any more.
        desk.now_us += 20;
        for reader in &mut readers {
            for update in desk.drain(reader.watcher) {
                reader.hear(&update);
                reader.check(&desk);
            }
            let now = desk.cabinet.mark().position;
            let told = reader.subscribe.from;
            // What is left untold makes no difference.
            let moment = told.place().and_then(|(_, moment)| moment).map(|_| desk.now_us);
            reader.subscribe.from = moment.map_or(From::After(now), |moment| From::AfterMoment { position: now, moment });
            reader.check(&desk);
        }
    }
}

fn take(desk: &mut Desk, reader: Option<&mut Copyist>, count: usize) {
    let Some(reader) = reader else { return };
    for _ in 0..count {
        if let Next::Update(update) = desk.next(reader.watcher) {
            reader.hear(&update);
            reader.check(desk);
        }
    }
}
