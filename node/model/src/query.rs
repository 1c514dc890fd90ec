//! Queries: which objects of one entity, and in what order.

mod evaluate;
mod text;
mod wire;

use std::ops::Bound;

use bincode::{Decode, Encode};

pub use text::ParseFilterError;

use crate::{Name, Value, Wire};

/// Which objects of one entity to answer with.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Query {
    /// The entity.
    pub entity: Name,
    /// What must hold.
    pub filter: Filter,
    /// The order of the answer; by id, which is by birth, when not given.
    pub order: Option<Order>,
    /// At most this many objects; 1 to [`LIMIT_MAX`].
    pub limit: u32,
}

/// A condition on the attributes of one object.
///
/// Attributes hold lists. The one rule: a condition on an attribute holds when **some** value of the list satisfies it, so it never holds for
/// an attribute without values; `Not` turns the answer of its condition around. Values of another kind than the one compared with satisfy nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Always.
    All,
    /// Some value equals this one.
    Equal {
        /// The attribute.
        attribute: Name,
        /// The value.
        value: Value,
    },
    /// Some value lies between the bounds. Both unbounded: there is some value.
    Range {
        /// The attribute.
        attribute: Name,
        /// The lower end.
        from: Bound<Value>,
        /// The upper end.
        to: Bound<Value>,
    },
    /// All of these; none given: always.
    And(Vec<Self>),
    /// Some of these; none given: never.
    Or(Vec<Self>),
    /// Not this.
    Not(Box<Self>),
}

/// An order of objects.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Order {
    /// By the first value of this attribute; objects without one come last either way. Ties are broken by id.
    pub attribute: Name,
    /// Largest first.
    pub descending: bool,
}

impl Query {
    /// Every object of an entity, up to [`LIMIT_DEFAULT`].
    pub fn all(entity: Name) -> Self {
        Self { entity, filter: Filter::All, order: None, limit: LIMIT_DEFAULT }
    }

    /// The objects whose attribute holds this value.
    pub fn equal(entity: Name, attribute: Name, value: Value) -> Self {
        Self { filter: Filter::Equal { attribute, value }, ..Self::all(entity) }
    }

    /// The same query, answering only what also satisfies `filter`.
    #[must_use]
    pub fn and(mut self, filter: Filter) -> Self {
        self.filter = match self.filter {
            Filter::All => filter,
            Filter::And(mut all) => {
                all.push(filter);
                Filter::And(all)
            }
            other => Filter::And(vec![other, filter]),
        };
        self
    }

    /// The same query with another limit, brought into 1 to [`LIMIT_MAX`].
    #[must_use]
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit.clamp(1, LIMIT_MAX);
        self
    }
}

impl Wire for Query {}

/// Objects answered when nobody says how many.
pub const LIMIT_DEFAULT: u32 = 1_000;

/// Objects answered at most: an answer must fit a frame, and a person reads no more.
pub const LIMIT_MAX: u32 = 10_000;

/// Conditions in one filter.
pub const CONDITIONS_MAX: usize = 256;

/// Filters within filters.
pub const DEPTH_MAX: usize = 16;
