//! Histories on disk: a line of JSON an operation.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::Operation;

/// Collects what the processes of one run do. Clones share it, and with it the clock.
#[derive(Clone, Debug)]
pub struct Recorder {
    began: Instant,
    operations: Arc<Mutex<Vec<Operation>>>,
}

/// Why a history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file.
    #[error("{}: {cause}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A line in it.
    #[error("{}:{line}: {cause}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        cause: serde_json::Error,
    },
}

impl Recorder {
    /// A history that begins now.
    #[expect(clippy::new_without_default, reason = "it begins when it is made")]
    pub fn new() -> Self {
        Self { began: Instant::now(), operations: Arc::default() }
    }

    /// Nanoseconds since the beginning.
    pub fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Takes an operation in.
    pub fn note(&self, operation: Operation) {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).push(operation);
    }

    /// Everything that was taken in, in the order of the starts.
    pub fn history(&self) -> Vec<Operation> {
        let mut history = self.operations.lock().unwrap_or_else(PoisonError::into_inner).clone();
        history.sort_by_key(|operation| (operation.start, operation.process));
        history
    }

    /// Writes everything to a file.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        for operation in self.history() {
            serde_json::to_writer(&mut file, &operation)?;
            file.write_all(b"\n")?;
        }
        file.flush()
    }
}

/// Reads a history.
pub fn read(path: &Path) -> Result<Vec<Operation>, ReadError> {
    let unreadable = |cause| ReadError::File { path: path.to_owned(), cause };
    let mut history = Vec::new();
    for (number, line) in (1..).zip(BufReader::new(File::open(path).map_err(unreadable)?).lines()) {
        let operation = serde_json::from_str(&line.map_err(unreadable)?);
        history.push(operation.map_err(|cause| ReadError::Line { path: path.to_owned(), line: number, cause })?);
    }
    Ok(history)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::history::{Answer, Asked, Seen};

    #[test]
    fn histories_read_back() {
        let recorder = Recorder::new();
        let seen = BTreeMap::from([("r1".to_owned(), Seen { value: Some(3), version: 7 })]);
        let asked = [
            (Asked::Read { object: "r1".to_owned() }, Answer::Happened { position: 9, seen: seen.clone() }),
            (Asked::Snapshot { objects: vec!["r1".to_owned()], at_least: 9 }, Answer::Happened { position: 9, seen: seen.clone() }),
            (Asked::Write { object: "r1".to_owned(), value: 4 }, Answer::Unknown { seen: BTreeMap::new() }),
            (Asked::CompareAndSet { object: "r1".to_owned(), expected: 3, value: 5 }, Answer::Conflict),
            (Asked::Add { object: "c1".to_owned(), amount: 1 }, Answer::Failed),
            (
                Asked::Transaction { reads: vec!["r1".to_owned()], writes: vec![("r2".to_owned(), 8)] },
                Answer::Happened { position: 10, seen },
            ),
        ];
        for (start, (asked, result)) in (0..).zip(asked) {
            recorder.note(Operation { process: 1, asked, result, start, end: Some(start + 1), commit: Some("c".to_owned()) });
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.jsonl");
        recorder.write(&path).unwrap();
        assert_eq!(read(&path).unwrap(), recorder.history());
        let first = std::fs::read_to_string(&path).unwrap();
        let expected = r#"{"process":1,"operation":"read","arguments":{"object":"r1"},"result":{"happened":{"position":9,"seen":{"r1":{"value":3,"version":7}}}},"start":0,"end":1,"commit":"c"}"#;
        assert_eq!(first.lines().next().unwrap(), expected);
    }

    #[test]
    fn broken_line_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.jsonl");
        std::fs::write(&path, "{}\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("history.jsonl:1:"));
    }
}
