//! The overlay's own service, number 0: ping and the directory.

use std::sync::{Arc, OnceLock};

use caps_certs_gen::Identity;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::connections::Connections;
use crate::directory::Directory;
use crate::failure::CallError;
use crate::gossip::{Subscribe, serve_directory};
use crate::header::{MethodId, Priority};
use crate::options::CallOptions;
use crate::policy::Policy;
use crate::service::{Answer, Call, Caller, Descriptor, MethodDescriptor, Service};
use crate::stream::{self, Replies};
use crate::watch;

/// Answers at once with what it was sent.
pub(crate) const PING: MethodId = MethodId { service: 0, method: 0 };
/// Streams the directory: now, and whenever it changes.
pub(crate) const DIRECTORY: MethodId = MethodId { service: 0, method: 1 };

/// The overlay's own service.
#[derive(Debug)]
pub(crate) struct OverlayService {
    policy: Policy,
    epoch: Instant,
    /// Comes when membership has started.
    directory: Arc<OnceLock<watch::Receiver<Arc<Directory>>>>,
}

impl OverlayService {
    pub(crate) fn new(policy: Policy, epoch: Instant, directory: Arc<OnceLock<watch::Receiver<Arc<Directory>>>>) -> Self {
        Self { policy, epoch, directory }
    }

    fn directory(&self, reader: Identity) -> Answer {
        let Some(directory) = self.directory.get().cloned() else { return Answer::failed(crate::dispatch::draining()) };
        let (policy, epoch) = (self.policy.clone(), self.epoch);
        Answer::stream(move |sink| serve_directory(directory, reader, policy, epoch, sink))
    }
}

impl Service for OverlayService {
    fn descriptor(&self) -> Descriptor {
        DESCRIPTOR
    }

    fn handle(&self, call: Call) -> Answer {
        match call.method {
            method if method == DIRECTORY.method => self.directory(call.peer),
            _ => Answer::ready(call.body),
        }
    }
}

/// How a leaf subscribes to the directory.
#[derive(Debug)]
pub(crate) struct DirectorySubscriber(pub(crate) Arc<Connections>);

impl Subscribe for DirectorySubscriber {
    fn subscribe(&self, to: Identity) -> BoxFuture<'static, Result<Replies, CallError>> {
        let connections = self.0.clone();
        Box::pin(async move {
            let options = CallOptions { priority: Priority::Control, ..CallOptions::default() };
            let superseded = || CallError::Unreachable { peer: to.clone(), cause: "the connection was superseded".to_owned() };
            let outgoing = connections.connect(&to).await?.begin_call().ok_or_else(superseded)?;
            let header = connections.node.header(DIRECTORY, &options, options.deadline);
            let replies = stream::replies(outgoing, header, bytes::Bytes::new(), Instant::now() + options.deadline).await?;
            Ok(replies.in_background())
        })
    }
}

const DESCRIPTOR: Descriptor = Descriptor {
    id: PING.service,
    name: "overlay",
    methods: &[
        MethodDescriptor { id: PING.method, name: "ping", callers: Caller::ANY },
        MethodDescriptor { id: DIRECTORY.method, name: "directory", callers: Caller::ANY },
    ],
};
