//! The same seed gives the same, datagram by datagram.

use std::process::Command;
use std::time::Duration;

use caps_simulations::scenario::{self, Outcome, Scenario};

use crate::library::directory;

#[test]
fn same_seed_gives_the_same_trace_in_one_process() {
    let (one, again) = (mixed(3), mixed(3));
    assert_eq!(one.trace, again.trace);
    assert_eq!(one.story, again.story);
}

#[test]
fn other_seeds_give_other_traces() {
    let (one, other) = (mixed(3), mixed(4));
    assert!(one.faults > 0, "nothing happened that could differ");
    assert_ne!(one.trace, other.trace);
    assert_ne!(one.story, other.story);
}

#[test]
fn same_seed_gives_the_same_trace_in_two_processes() {
    let here = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(directory().join("mixed-faults.toml")).unwrap();
    let deployments = directory().join("../deployments");
    let text = text.replace("length = \"2m\"", "length = \"10s\"").replace("../deployments", deployments.to_str().unwrap());
    let text = text.replace("acknowledged_min = 20", "acknowledged_min = 1");
    let path = here.path().join("short.toml");
    std::fs::write(&path, text).unwrap();
    let run = || {
        let output = Command::new(env!("CARGO_BIN_EXE_caps-sim")).arg("run").arg(&path).args(["--seed", "5", "--json"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let outcome: Outcome = serde_json::from_slice(&output.stdout).unwrap();
        assert!(outcome.virtual_seconds < 100.0, "the scenario was to be short");
        outcome.trace
    };
    assert_eq!(run(), run());
}

fn mixed(seed: u64) -> Outcome {
    let mut scenario = Scenario::read(&directory().join("mixed-faults.toml")).unwrap();
    scenario.length = Duration::from_secs(10);
    scenario::run(&scenario, seed, None, |_| {}).unwrap()
}
