//! Names of hosts and domains.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::text::turns_direction;

/// A domain name in lower case (RFC 5321 section 4.1.2, with the letters of RFC 6531 where it is read from mail that uses them): labels of letters,
/// digits and hyphens, at most 255 bytes, no dot at its end. One label is enough: `localhost` is a domain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Domain(String);

impl Domain {
    /// Reads a name in ASCII; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        (text.is_ascii() && is_domain(text)).then(|| Self(text.to_ascii_lowercase()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `text` is a domain, letters of all scripts allowed.
pub(super) fn is_domain(text: &str) -> bool {
    text.len() <= DOMAIN_BYTES_MAX && text.split('.').all(|label| is_label(label, is_label_char))
}

/// Whether `text` is a client's name for itself: a domain or an address in brackets. Underscores are let through, since hosts have them that
/// cannot be renamed, and nothing here depends on the name.
pub(super) fn is_client_name(text: &str) -> bool {
    let allowed = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
    let is_name = text.len() <= DOMAIN_BYTES_MAX && text.split('.').all(|label| is_label(label, allowed));
    is_name || is_address_literal(text)
}

/// Whether `text` is an IP address in brackets (RFC 5321 section 4.1.3); no tags but `IPv6` are registered.
pub(super) fn is_address_literal(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('[').and_then(|opened| opened.strip_suffix(']')) else {
        return false;
    };
    // The tag is compared without regard to case, as all of SMTP's keywords are.
    match inner.split_at_checked(IPV6_TAG.len()) {
        Some((tag, address)) if tag.eq_ignore_ascii_case(IPV6_TAG) => address.parse::<Ipv6Addr>().is_ok(),
        _ => inner.parse::<Ipv4Addr>().is_ok(),
    }
}

/// An IP address as mail writes it.
pub(super) fn address_literal(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) => format!("[{IPV6_TAG}{address}]"),
    }
}

/// RFC 1035 section 2.3.1, as relaxed by RFC 1123.
fn is_label(text: &str, allowed: impl Fn(char) -> bool) -> bool {
    (1..=LABEL_BYTES_MAX).contains(&text.len()) && text.chars().all(allowed) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_label_char(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '-' || is_international(char)
}

/// What RFC 6531 adds to the grammar, less what no person could see.
pub(super) fn is_international(char: char) -> bool {
    !char.is_ascii() && !char.is_control() && !char.is_whitespace() && !turns_direction(char)
}

const IPV6_TAG: &str = "IPv6:";

/// RFC 5321 section 4.5.3.1.2.
const DOMAIN_BYTES_MAX: usize = 255;

/// RFC 1035 section 2.3.4.
const LABEL_BYTES_MAX: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_have_their_form() {
        assert_eq!(Domain::parse("Mail.Example.ORG").unwrap().as_str(), "mail.example.org");
        assert!(Domain::parse("localhost").is_some());
        for text in ["", ".", "a.", ".a", "a..b", "-a", "a-", "a_b", "a b", "é.example", "a\r\nb", "[10.0.0.1]"] {
            assert_eq!(Domain::parse(text), None, "{text:?}");
        }
        assert_eq!(Domain::parse(&"a".repeat(64)), None);
        assert_eq!(Domain::parse(&"a.".repeat(128)), None);
        assert!(is_domain("éxample.example"));
        assert!(!is_domain("a\u{202e}b"));
    }

    #[test]
    fn clients_are_named_by_domains_or_addresses() {
        for text in ["mail.example.org", "build_7", "[10.0.0.1]", "[IPv6:::1]", "[ipv6:2001:db8::1]"] {
            assert!(is_client_name(text), "{text}");
        }
        for text in ["", "a b", "10.0.0.1]", "[::1]", "[IPv6:10.0.0.1]", "[tag:x]", "[300.0.0.1]", "é", "a\tb", "<a>", "(a)"] {
            assert!(!is_client_name(text), "{text}");
        }
    }

    #[test]
    fn mapped_addresses_are_written_as_what_they_are() {
        let literal = |text: &str| address_literal(text.parse().unwrap());
        assert_eq!(literal("10.0.0.1"), "[10.0.0.1]");
        assert_eq!(literal("::ffff:10.0.0.1"), "[10.0.0.1]");
        assert_eq!(literal("2001:db8::1"), "[IPv6:2001:db8::1]");
    }
}
