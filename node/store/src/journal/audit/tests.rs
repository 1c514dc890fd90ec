//! Journals of the real store, verified by [`Audit`] and by a reader in Python that knows JOURNAL.md and nothing else.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use caps_model::{ObjectId, Position, Value};
use caps_overlay::Rng;

use super::*;
use crate::cabinet::workload::{commit, create, data, update};
use crate::cabinet::{BadProposal, Became, Cabinet, Obliteration, Proposal, Proposed, Target};
use crate::journal::{Entry, HardState, Opened, Options, open};
use crate::state::{MemoryState, StateError};
use crate::storage::{MemoryStorage, Storage};

/// A journal of some segments with commits and an obliteration; its cabinet.
fn written(storage: &MemoryStorage) -> (Opened, Cabinet<MemoryState>, Obliteration) {
    let options = Options { segment_bytes: 4 << 10, cache_bytes: 0, ..Options::new(Name::fixed("main")) };
    let mut journal = open(Arc::new(storage.clone()), options).unwrap();
    let mut cabinet = Cabinet::new(MemoryState::new());
    let mut author = commit(1, vec![]).author;
    author.reason = Some("asked for".to_owned());
    let target = Target { object: ObjectId(1), attribute: Name::fixed("name"), from: Position(1), to: Position(9) };
    let order = Obliteration { id: caps_model::CommitId(1_000), author, time: 7, targets: vec![target] };
    let text = |text: &str| vec![("name", vec![Value::text(text)])];
    let save = |index: u64, payload: Vec<u8>, journal: &mut Opened| {
        let entry = Entry { index, term: 1, kind: EntryKind::Normal, payload: payload.into() };
        let records = vec![Record::Entry(entry), Record::HardState(HardState { term: 1, vote: 1, commit: index })];
        let batch = journal.reader.stage(records);
        journal.writer.append(batch).and_then(|()| journal.writer.sync()).unwrap();
    };
    save(1, Vec::new(), &mut journal);
    cabinet.skip(1);
    for index in 2..30_u64 {
        let proposal = match index {
            2 => Proposal::Commit(commit(2, vec![create(1, "case", text("Rumpelstilzchen"))])),
            28 => Proposal::Obliterate(order.clone()),
            _ => Proposal::Commit(commit(index.into(), vec![update(1, vec![("number", vec![Value::Int(7)])])])),
        };
        let data = data(&proposal, index);
        cabinet.apply(index, &Proposed::decode(&data, index, 1).unwrap()).unwrap();
        save(index, data, &mut journal);
    }
    journal.writer.finish_segment().unwrap();
    (journal, cabinet, order)
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Proposal(#[from] BadProposal),
}

fn redact(journal: &Opened, cabinet: &Cabinet<MemoryState>, order: &Obliteration) {
    let redaction = cabinet.redaction([order]).unwrap();
    for segment in (1..=journal.reader.finished_segments()).rev() {
        let edit = |entry: crate::journal::Editable<'_>| {
            let became = |id| if entry.stands { cabinet.became(id, entry.index).map_err(Failed::from) } else { Ok(Became::Nothing) };
            redaction.redact(entry.data, (entry.index, entry.term), became)
        };
        journal.reader.redact(segment, edit).unwrap();
    }
}

fn copy(storage: &MemoryStorage, to: &Path) {
    for name in storage.list().unwrap() {
        fs::write(to.join(&name), bytes(storage, &name)).unwrap();
    }
}

fn bytes(storage: &MemoryStorage, name: &str) -> Vec<u8> {
    super::super::recovery::read_all(&*storage.open(name).unwrap()).unwrap()
}

fn audited(storage: &MemoryStorage, sought: Option<Hash>) -> Result<Audited, Bad> {
    let names = storage.list().unwrap();
    let segments = segments_among(names.iter().map(String::as_str));
    let mut audit = Audit::new(sought);
    for segment in &segments {
        audit.segment(*segment, &bytes(storage, &segment_file_name(*segment)), Some(segment) == segments.last())?;
    }
    Ok(audit.finish())
}

/// What the reader in Python says, and its exit status.
fn python(storage: &MemoryStorage, quiet: bool) -> (String, i32) {
    let directory = tempfile::tempdir().unwrap();
    copy(storage, directory.path());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/journal.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(directory.path());
    if quiet {
        command.arg("--quiet");
    }
    let output = command.output().expect("python3 is installed: `make tools` sees to it");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (String::from_utf8(output.stdout).unwrap(), output.status.code().unwrap())
}

fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_journal_is_verified_before_and_after_values_were_taken_out() {
    let storage = MemoryStorage::new();
    let (journal, cabinet, order) = written(&storage);
    let before = audited(&storage, None).unwrap();
    assert_eq!((before.last_index, before.committed_index, before.proposals, before.obliterations), (29, 29, 28, 1));
    assert_eq!((before.emptied_slots, before.decided, before.torn.clone()), (0, 0, None));
    assert_eq!(before.last_head, cabinet.mark().log_head);
    assert!(before.segments > 3 && storage.holds(b"Rumpelstilzchen"));
    redact(&journal, &cabinet, &order);
    assert!(!storage.holds(b"Rumpelstilzchen"));
    let after = audited(&storage, Some(cabinet.mark().chain_head)).unwrap();
    // The value, and the result of the commit that brought it in.
    assert_eq!((after.emptied_slots, after.decided, after.sought_at), (2, 28, Some(29)));
    let aside = |audited: &Audited| Audited { emptied_slots: 0, whole_slots: 0, decided: 0, sought_at: None, ..audited.clone() };
    assert_eq!(aside(&after), aside(&before));
    let reopened = open(Arc::new(storage.clone()), Options::new(Name::fixed("main"))).unwrap();
    assert_eq!(reopened.recovered.last_index, 29);
}

#[test]
fn a_reader_in_python_that_knows_the_document_finds_the_same() {
    assert!(include_str!("../../../tests/journal.py").lines().count() <= 100);
    let storage = MemoryStorage::new();
    let (journal, cabinet, order) = written(&storage);
    for emptied in [0, 2] {
        let (said, status) = python(&storage, false);
        let head = format!("head 29 {}\n", hex(&cabinet.mark().log_head));
        assert!(status == 0 && said.ends_with(&head), "{said}");
        assert_eq!(said.lines().count(), 30);
        assert!(
            said.contains("entry 2 term 1 kind 0 bytes ") && said.contains(&format!("emptied {emptied} decision {}", emptied / 2)),
            "{said}"
        );
        redact(&journal, &cabinet, &order);
    }
}

/// Bits are flipped in all parts of records, redacted and not: both name the same first bad record.
#[test]
fn both_name_the_first_bad_record() {
    let storage = MemoryStorage::new();
    let (journal, cabinet, order) = written(&storage);
    redact(&journal, &cabinet, &order);
    let rng = Rng::seeded(7);
    let names: Vec<String> = storage.list().unwrap().into_iter().filter(|name| name.starts_with("journal-")).collect();
    for _ in 0..12 {
        // Of the last segment nothing was used.
        let name = &names[usize::try_from(rng.below(names.len() as u64 - 1)).unwrap()];
        let offset = rng.below(bytes(&storage, name).len() as u64);
        let damaged = storage.copy();
        damaged.flip_bit(name, offset, u8::try_from(rng.below(8)).unwrap());
        let bad = audited(&damaged, None).unwrap_err();
        let (said, status) = python(&damaged, true);
        assert!(status == 1 && said.starts_with(&format!("bad {} {}: ", bad.file, bad.offset)), "{bad} {said}");
        assert!(&bad.file == name && bad.offset <= offset, "{bad}, flipped at {offset} of {name}");
    }
    storage.remove(&names[1]).unwrap();
    assert_eq!(audited(&storage, None).unwrap_err().what, "the segment is missing");
    assert_eq!(python(&storage, true).1, 1);
}

#[test]
fn a_torn_tail_is_no_damage() {
    let storage = MemoryStorage::new();
    let (mut journal, cabinet, _) = written(&storage);
    let entry = Entry { index: 30, term: 1, kind: EntryKind::Normal, payload: data(&Proposal::Seal(caps_model::CommitId(5)), 30).into() };
    let batch = journal.reader.stage(vec![Record::Entry(entry)]);
    journal.writer.append(batch).and_then(|()| journal.writer.sync()).unwrap();
    let last = storage.list().unwrap().into_iter().rfind(|name| name.starts_with("journal-")).unwrap();
    storage.flip_bit(&last, 200, 1);
    let found = audited(&storage, None).unwrap();
    let torn = found.torn.unwrap();
    assert_eq!((torn.file.as_str(), torn.offset, found.last_index), (last.as_str(), 136, 29));
    let (said, status) = python(&storage, true);
    assert!(status == 0 && said.starts_with(&format!("torn {last} 136\nhead 29 {}", hex(&cabinet.mark().log_head))), "{said}");
}
