//! What an examination finds, and that it changes nothing.

use std::sync::Arc;

use caps_model::Name;

use super::*;
use crate::cabinet::workload::{commit, create, data, delete, update};
use crate::cabinet::{Cabinet, Proposal};
use crate::journal::{self, Entry, EntryKind, HardState, Options, Record, Seat};
use crate::state::{MemoryState, State, Step, Transaction};
use crate::storage::{MemoryStorage, Storage};

fn proposals() -> Vec<Proposal> {
    let text = |text: &str| vec![("text", vec![caps_model::Value::Text(text.to_owned())])];
    let changes = [create(1, "case", text("leak")), create(2, "case", text("pump")), update(1, text("valve")), delete(2)];
    (1..).zip(changes).map(|(id, change)| Proposal::Commit(commit(id, vec![change]))).collect()
}

/// The disk of a replica that ended in good order, and its state.
fn replica() -> (MemoryStorage, MemoryState) {
    let disk = MemoryStorage::new();
    let mut opened = journal::open(Arc::new(disk.clone()), Options::new(Name::fixed("main"))).unwrap();
    let mut cabinet = Cabinet::new(MemoryState::new());
    let mut records = vec![Record::Seat(Seat { incarnation: 1, number: 1, founders: Vec::new() })];
    for proposal in proposals() {
        let index = cabinet.next(&proposal).index;
        let payload = data(&proposal, index).into();
        records.push(Record::Entry(Entry { index, term: 1, kind: EntryKind::Normal, payload }));
    }
    records.push(Record::HardState(HardState { term: 1, vote: 1, commit: 4 }));
    opened.writer.append(opened.reader.stage(records)).unwrap();
    opened.writer.close().unwrap();
    (disk, cabinet.into_state())
}

fn sound(disk: &MemoryStorage) -> Box<Sound> {
    match examine(Arc::new(disk.clone())).unwrap().journal {
        JournalFound::Sound(sound) => sound,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_sound_journal_says_what_it_holds() {
    let (disk, state) = replica();
    let operations = disk.operations();
    let sound = sound(&disk);
    assert_eq!((sound.last_index, sound.committed, sound.torn.is_none()), (4, 4, true));
    let (expected, mark) = sound.replay(MemoryState::new(), 4, &mut |_| {}).unwrap();
    let found = compare(&expected, mark, &state, &mut |_| {}).unwrap();
    assert_eq!((found.commits, found.objects, found.disagreements), (4, 2, Vec::new()));
    assert_eq!(disk.operations(), operations, "nothing was written");
    assert!(matches!(examine(Arc::new(MemoryStorage::new())).unwrap().journal, JournalFound::Nothing));
}

#[test]
fn damage_and_torn_tails_are_told_apart_and_left_as_they_are() {
    let (disk, _) = replica();
    disk.flip_bit("journal-0000000001", 300, 1);
    let found = examine(Arc::new(disk.clone())).unwrap().journal;
    assert!(matches!(&found, JournalFound::Unsound(journal::OpenError::Damaged { file, .. }) if file == "journal-0000000001"), "{found:?}");
    journal::set_aside(&disk).unwrap();
    let examined = examine(Arc::new(disk.clone())).unwrap();
    assert!(matches!(examined.journal, JournalFound::Nothing));
    let set_aside = &set_aside(&disk, std::path::Path::new("no state")).unwrap()[0];
    assert_eq!((set_aside.kind, set_aside.name.as_str()), (AsideKind::Journal, "quarantine-0001-journal-0000000001"));
    assert!(set_aside.size_bytes > 0);

    // A record without its end, in a batch that was never synced.
    let disk = MemoryStorage::new();
    let mut opened = journal::open(Arc::new(disk.clone()), Options::new(Name::fixed("main"))).unwrap();
    let entry = |index| Record::Entry(Entry { index, term: 1, kind: EntryKind::Normal, payload: b"payload"[..].into() });
    opened.writer.append(opened.reader.stage(vec![entry(1), entry(2)])).unwrap();
    opened.writer.sync().unwrap();
    let file = disk.open("journal-0000000001").unwrap();
    let mut bytes = vec![0; 4_096];
    file.read_at(0, &mut bytes).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    file.write_at(end - 3, &[0; 4]).unwrap();
    let operations = disk.operations();
    let sound = sound(&disk);
    assert_eq!((sound.last_index, sound.torn.is_some()), (1, true));
    assert_eq!(disk.operations(), operations);
}

/// Whatever is wrong in a state is found and named.
#[test]
fn a_state_that_is_not_what_the_journal_says_is_found_out() {
    let (disk, _) = replica();
    let (expected, mark) = sound(&disk).replay(MemoryState::new(), 4, &mut |_| {}).unwrap();
    let state_after = |change: &dyn Fn(usize, &mut Vec<crate::state::Changed>)| {
        // The same commits, one of them with other consequences.
        let mut state = MemoryState::new();
        let mut cabinet = Cabinet::new(MemoryState::new());
        for (step, proposal) in proposals().iter().enumerate() {
            let mut changes = cabinet.next(proposal).changes;
            change(step, &mut changes);
            let record = cabinet.state().commit_at(cabinet.mark().position).unwrap().unwrap();
            state.write(&Transaction { mark: cabinet.mark(), step: Step::Commit { record: &record, changes: &changes } }).unwrap();
        }
        state
    };
    let same = state_after(&|_, _| {});
    assert_eq!(compare(&expected, mark, &same, &mut |_| {}).unwrap().disagreements, []);
    let other = state_after(&|step, changes| {
        if step == 2 {
            changes[0].after.attributes.clear();
        }
    });
    let found = compare(&expected, mark, &other, &mut |_| {}).unwrap().disagreements;
    assert!(found.contains(&Disagreement::Object(caps_model::ObjectId(1))), "{found:?}");
    assert!(found.iter().any(|found| matches!(found, Disagreement::Index { .. })), "{found:?}");
    let behind = MemoryState::new();
    let found = compare(&expected, mark, &behind, &mut |_| {}).unwrap().disagreements;
    assert!(matches!(found[0], Disagreement::Mark { .. }), "{found:?}");
}
