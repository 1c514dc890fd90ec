//! What every state must do: one suite, run over each of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Bound;
use std::rc::Rc;

use caps_model::messages::{Get, History, Outcome};
use caps_model::query::{Pattern, PatternKind, Words};
use caps_model::{BlobId, Choice, CommitId, Condition, Entry, Filter, Name, Object, ObjectId, Position, Query, Test, Value};
use proptest::prelude::*;
use tempfile::TempDir;

use super::sled::Limits;
use super::sled::tests::TINY;
use super::sql::tests::sqlite_in;
use super::{Index, MemoryState, SledState, Span, SqlState, State, StateOpened};
use crate::cabinet::workload::{Plan, commit, create, delete, expected, plan, query, seeded, update};
use crate::cabinet::{Cabinet, Proposal};

/// A sled state in a directory that lives as long.
pub(crate) fn sled_state() -> (TempDir, SledState) {
    sled_state_with(Limits::default())
}

fn sled_state_with(limits: Limits) -> (TempDir, SledState) {
    let directory = tempfile::tempdir().unwrap();
    let (state, _) = SledState::open_with(&directory.path().join("state"), 0, limits).unwrap();
    (directory, state)
}

/// What makes an empty state.
type Maker = Rc<dyn Fn() -> Box<dyn State>>;

thread_local! {
    /// The only state to run the suite over, where it is one that takes long to begin.
    static ONLY: RefCell<Option<Maker>> = const { RefCell::new(None) };
}

/// Runs the whole suite over one state.
pub(crate) fn suite_over(make: Maker) {
    let parts: [fn(); 7] = [
        every_version_stays,
        members_of_an_entity_are_paged_in_order,
        candidates_follow_the_values_of_live_objects,
        a_scan_goes_both_ways_and_no_further_than_asked,
        words_are_found_in_every_text_and_in_maps,
        commits_are_found_by_position_and_by_id,
        the_table_of_operators_is_what_every_state_answers,
    ];
    let own = include_str!("conformance.rs").lines().filter(|line| *line == "#[test]").count();
    assert_eq!(own, parts.len(), "a part of the suite is not in the list");
    ONLY.set(Some(make));
    parts.iter().for_each(|part| part());
    ONLY.set(None);
}

/// Runs a part of the suite over every state that is always at hand.
fn over_every_state(mut check: impl FnMut(Cabinet<Box<dyn State>>)) {
    if let Some(make) = ONLY.with_borrow(Clone::clone) {
        return check(Cabinet::new(make()));
    }
    check(Cabinet::new(Box::new(MemoryState::new())));
    for limits in [Limits::default(), TINY] {
        let (_directory, sled) = sled_state_with(limits);
        check(Cabinet::new(Box::new(sled)));
    }
    let directory = tempfile::tempdir().unwrap();
    check(Cabinet::new(Box::new(SqlState::open(&sqlite_in(&directory), 0).unwrap().0)));
}

fn int(number: i64) -> Vec<Value> {
    vec![Value::Int(number)]
}

fn versions(objects: &[Object]) -> Vec<u64> {
    objects.iter().map(|object| object.version.0).collect()
}

#[test]
fn every_version_stays() {
    over_every_state(|mut cabinet| {
        cabinet.commit(commit(1, vec![create(1, "case", vec![("number", int(1))]), create(2, "case", vec![])]));
        cabinet.commit(commit(2, vec![update(2, vec![("number", int(5))])]));
        cabinet.commit(commit(3, vec![update(1, vec![("number", int(2))])]));
        cabinet.commit(commit(4, vec![delete(1)]));
        let state = cabinet.state();
        let at = |position| state.object_at(ObjectId(1), Position(position)).unwrap();
        assert_eq!(at(0), None);
        assert_eq!(at(1).unwrap().int("number"), Some(1));
        assert_eq!(at(2), at(1));
        assert_eq!(at(3).unwrap().int("number"), Some(2));
        assert!(at(4).unwrap().deleted && at(u64::MAX).unwrap().deleted);
        assert_eq!(versions(&state.versions(ObjectId(1), None, 9).unwrap()), [4, 3, 1]);
        assert_eq!(versions(&state.versions(ObjectId(1), Some(Position(4)), 1).unwrap()), [3]);
        assert_eq!(versions(&state.versions(ObjectId(1), Some(Position(1)), 9).unwrap()), [0; 0]);
        assert_eq!((state.counts().objects, state.counts().deleted), (2, 1));
        assert_eq!(state.mark(), cabinet.mark());
    });
}

#[test]
fn members_of_an_entity_are_paged_in_order() {
    over_every_state(|mut cabinet| {
        for id in [5, 3, u128::MAX, 4] {
            cabinet.commit(commit(id % 100, vec![create(id, "case", vec![])]));
        }
        cabinet.commit(commit(200, vec![create(6, "cases", vec![]), delete(4)]));
        let page = |after: Option<u128>, limit| {
            let ids = cabinet.state().objects_of(&Name::fixed("case"), after.map(ObjectId), false, limit).unwrap();
            ids.into_iter().map(|id| id.0).collect::<Vec<_>>()
        };
        let backwards = cabinet.state().objects_of(&Name::fixed("case"), Some(ObjectId(5)), true, 9).unwrap();
        assert_eq!(backwards, [ObjectId(4), ObjectId(3)]);
        assert_eq!(page(None, 9), [3, 4, 5, u128::MAX]);
        assert_eq!(page(Some(3), 2), [4, 5]);
        assert_eq!(page(Some(u128::MAX), 9), [0; 0]);
        assert_eq!(cabinet.state().objects_of(&Name::fixed("none"), None, false, 9).unwrap(), []);
    });
}

#[test]
fn candidates_follow_the_values_of_live_objects() {
    over_every_state(|mut cabinet| {
        cabinet.commit(commit(1, vec![create(1, "case", vec![("number", vec![Value::Int(i64::MAX), Value::Int(3)])])]));
        cabinet.commit(commit(2, vec![create(u128::MAX, "case", vec![("number", int(i64::MAX))])]));
        cabinet.commit(commit(3, vec![create(2, "case", vec![("number", vec![Value::Timestamp(3)])])]));
        let found = |cabinet: &Cabinet<Box<dyn State>>, from, to| {
            let index = Index::Attribute(Name::fixed("number"));
            let places = cabinet.state().scan(&Name::fixed("case"), &index, &Span::between(&from, &to), false, 9).unwrap();
            places.iter().map(|place| place.object().0).collect::<Vec<_>>()
        };
        let three = || Bound::Included(Value::Int(3));
        assert_eq!(found(&cabinet, three(), three()), [1]);
        // The largest number and the largest id meet at the very end of their kind.
        assert_eq!(found(&cabinet, three(), Bound::Unbounded), [1, 1, u128::MAX]);
        assert_eq!(found(&cabinet, Bound::Included(Value::Int(4)), three()), [0; 0]);
        cabinet.commit(commit(4, vec![update(1, vec![("number", int(4))]), delete(u128::MAX)]));
        assert_eq!(found(&cabinet, three(), three()), [0; 0]);
        assert_eq!(found(&cabinet, Bound::Unbounded, Bound::Included(Value::Int(i64::MAX))), [1]);
    });
}

#[test]
fn a_scan_goes_both_ways_and_no_further_than_asked() {
    over_every_state(|mut cabinet| {
        let objects = (1..=5).map(|id| create(id, "case", vec![("number", int(i64::try_from(id).unwrap() / 2))]));
        cabinet.commit(commit(1, objects.collect()));
        let index = Index::Attribute(Name::fixed("number"));
        let scan = |span: &Span, backwards, limit| {
            let places = cabinet.state().scan(&Name::fixed("case"), &index, span, backwards, limit).unwrap();
            assert_eq!(cabinet.state().count(&Name::fixed("case"), &index, span, limit).unwrap(), places.len());
            places.into_iter().map(|place| place.object().0).collect::<Vec<_>>()
        };
        assert_eq!(scan(&Span::all(), false, 9), [1, 2, 3, 4, 5]);
        assert_eq!(scan(&Span::all(), true, 2), [5, 4]);
        assert_eq!(scan(&Span::of_value(&Value::Int(1)), false, 9), [2, 3]);
        let first = cabinet.state().scan(&Name::fixed("case"), &index, &Span::of_value(&Value::Int(1)), false, 1).unwrap();
        assert_eq!(scan(&Span::all().beyond(&first[0], false), false, 9), [3, 4, 5]);
        assert_eq!(scan(&Span::all().beyond(&first[0], true), true, 9), [1]);
    });
}

#[test]
fn words_are_found_in_every_text_and_in_maps() {
    over_every_state(|mut cabinet| {
        let names = vec![Value::Entry(Box::new(Entry::new("sv", Value::text("Läckande pump")).unwrap()))];
        cabinet.commit(commit(1, vec![create(1, "case", vec![("subject", vec![Value::text("a PUMP leaks")]), ("names", names)])]));
        cabinet.commit(commit(2, vec![create(2, "case", vec![("subject", vec![Value::text("pumps")])])]));
        let found = |filter: &str| {
            let query = Query::all(Name::fixed("case")).and(filter.parse().unwrap());
            let explained = cabinet.explain(&query).unwrap();
            assert!(explained.looked_at < 2 || filter.contains("pum*"), "{filter}: {explained:?}");
            cabinet.query(&query).unwrap().objects.into_iter().map(|object| object.id.0).collect::<Vec<_>>()
        };
        assert_eq!(found("text 'pump läckande leaks'"), [1]);
        assert_eq!(found("text 'pum*'"), [1, 2]);
        assert_eq!(found("subject about 'pumps'"), [2]);
        assert_eq!(found("subject about 'läckande'"), [0; 0]);
    });
}

#[test]
fn commits_are_found_by_position_and_by_id() {
    over_every_state(|mut cabinet| {
        let made = commit(7, vec![create(1, "case", vec![])]);
        cabinet.skip(3);
        cabinet.commit(made.clone());
        let record = cabinet.state().commit_at(Position(1)).unwrap().unwrap();
        assert_eq!((record.id, record.index, record.objects.as_slice()), (CommitId(7), 4, &[ObjectId(1)][..]));
        assert_eq!((record.author, record.result.clone()), (made.author, made.result));
        assert_eq!(cabinet.state().commit_at(Position(0)).unwrap(), None);
        assert_eq!(cabinet.state().commit_at(Position(2)).unwrap(), None);
        assert_eq!(cabinet.outcome(CommitId(7)).unwrap(), Outcome::Accepted { position: Position(1), result: record.result });
        assert_eq!(cabinet.outcome(CommitId(8)).unwrap(), Outcome::Unknown);
    });
}

/// A value of each kind and a larger one.
fn pairs() -> Vec<(&'static str, Value, Value)> {
    let blob = |byte| Value::Blob(Box::new(BlobId { hash: [byte; 32], size_bytes: 1 }));
    let choice = |rank, word| Value::Choice(Choice { rank, word: Name::fixed(word) });
    vec![
        ("bool", Value::Bool(false), Value::Bool(true)),
        ("int", Value::Int(-1), Value::Int(1)),
        ("float", Value::Float(-0.5), Value::Float(f64::INFINITY)),
        ("decimal", Value::Decimal("0.1".parse().unwrap()), Value::Decimal("0.25".parse().unwrap())),
        ("text", Value::text("alpha"), Value::text("beta")),
        ("choice", choice(100, "low"), choice(200, "high")),
        ("timestamp", Value::Timestamp(0), Value::Timestamp(1)),
        ("timespan", Value::Timespan(-1), Value::Timespan(1)),
        ("bytes", Value::Bytes(vec![]), Value::Bytes(vec![0])),
        ("reference", Value::Reference(ObjectId(1)), Value::Reference(ObjectId(2))),
        ("blob", blob(1), blob(2)),
    ]
}

/// What an operator is, compared with the smaller or larger value of a kind; `None`: it is for texts alone.
type Operator = fn(&Value, &Value) -> Option<Filter>;

fn operators() -> Vec<(&'static str, Operator)> {
    fn of(test: Test) -> Option<Filter> {
        Some(Filter::Where(Condition { attribute: Name::fixed("list"), key: None, test }))
    }
    fn text(a: &Value, test: fn() -> Test) -> Option<Filter> {
        a.as_text().and_then(|_| of(test()))
    }
    fn not(filter: Option<Filter>) -> Option<Filter> {
        filter.map(|filter| Filter::Not(Box::new(filter)))
    }
    fn pattern(kind: PatternKind, source: &str) -> Test {
        Test::Like(Pattern::new(kind, source).unwrap())
    }
    vec![
        ("= a", |a, _| of(Test::Equal(a.clone()))),
        ("!= a", |a, _| not(of(Test::Equal(a.clone())))),
        ("< b", |_, b| of(Test::Range { from: Bound::Unbounded, to: Bound::Excluded(b.clone()) })),
        ("<= a", |a, _| of(Test::Range { from: Bound::Unbounded, to: Bound::Included(a.clone()) })),
        ("> a", |a, _| of(Test::Range { from: Bound::Excluded(a.clone()), to: Bound::Unbounded })),
        (">= b", |_, b| of(Test::Range { from: Bound::Included(b.clone()), to: Bound::Unbounded })),
        ("between a and a", |a, _| of(Test::Range { from: Bound::Included(a.clone()), to: Bound::Included(a.clone()) })),
        ("in (a)", |a, _| of(Test::In(vec![a.clone()]))),
        ("not in (a)", |a, _| not(of(Test::In(vec![a.clone()])))),
        ("has", |_, _| of(Test::Present)),
        ("empty", |_, _| not(of(Test::Present))),
        ("like 'al%'", |a, _| text(a, || pattern(PatternKind::Like, "al%"))),
        ("ilike 'AL%'", |a, _| text(a, || pattern(PatternKind::LikeAnyCase, "AL%"))),
        ("matches 'lph'", |a, _| text(a, || pattern(PatternKind::Regex, "lph"))),
        ("about 'Alpha'", |a, _| text(a, || Test::Words(Words::new("Alpha").unwrap()))),
    ]
}

/// For each operator and kind, whether it finds the lists `[]`, `[a]`, `[b]` and `[a, b]`; in plain lists and under a key of a map.
fn table_of_operators(in_map: bool) -> String {
    let pairs = pairs();
    let mut tables: Vec<String> = Vec::new();
    over_every_state(|mut cabinet| {
        let wrapped = |value: &Value| match in_map {
            false => value.clone(),
            true => Value::Entry(Box::new(Entry::new("key", value.clone()).unwrap())),
        };
        for (place, (_, a, b)) in (0..).zip(&pairs) {
            let lists = [vec![], vec![a], vec![b], vec![a, b]];
            for (number, list) in (1..).zip(lists) {
                let values = list.into_iter().map(wrapped).collect();
                cabinet.commit(commit(place * 10 + number, vec![create(place * 10 + number, "thing", vec![("list", values)])]));
            }
        }
        let kinds: Vec<&str> = pairs.iter().map(|(kind, ..)| *kind).collect();
        let mut table = format!("| operator | {} |\n|---{}|\n", kinds.join(" | "), "|---".repeat(kinds.len()));
        for (operator, filter) in operators() {
            let cell = |(place, (_, a, b)): (u128, &(&str, Value, Value))| {
                let Some(filter) = filter(a, b) else { return String::new() };
                let filter = if in_map { under_key(filter) } else { filter };
                let found = cabinet.query(&Query::all(Name::fixed("thing")).and(filter)).unwrap();
                let finds = |number: u128| found.objects.iter().any(|object| object.id.0 == place * 10 + number);
                (1..=4).map(|number| if finds(number) { '+' } else { '-' }).collect()
            };
            let cells: Vec<String> = (0..).zip(&pairs).map(cell).collect();
            table += &format!("| {operator} | {} |\n", cells.join(" | "));
        }
        tables.push(table);
    });
    assert!(tables.windows(2).all(|two| two[0] == two[1]), "states disagree");
    tables.remove(0)
}

fn under_key(filter: Filter) -> Filter {
    let with_key = |condition: Condition| Ok::<_, Infallible>(Filter::Where(Condition { key: Some("key".to_owned()), ..condition }));
    let Ok(filter) = filter.rewritten(&mut { with_key });
    filter
}

#[test]
fn the_table_of_operators_is_what_every_state_answers() {
    let table = table_of_operators(false);
    assert_eq!(table, table_of_operators(true), "a map is a list under each key");
    let documented = include_str!("../../../model/QUERIES.md");
    assert!(documented.contains(&table), "QUERIES.md is to say:\n{table}");
}

/// Everything that a cabinet can be asked in the small world of [`plan`].
pub(crate) fn answers<S: State>(cabinet: &Cabinet<S>, queries: &[Query]) -> String {
    let position = cabinet.mark().position.0;
    let ids: Vec<ObjectId> = (1..9).map(ObjectId).collect();
    let mut answers = format!("{:?} {:?}", cabinet.mark(), cabinet.counts());
    for query in queries {
        answers += &format!("\n{:?}", cabinet.query(query).unwrap());
    }
    answers += &format!("\n{:?}", cabinet.get(&Get { objects: ids.clone() }).unwrap());
    for object in ids {
        let before = Some(Position(position / 2 + 1));
        answers += &format!("\n{:?}", cabinet.history(&History { object, before: None, limit: 20 }).unwrap());
        answers += &format!("\n{:?}", cabinet.history(&History { object, before, limit: 2 }).unwrap());
        answers += &format!("\n{:?}", (0..=position).map(|p| cabinet.object_at(object, Position(p)).unwrap()).collect::<Vec<_>>());
    }
    for id in 1..200 {
        answers += &format!("\n{:?}", cabinet.outcome(CommitId(id)).unwrap());
    }
    answers
}

/// Queries answered by going through every object give the same.
fn check_against_evaluator<S: State>(cabinet: &Cabinet<S>, queries: &[Query]) -> Result<(), TestCaseError> {
    let objects: BTreeMap<ObjectId, Object> =
        (1..9).map(ObjectId).filter_map(|id| cabinet.state().object(id).unwrap().map(|object| (id, object))).collect();
    for query in queries {
        let found = cabinet.query(query).unwrap();
        prop_assert_eq!((found.objects, found.more), expected(query, &objects), "{:?}", query);
    }
    Ok(())
}

proptest! {
    #![proptest_config(seeded(64))]

    #[test]
    fn all_states_answer_equally(plans in prop::collection::vec(plan(), 1..60), queries in prop::collection::vec(query(), 12)) {
        let mut memory = Cabinet::new(MemoryState::new());
        // Its tables are full after a few commits, so that all of this goes through flushes and merges.
        let (directory, state) = sled_state_with(TINY);
        let mut sled = Cabinet::new(state);
        let reopened = |sled: Cabinet<SledState>, log: &[Proposal]| {
            drop(sled);
            let (state, opened) = SledState::open_with(&directory.path().join("state"), log.len() as u64, TINY).unwrap();
            prop_assert!(matches!(opened, StateOpened::Kept), "{:?}", opened);
            let mut sled = Cabinet::new(state);
            // What changed nothing was not written, and is in the chain all the same.
            for proposal in &log[usize::try_from(sled.mark().index).unwrap()..] {
                sled.next(proposal);
            }
            Ok(sled)
        };
        let mut log = Vec::new();
        for (place, plan) in plans.iter().enumerate() {
            let proposal = plan.proposal(&memory);
            prop_assert_eq!(memory.next(&proposal), sled.next(&proposal));
            log.push(proposal);
            if place == plans.len() / 2 {
                sled = reopened(sled, &log)?;
            }
        }
        check_against_evaluator(&memory, &queries)?;
        let expected = answers(&memory, &queries);
        prop_assert_eq!(&expected, &answers(&sled, &queries));
        // And after it was closed and opened again.
        let sled = reopened(sled, &log)?;
        prop_assert_eq!(&expected, &answers(&sled, &queries));
    }

    /// Replaying the same log gives the same cabinet: what happened between is not remembered elsewhere.
    #[test]
    fn replay_is_deterministic(plans in prop::collection::vec(plan(), 1..60)) {
        let mut first = Cabinet::new(MemoryState::new());
        let log: Vec<_> = plans.iter().map(|plan: &Plan| {
            let proposal = plan.proposal(&first);
            first.next(&proposal);
            proposal
        }).collect();
        let mut second = Cabinet::new(MemoryState::new());
        for proposal in &log {
            second.next(proposal);
        }
        prop_assert_eq!(answers(&first, &[]), answers(&second, &[]));
    }
}

mod sled {
    use std::fs;

    use super::*;
    use crate::state::StateError;

    #[test]
    fn state_ahead_of_the_journal_is_set_aside_and_rebuilt() {
        let (directory, state) = sled_state();
        let path = directory.path().join("state");
        let mut cabinet = Cabinet::new(state);
        cabinet.commit(commit(1, vec![create(1, "case", vec![])]));
        drop(cabinet);
        let (state, opened) = SledState::open(&path, 1).unwrap();
        assert!(matches!(opened, StateOpened::Kept));
        assert_eq!(state.mark().position, Position(1));
        drop(state);
        let (state, opened) = SledState::open(&path, 0).unwrap();
        let StateOpened::Rebuilding { set_aside, .. } = opened else { panic!("{opened:?}") };
        assert_eq!(set_aside, directory.path().join("state.quarantine-1"));
        assert_eq!(state.mark(), Default::default());
        drop(state);
        // What was set aside is whole.
        assert_eq!(SledState::open(&set_aside, 1).unwrap().0.mark().position, Position(1));
    }

    /// Somebody else's state is not damaged: it stays where it is.
    #[test]
    fn state_in_use_is_left_alone() {
        let (directory, state) = sled_state();
        let path = directory.path().join("state");
        assert!(matches!(SledState::open(&path, 0), Err(StateError::InUse { .. })));
        assert!(!directory.path().join("state.quarantine-1").exists());
        drop(state);
        assert!(matches!(SledState::open(&path, 0).unwrap().1, StateOpened::Kept));
    }

    #[test]
    fn state_that_cannot_be_opened_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        for number in 1..=2 {
            let _gone = fs::remove_dir_all(&path);
            fs::write(&path, b"this is no database").unwrap();
            let (state, opened) = SledState::open(&path, 9).unwrap();
            let StateOpened::Rebuilding { set_aside, reason } = opened else { panic!("{opened:?}") };
            assert_eq!(set_aside, directory.path().join(format!("state.quarantine-{number}")));
            assert!(!reason.is_empty());
            drop(state);
        }
    }

    #[test]
    fn state_with_a_mark_of_another_version_is_set_aside() {
        let (directory, state) = sled_state();
        let path = directory.path().join("state");
        drop(state);
        let database = ::sled::open(&path).unwrap();
        database.insert(b"m", &[9, 9, 9]).unwrap();
        database.flush().unwrap();
        drop(database);
        assert!(matches!(SledState::open(&path, 9).unwrap().1, StateOpened::Rebuilding { .. }));
    }
}
