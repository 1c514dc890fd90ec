//! Verifying a copy of a journal, offline: every record, both chains, every slot and decision, and the order of entries.
//!
//! No I/O, and memory for one segment and for the entries that are not known to be committed. What the recovery of a replica repairs, this
//! only reports.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use super::envelope::{self, Class, Envelope};
use super::format::{self, BadHeader, Found, Hash, Parsed, RawRecord, SegmentHeader};
use super::{EntryKind, Record, TornTail};
use caps_model::Name;

/// A verification under way: give it all segments, in order.
#[derive(Debug, Default)]
pub struct Audit {
    chain: Hash,
    cabinet: Option<Name>,
    found: Audited,
    heads: Heads,
    sought: Option<Hash>,
}

/// What was found in a journal without a bad record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audited {
    /// The cabinet.
    pub cabinet: String,
    /// Segments.
    pub segments: u32,
    /// Bytes of them.
    pub bytes: u64,
    /// Records in them.
    pub records: u64,
    /// Entries of the log, those that others took the place of included.
    pub entries: u64,
    /// Of these, proposals.
    pub proposals: u64,
    /// Of these, obliterations.
    pub obliterations: u64,
    /// Slots with something in them.
    pub whole_slots: u64,
    /// Slots that were emptied.
    pub emptied_slots: u64,
    /// Proposals with their decision beside them.
    pub decided: u64,
    /// The index of the last entry; 0: none.
    pub last_index: u64,
    /// The last index that is known to be committed.
    pub committed_index: u64,
    /// The chain over proposals up to `committed_index`.
    pub committed_head: Hash,
    /// The chain over proposals up to `last_index`.
    pub last_head: Hash,
    /// The last index at which the chain over proposals was the one sought; `None`: at none.
    pub sought_at: Option<u64>,
    /// The chain over all records.
    pub record_chain: Hash,
    /// What a crash left at the end: nobody was ever told of it.
    pub torn: Option<TornTail>,
}

/// The first thing in a journal that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} is bad at offset {offset}{}: {what}", index.map(|index| format!(", entry {index}")).unwrap_or_default())]
pub struct Bad {
    /// The file.
    pub file: String,
    /// Where the record starts; 0: the segment's header, or the whole file.
    pub offset: u64,
    /// The entry's index, if it is one that can be read.
    pub index: Option<u64>,
    /// What is wrong.
    pub what: String,
}

/// The chain over proposals after each entry from the last committed one on.
#[derive(Debug, Default)]
struct Heads {
    committed: u64,
    after: VecDeque<Hash>,
}

/// The name of the file that holds a segment.
pub fn segment_file_name(segment: u32) -> String {
    format::file_name(segment)
}

/// The numbers of the segments among some files, in order.
pub fn segments_among<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<u32> {
    let mut segments: Vec<u32> = names.into_iter().filter_map(format::segment_of).collect();
    segments.sort_unstable();
    segments
}

impl Audit {
    /// A verification that takes note where the chain over proposals is `sought`.
    pub fn new(sought: Option<Hash>) -> Self {
        let heads = Heads { committed: 0, after: [[0; 32]].into() };
        Self { sought, heads, ..Self::default() }
    }

    /// Verifies the next segment; `last`: no other follows.
    pub fn segment(&mut self, segment: u32, bytes: &[u8], last: bool) -> Result<(), Bad> {
        let bad = |offset: usize, index, what: &str| Bad {
            file: format::file_name(segment),
            offset: offset as u64,
            index,
            what: what.to_owned(),
        };
        let expected = self.found.segments + 1;
        if segment != expected {
            return Err(Bad { file: format::file_name(expected), offset: 0, index: None, what: "the segment is missing".to_owned() });
        }
        match SegmentHeader::decode(bytes) {
            Ok(header) => self.header(segment, header).map_err(|what| bad(0, None, what))?,
            Err(BadHeader::OtherVersion(version)) => {
                return Err(bad(
                    0,
                    None,
                    &format!("version {version} of the format is unknown here: verify it with the release that wrote it"),
                ));
            }
            Err(BadHeader::Malformed) if last && !format::later_proof_of_sync(segment, bytes, 0) => {
                self.torn(segment, 0, bytes);
                return Ok(());
            }
            Err(BadHeader::Malformed) => return Err(bad(0, None, "the segment header does not match its check")),
        }
        let mut offset = format::HEADER_BYTES;
        loop {
            match format::verify_record(segment, offset as u64, &bytes[offset..], &self.chain) {
                Found::Record(record) => {
                    self.record(&record).map_err(|(index, what)| bad(offset, index, &what))?;
                    self.chain = record.chain;
                    offset += record.size_bytes;
                }
                Found::End if bytes[offset..].iter().all(|byte| *byte == 0) => break,
                Found::End | Found::Bad(_) if last && !format::later_proof_of_sync(segment, bytes, offset) => {
                    self.torn(segment, offset, bytes);
                    break;
                }
                Found::End => return Err(bad(offset, None, "bytes stand after the last record")),
                Found::Bad(what) => return Err(bad(offset, format::index_at(&bytes[offset..]), what)),
            }
        }
        self.found.segments += 1;
        self.found.bytes += bytes.len() as u64;
        Ok(())
    }

    /// What was found; after the last segment.
    pub fn finish(self) -> Audited {
        let heads = &self.heads;
        Audited {
            cabinet: self.cabinet.map(|name| name.to_string()).unwrap_or_default(),
            last_index: heads.last(),
            committed_index: heads.committed,
            committed_head: heads.after[0],
            last_head: heads.head(),
            record_chain: self.chain,
            ..self.found
        }
    }

    fn header(&mut self, segment: u32, header: SegmentHeader) -> Result<(), &'static str> {
        if header.segment != segment || header.chain != self.chain || header.next_index != self.heads.last() + 1 {
            return Err("the segment does not continue the one before it");
        }
        if self.cabinet.as_ref().is_some_and(|cabinet| *cabinet != header.cabinet) {
            return Err("the segment belongs to another cabinet than the one before it");
        }
        self.cabinet = Some(header.cabinet);
        Ok(())
    }

    fn record(&mut self, record: &RawRecord<'_>) -> Result<(), (Option<u64>, String)> {
        self.found.records += 1;
        let entry = match format::decode_payload(record) {
            Parsed::Record(Record::Entry(entry)) => entry,
            Parsed::Record(Record::HardState(state)) => {
                self.heads.commit(state.commit);
                return Ok(());
            }
            Parsed::Record(Record::Seat(_)) | Parsed::Mark => return Ok(()),
            Parsed::UnknownKind(kind) => return Err((None, format!("record kind {kind} is unknown here"))),
            Parsed::Malformed => {
                let what = "a whole record makes no sense, or a decision in it does not match its check";
                return Err((format::index_of(record), what.to_owned()));
            }
        };
        self.found.entries += 1;
        let digest = match (entry.kind, entry.payload.is_empty()) {
            (EntryKind::Normal, false) => Some(self.proposal(&entry.payload).map_err(|what| (Some(entry.index), what.to_owned()))?),
            _ => None,
        };
        let head = self.heads.push(entry.index, digest).map_err(|what| (Some(entry.index), what.to_owned()))?;
        if self.found.sought_at.is_some_and(|sought_at| sought_at >= entry.index) {
            self.found.sought_at = None;
        }
        if self.sought == Some(head) {
            self.found.sought_at = Some(entry.index);
        }
        Ok(())
    }

    fn proposal(&mut self, data: &[u8]) -> Result<Hash, &'static str> {
        let envelope = Envelope::parse(data).ok_or("the data of an entry is not an envelope")?;
        self.found.proposals += 1;
        self.found.obliterations += u64::from(envelope.class == Class::Obliteration);
        // What a decision may be was checked with the record.
        self.found.decided += u64::from(data[..8] != [0; 8]);
        for slot in envelope.slots() {
            self.found.whole_slots += u64::from(slot.value.is_some());
            self.found.emptied_slots += u64::from(slot.value.is_none());
        }
        Ok(envelope.digest())
    }

    fn torn(&mut self, segment: u32, offset: usize, bytes: &[u8]) {
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let lost_bytes = used.saturating_sub(offset) as u64;
        self.found.torn = Some(TornTail { file: format::file_name(segment), offset: offset as u64, lost_bytes });
    }
}

impl Heads {
    fn last(&self) -> u64 {
        self.committed + self.after.len() as u64 - 1
    }

    fn head(&self) -> Hash {
        *self.after.back().expect("the head at the last committed entry stays")
    }

    /// An entry, which takes the place of those from its index on.
    fn push(&mut self, index: u64, digest: Option<Hash>) -> Result<Hash, &'static str> {
        if index == 0 || index > self.last() + 1 {
            return Err("an entry does not follow the last one");
        }
        let Some(kept) = index.checked_sub(self.committed + 1) else {
            return Err("an entry takes the place of one that was committed");
        };
        self.after.truncate(usize::try_from(kept).unwrap_or(usize::MAX) + 1);
        let head = digest.map_or(self.head(), |digest| envelope::link(&self.head(), index, &digest));
        self.after.push_back(head);
        Ok(head)
    }

    fn commit(&mut self, index: u64) {
        while self.committed < index && self.after.len() > 1 {
            self.after.pop_front();
            self.committed += 1;
        }
    }
}
