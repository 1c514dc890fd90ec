//! Versions of what is served: `ETag`, `If-None-Match` and `If-Match` (RFC 9110, sections 8.8.3 and 13.1).

use std::fmt;

/// A strong tag of a version: `"42"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(String);

/// What a client says about tags: `*`, or some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tags {
    /// Any version that exists.
    Any,
    /// One of these.
    Some(Vec<Tag>),
}

/// The field is no list of tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a condition is * or up to {TAGS_MAX} tags in quotes, such as \"42\"")]
pub struct TagError;

impl Tag {
    /// The tag of a version; quotes and control characters, which no tag has, are left out.
    pub fn of(version: impl fmt::Display) -> Self {
        Self(version.to_string().chars().filter(|c| c.is_ascii_graphic() && *c != '"').collect())
    }

    /// What is between the quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// As it stands in a field.
impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

impl Tags {
    /// Reads a field. A weak tag stands for the strong one: what is served is the same to the byte.
    pub fn parse(field: &str) -> Result<Self, TagError> {
        if field.trim() == "*" {
            return Ok(Self::Any);
        }
        let mut tags = Vec::new();
        let mut rest = field.trim();
        loop {
            // Between its quotes a tag may hold a comma.
            let quoted = rest.strip_prefix("W/").unwrap_or(rest);
            let (inner, after) = quoted.strip_prefix('"').and_then(|opened| opened.split_once('"')).ok_or(TagError)?;
            if tags.len() == TAGS_MAX || !inner.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(TagError);
            }
            tags.push(Tag(inner.to_owned()));
            let after = after.trim_start();
            if after.is_empty() {
                return Ok(Self::Some(tags));
            }
            rest = after.strip_prefix(',').ok_or(TagError)?.trim_start();
        }
    }

    /// Whether this version is among them.
    pub fn has(&self, tag: &Tag) -> bool {
        match self {
            Self::Any => true,
            Self::Some(tags) => tags.contains(tag),
        }
    }
}

/// Tags of one field.
pub const TAGS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_lists_of_tags() {
        let tags = Tags::parse("\"1\", W/\"42\"").unwrap();
        assert!(tags.has(&Tag::of(42)) && !tags.has(&Tag::of(2)) && Tags::parse("*").unwrap().has(&Tag::of(2)));
        for field in ["", "42", "\"", "\"a", "\"a\" \"b\"", "\"a\"\"", "\"\u{e5}\"", "\"a\",", ",\"a\"", "\"a\",W/"] {
            assert_eq!(Tags::parse(field), Err(TagError), "{field}");
        }
        assert_eq!(Tag::of("a\"b").to_string(), "\"ab\"");
    }

    #[test]
    fn a_tag_that_was_given_is_known_when_it_comes_back() {
        for version in ["", "42", "a,b", "a, b", "\"", "W/", "*"] {
            let tag = Tag::of(version);
            assert_eq!(Tags::parse(&format!("{tag} , W/{tag}")), Ok(Tags::Some(vec![tag.clone(), tag])), "{version}");
        }
    }
}
