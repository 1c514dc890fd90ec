//! The web: what browsers and programs say over HTTP, turned into types that cannot be wrong, and what they are told in return.
//!
//! [`serve`](server::serve) is the shell: it is given a listener, a router and a way to start tasks, and speaks HTTP/1.1 and 2 with or without TLS.
//! [`webhook`] is the other way round: it asks a server, and is the shell of that.
//! Everything else is a core without a clock, a socket or a task: bounded readers of [`json`], [`xml`], [`form`]s and [`xml_rpc`], the framing of
//! [`sse`], [`problem`]s, and the small fields of HTTP that have rules of their own.
//!
//! [`upload`] alone writes to the disk: files that come go to the temporary directory, not into memory.
//!
//! HTTP/3 is not spoken, although quinn is here: what there is for it says of itself that it is an experiment, browsers ask for it only after HTTP/2 has
//! told them to, and pages of ten kilobytes in three rounds gain little by it. A proxy in front may speak it.
//!
//! Routers are axum's, which is re-exported: whoever writes pages needs no other version of it.

// From the connection to the request.
pub mod limits;
mod patient;
pub mod server;

// What comes in.
pub mod body;
pub mod form;
pub mod json;
pub mod path;
pub mod upload;
pub mod xml;
pub mod xml_rpc;

// Fields with rules of their own.
pub mod accept;
pub mod cookie;
pub mod disposition;
pub mod etag;
pub mod idempotency;
pub mod origin;
pub mod token;

// What goes out.
pub mod asset;
pub mod compression;
pub mod headers;
pub mod problem;
pub mod sse;

// To others.
pub mod webhook;

// How much of it.
pub mod rate;

pub use axum;
pub use limits::Limits;
pub use problem::Problem;
