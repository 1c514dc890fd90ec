//! Effects of one kind being carried out, until that is to end.

use std::sync::Arc;

use caps_frontend::effects::{self, Carrier};
use caps_frontend::{Client, Stop};
use tokio::sync::oneshot;

/// A carrier at work.
#[derive(Debug)]
pub(super) struct Carriage {
    stop: Stop,
    ended: oneshot::Receiver<()>,
}

impl Carriage {
    /// Carries out whatever the carrier is for.
    pub(super) fn start(client: Client, carrier: impl Carrier) -> Self {
        let (stop, mut stopping) = Stop::new();
        let (done, ended) = oneshot::channel();
        let tasks = client.overlay().environment().tasks.clone();
        tasks.spawn(async move {
            effects::carry(client, Arc::new(carrier), stopping.stopped()).await;
            // Nobody may be waiting.
            done.send(()).ok();
        });
        Self { stop, ended }
    }

    /// Begins no more.
    pub(super) fn stop(&self) {
        self.stop.now();
    }

    /// Waits until what was begun has ended.
    pub(super) async fn ended(self) {
        // That it is gone means the same.
        self.ended.await.ok();
    }
}
