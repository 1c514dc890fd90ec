//! Marks: short stand-ins for what watchers wait for.

use std::hash::{DefaultHasher, Hash, Hasher};

use caps_model::{ObjectId, Value};

/// Makes marks: SipHash with a key that everybody knows, because nothing here may be random. Two things that look alike in all 64 bits cost their
/// watchers a needless look, and to find many of them costs more than that.
#[derive(Debug, Default)]
pub(super) struct Marks;

impl Marks {
    /// The mark of a value; equal values have equal ones.
    pub(super) fn of_value(&self, value: &Value) -> u64 {
        let mut hasher = DefaultHasher::new();
        hash(value, &mut hasher);
        hasher.finish()
    }

    pub(super) fn of_word(&self, word: &str) -> u64 {
        mark(word)
    }

    pub(super) fn of_object(&self, id: ObjectId) -> u64 {
        mark(id)
    }
}

fn mark(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// As deep as a map: its entries hold no entries.
fn hash(value: &Value, hasher: &mut impl Hasher) {
    hasher.write_u8(value.kind() as u8);
    match value {
        Value::Bool(truth) => truth.hash(hasher),
        Value::Int(number) | Value::Timestamp(number) | Value::Timespan(number) => number.hash(hasher),
        Value::Float(number) => number.to_bits().hash(hasher),
        Value::Text(text) => text.hash(hasher),
        Value::Bytes(bytes) => bytes.hash(hasher),
        Value::Reference(id) => id.hash(hasher),
        Value::Decimal(number) => number.hash(hasher),
        Value::Choice(choice) => choice.rank.hash(hasher),
        Value::Blob(blob) => blob.hash.hash(hasher),
        Value::Entry(entry) => {
            entry.key().hash(hasher);
            hash(entry.value(), hasher);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cabinet::workload::{seeded, value};

    proptest! {
        #![proptest_config(seeded(512))]

        #[test]
        fn equal_values_have_equal_marks(a in value(), b in value()) {
            let marks = Marks;
            // Different values of so small a world never met in 64 bits so far, and need not be told apart.
            prop_assert!(a != b || marks.of_value(&a) == marks.of_value(&b));
        }
    }
}
