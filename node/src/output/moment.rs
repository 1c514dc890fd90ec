//! Moments as RFC 3339 prints them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment, given in microseconds since 1970, to the second in UTC. What lies outside the calendar stays a number.
pub(crate) fn moment(micros: i64) -> String {
    let date = OffsetDateTime::from_unix_timestamp(micros.div_euclid(1_000_000)).ok();
    date.and_then(|date| date.format(&Rfc3339).ok()).unwrap_or_else(|| format!("@{micros}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_outside_the_calendar_do_not_fail() {
        assert_eq!(moment(0), "1970-01-01T00:00:00Z");
        assert_eq!(moment(i64::MAX), format!("@{}", i64::MAX));
    }
}
