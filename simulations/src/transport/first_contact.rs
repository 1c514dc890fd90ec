//! First contact and what follows it: handshake, cold and warm calls, a client that moves, a first packet that is lost.

use std::time::Duration;

use caps_overlay::{Overlay, Timing};

use super::lab::{How, Lab, Wire, call};
use super::sample::{Sample, millis};
use super::{Figure, Row, bare};
use crate::network::{Filtering, Nat};

/// First contact on a clean line.
pub(super) fn contact(seed: u64) -> Vec<Row> {
    let row = |case: &str, took: Duration| Row::new("contact", case, vec![millis("", took)]);
    let Contact { handshake, cold, warm, rebound, rebound_large, moved } = measure(seed);
    let (early, resumed) = bare::resumption(seed, Wire::even(RTT));
    vec![
        row("handshake", handshake).expected("100 ms"),
        row("cold call", cold).expected("200 ms"),
        row("warm call", warm).expected("100 ms"),
        row("0-RTT (bare quinn)", early).expected("100 ms").remark("the overlay has none: calls would have to be safe to replay"),
        row("resumed without 0-RTT (bare quinn)", resumed).expected("200 ms"),
        row("after NAT rebinding, call of 64 bytes", rebound)
            .expected("100 ms")
            .remark("quinn owes the new address three times what came from it, and challenges it with 1,200 bytes before it answers"),
        row("after NAT rebinding, call of 1 KiB", rebound_large).expected("100 ms"),
        row("after a change of the client's address", moved).expected("200 ms"),
    ]
}

/// How long each took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Contact {
    handshake: Duration,
    cold: Duration,
    warm: Duration,
    rebound: Duration,
    rebound_large: Duration,
    moved: Duration,
}

fn measure(seed: u64) -> Contact {
    Lab::run(seed, Wire::even(RTT), |lab| async move {
        let how = How::default();
        let (server, _) = lab.server(0, &how).await;
        let place = lab.near(0);
        let machine = place.machine;
        lab.network.set_nat(machine, Some(Nat::new(lab.outside(1), Filtering::AddressAndPort, Duration::from_secs(30))));
        let other = lab.front_end_at(place, &server, &how).await;
        let begun = tokio::time::Instant::now();
        let ping = other.ping(server.identity(), Duration::from_secs(2)).await.expect("the line is clean");
        let handshake = begun.elapsed() - ping.round_trip;
        let node = lab.front_end(1, &server, &how).await;
        let cold = once(&node, &server).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let warm = once(&node, &server).await;
        lab.network.rebind_nat(machine);
        let rebound = once(&other, &server).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        lab.network.rebind_nat(machine);
        let rebound_large = call(&other, &server, 1 << 10).await.expect("the line is clean");
        tokio::time::sleep(Duration::from_secs(5)).await;
        lab.network.set_nat(machine, Some(Nat::new(lab.outside(2), Filtering::AddressAndPort, Duration::from_secs(30))));
        let moved = once(&other, &server).await;
        Contact { handshake, cold, warm, rebound, rebound_large, moved }
    })
}

async fn once(node: &Overlay, server: &Overlay) -> Duration {
    call(node, server, 64).await.expect("the line is clean")
}

/// What a lost first packet costs, by what the round trip is taken for before it is known.
pub(super) fn initial_rtt(seed: u64) -> Vec<Row> {
    let row = |rtt: Duration, initial: Duration| {
        let sample = cold_calls(seed, rtt, initial);
        let case = format!("round trip {rtt:?}, taken for {initial:?}");
        let figures: Vec<Figure> = sample.figures();
        Row::new("initial-rtt", case, figures)
    };
    let ms = Duration::from_millis;
    vec![
        row(RTT, ms(333)).expected("p99 1,200 ms"),
        row(RTT, ms(100)),
        row(ms(20), ms(333)),
        row(ms(20), ms(100)),
        row(ms(20), ms(20)),
        row(ms(684), ms(100)),
        row(ms(684), ms(684)),
    ]
}

fn cold_calls(seed: u64, rtt: Duration, initial: Duration) -> Sample {
    Lab::run(seed, Wire::even(rtt).losing(0.01), move |lab| async move {
        let how = How { timing: Timing { initial_rtt: initial, ..Timing::default() }, ..How::default() };
        let (server, _) = lab.server(0, &how).await;
        let mut sample = Sample::default();
        for _ in 0..COLD_CALLS {
            let node = lab.front_end(0, &server, &how).await;
            // A call that failed says nothing about how long calls take; the dial's limit is two seconds.
            sample.extend(call(&node, &server, 64).await.ok());
            lab.kill(&node);
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        sample
    })
}

const RTT: Duration = Duration::from_millis(100);
const COLD_CALLS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    /// A round trip is 100 ms, and nothing else takes time.
    #[test]
    fn first_contact_takes_the_round_trips_that_it_has_to() {
        let contact = measure(1);
        let ms = Duration::from_millis;
        // TLS 1.3 over QUIC: one round trip, and the client may send with its last flight.
        assert_eq!(contact.handshake, ms(100));
        assert_eq!(contact.cold, ms(200));
        assert_eq!(contact.warm, ms(100));
        // A new port has to be validated before it gets more than three times what came from it (RFC 9000, section 9.3.1): a small call waits for
        // that, a large one does not.
        assert_eq!((contact.rebound, contact.rebound_large), (ms(200), ms(100)));
        // A new address likewise.
        assert_eq!(contact.moved, ms(200));
    }
}
