//! The lines of the profiles.

use std::time::Duration;

use caps_node::deployment::network::LinkFigures;
use caps_node::deployment::profile::Profile;
use caps_overlay::{Controller, PathRules};

use super::bulk::{beside, controllers, how};
use super::bursts::one_burst;
use super::lab::{How, Lab, Wire, call};
use super::sample::{Sample, millis};
use super::{Figure, Row};

/// Cold call, burst and bulk on each line, with its owner at the near side.
pub(super) fn lines(seed: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    for line in LINES {
        let profile = Profile::named(line).expect("the profiles of this list are there");
        let wire = Wire { up: profile.up, down: profile.down };
        let rtt = profile.up.delay + profile.down.delay;
        for (name, controller) in controllers() {
            let mut burst = Sample::default();
            for repetition in 0..REPETITIONS {
                burst.extend(one_burst(seed + repetition, wire, &how(controller), true));
            }
            let mut figures = vec![millis("cold", cold(seed, wire, controller))];
            figures.extend([millis("burst p50", burst.quantile(0.5)), millis("p99", burst.quantile(0.99))]);
            figures.extend(beside(seed, wire, how(controller), rtt).into_iter().map(|figure| match figure.name {
                "" => Figure { name: "bulk up", ..figure },
                _ => figure,
            }));
            rows.push(Row::new("lines", format!("{line}, {name}"), figures));
        }
    }
    rows
}

/// A burst on each line, and on clean ones, by the initial window.
pub(super) fn windows(seed: u64) -> Vec<Row> {
    let profiles = LINES.map(|line| {
        let profile = Profile::named(line).expect("the profiles of this list are there");
        (line, Wire { up: profile.up, down: profile.down })
    });
    let small = LinkFigures { rate_bps: Some(20_000_000), queue_bytes: 64 << 10, ..LinkFigures::ideal(Duration::from_millis(20)) };
    let others = [("100 ms, clean", Wire::even(Duration::from_millis(100))), ("40 ms, 20 Mbit/s, queue 64 KiB", Wire::both(small))];
    let mut rows = Vec::new();
    for (line, wire) in others.into_iter().chain(profiles) {
        for window in [14_720, 60_000, 120_000, 240_000] {
            let rules = PathRules { controller: Some(Controller::Cubic), initial_window_bytes: Some(window), travel: None };
            let how = How { rules, ..How::default() };
            let burst: Sample = (0..REPETITIONS).flat_map(|repetition| one_burst(seed + repetition, wire, &how, true)).collect();
            rows.push(Row::new("window", format!("{line}, {window} bytes"), burst.figures()));
        }
    }
    rows
}

/// The median of some cold calls.
fn cold(seed: u64, wire: Wire, controller: Option<Controller>) -> Duration {
    let sample: Sample = Lab::run(seed, wire, move |lab| async move {
        let how = how(controller);
        let (server, _) = lab.server(0, &how).await;
        let mut sample = Sample::default();
        for _ in 0..COLD_CALLS {
            let node = lab.front_end(0, &server, &how).await;
            sample.extend(call(&node, &server, 64).await.ok());
            lab.kill(&node);
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        sample
    });
    sample.quantile(0.5)
}

const LINES: [&str; 5] = ["lte", "geo", "leo", "wifi-bad", "congested-office"];
const REPETITIONS: u64 = 5;
const COLD_CALLS: usize = 50;
