//! Attempts at endpoints that answer, fail, lie and hang.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::{BODY_BYTES_MAX, DeliveryError, Endpoint, Secrets, Target, Webhook};

/// What one attempt comes to at an endpoint that says `answer` to whatever it hears, and what it heard.
async fn attempt(answer: &'static [u8], body: &[u8], patience: Duration) -> (Result<u16, DeliveryError>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hooks?a=b", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"\r\n\r\n{}") {
            assert_ne!(stream.read_buf(&mut heard).await.unwrap(), 0, "the request is whole");
        }
        // Whoever heard enough does not listen any more.
        stream.write_all(answer).await.ok();
        if answer.is_empty() {
            std::future::pending::<()>().await;
        }
        String::from_utf8_lossy(&heard).into_owned()
    });
    let outcome = endpoint(&url).deliver(&webhook(body), Instant::now() + patience).await;
    let heard = if answer.is_empty() { String::new() } else { served.await.unwrap() };
    (outcome, heard)
}

fn endpoint(url: &str) -> Endpoint {
    Endpoint::new(Target::parse(url).unwrap(), Secrets::parse(&format!("whsec_{}", "A".repeat(64))).unwrap())
}

fn webhook(body: &[u8]) -> Webhook<'_> {
    Webhook { id: "hook-1", sent_at: 1_000_000_000, body }
}

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn answer_decides_whether_another_attempt_is_worth_it() {
    let later = |why: &str, wait: Option<u64>| DeliveryError::Later { why: why.to_owned(), wait: wait.map(Duration::from_secs) };
    let refused = |status, said: &str| DeliveryError::Refused { status, said: said.to_owned() };
    let table: [(&'static [u8], Result<u16, DeliveryError>); 9] = [
        (b"HTTP/1.1 204 No Content\r\n\r\n", Ok(204)),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nx", Ok(200)),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 10\r\n\r\nwait\r\n\x1b[2J", Err(later("the endpoint answers 503: wait [2J", None))),
        (b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", Err(later("the endpoint answers 429", Some(7)))),
        (b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n", Err(later("the endpoint answers 409", None))),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", Err(later("the endpoint answers 302", None))),
        (b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n", Err(refused(410, ""))),
        (b"HTTP/1.1 400 Bad\r\nContent-Length: 3\r\n\r\nno\n", Err(refused(400, "no"))),
        (b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", Err(refused(401, ""))),
    ];
    for (answer, expected) in table {
        let (outcome, heard) = attempt(answer, b"{}", PATIENCE).await;
        assert_eq!(outcome, expected, "{}", String::from_utf8_lossy(answer));
        assert!(heard.starts_with("POST /hooks?a=b HTTP/1.1\r\n") && heard.ends_with("\r\n\r\n{}"), "{heard}");
        let lower = heard.to_ascii_lowercase();
        assert!(lower.contains("webhook-id: hook-1\r\nwebhook-timestamp: 1000000000\r\nwebhook-signature: v1,"), "{heard}");
    }
}

#[tokio::test]
async fn endpoint_that_gives_no_answer_may_have_taken_it() {
    let lies: [&'static [u8]; 4] = [b"\0\0\0\0", b"SSH-2.0-x\r\n", b"HTTP/1.1 200", b"HTTP/9 200 OK\r\n\r\n"];
    for answer in lies {
        let (outcome, _) = attempt(answer, b"{}", PATIENCE).await;
        assert!(matches!(outcome, Err(DeliveryError::Unsure { .. })), "{outcome:?}");
    }
    let (silent, _) = attempt(b"", b"{}", Duration::from_millis(50)).await;
    assert_eq!(silent, Err(DeliveryError::Unsure { why: "no answer came in time".to_owned() }));
}

#[tokio::test]
async fn head_without_end_is_not_read_for_ever() {
    static ENDLESS: [u8; 64 << 10] = [b'x'; 64 << 10];
    let (outcome, _) = attempt(&ENDLESS, b"{}", PATIENCE).await;
    assert!(matches!(outcome, Err(DeliveryError::Unsure { .. })), "{outcome:?}");
}

#[tokio::test]
async fn what_was_not_sent_was_not_taken() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let deadline = Instant::now() + PATIENCE;
    let nobody = endpoint(&format!("http://{closed}/")).deliver(&webhook(b"{}"), deadline).await;
    assert!(matches!(nobody, Err(DeliveryError::Later { .. })), "{nobody:?}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let answered = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        stream
    };
    let endpoint_of_tls = endpoint(&url);
    let hook = webhook(b"{}");
    let (outcome, _stream) = tokio::join!(endpoint_of_tls.deliver(&hook, deadline), answered);
    assert!(matches!(&outcome, Err(DeliveryError::Later { why, .. }) if why.starts_with("no TLS")), "{outcome:?}");
}

#[tokio::test]
async fn what_no_receiver_takes_is_not_sent() {
    let deadline = Instant::now() + PATIENCE;
    let endpoint = endpoint("http://127.0.0.1:9/");
    let long = vec![b' '; BODY_BYTES_MAX + 1];
    for (id, body) in [("a.b", &b"{}"[..]), ("", b"{}"), ("a\r\nX: y", b"{}"), ("a", &long)] {
        let outcome = endpoint.deliver(&Webhook { id, sent_at: 0, body }, deadline).await;
        assert!(matches!(outcome, Err(DeliveryError::Unfit { .. })), "{id:?}: {outcome:?}");
    }
}
