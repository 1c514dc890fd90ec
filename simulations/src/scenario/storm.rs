//! Faults at random: a timetable drawn from the seed before the world begins, so that it can be printed, replayed and made smaller.

use std::time::Duration;

use caps_certs_gen::Layer;
use caps_node::deployment::Deployment;
use caps_overlay::Rng;

use super::fault::{Fault, Planned, Target};

/// Faults at random.
#[derive(Clone, Debug, PartialEq)]
pub struct Storm {
    /// The mean time between the beginnings of two faults.
    pub every: Duration,
    /// The kinds that are drawn, each as likely as the others.
    pub kinds: Vec<String>,
    /// The shortest and the longest that one lasts; shorter ones are more likely.
    pub lasts: (Duration, Duration),
}

/// Every kind, for those who want all.
pub(super) const KINDS: [&str; 18] = [
    "crash",
    "power-cut",
    "restart",
    "pause",
    "clog",
    "swizzle",
    "isolate",
    "partition",
    "one-way",
    "degrade",
    "flap",
    "site-down",
    "clock-jump",
    "clock-drift",
    "disk-full",
    "sync-fails",
    "nat-rebind",
    "address-change",
];

impl Storm {
    /// Draws what happens within `length`.
    pub(super) fn draw(&self, deployment: &Deployment, length: Duration, seed: u64) -> Vec<Planned> {
        // Not the world's own randomness: the same storm may be let loose on another deployment.
        let rng = Rng::seeded(seed ^ STORM);
        let mut dice = Dice { rng, deployment };
        let mut drawn = Vec::new();
        let mut at = dice.about(self.every);
        while at < length && drawn.len() < FAULTS_MAX {
            let kind = dice.one_of(&self.kinds).clone();
            let lasts = dice.between(self.lasts.0, self.lasts.1);
            drawn.extend(dice.fault(&kind).map(|fault| Planned { at, lasts, fault }));
            at += dice.about(self.every);
        }
        drawn
    }
}

struct Dice<'a> {
    rng: Rng,
    deployment: &'a Deployment,
}

impl Dice<'_> {
    /// `None` where the deployment has nothing that it could happen to.
    fn fault(&mut self, kind: &str) -> Option<Fault> {
        Some(match kind {
            "crash" => Fault::Crash { node: self.anybody()? },
            "power-cut" => Fault::PowerCut { node: self.server()? },
            "restart" => Fault::Restart { node: self.server()? },
            "pause" => Fault::Pause { node: self.anybody()? },
            "clog" => Fault::Clog { node: self.anybody()? },
            "swizzle" => Fault::Swizzle,
            "isolate" => Fault::Isolate { node: self.anybody()? },
            "partition" => Fault::Partition { sites: vec![self.site()] },
            "one-way" => self.two_sites().map(|(from, to)| Fault::OneWay { from, to })?,
            "degrade" => {
                let (from, to) = self.two_sites()?;
                let loss = f64::from(u32::try_from(1 + self.rng.below(30)).unwrap_or(1)) / 100.0;
                Fault::Degrade { from, to, loss, delay_ms: self.rng.below(300) }
            }
            "flap" => self.two_sites().map(|(from, to)| Fault::Flap { from, to })?,
            "site-down" => Fault::SiteDown { site: self.site() },
            "clock-jump" => Fault::ClockJump { node: self.server()?, seconds: self.signed(7_200) },
            "clock-drift" => Fault::ClockDrift { node: self.server()?, ppm: self.signed(100_000) },
            "disk-full" => Fault::DiskFull { node: self.replica()? },
            "sync-fails" => Fault::SyncFails { node: self.replica()? },
            "nat-rebind" => Fault::NatRebind { node: self.front_end()? },
            "address-change" => Fault::AddressChange { node: self.front_end()? },
            _ => return None,
        })
    }

    fn replica(&mut self) -> Option<Target> {
        if self.rng.below(3) == 0 {
            return Some(Target::Leader);
        }
        self.node(|layer| layer == Layer::Cabinet)
    }

    fn server(&mut self) -> Option<Target> {
        if self.rng.below(4) == 0 {
            return Some(Target::Leader);
        }
        self.node(|layer| layer != Layer::FrontEnd)
    }

    fn front_end(&mut self) -> Option<Target> {
        self.node(|layer| layer == Layer::FrontEnd)
    }

    fn anybody(&mut self) -> Option<Target> {
        self.node(|_| true)
    }

    fn node(&mut self, is_of: impl Fn(Layer) -> bool) -> Option<Target> {
        let nodes: Vec<&str> = self.deployment.nodes.iter().filter(|node| is_of(node.layer)).map(|node| node.name.as_str()).collect();
        if nodes.is_empty() {
            return None;
        }
        Some(Target::Node((*self.one_of(&nodes)).to_owned()))
    }

    fn site(&mut self) -> String {
        let deployment = self.deployment;
        self.one_of(&deployment.sites).clone()
    }

    fn two_sites(&mut self) -> Option<(String, String)> {
        let from = self.site();
        let others: Vec<&String> = self.deployment.sites.iter().filter(|site| **site != from).collect();
        if others.is_empty() {
            return None;
        }
        let to = (*self.one_of(&others)).clone();
        Some((from, to))
    }

    fn one_of<'v, T>(&self, values: &'v [T]) -> &'v T {
        let place = self.rng.below(values.len() as u64);
        &values[usize::try_from(place).expect("it is below a length")]
    }

    fn signed(&self, most: u64) -> i64 {
        let magnitude = i64::try_from(1 + self.rng.below(most)).unwrap_or(1);
        if self.rng.below(2) == 0 { magnitude } else { -magnitude }
    }

    /// Exponentially distributed with this mean.
    fn about(&self, mean: Duration) -> Duration {
        mean.mul_f64(-self.unit().ln())
    }

    /// Between the two, every order of magnitude as likely as the others.
    fn between(&self, shortest: Duration, longest: Duration) -> Duration {
        let (shortest, longest) = (shortest.as_secs_f64(), longest.as_secs_f64().max(shortest.as_secs_f64()));
        let seconds = shortest * (longest / shortest).powf(self.unit());
        // Whole milliseconds: that is how a timetable is written.
        let milliseconds = Duration::from_secs_f64(seconds).as_millis();
        Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX))
    }

    /// Above 0, at most 1.
    fn unit(&self) -> f64 {
        const STEPS: u64 = 1 << 32;
        (1 + self.rng.below(STEPS)) as f64 / STEPS as f64
    }
}

/// Keeps the storm's randomness apart from the world's.
const STORM: u64 = 0x5704_2a11;

/// However long the scenario.
const FAULTS_MAX: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_can_be_drawn_and_is_called_what_it_is() {
        let deployment = crate::scenario::file::tests::deployment();
        let mut dice = Dice { rng: Rng::seeded(1), deployment: &deployment };
        for kind in KINDS {
            assert_eq!(dice.fault(kind).map(|fault| fault.kind()), Some(kind));
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_storm() {
        let deployment = crate::scenario::file::tests::deployment();
        let kinds = KINDS.map(str::to_owned).to_vec();
        let storm = Storm { every: Duration::from_secs(2), kinds, lasts: (Duration::from_millis(100), Duration::from_secs(10)) };
        let draw = |seed| storm.draw(&deployment, Duration::from_secs(600), seed);
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        // 600 s at one in 2 s: 300, within five standard deviations of 17.
        assert!((215..385).contains(&draw(7).len()), "{}", draw(7).len());
    }
}
