//! The way to the other replicas.

use std::time::Duration;

use bytes::Bytes;
use caps_model::Services;
use caps_model::messages::blobs;
use caps_overlay::{CallError, CallOptions, Identity, MethodId, Overlay, Priority, To};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::service::raft;

/// The way to the other replicas: the overlay, or a test's own.
pub(crate) trait Peers: Send + Sync + 'static {
    /// Sends a consensus message one way, without waiting. `false`: it was certainly lost.
    ///
    /// Each priority has a stream of its own to each peer, so that what is sent in bulk delays nothing else, and a lost packet of it neither.
    fn send(&self, to: &Identity, message: Bytes, priority: Priority) -> bool;

    /// Calls a method of another replica's cabinet service.
    fn call(&self, to: &Identity, method: u16, body: Bytes, deadline: Instant) -> BoxFuture<'static, Result<Bytes, CallError>>;

    /// Asks another replica about a blob, behind everything else.
    fn ask_blob(&self, to: &Identity, question: Bytes, deadline: Instant) -> BoxFuture<'static, Result<Bytes, CallError>>;

    /// The round-trip times to everybody this node is connected with.
    fn round_trips(&self) -> Vec<(Identity, Duration)>;
}

/// The other replicas over the overlay.
pub(crate) struct OverlayPeers {
    overlay: Overlay,
    services: Services,
}

impl OverlayPeers {
    pub(crate) fn new(overlay: Overlay, services: Services) -> Self {
        Self { overlay, services }
    }
}

impl Peers for OverlayPeers {
    fn send(&self, to: &Identity, message: Bytes, priority: Priority) -> bool {
        let method = MethodId { service: self.services.consensus(), method: raft::MESSAGE };
        // Consensus repeats what is lost, so that a full queue or an absent peer needs no more than being said.
        self.overlay.notify(to, method, message, priority).is_ok()
    }

    fn call(&self, to: &Identity, method: u16, body: Bytes, deadline: Instant) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let method = MethodId { service: self.services.cabinet(), method };
        let (overlay, to) = (self.overlay.clone(), to.clone());
        Box::pin(async move {
            let within = deadline.saturating_duration_since(Instant::now());
            let options = CallOptions { deadline: within, ..CallOptions::default() };
            overlay.call(To::Node(&to), method, body, options).await.map(|reply| reply.body)
        })
    }

    fn ask_blob(&self, to: &Identity, question: Bytes, deadline: Instant) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let method = MethodId { service: self.services.blobs(), method: blobs::ASK };
        let (overlay, to) = (self.overlay.clone(), to.clone());
        Box::pin(async move {
            let within = deadline.saturating_duration_since(Instant::now());
            let options = CallOptions { deadline: within, priority: Priority::Bulk, repeatable: true, ..CallOptions::default() };
            overlay.call(To::Node(&to), method, question, options).await.map(|reply| reply.body)
        })
    }

    fn round_trips(&self) -> Vec<(Identity, Duration)> {
        self.overlay.peers().into_iter().map(|peer| (peer.identity, peer.rtt)).collect()
    }
}
