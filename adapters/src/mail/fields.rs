//! The header section, split into fields.

use mail_parser::{Address, ContentType, DateTime, HeaderValue, parsers::MessageStream};

use super::{Refusal, lines};

/// The fields of one header section, in their order, unfolded.
#[derive(Debug)]
pub(super) struct Fields(Vec<Field>);

#[derive(Debug)]
struct Field {
    name: String,
    /// Unfolded, and ended by one LF, without which `mail-parser` finds nothing.
    value: Vec<u8>,
}

/// How long a header section may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct FieldLimits {
    pub(super) section_bytes_max: usize,
    pub(super) field_bytes_max: usize,
}

impl Fields {
    /// Splits a message or part into its fields and its body, at the first empty line. Without one, all is header.
    pub(super) fn split(bytes: &[u8], limits: FieldLimits) -> Result<(Self, &[u8]), Refusal> {
        let mut fields = Self(Vec::new());
        let mut rest = bytes;
        while !rest.is_empty() {
            let (line, after) = lines::split_first(rest);
            if bytes.len() - after.len() > limits.section_bytes_max {
                return Err(Refusal::HeaderTooLong { limit: limits.section_bytes_max });
            }
            rest = after;
            if line.is_empty() {
                break;
            }
            fields.push_line(line, limits.field_bytes_max)?;
        }
        for field in &mut fields.0 {
            field.value.push(b'\n');
        }
        Ok((fields, rest))
    }

    /// Splits as [`split`](Self::split) does, and leaves out what that refuses; what is too long ends the section. Always uses up something.
    pub(super) fn salvage(bytes: &[u8], limits: FieldLimits) -> (Self, &[u8]) {
        let mut fields = Self(Vec::new());
        let mut rest = bytes;
        while !rest.is_empty() {
            let (line, after) = lines::split_first(rest);
            rest = after;
            if line.is_empty() || bytes.len() - after.len() > limits.section_bytes_max {
                break;
            }
            fields.push_line(line, limits.field_bytes_max).ok();
        }
        for field in &mut fields.0 {
            field.value.push(b'\n');
        }
        (fields, rest)
    }

    /// The text of a field with its encoded words decoded (RFC 2047).
    pub(super) fn text(&self, name: &'static str) -> Result<Option<String>, Refusal> {
        let value = self.one(name)?;
        Ok(value.and_then(|value| match MessageStream::new(value).parse_unstructured() {
            HeaderValue::Text(text) => Some(text.into_owned()),
            _ => None,
        }))
    }

    /// The text of a field as it stands, blanks around it removed.
    pub(super) fn raw(&self, name: &'static str) -> Result<Option<String>, Refusal> {
        let value = self.one(name)?;
        Ok(value.map(|value| String::from_utf8_lossy(value.trim_ascii()).into_owned()))
    }

    /// The texts of all fields of a name as they stand, blanks around them removed.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = String> {
        let named = self.0.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| String::from_utf8_lossy(field.value.trim_ascii()).into_owned())
    }

    /// The text of the first field of a name, where a second one harms nobody.
    pub(super) fn first(&self, name: &str) -> Option<String> {
        self.all(name).next()
    }

    /// The addresses of a field; `None` inside if it holds none.
    pub(super) fn addresses(&self, name: &'static str) -> Result<Option<Option<Address<'_>>>, Refusal> {
        let value = self.one(name)?;
        Ok(value.map(|value| MessageStream::new(value).parse_address().into_address()))
    }

    /// The date of a field; `None` too if it is none.
    pub(super) fn date(&self, name: &'static str) -> Result<Option<DateTime>, Refusal> {
        let value = self.one(name)?;
        Ok(value.and_then(|value| MessageStream::new(value).parse_date().into_datetime()))
    }

    /// A type with parameters (RFC 2045, RFC 2183, RFC 2231); `None` too if it is none.
    pub(super) fn content_type(&self, name: &'static str) -> Result<Option<ContentType<'_>>, Refusal> {
        let value = self.one(name)?;
        Ok(value.and_then(|value| MessageStream::new(value).parse_content_type().into_content_type()))
    }

    fn push_line(&mut self, line: &[u8], field_bytes_max: usize) -> Result<(), Refusal> {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            let field = self.0.last_mut().ok_or_else(|| not_a_field(line))?;
            field.value.extend_from_slice(line);
            return field.check_size(field_bytes_max);
        }
        let (name, value) = split_name(line).ok_or_else(|| not_a_field(line))?;
        let field = Field { name: name.to_owned(), value: value.to_vec() };
        field.check_size(field_bytes_max)?;
        self.0.push(field);
        Ok(())
    }

    /// The value of a field that may be there once.
    fn one(&self, name: &'static str) -> Result<Option<&[u8]>, Refusal> {
        let mut found = self.0.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        let first = found.next();
        if found.next().is_some() {
            return Err(Refusal::Duplicate { field: name });
        }
        Ok(first.map(|field| field.value.as_slice()))
    }
}

impl Field {
    fn check_size(&self, limit: usize) -> Result<(), Refusal> {
        if self.name.len() + self.value.len() <= limit {
            return Ok(());
        }
        Err(Refusal::FieldTooLong { field: Refusal::excerpt(&self.name), limit })
    }
}

/// Splits the first line of a field into its name and the beginning of its value; `None` if it is none.
///
/// RFC 5322 section 2.2: a name is printable ASCII. A blank inside is an mbox line or a body without a header; blanks behind it are old
/// (section 4.5), and nothing else is a blank, since another reader would see a field of another name.
pub(super) fn split_name(line: &[u8]) -> Option<(&str, &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let name = str::from_utf8(&line[..colon]).ok()?.trim_end_matches([' ', '\t']);
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    is_name.then_some((name, &line[colon + 1..]))
}

fn not_a_field(line: &[u8]) -> Refusal {
    Refusal::NotAField { line: Refusal::excerpt(&String::from_utf8_lossy(line)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: FieldLimits = FieldLimits { section_bytes_max: 100, field_bytes_max: 60 };

    #[test]
    fn folds_are_opened_and_the_body_starts_after_the_empty_line() {
        let (fields, body) = Fields::split(b"Subject: one\r\n two\r\nX: y\r\n\r\nbody\r\n", LIMITS).unwrap();
        assert_eq!(fields.text("Subject").unwrap().as_deref(), Some("one two"));
        assert_eq!(fields.raw("x").unwrap().as_deref(), Some("y"));
        assert_eq!(body, b"body\r\n");
    }

    #[test]
    fn header_without_end_is_all_header() {
        let (fields, body) = Fields::split(b"Subject: cut", LIMITS).unwrap();
        assert_eq!(fields.text("Subject").unwrap().as_deref(), Some("cut"));
        assert!(body.is_empty());
    }

    #[test]
    fn lines_that_are_no_fields_are_refused() {
        // The last two end in what only some readers take for a blank.
        let table =
            [&b"no colon\r\n"[..], b" continued\r\n", b": x\r\n", b"From nobody 12:00\r\n", b"From\xc2\xa0: a@b\r\n", b"From\x0b: a@b\r\n"];
        for bytes in table {
            assert!(matches!(Fields::split(bytes, LIMITS), Err(Refusal::NotAField { .. })));
        }
    }

    #[test]
    fn long_sections_and_fields_are_refused() {
        let section = b"A: b\r\n".repeat(20);
        assert_eq!(Fields::split(&section, LIMITS).err(), Some(Refusal::HeaderTooLong { limit: 100 }));
        let field = format!("A: b\r\n {}\r\n", "x".repeat(60));
        assert!(matches!(Fields::split(field.as_bytes(), LIMITS), Err(Refusal::FieldTooLong { limit: 60, .. })));
    }
}
