//! The cores of three to five replicas in virtual time, over a network and disks that do their worst.
//!
//! `CAPS_SEEDS=1000` tries more of them. A failing seed is replayed with `CAPS_SEED=<seed> cargo test -p caps-store replication -- --nocapture`.

mod batches;
mod core;
mod hostile;
mod world;

use world::{Bug, Violation, World};

/// Runs seeds until one fails; which, and how.
fn first_violation(seeds: std::ops::Range<u64>, bug: Bug) -> Option<(u64, Violation)> {
    seeds.into_iter().find_map(|seed| World::new(seed, bug).run().err().map(|violation| (seed, violation)))
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_happens_twice() {
    let seeds = match std::env::var("CAPS_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("CAPS_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..std::env::var("CAPS_SEEDS").map_or(60, |seeds| seeds.parse().expect("CAPS_SEEDS is a number")),
    };
    if let Some((seed, violation)) = first_violation(seeds, Bug::None) {
        panic!("{violation}; replay with CAPS_SEED={seed} cargo test -p caps-store nothing_acknowledged_is_lost -- --nocapture");
    }
}

/// The worlds are worth something only if commits, crashes and elections really happen in them.
#[test]
fn the_worlds_are_eventful() {
    let mut totals = world::Events::default();
    for seed in 0..20 {
        totals = totals + World::new(seed, Bug::None).run().unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
    }
    assert!(totals.acknowledged > 1_000, "{totals:?}");
    assert!(totals.crashes > 20 && totals.elections > 40 && totals.reads > 100 && totals.changes > 100, "{totals:?}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    let trace = |seed| {
        let mut world = World::new(seed, Bug::None);
        world.run().unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        world.trace()
    };
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}

/// A harness is as good as the mistakes that it finds (RELIABILITY.md): each of these is one that a real system made.
#[test]
fn known_mistakes_are_found() {
    for bug in [Bug::AcknowledgeBeforeSync, Bug::UnsavedVote, Bug::StaleRead] {
        let found = first_violation(0..200, bug);
        assert!(found.is_some(), "{bug:?} was not found in 200 seeds");
        if let Some((seed, violation)) = found {
            println!("{bug:?}: found by seed {seed}: {violation}");
        }
    }
}
