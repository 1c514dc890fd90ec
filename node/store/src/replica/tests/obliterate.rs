//! Values are obliterated on every replica: in what it answers, and in every byte of its disk.

use caps_model::messages::audit::{Obliterate, Target};
use caps_model::messages::cabinet::{Order, OrderKind};
use caps_model::{Read, Value};

use super::*;

const SECRET: &[u8] = b"Rumpelstilzchen";

fn text(bytes: &[u8]) -> Vec<Value> {
    vec![Value::text(std::str::from_utf8(bytes).unwrap())]
}

pub(super) fn telling(id: u128, object: u128, stale: bool) -> Commit {
    let attributes = BTreeMap::from([(Name::fixed("name"), text(SECRET)), (Name::fixed("state"), text(b"open"))]);
    let change = Change::Create { object: ObjectId(object), entity: Name::fixed("thing"), ancestors: Vec::new(), attributes };
    let version = Position(if stale { 99 } else { 0 });
    let reads = vec![Read::Object { object: ObjectId(object), version }];
    Commit { changes: vec![change], reads, result: BTreeMap::from([(Name::fixed("told"), text(SECRET))]), ..commit_of(id) }
}

pub(super) fn order(id: u128, object: u128) -> Obliterate {
    let target = Target { object: ObjectId(object), attribute: Name::fixed("name"), from: Position(1), to: Position(u64::MAX) };
    Obliterate { id: CommitId(id), by: "admin".to_owned(), reason: "asked for".to_owned(), targets: vec![target] }
}

impl Group {
    /// Some commits, of which two have the secret, and one that had it was refused.
    async fn tell(&self) {
        for id in 1..=5 {
            self.commit(1, id).await.unwrap();
        }
        let refused = self.store(2).commit(telling(6, 100, true), soon()).await.unwrap();
        assert!(matches!(refused, Committed::Conflict { .. }));
        for id in [7, 8] {
            assert!(matches!(self.store(2).commit(telling(id, 100 + id, false), soon()).await.unwrap(), Committed::Accepted { .. }));
        }
        let refused = self.store(2).commit(telling(9, 107, true), soon()).await.unwrap();
        assert!(matches!(refused, Committed::Conflict { .. }));
        self.commit(1, 10).await.unwrap();
    }

    pub(super) async fn obliterate(&self, voter: u64, order: &Obliterate) -> Result<Committed, Failure> {
        self.store(voter).obliterate(order.clone(), soon()).await
    }

    /// Waits until the files of these nodes are done with everything up to `position`.
    pub(super) async fn redacted(&self, nodes: &[u64], position: Position) {
        let done = async {
            for node in nodes {
                loop {
                    let status = self.store(*node).status();
                    if status.position >= position && status.obliterated_index > 0 && status.redacted_index == status.obliterated_index {
                        break;
                    }
                    sleep(Duration::from_millis(10)).await;
                }
            }
        };
        timeout(Duration::from_secs(20), done).await.expect("it is redacted within seconds");
    }
}

#[tokio::test(start_paused = true)]
async fn no_byte_is_left_on_any_disk_and_the_chain_is_as_before() {
    let mut group = Group::start().await;
    group.tell().await;
    group.assert_equal(Position(8)).await;
    let before = group.store(1).shared.cabinet().head(Some(Position(8))).unwrap();
    assert!(VOTERS.iter().all(|voter| group.disks[voter].holds(SECRET)));
    // Through a replica that does not lead; twice.
    let follower = VOTERS.into_iter().find(|voter| Some(*voter) != group.leading()).unwrap();
    let refused = group.obliterate(follower, &order(19, 555)).await.unwrap_err();
    assert!(refused.code == failure::REFUSED && refused.message.contains("there is no object"), "{refused}");
    for _ in 0..2 {
        let done = group.obliterate(follower, &order(20, 107)).await.unwrap();
        assert!(matches!(done, Committed::Accepted { position: Position(9), .. }), "{done:?}");
    }
    group.redacted(&VOTERS, Position(9)).await;
    assert!(VOTERS.iter().all(|voter| group.disks[voter].holds(SECRET)), "the other object has it still");
    group.obliterate(follower, &order(21, 108)).await.unwrap();
    group.redacted(&VOTERS, Position(10)).await;
    // Neither has one that was refused, about an object that never came to be.
    assert!(VOTERS.iter().all(|voter| !group.disks[voter].holds(SECRET)));
    for voter in VOTERS {
        group.kill(voter);
    }
    VOTERS.into_iter().for_each(|voter| group.open(voter));
    group.leader().await;
    group.commit(1, 30).await.unwrap();
    group.assert_equal(Position(11)).await;
    for voter in VOTERS {
        assert_eq!(group.store(voter).shared.cabinet().head(Some(Position(8))).unwrap(), before);
        let object = group.store(voter).shared.cabinet().state().object(ObjectId(107)).unwrap().unwrap();
        assert!(object.text("state") == Some("open") && object.is_obliterated(&Name::fixed("name")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_learner_and_a_replica_that_was_away_have_no_byte_either() {
    let mut group = Group::start().await;
    // Only the objects that are obliterated have it.
    group.store(2).commit(telling(7, 107, false), soon()).await.unwrap();
    group.assert_equal(Position(1)).await;
    let away = VOTERS.into_iter().find(|voter| Some(*voter) != group.leading()).unwrap();
    let rest: Vec<u64> = VOTERS.into_iter().filter(|voter| *voter != away).collect();
    group.kill(away);
    group.obliterate(rest[0], &order(20, 107)).await.unwrap();
    group.redacted(&rest, Position(2)).await;
    assert!(rest.iter().all(|voter| !group.disks[voter].holds(SECRET)));
    group.open(away);
    group.open(4);
    group.leader().await;
    let learner = Order { kind: OrderKind::AddLearner, node: identity(4).uri().to_owned() };
    group.store(rest[0]).order(learner, soon()).await.unwrap();
    group.redacted(&[away, 4], Position(2)).await;
    assert!([away, 4].iter().all(|node| !group.disks[node].holds(SECRET)));
    group.commit(rest[0], 30).await.unwrap();
    group.assert_equal(Position(3)).await;
    let head = |node| group.store(node).shared.cabinet().head(Some(Position(2))).unwrap();
    assert_eq!(head(4), head(away));
}

/// The state is rewritten on a thread of its own, again and again, while commits are applied and read.
#[tokio::test(start_paused = true)]
async fn a_state_is_rewritten_while_commits_go_on_and_is_the_same_afterwards() {
    let mut group = Group::without_replicas();
    group.states = Some(tempfile::tempdir().unwrap());
    VOTERS.into_iter().for_each(|voter| group.open(voter));
    group.leader().await;
    group.store(1).commit(telling(1, 101, false), soon()).await.unwrap();
    group.obliterate(1, &order(2, 101)).await.unwrap();
    group.redacted(&VOTERS, Position(2)).await;
    let shared = group.store(2).shared.clone();
    let rewriting = std::thread::spawn(move || {
        for _ in 0..5 {
            redactor::purge(&shared, shared.journal()).unwrap();
        }
    });
    let mut last = 2;
    while !rewriting.is_finished() {
        last += 1;
        let object = 1_000 + u128::from(last);
        group.commit(2, object).await.unwrap();
        let objects = vec![ObjectId(object)];
        group.reaches_position(2, Position(last)).await;
        let got = group.store(2).shared.read(|cabinet| cabinet.get(&caps_model::messages::Get { objects })).unwrap();
        assert!(got.objects[0].is_some(), "{last}");
    }
    rewriting.join().unwrap();
    group.assert_equal(Position(last)).await;
    VOTERS.into_iter().for_each(|voter| group.kill(voter));
    // What was killed lets go of its directory when its tasks are dropped.
    sleep(Duration::from_secs(1)).await;
    VOTERS.into_iter().for_each(|voter| group.open(voter));
    group.leader().await;
    group.assert_equal(Position(last)).await;
}

/// The power of all replicas is cut at once, after some changes that the disks make while they redact: all numbers of changes come up on some disk.
#[tokio::test(start_paused = true)]
async fn a_power_cut_at_any_moment_loses_nothing_and_is_made_up_for() {
    for operations in (0..24).step_by(3) {
        let mut group = Group::start().await;
        group.store(2).commit(telling(7, 107, false), soon()).await.unwrap();
        group.assert_equal(Position(1)).await;
        for voter in VOTERS {
            group.disks[&voter].halt_after(operations + voter - 1);
        }
        let store = group.store(1);
        let asked = tokio::spawn(async move { store.obliterate(order(20, 107), Instant::now() + Duration::from_secs(1)).await });
        sleep(Duration::from_millis(300)).await;
        let acknowledged = asked.is_finished() && matches!(asked.await.unwrap(), Ok(Committed::Accepted { .. }));
        for voter in VOTERS {
            group.kill(voter);
        }
        VOTERS.into_iter().for_each(|voter| group.open(voter));
        group.leader().await;
        let position = group.store(1).linearizable(soon()).await.unwrap();
        assert!(position >= Position(if acknowledged { 2 } else { 1 }), "after {operations}: {position}");
        group.obliterate(1, &order(20, 107)).await.unwrap();
        group.redacted(&VOTERS, Position(2)).await;
        assert!(VOTERS.iter().all(|voter| !group.disks[voter].holds(SECRET)), "after {operations}");
        group.commit(1, 30).await.unwrap();
        group.assert_equal(Position(3)).await;
        VOTERS.into_iter().for_each(|voter| group.kill(voter));
    }
}
