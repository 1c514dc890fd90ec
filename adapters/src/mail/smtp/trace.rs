//! The trace that a server leaves on a mail (RFC 5321 section 4.4).

use std::fmt;

use mail_parser::DateTime;

use super::{Domain, Envelope, domain::address_literal};

/// The `Received` field of one mail: who brought it, who took it, how, when.
///
/// Shown, it is the whole field with its last CRLF, folded, fit to stand in front of the mail. Nothing a client chose can break it: names and addresses have
/// passed their grammars, which hold neither controls nor what would end the field, and the identifier is cut down to letters, digits and dashes.
#[derive(Debug, Clone, Copy)]
pub struct Received<'e> {
    /// What the mail came in.
    pub envelope: &'e Envelope,
    /// Who took it: ourselves.
    pub host_name: &'e Domain,
    /// Our name for it, of letters, digits and dashes; at most 64 of them are shown.
    pub id: &'e str,
    /// When it came, in seconds since 1970-01-01T00:00:00Z.
    pub at: i64,
}

impl fmt::Display for Received<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { envelope, host_name, at, .. } = *self;
        write!(f, "Received: from {}\r\n\t({})\r\n", envelope.client_name, address_literal(envelope.peer))?;
        write!(f, "\tby {host_name} with {}", envelope.protocol.name())?;
        let id: String = self.id.chars().filter(|char| char.is_ascii_alphanumeric() || *char == '-').take(ID_CHARS_MAX).collect();
        if !id.is_empty() {
            write!(f, " id {id}")?;
        }
        // Who else got a mail is nobody's business (RFC 5321 section 7.2).
        if let [recipient] = envelope.recipients.as_slice() {
            write!(f, "\r\n\tfor <{recipient}>")?;
        }
        write!(f, ";\r\n\t{}\r\n", DateTime::from_timestamp(at.clamp(0, LATEST)).to_rfc822())
    }
}

const ID_CHARS_MAX: usize = 64;

/// The last second of the year 9999: a year has four digits (RFC 5322 section 3.3).
const LATEST: i64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::smtp::{Address, Body, Protocol};

    fn envelope(recipients: &[&str]) -> Envelope {
        Envelope {
            reverse_path: None,
            recipients: recipients.iter().map(|text| Address::parse(text).unwrap()).collect(),
            client_name: "client.example".to_owned(),
            peer: "2001:db8::1".parse().unwrap(),
            protocol: Protocol { is_extended: true, is_encrypted: true, is_international: false },
            body: Body::SevenBit,
        }
    }

    #[test]
    fn field_says_who_how_and_when() {
        let host_name = Domain::parse("mx.example").unwrap();
        let field =
            |recipients: &[&str], id: &str, at| Received { envelope: &envelope(recipients), host_name: &host_name, id, at }.to_string();
        assert_eq!(
            field(&["a@mx.example"], "7-1", 1_000_000_000),
            "Received: from client.example\r\n\t([IPv6:2001:db8::1])\r\n\tby mx.example with ESMTPS id 7-1\r\n\tfor <a@mx.example>;\r\n\
             \tSun, 9 Sep 2001 01:46:40 +0000\r\n"
        );
        let several = field(&["a@mx.example", "b@mx.example"], "\r\nBcc: x@y (", i64::MAX);
        assert!(several.contains(" id Bccxy;\r\n\t") && !several.contains("for"), "{several}");
        assert!(several.ends_with("Dec 9999 23:59:59 +0000\r\n"), "{several}");
    }

    #[test]
    fn lines_of_the_field_are_short() {
        let host_name = Domain::parse(&format!("{}x", "a.".repeat(127))).unwrap();
        let recipient = format!("{}@{}x", "l".repeat(64), "d.".repeat(94));
        let mut envelope = envelope(&[&recipient]);
        envelope.client_name = "c".repeat(255);
        let field = Received { envelope: &envelope, host_name: &host_name, id: &"7".repeat(99), at: i64::MIN }.to_string();
        assert!(field.lines().all(|line| line.len() <= 998));
        assert!(field.ends_with("1970 00:00:00 +0000\r\n"));
    }
}
