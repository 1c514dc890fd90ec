use std::fs;
use std::path::Path;

use caps_model::{Commit, Filter, Query, Value};
use tempfile::TempDir;

use super::block::{BlockId, BlockWriter};
use super::*;
use crate::cabinet::Cabinet;
use crate::cabinet::workload::{commit, create, delete, update};
use crate::state::MemoryState;
use crate::state::entries::encode_version;
use crate::state::index::differences;

/// So small that a few commits make a run, and some dozen of them several tiers.
pub(crate) const TINY: Limits =
    Limits { table_bytes: 6_000, tables_waiting_max: 1, block_bytes: 256, fan: 2, runs_max: 6, cache_bytes: 4_000 };

/// The `index`th commit of a small world: sixty objects come, change and go.
fn step(index: u64) -> Commit {
    let id = u128::from(index % 60);
    let number = vec![Value::Int(i64::try_from(index).unwrap() % 17)];
    let subject = vec![Value::Text(format!("pump {} leaks w{}", index, index % 7))];
    let change = match index / 60 {
        0 => create(id, "case", vec![("number", number), ("subject", subject)]),
        round if (round + index).is_multiple_of(11) => delete(id),
        _ => update(id, vec![("number", number), ("subject", subject)]),
    };
    commit(u128::from(index) + 1_000, vec![change])
}

fn bring<S: State>(cabinet: &mut Cabinet<S>, to: u64) {
    for index in cabinet.mark().index + 1..=to {
        cabinet.commit(step(index - 1));
    }
}

/// Everything that can be asked about that world, as far as commit `last`.
fn answers<S: State>(cabinet: &Cabinet<S>, last: u64) -> Result<String, StateError> {
    let state = cabinet.state();
    let mut answers = format!("{:?} {:?}", cabinet.mark(), cabinet.counts());
    for id in (0..60).map(ObjectId) {
        answers += &format!("\n{:?}", state.versions(id, None, 1_000)?);
        answers += &format!("\n{:?}", state.object_at(id, Position(last / 2))?);
    }
    let case = Name::fixed("case");
    for backwards in [false, true] {
        answers += &format!("\n{:?}", state.objects_of(&case, None, backwards, 1_000)?);
        for index in [Index::Words, Index::Attribute(Name::fixed("number")), Index::Attribute(Name::fixed("subject"))] {
            let places = state.scan(&case, &index, &Span::all(), backwards, 10_000)?;
            assert_eq!(state.count(&case, &index, &Span::all(), 10_000)?, places.len());
            answers += &format!("\n{places:?}");
        }
    }
    for position in 0..=last + 1 {
        answers += &format!("\n{:?} {:?}", state.commit_at(Position(position))?, state.fate(CommitId(u128::from(position) + 1_000))?);
    }
    Ok(answers)
}

fn expected(last: u64) -> String {
    let mut cabinet = Cabinet::new(MemoryState::new());
    bring(&mut cabinet, last);
    answers(&cabinet, last).unwrap()
}

fn open(directory: &TempDir, last: u64) -> (Cabinet<SledState>, StateOpened) {
    let (state, opened) = SledState::open_with(&directory.path().join("state"), last, TINY).unwrap();
    (Cabinet::new(state), opened)
}

/// A state of so many commits that is closed, with nothing left over and no merge due.
fn closed(last: u64) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    bring(&mut open(&directory, 0).0, last);
    let (cabinet, _) = open(&directory, last);
    cabinet.state().keeper.settle();
    drop(cabinet);
    wait(&directory);
    directory
}

/// sled's threads write a little longer than its handle lives: what is copied before is a copy of a running state.
fn wait(directory: &TempDir) {
    place::wait_until_closed(&directory.path().join("state")).unwrap();
}

fn database(directory: &TempDir) -> ::sled::Db {
    place::open_database(&directory.path().join("state")).unwrap()
}

/// The keys of blocks that runs name.
fn named(cabinet: &Cabinet<SledState>) -> Vec<Vec<u8>> {
    let view = cabinet.state().keeper.view();
    let ids = view.runs.iter().flat_map(|run| run.blocks.iter().map(|block| block.id));
    let mut keys: Vec<_> = ids.map(|id| [b"b".as_slice(), &id.lot.to_be_bytes(), &id.serial.to_be_bytes()].concat()).collect();
    keys.sort();
    keys
}

fn blocks(database: &::sled::Db) -> Vec<Vec<u8>> {
    database.scan_prefix(b"b").keys().map(|key| key.unwrap().to_vec()).collect()
}

#[test]
fn flushes_and_merges_change_no_answer() {
    let directory = tempfile::tempdir().unwrap();
    let (mut cabinet, _) = open(&directory, 0);
    let mut most = 0;
    for last in (40..=600).step_by(40) {
        bring(&mut cabinet, last);
        assert!(answers(&cabinet, last).unwrap() == expected(last), "at {last}");
        most = most.max(cabinet.state().keeper.view().runs.len());
    }
    cabinet.state().keeper.settle();
    let view = cabinet.state().keeper.view();
    assert!((2..=TINY.runs_max).contains(&most), "{most} runs");
    assert!(view.runs.iter().any(|run| run.blocks.iter().any(|block| block.id.lot != run.lot)), "blocks are taken over");
    assert!(answers(&cabinet, 600).unwrap() == expected(600));
    let blocks = view.runs.iter().map(|run| run.blocks.len() as u64).sum::<u64>();
    assert!(blocks > 20 && cabinet.state().check().unwrap() == blocks);
    let packed: u64 = view.runs.iter().map(|run| run.size_bytes).sum();
    assert_eq!(cabinet.state().kept_bytes().values().sum::<u64>(), packed);
}

#[test]
fn state_that_was_killed_is_some_commits_behind_and_whole() {
    for killed_at in (50..350).step_by(23) {
        let directory = tempfile::tempdir().unwrap();
        let (mut cabinet, _) = open(&directory, 0);
        bring(&mut cabinet, killed_at);
        let mut state = cabinet.into_state();
        state.keeper.abandon();
        state.table = Table::default();
        drop(state);
        let (mut cabinet, opened) = open(&directory, killed_at);
        assert!(matches!(opened, StateOpened::Kept), "{opened:?}");
        // Two tables, of a dozen commits each, were not in the database.
        let behind = killed_at - cabinet.mark().index;
        assert!(behind <= 40, "{behind}");
        let kept = cabinet.mark().index;
        assert!(answers(&cabinet, kept).unwrap() == expected(kept), "killed at {killed_at}, kept {kept}");
        bring(&mut cabinet, killed_at);
        assert!(answers(&cabinet, killed_at).unwrap() == expected(killed_at));
    }
}

#[test]
fn what_a_killed_state_left_over_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let (mut cabinet, _) = open(&directory, 0);
    bring(&mut cabinet, 300);
    let mut state = cabinet.into_state();
    state.keeper.abandon();
    drop(state);
    // As if it had been killed within a flush, too.
    let database_before = database(&directory);
    database_before.insert([b"b".as_slice(), &(1_u64 << 40).to_be_bytes(), &[0; 4]].concat(), b"half").unwrap();
    drop(database_before);
    let (cabinet, _) = open(&directory, 300);
    cabinet.state().keeper.settle();
    drop(cabinet);
    let (cabinet, _) = open(&directory, 300);
    let named = named(&cabinet);
    drop(cabinet);
    let kept = blocks(&database(&directory));
    assert_eq!(kept, named);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            // A file may go while the directory is read.
            false => drop(fs::copy(entry.path(), to)),
        }
    }
}

/// As a backup of the directory, or a power cut, may have it: parts of different moments.
#[test]
fn copy_of_a_running_state_is_right_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (mut cabinet, _) = open(&directory, 0);
    for last in (60..600).step_by(60) {
        bring(&mut cabinet, last);
        let copied = tempfile::tempdir().unwrap();
        copy(&directory.path().join("state"), &copied.path().join("state"));
        let (mut cabinet, _) = open(&copied, last);
        bring(&mut cabinet, last);
        if let Ok(answers) = answers(&cabinet, last) {
            assert!(answers == expected(last), "at {last}");
        }
    }
}

/// Breaks each of the blocks in turn; what is asked then is answered right or not at all, and the state is rebuilt when it is opened next.
fn every_broken_block_is_found(break_it: impl Fn(&::sled::Db, &[u8])) {
    let whole = closed(120);
    let keys = named(&open(&whole, 120).0);
    wait(&whole);
    assert!(keys.len() > 20, "{}", keys.len());
    for key in keys.iter().step_by(7) {
        let directory = tempfile::tempdir().unwrap();
        copy(&whole.path().join("state"), &directory.path().join("state"));
        let broken = database(&directory);
        break_it(&broken, key);
        drop(broken);
        let (cabinet, opened) = open(&directory, 120);
        assert!(matches!(opened, StateOpened::Kept), "{opened:?}");
        assert!(cabinet.state().check().is_err());
        let error = answers(&cabinet, 120).unwrap_err();
        assert!(matches!(error, StateError::Damaged { .. } | StateError::Lacks { .. } | StateError::Engine(_)), "{error:?}");
        drop(cabinet);
        let (cabinet, opened) = open(&directory, 120);
        let StateOpened::Rebuilding { reason, .. } = opened else { panic!("{opened:?}") };
        assert!(reason.contains("block"), "{reason}");
        assert_eq!(cabinet.mark(), Mark::default());
    }
}

#[test]
fn flipped_bit_in_a_block_is_found() {
    every_broken_block_is_found(|database, key| {
        let mut bytes = database.get(key).unwrap().unwrap().to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        database.insert(key, bytes).unwrap();
    });
}

#[test]
fn missing_block_is_found() {
    every_broken_block_is_found(|database, key| drop(database.remove(key).unwrap()));
}

#[test]
fn block_in_the_place_of_another_is_found() {
    every_broken_block_is_found(|database, key| {
        let other = blocks(database).into_iter().find(|other| other != key).unwrap();
        let bytes = database.get(other).unwrap().unwrap();
        database.insert(key, bytes).unwrap();
    });
}

/// As when a disk kept what was there before in the place of what was written last.
#[test]
fn older_block_of_the_same_name_is_found() {
    every_broken_block_is_found(|database, key| {
        let id =
            BlockId { lot: u64::from_be_bytes(key[1..9].try_into().unwrap()), serial: u32::from_be_bytes(key[9..].try_into().unwrap()) };
        let mut writer = BlockWriter::default();
        writer.push(b"other", Some(b"entry"));
        database.insert(key, writer.finish(id).1).unwrap();
    });
}

#[test]
fn missing_part_of_a_run_is_found_when_it_is_opened() {
    let directory = closed(120);
    let broken = database(&directory);
    let key = broken.scan_prefix(b"r").keys().next().unwrap().unwrap();
    broken.remove(key).unwrap();
    drop(broken);
    assert!(matches!(open(&directory, 120).1, StateOpened::Rebuilding { .. }));
}

/// Later writes under the same key count everywhere: that is how a value is obliterated.
#[test]
fn overwritten_version_is_the_one_that_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let (mut cabinet, _) = open(&directory, 0);
    bring(&mut cabinet, 200);
    let mut state = cabinet.into_state();
    let old = state.object_at(ObjectId(3), Position(4)).unwrap().unwrap();
    overwrite(&mut state, &old);
    for _ in 0..2 {
        let versions = state.versions(ObjectId(3), None, 100).unwrap();
        assert_eq!(versions.iter().filter(|version| version.text("subject") == Some("gone")).count(), 1);
        assert_eq!(state.object_at(ObjectId(3), Position(4)).unwrap().unwrap().text("subject"), Some("gone"));
        assert_ne!(state.object(ObjectId(3)).unwrap().unwrap().text("subject"), Some("gone"), "later versions stay the later ones");
        drop(state);
        state = open(&directory, 200).0.into_state();
    }
}

fn overwrite(state: &mut SledState, version: &Object) {
    let mut version = version.clone();
    version.attributes.insert(Name::fixed("subject"), vec![Value::text("gone")]);
    let bytes = encode_version(&version).unwrap();
    state.table.put(&key::version(version.id, version.version), Some(&bytes));
}

fn holds(directory: &Path, needle: &[u8]) -> bool {
    fs::read_dir(directory).unwrap().map(Result::unwrap).any(|entry| match entry.file_type().unwrap().is_dir() {
        true => holds(&entry.path(), needle),
        false => fs::read(entry.path()).unwrap().windows(needle.len()).any(|window| window == needle),
    })
}

/// A state in whose files an overwritten value is still to be found, and beside it one that was set aside.
fn with_a_secret() -> (TempDir, SledState) {
    let directory = tempfile::tempdir().unwrap();
    let (mut cabinet, _) = open(&directory, 0);
    let secret = vec![Value::text("plumbers anonymous")];
    cabinet.commit(commit(1, vec![create(99, "case", vec![("subject", secret)])]));
    for index in 2..=100 {
        cabinet.commit(step(index - 2));
    }
    drop(cabinet);
    wait(&directory);
    copy(&directory.path().join("state"), &directory.path().join("state.quarantine-1"));
    let mut state = open(&directory, 100).0.into_state();
    let object = state.object(ObjectId(99)).unwrap().unwrap();
    differences(Some(&object), None, |index, place, _| state.table.put(&key::place(&Name::fixed("case"), index, place), None));
    overwrite(&mut state, &object);
    (directory, state)
}

const SECRET: &[u8] = b"anonymous";

fn check_purged(directory: &TempDir, state: &SledState) {
    assert!(!holds(directory.path(), SECRET));
    let mut names: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["state.fresh", "state.moved"]);
    assert_eq!(state.object(ObjectId(99)).unwrap().unwrap().text("subject"), Some("gone"));
    assert_eq!(state.mark().position, Position(100));
    let words = state.scan(&Name::fixed("case"), &Index::Words, &Span::all(), false, 10_000).unwrap();
    assert!(words.len() > 100, "{}", words.len());
}

#[test]
fn purge_leaves_no_overwritten_value_in_any_file() {
    let (directory, state) = with_a_secret();
    assert!(holds(directory.path(), SECRET));
    let mut state: Box<dyn State> = Box::new(state);
    let mut places = Vec::new();
    for made in 101..=103_u128 {
        let purge = state.purge().unwrap().unwrap();
        let copied = purge.copy().unwrap();
        // What is read and written meanwhile is the state as ever; the copy hears of it later.
        assert_eq!(state.object(ObjectId(99)).unwrap().unwrap().text("subject"), Some("gone"));
        let (mut cabinet, mut copy) = (Cabinet::new(state), Cabinet::new(copied));
        let next = commit(made, vec![create(made, "case", vec![])]);
        cabinet.commit(next.clone());
        copy.commit(next);
        assert_eq!(copy.mark(), cabinet.mark());
        purge.end(cabinet.into_state()).unwrap();
        assert!(!holds(directory.path(), SECRET));
        state = copy.into_state();
        let place = SledState::whereabouts(&directory.path().join("state")).unwrap();
        places.push(place.file_name().unwrap().to_owned());
    }
    assert_eq!(places, ["state.fresh", "state", "state.fresh"], "by turns");
    drop(state);
    place::wait_until_closed(&directory.path().join("state.fresh")).unwrap();
    let (cabinet, opened) = open(&directory, 103);
    assert!(matches!(opened, StateOpened::Kept), "{opened:?}");
    assert_eq!(cabinet.mark().position, Position(103));
    (101..=103).for_each(|id| check_has(&cabinet, id));
    let names: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["state"]);
}

fn check_has(cabinet: &Cabinet<SledState>, id: u128) {
    let query = Query { filter: Filter::All, ..Query::all(Name::fixed("case")) };
    let found = cabinet.query(&query.limit(200)).unwrap().objects;
    assert!(found.iter().any(|object| object.id == ObjectId(id)));
}

/// Wherever a purge was when the process ended, it is done when the state is opened next.
#[test]
fn purge_that_was_interrupted_is_finished_by_the_next_opening() {
    for moment in 0..4 {
        let (directory, state) = with_a_secret();
        drop(state);
        wait(&directory);
        let path = directory.path().join("state");
        let (fresh, old) = (place::beside(&path, "fresh"), place::beside(&path, "old"));
        fs::write(place::beside(&path, "purging"), b"").unwrap();
        match moment {
            0 => {}
            // A copy that is not complete.
            1 => {
                fs::create_dir(&fresh).unwrap();
                fs::write(fresh.join("db"), b"some of it").unwrap();
            }
            // Between the two renamings.
            2 => {
                copy(&path, &fresh);
                fs::rename(&path, &old).unwrap();
            }
            // Before everything old was wiped.
            _ => copy(&path, &old),
        }
        check_purged(&directory, &open(&directory, 100).0.into_state());
    }
}

/// Damage to the database's own files ends in a state that answers right, in an error, or in one that is rebuilt; never in a panic.
#[test]
fn flipped_bits_in_files_give_no_wrong_answer() {
    let whole = closed(120);
    let expected = expected(120);
    let file = whole.path().join("state").join("db");
    let length = fs::metadata(&file).unwrap().len();
    for part in 0..12 {
        let directory = tempfile::tempdir().unwrap();
        copy(&whole.path().join("state"), &directory.path().join("state"));
        let file = directory.path().join("state").join("db");
        let mut bytes = fs::read(&file).unwrap();
        let at = usize::try_from(length * part / 12 + 3_001).unwrap() % bytes.len();
        bytes[at] ^= 0x10;
        fs::write(&file, bytes).unwrap();
        let (mut cabinet, _) = open(&directory, 120);
        bring(&mut cabinet, 120);
        if let Ok(answers) = answers(&cabinet, 120) {
            assert!(answers == expected, "byte {at}");
        }
    }
}

#[test]
fn unpacked_blocks_are_kept_within_their_bound() {
    let directory = closed(300);
    let (cabinet, _) = open(&directory, 300);
    answers(&cabinet, 300).unwrap();
    assert!(cabinet.state().shelf.cached_bytes() > 0);
    assert!(cabinet.state().shelf.cached_bytes() <= TINY.cache_bytes + 4_000, "{}", cabinet.state().shelf.cached_bytes());
}
