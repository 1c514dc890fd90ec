//! Words and parameters of fields, encoded where they are not plain ASCII (RFC 2047, RFC 2231).

use super::compose::FOLD;

/// Writes a text as the value of an unstructured field, folded. It has no controls and no double blanks.
///
/// All of it is encoded or nothing: between an encoded word and a plain one readers differ in what a blank means. What looks like an
/// encoded word and is none is encoded, too, so that it is read as what was written.
pub(super) fn write(text: &str) -> String {
    if is_plain(text) { fold(text) } else { encode(text) }
}

/// Writes a text as a phrase: the name of a mailbox.
pub(super) fn write_phrase(text: &str) -> String {
    let is_short = text.len() <= LINE_BYTES_MAX;
    if is_plain(text) && is_short { format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")) } else { encode(text) }
}

/// Writes a parameter (RFC 2231), in sections if it is long, each on a line.
pub(super) fn write_parameter(name: &str, value: &str) -> String {
    let is_simple = |char: char| char.is_ascii_alphanumeric() || " .-_".contains(char);
    if value.len() <= WORD_BYTES_MAX && value.chars().all(is_simple) {
        return format!("{name}=\"{value}\"");
    }
    let sections = pieces(value, |char| if char.is_ascii_alphanumeric() { char.to_string() } else { hex(char, '%') });
    let charset = |number: usize| if number == 0 { "utf-8''" } else { "" };
    let written = sections.iter().enumerate().map(|(number, section)| format!("{name}*{number}*={}{section}", charset(number)));
    written.collect::<Vec<_>>().join(&format!(";{FOLD}"))
}

/// Whether a text can stand in a field as it is.
fn is_plain(text: &str) -> bool {
    let is_short = |word: &str| word.len() <= LINE_BYTES_MAX;
    text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && !text.contains("=?") && text.split(' ').all(is_short)
}

/// Ends lines at blanks.
fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    let mut line_bytes = 0;
    for word in text.split(' ') {
        if line_bytes + word.len() > LINE_BYTES_MAX {
            folded.push_str(FOLD);
            line_bytes = 0;
        } else if line_bytes > 0 {
            folded.push(' ');
        }
        folded.push_str(word);
        line_bytes += word.len() + 1;
    }
    folded
}

/// One encoded word a line, with the letters that one may show in a phrase (RFC 2047 section 5 (3)).
fn encode(text: &str) -> String {
    let words = pieces(text, |char| match char {
        ' ' => "_".to_owned(),
        char if char.is_ascii_alphanumeric() => char.to_string(),
        char => hex(char, '='),
    });
    words.iter().map(|word| format!("=?utf-8?q?{word}?=")).collect::<Vec<_>>().join(FOLD)
}

/// The encoded characters of a text in pieces that fit on a line; a character is never divided.
fn pieces(text: &str, encode: impl Fn(char) -> String) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    for char in text.chars() {
        let encoded = encode(char);
        if piece.len() + encoded.len() > WORD_BYTES_MAX {
            pieces.push(std::mem::take(&mut piece));
        }
        piece.push_str(&encoded);
    }
    pieces.push(piece);
    pieces
}

fn hex(char: char, mark: char) -> String {
    let mut bytes = [0; 4];
    char.encode_utf8(&mut bytes).bytes().map(|byte| format!("{mark}{byte:02X}")).collect()
}

/// What of a line is used: 76 characters (RFC 2047 section 2), less the name of the longest field that holds text.
const LINE_BYTES_MAX: usize = 66;

/// The same less `=?utf-8?q?` and `?=`.
const WORD_BYTES_MAX: usize = LINE_BYTES_MAX - 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays_and_the_rest_is_encoded() {
        assert_eq!(write("Re: pump P3 (urgent)"), "Re: pump P3 (urgent)");
        assert_eq!(write("p\u{e5} v\u{e4}g"), "=?utf-8?q?p=C3=A5_v=C3=A4g?=");
        assert_eq!(write("=?utf-8?q?a=0D=0ABcc:_x?="), "=?utf-8?q?=3D=3Futf=2D8=3Fq=3Fa=3D0D=3D0ABcc=3A=5Fx=3F=3D?=");
        assert_eq!(write_phrase("Berg, \"Anna\" \\"), "\"Berg, \\\"Anna\\\" \\\\\"");
    }

    #[test]
    fn parameters_are_quoted_or_encoded() {
        assert_eq!(write_parameter("filename", "pump 3.pdf"), "filename=\"pump 3.pdf\"");
        assert_eq!(write_parameter("filename", "a\"\u{e5}'"), "filename*0*=utf-8''a%22%C3%A5%27");
        let long = write_parameter("filename", &"x".repeat(255));
        assert!(long.split(FOLD).all(|line| line.len() <= 78) && long.contains(";\r\n filename*4*="), "{long}");
    }

    #[test]
    fn words_and_lines_are_short_and_characters_whole() {
        let written = write(&"\u{1f600}".repeat(100));
        for line in written.split(FOLD) {
            assert!(line.len() <= LINE_BYTES_MAX && line.matches("=F0=9F=98=80").count() * 12 == line.len() - 12, "{line}");
        }
        assert!(write(&"x".repeat(998)).split(FOLD).all(|line| line.len() <= LINE_BYTES_MAX));
        let long = "word ".repeat(100);
        let folded = write(long.trim_end());
        assert!(folded.split(FOLD).all(|line| line.len() <= LINE_BYTES_MAX && !line.ends_with(' ')));
        assert_eq!(folded.replace("\r\n", ""), long.trim_end());
    }
}
