//! Who belongs to the group: what it began with, changed by the log, entry by entry.
//!
//! The deployment file names the first members only. From then on the log says: every replica that has applied the same entries knows the same
//! members, after a restart and after its state was rebuilt, because the membership is computed from the journal and kept nowhere else.
//!
//! A member has a number, which is all that consensus knows of it, and which is never given twice. A number stands for one journal: votes and
//! acknowledgements are promises, and who has lost the journal in which they were written must not speak for them. A replica that lost its
//! journal therefore comes back under another number, as a learner that counts for nothing; when it has caught up, one joint change gives it
//! the vote and takes it from the number that is dead.
//!
//! Why not let it catch up under its old number and refuse to vote until then? Because it could have voted in a term that its peers have not
//! heard of yet: once caught up in an older term it would vote in that one again, for somebody else, and the term would have two leaders.

use std::collections::{BTreeMap, BTreeSet};

use bincode::{Decode, Encode};
use bytes::Bytes;
use caps_model::{DecodeError, Wire, codec};
use caps_overlay::Identity;
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState};

use crate::journal;

/// The members of a group, as of some entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    members: BTreeMap<u64, Member>,
    voters: BTreeSet<u64>,
    /// The voters before the change under way: while there are some, a majority of them is needed as well.
    outgoing: BTreeSet<u64>,
    learners: BTreeSet<u64>,
    /// Voters that are learners once the change is over.
    learners_next: BTreeSet<u64>,
    /// The highest number ever given.
    last_number: u64,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) identity: Identity,
    /// The number that was drawn when its journal was begun; 0 for those with whom the group began.
    pub(crate) incarnation: u64,
}

/// What an entry does to the membership: all of it at once. Several steps go through a joint configuration; none ends one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Change {
    pub(crate) steps: Vec<Step>,
}

/// One step of a change.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Step {
    /// A new member follows, without a vote.
    Admit {
        /// Its number, which nobody had before.
        number: u64,
        /// The incarnation of its journal.
        incarnation: u64,
        /// Its identity.
        identity: String,
    },
    /// A learner votes.
    Promote {
        /// Its number.
        number: u64,
    },
    /// A voter is a learner.
    Demote {
        /// Its number.
        number: u64,
    },
    /// A member is none any more.
    Remove {
        /// Its number.
        number: u64,
    },
}

/// An entry does not describe a change that can be made. No honest leader writes such an entry.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] DecodeError),
    /// It is not of the one form that is written.
    #[error("it has a form that is not written")]
    Form,
    /// It cannot be made after those before it.
    #[error("it contradicts the membership: {0}")]
    Contradiction(String),
}

impl Membership {
    /// The membership that a group begins with.
    pub(crate) fn founded(founders: &[journal::Founder]) -> Result<Self, ChangeError> {
        let mut membership = Self::default();
        for founder in founders {
            let member = Member { identity: identity(&founder.identity)?, incarnation: 0 };
            membership.members.insert(founder.number, member);
            let role = if founder.votes { &mut membership.voters } else { &mut membership.learners };
            role.insert(founder.number);
            membership.last_number = membership.last_number.max(founder.number);
        }
        Ok(membership)
    }

    /// A group of voters with these numbers.
    #[cfg(test)]
    pub(crate) fn of_voters(numbers: &[u64]) -> Self {
        let founder = |number: &u64| journal::Founder { number: *number, votes: true, identity: test_node(*number).uri().to_owned() };
        Self::founded(&numbers.iter().map(founder).collect::<Vec<_>>()).expect("the test's own members make sense")
    }

    /// The membership after these entries of the log.
    pub(crate) fn after(mut self, entries: &[journal::Entry]) -> Result<Self, ChangeError> {
        for entry in entries {
            self.apply(&Change::decode(&entry.payload)?)?;
        }
        Ok(self)
    }

    /// Makes a change, as the consensus library makes it.
    pub(crate) fn apply(&mut self, change: &Change) -> Result<(), ChangeError> {
        let mut next = self.clone();
        match change.steps.as_slice() {
            [] => next.leave_joint(),
            steps => {
                if !self.outgoing.is_empty() {
                    return Err(ChangeError::Contradiction("another change is under way".to_owned()));
                }
                if change.is_joint() {
                    next.outgoing = next.voters.clone();
                }
                steps.iter().try_for_each(|step| next.step(step))?;
            }
        }
        if next.voters.is_empty() {
            return Err(ChangeError::Contradiction("nobody would vote".to_owned()));
        }
        next.forget_strangers();
        *self = next;
        Ok(())
    }

    /// As the consensus library wants it.
    pub(crate) fn conf_state(&self) -> ConfState {
        let mut state = ConfState::from((Vec::from_iter(self.voters.clone()), Vec::from_iter(self.learners.clone())));
        state.set_voters_outgoing(Vec::from_iter(self.outgoing.clone()));
        state.set_learners_next(Vec::from_iter(self.learners_next.clone()));
        state.auto_leave = !self.outgoing.is_empty();
        state
    }

    /// The members, by number.
    pub(crate) fn members(&self) -> impl Iterator<Item = (u64, &Member)> {
        self.members.iter().map(|(number, member)| (*number, member))
    }

    /// The member of this number.
    pub(crate) fn member(&self, number: u64) -> Option<&Member> {
        self.members.get(&number)
    }

    /// The newest member of this identity.
    pub(crate) fn of_identity(&self, identity: &Identity) -> Option<(u64, &Member)> {
        self.members().filter(|(_, member)| member.identity == *identity).last()
    }

    /// The number of the replica with this journal.
    pub(crate) fn number_of(&self, identity: &Identity, incarnation: u64) -> Option<u64> {
        let fits = |member: &Member| member.identity == *identity && member.incarnation == incarnation;
        self.members().find(|(_, member)| fits(member)).map(|(number, _)| number)
    }

    /// The voters; during a joint change those who will vote.
    pub(crate) fn voters(&self) -> &BTreeSet<u64> {
        &self.voters
    }

    /// Whether its vote counts now.
    pub(crate) fn votes(&self, number: u64) -> bool {
        self.voters.contains(&number) || self.outgoing.contains(&number)
    }

    /// Whether a joint change is under way.
    pub(crate) fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// A number that nobody ever had.
    pub(crate) fn next_number(&self) -> u64 {
        self.last_number + 1
    }

    fn step(&mut self, step: &Step) -> Result<(), ChangeError> {
        let number = step.number();
        match step {
            Step::Admit { identity: uri, incarnation, .. } => {
                if number <= self.last_number {
                    return Err(ChangeError::Contradiction(format!("number {number} was given before")));
                }
                self.members.insert(number, Member { identity: identity(uri)?, incarnation: *incarnation });
                self.learners.insert(number);
                self.last_number = number;
            }
            _ if !self.members.contains_key(&number) => {
                return Err(ChangeError::Contradiction(format!("there is no member {number}")));
            }
            Step::Promote { .. } => {
                self.learners.remove(&number);
                self.learners_next.remove(&number);
                self.voters.insert(number);
            }
            Step::Demote { .. } => {
                self.voters.remove(&number);
                let role = if self.outgoing.contains(&number) { &mut self.learners_next } else { &mut self.learners };
                role.insert(number);
            }
            Step::Remove { .. } => {
                self.voters.remove(&number);
                self.learners.remove(&number);
                self.learners_next.remove(&number);
            }
        }
        Ok(())
    }

    fn leave_joint(&mut self) {
        self.learners.append(&mut self.learners_next);
        self.outgoing.clear();
    }

    fn forget_strangers(&mut self) {
        let Self { members, voters, outgoing, learners, .. } = self;
        members.retain(|number, _| voters.contains(number) || outgoing.contains(number) || learners.contains(number));
    }
}

impl Change {
    /// A change of one step.
    #[cfg(test)]
    pub(crate) fn one(step: Step) -> Self {
        Self { steps: vec![step] }
    }

    /// Its bytes, as an entry carries them.
    pub(crate) fn encode(&self) -> Bytes {
        if self.steps.is_empty() {
            return Bytes::new();
        }
        let body = codec::encode(self).expect("a change has a few steps");
        let mut bytes = FORM.to_vec();
        let mut length = body.len() as u64;
        while length >= 0x80 {
            bytes.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        bytes.push((length & 0x7f) as u8);
        bytes.extend_from_slice(&body);
        bytes.into()
    }

    /// The change in these bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ChangeError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let rest = bytes.strip_prefix(FORM).ok_or(ChangeError::Form)?;
        let length = rest.iter().position(|byte| byte & 0x80 == 0).ok_or(ChangeError::Form)?;
        let change: Self = codec::decode(&rest[length + 1..])?;
        // Whatever is not written exactly so was written by somebody else.
        if change.steps.is_empty() || change.steps.len() > STEPS_MAX || change.encode() != bytes {
            return Err(ChangeError::Form);
        }
        Ok(change)
    }

    /// As the consensus library wants it.
    pub(crate) fn to_raft(&self) -> ConfChangeV2 {
        let single = |step: &Step| {
            let mut single = ConfChangeSingle { node_id: step.number(), ..ConfChangeSingle::default() };
            single.set_change_type(match step {
                Step::Admit { .. } | Step::Demote { .. } => ConfChangeType::AddLearnerNode,
                Step::Promote { .. } => ConfChangeType::AddNode,
                Step::Remove { .. } => ConfChangeType::RemoveNode,
            });
            single
        };
        let mut change = ConfChangeV2::default();
        change.set_changes(self.steps.iter().map(single).collect::<Vec<_>>().into());
        change
    }

    fn is_joint(&self) -> bool {
        self.steps.len() > 1
    }
}

impl Step {
    fn number(&self) -> u64 {
        match self {
            Self::Admit { number, .. } | Self::Promote { number } | Self::Demote { number } | Self::Remove { number } => *number,
        }
    }
}

impl Wire for Change {}

fn identity(uri: &str) -> Result<Identity, ChangeError> {
    Identity::parse(uri).map_err(|error| ChangeError::Contradiction(format!("{uri} is no identity: {error}")))
}

/// The node that the tests of this module give a number.
#[cfg(test)]
pub(crate) fn test_node(number: u64) -> Identity {
    Identity::node("test.example", "here", caps_overlay::Layer::Cabinet, &format!("store-{number}")).expect("it is well-formed")
}

/// In protobuf, a message with one element in its list of changes, so that it is not taken for the end of a joint change, and our bytes as its
/// context. The consensus library reads this on the leader that proposes it, and asks nothing else of it.
const FORM: &[u8] = &[0x12, 0x00, 0x1a];

/// The steps of one change. A repair takes three.
const STEPS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::test_node as node;
    use super::*;
    use proptest::prelude::*;

    fn three() -> Membership {
        Membership::of_voters(&[1, 2, 3])
    }

    fn admit(number: u64) -> Step {
        Step::Admit { number, incarnation: 70 + number, identity: node(number).to_string() }
    }

    #[test]
    fn a_lost_replica_is_replaced_through_a_joint_configuration() {
        let mut membership = three();
        membership.apply(&Change::one(Step::Admit { number: 4, incarnation: 9, identity: node(2).to_string() })).unwrap();
        assert_eq!(membership.of_identity(&node(2)).unwrap().0, 4);
        membership.apply(&Change { steps: vec![Step::Promote { number: 4 }, Step::Remove { number: 2 }] }).unwrap();
        assert!(membership.is_joint() && membership.votes(2) && membership.votes(4));
        membership.apply(&Change::default()).unwrap();
        assert_eq!(*membership.voters(), BTreeSet::from([1, 3, 4]));
        assert_eq!(membership.number_of(&node(2), 9), Some(4));
        assert_eq!((membership.member(2), membership.next_number()), (None, 5));
    }

    #[test]
    fn numbers_are_never_given_twice() {
        let mut membership = three();
        membership.apply(&Change::one(admit(4))).unwrap();
        membership.apply(&Change::one(Step::Remove { number: 4 })).unwrap();
        assert!(membership.apply(&Change::one(admit(4))).is_err());
        assert_eq!(membership.next_number(), 5);
    }

    #[test]
    fn impossible_changes_change_nothing() {
        let before = three();
        let all = [1, 2, 3].map(|number| Step::Remove { number }).to_vec();
        for steps in [all, vec![Step::Promote { number: 9 }], vec![Step::Remove { number: 0 }]] {
            let mut membership = before.clone();
            assert!(membership.apply(&Change { steps }).is_err());
            assert_eq!(membership, before);
        }
    }

    #[test]
    fn the_bytes_of_a_change_stay_as_they_are() {
        let change = Change::one(Step::Promote { number: 4 });
        // Form, length 4, schema 1, one step, the second kind, number 4.
        assert_eq!(change.encode(), Bytes::from_static(b"\x12\x00\x1a\x04\x01\x01\x01\x04"));
        assert_eq!(Change::decode(&change.encode()).unwrap(), change);
        assert_eq!(Change::default().encode(), Bytes::new());
    }

    #[test]
    fn it_agrees_with_the_library() {
        let logger = crate::replication::logger::bridge();
        let store = raft::storage::MemStorage::new_with_conf_state(three().conf_state());
        let config = raft::Config { id: 1, ..raft::Config::default() };
        let mut node = raft::RawNode::new(&config, store, &logger).unwrap();
        let mut ours = three();
        let changes = [
            vec![admit(4)],
            vec![Step::Promote { number: 4 }, Step::Demote { number: 2 }, Step::Remove { number: 3 }],
            vec![],
            vec![Step::Demote { number: 1 }],
            vec![Step::Remove { number: 2 }],
            vec![admit(5), Step::Remove { number: 1 }],
            vec![],
        ];
        for steps in changes {
            let change = Change { steps };
            let theirs = node.apply_conf_change(&change.to_raft()).unwrap();
            ours.apply(&change).unwrap();
            assert!(equal(&theirs, &ours.conf_state()), "{change:?}: {theirs:?} {ours:?}");
        }
    }

    fn equal(one: &ConfState, other: &ConfState) -> bool {
        let sorted = |numbers: &[u64]| BTreeSet::from_iter(numbers.iter().copied());
        let parts = |state: &ConfState| {
            let sets = [state.get_voters(), state.get_voters_outgoing(), state.get_learners(), state.get_learners_next()].map(sorted);
            (sets, state.auto_leave)
        };
        parts(one) == parts(other)
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_change_or_an_error(mut bytes in proptest::collection::vec(any::<u8>(), 0..60), formed: bool) {
            if formed {
                bytes.splice(0..0, FORM.iter().copied());
            }
            if let Ok(change) = Change::decode(&bytes) {
                prop_assert_eq!(change.encode(), bytes);
            }
        }
    }
}
