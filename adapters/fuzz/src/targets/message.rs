//! Mail that was received: whole messages, and their pieces in a message around them.

use std::borrow::Cow;

use caps_adapters::mail::{
    DeliveryReport, Limits, Mailbox, Message, Refusal, Unreadable,
    smtp::{Address, Body, Domain, Envelope, Protocol, Received},
    with_message_id,
};

use super::oracle::{assert_line, assert_line_endings, assert_lines, text as lossy};

/// A whole message, as it lies in a file or as it comes over the network. Its length chooses what else is held against it: all would take three times as long.
pub(super) fn whole(input: &[u8]) {
    let limits = &[Limits::from_file(), Limits::default(), narrow()][input.len() % 3];
    match Message::parse(input, limits) {
        Ok(message) => check(&message, input, limits),
        Err(refusal) => check_refused(input, &refusal, limits),
    }
    match input.len() / 3 % 3 {
        0 => check_endings(input),
        1 => check_trace(input),
        _ => check_id(input),
    }
}

/// The value of one field, the first byte says which. Whatever it is, the other fields stay what they are.
pub(super) fn field(input: &[u8]) {
    let Some((&chosen, value)) = input.split_first() else { return };
    let name = FIELD_NAMES[usize::from(chosen) % FIELD_NAMES.len()];
    let value: Vec<u8> = value.iter().map(|byte| if matches!(byte, b'\r' | b'\n' | 0) { b' ' } else { *byte }).collect();
    let mut mail = Vec::new();
    for (known, usual) in [("From", "a@b.example"), ("Message-ID", "<1@b.example>")] {
        if known != name {
            mail.extend_from_slice(format!("{known}: {usual}\r\n").as_bytes());
        }
    }
    mail.extend_from_slice(format!("{name}:").as_bytes());
    mail.extend_from_slice(&value);
    mail.extend_from_slice(b"\r\n\r\ntext");
    let limits = Limits::default();
    let message = match Message::parse(&mail, &limits) {
        Ok(message) => message,
        Err(refusal) => return check_refused(&mail, &refusal, &limits),
    };
    check(&message, &mail, &limits);
    assert!(name == "From" || (message.from.address == "a@b.example" && message.from.name.is_none()));
    assert!(name == "Message-ID" || message.message_id.as_str() == "1@b.example");
    assert!(name == "To" || message.to.is_empty());
    assert!(name == "Cc" || message.cc.is_empty());
    assert!(name == "Subject" || message.subject.is_empty());
    assert!(name == "Date" || message.sent_at.is_none());
    assert!(name == "References" || message.references.is_empty());
    assert!(name == "In-Reply-To" || message.in_reply_to.is_empty());
    assert!(name.starts_with("Content-") || (message.text == "text" && message.attachments.is_empty()));
}

/// One text, the first byte says of what kind, the second in what character set.
pub(super) fn text(input: &[u8]) {
    let &[kind, charset, ref content @ ..] = input else { return };
    let (subtype, parameters) = KINDS[usize::from(kind) % KINDS.len()];
    let charset = CHARSETS[usize::from(charset) % CHARSETS.len()];
    let read = |encoding: &str, content: &[u8]| {
        let head = format!(
            "From: a@b.example\r\nMessage-ID: <1@b.example>\r\nContent-Type: text/{subtype}{parameters}; charset={charset}\r\n\
             Content-Transfer-Encoding: {encoding}\r\n\r\n"
        );
        let mail = [head.as_bytes(), content].concat();
        let message = Message::parse(&mail, &Limits::default()).expect("whatever a text holds is text");
        check(&message, &mail, &Limits::default());
        message
    };
    let plain = with_crlf(content);
    let encoding = ENCODINGS[usize::from(kind / 16) % ENCODINGS.len()];
    let as_it_is = read(encoding, &plain);
    assert!(as_it_is.text.len() <= plain.len() * 4 + 64);
    let encoded = read("quoted-printable", &quoted_printable(&plain));
    if encoding == "8bit" {
        assert_eq!(
            (as_it_is.text, as_it_is.text_damaged),
            (encoded.text.clone(), encoded.text_damaged),
            "a transfer encoding changes nothing"
        );
    }
    let again = format!("From: a@b.example\r\nMessage-ID: <1@b.example>\r\n\r\n{}", encoded.text.replace('\n', "\r\n"));
    let again = Message::parse(again.as_bytes(), &Limits::default()).expect("a text that was read can be read");
    assert_eq!(again.text, encoded.text, "what is tidy stays as it is");
}

/// A delivery report: what stands before the first byte 0xFF are its groups, the rest is the mail it is about.
pub(super) fn report(input: &[u8]) {
    let mut halves = input.splitn(2, |byte| *byte == 0xff);
    let (groups, original) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
    let head = b"From: postmaster@b.example\r\nMessage-ID: <1@b.example>\r\nContent-Type: multipart/report; boundary=\"=_b\"\r\n\r\n";
    let mail = [
        &head[..],
        b"--=_b\r\nContent-Type: message/delivery-status\r\n\r\n",
        &with_crlf(groups),
        b"\r\n--=_b\r\nContent-Type: text/rfc822-headers\r\n\r\n",
        &with_crlf(original),
        b"\r\n--=_b--\r\n",
    ]
    .concat();
    for limits in [Limits::default(), narrow()] {
        match Message::parse(&mail, &limits) {
            Ok(message) => {
                check(&message, &mail, &limits);
                assert!(message.auto_submitted || message.report.is_none());
            }
            Err(refusal) => check_refused(&mail, &refusal, &limits),
        }
    }
}

fn check(message: &Message, mail: &[u8], limits: &Limits) {
    assert_eq!(message.size_bytes, mail.len());
    assert!(mail.len() <= limits.message_bytes_max);
    assert_line(&message.subject, limits.subject_bytes_max);
    assert_lines(&message.text, limits.text_bytes_max);
    assert!(message.to.len() + message.cc.len() <= limits.recipients_max);
    [&message.from].into_iter().chain(&message.to).chain(&message.cc).for_each(check_mailbox);
    assert!(message.references.len() <= limits.references_max && message.in_reply_to.len() <= limits.references_max);
    for id in message.references.iter().chain(&message.in_reply_to).chain([&message.message_id]) {
        assert!(id.as_str().len() <= 255 && !id.as_str().contains(|char: char| char.is_control() || "<> ".contains(char)));
    }
    assert!(message.attachments.len() <= limits.parts_max);
    assert!(message.attachments.iter().map(|attachment| attachment.content.len()).sum::<usize>() <= mail.len());
    for attachment in &message.attachments {
        assert_line(&attachment.name, 255);
        assert!(!attachment.name.is_empty() && !attachment.name.contains(['/', '\\']) && attachment.name != "." && attachment.name != "..");
        assert_line(&attachment.media_type, 255);
        assert!(attachment.media_type.is_ascii() && attachment.size_bytes == attachment.content.len());
    }
    if let Some(report) = &message.report {
        check_report(report, limits);
    }
}

fn check_mailbox(mailbox: &Mailbox) {
    assert_line(&mailbox.address, 254);
    assert!(!mailbox.address.contains(char::is_whitespace));
    assert!(Address::parse(&mailbox.address).is_some(), "what a reply goes to can be named in SMTP: {:?}", mailbox.address);
    if let Some(name) = &mailbox.name {
        assert_line(name, 256);
        assert!(!name.is_empty());
    }
}

fn check_report(report: &DeliveryReport, limits: &Limits) {
    assert!(report.recipients.len() <= limits.recipients_max);
    for recipient in &report.recipients {
        assert_line(&recipient.address, 254);
        assert_line(&recipient.diagnostic, 500);
        assert!(recipient.status.is_none_or(|status| matches!(status.class, 2 | 4 | 5) && status.subject <= 999 && status.detail <= 999));
    }
}

/// What is said of a mail that was refused is fit to be shown, too.
fn check_refused(mail: &[u8], refusal: &Refusal, limits: &Limits) {
    assert!(refusal.to_string().len() <= 1_000);
    assert_eq!(Message::parse(mail, limits).as_ref(), Err(refusal));
    let described = Unreadable::describe(mail, refusal.clone(), &domain(), limits);
    assert_line(&described.subject, limits.subject_bytes_max);
    assert_lines(&described.beginning, 4_000);
    described.from.iter().for_each(check_mailbox);
}

/// A file whose lines end in LF says the same when they end in CRLF.
fn check_endings(mail: &[u8]) {
    if mail.contains(&b'\r') {
        return;
    }
    let Ok(file) = Message::parse(mail, &Limits::from_file()) else { return };
    let sent = Message::parse(&with_crlf(mail), &Limits::default()).expect("lines may end in CRLF");
    let outside = |message: &Message| Message { text: String::new(), attachments: Vec::new(), size_bytes: 0, ..message.clone() };
    assert_eq!(Message { text_damaged: file.text_damaged, text_cut: file.text_cut, ..outside(&sent) }, outside(&file));
    let names = |message: &Message| message.attachments.iter().map(|file| (file.name.clone(), file.media_type.clone())).collect::<Vec<_>>();
    assert_eq!(names(&sent), names(&file));
    // Some character sets take an LF for half of a character.
    if mail.is_ascii() && !lossy(mail).contains("charset") {
        assert_eq!((sent.text, sent.text_damaged), (file.text, file.text_damaged));
    }
}

/// The trace that a server puts in front is one more hop, and changes nothing else.
fn check_trace(mail: &[u8]) {
    let Ok(message) = Message::parse(mail, &Limits::default()) else { return };
    let envelope = Envelope {
        reverse_path: None,
        recipients: vec![Address::parse("b@here.example").expect("it is an address")],
        client_name: "c.example".to_owned(),
        peer: [192, 0, 2, 1].into(),
        protocol: Protocol { is_extended: true, is_encrypted: false, is_international: false },
        body: Body::SevenBit,
    };
    let trace = Received { envelope: &envelope, host_name: &domain(), id: "1", at: 0 }.to_string();
    let traced = [trace.as_bytes(), mail].concat();
    assert_line_endings(&traced);
    let expected = Message { hops: message.hops + 1, size_bytes: traced.len(), ..message };
    assert_eq!(Message::parse(&traced, &Limits::default()).as_ref(), Ok(&expected));
}

/// Whoever adds the identifier that is missing, and whoever reads it, agree on whether it is.
fn check_id(mail: &[u8]) {
    let named = with_message_id(mail, &domain());
    assert!(matches!(with_message_id(&named, &domain()), Cow::Borrowed(_)));
    match Message::parse(mail, &Limits::default()) {
        Ok(_) => assert!(matches!(named, Cow::Borrowed(_)), "a mail that has an identifier keeps it"),
        Err(Refusal::MissingMessageId) => {
            let refusal = Message::parse(&named, &Limits::default()).err();
            assert!(!matches!(
                refusal,
                Some(Refusal::MissingMessageId | Refusal::Duplicate { field: "Message-ID" } | Refusal::MalformedMessageId { .. })
            ));
        }
        Err(_) => {}
    }
}

fn domain() -> Domain {
    Domain::parse("here.example").expect("it is a domain")
}

/// Limits that short inputs meet.
fn narrow() -> Limits {
    Limits {
        header_bytes_max: 700,
        part_header_bytes_max: 100,
        field_bytes_max: 200,
        parts_max: 4,
        depth_max: 2,
        recipients_max: 2,
        references_max: 2,
        subject_bytes_max: 20,
        text_bytes_max: 60,
        ..Limits::from_file()
    }
}

/// Bytes that are lines as mail has them.
pub(super) fn with_crlf(bytes: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            0 | b'\r' => {}
            b'\n' => lines.extend_from_slice(b"\r\n"),
            byte => lines.push(*byte),
        }
    }
    lines
}

/// Each byte encoded, in short lines.
fn quoted_printable(bytes: &[u8]) -> Vec<u8> {
    let encode = |piece: &[u8]| piece.iter().map(|byte| format!("={byte:02X}")).collect::<String>();
    bytes.chunks(20).map(encode).collect::<Vec<_>>().join("=\r\n").into_bytes()
}

const FIELD_NAMES: [&str; 13] = [
    "Subject",
    "From",
    "To",
    "Cc",
    "References",
    "In-Reply-To",
    "Message-ID",
    "Date",
    "Content-Type",
    "Content-Disposition",
    "Content-Transfer-Encoding",
    "Auto-Submitted",
    "Precedence",
];

const KINDS: [(&str, &str); 4] = [("plain", ""), ("plain", "; format=flowed"), ("plain", "; format=flowed; delsp=yes"), ("html", "")];

const ENCODINGS: [&str; 3] = ["8bit", "base64", "quoted-printable"];

const CHARSETS: [&str; 12] = [
    "utf-8",
    "us-ascii",
    "iso-8859-1",
    "iso-8859-7",
    "windows-1252",
    "koi8-r",
    "utf-7",
    "utf-16",
    "shift_jis",
    "iso-2022-jp",
    "gb18030",
    "euc-kr",
];

pub(super) const WHOLE: &[&[u8]] = &[
    b"From: a@b.example\r\nMessage-ID: <1@b.example>\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\na\r\n--x\r\nContent-Type: text/html\r\n\r\n<p>b\r\n--x--\r\n",
    b"From: a@b.example\nContent-Type: text/plain; charset=iso-2022-jp; format=flowed\nContent-Transfer-Encoding: base64\n\nGyRCJCIbKEI=\n",
];

pub(super) const FIELDS: &[&[u8]] = &[
    b"\x00 =?utf-8?q?=C3=A4?= =?iso-2022-jp?B?GyRCJCIbKEI=?= b",
    b"\x01 \"Berg, Anna\" (c) <a@b.example>",
    b"\x02 team: a@b.example, =?utf-8?q?x?= <c@d.example>;, \"q\" <e@f.example>",
    b"\x04 <1@b.example> <2@b.example> prose <3@",
    b"\x07 Sun, 09 Sep 2001 01:46:40 +0000",
    b"\x08 multipart/mixed; boundary=\"x\"",
    b"\x08 text/plain; charset=utf-8; name*0*=utf-8''a%20; name*1=b",
    b"\x09 attachment; filename*=utf-8''%C3%A4.txt; filename=\"a\\\"b\"",
    b"\x0b auto-replied; x=y",
];

pub(super) const TEXTS: &[&[u8]] = &[
    b"\x00\x00Hello\n\n\n\n\nworld \t\n",
    b"\x01\x00> a \n> b \nc \n-- \nsig",
    b"\x02\x04>> a \n>> b \n d",
    b"\x03\x00<html><body><p>a&amp;b<br>c<table><tr><td>1</td><td>2</td></tr></table><script>x</script><!-- c --><a href=\"u\">l</a>",
    b"\x10\x00SGVsbG8=\n",
    b"\x20\x00a=C3=A4=\nb\n",
    b"\x00\x09\x1b$B$\"\x1b(B",
    b"\x00\x06+AOQ-",
];

pub(super) const REPORTS: &[&[u8]] = &[
    b"Reporting-MTA: dns; mx.example\n\nFinal-Recipient: rfc822; a@b.example\nAction: failed\nStatus: 5.1.1 (none)\nDiagnostic-Code: smtp; 550 no\n\n\
      Original-Recipient: rfc822;<c@d.example>\nStatus: 4.2.2\n\xffMessage-ID: <1@b.example>\nSubject: x\n",
];

pub(super) const WORDS: &[&str] = &[
    "From: a@b.example\r\n",
    "Message-ID: <1@b.example>\r\n",
    "Message-ID: <1@b.example>\n",
    "Content-Type: ",
    "Content-Transfer-Encoding: ",
    "Content-Disposition: attachment",
    "multipart/",
    "multipart/alternative",
    "multipart/report",
    "multipart/digest",
    "message/rfc822",
    "message/delivery-status",
    "text/html",
    "; boundary=",
    "; charset=",
    "; format=flowed",
    "; delsp=yes",
    "; name=",
    "filename*0*=utf-8''",
    "quoted-printable",
    "base64",
    "=?utf-8?q?",
    "=?utf-8?b?",
    "?=",
    "\r\n--x\r\n",
    "\r\n--x--",
    "undisclosed-recipients:;",
    "&amp;",
    "&#x",
    "<!--",
    "</p>",
    "\u{202e}",
    "\u{a0}",
    "\u{b}",
];
