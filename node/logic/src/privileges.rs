//! Who may see and do what: the one place that decides it. Pure; nothing here reads or waits.
//!
//! Every object carries the groups that may read it and the groups that may write it, as ordinary attributes [`READERS`] and [`WRITERS`]. A
//! principal (a user, or a node that acts for itself) is the set of groups that it belongs to, and may read an object if one of its groups is
//! among the readers. That is all: there is no owner, no superuser and no default, so an object without readers is for nobody. What a
//! principal may not read looks exactly like what does not exist.
//!
//! A module has authority of its own where it says so ([`Transaction::as_module`](crate::module::Transaction::as_module)): that of one group,
//! [`module_group`], which no user can belong to. It sees and changes what names that group among its readers and writers, so even a module
//! reaches only objects that were handed to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use caps_model::schema::Method;
use caps_model::{Filter, Name, Object, ObjectId, Position, Value};
use sha2::{Digest, Sha256};

/// The attribute that lists the groups that may read an object. Every entity has it.
pub const READERS: &str = "readers";

/// The attribute that lists the groups that may write an object. Every entity has it.
pub const WRITERS: &str = "writers";

/// The built-in group of those who may add users and groups. It is no object in the cabinet: its members are the users whose `groups` name
/// it, and every identity of an administrator.
pub const ADMINISTRATORS: ObjectId = ObjectId(1);

/// The name of [`ADMINISTRATORS`], where groups are named.
pub const ADMINISTRATORS_NAME: &str = "administrators";

/// Groups that an object's readers or writers, or a user's groups, may name at most: they all become conditions of every query.
pub const GROUPS_MAX: u32 = 64;

/// Somebody who asks, as of one position in the cabinet's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Who it is.
    pub who: Who,
    /// The groups that it belongs to, by id, with their names.
    pub groups: BTreeMap<ObjectId, String>,
    /// The objects that say so, with their versions: what a commit on the principal's behalf relies on.
    pub basis: Vec<(ObjectId, Position)>,
    /// Every commit up to this one is reflected.
    pub position: Position,
    /// The commit that last changed the principal's groups, as far as its user object tells.
    pub since: Position,
    /// When it ends to be a principal: microseconds since 1970.
    pub expires: Option<i64>,
}

/// Who a principal is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// An authenticated user.
    User(ObjectId),
    /// A node acting for itself, by its identity.
    Node(String),
}

impl Principal {
    /// A node that belongs to no group.
    pub fn node(identity: impl Into<String>) -> Self {
        Self {
            who: Who::Node(identity.into()),
            groups: BTreeMap::new(),
            basis: Vec::new(),
            position: Position::ZERO,
            since: Position::ZERO,
            expires: None,
        }
    }

    /// The same principal, in one more group.
    #[must_use]
    pub fn with_group(mut self, group: ObjectId, name: impl Into<String>) -> Self {
        self.groups.insert(group, name.into());
        self
    }

    /// The user, if it is one.
    pub fn user(&self) -> Option<ObjectId> {
        match self.who {
            Who::User(user) => Some(user),
            Who::Node(_) => None,
        }
    }

    /// Whether the principal may read an object.
    pub fn may_read(&self, object: &Object) -> bool {
        names_one_of(object.values(READERS), |group| self.groups.contains_key(&group))
    }

    /// Whether the principal may write an object.
    pub fn may_write(&self, object: &Object) -> bool {
        names_one_of(object.values(WRITERS), |group| self.groups.contains_key(&group))
    }

    /// Whether the principal may call a method.
    pub fn may_call(&self, method: &Method) -> bool {
        method.callers.iter().any(|caller| self.groups.values().any(|name| name == caller))
    }

    /// The condition that an object satisfies exactly if the principal may read it; `None`: no object does.
    pub fn sees(&self) -> Option<Filter> {
        sees(self.groups.keys().copied())
    }

    /// A text that tells principals apart: recorded with each commit, so that nobody learns the outcome of somebody else's.
    pub fn key(&self) -> String {
        match &self.who {
            Who::User(user) => format!("user {user}"),
            Who::Node(identity) => identity.clone(),
        }
    }

    /// Whether two views of one principal have the same rights.
    pub fn same_rights(&self, other: &Self) -> bool {
        self.who == other.who && self.groups.keys().eq(other.groups.keys())
    }
}

/// The group that stands for a module's own authority: fixed by the module's name, beyond the ids that births give.
pub fn module_group(module: &Name) -> ObjectId {
    let mut hash = Sha256::new();
    hash.update(b"caps module group ");
    hash.update(module.as_str());
    let digest = hash.finalize();
    let mut low = [0; 16];
    // The upper 48 bits, the time of birth, stay 0: nothing was born in 1970.
    low[6..].copy_from_slice(&digest[..10]);
    ObjectId(u128::from_be_bytes(low))
}

/// Whether an object that carries `readers` names one of `groups`.
pub(crate) fn names_one_of(values: &[Value], belongs: impl Fn(ObjectId) -> bool) -> bool {
    values.iter().any(|value| value.as_reference().is_some_and(&belongs))
}

/// The condition that some of `groups` is among an object's readers; `None` for no groups.
pub(crate) fn sees(groups: impl Iterator<Item = ObjectId>) -> Option<Filter> {
    let groups: Vec<Value> = groups.map(Value::Reference).collect();
    (!groups.is_empty()).then(|| Filter::one_of(READERS_NAME.clone(), groups))
}

/// Whether an id stands for a built-in group, which is no object.
pub(crate) fn is_built_in(group: ObjectId, modules: &BTreeSet<ObjectId>) -> bool {
    group == ADMINISTRATORS || modules.contains(&group)
}

/// [`READERS`] as a name.
pub(crate) static READERS_NAME: LazyLock<Name> = LazyLock::new(|| Name::fixed(READERS));

/// [`WRITERS`] as a name.
pub(crate) static WRITERS_NAME: LazyLock<Name> = LazyLock::new(|| Name::fixed(WRITERS));

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn object(readers: &[u128], writers: &[u128]) -> Object {
        let list = |ids: &[u128]| ids.iter().map(|id| Value::Reference(ObjectId(*id))).collect::<Vec<_>>();
        let attributes = [(READERS_NAME.clone(), list(readers)), (WRITERS_NAME.clone(), list(writers))].into();
        let (created, version) = (Position(1), Position(1));
        Object { version, ..Object::new(ObjectId(100), Name::fixed("thing"), created, attributes) }
    }

    fn principal(groups: &[u128]) -> Principal {
        groups.iter().fold(Principal::node("n"), |p, g| p.with_group(ObjectId(*g), format!("g{g}")))
    }

    #[test]
    fn rights_are_what_objects_say_and_nothing_else() {
        type Ids = &'static [u128];
        // groups of the principal, readers, writers, may read, may write
        let table: [(Ids, Ids, Ids, bool, bool); 7] = [
            (&[], &[], &[], false, false),
            (&[1], &[], &[], false, false),
            (&[1, 7], &[7], &[8], true, false),
            (&[8], &[7], &[8], false, true),
            (&[7, 8], &[7], &[8], true, true),
            (&[9], &[7], &[8], false, false),
            (&[1], &[7], &[7], false, false),
        ];
        for (groups, readers, writers, read, write) in table {
            let (principal, object) = (principal(groups), object(readers, writers));
            assert_eq!((principal.may_read(&object), principal.may_write(&object)), (read, write), "{groups:?} {readers:?} {writers:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

        #[test]
        fn what_layer_1_is_asked_for_is_what_layer_2_allows(
            groups in prop::collection::vec(1u128..6, 0..4),
            readers in prop::collection::vec(1u128..6, 0..4),
        ) {
            let (principal, object) = (principal(&groups), object(&readers, &[]));
            let asked = principal.sees().is_some_and(|filter| filter.matches(&object));
            prop_assert_eq!(asked, principal.may_read(&object));
        }
    }

    #[test]
    fn groups_of_modules_differ_and_collide_with_nothing_born() {
        let (one, other) = (module_group(&Name::fixed("casedesk")), module_group(&Name::fixed("people")));
        assert_ne!(one, other);
        assert!(one < ObjectId::new(1, 0) && one != ADMINISTRATORS);
    }
}
