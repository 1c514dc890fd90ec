//! The congestion controller of a path whose nature shows only while it is used: Cubic, and BBR for as long as packets are lost by chance.
//!
//! Cubic takes every loss for congestion, and keeps 3 % of a 100 Mbit/s line that loses 1 % by chance; BBR keeps 93 %, and leaves 3 % of a clean
//! line to a Cubic beside it (`overlay/PATHS.md`). So a connection begins with Cubic, which is fair, and looks at the round trips of the packets
//! around each loss: long ones say that the queue was full, which is congestion; short ones say that it was chance, and that nobody gains by
//! slowing down. BBR's time is limited: when it is over, Cubic looks again.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::congestion::{BbrConfig, Controller, ControllerFactory, CubicConfig};
use quinn_proto::RttEstimator;

/// Makes controllers that judge by evidence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ByEvidence {
    /// Bytes that may be sent before anything is acknowledged.
    pub(crate) initial_window_bytes: u64,
    /// Whether the path is known to lose packets by chance.
    pub(crate) loses: bool,
}

impl ControllerFactory for ByEvidence {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let (inner, until) = match self.loses {
            false => (Arc::new(cubic(self.initial_window_bytes)).build(now, current_mtu), None),
            true => (Arc::new(bbr(self.initial_window_bytes)).build(now, current_mtu), Some(now + SPELL)),
        };
        Box::new(Judge { inner, until, evidence: Evidence::default(), window_max: 0, beginning: *self, mtu: current_mtu })
    }
}

/// The controller that is at work, and what speaks for another one.
struct Judge {
    inner: Box<dyn Controller>,
    /// Until when it is BBR; `None` while it is Cubic.
    until: Option<Instant>,
    evidence: Evidence,
    /// The most that Cubic let be under way.
    window_max: u64,
    beginning: ByEvidence,
    mtu: u16,
}

impl Controller for Judge {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
        self.evidence.acked(bytes, now.saturating_duration_since(sent), rtt);
        self.window_max = self.window_max.max(self.inner.window());
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest_packet_num_acked: Option<u64>) {
        self.inner.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
        if self.until.is_some_and(|until| now >= until) {
            // BBR holds about two round trips' worth; Cubic goes on from one.
            let window_bytes = (self.inner.window() / 2).max(self.beginning.initial_window_bytes);
            self.inner = Arc::new(cubic(window_bytes)).build(now, self.mtu);
            (self.until, self.evidence, self.window_max) = (None, Evidence::default(), 0);
        }
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent_congestion: bool, lost_bytes: u64) {
        self.inner.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
        self.evidence.lost(lost_bytes, sent, now);
        if self.until.is_none() && self.evidence.speaks_for_chance() {
            // Cubic has given way to chance since then.
            let window_bytes = self.window_max.max(self.beginning.initial_window_bytes);
            self.inner = Arc::new(bbr(window_bytes)).build(now, self.mtu);
            self.until = Some(now + SPELL);
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = new_mtu;
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.inner.window()
    }

    fn metrics(&self) -> quinn_proto::congestion::ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        let inner = self.inner.clone_box();
        Box::new(Self {
            inner,
            until: self.until,
            evidence: self.evidence,
            window_max: self.window_max,
            beginning: self.beginning,
            mtu: self.mtu,
        })
    }

    fn initial_window(&self) -> u64 {
        self.beginning.initial_window_bytes
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// What the last few thousand packets told.
#[derive(Clone, Copy, Debug, Default)]
struct Evidence {
    acked_bytes: u64,
    /// Lost without a queue.
    by_chance_bytes: u64,
    losses_by_chance: u32,
    /// The round trip of the packet that was acknowledged last; that is one that was sent right after those that are then found lost.
    last_rtt: Duration,
    /// The round trip smoothed, the longest that it was so, and the shortest of all.
    rtt: Option<Duration>,
    rtt_max: Duration,
    rtt_min: Duration,
    /// What was sent before was lost together with what was counted already.
    counted_until: Option<Instant>,
}

impl Evidence {
    fn acked(&mut self, bytes: u64, took: Duration, rtt: &RttEstimator) {
        // quinn's own smoothing begins with a guess.
        let smoothed = self.rtt.map_or(took, |rtt| (rtt * 7 + took) / 8);
        (self.last_rtt, self.rtt, self.rtt_min, self.rtt_max) = (took, Some(smoothed), rtt.min(), self.rtt_max.max(smoothed));
        self.acked_bytes += bytes;
        if self.acked_bytes >= MEMORY_BYTES {
            self.acked_bytes /= 2;
            self.by_chance_bytes /= 2;
            self.losses_by_chance /= 2;
            self.rtt_max -= self.queueing_max() / 8;
        }
    }

    fn lost(&mut self, bytes: u64, sent: Instant, now: Instant) {
        if self.counted_until.is_some_and(|until| sent <= until) {
            return;
        }
        self.counted_until = Some(now);
        // Marks of congestion come with no bytes: whoever marks does not lose by chance.
        if bytes > 0 && self.last_rtt <= self.short() {
            self.by_chance_bytes += bytes;
            self.losses_by_chance += 1;
        }
    }

    /// The longest round trip that does not tell of a full queue. Where round trips vary by more than the shortest one, as on radio, only those
    /// near that one are short: there BBR takes queues for bandwidth, and small calls beside it wait for a second.
    fn short(&self) -> Duration {
        let half = if self.queueing_max() <= self.rtt_min { self.queueing_max() / 2 } else { Duration::ZERO };
        self.rtt_min + half.max(self.rtt_min / 8)
    }

    fn queueing_max(&self) -> Duration {
        self.rtt_max.saturating_sub(self.rtt_min)
    }

    fn speaks_for_chance(&self) -> bool {
        let share = self.by_chance_bytes as f64 / (self.acked_bytes + self.by_chance_bytes).max(1) as f64;
        self.losses_by_chance >= LOSSES_MIN && share > SHARE_MIN
    }
}

/// Cubic that may send this much at once.
pub(crate) fn cubic(initial_window_bytes: u64) -> CubicConfig {
    let mut config = CubicConfig::default();
    config.initial_window(initial_window_bytes);
    config
}

/// BBR that may send this much at once.
pub(crate) fn bbr(initial_window_bytes: u64) -> BbrConfig {
    let mut config = BbrConfig::default();
    config.initial_window(initial_window_bytes);
    config
}

/// How long BBR is left to it before Cubic looks again. A minute: on a line that loses 1 %, looking costs about a second of it.
const SPELL: Duration = Duration::from_secs(60);

/// So many losses, each in a round trip of its own, are no coincidence.
const LOSSES_MIN: u32 = 3;

/// One in 2,000. At 0.1 % Cubic keeps an eighth of 100 Mbit/s; at 0.01 % it keeps more than a third, which is not worth being unfair for.
const SHARE_MIN: f64 = 0.000_5;

/// From about 8,000 packets on, what they told counts half.
const MEMORY_BYTES: u64 = 12_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Evidence of a path whose round trips were between these.
    fn seen(rtt_min: Duration, rtt_max: Duration) -> Evidence {
        Evidence { rtt_min, rtt_max, acked_bytes: 1_000_000, ..Evidence::default() }
    }

    /// Losses of one packet each, a round trip apart, beside packets that took this long.
    fn losing(mut evidence: Evidence, losses: u32, beside: Duration) -> Evidence {
        let begin = tokio::time::Instant::now().into_std();
        for number in 0..losses {
            evidence.last_rtt = beside;
            let now = begin + 200 * MS * (number + 1);
            evidence.lost(1452, now - 50 * MS, now);
        }
        evidence
    }

    #[test]
    fn losses_without_a_queue_are_chance_and_those_with_one_are_not() {
        // Three packets of 1,452 bytes in 1 MB are 0.4 %, more than 0.05 %.
        assert!(losing(seen(50 * MS, 100 * MS), 3, 60 * MS).speaks_for_chance());
        assert!(!losing(seen(50 * MS, 100 * MS), 3, 90 * MS).speaks_for_chance());
        // A path that never had a queue: an eighth is within what is measured.
        assert!(losing(seen(50 * MS, 50 * MS), 3, 55 * MS).speaks_for_chance());
    }

    #[test]
    fn few_losses_are_coincidence() {
        assert!(!losing(seen(50 * MS, 100 * MS), 2, 50 * MS).speaks_for_chance());
        let long = Evidence { acked_bytes: 10_000_000, ..seen(50 * MS, 100 * MS) };
        // 0.04 % of 10 MB.
        assert!(!losing(long, 3, 50 * MS).speaks_for_chance());
    }

    #[test]
    fn where_round_trips_vary_more_than_they_are_long_only_the_shortest_tell_of_no_queue() {
        assert!(!losing(seen(8 * MS, 60 * MS), 10, 20 * MS).speaks_for_chance());
        assert!(losing(seen(8 * MS, 60 * MS), 3, 9 * MS).speaks_for_chance());
    }

    #[test]
    fn what_is_lost_together_counts_once() {
        let mut evidence = seen(50 * MS, 50 * MS);
        let now = tokio::time::Instant::now().into_std();
        evidence.last_rtt = 50 * MS;
        for packet in 0..100 {
            evidence.lost(1452, now - 50 * MS, now + MS * packet);
        }
        assert_eq!(evidence.losses_by_chance, 1);
    }
}
