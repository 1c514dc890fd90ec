//! What is written is read again as it was meant, and nothing else.

use proptest::{prelude::*, test_runner::RngSeed};

use super::*;
use crate::mail::{Limits, Message};

fn draft() -> Draft {
    Draft {
        message_id: id("case-7.1@desk.example"),
        date: 1_000_000_000,
        from: mailbox("Nordpump Service", "desk@desk.example"),
        to: vec![mailbox("", "anna@example.org")],
        cc: Vec::new(),
        subject: "Re: pump P3".to_owned(),
        in_reply_to: None,
        references: Vec::new(),
        text: "Hello\n".to_owned(),
        attachments: Vec::new(),
        author: Author::Person,
    }
}

fn id(text: &str) -> MessageId {
    MessageId::parse(text).unwrap()
}

fn mailbox(name: &str, address: &str) -> Mailbox {
    Mailbox { name: (!name.is_empty()).then(|| name.to_owned()), address: address.to_owned() }
}

fn file(name: &str, media_type: &str, content: &[u8]) -> File {
    File { name: name.to_owned(), media_type: media_type.to_owned(), content: content.to_vec() }
}

fn compose(draft: &Draft) -> String {
    String::from_utf8(draft.compose().unwrap()).unwrap()
}

fn read_again(draft: &Draft) -> Message {
    let limits = Limits { message_bytes_max: MESSAGE_BYTES_MAX, ..Limits::default() };
    Message::parse(&draft.compose().unwrap(), &limits).unwrap()
}

#[test]
fn a_cut_subject_leaves_no_blank_line() {
    // 59 + 14 x 67 = 997 bytes in lines that are full, and a blank as the last that is kept.
    let subject = format!("{}{} y", "x".repeat(59), format!(" {}", "x".repeat(66)).repeat(14));
    let written = compose(&Draft { subject, ..draft() });
    let (header, _) = written.split_once("\r\n\r\n").unwrap();
    assert!(header.split("\r\n").all(|line| !line.trim().is_empty()), "{header}");
}

#[test]
fn message_is_written_in_full() {
    let draft = Draft {
        cc: vec![mailbox("Berg, \"Anna\"", "berg@example.org"), mailbox("P\u{e5}l", "pal@example.org")],
        in_reply_to: Some(id("2@example.org")),
        references: vec![id("1@example.org"), id("2@example.org")],
        author: Author::AutoReplied,
        ..draft()
    };
    assert_eq!(
        compose(&draft),
        "Date: Sun, 09 Sep 2001 01:46:40 +0000\r\nFrom: \"Nordpump Service\"\r\n <desk@desk.example>\r\nTo: <anna@example.org>\r\n\
         Cc: \"Berg, \\\"Anna\\\"\"\r\n <berg@example.org>,\r\n =?utf-8?q?P=C3=A5l?=\r\n <pal@example.org>\r\nSubject: Re: pump P3\r\n\
         Message-ID: <case-7.1@desk.example>\r\nIn-Reply-To: <2@example.org>\r\nReferences: <1@example.org>\r\n <2@example.org>\r\n\
         Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\nHello\r\n"
    );
    assert_eq!(draft.compose(), draft.compose());
    let message = read_again(&draft);
    assert!(message.auto_submitted);
    assert_eq!((message.sent_at, message.cc), (Some(draft.date), draft.cc));
}

#[test]
fn attachments_arrive_byte_for_byte() {
    let forwarded = compose(&draft());
    let draft = Draft {
        text: "p\u{e5}\n.\nFrom here".to_owned(),
        attachments: vec![
            file("../r\u{e4}knin\"g.csv", "Text/CSV", b"a;b\n1;2\r"),
            file("", "image/png", &[0, 255, 13, 10, 10]),
            file("fwd.eml", "message/rfc822", forwarded.as_bytes()),
            file("8bit.eml", "message/rfc822", "p\u{e5}\r\n".as_bytes()),
            file("empty", "application/pdf", b""),
        ],
        ..draft()
    };
    let message = read_again(&draft);
    let read: Vec<_> =
        message.attachments.iter().map(|file| (file.name.as_str(), file.media_type.as_str(), file.content.as_slice())).collect();
    assert_eq!(message.text, draft.text);
    assert_eq!(
        read,
        [
            ("r\u{e4}knin\"g.csv", "text/csv", &b"a;b\n1;2\r"[..]),
            ("unnamed", "image/png", &[0, 255, 13, 10, 10]),
            ("fwd.eml", "message/rfc822", forwarded.as_bytes()),
            ("8bit.eml", BYTES, "p\u{e5}\r\n".as_bytes()),
            ("empty", "application/pdf", b""),
        ]
    );
    assert!(message.attachments.iter().all(|file| !file.damaged));
    assert_eq!(draft.compose(), draft.compose(), "the boundary is no dice");
}

#[test]
fn nothing_begins_a_field() {
    let evil = "x\r\nBcc: eve@example.org\r\n\r\nbody\0\u{1b}";
    let shown = "x Bcc: eve@example.org body";
    let message = read_again(&Draft {
        from: mailbox(evil, "desk@desk.example"),
        to: vec![mailbox(evil, "anna@example.org")],
        subject: evil.to_owned(),
        attachments: vec![file(evil, "text/plain", b"")],
        ..draft()
    });
    assert_eq!(message.subject, shown);
    assert_eq!(message.from.name.as_deref(), Some(shown));
    assert_eq!(message.to, [mailbox(shown, "anna@example.org")]);
    assert_eq!(message.attachments[0].name, shown);
    assert_eq!(message.text, "Hello");
}

#[test]
fn what_a_program_goes_by_is_refused_if_it_is_wrong() {
    for address in ["", "anna", "a@b\r\nBcc: eve@c", "a@b>, <eve@c", "a b@c", "\"a\"@b", "a@b, eve@c", "a\0@b"] {
        let refused = Err(ComposeError::InvalidAddress { field: "To", address: address.to_owned() });
        assert_eq!(Draft { to: vec![mailbox("", address)], ..draft() }.compose(), refused, "{address:?}");
        let from = Draft { from: mailbox("", address), ..draft() }.compose();
        assert!(matches!(from, Err(ComposeError::InvalidAddress { field: "From", .. })));
    }
    for media_type in ["", "text", "text/plain; name=x", "text/plain\r\nX: y", "multipart/mixed", "Multipart/alternative"] {
        let composed = Draft { attachments: vec![file("x", media_type, b"")], ..draft() }.compose();
        assert!(matches!(composed, Err(ComposeError::InvalidMediaType { .. })), "{media_type:?}");
    }
    for seconds in [-1, i64::MIN, i64::MAX, 32_503_680_000] {
        assert_eq!(Draft { date: seconds, ..draft() }.compose(), Err(ComposeError::InvalidDate { seconds }));
    }
    assert!(Draft { date: 32_503_679_999, ..draft() }.compose().is_ok());
    let foreign = Draft { message_id: id("\u{e5}@b"), ..draft() }.compose();
    assert!(matches!(foreign, Err(ComposeError::InvalidMessageId { .. })));
}

#[test]
fn drafts_are_bounded() {
    let anna = mailbox("", "anna@example.org");
    let recipients = |count| Draft { to: vec![anna.clone(); count], ..draft() }.compose();
    assert_eq!(recipients(0), Err(ComposeError::NoRecipient));
    assert!(recipients(200).is_ok());
    assert_eq!(recipients(201), Err(ComposeError::TooMany { what: "recipients", limit: 200 }));
    let wordy = Draft { to: vec![mailbox(&"\u{e5}".repeat(128), "anna@example.org"); 30], ..draft() };
    assert_eq!(wordy.compose(), Err(ComposeError::TooLong { what: "To", limit: FIELD_BYTES_MAX }));
    let attachments = |count| Draft { attachments: vec![file("x", "text/plain", b"x"); count], ..draft() };
    assert_eq!(read_again(&attachments(50)).attachments.len(), 50);
    assert_eq!(attachments(51).compose(), Err(ComposeError::TooMany { what: "attachments", limit: 50 }));
    let huge = Draft { attachments: vec![file("x", "text/plain", &vec![0; MESSAGE_BYTES_MAX])], ..draft() };
    assert_eq!(huge.compose(), Err(ComposeError::TooLong { what: "message", limit: MESSAGE_BYTES_MAX }));
}

#[test]
fn long_threads_keep_their_root_and_their_end() {
    let references: Vec<_> = (0..100).map(|number| id(&format!("{number}@{}", "x".repeat(250)))).collect();
    let message = read_again(&Draft { references: references.clone(), ..draft() });
    assert_eq!(message.references.len(), 20);
    assert_eq!((message.references.first(), message.references.last()), (references.first(), references.last()));
    let foreign = Draft { references: vec![id("1@b"), id("\u{e5}@b")], in_reply_to: Some(id("\u{e5}@b")), ..draft() };
    let message = read_again(&foreign);
    assert_eq!((message.references, message.in_reply_to), (vec![id("1@b")], Vec::new()));
}

#[test]
fn addresses_beyond_ascii_stand_as_they_are() {
    let jose = mailbox("Jos\u{e9}", "jos\u{e9}@\u{e9}xample.example");
    assert_eq!(read_again(&Draft { to: vec![jose.clone()], ..draft() }).to, [jose]);
}

/// What grammars turn on.
const PIECES: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    "\0",
    "\t",
    " ",
    "  ",
    "=?utf-8?Q?x?=",
    "=?utf-8?B?w6U=?=",
    "=?",
    "?=",
    "=",
    "\"",
    "\\",
    "'",
    "%",
    "*",
    "(",
    ")",
    "<",
    ">",
    ",",
    ";",
    ":",
    "@",
    ".",
    "/",
    "--",
    "=_",
    "a",
    "word",
    "\u{e5}",
    "\u{65e5}\u{672c}",
    "\u{1f600}",
    "\u{202e}",
    "\u{1b}[31m",
    "\u{85}",
    "\u{2028}",
    "\u{fffd}",
    "\u{feff}",
    "e\u{301}",
    "Bcc: eve@example.org",
    "From ",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];

fn any_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![prop::sample::select(PIECES).prop_map(str::to_owned), any::<char>().prop_map(String::from), "[ -~]{0,20}"];
    prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

fn any_mailbox() -> impl Strategy<Value = Mailbox> {
    let local = "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~\u{e5}\u{65e5}-]{1,12}(\\.[a-z0-9=?_-]{1,8})?";
    let domain = "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?(\\.[a-z0-9\u{e9}]{2,6}){1,3}";
    (any_text(), local, domain).prop_map(|(name, local, domain)| mailbox(&name, &format!("{local}@{domain}")))
}

fn any_id() -> impl Strategy<Value = MessageId> {
    "[!-;=?-~]{1,60}@[!-;=?A-~]{1,60}".prop_filter_map("an identifier", |text| MessageId::parse(&text))
}

fn any_file() -> impl Strategy<Value = File> {
    let media_type =
        prop::sample::select(vec!["text/plain", "text/html", "text/calendar", "image/png", "message/rfc822", "application/x-1.y+z"]);
    (any_text(), media_type, prop::collection::vec(any::<u8>(), 0..200))
        .prop_map(|(name, media_type, content)| file(&name, media_type, &content))
}

fn any_draft() -> impl Strategy<Value = Draft> {
    let people = (any_mailbox(), prop::collection::vec(any_mailbox(), 1..4), prop::collection::vec(any_mailbox(), 0..3));
    let thread = (any_id(), prop::option::of(any_id()), prop::collection::vec(any_id(), 0..6));
    let content = (any_text(), any_text(), prop::collection::vec(any_file(), 0..4));
    let author = prop::sample::select(vec![Author::Person, Author::AutoReplied, Author::AutoGenerated]);
    (people, thread, content, author, 0..=32_503_679_999_i64).prop_map(|(people, thread, content, author, date)| Draft {
        message_id: thread.0,
        date,
        from: people.0,
        to: people.1,
        cc: people.2,
        subject: content.0,
        in_reply_to: thread.1,
        references: thread.2,
        text: content.1,
        attachments: content.2,
        author,
    })
}

/// A mailbox as a reader shows it.
fn shown(mailbox: &Mailbox) -> Mailbox {
    let mut name = printable(mailbox.name.as_deref().unwrap_or_default());
    cut(&mut name, NAME_BYTES_MAX);
    let (local, domain) = mailbox.address.rsplit_once('@').unwrap();
    Mailbox { name: (!name.is_empty()).then_some(name), address: format!("{local}@{}", domain.to_ascii_lowercase()) }
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(0x5322), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_is_read_again(draft in any_draft()) {
        let bytes = draft.compose();
        // The builder knows fewer domains than we do: punycode has rules of its own.
        if let Err(ComposeError::InvalidAddress { address, .. }) = &bytes {
            prop_assert!(!address.is_ascii(), "{address}");
            return Ok(());
        }
        let bytes = bytes.unwrap();
        prop_assert!(bytes.split(|byte| *byte == b'\n').all(|line| line.len() <= 999));
        let message = Message::parse(&bytes, &Limits::default());
        prop_assert!(message.is_ok(), "{:?}: {}", message, String::from_utf8_lossy(&bytes));
        let message = message.unwrap();
        prop_assert_eq!(&message.message_id, &draft.message_id);
        prop_assert_eq!(message.sent_at, Some(draft.date));
        prop_assert_eq!(&message.from, &shown(&draft.from));
        prop_assert_eq!(&message.to, &draft.to.iter().map(shown).collect::<Vec<_>>());
        prop_assert_eq!(&message.cc, &draft.cc.iter().map(shown).collect::<Vec<_>>());
        let mut subject = printable(&draft.subject);
        cut(&mut subject, SUBJECT_BYTES_MAX);
        prop_assert_eq!(&message.subject, &subject);
        prop_assert_eq!(&message.in_reply_to, &draft.in_reply_to.iter().cloned().collect::<Vec<_>>());
        prop_assert_eq!(&message.references, &draft.references);
        prop_assert_eq!(&message.text, &tidy(&draft.text));
        prop_assert_eq!(message.auto_submitted, draft.author != Author::Person);
        prop_assert_eq!(message.attachments.len(), draft.attachments.len());
        for (read, file) in message.attachments.iter().zip(&draft.attachments) {
            prop_assert_eq!(&read.content, &file.content);
            prop_assert_eq!(&read.name, &file_name(&file.name).unwrap_or_else(|| "unnamed".to_owned()));
        }
    }
}
