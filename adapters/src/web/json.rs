//! JSON that comes from strangers (RFC 8259), read within bounds.
//!
//! A name that comes twice in one object is refused rather than read as the first or the last one: two programs that choose differently see two
//! messages. Numbers are whole if they fit 64 bits and are written whole; what does not fit is a float, and whoever wants a whole number refuses it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
pub use serde_json::{Map, Value, json};

/// Why something is not JSON that is taken here.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(serde_json::Error);

/// Reads one JSON text; nothing but white space may follow it.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    let mut left = VALUES_MAX;
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Bounded { depth: 0, left: &mut left }.deserialize(&mut deserializer).map_err(JsonError)?;
    deserializer.end().map_err(JsonError)?;
    Ok(value)
}

/// Reads a value at a depth, with so many values left.
struct Bounded<'a> {
    depth: usize,
    left: &'a mut usize,
}

impl Bounded<'_> {
    fn within(&mut self) -> Bounded<'_> {
        Bounded { depth: self.depth + 1, left: self.left }
    }

    fn enter<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.depth >= DEPTH_MAX { Err(E::custom(format_args!("nested deeper than {DEPTH_MAX}"))) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        *self.left = self.left.checked_sub(1).ok_or_else(|| D::Error::custom(format_args!("more than {VALUES_MAX} values")))?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(truth.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<Value, A::Error> {
        self.enter()?;
        let mut list = Vec::new();
        while let Some(element) = elements.next_element_seed(self.within())? {
            list.push(element);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        self.enter()?;
        let mut map = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            if map.contains_key(&name) {
                return Err(A::Error::custom(format_args!("the name {name:?} comes twice")));
            }
            let value = entries.next_value_seed(self.within())?;
            map.insert(name, value);
        }
        Ok(map.into())
    }
}

/// Arrays and objects within each other.
pub const DEPTH_MAX: usize = 16;

/// Values in one text, those within others included.
pub const VALUES_MAX: usize = 50_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hostile_texts_are_refused_with_a_reason() {
        let table = [
            ("[".repeat(100_000), "nested deeper than 16"),
            (r#"{"a":"#.repeat(17), "nested deeper than 16"),
            (r#"{"a":1,"b":{"c":1,"c":2}}"#.to_owned(), "\"c\" comes twice"),
            ("[0".to_owned() + &",0".repeat(VALUES_MAX) + "]", "more than 50000 values"),
            ("1 2".to_owned(), "trailing characters"),
            ("1e999".to_owned(), "number out of range"),
            ("{\"a\":\u{1}1}".to_owned(), "expected value"),
            ("NaN".to_owned(), "expected value"),
            (r#""\ud800""#.to_owned(), "hex escape"),
        ];
        for (text, complaint) in table {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(complaint), "{error}");
        }
        assert!(parse(b"\"\xff\"").is_err());
    }

    #[test]
    fn whole_numbers_stay_whole_as_long_as_they_fit() {
        let read = |text: &str| parse(text.as_bytes()).unwrap();
        assert_eq!(read("9223372036854775807").as_i64(), Some(i64::MAX));
        assert_eq!(read("-9223372036854775808").as_i64(), Some(i64::MIN));
        assert_eq!((read("123456789012345678901234567890").as_i64(), read("1.0").as_i64(), read("1e3").as_i64()), (None, None, None));
    }

    #[test]
    fn a_number_is_read_as_it_is_written() {
        // Read fast, it would be 0.000030000003.
        assert_eq!(parse(b"0.000030000003000000002").unwrap().to_string(), "0.000030000003000000002");
        assert_eq!(parse(b"0.30000000000000004").unwrap().as_f64(), Some(0.1 + 0.2));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

        #[test]
        fn what_serde_reads_is_read_the_same(text in r#"[\[\]{}:,"a1.e -]{0,24}"#) {
            let theirs = serde_json::from_str::<Value>(&text);
            match parse(text.as_bytes()) {
                Ok(ours) => prop_assert_eq!(ours, theirs.unwrap()),
                Err(error) => prop_assert!(theirs.is_err() || error.to_string().contains("twice") || error.to_string().contains("deeper")),
            }
        }

        #[test]
        fn every_number_reads_back(number in proptest::num::f64::NORMAL) {
            prop_assert_eq!(parse(Value::from(number).to_string().as_bytes()).unwrap().as_f64(), Some(number));
        }

        #[test]
        fn no_bytes_make_it_fall(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            parse(&bytes).ok();
        }
    }
}
