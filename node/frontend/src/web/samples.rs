//! What was measured of hosts lately, for plots. Kept only while somebody looks: nothing is measured for the plot alone.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use caps_model::messages::latencies::Latencies;

/// The latest samples, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Samples(VecDeque<Sample>);

/// What was measured of one host at one time.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// How long the calls took that it has answered since it was started.
    pub(crate) latencies: Latencies,
    /// How long it took to answer a ping.
    pub(crate) round_trip: Duration,
}

/// Values that follow one another without a gap: when each was measured, and it.
pub(crate) type Stretch = Vec<(Duration, f64)>;

#[derive(Debug)]
struct Sample {
    at: Duration,
    hosts: BTreeMap<String, Measured>,
}

impl Samples {
    /// Keeps what was measured at this time, unless something was measured just before: several may look at once.
    pub(crate) fn take(&mut self, at: Duration, hosts: BTreeMap<String, Measured>) {
        if self.0.back().is_some_and(|last| at < last.at + APART_MIN) {
            return;
        }
        self.0.push_back(Sample { at, hosts });
        let extra = self.0.len().saturating_sub(SAMPLES_MAX);
        self.0.drain(..extra);
    }

    /// Calls a second, from each sample to the next.
    pub(crate) fn rates(&self, host: &str) -> Vec<Stretch> {
        self.stretches(host, |before, at, measured| {
            let (since, earlier) = before?;
            Some(measured.latencies.since(&earlier.latencies).count() as f64 / (at - since).as_secs_f64())
        })
    }

    /// What 99 of 100 calls took at most, in milliseconds, from each sample to the next. Where there were none there is a gap.
    pub(crate) fn latencies(&self, host: &str) -> Vec<Stretch> {
        self.stretches(host, |before, _, measured| {
            let (_, earlier) = before?;
            Some(measured.latencies.since(&earlier.latencies).percentile(99)?.as_secs_f64() * 1e3)
        })
    }

    /// Round trips in milliseconds.
    pub(crate) fn round_trips(&self, host: &str) -> Vec<Stretch> {
        self.stretches(host, |_, _, measured| Some(measured.round_trip.as_secs_f64() * 1e3))
    }

    /// What `value` makes of each sample and the one before it. Where nobody looked, the host did not answer or was started anew, there is a gap.
    fn stretches(&self, host: &str, value: impl Fn(Option<(Duration, &Measured)>, Duration, &Measured) -> Option<f64>) -> Vec<Stretch> {
        let mut stretches: Vec<Stretch> = vec![Stretch::new()];
        let mut last: Option<(Duration, &Measured)> = None;
        for Sample { at, hosts } in &self.0 {
            let measured = hosts.get(host);
            let follows = |(since, earlier): &(Duration, &Measured)| {
                let is_later = |measured: &Measured| measured.latencies.count() >= earlier.latencies.count();
                *at - *since <= GAP_MIN && measured.is_some_and(is_later)
            };
            let before = last.filter(follows);
            if before.is_none() {
                stretches.push(Stretch::new());
            }
            let value = measured.and_then(|measured| value(before, *at, measured));
            match value {
                Some(value) => stretches.last_mut().expect("there was one from the start").push((*at, value)),
                None => stretches.push(Stretch::new()),
            }
            last = measured.map(|measured| (*at, measured));
        }
        stretches.retain(|stretch| !stretch.is_empty());
        stretches
    }
}

/// How far back samples go at most, where somebody looks all the time.
pub(crate) const LATELY: Duration = Duration::from_secs(360);

/// Samples kept: as many as a page that is open asks for in that time, every three seconds.
const SAMPLES_MAX: usize = 120;

/// Between two samples. Less says little of calls a second.
const APART_MIN: Duration = Duration::from_secs(2);

/// Samples that are farther apart say nothing of the time between.
const GAP_MIN: Duration = Duration::from_secs(12);

#[cfg(test)]
mod tests {
    use super::*;

    /// At so many seconds: calls of the host `a`, which answers within a millisecond for each second.
    fn samples(taken: &[(u64, Option<u64>)]) -> Samples {
        let mut samples = Samples::default();
        for (at, calls) in taken {
            let measured =
                calls.map(|calls| ("a".to_owned(), Measured { latencies: Latencies::of([calls]), round_trip: Duration::from_millis(*at) }));
            samples.take(Duration::from_secs(*at), measured.into_iter().collect());
        }
        samples
    }

    fn seconds(stretches: &[Stretch]) -> Vec<Vec<(u64, f64)>> {
        stretches.iter().map(|stretch| stretch.iter().map(|(at, value)| (at.as_secs(), *value)).collect()).collect()
    }

    #[test]
    fn rates_are_what_was_measured_between_two_samples() {
        let samples = samples(&[(10, Some(100)), (11, Some(900)), (13, Some(160)), (16, Some(160)), (18, Some(161))]);
        // 60 calls in 3 s; the one at 11 s was too early.
        assert_eq!(seconds(&samples.rates("a")), [vec![(13, 20.0), (16, 0.0), (18, 0.5)]]);
        assert_eq!(seconds(&samples.round_trips("a")), [vec![(10, 10.0), (13, 13.0), (16, 16.0), (18, 18.0)]]);
        assert!(samples.rates("b").is_empty());
        // All within 64 microseconds; nothing was called between 13 s and 16 s.
        assert_eq!(seconds(&samples.latencies("a")), [vec![(13, 0.064)], vec![(18, 0.064)]]);
    }

    #[test]
    fn what_nobody_measured_is_a_gap() {
        // Nobody looked for 20 s; then the host was away; then it was started anew.
        let samples = samples(&[(0, Some(1)), (3, Some(4)), (23, Some(99)), (26, None), (29, Some(99)), (32, Some(5)), (35, Some(8))]);
        assert_eq!(seconds(&samples.rates("a")), [vec![(3, 1.0)], vec![(35, 1.0)]]);
        let round_trips = samples.round_trips("a");
        assert_eq!(round_trips.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1, 2]);
    }

    #[test]
    fn old_samples_make_room() {
        let taken: Vec<(u64, Option<u64>)> = (0..500).map(|number| (number * 3, Some(number))).collect();
        let kept = samples(&taken).round_trips("a");
        assert_eq!((kept.len(), kept[0].len(), kept[0][0].0), (1, SAMPLES_MAX, Duration::from_secs(380 * 3)));
    }
}
