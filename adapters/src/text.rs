//! Words of strangers, made fit for people to read.

/// Removes what a person cannot see and a terminal or a page would obey: control characters, and the marks that turn the
/// direction of writing (U+202A to U+202E, U+2066 to U+2069), with which a name can show as another. Blanks become single ones.
pub(crate) fn printable(text: &str) -> String {
    let visible: String = text
        .chars()
        .map(|char| if char.is_whitespace() { ' ' } else { char })
        .filter(|char| !char.is_control() && !turns_direction(*char))
        .collect();
    visible.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Cuts a text to at most `bytes_max` bytes, at a character, and says whether anything was cut.
pub(crate) fn cut(text: &mut String, bytes_max: usize) -> bool {
    if text.len() <= bytes_max {
        return false;
    }
    let end = (0..=bytes_max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.truncate(end);
    true
}

/// Whether a character turns the direction of writing.
pub(crate) fn turns_direction(char: char) -> bool {
    matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_text_has_no_controls_and_single_blanks() {
        assert_eq!(printable(" a\tb\u{7}\r\n  c\u{202e}d "), "a b cd");
    }

    #[test]
    fn cutting_keeps_characters_whole() {
        let mut text = "åäö".to_owned();
        assert!(cut(&mut text, 3));
        assert_eq!(text, "å");
        assert!(!cut(&mut text, 2));
    }
}
