//! Filters and orders as people type them; QUERIES.md is for those people.
//!
//! `or` binds weaker than `and`, `and` weaker than `not`. A condition is a subject and a test: `priority >= 3`, `state in (open, waiting)`,
//! `customer.country = SE` (through a reference), `names['sv'] like 'P%'` (under a key), `has agent`, `empty agent`, `due < now + 2d`; or
//! `text 'leaking pump*'` about all texts of an object.

mod literal;
mod token;

use std::ops::Bound;
use std::str::FromStr;

use super::{CONDITIONS_MAX, Condition, DEPTH_MAX, Filter, Order, PATTERNS_MAX, Pattern, PatternKind, Test, VALUES_MAX, Words};
use crate::{Name, Value};
use literal::word_value;
pub(super) use literal::{quoted, written};
use token::{Token, tokens};

/// Why a text is not a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {at}: {problem}")]
pub struct ParseFilterError {
    /// Where, counted in characters from 1.
    pub at: usize,
    /// What was expected and what stands there.
    pub problem: String,
}

/// Why a text is not an order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an order is attributes with commas between, each with 'desc' behind it or not; '{0}' is not one")]
pub struct ParseOrderError(String);

impl FromStr for Filter {
    type Err = ParseFilterError;

    fn from_str(text: &str) -> Result<Self, ParseFilterError> {
        let mut parser = Parser { tokens: tokens(text)?, next: 0, conditions: 0, patterns: 0, end: text.chars().count() + 1 };
        if parser.tokens.is_empty() {
            return Ok(Self::All);
        }
        let filter = parser.any(0)?;
        match parser.peek() {
            None => Ok(filter),
            Some(token) => Err(parser.error(format!("expected 'and', 'or' or the end, found {token}"))),
        }
    }
}

impl FromStr for Order {
    type Err = ParseOrderError;

    fn from_str(text: &str) -> Result<Self, ParseOrderError> {
        let mut words = text.split_whitespace();
        let attribute = words.next().and_then(|word| Name::new(word).ok());
        let descending = match words.next().map(str::to_ascii_lowercase).as_deref() {
            None | Some("asc") => Some(false),
            Some("desc") => Some(true),
            Some(_) => None,
        };
        match (attribute, descending, words.next()) {
            (Some(attribute), Some(descending), None) => Ok(Self { attribute, descending }),
            _ => Err(ParseOrderError(text.to_owned())),
        }
    }
}

impl FromStr for Value {
    type Err = String;

    /// Reads a value as a person types it: quotes are not needed, but respected.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
            Some(quoted) => Ok(Self::Text(quoted.replace("''", "'"))),
            None => word_value(text),
        }
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    conditions: usize,
    patterns: usize,
    end: usize,
}

/// What stands on the right of a comparison.
enum Operand {
    Value(Value),
    /// So many microseconds from now.
    FromNow(i64),
}

/// What a condition is about: attributes that lead to other objects, the attribute of the last one, and a key of it.
struct Subject {
    path: Vec<Name>,
    attribute: Name,
    key: Option<String>,
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
        if depth >= DEPTH_MAX / 2 - 1 || self.conditions > CONDITIONS_MAX / 4 {
            return Err(self.error("too many conditions, or too many parentheses".to_owned()));
        }
        if self.take_word("not") {
            return Ok(not(self.one(depth + 1)?));
        }
        if self.take_sign("(") {
            let filter = self.any(depth + 1)?;
            self.expect_sign(")")?;
            return Ok(filter);
        }
        if let Some(Token::Word(word)) = self.peek()
            && let Some(path) = word.strip_suffix('.').map(str::to_owned)
            && matches!(self.tokens.get(self.next + 1), Some((_, Token::Sign("("))))
        {
            return self.several_through(&path, depth);
        }
        if self.is_word("text") && matches!(self.tokens.get(self.next + 1), Some((_, Token::Quoted(_)))) {
            self.next += 1;
            return Ok(Filter::Text(self.words()?));
        }
        if self.take_word("has") {
            let subject = self.subject(depth)?;
            return Ok(subject.with(Test::Present));
        }
        if self.take_word("empty") {
            let subject = self.subject(depth)?;
            return Ok(not(subject.with(Test::Present)));
        }
        let subject = self.subject(depth)?;
        let negated = self.take_word("not");
        let (test, negated) = self.test(&subject, negated)?;
        let filter = subject.with(test);
        Ok(if negated { not(filter) } else { filter })
    }

    /// `customer.(country = SE and state = new)`: one object that satisfies both.
    fn several_through(&mut self, path: &str, depth: usize) -> Result<Filter, ParseFilterError> {
        let path = self.path(path, depth)?;
        self.next += 2;
        let filter = self.any(depth + path.len() + 1)?;
        self.expect_sign(")")?;
        Ok(through(path, filter))
    }

    fn subject(&mut self, depth: usize) -> Result<Subject, ParseFilterError> {
        let word = match self.peek() {
            Some(Token::Word(word)) => word.clone(),
            Some(token) => return Err(self.error(format!("expected an attribute, found {token}"))),
            None => return Err(self.error("expected an attribute, found the end".to_owned())),
        };
        let mut path = self.path(&word, depth)?;
        let attribute = path.pop().expect("splitting gives one part at least");
        self.next += 1;
        let mut key = None;
        if self.take_sign("[") {
            key = Some(self.quoted("a key in quotes")?);
            self.expect_sign("]")?;
        }
        Ok(Subject { path, attribute, key })
    }

    fn path(&self, dotted: &str, depth: usize) -> Result<Vec<Name>, ParseFilterError> {
        let names: Result<Vec<Name>, _> = dotted.split('.').map(Name::new).collect();
        let path = names.map_err(|error| self.error(error.to_string()))?;
        match depth + path.len() < DEPTH_MAX / 2 {
            true => Ok(path),
            false => Err(self.error("too many steps from object to object".to_owned())),
        }
    }

    /// The test behind a subject, and whether it is to be turned around.
    fn test(&mut self, subject: &Subject, negated: bool) -> Result<(Test, bool), ParseFilterError> {
        for (word, kind) in [("like", PatternKind::Like), ("ilike", PatternKind::LikeAnyCase), ("matches", PatternKind::Regex)] {
            if self.take_word(word) {
                let at = self.next;
                self.patterns += 1;
                if self.patterns > PATTERNS_MAX {
                    return Err(self.error(format!("a filter has at most {PATTERNS_MAX} patterns")));
                }
                let source = self.quoted("a pattern in quotes")?;
                let pattern = Pattern::new(kind, &source).map_err(|error| self.error_at(at, error.to_string()))?;
                return Ok((Test::Like(pattern), negated));
            }
        }
        if self.take_word("about") {
            return Ok((Test::Words(self.words()?), negated));
        }
        if self.take_word("in") {
            return Ok((Test::one_of(self.list()?), negated));
        }
        if self.take_word("between") {
            let (start, from) = (self.next, self.operand()?);
            if !self.take_word("and") {
                return Err(self.error("expected 'and' and the upper end".to_owned()));
            }
            let to = self.operand()?;
            return Ok((self.range(start, Bound::Included(from), Bound::Included(to))?, negated));
        }
        let sign = match self.peek() {
            Some(Token::Sign(sign @ ("=" | "!=" | "<" | "<=" | ">" | ">="))) if !negated => *sign,
            _ => {
                let tests = "expected = != < <= > >= in, between, like, ilike, matches or about after";
                return Err(self.error(format!("{tests} '{}'", subject.attribute)));
            }
        };
        self.next += 1;
        let (start, operand) = (self.next, self.operand()?);
        let (from, to) = match sign {
            "=" | "!=" => match operand {
                Operand::Value(value) => return Ok((Test::Equal(value), sign == "!=")),
                Operand::FromNow(_) => return Err(self.error_at(start, "now is for < <= > >= and between".to_owned())),
            },
            "<" => (Bound::Unbounded, Bound::Excluded(operand)),
            "<=" => (Bound::Unbounded, Bound::Included(operand)),
            ">" => (Bound::Excluded(operand), Bound::Unbounded),
            _ => (Bound::Included(operand), Bound::Unbounded),
        };
        Ok((self.range(start, from, to)?, false))
    }

    /// Values as they are, or moments from now; not a value and a moment.
    fn range(&self, start: usize, from: Bound<Operand>, to: Bound<Operand>) -> Result<Test, ParseFilterError> {
        let of_now = |bound: &Bound<Operand>| match bound {
            Bound::Included(operand) | Bound::Excluded(operand) => Some(matches!(operand, Operand::FromNow(_))),
            Bound::Unbounded => None,
        };
        if let (Some(one), Some(other)) = (of_now(&from), of_now(&to))
            && one != other
        {
            return Err(self.error_at(start, "both ends are moments from now, or none is".to_owned()));
        }
        let value = |bound: Bound<Operand>| match bound {
            Bound::Included(Operand::Value(value)) => Bound::Included(value),
            Bound::Excluded(Operand::Value(value)) => Bound::Excluded(value),
            _ => Bound::Unbounded,
        };
        let moment = |bound: Bound<Operand>| match bound {
            Bound::Included(Operand::FromNow(offset)) => Bound::Included(offset),
            Bound::Excluded(Operand::FromNow(offset)) => Bound::Excluded(offset),
            _ => Bound::Unbounded,
        };
        let relative = of_now(&from).or(of_now(&to)) == Some(true);
        let test = match relative {
            true => Test::FromNow { from: moment(from), to: moment(to) },
            false => Test::Range { from: value(from), to: value(to) },
        };
        match &test {
            Test::Range { from: Bound::Included(from), to: Bound::Included(to) } if from.kind() != to.kind() => {
                Err(self.error_at(start, format!("one end is of kind {}, the other of kind {}", from.kind(), to.kind())))
            }
            _ => Ok(test),
        }
    }

    fn operand(&mut self) -> Result<Operand, ParseFilterError> {
        let Some(Token::Word(word)) = self.peek() else { return self.value().map(Operand::Value) };
        let Some(rest) = word.strip_prefix("now").map(str::to_owned) else { return self.value().map(Operand::Value) };
        let (sign, span) = match rest.chars().next() {
            Some(sign @ ('+' | '-')) => (sign, rest[1..].to_owned()),
            Some(_) => return self.value().map(Operand::Value),
            None => {
                self.next += 1;
                let sign = match self.peek() {
                    Some(Token::Word(word)) if word == "+" || word == "-" => word.chars().next(),
                    _ => None,
                };
                let Some(sign) = sign else { return Ok(Operand::FromNow(0)) };
                (sign, String::new())
            }
        };
        self.next += 1;
        let span = match (span.is_empty(), self.peek()) {
            (false, _) => span,
            (true, Some(Token::Word(word))) => {
                let word = word.clone();
                self.next += 1;
                word
            }
            (true, _) => return Err(self.error(format!("expected a time like 2d or 1h30m after 'now {sign}'"))),
        };
        match word_value(&span) {
            Ok(Value::Timespan(micros)) => Ok(Operand::FromNow(if sign == '-' { -micros } else { micros })),
            _ => Err(self.error_at(self.next - 1, format!("'{span}' is no time like 2d or 1h30m"))),
        }
    }

    fn list(&mut self) -> Result<Vec<Value>, ParseFilterError> {
        self.expect_sign("(")?;
        let mut values = Vec::new();
        loop {
            values.push(self.value()?);
            if values.len() > VALUES_MAX {
                return Err(self.error(format!("a list has at most {VALUES_MAX} values")));
            }
            if !self.take_sign(",") {
                self.expect_sign(")")?;
                return Ok(values);
            }
        }
    }

    fn words(&mut self) -> Result<Words, ParseFilterError> {
        let at = self.next;
        let typed = self.quoted("words in quotes")?;
        Words::new(&typed).ok_or_else(|| self.error_at(at, format!("'{typed}' has no words to search for, or too many")))
    }

    fn value(&mut self) -> Result<Value, ParseFilterError> {
        let value = match self.peek() {
            Some(Token::Quoted(text)) => Value::Text(text.clone()),
            Some(Token::Word(word)) => word_value(word).map_err(|problem| self.error(problem))?,
            Some(token) => return Err(self.error(format!("expected a value, found {token}"))),
            None => return Err(self.error("expected a value, found the end".to_owned())),
        };
        self.next += 1;
        Ok(value)
    }

    fn quoted(&mut self, what: &str) -> Result<String, ParseFilterError> {
        let text = match self.peek() {
            Some(Token::Quoted(text)) => text.clone(),
            Some(token) => return Err(self.error(format!("expected {what}, found {token}"))),
            None => return Err(self.error(format!("expected {what}, found the end"))),
        };
        self.next += 1;
        Ok(text)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(found)) if found.eq_ignore_ascii_case(word))
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.next += usize::from(found);
        found
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(s)) if *s == sign);
        self.next += usize::from(found);
        found
    }

    fn expect_sign(&mut self, sign: &str) -> Result<(), ParseFilterError> {
        match self.take_sign(sign) {
            true => Ok(()),
            false => Err(self.error(format!("expected '{sign}'"))),
        }
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    fn error(&self, problem: String) -> ParseFilterError {
        self.error_at(self.next, problem)
    }

    fn error_at(&self, token: usize, problem: String) -> ParseFilterError {
        ParseFilterError { at: self.tokens.get(token).map_or(self.end, |(at, _)| *at), problem }
    }
}

impl Subject {
    fn with(self, test: Test) -> Filter {
        through(self.path, Filter::Where(Condition { attribute: self.attribute, key: self.key, test }))
    }
}

fn through(path: Vec<Name>, filter: Filter) -> Filter {
    path.into_iter().rev().fold(filter, |filter, attribute| Filter::Through { attribute, entity: None, filter: Box::new(filter) })
}

fn not(filter: Filter) -> Filter {
    Filter::Not(Box::new(filter))
}

fn one_or(mut filters: Vec<Filter>, many: fn(Vec<Filter>) -> Filter) -> Filter {
    match filters.len() {
        1 => filters.remove(0),
        _ => many(filters),
    }
}

/// Words that stand for something else where an attribute is expected.
pub(super) const RESERVED: [&str; 5] = ["and", "or", "not", "has", "empty"];

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
        assert!(matches!(&all[1], Filter::Not(f) if **f == Filter::equal(Name::fixed("c"), Value::text("it's"))));
    }

    #[test]
    fn subjects_reach_through_objects_and_into_maps() {
        let filter: Filter = "customer.site.names['sv'] like 'Lu%'".parse().unwrap();
        let Filter::Through { attribute, filter, .. } = filter else { panic!("{filter:?}") };
        assert_eq!(attribute, "customer");
        let Filter::Through { attribute, filter, .. } = *filter else { panic!("{filter:?}") };
        assert_eq!(attribute, "site");
        assert!(matches!(*filter, Filter::Where(Condition { key: Some(key), .. }) if key == "sv"));
        assert_eq!("text = 'x'".parse::<Filter>().unwrap(), Filter::equal(Name::fixed("text"), Value::text("x")));
        assert!(matches!("text 'x'".parse::<Filter>().unwrap(), Filter::Text(_)));
    }

    #[test]
    fn now_is_where_time_is_counted_from() {
        let day = 86_400_000_000;
        let relative = |from, to| Filter::Where(Condition { attribute: Name::fixed("due"), key: None, test: Test::FromNow { from, to } });
        for (text, from, to) in [
            ("due < now", Bound::Unbounded, Bound::Excluded(0)),
            ("due <= now + 2d", Bound::Unbounded, Bound::Included(2 * day)),
            ("due > now-1d", Bound::Excluded(-day), Bound::Unbounded),
            ("due between now - 1d and now + 1d", Bound::Included(-day), Bound::Included(day)),
        ] {
            assert_eq!(text.parse::<Filter>().unwrap(), relative(from, to), "{text}");
        }
        let bound = "due < now + 2d".parse::<Filter>().unwrap().at(5);
        assert_eq!(bound, format!("due < @{}", 5 + 2 * day).parse().unwrap());
    }

    #[test]
    fn errors_say_where() {
        for (text, at) in [
            ("a =", 4),
            ("= 1", 1),
            ("a = 1 b", 7),
            ("(a = 1", 7),
            ("a = 'x", 5),
            ("a ! 1", 3),
            ("A = 1", 1),
            ("a in 1", 6),
            ("a in (1", 8),
            ("a not = 1", 7),
            ("a matches '('", 11),
            ("a about '--'", 9),
            ("a = now", 5),
            ("a between 1 and x", 11),
            ("a between now and 1", 11),
            ("a < now + x", 11),
            ("a[x] = 1", 3),
            ("a..b = 1", 1),
        ] {
            assert_eq!(text.parse::<Filter>().unwrap_err().at, at, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_or_says_why(text in "[a-c=<>!()' #@0-9.\\[\\],+-]{0,60}") {
            if let Ok(filter) = text.parse::<Filter>() {
                // Whatever can be typed can be sent.
                crate::codec::encode(&crate::Query::all(Name::fixed("case")).and(filter)).unwrap();
            }
        }
    }
}
