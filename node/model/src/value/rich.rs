//! Values of more than one part: a choice of an ordered list, the name of a blob, an entry of a map.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use bincode::de::{BorrowDecoder, Decoder};
use bincode::error::DecodeError;
use bincode::{BorrowDecode, Decode, Encode};

use super::{Decimal, Value};
use crate::{Name, ObjectId};

/// One of the choices that a module declares, in their order: `low`, `normal`, `urgent`.
///
/// The rank alone says which it is and how it compares; the word is for people. A module that leaves room between ranks can put others in
/// between later.
#[derive(Clone, Debug, Encode, Decode)]
pub struct Choice {
    /// Its place in the order.
    pub rank: i32,
    /// Its word.
    pub word: Name,
}

/// The name of a blob: what it is kept under, and how large it is. Equal contents have equal names.
///
/// As text it is `blob:HASH:SIZE`, the hash in 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct BlobId {
    /// SHA-256 of its [table](crate::blob::Table), so that its parts can be proven one by one; not of its bytes.
    pub hash: [u8; 32],
    /// How many bytes.
    pub size_bytes: u64,
}

/// An entry of a map: a key and a value, which is no entry itself. An attribute that is a map is a list of entries with distinct keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode)]
pub struct Entry {
    key: String,
    value: Value,
}

impl Entry {
    /// An entry; `None` when the value is one already.
    pub fn new(key: impl Into<String>, value: Value) -> Option<Self> {
        (!matches!(value, Value::Entry(_))).then(|| Self { key: key.into(), value })
    }

    /// Its key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Its value.
    pub fn value(&self) -> &Value {
        &self.value
    }
}

impl PartialEq for Choice {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl Eq for Choice {}

impl PartialOrd for Choice {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Choice {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank.cmp(&other.rank)
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("blob:")?;
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, ":{}", self.size_bytes)
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobId({self})")
    }
}

impl FromStr for BlobId {
    type Err = ParseBlobIdError;

    fn from_str(text: &str) -> Result<Self, ParseBlobIdError> {
        let (digits, size) = text.strip_prefix("blob:").and_then(|rest| rest.split_once(':')).ok_or(ParseBlobIdError)?;
        if digits.len() != 64 || !digits.is_ascii() {
            return Err(ParseBlobIdError);
        }
        let mut hash = [0; 32];
        for (byte, two) in hash.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let two = std::str::from_utf8(two).map_err(|_| ParseBlobIdError)?;
            *byte = u8::from_str_radix(two, 16).map_err(|_| ParseBlobIdError)?;
        }
        let size_bytes = size.parse().map_err(|_| ParseBlobIdError)?;
        Ok(Self { hash, size_bytes })
    }
}

/// The text names no blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this names no blob: write blob:HASH:SIZE as `caps blob put` prints it, with 64 hexadecimal digits")]
pub struct ParseBlobIdError;

/// By hand, because a value within a value must not be an entry again: a decoder that finds out too late has no stack left.
impl<Context> Decode<Context> for Entry {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let key = String::decode(decoder)?;
        let value = match u32::decode(decoder)? {
            0 => Value::Bool(bool::decode(decoder)?),
            1 => Value::Int(i64::decode(decoder)?),
            2 => Value::Float(f64::decode(decoder)?),
            3 => Value::Text(String::decode(decoder)?),
            4 => Value::Timestamp(i64::decode(decoder)?),
            5 => Value::Timespan(i64::decode(decoder)?),
            6 => Value::Bytes(Vec::decode(decoder)?),
            7 => Value::Reference(ObjectId::decode(decoder)?),
            8 => Value::Decimal(Decimal::decode(decoder)?),
            9 => Value::Choice(Choice::decode(decoder)?),
            10 => Value::Blob(Box::new(BlobId::decode(decoder)?)),
            _ => return Err(DecodeError::Other("an entry of a map within an entry, or an unknown kind of value")),
        };
        Ok(Self { key, value })
    }
}

impl<'de, Context> BorrowDecode<'de, Context> for Entry {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}
