//! What a relay says while we send, and the URL by which it is named.

use std::{cell::OnceCell, time::Duration};

use caps_adapters::mail::{
    deliver::{DeliveryError, Relay, Reply, Route},
    smtp::{Address, Domain},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    runtime::{Builder, Runtime},
    time::{Instant, timeout},
};

use super::oracle::{assert_line, text};

/// What a relay says, a reply each time it hears something; the first byte says whether TLS is asked for, and how much is said before anything was heard.
/// It runs over a real connection: that is the face of it.
pub(super) fn replies(input: &[u8]) {
    let Some((&flags, said)) = input.split_first() else { return };
    RUNTIME.with(|cell| {
        let runtime = cell.get_or_init(|| Builder::new_current_thread().enable_all().build().expect("a runtime can be made"));
        runtime.block_on(converse(said, flags));
    });
}

async fn converse(said: &[u8], flags: u8) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("there is a port");
    let port = listener.local_addr().expect("it is bound").port();
    let option = ["off", "opportunistic", "required"][usize::from(flags % 3)];
    let relay = Relay::parse(&format!("smtp://127.0.0.1:{port}?tls={option}"), &domain()).expect("it is a relay");
    let address = |text: &str| Address::parse(text).expect("it is an address");
    let route = Route { reverse_path: None, recipients: vec![address("a@b.example"), address("c@d.example")] };
    let mail = b"From: a@b.example\r\n\r\n.text\r\n";
    let deadline = Instant::now() + PATIENCE;
    let (outcome, heard) = tokio::join!(relay.deliver(&route, mail, deadline), serve(listener, said, usize::from(flags / 64)));
    assert!(Instant::now() < deadline, "the end of what is said is the end");
    // Whoever is done or gives up says good-bye, perhaps twice.
    let mut content = heard.as_slice();
    while let Some(rest) = content.strip_suffix(b"QUIT\r\n") {
        content = rest;
    }
    let has_heard = |said: &[u8]| heard.windows(said.len()).any(|bytes| bytes == said);
    assert!(
        !has_heard(b"MAIL FROM") || (option != "required" && !has_heard(b"STARTTLS")),
        "nothing is sent in the clear where TLS is to be"
    );
    let is_sent = content.ends_with(b"\r\n.\r\n");
    match outcome {
        Ok(delivered) => {
            assert!(is_sent && delivered.failed.len() < route.recipients.len(), "{:?}", text(&heard));
            check_reply(&delivered.reply);
            delivered.failed.iter().for_each(|failure| check_reply(&failure.reply));
        }
        Err(DeliveryError::Refused { reply, recipients, .. }) => {
            assert!(reply.is_permanent());
            check_reply(&reply);
            recipients.iter().for_each(|failure| check_reply(&failure.reply));
        }
        Err(DeliveryError::Later { why, .. }) => assert_line(&why, 1_000),
        Err(DeliveryError::Unsure { why }) => {
            assert!(is_sent, "only a mail that was sent can have been taken: {:?}", text(&heard));
            assert_line(&why, 1_000);
        }
        Err(DeliveryError::Unfit { why }) => assert_line(&why, 1_000),
    }
    // A mail travels once at most, dots doubled.
    let contents = heard.windows(7).filter(|bytes| bytes == b"..text\r").count();
    assert!(contents <= 1);
}

/// Answers all that is heard, and hears to the end. `early` replies come with the greeting.
async fn serve(listener: TcpListener, said: &[u8], early: usize) -> Vec<u8> {
    let (mut stream, _) = listener.accept().await.expect("somebody connects");
    stream.set_nodelay(true).expect("it is a connection");
    let mut replies = replies_in(said);
    let mut heard = Vec::new();
    let mut next: Vec<u8> = replies.by_ref().take(1 + early).flatten().copied().collect();
    // Whoever is no longer listened to has nothing to lose.
    while !next.is_empty() {
        stream.write_all(&next).await.ok();
        // Who announces more lines and says none is waited for, and says the next all the same.
        if timeout(PAUSE, stream.read_buf(&mut heard)).await.is_ok_and(|read| read.is_ok_and(|bytes| bytes == 0)) {
            return heard;
        }
        next = replies.next().unwrap_or_default().to_vec();
    }
    stream.shutdown().await.ok();
    stream.read_to_end(&mut heard).await.ok();
    heard
}

/// The replies in what is said: each ends with a line that announces no other.
fn replies_in(said: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = said;
    std::iter::from_fn(move || {
        let mut end = 0;
        while end < rest.len() {
            let line = rest[end..].split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
            end += line.len();
            if line.get(3) != Some(&b'-') {
                break;
            }
        }
        let (reply, after) = rest.split_at(end);
        rest = after;
        (end > 0).then_some(reply)
    })
}

fn check_reply(reply: &Reply) {
    assert!((200..600).contains(&reply.code), "{reply}");
    assert_line(&reply.text, 500);
}

/// The URL of a relay, a line each: scheme, user, more of the password, what stands behind the `@`. The password is never shown.
pub(super) fn url(input: &[u8]) {
    let given = text(input);
    if let Ok(relay) = Relay::parse(&given, &domain()) {
        drop(relay);
    }
    let mut lines = given.splitn(4, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (scheme, user, more, place) = (line(), line(), line(), line());
    let scheme = if scheme.is_empty() { "smtp" } else { "smtps" };
    let shown = match Relay::parse(&format!("{scheme}://{user}:{SECRET}{more}@{place}"), &domain()) {
        Ok(relay) => format!("{relay:?}"),
        Err(error) => format!("{error} {error:?}"),
    };
    assert!(!shown.contains(SECRET), "{shown}");
}

fn domain() -> Domain {
    Domain::parse("here.example").expect("it is a domain")
}

thread_local! {
    static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() };
}

const PAUSE: Duration = Duration::from_millis(2);

/// Longer than any of it takes.
const PATIENCE: Duration = Duration::from_secs(8);

const SECRET: &str = "S3cr3t-of-the-relay";

pub(super) const REPLIES: &[&[u8]] = &[
    b"\x00220 mx\r\n250-mx\r\n250-SIZE 1\r\n250 8BITMIME\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 2.0.0 taken\r\n221 bye\r\n",
    b"\x00220 mx\r\n250 mx\r\n250 ok\r\n550 5.1.1 no\r\n250-a\r\n250 ok\r\n354 go\r\n552 5.3.4 no\r\n221 bye\r\n",
    b"\x01220 mx\r\n250-mx\r\n250 8BITMIME\r\n",
    b"\x02220-a\r\n220 mx\r\n250-mx\r\n250 STARTTLS\r\n220 go\r\n",
    b"\x00554 no\r\n",
];

pub(super) const URLS: &[&[u8]] = &[
    b"smtp://user:pass%20word@mx.example:587?tls=required",
    b"\nuser\nx\nmx.example:25?tls=off",
    b"s\nu%40\n/?\n[::1]:465",
    b"smtps://[::1]/",
];

pub(super) const WORDS: &[&str] =
    &["220 ", "220-", "250 ", "250-", "354 ", "421 ", "550 ", "\r\n", "STARTTLS", "8BITMIME", "SMTPUTF8", "AUTH PLAIN"];
