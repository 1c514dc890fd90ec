//! Times as certificates know them.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::UnixTime;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in time, in whole seconds, between 1970 and the end of 9999.
///
/// Certificates hold no fraction of a second and nothing later (RFC 5280, section 4.1.2.5), so
/// times outside are moved to the nearer end. Shown and stored in RFC 3339 form, in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// This moment, `duration` later.
    pub fn plus(self, duration: Duration) -> Self {
        Self::from_seconds(self.0.saturating_add(duration.as_secs()))
    }

    /// This moment, `duration` earlier.
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration.as_secs()))
    }

    /// How long it is from `earlier` to this moment; zero if it is the other way round.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }

    pub(crate) fn from_timestamp(seconds: i64) -> Self {
        Self::from_seconds(seconds.try_into().unwrap_or(0))
    }

    pub(crate) fn to_date(self) -> OffsetDateTime {
        i64::try_from(self.0)
            .ok()
            .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
            .expect("a moment lies between 1970 and 9999")
    }

    pub(crate) fn to_unix_time(self) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(self.0))
    }

    fn from_seconds(seconds: u64) -> Self {
        Self(seconds.min(SECONDS_MAX))
    }
}

impl From<SystemTime> for Moment {
    fn from(time: SystemTime) -> Self {
        Self::from_seconds(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
    }
}

impl From<Moment> for SystemTime {
    fn from(moment: Moment) -> Self {
        UNIX_EPOCH + Duration::from_secs(moment.0)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.to_date().format(&Rfc3339).map_err(|_| fmt::Error)?;
        f.pad(&text)
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Moment({self})")
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let date = OffsetDateTime::parse(&text, &Rfc3339).map_err(de::Error::custom)?;
        Ok(Self::from_timestamp(date.unix_timestamp()))
    }
}

/// 9999-12-31T23:59:59Z.
const SECONDS_MAX: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_out_of_range_move_to_the_nearer_end() {
        let before = UNIX_EPOCH - Duration::from_secs(5);
        assert_eq!(Moment::from(before).to_string(), "1970-01-01T00:00:00Z");
        let end = Moment::from(UNIX_EPOCH).plus(Duration::MAX);
        assert_eq!(end.to_string(), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn json_keeps_the_second() {
        let moment = Moment::from(UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let json = serde_json::to_string(&moment).unwrap();
        assert_eq!(json, "\"2023-11-14T22:13:20Z\"");
        assert_eq!(serde_json::from_str::<Moment>(&json).unwrap(), moment);
    }
}
