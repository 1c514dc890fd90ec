//! A node at work, and its end.

use std::sync::Arc;
use std::time::Duration;

use caps_logic::OverlayCabinet;
use caps_overlay::Overlay;
use caps_store::{Stopped, Store};
use futures_util::future::{join_all, select_all};

use super::front_end::FrontEnd;

/// A node at work.
#[derive(Debug)]
pub struct Running {
    overlay: Overlay,
    part: Part,
}

/// What the node does on its layer.
#[derive(Debug)]
pub(super) enum Part {
    /// Layer 1 keeps a replica of each of its cabinets, one at least.
    Replicas(Vec<Store>),
    /// Layer 2 reaches the cabinet over the overlay that it serves on.
    Host(Arc<OverlayCabinet>),
    /// Layer 4 serves the outside.
    FrontEnd(FrontEnd),
}

impl Running {
    pub(super) fn new(overlay: Overlay, part: Part) -> Self {
        Self { overlay, part }
    }

    /// The replicas, on layer 1, in the order of the file's cabinets.
    pub fn stores(&self) -> &[Store] {
        match &self.part {
            Part::Replicas(stores) => stores,
            Part::Host(_) | Part::FrontEnd(_) => &[],
        }
    }

    /// The node's way to its peers.
    pub fn overlay(&self) -> &Overlay {
        &self.overlay
    }

    /// Resolves when the node cannot go on, with the reason: one replica that cannot ends all, except that one that was removed from its cabinet
    /// leaves the others alone. The process must then end, and not with success.
    pub async fn failed(&self) -> anyhow::Error {
        if self.stores().is_empty() {
            return std::future::pending().await;
        }
        let others = self.stores().len() - 1;
        let failures = self.stores().iter().map(|store| {
            Box::pin(async move {
                match store.stopped().await {
                    // Whoever asked for the end waits for it elsewhere.
                    Stopped::Asked => std::future::pending().await,
                    Stopped::Removed if others > 0 => {
                        tracing::warn!(cabinet = store.status().cabinet, "removed from the cabinet; the other replicas of this node go on");
                        std::future::pending().await
                    }
                    failure => anyhow::anyhow!("the replica of {} has stopped: {failure}", store.status().cabinet),
                }
            })
        });
        select_all(failures).await.0
    }

    /// Ends in good order: hands over what others wait for, takes no new work, finishes what was accepted.
    pub async fn stop(self) {
        join_all(self.stores().iter().map(|store| store.shutdown(HAND_OVER))).await;
        let part = match self.part {
            // What it has accepted it finishes with the others' help.
            Part::FrontEnd(front_end) => {
                front_end.stop().await;
                None
            }
            other => Some(other),
        };
        self.overlay.drain(DRAIN).await;
        if let Some(Part::Host(cabinet)) = part {
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
