//! Values that are known only when an operation runs.

use std::fmt;

use caps_model::{Name, Value};

/// A value, or where it comes from when the operation runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Template {
    /// Always this.
    Fixed(Value),
    /// Whatever stands there, as it is: an attribute with several values gives all of them.
    Source(Source),
    /// A text put together from pieces.
    Text(Vec<Piece>),
    /// The moment at which the step starts, as a timestamp.
    Now,
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// As it is.
    Fixed(String),
    /// What stands there, as the query language writes it.
    Source(Source),
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `$n`: a number that no other text of the whole run gets.
    Number,
    /// `$found`: the first object that the last query or get found; `$found.attribute`: its values.
    Found(Option<Name>),
    /// `$result.name`: what the last call answered.
    Result(Name),
}

impl Template {
    /// The template that a text stands for: `$n`, `$found`, `$found.attribute`, `$result.name` are replaced, `$$` is a `$`, all else stays.
    pub fn of_text(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            push_text(&mut pieces, before);
            rest = match after.strip_prefix('$') {
                Some(after) => {
                    push_text(&mut pieces, "$");
                    after
                }
                None => {
                    let (source, after) = source(after)?;
                    pieces.push(Piece::Source(source));
                    after
                }
            };
        }
        push_text(&mut pieces, rest);
        Ok(match pieces.as_slice() {
            [] => Self::Fixed(Value::text("")),
            [Piece::Fixed(text)] => Self::Fixed(Value::text(text)),
            [Piece::Source(source)] => Self::Source(source.clone()),
            _ => Self::Text(pieces),
        })
    }

    /// Everything that it takes from elsewhere.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        let (alone, pieces) = match self {
            Self::Source(source) => (Some(source), &[][..]),
            Self::Text(pieces) => (None, pieces.as_slice()),
            Self::Fixed(_) | Self::Now => (None, &[][..]),
        };
        let inside = pieces.iter().filter_map(|piece| match piece {
            Piece::Source(source) => Some(source),
            Piece::Fixed(_) => None,
        });
        alone.into_iter().chain(inside)
    }
}

/// A text that [`Template::of_text`] leaves as it is.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('$', "$$")
}

/// What follows a `$`, and what follows that.
fn source(after: &str) -> Result<(Source, &str), String> {
    let (word, rest) = word(after);
    let of = |rest: &'_ str| rest.strip_prefix('.').map(|rest| self::word(rest).0.len()).filter(|length| *length > 0);
    let attribute = match of(rest) {
        Some(length) => Some((Name::new(&rest[1..=length]).map_err(|error| format!("'${word}.': {error}"))?, &rest[1 + length..])),
        None => None,
    };
    match (word, attribute) {
        ("n", None) => Ok((Source::Number, rest)),
        ("found", Some((name, rest))) => Ok((Source::Found(Some(name)), rest)),
        ("found", None) => Ok((Source::Found(None), rest)),
        ("result", Some((name, rest))) => Ok((Source::Result(name), rest)),
        _ => {
            let shown: String = after.chars().take(SHOWN).collect();
            Err(format!("'${shown}' stands for nothing: there are $n, $found, $found.ATTRIBUTE, $result.NAME, and $$ for a dollar sign"))
        }
    }
}

/// The name-like start of a text, and the rest.
fn word(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')).unwrap_or(text.len());
    text.split_at(end)
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(Piece::Fixed(before)) => before.push_str(text),
        _ => pieces.push(Piece::Fixed(text.to_owned())),
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number => f.write_str("$n"),
            Self::Found(None) => f.write_str("$found"),
            Self::Found(Some(name)) => write!(f, "$found.{name}"),
            Self::Result(name) => write!(f, "$result.{name}"),
        }
    }
}

/// Characters of a mistake that are repeated to whoever made it.
const SHOWN: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollar_signs_stand_for_something() {
        let found = || Source::Found(None);
        let number = Source::Found(Some(Name::fixed("number")));
        let fixed = |text: &str| Piece::Fixed(text.to_owned());
        let table = [
            ("plain", Template::Fixed(Value::text("plain"))),
            ("", Template::Fixed(Value::text(""))),
            ("5 $$ each", Template::Fixed(Value::text("5 $ each"))),
            ("$found", Template::Source(found())),
            ("$found.number", Template::Source(number.clone())),
            ("[#$found.number].", Template::Text(vec![fixed("[#"), Piece::Source(number), fixed("].")])),
            ("see $found.", Template::Text(vec![fixed("see "), Piece::Source(found()), fixed(".")])),
            ("$n", Template::Source(Source::Number)),
        ];
        for (text, expected) in table {
            assert_eq!(Template::of_text(text), Ok(expected), "{text}");
        }
        for text in ["$5", "$", "$fund", "$result", "$found.9", "$n.x"] {
            assert!(Template::of_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn escaped_text_stays_as_it_is() {
        for text in ["", "$", "$$", "$n", "a $found.", "å$$n$"] {
            assert_eq!(Template::of_text(&escaped(text)), Ok(Template::Fixed(Value::text(text))));
        }
    }
}
