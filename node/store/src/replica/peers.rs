//! The way to the other voters.

use std::collections::BTreeMap;

use bytes::Bytes;
use caps_model::messages::cabinet;
use caps_overlay::{CallError, CallOptions, Identity, MethodId, Overlay, Priority, To};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::service::raft;

/// The way to the other voters: the overlay, or a test's own.
pub(crate) trait Peers: Send + Sync + 'static {
    /// Sends a consensus message one way, without waiting. `false`: it was certainly lost.
    fn send(&self, voter: u64, message: Bytes, priority: Priority) -> bool;

    /// Calls a method of another voter's cabinet service.
    fn call(&self, voter: u64, method: u16, body: Bytes, deadline: Instant) -> BoxFuture<'static, Result<Bytes, CallError>>;
}

/// The other voters over the overlay.
pub(crate) struct OverlayPeers {
    overlay: Overlay,
    voters: BTreeMap<u64, Identity>,
}

impl OverlayPeers {
    pub(crate) fn new(overlay: Overlay, voters: BTreeMap<u64, Identity>) -> Self {
        Self { overlay, voters }
    }
}

impl Peers for OverlayPeers {
    fn send(&self, voter: u64, message: Bytes, priority: Priority) -> bool {
        let Some(identity) = self.voters.get(&voter) else { return false };
        let method = MethodId { service: raft::SERVICE, method: raft::MESSAGE };
        // Consensus repeats what is lost, so that a full queue or an absent peer needs no more than being said.
        self.overlay.notify(identity, method, message, priority).is_ok()
    }

    fn call(&self, voter: u64, method: u16, body: Bytes, deadline: Instant) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let overlay = self.overlay.clone();
        let identity = self.voters.get(&voter).cloned();
        Box::pin(async move {
            let Some(identity) = identity else { return Err(CallError::Unknown { peer: format!("voter {voter}") }) };
            let method = MethodId { service: cabinet::SERVICE, method };
            let within = deadline.saturating_duration_since(Instant::now());
            let options = CallOptions { deadline: within, ..CallOptions::default() };
            overlay.call(To::Node(&identity), method, body, options).await.map(|reply| reply.body)
        })
    }
}
