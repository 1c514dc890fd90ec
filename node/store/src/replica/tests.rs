//! Three whole replicas in one process, in paused time: everything but the overlay. `loopback` has that, too.

mod blob_obliteration;
mod blobs;
mod care;
mod following;
mod loopback;
mod members;
mod obliterate;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use caps_model::messages::audit::OBLITERATE;
use caps_model::messages::cabinet::{COMMIT, Committed, JOIN, MEMBERS, ORDER};
use caps_model::messages::{AskOutcome, From, ObjectChange, Outcome, Subscribe, Update};
use caps_model::{Author, Change, Commit, CommitId, Name, ObjectId, Position, Query, codec};
use caps_overlay::{CallError, Identity, Layer, Priority, Rng, Tasks, WallClock, Worker, Workers};
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::peers::Peers;
use super::subscription::{self, Sink};
use super::*;
use crate::service::failure;
use crate::storage::MemoryStorage;

#[tokio::test(start_paused = true)]
async fn a_commit_through_any_replica_reaches_all() {
    let group = Group::start().await;
    for voter in VOTERS {
        let committed = group.commit(voter, u128::from(voter)).await.unwrap();
        assert!(matches!(committed, Committed::Accepted { repeated: false, .. }));
    }
    group.assert_equal(Position(3)).await;
}

#[tokio::test(start_paused = true)]
async fn asking_again_gives_the_first_answer() {
    let group = Group::start().await;
    let first = group.commit(1, 7).await.unwrap();
    let Committed::Accepted { position, .. } = first else { panic!("{first:?}") };
    for voter in VOTERS {
        let again = group.commit(voter, 7).await.unwrap();
        assert!(matches!(again, Committed::Accepted { position: at, repeated: true, .. } if at == position), "{again:?}");
    }
    group.assert_equal(position).await;
}

#[tokio::test(start_paused = true)]
async fn commits_go_on_when_the_leader_is_killed_and_it_catches_up_later() {
    let mut group = Group::start().await;
    group.commit(1, 1).await.unwrap();
    let dead = group.leader().await;
    let killed_at = Instant::now();
    group.kill(dead);
    let other = VOTERS.into_iter().find(|voter| *voter != dead).unwrap();
    group.commit(other, 2).await.unwrap();
    // 20 ticks of 50 ms until the slower follower asks for votes, and some round trips.
    assert!(killed_at.elapsed() < Duration::from_millis(1_200), "{:?}", killed_at.elapsed());
    group.commit(other, 3).await.unwrap();
    group.open(dead);
    group.assert_equal(Position(3)).await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_under_way_survives_the_leader() {
    let mut group = Group::start().await;
    group.commit(1, 1).await.unwrap();
    let dead = group.leader().await;
    let other = VOTERS.into_iter().find(|voter| *voter != dead).unwrap();
    let store = group.store(other);
    // It is with the leader, which cannot reach anybody any more, when the leader dies.
    group.net.silence(dead);
    let waiting = tokio::spawn(async move { store.commit(commit_of(2), Instant::now() + Duration::from_secs(10)).await });
    sleep(Duration::from_millis(20)).await;
    group.kill(dead);
    assert!(matches!(waiting.await.unwrap().unwrap(), Committed::Accepted { .. }));
    group.open(dead);
    group.assert_equal(Position(2)).await;
}

#[tokio::test(start_paused = true)]
async fn without_a_majority_nothing_is_acknowledged() {
    let mut group = Group::start().await;
    let leader = group.leader().await;
    for voter in VOTERS.into_iter().filter(|voter| *voter != leader) {
        group.kill(voter);
    }
    let refused = group.commit(leader, 1).await.unwrap_err();
    // It is in the leader's log, so that nobody may say that it did not happen.
    assert_eq!(refused.code, failure::UNDECIDED);
    for voter in VOTERS.into_iter().filter(|voter| *voter != leader) {
        group.open(voter);
    }
    let outcome = group.store(leader).outcome(AskOutcome { commit: CommitId(1), seal: true }, soon()).await.unwrap();
    let again = group.commit(leader, 1).await.unwrap();
    match outcome {
        Outcome::Accepted { position, .. } => assert!(matches!(again, Committed::Accepted { position: at, .. } if at == position)),
        Outcome::Sealed => assert_eq!(again, Committed::Sealed),
        Outcome::Unknown => panic!("a sealing is final"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_sealed_commit_never_happens() {
    let group = Group::start().await;
    for (voter, seal) in [(1, CommitId(5)), (2, CommitId(6))] {
        assert_eq!(group.store(voter).outcome(AskOutcome { commit: seal, seal: false }, soon()).await.unwrap(), Outcome::Unknown);
        assert_eq!(group.store(voter).outcome(AskOutcome { commit: seal, seal: true }, soon()).await.unwrap(), Outcome::Sealed);
        assert_eq!(group.commit(3, seal.0).await.unwrap(), Committed::Sealed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_linearizable_read_sees_what_was_acknowledged_elsewhere() {
    let group = Group::start().await;
    for id in 1..20 {
        let voter = VOTERS[usize::try_from(id % 3).unwrap()];
        let other = VOTERS[usize::try_from((id + 1) % 3).unwrap()];
        let Committed::Accepted { position, .. } = group.commit(voter, id).await.unwrap() else { panic!("accepted") };
        assert!(group.store(other).linearizable(soon()).await.unwrap() >= position);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_sync_stops_the_replica_and_nobody_else() {
    let group = Group::start().await;
    let follower = VOTERS.into_iter().find(|voter| Some(*voter) != group.leading()).unwrap();
    group.disks[&follower].fail_sync(0);
    let other = VOTERS.into_iter().find(|voter| *voter != follower).unwrap();
    group.commit(other, 1).await.unwrap();
    assert!(matches!(group.store(follower).stopped().await, Stopped::Write(_)));
    assert_eq!(group.commit(follower, 2).await.unwrap_err().code, failure::STOPPED);
    group.commit(other, 3).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stops_hands_over_at_once() {
    let group = Group::start().await;
    group.commit(1, 1).await.unwrap();
    let leader = group.leader().await;
    let started = Instant::now();
    assert!(matches!(group.store(leader).shutdown(Duration::from_secs(5)).await, Stopped::Asked));
    let other = VOTERS.into_iter().find(|voter| *voter != leader).unwrap();
    group.commit(other, 2).await.unwrap();
    // No election timeout (600 ms at least) was waited for.
    assert!(started.elapsed() < Duration::from_millis(400), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_subscription_goes_on_at_another_replica_without_gap_or_repetition() {
    let mut group = Group::start().await;
    let mut seen = Vec::new();
    let mut from = From::Present;
    for round in 0..6_u64 {
        let replica = VOTERS[usize::try_from(round % 3).unwrap()];
        let reader = group.subscribe(replica, from);
        for id in 0..10 {
            group.commit(1 + id % 3, u128::from(round * 10 + id + 1)).await.unwrap();
        }
        if round == 3 {
            let leader = group.leader().await;
            group.kill(leader);
            group.open(leader);
        }
        sleep(Duration::from_millis(500)).await;
        for update in reader.stop() {
            if let Some(resume) = update.resume() {
                from = From::After(resume);
            }
            match update {
                Update::Present { objects, .. } => seen.extend(objects.into_iter().map(|object| object.id)),
                Update::Changes { changes, .. } => seen.extend(changes.iter().map(ObjectChange::id)),
                Update::Progress { .. } => {}
            }
        }
    }
    let reader = group.subscribe(2, from);
    sleep(Duration::from_secs(3)).await;
    for update in reader.stop() {
        if let Update::Changes { changes, .. } = update {
            seen.extend(changes.iter().map(ObjectChange::id));
        }
    }
    let expected: Vec<ObjectId> = (1..=60).map(ObjectId).collect();
    assert_eq!(seen, expected);
}

#[tokio::test(start_paused = true)]
async fn many_at_once_all_get_their_answer() {
    let group = Group::start().await;
    let mut asked = Vec::new();
    for id in 1..=1_000_u128 {
        let store = group.store(VOTERS[usize::try_from(id % 3).unwrap()]);
        asked.push(tokio::spawn(async move { store.commit(commit_of(id), soon()).await }));
    }
    for asked in asked {
        assert!(matches!(asked.await.unwrap().unwrap(), Committed::Accepted { .. }));
    }
    group.assert_equal(Position(1_000)).await;
    // Group commit: a thousand commits took far fewer syncs.
    assert!(group.disks[&1].syncs() < 300, "{}", group.disks[&1].syncs());
}

/// Three replicas and two nodes more, their disks and the network between them.
struct Group {
    net: Arc<Net>,
    disks: BTreeMap<u64, MemoryStorage>,
    tasks: BTreeMap<u64, Tasks>,
    /// Who is a learner from the beginning.
    learners: Vec<u64>,
    /// Where states are kept; in memory if nowhere.
    states: Option<tempfile::TempDir>,
    rng: Rng,
}

/// The network: a message takes a millisecond.
#[derive(Default)]
struct Net {
    stores: Mutex<BTreeMap<u64, Store>>,
    silent: Mutex<Vec<u64>>,
}

struct NetPeers {
    net: Arc<Net>,
    me: u64,
    tasks: Tasks,
}

struct Inline;

/// A subscription that collects what it is told.
struct Reader {
    told: Arc<Mutex<Vec<Update>>>,
    task: tokio::task::JoinHandle<()>,
}

struct Collect(Arc<Mutex<Vec<Update>>>);

impl Group {
    fn without_replicas() -> Self {
        let disks = NODES.map(|voter| (voter, MemoryStorage::new())).into();
        Self { net: Arc::default(), disks, tasks: BTreeMap::new(), learners: Vec::new(), states: None, rng: Rng::seeded(1) }
    }

    async fn start() -> Self {
        let mut group = Self::without_replicas();
        VOTERS.into_iter().for_each(|voter| group.open(voter));
        group.leader().await;
        group
    }

    fn open(&mut self, voter: u64) {
        let tasks = Tasks::default();
        let settings = Settings {
            cabinet: Name::fixed("main"),
            identity: identity(voter),
            founders: Settings::founders(VOTERS.map(identity), self.learners.iter().copied().map(identity)),
            peers: NODES.map(identity).into(),
            state: self.states.as_ref().map_or(StateKind::Memory, |states| StateKind::Sled(states.path().join(voter.to_string()))),
            timing: Timing::default(),
            reserve_bytes: RESERVE_BYTES,
        };
        let storage = Arc::new(self.disks[&voter].clone());
        let store = Store::open_in(settings, storage, &self.rng.fork(), &wall_clock(), &Inline, &tasks).unwrap();
        self.net.stores.lock().unwrap().insert(voter, store.clone());
        self.net.silent.lock().unwrap().retain(|silent| *silent != voter);
        store.run_with(Arc::new(NetPeers { net: self.net.clone(), me: voter, tasks: tasks.clone() }));
        self.tasks.insert(voter, tasks);
    }

    /// As `kill -9` and a power cut in one.
    fn kill(&mut self, voter: u64) {
        self.tasks[&voter].abort_all();
        self.net.stores.lock().unwrap().remove(&voter);
        self.disks[&voter].power_cut(|| false);
    }

    fn store(&self, voter: u64) -> Store {
        self.net.stores.lock().unwrap()[&voter].clone()
    }

    async fn commit(&self, voter: u64, id: u128) -> Result<Committed, Failure> {
        self.store(voter).commit(commit_of(id), soon()).await
    }

    fn leading(&self) -> Option<u64> {
        let stores = self.net.stores.lock().unwrap();
        stores.iter().find(|(_, store)| store.shared.standing().borrow().role == crate::Role::Leader).map(|(voter, _)| *voter)
    }

    async fn leader(&self) -> u64 {
        let found = async {
            loop {
                if let Some(leader) = self.leading() {
                    return leader;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(10), found).await.expect("a leader is elected within a few timeouts")
    }

    fn subscribe(&self, voter: u64, from: From) -> Reader {
        let told = Arc::new(Mutex::new(Vec::new()));
        let mut sink = Collect(told.clone());
        let shared = self.store(voter).shared;
        let subscribe = Subscribe::new(Query::all(Name::fixed("thing")), from).every_change();
        let task = tokio::spawn(async move {
            // A replica that is killed ends its subscriptions; the reader goes on elsewhere.
            subscription::serve(shared, subscribe, &mut sink).await.ok();
        });
        Reader { told, task }
    }

    /// Every replica comes to `position`, and all of them to it in the same way.
    async fn assert_equal(&self, position: Position) {
        let stores: Vec<Store> = VOTERS.into_iter().map(|voter| self.store(voter)).collect();
        for store in &stores {
            let arrival = store.shared.at_least(position).unwrap();
            timeout(Duration::from_secs(10), arrival).await.expect("it catches up within seconds").unwrap();
        }
        let heads: Vec<_> = stores.iter().map(|store| (store.status().position, store.status().chain_head)).collect();
        assert!(heads.iter().all(|head| *head == (position, heads[0].1)), "{heads:?}");
    }
}

impl Net {
    fn silence(&self, voter: u64) {
        self.silent.lock().unwrap().push(voter);
    }

    fn is_silent(&self, voter: u64) -> bool {
        self.silent.lock().unwrap().contains(&voter)
    }

    fn shared(&self, voter: u64) -> Option<Arc<Shared>> {
        self.stores.lock().unwrap().get(&voter).map(|store| store.shared.clone())
    }
}

impl Peers for NetPeers {
    fn send(&self, to: &Identity, message: Bytes, _: Priority) -> bool {
        let (net, me, voter) = (self.net.clone(), self.me, number(to));
        if net.is_silent(me) {
            return true;
        }
        self.tasks.spawn(async move {
            sleep(Duration::from_millis(1)).await;
            let Some(shared) = net.shared(voter).filter(|shared| shared.takes_part()) else { return };
            if let Some(message) = super::message(&shared, &identity(me), message) {
                shared.messages.try_send(message).ok();
            }
        });
        true
    }

    fn call(&self, to: &Identity, method: u16, body: Bytes, deadline: Instant) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let (net, me, voter) = (self.net.clone(), self.me, number(to));
        Box::pin(async move {
            sleep(Duration::from_millis(1)).await;
            // A dead node says nothing.
            let Some(shared) = net.shared(voter) else {
                sleep_until(deadline).await;
                return Err(CallError::DeadlineExceeded);
            };
            if method != MEMBERS && !shared.is_serving() {
                return Err(CallError::Failed(failure::stopped()));
            }
            let answer = match method {
                MEMBERS => Ok(codec::encode(&shared.members()).unwrap()),
                JOIN => admit(&shared, &codec::decode(&body).unwrap(), identity(me)).await.map(|a| codec::encode(&a).unwrap()),
                ORDER => order(&shared, codec::decode(&body).unwrap(), Origin::Replica, deadline).await.map(|a| codec::encode(&a).unwrap()),
                COMMIT => {
                    commit(&shared, codec::decode(&body).unwrap(), Origin::Replica, deadline).await.map(|a| codec::encode(&a).unwrap())
                }
                OBLITERATE => {
                    let order = codec::decode(&body).unwrap();
                    obliterate(&shared, order, Origin::Replica, deadline).await.map(|a| codec::encode(&a).unwrap())
                }
                _ => outcome(&shared, codec::decode(&body).unwrap(), Origin::Replica, deadline).await.map(|a| codec::encode(&a).unwrap()),
            };
            sleep(Duration::from_millis(1)).await;
            answer.map(Bytes::from).map_err(CallError::Failed)
        })
    }

    fn ask_blob(&self, to: &Identity, question: Bytes, deadline: Instant) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let (net, me, voter) = (self.net.clone(), self.me, number(to));
        Box::pin(async move {
            sleep(Duration::from_millis(1)).await;
            // A dead node says nothing, and one that has died meanwhile neither.
            let Some(shared) = net.shared(voter).filter(|_| !net.is_silent(me) && !net.is_silent(voter + BLOB_SILENCE)) else {
                sleep_until(deadline).await;
                return Err(CallError::DeadlineExceeded);
            };
            if !shared.is_serving() {
                return Err(CallError::Failed(failure::stopped()));
            }
            let answer = answer_about_blob(&shared, codec::decode(&question).unwrap(), &identity(me), deadline).await;
            sleep(Duration::from_millis(1)).await;
            answer.map(|answer| codec::encode(&answer).unwrap().into()).map_err(CallError::Failed)
        })
    }

    fn round_trips(&self) -> Vec<(Identity, Duration)> {
        Vec::new()
    }
}

impl Workers for Inline {
    fn start(&self, _: &str, _: usize) -> Worker {
        Worker::inline()
    }
}

impl Reader {
    fn stop(self) -> Vec<Update> {
        self.task.abort();
        std::mem::take(&mut *self.told.lock().unwrap())
    }
}

impl Sink for Collect {
    async fn send(&mut self, update: Bytes) -> bool {
        self.0.lock().unwrap().push(codec::decode(&update).unwrap());
        true
    }
}

fn number(node: &Identity) -> u64 {
    node.name().strip_prefix("store-").unwrap().parse().unwrap()
}

fn identity(voter: u64) -> Identity {
    Identity::node("test.example", "here", Layer::Cabinet, &format!("store-{voter}")).unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn commit_of(id: u128) -> Commit {
    let author = Author {
        user: None,
        front_end: "test".to_owned(),
        host: "test".to_owned(),
        module: Name::fixed("test"),
        module_version: 1,
        method: Name::fixed("test"),
        reason: None,
    };
    let change = Change::Create { object: ObjectId(id), entity: Name::fixed("thing"), ancestors: Vec::new(), attributes: BTreeMap::new() };
    Commit { id: CommitId(id), author, time: 0, reads: Vec::new(), changes: vec![change], effects: Vec::new(), result: BTreeMap::new() }
}

/// Added to the number of a node that is silent about blobs only.
const BLOB_SILENCE: u64 = 100;

const VOTERS: [u64; 3] = [1, 2, 3];

/// Every node that may keep a replica.
const NODES: [u64; 5] = [1, 2, 3, 4, 5];

/// The time since the test began, which stands still while it works.
#[derive(Debug)]
struct PausedClock(Instant);

impl WallClock for PausedClock {
    fn now_micros(&self) -> i64 {
        i64::try_from(self.0.elapsed().as_micros()).unwrap()
    }
}

fn wall_clock() -> Arc<dyn WallClock> {
    Arc::new(PausedClock(Instant::now()))
}
