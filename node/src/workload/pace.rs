//! Doing an operation again and again, as users do.

use std::time::Duration;

use caps_overlay::Rng;
use tokio::time::Instant;

use super::{Actor, Measured};

/// Has a user do their operation until the run ends, or this many times, and reports each.
///
/// `every` is the mean of an exponentially distributed time between two starts: what many people do who know nothing of each other. The first
/// start is drawn the same way, so users do not start together. Who is late because a run took long starts the next at once. Without `every`
/// a run starts when the last has ended.
pub async fn work(mut actor: Actor, every: Option<Duration>, times: Option<u64>, mut report: impl FnMut(Measured)) {
    let run = actor.of_run().clone();
    let rng = actor.rng().clone();
    let mut next = Instant::now();
    for _ in 0..times.unwrap_or(u64::MAX) {
        if let Some(every) = every {
            next = (next + exponential(every, &rng)).max(Instant::now());
            tokio::select! {
                // The end first: nobody starts after it.
                biased;
                () = run.ended() => return,
                () = tokio::time::sleep_until(next) => {}
            }
        }
        if run.has_ended() {
            return;
        }
        report(actor.run().await);
    }
}

/// A time with this mean: -ln(u) times the mean, for u even in (0, 1].
fn exponential(mean: Duration, rng: &Rng) -> Duration {
    const STEPS: u64 = 1 << 53;
    let u = (rng.below(STEPS) + 1) as f64 / STEPS as f64;
    mean.mul_f64(-u.ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_their_mean() {
        let rng = Rng::seeded(1);
        let mean = Duration::from_secs(2);
        let total: Duration = (0..10_000).map(|_| exponential(mean, &rng)).sum();
        // The mean of 10,000 draws deviates by 1 % (one standard deviation); the seed is fixed.
        assert!((19_000..21_000).contains(&total.as_secs()), "{total:?}");
    }
}
