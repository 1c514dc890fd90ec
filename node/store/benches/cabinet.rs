//! What a large cabinet costs: rebuilding and reopening it, asking it, and the bytes of a commit.
//!
//! `cargo bench -p caps-store --bench cabinet -- [OBJECTS]`, a million if not given. It takes some minutes and a few gigabytes in the temporary
//! directory. Figures depend on the machine; those that are compared are taken in one run.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use caps_model::{Author, Change, Commit, CommitId, Name, ObjectId, Query, Record, Value};
use caps_overlay::Rng;
use caps_store::cabinet::{Cabinet, admit};
use caps_store::journal::{self, Entry, EntryKind, Options};
use caps_store::replay;
use caps_store::state::{MemoryState, SledState, State};
use caps_store::storage::DiskStorage;

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
        queries(&format!("{objects} objects in {name}"), &cabinet, objects);
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

fn queries(of: &str, cabinet: &Cabinet<Box<dyn State>>, objects: u64) {
    let middle = objects / 2;
    for (what, filter, order) in [
        ("one value", format!("number = {middle}"), None),
        ("20 of a range", format!("number between {middle} and {}", middle + 19), None),
        ("20 newest due of one in five", "status = open".to_owned(), Some("due_at")),
        ("20 of one owner in an order", format!("owner = #{}", ObjectId(7)), Some("number")),
        ("20 by words", format!("subject about 'pump w{}'", middle % WORDS), None),
    ] {
        let mut query = Query::all(Name::fixed("case")).and(filter.parse().expect("it is a filter")).limit(20);
        if let Some(order) = order {
            query = query.by(Name::fixed(order), true);
        }
        let mut took: Vec<Duration> = (0..TIMES)
            .map(|_| {
                let began = now();
                let found = cabinet.query(&query).expect("the state answers");
                assert!(!found.objects.is_empty());
                began.elapsed()
            })
            .collect();
        took.sort();
        let explained = cabinet.explain(&query).expect("the state answers");
        let (p50, p99) = (took[TIMES / 2], took[TIMES * 99 / 100]);
        say(&format!("{of}: {what}"), &format!("p50 {p50:.1?}, p99 {p99:.1?}, looked at {}", explained.looked_at));
    }
}

/// A case like those of the case desk: a number, a state, an owner, a due time, a subject.
fn case(number: u64) -> Change {
    let one = |value| vec![value];
    let signed = i64::try_from(number).expect("so many cases there never are");
    let status = ["open", "waiting", "closed", "new", "merged"][usize::try_from(number % 5).expect("less than 5")];
    let attributes: Record = BTreeMap::from([
        (Name::fixed("number"), one(Value::Int(signed))),
        (Name::fixed("status"), one(Value::text(status))),
        (Name::fixed("owner"), one(Value::Reference(ObjectId(u128::from(number % 1_000))))),
        (Name::fixed("due_at"), one(Value::Timestamp(signed.wrapping_mul(7_919) % 1_000_003))),
        (Name::fixed("subject"), one(Value::Text(format!("pump {number} w{}", number % WORDS)))),
    ]);
    Change::Create { object: ObjectId(u128::from(number) << 32), entity: Name::fixed("case"), ancestors: Vec::new(), attributes }
}

fn commit(index: u64, changes: Vec<Change>) -> Commit {
    let author = Author {
        user: None,
        front_end: "spiffe://bench.example/site/lund/layer/4/desk".to_owned(),
        host: "spiffe://bench.example/site/lund/layer/2/host".to_owned(),
        module: Name::fixed("casedesk"),
        module_version: 1,
        method: Name::fixed("file_mail"),
        reason: None,
    };
    let time = i64::try_from(index).expect("so many commits there never are");
    Commit { id: CommitId(u128::from(index)), author, time, reads: Vec::new(), changes, effects: Vec::new(), result: Record::new() }
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

fn per_second(count: u64, took: Duration) -> u64 {
    u64::try_from(u128::from(count) * 1_000_000 / took.as_micros().max(1)).unwrap_or(u64::MAX)
}

fn say(what: &str, figure: &str) {
    println!("{what:<58} {figure}");
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the real machine")]
fn now() -> Instant {
    Instant::now()
}

const BATCH: u64 = 1_000;

const TIMES: usize = 1_000;

/// Words that tell subjects apart: each is in some hundred of a million.
const WORDS: u64 = 10_007;
