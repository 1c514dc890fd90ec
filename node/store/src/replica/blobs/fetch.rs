//! Fetching a blob from another replica, chunk by chunk, each of them proven.

use std::sync::Arc;
use std::time::Duration;

use caps_model::blob::Table;
use caps_model::messages::blobs::{Answer, Question};
use caps_model::{BlobId, codec};
use caps_overlay::Identity;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

use super::super::shared::Shared;
use crate::blobs::Errand;
use crate::blobs::limits::{ANSWER_WITHIN, CHUNKS_AT_ONCE};

/// Fetches a blob: all others are asked for its table at once, and whoever answers first is asked for the chunks; if it fails, the next. What came
/// is kept, whoever it came from, and an attempt goes on where the last one broke. Whether the blob is here.
pub(super) async fn fetch(shared: &Arc<Shared>, errand: &Errand) -> bool {
    let blob = errand.blob;
    let mut asked = FuturesUnordered::new();
    for peer in shared.others.iter().filter(|peer| errand.from.as_ref() != Some(*peer)).chain(&errand.from) {
        asked.push(async move { (peer, table_at(shared, blob, peer).await) });
    }
    while let Some((peer, table)) = asked.next().await {
        let fetched = match table {
            Ok(table) => fetch_from(shared, table, peer).await,
            Err(why) => Err(why),
        };
        match fetched {
            Ok(()) => {
                tracing::info!(%blob, from = peer.name(), "fetched a blob");
                return true;
            }
            Err(why) => tracing::debug!(%blob, from = peer.name(), why, "a blob was not fetched"),
        }
    }
    false
}

async fn table_at(shared: &Arc<Shared>, blob: BlobId, peer: &Identity) -> Result<Table, String> {
    match ask_until(shared, peer, &Question::Table { blob }, Instant::now() + TABLE_WITHIN).await? {
        Answer::Table(table) if table.id() == blob => Ok(table),
        _ => Err("something else than its table".to_owned()),
    }
}

async fn fetch_from(shared: &Arc<Shared>, table: Table, peer: &Identity) -> Result<(), String> {
    let blob = table.id();
    let chunks = table.chunks();
    let mut progress = begin(shared, table).await?;
    let mut next = 0;
    let mut under_way = FuturesUnordered::new();
    while let Some(missing) = progress.missing {
        next = next.max(missing);
        while next < chunks && under_way.len() < CHUNKS_AT_ONCE {
            under_way.push(async move {
                match ask(shared, peer, &Question::Chunk { blob, index: next }).await? {
                    Answer::Chunk(bytes) => {
                        let put = shared.blobs.put(blob, next, bytes, Instant::now());
                        put.await.map_err(|error| error.to_string())
                    }
                    _ => Err("no chunk".to_owned()),
                }
            });
            next += 1;
        }
        match under_way.next().await {
            Some(taken) => progress = taken?,
            // Everything was asked for and answered, and a chunk is missing still: it was there when this began, and is not any more.
            None => return Err(format!("chunk {missing} did not arrive")),
        }
    }
    Ok(())
}

async fn begin(shared: &Arc<Shared>, table: Table) -> Result<caps_model::messages::blobs::Progress, String> {
    shared.blobs.begin(table, Instant::now()).await.map_err(|error| error.to_string())
}

/// Asks another replica.
async fn ask(shared: &Shared, peer: &Identity, question: &Question) -> Result<Answer, String> {
    ask_until(shared, peer, question, Instant::now() + ANSWER_WITHIN).await
}

/// Asks another replica, with less patience.
pub(super) async fn ask_until(shared: &Shared, peer: &Identity, question: &Question, until: Instant) -> Result<Answer, String> {
    let peers = shared.peers().ok_or("this replica does not take part")?;
    let question = codec::encode(question).map_err(|error| error.to_string())?;
    let body = peers.ask_blob(peer, question.into(), until).await.map_err(|error| error.to_string())?;
    codec::decode(&body).map_err(|error| error.to_string())
}

/// How long a replica may take to give a table: some round trips of the longest line, and half a megabyte.
const TABLE_WITHIN: Duration = Duration::from_secs(3);
