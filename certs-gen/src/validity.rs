//! From when and until when a certificate holds.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::Moment;

/// The period in which a certificate holds, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validity {
    /// The first second.
    pub not_before: Moment,
    /// The last second.
    pub not_after: Moment,
}

impl Validity {
    /// `lifetime` from `now` on, and [`BACKDATE`] before it.
    pub fn starting(now: SystemTime, lifetime: Duration) -> Self {
        let now = Moment::from(now);
        Self { not_before: now.minus(BACKDATE), not_after: now.plus(lifetime) }
    }

    /// Exactly this period; the two may even be the wrong way round, which no verifier accepts.
    pub fn between(not_before: SystemTime, not_after: SystemTime) -> Self {
        Self { not_before: not_before.into(), not_after: not_after.into() }
    }

    /// This period, ended no later than `issuer`'s: a certificate is worth nothing longer than
    /// the one that vouches for it.
    pub fn within(self, issuer: Self) -> Self {
        Self { not_after: self.not_after.min(issuer.not_after), ..self }
    }

    /// Whether `now` lies in the period.
    pub fn contains(&self, now: SystemTime) -> bool {
        (self.not_before..=self.not_after).contains(&now.into())
    }

    /// Whether the period has ended at `now`.
    pub fn has_ended(&self, now: SystemTime) -> bool {
        self.not_after < now.into()
    }
}

/// How far before its issue a certificate already holds: 1 hour.
///
/// A machine that has just started, or whose clock was set in the wrong daylight-saving time, may
/// be up to an hour behind the authority and would refuse a certificate issued "in the future".
/// Nothing is given away, because nobody held the key in that hour.
pub const BACKDATE: Duration = Duration::from_secs(60 * 60);

/// Lifetime of a root: 10 years. Replacing it means visiting every node.
pub const ROOT_LIFETIME: Duration = days(3650);

/// Lifetime of a site's authority: 2 years. Replacing it is one command at the root.
pub const SITE_LIFETIME: Duration = days(730);

/// Lifetime of a node: 90 days. Short enough that a forgotten key dies, long enough to renew by hand.
pub const NODE_LIFETIME: Duration = days(90);

/// Lifetime of an administrator: 30 days, because an administrator's key opens every door.
pub const ADMIN_LIFETIME: Duration = days(30);

const fn days(count: u64) -> Duration {
    Duration::from_secs(24 * 60 * 60 * count)
}
