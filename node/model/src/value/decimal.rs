//! Exact decimal numbers.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};

/// A decimal number of up to 28 digits, as money and measures need it: 0.1 is 0.1.
///
/// Equal numbers are equal whatever zeros they were written with, and have one encoding: digits without zeros at the end, and how many of
/// them stand behind the point.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal(rust_decimal::Decimal);

/// Why a text is not a decimal number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a decimal number of at most 28 digits")]
pub struct ParseDecimalError(String);

impl Decimal {
    /// `digits` with the point `scale` places from the right; `None` beyond 28 digits.
    pub fn new(digits: i128, scale: u32) -> Option<Self> {
        rust_decimal::Decimal::try_from_i128_with_scale(digits, scale).ok().map(|number| Self(number.normalize()))
    }

    /// The digits without zeros at the end, and how many of them stand behind the point.
    pub fn parts(self) -> (i128, u32) {
        (self.0.mantissa(), self.0.scale())
    }

    /// Whether this is a whole multiple of `step`, as the constraint on resolution asks.
    pub fn is_multiple_of(self, step: Self) -> bool {
        self.0.checked_rem(step.0).is_some_and(|rest| rest.is_zero())
    }

    /// Its bytes in an order that is the order of the numbers, at most 32.
    ///
    /// A number is 0.d₁d₂... times a power of ten: a byte for its sign, one for the power, one for each digit, and an end. Those of negative
    /// numbers are turned around.
    pub fn ordered_bytes(self) -> Vec<u8> {
        let (mantissa, scale) = self.parts();
        let digits = mantissa.unsigned_abs().to_string();
        let digits = digits.trim_end_matches('0');
        if digits.is_empty() {
            return vec![ZERO];
        }
        // The trimmed zeros of a whole number are in its power.
        let length = i64::try_from(mantissa.unsigned_abs().to_string().len()).unwrap_or(i64::MAX);
        let power = u8::try_from(length - i64::from(scale) + POWER_BIAS).unwrap_or(u8::MAX);
        let body = [power].into_iter().chain(digits.bytes()).chain([0]);
        match mantissa.cmp(&0) {
            Ordering::Less => [NEGATIVE].into_iter().chain(body.map(|byte| !byte)).collect(),
            _ => [POSITIVE].into_iter().chain(body).collect(),
        }
    }
}

impl From<i64> for Decimal {
    fn from(number: i64) -> Self {
        Self(rust_decimal::Decimal::from(number))
    }
}

impl FromStr for Decimal {
    type Err = ParseDecimalError;

    fn from_str(text: &str) -> Result<Self, ParseDecimalError> {
        let number = rust_decimal::Decimal::from_str_exact(text);
        number.map(|number| Self(number.normalize())).map_err(|_| ParseDecimalError(text.chars().take(SHOWN_MAX).collect()))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decimal({})", self.0)
    }
}

impl Encode for Decimal {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.parts().encode(encoder)
    }
}

impl<Context> Decode<Context> for Decimal {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let (digits, scale) = <(i128, u32)>::decode(decoder)?;
        let number = Self::new(digits, scale).filter(|number| number.parts() == (digits, scale));
        number.ok_or(DecodeError::Other("a decimal number that is too long, or has zeros at its end"))
    }
}

impl<'de, Context> BorrowDecode<'de, Context> for Decimal {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

/// The first byte of an ordered number.
const NEGATIVE: u8 = 1;
const ZERO: u8 = 2;
const POSITIVE: u8 = 3;

/// Powers go from -27 to 29.
const POWER_BIAS: i64 = 64;

/// Of a text that is no number.
const SHOWN_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers() -> impl Strategy<Value = Decimal> {
        let short = (-1000i128..1000, 0u32..5);
        let long = (-(1i128 << 95)..(1i128 << 95), 0u32..=28);
        prop_oneof![short, long].prop_map(|(digits, scale)| Decimal::new(digits, scale).unwrap())
    }

    proptest! {
        #[test]
        fn bytes_order_as_numbers_do(a in numbers(), b in numbers()) {
            prop_assert_eq!(a.cmp(&b), a.ordered_bytes().cmp(&b.ordered_bytes()), "{} {}", a, b);
        }
    }

    #[test]
    fn zeros_at_the_end_make_no_difference() {
        let number = |text: &str| text.parse::<Decimal>().unwrap();
        assert_eq!(number("1.50"), number("1.5"));
        assert_eq!((number("1.50").parts(), number("100").parts(), number("-0.0").parts()), ((15, 1), (100, 0), (0, 0)));
        assert_eq!(number("100").ordered_bytes(), number("100.000").ordered_bytes());
        assert!("0.12345678901234567890123456789".parse::<Decimal>().is_err());
        assert!("1e5".parse::<Decimal>().is_err());
        assert!(number("2.75").is_multiple_of(number("0.25")) && !number("2.76").is_multiple_of(number("0.25")));
        assert!(!number("2").is_multiple_of(number("0")));
    }
}
