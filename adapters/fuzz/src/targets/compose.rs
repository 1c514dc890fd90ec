//! Mail that goes out: whatever a draft says, what comes of it is read as one message that says the same.

use std::collections::BTreeSet;

use caps_adapters::mail::{Author, Draft, File, Limits, Mailbox, Message, MessageId, Signer, smtp::Domain};
use libfuzzer_sys::arbitrary::{Result, Unstructured};

use super::oracle::assert_line_endings;

/// A draft of any texts.
pub(super) fn compose(input: &[u8]) {
    if let Ok(draft) = draft(&mut Unstructured::new(input)) {
        check(&draft);
        // A signature takes ten times as long as all the rest.
        if input.len().is_multiple_of(16) {
            check_signed(&draft);
        }
    }
}

/// A signature is one more field.
fn check_signed(draft: &Draft) {
    let domain = Domain::parse("desk.example").expect("it is a domain");
    let signer = Signer::new(&domain, "s1", "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=").expect("it is a key");
    let (Ok(plain), Ok(signed)) = (draft.compose(), draft.compose_signed(Some(&signer))) else { return };
    check_form(&signed);
    let read = |bytes: &[u8]| Message::parse(bytes, &Limits::default()).map(|message| Message { size_bytes: 0, ..message });
    assert_eq!(read(&signed), read(&plain));
}

fn check(draft: &Draft) {
    let bytes = match draft.compose() {
        Ok(bytes) => bytes,
        Err(error) => return assert!(error.to_string().len() <= 1_200, "{error}"),
    };
    assert_eq!(draft.compose().as_ref(), Ok(&bytes), "the same draft gives the same bytes");
    check_form(&bytes);
    let message = Message::parse(&bytes, &Limits::default()).expect("what is written can be read");
    check_content(draft, &message);
    // What was read is written as what was written.
    let again = Draft {
        message_id: message.message_id.clone(),
        date: message.sent_at.expect("there is a date"),
        from: message.from.clone(),
        to: message.to.clone(),
        cc: message.cc.clone(),
        subject: message.subject.clone(),
        in_reply_to: message.in_reply_to.first().cloned(),
        references: message.references.clone(),
        text: message.text.clone(),
        attachments: message.attachments.iter().map(|file| self::file(&file.name, &file.media_type, &file.content)).collect(),
        author: draft.author,
    };
    let rewritten = again.compose().expect("what was read can be written");
    let reread = Message::parse(&rewritten, &Limits::default()).expect("what is written can be read");
    assert_eq!(Message { size_bytes: 0, ..reread }, Message { size_bytes: 0, ..message }, "what was read stays as it is");
}

/// Only the fields that were meant, each once; short lines, that end as lines do.
fn check_form(bytes: &[u8]) {
    assert_line_endings(bytes);
    let head = bytes.windows(4).position(|end| end == b"\r\n\r\n").expect("the header ends");
    let head = str::from_utf8(&bytes[..head]).expect("fields are text");
    let mut known = BTreeSet::new();
    for line in head.split("\r\n") {
        assert!(line.len() <= 998 && !line.trim().is_empty(), "{line:?}");
        if !line.starts_with([' ', '\t']) {
            let (name, _) = line.split_once(": ").expect("a field has a name");
            assert!(FIELDS.contains(&name) && known.insert(name), "{line:?}");
        }
    }
    assert!(bytes.split(|byte| *byte == b'\n').all(|line| line.len() <= 999));
}

fn check_content(draft: &Draft, message: &Message) {
    assert_eq!(message.message_id, draft.message_id);
    assert_eq!(message.sent_at, Some(draft.date));
    let addresses = |list: &[Mailbox]| list.iter().map(|mailbox| mailbox.address.to_ascii_lowercase()).collect::<Vec<_>>();
    assert_eq!(addresses(std::slice::from_ref(&message.from)), addresses(std::slice::from_ref(&draft.from)));
    assert_eq!(addresses(&message.to), addresses(&draft.to));
    assert_eq!(addresses(&message.cc), addresses(&draft.cc));
    assert_eq!(message.auto_submitted, draft.author != Author::Person);
    assert_eq!(message.in_reply_to, draft.in_reply_to.iter().filter(|id| id.as_str().is_ascii()).cloned().collect::<Vec<_>>());
    assert!(message.references.len() <= 20 && message.references.iter().all(|id| draft.references.contains(id)));
    if is_plain(&draft.subject) {
        assert_eq!(message.subject, draft.subject);
    }
    assert!(!message.text_cut);
    // Who sends the mark of damage is taken at his word.
    assert!(!message.text_damaged || draft.text.contains(char::REPLACEMENT_CHARACTER));
    assert_eq!(message.attachments.len(), draft.attachments.len());
    for (read, written) in message.attachments.iter().zip(&draft.attachments) {
        assert!(!read.damaged);
        assert_eq!(read.content, written.content);
        if is_plain(&written.name) && !written.name.contains(['/', '\\']) && !written.name.bytes().all(|byte| byte == b'.') {
            assert_eq!(read.name, written.name);
        }
    }
}

/// Whether a text of one line loses nothing when it is read.
fn is_plain(text: &str) -> bool {
    let is_visible =
        text.chars().all(|char| char == ' ' || (!char.is_whitespace() && super::oracle::is_shown(char.encode_utf8(&mut [0; 4]))));
    text.len() <= 200 && is_visible && text.split(' ').all(|word| !word.is_empty())
}

fn draft(from: &mut Unstructured<'_>) -> Result<Draft> {
    Ok(Draft {
        message_id: id(from)?.unwrap_or_else(|| MessageId::parse("1@desk.example").expect("it is an identifier")),
        date: if from.ratio(1, 8)? { from.arbitrary()? } else { 1_000_000_000 },
        from: mailbox(from)?,
        to: list(from, 3, mailbox)?,
        cc: list(from, 2, mailbox)?,
        in_reply_to: id(from)?,
        references: list(from, 30, |from| {
            Ok(id(from)?.unwrap_or_else(|| MessageId::parse("0@desk.example").expect("it is an identifier")))
        })?,
        author: *from.choose(&[Author::Person, Author::AutoReplied, Author::AutoGenerated])?,
        attachments: list(from, 2, |from| {
            let media_type = *from.choose(&["text/plain", "application/pdf", "message/rfc822", "multipart/mixed", ""])?;
            let media_type = if media_type.is_empty() { from.arbitrary()? } else { media_type };
            Ok(file(from.arbitrary()?, media_type, from.arbitrary()?))
        })?,
        subject: from.arbitrary::<&str>()?.to_owned(),
        text: from.arbitrary::<&str>()?.to_owned(),
    })
}

fn list<'a, T>(from: &mut Unstructured<'a>, count_max: usize, one: impl Fn(&mut Unstructured<'a>) -> Result<T>) -> Result<Vec<T>> {
    let count = from.int_in_range(0..=count_max)?;
    (0..count).map(|_| one(from)).collect()
}

fn mailbox(from: &mut Unstructured<'_>) -> Result<Mailbox> {
    let address = *from.choose(&["a@b.example", "A.B+c@D.example", "\u{e4}@\u{f6}.example", ""])?;
    let address = if address.is_empty() { from.arbitrary()? } else { address };
    Ok(Mailbox { name: from.arbitrary::<Option<&str>>()?.map(str::to_owned), address: address.to_owned() })
}

fn id(from: &mut Unstructured<'_>) -> Result<Option<MessageId>> {
    Ok(if from.ratio(1, 4)? { MessageId::parse(from.arbitrary()?) } else { None })
}

fn file(name: &str, media_type: &str, content: &[u8]) -> File {
    File { name: name.to_owned(), media_type: media_type.to_owned(), content: content.to_vec() }
}

const FIELDS: [&str; 13] = [
    "Date",
    "From",
    "To",
    "Cc",
    "Subject",
    "Message-ID",
    "In-Reply-To",
    "References",
    "Auto-Submitted",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "DKIM-Signature",
];
