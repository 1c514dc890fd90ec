//! Where the time of an operation goes: what it costs less when something is taken out of the world, or more when something gets longer.

use std::time::Duration;

use caps_node::deployment::workload::Step;

use super::cast::{Key, Part, warm_name};
use super::findings::{Felt, Parts, RoundTrips};
use super::rehearsal::{Bent, Rehearsed, Side};
use super::{median, ms};

/// The worlds that are compared; the first is the one as it is.
pub(super) const BENDS: [Bent; 8] = [
    Bent::Calm,
    Bent::NoDisk,
    Bent::Instant(Side::FrontEndToHost),
    Bent::Instant(Side::HostToCabinet),
    Bent::Instant(Side::Replicas),
    Bent::Longer(Side::FrontEndToHost, LONGER),
    Bent::Longer(Side::HostToCabinet, LONGER),
    Bent::Longer(Side::Replicas, LONGER),
];

pub(super) fn stays_open(part: &Part) -> bool {
    part.operation.steps.iter().any(|step| matches!(step, Step::Watch { .. }))
}

/// Where its time goes at p50. `None`: it was not done when nothing else happened.
pub(super) fn parts(part: &Part, busy: &Felt, bent: &[Rehearsed]) -> Option<Parts> {
    let quiet = quiet_ms(&bent[0], &part.key)?;
    let connects = part.operation.steps.contains(&Step::Connect);
    // What shaking hands costs is taken apart from the ways: the rest is looked at when it is connected.
    let warm = Key { operation: warm_name(&part.key.operation), ..part.key.clone() };
    let (key, base) = match connects.then(|| quiet_ms(&bent[0], &warm)).flatten() {
        Some(base) => (&warm, base),
        None => (&part.key, quiet),
    };
    let spared = |bend: Bent| {
        let without = BENDS.iter().position(|known| *known == bend).and_then(|place| quiet_ms(&bent[place], key));
        without.map_or(0.0, |without| (base - without).max(0.0))
    };
    let mut parts = Parts {
        handshake_ms: (quiet - base).max(0.0),
        front_end_to_host_ms: spared(Bent::Instant(Side::FrontEndToHost)),
        host_to_cabinet_ms: spared(Bent::Instant(Side::HostToCabinet)),
        consensus_ms: spared(Bent::Instant(Side::Replicas)),
        disk_ms: spared(Bent::NoDisk),
        logic_ms: 0.0,
        queueing_ms: busy.p50_ms.map_or(0.0, |busy| (busy - quiet).max(0.0)),
    };
    let known = parts.front_end_to_host_ms + parts.host_to_cabinet_ms + parts.consensus_ms + parts.disk_ms;
    parts.logic_ms = (base - known).max(0.0);
    Some(parts)
}

/// How many round trips between sites it waits for.
pub(super) fn round_trips(part: &Part, bent: &[Rehearsed]) -> Option<RoundTrips> {
    let quiet = quiet_ms(&bent[0], &part.key)?;
    let trips = |side: Side| {
        let longer =
            BENDS.iter().position(|known| *known == Bent::Longer(side, LONGER)).and_then(|place| quiet_ms(&bent[place], &part.key));
        // Timers and jitter make it a little more or less than a whole number.
        longer.map_or(0.0, |longer| ((longer - quiet) / ms(LONGER) * 10.0).round().max(0.0) / 10.0)
    };
    Some(RoundTrips {
        front_end_to_host: trips(Side::FrontEndToHost),
        host_to_cabinet: trips(Side::HostToCabinet),
        replicas: trips(Side::Replicas),
    })
}

pub(super) fn quiet_ms(rehearsed: &Rehearsed, key: &Key) -> Option<f64> {
    median(rehearsed.samples.get(key)?.felt.iter().map(|(_, felt)| ms(*felt)))
}

/// Long enough to stand out of jitter, short enough for nobody to give up.
const LONGER: Duration = Duration::from_millis(100);
