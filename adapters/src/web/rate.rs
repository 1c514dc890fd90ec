//! How often a client may ask: a token bucket for each (GCRA: the time at which the bucket would be full again is all that is kept).

use std::collections::BTreeMap;
use std::time::Duration;

/// Buckets by key. Time is what the caller says it is, as time since some fixed moment.
#[derive(Clone, Debug)]
pub struct Limiter<K> {
    every: Duration,
    burst: Duration,
    keys_max: usize,
    full_at: BTreeMap<K, Duration>,
}

impl<K: Ord + Clone> Limiter<K> {
    /// Lets each key through once in `every`, and `burst` times at once after a rest. Remembers so many keys at most; when there are more, those
    /// with a full bucket are forgotten, and if there are none, newcomers have to wait.
    pub fn new(every: Duration, burst: u32, keys_max: usize) -> Self {
        Self { every, burst: every * burst, keys_max, full_at: BTreeMap::new() }
    }

    /// Takes one from the bucket of a key; how long to wait when it is empty.
    pub fn take(&mut self, key: &K, now: Duration) -> Result<(), Duration> {
        let full_at = self.full_at.get(key).copied().unwrap_or(now).max(now);
        let after = full_at + self.every;
        if let Some(wait) = after.checked_sub(now + self.burst).filter(|wait| !wait.is_zero()) {
            return Err(wait);
        }
        if !self.full_at.contains_key(key) && self.full_at.len() >= self.keys_max {
            self.full_at.retain(|_, full_at| *full_at > now);
            if self.full_at.len() >= self.keys_max {
                return Err(self.every);
            }
        }
        self.full_at.insert(key.clone(), after);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn bursts_are_let_through_and_floods_wait() {
        let mut limiter = Limiter::new(SECOND, 3, 10);
        let mut take = |at: u32| limiter.take(&1, SECOND * at);
        assert_eq!([take(0), take(0), take(0), take(0)], [Ok(()), Ok(()), Ok(()), Err(SECOND)]);
        assert_eq!([take(1), take(1)], [Ok(()), Err(SECOND)]);
        assert_eq!([take(100), take(100), take(100), take(100)], [Ok(()), Ok(()), Ok(()), Err(SECOND)]);
    }

    #[test]
    fn many_keys_take_no_more_room_than_they_may() {
        let mut limiter = Limiter::new(SECOND, 1, 2);
        assert_eq!([1, 2, 3].map(|key| limiter.take(&key, SECOND)), [Ok(()), Ok(()), Err(SECOND)]);
        assert_eq!(limiter.take(&3, SECOND * 3), Ok(()));
        assert_eq!(limiter.full_at.len(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

        #[test]
        fn no_more_pass_than_rate_and_burst_allow(gaps in prop::collection::vec(0u64..3_000, 1..60)) {
            let mut limiter = Limiter::new(SECOND, 4, 10);
            let (mut now, mut passed) = (Duration::ZERO, 0);
            for gap in gaps {
                now += Duration::from_millis(gap);
                passed += u64::from(limiter.take(&(), now).is_ok());
            }
            prop_assert!(passed <= 4 + now.as_secs());
        }
    }
}
