//! Layer 3: what a module is, and everything that it needs to be written.
//!
//! A module is plain synchronous code that lives in the process of the host and is called by plain function calls. It never waits: what it
//! reads and the host has not got at hand becomes a wish, the module's code halts with [`Halt::Read`] (the `?` operator does it), the host
//! fetches all wishes in one round trip and runs the code again from its beginning. So module code must do the same when it reads the same:
//! no clock but [`Transaction::now`], no randomness, no state of its own. In return it is as easy to test as any function, runs in
//! simulation as in production, and a call costs what a virtual call costs.
//!
//! The order in which the host asks: client input checks (from the schema), [`Module::call`], [`Module::attribute_hook`],
//! [`Module::object_hook`], then constraints and [`Module::result_check`], and last what concerns relations.

use std::fmt;
use std::sync::Arc;

pub use caps_model::query::{Filter, Order, Query};
pub use caps_model::schema::{Arity, Attribute, Check, Constraint, End, Entity, Extension, Method, Relation, Rule, Schema};
pub use caps_model::{Name, Object, ObjectId, Position, Record, Value, ValueKind};

pub use crate::privileges::{ADMINISTRATORS, Principal, READERS, WRITERS};
pub use crate::transaction::Transaction;

/// A module of business logic.
///
/// All hooks of all modules of a host are asked about every change, in the order in which the host was given the modules; the default
/// answers have no objection.
pub trait Module: Send + Sync + 'static {
    /// Everything that the module declares. Asked once, when the host starts.
    fn schema(&self) -> Schema;

    /// Attributes (entity, attribute) that never leave layer 2: stripped from every answer, unknown in every query of a front end.
    fn secrets(&self) -> Vec<(Name, Name)> {
        Vec::new()
    }

    /// Does what `method` is for. The arguments obey the method's parameters.
    fn call(&self, method: &str, arguments: &Record, tx: &mut Transaction<'_>) -> Result<Record, Halt>;

    /// One attribute of one object is about to change.
    fn attribute_hook(&self, event: &AttributeEvent, tx: &mut Transaction<'_>) -> Result<(), Halt> {
        let _ = (event, tx);
        Ok(())
    }

    /// An object is about to be created, changed or deleted.
    fn object_hook(&self, event: &ObjectEvent, tx: &mut Transaction<'_>) -> Result<(), Halt> {
        let _ = (event, tx);
        Ok(())
    }

    /// Everything is as it would be: last chance to refuse. Nothing may be changed any more.
    fn result_check(&self, event: &ObjectEvent, tx: &mut Transaction<'_>) -> Result<(), Halt> {
        let _ = (event, tx);
        Ok(())
    }

    /// The values of a computed attribute of one of the module's own objects.
    fn computed(&self, object: &Object, attribute: &str, tx: &mut Transaction<'_>) -> Result<Vec<Value>, Halt> {
        let _ = (object, tx);
        Err(Fault::new(format!("nobody computes {attribute:?}")).into())
    }
}

/// One attribute of one object is about to change.
#[derive(Clone, Debug)]
pub struct AttributeEvent {
    /// The object as it is in the cabinet; `None` when it is being created.
    pub before: Option<Arc<Object>>,
    /// The object as it would be.
    pub after: Arc<Object>,
    /// The attribute.
    pub attribute: Name,
}

/// An object is about to be created, changed or deleted.
#[derive(Clone, Debug)]
pub struct ObjectEvent {
    /// The object as it is in the cabinet; `None` when it is being created.
    pub before: Option<Arc<Object>>,
    /// The object as it would be; `deleted` says so.
    pub after: Arc<Object>,
}

/// Why module code stopped before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// It needs something that is not at hand yet. Pass it on with `?`; the code runs again.
    Read,
    /// The answer is no. Nothing changes.
    Refused(Refusal),
    /// The module broke a rule of the host. Nothing changes, and the host logs an error.
    Fault(Fault),
}

/// A module's, or the schema's, no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// A word for programs, such as [`refusals::UNIQUE`]; lower case and `_`.
    pub code: &'static str,
    /// The attribute, or parameter, that is to blame.
    pub attribute: Option<Name>,
    /// A sentence for people: what to change.
    pub message: String,
}

/// A mistake in the code of a module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(String);

impl Refusal {
    /// A refusal that blames no attribute.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, attribute: None, message: message.into() }
    }

    /// The same refusal, blaming an attribute.
    #[must_use]
    pub fn at(mut self, attribute: &Name) -> Self {
        self.attribute = Some(attribute.clone());
        self
    }

    /// The same refusal, blaming an attribute whose name is written in code.
    ///
    /// # Panics
    /// When `attribute` is not a name: a mistake of the programmer.
    #[must_use]
    pub fn at_fixed(self, attribute: &'static str) -> Self {
        self.at(&Name::fixed(attribute))
    }
}

impl Fault {
    /// A fault.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// `code[attribute]: message`: the form in which front ends get it, easy to read for people and to split for programs.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.attribute {
            Some(attribute) => write!(f, "{}[{attribute}]: {}", self.code, self.message),
            None => write!(f, "{}: {}", self.code, self.message),
        }
    }
}

/// The codes of refusals that the host itself makes. Modules may use them too, and have their own.
pub mod refusals {
    /// The principal's groups do not admit this.
    pub const NOT_ALLOWED: &str = "not_allowed";
    /// There is no such object; or there is, and the principal may not know of it.
    pub const NOT_FOUND: &str = "not_found";
    /// The method has no such parameter.
    pub const UNKNOWN_PARAMETER: &str = "unknown_parameter";
    /// Too few values.
    pub const MISSING: &str = "missing";
    /// Too many values.
    pub const TOO_MANY: &str = "too_many";
    /// A value of another kind.
    pub const KIND: &str = "kind";
    /// A value outside its range.
    pub const RANGE: &str = "range";
    /// A text, or bytes, too short or too long.
    pub const SIZE: &str = "size";
    /// A value that is not among those allowed.
    pub const SELECTION: &str = "selection";
    /// A text that is not like the pattern.
    pub const PATTERN: &str = "pattern";
    /// A number that is no multiple of the resolution.
    pub const RESOLUTION: &str = "resolution";
    /// A value, or a key of a map, that is there twice.
    pub const DISTINCT: &str = "distinct";
    /// Only the module itself writes it.
    pub const READ_ONLY: &str = "read_only";
    /// Something that must not be without it still refers to it.
    pub const REFERRED_TO: &str = "referred_to";
    /// Another object has the value.
    pub const UNIQUE: &str = "unique";
    /// It was given when the object was made and never changes.
    pub const UNCHANGEABLE: &str = "unchangeable";
    /// A reference to an object of another entity, or to none.
    pub const REFERENCE: &str = "reference";
    /// The value may not follow the one that is there.
    pub const TRANSITION: &str = "transition";
    /// The group does not exist.
    pub const NO_SUCH_GROUP: &str = "no_such_group";
    /// Somebody changed what the call was about since the caller looked at it.
    pub const NOT_AS_EXPECTED: &str = "not_as_expected";
    /// More reads, changes or effects than one commit holds.
    pub const TOO_LARGE: &str = "too_large";

    /// Those that say that values do not fit the schema.
    pub const OF_CONSTRAINTS: [&str; 14] = [
        UNKNOWN_PARAMETER,
        MISSING,
        TOO_MANY,
        KIND,
        RANGE,
        SIZE,
        PATTERN,
        RESOLUTION,
        SELECTION,
        DISTINCT,
        READ_ONLY,
        UNIQUE,
        UNCHANGEABLE,
        TRANSITION,
    ];
}
