//! What objects are found by: places in ordered indexes, the same in every state.
//!
//! Each entity has an index for each attribute, with a place for each value of each live object, and one for the words of all its texts. An
//! index only proposes: whether an object matches is for the evaluator to say.

use std::collections::BTreeSet;
use std::ops::Bound;

use caps_model::query::{Word, beginning, words_of};
use caps_model::{Name, Object, ObjectId, Value};

/// An index of an entity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Index {
    /// By the values of this attribute.
    Attribute(Name),
    /// By the words of all texts.
    Words,
}

/// Where an object stands in an index: bytes that order like what it is found by, then its id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(Vec<u8>);

/// A part of an index, between two bounds of places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The lower end.
    pub from: Bound<Vec<u8>>,
    /// The upper end.
    pub to: Bound<Vec<u8>>,
}

impl Place {
    /// The place with these bytes, as an index keeps them; `None` when they cannot be one.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() > ID_BYTES).then(|| Self(bytes.to_vec()))
    }

    /// The place of an object under a value.
    pub(super) fn of(value: &[u8], id: ObjectId) -> Self {
        Self([value, &id.0.to_be_bytes()].concat())
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What the object is found by.
    pub(crate) fn value(&self) -> &[u8] {
        &self.0[..self.0.len() - ID_BYTES]
    }

    /// The value, if it is a moment, or a moment under a key.
    pub(crate) fn timestamp(&self) -> Option<i64> {
        let (before, micros) = self.value().split_last_chunk()?;
        (before.last() == Some(&TIMESTAMP)).then(|| i64::from_be_bytes(*micros) ^ i64::MIN)
    }

    /// The object.
    pub(crate) fn object(&self) -> ObjectId {
        let id = self.0.last_chunk().expect("a place ends with an id");
        ObjectId(u128::from_be_bytes(*id))
    }
}

impl Span {
    /// All of an index.
    pub(crate) fn all() -> Self {
        Self { from: Bound::Unbounded, to: Bound::Unbounded }
    }

    /// Everything whose place begins so.
    pub(crate) fn beginning(bytes: &[u8]) -> Self {
        Self { from: Bound::Included(bytes.to_vec()), to: after_all(bytes) }
    }

    /// Everything with this value; values whose first bytes are equal, too.
    pub(crate) fn of_value(value: &Value) -> Self {
        Self::beginning(&ordered(value))
    }

    /// Everything with a value between these, and of their kind; some neighbours, too.
    pub(crate) fn between(from: &Bound<Value>, to: &Bound<Value>) -> Self {
        let limit = |bound: &Bound<Value>| match bound {
            Bound::Included(value) | Bound::Excluded(value) => Some(ordered(value)),
            Bound::Unbounded => None,
        };
        match (limit(from), limit(to)) {
            (Some(from), Some(to)) => Self { from: Bound::Included(from), to: after_all(&to) },
            (Some(from), None) => Self { to: after_all(&from[..1]), from: Bound::Included(from) },
            (None, Some(to)) => Self { from: Bound::Included(to[..1].to_vec()), to: after_all(&to) },
            (None, None) => Self::all(),
        }
    }

    /// Everything with a text that begins so.
    pub(crate) fn of_prefix(prefix: &str) -> Self {
        let start = beginning(prefix, TEXT_BYTES_MAX);
        Self::beginning(&[&[TEXT], escaped(start.as_bytes()).as_slice()].concat())
    }

    /// Everything that has an entry under this key.
    pub(crate) fn of_key(key: &str) -> Self {
        Self::beginning(&entry_prefix(key))
    }

    /// The same part of the values under a key of a map.
    pub(crate) fn under_key(self, key: &str) -> Self {
        let prefix = entry_prefix(key);
        let under = |bound: Bound<Vec<u8>>| bound.map(|bytes| [prefix.as_slice(), &bytes].concat());
        let whole = Self::beginning(&prefix);
        let or = |bound: Bound<Vec<u8>>, end: Bound<Vec<u8>>| if bound == Bound::Unbounded { end } else { under(bound) };
        Self { from: or(self.from, whole.from), to: or(self.to, whole.to) }
    }

    /// Everything with this word, or a word that begins so.
    pub(crate) fn of_word(word: &Word) -> Self {
        match word.begins {
            true => Self::beginning(&escaped(word.text.as_bytes())),
            false => Self::beginning(&terminated(word.text.as_bytes())),
        }
    }

    /// What of this comes after a place, or before it when the index is read backwards.
    pub(crate) fn beyond(mut self, place: &Place, backwards: bool) -> Self {
        let bound = Bound::Excluded(place.0.clone());
        if backwards {
            self.to = bound;
        } else {
            self.from = bound;
        }
        self
    }

    /// Whether there is nothing in it; ordered maps refuse to look.
    pub(super) fn is_empty(&self) -> bool {
        match (&self.from, &self.to) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
        }
    }
}

/// Where an object stands and did not before, and where it stood and does no more, the same for each entity that it is of: `put` is given the
/// index, the bytes of the place, and whether the object stands there now. A place may be given twice, but not once as each.
///
/// What did not change is not looked at: a commit that changes one attribute of a large object pays for that one, and for the words of its
/// texts only when a text changed.
pub(super) fn differences(before: Option<&Object>, after: Option<&Object>, mut put: impl FnMut(&Index, &[u8], bool)) {
    let Some(id) = after.or(before).map(|object| object.id) else { return };
    let mut bytes = Vec::new();
    let mut texts_changed = false;
    for attribute in attributes_of(before, after) {
        let (old, new) = (values_of(before, attribute), values_of(after, attribute));
        if old == new {
            continue;
        }
        texts_changed |= old.iter().chain(new).any(|value| value.text_within().is_some());
        let index = Index::Attribute(attribute.clone());
        if old.is_empty() {
            for value in new {
                bytes.clear();
                put_place(&mut bytes, |bytes| put_ordered(bytes, value), id);
                put(&index, &bytes, true);
            }
            continue;
        }
        let placed = |values: &[Value]| values.iter().map(|value| Place::of(&ordered(value), id)).collect::<BTreeSet<_>>();
        tell(&placed(old), &placed(new), |place, stands| put(&index, place.as_bytes(), stands));
    }
    if !texts_changed {
        return;
    }
    let (old, new) = (words_in(before), words_in(after));
    tell(&old, &new, |word, stands| {
        bytes.clear();
        put_place(&mut bytes, |bytes| put_terminated(bytes, word.as_bytes()), id);
        put(&Index::Words, &bytes, stands);
    });
}

fn attributes_of<'a>(before: Option<&'a Object>, after: Option<&'a Object>) -> impl Iterator<Item = &'a Name> {
    let only_before = before.into_iter().flat_map(|object| object.attributes.keys());
    let only_before = only_before.filter(move |name| after.is_none_or(|object| !object.attributes.contains_key(*name)));
    after.into_iter().flat_map(|object| object.attributes.keys()).chain(only_before)
}

fn values_of<'a>(object: Option<&'a Object>, attribute: &Name) -> &'a [Value] {
    object.map_or(&[], |object| object.values(attribute.as_str()))
}

fn words_in(object: Option<&Object>) -> BTreeSet<String> {
    let values = object.into_iter().flat_map(|object| object.attributes.values().flatten());
    values.filter_map(Value::text_within).flat_map(words_of).collect()
}

fn tell<T: Ord>(old: &BTreeSet<T>, new: &BTreeSet<T>, mut put: impl FnMut(&T, bool)) {
    old.difference(new).for_each(|gone| put(gone, false));
    new.difference(old).for_each(|come| put(come, true));
}

fn put_place(bytes: &mut Vec<u8>, put_value: impl FnOnce(&mut Vec<u8>), id: ObjectId) {
    put_value(bytes);
    bytes.extend_from_slice(&id.0.to_be_bytes());
}

/// The value as bytes that order like it, of a text only the first [`TEXT_BYTES_MAX`]. No value's bytes are the beginning of another's.
pub(crate) fn ordered(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ORDERED_BYTES);
    put_ordered(&mut bytes, value);
    bytes
}

fn put_ordered(bytes: &mut Vec<u8>, value: &Value) {
    let mut tagged = |tag: u8, after: &[u8]| {
        bytes.push(tag);
        bytes.extend_from_slice(after);
    };
    match value {
        Value::Bool(truth) => tagged(BOOL, &[u8::from(*truth)]),
        Value::Int(number) => tagged(INT, &signed(*number)),
        Value::Float(number) => tagged(FLOAT, &float(*number)),
        Value::Timestamp(micros) => tagged(TIMESTAMP, &signed(*micros)),
        Value::Timespan(micros) => tagged(TIMESPAN, &signed(*micros)),
        Value::Reference(id) => tagged(REFERENCE, &id.0.to_be_bytes()),
        Value::Decimal(number) => tagged(DECIMAL, &number.ordered_bytes()),
        Value::Choice(choice) => tagged(CHOICE, &signed(i64::from(choice.rank))),
        Value::Text(text) => {
            bytes.push(TEXT);
            put_terminated(bytes, start(text.as_bytes()));
        }
        Value::Bytes(octets) => {
            bytes.push(BYTES);
            put_terminated(bytes, start(octets));
        }
        Value::Blob(blob) => {
            tagged(BLOB, &blob.hash);
            bytes.extend_from_slice(&blob.size_bytes.to_be_bytes());
        }
        Value::Entry(entry) => {
            bytes.extend_from_slice(&entry_prefix(entry.key()));
            put_ordered(bytes, entry.value());
        }
    }
}

/// Whether the bytes of the value tell it from all others.
pub(crate) fn is_exact(value: &Value) -> bool {
    match value {
        Value::Text(text) => text.len() < TEXT_BYTES_MAX,
        Value::Bytes(bytes) => bytes.len() < TEXT_BYTES_MAX,
        Value::Entry(entry) => entry.key().len() < TEXT_BYTES_MAX && is_exact(entry.value()),
        _ => true,
    }
}

fn entry_prefix(key: &str) -> Vec<u8> {
    [&[ENTRY], terminated(start(key.as_bytes())).as_slice()].concat()
}

fn start(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(TEXT_BYTES_MAX)]
}

/// Flipping the sign bit makes negative numbers sort first.
fn signed(number: i64) -> [u8; 8] {
    (number ^ i64::MIN).to_be_bytes()
}

/// As `f64::total_cmp` orders: of negative numbers, all bits are turned around.
fn float(number: f64) -> [u8; 8] {
    let bits = number.to_bits();
    let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    ordered.to_be_bytes()
}

/// Zeros are escaped and the end is marked, so that what follows does not disturb the order of texts of different lengths.
fn terminated(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() + 2);
    put_terminated(&mut bytes, text);
    bytes
}

fn put_terminated(bytes: &mut Vec<u8>, text: &[u8]) {
    put_escaped(bytes, text);
    bytes.extend_from_slice(&[0, 0]);
}

fn escaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    put_escaped(&mut bytes, text);
    bytes
}

fn put_escaped(bytes: &mut Vec<u8>, text: &[u8]) {
    for byte in text {
        bytes.push(*byte);
        if *byte == 0 {
            bytes.push(1);
        }
    }
}

/// The end of everything that begins so.
fn after_all(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Bound::Excluded(end);
        }
    }
    Bound::Unbounded
}

/// The kinds, in the order of values of different kinds.
const BOOL: u8 = 1;
const INT: u8 = 2;
const FLOAT: u8 = 3;
const TEXT: u8 = 4;
const TIMESTAMP: u8 = 5;
const TIMESPAN: u8 = 6;
const BYTES: u8 = 7;
const REFERENCE: u8 = 8;
const DECIMAL: u8 = 9;
const CHOICE: u8 = 10;
const BLOB: u8 = 11;
const ENTRY: u8 = 12;

/// Bytes of a text that an index keeps: enough to tell subjects apart, and a mail's body does not bloat it.
const TEXT_BYTES_MAX: usize = 64;

const ID_BYTES: usize = 16;

/// Room for most values without growing.
const ORDERED_BYTES: usize = 40;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cabinet::workload::{seeded, value};

    fn short() -> impl Strategy<Value = Value> {
        prop_oneof![
            4 => value(),
            1 => any::<i64>().prop_map(Value::Int),
            1 => any::<f64>().prop_map(Value::Float),
            1 => "[\\x00-\\x02a-cé]{0,6}".prop_map(Value::Text),
        ]
    }

    proptest! {
        #![proptest_config(seeded(1024))]

        #[test]
        fn bytes_order_like_values(a in short(), b in short()) {
            let (bytes_a, bytes_b) = (ordered(&a), ordered(&b));
            if is_exact(&a) && is_exact(&b) {
                prop_assert_eq!(bytes_a.cmp(&bytes_b), a.cmp(&b));
                // No bytes are the beginning of others, so ids that follow do not matter.
                prop_assert!(a == b || !bytes_a.starts_with(&bytes_b));
            } else {
                // Equal beginnings may make them equal, but never turn the order around.
                prop_assert!(a > b || bytes_a <= bytes_b);
            }
        }

        #[test]
        fn long_texts_keep_a_weak_order(a in "[ab]{60,70}", b in "[ab]{60,70}") {
            prop_assert!(a > b || ordered(&Value::text(&*a)) <= ordered(&Value::text(&*b)));
        }
    }

    #[test]
    fn golden_bytes() {
        assert_eq!(ordered(&Value::Int(-1)), [2, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(ordered(&Value::Int(1)), [2, 0x80, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(ordered(&Value::text("a\0b")), [4, b'a', 0, 1, b'b', 0, 0]);
        assert_eq!(after_all(&[1, 0xff, 0xff]), Bound::Excluded(vec![2]));
    }
}
