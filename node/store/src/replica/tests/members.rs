//! Who belongs to the group changes while it works; and a replica that cannot prove its data is repaired.

use caps_model::messages::cabinet::{Members, Order, OrderKind, ReplicaRole};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_learner_is_added_serves_and_gets_a_vote() {
    let mut group = Group::start().await;
    for id in 1..=20 {
        group.commit(1, id).await.unwrap();
    }
    group.open(4);
    assert_eq!(group.store(4).status().role, ReplicaRole::Outside);
    assert_eq!(group.commit(4, 99).await.unwrap_err().code, failure::NO_LEADER);
    // Through a replica that does not lead: the order finds its way.
    let follower = group.follower().await;
    group.order(follower, OrderKind::AddLearner, 4).await.unwrap();
    group.reaches(4, Position(20)).await;
    assert_eq!(group.store(4).status().role, ReplicaRole::Learner);
    // It forwards commits, and has what it has forwarded.
    let Committed::Accepted { position, .. } = group.commit(4, 21).await.unwrap() else { panic!("accepted") };
    assert!(group.store(4).linearizable(soon()).await.unwrap() >= position);
    let members = group.order(4, OrderKind::Promote, 4).await.unwrap();
    assert_eq!(voters(&members), [1, 2, 3, 4]);
    // Of four voters three are a majority: with two of the first three gone, nothing is decided; with one gone, all goes on.
    let dead = group.leader().await;
    let dead = if dead == 4 { 1 } else { dead };
    group.kill(dead);
    group.commit(4, 22).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn learners_that_a_group_begins_with_never_vote() {
    let mut group = Group::without_replicas();
    group.learners = vec![4];
    for node in [1, 2, 3, 4] {
        group.open(node);
    }
    group.commit(4, 1).await.unwrap();
    group.reaches(4, Position(1)).await;
    assert_eq!(group.store(4).status().role, ReplicaRole::Learner);
    for node in [1, 2] {
        group.kill(node);
    }
    // One voter and a learner are no majority of three voters, however long they wait.
    sleep(Duration::from_secs(20)).await;
    assert!(group.commit(4, 2).await.is_err());
    assert_eq!(group.store(4).status().role, ReplicaRole::Learner);
}

#[tokio::test(start_paused = true)]
async fn the_leader_itself_is_removed_stops_and_is_added_again() {
    let mut group = Group::start().await;
    group.commit(1, 1).await.unwrap();
    let leader = group.leader().await;
    let members = group.order(leader, OrderKind::Remove, leader).await.unwrap();
    assert_eq!(voters(&members).len(), 2);
    // It was not told, perhaps: it asks when it hears no leader.
    let stopped = timeout(Duration::from_secs(30), group.store(leader).stopped()).await.expect("it learns that it was removed");
    assert!(matches!(stopped, Stopped::Removed), "{stopped}");
    let other = VOTERS.into_iter().find(|voter| *voter != leader).unwrap();
    group.commit(other, 2).await.unwrap();
    group.kill(leader);
    group.open(leader);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(group.store(leader).status().role, ReplicaRole::Outside);
    group.order(other, OrderKind::AddLearner, leader).await.unwrap();
    group.reaches(leader, Position(2)).await;
    group.order(other, OrderKind::Promote, leader).await.unwrap();
    // Under a number that nobody had before.
    assert_eq!(group.store(leader).members().number, 4);
    group.commit(leader, 3).await.unwrap();
    group.assert_equal(Position(3)).await;
}

#[tokio::test(start_paused = true)]
async fn the_leadership_is_handed_to_whom_is_asked() {
    let group = Group::start().await;
    for round in 1..=6 {
        let next = VOTERS[usize::try_from(round % 3).unwrap()];
        let via = VOTERS[usize::try_from((round + 1) % 3).unwrap()];
        let started = Instant::now();
        group.order(via, OrderKind::Transfer, next).await.unwrap();
        group.commit(next, u128::try_from(round).unwrap()).await.unwrap();
        assert_eq!(group.leader().await, next);
        // No election timeout (600 ms at least) was waited for.
        assert!(started.elapsed() < Duration::from_millis(550), "{:?}", started.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn impossible_orders_are_refused_and_say_why() {
    let mut group = Group::start().await;
    group.commit(1, 1).await.unwrap();
    let refused = async |group: &Group, kind, node| {
        let failure = group.order(1, kind, node).await.unwrap_err();
        assert_eq!(failure.code, failure::CHANGE_REFUSED, "{failure:?}");
        failure.message
    };
    assert!(refused(&group, OrderKind::Promote, 5).await.contains("store-5 keeps no replica"));
    assert!(refused(&group, OrderKind::AddLearner, 5).await.contains("store-5 does not answer: start it first"));
    group.open(4);
    group.order(1, OrderKind::AddLearner, 4).await.unwrap();
    assert!(refused(&group, OrderKind::Transfer, 4).await.contains("store-4 is a learner and cannot lead"));
    group.kill(4);
    sleep(Duration::from_secs(2)).await;
    assert!(refused(&group, OrderKind::Promote, 4).await.contains("store-4 does not answer the leader"));
    // What is so already changes nothing.
    group.order(1, OrderKind::Promote, 2).await.unwrap();
    let dead = group.follower().await;
    group.kill(dead);
    sleep(Duration::from_secs(2)).await;
    let living: Vec<u64> = VOTERS.into_iter().filter(|voter| *voter != dead).collect();
    let failure = group.order(living[0], OrderKind::Demote, living[1]).await.unwrap_err();
    assert!(failure.message.contains("only 1 of the 2 voters that would be left answer"), "{failure:?}");
    // The dead one may go; then one more, until the last.
    group.order(living[0], OrderKind::Remove, dead).await.unwrap();
    let members = group.order(living[0], OrderKind::Demote, living[1]).await.unwrap();
    assert_eq!(voters(&members).len(), 1);
    let last = group.leader().await;
    let failure = group.order(living[0], OrderKind::Remove, last).await.unwrap_err();
    assert!(failure.message.contains("is the last voter"), "{failure:?}");
}

#[tokio::test(start_paused = true)]
async fn the_membership_survives_the_restart_of_everybody() {
    let mut group = Group::start().await;
    for node in [4, 5] {
        group.open(node);
        group.order(1, OrderKind::AddLearner, node).await.unwrap();
    }
    group.commit(1, 1).await.unwrap();
    group.reaches(4, Position(1)).await;
    group.order(1, OrderKind::Promote, 4).await.unwrap();
    let demoted = group.follower_among(&[1, 2, 3]).await;
    let before = group.order(1, OrderKind::Demote, demoted).await.unwrap();
    for round in 2..5 {
        NODES.into_iter().for_each(|node| group.kill(node));
        NODES.into_iter().for_each(|node| group.open(node));
        group.commit(5, round).await.unwrap();
        for node in NODES {
            group.reaches(node, Position(u64::try_from(round).unwrap())).await;
            let members = group.store(node).members();
            let shape = |members: &Members| members.members.iter().map(|m| (m.number, m.votes, m.node.clone())).collect::<Vec<_>>();
            assert_eq!(shape(&members), shape(&before));
        }
    }
}

/// A bit is flipped, a byte somewhere is lost, or the file is cut: found when the journal is opened.
#[tokio::test(start_paused = true)]
async fn a_damaged_journal_is_set_aside_and_repaired_from_the_others() {
    for (offset, victim_leads) in [(200, true), (20, false), (420, false), (900, true)] {
        let mut group = Group::start().await;
        for id in 1..=30 {
            group.commit(1, id).await.unwrap();
        }
        let leader = group.leader().await;
        let victim = if victim_leads { leader } else { group.follower().await };
        let other = VOTERS.into_iter().find(|voter| *voter != victim).unwrap();
        group.kill(victim);
        assert!(group.disks[&victim].flip_bit("journal-0000000001", offset, 3));
        group.commit(other, 31).await.unwrap();
        group.open(victim);
        // Nothing of it is served before it has caught up, and it counts for nothing.
        assert_eq!(group.store(victim).status().position, Position(0));
        group.reaches(victim, Position(31)).await;
        let repaired = async {
            loop {
                let members = group.store(victim).members();
                if members.members.iter().any(|member| member.number == members.number && member.votes) && members.members.len() == 3 {
                    return members;
                }
                sleep(Duration::from_millis(100)).await;
            }
        };
        let members = timeout(Duration::from_secs(30), repaired).await.expect("it votes again, under another number");
        assert_eq!((members.number, voters(&members).len()), (4, 3));
        assert!(group.disks[&victim].list().unwrap().iter().any(|name| name == "quarantine-0001-journal-0000000001"));
        group.commit(victim, 32).await.unwrap();
        group.assert_equal(Position(32)).await;
        // Its vote counts: with another one gone, it is half of the majority.
        group.kill(other);
        group.commit(victim, 33).await.unwrap();
        // And it stays so over a restart.
        group.open(other);
        group.kill(victim);
        group.open(victim);
        group.commit(victim, 34).await.unwrap();
        assert_eq!(group.store(victim).members().number, 4);
        group.assert_equal(Position(34)).await;
    }
}

/// What was written last vouches for itself only once something durable follows it: after a pause a mark does.
#[tokio::test(start_paused = true)]
async fn damage_to_the_last_batch_at_rest_is_not_taken_for_a_torn_write() {
    let mut group = Group::start().await;
    group.commit(1, 1).await.unwrap();
    let victim = group.follower().await;
    group.reaches(victim, Position(1)).await;
    // A tick is 50 ms: 20 of them and a sync.
    sleep(Duration::from_millis(1_200)).await;
    group.kill(victim);
    let disk = &group.disks[&victim];
    let file = disk.open("journal-0000000001").unwrap();
    let mut bytes = vec![0; 4_096];
    file.read_at(0, &mut bytes).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    // Behind the entry stand a hard state of 24 bytes and the mark, with headers of 16 and checks of 32: the commit is before these.
    assert!(disk.flip_bit("journal-0000000001", end as u64 - 200, 3));
    group.open(victim);
    group.reaches(victim, Position(1)).await;
    let set_aside = group.disks[&victim].list().unwrap().into_iter().filter(|name| name.starts_with("quarantine-")).count();
    assert_eq!(set_aside, 1);
}

/// Found when an entry is read back: it stops serving at once, and the next start repairs it.
#[tokio::test(start_paused = true)]
async fn damage_in_two_lives_is_repaired_twice() {
    let mut group = Group::start().await;
    let victim = group.follower().await;
    let other = VOTERS.into_iter().find(|voter| *voter != victim).unwrap();
    for life in 1..=3_u64 {
        let position = Position(life);
        group.commit(other, u128::from(life)).await.unwrap();
        group.reaches(victim, position).await;
        sleep(Duration::from_secs(10)).await;
        group.kill(victim);
        assert!(group.disks[&victim].flip_bit("journal-0000000001", 170, 1));
        group.open(victim);
        group.reaches(victim, position).await;
    }
    sleep(Duration::from_secs(10)).await;
    let members = group.store(other).members();
    assert_eq!((members.members.len(), voters(&members).len()), (3, 3), "{members:?}");
    let set_aside = group.disks[&victim].list().unwrap().into_iter().filter(|name| name.starts_with("quarantine-")).count();
    assert_eq!(set_aside, 3);
}

/// As when a virtual machine is put back to yesterday's copy: the journal is sound, and lacks what was acknowledged since.
#[tokio::test(start_paused = true)]
async fn a_replica_put_back_to_an_older_copy_is_found_out_and_repaired() {
    let mut group = Group::start().await;
    group.commit(1, 1).await.unwrap();
    group.assert_equal(Position(1)).await;
    let victim = group.follower().await;
    let other = VOTERS.into_iter().find(|voter| *voter != victim).unwrap();
    let copy = group.disks[&victim].copy();
    group.commit(victim, 2).await.unwrap();
    group.commit(victim, 3).await.unwrap();
    group.assert_equal(Position(3)).await;
    group.kill(victim);
    group.disks.insert(victim, copy);
    group.open(victim);
    let stopped = timeout(Duration::from_secs(5), group.store(victim).stopped()).await.expect("the leader knows better");
    assert!(matches!(stopped, Stopped::Lost(_)), "{stopped}");
    group.kill(victim);
    group.open(victim);
    group.reaches(victim, Position(3)).await;
    sleep(Duration::from_secs(10)).await;
    let members = group.store(other).members();
    assert_eq!((voters(&members).len(), group.store(victim).members().number), (3, 4), "{members:?}");
    group.commit(victim, 4).await.unwrap();
    group.assert_equal(Position(4)).await;
}

/// A new disk under an old name: the deployment still says that it is number so-and-so of those with whom the group began.
#[tokio::test(start_paused = true)]
async fn a_replaced_disk_is_another_replica() {
    let mut group = Group::start().await;
    group.commit(1, 1).await.unwrap();
    let victim = group.leader().await;
    let other = VOTERS.into_iter().find(|voter| *voter != victim).unwrap();
    group.kill(victim);
    group.disks.insert(victim, MemoryStorage::new());
    group.open(victim);
    group.reaches(victim, Position(1)).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(group.store(victim).members().number, 4);
    assert_eq!(voters(&group.store(other).members()).len(), 3);
    group.commit(victim, 2).await.unwrap();
    group.assert_equal(Position(2)).await;
}

#[tokio::test(start_paused = true)]
async fn a_group_begins_though_one_of_its_nodes_is_down() {
    let mut group = Group::without_replicas();
    group.open(1);
    group.open(2);
    group.commit(1, 1).await.unwrap();
    group.open(3);
    group.reaches(3, Position(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_damaged_majority_serves_nothing_and_keeps_what_it_has() {
    let mut group = Group::start().await;
    group.commit(1, 1).await.unwrap();
    group.assert_equal(Position(1)).await;
    for victim in [1, 2] {
        group.kill(victim);
        group.disks[&victim].flip_bit("journal-0000000001", 200, 3);
    }
    [1, 2].into_iter().for_each(|victim| group.open(victim));
    sleep(Duration::from_secs(30)).await;
    for node in VOTERS {
        assert!(group.commit(node, 2).await.is_err());
    }
    // What is left of it still answers for what was acknowledged.
    assert_eq!(group.store(3).status().position, Position(1));
}

#[tokio::test(start_paused = true)]
async fn a_replica_with_nobody_to_learn_from_stops_at_damage() {
    let disk = MemoryStorage::new();
    let settings = || Settings {
        cabinet: Name::fixed("main"),
        identity: identity(1),
        founders: Settings::founders([identity(1)], []),
        peers: vec![identity(1)],
        state: StateKind::Memory,
        timing: Timing::default(),
        reserve_bytes: RESERVE_BYTES,
    };
    let open = || Store::open_in(settings(), Arc::new(disk.clone()), &Rng::seeded(1), &wall_clock(), &Inline, &Tasks::default());
    drop(open().unwrap());
    disk.flip_bit("journal-0000000001", 20, 3);
    // The header of a segment that holds a durable record: damage, and not a file that was being made.
    assert!(matches!(open(), Err(OpenError::Journal(journal::OpenError::Damaged { .. }))), "{:?}", open());
}

impl Group {
    async fn follower(&self) -> u64 {
        self.follower_among(&VOTERS).await
    }

    async fn follower_among(&self, nodes: &[u64]) -> u64 {
        let leader = self.leader().await;
        *nodes.iter().find(|node| **node != leader).unwrap()
    }

    async fn order(&self, via: u64, kind: OrderKind, node: u64) -> Result<Members, Failure> {
        let order = Order { kind, node: identity(node).uri().to_owned() };
        self.store(via).order(order, soon()).await
    }

    async fn reaches(&self, node: u64, position: Position) {
        let arrival = self.store(node).shared.at_least(position).unwrap();
        timeout(Duration::from_secs(30), arrival).await.expect("it catches up within seconds").unwrap();
    }
}

fn voters(members: &Members) -> Vec<u64> {
    members.members.iter().filter(|member| member.votes).map(|member| member.number).collect()
}
