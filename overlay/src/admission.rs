//! Who dials us, and whether they may come in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use caps_certs_gen::Identity;
use quinn::{ConnectionError, Incoming};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::builtin;
use crate::close::{CloseCode, words};
use crate::connection::{Connection, certificates};
use crate::connections::{CONTROL_QUEUE, Connections};
use crate::control::{HearError, control_stream, hear_hello, keep_saying};
use crate::header::Priority;
use crate::hello::Hello;
use crate::limits::HELLO_WITHIN;
use crate::options::CallOptions;
use crate::serve::hear_peer;

impl Connections {
    /// Admits whoever may come in, until the endpoint is closed.
    pub(crate) async fn admit_all(self: Arc<Self>) {
        while let Some(incoming) = self.node.endpoint.accept().await {
            let limits = &self.node.limits;
            if self.node.endpoint.open_connections() >= limits.connections + limits.incoming {
                self.node.refusals.note(incoming.remote_address(), "too many handshakes at once");
                incoming.refuse();
                continue;
            }
            self.node.environment.tasks.spawn(self.clone().admit(incoming));
        }
    }

    async fn admit(self: Arc<Self>, incoming: Incoming) {
        let address = incoming.remote_address();
        let connecting = match self.node.endpoint.admit(incoming) {
            Ok(connecting) => connecting,
            Err(error) => return self.note_failed_handshake(address, &error),
        };
        let quic = match connecting.await {
            Ok(quic) => quic,
            Err(error) => return self.note_failed_handshake(address, &error),
        };
        if let Err(refusal) = self.receive(&quic).await {
            self.node.refusals.note(address, &refusal.to_string());
            quic.close(refusal.code.to_varint(), refusal.reason.as_bytes());
        }
    }

    /// The certificate is valid. Everything else is looked at here, before any call is read.
    async fn receive(self: &Arc<Self>, quic: &quinn::Connection) -> Result<(), Refusal> {
        let peer = self.may_come_in(quic)?;
        let (hello, heard) = match timeout(HELLO_WITHIN, hear_hello(quic)).await {
            Ok(Ok(greeting)) => greeting,
            // It went away, which is no news.
            Ok(Err(HearError::Ended)) => return Ok(()),
            Ok(Err(HearError::Control(error))) => return Err(Refusal::of(CloseCode::Hello, &peer, error.to_string())),
            Err(_) => return Err(Refusal::of(CloseCode::Hello, &peer, "no greeting".to_owned())),
        };
        if hello.announce.is_some() {
            self.contest(&peer, &hello).await?;
        }
        let Ok(stream) = control_stream(quic, &self.node.hello).await else { return Ok(()) };
        let (control, says) = mpsc::channel(CONTROL_QUEUE);
        let tasks = &self.node.environment.tasks;
        tasks.spawn(keep_saying(stream, says));
        let connection = Arc::new(Connection::new(quic.clone(), peer, false, Some(hello), control, self.node.clone()));
        tracing::debug!(peer = %connection.peer, address = %quic.remote_address(), "admitted a peer");
        self.install(&connection);
        self.greeted(&connection);
        tasks.spawn(hear_peer(self.clone(), connection, heard));
        Ok(())
    }

    fn may_come_in(&self, quic: &quinn::Connection) -> Result<Identity, Refusal> {
        let chain = certificates(quic);
        // The handshake has read the same leaf, so this only repeats what it found.
        let peer = chain.first().and_then(|leaf| Identity::of_leaf(leaf).ok());
        let Some(peer) = peer else {
            return Err(Refusal { code: CloseCode::Policy, who: "nobody".to_owned(), reason: "no certificate".to_owned() });
        };
        let us = &self.node.identity;
        if !self.node.policy.may_dial(peer.role(), us.role()) {
            let reason = format!("{peer} may not call {us}");
            return Err(Refusal::of(CloseCode::Policy, &peer, reason));
        }
        if self.node.is_draining() {
            return Err(Refusal::of(CloseCode::Draining, &peer, String::new()));
        }
        if self.node.endpoint.open_connections() > self.node.limits.connections {
            return Err(Refusal::of(CloseCode::Full, &peer, String::new()));
        }
        Ok(peer)
    }

    /// Whether another process holds the peer's name and still lives. A process that was restarted finds its former
    /// self's connections here, which are dead; two that run at once find each other, and the first one stays.
    async fn contest(self: &Arc<Self>, peer: &Identity, hello: &Hello) -> Result<(), Refusal> {
        let is_rival = |other: &Arc<Connection>| {
            other.peer == *peer && other.hello().is_some_and(|theirs| theirs.announce.is_some() && theirs.generation != hello.generation)
        };
        for rival in self.open().into_iter().filter(is_rival) {
            if self.answers(&rival).await {
                let reason = format!("{peer} is already here, from {}", rival.quic.remote_address());
                return Err(Refusal::of(CloseCode::NameTaken, peer, reason));
            }
            rival.close(CloseCode::Replaced, "");
        }
        Ok(())
    }

    async fn answers(&self, connection: &Arc<Connection>) -> bool {
        // Long enough for a busy process, short enough for one that was restarted and finds its former self here.
        let within = self.node.timing.probe.min((8 * connection.quic.rtt()).max(PROBE_MIN));
        let options = CallOptions { deadline: within, priority: Priority::Control, ..CallOptions::default() };
        let header = self.node.header(builtin::PING, &options, within);
        let probe = connection.lane(Priority::Control).call(header, bytes::Bytes::new(), Instant::now() + within);
        probe.await.is_ok()
    }

    fn note_failed_handshake(&self, address: SocketAddr, error: &ConnectionError) {
        match error {
            // They did not believe us, or changed their mind: theirs to report.
            ConnectionError::ConnectionClosed(_) | ConnectionError::ApplicationClosed(_) | ConnectionError::Reset => {
                tracing::debug!(%address, error = words(error), "a peer gave up its handshake");
            }
            ConnectionError::LocallyClosed => {}
            _ => drop(self.node.refusals.note(address, &words(error))),
        }
    }
}

/// Why a peer with a valid certificate is turned away.
#[derive(Debug, thiserror::Error)]
#[error("{who}: {code}: {reason}")]
struct Refusal {
    code: CloseCode,
    who: String,
    reason: String,
}

impl Refusal {
    fn of(code: CloseCode, peer: &Identity, reason: String) -> Self {
        Self { code, who: peer.to_string(), reason }
    }
}

/// What even a near and busy process needs to answer.
const PROBE_MIN: Duration = Duration::from_millis(500);
