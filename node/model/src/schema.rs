//! The declarative part of a module, as front ends see it too.

use bincode::{Decode, Encode};

use crate::{Name, Value, ValueKind, Wire};

/// Everything that a module declares.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Schema {
    /// The module.
    pub module: Name,
    /// Its version: recorded with each commit.
    pub version: u32,
    /// One sentence for people.
    pub summary: String,
    /// Its entities.
    pub entities: Vec<Entity>,
    /// Its relations.
    pub relations: Vec<Relation>,
    /// Its methods.
    pub methods: Vec<Method>,
}

/// A kind of object.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Entity {
    /// Its name.
    pub name: Name,
    /// One sentence for people.
    pub summary: String,
    /// Its attributes, relations' ends included.
    pub attributes: Vec<Attribute>,
}

/// A named list of values of an object.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Attribute {
    /// Its name.
    pub name: Name,
    /// The kind of its values.
    pub kind: ValueKind,
    /// How many values.
    pub arity: Arity,
    /// What the values must obey.
    pub constraints: Vec<Constraint>,
    /// Computed by the module from other attributes whenever they change; nobody writes it.
    pub computed: bool,
    /// One sentence for people.
    pub summary: String,
}

/// How many values an attribute holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Arity {
    /// At least.
    pub min: u32,
    /// At most.
    pub max: u32,
}

/// A rule that values of an attribute obey.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Constraint {
    /// Between two values, both included.
    Range {
        /// The smallest.
        from: Value,
        /// The largest.
        to: Value,
    },
    /// Text or bytes of this size in bytes, both ends included.
    Size {
        /// At least.
        min: u32,
        /// At most.
        max: u32,
    },
    /// One of these.
    Selection(Vec<Value>),
    /// No two objects of the entity hold the same value.
    Unique,
    /// Given when the object is made and never changed.
    Unchangeable,
    /// A reference to an object of this entity.
    RefersTo(Name),
    /// The value, a text, follows only these transitions: pairs of (from, to). Staying is always allowed.
    Transitions(Vec<(String, String)>),
}

/// A binary relation: writing one end keeps the other true.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Relation {
    /// Its name.
    pub name: Name,
    /// One end: entity and attribute.
    pub from: (Name, Name),
    /// The other end: entity and attribute.
    pub to: (Name, Name),
}

/// Something that a module does when asked.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Method {
    /// Its name.
    pub name: Name,
    /// One sentence for people.
    pub summary: String,
    /// What it takes.
    pub parameters: Vec<Attribute>,
    /// What it answers.
    pub results: Vec<Attribute>,
    /// The groups whose members may call it.
    pub callers: Vec<String>,
}

impl Arity {
    /// Exactly one value.
    pub const ONE: Self = Self { min: 1, max: 1 };
    /// None or one.
    pub const OPTIONAL: Self = Self { min: 0, max: 1 };
    /// Any number, up to `max`.
    pub const fn up_to(max: u32) -> Self {
        Self { min: 0, max }
    }
}

impl Attribute {
    /// An attribute with exactly one value and no constraints.
    pub fn one(name: &'static str, kind: ValueKind, summary: &str) -> Self {
        Self::new(name, kind, Arity::ONE, summary)
    }

    /// An attribute with at most one value and no constraints.
    pub fn optional(name: &'static str, kind: ValueKind, summary: &str) -> Self {
        Self::new(name, kind, Arity::OPTIONAL, summary)
    }

    /// An attribute with any number of values up to `max`, and no constraints.
    pub fn list(name: &'static str, kind: ValueKind, max: u32, summary: &str) -> Self {
        Self::new(name, kind, Arity::up_to(max), summary)
    }

    /// The same attribute, with one more constraint.
    #[must_use]
    pub fn with(mut self, constraint: Constraint) -> Self {
        self.constraints.push(constraint);
        self
    }

    /// The same attribute, computed by the module.
    #[must_use]
    pub fn computed(mut self) -> Self {
        self.computed = true;
        self
    }

    fn new(name: &'static str, kind: ValueKind, arity: Arity, summary: &str) -> Self {
        Self { name: Name::fixed(name), kind, arity, constraints: Vec::new(), computed: false, summary: summary.to_owned() }
    }
}

impl Schema {
    /// The entity of this name.
    pub fn entity(&self, name: &str) -> Option<&Entity> {
        self.entities.iter().find(|e| e.name == name)
    }

    /// The method of this name.
    pub fn method(&self, name: &str) -> Option<&Method> {
        self.methods.iter().find(|m| m.name == name)
    }
}

impl Entity {
    /// The attribute of this name.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|a| a.name == name)
    }
}

impl Wire for Schema {}
