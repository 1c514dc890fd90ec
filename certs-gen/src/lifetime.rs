//! Spans of time as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// A span of time such as `30d`, `12h` or `2w`; shown in its two greatest units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lifetime(pub Duration);

impl FromStr for Lifetime {
    type Err = LifetimeError;

    /// Reads a whole number and one of the units `m`, `h`, `d`, `w`, or a bare number of days.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.trim_end_matches(|character: char| character.is_ascii_lowercase());
        let unit = match &text[digits.len()..] {
            "m" => MINUTE,
            "h" => HOUR,
            "d" | "" => DAY,
            "w" => 7 * DAY,
            _ => return Err(LifetimeError),
        };
        let count: u64 = digits.parse().map_err(|_| LifetimeError)?;
        let seconds = count.checked_mul(unit).ok_or(LifetimeError)?;
        if (1..=SECONDS_MAX).contains(&seconds) && digits.starts_with(|c: char| c.is_ascii_digit()) {
            Ok(Self(Duration::from_secs(seconds)))
        } else {
            Err(LifetimeError)
        }
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (days, hours, minutes) = (seconds / DAY, seconds % DAY / HOUR, seconds % HOUR / MINUTE);
        let text = match (days, hours, minutes) {
            (0, 0, minutes) => format!("{minutes}m"),
            (0, hours, minutes) => format!("{hours}h {minutes}m"),
            (days, hours, _) => format!("{days}d {hours}h"),
        };
        f.pad(&text)
    }
}

/// The text is no span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("write a whole number and a unit, such as 12h, 30d or 2w; at most ten years")]
pub struct LifetimeError;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// Nothing here lives longer than a root.
const SECONDS_MAX: u64 = 3650 * DAY;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_shown() {
        for (text, shown) in [("30d", "30d 0h"), ("90", "90d 0h"), ("36h", "1d 12h"), ("90m", "1h 30m")] {
            assert_eq!(text.parse::<Lifetime>().unwrap().to_string(), shown);
        }
        for bad in ["", "d", "0d", "-1d", "+1d", "1y", "1 d", "3651d", "99999999999999999999d"] {
            assert!(bad.parse::<Lifetime>().is_err(), "{bad:?}");
        }
    }
}
