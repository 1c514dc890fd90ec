//! From a header to the service that answers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use caps_certs_gen::Identity;
use tokio::time::Instant;

use crate::bugs::{self, Bug};
use crate::config::StartError;
use crate::failure::{Failure, Retry, code};
use crate::frame::Header;
use crate::offers::{OFFERS_MAX, Offers};
use crate::service::{Answer, Call, Caller, Descriptor, MethodDescriptor, Service};

/// The services of a node by number.
pub(crate) struct Dispatch {
    services: BTreeMap<u16, (Descriptor, Arc<dyn Service>)>,
}

impl Dispatch {
    pub(crate) fn new(services: Vec<Arc<dyn Service>>) -> Result<Self, StartError> {
        let mut by_id = BTreeMap::<u16, (Descriptor, Arc<dyn Service>)>::new();
        for service in services {
            let descriptor = service.descriptor();
            if let Some((first, _)) = by_id.insert(descriptor.id, (descriptor, service)) {
                return Err(StartError::DoubleService { id: descriptor.id, first: first.name, second: descriptor.name });
            }
        }
        // The overlay's own is among them, and is not offered.
        if by_id.len() > OFFERS_MAX + 1 {
            return Err(StartError::TooManyServices { count: by_id.len() - 1 });
        }
        Ok(Self { services: by_id })
    }

    /// What the node offers to its peers.
    pub(crate) fn offers(&self) -> Offers {
        Offers::of(self.services.keys().copied())
    }

    /// Hands the call to its service, if it has one and `caller` may ask it. Whoever was admitted to the connection is
    /// checked again here, call by call.
    pub(crate) fn dispatch(&self, peer: &Identity, caller: Caller, header: &Header, body: Bytes, now: Instant) -> Answer {
        let found = self.services.get(&header.method.service).and_then(|(descriptor, service)| {
            let method = descriptor.methods.iter().find(|method| method.id == header.method.method)?;
            Some((descriptor, method, service))
        });
        let Some((descriptor, method, service)) = found else { return Answer::failed(no_such_method(header)) };
        if !method.callers.contains(&caller) && !bugs::has(Bug::LayerUnchecked) {
            tracing::warn!(%peer, service = descriptor.name, method = method.name, "refusing a call that is not for this caller");
            return Answer::failed(not_allowed(descriptor, method, peer));
        }
        if header.deadline_ms == 0 {
            return Answer::failed(expired());
        }
        service.handle(Call {
            method: method.id,
            peer: peer.clone(),
            deadline: now + Duration::from_millis(header.deadline_ms.into()),
            priority: header.priority,
            position: header.position,
            call_id: header.call_id,
            trace: header.trace,
            body,
        })
    }
}

impl fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.services.values().map(|(descriptor, _)| descriptor.name)).finish()
    }
}

/// The deadline passed before there was an answer.
pub(crate) fn expired() -> Failure {
    Failure::new(code::EXPIRED, "the deadline passed")
}

/// More calls than are served at once.
pub(crate) fn overloaded() -> Failure {
    Failure::new(code::OVERLOADED, "too many calls at once").retry(Retry::After(RETRY_AFTER))
}

/// The caller does not want the answer any more.
pub(crate) fn cancelled() -> Failure {
    Failure::new(code::CANCELLED, "cancelled")
}

/// The handler ended without an answer.
pub(crate) fn no_answer() -> Failure {
    Failure::new(code::EXPIRED, "the handler ended without an answer")
}

/// The node stops.
pub(crate) fn draining() -> Failure {
    Failure::new(code::DRAINING, "the node is draining").retry(Retry::Elsewhere)
}

/// One reply was asked for and many come, or the other way round.
pub(crate) fn other_shape() -> Failure {
    Failure::new(code::OTHER_SHAPE, "the method answers in another shape than it was called for")
}

/// The body is larger than a frame may be.
pub(crate) fn too_large(size_bytes: usize) -> Failure {
    Failure::new(code::TOO_LARGE, format!("the answer has {size_bytes} bytes"))
}

fn no_such_method(header: &Header) -> Failure {
    Failure::new(code::NO_SUCH_METHOD, format!("there is no method {}", header.method))
}

fn not_allowed(descriptor: &Descriptor, method: &MethodDescriptor, peer: &Identity) -> Failure {
    Failure::new(code::NOT_ALLOWED, format!("{}.{} is not for {peer}", descriptor.name, method.name))
}

const RETRY_AFTER: Duration = Duration::from_millis(50);
