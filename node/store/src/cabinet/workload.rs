//! Commits for tests: made by hand, or drawn at random from a small world in which objects, values and commits meet again and again.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Bound;

use caps_model::query::{Condition, Cursor, Order, Pattern, PatternKind, Relations, Test, Words};
use caps_model::value::{BlobId, Choice, Decimal, Entry};
use caps_model::{Author, Change, Commit, CommitId, Filter, Name, Object, ObjectId, Position, Query, Read, Record, Value, codec};
use caps_overlay::Rng;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::{Applied, Cabinet, Proposal, Proposed};
use crate::state::State;

/// So many cases of a property, the same ones in every run.
pub(crate) fn seeded(cases: u32) -> ProptestConfig {
    ProptestConfig { rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

/// A commit with these changes that relies on nothing.
pub(crate) fn commit(id: u128, changes: Vec<Change>) -> Commit {
    let author = Author {
        user: None,
        front_end: "spiffe://example/site/lund/layer/4/desk".to_owned(),
        host: "spiffe://example/site/lund/layer/2/host".to_owned(),
        module: Name::fixed("casedesk"),
        module_version: 1,
        method: Name::fixed("assign"),
        reason: None,
    };
    let result = record(vec![("number", vec![Value::Int(i64::try_from(id).unwrap())])]);
    Commit { id: CommitId(id), author, time: 1_000, reads: Vec::new(), changes, effects: Vec::new(), result }
}

pub(crate) fn record(attributes: Vec<(&'static str, Vec<Value>)>) -> Record {
    attributes.into_iter().map(|(name, values)| (Name::fixed(name), values)).collect()
}

pub(crate) fn create(object: u128, entity: &'static str, attributes: Vec<(&'static str, Vec<Value>)>) -> Change {
    Change::Create { object: ObjectId(object), entity: Name::fixed(entity), ancestors: Vec::new(), attributes: record(attributes) }
}

pub(crate) fn update(object: u128, attributes: Vec<(&'static str, Vec<Value>)>) -> Change {
    Change::Update { object: ObjectId(object), attributes: record(attributes) }
}

pub(crate) fn delete(object: u128) -> Change {
    Change::Delete { object: ObjectId(object) }
}

impl<S: State> Cabinet<S> {
    /// Applies a proposal at the next index.
    pub(crate) fn next(&mut self, proposal: &Proposal) -> Applied {
        let index = self.mark().index + 1;
        self.apply(index, &Proposed::decode(&data(proposal, index), index, TERM).unwrap()).unwrap()
    }

    /// Applies a commit at the next index.
    pub(crate) fn commit(&mut self, commit: Commit) -> Applied {
        self.next(&Proposal::Commit(commit))
    }
}

/// The data of the entry at `index` that proposes this, always the same.
pub(crate) fn data(proposal: &Proposal, index: u64) -> Vec<u8> {
    // The leader's clock is far ahead, so that the host's counts.
    proposal.encode(i64::MAX, &Rng::seeded(index)).unwrap()
}

/// The term of all entries.
pub(crate) const TERM: u64 = 1;

/// A proposal that is made concrete when it is applied, because what it reads depends on what happened before.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    id: u128,
    seal: bool,
    changes: Vec<(u128, PlannedChange)>,
    /// Objects read, each perhaps at a version that is not theirs.
    reads: Vec<(u128, bool)>,
    /// A query read, so many commits ago.
    query: Option<(Query, u64)>,
}

/// What to do to an object, as far as that fits.
#[derive(Clone, Debug)]
enum PlannedChange {
    Write(Record),
    Delete,
    /// Created whether it exists or not.
    Create(Record),
}

impl Plan {
    /// The proposal at this moment.
    pub(crate) fn proposal<S: State>(&self, cabinet: &Cabinet<S>) -> Proposal {
        if self.seal {
            return Proposal::Seal(CommitId(self.id));
        }
        let now = |id: u128| cabinet.state().object(ObjectId(id)).unwrap();
        let change = |(id, planned): &(u128, PlannedChange)| {
            let object = ObjectId(*id);
            match planned {
                PlannedChange::Delete => Change::Delete { object },
                PlannedChange::Write(attributes) if now(*id).is_some() => Change::Update { object, attributes: attributes.clone() },
                PlannedChange::Write(attributes) | PlannedChange::Create(attributes) => {
                    Change::Create { object, entity: entity_of(*id), ancestors: Vec::new(), attributes: attributes.clone() }
                }
            }
        };
        let read = |(id, stale): &(u128, bool)| {
            let version = now(*id).map_or(Position::ZERO, |object| object.version);
            Read::Object { object: ObjectId(*id), version: Position(version.0 + u64::from(*stale)) }
        };
        let mut reads: Vec<Read> = self.reads.iter().map(read).collect();
        let position = cabinet.mark().position.0;
        reads.extend(
            self.query.iter().map(|(query, ago)| Read::Query { query: query.clone(), at: Position(position.saturating_sub(*ago)) }),
        );
        Proposal::Commit(Commit { reads, ..commit(self.id, self.changes.iter().map(change).collect()) })
    }
}

/// Objects keep their entity for ever.
fn entity_of(id: u128) -> Name {
    if id.is_multiple_of(3) { Name::fixed("customer") } else { Name::fixed("case") }
}

/// A plan in a world of eight objects.
pub(crate) fn plan() -> impl Strategy<Value = Plan> {
    let changes = prop::collection::btree_map(1..9_u128, planned_change(), 0..4).prop_map(|changes| changes.into_iter().collect());
    let reads = prop::collection::vec((1..9_u128, prop::bool::weighted(0.1)), 0..3);
    // What a commit relies on travels, unlike what only a test asks.
    let travels = |query: &Query| codec::encode(query).is_ok_and(|bytes| codec::decode::<Query>(&bytes).is_ok());
    let query = prop::option::weighted(0.2, (plain_query().prop_filter("it does not travel", travels), 0..4_u64));
    // Few ids, so that some come again.
    (1..200_u128, prop::bool::weighted(0.05), changes, reads, query).prop_map(|(id, seal, changes, reads, query)| Plan {
        id,
        seal,
        changes,
        reads,
        query,
    })
}

fn planned_change() -> impl Strategy<Value = PlannedChange> {
    prop_oneof![
        8 => attributes().prop_map(PlannedChange::Write),
        1 => Just(PlannedChange::Delete),
        1 => attributes().prop_map(PlannedChange::Create),
    ]
}

fn attributes() -> impl Strategy<Value = Record> {
    let name = prop::sample::select(vec!["state", "number", "owner", "due", "open", "weight"]).prop_map(Name::fixed);
    prop::collection::btree_map(name, prop::collection::vec(value(), 0..3), 0..4)
}

/// Values of any kind in any attribute: a store must not rely on schemas.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        (-2..3_i64).prop_map(Value::Int),
        prop::sample::select(vec![i64::MIN, i64::MAX]).prop_map(Value::Int),
        (0..3_i64).prop_map(Value::Timestamp),
        (0..3_i64).prop_map(Value::Timespan),
        prop::sample::select(vec![-0.0, 0.0, 1.5, f64::NAN]).prop_map(Value::Float),
        prop::sample::select(vec![1, 2, u128::MAX]).prop_map(|id| Value::Reference(ObjectId(id))),
        "[ab\\x00]{0,2}".prop_map(Value::Text),
        // Longer than what an index keeps, and different only beyond that.
        "a{70}[ab]".prop_map(Value::Text),
        prop::collection::vec(any::<u8>(), 0..2).prop_map(Value::Bytes),
        (-2..3_i128, 0..2_u32).prop_map(|(digits, scale)| Value::Decimal(Decimal::new(digits, scale).expect("it is short"))),
        (0..3_i32).prop_map(|rank| Value::Choice(Choice { rank, word: Name::fixed("word") })),
        (0..3_u8).prop_map(|byte| Value::Blob(Box::new(BlobId { hash: [byte; 32], size_bytes: 9 }))),
        ("[ab]{0,1}", -1..2_i64).prop_map(|(key, number)| entry(&key, Value::Int(number))),
        ("[ab]{0,1}", "[ab ]{0,4}").prop_map(|(key, text)| entry(&key, Value::Text(text))),
        "([ab]{1,2} ){0,3}".prop_map(Value::Text),
    ]
}

fn entry(key: &str, value: Value) -> Value {
    Value::Entry(Box::new(Entry::new(key, value).expect("the value is no entry")))
}

/// Queries that commits may rely on, and readers follow.
pub(crate) fn plain_query() -> impl Strategy<Value = Query> {
    query().prop_filter("it reaches through relations", |query| !query.filter.reaches_through())
}

pub(crate) fn query() -> impl Strategy<Value = Query> {
    let attribute = || prop::sample::select(vec!["state", "number", "owner", "due", "open", "weight"]).prop_map(Name::fixed);
    let bound = || prop_oneof![value().prop_map(Bound::Included), value().prop_map(Bound::Excluded), Just(Bound::Unbounded)];
    let words = || "[ab]{1,2}( [ab]{1,2})?\\*?".prop_filter_map("no words", |typed| Words::new(&typed));
    let like = ("[ab%_]{1,4}", any::<bool>()).prop_map(|(like, any_case)| {
        let kind = if any_case { PatternKind::LikeAnyCase } else { PatternKind::Like };
        Test::Like(Pattern::new(kind, &like).expect("it is short"))
    });
    let test = prop_oneof![
        1 => Just(Test::Present),
        4 => value().prop_map(Test::Equal),
        2 => prop::collection::vec(value(), 0..4).prop_map(Test::one_of),
        4 => (bound(), value()).prop_map(|(from, to)| Test::Range { from, to: Bound::Included(to) }),
        2 => value().prop_map(|from| Test::Range { from: Bound::Excluded(from), to: Bound::Unbounded }),
        2 => like,
        1 => words().prop_map(Test::Words),
    ];
    let key = || prop::option::weighted(0.3, "[ab]{0,1}");
    let leaf = prop_oneof![
        1 => Just(Filter::All),
        12 => (attribute(), key(), test).prop_map(|(attribute, key, test)| Filter::Where(Condition { attribute, key, test })),
        1 => words().prop_map(Filter::Text),
    ];
    let filter = leaf.prop_recursive(2, 8, 3, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Filter::And),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Filter::Or),
            inner.clone().prop_map(|filter| Filter::Not(Box::new(filter))),
            (attribute(), any::<bool>(), inner).prop_map(|(attribute, known, filter)| Filter::Through {
                attribute,
                entity: known.then(|| Name::fixed("case")),
                filter: Box::new(filter),
            }),
        ]
    });
    let order = (attribute(), any::<bool>()).prop_map(|(attribute, descending)| Order { attribute, descending });
    let orders = prop_oneof![2 => Just(Vec::new()), 3 => prop::collection::vec(order, 1..3)];
    let cursor = (prop::collection::vec(prop::option::of(value()), 2), 0..9_u128);
    let entity = prop::sample::select(vec!["case", "customer"]).prop_map(Name::fixed);
    (entity, filter, orders, prop::option::weighted(0.3, cursor), 1..12_u32).prop_map(|(entity, filter, order, cursor, limit)| {
        let values = |values: Vec<Option<Value>>| values.into_iter().take(order.len()).collect();
        let after = cursor.map(|(all, id)| Cursor { values: values(all), object: ObjectId(id) });
        Query { entity, filter, order, after, limit }
    })
}

/// What a query should answer, by going through everything.
pub(crate) fn expected(query: &Query, objects: &BTreeMap<ObjectId, Object>) -> (Vec<Object>, bool) {
    let all = All(objects);
    let matches = |object: &&Object| {
        let Ok(matches) = query.matches_among(object, &all);
        matches
    };
    let mut matching: Vec<Object> = objects.values().filter(matches).cloned().collect();
    let more = query.arrange(&mut matching);
    (matching, more)
}

struct All<'a>(&'a BTreeMap<ObjectId, Object>);

impl Relations for All<'_> {
    type Error = Infallible;

    fn related(&self, id: ObjectId) -> Result<Option<Cow<'_, Object>>, Infallible> {
        Ok(self.0.get(&id).map(Cow::Borrowed))
    }
}
