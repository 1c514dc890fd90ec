//! What can be damaged, and how.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use caps_overlay::Rng;

/// A kind of damage to the files of one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A bit of a record in a segment that has a successor.
    OldSegmentBit,
    /// A segment that has a successor ends too early.
    OldSegmentCut,
    /// A segment that has a successor is gone.
    OldSegmentGone,
    /// A bit of a record in the last segment, some way before its end.
    LastSegmentBit,
    /// The last segment ends too early.
    LastSegmentCut,
    /// A bit of a record that says for whom the replica voted.
    VoteBit,
    /// A bit of a file of the state.
    StateBit,
    /// A file of the state ends too early.
    StateCut,
    /// A bit of a blob, or of the table that proves it.
    BlobBit,
    /// A blob ends too early.
    BlobCut,
    /// A blob is gone.
    BlobGone,
}

/// A record of the journal: where it begins, how long it is, and its kind.
#[derive(Clone, Copy, Debug)]
struct Record {
    offset: u64,
    size_bytes: u64,
    kind: u8,
}

impl Damage {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::OldSegmentBit,
        Self::OldSegmentCut,
        Self::OldSegmentGone,
        Self::LastSegmentBit,
        Self::LastSegmentCut,
        Self::VoteBit,
        Self::StateBit,
        Self::StateCut,
        Self::BlobBit,
        Self::BlobCut,
        Self::BlobGone,
    ];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OldSegmentBit => "journal-old-bit",
            Self::OldSegmentCut => "journal-old-cut",
            Self::OldSegmentGone => "journal-old-gone",
            Self::LastSegmentBit => "journal-last-bit",
            Self::LastSegmentCut => "journal-last-cut",
            Self::VoteBit => "vote-bit",
            Self::StateBit => "state-bit",
            Self::StateCut => "state-cut",
            Self::BlobBit => "blob-bit",
            Self::BlobCut => "blob-cut",
            Self::BlobGone => "blob-gone",
        }
    }

    /// Does it to a replica's directory; says where. `None`: there is nothing of the kind to be damaged.
    pub fn apply(self, directory: &Path, rng: &Rng) -> anyhow::Result<Option<String>> {
        match self {
            Self::StateBit | Self::StateCut => self.to_state(&directory.join("state"), rng),
            Self::BlobBit | Self::BlobCut | Self::BlobGone => self.to_blob(directory, rng),
            _ => self.to_journal(directory, rng),
        }
    }

    fn to_journal(self, directory: &Path, rng: &Rng) -> anyhow::Result<Option<String>> {
        let mut segments = files(directory, |name| name.starts_with("journal-"))?;
        segments.sort();
        let Some(last) = segments.pop() else { return Ok(None) };
        let old = pick(&segments, rng).cloned();
        let whole =
            |path: &Path| records(path).map(|records| records.into_iter().filter(|record| record.size_bytes > 0).collect::<Vec<_>>());
        match (self, old) {
            (Self::OldSegmentBit, Some(old)) => {
                let records = whole(&old)?;
                pick(&records, rng).map(|record| flip(&old, record.offset, record.size_bytes, rng)).transpose()
            }
            (Self::OldSegmentCut, Some(old)) => cut(&old, rng).map(Some),
            (Self::OldSegmentGone, Some(old)) => {
                fs::remove_file(&old)?;
                Ok(Some(format!("{} gone", old.display())))
            }
            (Self::LastSegmentBit, _) => {
                let records = whole(&last)?;
                // The very last batch cannot be told from a torn one; it is not what this is about.
                let before = records.len().saturating_sub(RECORDS_LEFT_ALONE);
                pick(&records[..before], rng).map(|record| flip(&last, record.offset, record.size_bytes, rng)).transpose()
            }
            (Self::LastSegmentCut, _) => {
                let records = whole(&last)?;
                let Some(record) = pick(&records, rng) else { return Ok(None) };
                let at = record.offset + rng.below(record.size_bytes);
                OpenOptions::new().write(true).open(&last)?.set_len(at)?;
                Ok(Some(format!("{} cut to {at} bytes", last.display())))
            }
            (Self::VoteBit, _) => {
                let mut votes = Vec::new();
                for path in segments.iter().chain([&last]) {
                    let found = whole(path)?;
                    let before = if *path == last { found.len().saturating_sub(RECORDS_LEFT_ALONE) } else { found.len() };
                    let kind = found[..before].iter().filter(|record| record.kind == HARD_STATE);
                    votes.extend(kind.map(|record| (path.clone(), *record)));
                }
                pick(&votes, rng).map(|(path, record)| flip(path, record.offset, record.size_bytes, rng)).transpose()
            }
            _ => Ok(None),
        }
    }

    fn to_blob(self, directory: &Path, rng: &Rng) -> anyhow::Result<Option<String>> {
        // Whole ones only: neither parts nor what was set aside before.
        let blobs = files(directory, |name| name.starts_with("blob-") && name.len() == BLOB_NAME_BYTES)?;
        let Some(path) = pick(&blobs, rng) else { return Ok(None) };
        match self {
            Self::BlobCut => cut(path, rng).map(Some),
            Self::BlobGone => {
                fs::remove_file(path)?;
                Ok(Some(format!("{} gone", path.display())))
            }
            _ => flip(path, 0, fs::metadata(path)?.len(), rng).map(Some),
        }
    }

    fn to_state(self, directory: &Path, rng: &Rng) -> anyhow::Result<Option<String>> {
        let state = files(directory, |_| true)?;
        let state: Vec<PathBuf> = state.into_iter().filter(|path| fs::metadata(path).is_ok_and(|meta| meta.len() > 0)).collect();
        let Some(path) = pick(&state, rng) else { return Ok(None) };
        match self {
            Self::StateCut => cut(path, rng).map(Some),
            _ => flip(path, 0, used_bytes(path)?, rng).map(Some),
        }
    }
}

/// Flips one bit in `size_bytes` bytes from `offset`.
fn flip(path: &Path, offset: u64, size_bytes: u64, rng: &Rng) -> anyhow::Result<String> {
    let file = OpenOptions::new().read(true).write(true).open(path).with_context(|| format!("cannot damage {}", path.display()))?;
    let (at, bit) = (offset + rng.below(size_bytes), rng.below(8));
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    byte[0] ^= 1 << bit;
    file.write_all_at(&byte, at)?;
    Ok(format!("{}, bit {bit} of byte {at}", path.display()))
}

/// Takes away the end of a file, from somewhere in its used part.
fn cut(path: &Path, rng: &Rng) -> anyhow::Result<String> {
    let at = rng.below(used_bytes(path)?);
    OpenOptions::new().write(true).open(path)?.set_len(at)?;
    Ok(format!("{} cut to {at} bytes", path.display()))
}

/// Bytes up to the last that is not zero.
fn used_bytes(path: &Path) -> anyhow::Result<u64> {
    let bytes = fs::read(path)?;
    Ok(bytes.iter().rposition(|byte| *byte != 0).map_or(bytes.len(), |last| last + 1) as u64)
}

fn files(directory: &Path, wanted: impl Fn(&str) -> bool) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let Ok(entries) = fs::read_dir(directory) else { return Ok(files) };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() && wanted(&entry.file_name().to_string_lossy()) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn pick<'a, T>(from: &'a [T], rng: &Rng) -> Option<&'a T> {
    from.get(usize::try_from(rng.below(from.len() as u64)).ok()?)
}

/// The records of a segment, by `JOURNAL.md` and no code of the store's: a harness that asked the store would believe what it believes.
fn records(path: &Path) -> anyhow::Result<Vec<Record>> {
    let file = File::open(path)?;
    let size_bytes = file.metadata()?.len();
    let mut records = Vec::new();
    let mut offset = SEGMENT_HEADER_BYTES;
    let mut head = [0; 8];
    while offset + RECORD_HEADER_BYTES <= size_bytes {
        file.read_exact_at(&mut head, offset)?;
        let (length, kind) = (u64::from(u32::from_le_bytes([head[0], head[1], head[2], head[3]])), head[4]);
        if kind == 0 {
            break;
        }
        let whole = RECORD_HEADER_BYTES + length.next_multiple_of(8) + CHAIN_BYTES;
        // Padding between payload and chain is covered by nothing but its being zero, which is checked.
        records.push(Record { offset, size_bytes: whole, kind });
        offset += whole;
    }
    Ok(records)
}

const SEGMENT_HEADER_BYTES: u64 = 136;
const RECORD_HEADER_BYTES: u64 = 16;
const CHAIN_BYTES: u64 = 32;

/// `blob-` and 64 digits.
const BLOB_NAME_BYTES: usize = 69;

/// The kind of records that hold Raft's hard state.
const HARD_STATE: u8 = 2;

/// Records at the end of the last segment that may be of its last batch.
const RECORDS_LEFT_ALONE: usize = 300;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use caps_model::Name;
    use caps_store::journal::{self, Options};
    use caps_store::storage::DiskStorage;

    use super::*;

    #[test]
    fn records_are_found_where_the_store_writes_them() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Arc::new(DiskStorage::open(directory.path()).unwrap());
        let mut opened = journal::open(storage, Options::new(Name::fixed("main"))).unwrap();
        let state = journal::HardState { term: 3, vote: 1, commit: 0 };
        let batch = opened.reader.stage(vec![journal::Record::HardState(state)]);
        opened.writer.append(batch).unwrap();
        opened.writer.close().unwrap();
        let records = records(&directory.path().join("journal-0000000001")).unwrap();
        let kinds: Vec<u8> = records.iter().map(|record| record.kind).collect();
        assert_eq!(kinds, [HARD_STATE, 3], "a hard state and the mark of the end");
    }
}
