//! The cabinet: applies what consensus has ordered, and answers what is asked about it.
//!
//! Applying is deterministic. The same proposals at the same indices give the same positions, the same answers and the same chain head on
//! every replica, on every state, at every replay; so nothing here may depend on clocks, randomness, or who asks. **The rules and limits of
//! [`Cabinet::apply`] are part of what replicas agree on: changing one changes history.**

mod decide;
mod inspect;
mod obliterate;
mod proposal;
mod read;
mod redaction;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod workload;

use std::fmt;

use caps_model::messages::Outcome;
use caps_model::messages::cabinet::Committed;
use caps_model::{Commit, CommitId, ObjectId, Position};
use caps_overlay::bugs::{self, Bug};

pub use crate::state::{Changed, Counts, Mark};
pub use decide::{PROPOSAL_BYTES_MAX, Refusal, admit};
pub use inspect::{COMMITS_COMPARED_MAX, COUNT_MAX};
pub use obliterate::{Unobliterable, VERSIONS_MAX};
pub use proposal::{BadProposal, Missing, Obliteration, Proposal, Proposed, Target, TooMuch, stamp};
pub(crate) use read::object_bytes;
pub use read::{ANSWER_BYTES_MAX, ReadError};
pub use redaction::{Became, BlobsNamed, Redaction};

use crate::journal::envelope::{Decision, link};
use crate::state::{CommitRecord, Fate, Purge, State, StateError, Step, Transaction};

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
    /// To [`Proposal::Commit`] and [`Proposal::Obliterate`].
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

    /// Begins to see to it that what was obliterated cannot be recovered from where the state is kept.
    pub fn purge(&mut self) -> Result<Option<Box<dyn Purge>>, StateError> {
        self.state.purge()
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
    pub fn apply(&mut self, index: u64, proposed: &Proposed) -> Result<Applied, StateError> {
        self.skip(index);
        self.mark.log_head = link(&self.mark.log_head, index, &proposed.digest);
        match &proposed.proposal {
            Proposal::Commit(commit) => self.apply_commit(commit, proposed),
            Proposal::Seal(id) => self.apply_seal(*id),
            Proposal::Obliterate(order) => self.apply_obliteration(order, proposed),
        }
    }

    fn apply_commit(&mut self, commit: &Commit, proposed: &Proposed) -> Result<Applied, StateError> {
        if let Some(answer) = self.answer_before(commit.id)? {
            return Ok(self.unchanged(commit.id, answer));
        }
        let decided = match proposed.decision {
            None => decide::decide(&self.state, self.mark.position, commit)?,
            Some(Decision::Accepted) => decide::carry_out(&self.state, self.mark.position, commit, &proposed.missing).map(Ok)?,
            Some(Decision::Refused) => Err(Vec::new()),
        };
        match decided {
            Ok(changes) => self.accept(commit, proposed, changes),
            Err(objects) => Ok(self.refused(commit.id, objects)),
        }
    }

    /// The answer to what was decided before under this name.
    fn answer_before(&self, id: CommitId) -> Result<Option<Verdict>, StateError> {
        Ok(match self.state.fate(id)?.filter(|_| !bugs::has(Bug::CommitIdIgnored)) {
            Some(Fate::Sealed) => Some(Verdict::Commit(Committed::Sealed)),
            Some(Fate::Accepted(position)) => {
                let result = self.record(position)?.result;
                Some(Verdict::Commit(Committed::Accepted { position, result, repeated: true }))
            }
            None => None,
        })
    }

    fn accept(&mut self, commit: &Commit, proposed: &Proposed, changes: Vec<Changed>) -> Result<Applied, StateError> {
        let mark = self.next_mark(commit.time, proposed.time);
        let record = CommitRecord {
            id: commit.id,
            index: mark.index,
            chain_head: mark.chain_head,
            time: commit.time,
            moment: mark.moment,
            author: commit.author.clone(),
            objects: changes.iter().map(|change| change.after.id).collect(),
            effects: commit.effects.clone(),
            result: commit.result.clone(),
            obliterated: proposed.missing.words,
        };
        self.state.write(&Transaction { mark, step: Step::Commit { record: &record, changes: &changes } })?;
        self.mark = mark;
        let verdict = Verdict::Commit(Committed::Accepted { position: mark.position, result: record.result, repeated: false });
        Ok(Applied { index: mark.index, position: mark.position, commit: commit.id, verdict, changes })
    }

    /// The mark after the commit that is being applied, which was decided and proposed at these times.
    ///
    /// Of the host's clock and the leader's, the one that is behind counts: a clock that is far ahead would make the moments of all later commits
    /// useless, one that is behind does no harm.
    fn next_mark(&self, time: i64, proposed: i64) -> Mark {
        let Mark { index, position, log_head, moment, .. } = self.mark;
        Mark { index, position: position.next(), chain_head: log_head, log_head, moment: moment.max(time.min(proposed)) }
    }

    fn refused(&self, commit: CommitId, objects: Vec<ObjectId>) -> Applied {
        let conflict = Committed::Conflict { position: self.mark.position, objects };
        self.unchanged(commit, Verdict::Commit(conflict))
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
