//! The library: every scenario can be read, and goes as it says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use caps_simulations::scenario::{self, Scenario};

#[test]
fn every_scenario_is_listed_with_what_it_shows() {
    let output = Command::new(env!("CARGO_BIN_EXE_caps-sim")).args(["scenarios", "--json", "--dir"]).arg(directory()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let names: BTreeSet<&str> = listed.iter().map(|scenario| scenario["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), files().len());
    assert!(names.len() >= 20, "{} scenarios", names.len());
    let abouts: BTreeSet<&str> = listed.iter().map(|scenario| scenario["about"].as_str().unwrap()).collect();
    assert_eq!(abouts.len(), names.len(), "two scenarios say the same of themselves");
    for about in abouts {
        assert!(about.len() > 30 && about.ends_with('.'), "not a sentence: {about}");
    }
}

/// Everything that a scenario plans happens in it or is told why not, and no promise is broken. Debug builds are slow: a scenario is cut off
/// after so much virtual time that all of them together take about a minute; `caps-sim run` runs them whole.
macro_rules! goes_well {
    ($($test:ident: $name:literal, $seconds:literal;)*) => {$(
        #[test]
        fn $test() {
            goes_well($name, Duration::from_secs($seconds));
        }
    )*};
}

goes_well! {
    address_change: "address-change", 12;
    calm: "calm", 10;
    clock_jump: "clock-jump", 15;
    disk_full: "disk-full", 14;
    flapping_link: "flapping-link", 15;
    isolated_leader: "isolated-leader", 14;
    leader_loss: "leader-loss", 18;
    lossy_lines: "lossy-lines", 10;
    nat_timeout: "nat-timeout", 70;
    one_way: "one-way", 14;
    power_cut: "power-cut", 22;
    reordering_lines: "reordering-lines", 10;
    rolling_restart: "rolling-restart", 26;
    satellite_front_end: "satellite-front-end", 36;
    site_disaster: "site-disaster", 26;
    slow_follower: "slow-follower", 10;
    small_mtu: "small-mtu", 14;
    swizzle: "swizzle", 18;
    sync_fails: "sync-fails", 14;
    sync_fails_unnoticed: "sync-fails-unnoticed", 40;
}

/// Changes of who keeps the cabinet, and repairs: whole, because what one step leaves is what the next one meets. Other seeds are for
/// `caps-sim run`.
macro_rules! keeps_its_members {
    ($($test:ident: $name:literal;)*) => {$(
        #[test]
        fn $test() {
            let scenario = Scenario::read(&directory().join(concat!($name, ".toml"))).unwrap();
            let outcome = scenario::run(&scenario, 1, None, |_| {}).unwrap();
            assert!(outcome.is_good(), "{:#?}\n{:#?}\n{:#?}", outcome.violations, outcome.unmet, outcome.failed);
            assert_eq!(outcome.faults, scenario.timetable.len() as u64, "{:?}", outcome.faults_by_kind);
        }
    )*};
}

keeps_its_members! {
    catch_up: "catch-up";
    corrupted_minority: "corrupted-minority";
    leader_transfer: "leader-transfer";
    membership_change: "membership-change";
    power_cut_of_replicas: "power-cut-of-replicas";
    slow_learner: "slow-learner";
}

fn goes_well(name: &str, length: Duration) {
    let mut scenario = Scenario::read(&directory().join(format!("{name}.toml"))).unwrap();
    scenario.length = scenario.length.min(length);
    scenario.timetable.retain(|planned| planned.at < scenario.length);
    // How much is done depends on how long it lasts; what must never be does not.
    scenario.expect.acknowledged_min = 1;
    let outcome = scenario::run(&scenario, 1, None, |_| {}).unwrap();
    assert!(outcome.is_good(), "{:#?}\n{:#?}\n{:#?}", outcome.violations, outcome.unmet, outcome.failed);
    assert_eq!(outcome.faults, scenario.timetable.len() as u64, "{:?}", outcome.faults_by_kind);
}

pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

fn files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory()).unwrap();
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect()
}
