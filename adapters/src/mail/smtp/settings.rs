//! For whom a session takes mail, and how much of it.

use std::{collections::BTreeSet, time::Duration};

use super::{Address, Domain};

/// What all sessions of one server have in common.
///
/// A session holds at most `message_bytes_max` (twice that while the mail grows), 330 bytes a recipient and 100 KiB besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Our own name, by which we greet and sign.
    pub host_name: Domain,
    /// Whom we take mail for. Mail for others is refused: this is no relay.
    pub destinations: Destinations,
    /// Whether TLS is offered. Default: [`Tls::Off`], since it needs a certificate.
    pub tls: Tls,
    /// Size of a mail, in bytes; what SIZE says. Default 10 MiB, as [`Limits::message_bytes_max`](crate::mail::Limits::message_bytes_max).
    pub message_bytes_max: usize,
    /// Recipients of one mail, at least 100 (RFC 5321 section 4.5.3.1.8) of which are expected to be taken. Default 100; the client sends the
    /// mail again for the others.
    pub recipients_max: usize,
    /// Mails in one session. Default 100: a client with more opens another session, so that several servers share them.
    pub mails_max: usize,
    /// Replies of 5xx to commands in one session. Default 20: a person at a keyboard makes fewer, who tries out addresses makes more.
    pub errors_max: usize,
    /// Commands that bring no mail nearer (NOOP, RSET, VRFY, a second EHLO ...) between two mails. Default 100: mail programs send one or two.
    pub idle_commands_max: usize,
    /// For a command to arrive whole. Default 5 minutes (RFC 5321 section 4.5.3.2.7).
    pub command_time: Duration,
    /// Between two pieces of a mail. Default 3 minutes (RFC 5321 section 4.5.3.2.5).
    pub data_pause: Duration,
    /// For a whole mail, so that a byte a minute does not hold a session for weeks. Default 30 minutes: 10 MiB at 48 kbit/s.
    pub data_time: Duration,
    /// For the TLS handshake. Default 1 minute.
    pub handshake_time: Duration,
}

impl Settings {
    /// The defaults, for a server of this name.
    pub fn new(host_name: Domain, destinations: Destinations) -> Self {
        Self {
            host_name,
            destinations,
            tls: Tls::Off,
            message_bytes_max: 10 * 1024 * 1024,
            recipients_max: 100,
            mails_max: 100,
            errors_max: 20,
            idle_commands_max: 100,
            command_time: Duration::from_secs(5 * 60),
            data_pause: Duration::from_secs(3 * 60),
            data_time: Duration::from_secs(30 * 60),
            handshake_time: Duration::from_secs(60),
        }
    }
}

/// Whether a session can be encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// Not offered: there is no certificate.
    Off,
    /// Offered, and used by clients that can.
    Offered,
    /// Mail is taken over TLS only. Not for a server that the world sends to (RFC 3207 section 4).
    Required,
}

/// The addresses that mail is taken for.
///
/// Compared without regard to case, in the local part, too: nobody here has two mailboxes that differ in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Destinations {
    is_everybody: bool,
    domains: BTreeSet<String>,
    addresses: BTreeSet<String>,
}

/// What a recipient is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recipient {
    Known,
    /// Its domain is ours, nobody there has its name.
    Unknown,
    Elsewhere,
}

impl Destinations {
    /// Takes mail for everybody: for a server that keeps what it takes, never for one that passes it on.
    pub fn everybody() -> Self {
        Self { is_everybody: true, ..Self::default() }
    }

    /// Takes mail for every address at a domain.
    #[must_use]
    pub fn domain(mut self, domain: &Domain) -> Self {
        self.domains.insert(domain.as_str().to_owned());
        self
    }

    /// Takes mail for one address, and for the postmaster at its domain.
    #[must_use]
    pub fn address(mut self, address: &Address) -> Self {
        self.addresses.insert(key(address));
        self
    }

    pub(super) fn judge(&self, address: &Address, host_name: &Domain) -> Recipient {
        let is_here = address.domain() == host_name.as_str() || self.addresses.iter().any(|known| domain_of(known) == address.domain());
        let is_listed = self.is_everybody || self.domains.contains(address.domain()) || self.addresses.contains(&key(address));
        match is_here {
            _ if is_listed => Recipient::Known,
            true if address.is_postmaster() => Recipient::Known,
            true => Recipient::Unknown,
            false => Recipient::Elsewhere,
        }
    }
}

fn key(address: &Address) -> String {
    address.as_str().to_lowercase()
}

fn domain_of(key: &str) -> &str {
    key.rsplit_once('@').map_or("", |(_, domain)| domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_is_for_whole_domains_single_addresses_and_postmasters() {
        let address = |text: &str| Address::parse(text).unwrap();
        let destinations = Destinations::default().domain(&Domain::parse("all.example").unwrap()).address(&address("Support@one.example"));
        let table = [
            ("anyone@all.example", Recipient::Known),
            ("anyone@ALL.example", Recipient::Known),
            ("anyone@sub.all.example", Recipient::Elsewhere),
            ("sUpport@one.example", Recipient::Known),
            ("\"support\"@one.example", Recipient::Unknown),
            ("postmaster@one.example", Recipient::Known),
            ("sales@one.example", Recipient::Unknown),
            ("postmaster@host.example", Recipient::Known),
            ("root@host.example", Recipient::Unknown),
            ("postmaster@elsewhere.example", Recipient::Elsewhere),
            ("support@one.example.evil.example", Recipient::Elsewhere),
        ];
        let host_name = Domain::parse("host.example").unwrap();
        for (text, expected) in table {
            assert_eq!(destinations.judge(&address(text), &host_name), expected, "{text}");
        }
    }
}
