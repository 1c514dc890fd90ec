//! The cabinet: applies what consensus has ordered, and answers what is asked about it.
//!
//! Applying is deterministic. The same proposals at the same indices give the same positions, the same answers and the same chain head on
//! every replica, on every state, at every replay; so nothing here may depend on clocks, randomness, or who asks. **The rules and limits of
//! [`Cabinet::apply`] are part of what replicas agree on: changing one changes history.**

mod decide;
mod inspect;
mod read;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod workload;

use std::fmt;

use bincode::{Decode, Encode};
use caps_model::messages::Outcome;
use caps_model::messages::cabinet::Committed;
use caps_model::{Commit, CommitId, Position, Wire, codec};
use caps_overlay::bugs::{self, Bug};
use sha2::{Digest, Sha256};

pub use crate::state::{Changed, Counts, Mark};
pub use decide::{PROPOSAL_BYTES_MAX, Refusal, admit};
pub use inspect::{COMMITS_COMPARED_MAX, COUNT_MAX};
pub(crate) use read::object_bytes;
pub use read::{ANSWER_BYTES_MAX, ReadError};

use crate::state::{CommitRecord, Fate, State, StateError, Step, Transaction};

/// What a normal entry of the replicated log asks for; an empty entry asks for nothing.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[expect(clippy::large_enum_variant, reason = "nearly all proposals are commits, and one is held at a time")]
pub enum Proposal {
    /// To make a commit, if everything it relies on still holds.
    Commit(Commit),
    /// To see to it that a commit that has not happened never will.
    Seal(CommitId),
}

/// What became of one proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its index in the log.
    pub index: u64,
    /// How far the cabinet is with it: the commit's own position if it is a new commit.
    pub position: Position,
    /// The commit it was about.
    pub commit: CommitId,
    /// The answer to whoever proposed it.
    pub verdict: Verdict,
    /// What it changed, each object once; nothing unless it is a new commit.
    pub changes: Vec<Changed>,
}

/// The answer to a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To [`Proposal::Commit`].
    Commit(Committed),
    /// To [`Proposal::Seal`].
    Seal(Outcome),
}

/// One replica's copy of a cabinet.
pub struct Cabinet<S> {
    state: S,
    /// The state's mark, or ahead of it by entries that changed nothing.
    mark: Mark,
}

impl<S: State> Cabinet<S> {
    /// The cabinet that a state holds.
    pub fn new(state: S) -> Self {
        Self { mark: state.mark(), state }
    }

    /// How far the cabinet has come.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// How much it holds.
    pub fn counts(&self) -> Counts {
        self.state.counts()
    }

    /// What it is kept in.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// Gives back what it is kept in. Entries that changed nothing since its last commit are not in its mark.
    pub fn into_state(self) -> S {
        self.state
    }

    /// Takes note of an entry that asks for nothing.
    ///
    /// # Panics
    /// When the index was applied before.
    pub fn skip(&mut self, index: u64) {
        assert!(index > self.mark.index, "entry {index} comes after {}", self.mark.index);
        self.mark.index = index;
    }

    /// Applies a proposal.
    ///
    /// After an error the replica must stop: the state may or may not have taken the step.
    ///
    /// # Panics
    /// When the index was applied before.
    pub fn apply(&mut self, index: u64, proposal: &Proposal) -> Result<Applied, StateError> {
        self.skip(index);
        match proposal {
            Proposal::Commit(commit) => self.apply_commit(commit),
            Proposal::Seal(id) => self.apply_seal(*id),
        }
    }

    fn apply_commit(&mut self, commit: &Commit) -> Result<Applied, StateError> {
        match self.state.fate(commit.id)?.filter(|_| !bugs::has(Bug::CommitIdIgnored)) {
            Some(Fate::Sealed) => return Ok(self.unchanged(commit.id, Verdict::Commit(Committed::Sealed))),
            Some(Fate::Accepted(position)) => {
                let result = self.record(position)?.result;
                return Ok(self.unchanged(commit.id, Verdict::Commit(Committed::Accepted { position, result, repeated: true })));
            }
            None => {}
        }
        match decide::decide(&self.state, self.mark.position, commit)? {
            Ok(changes) => self.accept(commit, changes),
            Err(objects) => {
                let conflict = Committed::Conflict { position: self.mark.position, objects };
                Ok(self.unchanged(commit.id, Verdict::Commit(conflict)))
            }
        }
    }

    fn accept(&mut self, commit: &Commit, changes: Vec<Changed>) -> Result<Applied, StateError> {
        let position = self.mark.position.next();
        let chain_head = link(&self.mark.chain_head, position, commit)?;
        let record = CommitRecord {
            id: commit.id,
            index: self.mark.index,
            time: commit.time,
            moment: self.mark.moment.max(commit.time),
            author: commit.author.clone(),
            objects: changes.iter().map(|change| change.after.id).collect(),
            effects: commit.effects.clone(),
            result: commit.result.clone(),
        };
        let mark = Mark { index: self.mark.index, position, chain_head, moment: record.moment };
        self.state.write(&Transaction { mark, step: Step::Commit { record: &record, changes: &changes } })?;
        self.mark = mark;
        let verdict = Verdict::Commit(Committed::Accepted { position, result: record.result, repeated: false });
        Ok(Applied { index: mark.index, position, commit: commit.id, verdict, changes })
    }

    fn apply_seal(&mut self, id: CommitId) -> Result<Applied, StateError> {
        let outcome = match self.state.fate(id)? {
            Some(Fate::Accepted(position)) => Outcome::Accepted { position, result: self.record(position)?.result },
            Some(Fate::Sealed) => Outcome::Sealed,
            None if bugs::has(Bug::SealNotKept) => Outcome::Sealed,
            None => {
                self.state.write(&Transaction { mark: self.mark, step: Step::Seal(id) })?;
                Outcome::Sealed
            }
        };
        Ok(self.unchanged(id, Verdict::Seal(outcome)))
    }

    fn unchanged(&self, commit: CommitId, verdict: Verdict) -> Applied {
        Applied { index: self.mark.index, position: self.mark.position, commit, verdict, changes: Vec::new() }
    }

    fn record(&self, position: Position) -> Result<CommitRecord, StateError> {
        let record = self.state.commit_at(position)?;
        record.ok_or_else(|| StateError::Lacks { what: format!("the commit at {position}") })
    }
}

impl<S: State> fmt::Debug for Cabinet<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cabinet").field("state", &self.state.name()).field("mark", &self.mark).finish_non_exhaustive()
    }
}

/// The chain over commits: SHA-256(previous head ‖ position, little-endian ‖ SHA-256(encoded commit)).
///
/// The commit enters by its digest, so that what it says could be taken away one day without breaking the chain.
fn link(chain: &[u8; 32], position: Position, commit: &Commit) -> Result<[u8; 32], StateError> {
    // It was decoded from an entry within the same limit, so this does not fail.
    let bytes = codec::encode(commit).map_err(|error| StateError::Engine(Box::new(error)))?;
    Ok(Sha256::new().chain_update(chain).chain_update(position.0.to_le_bytes()).chain_update(Sha256::digest(bytes)).finalize().into())
}

/// 2: objects know what they inherit from, commits why they were made.
impl Wire for Proposal {
    const SCHEMA: u8 = 2;
}
