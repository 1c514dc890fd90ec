//! `Idempotency-Key`: a name that a client gives to a request, so that it can repeat it (draft-ietf-httpapi-idempotency-key-header).

use sha2::{Digest, Sha256};

/// A key: 1 to 255 visible ASCII characters, with or without quotes around.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(String);

/// The field is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an Idempotency-Key is 1 to {KEY_BYTES_MAX} visible ASCII characters")]
pub struct KeyError;

impl Key {
    /// Reads a field.
    pub fn parse(field: &str) -> Result<Self, KeyError> {
        let text = field.trim();
        let text = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
        let good = (1..=KEY_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if good { Ok(Self(text.to_owned())) } else { Err(KeyError) }
    }

    /// The key as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A number that this key always has within a scope, and that nobody guesses for another one: 128 bits of a SHA-256.
    pub fn number(&self, scope: &[&str]) -> u128 {
        number_of(&[scope, &[self.0.as_str()]].concat())
    }
}

/// A number that these parts always have: 128 bits of a SHA-256.
pub fn number_of(parts: &[&str]) -> u128 {
    let mut hash = Sha256::new();
    for part in parts {
        // The length in front keeps neighbours apart.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut number = [0; 16];
    number.copy_from_slice(&hash.finalize()[..16]);
    u128::from_be_bytes(number)
}

/// Bytes of a key.
pub const KEY_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_numbers_of_their_own() {
        let key = Key::parse(" \"a-1\" ").unwrap();
        assert_eq!(key.as_str(), "a-1");
        assert_eq!(key.number(&["x"]), Key::parse("a-1").unwrap().number(&["x"]));
        assert_ne!(key.number(&["x"]), key.number(&["y"]));
        assert_ne!(Key::parse("bc").unwrap().number(&["a"]), Key::parse("c").unwrap().number(&["ab"]));
        for field in ["", "\"\"", "a b", "å", &"a".repeat(256)] {
            assert_eq!(Key::parse(field), Err(KeyError), "{field}");
        }
    }
}
