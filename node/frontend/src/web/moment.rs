//! Moments and lengths of time as people read and write them.

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

/// A moment in RFC 3339, exact to the microsecond; what lies outside its calendar is cut to its ends.
pub(crate) fn rfc3339(micros: i64) -> String {
    let cut = micros.clamp(EARLIEST, LATEST);
    let date = OffsetDateTime::from_unix_timestamp_nanos(i128::from(cut) * 1_000).ok();
    date.and_then(|date| date.format(&Rfc3339).ok()).unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
}

/// A moment to the minute, for people: `2026-11-22 10:30`, in UTC. Browsers make local time of it.
pub(crate) fn readable(micros: i64) -> String {
    let date = OffsetDateTime::from_unix_timestamp(micros.div_euclid(1_000_000)).ok();
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]");
    date.and_then(|date| date.format(format).ok()).unwrap_or_else(|| format!("@{micros}"))
}

/// A moment as a field of a form holds it, to the second.
pub(crate) fn of_field(micros: i64) -> String {
    let date = OffsetDateTime::from_unix_timestamp(micros.div_euclid(1_000_000)).ok();
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
    date.and_then(|date| date.format(format).ok()).unwrap_or_default()
}

/// A moment as it is written: RFC 3339, or without an offset, which is UTC then.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let text = text.trim();
    let utc = || {
        let formats = [
            format_description!(version = 2, "[year]-[month]-[day]T[hour]:[minute]:[second]"),
            format_description!(version = 2, "[year]-[month]-[day]T[hour]:[minute]"),
            format_description!(version = 2, "[year]-[month]-[day] [hour]:[minute]"),
        ];
        formats.iter().find_map(|format| PrimitiveDateTime::parse(text, format).ok()).map(PrimitiveDateTime::assume_utc)
    };
    let date = OffsetDateTime::parse(text, &Rfc3339).ok().or_else(utc)?;
    i64::try_from(date.unix_timestamp_nanos().div_euclid(1_000)).ok()
}

/// How far a moment is from now: `in 3 h`, `2 d ago`.
pub(crate) fn from_now(micros: i64, now: i64) -> String {
    let far = micros.saturating_sub(now);
    match rough(far.saturating_abs()) {
        None => "now".to_owned(),
        Some(text) if far < 0 => format!("{text} ago"),
        Some(text) => format!("in {text}"),
    }
}

fn rough(micros: i64) -> Option<String> {
    let minutes = micros / 60_000_000;
    match minutes {
        0 => None,
        1..120 => Some(format!("{minutes} min")),
        120..2_880 => Some(format!("{} h", minutes / 60)),
        _ => Some(format!("{} d", minutes / 1_440)),
    }
}

/// A length of time in the units that people use: `1d 2h`, `350ms`.
pub(crate) fn span(micros: i64) -> String {
    let mut left = micros.unsigned_abs();
    let mut text = if micros < 0 { "-".to_owned() } else { String::new() };
    for (unit, size) in UNITS {
        let count = left / size;
        left %= size;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    if text.is_empty() || text == "-" { "0s".to_owned() } else { text }
}

const UNITS: [(&str, u64); 6] =
    [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];

/// The years that RFC 3339 knows: 0000 and 9999.
const EARLIEST: i64 = -62_167_219_200_000_000;
const LATEST: i64 = 253_402_300_799_999_999;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_back() {
        for micros in [0, 1, -1, 1_795_343_400_123_456, EARLIEST, LATEST] {
            assert_eq!(parse(&rfc3339(micros)), Some(micros));
        }
        assert_eq!(parse("1970-01-01T00:01"), Some(60_000_000));
        assert_eq!(parse(&of_field(60_000_000)), Some(60_000_000));
        assert_eq!((parse("x"), parse("2026-13-01T00:00"), rfc3339(i64::MAX)), (None, None, rfc3339(LATEST)));
    }

    #[test]
    fn distances_are_rough_and_spans_exact() {
        let minute = 60_000_000;
        assert_eq!(
            ["now", "in 5 min", "3 h ago", "in 4 d"],
            [from_now(9, 0), from_now(5 * minute, 0), from_now(0, 180 * minute), from_now(5_800 * minute, 0)]
        );
        assert_eq!([span(90 * minute), span(-1), span(0)], ["1h30m", "-1us", "0s"]);
    }
}
