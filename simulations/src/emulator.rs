//! The lab: real processes, each in a network of its own, joined by emulated links.
//!
//! What it does: a [`Lab`] gives each node a network namespace whose only way out is a TUN device, and carries every IP packet that comes out
//! of one to where it belongs, over the same link machines as the simulation, in real time. So a prediction can be held against real
//! processes, kernels and sockets on the very lines that it was made for. A [`Company`] is all of a deployment at work in a lab.
//!
//! What it never does: touch the networks of this machine. Namespaces and devices belong to file descriptors of this process; when it ends,
//! in whatever way, the system takes them back, and the processes in them are killed.
//!
//! It needs Linux, the right to administrate networks (root), and `/dev/net/tun`; no programs.
//!
//! A packet's way: `namespaces` → `pump` → `packet` → `switch` (and its links) → `pump` → `namespaces`.

mod command;
mod company;
mod copy;
mod lab;
mod namespaces;
mod packet;
mod plan;
mod pump;
mod switch;

pub use command::LabCommand;
pub use company::{Company, Errand, Setup, run_errands};
pub use lab::{CommandError, Lab, LabError};
pub use plan::{Plan, PlanError};
pub use switch::{Carried, LinkReport};
