//! Who wrote a message, and to whom.

use mail_parser::{Addr, Address};

use super::{Refusal, fields::Fields};
use crate::text::{cut, printable};

/// A mailbox (RFC 5322 section 3.4): an address, and the name its owner shows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mailbox {
    /// The name shown, decoded, without control characters; at most 256 bytes. Anybody can claim any name.
    pub name: Option<String>,
    /// `local@domain`, the domain in lower case; at most 254 bytes.
    pub address: String,
}

impl Mailbox {
    /// The one author in `From`.
    pub(super) fn author(fields: &Fields) -> Result<Self, Refusal> {
        let addresses = fields.addresses(FROM)?.ok_or(Refusal::MissingFrom)?;
        let mut authors = Self::list(addresses, FROM)?;
        match authors.len() {
            1 => Ok(authors.remove(0)),
            0 => Err(Refusal::MalformedFrom),
            count => Err(Refusal::SeveralAuthors { count }),
        }
    }

    /// The recipients in `field`, groups opened; none if the field is missing or is an empty group (`undisclosed-recipients:;`).
    pub(super) fn recipients(fields: &Fields, field: &'static str) -> Result<Vec<Self>, Refusal> {
        Self::list(fields.addresses(field)?.flatten(), field)
    }

    /// As many as the size of one field allows.
    fn list(addresses: Option<Address<'_>>, field: &'static str) -> Result<Vec<Self>, Refusal> {
        let Some(addresses) = addresses else {
            return Ok(Vec::new());
        };
        addresses.iter().map(|addr| Self::from_addr(addr, field)).collect()
    }

    fn from_addr(addr: &Addr<'_>, field: &'static str) -> Result<Self, Refusal> {
        let text = addr.address().unwrap_or_default();
        let address = normalise(text).ok_or_else(|| Refusal::InvalidAddress {
            field,
            address: Refusal::excerpt(addr.address().or(addr.name()).unwrap_or_default()),
        })?;
        let mut name = printable(addr.name().unwrap_or_default());
        cut(&mut name, NAME_BYTES_MAX);
        Ok(Self { name: (!name.is_empty()).then_some(name), address })
    }
}

/// The address with its domain in lower case, if it is one that a reply can be sent to (RFC 5321 section 4.1.2, with the
/// international characters of RFC 6531): no quoted local part, no literal domain.
pub(super) fn normalise(text: &str) -> Option<String> {
    let (local, domain) = text.rsplit_once('@')?;
    let local_fits = local.len() <= LOCAL_BYTES_MAX && local.split('.').all(is_atom);
    let domain_fits = domain.split('.').all(is_label);
    (local_fits && domain_fits && text.len() <= ADDRESS_BYTES_MAX).then(|| format!("{local}@{}", domain.to_ascii_lowercase()))
}

/// RFC 5322 section 3.2.3.
fn is_atom(text: &str) -> bool {
    let allowed = |char: char| char.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(char);
    !text.is_empty() && text.chars().all(allowed)
}

/// RFC 1035 section 2.3.1, as relaxed by RFC 1123 and RFC 5890.
fn is_label(text: &str) -> bool {
    let allowed = |char: char| char.is_alphanumeric() || char == '-';
    (1..=63).contains(&text.len()) && text.chars().all(allowed) && !text.starts_with('-') && !text.ends_with('-')
}

const FROM: &str = "From";

/// As long as the longest names of people, with title and company.
pub(super) const NAME_BYTES_MAX: usize = 256;

/// RFC 5321 sections 4.5.3.1.1 and 4.5.3.1.3 (a path of 256 with its brackets).
const LOCAL_BYTES_MAX: usize = 64;
const ADDRESS_BYTES_MAX: usize = 254;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_normalised_or_refused() {
        assert_eq!(normalise("Anna.Berg@Example.ORG").as_deref(), Some("Anna.Berg@example.org"));
        assert_eq!(normalise("o'neil+pump@a-b.example").as_deref(), Some("o'neil+pump@a-b.example"));
        assert_eq!(normalise("josé@éxample.example").as_deref(), Some("josé@éxample.example"));
        for text in ["", "a", "@b", "a@", "a@b@c", "a..b@c", ".a@c", "a@-b", "a@b.", "a@[10.0.0.1]", "a b@c", "a@b c", "a\r\n@b"] {
            assert_eq!(normalise(text), None, "{text:?}");
        }
        assert_eq!(normalise(&format!("{}@b", "a".repeat(65))), None);
    }
}
