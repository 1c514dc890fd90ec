//! Closed loops: callers who wait for each answer before they ask again.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until};

use crate::meter::cpu_seconds;

/// How to ask once. The number says which caller asks.
pub(crate) type Ask = Rc<dyn Fn(usize) -> Pin<Box<dyn Future<Output = anyhow::Result<()>>>>>;

/// How much is asked at once, and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) callers: usize,
    pub(crate) seconds: f64,
}

/// What one measurement found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Answers a second.
    pub(crate) rate: f64,
    /// The median, in microseconds.
    pub(crate) p50_us: f64,
    /// What 99 of 100 do not exceed, in microseconds.
    pub(crate) p99_us: f64,
    /// Processor time of the three servers and the client for one answer, in microseconds.
    pub(crate) cpu_us: f64,
}

/// Lets the callers ask for a while.
pub(crate) async fn run(pids: Vec<u32>, load: Load, ask: Ask) -> anyhow::Result<Figures> {
    let start = Instant::now() + WARMING_UP;
    let end = start + Duration::from_secs_f64(load.seconds);
    let callers = LocalSet::new();
    let calling: Vec<_> = (0..load.callers).map(|caller| callers.spawn_local(call(ask.clone(), caller, start, end))).collect();
    let measured = callers.run_until(async move {
        sleep_until(start).await;
        let before = cpu(&pids)?;
        sleep_until(end).await;
        let used = cpu(&pids)? - before;
        let mut latencies = Vec::new();
        for caller in calling {
            latencies.extend(caller.await??);
        }
        anyhow::Ok((used, latencies))
    });
    let (used, mut latencies) = measured.await?;
    latencies.sort_unstable();
    let count = latencies.len() as f64;
    let percentile = |percent: usize| {
        let at = latencies.len().saturating_sub(1) * percent / 100;
        latencies.get(at).map_or(f64::NAN, |latency: &Duration| latency.as_secs_f64() * 1e6)
    };
    Ok(Figures { rate: count / load.seconds, p50_us: percentile(50), p99_us: percentile(99), cpu_us: used * 1e6 / count })
}

async fn call(ask: Ask, caller: usize, start: Instant, end: Instant) -> anyhow::Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    loop {
        let asked = Instant::now();
        ask(caller).await?;
        let answered = Instant::now();
        if answered >= end {
            return Ok(latencies);
        }
        if answered >= start {
            latencies.push(answered - asked);
        }
    }
}

fn cpu(pids: &[u32]) -> anyhow::Result<f64> {
    pids.iter().copied().chain([std::process::id()]).map(cpu_seconds).sum()
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0}/s, p50 {:.0} us, p99 {:.0} us", self.rate, self.p50_us, self.p99_us)
    }
}

const WARMING_UP: Duration = Duration::from_millis(500);
