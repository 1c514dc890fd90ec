//! What those who worked in a round were told: the side of the story that the cabinet must agree with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use caps_model::{CommitId, ObjectId};

use super::client::Fate;

/// The book of one round; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Book>>);

/// What is in it.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// Every object that somebody asked to be made.
    pub entries: Vec<Entry>,
    /// Every mail that a front end asked to be filed.
    pub mails: Vec<Mail>,
    /// What each follower was told, in the order it was.
    pub told: BTreeMap<usize, Told>,
}

/// One object that was to be made, by a commit of its own.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The commit.
    pub commit: CommitId,
    /// The object.
    pub object: ObjectId,
    /// What it says.
    pub value: i64,
    /// What became of it.
    pub fate: Fate,
}

/// One mail.
#[derive(Clone, Debug)]
pub struct Mail {
    /// The call's commit.
    pub commit: CommitId,
    /// Its Message-ID.
    pub message_id: String,
    /// The position, if it was acknowledged.
    pub acknowledged: Option<u64>,
    /// The number of the front end that asked.
    pub by: usize,
}

/// What one follower was told.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The position that it has come to.
    pub position: u64,
    /// How often it was told of each object.
    pub objects: BTreeMap<ObjectId, u64>,
    /// Updates at or before the position of an earlier one.
    pub disordered: u64,
    /// How often it had to go on at another replica.
    pub resumed: u64,
}

impl Ledger {
    /// Opens the book.
    pub fn open(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
