//! The blobs of a ward: what was brought, and whether each replica gives it back as it was.

use std::time::Duration;

use anyhow::{Context, ensure};
use caps_model::blob::{CHUNK_BYTES, Table};
use caps_model::messages::blobs::{Answer, Question};
use caps_model::{Name, Record, Value};
use tokio::time::{Instant, sleep, timeout};

use crate::torture::client::{CabinetClient, Fate, create};

/// One blob that every replica has, or should.
#[derive(Debug)]
pub(super) struct KnownBlob {
    table: Table,
    bytes: Vec<u8>,
}

impl KnownBlob {
    /// Brings a blob that is like no other, has a commit name it, and waits until every replica has it.
    pub(super) async fn make(client: &CabinetClient, number: usize, replicas: usize) -> anyhow::Result<Self> {
        let size = SIZES[number % SIZES.len()];
        let bytes: Vec<u8> = (0..size).map(|at| u8::try_from((at / 5 + at + number * 3) % 251).unwrap_or(0)).collect();
        let known = Self { table: Table::of(&bytes)?, bytes };
        let blob = known.table.id();
        known.ask(client, 0, Question::Begin { table: known.table.clone() }).await?;
        for (index, chunk) in (0..).zip(known.bytes.chunks(CHUNK_BYTES)) {
            known.ask(client, 0, Question::Put { blob, index, bytes: chunk.to_vec() }).await?;
        }
        let content = Record::from([(Name::fixed("content"), vec![Value::Blob(Box::new(blob))])]);
        let commit = client.commit_of(Vec::new(), vec![create(client.new_object(), "document", content)]);
        let fate = client.settle(&commit, PATIENCE).await;
        ensure!(matches!(fate, Fate::Accepted(_)), "a commit that names a blob came to {fate:?}");
        for replica in 0..replicas {
            known.ask(client, replica, Question::Want { blob, wait: true }).await?;
        }
        Ok(known)
    }

    /// What a replica gives that is not the blob. One that does not answer, or says that it has not got it, says nothing wrong.
    pub(super) async fn wrong_at(&self, client: &CabinetClient, replica: usize) -> Vec<String> {
        let mut wrong = Vec::new();
        for (index, chunk) in (0..).zip(self.bytes.chunks(CHUNK_BYTES)) {
            let question = Question::Chunk { blob: self.table.id(), index };
            if let Ok(Ok(Answer::Chunk(bytes))) = timeout(ANSWER_PATIENCE, client.blob(replica, &question)).await
                && bytes != chunk
            {
                wrong.push(format!("chunk {index} of {} is another one", self.table.id()));
            }
        }
        wrong
    }

    /// Whether a replica gives all of it.
    pub(super) async fn is_whole_at(&self, client: &CabinetClient, replica: usize) -> bool {
        for (index, chunk) in (0..).zip(self.bytes.chunks(CHUNK_BYTES)) {
            let question = Question::Chunk { blob: self.table.id(), index };
            match timeout(ANSWER_PATIENCE, client.blob(replica, &question)).await {
                Ok(Ok(Answer::Chunk(bytes))) if bytes == chunk => {}
                _ => return false,
            }
        }
        true
    }

    /// Asks until it is answered with what is wanted.
    async fn ask(&self, client: &CabinetClient, replica: usize, question: Question) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = client.blob(replica, &question).await;
            if matches!(answer, Ok(Answer::Progress(_) | Answer::Held(true))) {
                return Ok(());
            }
            if Instant::now() > until {
                return answer.map(drop).context("a blob could not be brought to every replica");
            }
            sleep(PAUSE).await;
        }
    }
}

/// Less than a chunk, a chunk, and more.
const SIZES: [usize; 4] = [70_000, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES - 17];

const PATIENCE: Duration = Duration::from_secs(20);
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(50);
