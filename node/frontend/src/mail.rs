//! The mail gateway: mail of the world becomes cases, replies go out.
//!
//! A mail comes in through these files: [`listener`] (connections, and how many), `connection` (bytes, TLS and time-outs around the session of
//! `caps_adapters::mail::smtp`), `filing` (from a whole mail to the commit that files it; only then is the client told 250). The other way,
//! `sending` is what carries effects of the kind `mail` out.

mod connection;
mod filing;
pub mod listener;
mod room;
mod sending;

pub use filing::Filing;
pub use listener::{Listener, Taker};
pub use sending::Sending;
