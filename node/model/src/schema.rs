//! The declarative part of a module, as front ends see it too.

use bincode::{Decode, Encode};

use crate::value::Choice;
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
    /// What it adds to entities of other modules.
    pub extensions: Vec<Extension>,
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
    /// The entity that it inherits all attributes from; of this module or another. A query of that one finds objects of this one too.
    pub parent: Option<Name>,
    /// Its attributes, relations' ends included.
    pub attributes: Vec<Attribute>,
}

/// Attributes that a module adds to an entity of another module. It alone writes them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Extension {
    /// The entity.
    pub entity: Name,
    /// What it adds.
    pub attributes: Vec<Attribute>,
}

/// A named list of values of an object.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Attribute {
    /// Its name.
    pub name: Name,
    /// The kind of its values; of a map, of the values under its keys.
    pub kind: ValueKind,
    /// Whether it is a map: each value is an entry, with a key of its own.
    pub is_map: bool,
    /// How many values.
    pub arity: Arity,
    /// Of kind choice: what there is to choose from, in order.
    pub choices: Vec<Choice>,
    /// What the values must obey.
    pub rules: Vec<Rule>,
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

/// A constraint, and when it is held against the values.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Rule {
    /// What must hold.
    pub constraint: Constraint,
    /// When.
    pub check: Check,
}

/// When a constraint is held against the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Check {
    /// On what somebody gives, at once; hooks may then bring in what it would refuse.
    Input,
    /// On what would be committed.
    Result,
    /// Never: front ends show it, and people follow it or not.
    Hint,
}

/// Something that values of an attribute obey. Of a map, the values under its keys do.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Constraint {
    /// Between two values, both included.
    Range {
        /// The smallest.
        from: Value,
        /// The largest.
        to: Value,
    },
    /// Text, bytes or a blob of this size in bytes, both ends included.
    Size {
        /// At least.
        min: u32,
        /// At most.
        max: u32,
    },
    /// A text like this regular expression, from its beginning to its end.
    Pattern(String),
    /// A number or span that is a whole multiple of this one.
    Resolution(Value),
    /// One of these.
    Selection(Vec<Value>),
    /// No two values of the list are equal.
    Distinct,
    /// No two objects of the entity that declares the attribute, or of those that inherit it, hold the same value.
    Unique,
    /// Only the module itself writes it, never on behalf of who calls.
    ReadOnly,
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
    /// One end.
    pub from: End,
    /// The other end.
    pub to: End,
}

/// One end of a relation: an attribute that refers to objects which refer back.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct End {
    /// The entity.
    pub entity: Name,
    /// The attribute.
    pub attribute: Name,
    /// Whether what it refers to cannot be deleted as long as it does; otherwise the reference drops out with the object.
    pub is_strong: bool,
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

    /// An attribute with exactly one of these choices, given in their order; each may be given a rank between those of its neighbours later.
    pub fn choice(name: &'static str, choices: &[&'static str], summary: &str) -> Self {
        let ranked = (1..).map(|place| place * RANKS_BETWEEN).zip(choices);
        let choices = ranked.map(|(rank, word)| Choice { rank, word: Name::fixed(word) }).collect();
        Self { choices, ..Self::one(name, ValueKind::Choice, summary) }
    }

    /// The same attribute, with one more rule; a constraint alone is held against the result.
    #[must_use]
    pub fn with(mut self, rule: impl Into<Rule>) -> Self {
        self.rules.push(rule.into());
        self
    }

    /// The same attribute as a map of up to `max` entries.
    #[must_use]
    pub fn map(mut self, max: u32) -> Self {
        self.is_map = true;
        self.arity = Arity::up_to(max);
        self
    }

    /// What its values must obey, hints aside.
    pub fn constraints(&self) -> impl Iterator<Item = &Constraint> {
        self.rules.iter().filter(|rule| rule.check != Check::Hint).map(|rule| &rule.constraint)
    }

    /// The entity that its values refer to.
    pub fn target(&self) -> Option<&Name> {
        self.rules.iter().find_map(|rule| match &rule.constraint {
            Constraint::RefersTo(entity) => Some(entity),
            _ => None,
        })
    }

    /// The same attribute, computed by the module.
    #[must_use]
    pub fn computed(mut self) -> Self {
        self.computed = true;
        self
    }

    fn new(name: &'static str, kind: ValueKind, arity: Arity, summary: &str) -> Self {
        Self {
            name: Name::fixed(name),
            kind,
            is_map: false,
            arity,
            choices: Vec::new(),
            rules: Vec::new(),
            computed: false,
            summary: summary.to_owned(),
        }
    }
}

impl Constraint {
    /// Held against what somebody gives.
    pub fn on_input(self) -> Rule {
        Rule { constraint: self, check: Check::Input }
    }

    /// Shown, and held against nothing.
    pub fn as_hint(self) -> Rule {
        Rule { constraint: self, check: Check::Hint }
    }
}

impl From<Constraint> for Rule {
    fn from(constraint: Constraint) -> Self {
        Self { constraint, check: Check::Result }
    }
}

impl End {
    /// An end whose references drop out with what they refer to.
    pub fn weak(entity: &'static str, attribute: &'static str) -> Self {
        Self { entity: Name::fixed(entity), attribute: Name::fixed(attribute), is_strong: false }
    }

    /// An end that keeps what it refers to from being deleted.
    pub fn strong(entity: &'static str, attribute: &'static str) -> Self {
        Self { is_strong: true, ..Self::weak(entity, attribute) }
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

/// What lies between the ranks of neighbouring choices.
const RANKS_BETWEEN: i32 = 100;
