//! Who is behind a number, and who speaks under one.

use std::collections::BTreeMap;

use caps_overlay::Identity;

use crate::replication::Membership;

/// The members of the group as of the last entry applied, and those who spoke before this replica had heard of them.
#[derive(Debug, Default)]
pub(crate) struct Table {
    membership: Membership,
    /// A replica that is behind does not know everybody: the leader may have joined since. A number that nobody has here is whoever used it
    /// first, which certificates of this layer permit; what the log says overrides it.
    strangers: BTreeMap<u64, Identity>,
}

impl Table {
    pub(crate) fn new(membership: Membership) -> Self {
        Self { membership, strangers: BTreeMap::new() }
    }

    /// The members.
    pub(crate) fn membership(&self) -> &Membership {
        &self.membership
    }

    /// The log has another membership.
    pub(crate) fn change(&mut self, membership: Membership) {
        self.strangers.retain(|number, _| *number >= membership.next_number());
        self.membership = membership;
    }

    /// The node behind a number.
    pub(crate) fn identity(&self, number: u64) -> Option<&Identity> {
        self.membership.member(number).map(|member| &member.identity).or_else(|| self.strangers.get(&number))
    }

    /// Whether this node may speak under this number.
    pub(crate) fn admits(&mut self, number: u64, node: &Identity) -> bool {
        if let Some(identity) = self.identity(number) {
            return identity == node;
        }
        // A number that was given and is nobody's any more belonged to a member that was removed: it learns that when it asks.
        let is_new = number >= self.membership.next_number() && self.strangers.len() < STRANGERS_MAX;
        if is_new {
            self.strangers.insert(number, node.clone());
        }
        is_new
    }
}

/// Numbers remembered that the log has not brought here yet. More changes than these are not between a replica and its leader when it is reached.
const STRANGERS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Founder;
    use caps_overlay::Layer;

    fn node(name: &str) -> Identity {
        Identity::node("test.example", "here", Layer::Cabinet, name).unwrap()
    }

    #[test]
    fn nobody_speaks_under_the_number_of_another() {
        let founders = [1, 2].map(|number| Founder { number, votes: true, identity: node(&format!("store-{number}")).uri().to_owned() });
        let mut table = Table::new(Membership::founded(&founders).unwrap());
        assert!(table.admits(1, &node("store-1")) && !table.admits(1, &node("store-2")));
        // Somebody joined who is not known here yet: the number is theirs from then on.
        assert!(table.admits(3, &node("store-3")) && !table.admits(3, &node("store-2")));
        assert_eq!(table.identity(3), Some(&node("store-3")));
    }
}
