//! Times that were measured, and what is told of them.

use std::time::Duration;

use super::Figure;

/// Times that were measured.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample(Vec<Duration>);

impl Sample {
    /// The time below which this share of them lies, 0 to 1; zero if there are none.
    #[expect(clippy::cast_possible_truncation, reason = "a place in a list is a small number")]
    pub(super) fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        sorted.get((share * last as f64).round() as usize).copied().unwrap_or_default()
    }

    /// The three quantiles that everybody asks for.
    pub(super) fn figures(&self) -> Vec<Figure> {
        [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)].map(|(name, share)| millis(name, self.quantile(share))).into()
    }
}

impl FromIterator<Duration> for Sample {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        Self(times.into_iter().collect())
    }
}

impl Extend<Duration> for Sample {
    fn extend<I: IntoIterator<Item = Duration>>(&mut self, times: I) {
        self.0.extend(times);
    }
}

impl IntoIterator for Sample {
    type Item = Duration;
    type IntoIter = std::vec::IntoIter<Duration>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// A time as a figure.
pub(super) fn millis(name: &'static str, time: Duration) -> Figure {
    Figure { name, value: time.as_secs_f64() * 1e3, unit: "ms" }
}

/// Bytes in a time as a figure.
pub(super) fn mbit(name: &'static str, bytes: u64, within: Duration) -> Figure {
    Figure { name, value: bytes as f64 * 8.0 / 1e6 / within.as_secs_f64(), unit: "Mbit/s" }
}
