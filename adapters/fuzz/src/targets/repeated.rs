//! The same few bytes over and over, as much of them as is let in: work that grows faster than its input does not end in time.

use caps_adapters::{
    mail::{Limits, Message},
    web::{accept, cookie, etag::Tags, form::Form, json, xml, xml_rpc::Call},
};

use super::{message::with_crlf, oracle::text, smtp};

/// The first byte says where the others stand.
pub(super) fn large(input: &[u8]) {
    let Some((&chosen, pattern)) = input.split_first().filter(|(_, pattern)| !pattern.is_empty()) else { return };
    let chosen = usize::from(chosen) % (PLACES.len() + READERS.len());
    match PLACES.get(chosen) {
        Some((size_bytes, before, after)) => {
            let repeated = with_crlf(&repeat(pattern, *size_bytes));
            let mail = [b"From: a@b.example\r\nMessage-ID: <1@b.example>\r\n", before.as_bytes(), &repeated, after.as_bytes()].concat();
            Message::parse(&mail, &Limits::default()).ok();
        }
        None => READERS[chosen - PLACES.len()](&repeat(pattern, BODY_BYTES)),
    }
}

/// The pattern, as often as it fits.
fn repeat(pattern: &[u8], size_bytes: usize) -> Vec<u8> {
    pattern.repeat(size_bytes / pattern.len())
}

/// As much as a quarter of what a request may hold; a reader that needs the square of it needs minutes.
const BODY_BYTES: usize = 256 * 1024;

/// A field may have 16 KiB, a header section 64.
const FIELD_BYTES: usize = 15 * 1024;
const SECTION_BYTES: usize = 60 * 1024;

/// How much, and what stands before it and behind it in a mail.
const PLACES: [(usize, &str, &str); 17] = [
    (BODY_BYTES, "\r\n", ""),
    (BODY_BYTES, "Content-Type: text/html\r\n\r\n", ""),
    (BODY_BYTES, "Content-Type: text/plain; format=flowed; delsp=yes\r\n\r\n", ""),
    (BODY_BYTES, "Content-Transfer-Encoding: quoted-printable\r\n\r\n", ""),
    (BODY_BYTES, "Content-Transfer-Encoding: base64\r\n\r\n", ""),
    (BODY_BYTES, "Content-Type: text/plain; charset=iso-2022-jp\r\n\r\n", ""),
    (BODY_BYTES, "Content-Type: text/plain; charset=utf-7\r\n\r\n", ""),
    (BODY_BYTES, "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n", "\r\n--x--"),
    (BODY_BYTES, "Content-Type: multipart/report; boundary=x\r\n\r\n--x\r\nContent-Type: message/delivery-status\r\n\r\n", "\r\n--x--"),
    (SECTION_BYTES, "", "\r\n\r\ntext"),
    (FIELD_BYTES, "Subject: ", "\r\n\r\ntext"),
    (FIELD_BYTES, "To: ", "\r\n\r\ntext"),
    (FIELD_BYTES, "Date: ", "\r\n\r\ntext"),
    (FIELD_BYTES, "References: ", "\r\n\r\ntext"),
    (FIELD_BYTES, "Content-Type: ", "\r\n\r\ntext"),
    (FIELD_BYTES, "Content-Disposition: attachment; ", "\r\n\r\ntext"),
    (FIELD_BYTES, "Auto-Submitted: ", "\r\n\r\ntext"),
];

const READERS: [fn(&[u8]); 7] = [
    |body| _ = xml::parse(body),
    |body| _ = xml::parse(&[b"<a ", body, b"/>"].concat()),
    |body| _ = Call::parse(&[b"<methodCall>", body, b"</methodCall>"].concat()),
    |body| _ = json::parse(body),
    |body| _ = Form::parse(body),
    |head| {
        let field = text(&head[..head.len().min(FIELD_BYTES)]);
        accept::takes_gzip(Some(&field));
        accept::media_type(Some(&field), &["text/html", "application/json"]);
        cookie::value([field.as_str()], "session");
        Tags::parse(&field).ok();
    },
    |stream| smtp::session(&[&[20, 7], stream].concat()),
];

pub(super) const PATTERNS: &[&[u8]] = &[
    b"\x01<div>a",
    b"\x02> a \n",
    b"\x07--x\n\n",
    b"\x07Content-Type: multipart/mixed; boundary=x\n\n--x\n",
    b"\x08Final-Recipient: a@b\nStatus: 5.1.1\n\n",
    b"\x09A: b\n",
    b"\x0a=?utf-8?q?a?= ",
    b"\x0a=?a?b?",
    b"\x0b\"a\" <a@b.example>, ",
    b"\x0e; a*0=b",
    b"\x11<a>",
    b"\x12a='b' ",
    b"\x14[1,",
    b"\x15a=%41&",
    b"\x16a/*;q=0.1,",
    b"\x17EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<b@c>\r\nDATA\r\n.\r\n",
];
