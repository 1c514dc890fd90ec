use std::collections::BTreeMap;
use std::sync::Arc;

use caps_model::messages::{From, ObjectChange, Subscribe, Update};
use caps_model::{Name, Object, ObjectId, Position, Query, Value};
use proptest::prelude::*;

use super::*;
use crate::cabinet::Cabinet;
use crate::cabinet::workload::*;
use crate::state::{MemoryState, State};

/// A cabinet with its watchers, in step.
struct Desk {
    cabinet: Cabinet<MemoryState>,
    watchers: Watchers,
    next_commit: u128,
}

impl Desk {
    fn new(limits: Limits) -> Self {
        Self { cabinet: Cabinet::new(MemoryState::new()), watchers: Watchers::new(limits, Position::ZERO), next_commit: 1_000 }
    }

    fn change(&mut self, changes: Vec<caps_model::Change>) -> Vec<WatcherId> {
        self.next_commit += 1;
        let applied = self.cabinet.commit(commit(self.next_commit, changes));
        self.watchers.applied(&Arc::new(applied))
    }

    fn watch(&mut self, query: Query, from: From) -> WatcherId {
        self.watchers.add(Subscribe { query, from }).unwrap()
    }

    /// Everything there is to tell now.
    fn drain(&mut self, id: WatcherId) -> Vec<Update> {
        let mut updates = Vec::new();
        loop {
            match self.watchers.next(id, self.cabinet.state()).unwrap() {
                Next::Update(update) => updates.push(update),
                Next::Working => {}
                Next::Idle => return updates,
            }
        }
    }
}

fn case(id: u128, state: &str) -> caps_model::Change {
    create(id, "case", vec![("state", vec![Value::text(state)])])
}

fn to_state(id: u128, state: &str) -> caps_model::Change {
    update(id, vec![("state", vec![Value::text(state)])])
}

fn open_cases() -> Query {
    Query::equal(Name::fixed("case"), Name::fixed("state"), Value::text("open"))
}

/// `+` added, `~` changed, `-` removed, in front of the id; positions in front of all.
fn render(updates: &[Update]) -> Vec<String> {
    let change = |change: &ObjectChange| match change {
        ObjectChange::Added(object) => format!("+{}", object.id.0),
        ObjectChange::Changed(object) => format!("~{}", object.id.0),
        ObjectChange::Removed(id) => format!("-{}", id.0),
    };
    let render = |update: &Update| match update {
        Update::Present { position, objects, complete } => {
            format!("{position} {:?} {}", objects.iter().map(|o| o.id.0).collect::<Vec<_>>(), if *complete { "all" } else { "..." })
        }
        Update::Changes { position, changes } => format!("{position} {}", changes.iter().map(change).collect::<Vec<_>>().join(" ")),
        Update::Progress { position } => format!("{position}"),
    };
    updates.iter().map(render).collect()
}

#[test]
fn watcher_sees_what_is_there_and_then_what_changes() {
    let mut desk = Desk::new(Limits::default());
    desk.change(vec![case(1, "open"), case(2, "closed"), case(3, "open")]);
    let id = desk.watch(open_cases(), From::Present);
    assert_eq!(render(&desk.drain(id)), ["1 [1, 3] all"]);
    assert_eq!(desk.change(vec![to_state(2, "open"), to_state(1, "closed"), update(3, vec![("owner", vec![Value::Int(1)])])]), [id]);
    assert_eq!(render(&desk.drain(id)), ["2 +2 -1 ~3"]);
    // What does not match before or after wakes nobody.
    assert_eq!(desk.change(vec![case(4, "closed"), create(5, "customer", vec![("state", vec![Value::text("open")])])]), []);
    assert_eq!(desk.change(vec![delete(2)]), [id]);
    assert_eq!(render(&desk.drain(id)), ["4 -2"]);
    desk.watchers.remove(id);
    assert_eq!(desk.change(vec![case(6, "open")]), []);
    assert_eq!(desk.drain(id), []);
}

#[test]
fn watcher_resumes_after_a_position() {
    let mut desk = Desk::new(Limits::default());
    desk.change(vec![case(1, "open")]);
    desk.change(vec![case(2, "open")]);
    desk.change(vec![to_state(1, "closed")]);
    desk.change(vec![case(3, "closed")]);
    let id = desk.watch(open_cases(), From::After(Position(1)));
    assert_eq!(render(&desk.drain(id)), ["2 +2", "3 -1", "4"]);
    let ahead = desk.watchers.add(Subscribe { query: open_cases(), from: From::After(Position(5)) });
    assert_eq!(ahead, Err(AddError::Ahead { position: Position(4), after: Position(5) }));
}

#[test]
fn present_objects_come_in_parts_of_one_moment() {
    let limits = Limits { step: 2, part_bytes: 1, ..Limits::default() };
    // The index lists four objects; the entity has gained a fifth when the last part is made, which was not there at the time.
    let listed = vec!["1 [4] all"];
    let paged = vec!["1 [4] ...", "1 [] all"];
    for (query, last) in [(open_cases(), listed), (Query::all(Name::fixed("case")), paged)] {
        let mut desk = Desk::new(limits);
        desk.change((1..=4).map(|id| case(id, "open")).collect());
        let id = desk.watch(query, From::Present);
        let first = desk.watchers.next(id, desk.cabinet.state()).unwrap();
        assert!(matches!(&first, Next::Update(Update::Present { objects, complete: false, .. }) if objects.len() == 1));
        // Changes in the meantime do not show in the rest of the parts, only after them.
        desk.change(vec![delete(4), case(5, "open"), to_state(1, "open")]);
        let expected = [vec!["1 [2] ...", "1 [3] ..."], last, vec!["2 -4 +5 ~1"]].concat();
        assert_eq!(render(&desk.drain(id)), expected);
    }
}

#[test]
fn slow_reader_costs_a_bounded_list_and_misses_nothing() {
    let mut desk = Desk::new(Limits { backlog: 3, recent_bytes: 2_000, ..Limits::default() });
    let id = desk.watch(open_cases(), From::Present);
    assert_eq!(render(&desk.drain(id)), ["0 [] all"]);
    for n in 1..=50 {
        desk.change(vec![case(n, "open")]);
    }
    let expected: Vec<String> = (1..=50).map(|n| format!("{n} +{n}")).collect();
    assert_eq!(render(&desk.drain(id)), expected);
    // Live again afterwards.
    assert_eq!(desk.change(vec![delete(1)]), [id]);
    assert_eq!(render(&desk.drain(id)), ["51 -1"]);
}

#[test]
fn idle_reader_hears_how_far_it_is() {
    let mut desk = Desk::new(Limits { progress_every: 3, ..Limits::default() });
    let id = desk.watch(open_cases(), From::Present);
    desk.drain(id);
    assert_eq!(desk.watchers.progress(id), None);
    desk.change(vec![case(1, "closed")]);
    desk.change(vec![case(2, "closed")]);
    assert_eq!(desk.drain(id), []);
    assert_eq!(desk.watchers.progress(id), Some(Update::Progress { position: Position(2) }));
    for n in 3..=5 {
        desk.change(vec![case(n, "closed")]);
    }
    assert_eq!(render(&desk.drain(id)), ["5"]);
    // Something waits to be told: no claim to be further.
    desk.change(vec![case(6, "open")]);
    assert_eq!(desk.watchers.progress(id), None);
}

#[test]
fn watchers_are_counted() {
    let mut desk = Desk::new(Limits { watchers: 1, ..Limits::default() });
    let id = desk.watch(open_cases(), From::Present);
    assert_eq!(desk.watchers.add(Subscribe { query: open_cases(), from: From::Present }), Err(AddError::TooMany(1)));
    desk.watchers.remove(id);
    assert!(desk.watchers.is_empty());
    desk.watch(open_cases(), From::Present);
    assert_eq!(desk.watchers.len(), 1);
}

/// A reader that holds a copy of what matches, as a front end does, and checks what it is told.
#[derive(Debug)]
struct Reader {
    query: Query,
    watcher: WatcherId,
    copy: BTreeMap<ObjectId, Object>,
    resume: Option<Position>,
    /// Changes told, to compare with what happened.
    told: Vec<(Position, Vec<ObjectChange>)>,
    since: Option<Position>,
}

impl Reader {
    fn hear(&mut self, update: Update) {
        if let Some(position) = update.resume() {
            let first_word = self.resume.is_none();
            assert!(self.resume < Some(position) || (first_word && self.resume <= Some(position)), "{:?} then {update:?}", self.resume);
        }
        match &update {
            Update::Present { objects, position, .. } => {
                assert!(self.told.is_empty() && self.resume.is_none());
                self.since = Some(*position);
                self.copy.extend(objects.iter().map(|object| (object.id, object.clone())));
            }
            Update::Changes { position, changes } => {
                self.told.push((*position, changes.clone()));
                for change in changes {
                    let before = match change {
                        ObjectChange::Added(object) | ObjectChange::Changed(object) => self.copy.insert(object.id, object.clone()),
                        ObjectChange::Removed(id) => self.copy.remove(id),
                    };
                    assert_eq!(before.is_some(), !matches!(change, ObjectChange::Added(_)), "{change:?}");
                }
            }
            Update::Progress { .. } => {}
        }
        self.resume = update.resume();
    }
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a few of them, in a test")]
enum Act {
    Apply(Vec<Plan>),
    /// A new reader of a query.
    Watch(Query),
    /// A reader takes so many updates.
    Take(usize, usize),
    /// A reader's connection breaks; it resumes where it was, or starts anew if it was nowhere yet.
    Resume(usize),
    Tick(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => prop::collection::vec(plan(), 1..5).prop_map(Act::Apply),
        2 => plain_query().prop_map(Act::Watch),
        5 => (0..8_usize, 1..6_usize).prop_map(|(reader, count)| Act::Take(reader, count)),
        2 => (0..8_usize).prop_map(Act::Resume),
        1 => (0..8_usize).prop_map(Act::Tick),
    ]
}

proptest! {
    #![proptest_config(seeded(200))]

    /// Each change once and in order, through every phase, for readers of any speed; and their copies are right.
    #[test]
    fn readers_are_told_each_change_once_in_order(
        acts in prop::collection::vec(act(), 1..60),
        step in 1..5_usize,
        backlog in 1..4_usize,
        recent_bytes in prop::sample::select(vec![0_usize, 3_000, 1 << 20]),
    ) {
        let limits = Limits { step, backlog, recent_bytes, progress_every: 2, part_bytes: 200, ..Limits::default() };
        let mut desk = Desk::new(limits);
        let mut readers: Vec<Reader> = Vec::new();
        let mut happened: Vec<Arc<Applied>> = Vec::new();
        for act in acts {
            match act {
                Act::Apply(plans) => {
                    // Sometimes the cabinet runs ahead of what watchers are told, as it does when it applies in batches.
                    let applied: Vec<Arc<Applied>> = plans.iter().map(|plan| {
                        let proposal = plan.proposal(&desk.cabinet);
                        Arc::new(desk.cabinet.next(&proposal))
                    }).collect();
                    for reader in readers.iter_mut().take(1) {
                        if let Next::Update(update) = desk.watchers.next(reader.watcher, desk.cabinet.state()).unwrap() {
                            reader.hear(update);
                        }
                    }
                    for applied in applied {
                        desk.watchers.applied(&applied);
                        happened.push(applied);
                    }
                }
                Act::Watch(query) if readers.len() < 8 => {
                    let watcher = desk.watch(query.clone(), From::Present);
                    readers.push(Reader { query, watcher, copy: BTreeMap::new(), resume: None, told: Vec::new(), since: None });
                }
                Act::Watch(_) => {}
                Act::Take(place, count) => {
                    let Some(reader) = readers.get_mut(place) else { continue };
                    for _ in 0..count {
                        if let Next::Update(update) = desk.watchers.next(reader.watcher, desk.cabinet.state()).unwrap() {
                            reader.hear(update);
                        }
                    }
                }
                Act::Resume(place) => {
                    let Some(reader) = readers.get_mut(place) else { continue };
                    desk.watchers.remove(reader.watcher);
                    let from = match reader.resume {
                        Some(position) => From::After(position),
                        None => {
                            reader.copy.clear();
                            From::Present
                        }
                    };
                    reader.watcher = desk.watch(reader.query.clone(), from);
                }
                Act::Tick(place) => {
                    let Some(reader) = readers.get_mut(place) else { continue };
                    if let Some(update) = desk.watchers.progress(reader.watcher) {
                        reader.hear(update);
                    }
                }
            }
        }
        for reader in &mut readers {
            for update in desk.drain(reader.watcher) {
                reader.hear(update);
            }
            let now: BTreeMap<ObjectId, Object> = (1..9).map(ObjectId)
                .filter_map(|id| desk.cabinet.state().object(id).unwrap())
                .filter(|object| reader.query.matches(object))
                .map(|object| (object.id, object))
                .collect();
            prop_assert_eq!(&reader.copy, &now);
            let since = reader.since.unwrap();
            let expected: Vec<(Position, Vec<ObjectChange>)> = happened.iter()
                .filter(|applied| applied.position > since && !applied.changes.is_empty())
                .map(|applied| (applied.position, applied.changes.iter()
                    .filter_map(|change| ObjectChange::seen(&reader.query, change.before.as_ref(), &change.after)).collect::<Vec<_>>()))
                .filter(|(_, changes)| !changes.is_empty())
                .collect();
            prop_assert_eq!(&reader.told, &expected);
        }
    }
}
