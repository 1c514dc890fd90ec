//! The service `raft`: one-way consensus messages between the replicas of a cabinet.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use caps_overlay::{Answer, Call, Caller, Descriptor, Layer, MethodDescriptor, Service};

use super::failure;
use crate::replica::{Shared, message};

/// The number of `message`: one consensus message; nothing is answered.
pub const MESSAGE: u16 = 1;

/// Takes consensus messages from the other replicas.
pub struct RaftService {
    shared: Arc<Shared>,
}

impl RaftService {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// A replica that has not started, or has stopped, loses messages like a network does; so does a full queue.
    fn receive(&self, call: Call) -> bool {
        if !self.shared.takes_part() {
            return false;
        }
        // The body shares its memory with the frame that brought it; entries live on in the journal's cache, so that they get their own.
        let body = Bytes::copy_from_slice(&call.body);
        message(&self.shared, &call.peer, body).is_some_and(|message| self.shared.messages.try_send(message).is_ok())
    }
}

impl Service for RaftService {
    fn descriptor(&self) -> Descriptor {
        Descriptor { id: self.shared.services.consensus(), name: "raft", methods: METHODS }
    }

    fn handle(&self, call: Call) -> Answer {
        if !self.receive(call) {
            self.shared.count_refused();
            return Answer::failed(failure::malformed(&"not a message of this cabinet's replicas, or too many of them"));
        }
        Answer::ready(Bytes::new())
    }
}

impl fmt::Debug for RaftService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RaftService").field(&self.shared).finish()
    }
}

const METHODS: &[MethodDescriptor] = &[MethodDescriptor { id: MESSAGE, name: "message", callers: &[Caller::Layer(Layer::Cabinet)] }];
