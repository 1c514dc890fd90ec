//! Backing up a cabinet: the method `back up` of the service `cabinet`, for administrators.
//!
//! A question names how far the backup is; the answer is a stream of [`Backed`]: the place that the replica had reached when it was asked,
//! then the entries of the log that lead there, in order. What is asked for again, from where it broke, goes on there.

use bincode::{Decode, Encode};

use super::cabinet::Founder;
use crate::{Position, Wire};

/// Asks for the log after an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BackUp {
    /// The index of the last entry that the backup has; 0: it has none.
    pub after: u64,
    /// Its term; 0: it has none.
    pub term: u64,
}

/// One message of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Backed {
    /// The first: where the replica is.
    Reached(Reached),
    /// The others: entries that a majority has, each following the one before it. The first of all is the one that the backup ends with,
    /// if it has any, so that both sides are seen to speak of the same history.
    Entries(Vec<LogEntry>),
}

/// How far a replica has come, and with what.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Reached {
    /// The cabinet.
    pub cabinet: String,
    /// The replica's node.
    pub node: String,
    /// With whom the cabinet's group began; what changed since is in the log.
    pub founders: Vec<Founder>,
    /// The last entry that the replica has applied.
    pub index: u64,
    /// The last commit among them.
    pub position: Position,
    /// The hash chain over all commits up to it.
    pub chain_head: [u8; 32],
    /// The latest time of any commit up to it: microseconds since 1970.
    pub moment: i64,
}

/// An entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LogEntry {
    /// Its place in the log: dense, from 1.
    pub index: u64,
    /// The term of the leader that made it.
    pub term: u64,
    /// The number of its kind, as the journal has it.
    pub kind: u8,
    /// What it says.
    pub payload: Vec<u8>,
}

impl Wire for BackUp {}
impl Wire for Backed {}

/// The number of `back up`.
pub const BACK_UP: u16 = 40;
