//! Blobs among replicas: brought, spread, named, fetched, damaged and repaired.

use caps_model::blob::{CHUNK_BYTES, Table};
use caps_model::messages::blobs::{Answer, Question, Secured};
use caps_model::messages::cabinet::OrderKind;
use caps_model::{BlobId, Value};

use super::*;
use crate::storage::Storage;

#[tokio::test(start_paused = true)]
async fn a_secured_blob_is_on_a_majority_may_be_named_and_comes_to_all() {
    let group = Group::start().await;
    let (bytes, table) = content(1, 3);
    let blob = table.id();
    let refused = group.name(2, 1, blob).await.unwrap_err();
    assert_eq!(refused.code, failure::BLOB_UNSECURED, "{refused}");
    group.bring(1, &bytes, &table, 0..3).await;
    let secured = group.secure(1, blob).await;
    assert!(secured.is_enough() && secured.needed == 2, "{secured:?}");
    assert!(VOTERS.into_iter().filter(|voter| group.has(*voter, blob)).count() >= 2);
    group.name(2, 1, blob).await.unwrap();
    group.comes_to(&VOTERS, blob).await;
    for voter in VOTERS {
        group.reads(voter, &bytes, &table).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_names_a_blob_which_few_have_waits_for_it_or_is_refused() {
    let mut group = Group::start().await;
    let (bytes, table) = content(2, 1);
    let leader = group.leader().await;
    let [one, other] = group.others(leader);
    group.kill(one);
    group.kill(other);
    group.bring(leader, &bytes, &table, 0..1).await;
    let refused = group.name(leader, 1, table.id()).await.unwrap_err();
    assert_eq!(refused.code, failure::BLOB_UNSECURED, "{refused}");
    group.open(one);
    group.open(other);
    // Nobody secured it: the leader has the others fetch it while the commit waits.
    group.name(one, 1, table.id()).await.unwrap();
    let again = group.name(other, 1, table.id()).await.unwrap();
    assert!(matches!(again, Committed::Accepted { repeated: true, .. }), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn an_upload_goes_on_where_a_power_cut_broke_it() {
    let mut group = Group::start().await;
    let (bytes, table) = content(3, 40);
    group.bring(1, &bytes, &table, 0..35).await;
    group.kill(1);
    group.open(1);
    group.serves(1).await;
    let Answer::Progress(left) = group.ask(1, Question::Begin { table: table.clone() }).await.unwrap() else { panic!("progress") };
    // Each 32nd chunk brings a sync of 8 MiB; the rest was lost with the power.
    assert_eq!(left.missing, Some(32), "{left:?}");
    group.bring(1, &bytes, &table, 32..40).await;
    assert!(group.secure(1, table.id()).await.is_enough());
    // Another upload of the same bytes sends nothing.
    let Answer::Progress(whole) = group.ask(1, Question::Begin { table }).await.unwrap() else { panic!("progress") };
    assert_eq!((whole.chunks, whole.missing), (40, None));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_was_away_and_a_late_learner_fetch_what_they_lack_and_do_not_forget_it() {
    let mut group = Group::start().await;
    let (bytes, table) = content(4, 9);
    let away = group.others(group.leader().await)[0];
    group.kill(away);
    let here = group.leader().await;
    group.bring(here, &bytes, &table, 0..9).await;
    assert!(group.secure(here, table.id()).await.is_enough());
    group.name(here, 1, table.id()).await.unwrap();
    // It comes back, hears of it, and dies before anybody can give it.
    for voter in VOTERS.into_iter().filter(|voter| *voter != away) {
        group.net.silent.lock().unwrap().push(voter + BLOB_SILENCE);
    }
    group.open(away);
    group.reaches_position(away, Position(1)).await;
    assert!(!group.has(away, table.id()));
    group.kill(away);
    group.net.silent.lock().unwrap().clear();
    group.open(away);
    group.comes_to(&[away], table.id()).await;
    group.reads(away, &bytes, &table).await;

    group.open(4);
    let order = Order { kind: OrderKind::AddLearner, node: identity(4).uri().to_owned() };
    group.store(here).order(order, soon()).await.unwrap();
    group.comes_to(&[4], table.id()).await;
    group.reads(4, &bytes, &table).await;
}

#[tokio::test(start_paused = true)]
async fn damage_is_found_set_aside_never_served_and_repaired() {
    let group = Group::start().await;
    let (bytes, table) = content(5, 2);
    group.bring(1, &bytes, &table, 0..2).await;
    assert!(group.secure(1, table.id()).await.is_enough());
    group.name(1, 1, table.id()).await.unwrap();
    group.comes_to(&VOTERS, table.id()).await;
    let name = file_of(table.id());
    // In the table, in a chunk that is asked for, and in the last byte, which only whoever reads everything again comes to.
    for (offset, asked) in [(30, true), (24 + 64 + 7, true), (24 + 64 + bytes.len() as u64 - 1, false)] {
        assert!(group.disks[&2].flip_bit(&name, offset, 3));
        group.store(2).shared.blobs.forget_tables();
        if asked {
            let refused = group.ask(2, Question::Chunk { blob: table.id(), index: 0 }).await.unwrap_err();
            assert_eq!(refused.code, failure::BLOB_ABSENT, "{refused}");
        } else {
            sleep(Duration::from_secs(70)).await;
        }
        group.comes_to(&[2], table.id()).await;
        group.reads(2, &bytes, &table).await;
    }
    let aside = group.disks[&2].list().unwrap().into_iter().filter(|name| name.contains("damaged")).count();
    assert_eq!(aside, 3, "what is damaged is kept");
    // A file that is gone is no different.
    group.disks[&3].remove(&name).unwrap();
    group.store(3).shared.blobs.forget_tables();
    group.ask(3, Question::Table { blob: table.id() }).await.unwrap_err();
    group.comes_to(&[3], table.id()).await;
}

impl Group {
    pub(super) async fn ask(&self, voter: u64, question: Question) -> Result<Answer, Failure> {
        let host = Identity::node("test.example", "here", Layer::Host, "host").unwrap();
        answer_about_blob(&self.store(voter).shared, question, &host, soon()).await
    }

    /// Uploads some chunks.
    pub(super) async fn bring(&self, voter: u64, bytes: &[u8], table: &Table, chunks: std::ops::Range<u32>) {
        self.ask(voter, Question::Begin { table: table.clone() }).await.unwrap();
        for index in chunks {
            let start = index as usize * CHUNK_BYTES;
            let bytes = bytes[start..start + table.chunk_bytes(index)].to_vec();
            self.ask(voter, Question::Put { blob: table.id(), index, bytes }).await.unwrap();
        }
    }

    pub(super) async fn secure(&self, voter: u64, blob: BlobId) -> Secured {
        let Answer::Secured(secured) = self.ask(voter, Question::Secure { blob }).await.unwrap() else { panic!("secured") };
        secured
    }

    /// Commits an object that holds the blob.
    pub(super) async fn name(&self, voter: u64, id: u128, blob: BlobId) -> Result<Committed, Failure> {
        let mut commit = commit_of(id);
        if let Change::Create { attributes, .. } = &mut commit.changes[0] {
            attributes.insert(Name::fixed("content"), vec![Value::Blob(Box::new(blob))]);
        }
        self.store(voter).commit(commit, soon()).await
    }

    pub(super) fn has(&self, voter: u64, blob: BlobId) -> bool {
        self.store(voter).shared.blobs.holds(blob, Instant::now())
    }

    pub(super) fn has_file(&self, voter: u64, blob: BlobId) -> bool {
        self.disks[&voter].list().unwrap().contains(&file_of(blob))
    }

    pub(super) async fn comes_to(&self, voters: &[u64], blob: BlobId) {
        for voter in voters {
            let comes = async {
                while !self.has(*voter, blob) {
                    sleep(Duration::from_millis(10)).await;
                }
            };
            timeout(Duration::from_secs(120), comes).await.unwrap_or_else(|_| panic!("{voter} never got the blob"));
        }
    }

    pub(super) async fn reads(&self, voter: u64, bytes: &[u8], table: &Table) {
        for (index, chunk) in (0..).zip(bytes.chunks(CHUNK_BYTES)) {
            let answer = self.ask(voter, Question::Chunk { blob: table.id(), index }).await.unwrap();
            assert!(answer == Answer::Chunk(chunk.to_vec()), "chunk {index} at {voter}");
        }
    }

    pub(super) async fn serves(&self, voter: u64) {
        while !self.store(voter).shared.is_serving() {
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub(super) async fn reaches_position(&self, voter: u64, position: Position) {
        let arrival = self.store(voter).shared.at_least(position).unwrap();
        timeout(Duration::from_secs(60), arrival).await.expect("it catches up").unwrap();
    }

    pub(super) fn others(&self, voter: u64) -> [u64; 2] {
        let others: Vec<u64> = VOTERS.into_iter().filter(|other| *other != voter).collect();
        others.try_into().unwrap()
    }
}

/// Bytes that are like no others: some whole chunks and a piece less.
pub(super) fn content(seed: u8, chunks: usize) -> (Vec<u8>, Table) {
    let size = chunks * CHUNK_BYTES - 1_000;
    let bytes: Vec<u8> = (0..size).map(|at| u8::try_from((at * at / 7 + at) % 251).unwrap() ^ seed).collect();
    let table = Table::of(&bytes).unwrap();
    (bytes, table)
}

pub(super) fn file_of(blob: BlobId) -> String {
    let digits: String = blob.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("blob-{digits}")
}
