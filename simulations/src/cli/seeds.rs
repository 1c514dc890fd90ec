//! Seeds as people write them: `17`, or `1..200`, both ends included.

use std::ops::RangeInclusive;
use std::str::FromStr;

/// One seed or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seeds(pub(super) RangeInclusive<u64>);

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            text.parse::<u64>().map_err(|_| format!("{text:?} is not a seed: write a whole number, or a range such as 1..200"))
        };
        let (first, last) = match text.split_once("..") {
            Some((first, last)) => (number(first)?, number(last.trim_start_matches('='))?),
            None => (number(text)?, number(text)?),
        };
        if first > last {
            return Err(format!("the range {text} is empty: its first seed is above its last"));
        }
        Ok(Self(first..=last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_numbers_and_ranges() {
        assert_eq!("17".parse(), Ok(Seeds(17..=17)));
        assert_eq!("1..200".parse(), Ok(Seeds(1..=200)));
        for text in ["", "x", "1..", "..3", "5..1", "-1", "1...3", "99999999999999999999"] {
            assert!(text.parse::<Seeds>().is_err(), "{text}");
        }
    }
}
