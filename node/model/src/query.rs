//! Queries: which objects of one entity, and in what order.
//!
//! Attributes hold lists. **The one rule: a condition on an attribute holds when some value of the list passes its test.** So it never holds
//! for an attribute without values, whatever the test; `not` turns the answer of its condition around. A value of another kind than the one
//! it is compared with passes no test. QUERIES.md states the rule for every operator; a test holds the table against the evaluator.

mod evaluate;
mod pattern;
mod rewrite;
mod text;
mod wire;
mod words;
mod write;

use std::ops::Bound;

use bincode::{Decode, Encode};

pub use evaluate::{NoObjects, Relations};
pub use pattern::{PATTERN_BYTES_MAX, Pattern, PatternError, PatternKind};
pub use text::{ParseFilterError, ParseOrderError};
pub use words::{SEARCHED_BYTES_MAX, WORD_BYTES_MAX, WORDS_MAX, Word, Words, beginning, words_of};

use crate::{Name, Object, ObjectId, Value, Wire};

/// Which objects of one entity to answer with.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Query {
    /// The entity; objects of entities that inherit from it are found too.
    pub entity: Name,
    /// What must hold.
    pub filter: Filter,
    /// The order of the answer: by the first of these, among equals by the next, last by id, which is by birth, in the direction of the last
    /// order. At most [`ORDERS_MAX`].
    pub order: Vec<Order>,
    /// Only what comes after this in the order.
    pub after: Option<Cursor>,
    /// At most this many objects; 1 to [`LIMIT_MAX`].
    pub limit: u32,
}

/// A condition on one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Always.
    All,
    /// Some value of an attribute passes a test.
    Where(Condition),
    /// Each of these words occurs in some text of the object, whatever the attribute.
    Text(Words),
    /// Some value of the attribute refers to an object that exists and satisfies the filter.
    Through {
        /// The attribute.
        attribute: Name,
        /// The entity that it refers to, where that is known: objects are then found from there, too.
        entity: Option<Name>,
        /// What the object referred to satisfies.
        filter: Box<Self>,
    },
    /// All of these; none given: always.
    And(Vec<Self>),
    /// Some of these; none given: never.
    Or(Vec<Self>),
    /// Not this.
    Not(Box<Self>),
}

/// Some value of an attribute passes a test.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Condition {
    /// The attribute.
    pub attribute: Name,
    /// Of a map, only the value under this key.
    pub key: Option<String>,
    /// The test.
    pub test: Test,
}

/// What a value must be like.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Test {
    /// It is there.
    Present,
    /// It equals this.
    Equal(Value),
    /// It equals one of these, sorted and each once; at most [`VALUES_MAX`].
    In(Vec<Value>),
    /// It lies between these; at least one of them is given, and if both are, they are of one kind.
    Range {
        /// The lower end.
        from: Bound<Value>,
        /// The upper end.
        to: Bound<Value>,
    },
    /// It is a moment this far from now, in microseconds; the past is negative. At least one end is given.
    FromNow {
        /// The lower end.
        from: Bound<i64>,
        /// The upper end.
        to: Bound<i64>,
    },
    /// It is a text like this.
    Like(Pattern),
    /// It is a text with all of these words.
    Words(Words),
}

/// An order of objects.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Order {
    /// By the first value of this attribute; objects without one come last either way.
    pub attribute: Name,
    /// Largest first.
    pub descending: bool,
}

/// A place in an order, made from the object that was there: it stays where it is while objects come, go and change.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Cursor {
    /// The value that counted for each order of the query.
    pub values: Vec<Option<Value>>,
    /// The object.
    pub object: ObjectId,
}

impl Query {
    /// Every object of an entity, up to [`LIMIT_DEFAULT`].
    pub fn all(entity: Name) -> Self {
        Self { entity, filter: Filter::All, order: Vec::new(), after: None, limit: LIMIT_DEFAULT }
    }

    /// The objects whose attribute holds this value.
    pub fn equal(entity: Name, attribute: Name, value: Value) -> Self {
        Self { filter: Filter::equal(attribute, value), ..Self::all(entity) }
    }

    /// The same query, answering only what also satisfies `filter`.
    #[must_use]
    pub fn and(mut self, filter: Filter) -> Self {
        self.filter = self.filter.and(filter);
        self
    }

    /// The same query, in the order of an attribute after the orders that it has.
    #[must_use]
    pub fn by(mut self, attribute: Name, descending: bool) -> Self {
        self.order.push(Order { attribute, descending });
        self
    }

    /// The same query with another limit, brought into 1 to [`LIMIT_MAX`].
    #[must_use]
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit.clamp(1, LIMIT_MAX);
        self
    }

    /// The same query, answering what comes after an object that it answered.
    #[must_use]
    pub fn after(mut self, object: &Object) -> Self {
        self.after = Some(self.cursor(object));
        self
    }

    /// The place of an object in the order of this query.
    pub fn cursor(&self, object: &Object) -> Cursor {
        let values = self.order.iter().map(|order| object.value(order.attribute.as_str()).cloned());
        Cursor { values: values.collect(), object: object.id }
    }
}

impl Filter {
    /// Some value of the attribute equals this one.
    pub fn equal(attribute: Name, value: Value) -> Self {
        Self::Where(Condition { attribute, key: None, test: Test::Equal(value) })
    }

    /// Some value of the attribute equals one of these.
    pub fn one_of(attribute: Name, values: impl IntoIterator<Item = Value>) -> Self {
        Self::Where(Condition { attribute, key: None, test: Test::one_of(values) })
    }

    /// Some value of the attribute lies between the bounds. Both unbounded: there is some value.
    pub fn range(attribute: Name, from: Bound<Value>, to: Bound<Value>) -> Self {
        let test = match (&from, &to) {
            (Bound::Unbounded, Bound::Unbounded) => Test::Present,
            _ => Test::Range { from, to },
        };
        Self::Where(Condition { attribute, key: None, test })
    }

    /// The attribute has some value.
    pub fn present(attribute: Name) -> Self {
        Self::Where(Condition { attribute, key: None, test: Test::Present })
    }

    /// Both this and that.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, other) => other,
            (this, Self::All) => this,
            (Self::And(mut all), other) => {
                all.push(other);
                Self::And(all)
            }
            (this, other) => Self::And(vec![this, other]),
        }
    }
}

impl Test {
    /// Equality with one of these.
    pub fn one_of(values: impl IntoIterator<Item = Value>) -> Self {
        let mut values: Vec<Value> = values.into_iter().collect();
        values.sort();
        values.dedup();
        match values.len() {
            1 => Self::Equal(values.remove(0)),
            _ => Self::In(values),
        }
    }
}

impl Wire for Query {}
impl Wire for Cursor {}

/// Objects answered when nobody says how many.
pub const LIMIT_DEFAULT: u32 = 1_000;

/// Objects answered at most: an answer must fit a frame, and a person reads no more.
pub const LIMIT_MAX: u32 = 10_000;

/// Conditions in one filter.
pub const CONDITIONS_MAX: usize = 256;

/// Filters within filters.
pub const DEPTH_MAX: usize = 16;

/// Values compared with in one condition, references to users' groups and lists that people paste included.
pub const VALUES_MAX: usize = 10_000;

/// Patterns in one filter: each takes some memory as long as the filter lives.
pub const PATTERNS_MAX: usize = 16;

/// Attributes that one order goes by.
pub const ORDERS_MAX: usize = 4;
