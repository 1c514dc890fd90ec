//! The shell: connections, handshakes, time-outs, and an orderly end.
//!
//! Slow clients run into time-outs, greedy ones into bounds, and a request whose length is not said beforehand is refused (411): without
//! `Transfer-Encoding` there is nothing for two parties to disagree about, which is what request smuggling lives from.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, Version, header};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::patient::Patient;
use super::{Limits, Problem, path};
use crate::tls::Tls;

/// A task of a server.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Starts the tasks of a server on whatever owns them.
#[derive(Clone)]
pub struct Spawn(Arc<dyn Fn(Task) + Send + Sync>);

impl Spawn {
    /// Starts tasks by this.
    pub fn by(start: impl Fn(Task) + Send + Sync + 'static) -> Self {
        Self(Arc::new(start))
    }

    fn start(&self, task: impl Future<Output = ()> + Send + 'static) {
        (self.0)(Box::pin(task));
    }
}

impl<F> Executor<F> for Spawn
where
    F: Future + Send + 'static,
{
    fn execute(&self, future: F) {
        self.start(async move {
            future.await;
        });
    }
}

impl fmt::Debug for Spawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spawn")
    }
}

/// The address of the client of a request: an extension of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Serves until `end` resolves; then takes no new connection, lets requests under way finish as long as the limits say, and returns.
pub async fn serve(listener: TcpListener, router: Router, tls: Option<Tls>, limits: Limits, spawn: Spawn, end: impl Future<Output = ()>) {
    let room = Arc::new(Semaphore::new(limits.connections_max));
    let crowd = Crowd::default();
    let graceful = GracefulShutdown::new();
    let mut builder = Builder::new(spawn.clone());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_within)
        .max_headers(limits.headers_max)
        .max_buf_size(limits.head_bytes_max)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(Some(20))
        .keep_alive_interval(Some(limits.head_within))
        .keep_alive_timeout(limits.head_within);
    // HTTP/2 is agreed on in the TLS handshake; without TLS nobody has to guess what a client begins with, for however long it takes.
    let (http1, http2) = (Arc::new(builder.clone().http1_only()), Arc::new(builder.http2_only()));
    let mut end = pin!(end);
    loop {
        let (stream, address, place) = tokio::select! {
            // The end first: a busy listener must not keep it waiting.
            biased;
            () = &mut end => break,
            accepted = accept(&listener, &room, &crowd, limits.connections_per_address_max) => accepted,
        };
        let (http1, http2, watcher, tls) = (http1.clone(), http2.clone(), graceful.watcher(), tls.clone());
        let requests = Requests { router: router.clone(), peer: Peer(address), limits };
        spawn.start(async move {
            let _place = place;
            let Some(tls) = tls else {
                return connection(http1, watcher, Patient::new(stream, None, limits.silence_within), requests).await;
            };
            match timeout(limits.handshake_within, tls.accept(stream)).await {
                Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                    connection(http2, watcher, Patient::new(stream, Some(limits.silence_within), limits.silence_within), requests).await;
                }
                Ok(Ok(stream)) => connection(http1, watcher, Patient::new(stream, None, limits.silence_within), requests).await,
                Ok(Err(error)) => tracing::debug!(%address, %error, "tls handshake failed"),
                Err(_) => tracing::debug!(%address, "tls handshake took too long"),
            }
        });
    }
    drop(listener);
    if timeout(limits.drain, graceful.shutdown()).await.is_err() {
        tracing::debug!("requests were cut off");
    }
}

async fn connection<S>(builder: Arc<Builder<Spawn>>, watcher: hyper_util::server::graceful::Watcher, stream: S, requests: Requests)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let address = requests.peer.0;
    let connection = builder.serve_connection(TokioIo::new(stream), requests).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%address, error, "connection ended early");
    }
}

/// The next connection that there is room for.
async fn accept(listener: &TcpListener, room: &Arc<Semaphore>, crowd: &Crowd, per_address: usize) -> (TcpStream, SocketAddr, Place) {
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return std::future::pending().await };
        match listener.accept().await {
            Ok((stream, address)) => {
                // Small answers in many parts, as events are, must not wait for each other.
                stream.set_nodelay(true).ok();
                match crowd.enter(address.ip(), per_address) {
                    Some(one) => return (stream, address, Place { _permit: permit, _one: one }),
                    None => tracing::debug!(%address, "too many connections from one address"),
                }
            }
            // The process has too many files open, or the connection is gone already: others may do better, soon.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A connection's place among all and among those of its address.
struct Place {
    _permit: OwnedSemaphorePermit,
    _one: One,
}

/// How many connections each address has.
#[derive(Clone, Debug, Default)]
struct Crowd(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

struct One {
    crowd: Crowd,
    address: IpAddr,
}

impl Crowd {
    fn enter(&self, address: IpAddr, max: usize) -> Option<One> {
        let mut counts = self.0.lock().expect("nothing panics while it holds this lock");
        let count = counts.entry(address).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(One { crowd: self.clone(), address })
    }
}

impl Drop for One {
    fn drop(&mut self) {
        let mut counts = self.crowd.0.lock().expect("nothing panics while it holds this lock");
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// What answers the requests of one connection.
#[derive(Clone)]
struct Requests {
    router: Router,
    peer: Peer,
    limits: Limits,
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, mut request: Request<Incoming>) -> Answer {
        if let Some(problem) = refusal(&request) {
            let mut response = axum::response::IntoResponse::into_response(problem);
            // What else is in the connection is not trusted any more.
            if request.version() < Version::HTTP_2 {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            return Answer::Refused(Some(Box::new(response)));
        }
        request.extensions_mut().insert(self.peer);
        request.extensions_mut().insert(self.limits);
        let mut router = self.router.clone();
        Answer::Routed(tower_call(&mut router, request.map(Body::new)))
    }
}

type Routed = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// A router is always ready: it needs no asking.
fn tower_call(router: &mut Router, request: Request<Body>) -> Routed {
    use hyper_util::service::TowerToHyperService;
    let service = TowerToHyperService::new(router.clone());
    Box::pin(async move { service.call(request).await })
}

enum Answer {
    Refused(Option<Box<Response<Body>>>),
    Routed(Routed),
}

impl Future for Answer {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Refused(response) => response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(*response))),
            Self::Routed(future) => future.as_mut().poll(context),
        }
    }
}

/// What no router shall see.
fn refusal<B>(request: &Request<B>) -> Option<Problem> {
    if request.headers().contains_key(header::TRANSFER_ENCODING) {
        return Some(Problem::of(411).detail("say the length of the body with Content-Length; Transfer-Encoding is not taken"));
    }
    if let Err(problem) = path::check(request.uri().path()) {
        return Some(Problem::of(400).detail(problem.to_string()));
    }
    let query = request.uri().query().unwrap_or_default();
    (query.len() > path::QUERY_BYTES_MAX).then(|| Problem::of(414).detail(format!("a query has at most {} bytes", path::QUERY_BYTES_MAX)))
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;

    use super::super::body;
    use super::*;

    /// A server of a few pages, which ends with the test.
    async fn server(limits: Limits) -> (SocketAddr, oneshot::Sender<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let echo = post(async |request: Request<Body>| body::whole(request).await.map(|bytes| format!("{} bytes", bytes.len())));
        let router = Router::new().route("/", get(async || "hello")).route("/echo", echo);
        let end = async {
            stopped.await.ok();
        };
        tokio::spawn(serve(listener, router, None, limits, Spawn::by(|task| drop(tokio::spawn(task))), end));
        (address, stop)
    }

    /// What the server says to these bytes until it closes the connection.
    async fn say(address: SocketAddr, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // A server that has heard enough may not listen to the rest.
        stream.write_all(bytes).await.ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn requests_that_two_programs_read_differently_are_refused() {
        let (address, _stop) = server(Limits::default()).await;
        let table = [
            (
                "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
                " 411 ",
            ),
            ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", " 411 "),
            ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", " 400 "),
            ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde", " 400 "),
            ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd", " 400 "),
            ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length : 4\r\n\r\nabcd", " 400 "),
            ("GET / HTTP/1.1\r\nHost: a\r\n folded: x\r\n\r\n", " 400 "),
            ("GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\n", " 400 "),
            ("GET /%2e%2e/b HTTP/1.1\r\nHost: a\r\n\r\n", " 400 "),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", " 400 "),
            ("GARBAGE\r\n\r\n", " 400 "),
        ];
        for (bytes, expected) in table {
            let answer = say(address, bytes.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1") && answer.contains(expected), "{bytes:?}: {answer}");
            // One answer, and the connection is closed: what came behind was never read as a request.
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{bytes:?}: {answer}");
        }
        assert!(say(address, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.contains("hello"));
    }

    #[tokio::test]
    async fn heads_and_bodies_have_bounds() {
        let (address, _stop) = server(Limits { body_bytes_max: 10, ..Limits::default() }).await;
        let many: String = (0..100).map(|number| format!("a{number}: x\r\n")).collect();
        let long = format!("a: {}\r\n", "x".repeat(200 << 10));
        for fields in [many, long] {
            let answer = say(address, format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        }
        let answer = say(address, b"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 11\r\n\r\n01234567890").await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        let target = format!("GET /?{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9_000));
        assert!(say(address, target.as_bytes()).await.starts_with("HTTP/1.1 414"));
    }

    #[tokio::test]
    async fn slow_clients_are_not_waited_for() {
        let short = Duration::from_millis(50);
        let (address, _stop) = server(Limits { head_within: short, body_within: short, ..Limits::default() }).await;
        assert_eq!(say(address, b"GET / HT").await, "");
        assert_eq!(say(address, b"").await, "");
        let answer = say(address, b"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 11\r\n\r\n0").await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    }

    #[tokio::test]
    async fn one_address_cannot_take_every_connection() {
        let (address, _stop) = server(Limits { connections_per_address_max: 1, ..Limits::default() }).await;
        let mut first = TcpStream::connect(address).await.unwrap();
        first.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert_ne!(first.read(&mut [0; 100]).await.unwrap(), 0);
        assert_eq!(say(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await, "");
        drop(first);
        while say(address, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.is_empty() {}
    }

    #[tokio::test]
    async fn end_closes_idle_connections_and_takes_no_new_ones() {
        let (address, stop) = server(Limits::default()).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert_ne!(idle.read(&mut [0; 1_000]).await.unwrap(), 0);
        stop.send(()).unwrap();
        while idle.read(&mut [0; 1_000]).await.is_ok_and(|bytes| bytes > 0) {}
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
}
