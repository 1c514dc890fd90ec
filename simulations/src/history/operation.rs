//! One thing that a client asked, and what became of it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One operation of one process. A process does one thing after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Who.
    pub process: u32,
    /// What was asked.
    #[serde(flatten)]
    pub asked: Asked,
    /// What is known of it.
    pub result: Answer,
    /// When it was asked, in nanoseconds since the run began, by the one clock of all processes.
    pub start: u64,
    /// When the result was known; none: never.
    pub end: Option<u64>,
    /// The commit's id, for what asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// What can be asked. Objects hold one whole number; no value is written to the same object twice in one history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "operation", content = "arguments", rename_all = "kebab-case")]
pub enum Asked {
    /// The value of one object, as of some moment between start and end.
    Read {
        /// The object.
        object: String,
    },
    /// The values of some objects, all as of one position, at least this one: fresh enough for the session, not for the world.
    Snapshot {
        /// The objects.
        objects: Vec<String>,
        /// The position that the session had seen.
        at_least: u64,
    },
    /// A value for one object, whatever it held.
    Write {
        /// The object.
        object: String,
        /// The value.
        value: i64,
    },
    /// A value for one object if it holds another one.
    CompareAndSet {
        /// The object.
        object: String,
        /// What it must hold.
        expected: i64,
        /// What it then holds.
        value: i64,
    },
    /// So much more for one object: read, and then written if it had not changed.
    Add {
        /// The object.
        object: String,
        /// More than nothing.
        amount: i64,
    },
    /// Some values read, some written, all at one moment.
    Transaction {
        /// The objects read.
        reads: Vec<String>,
        /// The objects written and their values, in this order; the last value of an object is the one that stays.
        writes: Vec<(String, i64)>,
    },
}

/// What is known of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It happened.
    Happened {
        /// The position of the commit, or the one that a read was answered at.
        position: u64,
        /// What it read.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        seen: BTreeMap<String, Seen>,
    },
    /// It was refused because something it relied on had changed: it happened not, and the change did.
    Conflict,
    /// It certainly did not happen, and nothing follows from that.
    Failed,
    /// It may have happened, and may still.
    Unknown {
        /// What it had read before it asked for its commit.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        seen: BTreeMap<String, Seen>,
    },
}

/// A value as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The value; none: the object did not exist.
    pub value: Option<i64>,
    /// The position of the commit that wrote it; 0 when there was none.
    pub version: u64,
}

impl Operation {
    /// What it read, as far as it is known.
    pub fn seen(&self) -> Option<&BTreeMap<String, Seen>> {
        match &self.result {
            Answer::Happened { seen, .. } | Answer::Unknown { seen } => Some(seen),
            Answer::Conflict | Answer::Failed => None,
        }
    }

    /// The position that it got.
    pub fn position(&self) -> Option<u64> {
        match &self.result {
            Answer::Happened { position, .. } => Some(*position),
            _ => None,
        }
    }

    /// What it writes if it happens, value by value. What an addition comes to is only known when it is known what it read.
    pub fn writes(&self) -> Vec<(&str, i64)> {
        match &self.asked {
            Asked::Read { .. } | Asked::Snapshot { .. } => Vec::new(),
            Asked::Write { object, value } | Asked::CompareAndSet { object, value, .. } => vec![(object, *value)],
            Asked::Add { object, amount } => {
                let before = self.seen().and_then(|seen| seen.get(object)).and_then(|seen| seen.value);
                before.map(|before| (object.as_str(), before + amount)).into_iter().collect()
            }
            Asked::Transaction { writes, .. } => writes.iter().map(|(object, value)| (object.as_str(), *value)).collect(),
        }
    }

    /// Whether what it saw need not be the newest.
    pub fn may_be_old(&self) -> bool {
        matches!(self.asked, Asked::Snapshot { .. })
    }
}

/// For people: who, what, and when, in milliseconds.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ", self.process)?;
        match &self.asked {
            Asked::Read { object } => write!(f, "reads {object}")?,
            Asked::Snapshot { objects, .. } => write!(f, "looks at {}", objects.join(" "))?,
            Asked::Write { object, value } => write!(f, "writes {object} := {value}")?,
            Asked::CompareAndSet { object, expected, value } => write!(f, "sets {object} from {expected} to {value}")?,
            Asked::Add { object, amount } => write!(f, "adds {amount} to {object}")?,
            Asked::Transaction { reads, writes } => {
                let writes: Vec<String> = writes.iter().map(|(object, value)| format!("{object} := {value}")).collect();
                write!(f, "reads {} and writes {}", reads.join(" "), writes.join(" "))?;
            }
        }
        for (object, seen) in self.seen().into_iter().flatten() {
            match seen.value {
                Some(value) => write!(f, ", {object} = {value} @{}", seen.version)?,
                None => write!(f, ", no {object}")?,
            }
        }
        match &self.result {
            Answer::Happened { position, .. } => write!(f, " @{position}")?,
            Answer::Conflict => write!(f, ", refused")?,
            Answer::Failed => write!(f, ", failed")?,
            Answer::Unknown { .. } => write!(f, ", nobody knows")?,
        }
        let ms = |ns: u64| ns as f64 / 1e6;
        match self.end {
            Some(end) => write!(f, " ({:.3} to {:.3} ms)", ms(self.start), ms(end)),
            None => write!(f, " (from {:.3} ms)", ms(self.start)),
        }
    }
}
