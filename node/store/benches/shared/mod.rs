//! The cases that benchmarks of cabinets file, and what they ask of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use caps_model::{Author, Change, Commit, CommitId, Name, ObjectId, Query, Record, Value};
use caps_store::cabinet::Cabinet;
use caps_store::state::State;

/// Asks what is commonly asked, and says how long that takes.
pub(crate) fn queries(of: &str, cabinet: &Cabinet<Box<dyn State>>, objects: u64, times: usize) {
    let middle = objects / 2;
    for (what, filter, order) in [
        ("one value", format!("number = {middle}"), None),
        ("20 of a range", format!("number between {middle} and {}", middle + 19), None),
        ("20 newest due of one in five", "status = open".to_owned(), Some("due_at")),
        ("20 of one owner in an order", format!("owner = #{}", ObjectId(7)), Some("number")),
        ("20 by words", format!("subject about 'pump w{}'", middle % WORDS), None),
    ] {
        let mut query = Query::all(Name::fixed("case")).and(filter.parse().expect("it is a filter")).limit(20);
        if let Some(order) = order {
            query = query.by(Name::fixed(order), true);
        }
        let mut took: Vec<Duration> = (0..times)
            .map(|_| {
                let began = now();
                let found = cabinet.query(&query).expect("the state answers");
                assert!(!found.objects.is_empty());
                began.elapsed()
            })
            .collect();
        took.sort();
        let explained = cabinet.explain(&query).expect("the state answers");
        let (p50, p99) = (took[times / 2], took[times * 99 / 100]);
        say(&format!("{of}: {what}"), &format!("p50 {p50:.1?}, p99 {p99:.1?}, looked at {}; {}", explained.looked_at, explained.plan));
    }
}

/// A case like those of the case desk: a number, a state, an owner, a due time, a subject.
pub(crate) fn case(number: u64) -> Change {
    let one = |value| vec![value];
    let signed = i64::try_from(number).expect("so many cases there never are");
    let status = ["open", "waiting", "closed", "new", "merged"][usize::try_from(number % 5).expect("less than 5")];
    let attributes: Record = BTreeMap::from([
        (Name::fixed("number"), one(Value::Int(signed))),
        (Name::fixed("status"), one(Value::text(status))),
        (Name::fixed("owner"), one(Value::Reference(ObjectId(u128::from(number % 1_000))))),
        (Name::fixed("due_at"), one(Value::Timestamp(signed.wrapping_mul(7_919) % 1_000_003))),
        (Name::fixed("subject"), one(Value::Text(format!("pump {number} w{}", number % WORDS)))),
    ]);
    Change::Create { object: ObjectId(u128::from(number) << 32), entity: Name::fixed("case"), ancestors: Vec::new(), attributes }
}

/// The commit that files them.
pub(crate) fn commit(index: u64, changes: Vec<Change>) -> Commit {
    let author = Author {
        user: None,
        front_end: "spiffe://bench.example/site/lund/layer/4/desk".to_owned(),
        host: "spiffe://bench.example/site/lund/layer/2/host".to_owned(),
        module: Name::fixed("casedesk"),
        module_version: 1,
        method: Name::fixed("file_mail"),
        reason: None,
    };
    let time = i64::try_from(index).expect("so many commits there never are");
    Commit { id: CommitId(u128::from(index)), author, time, reads: Vec::new(), changes, effects: Vec::new(), result: Record::new() }
}

/// So many in a second.
pub(crate) fn per_second(count: u64, took: Duration) -> u64 {
    u64::try_from(u128::from(count) * 1_000_000 / took.as_micros().max(1)).unwrap_or(u64::MAX)
}

/// One line of the report.
pub(crate) fn say(what: &str, figure: &str) {
    println!("{what:<58} {figure}");
}

/// The time.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures the real machine")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Words that tell subjects apart: each is in some hundred of a million.
const WORDS: u64 = 10_007;
