//! How blobs travel: the service `blobs` of layer 1, and what layer 2 asks of it for front ends.
//!
//! On layer 1 there is one method, `ask`, which takes a [`Question`] and answers an [`Answer`]. Everything may be asked twice: a chunk that is
//! there is not taken again, and what a replica has it keeps.
//!
//! On layer 2 [`Upload`] passes a question on for somebody who may write at all, and [`Download`] streams [`Part`]s of a blob to somebody who may
//! read an object that holds it.

use bincode::{Decode, Encode};

use super::host::As;
use crate::blob::Table;
use crate::{BlobId, Name, ObjectId, Position, Wire};

/// Asks a replica about one blob.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Question {
    /// Makes ready for the chunks of a blob: answers how much of it is there. Answered by [`Answer::Progress`].
    Begin {
        /// Its chunks.
        table: Table,
    },
    /// Brings one chunk. Answered by [`Answer::Progress`].
    Put {
        /// The blob.
        blob: BlobId,
        /// The chunk's number, from 0.
        index: u32,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// Answers once a majority of the voters has the blob on disk, or says how many have it when time runs out. Answered by [`Answer::Secured`].
    Secure {
        /// The blob.
        blob: BlobId,
    },
    /// Asks whether the replica has the blob; one that has not gets it from those that have. Answered by [`Answer::Held`].
    Want {
        /// The blob.
        blob: BlobId,
        /// Whether to answer only once it is there, or when time runs out.
        wait: bool,
    },
    /// Asks for a blob's table. Answered by [`Answer::Table`].
    Table {
        /// The blob.
        blob: BlobId,
    },
    /// Asks for one chunk. Answered by [`Answer::Chunk`].
    Chunk {
        /// The blob.
        blob: BlobId,
        /// The chunk's number, from 0.
        index: u32,
    },
    /// As [`Want`](Self::Want), of a replica that has carried out all obliterations up to an entry of the log: none of them takes away what it says
    /// that it has. Answered by [`Answer::Held`].
    Hold {
        /// The blob.
        blob: BlobId,
        /// Whether to answer only once it is so, or when time runs out.
        wait: bool,
        /// The entry.
        settled: u64,
    },
}

/// What a replica answers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Answer {
    /// How much of a blob is there.
    Progress(Progress),
    /// On how many voters it is durable.
    Secured(Secured),
    /// Whether it is there, whole and on disk.
    Held(bool),
    /// Its table.
    Table(Table),
    /// One of its chunks, proven.
    Chunk(Vec<u8>),
}

/// How much of a blob a replica has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Progress {
    /// Chunks that are there.
    pub chunks: u32,
    /// The first chunk that is not; none: the blob is whole and on disk.
    pub missing: Option<u32>,
}

/// On how many voters a blob is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Secured {
    /// Voters that are known to have it.
    pub voters: u32,
    /// How many of them are a majority.
    pub needed: u32,
}

impl Secured {
    /// Whether a majority has it: now a commit may name it.
    pub fn is_enough(&self) -> bool {
        self.voters >= self.needed
    }
}

/// Asks layer 2 to pass a step of an upload on to a replica: `Begin`, `Put` or `Secure`, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Upload {
    /// The identity of the replica that took the steps before; the nearest if none.
    pub at: Option<String>,
    /// The step.
    pub step: Question,
}

/// What became of a step of an upload.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Uploaded {
    /// The identity of the replica that took it: where the next steps belong.
    pub at: String,
    /// What it answered.
    pub answer: Answer,
}

/// Asks for the bytes of a blob by the object that holds it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Download {
    /// The object.
    pub object: ObjectId,
    /// The attribute.
    pub attribute: Name,
    /// Which of the attribute's blobs, from 0.
    pub number: u32,
    /// The object as it was at this position; as it is now if none.
    pub at: Option<Position>,
    /// The first byte.
    pub offset: u64,
    /// How many bytes at most.
    pub length: u64,
}

/// A part of the answer to [`Download`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Part {
    /// The blob's table: comes first.
    Table(Table),
    /// A whole chunk with some of the bytes asked for; they come in order.
    Chunk {
        /// Its number.
        index: u32,
        /// Its bytes.
        bytes: Vec<u8>,
    },
}

impl Wire for Question {}
impl Wire for Answer {}
impl Wire for As<Upload> {}
impl Wire for Uploaded {}
impl Wire for As<Download> {}
impl Wire for Part {}

/// The number of `ask`.
pub const ASK: u16 = 1;
