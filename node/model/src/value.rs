//! Values of attributes.

mod decimal;
mod rich;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use bincode::{Decode, Encode};

pub use self::decimal::{Decimal, ParseDecimalError};
pub use self::rich::{BlobId, Choice, Entry, ParseBlobIdError};
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
    /// An exact decimal number.
    Decimal(Decimal),
    /// One of an ordered list of choices.
    Choice(Choice),
    /// Bytes that are kept apart, by name: what is larger than [`BYTES_MAX`] or deserves to be kept once.
    Blob(Box<BlobId>),
    /// An entry of a map.
    Entry(Box<Entry>),
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
    /// [`Value::Decimal`].
    Decimal,
    /// [`Value::Choice`].
    Choice,
    /// [`Value::Blob`].
    Blob,
    /// [`Value::Entry`].
    Entry,
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
            Self::Decimal(_) => ValueKind::Decimal,
            Self::Choice(_) => ValueKind::Choice,
            Self::Blob(_) => ValueKind::Blob,
            Self::Entry(_) => ValueKind::Entry,
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

    /// The entry of a map, if this is one.
    pub fn as_entry(&self) -> Option<&Entry> {
        match self {
            Self::Entry(entry) => Some(entry),
            _ => None,
        }
    }

    /// The name of the blob, if this is one or an entry with one.
    pub fn blob_within(&self) -> Option<BlobId> {
        match self.as_entry().map_or(self, Entry::value) {
            Self::Blob(blob) => Some(**blob),
            _ => None,
        }
    }

    /// The text, if this is text or an entry with a text.
    pub fn text_within(&self) -> Option<&str> {
        self.as_entry().map_or(self, Entry::value).as_text()
    }

    /// Bytes that the content of this value occupies, for limits.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Reference(_) | Self::Decimal(_) => 16,
            Self::Bool(_) => 1,
            Self::Choice(choice) => 4 + choice.word.as_str().len(),
            Self::Blob(_) => 40,
            Self::Entry(entry) => entry.key().len() + entry.value().size_bytes() + 18,
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
            (Self::Decimal(a), Self::Decimal(b)) => a.cmp(b),
            (Self::Choice(a), Self::Choice(b)) => a.cmp(b),
            (Self::Blob(a), Self::Blob(b)) => a.cmp(b),
            (Self::Entry(a), Self::Entry(b)) => a.cmp(b),
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
            Self::Decimal(number) => number.fmt(f),
            Self::Choice(choice) => choice.word.fmt(f),
            Self::Blob(blob) => blob.fmt(f),
            Self::Entry(entry) => write!(f, "{}: {}", entry.key(), entry.value()),
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
            Self::Decimal => "decimal",
            Self::Choice => "choice",
            Self::Blob => "blob",
            Self::Entry => "entry",
        })
    }
}

/// Bytes that a value of kind bytes holds at most: what is larger is a blob.
pub const BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Object;
    use crate::codec::{decode, encode};
    use crate::messages::Got;

    fn object(values: Vec<Value>) -> Object {
        let attributes = [(Name::fixed("all"), values)].into();
        Object::new(ObjectId(1), Name::fixed("thing"), crate::Position(1), attributes)
    }

    #[test]
    fn every_kind_survives_the_wire_alone_and_in_an_entry() {
        let kinds = [
            Value::Bool(true),
            Value::Int(-3),
            Value::Float(0.5),
            Value::text("x"),
            Value::Timestamp(9),
            Value::Timespan(-9),
            Value::Bytes(vec![1, 2]),
            Value::Reference(ObjectId(7)),
            Value::Decimal("-12.50".parse().unwrap()),
            Value::Choice(Choice { rank: 20, word: Name::fixed("urgent") }),
            Value::Blob(Box::new(BlobId { hash: [7; 32], size_bytes: 1 << 40 })),
        ];
        let entries = kinds.iter().map(|value| Value::Entry(Box::new(Entry::new("key", value.clone()).unwrap())));
        let object = object(kinds.iter().cloned().chain(entries).collect());
        let got = Got { position: crate::Position(1), objects: vec![Some(object)] };
        assert_eq!(decode::<Got>(&encode(&got).unwrap()).unwrap(), got);
    }

    #[test]
    fn entries_within_entries_are_refused_however_deep() {
        assert!(Entry::new("outer", Value::Entry(Box::new(Entry::new("inner", Value::Int(1)).unwrap()))).is_none());
        let entry = Value::Entry(Box::new(Entry::new("k", Value::Int(1)).unwrap()));
        let one = encode(&Got { position: crate::Position(1), objects: vec![Some(object(vec![entry]))] }).unwrap();
        // The innermost value becomes an entry with an entry with an entry ...
        let mut deep = one[..one.len() - 2].to_vec();
        deep.extend([11, 1, b'k'].repeat(100_000));
        assert!(decode::<Got>(&deep).is_err());
    }

    #[test]
    fn order_is_total_over_kinds_and_nan() {
        let mut values = [Value::Float(f64::NAN), Value::text("b"), Value::Int(2), Value::Float(1.5), Value::text("a"), Value::Bool(true)];
        values.sort();
        let shown: Vec<String> = values.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["true", "2", "1.5", "NaN", "a", "b"]);
    }
}
