//! Numbers that name things: objects, commits, and places in the order of commits.

use std::fmt;
use std::str::FromStr;

use bincode::{Decode, Encode};

/// The name of one object for ever: 48 bits of milliseconds since 1970, then 80 random bits, so that ids sort by birth.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct ObjectId(pub u128);

/// The name of one commit, chosen by the front end that asks for it, so that it can ask again after any failure.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct CommitId(pub u128);

/// The number of a commit in its cabinet: dense, from 1. 0 is the empty cabinet.
///
/// It is also the token of session consistency: a read "at least at" a position sees every commit up to it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Position(pub u64);

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// The text has another length.
    #[error("an id has 26 characters, this has {0}")]
    Length(usize),
    /// A character outside the alphabet `0-9a-z` without `i l o u`.
    #[error("{0:?} does not occur in ids (0-9 and a-z without i, l, o, u)")]
    Character(char),
    /// The first character says more than 128 bits.
    #[error("the id is larger than 128 bits")]
    Overflow,
}

impl ObjectId {
    /// An id for an object born at `unix_ms`, told apart from its siblings by `random` (80 bits are used).
    pub fn new(unix_ms: u64, random: u128) -> Self {
        Self(stamp(unix_ms, random))
    }
}

impl CommitId {
    /// An id for a commit first asked for at `unix_ms`, told apart from others by `random` (80 bits are used).
    pub fn new(unix_ms: u64, random: u128) -> Self {
        Self(stamp(unix_ms, random))
    }
}

impl Position {
    /// The empty cabinet.
    pub const ZERO: Self = Self(0);

    /// The position of the commit after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32(self.0))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{self}")
    }
}

impl FromStr for ObjectId {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        parse_base32(text).map(Self)
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32(self.0))
    }
}

impl fmt::Debug for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "commit {self}")
    }
}

impl FromStr for CommitId {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        parse_base32(text).map(Self)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

fn stamp(unix_ms: u64, random: u128) -> u128 {
    let ms = u128::from(unix_ms & 0xffff_ffff_ffff);
    (ms << 80) | (random & ((1 << 80) - 1))
}

fn base32(mut number: u128) -> String {
    let mut text = [b'0'; ID_CHARACTERS];
    for place in text.iter_mut().rev() {
        *place = ALPHABET[(number & 31) as usize];
        number >>= 5;
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn parse_base32(text: &str) -> Result<u128, ParseIdError> {
    let length = text.chars().count();
    if length != ID_CHARACTERS {
        return Err(ParseIdError::Length(length));
    }
    let mut number: u128 = 0;
    for character in text.chars() {
        let lower = character.to_ascii_lowercase();
        let digit = ALPHABET.iter().position(|&a| char::from(a) == lower).ok_or(ParseIdError::Character(character))?;
        if number >> 123 != 0 {
            return Err(ParseIdError::Overflow);
        }
        number = (number << 5) | digit as u128;
    }
    Ok(number)
}

/// Crockford's alphabet, in lower case: no letter that looks like a digit.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// 128 bits at 5 bits a character.
const ID_CHARACTERS: usize = 26;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_of_an_id_reads_back(number: u128) {
            let id = ObjectId(number);
            prop_assert_eq!(id.to_string().parse::<ObjectId>(), Ok(id));
        }

        #[test]
        fn any_text_is_an_id_or_an_error(text in ".{0,40}") {
            text.parse::<CommitId>().ok();
        }
    }

    #[test]
    fn ids_sort_by_birth() {
        assert!(ObjectId::new(1, u128::MAX) < ObjectId::new(2, 0));
    }

    #[test]
    fn too_large_an_id_is_refused() {
        assert_eq!("zzzzzzzzzzzzzzzzzzzzzzzzzz".parse::<ObjectId>(), Err(ParseIdError::Overflow));
    }
}
