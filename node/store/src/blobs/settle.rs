//! Taking blobs away for ever, after the values that named them were obliterated.
//!
//! On every replica alike, once it has applied an obliteration:
//!
//! 1. whoever knows the journal says which blobs only the obliterated values named ([`Doomed`]);
//! 2. such a blob is not here any more, for anybody, unless a later commit has named it; uploads of it end;
//! 3. its files are overwritten, synced and removed;
//! 4. the file of names is written anew without it;
//! 5. the obliteration is *settled* here: only now is a blob of that name taken in again, and it is a new one.
//!
//! A power cut before the fourth step has it all done again. After it nothing is: what is here then came later. Whoever counts on a replica's
//! having a blob, because a commit is to name it, asks it together with how far it is settled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use caps_model::BlobId;

use super::names::Settlement;
use super::{BlobError, Blobs, unpoisoned};
use crate::storage::StorageError;

/// What an obliteration does to blobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Doomed {
    /// The obliteration's entry.
    pub(crate) index: u64,
    /// Blobs that nothing names any more.
    pub(crate) going: BTreeSet<BlobId>,
    /// Blobs that something else names.
    pub(crate) staying: BTreeSet<BlobId>,
}

impl Blobs {
    /// Up to which entry obliterations are carried out here, as far as blobs are concerned.
    pub(crate) fn settled(&self) -> u64 {
        self.settled.load(Ordering::Acquire)
    }

    /// What the obliteration at an index did to blobs. Nothing, if it is not settled yet.
    pub(crate) fn settlement(&self, index: u64) -> Settlement {
        unpoisoned(&self.names).settlement(index)
    }

    /// The entries whose commits named the blob, of those that were noted; some may be obliterated.
    pub(crate) fn namers(&self, blob: &BlobId) -> Vec<u64> {
        self.index().namers(blob)
    }

    /// Runs something short that reads, where everything is run that touches blobs.
    pub(crate) async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, BlobError> {
        Ok(self.worker.run(job).await?)
    }

    /// Carries out the obliterations up to an entry, those that concern blobs being told. A failure is final: what is on the disk is not known.
    pub(crate) async fn settle(&self, up_to: u64, doomed: Vec<Doomed>) -> Result<(), BlobError> {
        let _noting = self.noting.lock().await;
        let (settlements, taken) = self.condemned(up_to, doomed, |part| async move { part.lock().await.close() }).await;
        if !settlements.is_empty() {
            for blob in taken.clone() {
                let files = self.files.clone();
                for name in self.worker.run(move || files.names_of(blob.hash)).await?? {
                    self.burn(name).await?;
                }
            }
            let Some(mut batch) = unpoisoned(&self.names).settle(settlements, taken.clone(), up_to) else { return Err(unnotable().into()) };
            let files = self.files.clone();
            let written = self.worker.run(move || {
                let result = batch.write(files.storage());
                (batch, result)
            });
            let (batch, result) = written.await?;
            unpoisoned(&self.names).written(batch, &result);
            result.map_err(|error| error.into_cause())?;
        }
        self.end(up_to, &taken);
        Ok(())
    }

    /// The same when a replica opens: nothing arrives yet, and it may block.
    pub(crate) fn settle_at_once(&self, up_to: u64, doomed: Vec<Doomed>) -> Result<(), StorageError> {
        let condemned = self.condemned(up_to, doomed, |_| std::future::ready(()));
        let (settlements, taken) =
            futures_util::FutureExt::now_or_never(condemned).expect("nothing arrives, so that nothing is waited for");
        if !settlements.is_empty() {
            taken.iter().try_for_each(|blob| self.files.burn(blob.hash).map(drop))?;
            let Some(mut batch) = unpoisoned(&self.names).settle(settlements, taken.clone(), up_to) else { return Err(unnotable()) };
            let result = batch.write(self.files.storage());
            unpoisoned(&self.names).written(batch, &result);
            result.map_err(|error| error.into_cause())?;
        }
        self.end(up_to, &taken);
        Ok(())
    }

    /// Makes what is to go unavailable to everybody; what was done about each obliteration, and what is to be overwritten.
    async fn condemned<F: Future<Output = ()>>(
        &self,
        up_to: u64,
        doomed: Vec<Doomed>,
        close: impl Fn(std::sync::Arc<super::Part>) -> F,
    ) -> (BTreeMap<u64, Settlement>, BTreeSet<BlobId>) {
        let (mut settlements, mut taken) = (BTreeMap::new(), BTreeSet::new());
        for Doomed { index, going, staying } in doomed {
            if going.is_empty() && staying.is_empty() {
                continue;
            }
            let settlement: &mut Settlement = settlements.entry(index).or_default();
            settlement.left = staying;
            for blob in going {
                let (goes, part) = self.index().condemn(blob, up_to);
                if let Some(part) = part {
                    close(part).await;
                }
                if goes {
                    settlement.taken += 1;
                    taken.insert(blob);
                } else {
                    settlement.left.insert(blob);
                }
            }
        }
        (settlements, taken)
    }

    fn end(&self, up_to: u64, taken: &BTreeSet<BlobId>) {
        for blob in taken {
            self.index().burnt(*blob);
        }
        self.settled.fetch_max(up_to, Ordering::AcqRel);
        self.changed.notify_waiters();
    }
}

fn unnotable() -> StorageError {
    let source = std::io::Error::other("a sync of it failed earlier");
    StorageError::Io { file: "the file of blobs' names".to_owned(), source }
}
