//! Receiving mail: one session of an SMTP server (RFC 5321), without a socket.
//!
//! [`Session`] takes the bytes that a client sent and gives what to do next ([`Output`]): bytes to send, a mail to decide on, TLS to
//! begin, the end. It reads no clock and waits for nobody; whoever owns the socket asks [`Session::next_timeout`] how long
//! to be patient. A mail is answered only after [`Session::handle_decision`], so that 250 can mean "it is on disk".
//!
//! A reader follows a byte in this order: `line` (command lines, ended by CRLF and nothing else), `command` (their grammar), `address`
//! and `domain` (what stands in them), `session` (the order of commands, the limits), `data` (the mail itself, dots removed),
//! `envelope` (what the commands said of it), `reply` (what the client is told), `trace` (the field that says all this later).
//!
//! Extensions offered: SIZE (RFC 1870), 8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531), PIPELINING (RFC 2920), ENHANCEDSTATUSCODES
//! (RFC 2034) and, if the owner has a certificate, STARTTLS (RFC 3207). Not offered: AUTH, because this server takes mail for its own
//! addresses and relays for nobody; CHUNKING, because a second way to end a mail is a second way to be wrong about it.
//!
//! The crate `smtp-proto` (0.2) was read before this was written, since a well-kept crate beats our own code. It is well kept, and it is a
//! tokenizer: the order of commands, the limits and the replies would be ours all the same. What it would save is the
//! grammar, and there it is kinder than a server that faces strangers may be: a command may end in a bare LF, what follows DATA or QUIT on their line is
//! skipped, addresses are not held to their grammar, and some thirty parameters of extensions that we do not
//! offer are understood. Each of these would have to be looked for again behind it, in bytes it no longer has.

mod address;
mod command;
mod data;
mod domain;
mod envelope;
mod line;
mod reply;
mod session;
mod settings;
mod trace;

pub use address::Address;
pub use domain::Domain;
pub use envelope::{Body, Envelope, Protocol};
pub use reply::{Decision, Objection};
pub use session::{Output, READ_BYTES_MAX, Session, Timeout};
pub use settings::{Destinations, Settings, Tls};
pub use trace::Received;

#[cfg(test)]
mod tests;
