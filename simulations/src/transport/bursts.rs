//! Small calls on a lossy line: many at once, and one after the other.

use std::time::Duration;

use caps_overlay::{Controller, Overlay, PathRules, Travel};
use futures_util::future::join_all;

use super::Row;
use super::lab::{How, Lab, Wire, call};
use super::sample::Sample;

/// 100 calls of 1 KiB at once.
pub(super) fn burst(seed: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    for warm in [false, true] {
        for (name, rules) in ways() {
            let mut sample = Sample::default();
            for repetition in 0..REPETITIONS {
                sample.extend(one_burst(seed + repetition, wire(), &How { rules: rules.clone(), ..How::default() }, warm));
            }
            let case = format!("{}, {name}", if warm { "warm" } else { "cold" });
            let row = Row::new("burst", case, sample.figures());
            let remark = (!warm && rules.controller.is_some()).then_some("the handshake's 100 ms included");
            rows.push(Row { expected: expected_of_burst(warm, &rules), remark, ..row });
        }
    }
    rows
}

/// One burst on a line of any kind.
pub(super) fn one_burst(seed: u64, wire: Wire, how: &How, warm: bool) -> Sample {
    let how = how.clone();
    Lab::run(seed, wire, move |lab| async move {
        let (server, _) = lab.server(0, &how).await;
        let node = lab.front_end(0, &server, &how).await;
        if warm {
            warm_up(&node, &server).await;
        }
        join_all((0..BURST_CALLS).map(|_| call(&node, &server, 1 << 10))).await.into_iter().flatten().collect()
    })
}

/// Some calls, so that the path is known, and a pause.
async fn warm_up(node: &Overlay, server: &Overlay) {
    for _ in 0..20 {
        // One that failed has warmed as well.
        drop(call(node, server, 1 << 10).await);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// One call of 1 KiB a millisecond.
pub(super) fn steady(seed: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, rules) in ways() {
        let expected = match (rules.controller, rules.initial_window_bytes, rules.travel) {
            (Some(Controller::Cubic), Some(CUBIC_BYTES), Some(Travel::Stream)) => Some("p50 5,900 ms"),
            (Some(Controller::Bbr), Some(BBR_BYTES), Some(Travel::Stream)) => Some("100/100/203"),
            _ => None,
        };
        let sample = calls_at_a_pace(seed, wire(), How { rules, ..How::default() });
        rows.push(Row { expected, ..Row::new("steady", name, sample.figures()) });
    }
    let far = calls_at_a_pace(seed, Wire::even(Duration::from_millis(600)), How::default());
    rows.push(Row::new("steady", "600 ms and no loss, the overlay's choice", far.figures()));
    rows
}

fn calls_at_a_pace(seed: u64, wire: Wire, how: How) -> Sample {
    Lab::run(seed, wire, move |lab| async move {
        let (server, _) = lab.server(0, &how).await;
        let node = lab.front_end(0, &server, &how).await;
        warm_up(&node, &server).await;
        let calls = (0..STEADY_CALLS).map(|number| {
            let (node, server) = (node.clone(), server.clone());
            async move {
                tokio::time::sleep(Duration::from_millis(number)).await;
                call(&node, &server, 1 << 10).await
            }
        });
        join_all(calls).await.into_iter().flatten().collect()
    })
}

/// Controllers with both initial windows, and both ways to travel; then what the overlay does by itself.
fn ways() -> Vec<(String, PathRules)> {
    let mut ways = Vec::new();
    for (controller, named) in [(Controller::Cubic, "Cubic"), (Controller::Bbr, "BBR")] {
        for window in [CUBIC_BYTES, BBR_BYTES] {
            for (travel, spoken) in [(Travel::Stream, "a stream per call"), (Travel::Lane, "one lane")] {
                let rules = PathRules { controller: Some(controller), initial_window_bytes: Some(window), travel: Some(travel) };
                ways.push((format!("{named} from {window} bytes, {spoken}"), rules));
            }
        }
    }
    ways.push(("the overlay's choice".to_owned(), PathRules::default()));
    ways
}

fn expected_of_burst(warm: bool, rules: &PathRules) -> Option<&'static str> {
    match (warm, rules.controller?, rules.initial_window_bytes?, rules.travel?) {
        (false, Controller::Cubic, CUBIC_BYTES, Travel::Stream) => Some("425/893/1500"),
        (false, Controller::Bbr, BBR_BYTES, Travel::Stream) => Some("116/136/990"),
        (true, Controller::Bbr, BBR_BYTES, Travel::Stream) => Some("112/121/215"),
        (true, Controller::Bbr, BBR_BYTES, Travel::Lane) => Some("200/217/317"),
        _ => None,
    }
}

fn wire() -> Wire {
    Wire::even(Duration::from_millis(100)).losing(0.01)
}

/// What quinn's Cubic and its BBR may send at once, unless told otherwise: to tell controllers from windows, each gets both.
const CUBIC_BYTES: u64 = 14_720;
const BBR_BYTES: u64 = 240_000;

const BURST_CALLS: usize = 100;
const REPETITIONS: u64 = 20;
const STEADY_CALLS: u64 = 10_000;
