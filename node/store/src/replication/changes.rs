//! Changes of membership and of leadership: what may be asked of a leader, what it makes of it, and how an entry takes effect.
//!
//! One change at a time. The library replaces a second one silently by an empty entry; here it is refused before it gets there.

use std::collections::BTreeSet;

use caps_overlay::Identity;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};

use super::membership::{Change, ChangeError, Member, Membership, Step};
use super::{Consensus, Role};
use crate::journal;

/// What somebody wants to become of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// The replica with this journal follows, without a vote.
    Admit { identity: Identity, incarnation: u64 },
    /// It votes.
    Promote(Identity),
    /// It does not vote any more.
    Demote(Identity),
    /// It leaves.
    Remove(Identity),
    /// It leads.
    Lead(Identity),
}

/// What a leader does about a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Nothing: it is so already.
    Nothing,
    /// Puts this into the log.
    Change(Change),
    /// Leads until this voter does.
    Transfer(u64),
    /// Lets somebody else lead first: a leader does not count itself out.
    StepAside,
}

/// A leader does not make a change. Nothing happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefused {
    /// This replica does not lead, or only just began to: ask whoever leads.
    #[error("this replica is not the leader")]
    NotLeader,
    /// Another change is under way: one at a time.
    #[error("another change of membership is under way: wait until it is over")]
    UnderWay,
    /// Nobody of this name keeps the cabinet.
    #[error("{node} keeps no replica of this cabinet: add it first with `caps cabinet add-learner {node}`")]
    Unknown {
        /// The node.
        node: String,
    },
    /// A learner was asked to lead.
    #[error("{node} is a learner and cannot lead: promote it first with `caps cabinet promote {node}`")]
    Learner {
        /// The node.
        node: String,
    },
    /// The cabinet would have nobody left who votes.
    #[error("{node} is the last voter: promote another node first")]
    LastVoter {
        /// The node.
        node: String,
    },
    /// It has not caught up.
    #[error("{node} is {entries} entries behind the leader: wait until it has caught up")]
    Behind {
        /// The node.
        node: String,
        /// How far.
        entries: u64,
    },
    /// It does not answer.
    #[error("{node} does not answer the leader: start it, or wait until it is reached")]
    Silent {
        /// The node.
        node: String,
    },
    /// Afterwards there would be no majority among those who answer, and nothing could be undone.
    #[error("only {answering} of the {voters} voters that would be left answer now, which is no majority: bring the others back first")]
    WouldStall {
        /// The voters that answer.
        answering: usize,
        /// The voters that would be left.
        voters: usize,
    },
    /// Too much waits for a majority.
    #[error("too much is waiting for a majority")]
    Full,
}

/// How far the leader knows a member to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Followed {
    /// Up to where its journal agrees with the leader's.
    pub(crate) matched: u64,
    /// Whether it was heard lately.
    pub(crate) active: bool,
}

impl Consensus {
    /// Who belongs to the group, as of the last entry applied.
    pub(crate) fn membership(&self) -> &Membership {
        &self.membership
    }

    /// Whether a change is under way.
    pub(crate) fn is_changing(&self) -> bool {
        self.membership.is_joint() || self.node.raft.has_pending_conf()
    }

    /// How far a member is; `None` unless this replica leads.
    pub(crate) fn followed(&self, number: u64) -> Option<Followed> {
        if self.standing().role != Role::Leader {
            return None;
        }
        let progress = self.node.raft.prs().get(number)?;
        Some(Followed { matched: progress.matched, active: self.is_heard(number) })
    }

    /// Whether this replica leads and knows the membership: one that has not applied an entry of its own term may not.
    pub(crate) fn leads(&self) -> bool {
        self.standing().role == Role::Leader && self.node.raft.apply_to_current_term()
    }

    /// What this leader would do about a wish.
    pub(crate) fn plan(&self, wish: &Wish) -> Result<Plan, ChangeRefused> {
        if !self.leads() || self.is_transferring() {
            return Err(ChangeRefused::NotLeader);
        }
        if let Wish::Lead(identity) = wish {
            return self.plan_transfer(identity);
        }
        if self.is_changing() {
            return Err(ChangeRefused::UnderWay);
        }
        match wish {
            Wish::Admit { identity, incarnation } => Ok(self.plan_admission(identity, *incarnation)),
            Wish::Promote(identity) => self.plan_promotion(identity),
            Wish::Demote(identity) => {
                let voters: Vec<u64> = self.numbers_of(identity)?.into_iter().filter(|number| self.membership.votes(*number)).collect();
                self.plan_departure(identity, &voters, |number| Step::Demote { number })
            }
            // Whoever is none is gone already: an order whose answer was lost is given again.
            Wish::Remove(identity) => {
                self.plan_departure(identity, &self.numbers_of(identity).unwrap_or_default(), |number| Step::Remove { number })
            }
            Wish::Lead(_) => Ok(Plan::Nothing),
        }
    }

    /// The change that ends a repair: a learner that has caught up gets the vote of the dead number of its node.
    pub(crate) fn plan_repair(&self) -> Option<Change> {
        let membership = &self.membership;
        let learners = membership.members().filter(|(number, _)| !membership.votes(*number));
        let mut reborn = learners.filter(|(number, learner)| {
            let dead = |(other, member): (u64, &Member)| other < *number && member.identity == learner.identity && membership.votes(other);
            membership.members().any(dead)
        });
        let (_, learner) = reborn.next()?;
        match self.plan(&Wish::Promote(learner.identity.clone())) {
            Ok(Plan::Change(change)) => Some(change),
            _ => None,
        }
    }

    /// Puts a change into the log; the index of its entry. It takes effect when it is applied.
    pub(crate) fn propose_change(&mut self, change: &Change) -> Result<u64, ChangeRefused> {
        let mut entry = Entry { data: change.encode(), ..Entry::default() };
        entry.set_entry_type(EntryType::EntryConfChangeV2);
        let mut proposal = Message::default();
        proposal.set_msg_type(MessageType::MsgPropose);
        proposal.from = self.node.raft.id;
        proposal.set_entries(vec![entry].into());
        self.node.raft.step(proposal).map_err(|_| ChangeRefused::Full)?;
        Ok(self.node.raft.raft_log.last_index())
    }

    /// An entry that changes the membership is committed: from now on the changed one counts.
    ///
    /// After a restart the changes up to the commit index on disk count, and one that comes later is not known until a majority of the *old*
    /// voters has elected somebody. When that majority has left, nobody is there to elect: the commit index is therefore written now, and whoever
    /// asked for the change is told, and whoever it removes goes, only afterwards.
    pub(crate) fn apply_change(&mut self, entry: &journal::Entry) -> Result<(), ChangeError> {
        let change = Change::decode(&entry.payload)?;
        let mut membership = self.membership.clone();
        membership.apply(&change)?;
        let applied = self.node.apply_conf_change(&change.to_raft());
        applied.map_err(|error| ChangeError::Contradiction(error.to_string()))?;
        self.membership = membership;
        self.commit_unsaved = true;
        let raft = &mut self.node.raft;
        if raft.state == raft::StateRole::Leader && !self.membership.votes(raft.id) {
            // It saw to it that somebody else led before it proposed to go; a change that an earlier leader proposed comes here all the same.
            let term = raft.term;
            raft.become_follower(term, raft::INVALID_ID);
        }
        let raft = &self.node.raft;
        self.heard.retain(|number, _| raft.prs().get(*number).is_some());
        self.catching_up.retain(|number| raft.prs().get(*number).is_some());
        self.after_step();
        Ok(())
    }

    /// Hands the leadership to this voter. Whether it takes it is seen in the standing.
    pub(crate) fn transfer(&mut self, to: u64) {
        self.node.transfer_leader(to);
        self.after_step();
    }

    /// Whether a transfer of the leadership is under way.
    pub(crate) fn is_transferring(&self) -> bool {
        self.node.raft.lead_transferee.is_some()
    }

    fn plan_transfer(&self, identity: &Identity) -> Result<Plan, ChangeRefused> {
        let numbers = self.numbers_of(identity)?;
        let node = identity.name().to_owned();
        let Some(number) = numbers.into_iter().rfind(|number| self.membership.votes(*number)) else {
            return Err(ChangeRefused::Learner { node });
        };
        match number == self.node.raft.id {
            true => Ok(Plan::Nothing),
            false if !self.is_heard(number) => Err(ChangeRefused::Silent { node }),
            false => Ok(Plan::Transfer(number)),
        }
    }

    /// A learner of the same node under an older number is dead: it goes with the same change. A voter stays until its successor has caught up.
    fn plan_admission(&self, identity: &Identity, incarnation: u64) -> Plan {
        let membership = &self.membership;
        if membership.number_of(identity, incarnation).is_some() {
            return Plan::Nothing;
        }
        let number = membership.next_number();
        let mut steps = vec![Step::Admit { number, incarnation, identity: identity.uri().to_owned() }];
        let dead = membership.members().filter(|(number, member)| member.identity == *identity && !membership.votes(*number));
        steps.extend(dead.map(|(number, _)| Step::Remove { number }));
        Plan::Change(Change { steps })
    }

    fn plan_promotion(&self, identity: &Identity) -> Result<Plan, ChangeRefused> {
        let mut numbers = self.numbers_of(identity)?;
        let node = identity.name().to_owned();
        let Some(newest) = numbers.pop() else { return Err(ChangeRefused::Unknown { node }) };
        if self.membership.votes(newest) {
            return Ok(Plan::Nothing);
        }
        if !self.is_heard(newest) {
            return Err(ChangeRefused::Silent { node });
        }
        let entries = self.node.raft.raft_log.last_index().saturating_sub(self.followed(newest).map_or(0, |followed| followed.matched));
        if entries > CAUGHT_UP_ENTRIES {
            return Err(ChangeRefused::Behind { node, entries });
        }
        let dead = numbers.into_iter().map(|number| Step::Remove { number });
        let change = Change { steps: std::iter::once(Step::Promote { number: newest }).chain(dead).collect() };
        self.would_go_on(&change)?;
        Ok(Plan::Change(change))
    }

    fn plan_departure(&self, identity: &Identity, numbers: &[u64], step: fn(u64) -> Step) -> Result<Plan, ChangeRefused> {
        if numbers.is_empty() {
            return Ok(Plan::Nothing);
        }
        if self.membership.voters().iter().all(|voter| numbers.contains(voter)) {
            return Err(ChangeRefused::LastVoter { node: identity.name().to_owned() });
        }
        let change = Change { steps: numbers.iter().map(|number| step(*number)).collect() };
        self.would_go_on(&change)?;
        match numbers.contains(&self.node.raft.id) {
            true => Ok(Plan::StepAside),
            false => Ok(Plan::Change(change)),
        }
    }

    /// Refuses what would leave a group that cannot agree on anything, not even on undoing it.
    fn would_go_on(&self, change: &Change) -> Result<(), ChangeRefused> {
        let voters = |membership: &Membership| membership.voters().clone();
        let before = voters(&self.membership);
        let mut membership = self.membership.clone();
        membership.apply(change).map_err(|_| ChangeRefused::UnderWay)?;
        let after = voters(&membership);
        let answering = |voters: &BTreeSet<u64>| voters.iter().filter(|voter| self.is_heard(**voter)).count();
        let stalls = |voters: &BTreeSet<u64>| answering(voters) <= voters.len() / 2;
        match after != before && stalls(&after) {
            true => Err(ChangeRefused::WouldStall { answering: answering(&after), voters: after.len() }),
            false => Ok(()),
        }
    }

    /// The numbers of a node, oldest first: more than one while it is being repaired.
    fn numbers_of(&self, identity: &Identity) -> Result<Vec<u64>, ChangeRefused> {
        let members = self.membership.members().filter(|(_, member)| member.identity == *identity);
        let numbers: Vec<u64> = members.map(|(number, _)| number).collect();
        match numbers.is_empty() {
            true => Err(ChangeRefused::Unknown { node: identity.name().to_owned() }),
            false => Ok(numbers),
        }
    }

    /// Whether a member said something lately. The library's own flag is cleared now and then, so that it says nothing for a moment.
    pub(super) fn is_heard(&self, number: u64) -> bool {
        let lately = |at: &u64| self.ticks - at <= self.timing.lease_ticks as u64;
        number == self.node.raft.id || self.heard.get(&number).is_some_and(lately)
    }
}

/// A learner that is not further behind than this may vote: as much as a group commit or two carries.
const CAUGHT_UP_ENTRIES: u64 = 512;
