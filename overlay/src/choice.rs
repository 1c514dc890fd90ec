//! Which peer a call goes to.
//!
//! The nearest peers that are well come first; among those equally near, two are drawn at random and the cheaper one is taken
//! (Mitzenmacher, "The power of two choices in randomized load balancing", 2001), where the price is the peak-EWMA of the latency times the
//! calls that are out, as in Finagle. Peers that fail several times in a row are set aside for a while. Extra work, that is retries
//! and hedges, stays under a fifth of the calls.

use std::collections::BTreeMap;
use std::time::Duration;

use caps_certs_gen::Identity;
use rand::{Rng, RngExt};

use crate::directory::{MEMBERS_MAX, Member, MemberState};

/// Orders peers for calls, from what it is told of earlier calls.
///
/// Owns no clock: `now` is the node's own time. Bounded at [`MEMBERS_MAX`] peers.
#[derive(Debug)]
pub(crate) struct Balancer {
    own_site: Option<String>,
    peers: BTreeMap<Identity, Peer>,
    budget: RetryBudget,
}

/// A peer that may serve a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) state: MemberState,
    /// How busy it says it is.
    pub(crate) load: u8,
    /// The last commit it is known to have, 0 if nothing is known.
    pub(crate) position: u64,
    /// The round trip of the connection to it, if there is one.
    pub(crate) rtt: Option<Duration>,
}

impl<'a> Candidate<'a> {
    /// A member of the directory, for a call to this service.
    pub(crate) fn of(member: &'a Member, service: u16, rtt: Option<Duration>) -> Self {
        let position = member.offers.position(service);
        Self { identity: &member.identity, state: member.state, load: member.load, position, rtt }
    }
}

impl Balancer {
    /// The balancer of a node at `own_site`; an administrator has none.
    pub(crate) fn new(own_site: Option<&str>) -> Self {
        Self { own_site: own_site.map(str::to_owned), peers: BTreeMap::new(), budget: RetryBudget::full() }
    }

    /// The candidates in the order in which they should be tried.
    ///
    /// The well come first, then those suspected or leaving, then those set aside, then those believed down (the belief may be old); within
    /// each, those that are not known to be far behind `wanted_position`, and within those the nearest.
    pub(crate) fn order(&mut self, candidates: &[Candidate<'_>], wanted_position: u64, now: Duration, rng: &mut impl Rng) -> Vec<Identity> {
        let mut groups: BTreeMap<Rank, Vec<(f64, &Identity)>> = BTreeMap::new();
        for candidate in candidates {
            let peer = self.peers.get(candidate.identity);
            let far_behind = is_far_behind(candidate, wanted_position);
            let group = (self.health(candidate, peer, now), far_behind, self.nearness(candidate));
            groups.entry(group).or_default().push((price(candidate, peer, now), candidate.identity));
        }
        groups.into_values().flat_map(|group| draw_in_pairs(group, rng)).cloned().collect()
    }

    /// Notes that a call, or another attempt at one, goes to a peer.
    pub(crate) fn on_start(&mut self, peer: &Identity, now: Duration) {
        self.budget.deposit(now);
        let peer = self.peer(peer);
        peer.outstanding = peer.outstanding.saturating_add(1);
    }

    /// Notes an answer; a refusal in good order is one as well.
    pub(crate) fn on_reply(&mut self, peer: &Identity, took: Duration, now: Duration) {
        let peer = self.peer(peer);
        peer.outstanding = peer.outstanding.saturating_sub(1);
        peer.failures = 0;
        peer.ejections = 0;
        peer.ejected_until = None;
        peer.latency.observe(took, now);
    }

    /// Notes that a peer did not answer, or lost the connection. The third time in a row sets it aside for some seconds, and then
    /// each further failure for longer, up to about a minute.
    pub(crate) fn on_failure(&mut self, peer: &Identity, now: Duration, rng: &mut impl Rng) {
        let peer = self.peer(peer);
        peer.outstanding = peer.outstanding.saturating_sub(1);
        peer.failures = peer.failures.saturating_add(1);
        if peer.failures >= FAILURES_TO_EJECT {
            let doubled = EJECTION.saturating_mul(1 << peer.ejections.min(EJECTION_DOUBLINGS_MAX));
            peer.ejected_until = Some(now + doubled.mul_f64(rng.random_range(0.5..1.5)));
            peer.ejections = peer.ejections.saturating_add(1);
        }
    }

    /// Notes that the caller no longer waits for an answer, which says nothing about the peer.
    pub(crate) fn on_cancelled(&mut self, peer: &Identity) {
        let peer = self.peer(peer);
        peer.outstanding = peer.outstanding.saturating_sub(1);
    }

    /// After how long a repeatable call that went to `peer` may be sent to another one as well: when it takes longer than nearly
    /// all before (smoothed latency and four deviations, as RFC 6298 has it for retransmissions), 10 ms to 2 s.
    pub(crate) fn hedge_after(&self, peer: &Identity) -> Duration {
        let latency = self.peers.get(peer).and_then(|peer| peer.latency.usual());
        latency.unwrap_or(HEDGE_UNKNOWN).clamp(HEDGE_MIN, HEDGE_MAX)
    }

    /// Whether one more attempt at a call fits the budget, and takes it from there.
    pub(crate) fn may_retry(&mut self, now: Duration) -> bool {
        self.budget.withdraw(now)
    }

    fn peer(&mut self, identity: &Identity) -> &mut Peer {
        if self.peers.len() >= MEMBERS_MAX && !self.peers.contains_key(identity) {
            let idle = self.peers.iter().find(|(_, peer)| peer.outstanding == 0).or_else(|| self.peers.first_key_value());
            if let Some(forgotten) = idle.map(|(identity, _)| identity.clone()) {
                self.peers.remove(&forgotten);
            }
        }
        self.peers.entry(identity.clone()).or_default()
    }

    fn health(&self, candidate: &Candidate<'_>, peer: Option<&Peer>, now: Duration) -> Health {
        if candidate.state == MemberState::Down {
            return Health::Gone;
        }
        if peer.is_some_and(|peer| peer.ejected_until.is_some_and(|until| now < until)) {
            return Health::SetAside;
        }
        match candidate.state {
            MemberState::Up => Health::Well,
            _ => Health::Doubtful,
        }
    }

    fn nearness(&self, candidate: &Candidate<'_>) -> Nearness {
        if self.own_site.is_some() && candidate.identity.site() == self.own_site.as_deref() {
            return Nearness::SameSite;
        }
        match candidate.rtt {
            // Classes of the round trip in milliseconds: under 1, 2, 4, 8 ...; within one the price decides.
            Some(rtt) => Nearness::Away((u128::BITS - rtt.as_millis().leading_zeros()).min(RTT_CLASSES)),
            None => Nearness::Unknown,
        }
    }
}

/// What is known about a peer from calls to it.
#[derive(Debug, Default)]
struct Peer {
    latency: Latency,
    outstanding: u32,
    failures: u32,
    ejections: u32,
    ejected_until: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Health {
    Well,
    Doubtful,
    SetAside,
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    SameSite,
    Away(u32),
    Unknown,
}

/// The latency of a peer, in seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Latency {
    /// Jumps up to a slow answer and comes down by and by, so that trouble shows at once.
    peak: f64,
    smoothed: f64,
    deviation: f64,
    observed_at: Option<Duration>,
}

impl Latency {
    fn observe(&mut self, took: Duration, now: Duration) {
        let took = took.as_secs_f64();
        let Some(observed_at) = self.observed_at.replace(now) else {
            *self = Self { peak: took, smoothed: took, deviation: took / 2.0, observed_at: Some(now) };
            return;
        };
        let kept = decay(now.saturating_sub(observed_at));
        self.peak = if took > self.peak { took } else { self.peak * kept + took * (1.0 - kept) };
        self.deviation = 0.75 * self.deviation + 0.25 * (self.smoothed - took).abs();
        self.smoothed = 0.875 * self.smoothed + 0.125 * took;
    }

    /// What a call is expected to take. It shrinks while nothing is asked, so that a peer that was slow is tried again.
    fn expected(&self, now: Duration) -> f64 {
        self.observed_at.map_or(0.0, |at| self.peak * decay(now.saturating_sub(at)))
    }

    fn usual(&self) -> Option<Duration> {
        self.observed_at?;
        Duration::try_from_secs_f64(self.smoothed + 4.0 * self.deviation).ok()
    }
}

/// How much extra work may be done: every attempt pays in a sixth, every repetition takes one out.
///
/// Repetitions are attempts as well, so of n calls the r repetitions obey r <= (n + r) / 6, that is r <= n / 5: under 20 %. A node
/// with few calls may repeat one a second all the same.
#[derive(Debug)]
struct RetryBudget {
    tokens: f64,
    /// When the second's token was last counted.
    counted_at: Duration,
}

impl RetryBudget {
    fn full() -> Self {
        Self { tokens: RESERVE, counted_at: Duration::ZERO }
    }

    fn deposit(&mut self, now: Duration) {
        self.count(now);
        self.tokens = (self.tokens + DEPOSIT).min(TOKENS_MAX);
    }

    fn withdraw(&mut self, now: Duration) -> bool {
        self.count(now);
        let granted = self.tokens >= 1.0;
        if granted {
            self.tokens -= 1.0;
        }
        granted
    }

    fn count(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.counted_at);
        self.counted_at = self.counted_at.max(now);
        if self.tokens < RESERVE {
            self.tokens = (self.tokens + passed.as_secs_f64() * RESERVE_PER_SECOND).min(RESERVE);
        }
    }
}

/// How good a choice a peer is, the best first: its health, whether it is far behind, its nearness.
type Rank = (Health, bool, Nearness);

/// What is known of a position is old: it travels by gossip twice a second. A peer a little behind has caught up, or does so while the call
/// waits there; one far behind would let it wait.
fn is_far_behind(candidate: &Candidate<'_>, wanted: u64) -> bool {
    candidate.position != 0 && candidate.position.saturating_add(BEHIND_MAX) < wanted
}

/// What one more call would cost there: the expected latency for each call that is out and this one, up to twice that if the peer says
/// that it is busy. A peer that was never asked costs least, so it is asked.
fn price(candidate: &Candidate<'_>, peer: Option<&Peer>, now: Duration) -> f64 {
    let (latency, outstanding) = peer.map_or((0.0, 0), |peer| (peer.latency.expected(now), peer.outstanding));
    // What was learnt long ago shrinks, so that a peer that was slow is tried again; but never below what the way there takes.
    let way = candidate.rtt.map_or(0.0, |rtt| rtt.as_secs_f64());
    let expected = latency.max(way).max(LATENCY_MIN_SECONDS);
    expected * f64::from(outstanding.saturating_add(1)) * (1.0 + f64::from(candidate.load) / 255.0)
}

/// Takes the better of two drawn at random until nobody is left.
fn draw_in_pairs<'a>(mut group: Vec<(f64, &'a Identity)>, rng: &mut impl Rng) -> Vec<&'a Identity> {
    let mut order = Vec::with_capacity(group.len());
    while group.len() > 1 {
        let first = rng.random_range(0..group.len());
        let other = (first + rng.random_range(1..group.len())) % group.len();
        let better = if group[other].0 < group[first].0 { other } else { first };
        order.push(group.swap_remove(better).1);
    }
    order.extend(group.pop().map(|(_, last)| last));
    order
}

fn decay(elapsed: Duration) -> f64 {
    (-elapsed.as_secs_f64() / DECAY_SECONDS).exp()
}

/// What a busy cabinet commits between two words of gossip.
const BEHIND_MAX: u64 = 1_000;
/// A peak has shrunk to a third after so long, as in Finagle and tower.
const DECAY_SECONDS: f64 = 10.0;
/// Below this, differences are noise of the scheduler, and what counts is the number of calls that are out.
const LATENCY_MIN_SECONDS: f64 = 0.000_1;
/// Round trips from 2^15 ms on are one class.
const RTT_CLASSES: u32 = 16;
const FAILURES_TO_EJECT: u32 = 3;
const EJECTION: Duration = Duration::from_secs(5);
/// 5 s x 2^3 = 40 s, and up to 60 s with jitter.
const EJECTION_DOUBLINGS_MAX: u32 = 3;
const DEPOSIT: f64 = 1.0 / 6.0;
const RESERVE: f64 = 10.0;
const RESERVE_PER_SECOND: f64 = 1.0;
/// What a burst of failures may spend at once after a long time without.
const TOKENS_MAX: f64 = 100.0;
const HEDGE_UNKNOWN: Duration = Duration::from_millis(500);
const HEDGE_MIN: Duration = Duration::from_millis(10);
const HEDGE_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::directory::tests::node;

    const NOW: Duration = Duration::from_secs(100);

    fn rng() -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(1)
    }

    fn milliseconds(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    fn up(identity: &Identity, rtt: u64) -> Candidate<'_> {
        Candidate { identity, state: MemberState::Up, load: 0, position: 0, rtt: Some(milliseconds(rtt)) }
    }

    fn names(order: &[Identity]) -> Vec<&str> {
        order.iter().map(Identity::name).collect()
    }

    /// How often each of the candidates comes first in 1,000 draws.
    fn firsts(balancer: &mut Balancer, candidates: &[Candidate<'_>]) -> BTreeMap<String, u32> {
        let mut rng = rng();
        let mut firsts = BTreeMap::new();
        for _ in 0..1_000 {
            let first = balancer.order(candidates, 0, NOW, &mut rng)[0].name().to_owned();
            *firsts.entry(first).or_default() += 1;
        }
        firsts
    }

    #[test]
    fn own_site_comes_first_then_the_nearest_then_the_unknown() {
        let (own, near, far, unknown) =
            (node("lund", 2, "own"), node("goteborg", 2, "near"), node("kiruna", 2, "far"), node("kiruna", 2, "unknown"));
        let candidates = [Candidate { rtt: None, ..up(&unknown, 0) }, up(&far, 40), up(&near, 7), up(&own, 50)];
        let mut balancer = Balancer::new(Some("lund"));
        assert_eq!(names(&balancer.order(&candidates, 0, NOW, &mut rng())), ["own", "near", "far", "unknown"]);
    }

    #[test]
    fn doubtful_peers_come_after_distant_ones_and_the_down_last() {
        let (suspect, leaving, far, down) =
            (node("lund", 2, "suspect"), node("lund", 2, "leaving"), node("kiruna", 2, "far"), node("lund", 2, "down"));
        let candidates = [
            Candidate { state: MemberState::Suspect, ..up(&suspect, 1) },
            Candidate { state: MemberState::Leaving, ..up(&leaving, 1) },
            up(&far, 100),
            Candidate { state: MemberState::Down, ..up(&down, 1) },
        ];
        let mut balancer = Balancer::new(Some("lund"));
        let order = balancer.order(&candidates, 0, NOW, &mut rng());
        assert_eq!((&order[0], &order[3]), (&far, &down));
    }

    #[test]
    fn peers_far_behind_come_after_distant_ones() {
        let (near, far) = (node("lund", 1, "near"), node("kiruna", 1, "far"));
        let wanted = 5_000;
        let first = |known: u64, balancer: &mut Balancer| {
            let candidates = [Candidate { position: known, ..up(&near, 1) }, Candidate { position: wanted, ..up(&far, 40) }];
            balancer.order(&candidates, wanted, NOW, &mut rng()).remove(0)
        };
        let mut balancer = Balancer::new(Some("lund"));
        assert_eq!(first(wanted - BEHIND_MAX - 1, &mut balancer), far);
        // What gossip brings is always a little old.
        assert_eq!(first(wanted - BEHIND_MAX, &mut balancer), near);
        // Nothing is known of it: it may be fresh.
        assert_eq!(first(0, &mut balancer), near);
    }

    #[test]
    fn the_cheaper_of_two_is_taken() {
        let (fast, slow) = (node("lund", 2, "fast"), node("lund", 2, "slow"));
        let mut balancer = Balancer::new(Some("lund"));
        balancer.on_reply(&fast, milliseconds(1), NOW);
        balancer.on_reply(&slow, milliseconds(5), NOW);
        // With two candidates both are always drawn.
        assert_eq!(firsts(&mut balancer, &[up(&fast, 1), up(&slow, 1)])["fast"], 1_000);
        // Five calls out at 1 ms cost 6 ms, one at 5 ms costs 5 ms.
        for _ in 0..5 {
            balancer.on_start(&fast, NOW);
        }
        assert_eq!(firsts(&mut balancer, &[up(&fast, 1), up(&slow, 1)])["slow"], 1_000);
    }

    #[test]
    fn equal_peers_share_and_the_dearest_of_three_is_never_first() {
        let (a, b, c) = (node("lund", 2, "a"), node("lund", 2, "b"), node("lund", 2, "c"));
        let mut balancer = Balancer::new(Some("lund"));
        for (peer, took) in [(&a, 1), (&b, 1), (&c, 50)] {
            balancer.on_reply(peer, milliseconds(took), NOW);
        }
        let firsts = firsts(&mut balancer, &[up(&a, 1), up(&b, 1), up(&c, 1)]);
        // 500 each, give or take four standard deviations: sqrt(1000 / 4) = 16.
        assert!(firsts["a"].abs_diff(500) < 64, "{firsts:?}");
        assert_eq!(firsts.get("c"), None);
    }

    #[test]
    fn a_busy_peer_costs_up_to_twice_as_much() {
        let (busy, idle) = (node("lund", 2, "busy"), node("lund", 2, "idle"));
        let mut balancer = Balancer::new(Some("lund"));
        balancer.on_reply(&busy, milliseconds(10), NOW);
        balancer.on_reply(&idle, milliseconds(19), NOW);
        let candidates = [Candidate { load: 255, ..up(&busy, 1) }, up(&idle, 1)];
        // 10 ms x 2 = 20 ms against 19 ms.
        assert_eq!(firsts(&mut balancer, &candidates)["idle"], 1_000);
    }

    #[test]
    fn peaks_show_at_once_and_fade_with_time() {
        let mut latency = Latency::default();
        latency.observe(milliseconds(10), NOW);
        latency.observe(milliseconds(100), NOW);
        assert_eq!(latency.expected(NOW), 0.1);
        // 100 ms / e = 36.8 ms after ten seconds without any call.
        let later = NOW + Duration::from_secs(10);
        assert!((latency.expected(later) - 0.0368).abs() < 0.0001);
        // And 100 ms / e + 10 ms x (1 - 1/e) = 43.1 ms if a call took 10 ms then.
        latency.observe(milliseconds(10), later);
        assert!((latency.expected(later) - 0.0431).abs() < 0.0001);
    }

    #[test]
    fn three_failures_in_a_row_set_a_peer_aside_for_a_while() {
        let (failing, far) = (node("lund", 2, "failing"), node("kiruna", 2, "far"));
        let candidates = [up(&failing, 1), up(&far, 100)];
        let mut balancer = Balancer::new(Some("lund"));
        let mut rng = rng();
        let first =
            |balancer: &mut Balancer, at: Duration| balancer.order(&candidates, 0, at, &mut ChaCha8Rng::seed_from_u64(2))[0].clone();
        balancer.on_failure(&failing, NOW, &mut rng);
        balancer.on_failure(&failing, NOW, &mut rng);
        balancer.on_reply(&failing, milliseconds(1), NOW);
        balancer.on_failure(&failing, NOW, &mut rng);
        balancer.on_failure(&failing, NOW, &mut rng);
        assert_eq!(first(&mut balancer, NOW), failing);
        balancer.on_failure(&failing, NOW, &mut rng);
        // 5 s x 0.5 to 1.5.
        assert_eq!(first(&mut balancer, NOW + milliseconds(2_400)), far);
        let back = NOW + milliseconds(7_501);
        assert_eq!(first(&mut balancer, back), failing);
        // It fails again: 10 s x 0.5 to 1.5 this time.
        balancer.on_failure(&failing, back, &mut rng);
        assert_eq!(first(&mut balancer, back + milliseconds(4_900)), far);
        assert_eq!(first(&mut balancer, back + milliseconds(15_001)), failing);
        for _ in 0..100 {
            balancer.on_failure(&failing, back, &mut rng);
        }
        // Never longer than 40 s x 1.5.
        assert_eq!(first(&mut balancer, back + milliseconds(60_001)), failing);
    }

    #[test]
    fn repetitions_stay_under_a_fifth() {
        let host = node("lund", 2, "host");
        let mut balancer = Balancer::new(Some("lund"));
        let mut repeated = 0;
        for _ in 0..10_000 {
            balancer.on_start(&host, NOW);
            // Every attempt fails.
            while balancer.may_retry(NOW) {
                repeated += 1;
                balancer.on_start(&host, NOW);
            }
        }
        // 10,000 / 5, and the reserve of 10, which is worth 10 x 6/5.
        assert!((1_990..=2_012).contains(&repeated), "{repeated}");
        // A second gives one token back.
        let later = NOW + Duration::from_secs(1);
        assert!(balancer.may_retry(later));
        assert!(!balancer.may_retry(later));
    }

    #[test]
    fn hedging_waits_for_longer_than_usual() {
        let (steady, unknown) = (node("lund", 2, "steady"), node("lund", 2, "unknown"));
        let mut balancer = Balancer::new(Some("lund"));
        assert_eq!(balancer.hedge_after(&unknown), milliseconds(500));
        balancer.on_reply(&steady, milliseconds(40), NOW);
        // 40 ms + 4 x 20 ms.
        assert_eq!(balancer.hedge_after(&steady), milliseconds(120));
        for _ in 0..100 {
            balancer.on_reply(&steady, milliseconds(40), NOW);
        }
        assert!(balancer.hedge_after(&steady).abs_diff(milliseconds(40)) < milliseconds(1));
    }

    #[test]
    fn memory_is_bounded() {
        let mut balancer = Balancer::new(None);
        for number in 0..2 * MEMBERS_MAX {
            balancer.on_start(&node("lund", 2, &format!("h{number}")), NOW);
        }
        assert_eq!(balancer.peers.len(), MEMBERS_MAX);
    }
}
