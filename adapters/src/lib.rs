//! Protocol adapters: what the outside world speaks, turned into types that cannot be wrong.
//!
//! An adapter takes bytes and gives a value or a refusal that a person understands. It opens no socket and no file,
//! reads no clock, keeps no state, and knows nothing of the overlay or of the layers; whoever calls it decides
//! what a value means. Every input is bounded in size *and* in the work it can cause.
//!
//! Start at [`mail::Message::parse`]. The adapters for databases (`sql`) and for browsers and web services (`web`)
//! come with the work that needs them.

pub mod mail;
