//! Keys whose byte order is the order of what they name.

use std::ops::{Bound, RangeInclusive};

use caps_model::{CommitId, Name, Object, ObjectId, Position, Value};

use super::IndexRange;

/// The key of the mark and the counts.
pub(super) const MARK: &[u8] = b"m";

/// The key of one version of an object.
pub(super) fn version(id: ObjectId, position: Position) -> Vec<u8> {
    [b"o".as_slice(), &id.0.to_be_bytes(), &position.0.to_be_bytes()].concat()
}

/// The key that lists an object under its entity.
pub(super) fn member(entity: &Name, id: ObjectId) -> Vec<u8> {
    [b"e".as_slice(), entity.as_str().as_bytes(), &[0], &id.0.to_be_bytes()].concat()
}

/// The key of a commit.
pub(super) fn commit(position: Position) -> Vec<u8> {
    [b"c".as_slice(), &position.0.to_be_bytes()].concat()
}

/// The key of what became of a commit.
pub(super) fn fate(id: CommitId) -> Vec<u8> {
    [b"i".as_slice(), &id.0.to_be_bytes()].concat()
}

/// The object that a key of an entity or of a value ends with.
pub(super) fn object_of(key: &[u8]) -> Option<ObjectId> {
    key.last_chunk().map(|bytes| ObjectId(u128::from_be_bytes(*bytes)))
}

/// The keys under which an object's values are found.
pub(super) fn values(object: &Object) -> impl Iterator<Item = Vec<u8>> {
    object.attributes.iter().flatten_pairs().filter_map(|(attribute, value)| {
        let value = ordered(value)?;
        Some([attribute_prefix(&object.entity, attribute), value, object.id.0.to_be_bytes().to_vec()].concat())
    })
}

/// The keys under which values of a range are found, and some of their neighbours; `None` when the range is empty or not of one indexed kind.
pub(super) fn value_range(entity: &Name, range: &IndexRange) -> Option<RangeInclusive<Vec<u8>>> {
    let prefix = attribute_prefix(entity, &range.attribute);
    let limit = |bound: &Bound<Value>| match bound {
        Bound::Included(value) | Bound::Excluded(value) => Some(ordered(value)),
        Bound::Unbounded => None,
    };
    // An id of 16 bytes follows a value; kinds are numbered, and no value is empty.
    let beyond = |value: Vec<u8>| [value, vec![0xff; 17]].concat();
    let (from, to) = match (limit(&range.from), limit(&range.to)) {
        (Some(from), Some(to)) => (from?, beyond(to?)),
        (Some(from), None) => from.map(|from| (from.clone(), vec![from[0] + 1]))?,
        (None, Some(to)) => to.map(|to| (vec![to[0]], beyond(to)))?,
        (None, None) => return None,
    };
    let (from, to) = ([prefix.clone(), from].concat(), [prefix, to].concat());
    (from <= to).then_some(from..=to)
}

/// The value as bytes that order like it, no longer than some 130 bytes; `None` for kinds that are not indexed.
///
/// Indexed are the kinds that people and modules look things up by: numbers of cases, states, due times, owners, addresses. A text is indexed
/// by its first [`TEXT_BYTES_MAX`] bytes: enough to tell subjects apart, and a mail's body does not bloat the index. Floats, spans and bytes
/// are looked up so rarely that they do not earn a write each.
pub(super) fn ordered(value: &Value) -> Option<Vec<u8>> {
    let tagged = |tag: u8, bytes: &[u8]| Some([&[tag], bytes].concat());
    match value {
        Value::Bool(truth) => tagged(1, &[u8::from(*truth)]),
        Value::Int(number) => tagged(2, &signed(*number)),
        Value::Timestamp(micros) => tagged(4, &signed(*micros)),
        Value::Reference(id) => tagged(5, &id.0.to_be_bytes()),
        Value::Text(text) => tagged(3, &terminated(&text.as_bytes()[..text.len().min(TEXT_BYTES_MAX)])),
        Value::Float(_) | Value::Timespan(_) | Value::Bytes(_) => None,
    }
}

fn attribute_prefix(entity: &Name, attribute: &Name) -> Vec<u8> {
    [b"v".as_slice(), entity.as_str().as_bytes(), &[0], attribute.as_str().as_bytes(), &[0]].concat()
}

/// Flipping the sign bit makes negative numbers sort first.
fn signed(number: i64) -> [u8; 8] {
    (number ^ i64::MIN).to_be_bytes()
}

/// Zeros are escaped and the end is marked, so that what follows in the key does not disturb the order of texts of different lengths.
fn terminated(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() + 2);
    for byte in text {
        bytes.push(*byte);
        if *byte == 0 {
            bytes.push(1);
        }
    }
    bytes.extend_from_slice(&[0, 0]);
    bytes
}

/// Pairs of a name and each of its values.
trait FlattenPairs<'a>: Iterator<Item = (&'a Name, &'a Vec<Value>)> + Sized {
    fn flatten_pairs(self) -> impl Iterator<Item = (&'a Name, &'a Value)> {
        self.flat_map(|(name, values)| values.iter().map(move |value| (name, value)))
    }
}

impl<'a, I: Iterator<Item = (&'a Name, &'a Vec<Value>)>> FlattenPairs<'a> for I {}

/// Bytes of a text that its key keeps.
const TEXT_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cabinet::workload::seeded;

    fn indexed() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            (-3..3_i64).prop_map(Value::Int),
            any::<i64>().prop_map(Value::Timestamp),
            any::<u128>().prop_map(|id| Value::Reference(ObjectId(id))),
            "[\\x00-\\x02a-cé]{0,6}".prop_map(Value::Text),
        ]
    }

    proptest! {
        #![proptest_config(seeded(256))]

        #[test]
        fn keys_order_like_values(a in indexed(), b in indexed()) {
            let (key_a, key_b) = (ordered(&a).unwrap(), ordered(&b).unwrap());
            prop_assert_eq!(key_a.cmp(&key_b), a.cmp(&b));
            // No key is the beginning of another, so ids that follow do not matter.
            prop_assert!(a == b || !key_a.starts_with(&key_b));
        }

        #[test]
        fn long_texts_keep_a_weak_order(a in "[ab]{60,70}", b in "[ab]{60,70}") {
            let (key_a, key_b) = (ordered(&Value::text(&*a)).unwrap(), ordered(&Value::text(&*b)).unwrap());
            // Equal beginnings may make keys equal, but never turn the order around.
            prop_assert!(a > b || key_a <= key_b);
        }
    }

    #[test]
    fn golden_keys() {
        assert_eq!(ordered(&Value::Int(-1)).unwrap(), [2, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(ordered(&Value::Int(1)).unwrap(), [2, 0x80, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(ordered(&Value::text("a\0b")).unwrap(), [3, b'a', 0, 1, b'b', 0, 0]);
        assert_eq!(ordered(&Value::Bytes(vec![1])), None);
    }
}
