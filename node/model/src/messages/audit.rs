//! What layer 1 answers to auditors and to those who take values away for ever: methods of the service `cabinet`.
//!
//! | method | takes | answers |
//! |---|---|---|
//! | `obliterate` | [`Obliterate`] | [`Committed`](super::cabinet::Committed) |
//! | `head` | [`AskHead`] | [`Head`] |
//! | `blobs taken` | [`AskBlobs`] | [`BlobsTaken`] |

use bincode::{Decode, Encode};

use crate::{BlobId, CommitId, Name, ObjectId, Position, Wire};

/// Asks that values be taken away for ever. It is recorded like a commit: who, when, why, and of which attribute of which object.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Obliterate {
    /// Its name, chosen by whoever asks: asking again does it once.
    pub id: CommitId,
    /// The identity of the administrator. Believed only of a replica that passes the order on: of others it is what their certificate says.
    pub by: String,
    /// Why: 1 to [`REASON_BYTES_MAX`](crate::commit::REASON_BYTES_MAX) bytes. It stays, so it should not repeat what is to go.
    pub reason: String,
    /// What is to go: 1 to [`OBLITERATIONS_MAX`](crate::commit::OBLITERATIONS_MAX).
    pub targets: Vec<Target>,
}

/// The values that commits from one position to another gave an attribute of an object, in all versions that carry them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Target {
    /// The object.
    pub object: ObjectId,
    /// The attribute; its values may not be references.
    pub attribute: Name,
    /// The first of those commits.
    pub from: Position,
    /// The last of them; later ones than there are do no harm.
    pub to: Position,
}

/// Asks where the chain over proposals stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AskHead {
    /// At which position; `None`: at the present one.
    pub at: Option<Position>,
}

/// Where the chain over proposals stood at a position: to be compared with what `caps audit verify` finds in a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Head {
    /// The position.
    pub position: Position,
    /// The index of the entry that made it.
    pub index: u64,
    /// The chain over all proposals up to that entry.
    pub chain_head: [u8; 32],
    /// The latest time of any commit up to it: microseconds since 1970.
    pub moment: i64,
}

/// Asks what an obliteration did to blobs that the obliterated values named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AskBlobs {
    /// The index of its entry, as [`Head`] says it.
    pub index: u64,
}

/// What an obliteration did to blobs on one replica.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BlobsTaken {
    /// Whether it is carried out there, as far as blobs are concerned.
    pub settled: bool,
    /// How many were taken away. Their names are gone, too.
    pub taken: u64,
    /// Those that stay, because other values name them; at most [`BLOBS_TOLD_MAX`].
    pub left: Vec<BlobId>,
}

impl Wire for Obliterate {}
impl Wire for AskHead {}
impl Wire for Head {}

/// The number of `obliterate`.
pub const OBLITERATE: u16 = 30;
/// Blobs that an answer lists.
pub const BLOBS_TOLD_MAX: usize = 1_000;

impl Wire for AskBlobs {}
impl Wire for BlobsTaken {}

/// The number of `blobs taken`.
pub const BLOBS_TAKEN: u16 = 32;
/// The number of `head`.
pub const HEAD: u16 = 31;
