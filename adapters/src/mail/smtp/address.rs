//! The mailboxes that an envelope names, and the paths they stand in.

use std::fmt;

use super::domain;

/// A mailbox as SMTP names it (RFC 5321 section 4.1.2): `local@domain`, the domain in lower case or an IP address in brackets,
/// the local part as it was given, quoted if it was. Holds no control character, at most 254 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    text: String,
    local_bytes: usize,
}

impl Address {
    /// Reads `local@domain`, letters of all scripts allowed; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        Self::read(text).ok()
    }

    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What stands before the `@`.
    pub fn local(&self) -> &str {
        &self.text[..self.local_bytes]
    }

    /// What stands behind the `@`.
    pub fn domain(&self) -> &str {
        &self.text[self.local_bytes + 1..]
    }

    /// Whether only mail with SMTPUTF8 can name it.
    pub fn is_international(&self) -> bool {
        !self.text.is_ascii()
    }

    /// `Postmaster` at a domain: a name that every server has to know (RFC 5321 section 4.5.1).
    pub(super) fn postmaster_at(domain: &domain::Domain) -> Self {
        let text = format!("{POSTMASTER}@{domain}");
        Self { text, local_bytes: POSTMASTER.len() }
    }

    /// Whether mail to it goes to the person who keeps the server.
    pub(super) fn is_postmaster(&self) -> bool {
        self.local().eq_ignore_ascii_case(POSTMASTER)
    }

    fn read(text: &str) -> Result<Self, PathFault> {
        let (local, domain) = split_mailbox(text).ok_or(PathFault::Malformed)?;
        if local.len() > LOCAL_BYTES_MAX || text.len() > ADDRESS_BYTES_MAX {
            return Err(PathFault::TooLong);
        }
        let is_local = is_dot_string(local) || is_quoted_string(local);
        if !is_local || !(domain::is_domain(domain) || domain::is_address_literal(domain)) {
            return Err(PathFault::Malformed);
        }
        Ok(Self { text: format!("{local}@{}", domain.to_ascii_lowercase()), local_bytes: local.len() })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What stands between the angle brackets of `MAIL` and `RCPT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Path {
    /// `<>`: whoever sends this wants no answer.
    Null,
    /// `<Postmaster>`, without a domain.
    Postmaster,
    /// A mailbox.
    To(Address),
}

/// Why a path is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathFault {
    Malformed,
    TooLong,
}

impl Path {
    /// Splits `<path> rest` into the two; the rest begins with a blank or is empty.
    pub(super) fn split(text: &str) -> Result<(Self, &str), PathFault> {
        let end = closing_bracket(text).ok_or(PathFault::Malformed)?;
        let rest = &text[end + 1..];
        if !rest.is_empty() && !rest.starts_with(' ') {
            return Err(PathFault::Malformed);
        }
        Ok((Self::read(&text[1..end])?, rest))
    }

    /// RFC 5321 section 4.1.1.3: a route to the mailbox must be understood and should be ignored.
    fn read(inner: &str) -> Result<Self, PathFault> {
        if inner.is_empty() {
            return Ok(Self::Null);
        }
        if inner.eq_ignore_ascii_case(POSTMASTER) {
            return Ok(Self::Postmaster);
        }
        if !inner.starts_with('@') {
            return Ok(Self::To(Address::read(inner)?));
        }
        let (route, mailbox) = inner.split_once(':').ok_or(PathFault::Malformed)?;
        let is_hop = |hop: &str| hop.strip_prefix('@').is_some_and(domain::is_domain);
        if !route.split(',').all(is_hop) {
            return Err(PathFault::Malformed);
        }
        Ok(Self::To(Address::read(mailbox)?))
    }
}

/// Where the path that `text` begins with is closed: the first `>` that no quotes hide.
fn closing_bracket(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('<')?;
    unquoted(inner).find(|(_, char)| *char == '>').map(|(at, _)| at + 1)
}

/// Splits at the `@` between local part and domain.
fn split_mailbox(text: &str) -> Option<(&str, &str)> {
    let (at, _) = unquoted(text).find(|(_, char)| *char == '@')?;
    Some((&text[..at], &text[at + 1..]))
}

/// The characters outside of quoted strings, with their places.
fn unquoted(text: &str) -> impl Iterator<Item = (usize, char)> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.char_indices().filter(move |(_, char)| {
        let was_quoted = is_quoted;
        match char {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => {}
        }
        !was_quoted
    })
}

fn is_dot_string(text: &str) -> bool {
    let allowed = |char: char| char.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(char) || domain::is_international(char);
    text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(allowed))
}

/// Between quotes: printable characters, and behind a backslash any of ASCII's, quote and backslash too.
fn is_quoted_string(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('"').and_then(|opened| opened.strip_suffix('"')) else {
        return false;
    };
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        let is_text = match char {
            '"' => false,
            '\\' => chars.next().is_some_and(|escaped| matches!(escaped, ' '..='~')),
            ' '..='~' => true,
            char => domain::is_international(char),
        };
        if !is_text {
            return false;
        }
    }
    true
}

const POSTMASTER: &str = "postmaster";

/// RFC 5321 section 4.5.3.1.1.
const LOCAL_BYTES_MAX: usize = 64;

/// RFC 5321 section 4.5.3.1.3: a path of 256 bytes less its brackets.
const ADDRESS_BYTES_MAX: usize = 254;

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Result<(Path, &str), PathFault> {
        Path::split(text)
    }

    fn to(text: &str) -> Path {
        Path::To(Address::parse(text).unwrap())
    }

    #[test]
    fn addresses_are_local_part_and_domain() {
        let address = Address::parse("Anna.Berg@Example.ORG").unwrap();
        assert_eq!((address.local(), address.domain(), address.as_str()), ("Anna.Berg", "example.org", "Anna.Berg@example.org"));
        for text in ["o'neil+x@a-b.example", "a@b", "\"a b\"@c", "\"a@b>\\\"\"@c", "a@[10.0.0.1]", "a@[IPv6:::1]", "josé@éxample.example"]
        {
            assert!(Address::parse(text).is_some(), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let table = [
            "",
            "a",
            "@b",
            "a@",
            "a@b@c",
            "a..b@c",
            ".a@c",
            "a.@c",
            "a b@c",
            "a@b c",
            "a@b.",
            "a@-b",
            "a@[b]",
            "a@[::1]",
            "\"a@b",
            "\"a\"\"b\"@c",
            "\"a\"b@c",
            "\"a\\\"@c",
            "\"\u{7}\"@c",
            "a\u{0}@b",
            "a\r\nb@c",
            "a@b\r\n",
            "a\u{202e}b@c",
            "\"a\u{85}\"@b",
            "a,b@c",
            "a:b@c",
            "<a@b>",
        ];
        for text in table {
            assert_eq!(Address::parse(text), None, "{text:?}");
        }
        assert!(Address::parse(&format!("{}@b", "a".repeat(64))).is_some());
        assert_eq!(Address::read(&format!("{}@b", "a".repeat(65))), Err(PathFault::TooLong));
        assert_eq!(Address::read(&format!("a@{}b", "b.".repeat(127))), Err(PathFault::TooLong));
    }

    #[test]
    fn paths_are_split_from_what_follows() {
        assert_eq!(path("<>"), Ok((Path::Null, "")));
        assert_eq!(path("<PostMaster> X=y"), Ok((Path::Postmaster, " X=y")));
        assert_eq!(path("<a@b> SIZE=1"), Ok((to("a@b"), " SIZE=1")));
        assert_eq!(path("<\"a>b\"@c>"), Ok((to("\"a>b\"@c"), "")));
        for text in ["", "a@b", "<a@b", "<a@b>x", "<<a@b>>", " <a@b>", "<a@b> >", "<\"a>", "<a\\>"] {
            let refused = match path(text) {
                Ok((_, rest)) => rest.contains('>'),
                Err(fault) => fault == PathFault::Malformed,
            };
            assert!(refused, "{text}");
        }
    }

    #[test]
    fn routes_are_understood_and_ignored() {
        assert_eq!(path("<@relay.example,@b.example:a@c.example>"), Ok((to("a@c.example"), "")));
        for text in ["<@a>", "<@a:>", "<@a:@b>", "<@a,b:c@d>", "<@:c@d>", "<@a,:c@d>", "<@[10.0.0.1]:c@d>"] {
            assert_eq!(path(text), Err(PathFault::Malformed), "{text}");
        }
    }
}
