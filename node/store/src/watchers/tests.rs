mod readers;

use std::collections::BTreeMap;
use std::sync::Arc;

use caps_model::messages::{From, ObjectChange, Subscribe, Update};
use caps_model::{Filter, Name, Object, ObjectId, Position, Query, Value};
use proptest::prelude::*;

use super::*;
use crate::cabinet::workload::*;
use crate::cabinet::{Cabinet, Obliteration, Proposal, Target};
use crate::state::{MemoryState, State};

/// A cabinet with its watchers, in step.
struct Desk {
    cabinet: Cabinet<MemoryState>,
    watchers: Watchers,
    next_commit: u128,
    /// The replica's clock.
    now_us: i64,
}

impl Desk {
    fn new(limits: Limits) -> Self {
        Self { cabinet: Cabinet::new(MemoryState::new()), watchers: Watchers::new(limits, Position::ZERO), next_commit: 1_000, now_us: 0 }
    }

    fn change(&mut self, changes: Vec<caps_model::Change>) -> Vec<WatcherId> {
        self.next_commit += 1;
        let applied = self.cabinet.commit(commit(self.next_commit, changes));
        self.watchers.applied(&Arc::new(applied))
    }

    fn watch(&mut self, query: Query, from: From) -> WatcherId {
        self.follow(Subscribe::new(query, from).every_change())
    }

    fn follow(&mut self, subscribe: Subscribe) -> WatcherId {
        self.watchers.add(subscribe, self.now_us, self.cabinet.state()).unwrap()
    }

    fn next(&mut self, id: WatcherId) -> Next {
        self.watchers.next(id, self.now_us, self.cabinet.state()).unwrap()
    }

    /// Everything there is to tell now.
    fn drain(&mut self, id: WatcherId) -> Vec<Update> {
        let mut updates = Vec::new();
        loop {
            match self.next(id) {
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

/// `+` added, `~` changed, `-` removed, in front of the id, `@` in front of the place in a window; positions in front of all, with the moment
/// where there is one.
fn render(updates: &[Update]) -> Vec<String> {
    let change = |change: &ObjectChange| match change {
        ObjectChange::Added(object) => format!("+{}", object.id.0),
        ObjectChange::Changed(object) => format!("~{}", object.id.0),
        ObjectChange::Removed(id) => format!("-{}", id.0),
    };
    let render = |update: &Update| match update {
        Update::Present { objects, complete, .. } => {
            format!("{:?} {}", objects.iter().map(|o| o.id.0).collect::<Vec<_>>(), if *complete { "all" } else { "..." })
        }
        Update::Changes { changes, places, coalesced_from, .. } => {
            let mut places = places.iter();
            let mut change = |one: &ObjectChange| {
                let place = one.object().and_then(|_| places.next()).map(|place| format!("@{place}"));
                change(one) + &place.unwrap_or_default()
            };
            let all = changes.iter().map(&mut change).collect::<Vec<_>>().join(" ");
            all + &coalesced_from.map(|from| format!(" since {from}")).unwrap_or_default()
        }
        Update::Progress { .. } => String::new(),
    };
    let place = |update: &Update| match update.moment() {
        None => update.position().to_string(),
        Some(moment) => format!("{}/{moment}", update.position()),
    };
    updates.iter().map(|update| format!("{} {}", place(update), render(update)).trim_end().to_owned()).collect()
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
    let ahead = desk.watchers.add(Subscribe::new(open_cases(), From::After(Position(5))), 0, desk.cabinet.state());
    assert!(matches!(ahead, Err(AddError::Ahead { position: Position(4), after: Position(5) })), "{ahead:?}");
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
        let first = desk.next(id);
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
    assert_eq!(desk.watchers.progress(id), Some(Update::Progress { position: Position(2), moment: None }));
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
    let one_more = desk.watchers.add(Subscribe::new(open_cases(), From::Present), 0, desk.cabinet.state());
    assert!(matches!(one_more, Err(AddError::TooMany(1))), "{one_more:?}");
    desk.watchers.remove(id);
    assert!(desk.watchers.is_empty());
    desk.watch(open_cases(), From::Present);
    assert_eq!(desk.watchers.len(), 1);
}

#[test]
fn a_reader_who_falls_behind_is_told_where_it_all_ended_up() {
    let mut desk = Desk::new(Limits { patience: 3, step: 5, recent_bytes: 2_000, ..Limits::default() });
    let id = desk.follow(Subscribe::new(open_cases(), From::Present));
    desk.change(vec![case(1, "open"), case(2, "open")]);
    assert_eq!(render(&desk.drain(id)), ["0 [] all", "1 +1 +2"]);
    // Not far enough behind.
    for number in 0..3 {
        desk.change(vec![update(1, vec![("number", vec![Value::Int(number)])])]);
    }
    assert_eq!(render(&desk.drain(id)), ["2 ~1", "3 ~1", "4 ~1"]);
    // One comes and goes, one comes, one goes, one changes three times; and much happens that is of no interest.
    desk.change(vec![case(3, "open"), case(4, "open")]);
    desk.change(vec![delete(3), to_state(2, "closed")]);
    for number in 0..20 {
        desk.change(vec![case(100 + number, "closed")]);
        desk.change(vec![update(1, vec![("number", vec![Value::Int(7)])])]);
    }
    assert_eq!(render(&desk.drain(id)), ["46 ~1 -2 +4 since 4"]);
    // Live again afterwards.
    assert_eq!(desk.change(vec![delete(1)]), [id]);
    assert_eq!(render(&desk.drain(id)), ["47 -1"]);
    // More objects than one update names are told in several, each of which stands for a position.
    for number in 0..12 {
        desk.change(vec![case(200 + number, "open")]);
    }
    let told = ["52 +200 +201 +202 +203 +204 since 47", "57 +205 +206 +207 +208 +209 since 52", "58 +210", "59 +211"];
    assert_eq!(render(&desk.drain(id)), told);
}

#[test]
fn chosen_attributes_alone_are_told() {
    let mut desk = Desk::new(Limits::default());
    desk.change(vec![create(1, "case", vec![("state", vec![Value::text("open")]), ("number", vec![Value::Int(1)])])]);
    let id = desk.follow(Subscribe::new(open_cases(), From::Present).attributes([Name::fixed("number")]));
    let told = desk.drain(id);
    let Update::Present { objects, .. } = &told[0] else { panic!("{told:?}") };
    assert_eq!(objects[0].attributes, record(vec![("number", vec![Value::Int(1)])]));
    desk.change(vec![update(1, vec![("owner", vec![Value::Int(9)])])]);
    assert_eq!(render(&desk.drain(id)), [""; 0]);
    desk.change(vec![update(1, vec![("number", vec![Value::Int(2)])])]);
    desk.change(vec![to_state(1, "closed")]);
    assert_eq!(render(&desk.drain(id)), ["3 ~1", "4 -1"]);
}

#[test]
fn given_objects_are_followed_and_no_others() {
    let mut desk = Desk::new(Limits::default());
    desk.change((1..=4).map(|id| case(id, "open")).collect());
    let all = Query::all(Name::fixed("case"));
    let id = desk.follow(Subscribe::new(all, From::Present).objects([ObjectId(3), ObjectId(1), ObjectId(9)]));
    assert_eq!(render(&desk.drain(id)), ["1 [1, 3] all"]);
    assert_eq!(desk.change(vec![to_state(2, "closed")]), []);
    assert_eq!(desk.change(vec![to_state(3, "closed"), case(9, "new")]), [id]);
    assert_eq!(render(&desk.drain(id)), ["3 ~3 +9"]);
}

#[test]
fn a_window_shows_the_first_of_an_order() {
    let mut desk = Desk::new(Limits::default());
    let due = |micros| ("due", vec![Value::Timestamp(micros)]);
    let open = |id: u128, at: i64| create(id, "case", vec![("state", vec![Value::text("open")]), due(at)]);
    desk.change(vec![open(1, 30), open(2, 10), open(3, 20), open(4, 40)]);
    let window = Subscribe::new(open_cases().by(Name::fixed("due"), false).limit(3), From::Present).window();
    let id = desk.follow(window.clone());
    assert_eq!(render(&desk.drain(id)), ["1 [2, 3, 1] all"]);
    // Behind its end nothing is seen, and nobody is woken.
    assert_eq!(desk.change(vec![open(5, 50), update(4, vec![due(45)])]), []);
    // One enters in front, and pushes the last one out.
    assert_eq!(desk.change(vec![open(6, 15)]), [id]);
    assert_eq!(render(&desk.drain(id)), ["3 -1 +6@1"]);
    // One moves, one leaves, and the next one comes in at the end.
    desk.change(vec![update(2, vec![due(35)]), delete(6)]);
    assert_eq!(render(&desk.drain(id)), ["4 -6 +1@1 ~2@2"]);
    // Two commits, told as one.
    desk.change(vec![update(3, vec![("owner", vec![Value::Int(1)])])]);
    desk.change(vec![update(3, vec![("owner", vec![Value::Int(2)])])]);
    assert_eq!(render(&desk.drain(id)), ["6 ~3@0 since 4"]);
    // Whoever resumes is told the same as whoever stayed.
    let later = desk.follow(Subscribe { from: From::After(Position(3)), ..window.clone() });
    assert_eq!(render(&desk.drain(later)), ["6 -6 ~3@0 +1@1 ~2@2 since 3"]);
    let present = desk.follow(Subscribe { from: From::After(Position(6)), ..window });
    assert_eq!(render(&desk.drain(present)), [""; 0]);
}

#[test]
fn a_window_sees_through_relations() {
    let mut desk = Desk::new(Limits::default());
    let customer = |id: u128, country: &str| create(id, "customer", vec![("country", vec![Value::text(country)])]);
    let of = |id: u128, customer: u128| create(id, "case", vec![("customer", vec![Value::Reference(ObjectId(customer))])]);
    let moved = |id: u128, country: &str| update(id, vec![("country", vec![Value::text(country)])]);
    desk.change(vec![customer(1, "SE"), customer(2, "NO"), of(11, 1), of(12, 2)]);
    let filter = Filter::Through {
        attribute: Name::fixed("customer"),
        entity: Some(Name::fixed("customer")),
        filter: Box::new(Filter::equal(Name::fixed("country"), Value::text("SE"))),
    };
    let window = Subscribe::new(Query::all(Name::fixed("case")).and(filter).limit(10), From::Present).window();
    let id = desk.follow(window.clone());
    assert_eq!(render(&desk.drain(id)), ["1 [11] all"]);
    assert_eq!(desk.change(vec![create(3, "part", vec![])]), [], "neither a case nor what cases refer to");
    assert_eq!(desk.change(vec![moved(2, "SE")]), [id]);
    assert_eq!(render(&desk.drain(id)), ["3 +12@1"]);
    desk.change(vec![delete(1), of(13, 2)]);
    assert_eq!(render(&desk.drain(id)), ["4 -11 +13@1"]);
    let later = desk.follow(Subscribe { from: From::After(Position(3)), ..window });
    assert_eq!(render(&desk.drain(later)), ["4 [12, 13] all"], "who resumes starts anew");
    desk.watchers.remove(id);
    desk.watchers.remove(later);
    assert_eq!(desk.change(vec![moved(2, "NO")]), []);
}

#[test]
fn a_window_that_changed_too_much_starts_anew() {
    let mut desk = Desk::new(Limits { step: 4, ..Limits::default() });
    desk.change(vec![case(1, "open")]);
    let window = Subscribe::new(open_cases().limit(2), From::After(Position(1))).window();
    for id in 2..9 {
        desk.change(vec![case(id, "open")]);
    }
    let id = desk.follow(window);
    assert_eq!(render(&desk.drain(id)), ["8 [1, 2] all"]);
}

#[test]
fn time_alone_brings_and_takes_objects() {
    let mut desk = Desk::new(Limits::default());
    let due = |id: u128, micros| create(id, "case", vec![("due", vec![Value::Timestamp(micros)])]);
    desk.now_us = 5;
    desk.change(vec![due(1, 10), due(2, 20), due(3, 3)]);
    let query = Query::all(Name::fixed("case")).and("due > now - 10us and due <= now".parse().unwrap());
    let id = desk.follow(Subscribe::new(query.clone(), From::Present));
    assert_eq!(render(&desk.drain(id)), ["1/5 [3] all"]);
    assert_eq!(desk.watchers.due(id), Some(10));
    desk.now_us = 9;
    assert_eq!(render(&desk.drain(id)), [""; 0]);
    desk.now_us = 12;
    assert_eq!(render(&desk.drain(id)), ["1/12 +1"]);
    assert_eq!(desk.watchers.due(id), Some(13));
    // What is due sooner wakes the reader's task, though there is nothing to tell yet.
    desk.change(vec![due(4, 14)]);
    assert_eq!(render(&desk.drain(id)), [""; 0]);
    desk.now_us = 21;
    // Between 12 and 21 one left, and one came; what came at 10 has left, too.
    assert_eq!(render(&desk.drain(id)), ["2/21 -1 +2 -3 +4"]);
    // A replica whose clock is behind tells commits as seen by the reader, and lets no time pass.
    let resumed = From::AfterMoment { position: Position(1), moment: 12 };
    desk.change(vec![delete(4)]);
    let back = desk.follow(Subscribe::new(query, resumed));
    assert_eq!(render(&desk.drain(back)), ["3/12", "3/21 -1 +2 -3"]);
    let at = desk.now_us;
    desk.now_us = 3;
    assert_eq!(render(&desk.drain(back)), [""; 0]);
    desk.change(vec![due(5, 15), due(6, 4)]);
    assert_eq!(render(&desk.drain(back)), [format!("4/{at} +5")]);
}

#[test]
fn what_recent_commits_changed_can_be_forgotten() {
    let mut desk = Desk::new(Limits::default());
    let id = desk.watch(open_cases(), From::Present);
    desk.drain(id);
    for id in 1..=4 {
        desk.change(vec![case(id, "open")]);
    }
    desk.watchers.forget_before(Position(4));
    assert_eq!(desk.watchers.recent.kept(), [Position(4)]);
    // Whoever is behind reads the rest from the state.
    assert_eq!(render(&desk.drain(id)), ["1 +1", "2 +2", "3 +3", "4 +4"]);
}

/// Whatever an object was found by, its readers are told when that is gone for ever, though the state cannot say any more what they saw.
#[test]
fn what_matched_by_obliterated_values_is_taken_back() {
    let mut desk = Desk::new(Limits::default());
    desk.change(vec![case(1, "open"), case(2, "closed")]);
    let live = desk.watch(open_cases(), From::Present);
    assert_eq!(render(&desk.drain(live)), ["1 [1] all"]);
    let newest = desk.follow(Subscribe::new(open_cases(), From::After(Position(1))));
    let targets = [1, 2].map(|id| Target { object: ObjectId(id), attribute: Name::fixed("state"), from: Position(1), to: Position(1) });
    let author = caps_model::Author { reason: Some("asked for".to_owned()), ..commit(1, vec![]).author };
    let order = Obliteration { id: caps_model::CommitId(77), author, time: 0, targets: targets.into() };
    let applied = desk.cabinet.next(&Proposal::Obliterate(order));
    assert_eq!(applied.position, Position(2), "{:?}", applied.verdict);
    desk.watchers.applied(&Arc::new(applied));
    desk.watchers.forget_before(Position(3));
    // The second was never seen; to be told so once more does no harm.
    assert_eq!(render(&desk.drain(live)), ["2 -1 -2"]);
    assert_eq!(render(&desk.drain(newest)), ["2 -1 -2"]);
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
            Update::Changes { position, changes, .. } => {
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
                        if let Next::Update(update) = desk.next(reader.watcher) {
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
                        if let Next::Update(update) = desk.next(reader.watcher) {
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
