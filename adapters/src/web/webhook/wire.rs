//! One attempt: a connection, a request, and as much of the answer as is of use.

use std::pin::pin;
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use mail_parser::DateTime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::text::printable;

use super::{BODY_BYTES_MAX, DeliveryError, Secrets, Target, Webhook};

/// The request that a webhook is sent by.
pub(super) fn request(target: &Target, secrets: &Secrets, webhook: &Webhook<'_>) -> Result<Request<Full<Bytes>>, DeliveryError> {
    let unfit = |why: &str| Err(DeliveryError::Unfit { why: why.to_owned() });
    // A dot would let one id and moment read as another: they are signed with dots between them.
    if webhook.id.is_empty() || !webhook.id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.') {
        return unfit("its id is not of printable ASCII without dots");
    }
    if webhook.body.len() > BODY_BYTES_MAX {
        return unfit("it is longer than receivers take");
    }
    let request = Request::builder()
        .method(Method::POST)
        .uri(&target.path)
        .header(HOST, &target.authority)
        .header(USER_AGENT, concat!("caps/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "application/json")
        .header("webhook-id", webhook.id)
        .header("webhook-timestamp", webhook.sent_at)
        .header("webhook-signature", secrets.sign(webhook));
    request.body(Full::new(Bytes::copy_from_slice(webhook.body))).map_err(|error| DeliveryError::Unfit { why: error.to_string() })
}

/// One attempt, and how far it came.
#[derive(Debug)]
pub(super) struct Attempt<'t> {
    target: &'t Target,
    now: i64,
    /// From here on the endpoint may have the webhook.
    is_sent: bool,
}

impl<'t> Attempt<'t> {
    /// An attempt at `now`, seconds since 1970.
    pub(super) fn new(target: &'t Target, now: i64) -> Self {
        Self { target, now, is_sent: false }
    }

    /// Connects, asks, and says what the answer means.
    pub(super) async fn run(&mut self, request: Request<Full<Bytes>>) -> Result<u16, DeliveryError> {
        let connect = TcpStream::connect((self.target.host.as_str(), self.target.port));
        let stream = match timeout(CONNECT_WITHIN, connect).await {
            Ok(connected) => connected.map_err(|error| self.broken(format!("no connection: {error}")))?,
            Err(_) => return Err(self.broken("no connection in time".to_owned())),
        };
        match &self.target.tls {
            Some((config, name)) => {
                let encrypted = TlsConnector::from(config.clone()).connect(name.clone(), stream).await;
                let stream = encrypted.map_err(|error| self.broken(format!("no TLS: {error}")))?;
                self.converse(stream, request).await
            }
            None => self.converse(stream, request).await,
        }
    }

    /// What it means that there will be no answer.
    pub(super) fn broken(&self, why: String) -> DeliveryError {
        match self.is_sent {
            true => DeliveryError::Unsure { why },
            false => DeliveryError::Later { why, wait: None },
        }
    }

    async fn converse<S>(&mut self, stream: S, request: Request<Full<Bytes>>) -> Result<u16, DeliveryError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handshake = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX).handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| self.broken(error.to_string()))?;
        self.is_sent = true;
        let mut exchange = pin!(async {
            match sender.send_request(request).await {
                Ok(answer) => self.judge(answer).await,
                Err(error) => Err(self.broken(format!("no answer: {error}"))),
            }
        });
        tokio::select! {
            // The answer first: a connection that ended may have brought it.
            biased;
            outcome = &mut exchange => outcome,
            _ = connection => exchange.await,
        }
    }

    async fn judge(&self, answer: Response<Incoming>) -> Result<u16, DeliveryError> {
        let (head, body) = answer.into_parts();
        if head.status.is_success() {
            return Ok(head.status.as_u16());
        }
        let said = timeout(SAID_WITHIN, beginning(body)).await.unwrap_or_default();
        Err(DeliveryError::of_answer(head.status, wait(&head.headers, self.now), said))
    }
}

/// How long to wait by `Retry-After`: seconds, or a date.
fn wait(headers: &HeaderMap, now: i64) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => u64::try_from(DateTime::parse_rfc822(text)?.to_timestamp().saturating_sub(now)).ok()?,
    };
    Some(Duration::from_secs(seconds).min(WAIT_MAX))
}

/// The beginning of a body on one line.
async fn beginning(mut body: Incoming) -> String {
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        bytes.extend(frame.into_data().iter().flatten());
        if bytes.len() >= SAID_BYTES_MAX {
            break;
        }
    }
    bytes.truncate(SAID_BYTES_MAX);
    printable(&String::from_utf8_lossy(&bytes))
}

/// For the connection: who is not there is found out before the whole time for an attempt is gone.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// For the beginning of a body that nobody asked for.
const SAID_WITHIN: Duration = Duration::from_secs(2);

/// Bytes of an answer's head; hyper reads into a buffer of at least 8 KiB.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Header fields of an answer.
const HEADERS_MAX: usize = 64;

/// Bytes of what an endpoint says that are kept.
const SAID_BYTES_MAX: usize = 300;

/// The longest that an endpoint may ask for.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3_600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        let of = |value: &'static str| wait(&[(RETRY_AFTER, value.parse().unwrap())].into_iter().collect(), 1_000_000_000);
        assert_eq!(of("120"), Some(Duration::from_secs(120)));
        // 1,000,000,000 s after 1970 is 2001-09-09 01:46:40.
        assert_eq!(of("Sun, 09 Sep 2001 01:47:40 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(of("Sun, 09 Sep 2001 01:46:00 GMT"), None, "it is over");
        assert_eq!(of("99999999999"), Some(WAIT_MAX));
        for value in ["", "-1", "soon", "1e9"] {
            assert_eq!(of(value), None, "{value:?}");
        }
    }
}
