//! The name of a message.

use std::fmt;

use super::smtp::Domain;

/// A message identifier (RFC 5322 section 3.6.4), without its angle brackets: `left@right`, at most 255 bytes, no blanks.
///
/// Compared byte by byte, as the RFC asks: identifiers that differ in case are different.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(String);

impl MessageId {
    /// Reads `<left@right>` or `left@right`, blanks around it ignored; `None` if it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let inner = match text.strip_prefix('<') {
            Some(opened) => opened.strip_suffix('>')?,
            None => text,
        };
        let (left, right) = inner.rsplit_once('@')?;
        let allowed = |char: char| !char.is_control() && !char.is_whitespace() && !matches!(char, '<' | '>');
        let fits = !left.is_empty() && !right.is_empty() && inner.len() <= BYTES_MAX;
        (fits && inner.chars().all(allowed)).then(|| Self(inner.to_owned()))
    }

    /// The name `left@domain` of a left part without blanks, controls and brackets.
    pub(super) fn from_parts(left: &str, domain: &Domain) -> Self {
        let id = format!("{left}@{domain}");
        // A domain can have 255 bytes itself; its end is the part that tells it from others.
        let excess = id.len().saturating_sub(BYTES_MAX);
        Self(if excess > 0 { format!("{left}@{}", &domain.as_str()[excess..]) } else { id })
    }

    /// Reads the value of `References` or `In-Reply-To`: whatever stands in angle brackets and is an identifier, in order.
    ///
    /// Old mail programs put prose between them (RFC 5322 section 4.5.4), which is skipped; a broken reference costs a thread
    /// its join, not the message its acceptance. Of more than `count_max` the first and the latest remain.
    pub(super) fn parse_list(text: &str, count_max: usize) -> Vec<Self> {
        let mut ids: Vec<Self> =
            text.split('<').skip(1).filter_map(|from_bracket| from_bracket.split_once('>')).filter_map(|(id, _)| Self::parse(id)).collect();
        let excess = ids.len().saturating_sub(count_max);
        let first_kept = 1.min(count_max).min(ids.len());
        ids.drain(first_kept..first_kept + excess);
        ids
    }

    /// The identifier without angle brackets.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Real ones stay below 120; a line of RFC 5322 could hold 998, and keys of that length serve nobody.
const BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_are_removed() {
        let id = MessageId::parse(" <a.b@example.org> ").unwrap();
        assert_eq!(id.as_str(), "a.b@example.org");
        assert_eq!(MessageId::parse("a.b@example.org"), Some(id));
    }

    #[test]
    fn what_is_not_left_at_right_is_none() {
        for text in ["", "<>", "<a@b", "a@b>", "<@b>", "<a@>", "<ab>", "<a b@c>", "<a@b><c@d>", "<a@b> x"] {
            assert_eq!(MessageId::parse(text), None, "{text:?}");
        }
        assert_eq!(MessageId::parse(&format!("<{}@b>", "a".repeat(254))), None);
    }

    #[test]
    fn lists_keep_order_skip_prose_and_keep_first_and_latest() {
        let ids = |count_max| {
            let list = MessageId::parse_list("<a@x> Your mail of Monday <broken> <b@x><c@x>\t<d@x>", count_max);
            list.iter().map(|id| id.as_str().replace("@x", "")).collect::<String>()
        };
        assert_eq!(ids(9), "abcd");
        assert_eq!(ids(3), "acd");
        assert_eq!(ids(1), "a");
        assert_eq!(ids(0), "");
        assert_eq!(MessageId::parse_list("", 9), []);
    }
}
