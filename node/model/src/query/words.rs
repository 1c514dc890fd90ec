//! Full text: what the words of a text are, and what it is to search for some.

use std::collections::BTreeSet;
use std::fmt;

use bincode::{Decode, Encode};
use unicode_segmentation::UnicodeSegmentation;

/// Words to search for: all of them must occur.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Words(Vec<Word>);

/// One word to search for, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Word {
    /// The word, or its beginning.
    pub text: String,
    /// Whether words that only begin so count too.
    pub begins: bool,
}

impl Words {
    /// The words of a text that somebody typed; `*` behind one stands for any ending. `None` when there are none, or more than [`WORDS_MAX`].
    pub fn new(typed: &str) -> Option<Self> {
        let mut words = Vec::new();
        for piece in typed.split_whitespace() {
            let begins = piece.ends_with('*');
            let mut found: Vec<Word> = words_of(piece).map(|text| Word { text, begins: false }).collect();
            if let Some(last) = found.last_mut() {
                last.begins = begins;
            }
            words.append(&mut found);
        }
        (1..=WORDS_MAX).contains(&words.len()).then_some(Self(words))
    }

    /// Each word.
    pub fn iter(&self) -> impl Iterator<Item = &Word> {
        self.0.iter()
    }

    /// Whether these texts together have all the words.
    pub fn occur_in<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> bool {
        let mut missing: Vec<&Word> = self.0.iter().collect();
        for text in texts {
            if missing.is_empty() {
                break;
            }
            let present: BTreeSet<String> = words_of(text).collect();
            missing.retain(|word| !word.is_among(&present));
        }
        missing.is_empty()
    }

    /// Whether decoded words keep what [`new`](Self::new) promises.
    pub(super) fn is_sound(&self) -> bool {
        let sound = |word: &Word| !word.text.is_empty() && word.text.len() <= WORD_BYTES_MAX;
        (1..=WORDS_MAX).contains(&self.0.len()) && self.0.iter().all(sound)
    }
}

impl Word {
    fn is_among(&self, present: &BTreeSet<String>) -> bool {
        match self.begins {
            false => present.contains(&self.text),
            true => present.range(self.text.clone()..).next().is_some_and(|word| word.starts_with(&self.text)),
        }
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, word) in self.0.iter().enumerate() {
            let space = if place == 0 { "" } else { " " };
            write!(f, "{space}{}{}", word.text, if word.begins { "*" } else { "" })?;
        }
        Ok(())
    }
}

/// The words of a text in lower case, as Unicode divides it (UAX 29). Only its first [`SEARCHED_BYTES_MAX`] bytes are searched, and of a word
/// its first [`WORD_BYTES_MAX`].
pub fn words_of(text: &str) -> impl Iterator<Item = String> {
    beginning(text, SEARCHED_BYTES_MAX).unicode_words().map(|word| {
        let mut word = word.to_lowercase();
        let end = beginning(&word, WORD_BYTES_MAX).len();
        word.truncate(end);
        word
    })
}

/// The first bytes of a text, whole characters only.
pub fn beginning(text: &str, bytes_max: usize) -> &str {
    // The last boundary is at most three bytes away.
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// What of a text is searched: a long mail; not what is attached to it.
pub const SEARCHED_BYTES_MAX: usize = 16 << 10;

/// What of a word counts.
pub const WORD_BYTES_MAX: usize = 40;

/// Words searched for at once.
pub const WORDS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unicodes_in_lower_case() {
        let words = |text: &str| words_of(text).collect::<Vec<_>>();
        assert_eq!(words("Pump-3 läckt! (SEIT gestern)"), ["pump", "3", "läckt", "seit", "gestern"]);
        assert_eq!(words("don't 3.5 x_y"), ["don't", "3.5", "x_y"]);
        assert_eq!(words("--- ***"), [""; 0]);
        assert_eq!(words(&"ä".repeat(50))[0].len(), 40);
    }

    #[test]
    fn all_words_must_occur_somewhere() {
        let found = |typed: &str, texts: &[&str]| Words::new(typed).unwrap().occur_in(texts.iter().copied());
        assert!(found("LEAK pump", &["a pump", "leak"]));
        assert!(!found("leak pump", &["a pump"]));
        assert!(found("pum*", &["the pump"]) && !found("pum", &["the pump"]) && !found("ump*", &["the pump"]));
        assert!(Words::new(" --- ").is_none() && Words::new(&"a ".repeat(33)).is_none());
        assert_eq!(Words::new("Pump-3 leak*").unwrap().to_string(), "pump 3 leak*");
    }
}
