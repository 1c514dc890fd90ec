//! The QUIC overlay that joins the nodes of one trust domain.
//!
//! A node has one endpoint, proves who it is with its certificate, and makes and serves calls: with one reply, with many, or
//! as a raw stream. Who may talk to whom comes from the certificates alone. The overlay finds peers, keeps one connection to
//! each, chooses how a call travels and which peer serves it, and bounds everything that a peer can make it do.
//!
//! It never looks into the body of a message, gives layers no meaning beyond the table it is handed, and takes nothing from
//! its surroundings except through the [`Environment`].
//!
//! Start at [`Overlay`]. To follow a datagram instead, read the modules in this order: from the socket to the connection, to
//! the stream, to the frame, to the call, to the service.

// Mistakes that only builds of the simulation can make, on purpose.
pub mod bugs;

// How parts of a process hear of each other.
pub mod watch;

// What a node takes from outside, and its bounds.
mod environment;
mod real;

mod config;
mod limits;
mod paths;
mod policy;

// From the datagram to an admitted connection.
mod congestion;
mod endpoint;
mod tls;

mod admission;
mod close;
mod connection;
mod connections;
mod control;
mod hello;
mod node;
mod refusals;

// From the stream to the service that answers.
mod serve;
mod travel;

mod frame;
mod header;

mod lane;
mod output;
mod served_lane;
mod stream;

mod dispatch;
mod failure;
mod service;

mod builtin;

// Who there is, and who serves a call.
mod choice;
mod directory;
mod gossip;
mod membership;
mod offers;

// The face.
mod calls;
mod options;
mod overlay;
mod status;

#[cfg(test)]
mod tests;

pub use caps_certs_gen::{Identity, Layer, NodeCredentials, Role, TrustAnchors};
pub use close::CloseCode;
pub use config::{Config, Seed, StartError};
pub use directory::{Directory, Member, MemberState};
pub use environment::{Environment, Job, Pace, Rng, TaskHandle, Tasks, WallClock, Worker, WorkerGone, Workers};
pub use failure::{CallError, Failure, Retry, code};
pub use header::{MethodId, Priority, Trace};
pub use limits::{BODY_BYTES_MAX, Limits, Timing};
pub use offers::Offers;
pub use options::{CallOptions, NotifyError, Reply, To};
pub use overlay::Overlay;
pub use paths::{Controller, PathRules};
pub use policy::Policy;
pub use service::{Answer, Call, Caller, Descriptor, MethodDescriptor, RawAnswer, Service, StreamAnswer};
pub use status::{Path, PeerStatus, Ping, TlsFacts};
pub use stream::{Gone, RawStream, Replies, ReplySink};
pub use travel::Travel;
