//! What a replica does for its blobs all the time: fetches, notes, reads everything again, removes what nobody named.

use std::sync::Arc;
use std::time::Duration;

use caps_model::BlobId;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::shared::Shared;
use super::fetch::fetch;
use crate::blobs::BlobError;
use crate::blobs::limits::{FETCHES_AT_ONCE, ROUND_PAUSE, SCRUB_PAUSE};

/// Takes care of the blobs until the replica stops.
pub(crate) async fn care(shared: Arc<Shared>) {
    let mut stopped = shared.stopped();
    let fetching = futures_util::future::join_all((0..FETCHES_AT_ONCE).map(|_| fetch_all(&shared)));
    let all = async { tokio::join!(fetching, keep_notes(&shared), scrub(&shared)) };
    tokio::select! {
        // The end first: the rest has none.
        biased;
        _ = stopped.wait_for(Option::is_some) => {}
        _ = all => {}
    }
}

/// Fetches one blob after the other, whenever there is one to be fetched.
async fn fetch_all(shared: &Arc<Shared>) {
    loop {
        let changed = shared.blobs.changed();
        match shared.blobs.errand(Instant::now()) {
            Ok(errand) => {
                fetch(shared, &errand).await;
                shared.blobs.errand_done(errand.blob, Instant::now());
            }
            Err(None) => changed.await,
            Err(Some(due)) => tokio::select! {
                // Either way the list is looked at again.
                biased;
                () = changed => {}
                () = sleep_until(due) => {}
            },
        }
    }
}

/// Makes notes durable as they come.
async fn keep_notes(shared: &Arc<Shared>) {
    loop {
        let changed = shared.blobs.changed();
        if !shared.blobs.has_notes() {
            changed.await;
            continue;
        }
        if let Err(error) = shared.blobs.keep_notes().await {
            tracing::warn!(%error, "it cannot be noted which blobs commits named; the next start looks through the log again");
            sleep(NOTES_PAUSE).await;
        }
    }
}

/// Reads every chunk of every blob, slowly, again and again: damage is found while others have it whole. After each round removes what is stale.
async fn scrub(shared: &Arc<Shared>) {
    loop {
        let mut last = None;
        loop {
            let some = shared.blobs.after(last, AT_ONCE);
            let Some(end) = some.last() else { break };
            last = Some(*end);
            for blob in some {
                scrub_one(shared, blob).await;
            }
        }
        if let Err(error) = shared.blobs.sweep(Instant::now()).await {
            tracing::warn!(%error, "blobs that nobody named could not be removed");
        }
        sleep(ROUND_PAUSE).await;
    }
}

async fn scrub_one(shared: &Arc<Shared>, blob: BlobId) {
    let chunks = match shared.blobs.table(blob, Instant::now()).await {
        Ok(table) => table.chunks(),
        Err(error) => return told(blob, &error),
    };
    for index in 0..chunks {
        if let Err(error) = shared.blobs.chunk(blob, index, Instant::now()).await {
            return told(blob, &error);
        }
        sleep(SCRUB_PAUSE).await;
    }
}

/// What was set aside was said where it was; a blob that went away meanwhile is nobody's trouble.
fn told(blob: BlobId, error: &BlobError) {
    if let BlobError::Storage(error) = error {
        tracing::warn!(%blob, %error, "a blob cannot be looked at");
    }
}

/// Names taken from the list at once.
const AT_ONCE: usize = 256;

/// After a disk that took no notes.
const NOTES_PAUSE: Duration = Duration::from_secs(5);
