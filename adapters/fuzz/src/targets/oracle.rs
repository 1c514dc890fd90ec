//! What several targets hold their results to.

/// Whether a text holds nothing that a terminal or a page would obey.
pub(super) fn is_shown(text: &str) -> bool {
    !text.chars().any(|char| char.is_control() || turns_direction(char))
}

/// A text on one line, in at most so many bytes.
pub(super) fn assert_line(text: &str, bytes_max: usize) {
    assert!(text.len() <= bytes_max && is_shown(text), "{text:?}");
}

/// A text of several lines, in at most so many bytes.
pub(super) fn assert_lines(text: &str, bytes_max: usize) {
    let is_fine = text.split(['\n', '\t']).all(is_shown);
    assert!(text.len() <= bytes_max && is_fine, "{text:?}");
}

/// Asserts that each CR stands before an LF, and each LF behind a CR, and that no byte is NUL.
pub(super) fn assert_line_endings(bytes: &[u8]) {
    let text: Vec<u8> = bytes.to_vec();
    let alone = text.split(|byte| *byte == b'\n').rev().skip(1).any(|line| !line.ends_with(b"\r"));
    let inside = text.split(|byte| *byte == b'\n').any(|line| line.strip_suffix(b"\r").unwrap_or(line).contains(&b'\r'));
    let at_end = text.ends_with(b"\r");
    assert!(!alone && !inside && !at_end && !text.contains(&0), "{:?}", String::from_utf8_lossy(bytes));
}

/// The input as text, what is none replaced.
pub(super) fn text(input: &[u8]) -> String {
    String::from_utf8_lossy(input).into_owned()
}

fn turns_direction(char: char) -> bool {
    matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
