//! Virtual time: tokio's paused clock, stopped at the exact nanosecond of each event of the network.
//!
//! tokio's own timers fire on whole milliseconds, in production as here. Datagrams do not: a LAN's round trip is a tenth of that. So events
//! of the network are no timers. Whenever nothing is left to do at a moment, the runtime's idle hook looks at the agenda: what happens before
//! the next whole millisecond, before any timer can fire, is reached by advancing the clock by hand; only from one whole millisecond to a
//! later one does tokio advance by itself, held by a timer at the millisecond of the agenda's next event.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Waker};
use std::time::Duration;

use caps_overlay::bugs;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::entropy;

/// What happens by itself in the world, beside what its nodes do.
pub(crate) trait Agenda: Send + Sync + 'static {
    /// When the next thing happens, in nanoseconds since the beginning.
    fn next_ns(&self) -> Option<u64>;

    /// Lets everything happen that is due. Says whether a task was woken by it.
    fn happen(&self, now_ns: u64) -> bool;
}

/// The world's clock; clones show the same time. It begins to go in [`simulate`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    origin: Arc<OnceLock<Instant>>,
}

impl Clock {
    /// Nanoseconds since the beginning; 0 before it.
    pub(crate) fn now_ns(&self) -> u64 {
        let Some(origin) = self.origin.get() else { return 0 };
        u64::try_from(Instant::now().saturating_duration_since(*origin).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Runs `main` in virtual time, with ambient randomness from `seed`, on a thread of its own. What it leaves running is dropped at its end.
///
/// # Panics
/// If `main` or anything that it starts panics in a way that stops the runtime.
pub(crate) fn simulate<T, F>(seed: u64, clock: Clock, agenda: Arc<dyn Agenda>, main: impl FnOnce() -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let bug = bugs::switched_on();
    let world = std::thread::Builder::new().name("world".to_owned()).stack_size(STACK_BYTES).spawn(move || {
        entropy::seed_thread(seed);
        bugs::switch(bug);
        let hand = Arc::new(Hand { clock: clock.clone(), agenda, armed_ms: AtomicU64::new(0), kick: Notify::new() });
        let idle = hand.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .on_thread_park(move || idle.on_idle())
            .build()
            .expect("a runtime without sockets takes nothing that can be missing");
        let result = runtime.block_on(async {
            clock.origin.set(Instant::now()).expect("a clock goes in one world");
            tokio::spawn(hand.hold());
            main().await
        });
        assert!(entropy::questions() > 0, "the hook for ambient randomness is not linked: nothing here would be reproducible");
        result
    });
    match world.expect("the system gives a thread").join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The hand that turns the clock.
struct Hand {
    clock: Clock,
    agenda: Arc<dyn Agenda>,
    /// The whole millisecond beyond which tokio must not advance by itself.
    armed_ms: AtomicU64,
    kick: Notify,
}

impl Hand {
    /// Called when no task can go on at this moment.
    fn on_idle(&self) {
        loop {
            let now = self.clock.now_ns();
            let next = self.agenda.next_ns().unwrap_or(u64::MAX);
            let tick_end = (now / MS_NS + 1) * MS_NS;
            if next < tick_end {
                advance(next.saturating_sub(now));
                if self.agenda.happen(next.max(now)) {
                    return;
                }
            } else if !now.is_multiple_of(MS_NS) {
                // Timers of the next whole millisecond go before anything that happens after it.
                return advance(tick_end - now);
            } else {
                let wanted = (next / MS_NS).min(now / MS_NS + HOLD_MS_MAX);
                if self.armed_ms.swap(wanted, Ordering::Relaxed) != wanted {
                    self.kick.notify_one();
                }
                return;
            }
        }
    }

    /// Keeps a timer at the millisecond of the agenda's next event.
    async fn hold(self: Arc<Self>) {
        let origin = *self.clock.origin.get().expect("it was set before this task was started");
        loop {
            let armed = self.armed_ms.load(Ordering::Relaxed);
            tokio::select! {
                // The wish for another moment first: it makes this one meaningless.
                biased;
                () = self.kick.notified() => continue,
                () = tokio::time::sleep_until(origin + Duration::from_millis(armed)) => {}
            }
            self.kick.notified().await;
        }
    }
}

/// Moves tokio's clock without waiting. The call leaves something deferred in the runtime, which therefore looks at its timers once, and at
/// nothing later than the new time, before it becomes idle again.
fn advance(by_ns: u64) {
    let advance = pin!(tokio::time::advance(Duration::from_nanos(by_ns)));
    // It advances when it is polled for the first time, and then yields, which does not concern us.
    assert!(advance.poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

const MS_NS: u64 = 1_000_000;

/// How far tokio may advance at once, in milliseconds.
const HOLD_MS_MAX: u64 = 3_600_000;

/// Debug builds of what is simulated go deep.
const STACK_BYTES: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Wakes whoever waits, at odd moments.
    #[derive(Default)]
    struct Bells(Mutex<Vec<(u64, Arc<Notify>)>>);

    impl Agenda for Bells {
        fn next_ns(&self) -> Option<u64> {
            self.0.lock().unwrap().iter().map(|(at, _)| *at).min()
        }

        fn happen(&self, now_ns: u64) -> bool {
            let mut bells = self.0.lock().unwrap();
            let before = bells.len();
            bells.retain(|(at, bell)| {
                if *at <= now_ns {
                    bell.notify_one();
                }
                *at > now_ns
            });
            bells.len() < before
        }
    }

    #[test]
    fn events_happen_at_their_nanosecond_and_timers_at_their_millisecond() {
        let bells = Arc::new(Bells::default());
        let times = [300_000, 1_700_001, 2_000_000, 2_000_001, 60_000_123_456];
        let notifies: Vec<Arc<Notify>> = times.iter().map(|_| Arc::default()).collect();
        *bells.0.lock().unwrap() = times.iter().copied().zip(notifies.iter().cloned()).collect();
        let clock = Clock::default();
        let watch = clock.clone();
        let seen = simulate(1, clock, bells, move || async move {
            let mut seen = Vec::new();
            for (place, bell) in notifies.iter().enumerate() {
                bell.notified().await;
                seen.push(watch.now_ns());
                if place == 1 {
                    // From 1.700001 ms on, 200 us more are over at 1.9 ms, and tokio's timer fires at the next whole millisecond.
                    tokio::time::sleep(Duration::from_micros(200)).await;
                    seen.push(watch.now_ns());
                }
            }
            seen
        });
        assert_eq!(seen, [300_000, 1_700_001, 2_000_000, 2_000_000, 2_000_001, 60_000_123_456]);
    }
}
