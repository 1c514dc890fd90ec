//! Subscriptions as replicas serve them: slow readers, time, and going on elsewhere.

use caps_model::query::{Condition, Test};
use caps_model::{Filter, Value};
use tokio::sync::Semaphore;

use super::*;

/// A reader that takes an update only when it is let.
struct Slow {
    told: Arc<Mutex<Vec<Update>>>,
    takes: Arc<Semaphore>,
}

impl Sink for Slow {
    async fn send(&mut self, update: Bytes) -> bool {
        let Ok(permit) = self.takes.acquire().await else { return false };
        permit.forget();
        self.told.lock().unwrap().push(codec::decode(&update).unwrap());
        true
    }
}

/// A subscription at one replica; it ends when this is dropped.
struct Following {
    told: Arc<Mutex<Vec<Update>>>,
    takes: Arc<Semaphore>,
    task: tokio::task::JoinHandle<Result<(), Failure>>,
}

impl Following {
    fn start(group: &Group, voter: u64, subscribe: Subscribe, at_once: usize) -> Self {
        let (told, takes) = (Arc::default(), Arc::new(Semaphore::new(at_once)));
        let mut sink = Slow { told: Arc::clone(&told), takes: takes.clone() };
        let shared = group.store(voter).shared;
        let task = tokio::spawn(async move { subscription::serve(shared, subscribe, &mut sink).await });
        Self { told, takes, task }
    }

    /// Everything told by now. Paused time moves only when nothing else can.
    async fn told(&self) -> Vec<Update> {
        sleep(Duration::from_millis(200)).await;
        self.told.lock().unwrap().clone()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn things() -> Query {
    Query::all(Name::fixed("thing"))
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_told_the_newest_state_and_an_exact_one_every_change() {
    let group = Group::start().await;
    let (newest, every) = (Subscribe::new(things(), From::Present), Subscribe::new(things(), From::Present).every_change());
    let (newest, every) = (Following::start(&group, 1, newest, 1), Following::start(&group, 1, every, 1));
    assert_eq!((newest.told().await.len(), every.told().await.len()), (1, 1));
    const MISSED: u64 = 200;
    for id in 1..=MISSED {
        group.commit(1, u128::from(id)).await.unwrap();
    }
    group.assert_equal(Position(MISSED)).await;
    newest.takes.add_permits(1_000);
    every.takes.add_permits(1_000);
    let changes = |told: &[Update]| told.iter().filter(|update| matches!(update, Update::Changes { .. })).count() as u64;
    let (newest, every) = (newest.told().await, every.told().await);
    assert_eq!(changes(&every), MISSED);
    // One was under way when the reader stopped, and all others came as one.
    assert_eq!(changes(&newest), 2, "{newest:?}");
    let Some(Update::Changes { position, changes, coalesced_from, .. }) = newest.iter().rfind(|u| matches!(u, Update::Changes { .. }))
    else {
        panic!("{newest:?}");
    };
    assert_eq!((position.0, changes.len() as u64, *coalesced_from), (MISSED, MISSED - 1, Some(Position(1))));
}

#[tokio::test(start_paused = true)]
async fn time_brings_objects_and_another_replica_goes_on_where_one_ended() {
    let group = Group::start().await;
    let second = 1_000_000;
    let now = wall_clock_of(&group, 1);
    let thing = |id: u128, seconds: i64| {
        let attributes = [(Name::fixed("due"), vec![Value::Timestamp(now + seconds * second)])].into();
        let create = Change::Create { object: ObjectId(id), entity: Name::fixed("thing"), ancestors: Vec::new(), attributes };
        Commit { changes: vec![create], ..commit_of(id) }
    };
    for (id, seconds) in [(1, 10), (2, 20), (3, 30)] {
        group.store(1).commit(thing(id, seconds), Instant::now() + Duration::from_secs(5)).await.unwrap();
    }
    group.assert_equal(Position(3)).await;
    let test = Test::FromNow { from: std::ops::Bound::Unbounded, to: std::ops::Bound::Included(0) };
    let due = Filter::Where(Condition { attribute: Name::fixed("due"), key: None, test });
    let subscribe = Subscribe::new(things().and(due), From::Present);
    let first = Following::start(&group, 1, subscribe.clone(), 1_000);
    sleep(Duration::from_secs(15)).await;
    let told = first.told().await;
    let added = |told: &[Update]| {
        let all = told.iter().filter_map(|update| match update {
            Update::Changes { changes, moment, .. } => {
                Some((changes.iter().map(|change| change.id().0).collect::<Vec<_>>(), moment.unwrap()))
            }
            Update::Present { .. } | Update::Progress { .. } => None,
        });
        all.collect::<Vec<_>>()
    };
    let [(ids, moment)] = &added(&told)[..] else { panic!("{told:?}") };
    assert_eq!(*ids, [1]);
    // Told when it is due, give or take the grain of timers.
    assert!((now + 10 * second..=now + 10 * second + 5_000).contains(moment), "{moment}");
    let from = told.last().unwrap().resume_from();
    drop(first);
    sleep(Duration::from_secs(20)).await;
    // Nobody listened when the other two came due.
    let other = Following::start(&group, 2, Subscribe { from, ..subscribe }, 1_000);
    let ids: Vec<u128> = added(&other.told().await).into_iter().flat_map(|(ids, _)| ids).collect();
    assert_eq!(ids, [2, 3]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_followed_is_refused_for_good() {
    let group = Group::start().await;
    let through = things().and("other.name = Anna".parse().unwrap());
    let mut refused = Following::start(&group, 1, Subscribe::new(through, From::Present), 1);
    let failure = (&mut refused.task).await.unwrap().unwrap_err();
    assert_eq!((failure.code, failure.retry), (failure::MALFORMED, caps_overlay::Retry::No));
    assert!(failure.message.contains("through relations"), "{}", failure.message);
}

fn wall_clock_of(group: &Group, voter: u64) -> i64 {
    group.store(voter).shared.wall_clock.now_micros()
}
