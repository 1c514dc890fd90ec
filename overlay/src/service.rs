//! What a node offers to its peers: services, their methods, and how a handler answers.

use std::fmt;

use bytes::Bytes;
use caps_certs_gen::{Identity, Layer, Role};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::header::{Priority, Trace};
use crate::stream::{RawStream, ReplySink};

/// A named set of methods that a node serves.
pub trait Service: Send + Sync + 'static {
    /// What the service is called and who may call what. The overlay reads it once, at the start.
    fn descriptor(&self) -> Descriptor;

    /// Answers a call that dispatch has let through.
    ///
    /// Runs on the runtime's one thread, among all other connections: compute little, wait only inside the answer.
    fn handle(&self, call: Call) -> Answer;
}

/// What a service is called, and its methods.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    /// The number of the service on the wire; 0 is the overlay's own.
    pub id: u16,
    /// The name of the service, for people.
    pub name: &'static str,
    /// Its methods; a number that is not here is refused before the service sees it.
    pub methods: &'static [MethodDescriptor],
}

/// What a method is called, and who may call it.
#[derive(Clone, Copy, Debug)]
pub struct MethodDescriptor {
    /// The number of the method within its service.
    pub id: u16,
    /// The name of the method, for people.
    pub name: &'static str,
    /// Who may call it. Dispatch checks each call, although the connection was checked already.
    pub callers: &'static [Caller],
}

/// Who may call a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Nodes of this layer.
    Layer(Layer),
    /// Administrators.
    Admin,
}

impl Caller {
    /// Everybody who holds a certificate of the trust domain.
    pub const ANY: &'static [Self] = &[Self::Layer(Layer::Cabinet), Self::Layer(Layer::Host), Self::Layer(Layer::FrontEnd), Self::Admin];

    /// Which caller somebody of this role is.
    pub fn of(role: Role<'_>) -> Self {
        match role {
            Role::Node { layer, .. } => Self::Layer(layer),
            Role::Admin => Self::Admin,
        }
    }
}

/// One call, as its handler sees it.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method of the service.
    pub method: u16,
    /// Who calls, as proven at the handshake.
    pub peer: Identity,
    /// When the caller stops waiting. Calls made on its behalf must not wait longer.
    pub deadline: Instant,
    /// How urgent the call is.
    pub priority: Priority,
    /// The position that the caller's session has seen; 0 if none.
    pub position: u64,
    /// The number that the caller gave this call; the same when the call is sent again elsewhere.
    pub call_id: u64,
    /// What the call is part of.
    pub trace: Trace,
    /// The request. It shares its memory with the datagram that brought it: copy what is to be kept for long.
    pub body: Bytes,
}

/// How a handler answers.
pub enum Answer {
    /// At once: sent together with other answers, without a task. The cheapest.
    Ready(Result<Bytes, Failure>),
    /// Later. The future runs as a task and is dropped when the caller cancels or the deadline passes.
    Later(BoxFuture<'static, Result<Bytes, Failure>>),
    /// As a stream of replies, for a caller that asked for one; its future is dropped like that of `Later`.
    Stream(StreamAnswer),
    /// As a raw stream of bytes both ways, for a caller that asked for one.
    Raw(RawAnswer),
}

/// Sends the replies of a streaming answer; what it returns ends the stream.
pub type StreamAnswer = Box<dyn FnOnce(ReplySink) -> BoxFuture<'static, Result<(), Failure>> + Send>;

/// Serves a raw stream.
pub type RawAnswer = Box<dyn FnOnce(RawStream) -> BoxFuture<'static, ()> + Send>;

impl Answer {
    /// An answer that is there at once.
    pub fn ready(body: impl Into<Bytes>) -> Self {
        Self::Ready(Ok(body.into()))
    }

    /// A failure that is there at once.
    pub fn failed(failure: Failure) -> Self {
        Self::Ready(Err(failure))
    }

    /// An answer that comes later.
    pub fn later(answer: impl Future<Output = Result<Bytes, Failure>> + Send + 'static) -> Self {
        Self::Later(Box::pin(answer))
    }

    /// A stream of replies.
    pub fn stream<F>(send: impl FnOnce(ReplySink) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        Self::Stream(Box::new(move |sink| Box::pin(send(sink))))
    }

    /// A raw stream.
    pub fn raw<F>(serve: impl FnOnce(RawStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::Raw(Box::new(move |stream| Box::pin(serve(stream))))
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(answer) => f.debug_tuple("Ready").field(answer).finish(),
            Self::Later(_) => f.write_str("Later"),
            Self::Stream(_) => f.write_str("Stream"),
            Self::Raw(_) => f.write_str("Raw"),
        }
    }
}
