//! Of many faults the guilty one is found.

use std::time::Duration;

use caps_simulations::scenario::{Fault, Planned, Scenario, Target, shrink};

use crate::library::directory;

/// A NAT that forgets is nothing. A site that burns until the end is back soon, but not as soon as this scenario wants it.
#[test]
fn guilty_fault_is_found_among_innocent_ones() {
    let mut scenario = Scenario::read(&directory().join("calm.toml")).unwrap();
    scenario.length = Duration::from_secs(3);
    scenario.heal = Duration::from_millis(600);
    let rebind = |ms| Planned {
        at: Duration::from_millis(ms),
        lasts: Duration::ZERO,
        fault: Fault::NatRebind { node: Target::Node("desk-malmo".to_owned()) },
    };
    let site = "lund".to_owned();
    let guilty = Planned { at: Duration::from_millis(1_000), lasts: Duration::from_secs(60), fault: Fault::SiteDown { site } };
    scenario.timetable = [200, 400, 600, 800].map(rebind).into_iter().chain([guilty.clone()]).chain([1_500, 2_000].map(rebind)).collect();
    let smaller = shrink::shrink(&scenario, 1, 40, |_, _| {}).unwrap().expect("it fails");
    assert_eq!(smaller.plan, [guilty]);
    assert_eq!((smaller.of, smaller.violation.invariant.as_str()), (7, "recovers"));
    let here = tempfile::tempdir().unwrap();
    let path = here.path().join("small.toml");
    std::fs::write(&path, smaller.file(&directory().join("calm.toml"), Some(&path)).unwrap()).unwrap();
    let read = Scenario::read(&path).unwrap();
    assert_eq!(read.timetable, smaller.plan);
}
