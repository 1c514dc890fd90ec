//! HTTP callers that keep their connections.

use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::stores::measure::Ask;

/// What is asked for, again and again.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) address: SocketAddr,
    pub(super) target: String,
    pub(super) fields: Vec<(&'static str, String)>,
}

/// Callers with a connection each.
pub(super) struct Callers {
    request: Request,
    connections: Vec<Mutex<Option<SendRequest<Empty<Bytes>>>>>,
}

impl Callers {
    pub(super) fn new(request: Request, count: usize) -> Self {
        Self { request, connections: (0..count).map(|_| Mutex::default()).collect() }
    }

    /// How one of them asks once.
    pub(super) fn ask(self: Rc<Self>) -> Ask {
        Rc::new(move |caller| {
            let callers = self.clone();
            Box::pin(async move {
                let mut connection = callers.connections[caller].lock().await;
                let sender = match &mut *connection {
                    Some(sender) => sender,
                    none => none.insert(connect(callers.request.address).await?),
                };
                callers.request.send(sender).await.map(drop)
            })
        })
    }
}

impl Request {
    /// Asks once, over a connection of its own.
    pub(super) async fn once(&self) -> anyhow::Result<Bytes> {
        self.send(&mut connect(self.address).await?).await
    }

    async fn send(&self, sender: &mut SendRequest<Empty<Bytes>>) -> anyhow::Result<Bytes> {
        let mut request = hyper::Request::get(&self.target).header("Host", self.address.to_string());
        for (name, value) in &self.fields {
            request = request.header(*name, value);
        }
        sender.ready().await?;
        let answer = sender.send_request(request.body(Empty::new())?).await?;
        ensure!(answer.status() == 200, "{} of {}", answer.status(), self.target);
        Ok(answer.into_body().collect().await?.to_bytes())
    }
}

async fn connect(address: SocketAddr) -> anyhow::Result<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("nothing listens on {address}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
