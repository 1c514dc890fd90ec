//! Work that goes on until it is told to end.

use std::future::Future;
use std::sync::Arc;

use caps_frontend::effects::{self, Carrier};
use caps_frontend::{Client, Stop, Stopping};
use caps_overlay::Tasks;
use tokio::sync::oneshot;

/// A job at work.
#[derive(Debug)]
pub(super) struct Job {
    stop: Stop,
    ended: oneshot::Receiver<()>,
}

impl Job {
    /// Begins what `work` makes, which ends when it hears that it is to stop.
    pub(super) fn start<F: Future<Output = ()> + Send + 'static>(tasks: &Tasks, work: impl FnOnce(Stopping) -> F) -> Self {
        let (stop, stopping) = Stop::new();
        let (done, ended) = oneshot::channel();
        let work = work(stopping);
        tasks.spawn(async move {
            work.await;
            // Nobody may be waiting.
            done.send(()).ok();
        });
        Self { stop, ended }
    }

    /// Carries out whatever effects the carrier is for.
    pub(super) fn carrying(client: Client, carrier: impl Carrier) -> Self {
        let tasks = client.overlay().environment().tasks.clone();
        Self::start(&tasks, |mut stopping| async move { effects::carry(client, Arc::new(carrier), stopping.stopped()).await })
    }

    /// Begins nothing more.
    pub(super) fn stop(&self) {
        self.stop.now();
    }

    /// Waits until what was begun has ended.
    pub(super) async fn ended(self) {
        // That it is gone means the same.
        self.ended.await.ok();
    }
}
