//! What the commands said of a mail.

use std::net::IpAddr;

use super::Address;

/// From whom a mail came and to whom it goes, by SMTP's commands and not by the mail's own fields.
///
/// All of it but `peer` was said by the client and proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Where to complain that it cannot be delivered; `None` if nobody is to answer: the mail is itself such a complaint, or a machine's.
    pub reverse_path: Option<Address>,
    /// For whom it is; at least one, each once, all accepted by [`Destinations`](super::Destinations).
    pub recipients: Vec<Address>,
    /// The client's name for itself.
    pub client_name: String,
    /// The client's address.
    pub peer: IpAddr,
    /// How it was sent.
    pub protocol: Protocol,
    /// What the client said of the mail's bytes.
    pub body: Body,
}

/// How a mail was sent, as a `Received` field names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocol {
    /// Whether the client said EHLO.
    pub is_extended: bool,
    /// Whether TLS was used.
    pub is_encrypted: bool,
    /// Whether the client asked for SMTPUTF8.
    pub is_international: bool,
}

impl Protocol {
    /// The registered name (RFC 3848, RFC 6531 section 3.7.3).
    pub fn name(self) -> &'static str {
        match (self.is_international, self.is_extended, self.is_encrypted) {
            (true, _, true) => "UTF8SMTPS",
            (true, _, false) => "UTF8SMTP",
            (false, true, true) => "ESMTPS",
            (false, true, false) => "ESMTP",
            // HELO behind STARTTLS has no name of its own; RFC 3848 knows no SMTPS.
            (false, false, _) => "SMTP",
        }
    }
}

/// What BODY said (RFC 6152).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Body {
    /// ASCII only; also if nothing was said. Nobody checks, and nothing depends on it.
    #[default]
    SevenBit,
    /// Bytes of all values.
    EightBitMime,
}
