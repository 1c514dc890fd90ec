//! Every bound of the keeping of blobs, and why it is what it is.

use std::time::Duration;

/// How long a blob that no commit named is kept, and a part of one: longer than anybody takes between an upload and the commit that names it.
pub(crate) const UNNAMED_KEPT: Duration = Duration::from_secs(24 * 3_600);

/// Blobs that arrive at once; each holds a file open and at most a table of 512 KiB.
pub(crate) const PARTS_MAX: usize = 64;

/// How long nobody is at a part until it makes room for another one. It stays on disk.
pub(super) const PART_IDLE: Duration = Duration::from_secs(30);

/// Bytes that blobs take together, whole and in part, which no commit named: whoever uploads and never commits must not fill the disk.
pub(crate) const UNNAMED_BYTES_MAX: u64 = 32 << 30;

/// Attempts to fetch a blob that no commit named; about a minute's worth.
pub(super) const TRIES_UNNAMED_MAX: u32 = 8;

/// Bytes written to a part between two syncs: at its end little is left to be synced, and never so much that a sync of the journal waits for it.
pub(super) const UNSYNCED_BYTES_MAX: u64 = 8 << 20;

/// Tables kept in memory for reading; each has at most 512 KiB.
pub(super) const TABLES_MAX: usize = 8;

/// Blobs that somebody asked to be fetched before a commit named them.
pub(super) const ASKED_MAX: usize = 1_024;

/// The first pause after nobody could give a blob. It doubles up to [`RETRY_MAX`].
pub(super) const RETRY_MIN: Duration = Duration::from_millis(250);

/// The longest pause between two attempts to fetch a blob.
pub(super) const RETRY_MAX: Duration = Duration::from_secs(60);

/// Entries of the log that a start looks through again at most, because no note was made of their having been looked through.
pub(super) const ENTRIES_UNNOTED_MAX: u64 = 10_000;

/// Jobs that wait for the worker: each holds at most one chunk.
pub(crate) const JOBS: usize = 16;

/// Blobs fetched at once, so that a large one does not keep small ones waiting.
pub(crate) const FETCHES_AT_ONCE: usize = 4;

/// Chunks of one blob that are on their way at once: at 100 ms round trip 10 MiB a second.
pub(crate) const CHUNKS_AT_ONCE: usize = 4;

/// Blobs that one commit names at most.
pub(crate) const NAMED_MAX: usize = 100;

/// How long a replica may take to answer a question about a blob.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The pause after each chunk that is read only to see whether it is whole: 4 MiB a second, about 340 GiB a day.
pub(crate) const SCRUB_PAUSE: Duration = Duration::from_millis(62);

/// Between two rounds of reading everything, and two looks for what is to be removed.
pub(crate) const ROUND_PAUSE: Duration = Duration::from_secs(60);
