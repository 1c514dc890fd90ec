//! Layer 2, the host of business logic, and the interface of layer 3, its modules.
//!
//! What it does: answers front ends (the service `host`), finds out who is asking and what they may see and do, runs modules inside
//! transactions, holds changes against the schemas, commits them to layer 1 with everything that they relied on, and runs a module again when
//! somebody else was faster.
//!
//! What it never does: keep anything that layer 1 has not got; so any host can be stopped at any time and another goes on. It opens no socket,
//! reads no clock and draws no randomness but through [`HostEnvironment`] and the overlay.
//!
//! Start reading at [`module`], for those who write modules, and at [`service`], to follow a call from the overlay to the commit.

// From the overlay to whoever asks for what.
pub mod service;

mod host;

mod principals;

pub mod privileges;

// From there into a module and back.
pub mod module;

mod catalogue;

pub mod transaction;

pub mod people;

pub mod effects;

// And on to layer 1.
mod contention;

mod cabinet;

mod environment;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use cabinet::{Ask, BlobRefusal, CabinetError, CabinetPort, OverlayCabinet, Updates};
pub use catalogue::{Catalogue, CatalogueError};
pub use environment::{HostEnvironment, SecretSource};
pub use host::{Host, Listener, ListenerGone, Taker};
pub use module::Module;
pub use service::{HostService, codes};
