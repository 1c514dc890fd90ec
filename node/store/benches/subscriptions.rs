//! What subscriptions cost a commit: beside many that it does not concern, and when it concerns all; how soon the last is told, and memory.
//!
//! `cargo bench -p caps-store --bench subscriptions`. It takes about a minute. A commit is measured whole, in memory: its application to the
//! state, finding whom it concerns, and making the update for each of them. Figures depend on the machine; ratios are taken within one run.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use caps_model::messages::{From, Subscribe, Update};
use caps_model::{Author, Change, Commit, CommitId, Name, ObjectId, Position, Query, Record, Value};
use caps_overlay::Rng;
use caps_store::cabinet::{Cabinet, Proposed, admit};
use caps_store::state::MemoryState;
use caps_store::watchers::{Limits, Next, WatcherId, Watchers};

fn main() {
    println!("a commit beside so many subscriptions of different predicates, one of which it concerns");
    let mut desks: Vec<Desk> = COUNTS.into_iter().map(Desk::of_different_predicates).collect();
    for (what, concerned) in [("always the same one", Concerned::First), ("another one each time", Concerned::Any)] {
        // In turns, so that whatever else the machine does falls on all of them alike.
        let mut took: Vec<Vec<Duration>> = COUNTS.iter().map(|_| Vec::new()).collect();
        for round in 0..ROUNDS {
            for (desk, took) in desks.iter_mut().zip(&mut took) {
                // What the others left in the caches is not this one's fault.
                for _ in 0..WARM {
                    desk.commit(concerned);
                }
                let each = (0..TIMES).map(|_| desk.commit(concerned));
                let each: Vec<Duration> = each.collect();
                if round > 0 {
                    took.extend(each);
                }
            }
        }
        let p50: Vec<f64> = took.iter_mut().map(|took| percentile(took, 50).as_secs_f64()).collect();
        for ((count, took), median) in COUNTS.iter().zip(&mut took).zip(&p50) {
            let (p90, p99) = (percentile(took, 90), percentile(took, 99));
            let ratio = median / p50[0];
            say(&format!("{what}, {count}"), &format!("p50 {:.2} us ({ratio:.2}), p90 {p90:.1?}, p99 {p99:.1?}", median * 1e6));
        }
    }
    drop(desks);
    all_concerned(10_000);
    slow_readers(10_000);
}

#[derive(Clone, Copy)]
enum Concerned {
    First,
    Any,
}

struct Desk {
    cabinet: Cabinet<MemoryState>,
    watchers: Watchers,
    /// One in four of them waits for a number: these are their numbers.
    numbers: Vec<i64>,
    next: u64,
}

impl Desk {
    fn new() -> Self {
        let limits = Limits { watchers: 200_000, ..Limits::default() };
        let watchers = Watchers::new(limits, Position::ZERO);
        Self { cabinet: Cabinet::new(MemoryState::new()), watchers, numbers: Vec::new(), next: 0 }
    }

    fn of_different_predicates(count: u64) -> Self {
        let mut desk = Self::new();
        let before = allocated();
        for number in 0..count {
            let filter = match number % 4 {
                0 => format!("number = {}", -signed(number)),
                1 => format!("number between {} and {}", number * 10 + 1_000_000, number * 10 + 1_000_009),
                2 => format!("owner = #{}", ObjectId(u128::from(number) + 10_000)),
                _ => format!("status = open and subject about 'only{number}'"),
            };
            if number % 4 == 0 {
                desk.numbers.push(-signed(number));
            }
            desk.follow(&format!("{filter} and readers = #{GROUP}"));
        }
        say(&format!("{count} subscriptions"), &format!("{} bytes each", (allocated() - before) / count));
        desk
    }

    fn follow(&mut self, filter: &str) -> WatcherId {
        let query = Query::all(Name::fixed("case")).and(filter.parse().expect("it is a filter"));
        let id = self.watchers.add(Subscribe::new(query, From::Present), 0, self.cabinet.state()).expect("there is room");
        self.drain(id);
        id
    }

    fn drain(&mut self, id: WatcherId) -> Vec<Update> {
        let mut told = Vec::new();
        loop {
            match self.watchers.next(id, 0, self.cabinet.state()).expect("the state answers") {
                Next::Update(update) => told.push(update),
                Next::Working => {}
                Next::Idle => return told,
            }
        }
    }

    /// Makes a case that one subscription waits for, and tells it.
    fn commit(&mut self, concerned: Concerned) -> Duration {
        self.next += 1;
        let index = self.next;
        let place = match concerned {
            Concerned::First => 0,
            // A step that meets all of them in an order that no cache foresees.
            Concerned::Any => usize::try_from(index.wrapping_mul(7_919)).expect("64 bits") % self.numbers.len(),
        };
        let proposed = proposed(index, &commit(index, case(index, self.numbers[place])));
        let began = now();
        let applied = Arc::new(self.cabinet.apply(index, &proposed).expect("the state takes it"));
        let awake = self.watchers.applied(&applied);
        for id in &awake {
            self.watchers.next(*id, 0, self.cabinet.state()).expect("the state answers");
        }
        let took = began.elapsed();
        assert_eq!(awake.len(), 1, "one is concerned");
        took
    }
}

/// How long until the last of many that all follow the same is told.
fn all_concerned(count: u64) {
    let mut desk = Desk::new();
    let before = allocated();
    for _ in 0..count {
        desk.follow(&format!("status = open and readers = #{GROUP}"));
    }
    let each = (allocated() - before) / count;
    let mut took = Vec::new();
    let worked = on_processor();
    for index in 1..=REPEATED {
        let proposed = proposed(index, &commit(index, case(index, 0)));
        let began = now();
        let applied = Arc::new(desk.cabinet.apply(index, &proposed).expect("the state takes it"));
        let awake = desk.watchers.applied(&applied);
        for id in &awake {
            desk.watchers.next(*id, 0, desk.cabinet.state()).expect("the state answers");
        }
        took.push(began.elapsed());
        assert_eq!(awake.len() as u64, count);
    }
    let worked = (on_processor() - worked) / u32::try_from(REPEATED).expect("it is small");
    let (p50, p99) = (percentile(&mut took, 50), percentile(&mut took, 99));
    say(
        &format!("a commit that concerns all of {count}"),
        &format!("p50 {p50:.1?}, p99 {p99:.1?} to the last, {worked:.1?} on the processor; {each} bytes each"),
    );
}

/// What it costs that nobody takes anything, and what each is told in the end.
fn slow_readers(count: u64) {
    let mut desk = Desk::new();
    let ids: Vec<WatcherId> = (0..count).map(|_| desk.follow(&format!("status = open and readers = #{GROUP}"))).collect();
    let held = missed(&mut desk).saturating_sub(missed(&mut Desk::new())) / count;
    let worked = on_processor();
    let told: Vec<Vec<Update>> = ids.iter().map(|id| desk.drain(*id)).collect();
    let worked = on_processor() - worked;
    let updates: usize = told.iter().map(Vec::len).sum();
    assert!(told.iter().flatten().all(|update| matches!(update, Update::Changes { coalesced_from: Some(_), .. })));
    say(
        &format!("{count} readers that miss {COMMITS_MISSED} commits"),
        &format!(
            "at most {held} bytes more each; then {} updates each, {worked:.1?} on the processor for all",
            updates as f64 / count as f64
        ),
    );
}

/// The most memory that commits took which no reader took.
fn missed(desk: &mut Desk) -> u64 {
    let before = allocated();
    let mut most = 0;
    for index in 1..=COMMITS_MISSED {
        let proposed = proposed(index, &commit(index, if index <= 10 { case(index, 0) } else { touch(index) }));
        let applied = Arc::new(desk.cabinet.apply(index, &proposed).expect("the state takes it"));
        desk.watchers.applied(&applied);
        most = most.max(allocated().saturating_sub(before));
    }
    most
}

/// A case like those of the case desk.
fn case(number: u64, wanted: i64) -> Change {
    let one = |value| vec![value];
    let attributes: Record = BTreeMap::from([
        (Name::fixed("number"), one(Value::Int(wanted))),
        (Name::fixed("status"), one(Value::text("open"))),
        (Name::fixed("owner"), one(Value::Reference(ObjectId(u128::from(number % 1_000))))),
        (Name::fixed("readers"), one(Value::Reference(GROUP))),
        (Name::fixed("due_at"), one(Value::Timestamp(signed(number).wrapping_mul(7_919) % 1_000_003))),
        (Name::fixed("subject"), one(Value::Text(format!("pump {number} w{}", number % 10_007)))),
    ]);
    Change::Create { object: case_id(number), entity: Name::fixed("case"), ancestors: Vec::new(), attributes }
}

/// Another due time for one of the first cases.
fn touch(number: u64) -> Change {
    let attributes = BTreeMap::from([(Name::fixed("due_at"), vec![Value::Timestamp(signed(number))])]);
    Change::Update { object: case_id(number % 10 + 1), attributes }
}

fn case_id(number: u64) -> ObjectId {
    ObjectId(u128::from(number) << 32)
}

/// A commit as an entry of the log proposes it.
fn proposed(index: u64, commit: &Commit) -> Proposed {
    let data = admit(commit, &Rng::seeded(index)).expect("it is a small commit");
    Proposed::decode(&data, index, 1).expect("it was encoded here")
}

fn commit(index: u64, change: Change) -> Commit {
    let author = Author {
        user: None,
        front_end: "spiffe://bench.example/site/lund/layer/4/desk".to_owned(),
        host: "spiffe://bench.example/site/lund/layer/2/host".to_owned(),
        module: Name::fixed("casedesk"),
        module_version: 1,
        method: Name::fixed("file_mail"),
        reason: None,
    };
    let (id, time, changes) = (CommitId(u128::from(index)), signed(index), vec![change]);
    Commit { id, author, time, reads: Vec::new(), changes, effects: Vec::new(), result: Record::new() }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("so many there never are")
}

fn percentile(took: &mut [Duration], percent: usize) -> Duration {
    took.sort_unstable();
    took[(took.len() - 1) * percent / 100]
}

/// Counts what is allocated and not freed.
struct Counting;

static ALLOCATED: AtomicU64 = AtomicU64::new(0);

#[expect(unsafe_code, reason = "an allocator is the only place where memory can be counted; it hands everything on")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocated() -> u64 {
    ALLOCATED.load(Ordering::Relaxed)
}

fn say(what: &str, figure: &str) {
    println!("{what:<44} {figure}");
}

/// For how long this thread has been at work, whatever else the machine did in the meantime; zero where that is not told.
fn on_processor() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(told.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the real machine")]
fn now() -> Instant {
    Instant::now()
}

const COUNTS: [u64; 3] = [10, 1_000, 100_000];

/// The group that all readers belong to.
const GROUP: ObjectId = ObjectId(1);

const ROUNDS: usize = 11;
const WARM: usize = 100;
const TIMES: usize = 500;

const REPEATED: u64 = 50;

const COMMITS_MISSED: u64 = 1_000;
