//! What a large cabinet costs: rebuilding and reopening it, asking it, and the bytes of a commit.
//!
//! `cargo bench -p caps-store --bench cabinet -- [OBJECTS]`, a million if not given. It takes some minutes and a few gigabytes in the temporary
//! directory. Figures depend on the machine; those that are compared are taken in one run.

mod shared;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use caps_model::Name;
use caps_overlay::Rng;
use caps_store::cabinet::{Cabinet, admit};
use caps_store::journal::{self, Entry, EntryKind, Options};
use caps_store::replay;
use caps_store::state::{MemoryState, SledState, State};
use caps_store::storage::DiskStorage;

use self::shared::{case, commit, now, per_second, queries, say};

fn main() {
    let objects = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let directory = std::env::temp_dir().join(format!("caps-bench-cabinet-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("the temporary directory can be written");
    large_cabinet(objects, &directory);
    fs::remove_dir_all(&directory).expect("what was made can be removed");
}

fn large_cabinet(objects: u64, directory: &Path) {
    let open_journal = || {
        let storage = DiskStorage::open(&directory.join("journal")).expect("the directory can be made");
        journal::open(Arc::new(storage), Options::new(Name::fixed("bench"))).expect("the journal opens")
    };
    let began = now();
    let journal::Opened { mut writer, reader, .. } = open_journal();
    let rng = Rng::seeded(1);
    let mut index = 0;
    while index < objects {
        let entries = (index + 1..=(index + BATCH).min(objects)).map(|index| {
            let payload = Bytes::from(admit(&commit(index, vec![case(index)]), &rng).expect("it is a small commit"));
            journal::Record::Entry(Entry { index, term: 1, kind: EntryKind::Normal, payload })
        });
        writer.append(reader.stage(entries.collect())).and_then(|()| writer.sync()).expect("the disk takes it");
        index += BATCH;
    }
    writer.close().expect("the disk takes it");
    say("journal written", &format!("{} commits/s, {BATCH} a sync", per_second(objects, began.elapsed())));
    drop(reader);

    let began = now();
    let journal::Opened { reader, .. } = open_journal();
    say("journal opened and verified", &format!("{:.2} s", began.elapsed().as_secs_f64()));
    let state = directory.join("state");
    for (name, mut cabinet) in [
        ("memory", Cabinet::new(Box::new(MemoryState::new()) as Box<dyn State>)),
        ("sled", Cabinet::new(Box::new(SledState::open(&state, objects).expect("it opens").0) as Box<dyn State>)),
    ] {
        let (began, own, all) = (now(), own_cpu(), process_cpu());
        replay(&reader, &mut cabinet, objects, |_, _, _| ControlFlow::Continue(()), &mut |_| {}).expect("the journal is sound");
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / objects as f64;
        let (own, all) = (own_cpu().saturating_sub(own), process_cpu().saturating_sub(all));
        say(
            &format!("rebuilt in {name}"),
            &format!(
                "{} commits/s; CPU a commit: {:.1} us applying, {:.1} us beside",
                per_second(objects, began.elapsed()),
                each(own),
                each(all.saturating_sub(own))
            ),
        );
        queries(&format!("{objects} objects in {name}"), &cabinet, objects, TIMES);
        drop(cabinet);
    }
    let began = now();
    let (reopened, _) = SledState::open(&state, objects).expect("it opens");
    let cabinet = Cabinet::new(reopened);
    let behind = objects - cabinet.mark().index;
    say("state reopened", &format!("{:.2} s, {behind} commits to replay", began.elapsed().as_secs_f64()));
    let per_object = |bytes: u64| bytes as f64 / objects as f64;
    for (what, bytes) in cabinet.state().kept_bytes() {
        say(&format!("bytes a commit in sled: {what}"), &format!("{:.0}", per_object(bytes)));
    }
    drop(cabinet);
    let per_commit = |path: &Path| bytes_of(path) as f64 / objects as f64;
    say("bytes a commit", &format!("{:.0} journal, {:.0} state in sled", per_commit(&directory.join("journal")), per_commit(&state)));
}

fn bytes_of(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).expect("it is there").map(|entry| entry.expect("it is readable"));
    let sizes = entries.map(|entry| match entry.path().is_dir() {
        true => bytes_of(&entry.path()),
        false => entry.metadata().map_or(0, |metadata| metadata.len()),
    });
    sizes.sum()
}

/// What this thread has used of the processor, which says more than the time that passed where others use it, too.
fn own_cpu() -> Duration {
    let schedstat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(schedstat.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

/// What all threads have used.
fn process_cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name of the program: the 12th and 13th fields, in hundredths of a second.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let hundredths: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(hundredths * 10)
}

const BATCH: u64 = 1_000;

const TIMES: usize = 1_000;
