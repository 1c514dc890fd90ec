//! Obliterations outlive every cut, whichever journal knows of them.

use caps_model::{Author, CommitId, ObjectId, Value};

use super::*;
use crate::cabinet::{Obliteration, Target};
use crate::journal::{Entry, EntryKind, HardState, Record, Seat};

fn creating(id: u128) -> Proposal {
    Proposal::Commit(commit(id, vec![create(id, "case", vec![("name", vec![Value::text("Rumpelstilzchen")])])]))
}

fn obliterating(id: u128, object: u128) -> Proposal {
    let author = Author { reason: Some("asked for".to_owned()), ..commit(1, vec![]).author };
    let target = Target { object: ObjectId(object), attribute: Name::fixed("name"), from: Position(0), to: Position(u64::MAX) };
    Proposal::Obliterate(Obliteration { id: CommitId(id), author, time: 5, targets: vec![target] })
}

/// A journal with these entries, of which so many are known to be committed.
fn journal_of(proposals: &[Proposal], committed: u64) -> Source {
    let disk = MemoryStorage::new();
    let founders = vec![journal::Founder { number: 1, votes: true, identity: node().uri().to_owned() }];
    let mut opened = journal::open(Arc::new(disk.clone()), Options::new(Name::fixed("main"))).unwrap();
    let mut records = vec![Record::Seat(Seat { incarnation: 1, number: 1, founders })];
    for (index, proposal) in (1..).zip(proposals) {
        records.push(Record::Entry(Entry { index, term: 1, kind: EntryKind::Normal, payload: data(proposal, index).into() }));
    }
    records.push(Record::HardState(HardState { term: 1, vote: 1, commit: committed }));
    opened.writer.append(opened.reader.stage(records)).unwrap();
    opened.writer.close().unwrap();
    Source::open("journal", Arc::new(disk)).unwrap()
}

fn built(sources: &[Source], to: At, orders: Vec<Order>) -> (Built, MemoryStorage) {
    let memory = MemoryStorage::new();
    let target: Arc<dyn Storage> = Arc::new(memory.clone());
    let restoration = Restoration { node: node(), voters: vec![node()], learners: Vec::new(), to, set_aside: false, orders };
    (build(sources, &target, &restoration, Box::new(MemoryState::new()), &mut |_| {}).unwrap(), memory)
}

/// What is left of the names of the first objects, and the node's number.
fn outcome(sources: &[Source], to: At, orders: Vec<Order>) -> (Vec<bool>, u64) {
    let (built, memory) = built(sources, to, orders);
    let number = built.take_place().unwrap().number;
    let restored = Source::open("restored", Arc::new(memory)).unwrap();
    let mut cabinet = Cabinet::new(MemoryState::new());
    let go_on = |_: &Cabinet<_>, _: u64, _: Option<&crate::cabinet::Proposed>| std::ops::ControlFlow::Continue(());
    crate::replay::replay(&restored.reader, &mut cabinet, restored.committed, go_on, &mut |_| {}).unwrap();
    use crate::state::State;
    let names = (1..=3).map(|object| cabinet.state().object(ObjectId(object)).unwrap().unwrap().text("name").is_some());
    (names.collect(), number)
}

#[test]
fn every_source_is_asked_for_obliterations_and_every_order_gives_the_same_log() {
    let common = [creating(1), creating(2), creating(3)];
    let with = |more: &[Proposal]| [&common[..], more].concat();
    // The longest knows of one; a shorter one has another at its end, of which it does not know that it is committed.
    let longest = || journal_of(&with(&[obliterating(10, 1), creating(4)]), 5);
    let shorter = || journal_of(&with(&[obliterating(10, 1), creating(4), obliterating(11, 2)]), 4);
    let third = || journal_of(&with(&[obliterating(10, 1)]), 3);
    assert_eq!(outcome(&[longest()], At::Position(Position(3)), Vec::new()).0, [false, true, true]);
    let (names, number) = outcome(&[longest(), shorter(), third()], At::Position(Position(3)), Vec::new());
    assert_eq!(names, [false, false, true]);
    assert_eq!(outcome(&[third(), shorter(), longest()], At::Position(Position(3)), Vec::new()), (names, number));
    // Whoever carries others over is no member to the rest.
    assert_ne!(outcome(&[longest()], At::Position(Position(3)), Vec::new()).1, number);
    // All of it: what is in the history already is not carried over once more.
    let (built, _) = built(&[longest(), third()], At::Present, Vec::new());
    assert_eq!(built.take_place().unwrap().carried, 0);
}

#[test]
fn obliterations_of_another_history_hold_where_they_are_given_and_are_missed_where_not() {
    let backup = || journal_of(&[creating(1), creating(2), creating(3)], 3);
    let other = journal_of(&[creating(1), creating(2), obliterating(12, 2), creating(5)], 4);
    let orders = other.orders().unwrap();
    let (lacking, _) = built(&[backup()], At::Present, Vec::new());
    assert_eq!(lacking.lacking(&orders), [CommitId(12)]);
    let (whole, _) = built(&[backup()], At::Present, orders.clone());
    assert_eq!(whole.lacking(&orders), []);
    assert_eq!(outcome(&[backup()], At::Present, orders).0, [true, false, true]);
}
