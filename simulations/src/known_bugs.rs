//! Known bugs, hunted: a harness is only as good as what it finds.
//!
//! A build with the feature `seeded-bugs` can make the mistakes listed in [`caps_overlay::bugs`]. A [`hunt`] switches one of them on and runs a
//! scenario under one seed after the other until an invariant says that something is wrong.

use std::time::Duration;

use caps_overlay::bugs::{self, Bug};
use serde::{Deserialize, Serialize};

use crate::scenario::{self, Scenario};

/// What became of a hunt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hunt {
    /// The bug's name.
    pub bug: String,
    /// The first seed.
    pub from: u64,
    /// How many seeds were run, the one that found it included.
    pub seeds: u64,
    /// What found it; `None`: nothing did.
    pub found: Option<Find>,
}

/// The find of a hunt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Find {
    /// The seed.
    pub seed: u64,
    /// The invariant that was broken first.
    pub invariant: String,
    /// What was seen.
    pub what: String,
    /// When it was noticed in that run, in virtual seconds.
    pub at: f64,
    /// Virtual seconds of the whole hunt until then.
    pub virtual_seconds: f64,
}

/// Runs the scenario with a bug, or none, under `seeds` seeds beginning with `from`, until one finds something. Does nothing useful in a build
/// without bugs: see [`bugs::COMPILED_IN`].
pub fn hunt(bug: Option<Bug>, scenario: &Scenario, from: u64, seeds: u64) -> anyhow::Result<Hunt> {
    bugs::switch(bug);
    let outcome = search(scenario, from, seeds);
    bugs::switch(None);
    let (seeds, found) = outcome?;
    Ok(Hunt { bug: bug.map_or("none", |bug| bug.facts().name).to_owned(), from, seeds, found })
}

fn search(scenario: &Scenario, from: u64, seeds: u64) -> anyhow::Result<(u64, Option<Find>)> {
    let mut before = 0.0;
    for (run, seed) in (1..=seeds).zip(from..) {
        let outcome = scenario::run(scenario, seed, None, |_: Duration| {})?;
        if let Some(first) = outcome.violations.first() {
            let (invariant, what, at) = (first.invariant.to_string(), first.what.clone(), first.at);
            return Ok((run, Some(Find { seed, invariant, what, at, virtual_seconds: before + at })));
        }
        before += outcome.virtual_seconds;
    }
    Ok((seeds, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cargo unites features: a build of everything must not have them by accident.
    #[test]
    fn bugs_are_there_only_where_they_were_asked_for() {
        assert_eq!(bugs::COMPILED_IN, cfg!(feature = "seeded-bugs"));
        bugs::switch(Some(Bug::BlindRetry));
        assert_eq!(bugs::has(Bug::BlindRetry), bugs::COMPILED_IN);
        bugs::switch(None);
    }
}
