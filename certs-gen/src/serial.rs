//! The number by which an issuer knows a certificate.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::Random;

/// A serial number: 1 to 20 bytes, positive, without leading zeros (RFC 5280, section 4.1.2.2).
///
/// Shown as lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// A serial of 126 random bits: two certificates never meet in one, and nobody can guess the next.
    pub fn generate(random: &mut Random<'_>) -> Self {
        let mut bytes = [0; GENERATED_BYTES];
        random(&mut bytes);
        // Neither a sign bit nor a leading zero: every writer of DER then agrees on the bytes.
        bytes[0] = bytes[0] & 0x3f | 0x40;
        Self(bytes.to_vec())
    }

    /// The serial in these big-endian bytes, as certificates hold it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SerialError> {
        let leading_zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let significant = &bytes[leading_zeros..];
        if (1..=BYTES_MAX).contains(&significant.len()) { Ok(Self(significant.to_vec())) } else { Err(SerialError) }
    }

    /// The big-endian bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Serial {
    type Err = SerialError;

    /// Reads hexadecimal digits, with or without colons between the bytes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > BYTES_MAX * "00:".len() {
            return Err(SerialError);
        }
        let digits: Vec<u8> = text
            .chars()
            .filter(|character| *character != ':')
            .map(|character| character.to_digit(16).and_then(|digit| digit.try_into().ok()))
            .collect::<Option<_>>()
            .ok_or(SerialError)?;
        if !digits.len().is_multiple_of(2) {
            return Err(SerialError);
        }
        let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        Self::from_bytes(&bytes)
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

impl Serialize for Serial {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Serial {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The text or bytes are no serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a serial number is 1 to {BYTES_MAX} bytes in hexadecimal digits")]
pub struct SerialError;

const BYTES_MAX: usize = 20;
const GENERATED_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_agree() {
        let serial: Serial = "00:4A:ff".parse().unwrap();
        assert_eq!(serial.as_bytes(), [0x4a, 0xff]);
        assert_eq!(serial.to_string(), "4aff");
        for bad in ["", "4", "0000", "zz", &"11".repeat(21)] {
            assert!(bad.parse::<Serial>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn generated_serials_are_positive_and_of_full_length() {
        for byte in [0x00, 0x7f, 0x80, 0xff] {
            let serial = Serial::generate(&mut |bytes: &mut [u8]| bytes.fill(byte));
            assert_eq!(serial.as_bytes().len(), GENERATED_BYTES);
            assert!((0x40..0x80).contains(&serial.as_bytes()[0]));
        }
    }
}
