//! Names of entities, attributes, modules and methods.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bincode::de::read::Reader as _;
use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::{BorrowDecode, Decode, Encode};

/// A lower-case word of 1 to 63 characters `a-z 0-9 _`, starting with a letter: cheap to copy, safe to print and to use as a column name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty, or longer than 63 characters.
    #[error("a name has 1 to 63 characters, {0:?} has {1}")]
    Length(String, usize),
    /// A character outside `a-z 0-9 _`, or a first one that is no letter.
    #[error("a name is lower-case letters, digits and _ after a first letter: {0:?} is not")]
    Character(String),
}

impl Name {
    /// The name `text`, if it is one.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.len() > CHARACTERS_MAX {
            let start: String = text.chars().take(CHARACTERS_MAX).collect();
            return Err(NameError::Length(start, text.len()));
        }
        let letters = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
        if !text.as_bytes()[0].is_ascii_lowercase() || !text.bytes().all(letters) {
            return Err(NameError::Character(text.to_owned()));
        }
        Ok(Self(text.into()))
    }

    /// A name written in code.
    ///
    /// # Panics
    /// When `text` is not a name: a mistake of the programmer, found by the first test that runs the line.
    pub fn fixed(text: &'static str) -> Self {
        Self::new(text).expect("names written in code are names")
    }

    /// The text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

impl Encode for Name {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), bincode::error::EncodeError> {
        self.as_str().encode(encoder)
    }
}

impl<Context> Decode<Context> for Name {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, bincode::error::DecodeError> {
        let refused = |error: NameError| bincode::error::DecodeError::OtherString(error.to_string());
        let length = u64::decode(decoder)?;
        let length = usize::try_from(length).ok().filter(|length| *length <= CHARACTERS_MAX);
        // Names are most of what small messages consist of: they are read without a detour through the heap.
        let mut bytes = [0; CHARACTERS_MAX];
        let Some(bytes) = length.and_then(|length| bytes.get_mut(..length)) else {
            return Err(bincode::error::DecodeError::Other("a name has 1 to 63 characters"));
        };
        decoder.claim_bytes_read(bytes.len())?;
        decoder.reader().read(bytes)?;
        let text = std::str::from_utf8(bytes).map_err(|inner| bincode::error::DecodeError::Utf8 { inner })?;
        Self::new(text).map_err(refused)
    }
}

impl<'de, Context> BorrowDecode<'de, Context> for Name {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(decoder: &mut D) -> Result<Self, bincode::error::DecodeError> {
        Self::decode(decoder)
    }
}

/// PostgreSQL's limit for an identifier: names become views and columns there.
const CHARACTERS_MAX: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_nothing_else_is_read_as_one() {
        let configuration = bincode::config::standard();
        let read = |text: &str| {
            let bytes = bincode::encode_to_vec(text, configuration).unwrap();
            bincode::decode_from_slice::<Name, _>(&bytes, configuration).map(|(name, used)| (name.to_string(), used == bytes.len()))
        };
        for good in ["a", "due_at", &"a".repeat(63)] {
            assert_eq!(read(good).unwrap(), (good.to_owned(), true));
        }
        for bad in ["", "Case", "å", &"a".repeat(64), &"a".repeat(300)] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        let truncated = [5, b'a', b'b'];
        assert!(bincode::decode_from_slice::<Name, _>(&truncated, configuration).is_err());
        assert!(bincode::decode_from_slice::<Name, _>(&[2, 0xff, 0xfe], configuration).is_err());
    }

    #[test]
    fn only_lower_case_words_are_names() {
        for good in ["a", "case", "due_at", "x9"] {
            assert_eq!(Name::new(good).unwrap(), good);
        }
        for bad in ["", "9a", "_a", "Case", "å", "a b", "a-b", &"a".repeat(64)] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
    }
}
