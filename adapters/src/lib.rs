//! Protocol adapters: what the outside world speaks, turned into types that cannot be wrong.
//!
//! An adapter takes bytes and gives a value or a refusal that a person understands. It opens no socket and no file,
//! reads no clock, keeps no state, and knows nothing of the overlay or of the layers; whoever calls it decides
//! what a value means. Every input is bounded in size *and* in the work it can cause. The shells among these cores:
//! [`web::server`] is handed its listener and a way to start tasks, [`tls`] a stream; [`mail::deliver`] and [`web::webhook`], which send, and [`sql`] open connections.
//!
//! Start at [`mail::smtp::Session`] for mail that comes, at [`mail::Message::parse`] for what it says, at [`web`] for browsers and web services, at
//! [`sql`] for databases. `make fuzz` feeds every reader with what coverage leads to; its targets, in `adapters/fuzz`, say what must hold of each.

pub mod mail;
pub mod sql;
mod text;
pub mod tls;
pub mod web;
