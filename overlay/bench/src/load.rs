//! Closed loops: callers who wait for each reply before they send again.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::meter::{Meter, Used};
use crate::processes::Target;

/// The figures of one measurement, by name.
pub(crate) type Figures = BTreeMap<String, f64>;

/// Gives figures their names.
pub(crate) fn figures<const N: usize>(named: [(&str, f64); N]) -> Figures {
    named.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Lets `callers` callers make one call after the other, and measures after a while of warming up.
pub(crate) async fn calls<C, F>(target: &Target, callers: usize, call: C) -> anyhow::Result<Figures>
where
    C: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let start = Instant::now() + WARMING_UP;
    let end = start + Duration::from_secs_f64(target.seconds);
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        tasks.spawn(caller(call.clone(), start, end));
    }
    sleep_until(start).await;
    let meter = Meter::start(target.server_pid)?;
    sleep_until(end).await;
    let used = meter.stop()?;
    let mut latencies = Vec::new();
    while let Some(finished) = tasks.join_next().await {
        latencies.extend(finished??);
    }
    Ok(summary(latencies, used))
}

/// Dials and calls until the time is over. What `dial_and_call` returns is ended by `hang_up`, outside of the latency.
pub(crate) async fn dials<T>(
    target: &Target,
    dial_and_call: impl AsyncFn() -> anyhow::Result<T>,
    hang_up: impl AsyncFn(T),
) -> anyhow::Result<Figures> {
    hang_up(dial_and_call().await?).await;
    let meter = Meter::start(target.server_pid)?;
    let end = Instant::now() + Duration::from_secs_f64(target.seconds);
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let started = Instant::now();
        let dialled = dial_and_call().await?;
        latencies.push(started.elapsed());
        hang_up(dialled).await;
    }
    Ok(summary(latencies, meter.stop()?))
}

/// Sends over one stream twice: shortly, so that the path's window opens, then measured. `send` sends for so long, waits
/// until the server has it all, and gives the bytes.
pub(crate) async fn bulk(target: &Target, send: impl AsyncFn(Duration) -> anyhow::Result<u64>) -> anyhow::Result<Figures> {
    send(WARMING_UP).await?;
    let meter = Meter::start(target.server_pid)?;
    let bytes = send(Duration::from_secs_f64(target.seconds)).await?;
    let used = meter.stop()?;
    let mib = bytes as f64 / f64::from(1 << 20);
    Ok(figures([("mib_per_s", mib / used.wall_seconds), ("cpu_ns_per_byte", used.cpu_seconds * 1e9 / bytes as f64)]))
}

async fn caller<F>(call: impl Fn() -> F, start: Instant, end: Instant) -> anyhow::Result<Vec<Duration>>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let mut latencies = Vec::new();
    loop {
        let sent = Instant::now();
        call().await?;
        let received = Instant::now();
        if received >= end {
            return Ok(latencies);
        }
        if received >= start {
            latencies.push(received - sent);
        }
    }
}

fn summary(mut latencies: Vec<Duration>, used: Used) -> Figures {
    latencies.sort_unstable();
    let calls = latencies.len() as f64;
    figures([
        ("calls_per_s", calls / used.wall_seconds),
        ("cpu_us_per_call", used.cpu_seconds * 1e6 / calls),
        ("p50_us", percentile(&latencies, 50)),
        ("p99_us", percentile(&latencies, 99)),
    ])
}

/// The latency that this percentage of calls does not exceed, in microseconds.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let at = sorted.len().saturating_sub(1) * percent / 100;
    sorted.get(at).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e6)
}

/// Long enough for windows to open and for allocators to have what they need.
const WARMING_UP: Duration = Duration::from_millis(400);
