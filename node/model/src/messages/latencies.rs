//! How long things took, counted so that two counts can be subtracted: what lies between two looks.

use std::time::Duration;

use bincode::{Decode, Encode};

/// Counts by how long it took, in steps of at most a quarter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Latencies {
    /// One count for each of the first [`BUCKETS`](Self::BUCKETS) at most; those that are missing are 0.
    counts: Vec<u64>,
}

impl Latencies {
    /// Below 64 microseconds, then four for each doubling; the last takes everything from about two minutes on.
    pub const BUCKETS: usize = 85;

    /// Counts, one for each bucket.
    pub fn of(counts: impl IntoIterator<Item = u64>) -> Self {
        Self { counts: counts.into_iter().take(Self::BUCKETS).collect() }
    }

    /// Where something that took so long is counted.
    pub fn bucket(took: Duration) -> usize {
        let micros = took.as_micros();
        if micros < 1 << FIRST {
            return 0;
        }
        let octave = micros.ilog2();
        let quarter = (micros >> (octave - 2)) & 3;
        ((octave - FIRST) as usize * 4 + quarter as usize + 1).min(Self::BUCKETS - 1)
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Of a hundred, this many took at most so long; at most a quarter more than it really was. `None`: there are none.
    pub fn percentile(&self, percent: u32) -> Option<Duration> {
        let rank = (u128::from(self.count()) * u128::from(percent)).div_ceil(100).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += u128::from(*count);
            seen >= rank
        });
        found.map(upper)
    }

    /// Those that were counted here and not there: `earlier` is what was counted before.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = earlier.counts.iter().chain(std::iter::repeat(&0));
        Self { counts: self.counts.iter().zip(before).map(|(count, before)| count.saturating_sub(*before)).collect() }
    }
}

/// What lies in a bucket took less than this.
fn upper(bucket: usize) -> Duration {
    let (octaves, quarters) = bucket.checked_sub(1).map_or((0, 0), |above| (above / 4, above % 4 + 1));
    let octave = u32::try_from(octaves).unwrap_or(u32::MAX).saturating_add(FIRST).min(40);
    Duration::from_micros(((4 + quarters as u64) << octave) >> 2)
}

/// The first bucket is below 2 to the power of this, in microseconds.
const FIRST: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(took: &[u64]) -> Latencies {
        let mut counts = vec![0; Latencies::BUCKETS];
        took.iter().for_each(|micros| counts[Latencies::bucket(Duration::from_micros(*micros))] += 1);
        Latencies::of(counts)
    }

    #[test]
    fn every_time_lies_within_a_quarter_below_its_bucket_s_end() {
        for micros in (0..4_000).chain((4_000..200_000_000).step_by(77_773)) {
            let end = upper(Latencies::bucket(Duration::from_micros(micros)));
            if (64..1 << 27).contains(&micros) {
                let above = end.checked_sub(Duration::from_micros(micros));
                assert!(above.is_some_and(|above| above <= Duration::from_micros(micros / 4 + 1)), "{micros} and {end:?}");
            }
        }
        assert_eq!((Latencies::bucket(Duration::ZERO), upper(0)), (0, Duration::from_micros(64)));
        assert_eq!(Latencies::bucket(Duration::MAX), Latencies::BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let of = |took: &[u64], percent| counted(took).percentile(percent).map(|took| took.as_micros());
        assert_eq!(of(&[], 50), None);
        assert_eq!((of(&[100], 0), of(&[100], 100)), (Some(112), Some(112)));
        let took: Vec<u64> = std::iter::repeat_n(1_000, 99).chain([1_000_000]).collect();
        assert_eq!((of(&took, 50), of(&took, 99), of(&took, 100)), (Some(1_024), Some(1_024), Some(1_048_576)));
    }

    #[test]
    fn what_lies_between_two_looks_is_their_difference() {
        let (before, after) = (counted(&[100, 100]), counted(&[100, 100, 5_000]));
        assert_eq!((after.since(&before), after.since(&before).count()), (counted(&[5_000]), 1));
        // A host that was started anew counts from the start; a count that is shorter is one with zeros.
        assert_eq!((before.since(&after).count(), after.since(&Latencies::default())), (0, after.clone()));
        assert_eq!(Latencies::of([1]).since(&Latencies::default()).percentile(99), Some(Duration::from_micros(64)));
    }
}
