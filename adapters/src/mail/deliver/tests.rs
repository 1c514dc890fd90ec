use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::*;
use crate::mail::smtp::{Decision, Destinations, Output, Session, Settings};

const MAIL: &[u8] = b"From: a@desk.example\r\nMessage-ID: <1@desk.example>\r\n\r\nHello\r\n..dots\r\n.\r\n";

/// What a scripted relay does when it has read a line that begins so; an empty beginning: at once, as the greeting.
type Script = &'static [(&'static str, Act)];

#[derive(Debug, Clone, Copy)]
enum Act {
    Say(&'static str),
    /// Says it, and reads the mail up to its last dot before the next act.
    Take(&'static str),
    HangUp,
    BeSilent,
}

use Act::{BeSilent, HangUp, Say, Take};

const GREETING: (&str, Act) = ("", Say("220 relay.example"));
const EHLO: (&str, Act) = ("EHLO", Say("250-relay.example\r\n250-8BITMIME\r\n250 SMTPUTF8"));
const MAIL_OK: (&str, Act) = ("MAIL", Say("250 2.1.0 ok"));
const RCPT_OK: (&str, Act) = ("RCPT", Say("250 2.1.5 ok"));
const DATA_OK: (&str, Act) = ("DATA", Take("354 go on"));

/// Where the relay listens, and the mail that it was given.
async fn relay(script: Script) -> (SocketAddr, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let played = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        play(BufReader::new(stream), script).await
    });
    (address, played)
}

async fn play(mut stream: BufReader<TcpStream>, script: Script) -> Vec<u8> {
    let mut mail = Vec::new();
    for (expected, act) in script {
        let mut line = String::new();
        if !expected.is_empty() && *expected != "." {
            stream.read_line(&mut line).await.unwrap();
            assert!(line.starts_with(expected), "{line:?} instead of {expected}");
        }
        match act {
            Say(text) => stream.write_all(format!("{text}\r\n").as_bytes()).await.unwrap(),
            Take(text) => {
                stream.write_all(format!("{text}\r\n").as_bytes()).await.unwrap();
                while !mail.ends_with(b"\r\n.\r\n") {
                    mail.push(stream.read_u8().await.unwrap());
                }
            }
            HangUp => return mail,
            BeSilent => {
                // Until the other side gives up.
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).await.ok();
                return mail;
            }
        }
    }
    mail
}

fn route(recipients: &[&str]) -> Route {
    let address = |text: &str| Address::parse(text).unwrap();
    Route { reverse_path: Some(address("desk@desk.example")), recipients: recipients.iter().map(|text| address(text)).collect() }
}

fn relay_at(address: SocketAddr) -> Relay {
    Relay::parse(&format!("smtp://{address}"), &Domain::parse("desk.example").unwrap()).unwrap()
}

async fn attempt(script: Script, recipients: &[&str]) -> Result<Delivered, DeliveryError> {
    let (address, _played) = relay(script).await;
    let deadline = Instant::now() + Duration::from_millis(if script.iter().any(|(_, act)| matches!(act, BeSilent)) { 300 } else { 20_000 });
    relay_at(address).deliver(&route(recipients), MAIL, deadline).await
}

#[tokio::test]
async fn mail_goes_out_with_its_dots_stuffed() {
    let (address, played) = relay(&[
        GREETING,
        EHLO,
        EHLO,
        ("MAIL FROM:<desk@desk.example>", Say("250 ok")),
        ("RCPT TO:<ann@a.example>", Say("250 ok")),
        DATA_OK,
        (".", Say("250 2.0.0 queued as 7")),
        ("QUIT", Say("221 bye")),
    ])
    .await;
    let delivered = relay_at(address).deliver(&route(&["ann@a.example"]), MAIL, Instant::now() + Duration::from_secs(20)).await.unwrap();
    assert_eq!(delivered.reply.to_string(), "250 2.0.0 queued as 7");
    assert!(delivered.failed.is_empty());
    let expected = b"From: a@desk.example\r\nMessage-ID: <1@desk.example>\r\n\r\nHello\r\n...dots\r\n..\r\n.\r\n";
    assert_eq!(String::from_utf8(played.await.unwrap()).unwrap(), String::from_utf8(expected.to_vec()).unwrap());
}

#[tokio::test]
async fn each_way_to_fail_says_whether_the_mail_may_have_been_taken() {
    const OPENING: [(&str, Act); 3] = [GREETING, EHLO, EHLO];
    let [a, b, c] = OPENING;
    // Leaked once: scripts are constants elsewhere.
    let after = |rest: &[(&'static str, Act)]| -> Script { Box::leak([&[a, b, c], rest].concat().into_boxed_slice()) };
    let table: Vec<(Script, &str)> = vec![
        (&[("", Say("554 go away"))], "later at the greeting"),
        (&[("", HangUp)], "later at the greeting"),
        (&[("", BeSilent)], "later at the greeting"),
        (&[("", Say("HTTP/1.1 400 Bad Request"))], "later at the greeting"),
        (after(&[("MAIL", Say("451 4.3.0 busy"))]), "later at MAIL"),
        (after(&[("MAIL", Say("550 5.7.1 not from you"))]), "refused at MAIL"),
        (after(&[("MAIL", Say("530 5.7.0 log in first"))]), "later at MAIL"),
        (after(&[("MAIL", HangUp)]), "later at MAIL"),
        (after(&[MAIL_OK, ("RCPT", Say("550 5.1.1 nobody"))]), "refused at RCPT"),
        (after(&[MAIL_OK, ("RCPT", Say("450 4.2.1 grey"))]), "later at RCPT"),
        (after(&[MAIL_OK, RCPT_OK, ("DATA", Say("421 4.3.2 closing"))]), "later at DATA"),
        (after(&[MAIL_OK, RCPT_OK, ("DATA", Say("250 what"))]), "later at DATA"),
        (after(&[MAIL_OK, RCPT_OK, ("DATA", HangUp)]), "later at DATA"),
        (after(&[MAIL_OK, RCPT_OK, DATA_OK, (".", Say("552 5.3.4 too large"))]), "refused at its content"),
        (after(&[MAIL_OK, RCPT_OK, DATA_OK, (".", Say("452 4.3.1 full"))]), "later at its content"),
        (after(&[MAIL_OK, RCPT_OK, DATA_OK, (".", HangUp)]), "unsure"),
        (after(&[MAIL_OK, RCPT_OK, DATA_OK, (".", BeSilent)]), "unsure"),
        (after(&[MAIL_OK, RCPT_OK, DATA_OK, (".", Say("garbage"))]), "unsure"),
    ];
    for (script, expected) in table {
        let outcome = match attempt(script, &["ann@a.example"]).await {
            Ok(delivered) => format!("delivered {}", delivered.reply),
            Err(DeliveryError::Refused { stage, .. }) => format!("refused {stage}"),
            Err(DeliveryError::Later { stage, .. }) => format!("later {stage}"),
            Err(DeliveryError::Unsure { .. }) => "unsure".to_owned(),
            Err(DeliveryError::Unfit { why }) => format!("unfit {why}"),
        };
        assert_eq!(outcome, expected, "{script:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_tried_later() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let outcome = relay_at(address).deliver(&route(&["ann@a.example"]), MAIL, Instant::now() + Duration::from_secs(20)).await;
    assert!(matches!(outcome, Err(DeliveryError::Later { stage: Stage::Connect, .. })), "{outcome:?}");
}

#[tokio::test]
async fn some_recipients_may_be_refused_and_the_others_get_it() {
    const SCRIPT: Script = &[
        GREETING,
        EHLO,
        EHLO,
        MAIL_OK,
        ("RCPT TO:<ann", Say("250 ok")),
        ("RCPT TO:<bob", Say("550 5.1.1 nobody")),
        DATA_OK,
        (".", Say("250 ok")),
        ("QUIT", HangUp),
    ];
    let delivered = attempt(SCRIPT, &["ann@a.example", "bob@a.example"]).await.unwrap();
    let [failure] = delivered.failed.as_slice() else { panic!("{:?}", delivered.failed) };
    assert_eq!((failure.recipient.as_str(), failure.reply.code), ("bob@a.example", 550));
}

#[tokio::test]
async fn what_could_be_read_as_two_mails_is_not_sent() {
    let relay = relay_at(SocketAddr::from(([127, 0, 0, 1], 1)));
    for mail in [&b"a: b\n\r\nx\r\n"[..], b"a: b\r\n\r\nx\n.\nMAIL FROM:<eve@x>\r\n", b"a: b\r\n\r\nx\r.\r\n", b"a: b\r\n\r\n\0\r\n"] {
        let outcome = relay.deliver(&route(&["ann@a.example"]), mail, Instant::now() + Duration::from_secs(20)).await;
        assert!(matches!(outcome, Err(DeliveryError::Unfit { .. })), "{mail:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn our_own_session_takes_what_our_own_relay_sends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let domain = Domain::parse("a.example").unwrap();
    let settings = Arc::new(Settings::new(Domain::parse("mx.a.example").unwrap(), Destinations::default().domain(&domain)));
    let served = tokio::spawn(async move {
        let (mut stream, peer) = listener.accept().await.unwrap();
        let mut session = Session::new(settings, peer.ip());
        let mut taken = None;
        let mut bytes = vec![0; 1_000];
        loop {
            while let Some(output) = session.poll_output() {
                match output {
                    Output::Send(bytes) => stream.write_all(&bytes).await.unwrap(),
                    Output::Mail(envelope, mail) => {
                        taken = Some((envelope, mail));
                        session.handle_decision(&Decision::Accepted { note: "as 7".to_owned() });
                    }
                    Output::StartTls => panic!("it is not offered"),
                    Output::Close => return taken.unwrap(),
                }
            }
            let count = stream.read(&mut bytes).await.unwrap();
            session.handle_bytes(&bytes[..count]);
        }
    });
    let delivered = relay_at(address).deliver(&route(&["ann@a.example"]), MAIL, Instant::now() + Duration::from_secs(20)).await.unwrap();
    assert_eq!(delivered.reply.to_string(), "250 2.0.0 accepted as 7");
    let (envelope, mail) = served.await.unwrap();
    assert_eq!(envelope.reverse_path.map(|path| path.as_str().to_owned()).as_deref(), Some("desk@desk.example"));
    assert_eq!(String::from_utf8(mail).unwrap(), String::from_utf8(MAIL.to_vec()).unwrap());
}
