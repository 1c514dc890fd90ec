//! Simulation: whole deployments, as the production code runs them, in a world whose time, network, disks and chance are simulated.
//!
//! What it does: runs the nodes of a deployment file in virtual time over simulated links, the same for the same seed to the bit ([`World`]);
//! lets cruel things happen to them and holds what they promised against what they did ([`scenario`]); and tells of a deployment that nobody
//! has built yet how it will feel ([`assess`]). An emulator lets the same links carry the traffic of real processes ([`emulator`]).
//!
//! What it never does: replace a part of a node by another one. Sockets, clocks, randomness, worker threads and disks are the world's; quinn,
//! rustls and everything above are what `caps run` runs.
//!
//! Start reading at [`World`]; to follow a datagram instead, from `network` to [`link`].

// What a world is made of.
mod clock;
mod crypto;
mod entropy;
pub mod link;
mod machine;
mod network;
mod timeline;

mod world;

// What is done in it.
pub mod known_bugs;
pub mod scenario;
pub mod speed;
pub mod transport;

// What it tells of a deployment that nobody has built.
pub mod assess;

// Real processes on the same links.
pub mod emulator;

pub mod fidelity;

// Cruelty to real processes, and what clients saw of it.
pub mod torture;

pub mod history;

mod cli;

pub use cli::Cli;
pub use machine::Speed;
pub use network::{Counts, TraceHash};
pub use world::World;
