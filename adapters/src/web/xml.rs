//! XML that comes from strangers, read within bounds, and XML that is written.
//!
//! A document here is UTF-8, has no document type and so no entities but the five that everybody knows, and no processing instructions. Both
//! the bytes and the work are bounded: depth, attributes of an element, nodes. Namespace prefixes are part of names.

use std::fmt::Write as _;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// An element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// Its name, prefix included.
    pub name: String,
    /// Its attributes in their order, each name once.
    pub attributes: Vec<(String, String)>,
    /// The elements in it, in their order.
    pub elements: Vec<Self>,
    /// All text directly in it, joined.
    pub text: String,
}

/// Why something is no document that is taken here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// It is not UTF-8.
    #[error("a document is in UTF-8")]
    Encoding,
    /// It has a document type, which is where entities come from.
    #[error("a document has no DOCTYPE: entities are neither declared nor fetched here")]
    DocumentType,
    /// It refers to an entity that is none of the five.
    #[error("the entity &{0}; is not known: only lt, gt, amp, apos, quot and characters by number are")]
    Entity(String),
    /// A processing instruction.
    #[error("processing instructions are not taken")]
    Instruction,
    /// Too deep.
    #[error("elements are nested at most {DEPTH_MAX} deep")]
    Depth,
    /// Too many attributes.
    #[error("an element has at most {ATTRIBUTES_MAX} attributes")]
    Attributes,
    /// An attribute twice.
    #[error("the attribute {0:?} comes twice")]
    Twice(String),
    /// Too many nodes.
    #[error("a document has at most {NODES_MAX} elements and texts")]
    Nodes,
    /// Not one element around everything.
    #[error("a document is one element")]
    Root,
    /// Not well-formed.
    #[error("at byte {at}: {problem}")]
    Malformed {
        /// Where.
        at: u64,
        /// What.
        problem: String,
    },
}

/// Reads a document.
pub fn parse(bytes: &[u8]) -> Result<Element, XmlError> {
    let text = std::str::from_utf8(bytes).map_err(|_| XmlError::Encoding)?;
    if let Some((at, char)) = text.char_indices().find(|(_, char)| !is_character(*char)) {
        return Err(XmlError::Malformed { at: at as u64, problem: format!("the character {char:?} has no place in a document") });
    }
    let mut reader = Reader::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    reader.config_mut().expand_empty_elements = true;
    let mut open: Vec<Element> = Vec::new();
    let mut nodes = 0;
    loop {
        let at = reader.buffer_position();
        let malformed = |problem: String| XmlError::Malformed { at, problem };
        nodes += 1;
        if nodes > NODES_MAX {
            return Err(XmlError::Nodes);
        }
        match reader.read_event().map_err(|error| malformed(error.to_string()))? {
            Event::Start(_) if open.len() == DEPTH_MAX => return Err(XmlError::Depth),
            Event::Start(start) => open.push(element(&start, at)?),
            Event::End(_) => {
                let done = open.pop().ok_or(XmlError::Root)?;
                match open.last_mut() {
                    Some(parent) => parent.elements.push(done),
                    None => return rest(&mut reader).map(|()| done),
                }
            }
            Event::Text(part) => put(&mut open, &part.xml10_content())?,
            Event::CData(part) => put(&mut open, &part.xml10_content())?,
            Event::GeneralRef(reference) => put(&mut open, character(&reference)?.encode_utf8(&mut [0; 4]))?,
            // Elsewhere than at the beginning it is an instruction like any other.
            Event::Decl(_) if at > 0 => return Err(XmlError::Instruction),
            Event::Decl(declaration) => match declaration.encoding() {
                None => {}
                Some(Ok(encoding)) if encoding.eq_ignore_ascii_case("utf-8") => {}
                Some(_) => return Err(XmlError::Encoding),
            },
            Event::Comment(_) => {}
            Event::DocType(_) => return Err(XmlError::DocumentType),
            Event::PI(_) => return Err(XmlError::Instruction),
            Event::Empty(_) | Event::Eof => return Err(XmlError::Root),
        }
    }
}

/// Behind the one element there are comments and white space at most.
fn rest(reader: &mut Reader<&[u8]>) -> Result<(), XmlError> {
    for _ in 0..NODES_MAX {
        match reader.read_event() {
            Ok(Event::Eof) => return Ok(()),
            Ok(Event::Comment(_)) => {}
            Ok(Event::Text(text)) if text.trim().is_empty() => {}
            _ => return Err(XmlError::Root),
        }
    }
    Err(XmlError::Nodes)
}

fn element(start: &BytesStart<'_>, at: u64) -> Result<Element, XmlError> {
    let mut element = Element { name: name_of(start.name().as_ref(), at)?, ..Element::default() };
    // What is checked below is checked for few attributes; the crate's own check looks at all.
    for attribute in start.attributes().with_checks(false) {
        if element.attributes.len() == ATTRIBUTES_MAX {
            return Err(XmlError::Attributes);
        }
        let attribute = attribute.map_err(|error| XmlError::Malformed { at, problem: error.to_string() })?;
        let name = name_of(attribute.key.as_ref(), at)?;
        if element.attribute(&name).is_some() {
            return Err(XmlError::Twice(name));
        }
        if attribute.value.contains('<') {
            return Err(XmlError::Malformed { at, problem: format!("the attribute {name:?} holds a <") });
        }
        element.attributes.push((name, unescaped(&attribute.value)?));
    }
    Ok(element)
}

/// A name, which quick-xml takes as it stands.
fn name_of(name: &str, at: u64) -> Result<String, XmlError> {
    if name.starts_with(begins_name) && name.chars().all(continues_name) {
        return Ok(name.to_owned());
    }
    let beginning: String = name.chars().take(40).collect();
    Err(XmlError::Malformed { at, problem: format!("{beginning:?} is not a name") })
}

fn put(open: &mut [Element], text: &str) -> Result<(), XmlError> {
    match open.last_mut() {
        Some(element) => {
            element.text.push_str(text);
            Ok(())
        }
        None if text.trim().is_empty() => Ok(()),
        None => Err(XmlError::Root),
    }
}

/// The text that the value of an attribute stands for: what ends a line is a blank, unless it is written as a reference (XML 1.0, section 3.3.3).
fn unescaped(text: &str) -> Result<String, XmlError> {
    let text = text.replace("\r\n", " ").replace(['\r', '\n', '\t'], " ");
    let mut parts = text.split('&');
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(';').ok_or_else(|| XmlError::Entity(part.chars().take(20).collect()))?;
        whole.push(character(name)?);
        whole.push_str(rest);
    }
    Ok(whole)
}

/// The character that a reference stands for.
fn character(name: &str) -> Result<char, XmlError> {
    let unknown = || XmlError::Entity(name.chars().take(20).collect());
    let Some(number) = name.strip_prefix('#') else {
        return match name {
            "lt" => Ok('<'),
            "gt" => Ok('>'),
            "amp" => Ok('&'),
            "apos" => Ok('\''),
            "quot" => Ok('"'),
            _ => Err(unknown()),
        };
    };
    let number = match number.strip_prefix('x') {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => number.parse(),
    };
    number.ok().and_then(char::from_u32).filter(|c| is_character(*c)).ok_or_else(unknown)
}

/// Whether a character may stand in a document at all (XML 1.0, section 2.2).
fn is_character(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// XML 1.0, section 2.3.
fn begins_name(c: char) -> bool {
    let is_letter = matches!(c, '\u{c0}'..='\u{2ff}' | '\u{370}'..='\u{1fff}' | '\u{200c}' | '\u{200d}' | '\u{2070}'..='\u{218f}')
        || matches!(c, '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}' | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}' | '\u{10000}'..='\u{effff}');
    c.is_ascii_alphabetic() || matches!(c, ':' | '_') || (is_letter && !matches!(c, '\u{d7}' | '\u{f7}' | '\u{37e}'))
}

fn continues_name(c: char) -> bool {
    begins_name(c) || c.is_ascii_digit() || matches!(c, '-' | '.' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}' | '\u{2040}')
}

impl Element {
    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The only element of this name in it.
    pub fn only(&self, name: &str) -> Option<&Self> {
        let mut found = self.elements.iter().filter(|element| element.name == name);
        found.next().filter(|_| found.next().is_none())
    }
}

/// A document that is being written. Elements are closed by whoever opens them, by construction.
#[derive(Clone, Debug)]
pub struct Writer {
    text: String,
}

impl Writer {
    /// A document with nothing in it yet.
    pub fn new() -> Self {
        Self { text: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned() }
    }

    /// An element with attributes and what `inside` writes.
    pub fn element<'a>(&mut self, name: &str, attributes: impl IntoIterator<Item = (&'a str, &'a str)>, inside: impl FnOnce(&mut Self)) {
        self.text.push('<');
        self.text.push_str(name);
        for (attribute, value) in attributes {
            self.text.push(' ');
            self.text.push_str(attribute);
            self.text.push_str("=\"");
            escape(value, &mut self.text);
            self.text.push('"');
        }
        self.text.push('>');
        let begun = self.text.len();
        inside(self);
        if self.text.len() == begun {
            self.text.pop();
            self.text.push_str("/>");
            return;
        }
        write!(self.text, "</{name}>").expect("writing to a string does not fail");
    }

    /// An element with nothing but text in it.
    pub fn leaf(&mut self, name: &str, text: &str) {
        self.element(name, [], |writer| writer.text(text));
    }

    /// Text.
    pub fn text(&mut self, text: &str) {
        escape(text, &mut self.text);
    }

    /// The document.
    pub fn finish(self) -> String {
        self.text
    }
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

/// Characters that no document can hold become U+FFFD, so that whatever people wrote, the document is one.
fn escape(text: &str, into: &mut String) {
    for c in text.chars() {
        match c {
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            '&' => into.push_str("&amp;"),
            '"' => into.push_str("&quot;"),
            '\'' => into.push_str("&apos;"),
            // As they are they would become spaces and line feeds.
            '\r' => into.push_str("&#13;"),
            '\t' => into.push_str("&#9;"),
            '\n' => into.push_str("&#10;"),
            c if is_character(c) => into.push(c),
            _ => into.push('\u{fffd}'),
        }
    }
}

/// Elements within each other.
pub const DEPTH_MAX: usize = 32;

/// Attributes of one element.
pub const ATTRIBUTES_MAX: usize = 16;

/// Elements, their ends, texts and references of one document.
pub const NODES_MAX: usize = 200_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn documents_are_read_as_they_are_meant() {
        let read = parse(
            b"\xef\xbb\xbf<?xml version='1.0' encoding='utf-8'?><!-- a --><a x='1 &lt; &#50;' y=\"\"> b<c/>&amp;<![CDATA[<d>]]></a>\n",
        )
        .unwrap();
        assert_eq!((read.name.as_str(), read.text.as_str(), read.elements.len()), ("a", " b&<d>", 1));
        assert_eq!((read.attribute("x"), read.attribute("y"), read.attribute("z")), (Some("1 < 2"), Some(""), None));
        let read = parse(b"<a x='1\r\n2\t3\n&#10;&#9;'>\r\n</a>").unwrap();
        assert_eq!((read.attribute("x"), read.text.as_str()), (Some("1 2 3 \n\t"), "\n"));
    }

    #[test]
    fn hostile_documents_are_refused_with_a_reason() {
        let attributes: String = (0..100_000).map(|number| format!(" a{number}='x'")).collect();
        let table = [
            ("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>".to_owned(), XmlError::DocumentType),
            ("<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>".to_owned(), XmlError::DocumentType),
            ("<a>&b;</a>".to_owned(), XmlError::Entity("b".to_owned())),
            ("<a>&#0;</a>".to_owned(), XmlError::Entity("#0".to_owned())),
            ("<a b='&c;'/>".to_owned(), XmlError::Entity("c".to_owned())),
            ("<a>".repeat(100_000), XmlError::Depth),
            (format!("<a{attributes}/>"), XmlError::Attributes),
            ("<a b='1' b='2'/>".to_owned(), XmlError::Twice("b".to_owned())),
            (format!("<a>{}</a>", "<b/>".repeat(NODES_MAX)), XmlError::Nodes),
            ("<a/><b/>".to_owned(), XmlError::Root),
            ("<a/>x".to_owned(), XmlError::Root),
            ("x<a/>".to_owned(), XmlError::Root),
            ("<a><?b c?></a>".to_owned(), XmlError::Instruction),
            ("<a><?xml version='1.0'?></a>".to_owned(), XmlError::Instruction),
            (" <?xml version='1.0'?><a/>".to_owned(), XmlError::Instruction),
            ("<?xml version='1.0' encoding='latin1'?><a/>".to_owned(), XmlError::Encoding),
            (String::new(), XmlError::Root),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text.as_bytes()), Err(expected));
        }
        for text in ["<a", "<a></b>", "<a>&", "<a>", "<a b=c/>", "</a>", "<a b/>"] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(parse(b"<a>\xff</a>"), Err(XmlError::Encoding));
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        for (text, complaint) in [
            ("<a>\0</a>", "at byte 3: the character '\\0' has no place in a document"),
            ("<a b='\u{1}'/>", "has no place"),
            ("<a>\u{ffff}</a>", "has no place"),
            ("<a/ >x</a/>", "\"a/\" is not a name"),
            ("<1/>", "\"1\" is not a name"),
            ("<a\u{d7}/>", "is not a name"),
            ("<a b&='d'/>", "is not a name"),
            ("<a b='<'/>", "the attribute \"b\" holds a <"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(complaint), "{text}: {error}");
        }
        assert_eq!(parse("<n:\u{e5}-1.x _='1'/>".as_bytes()).map(|read| read.name), Ok("n:\u{e5}-1.x".to_owned()));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

        #[test]
        fn whatever_is_written_reads_back(text in "\\PC{0,20}[<>&\"'\t\n]{0,4}", value in "\\PC{0,20}[<>&\"'\n]{0,4}") {
            let mut writer = Writer::new();
            writer.element("a", [("b", value.as_str())], |writer| writer.leaf("c", &text));
            let read = parse(writer.finish().as_bytes()).unwrap();
            prop_assert_eq!(read.attribute("b"), Some(value.as_str()));
            prop_assert_eq!(&read.elements[0].text, &text);
        }

        #[test]
        fn no_text_makes_it_fall(text in "[<>/&;#x!\\[\\]\\-?='a \n]{0,60}", bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            parse(text.as_bytes()).ok();
            parse(&bytes).ok();
        }

        #[test]
        fn control_characters_do_not_break_a_document(text in any::<String>()) {
            let mut writer = Writer::new();
            writer.leaf("a", &text);
            prop_assert!(parse(writer.finish().as_bytes()).is_ok());
        }
    }
}
