//! The `caps` program: one deployment file, one process per node, one command line.
//!
//! What it does: reads `caps.toml` ([`deployment`]), wires the parts of a node by its layer ([`node`]), offers the command line ([`Cli`]), and
//! shows a whole three-site company on one machine ([`demo`]).
//!
//! What it never does: business logic, storage, protocols. It only puts together what the crates below it do.
//!
//! Start reading at [`deployment`], then [`node`].

mod ambient;
mod cli;
pub mod demo;
pub mod deployment;
pub mod founding;
pub mod logging;
pub mod modules;
pub mod node;
pub mod output;
pub mod people;
pub mod workload;

pub use cli::Cli;
