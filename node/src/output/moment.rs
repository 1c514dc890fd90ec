//! Moments as RFC 3339 prints them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment, given in microseconds since 1970, to the second in UTC. What lies outside the calendar stays a number.
pub(crate) fn moment(micros: i64) -> String {
    let date = OffsetDateTime::from_unix_timestamp(micros.div_euclid(1_000_000)).ok();
    date.and_then(|date| date.format(&Rfc3339).ok()).unwrap_or_else(|| format!("@{micros}"))
}

/// A moment to the microsecond, for programs.
pub(crate) fn exact_moment(micros: i64) -> String {
    let date = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).ok();
    date.and_then(|date| date.format(&Rfc3339).ok()).unwrap_or_else(|| format!("@{micros}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_outside_the_calendar_do_not_fail() {
        assert_eq!(moment(0), "1970-01-01T00:00:00Z");
        assert_eq!(moment(i64::MAX), format!("@{}", i64::MAX));
        assert_eq!((exact_moment(i64::MIN), exact_moment(0).as_str()), (format!("@{}", i64::MIN), "1970-01-01T00:00:00Z"));
        assert_eq!(
            (exact_moment(1_500_000).as_str(), exact_moment(-1).as_str()),
            ("1970-01-01T00:00:01.5Z", "1969-12-31T23:59:59.999999Z")
        );
    }
}
