//! Mail that comes: the session, and the addresses in it.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use caps_adapters::mail::{
    Limits, Message, Refusal,
    smtp::{Address, Decision, Destinations, Domain, Objection, Output, Received, Session, Settings, Tls},
};

use super::oracle::{assert_line, assert_line_endings, text};

/// The first byte chooses the server, the second how the rest is cut into pieces.
pub(super) fn session(input: &[u8]) {
    let &[flags, cut, ref stream @ ..] = input else { return };
    let settings = Arc::new(settings(flags));
    if settings.tls == Tls::Off {
        let whole = talk(&settings, stream, &mut stream.chunks(WHOLE_BYTES), false);
        check(&whole, stream, &settings);
        let pieces = talk(&settings, stream, &mut Pieces { rest: stream, seed: cut }, flags & EAGER != 0);
        assert_eq!(whole, pieces, "the same bytes in other pieces");
    } else {
        // What comes with STARTTLS in one piece ends the session, so that pieces make a difference.
        let lines = talk(&settings, stream, &mut stream.split_inclusive(|byte| *byte == b'\n'), false);
        check(&lines, stream, &settings);
    }
}

/// Reads an address, and has a session read it again.
pub(super) fn address(input: &[u8]) {
    let given = text(input);
    if let Some(domain) = Domain::parse(&given) {
        assert_line(domain.as_str(), 255);
        assert_eq!(Domain::parse(domain.as_str()), Some(domain));
    }
    let Some(address) = Address::parse(&given) else { return };
    assert_line(address.as_str(), 254);
    assert_eq!(format!("{}@{}", address.local(), address.domain()), address.as_str());
    assert_eq!(Address::parse(address.as_str()), Some(address.clone()));
    let stream = format!("EHLO c\r\nMAIL FROM:<{address}> SMTPUTF8\r\nRCPT TO:<{address}>\r\nDATA\r\n.\r\n");
    let settings = Arc::new(Settings::new(host_name(), Destinations::everybody()));
    let outputs = talk(&settings, stream.as_bytes(), &mut stream.as_bytes().chunks(WHOLE_BYTES), false);
    let envelope = outputs.iter().find_map(|output| if let Output::Mail(envelope, _) = output { Some(envelope) } else { None });
    let envelope = envelope.expect("what is an address is one in a session");
    assert_eq!(envelope.reverse_path.as_ref(), Some(&address));
    assert_eq!(envelope.recipients, [address]);
}

fn settings(flags: u8) -> Settings {
    let here = Domain::parse("here.example").expect("it is a domain");
    let destinations = if flags & EVERYBODY != 0 { Destinations::everybody() } else { Destinations::default().domain(&here) };
    let mut settings = Settings::new(host_name(), destinations);
    settings.tls = if flags & WITH_TLS == 0 {
        Tls::Off
    } else if flags & REQUIRED == 0 {
        Tls::Offered
    } else {
        Tls::Required
    };
    settings.message_bytes_max = 1_000;
    if flags & SMALL != 0 {
        settings.message_bytes_max = 40;
        settings.recipients_max = 2;
        settings.mails_max = 2;
        settings.errors_max = 2;
        settings.idle_commands_max = 3;
    }
    settings
}

fn host_name() -> Domain {
    Domain::parse("mx.here.example").expect("it is a domain")
}

/// Talks to a session up to its end. With `is_slow`, a mail is decided on only after more bytes came.
fn talk<'s>(settings: &Arc<Settings>, stream: &'s [u8], pieces: &mut dyn Iterator<Item = &'s [u8]>, is_slow: bool) -> Vec<Output> {
    let mut talk = Talk { session: Session::new(settings.clone(), IpAddr::V4(Ipv4Addr::LOCALHOST)), outputs: Vec::new(), undecided: None };
    talk.follow(is_slow, settings);
    for piece in pieces {
        let was_undecided = talk.undecided.is_some();
        talk.session.handle_bytes(piece);
        talk.follow(is_slow, settings);
        if was_undecided {
            talk.decide();
            talk.follow(is_slow, settings);
        }
    }
    while talk.undecided.is_some() {
        talk.decide();
        talk.follow(is_slow, settings);
    }
    if stream.len().is_multiple_of(2) {
        talk.session.handle_timeout();
    } else {
        talk.session.handle_shutdown();
    }
    talk.follow(is_slow, settings);
    assert_eq!(talk.outputs.last(), Some(&Output::Close));
    talk.outputs
}

struct Talk {
    session: Session,
    /// What was put out, neighbouring bytes joined.
    outputs: Vec<Output>,
    undecided: Option<Decision>,
}

impl Talk {
    fn follow(&mut self, is_slow: bool, settings: &Settings) {
        while let Some(output) = self.session.poll_output() {
            assert!(self.outputs.last() != Some(&Output::Close), "nothing comes after the end");
            assert!(self.session.buffered_bytes() <= settings.message_bytes_max + 100 * 1024);
            match (output, self.outputs.last_mut()) {
                (Output::Send(bytes), Some(Output::Send(known))) => {
                    assert!(bytes.len() <= SEND_BYTES_MAX);
                    known.extend(bytes);
                }
                (output, _) => self.obey(output),
            }
            if !is_slow {
                self.decide();
            }
        }
        let is_closed = self.outputs.last() == Some(&Output::Close);
        assert_eq!(self.session.wants_bytes(), !is_closed && self.undecided.is_none());
        assert_eq!(self.session.next_timeout().is_some(), self.session.wants_bytes());
    }

    fn obey(&mut self, output: Output) {
        if let Output::Mail(_, content) = &output {
            assert!(self.undecided.is_none());
            self.undecided = Some(decision(content));
        }
        let starts_tls = output == Output::StartTls;
        self.outputs.push(output);
        if starts_tls {
            self.session.handle_tls_established();
        }
    }

    fn decide(&mut self) {
        if let Some(decision) = self.undecided.take() {
            self.session.handle_decision(&decision);
        }
    }
}

/// Says in the reply what the sender wrote: it must not become a second one.
fn decision(content: &[u8]) -> Decision {
    let why = text(content);
    match content.len() % 3 {
        0 => Decision::Accepted { note: why },
        1 => Decision::TryLater { why },
        _ => Decision::Refused { objection: Objection::Content, why },
    }
}

/// The rest, in pieces that a seed chooses.
struct Pieces<'s> {
    rest: &'s [u8],
    seed: u8,
}

impl<'s> Iterator for Pieces<'s> {
    type Item = &'s [u8];

    fn next(&mut self) -> Option<&'s [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        self.seed = self.seed.wrapping_mul(181).wrapping_add(97);
        let size = 1 + usize::from(self.seed >> 4);
        let (piece, rest) = self.rest.split_at(size.min(self.rest.len()));
        self.rest = rest;
        Some(piece)
    }
}

fn check(outputs: &[Output], stream: &[u8], settings: &Settings) {
    let mut replies = 0;
    for output in outputs {
        match output {
            Output::Send(bytes) => replies += check_replies(bytes),
            Output::Mail(envelope, content) => {
                assert!(content.len() <= settings.message_bytes_max);
                assert!((1..=settings.recipients_max).contains(&envelope.recipients.len()));
                assert!(envelope.recipients.iter().all(|known| envelope.recipients.iter().filter(|other| *other == known).count() == 1));
                check_content(content, stream);
                let id = text(content);
                let trace = Received { envelope, host_name: &settings.host_name, id: &id, at: i64::MAX }.to_string();
                check_trace(&trace);
            }
            Output::StartTls | Output::Close => {}
        }
    }
    // One reply a line, the greeting, and one that says why the session ends.
    let lines = stream.windows(2).filter(|bytes| bytes == b"\r\n").count() + 1;
    assert!(replies <= lines + 3, "{replies} replies to {lines} lines");
}

/// Counts the replies, each of which is whole.
fn check_replies(bytes: &[u8]) -> usize {
    let lines = bytes.strip_suffix(b"\r\n").expect("a reply ends in CRLF");
    let lines: Vec<&str> = str::from_utf8(lines).expect("replies are ASCII").split("\r\n").collect();
    for line in &lines {
        assert_line(line, 510);
        let (code, rest) = line.split_at(3);
        assert!(line.is_ascii() && code.bytes().all(|byte| byte.is_ascii_digit()) && rest.starts_with([' ', '-']), "{line:?}");
    }
    lines.iter().filter(|line| line[3..].starts_with(' ')).count()
}

/// A mail is what stands between a line `DATA` and the first line of a single dot behind it, by a reader of its own that knows CRLF and nothing else.
fn check_content(content: &[u8], stream: &[u8]) {
    assert_line_endings(content);
    assert!(content.is_empty() || content.ends_with(b"\r\n"));
    let lines = split_lines(stream);
    let mut kept = split_lines(content);
    kept.pop();
    let is_it = |end: &usize| {
        let Some(start) = end.checked_sub(kept.len()).filter(|start| *start > 0) else { return false };
        let undotted = |line: &[u8]| line.strip_prefix(b".").unwrap_or(line).to_vec();
        lines[start - 1].trim_ascii_end().eq_ignore_ascii_case(b"DATA")
            && lines[*end] == b"."
            && lines[start..*end].iter().zip(&kept).all(|(line, kept)| *line != b"." && undotted(line) == *kept)
    };
    assert!((0..lines.len()).any(|end| is_it(&end)), "the mail is none that was sent: {:?}", text(content));
    let refusal = Message::parse(content, &Limits::default()).err();
    assert!(
        !matches!(refusal, Some(Refusal::BareLineFeed { .. } | Refusal::BareCarriageReturn { .. } | Refusal::NulByte { .. })),
        "{refusal:?}"
    );
}

fn split_lines(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(2).position(|ending| ending == b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    lines
}

/// The trace is one field.
fn check_trace(trace: &str) {
    assert_line_endings(trace.as_bytes());
    let lines: Vec<&str> = trace.strip_suffix("\r\n").expect("the field is whole").split("\r\n").collect();
    assert!(lines[0].starts_with("Received: from ") && lines[1..].iter().all(|line| line.starts_with('\t') && !line.trim().is_empty()));
    lines.iter().for_each(|line| assert_line(line.trim_start(), 998));
}

const WITH_TLS: u8 = 1;
const REQUIRED: u8 = 2;
const EVERYBODY: u8 = 4;
const SMALL: u8 = 8;
const EAGER: u8 = 16;

/// All that an input holds.
const WHOLE_BYTES: usize = 1 << 16;

/// What is put out at once: no command is read while there are 4 KiB, and the answer to EHLO is the longest.
const SEND_BYTES_MAX: usize = 4 * 1024 + 1_024;

pub(super) const SESSIONS: &[&[u8]] = &[
    b"\x10\x05EHLO c.example\r\nMAIL FROM:<a@there.example> SIZE=100 BODY=8BITMIME\r\nRCPT TO:<b@here.example>\r\nRCPT TO:<postmaster>\r\nDATA\r\n\
      From: a@there.example\r\nMessage-ID: <1@there.example>\r\n\r\n..dot\r\n.\r\nQUIT\r\n",
    b"\x14\x09HELO [127.0.0.1]\r\nMAIL FROM:<>\r\nRCPT TO:<@a,@b:\"q q\"@[IPv6:::1]>\r\nDATA\r\n.x\r\n\r\n.\r\nRSET\r\nNOOP x\r\nVRFY x\r\nHELP\r\n",
    b"\x01\x00EHLO c\r\nSTARTTLS\r\nEHLO c\r\nMAIL FROM:<\xc3\xa4@b.example> SMTPUTF8\r\nRCPT TO:<b@here.example>\r\nDATA\r\nx\r\n.\r\n",
    b"\x0c\x31EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<b@c>\r\nDATA\r\nx\n.\nMAIL FROM:<x@y>\r\n.\r\nDATA\r\n\r\n.\rQUIT\r\n.\r\n",
    b"\x03\x01GET / HTTP/1.1\r\n",
];

pub(super) const ADDRESSES: &[&[u8]] =
    &[b"a.b+c@Example.ORG", b"\"q \\\" @ >\"@[192.0.2.1]", b"\xc3\xa4@[IPv6:2001:db8::1]", b"Postmaster@xn--a.example"];

pub(super) const WORDS: &[&str] = &[
    "EHLO c\r\n",
    "MAIL FROM:<a@b>",
    "RCPT TO:<b@here.example>\r\n",
    "DATA\r\n",
    "\r\n.\r\n",
    "\n.\n",
    "\r.\r",
    "\n.\r\n",
    "QUIT\r\n",
    "RSET\r\n",
    "STARTTLS\r\n",
    " SIZE=",
    " BODY=7BIT",
    " SMTPUTF8",
    "BDAT 5 LAST\r\n",
];
