//! A link in one direction: what becomes of each datagram that is offered to it, and when it is out at the other end.
//!
//! A datagram passes a gate (it may be too large, or the link cut), waits in front of the bottleneck (or is dropped because too much waits there),
//! is sent at the bottleneck's rate, may be lost on the way, and arrives after the delay and a drawn jitter, never before one that was sent earlier
//! unless it was that one's fate to be held back.
//!
//! The queue is not a list of datagrams. The moment at which a datagram leaves the bottleneck is known as soon as it is offered, so the bits that
//! are still to be sent say everything, and nothing is allocated.

use std::time::Duration;

use caps_node::deployment::network::LinkFigures;
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

/// One direction of a link, as a state machine: time and randomness arrive with each datagram.
#[derive(Debug, Clone)]
pub struct Link {
    figures: LinkFigures,
    cut: bool,
    backlog: Backlog,
    /// Whether the datagram before was lost on the way: bursts go on from there.
    losing: bool,
    /// When the last datagram that kept its turn arrives: none that keeps its own arrives earlier.
    last_arrival_ns: u64,
    stats: LinkStats,
}

/// What becomes of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It arrives.
    Passes {
        /// When.
        at_ns: u64,
        /// When it arrives once more, if it does.
        copy_at_ns: Option<u64>,
        /// Whether it tells its receiver of congestion (RFC 3168).
        marked: bool,
    },
    /// It does not arrive.
    Lost(Loss),
}

/// Why a datagram does not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// It was lost on the way, after it had taken its time at the bottleneck.
    Random,
    /// Too many bytes waited in front of the bottleneck.
    QueueFull,
    /// It is larger than the link's MTU.
    TooLarge,
    /// The link is cut.
    Cut,
}

/// What a link has done since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkStats {
    /// Datagrams that were offered.
    pub offered: u64,
    /// Their bytes.
    pub offered_bytes: u64,
    /// Datagrams that arrived; each counts once, even if it arrived twice.
    pub passed: u64,
    /// Their bytes.
    pub passed_bytes: u64,
    /// Datagrams that were lost on the way.
    pub lost_random: u64,
    /// Datagrams that found the queue full.
    pub lost_queue_full: u64,
    /// Datagrams that were larger than the MTU.
    pub lost_too_large: u64,
    /// Datagrams that found the link cut.
    pub lost_cut: u64,
    /// Datagrams that were held back, so that later ones could overtake them.
    pub held_back: u64,
    /// Datagrams that arrived twice.
    pub duplicated: u64,
    /// Datagrams that were marked.
    pub marked: u64,
    /// How long the bottleneck was sending: its use is this by the time that passed.
    pub busy_ns: u64,
    /// The longest that a datagram waited for the bottleneck.
    pub queueing_max_ns: u64,
    /// How long all datagrams together waited for the bottleneck; see [`LinkStats::mean_queueing`].
    pub queueing_sum_ns: u64,
}

impl Link {
    /// A link with nothing on it.
    pub fn new(figures: LinkFigures) -> Self {
        Self { figures, cut: false, backlog: Backlog::default(), losing: false, last_arrival_ns: 0, stats: LinkStats::default() }
    }

    /// Decides what becomes of a datagram that is offered now.
    ///
    /// `size_bytes` is the whole IP packet, headers included. `may_be_marked`: its sender said that it understands congestion marks. `now_ns` never
    /// goes back from one call to the next.
    pub fn offer(&mut self, now_ns: u64, size_bytes: usize, may_be_marked: bool, rng: &mut ChaCha8Rng) -> Fate {
        let size_bytes = size_bytes as u64;
        self.stats.offered += 1;
        self.stats.offered_bytes += size_bytes;
        let sent = match self.gate(size_bytes).and_then(|()| self.send(now_ns, size_bytes)) {
            Ok(sent) => sent,
            Err(loss) => return self.lost(loss),
        };
        // A datagram lost on the way has used the bottleneck like any other: radio and copper lose behind it, not in front.
        if self.is_lost_on_the_way(rng) {
            return self.lost(Loss::Random);
        }
        self.stats.passed += 1;
        self.stats.passed_bytes += size_bytes;
        let at_ns = self.arrival(sent.at_ns, rng);
        let copy_at_ns = self.copy(at_ns, rng);
        let marked = may_be_marked && self.figures.mark_above_bytes.is_some_and(|above| sent.found_bytes > above);
        self.stats.marked += u64::from(marked);
        Fate::Passes { at_ns, copy_at_ns, marked }
    }

    /// Gives the link other figures from now on. What it has taken keeps the time of arrival that was told; what waits goes on waiting.
    pub fn set_figures(&mut self, now_ns: u64, figures: LinkFigures) {
        self.backlog.drain(now_ns, self.figures.rate_bps);
        self.figures = figures;
    }

    /// Cuts the link or joins it again. What is on its way arrives nevertheless.
    pub fn set_cut(&mut self, cut: bool) {
        self.cut = cut;
    }

    /// Whether the link is cut.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// The figures it has now.
    pub fn figures(&self) -> &LinkFigures {
        &self.figures
    }

    /// What it has done since it was made.
    pub fn stats(&self) -> LinkStats {
        self.stats
    }

    fn gate(&self, size_bytes: u64) -> Result<(), Loss> {
        if size_bytes > u64::from(self.figures.mtu_bytes) {
            return Err(Loss::TooLarge);
        }
        if self.cut { Err(Loss::Cut) } else { Ok(()) }
    }

    /// Takes the datagram through the bottleneck, behind all that waits there.
    fn send(&mut self, now_ns: u64, size_bytes: u64) -> Result<Sent, Loss> {
        let Some(rate_bps) = self.figures.rate_bps.filter(|rate_bps| *rate_bps > 0) else {
            return Ok(Sent { at_ns: now_ns, found_bytes: 0 });
        };
        self.backlog.drain(now_ns, Some(rate_bps));
        let found_bytes = self.backlog.bytes();
        // An idle bottleneck takes anything at once; only what waits needs room.
        if found_bytes > 0 && found_bytes.saturating_add(size_bytes) > self.figures.queue_bytes {
            return Err(Loss::QueueFull);
        }
        let waits_ns = self.backlog.clear_ns(rate_bps);
        self.backlog.add(size_bytes);
        let leaves_ns = self.backlog.clear_ns(rate_bps);
        self.stats.busy_ns = self.stats.busy_ns.saturating_add(leaves_ns - waits_ns);
        self.stats.queueing_sum_ns = self.stats.queueing_sum_ns.saturating_add(waits_ns);
        self.stats.queueing_max_ns = self.stats.queueing_max_ns.max(waits_ns);
        Ok(Sent { at_ns: now_ns.saturating_add(leaves_ns), found_bytes })
    }

    /// Takes one step of a chain of two states, after E. N. Gilbert, "Capacity of a burst-noise channel", 1960: one loses every datagram, the
    /// other none.
    ///
    /// It leaves the losing state with probability r and enters it with p, so that bursts take 1/r datagrams on average and the share p/(p+r) is
    /// lost. Datagrams that are lost each by itself are the case r = 1 - loss, p = loss, in which bursts take 1/(1 - loss): shorter ones on average
    /// than that are not to be had.
    fn is_lost_on_the_way(&mut self, rng: &mut ChaCha8Rng) -> bool {
        let loss = self.figures.loss;
        if loss <= 0.0 || loss >= 1.0 {
            self.losing = loss >= 1.0;
            return self.losing;
        }
        let leave = (1.0 / self.figures.burst).min(1.0 - loss);
        let enter = leave * loss / (1.0 - loss);
        let drawn: f64 = rng.random();
        self.losing = if self.losing { drawn >= leave } else { drawn < enter };
        self.losing
    }

    /// When a datagram that left the bottleneck at this time is out at the other end.
    fn arrival(&mut self, sent_ns: u64, rng: &mut ChaCha8Rng) -> u64 {
        let delay_ns = nanoseconds(self.figures.delay);
        let jitter_ns = draw_up_to(nanoseconds(self.figures.jitter), rng);
        let in_turn_ns = sent_ns.saturating_add(delay_ns).saturating_add(jitter_ns).max(self.last_arrival_ns);
        self.last_arrival_ns = in_turn_ns;
        if !happens(self.figures.reorder, rng) {
            return in_turn_ns;
        }
        self.stats.held_back += 1;
        in_turn_ns.saturating_add(delay_ns / 2)
    }

    /// When the datagram arrives once more: at most half a delay later. A copy is made behind the bottleneck and takes nobody's turn.
    fn copy(&mut self, at_ns: u64, rng: &mut ChaCha8Rng) -> Option<u64> {
        if !happens(self.figures.duplicate, rng) {
            return None;
        }
        self.stats.duplicated += 1;
        Some(at_ns.saturating_add(draw_up_to(nanoseconds(self.figures.delay) / 2, rng)))
    }

    fn lost(&mut self, loss: Loss) -> Fate {
        match loss {
            Loss::Random => self.stats.lost_random += 1,
            Loss::QueueFull => self.stats.lost_queue_full += 1,
            Loss::TooLarge => self.stats.lost_too_large += 1,
            Loss::Cut => self.stats.lost_cut += 1,
        }
        Fate::Lost(loss)
    }
}

impl LinkStats {
    /// How long a datagram that was not dropped waited for the bottleneck, on average.
    pub fn mean_queueing(&self) -> Duration {
        Duration::from_nanos(self.queueing_sum_ns.checked_div(self.passed + self.lost_random).unwrap_or(0))
    }

    /// The datagrams that did not arrive, for whatever cause.
    pub fn lost(&self) -> u64 {
        self.lost_random + self.lost_queue_full + self.lost_too_large + self.lost_cut
    }
}

/// A datagram that went through the bottleneck.
struct Sent {
    at_ns: u64,
    found_bytes: u64,
}

/// What the bottleneck still has to send, in billionths of a bit: of these, a rate of n bits a second sends n a nanosecond, so that nothing is ever
/// rounded off from one datagram to the next. A gibibyte fits twice.
#[derive(Debug, Clone, Copy, Default)]
struct Backlog {
    nanobits: u64,
    at_ns: u64,
}

impl Backlog {
    /// Lets the bottleneck send until now.
    fn drain(&mut self, now_ns: u64, rate_bps: Option<u64>) {
        let passed_ns = now_ns.saturating_sub(self.at_ns);
        let sent = rate_bps.map_or(u64::MAX, |rate_bps| rate_bps.saturating_mul(passed_ns));
        self.nanobits = self.nanobits.saturating_sub(sent);
        self.at_ns = now_ns.max(self.at_ns);
    }

    fn add(&mut self, size_bytes: u64) {
        self.nanobits = self.nanobits.saturating_add(size_bytes.saturating_mul(NANOBITS_A_BYTE));
    }

    /// The bytes that are not sent yet; one that is sent in part counts.
    fn bytes(&self) -> u64 {
        self.nanobits.div_ceil(NANOBITS_A_BYTE)
    }

    /// How long the bottleneck needs for all of it.
    fn clear_ns(&self, rate_bps: u64) -> u64 {
        self.nanobits.div_ceil(rate_bps)
    }
}

const NANOBITS_A_BYTE: u64 = 8_000_000_000;

/// Draws evenly from 0 to this, and nothing where there is nothing to draw: a link without jitter takes nothing from the random numbers of others.
fn draw_up_to(most: u64, rng: &mut ChaCha8Rng) -> u64 {
    if most == 0 { 0 } else { rng.random_range(0..=most) }
}

fn happens(share: f64, rng: &mut ChaCha8Rng) -> bool {
    share > 0.0 && rng.random::<f64>() < share
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    const MS: u64 = 1_000_000;

    fn wire() -> LinkFigures {
        LinkFigures::ideal(Duration::from_millis(10))
    }

    /// 12 Mbit/s: 1,500 bytes are 12,000 bits, so they take exactly 1 ms.
    fn narrow() -> LinkFigures {
        LinkFigures { rate_bps: Some(12_000_000), queue_bytes: 6_000, ..wire() }
    }

    fn seeded() -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(7)
    }

    fn arrival(fate: Fate) -> u64 {
        match fate {
            Fate::Passes { at_ns, .. } => at_ns,
            Fate::Lost(loss) => panic!("lost: {loss:?}"),
        }
    }

    #[test]
    fn ideal_link_only_takes_its_time() {
        let (mut link, mut rng) = (Link::new(wire()), seeded());
        for now in [0, 5, 5, 1_000_000] {
            let fate = link.offer(now, 1500, true, &mut rng);
            assert_eq!(fate, Fate::Passes { at_ns: now + 10 * MS, copy_at_ns: None, marked: false });
        }
        assert_eq!(link.stats(), LinkStats { offered: 4, offered_bytes: 6000, passed: 4, passed_bytes: 6000, ..LinkStats::default() });
        // Nothing was drawn.
        assert_eq!(rng, seeded());
    }

    #[test]
    fn datagrams_leave_one_after_the_other_at_the_rate() {
        let (mut link, mut rng) = (Link::new(narrow()), seeded());
        let arrivals: Vec<u64> = (0..4).map(|_| arrival(link.offer(0, 1500, false, &mut rng))).collect();
        assert_eq!(arrivals, [11 * MS, 12 * MS, 13 * MS, 14 * MS]);
        // At 4 ms the line is free again.
        assert_eq!(arrival(link.offer(4 * MS, 1500, false, &mut rng)), 15 * MS);
        let stats = link.stats();
        assert_eq!(stats.busy_ns, 5 * MS);
        // They waited 0, 1, 2, 3 and 0 ms.
        assert_eq!((stats.queueing_sum_ns, stats.queueing_max_ns), (6 * MS, 3 * MS));
        assert_eq!(stats.mean_queueing(), Duration::from_micros(1200));
    }

    #[test]
    fn serialisation_loses_no_fraction_of_a_nanosecond() {
        // At 7 Gbit/s, 1,000 bytes take 8,000 / 7 = 1,142.857... ns, and 7,000 times that is 8,000,000 ns.
        let figures = LinkFigures { rate_bps: Some(7_000_000_000), queue_bytes: 8_000_000, ..LinkFigures::ideal(Duration::ZERO) };
        let (mut link, mut rng) = (Link::new(figures), seeded());
        let arrivals: Vec<u64> = (0..7_000).map(|_| arrival(link.offer(0, 1_000, false, &mut rng))).collect();
        assert_eq!(arrivals[0], 1_143);
        assert_eq!(arrivals[6_999], 8_000_000);
        assert_eq!(link.stats().busy_ns, 8_000_000);
    }

    #[test]
    fn full_queue_drops_and_takes_again_when_it_has_drained() {
        let (mut link, mut rng) = (Link::new(narrow()), seeded());
        // 6,000 bytes may be unsent: four datagrams, the one being sent included.
        for _ in 0..4 {
            arrival(link.offer(0, 1500, false, &mut rng));
        }
        assert_eq!(link.offer(0, 1500, false, &mut rng), Fate::Lost(Loss::QueueFull));
        // After half a millisecond 750 bytes are gone: room for 750, not for 751.
        assert_eq!(link.offer(MS / 2, 751, false, &mut rng), Fate::Lost(Loss::QueueFull));
        // 6,000 bytes in front at 1.5 bytes a microsecond: all are out after 4 ms; then 10 ms of delay.
        let behind = link.offer(MS / 2, 750, false, &mut rng);
        assert_eq!(arrival(behind), 4 * MS + MS / 2 + 10 * MS);
        assert_eq!(link.stats().lost_queue_full, 2);
    }

    #[test]
    fn idle_bottleneck_takes_a_datagram_larger_than_its_queue() {
        let (mut link, mut rng) = (Link::new(LinkFigures { queue_bytes: 100, ..narrow() }), seeded());
        assert_eq!(arrival(link.offer(0, 1500, false, &mut rng)), 11 * MS);
        assert_eq!(link.offer(0, 50, false, &mut rng), Fate::Lost(Loss::QueueFull));
    }

    #[test]
    fn saturated_link_passes_its_rate() {
        let (mut link, mut rng) = (Link::new(narrow()), seeded());
        // Twice the rate is offered for 10 s: one datagram each half millisecond, of which 1,000 a second fit, and the queue's 4 at the end.
        for turn in 0..20_000 {
            link.offer(turn * MS / 2, 1500, false, &mut rng);
        }
        let stats = link.stats();
        assert!((10_000..=10_004).contains(&stats.passed), "{stats:?}");
        assert_eq!(stats.passed + stats.lost(), stats.offered);
    }

    #[test]
    fn jitter_never_reorders_and_stays_in_its_bounds() {
        let (mut link, mut rng) = (Link::new(LinkFigures { jitter: Duration::from_millis(5), ..wire() }), seeded());
        let mut last = 0;
        let mut late_ns = 0;
        for turn in 0..10_000_u64 {
            let now = turn * MS;
            let at = arrival(link.offer(now, 100, false, &mut rng));
            assert!(at >= last, "datagram {turn} overtook");
            assert!((now + 10 * MS..=now + 15 * MS).contains(&at));
            late_ns += at - now - 10 * MS;
            last = at;
        }
        // Even jitter alone is 2.5 ms on average; waiting for one's turn adds to it, and never exceeds the 5 ms.
        let mean_ns = late_ns / 10_000;
        assert!((2_500_000..4_000_000).contains(&mean_ns), "{mean_ns}");
    }

    #[test]
    fn sparse_jitter_is_even() {
        let (mut link, mut rng) = (Link::new(LinkFigures { jitter: Duration::from_millis(4), ..wire() }), seeded());
        // 10 ms apart, no datagram waits for another: mean 2 ms, standard error 4 / sqrt(12 * 10,000) = 0.012 ms; bound at 4 of them.
        let late_ns: u64 =
            (0..10_000).map(|turn| arrival(link.offer(turn * 10 * MS, 100, false, &mut rng)) - turn * 10 * MS - 10 * MS).sum();
        let mean_ns = late_ns / 10_000;
        assert!(mean_ns.abs_diff(2 * MS) < 48_000, "{mean_ns}");
    }

    #[test]
    fn long_run_loss_and_bursts_are_as_asked_for() {
        // (loss, burst asked for, burst expected): independent losses come in bursts of 1 / (1 - loss) by chance alone.
        let table = [(0.01, 1.0, 1.0 / 0.99), (0.01, 4.0, 4.0), (0.1, 1.0, 1.0 / 0.9), (0.1, 8.0, 8.0), (0.3, 3.0, 3.0), (0.5, 1.0, 2.0)];
        for (loss, burst, expected) in table {
            let (mut link, mut rng) = (Link::new(LinkFigures { loss, burst, ..wire() }), seeded());
            let (mut lost, mut bursts, mut losing) = (0_u32, 0_u32, false);
            for now in 0..100_000 {
                let is_lost = link.offer(now, 100, false, &mut rng) == Fate::Lost(Loss::Random);
                lost += u32::from(is_lost);
                bursts += u32::from(is_lost && !losing);
                losing = is_lost;
            }
            // A burst's length is geometric: its variance is b (b - 1), so 100,000 datagrams with n = 100,000 loss / b bursts give the mean within
            // sqrt(b (b - 1) / n), and the share within about sqrt(2 b / lost) of itself. Bounds are four of these.
            let (share, mean) = (f64::from(lost) / 100_000.0, f64::from(lost) / f64::from(bursts));
            let asked = loss * 100_000.0;
            let share_bound = 4.0 * loss * (2.0 * expected / asked).sqrt();
            let burst_bound = 4.0 * (expected * (expected - 1.0) * expected / asked).sqrt();
            assert!((share - loss).abs() < share_bound, "loss {loss} burst {burst}: share {share} beyond {share_bound}");
            assert!((mean - expected).abs() < burst_bound, "loss {loss} burst {burst}: mean burst {mean} beyond {burst_bound}");
            assert_eq!(link.stats().lost_random, u64::from(lost));
        }
    }

    #[test]
    fn link_that_loses_everything_loses_everything() {
        let (mut link, mut rng) = (Link::new(LinkFigures { loss: 1.0, ..wire() }), seeded());
        assert!((0..1_000).all(|now| link.offer(now, 100, false, &mut rng) == Fate::Lost(Loss::Random)));
    }

    #[test]
    fn lost_datagram_has_taken_its_time_at_the_bottleneck() {
        let (mut link, mut rng) = (Link::new(LinkFigures { loss: 1.0, ..narrow() }), seeded());
        link.offer(0, 1500, false, &mut rng);
        link.set_figures(0, narrow());
        assert_eq!(arrival(link.offer(0, 1500, false, &mut rng)), 12 * MS);
    }

    #[test]
    fn held_back_datagram_is_overtaken_by_later_ones() {
        let (mut link, mut rng) = (Link::new(LinkFigures { reorder: 0.05, ..wire() }), seeded());
        let mut held = 0;
        for turn in 0..100_000_u64 {
            let late = arrival(link.offer(turn * 1_000, 100, false, &mut rng)) - turn * 1_000;
            // The delay is 10 ms; half of it is 5 ms.
            assert!(late == 10 * MS || late == 15 * MS, "{late}");
            held += u64::from(late == 15 * MS);
        }
        // 5,000 expected, standard deviation sqrt(100,000 * 0.05 * 0.95) = 69; bound at 4 of them.
        assert!(held.abs_diff(5_000) < 276, "{held}");
        assert_eq!(link.stats().held_back, held);
    }

    #[test]
    fn duplicated_datagram_arrives_again_within_half_a_delay() {
        let (mut link, mut rng) = (Link::new(LinkFigures { duplicate: 0.1, ..wire() }), seeded());
        let mut copies = 0_u64;
        for now in 0..100_000 {
            if let Fate::Passes { at_ns, copy_at_ns: Some(copy_at_ns), .. } = link.offer(now, 100, false, &mut rng) {
                assert!((at_ns..=at_ns + 5 * MS).contains(&copy_at_ns));
                copies += 1;
            }
        }
        // 10,000 expected, standard deviation sqrt(100,000 * 0.1 * 0.9) = 95; bound at 4 of them.
        assert!(copies.abs_diff(10_000) < 380, "{copies}");
        assert_eq!((link.stats().duplicated, link.stats().passed), (copies, 100_000));
    }

    #[test]
    fn queue_above_the_mark_marks_those_that_allow_it() {
        let (mut link, mut rng) = (Link::new(LinkFigures { mark_above_bytes: Some(3_000), ..narrow() }), seeded());
        let mut marked = |link: &mut Link, may_be_marked| match link.offer(0, 1500, may_be_marked, &mut rng) {
            Fate::Passes { marked, .. } => marked,
            Fate::Lost(loss) => panic!("lost: {loss:?}"),
        };
        // They find 0, 1,500, 3,000 and 4,500 bytes: only the last finds more than 3,000.
        assert_eq!([(); 4].map(|()| marked(&mut link, true)), [false, false, false, true]);
        let mut other = Link::new(*link.figures());
        assert_eq!([(); 4].map(|()| marked(&mut other, false)), [false; 4]);
        assert_eq!((link.stats().marked, other.stats().marked), (1, 0));
    }

    #[test]
    fn larger_than_the_mtu_vanishes() {
        let (mut link, mut rng) = (Link::new(LinkFigures { mtu_bytes: 1400, ..wire() }), seeded());
        assert_eq!(link.offer(0, 1401, false, &mut rng), Fate::Lost(Loss::TooLarge));
        arrival(link.offer(0, 1400, false, &mut rng));
        assert_eq!(link.stats().lost_too_large, 1);
    }

    #[test]
    fn cut_link_takes_nothing_until_it_is_joined() {
        let (mut link, mut rng) = (Link::new(wire()), seeded());
        link.set_cut(true);
        assert_eq!(link.offer(0, 100, false, &mut rng), Fate::Lost(Loss::Cut));
        link.set_cut(false);
        assert_eq!(arrival(link.offer(1, 100, false, &mut rng)), 10 * MS + 1);
        assert_eq!((link.stats().lost_cut, link.is_cut()), (1, false));
    }

    #[test]
    fn faster_line_sends_what_waits_faster() {
        let (mut link, mut rng) = (Link::new(narrow()), seeded());
        for _ in 0..4 {
            arrival(link.offer(0, 1500, false, &mut rng));
        }
        // After 1 ms 4,500 bytes wait. Ten times the rate sends them in 0.3 ms and the next datagram in 0.1 ms, but it keeps its turn behind the
        // fourth, whose arrival at 14 ms has been told.
        link.set_figures(MS, LinkFigures { rate_bps: Some(120_000_000), ..narrow() });
        assert_eq!(arrival(link.offer(MS, 1500, false, &mut rng)), 14 * MS);
        assert_eq!(link.stats().queueing_max_ns, 3 * MS);
        assert_eq!(link.stats().busy_ns, 4 * MS + MS / 10);
    }

    #[test]
    fn absurd_figures_saturate() {
        let figures = LinkFigures {
            rate_bps: Some(1),
            queue_bytes: u64::MAX,
            delay: Duration::MAX,
            jitter: Duration::MAX,
            burst: 0.0,
            loss: 0.1,
            ..wire()
        };
        let (mut link, mut rng) = (Link::new(figures), seeded());
        for now in [0, 1, u64::MAX / 2, u64::MAX] {
            link.offer(now, 1500, true, &mut rng);
        }
        let mut stuck = Link::new(LinkFigures { rate_bps: Some(0), ..wire() });
        assert_eq!(arrival(stuck.offer(0, 1500, true, &mut rng)), 10 * MS);
    }

    #[test]
    fn same_seed_gives_the_same_fates() {
        let figures = LinkFigures { jitter: Duration::from_millis(3), loss: 0.05, burst: 2.0, reorder: 0.1, duplicate: 0.1, ..narrow() };
        let fates = || {
            let (mut link, mut rng) = (Link::new(figures), seeded());
            (0..10_000_u64).map(|turn| link.offer(turn * MS, 1000, turn % 2 == 0, &mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(fates(), fates());
    }
}
