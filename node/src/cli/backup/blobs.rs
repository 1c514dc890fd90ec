//! Copying blobs from the replicas into a backup.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use caps_model::blob::{CHUNK_BYTES, Table};
use caps_model::messages::blobs::{ASK, Answer, Question};
use caps_model::{BlobId, codec};
use caps_overlay::{CallError, CallOptions, MethodId, Overlay, Priority, To};
use caps_store::backup::{Beside, Receiving};
use caps_store::storage::StorageError;
use futures_util::stream::{self, StreamExt};

use super::super::Global;
use super::super::progress::Bar;
use crate::deployment::{Cabinet, Node};

/// What a backup has of blobs.
#[derive(Debug, Default)]
pub(super) struct Blobs {
    /// Whole ones.
    pub(super) whole: u64,
    /// Bytes of these.
    pub(super) size_bytes: u64,
    /// Those that were not there before.
    pub(super) added: u64,
    /// Bytes that were sent this time.
    pub(super) sent_bytes: u64,
    /// Those that no replica gave.
    pub(super) absent: BTreeSet<BlobId>,
    /// Those that were removed, because all that named them was obliterated.
    pub(super) removed: u64,
}

/// Why a blob was not copied.
enum Broke {
    /// A replica has not got it, or does not answer: another one may.
    There(String),
    /// It cannot be kept.
    Here(StorageError),
}

/// How replicas are asked.
struct Way<'a> {
    overlay: &'a Overlay,
    /// The number of their service for blobs.
    service: u16,
    within: Duration,
}

/// Copies what of `wanted` is not in the backup. `closely`: what is there is read and proven, byte by byte. One blob after the other; of a blob some
/// chunks are on their way at once, so that memory is bounded by these.
pub(super) async fn copy(
    global: &Global,
    cabinet: &Cabinet,
    overlay: &Overlay,
    replicas: &[&Node],
    beside: &Beside,
    wanted: &BTreeSet<BlobId>,
    closely: bool,
) -> anyhow::Result<Blobs> {
    let way = Way { overlay, service: cabinet.services().blobs(), within: global.timeout };
    let bar = Bar::of_bytes(global, "blobs", wanted.iter().map(|blob| blob.size_bytes).sum());
    let mut blobs = Blobs::default();
    for blob in wanted {
        let was_there = beside.has(*blob, closely, &mut |bytes| bar.add(bytes)).context("cannot read what is there of blobs")?;
        if !was_there {
            match copy_one(&way, replicas, beside, *blob, &bar).await.context("cannot write a blob")? {
                Some(sent_bytes) => {
                    blobs.added += 1;
                    blobs.sent_bytes += sent_bytes;
                }
                None => {
                    blobs.absent.insert(*blob);
                    continue;
                }
            }
        } else if !closely {
            bar.add(blob.size_bytes);
        }
        blobs.whole += 1;
        blobs.size_bytes += blob.size_bytes;
    }
    Ok(blobs)
}

/// Copies one blob from whoever has it; how many bytes that took. `None`: nobody gave all of it. What came is kept as a part.
async fn copy_one(way: &Way<'_>, replicas: &[&Node], beside: &Beside, blob: BlobId, bar: &Bar) -> Result<Option<u64>, StorageError> {
    let mut sent_bytes = 0;
    for replica in replicas {
        match copy_from(way, replica, beside, blob, &mut sent_bytes, bar).await {
            Ok(true) => return Ok(Some(sent_bytes)),
            Ok(false) => {}
            Err(Broke::There(why)) => tracing::warn!(%blob, from = %replica.name, why, "a blob was not copied from there"),
            Err(Broke::Here(error)) => return Err(error),
        }
    }
    Ok(None)
}

async fn copy_from(way: &Way<'_>, replica: &Node, beside: &Beside, blob: BlobId, sent_bytes: &mut u64, bar: &Bar) -> Result<bool, Broke> {
    let table = match ask(way, replica, &Question::Table { blob }).await? {
        Answer::Table(table) if table.id() == blob => table,
        _ => return Err(Broke::There("something else than its table".to_owned())),
    };
    let mut receiving = beside.receive(table.clone()).map_err(Broke::Here)?;
    let missing: Vec<u32> = receiving.missing().iter().copied().collect();
    let there = u64::from(table.chunks()) - missing.len() as u64;
    bar.add(there * CHUNK_BYTES as u64);
    let fetched = stream::iter(missing).map(|index| async move {
        let answer = ask(way, replica, &Question::Chunk { blob, index }).await;
        (index, answer)
    });
    let mut fetched = fetched.buffer_unordered(CHUNKS_AT_ONCE);
    while let Some((index, answer)) = fetched.next().await {
        let Answer::Chunk(bytes) = answer? else { return Err(Broke::There("something else than a chunk".to_owned())) };
        take(&mut receiving, &table, index, &bytes)?;
        *sent_bytes += bytes.len() as u64;
        bar.add(bytes.len() as u64);
    }
    receiving.finish().map_err(Broke::Here)
}

fn take(receiving: &mut Receiving<'_>, table: &Table, index: u32, bytes: &[u8]) -> Result<(), Broke> {
    match receiving.put(index, bytes) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Broke::There(format!("what it sent is not chunk {index} of {}", table.id()))),
        Err(error) => Err(Broke::Here(error)),
    }
}

async fn ask(way: &Way<'_>, replica: &Node, question: &Question) -> Result<Answer, Broke> {
    let there = |error: CallError| Broke::There(error.to_string());
    let method = MethodId { service: way.service, method: ASK };
    let options = CallOptions { deadline: way.within, priority: Priority::Bulk, own_stream: true, ..CallOptions::default() };
    let body = codec::encode(question).map_err(|error| Broke::There(error.to_string()))?;
    let reply = way.overlay.call(To::Node(&replica.identity), method, Bytes::from(body), options).await.map_err(there)?;
    codec::decode(&reply.body).map_err(|error| Broke::There(format!("its answer cannot be read: {error}")))
}

/// Chunks of a blob that are on their way at once: at 100 ms round trip 10 MiB a second, and 1 MiB of memory.
const CHUNKS_AT_ONCE: usize = 4;
