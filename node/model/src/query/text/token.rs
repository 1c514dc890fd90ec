//! What a filter's text is made of.

use std::fmt;

use super::ParseFilterError;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Word(String),
    Quoted(String),
    Sign(&'static str),
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => write!(f, "'{word}'"),
            Self::Quoted(text) => write!(f, "the text '{text}'"),
            Self::Sign(sign) => write!(f, "'{sign}'"),
        }
    }
}

/// The tokens of a text, each with the character where it begins, counted from 1.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, ParseFilterError> {
    let characters: Vec<char> = text.chars().take(CHARACTERS_MAX + 1).collect();
    if characters.len() > CHARACTERS_MAX {
        return Err(ParseFilterError { at: CHARACTERS_MAX, problem: format!("a filter has at most {CHARACTERS_MAX} characters") });
    }
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&character) = characters.get(at) {
        let start = at;
        if character.is_whitespace() {
            at += 1;
            continue;
        }
        let (token, length) = if let Some(sign) = sign(&characters[start..]) {
            (Token::Sign(sign), sign.len())
        } else if character == '\'' {
            quoted(&characters, start)?
        } else {
            let word: String = characters[start..].iter().take_while(|c| is_of_word(**c)).collect();
            if word.is_empty() {
                let problem = format!("'{character}' does not start anything known here");
                return Err(ParseFilterError { at: start + 1, problem });
            }
            let length = word.chars().count();
            (Token::Word(word), length)
        };
        tokens.push((start + 1, token));
        at += length;
    }
    Ok(tokens)
}

/// Whether a character can stand in a word without quotes.
pub(super) fn is_of_word(character: char) -> bool {
    !character.is_whitespace() && !"()[],=!<>'".contains(character)
}

fn sign(characters: &[char]) -> Option<&'static str> {
    let stands = |sign: &&&str| sign.chars().enumerate().all(|(place, c)| characters.get(place) == Some(&c));
    SIGNS.iter().find(stands).copied()
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

/// Longer ones first.
const SIGNS: [&str; 11] = ["!=", "<=", ">=", "=", "<", ">", "(", ")", "[", "]", ","];

/// A filter that somebody types, or a program writes with a long list.
const CHARACTERS_MAX: usize = 100_000;
