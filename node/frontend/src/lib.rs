//! Layer 4: what front ends are made of.
//!
//! What it does: [`Client`] speaks to the nearest host for a user or for its own node, keeps the promise that a session never goes backwards,
//! fails over, and asks again under the same commit id until it knows what happened. [`Subscription`] follows a query over reconnects without
//! gap or repeat, and a [`Window`] is a copy of the first objects of one. [`blob`] brings large values and gets them back. [`gateway`] turns a raw
//! mail into the call that files it. [`sql`] reads rows and writes rows of other databases. [`web`] serves browsers and programs, [`webhook`] tells
//! other programs.
//!
//! What it never does: talk to layer 1, decide who may see what, or keep business rules: all that is the host's.
//!
//! Start reading at [`client`].

pub mod blob;
pub mod client;
pub mod effects;
pub mod error;
pub mod gateway;
pub mod mail;
pub mod method_call;
pub mod observer;
pub mod paths;
pub mod sql;
pub mod stopping;
pub mod subscription;
pub mod web;
pub mod webhook;
pub mod window;

pub use blob::Stored;
pub use client::Client;
pub use error::ClientError;
pub use method_call::MethodCall;
pub use observer::{Exchange, Observer};
pub use paths::Paths;
pub use stopping::{Stop, Stopping};
pub use subscription::Subscription;
pub use window::Window;
