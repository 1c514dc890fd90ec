//! Blobs go with the values that named them, on every replica, and do not come back.

use caps_model::blob::Table;
use caps_model::messages::audit::{Obliterate, Target};
use caps_model::messages::blobs::{Answer, Question};
use caps_model::messages::cabinet::{Order, OrderKind};
use caps_model::{BlobId, Value};

use super::blobs::content;
use super::*;
use crate::replica::blobs_taken;

fn order(id: u128, object: u128) -> Obliterate {
    let target = Target { object: ObjectId(object), attribute: Name::fixed("content"), from: Position(1), to: Position(u64::MAX) };
    Obliterate { id: CommitId(id), by: "admin".to_owned(), reason: "asked for".to_owned(), targets: vec![target] }
}

/// A commit that creates an object with a blob, and says so in its result.
fn naming(id: u128, blob: BlobId) -> Commit {
    let value = vec![Value::Blob(Box::new(blob))];
    let mut commit = commit_of(id);
    commit.result.insert(Name::fixed("stored"), value.clone());
    if let Change::Create { attributes, .. } = &mut commit.changes[0] {
        attributes.insert(Name::fixed("content"), value);
    }
    commit
}

impl Group {
    /// Brings a blob that an object holds to all voters.
    async fn hold(&self, object: u128, bytes: &[u8], table: &Table) {
        self.bring(1, bytes, table, 0..table.chunks()).await;
        assert!(self.secure(1, table.id()).await.is_enough());
        let held = self.store(2).commit(naming(object, table.id()), soon()).await.unwrap();
        assert!(matches!(held, Committed::Accepted { .. }), "{held:?}");
        self.comes_to(&VOTERS, table.id()).await;
    }

    async fn obliterate_blob(&self, voter: u64, order: &Obliterate) -> Position {
        match self.store(voter).obliterate(order.clone(), soon()).await.unwrap() {
            Committed::Accepted { position, .. } => position,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until these nodes are done with an obliteration; its entry.
    async fn settled(&self, nodes: &[u64], position: Position) -> u64 {
        self.reaches_position(nodes[0], position).await;
        let index = self.store(nodes[0]).shared.cabinet().head(Some(position)).unwrap().index;
        for node in nodes {
            let done = async {
                while self.store(*node).status().redacted_index < index {
                    sleep(Duration::from_millis(10)).await;
                }
            };
            timeout(Duration::from_secs(30), done).await.expect("it is carried out within seconds");
        }
        index
    }

    fn assert_gone(&self, node: u64, bytes: &[u8], blob: BlobId) {
        assert!(!self.has(node, blob) && !self.has_file(node, blob), "{node}");
        assert!(!self.disks[&node].holds(&bytes[..64]), "{node} holds its content");
        assert!(!self.disks[&node].holds(&blob.hash), "{node} holds its name");
    }
}

#[tokio::test(start_paused = true)]
async fn no_byte_of_a_blob_is_left_on_any_disk_and_nobody_fetches_it_again() {
    let mut group = Group::start().await;
    let (bytes, table) = content(11, 3);
    let blob = table.id();
    group.hold(1, &bytes, &table).await;
    assert!(VOTERS.iter().all(|voter| group.disks[voter].holds(&blob.hash)));
    let position = group.obliterate_blob(2, &order(20, 1)).await;
    let index = group.settled(&VOTERS, position).await;
    for voter in VOTERS {
        group.assert_gone(voter, &bytes, blob);
        let told = blobs_taken(&group.store(voter).shared, index);
        assert_eq!((told.settled, told.taken, told.left), (true, 1, Vec::new()));
        let refused = group.ask(voter, Question::Table { blob }).await.unwrap_err();
        assert_eq!(refused.code, failure::BLOB_ABSENT, "{refused}");
    }
    sleep(Duration::from_secs(600)).await;
    VOTERS.into_iter().for_each(|voter| group.kill(voter));
    VOTERS.into_iter().for_each(|voter| group.open(voter));
    group.leader().await;
    sleep(Duration::from_secs(600)).await;
    VOTERS.into_iter().for_each(|voter| group.assert_gone(voter, &bytes, blob));
    let told = blobs_taken(&group.store(1).shared, index);
    assert_eq!((told.settled, told.taken), (true, 1), "it is remembered");
    // Whoever brings the same bytes later brings another blob of that name.
    group.hold(2, &bytes, &table).await;
    for voter in VOTERS {
        group.reads(voter, &bytes, &table).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_blob_that_something_else_names_stays_until_that_is_obliterated_too() {
    let group = Group::start().await;
    let (bytes, table) = content(12, 1);
    let blob = table.id();
    group.hold(1, &bytes, &table).await;
    group.hold(2, &bytes, &table).await;
    let position = group.obliterate_blob(1, &order(20, 1)).await;
    let index = group.settled(&VOTERS, position).await;
    for voter in VOTERS {
        let told = blobs_taken(&group.store(voter).shared, index);
        assert_eq!((told.settled, told.taken, told.left), (true, 0, vec![blob]));
        group.reads(voter, &bytes, &table).await;
    }
    // An object that does not hold it any more held it once.
    let mut cleared = commit_of(30);
    cleared.changes = vec![Change::Update { object: ObjectId(2), attributes: BTreeMap::from([(Name::fixed("content"), Vec::new())]) }];
    group.store(1).commit(cleared, soon()).await.unwrap();
    let position = group.obliterate_blob(3, &order(21, 2)).await;
    let last = group.settled(&VOTERS, position).await;
    for voter in VOTERS {
        group.assert_gone(voter, &bytes, blob);
        assert_eq!(blobs_taken(&group.store(voter).shared, last).taken, 1);
        assert_eq!(blobs_taken(&group.store(voter).shared, index).left, Vec::new(), "its name is gone from what was told before");
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_away_comes_late_or_is_in_the_middle_of_an_upload_has_no_byte_either() {
    let mut group = Group::start().await;
    let (bytes, table) = content(13, 4);
    let blob = table.id();
    group.hold(1, &bytes, &table).await;
    let [away, other] = group.others(group.leader().await);
    group.kill(away);
    let here = group.leader().await;
    let position = group.obliterate_blob(here, &order(20, 1)).await;
    group.settled(&[here, other], position).await;
    // An upload that has begun ends.
    group.ask(here, Question::Begin { table: table.clone() }).await.unwrap();
    let store = group.store(here);
    let piece = |index: u32| bytes[index as usize * caps_model::blob::CHUNK_BYTES..][..table.chunk_bytes(index)].to_vec();
    group.ask(here, Question::Put { blob, index: 0, bytes: piece(0) }).await.unwrap();
    let doomed = crate::blobs::Doomed { index: 99, going: [blob].into(), staying: [].into() };
    store.shared.blobs.settle(99, vec![doomed]).await.unwrap();
    let refused = group.ask(here, Question::Put { blob, index: 1, bytes: piece(1) }).await.unwrap_err();
    assert_eq!(refused.code, failure::BLOB_NOT_BEGUN, "{refused}");
    group.open(away);
    group.open(4);
    let learner = Order { kind: OrderKind::AddLearner, node: identity(4).uri().to_owned() };
    group.store(here).order(learner, soon()).await.unwrap();
    group.settled(&[here, other, away, 4], position).await;
    sleep(Duration::from_secs(600)).await;
    [here, other, away, 4].into_iter().for_each(|node| group.assert_gone(node, &bytes, blob));
    group.commit(here, 30).await.unwrap();
    group.assert_equal(Position(3)).await;
}

/// The power of all replicas is cut at once, after some changes that the disks make while they take the blob away.
#[tokio::test(start_paused = true)]
async fn a_power_cut_at_any_moment_is_made_up_for() {
    for operations in (0..30).step_by(3) {
        let mut group = Group::start().await;
        let (bytes, table) = content(14, 2);
        group.hold(1, &bytes, &table).await;
        group.assert_equal(Position(1)).await;
        for voter in VOTERS {
            group.disks[&voter].halt_after(operations + voter - 1);
        }
        let store = group.store(1);
        let asked = tokio::spawn(async move { store.obliterate(order(20, 1), Instant::now() + Duration::from_secs(1)).await });
        sleep(Duration::from_millis(300)).await;
        drop(asked);
        VOTERS.into_iter().for_each(|voter| group.kill(voter));
        VOTERS.into_iter().for_each(|voter| group.open(voter));
        group.leader().await;
        let position = group.obliterate_blob(1, &order(20, 1)).await;
        group.settled(&VOTERS, position).await;
        sleep(Duration::from_secs(70)).await;
        VOTERS.into_iter().for_each(|voter| group.assert_gone(voter, &bytes, table.id()));
        group.commit(1, 30).await.unwrap();
        group.assert_equal(Position(3)).await;
        VOTERS.into_iter().for_each(|voter| group.kill(voter));
    }
}

/// A commit that names the blob races with the obliteration of all that named it: what was acknowledged is there.
#[tokio::test(start_paused = true)]
async fn a_commit_that_was_accepted_never_names_a_blob_that_an_obliteration_took() {
    let (mut accepted, mut refused) = (0, 0);
    for delay in 0..12 {
        let mut group = Group::start().await;
        let (bytes, table) = content(15, 1);
        group.hold(1, &bytes, &table).await;
        let leader = group.leader().await;
        let late = group.others(leader)[0];
        let (obliterating, naming_store) = (group.store(late), group.store(leader));
        let blob = table.id();
        let asked = tokio::spawn(async move {
            sleep(Duration::from_millis(delay * 5)).await;
            obliterating.obliterate(order(20, 1), soon()).await
        });
        sleep(Duration::from_millis(30)).await;
        let named = naming_store.commit(naming(2, blob), soon()).await;
        asked.await.unwrap().unwrap();
        match named {
            Ok(Committed::Accepted { .. }) => {
                accepted += 1;
                group.comes_to(&VOTERS, blob).await;
                VOTERS.into_iter().for_each(|voter| group.kill(voter));
                VOTERS.into_iter().for_each(|voter| group.open(voter));
                group.leader().await;
                for voter in VOTERS {
                    group.serves(voter).await;
                    group.reads(voter, &bytes, &table).await;
                }
            }
            Err(failure) if failure.code == failure::BLOB_UNSECURED => refused += 1,
            other => panic!("{other:?}"),
        }
        VOTERS.into_iter().for_each(|voter| group.kill(voter));
    }
    assert!(accepted > 0 && refused > 0, "{accepted} and {refused}");
}

#[tokio::test(start_paused = true)]
async fn whoever_has_not_carried_out_an_obliteration_is_not_counted_among_those_that_have_a_blob() {
    let group = Group::start().await;
    let (bytes, table) = content(16, 1);
    group.hold(1, &bytes, &table).await;
    let ask = |settled| Question::Hold { blob: table.id(), wait: false, settled };
    assert_eq!(group.ask(1, ask(0)).await.unwrap(), Answer::Held(true));
    assert_eq!(group.ask(1, ask(u64::MAX)).await.unwrap(), Answer::Held(false));
}
