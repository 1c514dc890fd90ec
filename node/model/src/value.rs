//! Values of attributes.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use bincode::{Decode, Encode};

use crate::{Name, ObjectId};

/// One value. An attribute holds a list of them; the empty list is "no value".
///
/// New kinds are added at the end: the number of a variant is part of the journal's format.
#[derive(Clone, Debug, Encode, Decode)]
pub enum Value {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A floating-point number; any bit pattern is kept, NaN sorts last.
    Float(f64),
    /// Text in UTF-8; compared byte by byte.
    Text(String),
    /// A moment: microseconds since 1970-01-01T00:00:00Z.
    Timestamp(i64),
    /// A length of time in microseconds.
    Timespan(i64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Another object.
    Reference(ObjectId),
}

/// The kind of a [`Value`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum ValueKind {
    /// [`Value::Bool`].
    Bool,
    /// [`Value::Int`].
    Int,
    /// [`Value::Float`].
    Float,
    /// [`Value::Text`].
    Text,
    /// [`Value::Timestamp`].
    Timestamp,
    /// [`Value::Timespan`].
    Timespan,
    /// [`Value::Bytes`].
    Bytes,
    /// [`Value::Reference`].
    Reference,
}

/// Attribute names and their values: an object's content, a method's arguments, a commit's result.
pub type Record = BTreeMap<Name, Vec<Value>>;

impl Value {
    /// A text value.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// The kind of this value.
    pub fn kind(&self) -> ValueKind {
        match self {
            Self::Bool(_) => ValueKind::Bool,
            Self::Int(_) => ValueKind::Int,
            Self::Float(_) => ValueKind::Float,
            Self::Text(_) => ValueKind::Text,
            Self::Timestamp(_) => ValueKind::Timestamp,
            Self::Timespan(_) => ValueKind::Timespan,
            Self::Bytes(_) => ValueKind::Bytes,
            Self::Reference(_) => ValueKind::Reference,
        }
    }

    /// The text, if this is text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if this is a whole number.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The truth, if this is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    /// The moment in microseconds since 1970, if this is a timestamp.
    pub fn as_timestamp(&self) -> Option<i64> {
        match self {
            Self::Timestamp(micros) => Some(*micros),
            _ => None,
        }
    }

    /// The object referred to, if this is a reference.
    pub fn as_reference(&self) -> Option<ObjectId> {
        match self {
            Self::Reference(id) => Some(*id),
            _ => None,
        }
    }

    /// Bytes that the content of this value occupies, for limits.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Reference(_) => 16,
            Self::Bool(_) => 1,
            Self::Int(_) | Self::Float(_) | Self::Timestamp(_) | Self::Timespan(_) => 8,
        }
    }
}

/// Values of one kind order by content; values of different kinds order by kind, so that any list can be sorted.
impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) | (Self::Timestamp(a), Self::Timestamp(b)) | (Self::Timespan(a), Self::Timespan(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Bytes(a), Self::Bytes(b)) => a.cmp(b),
            (Self::Reference(a), Self::Reference(b)) => a.cmp(b),
            (a, b) => a.kind().cmp(&b.kind()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

/// Prints a value as the query language writes it, except that bytes are only counted.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(truth) => truth.fmt(f),
            Self::Int(number) => number.fmt(f),
            Self::Float(number) => write!(f, "{number:?}"),
            Self::Text(text) => f.write_str(text),
            Self::Timestamp(micros) => write!(f, "@{micros}"),
            Self::Timespan(micros) => write!(f, "{micros}us"),
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Reference(id) => write!(f, "#{id}"),
        }
    }
}

impl fmt::Display for ValueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Float => "float",
            Self::Text => "text",
            Self::Timestamp => "timestamp",
            Self::Timespan => "timespan",
            Self::Bytes => "bytes",
            Self::Reference => "reference",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_total_over_kinds_and_nan() {
        let mut values = [Value::Float(f64::NAN), Value::text("b"), Value::Int(2), Value::Float(1.5), Value::text("a"), Value::Bool(true)];
        values.sort();
        let shown: Vec<String> = values.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["true", "2", "1.5", "NaN", "a", "b"]);
    }
}
