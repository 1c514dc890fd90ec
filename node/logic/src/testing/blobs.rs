//! Blobs in memory, with the rules of layer 1: every chunk is proven.

use std::collections::BTreeMap;

use caps_model::BlobId;
use caps_model::blob::Table;
use caps_model::messages::blobs::{Answer, Progress, Question, Secured};

use crate::cabinet::{BlobRefusal, CabinetError};

#[derive(Debug, Default)]
pub(super) struct MemoryBlobs {
    blobs: BTreeMap<BlobId, (Table, BTreeMap<u32, Vec<u8>>)>,
}

impl MemoryBlobs {
    pub(super) fn answer(&mut self, question: Question) -> Result<Answer, CabinetError> {
        let refused = |refusal, why: &str| CabinetError::Blob(refusal, why.to_owned());
        let absent = || CabinetError::Unavailable("no such blob".to_owned());
        match question {
            Question::Begin { table } => {
                let (table, chunks) = self.blobs.entry(table.id()).or_insert_with(|| (table, BTreeMap::new()));
                Ok(Answer::Progress(progress(table, chunks)))
            }
            Question::Put { blob, index, bytes } => {
                let (table, chunks) = self.blobs.get_mut(&blob).ok_or_else(|| refused(BlobRefusal::NotBegun, "not begun"))?;
                if !table.proves(index, &bytes) {
                    return Err(refused(BlobRefusal::Refused, "these bytes are not that chunk"));
                }
                chunks.insert(index, bytes);
                Ok(Answer::Progress(progress(table, chunks)))
            }
            Question::Secure { blob } => {
                let voters = u32::from(self.is_whole(blob));
                Ok(Answer::Secured(Secured { voters, needed: 1 }))
            }
            Question::Want { blob, .. } | Question::Hold { blob, .. } => Ok(Answer::Held(self.is_whole(blob))),
            Question::Table { blob } => Ok(Answer::Table(self.blobs.get(&blob).ok_or_else(absent)?.0.clone())),
            Question::Chunk { blob, index } => {
                let chunk = self.blobs.get(&blob).and_then(|(_, chunks)| chunks.get(&index));
                Ok(Answer::Chunk(chunk.ok_or_else(absent)?.clone()))
            }
        }
    }

    fn is_whole(&self, blob: BlobId) -> bool {
        self.blobs.get(&blob).is_some_and(|(table, chunks)| progress(table, chunks).missing.is_none())
    }
}

fn progress(table: &Table, chunks: &BTreeMap<u32, Vec<u8>>) -> Progress {
    let missing = (0..table.chunks()).find(|index| !chunks.contains_key(index));
    Progress { chunks: u32::try_from(chunks.len()).unwrap_or(u32::MAX), missing }
}
