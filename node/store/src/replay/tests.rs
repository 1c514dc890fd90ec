//! What a replay applies, in which order, and where it ends.

use std::sync::Arc;

use bytes::Bytes;
use caps_model::{Name, Position, Value};

use super::*;
use crate::cabinet::Proposal;
use crate::cabinet::workload::{commit, create, data};
use crate::journal::{Opened, Options, Record, open};
use crate::state::MemoryState;
use crate::storage::{MemoryStorage, Storage};

/// More than all slices that may wait hold together.
const ENTRIES: u64 = 5_000;

/// A journal of which every tenth entry asks for nothing; nothing of it is in memory.
fn journal(payload: impl Fn(u64) -> Option<Bytes>) -> (MemoryStorage, Opened) {
    let storage = MemoryStorage::new();
    let options = Options { cache_bytes: 0, ..Options::new(Name::fixed("main")) };
    let mut journal = open(Arc::new(storage.clone()), options).unwrap();
    let entries = (1..=ENTRIES).map(|index| {
        let usual = || match index % 10 {
            0 => Bytes::new(),
            _ => data(&made(index), index).into(),
        };
        Record::Entry(Entry { index, term: 1, kind: EntryKind::Normal, payload: payload(index).unwrap_or_else(usual) })
    });
    journal.writer.append(journal.reader.stage(entries.collect())).unwrap();
    journal.writer.sync().unwrap();
    (storage, journal)
}

/// The proposal that creates one object.
fn made(index: u64) -> Proposal {
    let change = create(index.into(), "case", vec![("text", vec![Value::Text(format!("case {index}"))])]);
    Proposal::Commit(commit(index.into(), vec![change]))
}

fn go_on(_: &Cabinet<MemoryState>, _: u64, _: Option<&Proposed>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn figures_say_what_is_left() {
    let figures = Figures { done: 300, total: 1_000 };
    let elapsed = Duration::from_secs(3);
    assert_eq!((figures.rate(elapsed), figures.left(elapsed)), (100, Some(Duration::from_secs(7))));
    assert_eq!(Figures { done: 0, total: 10 }.left(elapsed), None);
}

#[test]
fn every_entry_is_applied_once_and_in_order() {
    let (_, journal) = journal(|_| None);
    let mut expected = Cabinet::new(MemoryState::new());
    for entry in journal.reader.entries(1, ENTRIES + 1, u64::MAX).unwrap() {
        match proposed(&entry).unwrap() {
            Some(proposed) => drop(expected.apply(entry.index, &proposed).unwrap()),
            None => expected.skip(entry.index),
        }
    }
    let mut cabinet = Cabinet::new(MemoryState::new());
    let (mut heard, mut told) = (Vec::new(), Vec::new());
    let before = |_: &Cabinet<MemoryState>, index, proposed: Option<&Proposed>| {
        heard.push((index, proposed.is_some()));
        ControlFlow::Continue(())
    };
    replay(&journal.reader, &mut cabinet, ENTRIES, before, &mut |figures| told.push(figures)).unwrap();
    assert_eq!(heard, (1..=ENTRIES).map(|index| (index, index % 10 != 0)).collect::<Vec<_>>());
    assert_eq!((cabinet.mark(), cabinet.mark().position), (expected.mark(), Position(ENTRIES - ENTRIES / 10)));
    assert!(told.is_sorted_by_key(|figures| figures.done) && told.last() == Some(&Figures { done: ENTRIES, total: ENTRIES }));

    // There is nothing left to do, and nobody hears of it.
    replay(&journal.reader, &mut cabinet, ENTRIES, |_, _, _| unreachable!(), &mut |_| unreachable!()).unwrap();
}

#[test]
fn a_replay_ends_where_it_is_told_to() {
    let (_, journal) = journal(|_| None);
    let mut cabinet = Cabinet::new(MemoryState::new());
    let before = |_: &Cabinet<MemoryState>, index, _: Option<&Proposed>| match index {
        700 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    replay(&journal.reader, &mut cabinet, ENTRIES, before, &mut |_| {}).unwrap();
    assert_eq!(cabinet.mark().index, 699);
    replay(&journal.reader, &mut cabinet, 1_234, go_on, &mut |_| {}).unwrap();
    assert_eq!(cabinet.mark().index, 1_234);
}

#[test]
fn what_cannot_be_understood_is_named_and_all_before_it_is_applied() {
    for bad in [1, 513, 3_333] {
        let (_, journal) = journal(|index| (index == bad).then(|| b"from a later release"[..].into()));
        let mut cabinet = Cabinet::new(MemoryState::new());
        let failed = replay(&journal.reader, &mut cabinet, ENTRIES, go_on, &mut |_| {}).unwrap_err();
        assert!(matches!(failed, ReplayError::Entry { index, .. } if index == bad), "{failed}");
        assert_eq!(cabinet.mark().index, bad - 1);
    }
}

#[test]
fn damage_is_found_and_all_before_it_is_applied() {
    let (storage, journal) = journal(|_| None);
    let file = storage.open("journal-0000000001").unwrap();
    let mut bytes = vec![0; usize::try_from(file.size_bytes().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    let place = bytes.windows(9).position(|bytes| bytes == b"case 2345").unwrap();
    storage.flip_bit("journal-0000000001", place as u64, 2);
    let mut cabinet = Cabinet::new(MemoryState::new());
    let failed = replay(&journal.reader, &mut cabinet, ENTRIES, go_on, &mut |_| {}).unwrap_err();
    assert!(matches!(failed, ReplayError::Read(ReadError::Damaged { .. })), "{failed}");
    assert_eq!(cabinet.mark().index, 2_344);
}
