//! The service `blobs`: what [`caps_model::messages::blobs`] describes, answered by one replica.

use std::fmt;
use std::sync::Arc;

use caps_model::codec;
use caps_model::messages::blobs::{self, Question};
use caps_overlay::{Answer, Call, Caller, Descriptor, Layer, MethodDescriptor, Service};

use super::failure;
use crate::replica::{Shared, answer_about_blob};

/// Takes and gives blobs.
pub struct BlobService {
    shared: Arc<Shared>,
}

impl BlobService {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Service for BlobService {
    fn descriptor(&self) -> Descriptor {
        Descriptor { id: self.shared.services.blobs(), name: "blobs", methods: METHODS }
    }

    fn handle(&self, call: Call) -> Answer {
        if !self.shared.is_serving() {
            return Answer::failed(failure::stopped());
        }
        let question = match codec::decode::<Question>(&call.body) {
            Ok(question) => question,
            Err(error) => return Answer::failed(failure::malformed(&error)),
        };
        let shared = self.shared.clone();
        Answer::later(async move {
            let answer = answer_about_blob(&shared, question, &call.peer, call.deadline).await?;
            codec::encode(&answer).map(Into::into).map_err(|error| failure::broken(&error))
        })
    }
}

impl fmt::Debug for BlobService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BlobService").field(&self.shared).finish()
    }
}

const METHODS: &[MethodDescriptor] = &[MethodDescriptor {
    id: blobs::ASK,
    name: "ask",
    callers: &[Caller::Layer(Layer::Host), Caller::Layer(Layer::Cabinet), Caller::Admin],
}];
