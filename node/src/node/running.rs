//! A node at work, and its end.

use std::sync::Arc;
use std::time::Duration;

use caps_logic::OverlayCabinet;
use caps_overlay::Overlay;
use caps_store::{Stopped, Store};

/// A node at work.
#[derive(Debug)]
pub struct Running {
    overlay: Overlay,
    part: Part,
}

/// What the node does on its layer.
#[derive(Debug)]
pub(super) enum Part {
    /// Layer 1 keeps a replica.
    Replica(Store),
    /// Layer 2 reaches the cabinet over the overlay that it serves on.
    Host(Arc<OverlayCabinet>),
}

impl Running {
    pub(super) fn new(overlay: Overlay, part: Part) -> Self {
        Self { overlay, part }
    }

    /// The replica, on layer 1.
    pub fn store(&self) -> Option<&Store> {
        match &self.part {
            Part::Replica(store) => Some(store),
            Part::Host(_) => None,
        }
    }

    /// The node's way to its peers.
    pub fn overlay(&self) -> &Overlay {
        &self.overlay
    }

    /// Resolves when the node cannot go on, with the reason. The process must then end, and not with success.
    pub async fn failed(&self) -> anyhow::Error {
        let Part::Replica(store) = &self.part else { return std::future::pending().await };
        match store.stopped().await {
            // Whoever asked for the end waits for it elsewhere.
            Stopped::Asked => std::future::pending().await,
            failure => anyhow::anyhow!("this replica has stopped: {failure}"),
        }
    }

    /// Ends in good order: hands over what others wait for, takes no new work, finishes what was accepted.
    pub async fn stop(self) {
        if let Part::Replica(store) = &self.part {
            store.shutdown(HAND_OVER).await;
        }
        self.overlay.drain(DRAIN).await;
        if let Part::Host(cabinet) = &self.part {
            cabinet.disconnect();
        }
        self.overlay.environment().tasks.shutdown().await;
        tracing::info!("ended");
    }
}

/// For a new leader to be found: two elections' time.
const HAND_OVER: Duration = Duration::from_secs(2);

/// For calls that were accepted to be finished.
const DRAIN: Duration = Duration::from_secs(5);
