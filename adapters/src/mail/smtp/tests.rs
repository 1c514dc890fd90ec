//! Conversations: what a client sends, and what it is told.

use std::{net::IpAddr, sync::Arc, time::Duration};

use proptest::{prelude::*, test_runner::RngSeed};

use super::*;

const MESSAGE_BYTES_MAX: usize = 2_000;

fn settings() -> Settings {
    let destinations = Destinations::default()
        .domain(&Domain::parse("desk.example").unwrap())
        .address(&Address::parse("support@nordpump.example").unwrap())
        .address(&Address::parse("stöd@nordpump.example").unwrap());
    Settings {
        message_bytes_max: MESSAGE_BYTES_MAX,
        recipients_max: 3,
        mails_max: 4,
        errors_max: 5,
        idle_commands_max: 8,
        ..Settings::new(Domain::parse("mx.desk.example").unwrap(), destinations)
    }
}

fn with_tls(tls: Tls) -> Settings {
    Settings { tls, ..settings() }
}

/// A session and all that came out of it.
struct Talk {
    session: Session,
    said: String,
    mails: Vec<(Envelope, Vec<u8>)>,
    decisions: Box<dyn Fn(usize) -> Decision>,
    tls: usize,
    is_closed: bool,
}

impl Talk {
    fn new(settings: Settings) -> Self {
        let peer: IpAddr = "192.0.2.7".parse().unwrap();
        let decisions = Box::new(|count: usize| Decision::Accepted { note: count.to_string() });
        let session = Session::new(Arc::new(settings), peer);
        let mut talk = Self { session, said: String::new(), mails: Vec::new(), decisions, tls: 0, is_closed: false };
        talk.drive();
        talk
    }

    /// Says some bytes, and obeys every output at once, but for TLS.
    fn send(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(READ_BYTES_MAX) {
            if self.session.wants_bytes() {
                self.session.handle_bytes(piece);
                self.drive();
            }
        }
    }

    fn drive(&mut self) {
        loop {
            self.assert_bounded();
            let Some(output) = self.session.poll_output() else {
                break;
            };
            assert!(!self.is_closed, "nothing comes after Close");
            match output {
                Output::Send(bytes) => self.said.push_str(&String::from_utf8(bytes).expect("replies are ASCII")),
                Output::StartTls => self.tls += 1,
                Output::Mail(envelope, content) => {
                    assert!(!self.session.wants_bytes() && self.session.next_timeout().is_none());
                    self.mails.push((*envelope, content));
                    let decision = (self.decisions)(self.mails.len());
                    self.session.handle_decision(&decision);
                }
                Output::Close => self.is_closed = true,
            }
        }
        assert!(!self.is_closed || (!self.session.wants_bytes() && self.session.buffered_bytes() == 0));
    }

    fn assert_bounded(&self) {
        let limit = MESSAGE_BYTES_MAX + 2 * READ_BYTES_MAX + 8 * 1024;
        assert!(self.session.buffered_bytes() <= limit, "{} bytes are held", self.session.buffered_bytes());
    }

    /// The codes of all replies, with their enhanced codes; a reply of several lines once.
    fn codes(&self) -> Vec<String> {
        self.said.lines().filter(|line| line.as_bytes()[3] == b' ').map(code_of).collect()
    }
}

fn code_of(line: &str) -> String {
    let mut words = line.splitn(3, ' ');
    let code = words.next().unwrap();
    let enhanced = words.next().filter(|word| word.len() > 4 && word.chars().all(|char| char.is_ascii_digit() || char == '.'));
    enhanced.map_or(code.to_owned(), |enhanced| format!("{code} {enhanced}"))
}

/// A session of these bytes, from its greeting on.
fn talk(bytes: &str) -> Talk {
    talk_within(settings(), bytes)
}

fn talk_within(settings: Settings, bytes: &str) -> Talk {
    let mut talk = Talk::new(settings);
    talk.send(bytes.as_bytes());
    talk
}

/// A conversation line by line, as `client line -> expected code`, after EHLO.
fn converse(settings: Settings, lines: &[(&str, &str)]) -> Talk {
    let mut talk = talk_within(settings, "EHLO client.example\r\n");
    for (line, expected) in lines {
        talk.said.clear();
        talk.send(format!("{line}\r\n").as_bytes());
        assert_eq!(talk.codes().join(", "), *expected, "{line}");
    }
    talk
}

const MAIL: &str = "MAIL FROM:<anna@example.org>";
const RCPT: &str = "RCPT TO:<case@desk.example>";

#[test]
fn greeting_and_extensions_are_told() {
    let plain = talk("EHLO client.example\r\n");
    assert_eq!(
        plain.said,
        "220 mx.desk.example ESMTP\r\n\
         250-mx.desk.example greets [192.0.2.7]\r\n250-PIPELINING\r\n250-SIZE 2000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n\
         250 ENHANCEDSTATUSCODES\r\n"
    );
    assert!(talk_within(with_tls(Tls::Offered), "EHLO client.example\r\n").said.ends_with("250 STARTTLS\r\n"));
    assert_eq!(talk("HELO client.example\r\n").said, "220 mx.desk.example ESMTP\r\n250 mx.desk.example greets [192.0.2.7]\r\n");
}

#[test]
fn mail_comes_out_with_its_envelope() {
    let talk = converse(
        settings(),
        &[
            ("MAIL FROM:<anna@example.org> SIZE=20 BODY=8BITMIME", "250 2.1.0"),
            ("RCPT TO:<case@Desk.example>", "250 2.1.5"),
            ("RCPT TO:<@relay.example:support@nordpump.example>", "250 2.1.5"),
            ("RCPT TO:<case@desk.example>", "250 2.1.5"),
            ("RCPT TO:<Postmaster>", "250 2.1.5"),
            ("DATA", "354"),
            ("Subject: x\r\n\r\n..p\u{e5}\r\n.", "250 2.0.0"),
            ("QUIT", "221 2.0.0"),
        ],
    );
    assert!(talk.is_closed);
    let (envelope, content) = &talk.mails[0];
    assert_eq!(content, "Subject: x\r\n\r\n.p\u{e5}\r\n".as_bytes());
    let recipients: Vec<_> = envelope.recipients.iter().map(Address::as_str).collect();
    assert_eq!(recipients, ["case@desk.example", "support@nordpump.example", "postmaster@mx.desk.example"]);
    assert_eq!(envelope.reverse_path.as_ref().map(Address::as_str), Some("anna@example.org"));
    assert_eq!(envelope.client_name, "client.example");
    assert_eq!((envelope.protocol.name(), envelope.body), ("ESMTP", Body::EightBitMime));
}

#[test]
fn pipelined_mails_are_answered_in_order() {
    let mail = format!("{MAIL}\r\n{RCPT}\r\nRCPT TO:<eve@elsewhere.example>\r\nDATA\r\none\r\n.\r\n");
    let talk = talk(&format!("EHLO client.example\r\n{mail}{mail}QUIT\r\nNOOP\r\n"));
    let once = ["250 2.1.0", "250 2.1.5", "550 5.7.1", "354", "250 2.0.0"];
    let expected: Vec<_> = ["220", "250"].iter().chain(&once).chain(&once).chain(&["221 2.0.0"]).copied().collect();
    assert_eq!(talk.codes(), expected);
    assert_eq!(talk.mails.len(), 2);
    assert!(talk.is_closed);
}

#[test]
fn nothing_is_read_before_a_mail_is_decided_on() {
    let mut session = Session::new(Arc::new(settings()), "192.0.2.7".parse().unwrap());
    session.handle_bytes(format!("HELO a\r\n{MAIL}\r\n{RCPT}\r\nDATA\r\n.\r\nNOOP\r\n").as_bytes());
    let mut outputs = Vec::new();
    while let Some(output) = session.poll_output() {
        outputs.push(output);
    }
    assert!(matches!(outputs.last(), Some(Output::Mail(..))));
    assert!(!session.wants_bytes() && session.next_timeout().is_none());
    session.handle_timeout();
    session.handle_bytes(b"QUIT\r\n");
    assert_eq!(session.poll_output(), None);
    session.handle_decision(&Decision::TryLater { why: "no leader".into() });
    let said = "451 4.3.0 no leader\r\n250 2.0.0 ok\r\n221 2.0.0 bye\r\n";
    assert_eq!(session.poll_output(), Some(Output::Send(said.into())));
    assert_eq!(session.poll_output(), Some(Output::Close));
    session.handle_decision(&Decision::TryLater { why: "late".into() });
    session.handle_bytes(b"NOOP\r\n");
    session.handle_timeout();
    session.handle_shutdown();
    assert_eq!(session.poll_output(), None);
}

#[test]
fn decisions_are_answered() {
    let answer = |decision: Decision| {
        let mut talk = Talk::new(settings());
        talk.decisions = Box::new(move |_| decision.clone());
        talk.send(format!("HELO a\r\n{MAIL}\r\n{RCPT}\r\nDATA\r\n.\r\n").as_bytes());
        talk.codes().pop().unwrap()
    };
    assert_eq!(answer(Decision::Accepted { note: "1".into() }), "250 2.0.0");
    assert_eq!(answer(Decision::TryLater { why: "full".into() }), "451 4.3.0");
    assert_eq!(answer(Decision::Refused { objection: Objection::Content, why: "no From".into() }), "550 5.6.0");
}

#[test]
fn commands_out_of_order_are_refused() {
    let before = talk(&format!("{MAIL}\r\n{RCPT}\r\nDATA\r\nNOOP\r\nRSET\r\n"));
    assert_eq!(before.codes(), ["220", "503 5.5.1", "503 5.5.1", "503 5.5.1", "250 2.0.0", "250 2.0.0"]);
    let lenient = || Settings { errors_max: 99, ..settings() };
    converse(
        lenient(),
        &[
            (RCPT, "503 5.5.1"),
            ("DATA", "503 5.5.1"),
            (MAIL, "250 2.1.0"),
            (MAIL, "503 5.5.1"),
            ("DATA", "554 5.5.1"),
            (RCPT, "250 2.1.5"),
            ("RSET", "250 2.0.0"),
            ("DATA", "503 5.5.1"),
            (MAIL, "250 2.1.0"),
            (RCPT, "250 2.1.5"),
            ("EHLO again.example", "250"),
            ("DATA", "503 5.5.1"),
        ],
    );
    converse(
        lenient(),
        &[
            ("HELO old.example", "250"),
            ("MAIL FROM:<anna@example.org> SIZE=1", "555 5.5.4"),
            ("VRFY anna", "252 2.1.5"),
            ("EXPN staff", "502 5.5.1"),
            ("TURN", "502 5.5.1"),
            ("AUTH PLAIN AGEAYg==", "502 5.5.1"),
            ("HELP", "214 2.0.0"),
            ("STARTTLS", "502 5.5.1"),
            ("FOO", "500 5.5.1"),
        ],
    );
}

#[test]
fn mail_for_others_and_for_nobody_is_refused() {
    converse(
        settings(),
        &[
            (MAIL, "250 2.1.0"),
            ("RCPT TO:<eve@elsewhere.example>", "550 5.7.1"),
            ("RCPT TO:<sales@nordpump.example>", "550 5.1.1"),
            ("RCPT TO:<eve%elsewhere.example@nordpump.example>", "550 5.1.1"),
            ("DATA", "554 5.5.1"),
        ],
    );
}

#[test]
fn bounces_have_no_reverse_path() {
    let talk = converse(settings(), &[("MAIL FROM:<>", "250 2.1.0"), (RCPT, "250 2.1.5"), ("DATA", "354"), (".", "250 2.0.0")]);
    assert_eq!(talk.mails[0].0.reverse_path, None);
}

#[test]
fn international_addresses_need_their_parameter() {
    let talk = converse(
        settings(),
        &[
            ("MAIL FROM:<jos\u{e9}@example.org>", "553 5.6.7"),
            (MAIL, "250 2.1.0"),
            ("RCPT TO:<st\u{f6}d@nordpump.example>", "553 5.6.7"),
            ("RSET", "250 2.0.0"),
            ("MAIL FROM:<jos\u{e9}@example.org> SMTPUTF8", "250 2.1.0"),
            ("RCPT TO:<st\u{f6}d@nordpump.example>", "250 2.1.5"),
            ("DATA", "354"),
            (".", "250 2.0.0"),
        ],
    );
    assert_eq!(talk.mails[0].0.protocol.name(), "UTF8SMTP");
}

#[test]
fn large_mails_are_refused_early_and_late() {
    let line = format!("{}\r\n", "x".repeat(98));
    let talk = converse(
        settings(),
        &[
            ("MAIL FROM:<anna@example.org> SIZE=2001", "552 5.3.4"),
            ("MAIL FROM:<anna@example.org> SIZE=2000", "250 2.1.0"),
            (RCPT, "250 2.1.5"),
            ("DATA", "354"),
            (&format!("{}.", line.repeat(20)), "250 2.0.0"),
            (MAIL, "250 2.1.0"),
            (RCPT, "250 2.1.5"),
            ("DATA", "354"),
            (&format!("{}.", line.repeat(2_000)), "552 5.3.4"),
            ("NOOP", "250 2.0.0"),
        ],
    );
    assert_eq!(talk.mails.len(), 1);
    assert_eq!(talk.mails[0].1.len(), MESSAGE_BYTES_MAX);
    let endless = talk_within(settings(), &format!("HELO a\r\n{MAIL}\r\n{RCPT}\r\nDATA\r\n{}", line.repeat(20_000)));
    assert_eq!(endless.codes().pop().unwrap(), "421 4.3.4");
    assert!(endless.is_closed);
}

#[test]
fn recipients_mails_errors_and_idle_commands_are_bounded() {
    let recipients: String = (0..5).map(|number| format!("RCPT TO:<case{number}@desk.example>\r\n")).collect();
    let many = talk(&format!("HELO a\r\n{MAIL}\r\n{recipients}DATA\r\n.\r\n"));
    assert_eq!(many.codes()[3..], ["250 2.1.5", "250 2.1.5", "250 2.1.5", "452 4.5.3", "452 4.5.3", "354", "250 2.0.0"]);
    assert_eq!(many.mails[0].0.recipients.len(), 3);

    let mails = talk(&format!("HELO a\r\n{}", format!("{MAIL}\r\n{RCPT}\r\nDATA\r\n.\r\n").repeat(9)));
    assert_eq!(mails.mails.len(), 4);
    assert_eq!(mails.codes().pop().unwrap(), "421 4.7.0");
    assert!(mails.is_closed);

    let errors = talk(&"FOO\r\n".repeat(99));
    assert_eq!(errors.codes().iter().filter(|code| *code == "500 5.5.1").count(), 6);
    assert_eq!(errors.codes().pop().unwrap(), "421 4.7.0");
    assert!(errors.is_closed);

    let idle = talk(&"NOOP\r\n".repeat(99));
    assert_eq!(idle.codes().len(), 1 + 9 + 1);
    assert!(idle.is_closed);
}

#[test]
fn replies_are_sent_before_more_commands_are_read() {
    let generous = Settings { idle_commands_max: 100_000, ..settings() };
    let mut session = Session::new(Arc::new(generous), "192.0.2.7".parse().unwrap());
    session.handle_bytes(&b"EHLO a\r\n".repeat(READ_BYTES_MAX / 8));
    let mut count = 0;
    while let Some(Output::Send(bytes)) = session.poll_output() {
        assert!(bytes.len() <= 5 * 1024);
        count += 1;
    }
    assert!(count > 100);
}

#[test]
fn smuggled_mails_stay_inside_and_spoil_what_hides_them() {
    for end in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\r\n.\r\r\n", "\r\r\n.\r\r\n", "\n\n.\r\n", "\0\r\n.\n"] {
        let hidden = "MAIL FROM:<boss@desk.example>\r\nRCPT TO:<case@desk.example>\r\nDATA\r\nSubject: pay\r\n\r\npay";
        let talk = talk(&format!("EHLO a\r\n{MAIL}\r\n{RCPT}\r\nDATA\r\nhello{end}{hidden}\r\n.\r\nNOOP\r\n"));
        assert_eq!(talk.codes()[4..], ["354", "550 5.6.11", "250 2.0.0"], "{end:?}");
        assert!(talk.mails.is_empty(), "{end:?}");
    }
}

#[test]
fn commands_behind_bare_line_endings_are_not_obeyed() {
    for ending in ["\n", "\r", "\r\r", "\n\r", "\0"] {
        let talk = talk(&format!("EHLO a{ending}{MAIL}\r\nNOOP\r\n"));
        assert_eq!(talk.codes(), ["220", "500 5.5.2", "250 2.0.0"], "{ending:?}");
    }
    let told = talk("EHLO a\nMAIL FROM:<a@b>\n");
    assert_eq!(told.codes(), ["220", "500 5.5.2"], "a client that knows no CRLF is told so at once");
}

#[test]
fn long_lines_are_refused_without_being_kept() {
    let talk = talk(&format!("NOOP {}\r\nNOOP\r\n", "x".repeat(READ_BYTES_MAX)));
    assert_eq!(talk.codes(), ["220", "500 5.5.2", "250 2.0.0"]);
}

#[test]
fn tls_begins_anew() {
    let mut talk = talk_within(with_tls(Tls::Offered), &format!("EHLO a\r\n{MAIL}\r\nSTARTTLS\r\n"));
    assert_eq!(talk.codes()[2..], ["250 2.1.0", "220 2.0.0"]);
    assert_eq!(talk.tls, 1);
    assert!(!talk.session.wants_bytes());
    assert_eq!(talk.session.next_timeout().unwrap().whole, Duration::from_secs(60));
    talk.session.handle_tls_established();
    talk.said.clear();
    talk.send(format!("{MAIL}\r\nEHLO a\r\nSTARTTLS\r\n{MAIL}\r\n{RCPT}\r\nDATA\r\n.\r\n").as_bytes());
    assert_eq!(talk.codes(), ["503 5.5.1", "250", "503 5.5.1", "250 2.1.0", "250 2.1.5", "354", "250 2.0.0"]);
    assert!(!talk.said.contains("STARTTLS"));
    assert_eq!(talk.mails[0].0.protocol.name(), "ESMTPS");
}

#[test]
fn bytes_behind_starttls_end_the_session() {
    let together = talk_within(with_tls(Tls::Offered), "EHLO a\r\nSTARTTLS\r\nRSET\r\n");
    assert_eq!(together.codes(), ["220", "250", "421 4.7.0"]);
    assert!(together.is_closed && together.tls == 0);
    let mut apart = talk_within(with_tls(Tls::Offered), "EHLO a\r\nSTARTTLS\r\n");
    apart.session.handle_bytes(b"RSET\r\n");
    apart.drive();
    apart.session.handle_tls_established();
    assert!(apart.is_closed && apart.session.poll_output().is_none());
}

#[test]
fn mail_can_require_tls() {
    let mut talk = converse(with_tls(Tls::Required), &[(MAIL, "530 5.7.0"), ("STARTTLS", "220 2.0.0")]);
    talk.session.handle_tls_established();
    talk.said.clear();
    talk.send(format!("EHLO a\r\n{MAIL}\r\n").as_bytes());
    assert_eq!(talk.codes(), ["250", "250 2.1.0"]);
}

#[test]
fn silent_clients_are_cut_off() {
    let mut talk = talk("EHLO a\r\nNOO");
    let before = talk.session.next_timeout().unwrap();
    assert_eq!((before.pause, before.whole), (Duration::from_secs(300), Duration::from_secs(300)));
    talk.send(b"P");
    assert_eq!(talk.session.next_timeout(), Some(before), "a byte gives no more time");
    talk.send(b"\r\n");
    assert_ne!(talk.session.next_timeout().unwrap().step, before.step);
    talk.send(format!("{MAIL}\r\n{RCPT}\r\nDATA\r\nx\r\n").as_bytes());
    let data = talk.session.next_timeout().unwrap();
    assert_eq!((data.pause, data.whole), (Duration::from_secs(180), Duration::from_secs(1800)));
    talk.send(b"x\r\n");
    assert_eq!(talk.session.next_timeout(), Some(data));
    talk.session.handle_timeout();
    talk.drive();
    assert_eq!(talk.codes().pop().unwrap(), "421 4.4.2");
    assert!(talk.is_closed && talk.mails.is_empty());
}

#[test]
fn stopping_server_says_so() {
    let mut idle = talk("EHLO a\r\n");
    idle.session.handle_shutdown();
    idle.drive();
    assert_eq!(idle.codes().pop().unwrap(), "421 4.3.2");
    let mut session = Session::new(Arc::new(settings()), "192.0.2.7".parse().unwrap());
    session.handle_bytes(format!("HELO a\r\n{MAIL}\r\n{RCPT}\r\nDATA\r\n.\r\n").as_bytes());
    while !matches!(session.poll_output(), Some(Output::Mail(..))) {}
    session.handle_shutdown();
    assert_eq!(session.poll_output(), None);
    session.handle_decision(&Decision::Accepted { note: "9".into() });
    let said = "250 2.0.0 accepted 9\r\n421 4.3.2 the server stops, come again\r\n";
    assert_eq!(session.poll_output(), Some(Output::Send(said.into())));
    assert_eq!(session.poll_output(), Some(Output::Close));
}

#[test]
fn other_protocols_are_turned_away() {
    let http = talk("POST / HTTP/1.1\r\nHost: mx\r\n\r\nMAIL FROM:<a@b>\r\n");
    assert_eq!(http.codes(), ["220", "421 4.7.0"]);
    let chunks = talk("EHLO a\r\nBDAT 6 LAST\r\nNOOP\r\n");
    assert_eq!(chunks.codes(), ["220", "250", "502 5.5.1"]);
    assert!(http.is_closed && chunks.is_closed);
}

#[test]
fn client_that_sends_far_ahead_is_cut_off() {
    let mut session = Session::new(Arc::new(settings()), "192.0.2.7".parse().unwrap());
    session.handle_bytes(format!("HELO a\r\n{MAIL}\r\n{RCPT}\r\nDATA\r\n.\r\n").as_bytes());
    while !matches!(session.poll_output(), Some(Output::Mail(..))) {}
    for _ in 0..1_000 {
        session.handle_bytes(&b"NOOP\r\n".repeat(1_000));
        assert!(session.buffered_bytes() <= 2 * READ_BYTES_MAX);
    }
    assert!(matches!(session.poll_output(), Some(Output::Send(_))));
    assert_eq!(session.poll_output(), Some(Output::Close));
}

/// What stands in sessions, and what hostile ones turn on.
const PIECES: &[&str] = &[
    "EHLO client.example\r\n",
    "HELO a\r\n",
    "MAIL FROM:<anna@example.org>\r\n",
    "MAIL FROM:<> SIZE=10 BODY=8BITMIME SMTPUTF8\r\n",
    "MAIL FROM:<jos\u{e9}@example.org> SMTPUTF8\r\n",
    "RCPT TO:<case@desk.example>\r\n",
    "RCPT TO:<support@nordpump.example>\r\n",
    "RCPT TO:<eve@elsewhere.example>\r\n",
    "DATA\r\n",
    "Subject: x\r\n\r\n",
    "text\r\n",
    "..\r\n",
    ".text\r\n",
    ".\r\n",
    "\r\n.\r\n",
    "\n.\n",
    "\r.\r",
    "\r\n.\n",
    ".\r",
    "RSET\r\n",
    "NOOP\r\n",
    "VRFY x\r\n",
    "STARTTLS\r\n",
    "QUIT\r\n",
    "\r\n",
    "\r",
    "\n",
    "\0",
    ".",
    "<",
    ">",
    "\"",
    "\\",
    " ",
    "x",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// All that comes out of a session of these pieces.
fn outcome<'p>(pieces: impl Iterator<Item = &'p [u8]>) -> (String, Vec<(Envelope, Vec<u8>)>, bool) {
    let mut talk = Talk::new(settings());
    pieces.for_each(|piece| talk.send(piece));
    (talk.said, talk.mails, talk.is_closed)
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(0x5321), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_cut_of_the_stream_gives_the_same(bytes in hostile(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30)) {
        let whole = outcome(std::iter::once(bytes.as_slice()));
        prop_assert_eq!(&outcome(bytes.chunks(1)), &whole);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        prop_assert_eq!(&outcome(cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]])), &whole);
    }

    #[test]
    fn mails_come_out_as_they_went_in(lines in prop::collection::vec("[.a ]{0,6}", 0..20), cut in 1_usize..50) {
        let content: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let stuffed: String = lines.iter().map(|line| format!("{}{line}\r\n", if line.starts_with('.') { "." } else { "" })).collect();
        let session = format!("EHLO a\r\n{MAIL}\r\n{RCPT}\r\nDATA\r\n{stuffed}.\r\nQUIT\r\n");
        let (_, mails, is_closed) = outcome(session.as_bytes().chunks(cut));
        prop_assert!(is_closed);
        prop_assert_eq!(&mails[0].1, content.as_bytes());
    }

    #[test]
    fn whatever_comes_each_line_has_one_reply_and_each_mail_is_clean(bytes in hostile()) {
        let (said, mails, _) = outcome(std::iter::once(bytes.as_slice()));
        prop_assert!(said.is_ascii() && said.ends_with("\r\n"));
        for line in said.split_terminator("\r\n") {
            prop_assert!(line.len() <= 510 && !line.contains(['\r', '\n']));
            prop_assert!(line.as_bytes()[..3].iter().all(u8::is_ascii_digit));
        }
        for (envelope, content) in mails {
            prop_assert!(!envelope.recipients.is_empty() && content.len() <= MESSAGE_BYTES_MAX);
            prop_assert!(!content.contains(&0));
            let text = String::from_utf8_lossy(&content).replace("\r\n", "");
            prop_assert!(!text.contains(['\r', '\n']));
        }
    }
}
