//! Filters as people type them: `status = open and (priority >= 3 or not has agent)`.
//!
//! `or` binds weaker than `and`, `and` weaker than `not`. Operators: `= != < <= > >=` and `has attribute`. Values: whole numbers, numbers with
//! a point, `true`, `false`, `#object-id`, `@microseconds` (a timestamp), `'text in quotes'` with `''` for a quote, or one bare word.

use std::ops::Bound;
use std::str::FromStr;

use super::{CONDITIONS_MAX, DEPTH_MAX, Filter};
use crate::{Name, Value};

/// Why a text is not a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {at}: {problem}")]
pub struct ParseFilterError {
    /// Where, counted in characters from 1.
    pub at: usize,
    /// What was expected and what stands there.
    pub problem: String,
}

impl FromStr for Filter {
    type Err = ParseFilterError;

    fn from_str(text: &str) -> Result<Self, ParseFilterError> {
        let mut parser = Parser { tokens: tokens(text)?, next: 0, conditions: 0, end: text.chars().count() + 1 };
        if parser.tokens.is_empty() {
            return Ok(Self::All);
        }
        let filter = parser.any(0)?;
        match parser.peek() {
            None => Ok(filter),
            Some(token) => Err(parser.error(format!("expected 'and', 'or' or the end, found {}", token.shown()))),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Quoted(String),
    Sign(&'static str),
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    conditions: usize,
    end: usize,
}

impl Parser {
    fn any(&mut self, depth: usize) -> Result<Filter, ParseFilterError> {
        let mut filters = vec![self.all(depth)?];
        while self.take_word("or") {
            filters.push(self.all(depth)?);
        }
        Ok(one_or(filters, Filter::Or))
    }

    fn all(&mut self, depth: usize) -> Result<Filter, ParseFilterError> {
        let mut filters = vec![self.one(depth)?];
        while self.take_word("and") {
            filters.push(self.one(depth)?);
        }
        Ok(one_or(filters, Filter::And))
    }

    fn one(&mut self, depth: usize) -> Result<Filter, ParseFilterError> {
        self.conditions += 1;
        // Each level of the text may become two of the tree ("and" within "or"), and the wire allows DEPTH_MAX.
        if depth >= DEPTH_MAX / 2 - 1 || self.conditions > CONDITIONS_MAX / 2 {
            return Err(self.error("too many conditions, or too many parentheses".to_owned()));
        }
        if self.take_word("not") {
            return Ok(Filter::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.take_word("has") {
            let attribute = self.attribute()?;
            return Ok(Filter::Range { attribute, from: Bound::Unbounded, to: Bound::Unbounded });
        }
        if self.take_sign("(") {
            let filter = self.any(depth + 1)?;
            return match self.take_sign(")") {
                true => Ok(filter),
                false => Err(self.error("expected ')'".to_owned())),
            };
        }
        let attribute = self.attribute()?;
        self.comparison(attribute)
    }

    fn comparison(&mut self, attribute: Name) -> Result<Filter, ParseFilterError> {
        let sign = match self.peek() {
            Some(Token::Sign(sign)) if !matches!(*sign, "(" | ")") => *sign,
            _ => return Err(self.error(format!("expected = != < <= > or >= after '{attribute}'"))),
        };
        self.next += 1;
        let value = self.value()?;
        let (from, to) = match sign {
            "=" => return Ok(Filter::Equal { attribute, value }),
            "!=" => return Ok(Filter::Not(Box::new(Filter::Equal { attribute, value }))),
            "<" => (Bound::Unbounded, Bound::Excluded(value)),
            "<=" => (Bound::Unbounded, Bound::Included(value)),
            ">" => (Bound::Excluded(value), Bound::Unbounded),
            _ => (Bound::Included(value), Bound::Unbounded),
        };
        Ok(Filter::Range { attribute, from, to })
    }

    fn attribute(&mut self) -> Result<Name, ParseFilterError> {
        let name = match self.peek() {
            Some(Token::Word(word)) => Name::new(word).map_err(|e| self.error(e.to_string()))?,
            Some(token) => return Err(self.error(format!("expected an attribute, found {}", token.shown()))),
            None => return Err(self.error("expected an attribute, found the end".to_owned())),
        };
        self.next += 1;
        Ok(name)
    }

    fn value(&mut self) -> Result<Value, ParseFilterError> {
        let value = match self.peek() {
            Some(Token::Quoted(text)) => Value::Text(text.clone()),
            Some(Token::Word(word)) => word_value(word).map_err(|problem| self.error(problem))?,
            Some(token) => return Err(self.error(format!("expected a value, found {}", token.shown()))),
            None => return Err(self.error("expected a value, found the end".to_owned())),
        };
        self.next += 1;
        Ok(value)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(w)) if w == word);
        self.next += usize::from(found);
        found
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(s)) if *s == sign);
        self.next += usize::from(found);
        found
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    fn error(&self, problem: String) -> ParseFilterError {
        ParseFilterError { at: self.tokens.get(self.next).map_or(self.end, |(at, _)| *at), problem }
    }
}

impl Token {
    fn shown(&self) -> String {
        match self {
            Self::Word(word) => format!("'{word}'"),
            Self::Quoted(text) => format!("the text '{text}'"),
            Self::Sign(sign) => format!("'{sign}'"),
        }
    }
}

/// The value that a word without quotes stands for.
pub(super) fn word_value(word: &str) -> Result<Value, String> {
    if let Some(id) = word.strip_prefix('#') {
        return id.parse().map(Value::Reference).map_err(|e| format!("'{word}': {e}"));
    }
    if let Some(micros) = word.strip_prefix('@') {
        return micros.parse().map(Value::Timestamp).map_err(|_| format!("'{word}' is not @microseconds"));
    }
    if word == "true" || word == "false" {
        return Ok(Value::Bool(word == "true"));
    }
    if let Ok(number) = word.parse() {
        return Ok(Value::Int(number));
    }
    match word.parse::<f64>() {
        Ok(number) if number.is_finite() && word.starts_with(|c: char| c.is_ascii_digit() || c == '-') => Ok(Value::Float(number)),
        _ => Ok(Value::text(word)),
    }
}

impl FromStr for Value {
    type Err = String;

    /// Reads a value as a person types it: see the module's documentation; quotes are not needed, but respected.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
            Some(quoted) => Ok(Self::Text(quoted.replace("''", "'"))),
            None => word_value(text),
        }
    }
}

fn one_or(mut filters: Vec<Filter>, many: fn(Vec<Filter>) -> Filter) -> Filter {
    match filters.len() {
        1 => filters.remove(0),
        _ => many(filters),
    }
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, ParseFilterError> {
    let characters: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&character) = characters.get(at) {
        let start = at;
        let two = |second| characters.get(start + 1) == Some(&second);
        let (token, length) = match character {
            c if c.is_whitespace() => {
                at += 1;
                continue;
            }
            '(' => (Token::Sign("("), 1),
            ')' => (Token::Sign(")"), 1),
            '=' => (Token::Sign("="), 1),
            '!' if two('=') => (Token::Sign("!="), 2),
            '<' if two('=') => (Token::Sign("<="), 2),
            '>' if two('=') => (Token::Sign(">="), 2),
            '<' => (Token::Sign("<"), 1),
            '>' => (Token::Sign(">"), 1),
            '\'' => quoted(&characters, start)?,
            _ => {
                let ends = |c: &char| c.is_whitespace() || "()=!<>'".contains(*c);
                let word: String = characters[start..].iter().take_while(|c| !ends(c)).collect();
                if word.is_empty() {
                    let problem = format!("'{character}' does not start anything known here");
                    return Err(ParseFilterError { at: start + 1, problem });
                }
                let length = word.chars().count();
                (Token::Word(word), length)
            }
        };
        tokens.push((start + 1, token));
        at += length;
    }
    Ok(tokens)
}

fn quoted(characters: &[char], start: usize) -> Result<(Token, usize), ParseFilterError> {
    let mut text = String::new();
    let mut at = start + 1;
    loop {
        match (characters.get(at), characters.get(at + 1)) {
            (Some('\''), Some('\'')) => {
                text.push('\'');
                at += 2;
            }
            (Some('\''), _) => return Ok((Token::Quoted(text), at + 1 - start)),
            (Some(&character), _) => {
                text.push(character);
                at += 1;
            }
            (None, _) => {
                return Err(ParseFilterError { at: start + 1, problem: "this quote is never closed".to_owned() });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn precedence_is_not_and_or() {
        let filter: Filter = "a = 1 or not b = x and c != 'it''s'".parse().unwrap();
        let Filter::Or(any) = filter else { panic!("{filter:?}") };
        let Filter::And(all) = &any[1] else { panic!("{any:?}") };
        assert!(matches!(&all[0], Filter::Not(_)));
        assert!(matches!(&all[1], Filter::Not(f) if **f == Filter::Equal { attribute: Name::fixed("c"), value: Value::text("it's") }));
    }

    #[test]
    fn errors_say_where() {
        for (text, at) in [("a =", 4), ("= 1", 1), ("a = 1 b", 7), ("(a = 1", 7), ("a = 'x", 5), ("a ! 1", 3), ("A = 1", 1)] {
            assert_eq!(text.parse::<Filter>().unwrap_err().at, at, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_or_says_why(text in "[a-c=<>!()' #@0-9.]{0,60}") {
            text.parse::<Filter>().ok();
        }
    }
}
