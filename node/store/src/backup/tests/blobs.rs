//! Blobs beside backups, and those that restores bring.

use caps_model::blob::{CHUNK_BYTES, Table};
use caps_model::{Author, BlobId, CommitId, ObjectId, Value};

use super::*;
use crate::cabinet::{Obliteration, Target};
use crate::check::{BlobsFound, JournalFound, Sound, examine};

fn content(seed: u8, chunks: usize) -> (Vec<u8>, Table) {
    let bytes: Vec<u8> = (0..chunks * CHUNK_BYTES - 1_000).map(|at| u8::try_from((at * at / 7 + at) % 251).unwrap() ^ seed).collect();
    let table = Table::of(&bytes).unwrap();
    (bytes, table)
}

fn piece<'a>(bytes: &'a [u8], table: &Table, index: u32) -> &'a [u8] {
    &bytes[index as usize * CHUNK_BYTES..][..table.chunk_bytes(index)]
}

fn put(disk: &MemoryStorage, bytes: &[u8], table: &Table) {
    let beside = Beside::open(Arc::new(disk.clone())).unwrap();
    let mut receiving = beside.receive(table.clone()).unwrap();
    for index in 0..table.chunks() {
        assert!(receiving.put(index, piece(bytes, table, index)).unwrap());
    }
    assert!(receiving.finish().unwrap());
}

fn holding(id: u128, object: u128, blob: BlobId) -> Proposal {
    Proposal::Commit(commit(id, vec![create(object, "case", vec![("content", vec![Value::Blob(Box::new(blob))])])]))
}

fn obliterating(id: u128, object: u128) -> Proposal {
    let author = Author { reason: Some("asked for".to_owned()), ..commit(1, vec![]).author };
    let target = Target { object: ObjectId(object), attribute: Name::fixed("content"), from: Position(0), to: Position(u64::MAX) };
    Proposal::Obliterate(Obliteration { id: CommitId(id), author, time: 5, targets: vec![target] })
}

/// The backup of a cabinet to which these things happened.
fn backup_of(proposals: &[Proposal]) -> MemoryStorage {
    let mut cabinet = Cabinet::new(MemoryState::new());
    let mut entries = Vec::new();
    for proposal in proposals {
        let index = cabinet.next(proposal).index;
        entries.push(LogEntry { index, term: 1, kind: 0, payload: data(proposal, index) });
    }
    let disk = MemoryStorage::new();
    let mut backup = Backup::open(Arc::new(disk.clone()), Name::fixed("main")).unwrap();
    backup.begin(&reached(&cabinet)).unwrap();
    backup.take(entries).unwrap();
    let copied = backup.finish().unwrap();
    copied.prove(&reached(&cabinet), Box::new(MemoryState::new()), &mut |_| {}).unwrap();
    disk
}

/// Five blobs: 1 is named at 1 and later, 2 by a commit that was refused, 3 is obliterated, 4 is obliterated at one object and held by another.
fn eventful(tables: &[Table]) -> MemoryStorage {
    let id = |number: usize| tables[number - 1].id();
    backup_of(&[
        holding(1, 1, id(1)),
        holding(2, 1, id(2)),
        holding(3, 3, id(3)),
        holding(4, 4, id(4)),
        holding(5, 5, id(4)),
        holding(6, 6, id(5)),
        obliterating(7, 3),
        obliterating(8, 4),
    ])
}

fn found(disk: &MemoryStorage) -> (Box<Sound>, BlobsFound) {
    let JournalFound::Sound(sound) = examine(Arc::new(disk.clone())).unwrap().journal else { panic!("it is sound") };
    let found = sound.examine_blobs(disk, &mut |_| {}).unwrap();
    (sound, found)
}

#[test]
fn what_is_named_is_found_by_a_replay_and_what_is_mentioned_without() {
    let contents: Vec<_> = (1..=5).map(|seed| content(seed, 2)).collect();
    let tables: Vec<Table> = contents.iter().map(|(_, table)| table.clone()).collect();
    let disk = eventful(&tables);
    let (sound, all) = found(&disk);
    assert_eq!((all.missing.len(), all.whole), (5, 0));
    let named = sound.named(MemoryState::new(), &mut |_| {}).unwrap();
    // The refused commit took no position.
    let expected = [(1, 1), (4, 4), (5, 5)].map(|(number, position)| (tables[number - 1].id(), Position(position)));
    assert_eq!(named.blobs, expected.into());
    assert_eq!(named.obliterated, [tables[2].id()].into());
    assert_eq!(all.only(&named).missing, named.blobs.keys().copied().collect::<Vec<_>>());
    for number in [1, 4, 5] {
        put(&disk, &contents[number - 1].0, &tables[number - 1]);
    }
    let operations = disk.operations();
    let sound_blobs = found(&disk).1.only(&named);
    assert_eq!((sound_blobs.whole, sound_blobs.is_sound()), (3, true));
    for (byte, number) in [(30, 4), (24 + 64 + CHUNK_BYTES as u64 + 3, 5)] {
        let name: String = tables[number - 1].id().hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(disk.flip_bit(&format!("blob-{name}"), byte, 2));
    }
    let mut damaged = vec![tables[3].id(), tables[4].id()];
    damaged.sort_unstable();
    assert_eq!(found(&disk).1.damaged, damaged);
    assert_eq!(disk.operations(), operations, "nothing was changed");
}

#[test]
fn a_blob_that_broke_off_goes_on_in_its_middle_and_nothing_else_is_taken_for_it() {
    let (bytes, table) = content(1, 40);
    let disk = MemoryStorage::new();
    let beside = Beside::open(Arc::new(disk.clone())).unwrap();
    let mut receiving = beside.receive(table.clone()).unwrap();
    for index in 0..35 {
        assert!(receiving.put(index, piece(&bytes, &table, index)).unwrap());
    }
    assert!(!receiving.put(35, piece(&bytes, &table, 34)).unwrap());
    assert!(!receiving.finish().unwrap());
    disk.power_cut(|| false);
    let beside = Beside::open(Arc::new(disk.clone())).unwrap();
    let mut receiving = beside.receive(table.clone()).unwrap();
    // Each 32nd chunk brings a sync of 8 MiB.
    assert_eq!(receiving.missing().iter().copied().collect::<Vec<_>>(), (32..40).collect::<Vec<_>>());
    for index in 32..40 {
        assert!(receiving.put(index, piece(&bytes, &table, index)).unwrap());
    }
    assert!(receiving.finish().unwrap());
    assert!(beside.has(table.id(), true, &mut |_| {}).unwrap());
    assert!(beside.burn(table.id()).unwrap() && !disk.holds(&bytes[..64]));
}

#[test]
fn a_restore_brings_what_is_named_up_to_the_moment_from_whichever_source_has_it() {
    let contents: Vec<_> = (1..=5).map(|seed| content(seed, 2)).collect();
    let tables: Vec<Table> = contents.iter().map(|(_, table)| table.clone()).collect();
    let disks = [eventful(&tables), eventful(&tables)];
    for number in [1, 3, 4, 5] {
        disks.iter().for_each(|disk| put(disk, &contents[number - 1].0, &tables[number - 1]));
    }
    // One source lacks a blob, and has the first chunk of another damaged; the other the second one.
    let file = |number: usize| -> String { tables[number - 1].id().hash.iter().map(|byte| format!("{byte:02x}")).collect() };
    disks[0].remove(&format!("blob-{}", file(1))).unwrap();
    for (disk, chunk) in disks.iter().zip([0, 1]) {
        assert!(disk.flip_bit(&format!("blob-{}", file(4)), 24 + 64 + chunk * CHUNK_BYTES as u64, 1));
    }
    let sources: Vec<Source> = disks.iter().map(|disk| Source::open("backup", Arc::new(disk.clone())).unwrap()).collect();
    for (to, expected) in [(At::Position(Position(4)), vec![1, 4]), (At::Present, vec![1, 4, 5])] {
        let memory = MemoryStorage::new();
        let target: Arc<dyn Storage> = Arc::new(memory.clone());
        let restoration =
            Restoration { node: node(), voters: vec![node()], learners: Vec::new(), to, set_aside: false, orders: Vec::new() };
        let built = build(&sources, &target, &restoration, Box::new(MemoryState::new()), &mut |_| {}).unwrap();
        assert_eq!(*built.blobs(), expected.iter().map(|number| tables[number - 1].id()).collect());
        let restored = built.copy_blobs(&sources, &mut |_| {}).unwrap();
        assert_eq!((restored.copied, restored.kept, restored.missing), (expected.len() as u64, 0, Vec::new()));
        let again = built.copy_blobs(&sources[..0], &mut |_| {}).unwrap();
        assert_eq!((again.copied, again.kept), (0, expected.len() as u64));
        let built = build(&sources, &target, &restoration, Box::new(MemoryState::new()), &mut |_| {}).unwrap();
        memory.list().unwrap().iter().filter(|name| name.starts_with("blob-")).for_each(|name| memory.remove(name).unwrap());
        let lacking = built.copy_blobs(&sources[..1], &mut |_| {}).unwrap();
        assert_eq!(lacking.missing.len(), 2, "{lacking:?}");
    }
}
