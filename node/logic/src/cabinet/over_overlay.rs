//! The cabinet at the other end of the overlay.

use std::sync::RwLock;

use bytes::Bytes;
use caps_model::messages::blobs::{self, Answer, Question};
use caps_model::messages::cabinet::{self, Committed, ReplicaStatus};
use caps_model::messages::host::{self, Peer};
use caps_model::messages::inspect::{Inspect, Inspected};
use caps_model::messages::{AskOutcome, Get, Got, History, Latest, Objects, Outcome, Subscribe, Timeline, Update};
use caps_model::{Commit, Query, Services, Wire, codec};
use caps_overlay::{CallError, CallOptions, Identity, Layer, MethodId, Overlay, PeerStatus, Replies, Retry, To};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tokio::time::Instant;

use super::{Ask, BlobRefusal, CabinetError, CabinetPort, Updates};

/// The replicas of layer 1, over the overlay.
///
/// A host serves on the overlay and calls over it, and an overlay takes its services when it starts. So this is made first, without an
/// overlay, and given one by [`connect`](Self::connect) when there is one; until then, and after [`disconnect`](Self::disconnect), layer 1
/// cannot be reached. Disconnecting also breaks the circle of references between overlay and host, so that both can be dropped.
#[derive(Debug)]
pub struct OverlayCabinet {
    services: Services,
    overlay: RwLock<Option<Overlay>>,
}

impl OverlayCabinet {
    /// The cabinet that has these services; it cannot be reached yet.
    pub fn new(services: Services) -> Self {
        Self { services, overlay: RwLock::default() }
    }

    /// From now on the cabinet is reached over this overlay.
    pub fn connect(&self, overlay: Overlay) {
        self.put(Some(overlay));
    }

    /// From now on the cabinet cannot be reached.
    pub fn disconnect(&self) {
        self.put(None);
    }

    fn put(&self, overlay: Option<Overlay>) {
        let before = std::mem::replace(&mut *self.overlay.write().expect("nothing panics while it holds this lock"), overlay);
        // Dropped without the lock: what hangs on the overlay may come back here.
        drop(before);
    }

    fn overlay(&self) -> Result<Overlay, CabinetError> {
        let overlay = self.overlay.read().expect("nothing panics while it holds this lock").clone();
        overlay.ok_or_else(|| CabinetError::Unavailable("this host is not on the overlay".to_owned()))
    }

    fn id(&self, method: u16) -> MethodId {
        MethodId { service: self.services.cabinet(), method }
    }

    async fn call<Q: Wire, A: Wire>(&self, method: u16, question: Q, ask: Ask) -> Result<A, CabinetError> {
        self.send(method, encode(&question)?, ask).await
    }

    async fn send<A: Wire>(&self, method: u16, body: Bytes, ask: Ask) -> Result<A, CabinetError> {
        let overlay = self.overlay()?;
        let reply = overlay.call(To::Layer(Layer::Cabinet), self.id(method), body, options(ask)).await?;
        codec::decode(&reply.body).map_err(|problem| CabinetError::Malformed(problem.to_string()))
    }
}

impl CabinetPort for OverlayCabinet {
    fn query(&self, query: Query, ask: Ask) -> BoxFuture<'_, Result<Objects, CabinetError>> {
        self.call(cabinet::QUERY, query, ask).boxed()
    }

    fn get(&self, get: Get, ask: Ask) -> BoxFuture<'_, Result<Got, CabinetError>> {
        self.call(cabinet::GET, get, ask).boxed()
    }

    fn history(&self, history: History, ask: Ask) -> BoxFuture<'_, Result<Timeline, CabinetError>> {
        self.call(cabinet::HISTORY, history, ask).boxed()
    }

    fn inspect(&self, question: Inspect, ask: Ask) -> BoxFuture<'_, Result<Inspected, CabinetError>> {
        self.call(cabinet::INSPECT, question, ask).boxed()
    }

    fn latest(&self, ask: Ask) -> BoxFuture<'_, Result<Latest, CabinetError>> {
        self.send(cabinet::LATEST, Bytes::new(), ask).boxed()
    }

    fn commit(&self, commit: Commit, ask: Ask) -> BoxFuture<'_, Result<Committed, CabinetError>> {
        self.call(cabinet::COMMIT, commit, ask).boxed()
    }

    fn outcome(&self, question: AskOutcome, ask: Ask) -> BoxFuture<'_, Result<Outcome, CabinetError>> {
        self.call(cabinet::OUTCOME, question, ask).boxed()
    }

    fn blob(&self, question: Question, at: Option<String>, ask: Ask) -> BoxFuture<'_, Result<(Answer, String), CabinetError>> {
        async move {
            let overlay = self.overlay()?;
            let node = at.map(|uri| replica(&uri)).transpose()?;
            let to = node.as_ref().map_or(To::Layer(Layer::Cabinet), To::Node);
            let method = MethodId { service: self.services.blobs(), method: blobs::ASK };
            let reply = overlay.call(to, method, encode(&question)?, options(ask)).await?;
            let answer = codec::decode(&reply.body).map_err(|problem| CabinetError::Malformed(problem.to_string()))?;
            Ok((answer, reply.from.uri().to_owned()))
        }
        .boxed()
    }

    fn subscribe(&self, subscribe: Subscribe, ask: Ask) -> BoxFuture<'_, Result<Box<dyn Updates>, CabinetError>> {
        async move {
            let overlay = self.overlay()?;
            let body = encode(&subscribe)?;
            let replies = overlay.stream(To::Layer(Layer::Cabinet), self.id(cabinet::SUBSCRIBE), body, options(ask)).await?;
            Ok(Box::new(OverlayUpdates(replies)) as Box<dyn Updates>)
        }
        .boxed()
    }

    fn replicas(&self, ask: Ask) -> BoxFuture<'_, Vec<(String, Result<ReplicaStatus, String>)>> {
        async move {
            let Ok(overlay) = self.overlay() else { return Vec::new() };
            let directory = overlay.directory();
            let asked = directory.offering(Layer::Cabinet, self.services.cabinet()).map(|member| async {
                let reply = overlay.call(To::Node(&member.identity), self.id(cabinet::STATUS), Bytes::new(), options(ask)).await;
                let status = reply.map_err(|e| e.to_string()).and_then(|r| codec::decode(&r.body).map_err(|e| e.to_string()));
                (member.identity.to_string(), status)
            });
            join_all(asked).await
        }
        .boxed()
    }

    fn peers(&self) -> Vec<Peer> {
        let Ok(overlay) = self.overlay() else { return Vec::new() };
        overlay.peers().into_iter().take(host::PEERS_MAX).map(peer).collect()
    }
}

fn peer(status: PeerStatus) -> Peer {
    // A share is 0 to 1; what is not a number becomes 0.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and a million")]
    let loss_ppm = (status.loss.clamp(0.0, 1.0) * 1e6) as u32;
    Peer {
        identity: status.identity.to_string(),
        rtt_us: u64::try_from(status.rtt.as_micros()).unwrap_or(u64::MAX),
        loss_ppm,
        certificate_expires: status.certificate_expires.saturating_mul(1_000_000),
    }
}

struct OverlayUpdates(Replies);

impl Updates for OverlayUpdates {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Update, CabinetError>>> {
        async move {
            let body = self.0.next().await?;
            let update = body
                .map_err(CabinetError::from)
                .and_then(|body| codec::decode(&body).map_err(|problem| CabinetError::Malformed(problem.to_string())));
            Some(update)
        }
        .boxed()
    }
}

impl From<CallError> for CabinetError {
    fn from(error: CallError) -> Self {
        if let CallError::Failed(failure) = &error
            && let Some(refusal) = of_blob(failure.code)
        {
            return Self::Blob(refusal, failure.message.clone());
        }
        match &error {
            CallError::Failed(failure) if failure.retry == Retry::No && FINAL.contains(&failure.code) => {
                Self::Refused(failure.message.clone())
            }
            CallError::TooLarge { .. } => Self::Refused(error.to_string()),
            _ if error.certainly_not_run() => Self::Unavailable(error.to_string()),
            _ => Self::Unanswered(error.to_string()),
        }
    }
}

/// Layer 1's failures that mean no, now and ever: malformed, refused, too much at once. Of all its others that advise no retry (undecided,
/// broken) a commit may come out of, so they count as no answer.
const FINAL: [u16; 3] = [100, 101, 109];

/// What layer 1 says of blobs. That one is absent is not among it: another replica may have it.
fn of_blob(code: u16) -> Option<BlobRefusal> {
    match code {
        151 => Some(BlobRefusal::Refused),
        152 => Some(BlobRefusal::NotBegun),
        153 => Some(BlobRefusal::NoRoom),
        154 => Some(BlobRefusal::Unsecured),
        _ => None,
    }
}

/// A replica by its identity; nobody else is asked, whatever a front end says.
fn replica(uri: &str) -> Result<Identity, CabinetError> {
    let identity = uri.parse::<Identity>().ok().filter(|identity| identity.layer() == Some(Layer::Cabinet));
    identity.ok_or_else(|| CabinetError::Blob(BlobRefusal::NotBegun, format!("{uri} is no replica")))
}

fn encode<T: Wire>(message: &T) -> Result<Bytes, CabinetError> {
    codec::encode(message).map(Bytes::from).map_err(|problem| CabinetError::Refused(problem.to_string()))
}

/// Everything that is asked of layer 1 may be sent again: see [`CabinetPort`].
fn options(ask: Ask) -> CallOptions {
    let deadline = ask.deadline.saturating_duration_since(Instant::now());
    CallOptions { deadline, priority: ask.priority, position: ask.at_least.0, repeatable: true, ..CallOptions::default() }
}

#[cfg(test)]
mod tests {
    use caps_overlay::Failure;

    use super::*;

    #[test]
    fn only_what_certainly_did_not_happen_is_called_so() {
        let failed = |code, retry| CabinetError::from(CallError::Failed(Failure::new(code, "").retry(retry)));
        assert!(matches!(failed(101, Retry::No), CabinetError::Refused(_)));
        assert!(matches!(failed(103, Retry::Elsewhere), CabinetError::Unavailable(_)));
        for undecided in [104, 108, 999] {
            assert!(matches!(failed(undecided, Retry::No), CabinetError::Unanswered(_)), "{undecided}");
        }
        assert!(matches!(CabinetError::from(CallError::DeadlineExceeded), CabinetError::Unanswered(_)));
        assert!(matches!(CabinetError::from(CallError::Draining), CabinetError::Unavailable(_)));
    }
}
