//! Backups of a group at work, groups that are founded on them, and disks that fill up.

use caps_model::messages::backup::{Backed, Reached};
use caps_model::messages::cabinet::Members;
use caps_model::messages::inspect::At;

use super::obliterate::{order, telling};
use super::*;
use crate::backup::{Backup, BackupError, Copied, Restoration, RestoreError, Restored, Source, build};
use crate::check::{JournalFound, examine};
use crate::replica::archive;

#[tokio::test(start_paused = true)]
async fn a_backup_grows_while_the_group_works_and_proves_itself() {
    let group = Group::start().await;
    let disk = MemoryStorage::new();
    group.commits(1..=30).await;
    group.assert_equal(Position(30)).await;
    let (first, copied) = group.back_up(1, &disk).await.unwrap();
    assert_eq!((first.position, copied.entries, copied.added), (Position(30), first.index, first.index));
    copied.prove(&first, Box::new(MemoryState::new()), &mut |_| {}).unwrap();
    group.commits(31..=40).await;
    // Another replica has the same history.
    group.assert_equal(Position(40)).await;
    let (second, copied) = group.back_up(2, &disk).await.unwrap();
    assert_eq!((second.position, copied.added), (Position(40), second.index - first.index));
    copied.prove(&second, Box::new(MemoryState::new()), &mut |_| {}).unwrap();
    let (third, copied) = group.back_up(3, &disk).await.unwrap();
    assert_eq!((third.position, copied.added), (Position(40), 0));
    // Whoever says something else is not believed.
    let lie = Reached { chain_head: [7; 32], ..third };
    copied.prove(&lie, Box::new(MemoryState::new()), &mut |_| {}).unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_backup_of_another_history_is_not_added_to() {
    let (group, other) = (Group::start().await, Group::start().await);
    let disk = MemoryStorage::new();
    group.commits(1..=3).await;
    other.commits(11..=15).await;
    group.back_up(1, &disk).await.unwrap();
    let refused = other.back_up(1, &disk).await.unwrap_err();
    assert!(matches!(refused, NotBackedUp::Backup(BackupError::OtherHistory { .. })), "{refused:?}");
    // Nor is the directory of a replica taken for a backup.
    let replica = group.disks[&1].copy();
    assert!(matches!(Backup::open(Arc::new(replica), Name::fixed("main")), Err(BackupError::Replica)));
    // A replica that is behind the backup says so.
    let young = Group::start().await;
    let refused = young.back_up(1, &disk).await.unwrap_err();
    assert!(matches!(&refused, NotBackedUp::Refused(failure) if failure.code == failure::BEHIND), "{refused:?}");
}

/// What the backup ends with is emptied in the replicas' journals meanwhile.
#[tokio::test(start_paused = true)]
async fn a_backup_is_added_to_and_restored_beside_others_after_its_last_entry_was_obliterated() {
    let group = Group::start().await;
    let disk = MemoryStorage::new();
    group.commits(1..=3).await;
    group.store(1).commit(telling(7, 107, false), soon()).await.unwrap();
    group.assert_equal(Position(4)).await;
    let (_, backup) = group.backup().await;
    group.back_up(1, &disk).await.unwrap();
    group.obliterate(1, &order(20, 107)).await.unwrap();
    group.redacted(&VOTERS, Position(5)).await;
    let (reached, copied) = group.back_up(2, &disk).await.unwrap();
    copied.prove(&reached, Box::new(MemoryState::new()), &mut |_| {}).unwrap();
    assert_eq!(reached.position, Position(5));
    let open = |name: &str, disk: &MemoryStorage| Source::open(name, Arc::new(disk.clone())).unwrap();
    let sources = [open("backup", &backup), open("replica", &group.disks[&1].copy())];
    let target: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let (voters, learners) = (VOTERS.map(identity).to_vec(), Vec::new());
    let restoration =
        Restoration { node: identity(1), voters, learners, to: At::Position(Position(4)), set_aside: false, orders: Vec::new() };
    let built = build(&sources, &target, &restoration, Box::new(MemoryState::new()), &mut |_| {}).unwrap();
    assert_eq!(built.take_place().unwrap().carried, 1);
}

#[tokio::test(start_paused = true)]
async fn a_group_restored_to_a_position_goes_on_from_there() {
    let group = Group::start().await;
    group.commits(1..=6).await;
    let (_, backup) = group.backup().await;
    let mut next = Group::without_replicas();
    for node in VOTERS {
        let restored = next.restore(node, &backup, At::Position(Position(4))).unwrap();
        assert_eq!((restored.mark.position, restored.available), (Position(4), Position(6)));
    }
    VOTERS.into_iter().for_each(|node| next.open(node));
    next.leader().await;
    next.assert_equal(Position(4)).await;
    // What was acknowledged up to then is as it was, what came after has not happened, and may.
    let again = next.commit(2, 3).await.unwrap();
    assert!(matches!(again, Committed::Accepted { position: Position(3), repeated: true, .. }), "{again:?}");
    let ask = |id| AskOutcome { commit: CommitId(id), seal: false };
    assert_eq!(next.store(1).outcome(ask(5), soon()).await.unwrap(), Outcome::Unknown);
    let new = next.commit(3, 5).await.unwrap();
    assert!(matches!(new, Committed::Accepted { position: Position(5), repeated: false, .. }), "{new:?}");
    next.assert_equal(Position(5)).await;
    // It works like any other group: with one of three gone, and after a restart of all.
    next.kill(next.leader().await);
    next.commit_somewhere(60).await;
    VOTERS.into_iter().for_each(|node| next.kill(node));
    VOTERS.into_iter().for_each(|node| next.open(node));
    next.assert_equal(Position(6)).await;
}

#[tokio::test(start_paused = true)]
async fn replicas_restored_to_different_moments_are_strangers() {
    let group = Group::start().await;
    group.commits(1..=6).await;
    let (_, backup) = group.backup().await;
    let mut next = Group::without_replicas();
    for (node, position) in [(1, 4), (2, 5), (3, 6)] {
        next.restore(node, &backup, At::Position(Position(position))).unwrap();
        next.open(node);
    }
    sleep(Duration::from_secs(60)).await;
    assert_eq!(next.leading(), None);
    for (node, position) in [(1, 4), (2, 5), (3, 6)] {
        assert_eq!(next.store(node).status().position, Position(position));
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_that_begin_with_nothing_have_no_say_in_a_restored_group() {
    let group = Group::start().await;
    group.commits(1..=6).await;
    let (_, backup) = group.backup().await;
    let mut next = Group::without_replicas();
    // Two nodes whose disks are empty find each other first, and begin a cabinet of their own.
    [2, 3].into_iter().for_each(|node| next.open(node));
    sleep(Duration::from_secs(30)).await;
    next.commit(2, 100).await.unwrap();
    next.restore(1, &backup, At::Present).unwrap();
    next.open(1);
    sleep(Duration::from_secs(60)).await;
    let restored = next.store(1).status();
    assert_eq!((restored.position, restored.leader), (Position(6), None));
    // Restored as well, they are the group.
    for node in [2, 3] {
        next.kill(node);
        next.restore(node, &backup, At::Present).unwrap();
        next.open(node);
    }
    next.leader().await;
    next.assert_equal(Position(6)).await;
}

#[tokio::test(start_paused = true)]
async fn an_empty_node_is_let_in_by_a_restored_majority() {
    let group = Group::start().await;
    group.commits(1..=6).await;
    let (_, backup) = group.backup().await;
    let mut next = Group::without_replicas();
    for node in [1, 2] {
        next.restore(node, &backup, At::Present).unwrap();
        next.open(node);
    }
    next.leader().await;
    next.open(3);
    next.assert_equal(Position(6)).await;
    next.until_it_votes(3).await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_restored_once_more_joins_under_another_number() {
    let group = Group::start().await;
    group.commits(1..=6).await;
    let (_, backup) = group.backup().await;
    let mut next = Group::without_replicas();
    for node in VOTERS {
        next.restore(node, &backup, At::Present).unwrap();
    }
    VOTERS.into_iter().for_each(|node| next.open(node));
    next.leader().await;
    next.assert_equal(Position(6)).await;
    let number = next.store(1).members().number;
    next.commits(7..=9).await;
    next.kill(1);
    next.disks.insert(1, MemoryStorage::new());
    next.restore(1, &backup, At::Present).unwrap();
    next.open(1);
    next.assert_equal(Position(9)).await;
    next.until_it_votes(1).await;
    assert_ne!(next.store(1).members().number, number);
}

#[tokio::test(start_paused = true)]
async fn a_replica_of_the_history_before_is_not_let_in() {
    let group = Group::start().await;
    group.commits(1..=6).await;
    let (_, backup) = group.backup().await;
    let old = group.disks[&3].copy();
    let mut next = Group::without_replicas();
    for node in [1, 2] {
        next.restore(node, &backup, At::Position(Position(4))).unwrap();
        next.open(node);
    }
    next.leader().await;
    next.commits(50..=59).await;
    next.disks.insert(3, old);
    next.open(3);
    // First it learns that its number is nobody's, then that its journal has no place here.
    let stopped = timeout(Duration::from_secs(60), next.store(3).stopped()).await.unwrap();
    assert!(matches!(stopped, Stopped::Removed), "{stopped:?}");
    next.open(3);
    let stopped = timeout(Duration::from_secs(60), next.store(3).stopped()).await.unwrap();
    assert!(matches!(stopped, Stopped::OtherHistory { .. }), "{stopped:?}");
    assert!(next.store(3).status().position > Position(4), "the test means something only if it has more than was restored");
}

#[tokio::test(start_paused = true)]
async fn a_restore_spares_what_is_there_unless_told() {
    let group = Group::start().await;
    group.commits(1..=3).await;
    let (_, backup) = group.backup().await;
    let mut next = Group::without_replicas();
    next.disks.insert(1, group.disks[&1].copy());
    assert!(matches!(next.restore(1, &backup, At::Present), Err(RestoreError::Occupied)));
    assert!(matches!(next.restore(2, &backup, At::Position(Position(4))), Err(RestoreError::Future { last: Position(3), .. })));
    assert!(matches!(next.restore(2, &backup, At::Time(-1)), Err(RestoreError::BeforeAll)));
    assert!(matches!(next.restore(4, &backup, At::Present), Err(RestoreError::NotAMember { .. })));
    let examined = examine(Arc::new(next.disks[&1].clone())).unwrap();
    assert!(matches!(examined.journal, JournalFound::Sound(_)));
    assert!(journal::quarantined(&next.disks[&1]).unwrap().is_empty());
}

/// The cabinet goes on through another replica; when all disks are nearly full it says so, and reads go on.
#[tokio::test(start_paused = true)]
async fn a_leader_whose_disk_is_nearly_full_lets_another_one_lead() {
    let group = Group::start().await;
    group.commits(1..=3).await;
    let first = group.leader().await;
    group.leave_room(first, RESERVE_BYTES - 1);
    group.commit_somewhere(4).await;
    sleep(Duration::from_secs(1)).await;
    assert_ne!(group.leader().await, first);
    // It follows all the while, and acknowledges.
    group.assert_equal(Position(4)).await;
    VOTERS.into_iter().for_each(|node| group.leave_room(node, RESERVE_BYTES - 1));
    sleep(Duration::from_secs(1)).await;
    let refused = group.commit(group.leader().await, 5).await.unwrap_err();
    assert_eq!(refused.code, failure::NEARLY_FULL);
    assert!(refused.message.contains("is nearly full: make room there"), "{}", refused.message);
    group.store(2).linearizable(soon()).await.unwrap();
    // It ends in good order: the mark is there.
    let leader = group.leader().await;
    assert!(matches!(group.store(leader).shutdown(Duration::from_secs(2)).await, Stopped::Asked));
    // Room again, and a little more than was missing.
    VOTERS.into_iter().for_each(|node| group.leave_room(node, 2 * RESERVE_BYTES));
    group.commit_somewhere(6).await;
}

/// A follower that takes in nothing more holds nobody up, and catches up when there is room.
#[tokio::test(start_paused = true)]
async fn a_follower_whose_disk_is_nearly_full_holds_nobody_up() {
    let group = Group::start().await;
    group.commits(1..=3).await;
    group.assert_equal(Position(3)).await;
    let leader = group.leader().await;
    let follower = VOTERS.into_iter().find(|node| *node != leader).unwrap();
    group.leave_room(follower, RESERVE_BYTES / 2 - 1);
    sleep(Duration::from_secs(1)).await;
    group.commits(4..=20).await;
    assert_eq!(group.store(follower).status().position, Position(3));
    assert!(group.store(follower).stopped_now().is_none());
    group.leave_room(follower, 2 * RESERVE_BYTES);
    group.assert_equal(Position(20)).await;
}

/// Why a test's backup was not made.
#[derive(Debug)]
enum NotBackedUp {
    Refused(Failure),
    Backup(BackupError),
}

/// What a replica sends.
#[derive(Default)]
struct Messages(Vec<Backed>);

impl Sink for Messages {
    async fn send(&mut self, update: Bytes) -> bool {
        self.0.push(codec::decode(&update).unwrap());
        true
    }
}

impl Store {
    fn stopped_now(&self) -> Option<Stopped> {
        self.shared.stopped().borrow().clone()
    }
}

impl Group {
    async fn commits(&self, ids: std::ops::RangeInclusive<u128>) {
        for id in ids {
            self.commit_somewhere(id).await;
        }
    }

    /// Asks one replica after the other until one has done it.
    async fn commit_somewhere(&self, id: u128) {
        let all = async {
            loop {
                let nodes: Vec<u64> = self.net.stores.lock().unwrap().keys().copied().collect();
                for node in nodes {
                    if let Ok(Committed::Accepted { .. }) = self.commit(node, id).await {
                        return;
                    }
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(Duration::from_secs(60), all).await.expect("somebody takes it");
    }

    async fn back_up(&self, node: u64, disk: &MemoryStorage) -> Result<(Reached, Copied), NotBackedUp> {
        let mut backup = Backup::open(Arc::new(disk.clone()), Name::fixed("main")).map_err(NotBackedUp::Backup)?;
        let mut messages = Messages::default();
        archive::serve(self.store(node).shared.clone(), backup.ends_with(), &mut messages).await.map_err(NotBackedUp::Refused)?;
        let mut messages = messages.0.into_iter();
        let Some(Backed::Reached(reached)) = messages.next() else { panic!("where the replica is comes first") };
        backup.begin(&reached).map_err(NotBackedUp::Backup)?;
        for message in messages {
            let Backed::Entries(entries) = message else { panic!("the rest are entries") };
            backup.take(entries).map_err(NotBackedUp::Backup)?;
        }
        assert!(backup.is_complete());
        Ok((reached, backup.finish().map_err(NotBackedUp::Backup)?))
    }

    async fn backup(&self) -> (Reached, MemoryStorage) {
        let disk = MemoryStorage::new();
        let (reached, _) = self.back_up(self.leader().await, &disk).await.unwrap();
        (reached, disk)
    }

    fn restore(&self, node: u64, backup: &MemoryStorage, to: At) -> Result<Restored, RestoreError> {
        let source = Source::open("backup", Arc::new(backup.clone())).unwrap();
        let target: Arc<dyn Storage> = Arc::new(self.disks[&node].clone());
        // A disk that holds what is in the way was looked at by whoever says so.
        let set_aside = node != 1 && journal::exists(&*target).unwrap();
        let voters = VOTERS.map(identity).to_vec();
        let restoration = Restoration { node: identity(node), voters, learners: Vec::new(), to, set_aside, orders: Vec::new() };
        build(&[source], &target, &restoration, Box::new(MemoryState::new()), &mut |_| {})?.take_place()
    }

    async fn until_it_votes(&self, node: u64) {
        let votes = |members: Members| members.members.iter().any(|m| m.votes && m.number == members.number);
        let voting = async {
            while !votes(self.store(node).members()) {
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(Duration::from_secs(60), voting).await.expect("the repair ends");
    }

    fn leave_room(&self, node: u64, bytes: u64) {
        let disk = &self.disks[&node];
        disk.limit_capacity(u64::MAX);
        let used = u64::MAX - disk.free_bytes().unwrap();
        disk.limit_capacity(used + bytes);
    }
}

/// Damage that only a write finds, or a read of what lies deep, does not keep a replica from starting.
#[test]
fn a_state_that_takes_nothing_gives_way_to_an_empty_one() {
    let directory = tempfile::tempdir().unwrap();
    let kind = StateKind::Sled(directory.path().join("state"));
    let failed = || OpenError::Replay(ReplayError::State(StateError::Lacks { what: "a block".to_owned() }));
    let mut cabinet = Cabinet::new(open_state(&kind, 0).unwrap());
    cabinet.skip(5);
    let fresh = instead_of(cabinet.into_state(), &kind, failed()).unwrap();
    assert_eq!(fresh.mark(), crate::state::Mark::default());
    assert!(directory.path().join("state.quarantine-1").exists());
    // In memory there is nothing that could be damaged, and a journal that cannot be read is no fault of the state.
    let given = instead_of(Box::new(MemoryState::new()), &StateKind::Memory, failed()).unwrap_err();
    assert!(matches!(given, OpenError::Replay(ReplayError::State(_))), "{given}");
    let impossible = OpenError::Settings { cabinet: Name::fixed("main"), why: String::new() };
    assert!(matches!(instead_of(fresh, &kind, impossible), Err(OpenError::Settings { .. })));
}
