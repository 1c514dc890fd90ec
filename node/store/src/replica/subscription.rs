//! One reader's subscription, from the watchers into its stream.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use caps_model::codec;
use caps_model::messages::{Subscribe, Update};
use caps_overlay::bugs::{self, Bug};
use caps_overlay::{Failure, ReplySink, Retry};
use tokio::sync::Notify;

use super::shared::Shared;
use crate::service::failure;
use crate::watchers::{AddError, Next, WatcherId};

/// Where updates go: a reply stream of the overlay, or a test's own.
pub(crate) trait Sink: Send {
    /// Sends one update; `false`: the reader is gone.
    fn send(&mut self, update: Bytes) -> impl Future<Output = bool> + Send;
}

impl Sink for ReplySink {
    async fn send(&mut self, update: Bytes) -> bool {
        Self::send(self, update).await.is_ok()
    }
}

/// Sends what `subscribe` asks for, until the reader goes away or the replica stops.
///
/// Nothing is buffered here: while the stream is full the watcher is not asked, and the watchers bound what they keep for it.
pub(crate) async fn serve(shared: Arc<Shared>, subscribe: Subscribe, sink: &mut impl Sink) -> Result<(), Failure> {
    let watcher = Watching::start(&shared, subscribe).await?;
    loop {
        if shared.is_draining() {
            return Err(Failure::new(failure::STOPPED, "this replica is stopping; resume at another").retry(Retry::Elsewhere));
        }
        match watcher.next()? {
            Next::Update(update) => {
                if !sink.send(bytes(&update)?).await {
                    return Ok(());
                }
            }
            // A catch-up reads in slices; between two of them everybody else has a turn.
            Next::Working => tokio::task::yield_now().await,
            Next::Idle => {
                if let Some(progress) = watcher.idle(shared.wall_clock.now_micros()).await
                    && !sink.send(bytes(&progress)?).await
                {
                    return Ok(());
                }
            }
        }
    }
}

/// A registered watcher; it is removed when this is dropped, however the stream ends.
struct Watching {
    shared: Arc<Shared>,
    id: WatcherId,
    wake: Arc<Notify>,
}

impl Watching {
    async fn start(shared: &Arc<Shared>, subscribe: Subscribe) -> Result<Self, Failure> {
        loop {
            let wake = Arc::new(Notify::new());
            let now_us = shared.wall_clock.now_micros();
            let added = shared.with_watchers(|watchers, wakes, cabinet| {
                let id = watchers.add(subscribe.clone(), now_us, cabinet.state())?;
                wakes.insert(id, wake.clone());
                Ok(id)
            });
            match added {
                Ok(id) => return Ok(Self { shared: shared.clone(), id, wake }),
                // The reader has seen more, elsewhere, than this replica has: wait for it.
                Err(AddError::Ahead { after, .. }) => {
                    let arrival = shared.at_least(after).map_err(|_| failure::overloaded("too many readers wait for this replica"))?;
                    arrival.await.map_err(|_| failure::stopped())?;
                }
                Err(error @ AddError::TooMany(_)) => return Err(failure::overloaded(&error.to_string())),
                Err(AddError::Elusive(elusive)) => return Err(failure::malformed(&elusive)),
                Err(AddError::State(error)) => return Err(shared.state_failed(error)),
            }
        }
    }

    fn next(&self) -> Result<Next, Failure> {
        let now_us = self.shared.wall_clock.now_micros();
        let next = self.shared.with_watchers(|watchers, _, cabinet| watchers.next(self.id, now_us, cabinet.state()));
        next.map_err(|error| self.shared.state_failed(error))
    }

    /// Waits until there may be something to say, at `now_us` or later; now and then there is at least how far this replica has come.
    async fn idle(&self, now_us: i64) -> Option<Update> {
        let due = self.shared.with_watchers(|watchers, _, _| watchers.due(self.id));
        // A moment passes when the clock has come to it, and timers may be early by their grain.
        let until_due = due.map(|due| Duration::from_micros(due.saturating_sub(now_us).max(0).unsigned_abs()) + TIMER_GRAIN);
        let pause = until_due.unwrap_or(PROGRESS_EVERY).min(PROGRESS_EVERY);
        tokio::select! {
            // A change first: it says how far we are, too.
            biased;
            () = self.wake.notified() => None,
            () = tokio::time::sleep(pause) => match pause < PROGRESS_EVERY {
                true => None,
                false => self.shared.with_watchers(|watchers, _, _| watchers.progress(self.id)),
            },
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if bugs::has(Bug::LeakedSubscription) {
            return;
        }
        self.shared.with_watchers(|watchers, wakes, _| {
            watchers.remove(self.id);
            wakes.remove(&self.id);
        });
    }
}

fn bytes(update: &Update) -> Result<Bytes, Failure> {
    codec::encode(update).map(Bytes::from).map_err(|error| failure::broken(&error))
}

/// How often an idle reader is told how far this replica has come, so that it resumes near the present. It is also how late a clock that jumps
/// ahead is noticed.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// What timers count in.
const TIMER_GRAIN: Duration = Duration::from_millis(1);
