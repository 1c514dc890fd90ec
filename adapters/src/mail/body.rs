//! What a person reads of a message, and what was attached to it.

use std::borrow::Cow;

use mail_parser::{
    ContentType,
    decoders::{base64::base64_decode, charsets::map::charset_decoder, quoted_printable::quoted_printable_decode},
};

use super::{
    Refusal, flowed, html,
    message::Attachment,
    part::{CONTENT_TYPE, Part},
};
use crate::text::{cut, printable, turns_direction};

/// The text and the attachments of a message.
#[derive(Debug, Default)]
pub(super) struct Body {
    /// The texts in their order, one a part.
    pub(super) texts: Vec<String>,
    /// Whether something in the texts could not be decoded.
    pub(super) damaged: bool,
    pub(super) attachments: Vec<Attachment>,
}

impl Body {
    /// Reads the tree. Of an alternative (RFC 2046 section 5.1.4) the plain text is taken, else the last that is text at all; of
    /// everything else, each part: texts to read are read, the others are attachments.
    pub(super) fn read(part: &Part<'_>) -> Result<Self, Refusal> {
        if part.media_type.is("multipart/alternative") {
            return Self::read_alternative(part);
        }
        let mut body = Self::default();
        if part.children.is_empty() {
            body.read_leaf(part)?;
        }
        for child in &part.children {
            body.append(Self::read(child)?);
        }
        Ok(body)
    }

    fn read_alternative(part: &Part<'_>) -> Result<Self, Refusal> {
        let mut chosen = Self::default();
        let mut chosen_is_plain = false;
        for child in &part.children {
            let read = Self::read(child)?;
            let is_plain = holds_plain_text(child);
            if !read.texts.is_empty() && (is_plain || !chosen_is_plain) {
                chosen.texts = read.texts;
                chosen.damaged = read.damaged;
                chosen_is_plain = is_plain;
            }
            chosen.attachments.extend(read.attachments);
        }
        Ok(chosen)
    }

    fn read_leaf(&mut self, part: &Part<'_>) -> Result<(), Refusal> {
        let leaf = Leaf::read(part)?;
        if leaf.is_to_read() {
            self.read_text(&leaf);
        } else if !part.media_type.as_str().starts_with("multipart/") {
            self.attachments.push(leaf.into_attachment());
        }
        Ok(())
    }

    fn read_text(&mut self, leaf: &Leaf<'_>) {
        let (text, damaged) = leaf.text();
        if !text.is_empty() {
            self.texts.push(text);
            self.damaged |= damaged;
        }
    }

    fn append(&mut self, other: Self) {
        self.texts.extend(other.texts);
        self.damaged |= other.damaged;
        self.attachments.extend(other.attachments);
    }
}

/// A part that is no multipart, its transfer encoding undone.
#[derive(Debug)]
struct Leaf<'p> {
    part: &'p Part<'p>,
    content_type: Option<ContentType<'p>>,
    name: Option<String>,
    is_attached: bool,
    bytes: Cow<'p, [u8]>,
    damaged: bool,
}

impl<'p> Leaf<'p> {
    fn read(part: &'p Part<'_>) -> Result<Self, Refusal> {
        let content_type = part.fields.content_type(CONTENT_TYPE)?;
        let disposition = part.fields.content_type("Content-Disposition")?;
        let encoding = part.fields.raw("Content-Transfer-Encoding")?.unwrap_or_default();
        let name = disposition
            .as_ref()
            .and_then(|disposition| disposition.attribute("filename"))
            .or_else(|| content_type.as_ref().and_then(|named| named.attribute("name")))
            .and_then(file_name);
        let decoded = decode_transfer(part.body, &encoding);
        Ok(Self {
            part,
            content_type,
            is_attached: name.is_some() || disposition.is_some_and(|disposition| disposition.is_attachment()),
            name,
            damaged: decoded.is_none(),
            bytes: decoded.unwrap_or(Cow::Borrowed(part.body)),
        })
    }

    fn is_to_read(&self) -> bool {
        (self.is_plain() || self.is_html()) && !self.is_attached
    }

    fn is_plain(&self) -> bool {
        self.part.media_type.is("text/plain")
    }

    fn is_html(&self) -> bool {
        self.part.media_type.is("text/html")
    }

    /// The text to read, and whether something in it could not be decoded.
    fn text(&self) -> (String, bool) {
        let (decoded, replaced) = decode_charset(&self.bytes, self.parameter("charset"));
        let text = if self.is_html() {
            html::text(&decoded)
        } else if self.parameter("format").eq_ignore_ascii_case("flowed") {
            flowed::unwrap(&decoded, self.parameter("delsp").eq_ignore_ascii_case("yes"))
        } else {
            decoded
        };
        (tidy(&text), replaced || self.damaged)
    }

    fn parameter(&self, name: &str) -> &str {
        self.content_type.as_ref().and_then(|named| named.attribute(name)).unwrap_or_default()
    }

    fn into_attachment(self) -> Attachment {
        let unnamed = || if self.part.media_type.is("message/rfc822") { "message.eml" } else { "unnamed" }.to_owned();
        Attachment {
            name: self.name.unwrap_or_else(unnamed),
            media_type: self.part.media_type.as_str().to_owned(),
            size_bytes: self.bytes.len(),
            content: self.bytes.into_owned(),
            damaged: self.damaged,
        }
    }
}

/// Whether a part is plain text, or a multipart that holds some.
fn holds_plain_text(part: &Part<'_>) -> bool {
    part.media_type.is("text/plain") || part.children.iter().any(holds_plain_text)
}

/// Undoes a transfer encoding (RFC 2045 section 6); `None` if the bytes are not so encoded or nobody knows how.
pub(super) fn decode_transfer<'x>(bytes: &'x [u8], encoding: &str) -> Option<Cow<'x, [u8]>> {
    match encoding.to_ascii_lowercase().as_str() {
        "" | "7bit" | "8bit" | "binary" => Some(Cow::Borrowed(bytes)),
        "base64" => base64_decode(bytes).map(Cow::Owned),
        "quoted-printable" => quoted_printable_decode(bytes).map(Cow::Owned),
        _ => None,
    }
}

/// The text in `bytes`, and whether something in it had to be replaced.
///
/// What calls itself ASCII, or nothing, is read as UTF-8: the first is a part of it, and senders who forget the name mean it. What is
/// not understood becomes U+FFFD.
fn decode_charset(bytes: &[u8], charset: &str) -> (String, bool) {
    let charset = charset.trim().to_ascii_lowercase();
    let decoder = match charset.as_str() {
        "" | "us-ascii" | "ascii" | "utf-8" | "utf8" => None,
        name => charset_decoder(name.as_bytes()),
    };
    let text = match decoder {
        Some(decode) => decode(bytes),
        None => String::from_utf8_lossy(bytes).into_owned(),
    };
    let replaced = text.contains(char::REPLACEMENT_CHARACTER);
    (text, replaced)
}

/// Lines ended by LF without blanks at their end, no control characters, no empty lines around, two at most in a row.
pub(super) fn tidy(text: &str) -> String {
    let mut tidied = String::with_capacity(text.len());
    let mut empty_lines = 0;
    for line in text.lines() {
        let line: String = line.chars().filter(|char| *char == '\t' || is_text(*char)).collect();
        let line = line.trim_end();
        if line.is_empty() {
            empty_lines += 1;
            continue;
        }
        if !tidied.is_empty() {
            tidied.extend(std::iter::repeat_n('\n', 1 + empty_lines.min(2)));
        }
        empty_lines = 0;
        tidied.push_str(line);
    }
    tidied
}

fn is_text(char: char) -> bool {
    !char.is_control() && !turns_direction(char)
}

/// The last component of a name that a sender chose, fit to be shown and to be a file's; `None` if nothing is left of it.
pub(super) fn file_name(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut name = printable(last);
    cut(&mut name, FILE_NAME_BYTES_MAX);
    (!name.is_empty() && !name.bytes().all(|byte| byte == b'.')).then_some(name)
}

/// What file systems take.
const FILE_NAME_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_tidied() {
        assert_eq!(tidy("\r\n a \u{1b}[31m\r\n\n\n\n\n\tb\u{202e}\r\n\r\n"), " a [31m\n\n\n\tb");
    }

    #[test]
    fn file_names_lose_their_folders() {
        assert_eq!(file_name("..\\..\\boot.ini").as_deref(), Some("boot.ini"));
        assert_eq!(file_name("/etc/pass\u{0}wd").as_deref(), Some("passwd"));
        for name in ["", "..", "a/", " \r\n "] {
            assert_eq!(file_name(name), None, "{name:?}");
        }
    }

    #[test]
    fn unknown_charsets_are_replaced_and_marked() {
        assert_eq!(decode_charset(b"p\xe5", "x-nobody-knows"), ("p\u{fffd}".to_owned(), true));
        assert_eq!(decode_charset(b"plain", "x-nobody-knows"), ("plain".to_owned(), false));
        assert_eq!(decode_charset("på".as_bytes(), "US-ASCII"), ("på".to_owned(), false));
        assert_eq!(decode_charset(b"\xa4", "ISO-8859-15"), ("€".to_owned(), false));
    }

    #[test]
    fn broken_transfer_encodings_are_told() {
        assert_eq!(decode_transfer(b"aGVq", "BASE64").as_deref(), Some(&b"hej"[..]));
        assert_eq!(decode_transfer(b"a=C3=A5", "Quoted-Printable").as_deref(), Some("aå".as_bytes()));
        assert_eq!(decode_transfer(b"~~~", "base64"), None);
        assert_eq!(decode_transfer(b"50 = half", "quoted-printable"), None);
        assert_eq!(decode_transfer(b"begin 644", "x-uuencode"), None);
    }
}
