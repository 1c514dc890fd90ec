//! Bulk transfers: how much goes through, what they do to small calls beside them, and to each other.

use std::time::Duration;

use caps_node::deployment::network::LinkFigures;
use caps_overlay::{Controller, PathRules};
use tokio::time::{Instant, sleep};

use super::lab::{How, Lab, Wire, call, send_for};
use super::sample::{Sample, mbit, millis};
use super::{Figure, Row};

/// By loss.
pub(super) fn loss(seed: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, controller) in controllers() {
        for (place, loss) in [0.0, 0.0001, 0.001, 0.01].into_iter().enumerate() {
            let got = transfer(seed, bottleneck(1.0).losing(loss), how(controller), BULK);
            let expected = match controller {
                Some(Controller::Cubic) => Some(["94", "38", "11", "2.9"][place]),
                Some(Controller::Bbr) => Some(["89", "89", "87", "87"][place]),
                None => None,
            };
            rows.push(Row { expected, ..Row::new("bulk", format!("{name}, loss {} %", loss * 100.0), vec![got]) });
        }
    }
    rows
}

/// What one stream gets over a line of any kind.
pub(super) fn transfer(seed: u64, wire: Wire, how: How, within: Duration) -> Figure {
    Lab::run(seed, wire, move |lab| async move {
        let (server, bench) = lab.server(0, &how).await;
        let node = lab.front_end(0, &server, &how).await;
        // What a transfer cannot begin is seen in what it gets.
        drop(send_for(&node, &server, within).await);
        mbit("", bench.swallowed(), within)
    })
}

/// By the bottleneck's queue: what goes through, and what a small call from another node beside it waits for.
pub(super) fn queue(seed: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, controller) in controllers() {
        for products in [0.25, 1.0, 4.0] {
            let figures = beside(seed, bottleneck(products), how(controller), RTT);
            rows.push(Row::new("queue", format!("{name}, queue of {products} BDP"), figures));
        }
    }
    rows
}

/// A small call every 50 ms from another node beside a transfer: what is added to the round trip, and what the transfer gets.
pub(super) fn beside(seed: u64, wire: Wire, how: How, rtt: Duration) -> Vec<Figure> {
    Lab::run(seed, wire, move |lab| async move {
        let (server, bench) = lab.server(0, &how).await;
        let bulk = lab.front_end(0, &server, &how).await;
        let small = lab.front_end(1, &server, &how).await;
        let calls = async {
            // The transfer fills its window first.
            sleep(BULK / 6).await;
            let mut sample = Sample::default();
            let until = Instant::now() + BULK * 2 / 3;
            while Instant::now() < until {
                sample.extend(call(&small, &server, 64).await.ok());
                sleep(Duration::from_millis(50)).await;
            }
            sample
        };
        let (_, sample) = tokio::join!(send_for(&bulk, &server, BULK), calls);
        let added: Sample = sample.into_iter().map(|took| took.saturating_sub(rtt)).collect();
        vec![mbit("", bench.swallowed(), BULK), millis("added p50", added.quantile(0.5)), millis("p99", added.quantile(0.99))]
    })
}

/// Two transfers from two nodes to two servers over one bottleneck; the second begins five seconds later.
pub(super) fn share(seed: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    let (cubic, bbr) = (Some(Controller::Cubic), Some(Controller::Bbr));
    let pairs = [
        ("Cubic, then Cubic", cubic, cubic),
        ("Cubic, then BBR", cubic, bbr),
        ("BBR, then Cubic", bbr, cubic),
        ("BBR, then BBR", bbr, bbr),
        ("Cubic, then the overlay's choice", cubic, None),
        ("the overlay's choice twice", None, None),
    ];
    for (name, first, second) in pairs {
        for products in [0.25, 1.0, 4.0] {
            let figures = compete(seed, bottleneck(products), how(first), how(second));
            rows.push(Row::new("share", format!("{name}, queue of {products} BDP"), figures));
        }
    }
    rows
}

fn compete(seed: u64, wire: Wire, first: How, second: How) -> Vec<Figure> {
    Lab::run(seed, wire, move |lab| async move {
        let (one_server, one_bench) = lab.server(0, &first).await;
        let (other_server, other_bench) = lab.server(1, &second).await;
        let (one, other) = (lab.front_end(0, &one_server, &first).await, lab.front_end(1, &other_server, &second).await);
        let lead = Duration::from_secs(5);
        let late = async {
            sleep(lead).await;
            let before = one_bench.swallowed();
            // As above.
            drop(send_for(&other, &other_server, COMPETITION).await);
            (one_bench.swallowed() - before, other_bench.swallowed())
        };
        let (_, (first, second)) = tokio::join!(send_for(&one, &one_server, lead + COMPETITION), late);
        let share = Figure { name: "share of the first", value: first as f64 * 100.0 / (first + second).max(1) as f64, unit: "%" };
        vec![mbit("first", first, COMPETITION), mbit("second", second, COMPETITION), share]
    })
}

/// Both controllers, and what the overlay does by itself.
pub(super) fn controllers() -> [(&'static str, Option<Controller>); 3] {
    [("Cubic", Some(Controller::Cubic)), ("BBR", Some(Controller::Bbr)), ("the overlay's choice", None)]
}

pub(super) fn how(controller: Option<Controller>) -> How {
    How { rules: PathRules { controller, ..PathRules::default() }, ..How::default() }
}

/// 100 Mbit/s up, 50 ms there and back, with a queue of so many times what is under way on it.
#[expect(clippy::cast_possible_truncation, reason = "a few megabytes at most")]
pub(super) fn bottleneck(products: f64) -> Wire {
    let product_bytes = RATE_BPS as f64 / 8.0 * RTT.as_secs_f64();
    let up = LinkFigures { rate_bps: Some(RATE_BPS), queue_bytes: (product_bytes * products) as u64, ..LinkFigures::ideal(RTT / 2) };
    Wire::both(up)
}

const RATE_BPS: u64 = 100_000_000;
const RTT: Duration = Duration::from_millis(50);
const BULK: Duration = Duration::from_secs(30);
const COMPETITION: Duration = Duration::from_secs(40);
