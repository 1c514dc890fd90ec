//! A cabinet of a deployment.

use std::time::Duration;

use caps_adapters::sql::{Target, TargetError};
use caps_model::{Name, Services};

use super::Survival;

/// Where a cabinet lives, how its replicas agree, and what its hosts run.
#[derive(Debug, Clone)]
pub struct Cabinet {
    /// Its name.
    pub name: Name,
    /// The nodes that vote at first. Once the cabinet is founded, its log says who votes (`caps cabinet`).
    pub voters: Vec<String>,
    /// The nodes that follow without a vote at first: they serve reads and subscriptions near whoever asks.
    pub learners: Vec<String>,
    /// What it is to survive, if that is said: a node warns at its start when the places of the voters do not let it.
    pub survives: Option<Survival>,
    /// What a replica materialises its journal into.
    pub state: StateKind,
    /// One tick of the consensus clock: a dead leader is replaced in 12 to 20 of them.
    pub tick: Duration,
    /// Bytes of its disk that a replica keeps free: with less it orders no commits, with half of that it takes in nothing more. 0: none.
    pub reserve_bytes: u64,
    /// The modules that its hosts load.
    pub modules: Vec<String>,
}

/// What a replica materialises its journal into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateKind {
    /// In memory: rebuilt from the journal at each start.
    Memory,
    /// In sled, the embedded default.
    Sled,
    /// In an SQLite file beside the journal.
    Sqlite,
    /// In a relational database: each replica has a schema of its own there.
    Database(Target),
}

impl StateKind {
    /// Reads `memory`, `sled`, `sqlite`, or the URL of a database.
    pub(crate) fn parse(text: &str) -> Result<Self, TargetError> {
        match text {
            "memory" => Ok(Self::Memory),
            "sled" => Ok(Self::Sled),
            "sqlite" => Ok(Self::Sqlite),
            url => Target::parse(url).map(Self::Database),
        }
    }
}

impl Cabinet {
    /// Under which numbers its services are found.
    pub fn services(&self) -> Services {
        Services::of(&self.name)
    }
}
