use std::sync::Arc;

use bytes::Bytes;
use caps_model::Name;
use proptest::prelude::*;

use super::*;
use crate::cabinet::Proposal;
use crate::cabinet::workload::{commit, create, seeded};
use crate::storage::{DiskStorage, MemoryStorage, StorageError};

/// Terms and payloads from index 1 on.
type Log = Vec<(u64, Vec<u8>)>;

/// Small segments and no cache, so that everything is read back from the disk.
fn options() -> Options {
    Options { segment_bytes: 4 << 10, cache_bytes: 0, ..Options::new(Name::fixed("main")) }
}

fn open_on(storage: &MemoryStorage) -> Result<Opened, OpenError> {
    open(Arc::new(storage.clone()), options())
}

fn entry(index: u64, term: u64, payload: &[u8]) -> Record {
    Record::Entry(Entry { index, term, kind: EntryKind::Normal, payload: Bytes::copy_from_slice(payload) })
}

fn vote(term: u64, commit: u64) -> Record {
    Record::HardState(HardState { term, vote: 7, commit })
}

impl Opened {
    fn write(&mut self, records: Vec<Record>) -> Result<(), WriteError> {
        let batch = self.reader.stage(records);
        self.writer.append(batch)
    }

    fn save(&mut self, records: Vec<Record>) -> Result<u64, WriteError> {
        self.write(records)?;
        self.writer.sync()
    }

    fn log(&self) -> Log {
        let entries = self.reader.entries(1, self.reader.last_index() + 1, u64::MAX).unwrap();
        entries.into_iter().map(|entry| (entry.term, entry.payload.to_vec())).collect()
    }
}

/// The used length of the only segment.
fn used(storage: &MemoryStorage, name: &str) -> u64 {
    let file = storage.open(name).unwrap();
    let mut bytes = vec![0; usize::try_from(file.size_bytes().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    bytes.iter().rposition(|b| *b != 0).unwrap() as u64 + 1
}

#[test]
fn synced_records_are_there_after_reopening() {
    let storage = MemoryStorage::new();
    let mut journal = open_on(&storage).unwrap();
    assert_eq!(journal.recovered, Recovered { last_index: 0, hard_state: HardState::default(), seat: None, repaired: None });
    assert_eq!(journal.save(vec![entry(1, 1, b"a"), vote(1, 0), entry(2, 1, &[9; 9_000])]).unwrap(), 2);
    assert_eq!(journal.save(vec![entry(2, 2, b""), entry(3, 2, b"c"), vote(2, 1)]).unwrap(), 3);
    let expected = vec![(1, b"a".to_vec()), (2, Vec::new()), (2, b"c".to_vec())];
    assert_eq!(journal.log(), expected);
    journal.writer.close().unwrap();
    storage.power_cut(|| false);
    let journal = open_on(&storage).unwrap();
    let hard_state = HardState { term: 2, vote: 7, commit: 1 };
    assert_eq!(journal.recovered, Recovered { last_index: 3, hard_state, seat: None, repaired: None });
    assert_eq!(journal.log(), expected);
    assert_eq!((journal.reader.term(0), journal.reader.term(3), journal.reader.term(4)), (Some(0), Some(2), None));
    assert_eq!((journal.reader.durable_index(), journal.reader.hard_state()), (3, hard_state));
    assert_eq!(journal.reader.entries(1, 4, 0).unwrap().len(), 1);
    assert!(matches!(journal.reader.entries(3, 5, 9), Err(ReadError::Beyond { index: 4, last_index: 3 })));
}

#[test]
fn staged_records_are_read_before_they_are_written() {
    let storage = MemoryStorage::new();
    let mut journal = open_on(&storage).unwrap();
    let first = journal.reader.stage(vec![entry(1, 1, b"old"), entry(2, 1, b"old")]);
    let second = journal.reader.stage(vec![entry(1, 3, b"new")]);
    assert_eq!(journal.log(), [(3, b"new".to_vec())]);
    journal.writer.append(first).unwrap();
    assert_eq!(journal.log(), [(3, b"new".to_vec())]);
    journal.writer.append(second).unwrap();
    assert_eq!(journal.reader.durable_index(), 0);
    journal.writer.sync().unwrap();
    assert_eq!((journal.log(), journal.reader.durable_index()), (vec![(3, b"new".to_vec())], 1));
}

#[test]
fn real_directory_holds_a_journal() {
    let directory = tempfile::tempdir().unwrap();
    for round in 1..=3 {
        let storage = Arc::new(DiskStorage::open(directory.path()).unwrap());
        let mut journal = open(storage, options()).unwrap();
        assert_eq!(journal.recovered.last_index, round - 1);
        journal.save(vec![entry(round, 1, &[1; 3_000])]).unwrap();
    }
    let storage = Arc::new(DiskStorage::open(directory.path()).unwrap());
    let journal = open(storage, options()).unwrap();
    assert_eq!(journal.log().len(), 3);
    assert_eq!(journal.recovered.repaired, None);
}

#[test]
fn one_sync_makes_many_batches_durable() {
    let storage = MemoryStorage::new();
    let mut journal = open_on(&storage).unwrap();
    let before = storage.syncs();
    for index in 1..=10 {
        journal.write(vec![entry(index, 1, b"x")]).unwrap();
    }
    journal.writer.sync().unwrap();
    journal.writer.sync().unwrap();
    assert_eq!(storage.syncs() - before, 1);
}

/// The last record is cut at each of its bytes, or its bytes from there on are zero.
#[test]
fn torn_tail_is_cut_off_wherever_it_tore() {
    let storage = MemoryStorage::new();
    let mut journal = open_on(&storage).unwrap();
    journal.save(vec![entry(1, 1, b"kept")]).unwrap();
    let whole = used(&storage, "journal-0000000001").next_multiple_of(8);
    journal.save(vec![entry(2, 1, b"torn in some place")]).unwrap();
    let end = used(&storage, "journal-0000000001");
    for cut in whole..end {
        let torn = storage.copy();
        let file = torn.open("journal-0000000001").unwrap();
        let size = file.size_bytes().unwrap();
        file.truncate(cut).unwrap();
        file.truncate(size).unwrap();
        let journal = open_on(&torn).unwrap();
        assert_eq!(journal.log(), [(1, b"kept".to_vec())], "cut at {cut}");
        // Cut before its first byte it leaves no trace.
        assert_eq!(journal.recovered.repaired.map(|torn| torn.offset), (cut > whole).then_some(whole), "cut at {cut}");
        assert_eq!(open_on(&torn).unwrap().recovered.repaired, None);
    }
}

/// A crash leaves a segment as long as it was made; somebody else cut this one, perhaps through what was acknowledged.
#[test]
fn file_that_ends_inside_a_record_is_damaged() {
    let storage = MemoryStorage::new();
    let mut journal = open_on(&storage).unwrap();
    journal.save(vec![entry(1, 1, b"kept")]).unwrap();
    let whole = used(&storage, "journal-0000000001").next_multiple_of(8);
    journal.save(vec![entry(2, 1, b"cut in some place")]).unwrap();
    let end = used(&storage, "journal-0000000001");
    for cut in whole + 1..end {
        let damaged = storage.copy();
        damaged.open("journal-0000000001").unwrap().truncate(cut).unwrap();
        let error = open_on(&damaged).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { offset, .. } if offset == whole), "cut at {cut}: {error}");
    }
}

/// A sync fails, and the process is killed before it hears of it. The next one finds the records in the system's cache, relies on them, and
/// then the power goes. Found by the simulation (sync-fails-unnoticed).
#[test]
fn records_behind_a_failed_sync_are_written_again_before_they_are_relied_on() {
    let storage = MemoryStorage::new();
    let mut journal = open_on(&storage).unwrap();
    journal.save(vec![entry(1, 1, b"synced")]).unwrap();
    storage.fail_sync(0);
    journal.save(vec![entry(2, 1, b"in the cache")]).unwrap_err();
    drop(journal);
    let mut journal = open_on(&storage).unwrap();
    assert_eq!(journal.reader.durable_index(), 2);
    journal.save(vec![entry(3, 1, b"after it")]).unwrap();
    drop(journal);
    storage.power_cut(|| false);
    let log = [b"synced".to_vec(), b"in the cache".to_vec(), b"after it".to_vec()];
    assert_eq!(open_on(&storage).unwrap().log(), log.map(|payload| (1, payload)));
}

#[test]
fn flipped_bit_is_found_and_never_read() {
    let storage = MemoryStorage::new();
    let mut journal = open_on(&storage).unwrap();
    for index in 1..=60 {
        journal.save(vec![entry(index, index / 9 + 1, &vec![7; usize::try_from(index).unwrap() * 3]), vote(index, index)]).unwrap();
    }
    let log = journal.log();
    journal.writer.close().unwrap();
    let last = storage.list().unwrap().len();
    assert!(last >= 3);
    for (place, name) in storage.list().unwrap().iter().enumerate() {
        let size = storage.open(name).unwrap().size_bytes().unwrap();
        let used = used(&storage, name);
        // Every bit in turn, at every seventh byte: all bits and all parts of records are met.
        for offset in (0..size).step_by(7) {
            let bit = u8::try_from(offset % 8).unwrap();
            let damaged = storage.copy();
            assert!(damaged.flip_bit(name, offset, bit));
            match open_on(&damaged) {
                // The last record, which says that all before it was durable, and unused space hold nothing that anybody was promised.
                Ok(opened) => {
                    assert!(place + 1 == last && offset >= used - 48, "{name} at {offset}");
                    assert!(opened.recovered.repaired.is_some());
                    assert_eq!(opened.log(), log);
                }
                Err(OpenError::Damaged { file, .. }) => assert!(&file >= name, "{name} at {offset}: {file}"),
                Err(other) => panic!("{name} at {offset}: {other}"),
            }
        }
    }
}

#[test]
fn damage_while_running_is_found_at_reading() {
    let storage = MemoryStorage::new();
    let mut journal = open_on(&storage).unwrap();
    journal.save(vec![entry(1, 1, b"first"), entry(2, 1, b"second"), entry(3, 1, b"third")]).unwrap();
    let size = used(&storage, "journal-0000000001");
    for offset in 136..size {
        storage.flip_bit("journal-0000000001", offset, 3);
        for (index, payload) in [(1, b"first".as_slice()), (2, b"second"), (3, b"third")] {
            match journal.reader.entries(index, index + 1, u64::MAX) {
                Ok(entries) => assert_eq!(entries[0].payload, payload),
                Err(ReadError::Damaged { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert!(journal.reader.entries(1, 4, u64::MAX).is_err(), "flip at {offset}");
        storage.flip_bit("journal-0000000001", offset, 3);
    }
}

#[test]
fn failed_sync_is_final() {
    let storage = MemoryStorage::new();
    let mut journal = open_on(&storage).unwrap();
    journal.save(vec![entry(1, 1, b"a")]).unwrap();
    storage.fail_sync(0);
    journal.write(vec![entry(2, 1, b"b")]).unwrap();
    assert!(matches!(journal.writer.sync(), Err(WriteError::Storage(StorageError::Io { .. }))));
    assert!(matches!(journal.writer.sync(), Err(WriteError::Poisoned)));
    assert!(matches!(journal.write(vec![entry(3, 1, b"c")]), Err(WriteError::Poisoned)));
    assert_eq!(journal.reader.durable_index(), 1);
}

#[test]
fn full_disk_is_named() {
    let storage = MemoryStorage::new();
    storage.limit_capacity(6 << 10);
    let mut journal = open_on(&storage).unwrap();
    let error = journal.save(vec![entry(1, 1, &[0; 3_000]), entry(2, 1, &[0; 3_000])]).unwrap_err();
    assert!(matches!(error, WriteError::Storage(StorageError::Full { .. })));
    // What fitted before is still there.
    storage.limit_capacity(u64::MAX);
    assert_eq!(open_on(&storage).unwrap().recovered.last_index, 1);
}

#[test]
fn what_another_release_or_cabinet_wrote_is_refused() {
    let storage = MemoryStorage::new();
    open_on(&storage).unwrap();
    let other = Options { cabinet: Name::fixed("other"), ..options() };
    assert!(matches!(open(Arc::new(storage.clone()), other), Err(OpenError::OtherCabinet { .. })));

    let file = storage.open("journal-0000000001").unwrap();
    let mut bytes = Vec::new();
    let spot = format::Spot { segment: 1, offset: 136, all_before_synced: true };
    format::encode_record(spot, &[0; 32], 77, b"from the future", &mut bytes);
    file.write_at(136, &bytes).unwrap();
    assert!(matches!(open_on(&storage), Err(OpenError::OtherVersion { what: "record kind", found: 77, .. })));
}

#[test]
fn missing_segment_is_found() {
    let storage = MemoryStorage::new();
    let mut journal = open_on(&storage).unwrap();
    for index in 1..=6 {
        journal.save(vec![entry(index, 1, &[1; 2_000])]).unwrap();
    }
    assert!(storage.list().unwrap().len() >= 3);
    for missing in ["journal-0000000001", "journal-0000000002"] {
        let damaged = storage.copy();
        damaged.remove(missing).unwrap();
        assert!(matches!(open_on(&damaged), Err(OpenError::Damaged { .. })));
    }
}

/// What a run of the workload below was promised before the machine stopped.
#[derive(Default)]
struct Promised {
    log: Log,
    hard_state: HardState,
}

/// Appends, supersedes, votes and syncs in a fixed pattern until the machine stops; promises only what a sync confirmed. `written` is all
/// that was ever handed over.
fn workload(storage: &MemoryStorage, rounds: u64) -> (Promised, Vec<Log>) {
    let mut promised = Promised::default();
    let mut log: Log = Vec::new();
    let mut written = vec![Vec::new()];
    let Ok(mut journal) = open_on(storage) else { return (promised, written) };
    for round in 1..=rounds {
        let mut records = Vec::new();
        // Every fifth round a new leader supersedes the last two entries.
        let keep = if round % 5 == 0 { log.len().saturating_sub(2) } else { log.len() };
        log.truncate(keep);
        for n in 0..round % 3 + 1 {
            let payload = vec![u8::try_from(round).unwrap(); usize::try_from(round * 37 % 900 + n).unwrap()];
            log.push((round, payload.clone()));
            records.push(entry(log.len() as u64, round, &payload));
            written.push(log.clone());
        }
        let hard_state = HardState { term: round, vote: 7, commit: 0 };
        records.push(vote(round, 0));
        if journal.write(records).is_err() {
            return (promised, written);
        }
        if round % 2 == 0 {
            if journal.writer.sync().is_err() {
                return (promised, written);
            }
            promised = Promised { log: log.clone(), hard_state };
        }
    }
    (promised, written)
}

/// Power is cut before every single write, sync, creation and truncation, with all, nothing, or a part of the unsynced sectors surviving.
#[test]
fn power_cut_anywhere_loses_nothing_promised() {
    let rounds = 24;
    let whole = MemoryStorage::new();
    workload(&whole, rounds);
    for halt in 0..whole.operations() {
        for seed in 0..6_u64 {
            let storage = MemoryStorage::new();
            storage.halt_after(halt);
            let (promised, written) = workload(&storage, rounds);
            let mut state = halt * 31 + seed;
            storage.power_cut(|| {
                // A small linear congruential generator; its high bit decides.
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                seed == 1 || (seed > 1 && state >> 63 == 1)
            });
            let journal = open_on(&storage).unwrap_or_else(|error| panic!("halt {halt}, seed {seed}: {error}"));
            let log = journal.log();
            // The log is one that existed, at or after the promise: nothing promised is missing, nothing else is there.
            let promised_at = written.iter().position(|then| *then == promised.log).unwrap();
            let found_at = written.iter().rposition(|then| *then == log);
            assert!(found_at.is_some_and(|at| at >= promised_at), "halt {halt}, seed {seed}: found {} entries", log.len());
            assert!(journal.recovered.hard_state.term >= promised.hard_state.term);
            // It can be written again.
            let mut journal = journal;
            let next = journal.recovered.last_index + 1;
            journal.save(vec![entry(next, 99, b"after")]).unwrap();
            storage.power_cut(|| false);
            let journal = open_on(&storage).unwrap();
            assert_eq!((journal.recovered.last_index, journal.recovered.repaired), (next, None));
        }
    }
}

#[derive(Clone, Debug)]
enum Act {
    Put { back: u64, payload: Vec<u8> },
    Sync,
    Reopen,
    PowerCut,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..4_u64, prop::collection::vec(any::<u8>(), 0..600)).prop_map(|(back, payload)| Act::Put { back, payload }),
        2 => Just(Act::Sync),
        1 => Just(Act::Reopen),
        1 => Just(Act::PowerCut),
    ]
}

proptest! {
    #![proptest_config(seeded(128))]

    /// The journal answers like a list, whatever the order of writing, superseding, reopening and crashing.
    #[test]
    fn journal_is_a_list(acts in prop::collection::vec(act(), 1..60), cache in prop::sample::select(vec![0_usize, 500, 1 << 20])) {
        let storage = MemoryStorage::new();
        let options = Options { cache_bytes: cache, ..options() };
        let mut journal = open(Arc::new(storage.clone()), options.clone()).unwrap();
        let mut log: Log = Vec::new();
        // What the log was at the last sync and after each change since.
        let mut possible = vec![log.clone()];
        for (term, act) in (1..).zip(acts) {
            match act {
                Act::Put { back, payload } => {
                    log.truncate(log.len().saturating_sub(usize::try_from(back).unwrap()));
                    log.push((term, payload.clone()));
                    possible.push(log.clone());
                    journal.write(vec![entry(log.len() as u64, term, &payload)]).unwrap();
                }
                Act::Sync => {
                    journal.writer.sync().unwrap();
                    possible = vec![log.clone()];
                }
                Act::Reopen => {
                    drop(journal);
                    // Opening makes durable what it finds.
                    journal = open(Arc::new(storage.clone()), options.clone()).unwrap();
                    possible = vec![log.clone()];
                }
                Act::PowerCut => {
                    storage.power_cut(|| false);
                    journal = open(Arc::new(storage.clone()), options.clone()).unwrap();
                    // A new segment syncs the one before it, so more than what was asked for may be durable.
                    log = journal.log();
                    prop_assert!(possible.contains(&log));
                    possible = vec![log.clone()];
                }
            }
            prop_assert_eq!(journal.log(), log.clone());
        }
    }
}

fn seat(number: u64) -> Seat {
    let founder = |number, votes| Founder { number, votes, identity: format!("spiffe://x/{number}") };
    Seat { incarnation: 7, number, founders: vec![founder(1, true), founder(300, false)] }
}

#[test]
fn the_last_seat_counts() {
    let storage = MemoryStorage::new();
    let mut journal = open_on(&storage).unwrap();
    journal.save(vec![Record::Seat(seat(0)), entry(1, 1, b"a")]).unwrap();
    journal.save(vec![Record::Seat(seat(4))]).unwrap();
    storage.power_cut(|| false);
    let journal = open_on(&storage).unwrap();
    assert_eq!((journal.recovered.seat, journal.reader.seat()), (Some(seat(4)), Some(seat(4))));
}

/// Incarnation 7, number 4, two founders: 1 votes, 300 does not; each identity has 12 or 14 bytes.
#[test]
fn the_bytes_of_a_seat_stay_as_they_are() {
    let (kind, payload) = format::encode_payload(&Record::Seat(seat(4)));
    let mut expected = vec![7, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 2, 0];
    expected.extend_from_slice(b"\x01\0\0\0\0\0\0\0\x01\x0c\0spiffe://x/1");
    expected.extend_from_slice(b"\x2c\x01\0\0\0\0\0\0\x00\x0e\0spiffe://x/300");
    assert_eq!((kind, payload), (4, expected));
}

#[test]
fn changes_of_membership_are_listed_as_far_as_they_stand() {
    let storage = MemoryStorage::new();
    let mut journal = open_on(&storage).unwrap();
    let change = |index, term| Record::Entry(Entry { index, term, kind: EntryKind::ConfChangeV2, payload: Bytes::from_static(b"x") });
    journal.save(vec![entry(1, 1, b""), change(2, 1), entry(3, 1, b""), change(4, 1), change(5, 1)]).unwrap();
    // A later leader had something else at 4.
    journal.save(vec![entry(4, 2, b""), change(5, 2)]).unwrap();
    let listed = |reader: &JournalReader, last| reader.changes(last).iter().map(|entry| (entry.index, entry.term)).collect::<Vec<_>>();
    assert_eq!((listed(&journal.reader, 4), listed(&journal.reader, 9)), (vec![(2, 1)], vec![(2, 1), (5, 2)]));
    storage.power_cut(|| false);
    assert_eq!(listed(&open_on(&storage).unwrap().reader, 9), [(2, 1), (5, 2)]);
}

/// Wherever a crash comes while a journal is set aside: what is left is the whole of it, or damage, or nothing and the knowledge of it.
#[test]
fn a_journal_half_set_aside_is_never_taken_for_a_whole_one() {
    for operations in 0..20 {
        let storage = MemoryStorage::new();
        let mut journal = open_on(&storage).unwrap();
        for index in 1..=6 {
            // Segments of 4 KiB: each entry begins one.
            journal.save(vec![entry(index, 1, &[9; 3_000])]).unwrap();
        }
        let whole = journal.log();
        storage.halt_after(operations);
        let done = set_aside(&storage).is_ok();
        storage.power_cut(|| true);
        match open_on(&storage) {
            Ok(opened) if opened.recovered.last_index > 0 => assert!(!done && opened.log() == whole, "{operations}"),
            Ok(_) => assert!(is_quarantined(&storage).unwrap(), "{operations}"),
            Err(error) => assert!(!done && matches!(error, OpenError::Damaged { .. }), "{operations}: {error}"),
        }
        set_aside(&storage).unwrap();
        assert_eq!(open_on(&storage).unwrap().recovered.last_index, 0);
        assert!(storage.list().unwrap().iter().filter(|name| name.starts_with("quarantine-")).count() >= 6);
    }
}

/// The examples in JOURNAL.md are a journal, byte for byte, and its second record after what is in its slot was taken out.
#[test]
fn document_describes_these_bytes() {
    let document = include_str!("../../JOURNAL.md");
    let example = |number: usize| {
        let example = document.split("```hex\n").nth(number).and_then(|rest| rest.split("```").next()).unwrap();
        let hex: String = example.lines().flat_map(|line| line.split('|').next()).flat_map(str::split_whitespace).collect();
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect::<Vec<u8>>()
    };
    let (documented, emptied) = (example(1), example(2));

    let storage = MemoryStorage::new();
    let mut journal = open_on(&storage).unwrap();
    let data = documented_proposal();
    journal.save(vec![entry(1, 1, b""), entry(2, 1, &data)]).unwrap();
    journal.save(vec![Record::HardState(HardState { term: 1, vote: 2, commit: 2 })]).unwrap();
    journal.writer.close().unwrap();
    let rendered =
        |bytes: &[u8]| bytes.chunks(16).map(|row| row.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
    let written = read(&storage, 0, usize::try_from(used(&storage, "journal-0000000001")).unwrap());
    assert_eq!(rendered(&written), rendered(&documented), "\n{}", rendered(&written).join("\n"));

    // And read the other way: those bytes alone are that journal.
    let storage = MemoryStorage::new();
    storage.create("journal-0000000001").unwrap().write_at(0, &documented).unwrap();
    let mut journal = open_on(&storage).unwrap();
    assert_eq!(journal.log(), [(1, Vec::new()), (1, data)]);
    assert_eq!(journal.recovered.hard_state, HardState { term: 1, vote: 2, commit: 2 });
    journal.writer.finish_segment().unwrap();
    let redacted = journal.reader.redact(1, |entry| {
        envelope::decide(entry.data, envelope::Decision::Accepted, entry.index, entry.term);
        envelope::obliterate(entry.data, |_| true);
        Ok::<_, StorageError>(true)
    });
    assert!(redacted.unwrap());
    let record = read(&storage, 208, emptied.len());
    assert_eq!(rendered(&record), rendered(&emptied), "\n{}", rendered(&record).join("\n"));
    let read_back = open_on(&storage).unwrap();
    assert_eq!(read_back.recovered.last_index, 2);
}

fn read(storage: &MemoryStorage, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    storage.open("journal-0000000001").unwrap().read_at(offset, &mut bytes).unwrap();
    bytes
}

/// The creation of one object with one value.
fn documented_proposal() -> Vec<u8> {
    let change = create(1, "case", vec![("name", vec![caps_model::Value::text("hello")])]);
    let proposal = Proposal::Commit(caps_model::Commit { result: caps_model::Record::new(), ..commit(7, vec![change]) });
    proposal.encode(1_005, &caps_overlay::Rng::seeded(1)).unwrap()
}

/// A power cut while a segment is replaced leaves the old one or the new one, and nothing else that counts.
#[test]
fn a_crash_while_redacting_leaves_the_old_or_the_new() {
    for operations in 0..20 {
        let storage = MemoryStorage::new();
        let mut journal = open_on(&storage).unwrap();
        journal.save(vec![entry(1, 1, b""), entry(2, 1, &documented_proposal())]).unwrap();
        journal.writer.finish_segment().unwrap();
        let before = journal.reader.entries(2, 3, u64::MAX).unwrap();
        storage.halt_after(operations);
        let redacted = journal.reader.redact(1, |entry| {
            envelope::decide(entry.data, envelope::Decision::Accepted, entry.index, entry.term);
            envelope::obliterate(entry.data, |_| true);
            Ok::<_, StorageError>(true)
        });
        let noted = redacted.is_ok() && journal.reader.note_redacted(5, 2).is_ok();
        storage.power_cut(|| operations % 2 == 0);
        let journal = open_on(&storage).unwrap();
        let after = journal.reader.entries(2, 3, u64::MAX).unwrap();
        assert!(after == before && !noted || envelope::digest(&after[0].payload) == envelope::digest(&before[0].payload), "{operations}");
        assert!(!(noted && storage.holds(b"hello")), "{operations}");
        assert_eq!(journal.reader.redacted_up_to(5).unwrap(), if noted { 2 } else { 0 }, "{operations}");
        assert_eq!(journal.reader.redacted_up_to(6).unwrap(), 0);
        assert!(!storage.list().unwrap().iter().any(|name| name.starts_with("redacting-")));
    }
}
