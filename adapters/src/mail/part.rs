//! The MIME tree (RFC 2045, RFC 2046): where each part begins and ends.

use mail_parser::ContentType;

use super::{
    Limits, Refusal,
    fields::{FieldLimits, Fields},
    lines,
};

/// A part of a message, or the message itself; its bytes are still encoded.
#[derive(Debug)]
pub(super) struct Part<'x> {
    pub(super) fields: Fields,
    pub(super) body: &'x [u8],
    pub(super) media_type: MediaType,
    /// Empty unless the part is a multipart.
    pub(super) children: Vec<Self>,
}

/// `type/subtype`, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MediaType(String);

/// Reads the tree of one message, counting what it meets.
#[derive(Debug)]
pub(super) struct PartReader<'l> {
    limits: &'l Limits,
    parts: usize,
}

impl<'l> PartReader<'l> {
    pub(super) fn new(limits: &'l Limits) -> Self {
        Self { limits, parts: 0 }
    }

    /// Reads a whole message.
    pub(super) fn read_message<'x>(&mut self, bytes: &'x [u8]) -> Result<Part<'x>, Refusal> {
        self.read(bytes, self.limits.header_bytes_max, 0, MediaType::default())
    }

    /// Reads a part that lies inside `depth` multiparts and is of type `unnamed` if it does not say.
    fn read<'x>(&mut self, bytes: &'x [u8], section_bytes_max: usize, depth: usize, unnamed: MediaType) -> Result<Part<'x>, Refusal> {
        self.count_part()?;
        let (fields, body) = Fields::split(bytes, FieldLimits { section_bytes_max, field_bytes_max: self.limits.field_bytes_max })?;
        let content_type = fields.content_type(CONTENT_TYPE)?;
        let media_type = content_type.as_ref().map_or(unnamed, MediaType::from_content_type);
        let children = if media_type.is_multipart() {
            let boundary = content_type.as_ref().and_then(|named| named.attribute("boundary"));
            self.read_children(body, boundary, depth + 1, &media_type)?
        } else {
            Vec::new()
        };
        Ok(Part { fields, body, media_type, children })
    }

    fn read_children<'x>(
        &mut self,
        body: &'x [u8],
        boundary: Option<&str>,
        depth: usize,
        parent: &MediaType,
    ) -> Result<Vec<Part<'x>>, Refusal> {
        if depth > self.limits.depth_max {
            return Err(Refusal::TooDeep { limit: self.limits.depth_max });
        }
        let boundary = boundary.filter(|boundary| (1..=BOUNDARY_BYTES_MAX).contains(&boundary.len())).ok_or(Refusal::BadBoundary)?;
        self.split(body, boundary)?
            .into_iter()
            .map(|bytes| self.read(bytes, self.limits.part_header_bytes_max, depth, parent.unnamed_child()))
            .collect()
    }

    /// Cuts the body of a multipart at the lines that consist of its boundary (RFC 2046 section 5.1.1). What stands before the first
    /// and after the closing one is for readers without MIME.
    fn split<'x>(&self, body: &'x [u8], boundary: &str) -> Result<Vec<&'x [u8]>, Refusal> {
        let mut parts = Vec::new();
        let mut part_start = None;
        let mut rest = body;
        while !rest.is_empty() {
            let line_start = body.len() - rest.len();
            let (line, after) = lines::split_first(rest);
            rest = after;
            let Some(delimiter) = Delimiter::read(line, boundary) else {
                continue;
            };
            if let Some(start) = part_start {
                parts.push(part_before(body, start, line_start));
            }
            if delimiter == Delimiter::Close {
                return Ok(parts);
            }
            if parts.len() >= self.limits.parts_max {
                return Err(self.too_many_parts());
            }
            part_start = Some(body.len() - rest.len());
        }
        Err(Refusal::UnclosedMultipart { boundary: Refusal::excerpt(boundary) })
    }

    fn count_part(&mut self) -> Result<(), Refusal> {
        self.parts += 1;
        if self.parts > self.limits.parts_max {
            return Err(self.too_many_parts());
        }
        Ok(())
    }

    fn too_many_parts(&self) -> Refusal {
        Refusal::TooManyParts { limit: self.limits.parts_max }
    }
}

impl MediaType {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.0 == name
    }

    pub(super) fn is_multipart(&self) -> bool {
        self.0.starts_with("multipart/")
    }

    /// The type of a part inside this multipart that names none (RFC 2046 section 5.1.5).
    fn unnamed_child(&self) -> Self {
        if self.is("multipart/digest") { Self("message/rfc822".to_owned()) } else { Self::default() }
    }

    /// What a field names; a name that RFC 6838 does not allow becomes bytes of unknown meaning.
    fn from_content_type(named: &ContentType<'_>) -> Self {
        let name = format!("{}/{}", named.ctype(), named.subtype().unwrap_or_default());
        Self::parse(&name).unwrap_or_else(|| Self("application/octet-stream".to_owned()))
    }

    /// Reads `type/subtype`, as RFC 6838 section 4.2 allows it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let name = text.to_ascii_lowercase();
        let allowed = |char: char| char.is_ascii_alphanumeric() || "!#$&-^_.+".contains(char);
        let is_token = |token: &str| (1..=127).contains(&token.len()) && token.chars().all(allowed);
        let is_type = name.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype));
        is_type.then_some(Self(name))
    }
}

impl Default for MediaType {
    /// RFC 2045 section 5.2.
    fn default() -> Self {
        Self("text/plain".to_owned())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delimiter {
    Next,
    Close,
}

impl Delimiter {
    fn read(line: &[u8], boundary: &str) -> Option<Self> {
        let after = line.strip_prefix(b"--")?.strip_prefix(boundary.as_bytes())?;
        match after.trim_ascii_end() {
            b"" => Some(Self::Next),
            b"--" => Some(Self::Close),
            _ => None,
        }
    }
}

/// The bytes from `start` to the delimiter line at `end`; the line ending before a delimiter belongs to it.
fn part_before(body: &[u8], start: usize, end: usize) -> &[u8] {
    let part = &body[start..end];
    let part = part.strip_suffix(b"\n").unwrap_or(part);
    part.strip_suffix(b"\r").unwrap_or(part)
}

pub(super) const CONTENT_TYPE: &str = "Content-Type";

/// RFC 2046 section 5.1.1.
const BOUNDARY_BYTES_MAX: usize = 70;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Vec<String>, Refusal> {
        let limits = Limits { parts_max: 4, depth_max: 2, ..Limits::default() };
        let message = format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{body}");
        let message = PartReader::new(&limits).read_message(message.as_bytes()).map(|part| {
            let bodies = part.children.iter().map(|child| String::from_utf8_lossy(child.body).into_owned());
            bodies.collect()
        })?;
        Ok(message)
    }

    #[test]
    fn parts_lie_between_boundary_lines() {
        let body = "preamble\r\n--b\r\n\r\none --b\r\n--bb\r\n--b \t\r\n\r\ntwo\r\n\r\n--b--\r\n--b\r\n\r\nepilogue";
        assert_eq!(read(body).unwrap(), ["one --b\r\n--bb", "two\r\n"]);
    }

    #[test]
    fn empty_parts_are_parts() {
        assert_eq!(read("--b\r\n--b\r\n\r\n--b--").unwrap(), ["", ""]);
    }

    #[test]
    fn unclosed_multipart_is_refused() {
        let unclosed = Err(Refusal::UnclosedMultipart { boundary: "b".into() });
        assert_eq!(read("--b\r\n\r\none\r\n"), unclosed);
        assert_eq!(read(""), unclosed);
        // The outer boundary ends the inner multipart too early.
        let inner = "--b\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\nx\r\n--b--\r\n";
        assert_eq!(read(inner), Err(Refusal::UnclosedMultipart { boundary: "i".into() }));
    }

    #[test]
    fn parts_and_depth_are_bounded() {
        assert!(read(&format!("{}--b--", "--b\r\n\r\nx\r\n".repeat(3))).is_ok());
        assert_eq!(read(&format!("{}--b--", "--b\r\n\r\nx\r\n".repeat(4))), Err(Refusal::TooManyParts { limit: 4 }));
        let nested = |inner: &str| format!("--b\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n{inner}\r\n--i--\r\n--b--");
        assert!(read(&nested("\r\nx")).is_ok());
        assert_eq!(read(&nested("Content-Type: multipart/mixed; boundary=j\r\n\r\n--j--")), Err(Refusal::TooDeep { limit: 2 }));
    }

    #[test]
    fn multipart_without_usable_boundary_is_refused() {
        let limits = Limits::default();
        for parameter in ["", "; boundary=\"\"", &format!("; boundary={}", "b".repeat(71))] {
            let message = format!("Content-Type: multipart/mixed{parameter}\r\n\r\nx");
            let read = PartReader::new(&limits).read_message(message.as_bytes());
            assert_eq!(read.err(), Some(Refusal::BadBoundary), "{parameter}");
        }
    }

    #[test]
    fn digests_hold_messages() {
        let message = "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nFrom: x\r\n--b--";
        let limits = Limits::default();
        let part = PartReader::new(&limits).read_message(message.as_bytes()).unwrap();
        assert_eq!(part.children[0].media_type.as_str(), "message/rfc822");
    }
}
