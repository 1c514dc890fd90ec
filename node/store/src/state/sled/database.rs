//! A database, and its end.
//!
//! Closing it writes what it has in mind, and waits for its own threads to have done so: for ever, if they failed at a damaged file. Nothing relies
//! on that, because the journal has everything, and whoever waits may be a replica that is to rebuild it. So it is closed on a thread of its own, which
//! is waited for a while.

use std::ops::Deref;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use sled::Db;

/// An open database.
#[derive(Debug)]
pub(super) struct Database(Option<Db>);

impl Database {
    pub(super) fn new(database: Db) -> Self {
        Self(Some(database))
    }
}

impl Deref for Database {
    type Target = Db;

    fn deref(&self) -> &Db {
        self.0.as_ref().expect("it is there until it is closed")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Some(database) = self.0.take() else { return };
        let (say, closed) = mpsc::channel::<()>();
        let close = move || {
            drop(database);
            // Hung up on: it is closed.
            drop(say);
        };
        let begun = thread::Builder::new().name("state-close".to_owned()).spawn(close);
        if begun.is_ok() && closed.recv_timeout(CLOSED_WITHIN) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!("the state's database does not close: it is left as it is until the process ends");
        }
    }
}

/// Longer than it takes to write what a database has in mind; what was not written by then is replayed from the journal.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);
