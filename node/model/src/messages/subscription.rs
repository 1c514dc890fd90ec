//! Subscriptions: what is asked for, and what is told.
//!
//! A subscription tells a reader everything that it needs to hold a copy of what it follows. Its *place* is a position and, if the query says
//! something about now, a moment; what the query matches at a place depends on nothing else. Updates go from place to place and never back,
//! and a reader that resumes at the last one it was told misses nothing and hears nothing twice, at whatever replica.
//!
//! | what is followed | by | what is told |
//! |---|---|---|
//! | all that matches | [`Subscribe::new`] | what enters, leaves and changes |
//! | given objects | [`Subscribe::objects`] | the same, of them |
//! | the first of an order | [`Subscribe::window`] | the same, and at which place |
//! | some attributes | [`Subscribe::attributes`] | only what changes them, and only their values |
//!
//! A reader that is slower than what it follows is told where it all ended up rather than every step: such an update is *coalesced* and says
//! so. Conditions on what an object refers to can be followed in the first of an order only. Who needs every step asks for [`every_change`](Subscribe::every_change), and is as far behind as it is slow.

use bincode::{Decode, Encode};

use super::GET_MAX;
use crate::{Name, Object, ObjectId, Position, Query, Record, Wire};

/// Asks to be told what changes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Subscribe {
    /// Which objects. Order, limit and cursor count for a window only: otherwise a subscription covers all that match.
    pub query: Query,
    /// Where to start.
    pub from: From,
    /// Only these objects, if there are any here; at most [`GET_MAX`].
    pub objects: Vec<ObjectId>,
    /// Only these attributes, if there are any here, at most [`ATTRIBUTES_MAX`]: objects are told with no others, and only when these change.
    pub attributes: Vec<Name>,
    /// Only the first objects in the order of the query, as many as its limit says; at most [`WINDOW_MAX`].
    pub window: bool,
    /// Every commit that matters is told, however far behind the reader is. Not for windows.
    pub every_change: bool,
}

/// Where a subscription starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum From {
    /// With the objects that match now, then what changes.
    Present,
    /// With what changed after this position: the reader has everything up to it. Of a query that says something about now it has what matched
    /// at the time of that commit.
    After(Position),
    /// With what changed after this place of a query that says something about now.
    AfterMoment {
        /// The reader has every commit up to this one,
        position: Position,
        /// and what matched then, at this moment: microseconds since 1970.
        moment: i64,
    },
}

/// What a subscription tells. Places never repeat and never go back.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Update {
    /// Some of the objects that match, in as many parts as needed, all of one place; those of a window in its order.
    ///
    /// It comes first in a subscription [`From::Present`]. Anywhere else it is a new start, because there was more to tell than updates hold:
    /// the reader drops what it has.
    Present {
        /// Every commit up to this one is reflected.
        position: Position,
        /// The moment that stands for now, if the query says something about it: microseconds since 1970.
        moment: Option<i64>,
        /// Objects.
        objects: Vec<Object>,
        /// Whether this is the last part.
        complete: bool,
    },
    /// What changed between the last place and this one.
    Changes {
        /// Every commit up to this one is reflected. If it is not coalesced and time alone did not do it, this commit did.
        position: Position,
        /// The moment that stands for now, if the query says something about it: microseconds since 1970.
        moment: Option<i64>,
        /// One change for each object; never empty.
        changes: Vec<ObjectChange>,
        /// Of a window: where the objects that were added or changed, in this order, stand now, counted from 0. A reader takes out every object
        /// that is named, and then puts these in, one after the other. Empty if this is no window.
        places: Vec<u32>,
        /// Several commits came after this position, the last one told, and are told as one: what lay between is left out.
        coalesced_from: Option<Position>,
    },
    /// Nothing that matters happened up to this place.
    Progress {
        /// The position.
        position: Position,
        /// The moment that stands for now, if the query says something about it: microseconds since 1970.
        moment: Option<i64>,
    },
}

/// One object's change, as seen through a query.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ObjectChange {
    /// It matches now and did not before.
    Added(Object),
    /// It matched before and does now, with other values.
    Changed(Object),
    /// It no longer matches, was deleted, or may no longer be seen.
    Removed(ObjectId),
}

/// Why something cannot be followed. Change what is asked for; asking again does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Elusive {
    /// The query holds for other reasons than what is in an object.
    #[error("a subscription that reaches through relations shows the first objects of an order: give it a limit of 1 to {WINDOW_MAX}")]
    Through,
    /// It holds for other reasons than what is in an object, and by time alone.
    #[error("a subscription cannot compare what is referred to with now: follow those objects as well")]
    ThroughNow,
    /// More objects than one subscription follows by name.
    #[error("a subscription follows at most {GET_MAX} given objects, not {0}")]
    Objects(usize),
    /// More attributes than one subscription follows by name.
    #[error("a subscription follows at most {ATTRIBUTES_MAX} attributes by name, not {0}: name none to follow all")]
    Attributes(usize),
    /// A window without objects, or one larger than may be.
    #[error("a window shows 1 to {WINDOW_MAX} objects, not {0}: change its limit")]
    Window(u32),
    /// A window of given objects.
    #[error("a window shows the first objects of a query, not given ones: follow these without a limit")]
    WindowOfObjects,
    /// Every change of a window.
    #[error("a window tells its newest state only: follow the query without a limit to be told every change")]
    EveryChangeOfWindow,
}

impl Subscribe {
    /// All that matches, every attribute, coalesced when the reader falls behind.
    pub fn new(query: Query, from: From) -> Self {
        Self { query, from, objects: Vec::new(), attributes: Vec::new(), window: false, every_change: false }
    }

    /// The same, of these objects only.
    #[must_use]
    pub fn objects(self, objects: impl IntoIterator<Item = ObjectId>) -> Self {
        Self { objects: objects.into_iter().collect(), ..self }
    }

    /// The same, of these attributes only.
    #[must_use]
    pub fn attributes(self, attributes: impl IntoIterator<Item = Name>) -> Self {
        Self { attributes: attributes.into_iter().collect(), ..self }
    }

    /// The first objects in the order of the query, as many as its limit says.
    #[must_use]
    pub fn window(self) -> Self {
        Self { window: true, ..self }
    }

    /// The same, with every commit told by itself.
    #[must_use]
    pub fn every_change(self) -> Self {
        Self { every_change: true, ..self }
    }

    /// Whether this can be followed at all; a sentence for the asker if not.
    pub fn check(&self) -> Result<(), Elusive> {
        if self.query.filter.reaches_through() && !self.window {
            return Err(Elusive::Through);
        }
        if self.query.filter.compares_others_with_now() {
            return Err(Elusive::ThroughNow);
        }
        if self.objects.len() > GET_MAX {
            return Err(Elusive::Objects(self.objects.len()));
        }
        if self.attributes.len() > ATTRIBUTES_MAX {
            return Err(Elusive::Attributes(self.attributes.len()));
        }
        if !self.window {
            return Ok(());
        }
        match self {
            Self { query, .. } if !(1..=WINDOW_MAX).contains(&query.limit) => Err(Elusive::Window(query.limit)),
            Self { objects, .. } if !objects.is_empty() => Err(Elusive::WindowOfObjects),
            Self { every_change: true, .. } => Err(Elusive::EveryChangeOfWindow),
            _ => Ok(()),
        }
    }
}

impl Update {
    /// Every commit up to this one is reflected.
    pub fn position(&self) -> Position {
        match self {
            Self::Present { position, .. } | Self::Changes { position, .. } | Self::Progress { position, .. } => *position,
        }
    }

    /// The moment that stands for now, if that matters.
    pub fn moment(&self) -> Option<i64> {
        match self {
            Self::Present { moment, .. } | Self::Changes { moment, .. } | Self::Progress { moment, .. } => *moment,
        }
    }

    /// The position from which a reader that has seen this resumes; `None` in the middle of the first objects.
    pub fn resume(&self) -> Option<Position> {
        (!matches!(self, Self::Present { complete: false, .. })).then(|| self.position())
    }

    /// Where a reader that has seen this resumes: anew if it was in the middle of the first objects.
    pub fn resume_from(&self) -> From {
        match (self.resume(), self.moment()) {
            (None, _) => From::Present,
            (Some(position), None) => From::After(position),
            (Some(position), Some(moment)) => From::AfterMoment { position, moment },
        }
    }
}

impl From {
    /// The place that the reader has; `None`: none yet. Places of one subscription are ordered as these pairs are.
    pub fn place(self) -> Option<(Position, Option<i64>)> {
        match self {
            Self::Present => None,
            Self::After(position) => Some((position, None)),
            Self::AfterMoment { position, moment } => Some((position, Some(moment))),
        }
    }

    /// The position up to which the reader has everything; `None`: it has nothing yet.
    pub fn position(self) -> Option<Position> {
        self.place().map(|(position, _)| position)
    }
}

impl ObjectChange {
    /// The object concerned.
    pub fn id(&self) -> ObjectId {
        match self {
            Self::Added(object) | Self::Changed(object) => object.id,
            Self::Removed(id) => *id,
        }
    }

    /// The object as it is now; `None` if it is gone.
    pub fn object(&self) -> Option<&Object> {
        match self {
            Self::Added(object) | Self::Changed(object) => Some(object),
            Self::Removed(_) => None,
        }
    }

    /// The same, with the object as `show` shows it.
    #[must_use]
    pub fn shown(self, show: impl FnOnce(Object) -> Object) -> Self {
        match self {
            Self::Added(object) => Self::Added(show(object)),
            Self::Changed(object) => Self::Changed(show(object)),
            removed @ Self::Removed(_) => removed,
        }
    }

    /// How a query's reader sees an object that was `before` and is `after`; `None`: it does not concern them.
    pub fn seen(query: &Query, before: Option<&Object>, after: &Object) -> Option<Self> {
        match (before.is_some_and(|b| query.matches(b)), query.matches(after)) {
            (false, false) => None,
            (false, true) => Some(Self::Added(after.clone())),
            (true, true) => Some(Self::Changed(after.clone())),
            (true, false) => Some(Self::Removed(after.id)),
        }
    }
}

/// The object with no other attributes than these; with all if there are none here.
pub fn projected(object: &Object, attributes: &[Name]) -> Object {
    if attributes.is_empty() {
        return object.clone();
    }
    let kept = attributes.iter().filter_map(|name| Some((name.clone(), object.attributes.get(name)?.clone())));
    let obliterated = object.obliterated.iter().filter(|name| attributes.contains(name)).cloned().collect();
    let Object { id, entity, ancestors, created, version, deleted, .. } = object;
    Object {
        id: *id,
        entity: entity.clone(),
        ancestors: ancestors.clone(),
        created: *created,
        version: *version,
        deleted: *deleted,
        attributes: kept.collect::<Record>(),
        obliterated,
    }
}

/// 2: windows, given objects and attributes, every change or the newest state, moments.
impl Wire for Subscribe {
    const SCHEMA: u8 = 2;
}

/// 2: moments, places, and whether something was left out.
impl Wire for Update {
    const SCHEMA: u8 = 2;
}

/// Objects in a window: a person looks at fewer, and each costs a replica about 24 bytes for every reader.
pub const WINDOW_MAX: u32 = 1_000;

/// Attributes that one subscription follows by name.
pub const ATTRIBUTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;

    fn subscribe() -> Subscribe {
        Subscribe::new(Query::all(Name::fixed("case")).limit(10), From::Present)
    }

    #[test]
    fn what_cannot_be_followed_is_refused_with_a_reason() {
        let reaching = |filter: &str| Query::all(Name::fixed("case")).and(filter.parse().unwrap());
        let (through, through_now) = (reaching("customer.name = Anna"), reaching("customer.until < now"));
        let table = [
            (subscribe(), None),
            (subscribe().window(), None),
            (Subscribe::new(through.clone(), From::Present), Some(Elusive::Through)),
            (Subscribe::new(through.clone(), From::Present).window(), None),
            (Subscribe::new(through.limit(9), From::Present).window(), None),
            (Subscribe::new(through_now.limit(9), From::Present).window(), Some(Elusive::ThroughNow)),
            (subscribe().objects((0..1_001).map(ObjectId)), Some(Elusive::Objects(1_001))),
            (subscribe().attributes((0..65).map(|_| Name::fixed("a"))), Some(Elusive::Attributes(65))),
            (Subscribe { query: subscribe().query.limit(1_001), ..subscribe().window() }, Some(Elusive::Window(1_001))),
            (subscribe().objects([ObjectId(1)]).window(), Some(Elusive::WindowOfObjects)),
            (subscribe().window().every_change(), Some(Elusive::EveryChangeOfWindow)),
        ];
        for (subscribe, expected) in table {
            assert_eq!(subscribe.check().err(), expected);
        }
    }

    #[test]
    fn readers_resume_at_the_last_whole_place() {
        let present = |complete| Update::Present { position: Position(3), moment: None, objects: Vec::new(), complete };
        assert_eq!(present(false).resume_from(), From::Present);
        assert_eq!(present(true).resume_from(), From::After(Position(3)));
        let later = Update::Progress { position: Position(3), moment: Some(9) };
        assert_eq!(later.resume_from(), From::AfterMoment { position: Position(3), moment: 9 });
        assert!(present(true).resume_from().place() < later.resume_from().place());
    }

    #[test]
    fn only_chosen_attributes_are_shown() {
        let attributes = [("a", 1), ("b", 2)].map(|(name, number)| (Name::fixed(name), vec![Value::Int(number)]));
        let object = Object::new(ObjectId(1), Name::fixed("case"), Position(1), attributes.into());
        assert_eq!(projected(&object, &[]), object);
        let chosen = projected(&object, &[Name::fixed("b"), Name::fixed("c")]);
        assert_eq!((chosen.int("a"), chosen.int("b"), chosen.version), (None, Some(2), Position(1)));
    }
}
