//! The group that a restore founds: new numbers for its members, and the entries that make them members.

use caps_overlay::Identity;
use sha2::{Digest, Sha256};

use super::orders::Order;
use crate::journal::{Entry, EntryKind};
use crate::replication::{Change, Membership, Step};
use crate::state::Mark;

/// Who is to keep a restored cabinet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Founding {
    members: Vec<Founded>,
}

/// One of its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Founded {
    identity: Identity,
    votes: bool,
    number: u64,
    incarnation: u64,
}

impl Founding {
    /// Voters and learners with numbers that nobody had in `membership`. The same restore gives the same numbers at every node; another moment,
    /// other terms, other members, and other entries `carried` over the cut give others.
    pub(super) fn new(
        membership: &Membership,
        cut: &Mark,
        term: u64,
        carried: &[Order],
        voters: &[Identity],
        learners: &[Identity],
    ) -> Self {
        let sorted = |identities: &[Identity], votes: bool| {
            let mut identities = identities.to_vec();
            identities.sort();
            identities.dedup();
            identities.into_iter().map(move |identity| (identity, votes)).collect::<Vec<_>>()
        };
        let everybody = [sorted(voters, true), sorted(learners, false)].concat();
        let mut digest = Sha256::new().chain_update(b"restored").chain_update(cut.chain_head);
        for number in [cut.index, cut.position.0, term, membership.next_number()] {
            digest.update(number.to_le_bytes());
        }
        for (identity, votes) in &everybody {
            digest.update([u8::from(*votes)]);
            digest.update(Sha256::digest(identity.uri()));
        }
        for order in carried {
            digest.update(b"carried");
            digest.update(Sha256::digest(&order.data));
        }
        let digest: [u8; 32] = digest.finalize().into();
        let first = membership.next_number().saturating_add(below_2_40(&digest));
        let found = |(number, (identity, votes)): (u64, (Identity, bool))| {
            let own: [u8; 32] = Sha256::new().chain_update(digest).chain_update(identity.uri()).finalize().into();
            Founded { identity, votes, number, incarnation: first_eight(&own) | 1 }
        };
        Self { members: (first..).zip(everybody).map(found).collect() }
    }

    /// A member's number and incarnation.
    pub(super) fn seat_of(&self, identity: &Identity) -> Option<(u64, u64)> {
        let member = self.members.iter().find(|member| member.identity == *identity)?;
        Some((member.number, member.incarnation))
    }

    /// The entries from `next` on that let the members of `before` go and these in. Each is one step, so that none needs a joint configuration, and
    /// at no point nobody votes.
    pub(super) fn entries(&self, before: &Membership, next: u64, term: u64) -> Vec<Entry> {
        // A joint change that was under way at the cut is over.
        let ended = before.is_joint().then(Change::default);
        let admitted = self.members.iter().flat_map(|member| {
            let Founded { identity, votes, number, incarnation } = member;
            let admit = Step::Admit { number: *number, incarnation: *incarnation, identity: identity.uri().to_owned() };
            [Some(admit), votes.then_some(Step::Promote { number: *number })].into_iter().flatten()
        });
        let gone = before.members().map(|(number, _)| Step::Remove { number });
        let steps = admitted.chain(gone).map(|step| Change { steps: vec![step] });
        let entry = |(index, change): (u64, Change)| Entry { index, term, kind: EntryKind::ConfChangeV2, payload: change.encode() };
        (next..).zip(ended.into_iter().chain(steps)).map(entry).collect()
    }
}

/// Numbers grow by less than this with each restore: 64 bits last for sixteen million of them.
fn below_2_40(digest: &[u8; 32]) -> u64 {
    first_eight(digest) >> 24
}

fn first_eight(digest: &[u8; 32]) -> u64 {
    u64::from_le_bytes(*digest.first_chunk().expect("a digest has 32 bytes"))
}
