//! Nodes that talk over real sockets on loopback: what only shows when all parts work together.

mod calls;
mod doors;
mod ends;
mod hostile;
mod world;
