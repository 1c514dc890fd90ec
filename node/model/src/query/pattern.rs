//! Patterns of texts.

use std::fmt;
use std::sync::Arc;

use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};
use regex::{Regex, RegexBuilder};

/// A pattern of texts, ready to be used.
///
/// Whatever its kind, one engine matches it in time linear in the text, and it was bounded when it was made: no pattern is too hostile.
#[derive(Clone)]
pub struct Pattern {
    kind: PatternKind,
    source: Arc<str>,
    compiled: Regex,
}

/// How a pattern is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum PatternKind {
    /// The whole text, with `%` for any characters, `_` for one, and `\` before one that stands for itself.
    Like,
    /// The same, upper and lower case alike.
    LikeAnyCase,
    /// A regular expression that occurs somewhere in the text.
    Regex,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is longer than [`PATTERN_BYTES_MAX`].
    #[error("a pattern has at most {PATTERN_BYTES_MAX} bytes, this has {0}")]
    Long(usize),
    /// It is no regular expression, or one that takes too much memory.
    #[error("{0}")]
    Malformed(String),
}

impl Pattern {
    /// The pattern of this kind.
    pub fn new(kind: PatternKind, source: &str) -> Result<Self, PatternError> {
        if source.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::Long(source.len()));
        }
        let expression = match kind {
            PatternKind::Regex => source.to_owned(),
            PatternKind::Like | PatternKind::LikeAnyCase => expression(source),
        };
        let mut builder = RegexBuilder::new(&expression);
        builder.case_insensitive(kind == PatternKind::LikeAnyCase).dot_matches_new_line(kind != PatternKind::Regex);
        let compiled = builder.size_limit(COMPILED_BYTES_MAX).dfa_size_limit(COMPILED_BYTES_MAX).nest_limit(NESTING_MAX).build();
        let compiled = compiled.map_err(|error| PatternError::Malformed(sentence(&error)))?;
        Ok(Self { kind, source: source.into(), compiled })
    }

    /// How it is written.
    pub fn kind(&self) -> PatternKind {
        self.kind
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether a text is like this.
    pub fn matches(&self, text: &str) -> bool {
        self.compiled.is_match(text)
    }

    /// What every text like this begins with, as far as an index that knows case can use it.
    pub fn prefix(&self) -> String {
        let mut prefix = String::new();
        let mut characters = self.source.chars();
        while let Some(character) = characters.next().filter(|c| self.kind == PatternKind::Like && !"%_".contains(*c)) {
            prefix.push(if character == '\\' { characters.next().unwrap_or('\\') } else { character });
        }
        prefix
    }
}

/// Patterns are equal when they are written alike.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.source == other.source
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({:?})", self.kind, self.source)
    }
}

impl Encode for Pattern {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.kind.encode(encoder)?;
        self.source.encode(encoder)
    }
}

impl<Context> Decode<Context> for Pattern {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let kind = PatternKind::decode(decoder)?;
        Self::new(kind, &String::decode(decoder)?).map_err(|error| DecodeError::OtherString(format!("a pattern: {error}")))
    }
}

impl<'de, Context> BorrowDecode<'de, Context> for Pattern {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

/// The regular expression of a `like`.
fn expression(like: &str) -> String {
    let mut expression = String::from("^");
    let mut characters = like.chars();
    while let Some(character) = characters.next() {
        match character {
            '%' => expression.push_str(".*"),
            '_' => expression.push('.'),
            '\\' => expression.push_str(&regex::escape(&characters.next().unwrap_or('\\').to_string())),
            other => expression.push_str(&regex::escape(&other.to_string())),
        }
    }
    expression + "$"
}

/// The last line says what is wrong; those before it draw where.
fn sentence(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => "the regular expression takes too much memory: make its repetitions smaller".to_owned(),
        error => error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    }
}

/// Bytes of a pattern as it is written.
pub const PATTERN_BYTES_MAX: usize = 1_000;

/// Bytes of a pattern that is ready to be used; so much again for what its use caches.
const COMPILED_BYTES_MAX: usize = 256 << 10;

/// Groups within groups.
const NESTING_MAX: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn like(kind: PatternKind, source: &str, text: &str) -> bool {
        Pattern::new(kind, source).unwrap().matches(text)
    }

    #[test]
    fn like_covers_the_whole_text() {
        use PatternKind::{Like, LikeAnyCase, Regex};
        for (kind, source, text, expected) in [
            (Like, "pump%", "pump 3", true),
            (Like, "pump%", "a pump", false),
            (Like, "p_mp", "pömp", true),
            (Like, "100\\%", "100%", true),
            (Like, "100\\%", "1000", false),
            (Like, "a.c", "abc", false),
            (Like, "a%c", "a\nc", true),
            (Like, "\\", "\\", true),
            (LikeAnyCase, "PÜMP%", "pümpe", true),
            (Regex, "p.mp", "a pump", true),
            (Regex, "^p", "a pump", false),
        ] {
            assert_eq!(like(kind, source, text), expected, "{kind:?} {source} {text}");
        }
        let prefix = |source| Pattern::new(Like, source).unwrap().prefix();
        assert_eq!((prefix("pump%"), prefix("a\\%b_"), prefix("%")), ("pump".to_owned(), "a%b".to_owned(), String::new()));
    }

    #[test]
    fn hostile_patterns_are_refused_or_harmless() {
        let refused = |source: &str| Pattern::new(PatternKind::Regex, source).unwrap_err();
        assert!(matches!(refused("((((a{100}){100}){100}){100})"), PatternError::Malformed(_)));
        assert!(matches!(refused(&"(".repeat(900)), PatternError::Malformed(_)));
        assert!(matches!(refused(&"a".repeat(1_001)), PatternError::Long(1_001)));
        assert_eq!(refused("a(").to_string(), "unclosed group");
        // A backtracking engine would take longer than the universe has lasted.
        assert!(!like(PatternKind::Regex, "^(a+)+$", &("a".repeat(50_000) + "b")));
        assert!(!like(PatternKind::Like, &"%a".repeat(20), &"b".repeat(50_000)));
    }
}
