//! Restores that break off.

mod blobs;
mod orders;

use std::sync::Arc;

use caps_model::messages::backup::{LogEntry, Reached};
use caps_model::messages::cabinet::Founder;
use caps_model::messages::inspect::At;
use caps_model::{Name, Position};
use caps_overlay::{Identity, Layer};

use super::restore::build_in;
use super::*;
use crate::cabinet::workload::{commit, create, data};
use crate::cabinet::{Cabinet, Proposal};
use crate::journal::{self, Options};
use crate::state::MemoryState;
use crate::storage::{MemoryStorage, Shadow, Storage};

fn node() -> Identity {
    Identity::node("test.example", "here", Layer::Cabinet, "store-1").unwrap()
}

/// A backup of a cabinet with commits of 2 KB each, in segments of a few.
fn backup(commits: u128) -> MemoryStorage {
    let disk = MemoryStorage::new();
    let mut backup = Backup::open(Arc::new(disk.clone()), Name::fixed("main")).unwrap();
    let mut cabinet = Cabinet::new(MemoryState::new());
    let mut entries = Vec::new();
    for id in 1..=commits {
        let text = caps_model::Value::Text("x".repeat(2_000));
        let proposal = Proposal::Commit(commit(id, vec![create(id, "case", vec![("text", vec![text])])]));
        let index = cabinet.next(&proposal).index;
        entries.push(LogEntry { index, term: 1, kind: 0, payload: data(&proposal, index) });
    }
    backup.begin(&reached(&cabinet)).unwrap();
    backup.take(entries).unwrap();
    backup.finish().unwrap();
    disk
}

/// What a replica says that has come so far.
fn reached(cabinet: &Cabinet<MemoryState>) -> Reached {
    let mark = cabinet.mark();
    Reached {
        cabinet: "main".to_owned(),
        node: "store-1".to_owned(),
        founders: vec![Founder { number: 1, node: node().uri().to_owned(), votes: true }],
        index: mark.index,
        position: mark.position,
        chain_head: mark.chain_head,
        moment: mark.moment,
    }
}

fn source(backup: &MemoryStorage) -> [Source; 1] {
    [Source::open("backup", Arc::new(backup.clone())).unwrap()]
}

fn small() -> Options {
    Options { segment_bytes: 4 << 10, ..Options::new(Name::fixed("main")) }
}

fn restored(source: &[Source], target: &MemoryStorage) -> Result<Restored, RestoreError> {
    let target: Arc<dyn Storage> = Arc::new(target.clone());
    let restoration =
        Restoration { node: node(), voters: vec![node()], learners: Vec::new(), to: At::Present, set_aside: true, orders: Vec::new() };
    build_in(source, &target, &restoration, Box::new(MemoryState::new()), &mut |_| {}, &small())?.take_place()
}

/// Wherever a restore ends too early, what it leaves is no journal, or a damaged one, or all of it; and the next restore does all of it.
#[test]
fn a_restore_that_breaks_off_leaves_nothing_that_is_taken_for_a_journal() {
    let backup = source(&backup(6));
    let whole = MemoryStorage::new();
    let expected = restored(&backup, &whole).unwrap();
    let operations = whole.operations();
    assert!(operations > 20, "{operations}");
    for halt in 0..operations {
        let target = MemoryStorage::new();
        target.halt_after(halt);
        restored(&backup, &target).unwrap_err();
        target.power_cut(|| false);
        match journal::open(Arc::new(Shadow::over(Arc::new(target.clone()))), small()) {
            Ok(opened) if opened.recovered.last_index == 0 => {}
            Ok(opened) => assert_eq!(opened.recovered.last_index, expected.entries, "{halt}"),
            Err(journal::OpenError::Damaged { .. }) => {}
            Err(error) => panic!("{halt}: {error}"),
        }
        let again = restored(&backup, &target).unwrap();
        assert_eq!((again.entries, again.mark, again.number), (expected.entries, expected.mark, expected.number));
        let opened = journal::open(Arc::new(target), small()).unwrap();
        assert_eq!((opened.recovered.last_index, opened.recovered.seat.unwrap().number), (expected.entries, expected.number));
        assert_eq!(opened.recovered.hard_state, journal::HardState::default());
    }
}

#[test]
fn a_source_is_read_and_never_changed() {
    let backup = backup(3);
    let file = backup.open("journal-0000000001").unwrap();
    let size = file.size_bytes().unwrap();
    let before = backup.operations();
    restored(&source(&backup), &MemoryStorage::new()).unwrap();
    assert_eq!((backup.operations(), file.size_bytes().unwrap()), (before, size));
}

#[test]
fn sources_must_be_of_one_history() {
    let open = |commits| Source::open(&format!("of {commits}"), Arc::new(backup(commits))).unwrap();
    let target: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let restoration =
        Restoration { node: node(), voters: vec![node()], learners: Vec::new(), to: At::Present, set_aside: false, orders: Vec::new() };
    let sources = [open(2), open(5), open(3)];
    let built = build(&sources, &target, &restoration, Box::new(MemoryState::new()), &mut |_| {}).unwrap();
    let restored = built.take_place().unwrap();
    // The longest counts.
    assert_eq!((restored.mark.position, restored.available), (Position(5), Position(5)));
}
