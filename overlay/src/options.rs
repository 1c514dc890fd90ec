//! How a call is made, and what comes back.

use std::time::Duration;

use bytes::Bytes;
use caps_certs_gen::{Identity, Layer};
use thiserror::Error;

use crate::failure::CallError;
use crate::header::{Priority, Trace};

/// Whom a call is for.
#[derive(Clone, Copy, Debug)]
pub enum To<'a> {
    /// This node and no other.
    Node(&'a Identity),
    /// Any node of this layer that offers the service: the nearest and least loaded, and another one if that fails.
    Layer(Layer),
}

/// How a call is made.
#[derive(Clone, Debug)]
pub struct CallOptions {
    /// How long the caller waits. 10 s by default. For streams: how long until the first word, not until the last.
    pub deadline: Duration,
    /// How urgent it is. Interactive by default.
    pub priority: Priority,
    /// The position that the session has seen; whoever answers must be as far. 0 by default.
    pub position: u64,
    /// Whether it may run more than once, being read-only or idempotent. Then it is also sent again after a lost connection,
    /// and elsewhere when a peer is silent for long. No by default.
    pub repeatable: bool,
    /// Whether it gets a stream of its own in any case. No by default: the overlay chooses.
    pub own_stream: bool,
    /// What it is part of. Nothing by default.
    pub trace: Trace,
}

impl Default for CallOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            priority: Priority::default(),
            position: 0,
            repeatable: false,
            own_stream: false,
            trace: Trace::default(),
        }
    }
}

impl CallOptions {
    /// Whether, after `error`, the call may be sent to another node and that may help.
    pub(crate) fn may_move_on(&self, error: &CallError) -> bool {
        error.worth_trying_elsewhere() || self.repeatable && matches!(error, CallError::Lost { .. })
    }
}

/// The reply to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What the service answered.
    pub body: Bytes,
    /// Who answered.
    pub from: Identity,
}

/// Why a one-way message was not sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotifyError {
    /// The peer is not known, cannot be reached at the moment, or refused us.
    #[error(transparent)]
    Peer(#[from] CallError),
    /// Too many messages wait for this peer; this one was dropped.
    #[error("too many messages wait for this peer")]
    Full,
    /// The message is larger than a frame may be.
    #[error("{size_bytes} bytes are more than a message may have")]
    TooLarge {
        /// The size of the message.
        size_bytes: usize,
    },
}
