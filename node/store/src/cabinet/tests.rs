use std::ops::Bound;

use caps_model::commit::{CHANGES_MAX, READS_MAX};
use caps_model::messages::{GET_MAX, Get, History};
use caps_model::{Filter, Name, ObjectId, Query, Read, Value, codec};
use caps_overlay::Rng;
use proptest::prelude::*;

use super::workload::*;
use super::*;
use crate::state::MemoryState;

fn cabinet() -> Cabinet<MemoryState> {
    Cabinet::new(MemoryState::new())
}

fn text(text: &str) -> Vec<Value> {
    vec![Value::text(text)]
}

fn conflict(position: u64, objects: &[u128]) -> Verdict {
    let objects = objects.iter().map(|id| ObjectId(*id)).collect();
    Verdict::Commit(Committed::Conflict { position: Position(position), objects })
}

fn accepted_at(applied: &Applied) -> Option<(u64, bool)> {
    match applied.verdict {
        Verdict::Commit(Committed::Accepted { position, repeated, .. }) => Some((position.0, repeated)),
        _ => None,
    }
}

fn with_reads(commit: Commit, reads: Vec<Read>) -> Commit {
    Commit { reads, ..commit }
}

fn read(object: u128, version: u64) -> Read {
    Read::Object { object: ObjectId(object), version: Position(version) }
}

fn open_cases(at: u64) -> Read {
    let query = Query::equal(Name::fixed("case"), Name::fixed("state"), Value::text("open"));
    Read::Query { query, at: Position(at) }
}

#[test]
fn commit_happens_once_whoever_asks_again() {
    let mut cabinet = cabinet();
    let first = commit(7, vec![create(1, "case", vec![])]);
    assert_eq!(accepted_at(&cabinet.commit(first.clone())), Some((1, false)));
    let head = cabinet.mark().chain_head;
    cabinet.commit(commit(8, vec![delete(1)]));
    // The second attempt may even say something else: the first one counts.
    let again = cabinet.commit(Commit { result: record(vec![]), ..first.clone() });
    assert_eq!(accepted_at(&again), Some((1, true)));
    assert!(matches!(again.verdict, Verdict::Commit(Committed::Accepted { result, .. }) if result == first.result));
    assert_eq!((again.changes, again.position), (vec![], Position(2)));
    assert_ne!(cabinet.mark().chain_head, head);
    assert_eq!(cabinet.counts().objects, 1);
}

#[test]
fn sealed_commit_never_happens() {
    let mut cabinet = cabinet();
    let seal = Proposal::Seal(CommitId(7));
    assert_eq!(cabinet.next(&seal).verdict, Verdict::Seal(Outcome::Sealed));
    assert_eq!(cabinet.next(&seal).verdict, Verdict::Seal(Outcome::Sealed));
    assert_eq!(cabinet.commit(commit(7, vec![create(1, "case", vec![])])).verdict, Verdict::Commit(Committed::Sealed));
    assert_eq!(cabinet.outcome(CommitId(7)).unwrap(), Outcome::Sealed);
    assert_eq!(cabinet.mark().position, Position::ZERO);

    let happened = commit(8, vec![]);
    cabinet.commit(happened.clone());
    let outcome = Outcome::Accepted { position: Position(1), result: happened.result };
    assert_eq!(cabinet.next(&Proposal::Seal(CommitId(8))).verdict, Verdict::Seal(outcome));
}

#[test]
fn conflict_leaves_nothing_and_may_be_tried_anew() {
    let mut cabinet = cabinet();
    cabinet.commit(commit(1, vec![create(1, "case", vec![]), create(2, "case", vec![])]));
    let before = cabinet.mark();
    let stale = with_reads(commit(2, vec![delete(1)]), vec![read(1, 1), read(2, 0), read(3, 1)]);
    let applied = cabinet.commit(stale);
    assert_eq!((applied.verdict, applied.changes), (conflict(1, &[2, 3]), vec![]));
    assert_eq!((cabinet.mark().position, cabinet.mark().chain_head), (before.position, before.chain_head));
    assert_eq!(cabinet.outcome(CommitId(2)).unwrap(), Outcome::Unknown);
    let fresh = with_reads(commit(2, vec![delete(1)]), vec![read(1, 1), read(2, 1), read(3, 0)]);
    assert_eq!(accepted_at(&cabinet.commit(fresh)), Some((2, false)));
}

/// Write skew: two doctors on call, each goes home because the other is there. Reads of what is not written prevent it.
#[test]
fn write_skew_is_a_conflict() {
    let mut cabinet = cabinet();
    cabinet.commit(commit(1, vec![create(1, "doctor", vec![]), create(2, "doctor", vec![])]));
    let reads = || vec![read(1, 1), read(2, 1)];
    assert!(accepted_at(&cabinet.commit(with_reads(commit(2, vec![delete(1)]), reads()))).is_some());
    assert_eq!(cabinet.commit(with_reads(commit(3, vec![delete(2)]), reads())).verdict, conflict(2, &[1]));
}

/// Phantoms: an object that was not among the answers when the query was asked.
#[test]
fn query_read_fails_when_a_match_is_newer() {
    for far in [0, 2_000] {
        let mut cabinet = cabinet();
        cabinet.commit(commit(1, vec![create(1, "case", vec![("state", text("open"))]), create(2, "case", vec![])]));
        for n in 0..far {
            // Beyond a thousand commits the query is asked again, with the same answer.
            cabinet.commit(commit(5_000 + n, vec![]));
        }
        let now = cabinet.mark().position.0;
        assert!(accepted_at(&cabinet.commit(with_reads(commit(2, vec![]), vec![open_cases(1)]))).is_some());
        // Another object changes without matching: still no phantom.
        cabinet.commit(commit(3, vec![update(2, vec![("state", text("closed"))])]));
        assert!(accepted_at(&cabinet.commit(with_reads(commit(4, vec![]), vec![open_cases(1)]))).is_some());
        cabinet.commit(commit(5, vec![update(2, vec![("state", text("open"))])]));
        let verdict = cabinet.commit(with_reads(commit(6, vec![]), vec![open_cases(1)])).verdict;
        assert_eq!(verdict, conflict(now + 4, &[2]));
        assert!(accepted_at(&cabinet.commit(with_reads(commit(6, vec![]), vec![open_cases(now + 4)]))).is_some());
    }
}

#[test]
fn change_that_does_not_fit_is_a_conflict() {
    let mut cabinet = cabinet();
    cabinet.commit(commit(1, vec![create(1, "case", vec![])]));
    assert_eq!(cabinet.commit(commit(2, vec![create(2, "case", vec![]), create(1, "case", vec![])])).verdict, conflict(1, &[1]));
    assert_eq!(cabinet.commit(commit(3, vec![update(5, vec![])])).verdict, conflict(1, &[5]));
    cabinet.commit(commit(4, vec![delete(1)]));
    assert_eq!(cabinet.commit(commit(5, vec![delete(1)])).verdict, conflict(2, &[1]));
    assert_eq!(cabinet.counts().objects, 1);
}

#[test]
fn limits_are_refused_before_and_harmless_after() {
    let many = commit(1, (0..=CHANGES_MAX as u128).map(|id| create(id, "case", vec![])).collect());
    assert_eq!(refusal(&many), Err(Refusal::Changes(CHANGES_MAX + 1)));
    let twice = commit(1, vec![create(4, "case", vec![]), delete(4)]);
    assert_eq!(refusal(&twice), Err(Refusal::Twice(ObjectId(4))));
    let reads = with_reads(commit(1, vec![]), vec![read(1, 0); READS_MAX + 1]);
    assert_eq!(refusal(&reads), Err(Refusal::Reads(READS_MAX + 1)));
    let large = commit(1, vec![create(1, "case", vec![("body", text(&"x".repeat(PROPOSAL_BYTES_MAX)))])]);
    assert_eq!(refusal(&large), Err(Refusal::Size));
    let mut cabinet = cabinet();
    for refused in [many, twice, reads, large] {
        assert!(matches!(cabinet.commit(refused).verdict, Verdict::Commit(Committed::Conflict { .. })));
    }
    assert_eq!(cabinet.mark().position, Position::ZERO);
}

fn refusal(commit: &Commit) -> Result<(), Refusal> {
    admit(commit, &Rng::seeded(1)).map(drop)
}

#[test]
fn admitted_bytes_are_the_proposal() {
    let commit = commit(1, vec![create(1, "case", vec![("state", text("open")), ("number", vec![])])]);
    let mut bytes = admit(&commit, &Rng::seeded(1)).unwrap();
    stamp(&mut bytes, 77);
    let proposed = Proposed::decode(&bytes, 1, 1).unwrap();
    assert_eq!((proposed.proposal, proposed.time), (Proposal::Commit(commit), 77));
}

/// One host's clock is far ahead: what it commits does not make the moments of others useless.
#[test]
fn of_two_clocks_the_one_that_is_behind_counts() {
    let mut cabinet = cabinet();
    let mut commit_at = |id: u128, host, leader| {
        let proposal = Proposal::Commit(Commit { time: host, ..commit(id, vec![]) });
        let index = cabinet.mark().index + 1;
        let data = proposal.encode(leader, &Rng::seeded(1)).unwrap();
        cabinet.apply(index, &Proposed::decode(&data, index, 1).unwrap()).unwrap();
        cabinet.mark().moment
    };
    assert_eq!(commit_at(1, 1_000, 1_005), 1_000);
    assert_eq!(commit_at(2, 900_000, 1_010), 1_010);
    assert_eq!(commit_at(3, 1_011, 900_000), 1_011);
    assert_eq!(commit_at(4, 5, 6), 1_011);
}

#[test]
fn object_grows_no_larger_than_an_answer() {
    let mut cabinet = cabinet();
    let body = || text(&"x".repeat(300 << 10));
    assert!(accepted_at(&cabinet.commit(commit(1, vec![create(1, "case", vec![("a", body()), ("b", body())])]))).is_some());
    assert_eq!(cabinet.commit(commit(2, vec![update(1, vec![("c", body())])])).verdict, conflict(1, &[1]));
    assert_eq!(cabinet.get(&Get { objects: vec![ObjectId(1); 1] }).unwrap().objects.len(), 1);
}

/// Three answers of about 500 KiB do not fit one frame: the caller is told, and nothing larger than a frame is ever made.
#[test]
fn answers_fit_a_frame() {
    let mut cabinet = cabinet();
    for id in 1..=3_u8 {
        let attributes = vec![("body", text(&"x".repeat(500 << 10))), ("number", vec![Value::Int(-i64::from(id))])];
        cabinet.commit(commit(id.into(), vec![create(id.into(), "case", attributes)]));
    }
    cabinet.commit(commit(4, vec![update(1, vec![("number", vec![Value::Int(9)])])]));
    let all = Query::all(Name::fixed("case"));
    let found = cabinet.query(&all).unwrap();
    assert_eq!((found.objects.len(), found.objects[0].id, found.more), (1, ObjectId(1), true));
    assert!(codec::encode(&found).unwrap().len() < 1 << 20);
    let ordered = all.by(Name::fixed("number"), false);
    let found = cabinet.query(&ordered).unwrap();
    assert_eq!((found.objects.len(), found.objects[0].id, found.more), (1, ObjectId(3), true));
    let get = |count: usize| cabinet.get(&Get { objects: vec![ObjectId(1); count] });
    assert!(get(1).is_ok());
    assert!(matches!(get(2), Err(ReadError::TooLarge)));
    assert!(matches!(get(GET_MAX + 1), Err(ReadError::TooMany { .. })));
    // Both versions together are too large; the older one is asked for next.
    let history = |before| cabinet.history(&History { object: ObjectId(1), before, limit: 9 }).unwrap().events;
    assert_eq!(history(None).len(), 1);
    assert_eq!(history(Some(Position(4)))[0].commit, CommitId(1));
}

#[test]
fn history_says_who_did_what() {
    let mut cabinet = cabinet();
    for n in 1..=40 {
        let change = if n == 1 { create(1, "case", vec![]) } else { update(1, vec![("n", vec![Value::Int(n)])]) };
        cabinet.commit(commit(n as u128, vec![change]));
    }
    let timeline = cabinet.history(&History { object: ObjectId(1), before: None, limit: 30 }).unwrap();
    let positions: Vec<u64> = timeline.events.iter().map(|event| event.object.version.0).collect();
    assert_eq!(positions, (11..=40).rev().collect::<Vec<_>>());
    assert_eq!(timeline.events[0].method, (Name::fixed("casedesk"), Name::fixed("assign")));
    let rest = cabinet.history(&History { object: ObjectId(1), before: Some(Position(11)), limit: 30 }).unwrap();
    assert_eq!(rest.events.len(), 10);
}

#[test]
fn deleted_object_is_not_got() {
    let mut cabinet = cabinet();
    cabinet.commit(commit(1, vec![create(1, "case", vec![])]));
    cabinet.commit(commit(2, vec![delete(1)]));
    let got = cabinet.get(&Get { objects: vec![ObjectId(1), ObjectId(2)] }).unwrap();
    assert_eq!((got.position, got.objects), (Position(2), vec![None, None]));
}

/// Replicas that agree on the log agree on this number; it changes when, and only when, the meaning of commits changes.
#[test]
fn golden_chain_head() {
    let mut cabinet = cabinet();
    cabinet.commit(commit(1, vec![create(1, "case", vec![("state", text("open"))])]));
    cabinet.commit(with_reads(commit(2, vec![update(1, vec![("state", text("closed"))])]), vec![read(1, 1), open_cases(1)]));
    let head: String = cabinet.mark().chain_head.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(head, "b5adcdbb32a18ac2c24b7a2764109ff174f509e47e2c2e9ab8a54770bdb0827b");
}

proptest! {
    #![proptest_config(seeded(256))]

    /// The bound on an object's size that limits rely on is one.
    #[test]
    fn object_bytes_bound_the_encoding(values in prop::collection::vec(value(), 0..20), range in any::<u64>()) {
        let mut cabinet = cabinet();
        let changes = vec![create(u128::MAX - u128::from(range), "case", vec![("a", values), ("b", vec![])])];
        cabinet.commit(commit(1, changes));
        let found = cabinet.query(&Query::all(Name::fixed("case"))).unwrap();
        let none = cabinet.query(&Query::all(Name::fixed("none"))).unwrap();
        let encoded = codec::encode(&found).unwrap().len() - codec::encode(&none).unwrap().len();
        prop_assert!(encoded <= object_bytes(&found.objects[0]));
    }
}

#[test]
fn order_and_limit_agree_with_the_evaluator_when_more_match_than_are_held() {
    let mut cabinet = cabinet();
    for part in 0..25_u32 {
        let objects = (1..=1_000).map(|n| {
            let id = part * 1_000 + n;
            create(id.into(), "case", vec![("number", vec![Value::Int(i64::from(id) * 7_919 % 25_001)])])
        });
        cabinet.commit(commit(u128::from(part) + 1, objects.collect()));
    }
    let everything = (1..=25_000).filter_map(|id| Some((ObjectId(id), cabinet.state().object(ObjectId(id)).unwrap()?))).collect();
    let filter = Filter::range(Name::fixed("number"), Bound::Included(Value::Int(100)), Bound::Unbounded);
    let query = Query::all(Name::fixed("case")).and(filter).by(Name::fixed("number"), true).limit(700);
    let found = cabinet.query(&query).unwrap();
    assert_eq!((found.objects, found.more), expected(&query, &everything));
}
